//! `bunjae bench`. What it measures is another number each time; what it counts is not.

use bunjae_testkit::python;
use serde_json::Value;

use crate::support::{ANY_SIZE, Folder, TINY, snapshot};

/// As few runs as can be.
const QUICK: &str = "--runs 2 --warmup 0 --seconds 0";

fn results(report: &Value) -> &[Value] {
    report["results"].as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn several_models_are_measured_side_by_side() {
    let folder = Folder::with_tiny();
    folder.model("any.onnx", ANY_SIZE);
    let sizes = "--size height=16 --size width=16 --batch 2";
    let line = format!("bench tiny.onnx any.onnx {sizes} --threads 1,2 {QUICK}");
    let report = folder.json(&line);
    let rows: Vec<(&str, u64)> = results(&report)
        .iter()
        .map(|row| (row["model"].as_str().unwrap(), row["threads"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [("tiny.onnx", 1), ("any.onnx", 1), ("tiny.onnx", 2), ("any.onnx", 2)]);
    let any = folder.json(&format!("profile any.onnx {sizes}"));
    assert_eq!(results(&report)[1]["macs"], any["macs"]);
    let first = number(&results(&report)[0]["median_ms"]);
    for row in results(&report) {
        let [minimum, median, p90, p99] =
            ["minimum_ms", "median_ms", "p90_ms", "p99_ms"].map(|name| number(&row[name]));
        assert!(0.0 < minimum && minimum <= median && median <= p90 && p90 <= p99, "{row}");
        assert!((number(&row["ratio"]) - median / first).abs() < 1e-9, "{row}");
        let pictures = 1e3 * 2.0 / number(&row["mean_ms"]);
        assert!((number(&row["pictures_per_second"]) / pictures - 1.0).abs() < 1e-9, "{row}");
        assert_eq!((&row["batch"], row["runs"].as_u64()), (&Value::from(2), Some(2)));
        let counts = ["macs", "arena_bytes", "weight_bytes"].map(|name| number(&row[name]));
        assert!(counts.iter().all(|&count| count > 0.0), "{row}");
        assert!(number(&row["share_of_peak"]) > 0.0, "{row}");
        if cfg!(target_os = "linux") {
            // A process of its own, with a few megabytes of program and a small model.
            let resident = number(&row["peak_resident_bytes"]);
            assert!((1e6..1e9).contains(&resident), "{row}");
        }
    }
    let text = folder.done(&line);
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("model")).collect();
    // How far the columns are apart depends on what was measured.
    let last: Vec<&str> = heads[0].split_whitespace().rev().take(2).collect();
    assert_eq!((heads.len(), &last[..]), (2, &["ratio", "pictures/s"][..]), "{text}");
}

#[test]
fn a_plan_is_shown_with_and_without_times() {
    let folder = Folder::with_tiny();
    let macs = |plan: &Value| -> u64 {
        plan["steps"].as_array().unwrap().iter().map(|step| step["macs"].as_u64().unwrap()).sum()
    };
    let expected = folder.json("profile tiny.onnx")["macs"].as_u64().unwrap();
    let explained = folder.json("bench tiny.onnx --explain");
    assert_eq!((results(&explained).len(), macs(&explained["plans"][0])), (0, expected));
    assert_eq!(explained["plans"][0]["steps"][0]["median_us"], Value::Null);
    let profiled = folder.json(&format!("bench tiny.onnx --profile {QUICK} --isa portable"));
    let plan = &profiled["plans"][0];
    assert_eq!((results(&profiled).len(), macs(plan)), (1, expected));
    assert_eq!((&plan["isa"], &profiled["isa"]), (&"portable".into(), &"portable".into()));
    let steps = plan["steps"].as_array().unwrap();
    let shares = steps.iter().map(|step| number(&step["share_of_time"])).sum::<f64>();
    assert!((shares - 1.0).abs() < 1e-9, "{plan}");
    let text = folder.done("bench tiny.onnx --explain");
    assert!(text.starts_with("plan of tiny.onnx\ninstruction set  "), "{text}");
}

#[test]
fn onnx_runtime_computes_the_same_beside_it() {
    let Some(python) = python("onnx_runtime_computes_the_same_beside_it") else { return };
    let folder = Folder::with_tiny();
    let line = format!("bench tiny.onnx --batch 3 --against onnxruntime {QUICK} --format json");
    let output = folder.command(&line).env("BUNJAE_PYTHON", python).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [ours, theirs] = results(&report) else { panic!("{report}") };
    assert_eq!(ours["engine"], "bunjae");
    assert!(theirs["engine"].as_str().unwrap().starts_with("onnxruntime 1."), "{theirs}");
    assert_eq!((&ours["batch"], &theirs["batch"]), (&Value::from(3), &Value::from(3)));
    assert!(number(&theirs["median_ms"]) > 0.0 && theirs["runs"] == 2, "{theirs}");
    // What the engine promises for a network of this depth, on scores of about 1.
    let difference = number(&theirs["largest_difference"]);
    assert!((0.0..1e-5).contains(&difference), "{theirs}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = Folder::with_tiny();
    folder.model("any.onnx", ANY_SIZE);
    folder.model("one.onnx", &TINY.replace("[N,", "[1,"));
    folder.model(
        "empty.onnx",
        "graph @empty
         in   %x: f32[N,0]
         %1 = relu %x : f32[N,0] ; \"relu\"
         out  %1 ; \"y\"",
    );
    let session = folder.session(&[
        "bench",
        "bench tiny.onnx --runs 0",
        "bench tiny.onnx --seconds -1",
        "bench tiny.onnx --threads 1,x",
        "bench tiny.onnx --explain --profile",
        "bench tiny.onnx --against tract",
        "bench any.onnx",
        "bench one.onnx --batch 2",
        "bench tiny.onnx --batch 8000000",
        "bench tiny.onnx --batch 80000000",
        "bench nowhere.onnx",
        "bench empty.onnx",
    ]);
    snapshot!("bench_refused", session);
}

#[cfg(unix)]
#[test]
fn a_missing_runtime_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::with_tiny();
    let script = |name: &str, answer: &str| {
        folder.write(name, format!("#!/bin/sh\n{answer}\n"));
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(name), executable).unwrap();
    };
    script("bare", "echo '{\"missing\": \"No module named onnxruntime\"}'");
    script("old", "echo '{\"failed\": \"opset 99 is not supported\"}'");
    script("broken", "exit 3");
    let mut text = String::new();
    for python in ["./nowhere", "./bare", "./old", "./broken"] {
        let mut command = folder.command("bench tiny.onnx --against onnxruntime");
        let output = command.env("BUNJAE_PYTHON", python).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{python}");
        text.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    snapshot!("bench_no_runtime", text);
}
