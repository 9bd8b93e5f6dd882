//! What pruning tells: what was asked for and what came out, what was left alone and why, what it
//! saves, and whether the check held.

use bunjae_compress::{Check, GroupPlan, LayerZeros, Sizes};
use serde::Serialize;

use super::figures::{Learning, write_learning};
use super::latency::Latency;
use crate::number::{difference, factor, first_few, percent, plural, thousands};
use crate::output::Report;
use crate::page::{Align, Page, Table, Tone};

/// The most layers of a group that text names.
const SHOWN: usize = 2;

/// The most weights that text names.
const UNTIED: usize = 5;

/// What can be cut and what cannot.
#[derive(Serialize)]
pub(super) struct Explanation {
    pub(super) model: String,
    pub(super) groups: Vec<Explained>,
}

#[derive(Serialize)]
pub(super) struct Explained {
    pub(super) layers: Vec<String>,
    pub(super) channels: usize,
    /// How many would stay, where a target was given.
    pub(super) kept: Option<usize>,
    /// Why all stay, where all do.
    pub(super) reason: Option<String>,
}

/// A model with channels removed.
#[derive(Serialize)]
pub(super) struct PruneReport {
    pub(super) model: String,
    /// The file written; none where the check failed.
    pub(super) output: Option<String>,
    pub(super) settings: String,
    /// The ratio used: the one asked for, or the one found for a target.
    pub(super) ratio: f64,
    pub(super) groups: Vec<Cut>,
    /// Weights that layers shared because their values were equal; every layer has its own now.
    pub(super) untied: Vec<String>,
    pub(super) before: FileSizes,
    pub(super) after: FileSizes,
    /// Where it was the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Latency>,
    /// Where there were pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) learning: Option<Learning>,
    pub(super) check: Option<Check>,
}

#[derive(Serialize)]
pub(super) struct Cut {
    #[serde(flatten)]
    plan: GroupPlan,
    /// The share of the channels that went.
    achieved: f64,
}

impl Cut {
    pub(super) fn new(plan: GroupPlan) -> Self {
        Cut { achieved: plan.achieved(), plan }
    }
}

/// A model with weights set to zero.
#[derive(Serialize)]
pub(super) struct MaskReport {
    pub(super) model: String,
    pub(super) output: String,
    pub(super) settings: String,
    pub(super) layers: Vec<LayerZeros>,
    pub(super) before: FileSizes,
    pub(super) after: FileSizes,
}

/// The sizes of a model and of its file, where there is one.
#[derive(Serialize)]
pub(super) struct FileSizes {
    #[serde(flatten)]
    pub(super) sizes: Sizes,
    pub(super) file_bytes: Option<u64>,
}

impl Report for Explanation {
    const COMMAND: &'static str = "prune";

    fn write(&self, page: &mut Page) {
        let layers = |group: &Explained| first_few(group.layers.iter().map(String::as_str), SHOWN);
        let planned = self.groups.iter().any(|group| group.kept.is_some());
        let (whole, cut): (Vec<_>, Vec<_>) =
            self.groups.iter().partition(|group| group.reason.is_some());
        page.line(&format!(
            "{}: {} of {} groups of channels {}",
            self.model,
            cut.len(),
            self.groups.len(),
            if planned { "would be cut" } else { "can be cut" }
        ));
        if !cut.is_empty() {
            page.heading(if planned { "would be cut" } else { "can be cut" });
            let kept =
                |group: &Explained| group.kept.map_or(String::new(), |kept| thousands(kept as u64));
            let columns =
                [("layers", Align::Left), ("channels", Align::Right), ("kept", Align::Right)];
            let mut table =
                if planned { Table::new(columns) } else { Table::new([columns[0], columns[1]]) };
            for group in cut {
                let channels = thousands(group.channels as u64);
                if planned {
                    table.row([layers(group), channels, kept(group)]);
                } else {
                    table.row([layers(group), channels]);
                }
            }
            page.table(&table);
        }
        let whole = whole.iter().map(|group| (layers(group), group.channels, &group.reason));
        left_alone(page, if planned { "would be left alone" } else { "cannot be cut" }, whole);
    }
}

impl Report for PruneReport {
    const COMMAND: &'static str = "prune";

    fn write(&self, page: &mut Page) {
        let layers = |plan: &GroupPlan| first_few(plan.layers.iter().map(String::as_str), SHOWN);
        page.fields([
            ("model", self.model.as_str()),
            ("settings", self.settings.as_str()),
            ("written", self.output.as_deref().unwrap_or("nothing")),
        ]);
        let (whole, cut): (Vec<_>, Vec<_>) =
            self.groups.iter().partition(|group| group.plan.reason.is_some());
        page.heading("groups cut");
        let mut table = Table::new([
            ("layers", Align::Left),
            ("channels", Align::Right),
            ("kept", Align::Right),
            ("requested", Align::Right),
            ("achieved", Align::Right),
        ]);
        for Cut { plan, achieved } in cut {
            table.row([
                layers(plan),
                thousands(plan.channels as u64),
                thousands(plan.kept as u64),
                plan.requested.map_or("ranked".to_string(), percent),
                percent(*achieved),
            ]);
        }
        page.table(&table);
        let whole = whole
            .iter()
            .map(|group| (layers(&group.plan), group.plan.channels, &group.plan.reason));
        left_alone(page, "groups left alone", whole);
        if !self.untied.is_empty() {
            page.heading("weights of equal values, given to each of their layers");
            page.line(&first_few(self.untied.iter().map(String::as_str), UNTIED));
        }
        sizes(page, &self.before, &self.after);
        if let Some(latency) = &self.latency {
            page.gap();
            let Latency { before_ms, after_ms, share, runs, threads } = latency;
            page.line(&format!(
                "a run takes {after_ms:.3} ms of {before_ms:.3} ({}): medians of {runs} runs in turns, \
                 {}",
                percent(*share),
                plural(*threads, "thread"),
            ));
        }
        if let Some(learning) = &self.learning {
            write_learning(page, learning);
        }
        page.heading("check: removed = masked");
        let Some(check) = &self.check else {
            page.toned(Tone::Changed, "skipped, as asked");
            return;
        };
        let mut table = Table::new([("output", Align::Left), ("largest difference", Align::Right)]);
        for output in &check.outputs {
            table.row([output.name.clone(), difference(output.largest_difference)]);
        }
        page.table(&table);
        if check.passed {
            page.toned(Tone::Good, &format!("equal on random input (seed {})", check.seed));
        } else {
            let what = format!("{}, on random input (seed {})", check.fault(), check.seed);
            page.toned(Tone::Bad, &what);
        }
    }
}

impl Report for MaskReport {
    const COMMAND: &'static str = "prune";

    fn write(&self, page: &mut Page) {
        page.fields([
            ("model", &self.model),
            ("settings", &self.settings),
            ("written", &self.output),
        ]);
        page.heading("weights set to zero");
        let mut table = Table::new([
            ("layer", Align::Left),
            ("weights", Align::Right),
            ("zero", Align::Right),
            ("share", Align::Right),
        ]);
        for layer in &self.layers {
            table.row([
                layer.layer.clone(),
                thousands(layer.weights as u64),
                thousands(layer.zeros as u64),
                percent(layer.zeros as f64 / layer.weights.max(1) as f64),
            ]);
        }
        page.table(&table);
        sizes(page, &self.before, &self.after);
        page.gap();
        page.line(
            "Zeros alone save neither time nor bytes: a dense runtime stores and multiplies them \
             like any other number.",
        );
        page.line(
            "To make the model smaller and faster, remove channels: leave out --unstructured.",
        );
    }
}

fn left_alone<'a>(
    page: &mut Page,
    heading: &str,
    groups: impl Iterator<Item = (String, usize, &'a Option<String>)>,
) {
    let mut table =
        Table::new([("layers", Align::Left), ("channels", Align::Right), ("reason", Align::Left)]);
    for (layers, channels, reason) in groups {
        table.row([layers, thousands(channels as u64), reason.clone().unwrap_or_default()]);
    }
    if !table.is_empty() {
        page.heading(heading);
        page.table(&table);
    }
}

/// The table of what it saves.
fn sizes(page: &mut Page, before: &FileSizes, after: &FileSizes) {
    page.gap();
    let mut table = Table::new([
        ("", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
        ("smaller", Align::Right),
    ]);
    let rows = [
        ("parameters", Some(before.sizes.parameters), Some(after.sizes.parameters)),
        ("  non-zero", Some(before.sizes.nonzero), Some(after.sizes.nonzero)),
        ("MACs", Some(before.sizes.macs), Some(after.sizes.macs)),
        ("bytes of weights", Some(before.sizes.weight_bytes), Some(after.sizes.weight_bytes)),
        ("bytes on disk", before.file_bytes, after.file_bytes),
        ("peak bytes of activations", Some(before.sizes.peak_bytes), Some(after.sizes.peak_bytes)),
    ];
    for (name, before, after) in rows {
        let count = |count: Option<u64>| count.map_or("-".to_string(), thousands);
        let ratio = before.zip(after).map_or("-".to_string(), |(a, b)| factor(a, b));
        table.row([name.to_string(), count(before), count(after), ratio]);
    }
    page.table(&table);
}
