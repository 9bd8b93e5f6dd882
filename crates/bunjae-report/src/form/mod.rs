//! The forms in which a report is read.

mod html;
mod json;
mod markdown;
mod picture;
mod text;
mod trade_offs;

pub use html::html;
pub use json::json;
pub use markdown::markdown;
pub use picture::picture;
pub use text::text;

use crate::measure::Measure;
use crate::summary::{Figure, Summary};

/// What stands where nothing was measured.
const MISSING: &str = "-";

/// The measures that at least one row has.
fn known(rows: &[Summary]) -> Vec<Measure> {
    let known = |measure: &Measure| rows.iter().any(|row| row.figures.contains_key(measure));
    Measure::ALL.into_iter().filter(known).collect()
}

/// A figure with its spread, and with the number of runs that have it where that is not all:
/// `97.10 % ± 0.31`, `1,234 (2 of 3)`.
fn shown(measure: Measure, row: &Summary, figure: &Figure) -> String {
    let mut text = measure.show(figure.mean);
    // All seeds have as many parameters; a spread of nothing says nothing.
    if let Some(spread) = figure.spread.filter(|spread| *spread > 0.0) {
        text.push_str(&format!(" ± {}", measure.show_spread(spread)));
    }
    if figure.runs < row.runs {
        text.push_str(&format!(" ({} of {})", figure.runs, row.runs));
    }
    text
}
