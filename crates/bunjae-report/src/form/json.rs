//! The report for programs.

use serde::Serialize;

use crate::error::ReportError;
use crate::record::Report;
use crate::summary::{Summary, summaries};

/// A report with its comparison, as it stands in `report.json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Report of Bunjae"))]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// The comparison: a row for each model, in the same order.
    summary: Vec<Summary>,
}

/// The report as JSON in the form of `docs/reference/report.schema.json`, with the comparison
/// computed from it. Reading it back as a [`Report`] gives the same report.
///
/// # Errors
/// [`ReportError::Json`], which plain data with names for keys does not meet.
pub fn json(report: &Report) -> Result<String, ReportError> {
    let document = Document { report, summary: summaries(report) };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/report.schema.json");

    /// The schema is made from the records and their comments, so that it cannot lie.
    #[test]
    fn the_schema_is_that_of_the_records() {
        let schema = schemars::schema_for!(Document<'static>);
        let expected = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("BUNJAE_BLESS").is_some() {
            std::fs::write(PAGE, &expected).unwrap();
        }
        let found = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            found == expected,
            "docs/reference/report.schema.json is not the schema of the records; \
             BUNJAE_BLESS=1 writes it anew"
        );
    }
}
