//! Every ONNX file of the shared data, imported and run by the interpreter, gives the outputs that
//! were recorded with it.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::path::{Path, PathBuf};

use bunjae_interp::run;
use bunjae_ir::{Graph, Source, TensorId};
use bunjae_onnx::{Limits, import};
use bunjae_tensor::{Tensor, Tolerance, compare};
use bunjae_testkit::data_dir;
use safetensors::SafeTensors;

/// What single precision leaves of a network's outputs, which are of the order of 10.
const CLOSE: Tolerance = Tolerance { absolute: 2e-4, relative: 2e-4 };

fn graph(path: &Path) -> Graph {
    let imported = import(path, &Limits::default()).unwrap_or_else(|error| panic!("{error}"));
    imported.graph.verify().unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
    imported.graph
}

fn onnx_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "onnx")).collect();
    files.sort();
    files
}

/// The types of some tensors, one after the other.
fn types(graph: &Graph, ids: impl Iterator<Item = TensorId>) -> String {
    ids.map(|id| graph.ty(id).to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_model_is_imported() {
    let Some(data) = data_dir("every_model_is_imported") else { return };
    let mut summary = String::new();
    let folders = ["models", "models/bench", "face_models"];
    for file in folders.iter().flat_map(|folder| onnx_files(&data.join(folder))) {
        let graph = graph(&file);
        let trainable = graph.weights().iter().filter_map(|&id| match &graph.value(id).source {
            Source::Weight { tensor, trainable: true, .. } => Some(tensor.len()),
            _ => None,
        });
        summary += &format!(
            "{}: {} nodes, {} trainable, {} -> {}\n",
            file.file_name().unwrap().to_str().unwrap(),
            graph.nodes().len(),
            trainable.sum::<usize>(),
            types(&graph, graph.inputs().iter().copied()),
            types(&graph, graph.outputs().iter().map(|output| output.tensor)),
        );
    }
    assert_eq!(summary, include_str!("import_models.txt"), "\n{summary}");
}

#[test]
fn models_compute_what_was_recorded() {
    let Some(data) = data_dir("models_compute_what_was_recorded") else { return };
    let mut compared = 0;
    for folder in ["models", "face_models"] {
        let mut recordings: Vec<PathBuf> = fs::read_dir(data.join(folder).join("testvec"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        recordings.sort();
        for recording in recordings {
            let name = recording.file_stem().unwrap().to_str().unwrap();
            let graph = graph(&data.join(folder).join(format!("{name}.onnx")));
            let bytes = fs::read(&recording).unwrap();
            let recorded = SafeTensors::deserialize(&bytes).unwrap();
            let tensor = |name: &str| {
                let view = recorded.tensor(name).unwrap();
                Tensor::from_bytes(bunjae_tensor::DType::F32, view.shape(), view.data()).unwrap()
            };
            let outputs = run(&graph, &[tensor("input")]).unwrap();
            assert_eq!(graph.outputs().len() + 1, recorded.len(), "{name}");
            for (output, value) in graph.outputs().iter().zip(outputs) {
                let difference = compare(&value, &tensor(&output.name), CLOSE).unwrap();
                assert!(difference.is_within(), "{name}, {}: {difference:?}", output.name);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 4 + 12);
}
