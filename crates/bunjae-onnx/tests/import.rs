//! What import makes of models.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

mod support;

use bunjae_ir::{Graph, Source, Weights};
use bunjae_onnx::external::ExternalData;
use bunjae_onnx::import::{Imported, Note, import_model};
use bunjae_onnx::proto::*;
use bunjae_onnx::tensor_data::{self, DataType};
use bunjae_onnx::{ExportOptions, Limits, WeightStorage, import, metadata, save};
use support::{attribute, graph, info, int, ints, list, model, node, with, zeros};

fn imported(model: &ModelProto) -> Imported {
    import_model(model, &mut ExternalData::none(0)).unwrap_or_else(|error| panic!("{error}"))
}

/// The nodes and outputs of the graph that import makes, in the text form.
fn body(model: &ModelProto) -> Vec<String> {
    let text = imported(model).graph.to_text(Weights::Elided);
    let lines = text.lines().filter(|line| line.starts_with('%') || line.starts_with("out"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// A model whose input has sizes with names.
fn sized(nodes: Vec<NodeProto>, weights: Vec<TensorProto>, sizes: &[&str]) -> ModelProto {
    with(model(nodes, weights), |model| {
        let dim = sizes.iter().map(|size| Dimension {
            value: Some(match size.parse() {
                Ok(size) => DimensionValue::DimValue(size),
                Err(_) => DimensionValue::DimParam((*size).to_owned()),
            }),
        });
        let shape = Some(TensorShapeProto { dim: dim.collect() });
        let tensor = TensorType { elem_type: 1, shape };
        graph(model).input[0].r#type = Some(TypeProto { value: Some(TypeValue::Tensor(tensor)) });
    })
}

fn scalar(name: &str, value: i64) -> TensorProto {
    TensorProto { dims: vec![], ..list(name, &[value]) }
}

fn constant(name: &str, value: TensorProto) -> NodeProto {
    let value =
        AttributeProto { t: Some(Box::new(value)), ..attribute("value", AttributeType::Tensor) };
    node("Constant", &[], &[name], vec![value])
}

#[test]
fn arithmetic_on_sizes_is_done_with_symbols() {
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "zero"], &["n"], vec![int("axis", 0)]),
        node("Gather", &["shape", "two"], &["h"], vec![int("axis", 0)]),
        node("Gather", &["shape", "three"], &["w"], vec![int("axis", 0)]),
        node("Mul", &["h", "w"], &["area"], vec![]),
        node("Unsqueeze", &["n", "axis"], &["n1"], vec![]),
        node("Unsqueeze", &["area", "axis"], &["area1"], vec![]),
        node("Concat", &["n1", "rest", "area1"], &["target"], vec![int("axis", 0)]),
        node("Reshape", &["x", "target"], &["y"], vec![]),
    ];
    let weights = vec![
        scalar("zero", 0),
        scalar("two", 2),
        scalar("three", 3),
        list("axis", &[0]),
        list("rest", &[-1]),
    ];
    assert_eq!(
        body(&sized(nodes, weights, &["batch", "4", "H", "W"])),
        ["%1 = reshape %x {map=[[1,_],[1,_],[2,_]]} : f32[batch,4,H*W] ; \"y\"", "out %1 ; \"y\"",]
    );
}

#[test]
fn an_expansion_disappears_where_arithmetic_expands_by_itself() {
    let gate = || {
        vec![
            node("GlobalAveragePool", &["x"], &["p"], vec![]),
            node("Shape", &["x"], &["shape"], vec![]),
            node("Expand", &["p", "shape"], &["e"], vec![]),
        ]
    };
    let sizes = ["N", "4", "H", "W"];
    let product = [gate(), vec![node("Mul", &["x", "e"], &["y"], vec![])]].concat();
    assert_eq!(
        body(&sized(product, vec![], &sizes)),
        [
            "%1 = global_pool %x : f32[N,4,1,1] ; \"p\"",
            "%2 = mul %x, %1 : f32[N,4,H,W] ; \"y\"",
            "out %2 ; \"y\"",
        ]
    );
    // Multiplying by itself would leave it as small as it was.
    let square = [gate(), vec![node("Mul", &["e", "e"], &["y"], vec![])]].concat();
    let problems = import_model(&sized(square, vec![], &sizes), &mut ExternalData::none(0));
    assert_eq!(
        problems.unwrap_err().to_string(),
        "cannot import the model: node 3 (Mul): uses a result of Expand, which only arithmetic may \
         do where sizes are not fixed"
    );
    // Where all sizes are known, it is a product with ones.
    let concat = vec![node("Concat", &["x", "e"], &["y"], vec![int("axis", 1)])];
    assert_eq!(
        body(&model([gate(), concat].concat(), vec![])),
        [
            "%1 = global_pool %x : f32[1,4,1,1] ; \"p\"",
            "%2 = mul %1, @e/ones : f32[1,4,8,8] ; \"e\"",
            "%3 = concat %x, %2 : f32[1,8,8,8] ; \"y\"",
            "out %3 ; \"y\"",
        ]
    );
}

#[test]
fn weights_keep_their_names_and_their_order_in_the_file() {
    let nodes = vec![
        node("Transpose", &["turned"], &["w"], vec![ints("perm", &[3, 2, 0, 1])]),
        node("Conv", &["x", "w", "b"], &["c"], vec![]),
        node("Identity", &["b"], &["same"], vec![]),
        node("Conv", &["c", "second", "same"], &["d"], vec![]),
        node("Mul", &["d", "k"], &["y"], vec![]),
    ];
    let weights = vec![
        zeros("b", &[4]),
        zeros("turned", &[1, 1, 4, 4]),
        zeros("k", &[]),
        zeros("unused", &[7]),
        zeros("second", &[4, 4, 1, 1]),
    ];
    let imported = imported(&model(nodes, weights));
    let graph = &imported.graph;
    let names: Vec<String> = graph.weights().iter().map(|&id| graph.label(id)).collect();
    // What is computed stands last, under the name of what it was computed from.
    assert_eq!(names, ["b", "k", "second", "turned"]);
    assert_eq!(imported.notes, [Note::UnusedWeights(vec!["unused".to_owned()])]);
    assert_eq!(
        imported.notes[0].to_string(),
        "left out weights that no output depends on: `unused`"
    );
}

#[test]
fn nodes_without_a_name_take_that_of_their_result() {
    let mut nodes = vec![
        node("Relu", &["x"], &["first"], vec![]),
        node("Relu", &["first"], &["second"], vec![]),
        node("Relu", &["second"], &["y"], vec![]),
    ];
    nodes[1].name = "first".to_owned();
    let graph = imported(&model(nodes, vec![])).graph;
    let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["first", "first_2", "y"]);
}

/// The names of the weights that training may change.
fn trainable(graph: &Graph) -> Vec<String> {
    let weights = graph
        .weights()
        .iter()
        .filter(|&&id| matches!(graph.value(id).source, Source::Weight { trainable: true, .. }));
    weights.map(|&id| graph.label(id)).collect()
}

#[test]
fn the_part_a_weight_plays_decides_whether_training_may_change_it() {
    let nodes = vec![
        node("BatchNormalization", &["x", "gamma", "beta", "mean", "var"], &["n"], vec![]),
        node("QuantizeLinear", &["n", "scale", "zero"], &["q"], vec![]),
        node("DequantizeLinear", &["q", "scale", "zero"], &["d"], vec![]),
        constant("offset", zeros("", &[])),
        node("Add", &["d", "offset"], &["a"], vec![]),
        node("PRelu", &["a", "slope"], &["p"], vec![]),
        node("Mul", &["p", "factor"], &["y"], vec![]),
    ];
    let zero = tensor_data::write("zero", DataType::Uint8, &[], vec![0].into());
    let mut weights: Vec<TensorProto> =
        ["gamma", "beta", "mean", "var"].iter().map(|name| zeros(name, &[4])).collect();
    weights.extend([zeros("scale", &[]), zero, zeros("slope", &[4, 1, 1]), zeros("factor", &[])]);
    let model = model(nodes, weights);
    let graph = imported(&model).graph;
    assert_eq!(trainable(&graph), ["gamma", "beta", "slope", "factor"]);

    // A file remembers what else is frozen, although nothing in it says so.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frozen.onnx");
    save(&path, &graph, &ExportOptions::default()).unwrap();
    let again = import(&path, &Limits::default()).unwrap().graph;
    assert_eq!(trainable(&again), ["gamma", "beta", "slope", "factor"]);
    assert_eq!(again.metadata, graph.metadata);
}

#[test]
fn what_else_a_file_says_survives() {
    let mut model = model(vec![node("Relu", &["x"], &["y"], vec![])], vec![]);
    model.opset_import[0].version = 13;
    model.producer_name = "somebody".to_owned();
    model.producer_version = "1.2".to_owned();
    model.domain = "org.example".to_owned();
    model.model_version = 7;
    model.doc_string = "About the model".to_owned();
    graph(&mut model).name = "net".to_owned();
    graph(&mut model).doc_string = "About the graph".to_owned();
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    // A key that stands for a field is no way around the field.
    model.metadata_props =
        vec![entry("labels", "cat,dog"), entry(metadata::OPSET, "9"), entry("empty", "")];
    let imported = imported(&model).graph;
    assert_eq!(imported.name, "net");
    assert_eq!(imported.metadata.get("labels").map(String::as_str), Some("cat,dog"));
    assert_eq!(imported.metadata.get(metadata::OPSET).map(String::as_str), Some("13"));

    let mut again = bunjae_onnx::export(&imported, &ExportOptions::default()).unwrap();
    assert_eq!(again.ir_version, 7);
    again.ir_version = model.ir_version;
    graph(&mut again).output = model.graph.as_ref().unwrap().output.clone();
    graph(&mut again).node[0].name.clear();
    model.metadata_props = vec![entry("empty", ""), entry("labels", "cat,dog")];
    assert_eq!(again, model);
}

#[test]
fn what_is_left_out_or_changed_is_noted() {
    let half = TensorProto {
        data_type: DataType::Float16.code(),
        raw_data: Some(vec![0x00, 0x3c].into()),
        ..zeros("half", &[1])
    };
    let nodes = vec![
        node("Mul", &["x", "half"], &["y"], vec![]),
        node("NonZero", &["x"], &["nobody"], vec![]),
    ];
    let model = with(model(nodes, vec![half]), |model| {
        model.training_info.push(TrainingInfoProto::default());
        graph(model).input[0] = info("x", DataType::Float16, &[1, 2]);
    });
    let imported = imported(&model);
    let notes: Vec<String> = imported.notes.iter().map(Note::to_string).collect();
    assert_eq!(
        notes,
        [
            "FLOAT16 is computed with as FLOAT",
            "left out nodes that no output depends on: 1",
            "left out the instructions for training",
        ]
    );
    let widened = imported.graph.metadata.get(metadata::WIDENED_FROM);
    assert_eq!(widened.map(String::as_str), Some("FLOAT16"));
    let weight = imported.graph.weight_tensor(imported.graph.weights()[0]).unwrap();
    assert_eq!(weight.elements::<f32>().unwrap(), [1.0]);
}

#[test]
fn weights_beside_the_model_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let nodes = vec![node("Add", &["x", "w"], &["y"], vec![])];
    let graph = imported(&model(nodes, vec![zeros("w", &[4, 8, 8])])).graph;
    let options = ExportOptions { weights: WeightStorage::Beside, ..ExportOptions::default() };
    save(&path, &graph, &options).unwrap();
    assert!(folder.path().join("net.onnx.data").exists());
    assert_eq!(import(&path, &Limits::default()).unwrap().graph, graph);

    std::fs::remove_file(folder.path().join("net.onnx.data")).unwrap();
    let error = import(&path, &Limits::default()).unwrap_err().to_string();
    let start = format!("cannot import {}: weight `w`: ", path.display());
    assert!(error.starts_with(&start), "{error}");
}
