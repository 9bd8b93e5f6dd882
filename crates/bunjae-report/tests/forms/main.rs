//! The forms of a report: what people read, and what programs read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod page;
mod sample;

use bunjae_report::{Model, Report, Run, json, markdown, text};
use sample::report;

/// The schema that is handed to readers of `report.json`.
fn schema() -> jsonschema::Validator {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/report.schema.json");
    let schema = std::fs::read_to_string(path).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap()
}

#[test]
fn the_text_compares_with_the_first_model() {
    insta::assert_snapshot!(text(&report()));
}

#[test]
fn the_markdown_is_one_table() {
    insta::assert_snapshot!(markdown(&report()));
}

#[test]
fn a_report_about_nothing_has_no_tables() {
    assert_eq!(text(&Report::new("t")), "");
    assert_eq!(markdown(&Report::new("t")), "| model |\n|---|\n");
}

#[test]
fn names_cannot_control_a_terminal() {
    let mut report = report();
    report.models[1].name = "red\u{1b}[31m\nnew line".into();
    assert!(text(&report).contains("red\\u{1b}[31m\\nnew line"));
    assert!(!text(&report).contains('\u{1b}'));
}

#[test]
fn wide_letters_take_two_places() {
    let mut report = report();
    report.models[0].name = "교사".into();
    let text = text(&report);
    let widths: Vec<usize> =
        text.lines().take(3).map(unicode_width::UnicodeWidthStr::width).collect();
    // The base has no change, so its row is shorter by that column.
    assert!(widths[0] > 20 && widths[0] == widths[2], "{text}");
    assert!(text.contains("교사   "), "{text}");
}

#[test]
fn the_json_is_what_the_schema_says() {
    let schema = schema();
    for report in [report(), Report::new("nothing"), sparse()] {
        let value: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
        let errors: Vec<String> =
            schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{value:#}");
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let schema = schema();
    let whole: serde_json::Value = serde_json::from_str(&json(&report()).unwrap()).unwrap();
    assert!(schema.is_valid(&whole));
    let mut changed = whole.clone();
    changed["models"][0]["runs"][0]["cost"]["macs"] = "many".into();
    assert!(!schema.is_valid(&changed), "MACs are a number");
    let mut changed = whole.clone();
    changed["summary"][0]["figures"]["beauty"] = changed["summary"][0]["figures"]["macs"].clone();
    assert!(!schema.is_valid(&changed), "no such measure");
    let mut changed = whole;
    changed.as_object_mut().unwrap().remove("environment");
    assert!(!schema.is_valid(&changed), "the environment is missing");
}

/// A run of which nothing is known.
fn sparse() -> Report {
    let mut report = Report::new("sparse");
    report.models.push(Model::new("nothing", vec![Run::default()]));
    report
}

#[test]
fn the_json_reads_back_as_the_same_report() {
    for report in [report(), sparse()] {
        let back: Report = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(back, report);
    }
}

#[test]
fn what_is_missing_is_missing_in_every_form() {
    let report = report();
    let value: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
    let figures = value["summary"][2]["figures"].as_object().unwrap();
    assert_eq!(figures.keys().collect::<Vec<_>>(), ["file_bytes"]);
    let row = |text: &str, start: &str| {
        text.lines().find(|line| line.starts_with(start)).unwrap().to_string()
    };
    let quality = row(&text(&report), "other ");
    let cells: Vec<&str> = quality.split_whitespace().collect();
    assert_eq!(cells, ["other", "-", "-"]);
    let cells = row(&markdown(&report), "| other ");
    assert_eq!(cells.matches("| - ").count(), 12, "{cells}");
}
