//! What a model does, step by step, and how long it takes.

use std::fmt;
use std::time::Duration;

use bunjae_kernels::{Isa, multiply_add_peak};

use super::model::Model;
use super::view::View;

/// A step of a model, as shown to people.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The paths of the nodes it computes.
    pub name: String,
    /// The kernel and its form.
    pub kernel: String,
    /// Type, shape and layout of what it reads, weights aside.
    pub reads: Vec<String>,
    /// Type, shape and layout of what it writes.
    pub writes: Vec<String>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of operands and results, each counted once.
    pub bytes: u64,
    /// The number of tasks that threads can share.
    pub tasks: usize,
}

/// The plan of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The model's name.
    pub name: String,
    /// The instruction set.
    pub isa: Isa,
    /// Bytes of arena.
    pub arena_bytes: usize,
    /// Bytes of the weights that a run reads.
    pub weight_bytes: usize,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
}

impl Model {
    /// The plan: step, kernel, layout, shapes, multiply-accumulates and bytes.
    pub fn explain(&self) -> Explanation {
        let describe = |view: &View| {
            let dims: Vec<String> = view.dims.iter().map(ToString::to_string).collect();
            format!("{}[{}] {}", view.dtype, dims.join(","), view.layout())
        };
        let steps = self.steps.iter().map(|step| {
            let views = step.views();
            let part = |regions: &[usize]| -> Vec<String> {
                let of = |view: &&&View| regions.contains(&view.region);
                views.iter().filter(of).map(|view| describe(view)).collect()
            };
            let bytes = views.iter().map(|view| (view.elements() * view.dtype.size()) as u64);
            StepReport {
                name: step.name.clone(),
                kernel: step.kernel_name(),
                reads: part(&step.reads),
                writes: part(&step.writes),
                macs: step.macs,
                bytes: bytes.sum(),
                tasks: step.stages().into_iter().max().unwrap_or(1),
            }
        });
        Explanation {
            name: self.name.clone(),
            isa: self.isa,
            arena_bytes: self.arena_bytes(),
            weight_bytes: self.weight_bytes(),
            steps: steps.collect(),
        }
    }
}

/// How long the steps of a model took.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The plan.
    pub plan: Explanation,
    /// The number of threads.
    pub threads: usize,
    /// The median time of each step.
    pub medians: Vec<Duration>,
    /// Multiply-accumulates per second that one core reaches with all operands in registers,
    /// measured just now; 0 where that could not be measured.
    pub peak: f64,
}

impl Profile {
    pub(crate) fn new(model: &Model, threads: usize, mut times: Vec<Vec<Duration>>) -> Profile {
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        let medians = times.iter_mut().map(median).collect();
        let peak = multiply_add_peak(model.isa, Duration::from_millis(20)).unwrap_or(0.0);
        Profile { plan: model.explain(), threads, medians, peak }
    }

    /// The sum of the steps' times.
    pub fn total(&self) -> Duration {
        self.medians.iter().sum()
    }

    /// The share of the peak of all threads that a step reached; `None` where it multiplies
    /// nothing.
    pub fn share(&self, step: usize) -> Option<f64> {
        let macs = self.plan.steps.get(step)?.macs;
        let seconds = self.medians.get(step)?.as_secs_f64();
        (macs > 0 && seconds > 0.0 && self.peak > 0.0)
            .then(|| macs as f64 / seconds / (self.peak * self.threads as f64))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { name, isa, arena_bytes, weight_bytes, steps } = self;
        let count = steps.len();
        writeln!(f, "{name}: {count} steps, {isa}, arena {arena_bytes}, weights {weight_bytes}")?;
        for step in steps {
            let (reads, writes) = (step.reads.join(", "), step.writes.join(", "));
            let StepReport { name, kernel, macs, bytes, tasks, .. } = step;
            writeln!(
                f,
                "{kernel:<34} {macs:>11} {bytes:>10} {tasks:>3}  {reads} -> {writes}  {name}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64();
        let macs: u64 = self.plan.steps.iter().map(|step| step.macs).sum();
        let share = macs as f64 / total / (self.peak * self.threads as f64);
        writeln!(
            f,
            "{}: {:.3} ms, {macs} MACs, {:.1} % of {:.1} GMAC/s on {} threads",
            self.plan.name,
            1e3 * total,
            100.0 * share,
            self.peak * self.threads as f64 / 1e9,
            self.threads
        )?;
        for (index, (step, time)) in self.plan.steps.iter().zip(&self.medians).enumerate() {
            let percent = match self.share(index) {
                Some(share) => format!("{:.1} %", 100.0 * share),
                None => String::new(),
            };
            let micros = 1e6 * time.as_secs_f64();
            let of_total = 100.0 * time.as_secs_f64() / total;
            writeln!(
                f,
                "{micros:>9.1} us {of_total:>5.1} % {percent:>8}  {:<34} {} -> {}  {}",
                step.kernel,
                step.reads.join(", "),
                step.writes.join(", "),
                step.name
            )?;
        }
        Ok(())
    }
}
