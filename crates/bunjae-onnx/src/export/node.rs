//! The nodes of the file while it is being written.

use bunjae_ir::{Graph, Node, NodeId, TensorId, TensorType};
use bunjae_tensor::{DType, Tensor};
use prost::bytes::Bytes;

use super::ExportError;
use crate::names::Names;
use crate::proto::{AttributeProto, AttributeType, NodeProto};
use crate::tensor_data::{self, DataType, data_type};

/// Collects the nodes of the file.
pub(super) struct Writer<'a> {
    pub(super) graph: &'a Graph,
    pub(super) opset: i64,
    /// The names of the graph's tensors.
    pub(super) values: Vec<String>,
    pub(super) nodes: Vec<NodeProto>,
    /// All names of tensors.
    value_names: Names,
    node_names: Names,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        opset: i64,
        values: Vec<String>,
        value_names: Names,
    ) -> Self {
        let mut node_names = Names::default();
        for node in graph.nodes() {
            node_names.take(&node.name);
        }
        Writer { graph, opset, values, nodes: Vec::new(), value_names, node_names }
    }

    /// The writer of what becomes of a node.
    pub(super) fn node(&mut self, id: NodeId) -> NodeWriter<'_, 'a> {
        let node = self.graph.node(id);
        let name = |id: &TensorId| self.values.get(id.index()).cloned().unwrap_or_default();
        let inputs = node.inputs.iter().map(name).collect();
        let outputs = node.outputs.iter().map(name).collect();
        NodeWriter { node, id, inputs, outputs, writer: self }
    }

    /// Gives a tensor a second name, unless it is its first.
    pub(super) fn alias(&mut self, tensor: TensorId, name: &str) {
        let value = self.values.get(tensor.index()).cloned().unwrap_or_default();
        if value != name {
            let node_name = self.node_names.unique(name);
            let output = vec![name.to_owned()];
            self.push(node_name, "Identity", vec![value], output, Vec::new());
        }
    }

    fn push(
        &mut self,
        name: String,
        op: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        let op_type = op.to_owned();
        self.nodes.push(NodeProto {
            input,
            output,
            name,
            op_type,
            attribute,
            ..NodeProto::default()
        });
    }
}

/// Writes what becomes of one node: a main operator that has its name and results, and the parts
/// that prepare the main operator's operands.
pub(super) struct NodeWriter<'w, 'a> {
    writer: &'w mut Writer<'a>,
    node: &'a Node,
    id: NodeId,
    /// The names of the operands.
    pub(super) inputs: Vec<String>,
    outputs: Vec<String>,
}

/// The attributes of a node of the file.
pub(super) type Attributes = Vec<AttributeProto>;

impl NodeWriter<'_, '_> {
    /// The operator set that is written.
    pub(super) fn opset(&self) -> i64 {
        self.writer.opset
    }

    /// The type of an operand; a scalar where there is none, which no operator has.
    pub(super) fn ty(&self, at: usize) -> TensorType {
        match self.node.inputs.get(at) {
            Some(&id) => self.writer.graph.ty(id).clone(),
            None => TensorType { dtype: DType::F32, dims: Vec::new() },
        }
    }

    /// The type of the first result.
    pub(super) fn result_ty(&self) -> TensorType {
        match self.node.outputs.first() {
            Some(&id) => self.writer.graph.ty(id).clone(),
            None => TensorType { dtype: DType::F32, dims: Vec::new() },
        }
    }

    /// The name of the first operand.
    pub(super) fn x(&self) -> String {
        self.inputs.first().cloned().unwrap_or_default()
    }

    /// Writes the main operator on the node's own operands.
    pub(super) fn main(&mut self, op: &str, attributes: Attributes) {
        let inputs = self.inputs.clone();
        self.main_on(op, inputs, attributes);
    }

    /// Writes the main operator.
    pub(super) fn main_on(&mut self, op: &str, inputs: Vec<String>, attributes: Attributes) {
        let (name, outputs) = (self.node.name.clone(), self.outputs.clone());
        self.writer.push(name, op, inputs, outputs, attributes);
    }

    /// Writes an operator that prepares an operand, and returns the name of its result.
    pub(super) fn part(
        &mut self,
        part: &str,
        op: &str,
        inputs: &[&str],
        attributes: Attributes,
    ) -> String {
        let name = format!("{}/{part}", self.writer.graph.node_label(self.id));
        let output = self.writer.value_names.unique(&name);
        let name = self.writer.node_names.unique(&name);
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.writer.push(name, op, inputs, vec![output.clone()], attributes);
        output
    }

    /// Writes a tensor, and returns its name.
    fn tensor(&mut self, part: &str, data_type: DataType, dims: &[usize], bytes: Bytes) -> String {
        let value = tensor_data::write("", data_type, dims, bytes);
        let attribute = AttributeProto {
            name: "value".to_owned(),
            r#type: AttributeType::Tensor.code(),
            t: Some(Box::new(value)),
            ..AttributeProto::default()
        };
        self.part(part, "Constant", &[], vec![attribute])
    }

    /// Writes a list of integers.
    pub(super) fn list(&mut self, part: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(part, DataType::Int64, &[values.len()], bytes)
    }

    /// Writes a list of 32-bit floats.
    pub(super) fn floats(&mut self, part: &str, values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(part, DataType::Float, &[values.len()], bytes)
    }

    /// Writes a 32-bit float.
    pub(super) fn scalar_f32(&mut self, part: &str, value: f32) -> String {
        let bytes = Bytes::copy_from_slice(&value.to_le_bytes());
        self.tensor(part, DataType::Float, &[], bytes)
    }

    /// Writes the elements `from..to` of a list.
    pub(super) fn range(&mut self, part: &str, list: &str, from: i64, to: i64) -> String {
        if self.opset() < 10 {
            let attributes =
                vec![ints("axes", vec![0]), ints("starts", vec![from]), ints("ends", vec![to])];
            return self.part(part, "Slice", &[list], attributes);
        }
        let (from, to) = (self.list("from", &[from]), self.list("to", &[to]));
        self.part(part, "Slice", &[list, &from, &to], vec![])
    }

    /// Writes a number of the element type of the first operand.
    pub(super) fn number(&mut self, part: &str, value: f64) -> String {
        let tensor = match self.ty(0).dtype {
            DType::F32 => Tensor::scalar(value as f32),
            DType::F64 => Tensor::scalar(value),
            DType::I8 => Tensor::scalar(value as i8),
            DType::U8 => Tensor::scalar(value as u8),
            DType::I32 => Tensor::scalar(value as i32),
            DType::I64 => Tensor::scalar(value as i64),
        };
        let bytes = Bytes::copy_from_slice(tensor.bytes());
        self.tensor(part, data_type(tensor.dtype()), &[], bytes)
    }

    /// A size as the format writes it.
    pub(super) fn int(&self, value: usize) -> Result<i64, ExportError> {
        i64::try_from(value).map_err(|_| ExportError::Number {
            node: self.writer.graph.node_label(self.id),
            op: self.node.op.name(),
            value,
        })
    }

    /// Sizes as the format writes them.
    pub(super) fn ints(&self, values: &[usize]) -> Result<Vec<i64>, ExportError> {
        values.iter().map(|&value| self.int(value)).collect()
    }

    pub(super) fn unknown(&self, what: &'static str) -> ExportError {
        let node = self.writer.graph.node_label(self.id);
        ExportError::Unknown { node, op: self.node.op.name(), what }
    }

    pub(super) fn training(&self) -> ExportError {
        let node = self.writer.graph.node_label(self.id);
        ExportError::Training { node, op: self.node.op.name() }
    }

    /// Axes: an attribute before operator set `since`, an operand after `inputs` from then on.
    pub(super) fn axes(
        &mut self,
        axes: &[usize],
        since: i64,
        inputs: &mut Vec<String>,
        attributes: &mut Attributes,
    ) -> Result<(), ExportError> {
        let axes = self.ints(axes)?;
        if self.opset() >= since {
            inputs.push(self.list("axes", &axes));
        } else {
            attributes.push(ints("axes", axes));
        }
        Ok(())
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind.code(), ..AttributeProto::default() }
}

/// An integer.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// A number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// A list of integers.
pub(super) fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

/// A word.
pub(super) fn word(name: &str, word: &str) -> AttributeProto {
    AttributeProto { s: Some(word.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}
