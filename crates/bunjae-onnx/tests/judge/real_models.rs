//! The models of the shared data.

use std::fs;
use std::path::PathBuf;

use bunjae_ir::Bindings;
use bunjae_tensor::Random;
use bunjae_testkit::onnx_runtime::Job;
use bunjae_testkit::{data_dir, python};

use super::{OPSETS, Trial, imported, interpret, judge, random_inputs, saved};

#[test]
fn models_compute_the_same_before_and_after() {
    let test = "models_compute_the_same_before_and_after";
    let (Some(data), Some(python)) = (data_dir(test), python(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(4);
    let mut trials = Vec::new();
    let mut originals = Vec::new();
    for models in ["models", "models/bench", "face_models"] {
        let entries = fs::read_dir(data.join(models)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|ext| ext == "onnx")).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let graph = imported(&file);
            let sizes = [("N", 2), ("batch", 1), ("height", 64), ("width", 96)];
            let sizes: Bindings = sizes.map(|(name, size)| (name.to_owned(), size)).into();
            let inputs = random_inputs(&graph, &sizes, &mut random);
            let expected = interpret(&graph, &inputs);
            // A number on the border between two integers may fall on either side.
            let allowed = if name.contains("int8") { 0.02 } else { 1e-5 };
            let original = trials.len();
            let mut add = |what: String, model: PathBuf| {
                let (inputs, expected) = (inputs.clone(), expected.clone());
                trials.push(Trial { what, job: Job { model, inputs }, expected, allowed });
                originals.push(original);
            };
            add(name.clone(), file.clone());
            let mut written = 0;
            for opset in OPSETS {
                let model = folder.path().join(format!("{opset}.{name}"));
                if saved(&model, &graph, opset) {
                    add(format!("{name} in set {opset}"), model);
                    written += 1;
                }
            }
            assert!(written >= 6, "{name}: {written}");
        }
    }
    let (found, mut objections) = judge(&python, folder.path(), &trials);
    // What was written has to give the very bits that the original gives.
    for (trial, (tensors, &original)) in trials.iter().zip(found.iter().zip(&originals)) {
        if *tensors != found[original] {
            objections.push(format!("{}: other bits than the original's", trial.what));
        }
    }
    assert_eq!(objections, [""; 0], "{} of {}", objections.len(), trials.len());
}
