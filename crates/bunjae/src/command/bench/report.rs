//! What a benchmark found, as a table and as JSON.

use bunjae_engine::{Explanation, Profile, StepReport};
use bunjae_measure::latency::{Protocol, Statistics};
use bunjae_report::Timing;
use serde::Serialize;

use crate::number::{bytes, difference, percent, thousands};
use crate::output::Report;
use crate::page::{Align, Page, Table};

#[derive(Serialize)]
pub(super) struct Benchmark {
    pub(super) protocol: Protocol,
    pub(super) seed: u64,
    pub(super) isa: Option<&'static str>,
    /// Of one core.
    pub(super) peak_macs_per_second: Option<f64>,
    pub(super) results: Vec<Row>,
    pub(super) plans: Vec<Plan>,
}

/// One model in one runtime with so many threads.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) model: String,
    pub(super) engine: String,
    pub(super) threads: usize,
    pub(super) batch: usize,
    #[serde(flatten)]
    pub(super) statistics: Statistics,
    /// Pictures per second at the mean time.
    pub(super) pictures_per_second: f64,
    /// The median, as a multiple of the first result's.
    pub(super) ratio: f64,
    /// Time to read and compile.
    pub(super) prepare_ms: f64,
    pub(super) macs: Option<u64>,
    pub(super) share_of_peak: Option<f64>,
    pub(super) arena_bytes: Option<u64>,
    pub(super) weight_bytes: Option<u64>,
    pub(super) peak_resident_bytes: Option<u64>,
    /// Between an output here and there.
    pub(super) largest_difference: Option<f64>,
}

impl Row {
    pub(super) fn new(
        model: String,
        engine: &str,
        threads: usize,
        batch: usize,
        statistics: Statistics,
    ) -> Row {
        Row {
            model,
            engine: engine.to_string(),
            threads,
            batch,
            statistics,
            pictures_per_second: 1e3 * batch as f64 / statistics.mean_ms,
            ratio: 1.0,
            prepare_ms: 0.0,
            macs: None,
            share_of_peak: None,
            arena_bytes: None,
            weight_bytes: None,
            peak_resident_bytes: None,
            largest_difference: None,
        }
    }

    /// The row as a record.
    pub(super) fn timing(&self) -> Timing {
        let times = &self.statistics;
        Timing {
            engine: self.engine.clone(),
            threads: self.threads as u64,
            batch: self.batch as u64,
            runs: times.runs as u64,
            median_ms: times.median_ms,
            mean_ms: times.mean_ms,
            p90_ms: times.p90_ms,
            p99_ms: times.p99_ms,
            minimum_ms: times.minimum_ms,
            frames_per_second: Some(self.pictures_per_second).filter(|rate| rate.is_finite()),
            arena_bytes: self.arena_bytes,
            peak_resident_bytes: self.peak_resident_bytes,
        }
    }
}

/// What a model does, step by step.
#[derive(Serialize)]
pub(crate) struct Plan {
    model: String,
    isa: &'static str,
    threads: Option<usize>,
    arena_bytes: usize,
    weight_bytes: usize,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    step: String,
    kernel: String,
    reads: Vec<String>,
    writes: Vec<String>,
    macs: u64,
    bytes: u64,
    tasks: usize,
    median_us: Option<f64>,
    share_of_time: Option<f64>,
    share_of_peak: Option<f64>,
}

impl From<&StepReport> for Step {
    fn from(report: &StepReport) -> Step {
        let StepReport { name, kernel, reads, writes, macs, bytes, tasks } = report.clone();
        let (median_us, share_of_time, share_of_peak) = (None, None, None);
        Step {
            step: name,
            kernel,
            reads,
            writes,
            macs,
            bytes,
            tasks,
            median_us,
            share_of_time,
            share_of_peak,
        }
    }
}

impl Plan {
    pub(crate) fn explained(model: &str, plan: &Explanation) -> Plan {
        Plan {
            model: model.to_string(),
            isa: plan.isa.name(),
            threads: None,
            arena_bytes: plan.arena_bytes,
            weight_bytes: plan.weight_bytes,
            steps: plan.steps.iter().map(Step::from).collect(),
        }
    }

    pub(super) fn timed(model: &str, profile: &Profile) -> Plan {
        let mut plan = Plan::explained(model, &profile.plan);
        plan.threads = Some(profile.threads);
        let total = profile.total().as_secs_f64();
        for (at, (step, time)) in plan.steps.iter_mut().zip(&profile.medians).enumerate() {
            let seconds = time.as_secs_f64();
            step.median_us = Some(1e6 * seconds);
            step.share_of_time = (total > 0.0).then(|| seconds / total);
            step.share_of_peak = profile.share(at);
        }
        plan
    }

    pub(crate) fn write(&self, page: &mut Page) {
        let threads = self.threads.map(|threads| format!(", {threads} threads"));
        page.heading(&format!("plan of {}{}", self.model, threads.unwrap_or_default()));
        page.fields([
            ("instruction set", self.isa.to_string()),
            ("arena", bytes(self.arena_bytes as u64)),
            ("weights", bytes(self.weight_bytes as u64)),
        ]);
        page.gap();
        let mut table = Table::new([
            ("step", Align::Left),
            ("kernel", Align::Left),
            ("reads", Align::Left),
            ("writes", Align::Left),
            ("MACs", Align::Right),
            ("bytes", Align::Right),
            ("time", Align::Right),
            ("of all", Align::Right),
            ("of peak", Align::Right),
        ]);
        let share = |share: Option<f64>| share.map_or("-".to_string(), percent);
        for step in &self.steps {
            table.row([
                step.step.clone(),
                step.kernel.clone(),
                step.reads.join(" "),
                step.writes.join(" "),
                thousands(step.macs),
                thousands(step.bytes),
                step.median_us.map_or("-".to_string(), |us| format!("{us:.1} us")),
                share(step.share_of_time),
                share(step.share_of_peak),
            ]);
        }
        page.table(&table);
    }
}

impl Benchmark {
    /// Sets the ratios to the first result.
    pub(super) fn compare(&mut self) {
        let first = self.results.first().map_or(0.0, |row| row.statistics.median_ms);
        for row in &mut self.results {
            row.ratio = if first > 0.0 { row.statistics.median_ms / first } else { 1.0 };
        }
    }
}

impl Report for Benchmark {
    const COMMAND: &'static str = "bench";

    fn write(&self, page: &mut Page) {
        if !self.results.is_empty() {
            self.write_times(page);
            self.write_costs(page);
        }
        self.plans.iter().for_each(|plan| plan.write(page));
    }
}

impl Benchmark {
    fn write_times(&self, page: &mut Page) {
        let mut table = Table::new([
            ("model", Align::Left),
            ("engine", Align::Left),
            ("threads", Align::Right),
            ("batch", Align::Right),
            ("median ms", Align::Right),
            ("mean", Align::Right),
            ("p90", Align::Right),
            ("p99", Align::Right),
            ("minimum", Align::Right),
            ("runs", Align::Right),
            ("pictures/s", Align::Right),
            ("ratio", Align::Right),
        ]);
        let ms = |ms: f64| format!("{ms:.3}");
        for row in &self.results {
            let times = &row.statistics;
            table.row([
                row.model.clone(),
                row.engine.clone(),
                row.threads.to_string(),
                row.batch.to_string(),
                ms(times.median_ms),
                ms(times.mean_ms),
                ms(times.p90_ms),
                ms(times.p99_ms),
                ms(times.minimum_ms),
                thousands(times.runs as u64),
                format!("{:.1}", row.pictures_per_second),
                format!("{:.2}x", row.ratio),
            ]);
        }
        page.table(&table);
    }

    fn write_costs(&self, page: &mut Page) {
        page.gap();
        let mut table = Table::new([
            ("model", Align::Left),
            ("engine", Align::Left),
            ("threads", Align::Right),
            ("MACs", Align::Right),
            ("of peak", Align::Right),
            ("arena bytes", Align::Right),
            ("weight bytes", Align::Right),
            ("peak resident bytes", Align::Right),
            ("prepare ms", Align::Right),
            ("difference", Align::Right),
        ]);
        let count = |count: Option<u64>| count.map_or("-".to_string(), thousands);
        for row in &self.results {
            table.row([
                row.model.clone(),
                row.engine.clone(),
                row.threads.to_string(),
                count(row.macs),
                row.share_of_peak.map_or("-".to_string(), percent),
                count(row.arena_bytes),
                count(row.weight_bytes),
                count(row.peak_resident_bytes),
                format!("{:.1}", row.prepare_ms),
                row.largest_difference.map_or("-".to_string(), difference),
            ]);
        }
        page.table(&table);
        let Some((isa, peak)) = self.isa.zip(self.peak_macs_per_second) else { return };
        page.gap();
        page.line(&format!("peak of one core with {isa}: {:.1} GMAC/s", peak / 1e9));
    }
}
