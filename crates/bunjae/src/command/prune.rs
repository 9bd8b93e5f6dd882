//! `bunjae prune`: remove what matters least, and prove that nothing else changed.

mod report;

use std::path::{Path, PathBuf};

use bunjae_compress::{
    Across, Check, Criterion, Importance, Normalise, Pattern, PlanError, PruneError, Pruned, Scope,
    Settings, Sizes, Target, explain, mask_weights, prune,
};
use bunjae_ir::{Bindings, Graph};
use clap::{ArgGroup, Args, ValueEnum};

use crate::args;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible, closest};
use crate::model::{self, Model};
use crate::output::Output;
use crate::provenance::{self, Step};
use report::{Cut, Explained, Explanation, FileSizes, MaskReport, PruneReport};

/// Remove channels, and prove that the rest computes as before
///
/// The channels that matter least by their weights alone are cut out of every tensor that holds
/// them, so the file becomes really smaller and faster. Before it is written, the program runs it
/// beside the original with the same channels masked, on seeded random input: every output has to be
/// equal to the last bit.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").args(["ratio", "keep_macs", "keep_params"]),
    after_help = "Examples:\n  \
        bunjae prune model.onnx -o small.onnx --ratio 0.5\n  \
        bunjae prune model.onnx -o small.onnx --keep-macs 30% --global --max-ratio 0.8\n  \
        bunjae prune model.onnx --explain"
)]
pub(crate) struct Prune {
    /// The ONNX file
    model: PathBuf,
    /// The file to write
    #[arg(
        long,
        short,
        value_name = "FILE",
        required_unless_present = "explain",
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
    #[arg(long, value_enum, default_value = "l2", help_heading = "Which ones")]
    criterion: CriterionArg,
    /// How what several layers say about one channel becomes one number
    #[arg(long, value_enum, default_value = "mean", help_heading = "Which ones")]
    across: AcrossArg,
    /// How the scores of one group are made comparable with those of others: none, sum, mean, max, l2,
    /// standardise, gaussian, lamp or sentinel=SHARE [default: lamp for lamp, none for random, else
    /// mean]
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
    /// Set single weights to zero instead of removing channels, for comparison. This saves neither
    /// time nor bytes
    #[arg(
        long,
        conflicts_with_all = [
            "keep_macs", "keep_params", "layer_ratio", "ignore", "max_ratio", "round_to",
            "criterion", "across", "normalise", "explain"
        ],
        requires = "ratio",
        help_heading = "Which ones"
    )]
    unstructured: bool,

    /// The seed of the check's input, and of `--criterion random`
    #[arg(long, default_value_t = 0, help_heading = "Check")]
    seed: u64,
    /// Skip the check that removed equals masked
    #[arg(long, conflicts_with = "unstructured", help_heading = "Check")]
    no_check: bool,
    #[command(flatten)]
    sizes: args::Sizes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CriterionArg {
    /// Sum of absolute weights
    L1,
    /// Sum of squared weights
    L2,
    /// Squares, each over the sum of those not smaller
    Lamp,
    /// Distance to the other filters of the layer
    Fpgm,
    /// Scale of batch normalisation
    BnScale,
    /// Chance
    Random,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcrossArg {
    /// Their mean
    Mean,
    /// Their sum
    Sum,
    /// The largest
    Max,
    /// Their product
    Product,
    /// That of the first layer
    First,
    /// That of the last layer
    Last,
}

fn normalise(text: &str) -> Result<Normalise, String> {
    match text {
        "none" => Ok(Normalise::None),
        "sum" => Ok(Normalise::Sum),
        "mean" => Ok(Normalise::Mean),
        "max" => Ok(Normalise::Max),
        "l2" => Ok(Normalise::L2),
        "standardise" | "standardize" => Ok(Normalise::Standardise),
        "gaussian" => Ok(Normalise::Gaussian),
        "lamp" => Ok(Normalise::Lamp),
        _ => match text.strip_prefix("sentinel=") {
            Some(text) => args::share(text).map(Normalise::Sentinel),
            None => Err("expected none, sum, mean, max, l2, standardise, gaussian, lamp or \
                         sentinel=SHARE"
                .to_string()),
        },
    }
}

fn layer_ratio(text: &str) -> Result<(String, f64), String> {
    let (pattern, ratio) =
        text.rsplit_once('=').ok_or("expected PATTERN=SHARE, such as layer1=0.3")?;
    Ok((pattern.to_string(), args::share(ratio)?))
}

/// The words that [`normalise`] reads.
fn normalise_word(choice: Normalise) -> String {
    let word = match choice {
        Normalise::None => "none",
        Normalise::Sum => "sum",
        Normalise::Mean => "mean",
        Normalise::Max => "max",
        Normalise::L2 => "l2",
        Normalise::Standardise => "standardise",
        Normalise::Gaussian => "gaussian",
        Normalise::Lamp => "lamp",
        Normalise::Sentinel(share) => return format!("sentinel={share}"),
    };
    word.to_string()
}

/// The name of a choice on the command line, for provenance.
fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
}

impl Prune {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let model = model::load(&self.model, output)?;
        // Only what is counted or run needs a value for every size that the model leaves open.
        let counts = !self.explain || self.keep_macs.or(self.keep_params).is_some();
        let bindings = match counts {
            true => self.sizes.bindings(&[&model.graph])?,
            false => Bindings::new(),
        };
        let settings = self.settings(bindings);
        let Some(target) = &self.output else {
            output.report(&self.explain(&model, settings)?)?;
            return Ok(Outcome::Done);
        };
        model::check_target(target, Some(&self.model))?;
        if self.unstructured {
            self.mask(output, model, &settings, target)
        } else {
            self.cut(output, model, &settings, target)
        }
    }

    fn settings(&self, bindings: Bindings) -> Settings {
        let target = match (self.keep_macs, self.keep_params) {
            (Some(share), _) => Target::Macs(share),
            (None, Some(share)) => Target::Parameters(share),
            (None, None) => Target::Ratio(self.ratio.unwrap_or(0.0)),
        };
        let criterion = match self.criterion {
            CriterionArg::L1 => Criterion::L1,
            CriterionArg::L2 => Criterion::L2,
            CriterionArg::Lamp => Criterion::Lamp,
            CriterionArg::Fpgm => Criterion::Fpgm,
            CriterionArg::BnScale => Criterion::BnScale,
            CriterionArg::Random => Criterion::Random,
        };
        let across = match self.across {
            AcrossArg::Mean => Across::Mean,
            AcrossArg::Sum => Across::Sum,
            AcrossArg::Max => Across::Max,
            AcrossArg::Product => Across::Product,
            AcrossArg::First => Across::First,
            AcrossArg::Last => Across::Last,
        };
        let importance = Importance { across, seed: self.seed, ..Importance::new(criterion) };
        let normalise = self.normalise.unwrap_or(importance.normalise);
        Settings {
            importance: Importance { normalise, ..importance },
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
        words.join(" ")
    }

    fn explain(&self, model: &Model, settings: Settings) -> Fallible<Explanation> {
        let graph = &model.graph;
        let planned = self.ratio.or(self.keep_macs).or(self.keep_params).is_some();
        // Half of the channels of every group, so that what stays whole cannot be cut at all.
        let probe = Settings {
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
        settings: &Settings,
        target: &Path,
    ) -> Fallible<Outcome> {
        let Pruned { graph, masked, plan, untied, before, after } =
            prune(&model.graph, settings)
                .map_err(|error| failure(&model.graph, settings, error))?;
        let check = if self.no_check {
            None
        } else {
            output.progress("running the model with its channels removed, and with them masked");
            Some(Check::of(&graph, &masked, &settings.bindings, self.seed).map_err(Failure::new)?)
        };
        let fault = check.as_ref().filter(|check| !check.passed).map(Check::fault);
        let command = self.command(settings);
        let mut report = PruneReport {
            model: model.path.display().to_string(),
            output: fault.is_none().then(|| target.display().to_string()),
            settings: command.clone(),
            ratio: plan.ratio,
            groups: plan.groups.into_iter().map(Cut::new).collect(),
            untied,
            before: FileSizes { sizes: before, file_bytes: Some(model.file_bytes) },
            after: FileSizes { sizes: after, file_bytes: None },
            check,
        };
        if let Some(fault) = fault {
            output.report(&report)?;
            output.note(&format!("the file was not written, because {fault}"));
            return Ok(Outcome::CheckFailed);
        }
        let checked = match &report.check {
            Some(check) => format!("removed equals masked to the bit, input seed {}", check.seed),
            None => "not checked".to_string(),
        };
        self.save(target, &model, graph, (before, after), command, checked)?;
        report.after.file_bytes = Some(model::file_bytes(target)?);
        output.report(&report)?;
        Ok(Outcome::Done)
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
        self.save(target, &model, masked.graph, (before, after), command.clone(), checked)?;
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
        check: String,
    ) -> Fallible<()> {
        let json = |sizes| serde_json::to_value(sizes).map_err(Failure::new);
        let step = Step {
            command,
            seed: self.seed,
            parent: Some(model::sha256(&parent.path)?),
            before: Some(json(before)?),
            after: Some(json(after)?),
            check: Some(check),
            data: None,
            metrics: None,
        };
        provenance::record(&mut graph, step);
        model::save(target, &graph)
    }
}

fn failure(graph: &Graph, settings: &Settings, error: PruneError) -> Failure {
    match error {
        PruneError::Plan(error) => plan_failure(graph, settings, error),
        PruneError::NoGroups => Failure::new(error),
        PruneError::NothingToCut { ref reasons, .. } => {
            const SHOWN: usize = 5;
            let reason = |(layers, reason): &(String, String)| format!("  {layers}: {reason}");
            let shown: Vec<String> = reasons.iter().take(SHOWN).map(reason).collect();
            let failure = Failure::new(format!("{error}\n{}", shown.join("\n")));
            let more = reasons.len() > SHOWN;
            failure.maybe_hint(more.then_some("`bunjae prune MODEL --explain` gives all reasons"))
        }
    }
}

fn plan_failure(graph: &Graph, settings: &Settings, error: PlanError) -> Failure {
    let failure = Failure::new(&error);
    match error {
        PlanError::NoMatch { pattern, .. } => {
            let couplings = graph.couplings();
            let producers = couplings.groups().iter().flat_map(|group| &group.producers);
            let names: Vec<String> = producers.map(|made| graph.node_label(made.node)).collect();
            let similar = closest(&pattern, names.iter().map(String::as_str));
            failure.maybe_hint(similar.map(|similar| format!("did you mean `{similar}`?")))
        }
        PlanError::OutOfReach { wanted, share, least, .. } => {
            // The target is this share of the whole, rounded down to a whole number.
            let whole = wanted as f64 / (share / 100.0);
            let reached = (least as f64 / whole * 1000.0).ceil() / 10.0;
            let limited = settings.max_ratio < 1.0 || !settings.ignore.is_empty();
            failure
                .maybe_hint((reached < 100.0).then(|| format!("{reached} % can be reached")))
                .maybe_hint(
                    limited.then_some("a larger `--max-ratio` or fewer `--ignore` allow more"),
                )
        }
        PlanError::NoEvidence
        | PlanError::Share { .. }
        | PlanError::Cost(_)
        | PlanError::Cut(_)
        | PlanError::Graph(_) => failure,
    }
}
