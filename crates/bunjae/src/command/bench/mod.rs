//! `bunjae bench`: how long models take, and what they take.

mod memory;
mod onnxruntime;
mod pace;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bunjae_engine::{Input, Model, Output as Taken, Session, multiply_add_peak};
use bunjae_ir::{Bindings, Graph};
use bunjae_measure::latency::{Contestant, Statistics};
use bunjae_measure::memory::peak_resident;
use bunjae_report::Timing;
use bunjae_tensor::Tensor;
use clap::{Args, ValueEnum};

use self::onnxruntime::OnnxRuntime;
pub(crate) use self::pace::Pace;
pub(crate) use self::report::Plan;
use self::report::{Benchmark, Row};
use crate::args::Sizes;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::output::Output;
use crate::runnable::{Compiling, Runnable, samples};

/// Time spent on measuring what the processor can do at best.
const PEAK_BUDGET: Duration = Duration::from_millis(50);

/// Measure how long models take: median, tail, throughput, memory, share of what the machine can do
///
/// Every model runs on the same seeded input, first some runs that do not count, then so many runs
/// and seconds as are asked for. Several models, and other runtimes, take turns in alternating order,
/// so that what slows the machine down for a while hits all alike. The first of the table is what
/// the others are compared with. Close other programs, and compare only figures of one run.
///
/// The peak of resident memory is that of a process that reads, compiles and runs this model and
/// does nothing else. The share of the peak compares multiply-accumulates per second with what the
/// cores reach with all operands in registers, measured right before.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae bench model.onnx smaller.onnx --threads 1,2\n  \
    bunjae bench model.onnx --against onnxruntime --seconds 2\n  \
    bunjae bench model.onnx --profile")]
pub(crate) struct Bench {
    /// ONNX files, or what `bunjae compile` made of them
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Show the plan of each model step by step, and time nothing
    #[arg(long, conflicts_with_all = ["profile", "against"])]
    explain: bool,
    /// Show the plan of each model step by step with the time of each step
    #[arg(long)]
    profile: bool,
    /// Measure another runtime beside, on the same models, input and number of threads
    #[arg(long, value_enum, value_name = "RUNTIME")]
    against: Option<Against>,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    compiling: Compiling,
    #[command(flatten)]
    sizes: Sizes,
    /// Whether this process does other things as well, which take memory.
    #[arg(skip)]
    shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// ONNX Runtime, through the Python that BUNJAE_PYTHON names, or python3
    #[value(name = "onnxruntime")]
    OnnxRuntime,
}

/// One of our models, with memory for a run.
pub(super) struct Ours {
    session: Session,
    inputs: Arc<Vec<Tensor>>,
    outputs: Vec<Tensor>,
}

impl Ours {
    pub(super) fn new(
        model: Arc<Model>,
        threads: usize,
        inputs: Arc<Vec<Tensor>>,
    ) -> Fallible<Ours> {
        let outputs = model.outputs().iter();
        let outputs = outputs.map(|port| Tensor::zeros(port.dtype, &port.shape));
        let outputs = outputs.collect::<Result<_, _>>().map_err(Failure::new)?;
        let session = Session::with_threads(model, threads).map_err(Failure::new)?;
        Ok(Ours { session, inputs, outputs })
    }
}

impl Contestant for Ours {
    type Error = Failure;

    fn run(&mut self, runs: usize) -> Fallible<Vec<Duration>> {
        let inputs: Vec<Input<'_>> = self.inputs.iter().map(Input::from).collect();
        let mut outputs: Vec<Taken<'_>> = self.outputs.iter_mut().map(Taken::from).collect();
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            self.session.run(&inputs, &mut outputs).map_err(Failure::new)?;
            times.push(start.elapsed());
        }
        Ok(times)
    }
}

/// A model ready for any number of threads.
struct Entry {
    path: PathBuf,
    model: Arc<Model>,
    /// Values of the sizes that it leaves open.
    sizes: Bindings,
    inputs: Arc<Vec<Tensor>>,
    macs: u64,
    /// Pictures in a run: the first dimension of the first input.
    batch: usize,
    prepare_ms: f64,
}

/// How long models take, for a report.
pub(crate) struct Timings {
    /// For each model one for each number of threads.
    pub(crate) of_models: Vec<Vec<Timing>>,
    /// The instruction set of the kernels.
    pub(crate) isa: Option<&'static str>,
}

/// Times models against each other, as `bunjae bench` does.
///
/// # Errors
/// A model cannot be read, compiled or run with these sizes.
pub(crate) fn timings(
    models: &[PathBuf],
    pace: &Pace,
    (compiling, sizes): (&Compiling, &Sizes),
    output: &Output,
) -> Fallible<Timings> {
    let bench = Bench {
        models: models.to_vec(),
        explain: false,
        profile: false,
        against: None,
        pace: pace.clone(),
        compiling: compiling.clone(),
        sizes: sizes.clone(),
        shared: true,
    };
    let entries = bench.entries(output)?;
    let benchmark = bench.measured(&entries, output)?;
    let of = |at: usize| {
        let rows = benchmark.results.iter().skip(at).step_by(entries.len().max(1));
        rows.map(Row::timing).collect()
    };
    Ok(Timings { of_models: (0..entries.len()).map(of).collect(), isa: benchmark.isa })
}

impl Bench {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let entries = self.entries(output)?;
        if self.explain {
            let plan = |entry: &Entry| Plan::explained(&shown(entry), &entry.model.explain());
            output.report(&Benchmark {
                plans: entries.iter().map(plan).collect(),
                ..self.benchmark(&entries)
            })?;
            return Ok(Outcome::Done);
        }
        output.report(&self.measured(&entries, output)?)?;
        Ok(Outcome::Done)
    }

    /// Measures all models with every number of threads, the first number first.
    fn measured(&self, entries: &[Entry], output: &Output) -> Fallible<Benchmark> {
        let mut benchmark = self.benchmark(entries);
        for threads in &self.pace.threads {
            output.progress(&format!("measuring with {threads} threads"));
            self.measure(threads.get(), entries, &mut benchmark, output)?;
        }
        benchmark.compare();
        Ok(benchmark)
    }

    /// Compiles the models and makes their input.
    fn entries(&self, output: &Output) -> Fallible<Vec<Entry>> {
        let threads = self.pace.threads.iter().max().map_or(1, |threads| threads.get());
        let mut opened = Vec::new();
        for path in &self.models {
            let start = Instant::now();
            opened.push((Runnable::open(path, &self.compiling, output)?, start.elapsed()));
        }
        let compiled = opened.iter().find(|(runnable, _)| !runnable.is_onnx());
        if let (Some(against), Some((runnable, _))) = (self.against, compiled) {
            let Against::OnnxRuntime = against;
            let what = format!("ONNX Runtime cannot read {}", runnable.path.display());
            return Err(Failure::new(what).hint("give the ONNX file that it was made of"));
        }
        let graphs: Vec<&Graph> = opened.iter().map(|(runnable, _)| runnable.graph()).collect();
        let sizes = self.sizes.bindings(&graphs)?;
        let entry = |(runnable, reading): &(Runnable, Duration)| {
            let start = Instant::now();
            let mut sizes = sizes.clone();
            let open = runnable.graph().symbols();
            sizes.retain(|name, _| open.contains(name));
            let model = runnable.compile(&self.compiling, threads, sizes.clone())?;
            let prepare_ms = 1e3 * (*reading + start.elapsed()).as_secs_f64();
            let inputs = Arc::new(samples(&model, self.pace.seed)?);
            let macs = model.explain().steps.iter().map(|step| step.macs).sum();
            let batch = model.inputs().first().and_then(|port| port.shape.first());
            let batch = batch.copied().unwrap_or(1);
            Ok(Entry { path: runnable.path.clone(), model, sizes, inputs, macs, batch, prepare_ms })
        };
        opened.iter().map(entry).collect()
    }

    fn benchmark(&self, entries: &[Entry]) -> Benchmark {
        let isa = entries.first().map(|entry| entry.model.isa());
        let peak = isa.and_then(|isa| multiply_add_peak(isa, PEAK_BUDGET).ok());
        Benchmark {
            protocol: self.pace.protocol(),
            seed: self.pace.seed,
            isa: isa.map(|isa| isa.name()),
            peak_macs_per_second: peak,
            results: Vec::new(),
            plans: Vec::new(),
        }
    }

    /// Measures all models with this number of threads.
    fn measure(
        &self,
        threads: usize,
        entries: &[Entry],
        benchmark: &mut Benchmark,
        output: &Output,
    ) -> Fallible<()> {
        let mut ours = entries
            .iter()
            .map(|entry| Ours::new(entry.model.clone(), threads, entry.inputs.clone()))
            .collect::<Fallible<Vec<Ours>>>()?;
        let mut theirs = Vec::new();
        if self.against == Some(Against::OnnxRuntime) {
            for entry in entries {
                let ports = entry.model.inputs();
                theirs.push(OnnxRuntime::start(&entry.path, threads, ports, &entry.inputs)?);
            }
        }
        let mut contestants: Vec<&mut dyn Contestant<Error = Failure>> = Vec::new();
        contestants.extend(ours.iter_mut().map(|ours| ours as _));
        contestants.extend(theirs.iter_mut().map(|theirs| theirs as _));
        let times = benchmark.protocol.measure(&mut contestants)?;
        let mut statistics = times.into_iter().map(Statistics::of);
        let peak = benchmark.peak_macs_per_second;
        // What this process took before, for other commands or models, does not count.
        let shared = self.shared || output.is_captured();
        let alone = entries.len() * self.pace.threads.len() == 1 && !shared;
        for (entry, statistics) in entries.iter().zip(statistics.by_ref()) {
            let resident = match alone && !self.profile {
                true => peak_resident(),
                false => memory::peak_of_a_process(&entry.path, &self.arguments(entry, threads)),
            };
            let row = Row::new(shown(entry), "bunjae", threads, entry.batch, statistics);
            let per_second = 1e3 * entry.macs as f64 / row.statistics.median_ms;
            let share = peak.map(|peak| per_second / (peak * threads as f64));
            benchmark.results.push(Row {
                prepare_ms: entry.prepare_ms,
                macs: Some(entry.macs),
                share_of_peak: share.filter(|share| share.is_finite() && entry.macs > 0),
                arena_bytes: Some(entry.model.arena_bytes() as u64),
                weight_bytes: Some(entry.model.weight_bytes() as u64),
                peak_resident_bytes: resident,
                ..row
            });
        }
        for (at, (theirs, statistics)) in theirs.iter().zip(statistics).enumerate() {
            let Some((entry, ours)) = entries.get(at).zip(ours.get(at)) else { continue };
            let engine = format!("onnxruntime {}", theirs.version);
            let row = Row::new(shown(entry), &engine, threads, entry.batch, statistics);
            benchmark.results.push(Row {
                prepare_ms: theirs.prepare_ms,
                peak_resident_bytes: theirs.peak_resident_bytes,
                largest_difference: Some(difference(&ours.outputs, &theirs.outputs)?),
                ..row
            });
        }
        if self.profile {
            for (entry, ours) in entries.iter().zip(&mut ours) {
                let inputs: Vec<Input<'_>> = entry.inputs.iter().map(Input::from).collect();
                let profile = ours.session.profile(&inputs, self.pace.runs.get());
                let profile = profile.map_err(Failure::new)?;
                benchmark.plans.push(Plan::timed(&shown(entry), &profile));
            }
        }
        Ok(())
    }

    /// The arguments that have another process run the same.
    fn arguments(&self, entry: &Entry, threads: usize) -> Vec<String> {
        let mut arguments = vec![format!("--threads={threads}")];
        arguments.extend(self.compiling.isa.map(|isa| format!("--isa={isa}")));
        arguments.extend(self.compiling.tune.then(|| "--tune".to_string()));
        arguments.extend(entry.sizes.iter().map(|(name, value)| format!("--size={name}={value}")));
        arguments
    }
}

fn shown(entry: &Entry) -> String {
    entry.path.display().to_string()
}

/// How far the outputs of two runtimes lie apart at most.
fn difference(ours: &[Tensor], theirs: &[Vec<f64>]) -> Fallible<f64> {
    let lengths = |lengths: Vec<usize>| format!("{lengths:?}");
    let (our, their): (Vec<usize>, Vec<usize>) =
        (ours.iter().map(Tensor::len).collect(), theirs.iter().map(Vec::len).collect());
    if our != their {
        let (our, their) = (lengths(our), lengths(their));
        let what = format!("outputs of {our} elements here, of {their} in the other runtime");
        return Err(Failure::new(what));
    }
    let pairs = ours.iter().map(Tensor::to_f64_vec).zip(theirs);
    let apart = pairs.flat_map(|(ours, theirs)| {
        let apart = |(ours, theirs): (f64, &f64)| (ours - theirs).abs();
        ours.into_iter().zip(theirs).map(apart).collect::<Vec<_>>()
    });
    // Where one is no number, neither is the difference.
    Ok(apart.fold(0.0, |most: f64, apart| if apart <= most { most } else { apart }))
}
