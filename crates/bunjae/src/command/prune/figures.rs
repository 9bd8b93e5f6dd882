//! What pruning with pictures tells: what each step cost and brought back, and what the oracle says.

use std::collections::BTreeMap;

use bunjae_compress::{Correlation, Figures, Lesson, Oracle, Step};
use serde::Serialize;

use crate::number::{first_few, percent, thousands};
use crate::output::Report;
use crate::page::{Align, Page, Table};

/// The figures of a model that was cut and trained in turn.
#[derive(Serialize)]
pub(super) struct Learning {
    pub(super) data: String,
    pub(super) data_sha256: String,
    pub(super) train_pictures: usize,
    pub(super) val_pictures: usize,
    /// Before anything was done, on the validation part.
    pub(super) start: Option<Figures>,
    /// The training with a penalty before the first cut.
    pub(super) sparse: Option<Lesson>,
    pub(super) steps: Vec<Step>,
}

/// What the oracle says.
#[derive(Serialize)]
pub(super) struct OracleReport {
    pub(super) model: String,
    pub(super) data: String,
    pub(super) data_sha256: String,
    #[serde(flatten)]
    pub(super) oracle: Oracle,
}

/// The lines of a page that are about figures.
pub(super) fn write_learning(page: &mut Page, learning: &Learning) {
    page.heading("on the validation part");
    let mut table = Table::new([
        ("", Align::Left),
        ("MACs", Align::Right),
        ("epochs", Align::Right),
        ("loss", Align::Right),
        ("accuracy", Align::Right),
        ("macro F1", Align::Right),
    ]);
    let mut row = |what: String, macs: String, epochs: usize, figures: Option<Figures>| {
        let epochs = if epochs == 0 { String::new() } else { epochs.to_string() };
        let share = |get: fn(&Figures) -> f64| {
            figures.as_ref().map_or("-".to_string(), |figures| percent(get(figures)))
        };
        let loss = figures.map_or("-".to_string(), |figures| format!("{:.4}", figures.loss));
        table.row([what, macs, epochs, loss, share(|f| f.accuracy), share(|f| f.macro_f1)]);
    };
    row("before".to_string(), String::new(), 0, learning.start);
    if let Some(sparse) = &learning.sparse {
        let what = "trained with the penalty".to_string();
        row(what, String::new(), sparse.epochs.len(), sparse.figures);
    }
    for (at, step) in learning.steps.iter().enumerate() {
        let cut = match learning.steps.len() {
            1 => "cut".to_string(),
            steps => format!("step {}/{steps}: {} of the cut", at + 1, percent(step.share)),
        };
        row(cut, thousands(step.sizes.macs), 0, step.cut);
        if let Some(lesson) = &step.lesson {
            let what = if lesson.epochs.is_empty() { "  recalibrated" } else { "  trained" };
            row(what.to_string(), String::new(), lesson.epochs.len(), lesson.figures);
        }
    }
    page.table(&table);
}

/// How a coefficient is shown.
fn coefficient(value: Option<f64>) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.3}"))
}

impl Report for OracleReport {
    const COMMAND: &'static str = "prune";

    fn write(&self, page: &mut Page) {
        let oracle = &self.oracle;
        page.fields([
            ("model", self.model.clone()),
            ("data", self.data.clone()),
            ("pictures", thousands(oracle.pictures as u64)),
            ("loss", format!("{:.4}", oracle.loss)),
        ]);
        page.heading("change of the loss without one channel");
        let mut groups: BTreeMap<usize, (&[String], Vec<f64>)> = BTreeMap::new();
        let mut known: Vec<&[String]> = Vec::new();
        for removal in &oracle.removals {
            let layers = removal.layers.as_slice();
            let at = known.iter().position(|own| *own == layers).unwrap_or_else(|| {
                known.push(layers);
                known.len() - 1
            });
            groups.entry(at).or_insert((layers, Vec::new())).1.push(removal.change);
        }
        let mut table = Table::new([
            ("layers", Align::Left),
            ("channels", Align::Right),
            ("least", Align::Right),
            ("median", Align::Right),
            ("most", Align::Right),
        ]);
        for (layers, mut changes) in groups.into_values() {
            changes.sort_by(f64::total_cmp);
            let at = |index: usize| {
                changes.get(index).map_or("-".to_string(), |change| format!("{change:+.5}"))
            };
            table.row([
                first_few(layers.iter().map(String::as_str), 2),
                changes.len().to_string(),
                at(0),
                at(changes.len() / 2),
                at(changes.len().saturating_sub(1)),
            ]);
        }
        page.table(&table);
        page.heading("rank correlation with the absolute change");
        let mut table = Table::new([
            ("criterion", Align::Left),
            ("channels", Align::Right),
            ("Spearman, all", Align::Right),
            ("Kendall, all", Align::Right),
            ("Spearman, within groups", Align::Right),
            ("Kendall, within groups", Align::Right),
        ]);
        for own in &oracle.criteria {
            let [all, within] = [own.all, own.within].map(|Correlation { spearman, kendall }| {
                [coefficient(spearman), coefficient(kendall)]
            });
            let name = serde_json::to_value(own.criterion).ok();
            let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_string();
            let [[all_s, all_k], [within_s, within_k]] = [all, within];
            table.row([name, own.channels.to_string(), all_s, all_k, within_s, within_k]);
        }
        page.table(&table);
    }
}
