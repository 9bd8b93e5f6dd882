//! `bunjae compile`: a model as what runs it.

mod emit;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bunjae_data::Annotations;
use bunjae_engine::{Batch, CompileOptions, Network};
use bunjae_ir::Bindings;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::annotate::{Annotated, Annotating, check_labels};
use crate::args::{Sizes, positive};
use crate::command::Outcome;
use crate::command::bench::Plan;
use crate::failure::{Failure, Fallible};
use crate::model;
use crate::number::{bytes, thousands};
use crate::output::{Output, Report};
use crate::page::Page;
use crate::provenance::{self, Step};
use crate::runnable::{Compiling, Runnable, without_hint};

/// The batch that `predict` uses: weights are packed for it ahead.
const MANY: usize = 8;

/// Compile a model for this machine: a file, an executable or a library for C
///
/// The file holds the simplified network, the algorithm of each convolution and the weights in the
/// order in which the kernels read them, so that it is ready to run as soon as it is open. It runs
/// on other machines too, which then arrange the weights for themselves. The batch stays open unless
/// `--batch` fixes it.
///
/// `--emit exe` writes one executable that takes pictures and needs nothing else. `--emit c` writes a
/// folder with the model, the library, its header and an example.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae compile net.onnx -o net.bunjae --tune\n  \
    bunjae compile named.onnx -o classify --emit exe\n  \
    bunjae compile named.onnx -o for-c --emit c")]
pub(crate) struct Compile {
    /// The ONNX file
    model: PathBuf,
    /// The file or, with `--emit c`, the folder to write
    #[arg(long, short, value_name = "FILE", required_unless_present = "explain")]
    output: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, value_name = "FORM", default_value = "model")]
    emit: Emit,
    /// Show the plan step by step; without `--output`, write nothing
    #[arg(long)]
    explain: bool,
    /// With `--emit c`, the folder with the libraries [default: that of this program]
    #[arg(long, value_name = "DIR")]
    library: Option<PathBuf>,
    #[command(flatten)]
    compiling: Compiling,
    /// The number of threads that are used unless the caller asks for another
    #[arg(long, value_name = "N", value_parser = positive, default_value = "1", help_heading = "Engine")]
    threads: NonZeroUsize,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    annotating: Annotating,
}

/// What a compiled model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Emit {
    /// A file for `predict`, `bench` and the libraries
    Model,
    /// An executable that says what is on pictures
    Exe,
    /// A folder for programs in C
    C,
}

#[derive(Serialize)]
struct Compiled {
    model: String,
    isa: &'static str,
    tuned: bool,
    sizes: Bindings,
    /// None where it stays open.
    batch: Option<usize>,
    threads: usize,
    macs: u64,
    packed_bytes: u64,
    #[serde(flatten)]
    annotated: Annotated,
    emit: Emit,
    output: Option<String>,
    output_bytes: Option<u64>,
    plan: Option<Plan>,
    /// What to do with it.
    next: Option<String>,
}

impl Report for Compiled {
    const COMMAND: &'static str = "compile";

    fn write(&self, page: &mut Page) {
        let isa = format!("{}{}", self.isa, if self.tuned { ", tuned" } else { "" });
        let sizes: Vec<String> =
            self.sizes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut fields = vec![("model", self.model.clone()), ("instruction set", isa)];
        if !sizes.is_empty() {
            fields.push(("sizes", sizes.join(" ")));
        }
        fields.extend([
            ("batch", self.batch.map_or("any".to_string(), |batch| batch.to_string())),
            ("threads", self.threads.to_string()),
            ("MACs", thousands(self.macs)),
            ("packed weights", bytes(self.packed_bytes)),
        ]);
        fields.extend(self.annotated.fields());
        if let (Some(output), Some(size)) = (&self.output, self.output_bytes) {
            fields.push(("written", format!("{output}, {}", bytes(size))));
        }
        fields.extend(self.next.clone().map(|next| ("next", next)));
        page.fields(fields);
        if let Some(plan) = &self.plan {
            plan.write(page);
        }
    }
}

impl Compile {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let target = self.output.as_deref();
        match (target, self.emit) {
            (Some(folder), Emit::C) => emit::check_folder(folder)?,
            (Some(file), _) => model::check_target(file, Some(&self.model))?,
            (None, _) => {}
        }
        let libraries = match (target, self.emit) {
            (Some(_), Emit::C) => Some(emit::Libraries::find(self.library.as_deref())?),
            _ => None,
        };
        let (network, annotations) = self.compile(output)?;
        let batch = match network.batch() {
            Batch::Fixed(batch) => Some(batch),
            _ => None,
        };
        let first = self.planned(&network)?;
        if self.emit == Emit::Exe {
            crate::command::predict::check(&self.model, first.clone(), annotations.clone())?;
        }
        let explanation = first.explain();
        let mut report = Compiled {
            model: network.name().to_string(),
            isa: network.isa().name(),
            tuned: self.compiling.tune,
            sizes: self.fixed_sizes(&network)?,
            batch,
            threads: network.threads(),
            macs: explanation.steps.iter().map(|step| step.macs).sum(),
            packed_bytes: network.packed_bytes() as u64,
            annotated: Annotated::new(annotations, network.graph()),
            emit: self.emit,
            output: target.map(|target| target.display().to_string()),
            output_bytes: None,
            plan: self.explain.then(|| Plan::explained(network.name(), &explanation)),
            next: None,
        };
        if let Some(target) = target {
            let model = network.to_bytes();
            let written = emit::write(self.emit, target, &model, libraries.as_ref())?;
            report.output_bytes = Some(written.bytes);
            report.next = written.next;
        }
        output.report(&report)?;
        Ok(Outcome::Done)
    }

    /// The network, with its records, and these.
    fn compile(&self, output: &Output) -> Fallible<(Network, Annotations)> {
        let mut runnable = Runnable::open_onnx(&self.model, output)?;
        let mut annotations = runnable.annotations(&self.annotating)?;
        if annotations.preprocess.is_none() && self.annotating.is_empty() {
            // It may be anything; what its output holds is nobody's concern.
            annotations.scores = None;
        }
        check_labels(runnable.graph(), &annotations)?;
        let mut sizes = self.sizes.given(runnable.graph())?;
        if let Some(preprocess) = &annotations.preprocess {
            for (name, size) in runnable.picture_sizes(None, preprocess) {
                sizes.entry(name).or_insert(size);
            }
        }
        let parent = Some(model::sha256(&self.model)?);
        let Some(graph) = runnable.graph_mut() else {
            return Err(Failure::new(format!("{} is compiled already", self.model.display())));
        };
        annotations.record(&mut graph.metadata).map_err(Failure::new)?;
        let isa = self.compiling.isa.map(|isa| format!(" --isa {isa}")).unwrap_or_default();
        let tune = if self.compiling.tune { " --tune" } else { "" };
        let given = sizes.iter().map(|(name, value)| format!(" --size {name}={value}"));
        let command = format!("compile{isa}{tune}{}", given.collect::<String>());
        let step = Step {
            command,
            seed: 0,
            parent,
            data: None,
            metrics: None,
            before: None,
            after: None,
            check: None,
        };
        provenance::record(graph, step);
        let threads = self.threads.get();
        let options = CompileOptions { threads, sizes, ..self.compiling.options() };
        let network = Network::compile(runnable.graph(), &options)
            .map_err(|error| runnable.failure(&error))?;
        Ok((network, annotations))
    }

    /// Plans the models that are most likely asked for, so that their weights are packed ahead, and
    /// returns the one for the smallest batch.
    fn planned(&self, network: &Network) -> Fallible<std::sync::Arc<bunjae_engine::Model>> {
        let failure = |error: bunjae_engine::CompileError| {
            let (shown, error) = (self.model.display(), without_hint(&error));
            Failure::new(format!("{shown} cannot be compiled: {error}"))
        };
        match network.batch() {
            Batch::Fixed(batch) => network.model(batch).map_err(failure),
            Batch::Any { .. } => {
                let first = network.model(1).map_err(|error| {
                    failure(error).hint("give each size that is left open, as in `--size H=320`")
                })?;
                network.model(MANY).map_err(failure)?;
                Ok(first)
            }
            _ => network.model_for(&Bindings::new()).map_err(failure),
        }
    }

    fn fixed_sizes(&self, network: &Network) -> Fallible<Bindings> {
        let given = self.sizes.sizes.iter().map(|(name, value)| (name.clone(), value.get()));
        let open = network.graph().symbols();
        Ok(given.filter(|(name, _)| !open.contains(name)).collect())
    }
}

/// What was written.
struct Written {
    bytes: u64,
    /// A command that makes use of it.
    next: Option<String>,
}

/// A path for a command line.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/\\:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{text}'") }
}
