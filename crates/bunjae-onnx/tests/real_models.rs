//! Every ONNX file of the shared data: decoded, written, decoded again, every tensor read.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::path::{Path, PathBuf};

use bunjae_onnx::external::ExternalData;
use bunjae_onnx::proto::{ModelProto, TensorProto};
use bunjae_onnx::tensor_data::{self, DataType};
use bunjae_onnx::{Limits, WeightStorage, read_model, write_model};
use bunjae_testkit::data_dir;

fn onnx_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            onnx_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
}

fn tensors(model: &ModelProto) -> Vec<&TensorProto> {
    let graph = model.graph.as_ref().unwrap();
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    graph.initializer.iter().chain(attributes.filter_map(|a| a.t.as_deref())).collect()
}

fn read_all(model: &ModelProto, external: &mut ExternalData) -> Vec<tensor_data::TensorData> {
    tensors(model)
        .into_iter()
        .map(|tensor| tensor_data::read(tensor, external).unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

#[test]
fn models_survive_reading_and_writing() {
    let Some(data) = data_dir("models_survive_reading_and_writing") else { return };
    let mut files = Vec::new();
    onnx_files(&data.join("models"), &mut files);
    onnx_files(&data.join("face_models"), &mut files);
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (model, mut external) = read_model(&file, &Limits::default()).unwrap();
        let contents = read_all(&model, &mut external);
        for tensor in contents.iter().filter(|tensor| tensor.data_type == DataType::Float) {
            let mut values = tensor.bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
            assert!(values.all(f32::is_finite), "{name}");
        }
        for storage in [WeightStorage::Auto, WeightStorage::Beside] {
            let copy = folder.path().join(name);
            write_model(&copy, &model, storage).unwrap();
            let (again, mut external) = read_model(&copy, &Limits::default()).unwrap();
            assert_eq!(read_all(&again, &mut external), contents, "{name}");
            if storage == WeightStorage::Auto {
                assert_eq!(again, model, "{name}");
            }
        }
    }
}

#[test]
fn damaged_models_are_refused_without_a_panic() {
    let Some(data) = data_dir("damaged_models_are_refused_without_a_panic") else { return };
    let bytes = fs::read(data.join("models/bench/M1_int8.onnx")).unwrap();
    let mut accepted = 0;
    // Flips bit after bit of a stride that is coprime to every structure in the file.
    let damaged = (0..bytes.len() * 8).step_by(61);
    let total = damaged.len();
    for bit in damaged {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(model) = bunjae_onnx::wire::decode_model(bytes.into()) {
            accepted += 1;
            let mut external = ExternalData::none(0);
            for tensor in model.graph.iter().flat_map(|graph| &graph.initializer) {
                if let Ok(data) = tensor_data::read(tensor, &mut external) {
                    let size = data.data_type.size().unwrap();
                    assert_eq!(data.dims.iter().product::<usize>() * size, data.bytes.len());
                }
            }
        }
    }
    // Flips within text and weights decode, flips of lengths and types do not.
    assert!(accepted > total / 10 && accepted < total, "{accepted} of {total}");
}
