//! `bunjae compare`: the report's numbers against the other commands, the file system, a recount, and
//! the figures of thop.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::{Folder, TINY, snapshot};

/// As few runs as can be.
const QUICK: &str = "--runs 2 --warmup 0 --seconds 0";

/// The figures of one row.
fn figures(report: &Value, row: usize) -> &Value {
    &report["summary"][row]["figures"]
}

fn mean(report: &Value, row: usize, measure: &str) -> f64 {
    let mean = &figures(report, row)[measure]["mean"];
    mean.as_f64().unwrap_or_else(|| panic!("{measure} of {row}: {mean}"))
}

/// A report that `bunjae compare` wrote, after it was held against the schema.
#[track_caller]
fn report(folder: &Folder, name: &str) -> Value {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/report.schema.json");
    let schema = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let report: Value = serde_json::from_slice(&folder.read(name)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|e| e.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    report
}

/// Pictures of three kinds of defect, and a model for them.
fn pulses(folder: &Folder) {
    folder.done("data generate prps -o pulses --per-class 4 --difficulty 0.1 -q");
    folder.done("new pd-light --classes 6 -o new.onnx -q");
}

#[test]
fn parameters_and_macs_are_those_of_thop_and_torch_pruning() {
    let folder = Folder::new();
    folder.done("new mask-base -o base.onnx");
    folder.done("new mask-small -o small.onnx");
    // Kept channels, parameters, MACs and MACs by thop's rule: torch-pruning 1.6 and thop 0.1.1 on
    // the same networks in PyTorch.
    let known = [
        ("base", [93_954, 165_150_976, 168_952_192]),
        ("small", [6_210, 12_976_192, 13_926_496]),
        ("0.3", [45_195, 81_506_482, 84_124_939]),
        ("0.5", [23_938, 44_826_752, 46_727_360]),
        ("0.7", [8_556, 16_939_084, 18_034_802]),
    ];
    for (ratio, _) in &known[2..] {
        folder.done(&format!("prune base.onnx -o {ratio}.onnx --ratio {ratio}"));
    }
    let models: Vec<String> = known.iter().map(|(name, _)| format!("{name}.onnx")).collect();
    folder.done(&format!("compare {} {QUICK} --json report.json", models.join(" ")));
    let report = report(&folder, "report.json");
    for (row, (name, [parameters, macs, thop])) in known.into_iter().enumerate() {
        let of = |measure: &str| mean(&report, row, measure);
        assert_eq!(report["summary"][row]["model"], name);
        assert_eq!(of("parameters"), f64::from(parameters), "{name}");
        assert_eq!(of("macs"), f64::from(macs), "{name}");
        assert_eq!(of("macs_thop"), f64::from(thop), "{name}");
        assert_eq!(of("flops"), 2.0 * f64::from(macs), "{name}");
        assert_eq!(of("zero_parameters") + of("nonzero_parameters"), f64::from(parameters));
        let bytes = fs::metadata(folder.path(&format!("{name}.onnx"))).unwrap().len();
        assert_eq!(of("file_bytes"), bytes as f64, "{name}");
        let profile = folder.json(&format!("profile {name}.onnx"));
        let cost = &report["models"][row]["runs"][0]["cost"];
        assert_eq!(cost["zero_parameters"], profile["parameters"]["zero"]);
        assert_eq!(cost["peak_activation_bytes"], profile["peak_activation_bytes"]);
        assert_eq!(
            cost["layers"].as_array().unwrap().len(),
            profile["layers"].as_array().unwrap().len()
        );
        assert!(figures(&report, row).get("accuracy").is_none(), "nothing was scored");
    }
    // Channels before and after: int(C (1 - ratio)).
    let widths = |row: usize| -> Vec<u64> {
        let layers = report["models"][row]["runs"][0]["cost"]["layers"].as_array().unwrap();
        layers.iter().filter_map(|layer| layer["channels"].as_u64()).collect()
    };
    assert_eq!(widths(0), [32, 64, 128, 2]);
    assert_eq!(widths(2), [22, 44, 89, 2]);
}

#[test]
fn accuracy_is_that_of_a_recount_and_of_evaluate() {
    let folder = Folder::new();
    pulses(&folder);
    folder.done(
        "train new.onnx --data pulses -o trained.onnx --epochs 2 --batch 8 --flip 0 --shift 0 -q",
    );
    folder.done("prune trained.onnx -o cut.onnx --ratio 0.5 -q");
    let line = format!(
        "compare trained.onnx cut.onnx --data pulses --split all {QUICK} --json report.json \
         -o report.html --chart report.svg --predictions said.csv"
    );
    let text = folder.done(&line);
    let report = report(&folder, "report.json");
    let said = String::from_utf8(folder.read("said.csv")).unwrap();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("model,file,picture,label,predicted,probability"));
    let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let [right, all] = counts.entry(cells[0]).or_default();
        *right += u64::from(cells[3] == cells[4]);
        *all += 1;
    }
    for (row, name) in ["trained", "cut"].into_iter().enumerate() {
        let [right, all] = counts[name];
        assert_eq!(all, 24, "{name}");
        let accuracy = mean(&report, row, "accuracy");
        assert_eq!(accuracy, right as f64 / all as f64, "{name}");
        assert!(text.contains(&format!("{:.2} %", 100.0 * accuracy)), "{text}");
        let evaluated = folder.json(&format!("evaluate {name}.onnx --data pulses --split all"));
        let quality = &report["models"][row]["runs"][0]["quality"];
        assert_eq!(quality["confusion"], evaluated["confusion"], "{name}");
        assert_eq!(quality["accuracy"], evaluated["accuracy"], "{name}");
        assert_eq!(mean(&report, row, "macro_f1"), evaluated["macro"]["f1"].as_f64().unwrap());
    }
    assert_eq!(report["data"][0]["pictures"], 24);
    let command = report["steps"][0]["command"].as_str().unwrap();
    assert!(command.starts_with("bunjae compare trained.onnx cut.onnx --data pulses"), "{command}");
    let runs = |row: usize| &report["models"][row]["runs"][0];
    // The run beside the model has its curves; the cut one was not trained.
    assert_eq!(runs(0)["training"][0]["epochs"].as_array().unwrap().len(), 2);
    assert_eq!(runs(1)["training"].as_array().unwrap().len(), 0);
    let history: Vec<&str> =
        runs(1)["history"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(history.len(), 3, "{history:?}");
    let page = String::from_utf8(folder.read("report.html")).unwrap();
    assert!(page.contains("Accuracy against latency") && page.contains("particle"), "{page}");
    assert!(String::from_utf8(folder.read("report.svg")).unwrap().starts_with("<svg xmlns="));
}

#[test]
fn equal_names_are_seeds_of_one_model() {
    let folder = Folder::new();
    for seed in 0..3 {
        folder.model(
            &format!("{seed}.onnx"),
            &TINY.replace("seed=1", &format!("seed={}", seed + 11)),
        );
    }
    folder.model("base.onnx", TINY);
    let line =
        format!("compare base.onnx 0.onnx 1.onnx 2.onnx --names base,tiny,tiny,tiny {QUICK}");
    let found = folder.json(&line);
    assert_eq!(found["summary"].as_array().unwrap().len(), 2);
    let median = &figures(&found, 1)["median_ms"];
    assert_eq!(median["runs"], 3);
    let runs = found["models"][1]["runs"].as_array().unwrap();
    let times: Vec<f64> =
        runs.iter().map(|run| run["timings"][0]["median_ms"].as_f64().unwrap()).collect();
    let average = times.iter().sum::<f64>() / 3.0;
    assert!((median["mean"].as_f64().unwrap() - average).abs() < 1e-9 * average);
    let deviation = (times.iter().map(|time| (time - average).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert!((median["spread"].as_f64().unwrap() - deviation).abs() < 1e-6 * average);
}

#[test]
fn several_numbers_of_threads_are_all_timed_and_the_first_is_compared() {
    let folder = Folder::with_tiny();
    let found = folder.json(&format!("compare tiny.onnx tiny.onnx --threads 2,1 {QUICK}"));
    for row in 0..2 {
        let timings = found["models"][row]["runs"][0]["timings"].as_array().unwrap();
        let threads: Vec<u64> = timings.iter().map(|t| t["threads"].as_u64().unwrap()).collect();
        assert_eq!(threads, [2, 1]);
        assert_eq!(mean(&found, row, "median_ms"), timings[0]["median_ms"].as_f64().unwrap());
        if cfg!(target_os = "linux") {
            assert!(mean(&found, row, "peak_resident_bytes") > 1e6);
        }
    }
    assert_eq!(found["summary"][1]["model"], "tiny.onnx (2)");
    assert_eq!(found["environment"]["threads"], serde_json::json!([2, 1]));
    assert!(found["environment"]["isa"].is_string());
}

#[test]
fn a_compiled_model_is_timed_and_its_counts_are_missing() {
    let folder = Folder::with_tiny();
    folder.done("compile tiny.onnx -o tiny.bunjae -q");
    let found = folder.json(&format!("compare tiny.onnx tiny.bunjae {QUICK}"));
    let compiled = figures(&found, 1);
    assert!(compiled.get("parameters").is_none() && compiled.get("macs").is_none());
    let bytes = fs::metadata(folder.path("tiny.bunjae")).unwrap().len();
    assert_eq!(mean(&found, 1, "file_bytes"), bytes as f64);
    assert!(mean(&found, 1, "median_ms") > 0.0);
}

#[test]
fn the_table_has_a_form_in_markdown() {
    let folder = Folder::with_tiny();
    let text = folder.done(&format!("compare tiny.onnx {QUICK} --format markdown"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("| model | parameters | zero |"), "{text}");
    assert!(lines[1].starts_with("|---|---:|") && lines[2].starts_with("| tiny |"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_runs() {
    let folder = Folder::with_tiny();
    snapshot!(
        "compare_refused",
        folder.session(&[
            "compare",
            "compare tiny.onnx missing.onnx",
            "compare tiny.onnx --names a,b",
            "compare tiny.onnx -o tiny.onnx",
            "compare tiny.onnx -o nowhere/report.html",
            "compare tiny.onnx --predictions said.csv",
            "compare tiny.onnx --data missing",
            "inspect tiny.onnx --format markdown",
        ])
    );
    assert_eq!(folder.files(), ["tiny.onnx"], "nothing was written");
}
