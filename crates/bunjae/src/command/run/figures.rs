//! The few figures that say how a stage came out.

use bunjae_recipe::schema::Kind;
use serde_json::Value;

use super::work::Record;
use crate::number::{percent, thousands};

/// Names and values for people, the most telling first.
pub(crate) fn figures(record: &Record) -> Vec<(&'static str, String)> {
    let report = &record.report;
    let share = |value: &Value| value.as_f64().map(percent);
    let count = |value: &Value| value.as_u64().map(thousands);
    let named = |name: &'static str, value: Option<String>| value.map(|value| (name, value));
    let figures = match Kind::find(&record.kind).map(|kind| kind.name) {
        Some("train" | "distill" | "finetune") => {
            // The figures of the best epoch; a run that went on knows only those since then.
            let best = report["best_epoch"].as_u64().unwrap_or(0);
            let epochs = report["epochs"].as_array().map_or(&[][..], Vec::as_slice);
            let epoch = epochs.iter().find(|epoch| epoch["epoch"].as_u64() == best.checked_sub(1));
            let of = |key: &str| epoch.and_then(|epoch| share(&epoch[key]));
            vec![named("accuracy", of("accuracy")), named("macro F1", of("macro_f1"))]
        }
        Some("evaluate") => vec![
            named("accuracy", share(&report["accuracy"])),
            named("macro F1", share(&report["macro"]["f1"])),
            named("check", (!record.passed).then(|| "not passed".to_owned())),
        ],
        Some("prune") => vec![
            named("parameters", count(&report["after"]["parameters"])),
            named("MACs", count(&report["after"]["macs"])),
        ],
        Some("new") => vec![named("parameters", count(&report["parameters"]))],
        Some("generate") => vec![named("pictures", count(&report["pictures"]))],
        Some("compile") => vec![named("bytes", count(&report["output_bytes"]))],
        Some("bench") => {
            let results = report["results"].as_array().map_or(&[][..], Vec::as_slice);
            let fastest = results.iter().filter_map(|row| row["median_ms"].as_f64());
            let fastest = fastest.min_by(f64::total_cmp);
            vec![
                named("models", count(&Value::from(results.len()))),
                named("fastest", fastest.map(|ms| format!("{ms:.3} ms"))),
            ]
        }
        _ => Vec::new(),
    };
    figures.into_iter().flatten().collect()
}
