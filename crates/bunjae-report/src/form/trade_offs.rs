//! Accuracy against what it costs.

use super::shown;
use crate::chart::{Chart, Dot, Unit, scatter};
use crate::error::ReportError;
use crate::measure::Measure;
use crate::pareto::{Point, front};
use crate::summary::{Figure, Summary};

/// A chart of accuracy against one cost.
pub(super) struct TradeOff {
    pub(super) title: String,
    /// The names of the models on the front.
    pub(super) front: String,
    pub(super) chart: Chart,
}

/// Accuracy against latency, size and MACs, as far as they are known.
pub(super) fn trade_offs(rows: &[Summary]) -> Result<Vec<TradeOff>, ReportError> {
    let costs = [
        (Measure::MedianMs, "latency", "median ms of a run", Unit::Count),
        (Measure::FileBytes, "size", "size on disk", Unit::Bytes),
        (Measure::Macs, "MACs", "MACs of a run", Unit::Count),
    ];
    let mut charts = Vec::new();
    for (cost, short, axis, unit) in costs {
        let dots = dots(rows, cost);
        if dots.is_empty() {
            continue;
        }
        let points: Vec<Point> = dots.iter().map(|dot| dot.point).collect();
        let on = front(&points);
        let best = dots.iter().zip(on).filter(|(_, on)| *on).map(|(dot, _)| &*dot.name);
        let front = best.collect::<Vec<_>>().join(", ");
        let about = format!("Accuracy against {short}. On the Pareto front: {front}.");
        let chart = scatter(&dots, axis, unit, "accuracy", about)?;
        charts.push(TradeOff { title: format!("Accuracy against {short}"), front, chart });
    }
    Ok(charts)
}

fn dots(rows: &[Summary], cost: Measure) -> Vec<Dot> {
    let dot = |(series, row): (usize, &Summary)| {
        let gain = row.figures.get(&Measure::Accuracy)?;
        let paid = row.figures.get(&cost)?;
        let (accuracy, price) = (words(Measure::Accuracy, row, gain), words(cost, row, paid));
        Some(Dot {
            name: row.model.clone(),
            title: format!("{}: {accuracy}, {price}", row.model),
            point: Point { cost: paid.mean, gain: gain.mean },
            spread: gain.spread,
            series,
        })
    };
    rows.iter().enumerate().filter_map(dot).collect()
}

/// `median ms 2.500`.
pub(super) fn words(measure: Measure, row: &Summary, figure: &Figure) -> String {
    format!("{} {}", measure.label(), shown(measure, row, figure))
}
