//! The trade-offs as a picture of their own.

use super::trade_offs::trade_offs;
use crate::chart::side_by_side;
use crate::error::ReportError;
use crate::record::Report;
use crate::summary::summaries;

/// Accuracy against latency, size and MACs as one SVG picture, light or dark as its viewer is; `None`
/// where no model was scored, or nothing else of it is known.
///
/// # Errors
/// [`ReportError::Chart`] where a chart cannot be drawn.
pub fn picture(report: &Report) -> Result<Option<String>, ReportError> {
    let charts = trade_offs(&summaries(report))?;
    let charts: Vec<_> =
        charts.into_iter().map(|trade_off| (trade_off.title, trade_off.chart)).collect();
    Ok((!charts.is_empty()).then(|| side_by_side(&report.title, &charts)))
}
