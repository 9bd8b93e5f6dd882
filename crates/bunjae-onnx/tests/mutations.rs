//! Damaged models: import never panics, and what it accepts is a sound graph.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::time::Instant;

use bunjae_ir::examples::examples;
use bunjae_ir::{Graph, GraphError};
use bunjae_onnx::export::{ExportOptions, export};
use bunjae_onnx::external::ExternalData;
use bunjae_onnx::import::import_model;
use bunjae_onnx::proto::{DimensionValue, ModelProto, TensorProto, TypeValue};
use bunjae_onnx::wire::decode_model;
use bunjae_onnx::{ImportError, import_bytes};
use bunjae_tensor::Random;
use bunjae_testkit::data_dir;
use bunjae_testkit::fill::uniform;
use bunjae_testkit::random_graph::random_graph;
use prost::Message;
use prost::bytes::Bytes;

/// Numbers on which arithmetic breaks.
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    2,
    3,
    -2,
    7,
    16,
    255,
    65_536,
    1 << 31,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    -(1 << 40),
];

const OPERATORS: [&str; 24] = [
    "Add",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvTranspose",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "MatMul",
    "MaxPool",
    "Pad",
    "ReduceMean",
    "Reshape",
    "Resize",
    "Shape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Small models of every operator, in an old, a middle and a new operator set, and some networks.
fn small_models() -> Vec<ModelProto> {
    let mut random = Random::new(6);
    let mut models = Vec::new();
    let export =
        |graph: &Graph, opset| export(graph, &ExportOptions { opset, ..ExportOptions::default() });
    for example in examples() {
        let graph = example.graph::<GraphError>(|_, ty| uniform(ty, 0.5, 2.0, &mut random));
        let graph = graph.unwrap();
        models.extend([9, 12, 26].iter().filter_map(|&opset| export(&graph, Some(opset)).ok()));
    }
    for seed in 0..20 {
        models.push(export(&random_graph(seed).unwrap().graph, None).unwrap());
    }
    models
}

fn pick<'a, T>(items: &'a mut [T], random: &mut Random) -> Option<&'a mut T> {
    let at = random.below(items.len());
    items.get_mut(at)
}

fn number(random: &mut Random) -> i64 {
    NUMBERS[random.below(NUMBERS.len())]
}

fn mutate_tensor(tensor: &mut TensorProto, random: &mut Random) {
    match random.below(4) {
        0 => tensor.data_type = i32::try_from(random.below(20)).unwrap(),
        1 => {
            if let Some(dim) = pick(&mut tensor.dims, random) {
                *dim = number(random);
            }
        }
        2 => tensor.dims.push(number(random)),
        // Shapes, axes and the like hold 64-bit integers.
        _ => {
            let mut bytes = tensor.raw_data.take().unwrap_or_default().to_vec();
            if let Some(chunk) = pick(bytes.as_chunks_mut::<8>().0, random) {
                *chunk = number(random).to_le_bytes();
            }
            tensor.raw_data = Some(bytes.into());
        }
    }
}

/// Changes one thing about a model.
fn mutate(model: &mut ModelProto, random: &mut Random) {
    let graph = model.graph.as_mut().unwrap();
    let mut names: Vec<String> =
        graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).cloned().collect();
    names.extend(["".to_owned(), "nothing".to_owned()]);
    let name = names[random.below(names.len())].clone();
    match random.below(13) {
        0 => model.opset_import[0].version = number(random).min(30),
        1 => {
            if let Some(tensor) = pick(&mut graph.initializer, random) {
                mutate_tensor(tensor, random);
            }
        }
        2 => {
            let info = pick(&mut graph.input, random).and_then(|info| info.r#type.as_mut());
            if let Some(TypeValue::Tensor(tensor)) = info.and_then(|ty| ty.value.as_mut()) {
                let shape = tensor.shape.as_mut().unwrap();
                match (random.below(3), pick(&mut shape.dim, random)) {
                    (0, Some(dim)) => dim.value = Some(DimensionValue::DimParam(name)),
                    (1, Some(dim)) => dim.value = Some(DimensionValue::DimValue(number(random))),
                    _ => tensor.elem_type = i32::try_from(random.below(20)).unwrap(),
                }
            }
        }
        3 => {
            if let Some(output) = pick(&mut graph.output, random) {
                output.name = name;
            }
        }
        4 => {
            let at = random.below(graph.node.len().max(1));
            if let Some(node) = graph.node.get(at).cloned() {
                graph.node.push(node);
            }
        }
        kind => {
            let Some(node) = pick(&mut graph.node, random) else { return };
            match kind {
                5 => node.op_type = OPERATORS[random.below(OPERATORS.len())].to_owned(),
                6 => {
                    if let Some(input) = pick(&mut node.input, random) {
                        *input = name;
                    }
                }
                7 => node.input.push(name),
                8 => {
                    if let Some(output) = pick(&mut node.output, random) {
                        *output = name;
                    }
                }
                9 => node.output.push("another".to_owned()),
                _ => {
                    let Some(attribute) = pick(&mut node.attribute, random) else { return };
                    match random.below(5) {
                        0 => attribute.r#type = i32::try_from(random.below(15)).unwrap(),
                        1 => attribute.i = attribute.i.map(|_| number(random)),
                        2 => attribute.f = attribute.f.map(|_| number(random) as f32),
                        3 => attribute.name = "axis".to_owned(),
                        _ => {
                            if let Some(value) = pick(&mut attribute.ints, random) {
                                *value = number(random);
                            }
                            if let Some(tensor) = &mut attribute.t {
                                mutate_tensor(tensor, random);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn models_that_contradict_themselves_are_refused_or_sound() {
    let models = small_models();
    let mut random = Random::new(7);
    let (mut accepted, mut total) = (0, 0);
    let start = Instant::now();
    for round in 0..30 {
        for original in &models {
            let mut model = original.clone();
            for _ in 0..=round % 3 {
                mutate(&mut model, &mut random);
            }
            total += 1;
            match import_model(&model, &mut ExternalData::none(0)) {
                Ok(imported) => {
                    accepted += 1;
                    imported.graph.verify().unwrap();
                    // What was accepted can be written, and read again.
                    let options = ExportOptions { opset: Some(26), ..ExportOptions::default() };
                    let again = export(&imported.graph, &options).unwrap();
                    import_model(&again, &mut ExternalData::none(0)).unwrap();
                }
                Err(problems) => {
                    let message = problems.to_string();
                    assert!(message.len() < 20_000, "{message}");
                    assert!(!message.contains('\0'), "{message}");
                }
            }
        }
    }
    // Both sides are visited, and no case takes a noticeable time.
    assert!(total > 10_000, "{total}");
    assert!(accepted > total / 10 && accepted < total * 9 / 10, "{accepted} of {total}");
    assert!(start.elapsed().as_secs() < 600, "{:?}", start.elapsed());
}

#[test]
fn damaged_files_are_refused_or_sound() {
    let mut files: Vec<Vec<u8>> = small_models().iter().map(Message::encode_to_vec).collect();
    if let Some(data) = data_dir("damaged_files_are_refused_or_sound") {
        for name in ["models/bench/M1_int8.onnx", "face_models/yunet_n_dynamic.onnx"] {
            files.push(fs::read(data.join(name)).unwrap());
        }
    }
    let mut random = Random::new(8);
    let (mut accepted, mut refused, mut unreadable) = (0, 0, 0);
    for file in &files {
        // Weights fill the front of large files, structure the rest.
        for round in 0..20 {
            let mut bytes = file.clone();
            let at = random.below(bytes.len());
            match round % 4 {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes[at] = random.below(256) as u8,
                _ => {
                    let length = random.below(16).min(bytes.len() - at);
                    bytes.drain(at..at + length);
                }
            }
            match import_bytes(Bytes::from(bytes)) {
                Ok(imported) => {
                    imported.graph.verify().unwrap();
                    accepted += 1;
                }
                Err(ImportError::Problems(_)) => refused += 1,
                Err(_) => unreadable += 1,
            }
        }
    }
    let counts = [accepted, refused, unreadable];
    assert!(counts.iter().all(|&count| count > 500), "{counts:?}");
}

#[test]
fn every_byte_of_a_model_may_be_wrong() {
    let models = small_models();
    let mut random = Random::new(9);
    for _ in 0..20 {
        let bytes = models[random.below(models.len())].encode_to_vec();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << random.below(8);
            if let Ok(model) = decode_model(damaged.into())
                && let Ok(imported) = import_model(&model, &mut ExternalData::none(0))
            {
                imported.graph.verify().unwrap();
            }
        }
    }
}
