//! What export writes.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;

use bunjae_ir::op::{DepthOrder, DepthToSpace, Reshape, Unary};
use bunjae_ir::{Dim, Factors, Graph, Target, TensorType};
use bunjae_onnx::export::DEFAULT_OPSET;
use bunjae_onnx::proto::ModelProto;
use bunjae_onnx::{ExportOptions, export, metadata, save};
use bunjae_tensor::{DType, Tensor};

fn in_set(opset: i64) -> ExportOptions {
    ExportOptions { opset: Some(opset), ..ExportOptions::default() }
}

/// Each node as its operator, operands and results.
fn nodes(model: &ModelProto) -> Vec<String> {
    let nodes = model.graph.as_ref().unwrap().node.iter();
    let line = |node: &bunjae_onnx::proto::NodeProto| {
        format!("{} = {}({})", node.output.join(","), node.op_type, node.input.join(","))
    };
    nodes.map(line).collect()
}

#[test]
fn outputs_have_their_names_whatever_they_are() {
    let mut graph = Graph::new("");
    let x = graph.input("x", TensorType::image(2, 4, 4)).unwrap();
    let w = graph.weight("w", Tensor::zeros(DType::F32, &[3]).unwrap()).unwrap();
    let relu = graph.push("relu", Unary::Relu, &[x]).unwrap();
    // A node with a name that an output has.
    let exp = graph.push("first", Unary::Exp, &[relu]).unwrap();
    for (name, tensor) in [("first", relu), ("second", relu), ("x", x), ("weight", w), ("e", exp)] {
        graph.output(name, tensor).unwrap();
    }
    let model = export(&graph, &ExportOptions::default()).unwrap();
    assert_eq!(
        nodes(&model),
        [
            "first = Relu(x)",
            "e = Exp(first)",
            "second = Identity(first)",
            "x_2 = Identity(x)",
            "weight = Identity(w)",
        ]
    );
    let outputs = model.graph.as_ref().unwrap().output.iter().map(|output| output.name.as_str());
    assert_eq!(outputs.collect::<Vec<_>>(), ["first", "second", "x_2", "weight", "e"]);
    let names = model.graph.as_ref().unwrap().node.iter().map(|node| node.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["relu", "first", "second", "x_2", "weight"]);
}

#[test]
fn the_operator_set_is_the_one_asked_for_or_the_next_that_will_do() {
    let mut graph = Graph::new("blocks");
    let x = graph.input("x", TensorType::image(4, 2, 2)).unwrap();
    let mut plain = graph.clone();
    let op = DepthToSpace { block: 2, order: DepthOrder::ColumnRowDepth };
    let y = graph.push("shuffle", bunjae_ir::Op::DepthToSpace(op), &[x]).unwrap();
    graph.output("y", y).unwrap();
    let opset = |graph: &Graph, options: &ExportOptions| {
        export(graph, options).unwrap().opset_import[0].version
    };
    assert_eq!(opset(&graph, &ExportOptions::default()), DEFAULT_OPSET);
    assert_eq!(opset(&graph, &in_set(26)), 26);
    let mut old = graph.clone();
    old.metadata.insert(metadata::OPSET.to_owned(), "9".to_owned());
    assert_eq!(opset(&old, &ExportOptions::default()), 11);
    plain.metadata.clone_from(&old.metadata);
    assert_eq!(opset(&plain, &ExportOptions::default()), 9);
    // Text that is no operator set.
    for text in ["new", "99", "-1"] {
        plain.metadata.insert(metadata::OPSET.to_owned(), text.to_owned());
        assert_eq!(opset(&plain, &ExportOptions::default()), DEFAULT_OPSET);
    }
    let message = |opset| export(&graph, &in_set(opset)).unwrap_err().to_string();
    assert_eq!(message(10), "shuffle (depth_to_space) needs operator set 11, but 10 was asked for");
    assert_eq!(message(8), "operator set 8 is not supported, only 9 to 26");
    assert_eq!(message(27), "operator set 27 is not supported, only 9 to 26");
}

#[test]
fn sizes_that_are_not_known_are_left_to_the_runtime() {
    let shape_of = |target: &[Target]| {
        let mut graph = Graph::new("sizes");
        let dims = ["N", "4", "H", "W"].map(|dim| Dim::parse(dim).unwrap());
        let x = graph.input("x", TensorType { dtype: DType::F32, dims: dims.to_vec() }).unwrap();
        let map = Factors::between(&dims, target).unwrap();
        let y = graph.push("y", bunjae_ir::Op::Reshape(Reshape { map }), &[x]).unwrap();
        graph.output("y", y).unwrap();
        nodes(&export(&graph, &in_set(18)).unwrap())
    };
    let size = |dim: &str| Target::Size(Dim::parse(dim).unwrap());
    let plain = ["y/shape = Constant()", "y = Reshape(x,y/shape)"];
    assert_eq!(shape_of(&[size("N"), size("4"), size("H*W")]), plain);
    // Two sizes are new; the format has a number for one of them.
    assert_eq!(
        shape_of(&[size("N*4"), size("H*W")]),
        [
            "y/shape_of = Shape(x)",
            "y/size = Constant()",
            "y/from = Constant()",
            "y/to = Constant()",
            "y/sizes = Slice(y/shape_of,y/from,y/to)",
            "y/axes = Constant()",
            "y/product = ReduceProd(y/sizes,y/axes)",
            "y/shape = Concat(y/size,y/product)",
            "y = Reshape(x,y/shape)",
        ]
    );
}

#[test]
fn a_model_that_cannot_be_written_leaves_the_old_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    fs::write(&path, "old").unwrap();
    let error = save(&path, &Graph::new("empty"), &in_set(5)).unwrap_err().to_string();
    let expected =
        format!("cannot write {}: operator set 5 is not supported, only 9 to 26", path.display());
    assert_eq!(error, expected);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
