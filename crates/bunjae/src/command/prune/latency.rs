//! Cutting down to a latency that is measured on this machine.

use std::sync::Arc;

use bunjae_compress::{Settings, smallest_ratio};
use bunjae_engine::{CompileOptions, Model};
use bunjae_ir::{Bindings, Graph};
use bunjae_measure::latency::{Contestant, Protocol, Statistics};
use serde::Serialize;

use super::refusals::failure;
use crate::command::bench::Ours;
use crate::failure::{Failure, Fallible};
use crate::number::percent;
use crate::output::Output;
use crate::runnable::samples;

/// How fast a model should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// At most this share of the time that it takes uncut.
    Share(f64),
    /// At most so many milliseconds.
    Milliseconds(f64),
}

/// The time of a run before and after, measured in turns.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    /// Medians.
    pub(super) before_ms: f64,
    pub(super) after_ms: f64,
    /// The second over the first.
    pub(super) share: f64,
    /// Runs of each.
    pub(super) runs: usize,
    pub(super) threads: usize,
}

impl Wish {
    fn is_met(self, latency: &Latency) -> bool {
        match self {
            Wish::Share(share) => latency.share <= share,
            Wish::Milliseconds(most) => latency.after_ms <= most,
        }
    }
}

/// Short, as a search asks for many: what is off is off for both, as they take turns.
const SEARCH: Protocol = Protocol { warmup: 3, runs: 20, seconds: 0.1 };

/// For the figures that are reported.
const FINAL: Protocol = Protocol { warmup: 5, runs: 50, seconds: 0.5 };

/// Times networks against the one that they come from.
pub(super) struct Stopwatch {
    whole: Arc<Model>,
    bindings: Bindings,
    threads: usize,
}

impl Stopwatch {
    pub(super) fn new(graph: &Graph, bindings: &Bindings, threads: usize) -> Fallible<Stopwatch> {
        let whole = compiled(graph, bindings, threads)?;
        Ok(Stopwatch { whole, bindings: bindings.clone(), threads })
    }

    fn time(&self, graph: &Graph, protocol: Protocol) -> Fallible<Latency> {
        let contestant = |model: Arc<Model>| {
            let inputs = Arc::new(samples(&model, 0)?);
            Ours::new(model, self.threads, inputs)
        };
        let mut whole = contestant(Arc::clone(&self.whole))?;
        let mut cut = contestant(compiled(graph, &self.bindings, self.threads)?)?;
        let mut contestants: [&mut dyn Contestant<Error = Failure>; 2] = [&mut whole, &mut cut];
        let times = protocol.measure(&mut contestants)?;
        let mut statistics = times.into_iter().map(Statistics::of);
        let (before, after) = (statistics.next(), statistics.next());
        let median = |own: Option<Statistics>| own.map_or(0.0, |own| own.median_ms);
        let (before_ms, after_ms) = (median(before), median(after));
        let runs = after.map_or(0, |after| after.runs);
        let share = if before_ms > 0.0 { after_ms / before_ms } else { 1.0 };
        Ok(Latency { before_ms, after_ms, share, runs, threads: self.threads })
    }

    /// The figures of a report.
    pub(super) fn measure(&self, graph: &Graph) -> Fallible<Latency> {
        self.time(graph, FINAL)
    }

    /// The ratio by which the wish is met.
    pub(super) fn search(
        &self,
        graph: &Graph,
        settings: &Settings,
        wish: Wish,
        output: &Output,
    ) -> Fallible<f64> {
        let mut last = None;
        let suits = |cut: Option<&Graph>| {
            let mut latency = self.time(cut.unwrap_or(graph), SEARCH).map_err(Refusal::Failure)?;
            if cut.is_none() {
                // Of itself, whatever two measurements of the same network say.
                latency.share = 1.0;
            }
            last = Some(latency);
            output.progress(&format!(
                "a candidate takes {:.3} ms of {:.3} ({})",
                latency.after_ms,
                latency.before_ms,
                percent(latency.share)
            ));
            Ok(wish.is_met(&latency))
        };
        match smallest_ratio::<Refusal>(graph, settings, suits) {
            Ok(Some(ratio)) => Ok(ratio),
            Ok(None) => {
                let least = last.map_or(String::new(), |last: Latency| {
                    let (ms, share) = (last.after_ms, percent(last.share));
                    format!(
                        ": with every group cut as far as it may be, it is {ms:.3} ms ({share})"
                    )
                });
                let wanted = match wish {
                    Wish::Share(share) => percent(share),
                    Wish::Milliseconds(most) => format!("{most} ms"),
                };
                let limited = settings.max_ratio < 1.0 || !settings.ignore.is_empty();
                Err(Failure::new(format!("cannot bring the latency down to {wanted}{least}"))
                    .maybe_hint(
                        limited.then_some("a larger `--max-ratio` or fewer `--ignore` allow more"),
                    ))
            }
            Err(Refusal::Failure(failure)) => Err(failure),
            Err(Refusal::Prune(error)) => Err(failure(graph, settings, error)),
        }
    }
}

fn compiled(graph: &Graph, bindings: &Bindings, threads: usize) -> Fallible<Arc<Model>> {
    let sizes = bindings.clone();
    let options = CompileOptions { threads, sizes, ..CompileOptions::default() };
    Model::compile(graph, &options).map(Arc::new).map_err(Failure::new)
}

/// Why a search ends without an answer.
enum Refusal {
    Prune(bunjae_compress::PruneError),
    Failure(Failure),
}

impl From<bunjae_compress::PruneError> for Refusal {
    fn from(error: bunjae_compress::PruneError) -> Self {
        Refusal::Prune(error)
    }
}
