//! Why a report cannot be written down.

use thiserror::Error;

/// Why a report has no form.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A record that JSON cannot hold.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A chart does not fit its picture.
    #[error("a chart of the report cannot be drawn: {0}")]
    Chart(String),
}
