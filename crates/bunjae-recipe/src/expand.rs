//! From declared stages to the stages that run: references are found, and lists fan out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::checks;
use crate::problem::{Problem, closest};
use crate::read::{Declared, Given};
use crate::recipe::{Source, Stage};
use crate::schema::{Input, Wants};
use crate::setting::{Argument, Base, Choice, choices, label, missing, twice};
use crate::value::{Node, Place, Value};

/// How many stages a recipe may fan out into. Whoever wants more has mistyped a list.
const MOST_STAGES: usize = 2_000;

/// The axis of seeds, which all stages share.
const SEED: &str = "seed";

/// One choice along an axis that a list opened.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    /// The list, so that two inputs that fan out by one list are taken pair by pair.
    axis: String,
    label: String,
}

/// A stage with what tells it from the others of its declaration.
struct Grown {
    stage: Stage,
    steps: Vec<Step>,
}

/// A stage in the making.
#[derive(Clone)]
struct Draft {
    inputs: Vec<(&'static Input, Vec<Source>)>,
    settings: BTreeMap<&'static str, Argument>,
    steps: Vec<Step>,
}

/// All stages, each after those it depends on.
pub(crate) struct Expander<'a> {
    declared: &'a [Declared],
    base: Base<'a>,
    problems: &'a mut Vec<Problem>,
    grown: Vec<Grown>,
    /// For each declaration its stages; none where it was not expanded yet.
    members: Vec<Option<Vec<usize>>>,
}

/// What a name refers to.
enum Found {
    Declaration(usize),
    /// One of the stages that a declaration fanned out into.
    Member(usize, String),
    File(PathBuf),
}

impl<'a> Expander<'a> {
    pub(crate) fn new(
        declared: &'a [Declared],
        base: Base<'a>,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let members = declared.iter().map(|_| None).collect();
        Expander { declared, base, problems, grown: Vec::new(), members }
    }

    /// Expands everything. Stages whose inputs are in doubt are left out, as their problem is told.
    pub(crate) fn run(mut self) -> Vec<Stage> {
        let order = self.order();
        for at in order {
            let members = self.expand(at);
            self.members[at] = Some(members);
        }
        self.same_names();
        self.grown.into_iter().map(|grown| grown.stage).collect()
    }

    /// The stages of one declaration, and those of a name that a list of the report gives.
    pub(crate) fn find(stages: &[Stage], name: &str) -> Vec<usize> {
        let of = |test: &dyn Fn(&Stage) -> bool| -> Vec<usize> {
            (0..stages.len()).filter(|&at| test(&stages[at])).collect()
        };
        let exact = of(&|stage| stage.declared == name);
        if exact.is_empty() { of(&|stage| stage.name == name) } else { exact }
    }

    /// Declarations, each after those that it names. Whoever stands in a circle is left out.
    fn order(&mut self) -> Vec<usize> {
        let needs: Vec<BTreeSet<usize>> =
            (0..self.declared.len()).map(|at| self.needs(&self.declared[at])).collect();
        let mut order: Vec<usize> = Vec::new();
        loop {
            let is_ready = |at: &usize| {
                !order.contains(at) && needs[*at].iter().all(|need| order.contains(need))
            };
            match (0..needs.len()).find(is_ready) {
                Some(at) => order.push(at),
                None => break,
            }
        }
        let stuck: Vec<usize> = (0..needs.len()).filter(|at| !order.contains(at)).collect();
        if let Some(&first) = stuck.first() {
            self.circle(first, &needs, &stuck);
        }
        order
    }

    /// Tells of the circle that one reaches from a stage that waits for ever.
    fn circle(&mut self, first: usize, needs: &[BTreeSet<usize>], stuck: &[usize]) {
        let mut path = vec![first];
        loop {
            let last = path[path.len() - 1];
            let Some(&next) = needs[last].iter().find(|need| stuck.contains(need)) else { return };
            if let Some(start) = path.iter().position(|&at| at == next) {
                let mut names: Vec<String> = path[start..]
                    .iter()
                    .map(|&at| format!("`{}`", self.declared[at].name))
                    .collect();
                names.push(format!("`{}`", self.declared[next].name));
                let stage = &self.declared[next];
                let what = match names.len() {
                    2 => format!("the stage {} needs itself", names[0]),
                    _ => format!("stages need each other in a circle: {}", names.join(" needs ")),
                };
                self.problems.push(
                    Problem::new(stage.place.clone(), what)
                        .hint("an input has to come from a stage that can run before"),
                );
                return;
            }
            path.push(next);
        }
    }

    /// The declarations that a stage names.
    fn needs(&self, stage: &Declared) -> BTreeSet<usize> {
        let mut needs = BTreeSet::new();
        for input in stage.kind.inputs {
            let Some(given) = stage.values.get(input.name) else { continue };
            for value in listed(&given.value) {
                if let Node::Text(name) = &value.node {
                    match self.find_name(input, name, &value.place) {
                        Some(Found::Declaration(at) | Found::Member(at, _)) => {
                            needs.insert(at);
                        }
                        Some(Found::File(_)) | None => {}
                    }
                }
            }
        }
        needs
    }

    fn find_name(&self, input: &Input, name: &str, place: &Place) -> Option<Found> {
        if let Some(at) = self.declared.iter().position(|declared| declared.name == name) {
            return Some(Found::Declaration(at));
        }
        let is_path = match input.wants {
            Wants::Data | Wants::Pictures => {
                self.base.path(name, place).exists() || name.contains(['/', '\\'])
            }
            Wants::Model | Wants::Runnable => {
                name.ends_with(".onnx") || name.ends_with(".bunjae") || name.contains(['/', '\\'])
            }
        };
        if is_path {
            return Some(Found::File(self.base.path(name, place)));
        }
        // The longest declaration that the name begins with: `cut-wide-0.3` is of `cut-wide`.
        let begins = |declared: &Declared| {
            name.strip_prefix(declared.name.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        let members = self.declared.iter().enumerate().filter(|(_, declared)| begins(declared));
        let longest = members.max_by_key(|(_, declared)| declared.name.len());
        longest.map(|(at, _)| Found::Member(at, name.to_owned()))
    }

    /// The stages that one entry of an input means.
    fn sources(&mut self, input: &'static Input, value: &Value) -> Vec<Source> {
        let Node::Text(name) = &value.node else {
            let what = format!("`{}` is the name of a stage, not {}", input.name, value.kind());
            self.problems.push(Problem::new(value.place.clone(), what));
            return Vec::new();
        };
        match self.find_name(input, name, &value.place) {
            None => {
                self.unknown(input, name, &value.place);
                Vec::new()
            }
            Some(Found::File(path)) => self.file(input, &path, &value.place),
            // The members of a circle are not expanded, and their problem is told.
            Some(Found::Declaration(at)) => {
                let members = self.members[at].clone().unwrap_or_default();
                self.fitting(input, members, &value.place)
            }
            Some(Found::Member(at, name)) => {
                let members = self.members[at].clone().unwrap_or_default();
                let named = |member: &usize| self.grown[*member].stage.name == name;
                let one: Vec<usize> = members.iter().copied().filter(named).collect();
                if one.is_empty() && !members.is_empty() {
                    self.unknown(input, &name, &value.place);
                }
                self.fitting(input, one, &value.place)
            }
        }
    }

    /// These stages, where what they make is what the input wants.
    fn fitting(&mut self, input: &Input, members: Vec<usize>, place: &Place) -> Vec<Source> {
        let wrong = members.iter().find_map(|&member| {
            let stage = &self.grown[member].stage;
            checks::unfit(input, stage).map(|why| (stage.name.clone(), why))
        });
        if let Some((name, (what, hint))) = wrong {
            self.problems
                .push(Problem::new(place.clone(), format!("`{name}` {what}")).maybe_hint(hint));
            return Vec::new();
        }
        members.into_iter().map(Source::Stage).collect()
    }

    fn file(&mut self, input: &Input, path: &Path, place: &Place) -> Vec<Source> {
        let what = match input.wants {
            Wants::Data | Wants::Pictures if path.is_dir() => None,
            Wants::Data if path.is_file() => {
                let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
                let what = format!("{} is neither a folder nor a .csv manifest", path.display());
                (!is_csv).then(|| Problem::new(place.clone(), what))
            }
            Wants::Data | Wants::Pictures => Some(missing(path, "folder", place)),
            Wants::Model | Wants::Runnable if path.is_file() => None,
            Wants::Model | Wants::Runnable => Some(missing(path, "file", place)),
        };
        match what {
            None => vec![Source::File(path.to_owned())],
            Some(problem) => {
                self.problems.push(problem);
                Vec::new()
            }
        }
    }

    fn unknown(&mut self, input: &Input, name: &str, place: &Place) {
        let grown = self.grown.iter().map(|grown| grown.stage.name.as_str());
        let names: Vec<&str> =
            self.declared.iter().map(|declared| declared.name.as_str()).chain(grown).collect();
        let what = match input.is_pictures() {
            true => {
                let path = self.base.path(name, place);
                format!("there is no folder {}, and no stage is called `{name}`", path.display())
            }
            false => format!("no stage is called `{name}`"),
        };
        let problem = Problem::new(place.clone(), what);
        let problem = match closest(name, names.iter().copied()) {
            Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
            None if input.wants == Wants::Pictures => {
                problem.hint("`[generate.NAME]` makes pictures")
            }
            None if input.wants == Wants::Data => problem
                .hint("`--set data=FOLDER` names another one; `[generate.NAME]` makes pictures"),
            None if self.base.architectures.contains(&name) => {
                problem.hint(format!("`[new.{name}]` with `architecture = \"{name}\"` makes one"))
            }
            None => problem.hint("a file's name ends in .onnx"),
        };
        self.problems.push(problem);
    }

    /// The stages of one declaration.
    fn expand(&mut self, at: usize) -> Vec<usize> {
        let declared = &self.declared[at];
        let before = self.problems.len();
        let empty = Draft { inputs: Vec::new(), settings: BTreeMap::new(), steps: Vec::new() };
        let mut drafts = vec![empty.clone()];
        for input in declared.kind.inputs {
            match declared.values.get(input.name) {
                Some(given) => drafts = self.with_input(drafts, input, given),
                None if input.required => {
                    let (name, kind) = (&declared.name, declared.kind.name);
                    let what = format!("`{name}` has no `{}`", input.name);
                    self.problems.push(Problem::new(declared.place.clone(), what).hint(
                        match input.wants {
                            Wants::Data => format!(
                                "`data = \"FOLDER\"` at the top of the recipe or below \
                                 `[{kind}.{name}]` names the pictures"
                            ),
                            _ => format!(
                                "`{} = \"NAME\"` below `[{kind}.{name}]` names the stage it \
                                 comes from",
                                input.name
                            ),
                        },
                    ));
                }
                None => {}
            }
        }
        // Settings are checked even where inputs are in doubt.
        let is_usable = !drafts.is_empty() && self.problems.len() == before;
        if !is_usable {
            drafts = vec![empty];
        }
        for setting in declared.kind.all_settings() {
            let Some(given) = declared.values.get(setting.name) else { continue };
            let (choices, fans_out) = choices(setting, &given.value, self.base, self.problems);
            drafts = self.with_setting(drafts, setting.name, given, choices, fans_out);
        }
        let settings: Vec<_> = drafts.iter().map(|draft| &draft.settings).collect();
        checks::declared(declared, &settings, self.problems);
        if !is_usable || self.problems.len() > before {
            return Vec::new();
        }
        if self.grown.len() + drafts.len() > MOST_STAGES {
            let what = format!(
                "the recipe fans out into {} stages, more than {MOST_STAGES}",
                self.grown.len() + drafts.len()
            );
            self.problems.push(
                Problem::new(declared.place.clone(), what).hint("lists multiply: shorten some"),
            );
            return Vec::new();
        }
        drafts.into_iter().map(|draft| self.grow(at, draft)).collect()
    }

    fn with_input(
        &mut self,
        drafts: Vec<Draft>,
        input: &'static Input,
        given: &Given,
    ) -> Vec<Draft> {
        let is_list = matches!(given.value.node, Node::List(_));
        let values = listed(&given.value);
        if values.is_empty() {
            let what = format!("`{}` is an empty list, which leaves no stage", input.name);
            self.problems.push(Problem::new(given.value.place.clone(), what));
            return drafts;
        }
        let shown: Vec<String> = values.iter().map(Value::shown).collect();
        twice(input.name, shown.iter().map(String::as_str), values, self.problems);
        if input.together {
            let mut sources: Vec<Source> = Vec::new();
            for value in values {
                sources.extend(self.sources(input, value));
            }
            let with = |mut draft: Draft| {
                draft.inputs.push((input, sources.clone()));
                draft
            };
            return drafts.into_iter().map(with).collect();
        }
        // Each way that the input may be taken, with the steps that lead there.
        let mut ways: Vec<(Source, Vec<Step>)> = Vec::new();
        for value in values {
            for source in self.sources(input, value) {
                let mut steps = Vec::new();
                if is_list {
                    let axis = format!("{}.{}", given.table, input.name);
                    steps.push(Step { axis, label: input_label(value) });
                }
                // One of several stages, named as such, is one.
                if let Source::Stage(at) = source
                    && self.declared.iter().any(|declared| value.is_text(&declared.name))
                {
                    steps.extend(self.grown[at].steps.iter().cloned());
                }
                ways.push((source, steps));
            }
        }
        let mut result = Vec::new();
        for draft in &drafts {
            for (source, steps) in &ways {
                if let Some(steps) = joined(&draft.steps, steps) {
                    let mut draft = Draft { steps, ..draft.clone() };
                    draft.inputs.push((input, vec![source.clone()]));
                    result.push(draft);
                }
            }
        }
        if result.is_empty() && !drafts.is_empty() && !ways.is_empty() {
            let what = format!(
                "`{}` fans out by a list that another input has too, and no value is in both",
                input.name
            );
            self.problems.push(Problem::new(given.place.clone(), what));
        }
        result
    }

    fn with_setting(
        &mut self,
        drafts: Vec<Draft>,
        name: &'static str,
        given: &Given,
        choices: Vec<Choice>,
        fans_out: bool,
    ) -> Vec<Draft> {
        if choices.is_empty() {
            return drafts;
        }
        let axis = match name {
            SEED => SEED.to_owned(),
            _ => format!("{}.{name}", given.table),
        };
        let mut result = Vec::new();
        let mut taken = BTreeSet::new();
        for draft in &drafts {
            let mut fits = false;
            for Choice { argument, label } in &choices {
                let step = Step { axis: axis.clone(), label: label.clone() };
                let steps = if fans_out { vec![step] } else { Vec::new() };
                let Some(steps) = joined(&draft.steps, &steps) else { continue };
                fits = true;
                taken.insert(label);
                let mut draft = Draft { steps, ..draft.clone() };
                draft.settings.insert(name, argument.clone());
                result.push(draft);
            }
            if !fits {
                let other = draft.steps.iter().find(|step| step.axis == axis);
                let other = other.map_or("", |step| step.label.as_str());
                let what = format!("an input runs with {name} {other}, which is not in this list");
                self.problems.push(
                    Problem::new(given.value.place.clone(), what)
                        .hint("inputs and stages are taken pair by pair along one list"),
                );
                return result;
            }
        }
        if let Some(missing) = choices.iter().find(|choice| !taken.contains(&choice.label))
            && !drafts.is_empty()
        {
            let what =
                format!("no input runs with {name} {}, which is in this list", missing.label);
            self.problems.push(
                Problem::new(given.value.place.clone(), what)
                    .hint("inputs and stages are taken pair by pair along one list"),
            );
        }
        result
    }

    fn grow(&mut self, at: usize, draft: Draft) -> usize {
        let declared = &self.declared[at];
        let part = |step: &Step| match step.axis.as_str() {
            SEED => format!("-seed{}", step.label),
            _ => format!("-{}", step.label),
        };
        let suffix: String = draft.steps.iter().map(part).collect();
        let without_seed = draft.steps.iter().filter(|step| step.axis != SEED);
        let group: String = without_seed.map(part).collect();
        let settings = declared.kind.all_settings();
        let settings = settings
            .filter_map(|setting| draft.settings.get(setting.name).map(|a| (setting, a.clone())))
            .filter(|(_, argument)| *argument != Argument::Flag(false));
        self.grown.push(Grown {
            stage: Stage {
                name: format!("{}{suffix}", declared.name),
                group: format!("{}{group}", declared.name),
                declared: declared.name.clone(),
                kind: declared.kind,
                inputs: draft.inputs,
                settings: settings.collect(),
                place: declared.place.clone(),
            },
            steps: draft.steps,
        });
        self.grown.len() - 1
    }

    /// Stages that fan out may come to a name that another one has.
    fn same_names(&mut self) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (at, grown) in self.grown.iter().enumerate() {
            let stage = &grown.stage;
            let Some(first) = seen.insert(stage.name.to_lowercase(), at) else { continue };
            let first = &self.grown[first].stage;
            // Names of declarations were compared before.
            if first.name == first.declared && stage.name == stage.declared {
                continue;
            }
            let what = format!(
                "two stages are called `{}`, one of `{}` and one of `{}`",
                stage.name, first.declared, stage.declared
            );
            self.problems.push(
                Problem::new(stage.place.clone(), what).hint(
                    "a list adds `-` and its value to the name; give one of them another name",
                ),
            );
        }
    }
}

/// What an entry of an input adds to the name of a stage.
fn input_label(value: &Value) -> String {
    let Node::Text(text) = &value.node else { return String::new() };
    let name = Path::new(text).file_stem().unwrap_or_default().to_string_lossy();
    // The name of a stage may have a point, which begins no ending.
    let is_path =
        text.contains(['/', '\\']) || text.ends_with(".onnx") || text.ends_with(".bunjae");
    label(if is_path { &name } else { text })
}

/// The entries of a list, or the one value.
fn listed(value: &Value) -> &[Value] {
    match &value.node {
        Node::List(values) => values,
        _ => std::slice::from_ref(value),
    }
}

/// The steps of both, each axis once; none where they differ along an axis.
fn joined(steps: &[Step], more: &[Step]) -> Option<Vec<Step>> {
    let mut all = steps.to_vec();
    for step in more {
        match all.iter().find(|own| own.axis == step.axis) {
            Some(own) if own.label != step.label => return None,
            Some(_) => {}
            None => all.push(step.clone()),
        }
    }
    Some(all)
}
