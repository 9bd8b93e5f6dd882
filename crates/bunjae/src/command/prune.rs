//! `bunjae prune`: remove what matters least, and prove that nothing else changed.

mod choices;
mod figures;
mod latency;
mod learning;
mod refusals;
mod report;

use std::path::{Path, PathBuf};

use bunjae_compress::{
    Check, Importance, Normalise, Pattern, Plan, Pruned, Scope, Settings, Sizes, Target, explain,
    mask_weights, prune,
};
use bunjae_data::{Annotations, Labels};
use bunjae_ir::{Bindings, Graph};
use clap::{ArgGroup, Args};
use serde_json::Value;

use crate::annotate::scores_of;
use crate::args;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::model::{self, Model};
use crate::output::Output;
use crate::provenance::{self, Step};
use choices::{AcrossArg, CriterionArg, amount, layer_ratio, normalise, normalise_word, word};
use latency::{Latency, Stopwatch, Wish};
use learning::{Learned, WithData};
use refusals::{failure, plan_failure};
use report::{Cut, Explained, Explanation, FileSizes, MaskReport, PruneReport};

/// Remove channels, and prove that the rest computes as before
///
/// The channels that matter least are cut out of every tensor that holds them, so the file becomes
/// really smaller and faster. Before it is written, the program runs it beside the original with the
/// same channels masked, on seeded random input: every output has to be equal to the last bit.
///
/// Channels are judged by their weights alone or, with --data, by what pictures say of them, and the
/// cut may be spread over steps with training between. The options of that training are those of
/// `bunjae finetune`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").args([
        "ratio", "keep_macs", "keep_params", "keep_latency", "latency_ms"
    ]),
    after_help = "Examples:\n  \
        bunjae prune model.onnx -o small.onnx --ratio 0.5\n  \
        bunjae prune model.onnx -o small.onnx --keep-macs 30% --global --max-ratio 0.8\n  \
        bunjae prune model.onnx --explain\n  \
        bunjae prune model.onnx -o small.onnx --data pictures --importance taylor --keep-macs 40% \
        --cut-schedule agp --steps 5 --epochs-per-step 1 --final-epochs 8 --recalibrate-bn"
)]
pub(crate) struct Prune {
    /// The ONNX file
    model: PathBuf,
    /// The file to write
    #[arg(
        long,
        short,
        value_name = "FILE",
        required_unless_present_any = ["explain", "oracle"],
        conflicts_with = "explain",
        requires = "target"
    )]
    output: Option<PathBuf>,
    /// Say what can be cut, what cannot, and why; with a target, what would be cut. Writes nothing
    #[arg(long)]
    explain: bool,

    /// Remove this share of each group's channels; int(channels x (1 - ratio)) stay
    #[arg(long, value_name = "SHARE", value_parser = args::share, allow_negative_numbers = true, help_heading = "How much")]
    ratio: Option<f64>,
    /// Keep at most this share of the MACs
    #[arg(long, value_name = "SHARE", value_parser = args::share, allow_negative_numbers = true, help_heading = "How much")]
    keep_macs: Option<f64>,
    /// Keep at most this share of the parameters
    #[arg(long, value_name = "SHARE", value_parser = args::share, allow_negative_numbers = true, help_heading = "How much")]
    keep_params: Option<f64>,
    /// Keep at most this share of the time that a run takes on this machine
    #[arg(long, value_name = "SHARE", value_parser = args::share, allow_negative_numbers = true, help_heading = "How much")]
    keep_latency: Option<f64>,
    /// Let a run take at most so many milliseconds on this machine
    #[arg(long, value_name = "MS", value_parser = amount, help_heading = "How much")]
    latency_ms: Option<f64>,
    /// A ratio of its own for layers of that name; may be repeated, the last that fits counts
    #[arg(
        long,
        value_name = "PATTERN=SHARE",
        value_parser = layer_ratio,
        help_heading = "How much"
    )]
    layer_ratio: Vec<(String, f64)>,
    /// Leave layers of that name alone, and all coupled to them; may be repeated. `*` stands for any
    /// text, `?` for one character, and a name for everything below it
    #[arg(long, value_name = "PATTERN", help_heading = "How much")]
    ignore: Vec<String>,
    /// Take no more than this share of any group
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = args::share,
        default_value = "1",
        help_heading = "How much"
    )]
    max_ratio: f64,
    /// Round the widths of cut layers to a multiple of this, as far as --max-ratio and channels that
    /// layers share (shuffled, padded) let it
    #[arg(
        long,
        value_name = "K",
        value_parser = args::positive,
        default_value = "1",
        help_heading = "How much"
    )]
    round_to: std::num::NonZeroUsize,

    /// What makes a channel important
    #[arg(
        long,
        value_enum,
        default_value = "l2",
        visible_alias = "importance",
        help_heading = "Which ones"
    )]
    criterion: CriterionArg,
    /// How what several layers say about one channel becomes one number
    #[arg(long, value_enum, default_value = "mean", help_heading = "Which ones")]
    across: AcrossArg,
    /// How the scores of one group are made comparable with those of others: none, sum, mean, max, l2,
    /// standardise, gaussian, lamp or sentinel=SHARE [default: lamp for lamp, l2 for taylor, none for
    /// random and fisher, else mean]
    #[arg(
        long,
        value_name = "HOW",
        value_parser = normalise,
        alias = "normalize",
        help_heading = "Which ones"
    )]
    normalise: Option<Normalise>,
    /// Rank the channels of all groups together rather than each group by itself
    #[arg(long, help_heading = "Which ones")]
    global: bool,
    /// Take this off a score for each million MACs that the channel costs; counts with --global
    #[arg(long, value_name = "WEIGHT", value_parser = amount, default_value = "0", help_heading = "Which ones")]
    macs_penalty: f64,
    /// Set single weights to zero instead of removing channels, for comparison. This saves neither
    /// time nor bytes
    #[arg(
        long,
        conflicts_with_all = [
            "keep_macs", "keep_params", "keep_latency", "latency_ms", "layer_ratio", "ignore",
            "max_ratio", "round_to", "criterion", "across", "normalise", "macs_penalty", "explain",
            "data"
        ],
        requires = "ratio",
        help_heading = "Which ones"
    )]
    unstructured: bool,

    /// The seed of the check's input, and of everything else that is random
    #[arg(long, default_value_t = 0, help_heading = "Check")]
    seed: u64,
    /// Skip the check that removed equals masked
    #[arg(long, conflicts_with = "unstructured", help_heading = "Check")]
    no_check: bool,
    #[command(flatten)]
    sizes: args::Sizes,
    #[command(flatten)]
    pictures: WithData,
}

impl Prune {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        self.pictures.check(self.criterion.criterion(), &word(self.criterion))?;
        let model = model::load(&self.model, output)?;
        if self.pictures.oracle {
            output.report(&self.pictures.consult(&model, self.seed, output)?)?;
            return Ok(Outcome::Done);
        }
        // Only what is counted or run needs a value for every size that the model leaves open.
        let counts = !self.explain || self.keep_macs.or(self.keep_params).is_some();
        let bindings = match counts || self.macs_penalty > 0.0 || self.wish().is_some() {
            true => self.sizes.bindings(&[&model.graph])?,
            false => Bindings::new(),
        };
        let settings = self.settings(bindings);
        let Some(target) = &self.output else {
            output.report(&self.explain(&model, settings, output)?)?;
            return Ok(Outcome::Done);
        };
        model::check_target(target, Some(&self.model))?;
        if self.unstructured {
            self.mask(output, model, &settings, target)
        } else {
            self.cut(output, model, settings, target)
        }
    }

    /// How fast the model should become.
    fn wish(&self) -> Option<Wish> {
        let share = self.keep_latency.map(Wish::Share);
        share.or(self.latency_ms.map(Wish::Milliseconds))
    }

    fn settings(&self, bindings: Bindings) -> Settings {
        let target = match (self.keep_macs, self.keep_params) {
            (Some(share), _) => Target::Macs(share),
            (None, Some(share)) => Target::Parameters(share),
            // For a latency the ratio is sought later.
            (None, None) => Target::Ratio(self.ratio.unwrap_or(0.0)),
        };
        let importance = Importance::new(self.criterion.criterion());
        let normalise = self.normalise.unwrap_or(importance.normalise);
        Settings {
            importance: Importance {
                across: self.across.across(),
                normalise,
                seed: self.seed,
                macs_penalty: self.macs_penalty,
                ..importance
            },
            scope: if self.global { Scope::Global } else { Scope::Local },
            layer_ratios: self
                .layer_ratio
                .iter()
                .map(|(pattern, ratio)| (Pattern::new(pattern), *ratio))
                .collect(),
            ignore: self.ignore.iter().map(|pattern| Pattern::new(pattern)).collect(),
            max_ratio: self.max_ratio,
            round_to: self.round_to.get(),
            bindings,
            ..Settings::new(target)
        }
    }

    /// The command with every setting that counts.
    fn command(&self, settings: &Settings) -> String {
        let mut words = vec!["prune".to_string()];
        let mut setting = |name: &str, value: String| words.push(format!("--{name} {value}"));
        match self.wish() {
            Some(Wish::Share(share)) => setting("keep-latency", share.to_string()),
            Some(Wish::Milliseconds(most)) => setting("latency-ms", most.to_string()),
            None => {}
        }
        match settings.target {
            Target::Ratio(ratio) => setting("ratio", ratio.to_string()),
            Target::Macs(share) => setting("keep-macs", share.to_string()),
            Target::Parameters(share) => setting("keep-params", share.to_string()),
        }
        if !self.unstructured {
            setting("criterion", word(self.criterion));
            setting("across", word(self.across));
            setting("normalise", normalise_word(settings.importance.normalise));
            for (pattern, ratio) in &self.layer_ratio {
                setting("layer-ratio", format!("{pattern}={ratio}"));
            }
            self.ignore.iter().for_each(|pattern| setting("ignore", pattern.clone()));
            setting("max-ratio", self.max_ratio.to_string());
            setting("round-to", self.round_to.to_string());
            if self.macs_penalty > 0.0 {
                setting("macs-penalty", self.macs_penalty.to_string());
            }
        }
        for (name, value) in &settings.bindings {
            setting("size", format!("{name}={value}"));
        }
        if !self.unstructured {
            setting("seed", self.seed.to_string());
        }
        for (given, flag) in [
            (self.global, "--global"),
            (self.unstructured, "--unstructured"),
            (self.no_check, "--no-check"),
        ] {
            if given {
                words.push(flag.to_string());
            }
        }
        words.extend(self.pictures.words(self.seed));
        words.join(" ")
    }

    fn explain(
        &self,
        model: &Model,
        mut settings: Settings,
        output: &Output,
    ) -> Fallible<Explanation> {
        let graph = &model.graph;
        let planned = self.ratio.or(self.keep_macs).or(self.keep_params).is_some();
        if let Some(wish) = self.wish() {
            let what = match wish {
                Wish::Share(_) => "--keep-latency",
                Wish::Milliseconds(_) => "--latency-ms",
            };
            return Err(Failure::new(format!("`--explain` measures no times, but has `{what}`"))
                .hint("`--ratio`, `--keep-macs` and `--keep-params` are explained"));
        }
        if planned && settings.importance.criterion.needs_data() {
            let ready = self.pictures.ready(graph, self.seed, output)?;
            let criterion = settings.importance.criterion;
            settings.evidence = self.pictures.evidence(graph, criterion, &ready, self.seed)?;
        }
        // Half of the channels of every group, so that what stays whole cannot be cut at all.
        let probe = Settings {
            importance: match settings.importance.criterion.needs_data() {
                true => Importance::new(bunjae_compress::Criterion::L2),
                false => settings.importance,
            },
            target: Target::Ratio(0.5),
            scope: Scope::Local,
            max_ratio: 1.0,
            round_to: 1,
            ..settings.clone()
        };
        let settings = if planned { settings } else { probe };
        let plan = explain(graph, &settings);
        let plan = plan.map_err(|error| plan_failure(graph, &settings, error))?;
        let groups = plan.groups.into_iter().map(|group| Explained {
            kept: planned.then_some(group.kept),
            layers: group.layers,
            channels: group.channels,
            reason: group.reason,
        });
        Ok(Explanation { model: model.path.display().to_string(), groups: groups.collect() })
    }

    /// Removes channels, checks, and writes.
    fn cut(
        &self,
        output: &Output,
        model: Model,
        mut settings: Settings,
        target: &Path,
    ) -> Fallible<Outcome> {
        let folder = self.pictures.work_folder(target)?;
        let ready = match self.pictures.data {
            Some(_) => Some(self.pictures.ready(&model.graph, self.seed, output)?),
            None => None,
        };
        let kept = match (folder, &ready) {
            (Some(folder), Some(ready)) => {
                let inputs = format!("{} {}", model::sha256(&self.model)?, self.command(&settings));
                Some(self.pictures.keeping(folder, &inputs, ready)?)
            }
            _ => None,
        };
        let mut stopwatch = None;
        if let Some(wish) = self.wish() {
            let threads = self.pictures.threads();
            let own = Stopwatch::new(&model.graph, &settings.bindings, threads)?;
            if let Some(ready) = &ready {
                let criterion = settings.importance.criterion;
                let graph = &model.graph;
                settings.evidence = self.pictures.evidence(graph, criterion, ready, self.seed)?;
            }
            let search = || {
                output.progress("measuring how fast candidates are");
                own.search(&model.graph, &settings, wish, output)
            };
            let ratio = match &kept {
                // Times are never the same twice.
                Some(kept) => learning::kept_ratio(kept, search)?,
                None => search()?,
            };
            settings.target = Target::Ratio(ratio);
            stopwatch = Some(own);
        }
        let mut made = match ready {
            None => self.once(&model.graph, &settings, output)?,
            Some(ready) => {
                let how = (self.seed, !self.no_check);
                let with = (ready, kept);
                match self.pictures.shrink(&model.graph, &settings, how, with, output)? {
                    Ok(learned) => Made::learned(learned, &settings)?,
                    Err(check) => Made::refuted(check, &model.graph, &settings)?,
                }
            }
        };
        let fault = made.check.as_ref().filter(|check| !check.passed).map(Check::fault);
        if let (Some(stopwatch), None) = (&stopwatch, fault) {
            made.latency = Some(stopwatch.measure(&made.graph)?);
        }
        let command = self.command(&settings);
        let mut report = PruneReport {
            model: model.path.display().to_string(),
            output: fault.is_none().then(|| target.display().to_string()),
            settings: command.clone(),
            ratio: made.plan.ratio,
            groups: made.plan.groups.into_iter().map(Cut::new).collect(),
            untied: made.untied,
            before: FileSizes { sizes: made.before, file_bytes: Some(model.file_bytes) },
            after: FileSizes { sizes: made.after, file_bytes: None },
            latency: made.latency,
            learning: made.learning,
            check: made.check,
        };
        if let Some(fault) = fault {
            output.report(&report)?;
            output.note(&format!("the file was not written, because {fault}"));
            return Ok(Outcome::CheckFailed);
        }
        let checked = match (&report.check, &report.learning) {
            (Some(check), None) => {
                format!("removed equals masked to the bit, input seed {}", check.seed)
            }
            (Some(check), Some(_)) => {
                format!("removed equals masked to the bit in each step, input seed {}", check.seed)
            }
            (None, _) => "not checked".to_string(),
        };
        let (data, metrics) = match &report.learning {
            Some(learning) => {
                let figures = learning::figures(learning).map(serde_json::to_value).transpose();
                (Some(learning.data_sha256.clone()), figures.map_err(Failure::new)?)
            }
            None => (None, None),
        };
        let sizes = (made.before, made.after);
        self.save(target, &model, made.graph, sizes, command, (checked, data, metrics))?;
        report.after.file_bytes = Some(model::file_bytes(target)?);
        output.report(&report)?;
        Ok(Outcome::Done)
    }

    /// Cuts without pictures.
    fn once(&self, graph: &Graph, settings: &Settings, output: &Output) -> Fallible<Made> {
        let Pruned { graph, masked, plan, untied, before, after } =
            prune(graph, settings).map_err(|error| failure(graph, settings, error))?;
        let mut check = None;
        if !self.no_check {
            output.progress("running the model with its channels removed, and with them masked");
            let found = Check::of(&graph, &masked, &settings.bindings, self.seed);
            check = Some(found.map_err(Failure::new)?);
        }
        Ok(Made { graph, plan, untied, before, after, check, latency: None, learning: None })
    }

    /// Sets single weights to zero, and writes.
    fn mask(
        &self,
        output: &Output,
        model: Model,
        settings: &Settings,
        target: &Path,
    ) -> Fallible<Outcome> {
        let ratio = self.ratio.unwrap_or(0.0);
        let masked = mask_weights(&model.graph, ratio, settings.scope).map_err(Failure::new)?;
        let sizes = |graph: &Graph| Sizes::of(graph, &settings.bindings).map_err(Failure::new);
        let (before, after) = (sizes(&model.graph)?, sizes(&masked.graph)?);
        let command = self.command(settings);
        let checked = "not checked: weights were set to zero".to_string();
        let notes = (checked, None, None);
        self.save(target, &model, masked.graph, (before, after), command.clone(), notes)?;
        output.report(&MaskReport {
            model: model.path.display().to_string(),
            output: target.display().to_string(),
            settings: command,
            layers: masked.layers,
            before: FileSizes { sizes: before, file_bytes: Some(model.file_bytes) },
            after: FileSizes { sizes: after, file_bytes: Some(model::file_bytes(target)?) },
        })?;
        Ok(Outcome::Done)
    }

    fn save(
        &self,
        target: &Path,
        parent: &Model,
        mut graph: Graph,
        (before, after): (Sizes, Sizes),
        command: String,
        (check, data, metrics): (String, Option<String>, Option<Value>),
    ) -> Fallible<()> {
        let json = |sizes| serde_json::to_value(sizes).map_err(Failure::new);
        let step = Step {
            command,
            seed: self.seed,
            parent: Some(model::sha256(&parent.path)?),
            before: Some(json(before)?),
            after: Some(json(after)?),
            check: Some(check),
            data,
            metrics,
        };
        provenance::record(&mut graph, step);
        model::save(target, &graph)
    }
}

/// A cut model, before it is written.
struct Made {
    graph: Graph,
    plan: Plan,
    untied: Vec<String>,
    before: Sizes,
    after: Sizes,
    check: Option<Check>,
    latency: Option<Latency>,
    learning: Option<figures::Learning>,
}

impl Made {
    /// From what was learnt; the pictures and the classes are in the metadata from now on.
    fn learned(learned: Learned, settings: &Settings) -> Fallible<Made> {
        let Learned { shrunk, learning, preprocess, classes } = learned;
        let mut graph = shrunk.graph;
        let annotations = Annotations {
            preprocess: Some(preprocess),
            labels: Some(Labels::new(classes).map_err(Failure::new)?),
            scores: Some(scores_of(&graph)),
        };
        annotations.record(&mut graph.metadata).map_err(Failure::new)?;
        let ratio = match settings.target {
            Target::Ratio(ratio) => ratio,
            // Of the channels before the first step.
            _ => shrunk.steps.last().map_or(0.0, |step| step.ratio),
        };
        let check = shrunk.steps.iter().rev().find_map(|step| step.check.clone());
        Ok(Made {
            graph,
            plan: Plan { classes: Vec::new(), groups: shrunk.groups, ratio },
            untied: shrunk.untied,
            before: shrunk.before,
            after: shrunk.after,
            check,
            latency: None,
            learning: Some(learning),
        })
    }

    /// A cut that did something else than it should: there is no model.
    fn refuted(check: Check, graph: &Graph, settings: &Settings) -> Fallible<Made> {
        let sizes = Sizes::of(graph, &settings.bindings).map_err(Failure::new)?;
        Ok(Made {
            graph: graph.clone(),
            plan: Plan { classes: Vec::new(), groups: Vec::new(), ratio: 0.0 },
            untied: Vec::new(),
            before: sizes,
            after: sizes,
            check: Some(check),
            latency: None,
            learning: None,
        })
    }
}
