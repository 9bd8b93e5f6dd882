//! Models put together by hand.
#![allow(dead_code, reason = "no test uses all of it")]

use bunjae_onnx::proto::*;
use bunjae_onnx::tensor_data::{self, DataType};
use prost::bytes::Bytes;

/// A node.
pub(crate) fn node(
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: op.to_owned(),
        input: names(inputs),
        output: names(outputs),
        attribute: attributes,
        ..NodeProto::default()
    }
}

/// An attribute without its value.
pub(crate) fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind.code(), ..AttributeProto::default() }
}

/// An integer as attribute.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// A list of integers as attribute.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// A list of integers as initialiser.
pub(crate) fn list(name: &str, values: &[i64]) -> TensorProto {
    let bytes: Bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor_data::write(name, DataType::Int64, &[values.len()], bytes)
}

/// Zeros as initialiser.
pub(crate) fn zeros(name: &str, dims: &[usize]) -> TensorProto {
    let bytes = vec![0; 4 * dims.iter().product::<usize>()];
    tensor_data::write(name, DataType::Float, dims, bytes.into())
}

/// The name and type of an input or output.
pub(crate) fn info(name: &str, data_type: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&dim| Dimension { value: Some(DimensionValue::DimValue(dim)) });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = TensorType { elem_type: data_type.code(), shape };
    let value = Some(TypeValue::Tensor(tensor));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value }),
        ..ValueInfoProto::default()
    }
}

/// A model with input `x` of `f32[1,4,8,8]` and output `y`.
pub(crate) fn model(nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        name: "net".to_owned(),
        node: nodes,
        initializer: weights,
        input: vec![info("x", DataType::Float, &[1, 4, 8, 8])],
        output: vec![info("y", DataType::Float, &[])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// The model with a change made.
pub(crate) fn with(mut model: ModelProto, change: impl FnOnce(&mut ModelProto)) -> ModelProto {
    change(&mut model);
    model
}

/// The graph of a model.
pub(crate) fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}
