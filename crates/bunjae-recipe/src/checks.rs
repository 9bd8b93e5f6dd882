//! Settings that are well-formed one by one and impossible together.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::read::Declared;
use crate::recipe::Stage;
use crate::schema::{Input, Makes, Wants};
use crate::setting::Argument;
use crate::value::Place;

type Settings = BTreeMap<&'static str, Argument>;

/// Why what a stage makes is not what an input wants, and the way out.
pub(crate) fn unfit(input: &Input, stage: &Stage) -> Option<(String, Option<String>)> {
    let kind = stage.kind.name;
    let emit = stage.setting("emit").and_then(Argument::text).unwrap_or("model");
    match (input.wants, stage.kind.makes) {
        (Wants::Data | Wants::Pictures, Makes::Data)
        | (Wants::Model, Makes::Model)
        | (Wants::Runnable, Makes::Model) => None,
        (Wants::Runnable, Makes::Compiled) if emit == "model" => None,
        (Wants::Data | Wants::Pictures, _) => Some((
            format!("makes no pictures: its kind is `{kind}`"),
            Some("pictures come from a folder or from `[generate.NAME]`".to_owned()),
        )),
        (Wants::Model, Makes::Compiled) => Some((
            format!(
                "is a compiled model, which only runs, and `{}` wants an ONNX file",
                input.name
            ),
            Some("name the stage that it is made of".to_owned()),
        )),
        (Wants::Runnable, Makes::Compiled) => Some((
            format!("is compiled with `emit = \"{emit}\"`, which the program cannot run itself"),
            Some("leave `emit` out, or name the stage that it is made of".to_owned()),
        )),
        (Wants::Model | Wants::Runnable, Makes::Data | Makes::Figures) => {
            Some((format!("makes no model: its kind is `{kind}`"), None))
        }
    }
}

/// What is wrong with the values of a declaration taken together.
pub(crate) fn declared(declared: &Declared, drafts: &[&Settings], problems: &mut Vec<Problem>) {
    let mut found: Vec<Problem> = Vec::new();
    let check = Check { declared, found: &mut found };
    check.by_kind(drafts);
    // What goes for all that a list fans out into is said once.
    let mut said: Vec<Problem> = Vec::new();
    for problem in found {
        if !said.contains(&problem) {
            said.push(problem);
        }
    }
    problems.extend(said);
}

struct Check<'a> {
    declared: &'a Declared,
    found: &'a mut Vec<Problem>,
}

/// How much a cut takes; one of them has to be said.
const TARGETS: [&str; 5] = ["ratio", "keep-macs", "keep-params", "keep-latency", "latency-ms"];

/// Criteria that judge by pictures.
const BY_DATA: [&str; 6] =
    ["taylor", "fisher", "weight-taylor", "weight-taylor-sum", "hessian", "obd-c"];

impl Check<'_> {
    fn by_kind(mut self, drafts: &[&Settings]) {
        if let Some(first) = self.declared.kind.first
            && !self.has(first.name)
        {
            let what = format!("`{}` has no `{}`", self.declared.name, first.name);
            let hint = match first.name {
                "architecture" => "`bunjae new --list` shows the architectures".to_owned(),
                _ => format!("`{} = \"prps\"` is what can be generated", first.name),
            };
            self.problem(self.declared.place.clone(), what, Some(hint));
        }
        for settings in drafts {
            match self.declared.kind.name {
                "train" | "finetune" => self.training(settings),
                "distill" => {
                    self.training(settings);
                    self.distilling(settings);
                }
                "prune" => self.cutting(settings),
                _ => {}
            }
        }
    }

    fn has(&self, key: &str) -> bool {
        self.declared.values.contains_key(key)
    }

    fn problem(&mut self, place: Place, what: impl Into<String>, hint: Option<impl Into<String>>) {
        self.found.push(Problem::new(place, what).maybe_hint(hint));
    }

    /// A problem with the value of a key.
    fn at(&mut self, key: &str, what: impl Into<String>, hint: &str) {
        let place = self.declared.values.get(key).map(|given| given.value.place.clone());
        let place = place.unwrap_or_else(|| self.declared.place.clone());
        self.problem(place, what, (!hint.is_empty()).then(|| hint.to_owned()));
    }

    fn training(&mut self, settings: &Settings) {
        let text = |key: &str| settings.get(key).and_then(Argument::text);
        let number = |key: &str| settings.get(key).and_then(Argument::number);
        let epochs = number("epochs").unwrap_or(24.0);
        let drops: Option<Vec<f64>> =
            text("drops").map(|list| list.split(',').filter_map(|n| n.parse().ok()).collect());
        match (text("schedule"), &drops) {
            (Some("step"), None) => {
                self.at(
                    "schedule",
                    "the schedule `step` has no `drops`",
                    "`drops = [8, 16]` says after which epochs the rate drops",
                );
            }
            (Some("step"), Some(drops)) => {
                if let Some(late) = drops.iter().find(|&&drop| drop >= epochs) {
                    let what =
                        format!("the rate drops after epoch {late}, but there are {epochs} epochs");
                    self.at("drops", what, "");
                }
            }
            (schedule, Some(_)) => {
                let schedule = schedule.unwrap_or("one-cycle");
                let what = format!("`drops` is for the schedule `step`, not `{schedule}`");
                self.at("drops", what, "add `schedule = \"step\"`, or leave `drops` out");
            }
            (_, None) => {}
        }
        if let Some(warm_up) =
            number("warm-up").filter(|&warm_up| warm_up >= epochs && warm_up > 0.0)
        {
            let what = format!("the rate rises for {warm_up} epochs, but there are {epochs}");
            self.at("warm-up", what, "");
        }
        if number("val-share") == Some(1.0) {
            self.at("val-share", "`val-share` leaves no pictures to learn from", "0.2 is usual");
        }
        self.deviation(settings);
    }

    fn deviation(&mut self, settings: &Settings) {
        let std = settings.get("std").and_then(Argument::text).unwrap_or_default();
        if std.split(',').filter_map(|n| n.parse().ok()).any(|n: f64| n <= 0.0) {
            self.at("std", "`std` is what pictures are divided by, so it is over 0", "");
        }
    }

    fn distilling(&mut self, settings: &Settings) {
        match (self.has("teacher"), self.has("teachers")) {
            (false, false) => {
                let what = format!("`{}` has no teacher", self.declared.name);
                let hint = "`teacher = \"NAME\"` names the stage that is imitated";
                self.problem(self.declared.place.clone(), what, Some(hint));
            }
            (true, true) => self.at(
                "teachers",
                "there is a `teacher` as well as `teachers`",
                "`teachers` are imitated together, a list of `teacher` one by one",
            ),
            _ => {}
        }
        let methods = settings.get("method").and_then(Argument::text).unwrap_or("kd");
        let asks = |method: &str| methods.split(',').any(|own| own == method);
        let for_methods: [(&str, &[&str]); 10] = [
            ("hint", &["fitnet", "at"]),
            ("hint-weight", &["fitnet", "at"]),
            ("temperature", &["kd", "dkd", "dist"]),
            ("alpha", &["dkd", "dist"]),
            ("beta", &["dkd", "dist"]),
            ("dkd-warm-up", &["dkd"]),
            ("noise", &["noisy"]),
            ("munge-times", &["munge"]),
            ("munge-share", &["munge"]),
            ("munge-patch", &["munge"]),
        ];
        for (key, wanted) in for_methods {
            if settings.contains_key(key) && !wanted.iter().any(|method| asks(method)) {
                let list = wanted.iter().map(|method| format!("`{method}`")).collect::<Vec<_>>();
                let what =
                    format!("`{key}` is for the method {}, not {methods}", list.join(" or "));
                self.at(key, what, "leave it out, or change `method`");
            }
        }
        if let Some(Argument::Texts(hints)) = settings.get("hint")
            && hints.len() > 1
            && asks("fitnet")
        {
            let what = format!("fitnet compares one pair of layers, not {}", hints.len());
            self.at("hint", what, "`method = \"at\"` takes several");
        }
    }

    fn cutting(&mut self, settings: &Settings) {
        let targets: Vec<&str> =
            TARGETS.into_iter().filter(|target| settings.contains_key(target)).collect();
        match targets.as_slice() {
            [_] => {}
            [] => {
                // A target that was refused has its own problem.
                if !TARGETS.iter().any(|target| self.has(target)) {
                    let what = format!("`{}` does not say how much is cut", self.declared.name);
                    let hint = "`ratio = 0.5` cuts half of the channels; `keep-macs = 0.4` keeps that share of the work";
                    self.problem(self.declared.place.clone(), what, Some(hint));
                }
            }
            [first, second, ..] => {
                self.at(
                    second,
                    format!("there is `{first}` as well as `{second}`"),
                    "one of them says how much is cut",
                );
            }
        }
        if settings.get("ratio").and_then(Argument::number) == Some(1.0) {
            self.at("ratio", "a ratio of 1 leaves no channel", "0.5 cuts half of them");
        }
        let criterion = settings.get("criterion").and_then(Argument::text).unwrap_or("l2");
        if !self.has("data") {
            if BY_DATA.contains(&criterion) {
                let what = format!(
                    "the criterion `{criterion}` judges channels by pictures, but has none"
                );
                self.at("criterion", what, "`data = \"FOLDER\"` names them; l1, l2, lamp, fpgm and bn-scale judge by the weights alone");
            }
            let needs_data = |key: &str| {
                let mut groups = self.declared.kind.settings.iter().skip(2).copied().flatten();
                groups.any(|setting| setting.name == key) && key != "threads"
            };
            if let Some(key) = settings.keys().copied().find(|key| needs_data(key)) {
                let what = format!("`{key}` is for a cut with training, which needs `data`");
                self.at(key, what, "a cut without pictures is followed by `[finetune.NAME]`");
            }
        }
        let schedule = settings.get("cut-schedule").and_then(Argument::text).unwrap_or("one-shot");
        let steps = settings.get("steps").and_then(Argument::number);
        if schedule == "one-shot" && steps.is_some_and(|steps| steps > 1.0) {
            self.at(
                "steps",
                "the cut schedule `one-shot` has one step",
                "`linear` and `agp` have several",
            );
        }
        if !settings.contains_key("sparsity")
            && let Some(key) = ["sparsity-strength", "sparsity-epochs"]
                .into_iter()
                .find(|key| settings.contains_key(key))
        {
            self.at(
                key,
                format!("`{key}` has no `sparsity`"),
                "`sparsity = \"group-lasso\"` asks for the penalty",
            );
        }
        if settings.get("unstructured") == Some(&Argument::Flag(true)) {
            const ALONGSIDE: [&str; 6] =
                ["ratio", "global", "unstructured", "seed", "batch", "size"];
            if !settings.contains_key("ratio") {
                self.at("unstructured", "setting single weights to zero needs a `ratio`", "");
            }
            if let Some(key) = settings.keys().copied().find(|key| !ALONGSIDE.contains(key)) {
                let what = format!("`{key}` means nothing where single weights are set to zero");
                self.at(key, what, "leave it out, or `unstructured`");
            }
        }
    }
}
