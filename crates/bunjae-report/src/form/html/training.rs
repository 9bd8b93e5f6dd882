//! How the models were trained.

use maud::{Markup, html};

use super::{figure, legend};
use crate::chart::{Curve, Unit, curves};
use crate::error::ReportError;
use crate::record::{Epoch, Report};

/// A figure of an epoch, and how it is shown.
struct Kind {
    title: &'static str,
    axis: &'static str,
    unit: Unit,
    of: fn(&Epoch) -> Option<f64>,
}

const KINDS: [Kind; 4] = [
    Kind {
        title: "Accuracy on the validation pictures",
        axis: "accuracy",
        unit: Unit::Share,
        of: |epoch| epoch.accuracy,
    },
    Kind {
        title: "Loss on the training pictures",
        axis: "loss",
        unit: Unit::Count,
        of: |epoch| Some(epoch.train_loss),
    },
    Kind {
        title: "Cross-entropy on the validation pictures",
        axis: "nats",
        unit: Unit::Count,
        of: |epoch| epoch.loss,
    },
    Kind {
        title: "Learning rate",
        axis: "rate at the end of the epoch",
        unit: Unit::Count,
        of: |epoch| Some(epoch.rate),
    },
];

/// A chart for each figure that some training has, with all trainings in it.
pub(super) fn curves_of(report: &Report) -> Result<Option<Markup>, ReportError> {
    let mut charts = Vec::new();
    for kind in &KINDS {
        let lines = lines(report, kind);
        if lines.is_empty() {
            continue;
        }
        let ends: Vec<&str> = lines.iter().map(|line| &*line.title).collect();
        let about = format!("{} by epoch. {}.", kind.title, ends.join("; "));
        charts.push(figure(kind.title, "", &curves(&lines, kind.axis, kind.unit, about)?));
    }
    let trained =
        |model: &crate::record::Model| model.runs.iter().any(|run| !run.training.is_empty());
    let names: Vec<(usize, &str)> = report
        .models
        .iter()
        .enumerate()
        .filter(|(_, model)| trained(model))
        .map(|(at, model)| (at, &*model.name))
        .collect();
    Ok((!charts.is_empty()).then(|| {
        html! {
            p class="note" {
                "Where a model was trained several times, one training follows on the other; seeds "
                "after the first are drawn thinner."
            }
            (legend(&names))
            div class="grid" { @for chart in &charts { (chart) } }
        }
    }))
}

fn lines(report: &Report, kind: &Kind) -> Vec<Curve> {
    let mut lines = Vec::new();
    for (series, model) in report.models.iter().enumerate() {
        for (nth, run) in model.runs.iter().enumerate() {
            let mut before = 0;
            for training in &run.training {
                let point = |epoch: &Epoch| {
                    let value = (kind.of)(epoch).filter(|value| value.is_finite())?;
                    Some(((before + epoch.epoch) as f64, value))
                };
                let points: Vec<(f64, f64)> = training.epochs.iter().filter_map(point).collect();
                before += training.epochs.last().map_or(0, |epoch| epoch.epoch);
                let Some(&(_, end)) = points.last() else { continue };
                let seed = run.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
                let end = match kind.unit {
                    Unit::Share => crate::number::percent(end),
                    _ => crate::number::digits(end, 3),
                };
                lines.push(Curve {
                    title: format!("{}, {}{seed}: {end} at the end", model.name, training.name),
                    points,
                    series,
                    thin: nth > 0,
                });
            }
        }
    }
    lines
}
