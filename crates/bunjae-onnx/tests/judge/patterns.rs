//! What exporters leave in the files they write, rebuilt by hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bunjae_ir::Bindings;
use bunjae_tensor::Random;
use bunjae_testkit::onnx_runtime::Job;
use bunjae_testkit::python;

use super::{OPSETS, Trial, imported, interpret, judge, random_inputs, saved};

#[test]
fn what_exporters_write_is_understood() {
    let Some(python) = python("what_exporters_write_is_understood") else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judge/patterns.py");
    let output = Command::new(&python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();

    let mut random = Random::new(5);
    let mut trials = Vec::new();
    let mut understood = BTreeSet::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let graph = imported(&file);
        if let Some(expected) = graph.metadata.get("ops") {
            let ops: Vec<&str> = graph.nodes().iter().map(|node| node.op.name()).collect();
            assert_eq!(ops.join(" "), *expected, "{name}");
        }
        let sizes = [("N", 2), ("H", 6), ("W", 10)];
        let sizes: Bindings = sizes.map(|(name, size)| (name.to_owned(), size)).into();
        let inputs = random_inputs(&graph, &sizes, &mut random);
        let expected = interpret(&graph, &inputs);
        // A number on the border between two integers may fall on either side.
        let allowed = if name.starts_with("quantised") { 0.02 } else { 5e-6 };
        let mut add = |what: String, model: PathBuf| {
            let (inputs, expected) = (inputs.clone(), expected.clone());
            trials.push(Trial { what, job: Job { model, inputs }, expected, allowed });
        };
        add(name.clone(), file);
        for opset in OPSETS {
            let model = folder.path().join(format!("again.{name}.{opset}.onnx"));
            if saved(&model, &graph, opset) {
                add(format!("{name} in set {opset}"), model);
            }
        }
        understood.insert(name);
    }
    let (_, objections) = judge(&python, folder.path(), &trials);
    assert_eq!(objections, [""; 0], "{} of {}", objections.len(), trials.len());
    assert!(understood.len() > 60 && trials.len() > 500, "{} {}", understood.len(), trials.len());
}
