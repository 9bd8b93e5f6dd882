//! Graphs as models.
//!
//! Every operator of the graph is written in the terms of the operator set that is asked for: where
//! that set lacks an operator, by the operators it is made of. Export of an imported model uses the
//! set that the model came with, and gives its weights, inputs and outputs their old names.
//!
//! Numbers that an operator brings along (axes, shapes, bounds) are written as `Constant` nodes, so
//! that the initialisers of the file are the weights of the model and nothing else.

mod elementwise;
mod node;
mod normalise;
mod opset;
mod quantise;
mod reshape;
mod window;

use std::collections::BTreeMap;
use std::path::Path;

use bunjae_ir::{Dim, Graph, NodeId, Op, Source, TensorId};
use bunjae_tensor::Tensor;
use prost::bytes::Bytes;
use thiserror::Error;

use node::Writer;

use crate::file::{WeightStorage, WriteModelError, write_model};
use crate::metadata;
use crate::names::Names;
use crate::opset::{NEWEST, OLDEST};
use crate::proto::{
    Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorType, TypeProto, TypeValue,
    ValueInfoProto,
};
use crate::tensor_data::{self, data_type};

/// The operator set of graphs that were not imported: old enough for every runtime in use, new
/// enough for layer normalisation.
pub const DEFAULT_OPSET: i64 = 17;

/// How a graph is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// The operator set; without it, that of the imported model ([`metadata::OPSET`]) or
    /// [`DEFAULT_OPSET`], or a newer one where the graph needs it.
    pub opset: Option<i64>,
    /// Where [`save`] puts the weights.
    pub weights: WeightStorage,
}

/// Why a graph could not be written as a model.
#[derive(Debug, Error)]
pub enum ExportError {
    /// An operator set that is not supported.
    #[error("operator set {0} is not supported, only {OLDEST} to {NEWEST}")]
    Opset(i64),
    /// An operator set that lacks something.
    #[error("{node} ({op}) needs operator set {needed}, but {opset} was asked for")]
    NeedsOpset {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The first set that has what it needs.
        needed: i64,
        /// The set that was asked for.
        opset: i64,
    },
    /// A number of the operator does not fit the format.
    #[error("{node} ({op}): {value} does not fit the file format")]
    Number {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The number.
        value: usize,
    },
    /// An operator of training graphs, for which the format has no name.
    #[error(
        "{node}: {op} belongs to training; export the graph that the training graph was made from"
    )]
    Training {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
    },
    /// A size that has to be known to be written.
    #[error("{node} ({op}): {what} has to be known, but depends on the input")]
    Unknown {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// What has to be known.
        what: &'static str,
    },
}

/// Why a graph could not be saved.
#[derive(Debug, Error)]
pub enum SaveError {
    /// It cannot be written as a model.
    #[error("cannot write {}: {source}", path.display())]
    Export {
        /// The file that was to be written.
        path: std::path::PathBuf,
        /// The reason.
        source: ExportError,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteModelError),
}

/// Writes `graph` to `path`. Either everything is written or existing files stay as they were.
///
/// # Errors
/// [`SaveError`].
pub fn save(path: &Path, graph: &Graph, options: &ExportOptions) -> Result<(), SaveError> {
    let model = export(graph, options)
        .map_err(|source| SaveError::Export { path: path.to_owned(), source })?;
    Ok(write_model(path, &model, options.weights)?)
}

/// The model that computes what `graph` computes.
///
/// # Errors
/// [`ExportError`] where the operator set that was asked for lacks something the graph needs.
pub fn export(graph: &Graph, options: &ExportOptions) -> Result<ModelProto, ExportError> {
    let opset = choose_opset(graph, options.opset)?;
    let (values, outputs, names) = name_values(graph);
    let mut writer = Writer::new(graph, opset, values, names);
    for (id, node) in graph.node_ids() {
        write_node(&mut writer, id, &node.op)?;
    }
    for (name, tensor) in &outputs {
        writer.alias(*tensor, name);
    }
    let Writer { values, nodes, .. } = writer;
    Ok(model(graph, opset, &values, &outputs, nodes))
}

/// What `op` needs at least, and whether that may be had.
fn choose_opset(graph: &Graph, asked: Option<i64>) -> Result<i64, ExportError> {
    let supported = |opset: &i64| (OLDEST..=NEWEST).contains(opset);
    if let Some(opset) = asked
        && !supported(&opset)
    {
        return Err(ExportError::Opset(opset));
    }
    let recorded = graph.metadata.get(metadata::OPSET).and_then(|opset| opset.parse().ok());
    let preferred = asked.or(recorded.filter(supported)).unwrap_or(DEFAULT_OPSET);
    let mut chosen = preferred;
    for (id, node) in graph.node_ids() {
        let needed = opset::needed(graph, node);
        if asked.is_some() && needed > preferred {
            let (node, op) = (graph.node_label(id), node.op.name());
            return Err(ExportError::NeedsOpset { node, op, needed, opset: preferred });
        }
        chosen = chosen.max(needed);
    }
    Ok(chosen)
}

/// Outputs of the graph by their names in the file.
type Outputs = Vec<(String, TensorId)>;

/// The name of every tensor in the file, the outputs, and all these names.
fn name_values(graph: &Graph) -> (Vec<String>, Outputs, Names) {
    let mut names = Names::default();
    let mut values = vec![String::new(); graph.value_count()];
    // What the world outside knows by name keeps it.
    for &id in graph.inputs().iter().chain(graph.weights()) {
        values[id.index()] = names.unique(&graph.label(id));
    }
    let mut outputs = Vec::new();
    for output in graph.outputs() {
        let name = names.unique(&output.name);
        let value = &mut values[output.tensor.index()];
        if value.is_empty() {
            value.clone_from(&name);
        }
        outputs.push((name, output.tensor));
    }
    for (id, value) in graph.values() {
        if let Source::Node { .. } = value.source
            && values[id.index()].is_empty()
        {
            values[id.index()] = names.unique(&graph.label(id));
        }
    }
    (values, outputs, names)
}

fn write_node(writer: &mut Writer<'_>, id: NodeId, op: &Op) -> Result<(), ExportError> {
    let mut node = writer.node(id);
    match op {
        Op::Unary(op) => elementwise::unary(&mut node, op),
        Op::Binary(op) => elementwise::binary(&mut node, op),
        Op::PRelu => node.main("PRelu", vec![]),
        Op::Dropout(op) => elementwise::dropout(&mut node, op),
        Op::Cast(op) => elementwise::cast(&mut node, op),
        Op::Conv2d(op) => window::conv(&mut node, op)?,
        Op::ConvTranspose2d(op) => window::conv_transpose(&mut node, op)?,
        Op::MaxPool(op) => window::max_pool(&mut node, op)?,
        Op::AveragePool(op) => window::average_pool(&mut node, op)?,
        Op::GlobalPool(op) => window::global_pool(&mut node, op),
        Op::Resize(op) => window::resize(&mut node, op)?,
        Op::DepthToSpace(op) => window::depth_to_space(&mut node, op)?,
        Op::BatchNorm(op) => normalise::batch_norm(&mut node, op),
        Op::LayerNorm(op) => normalise::layer_norm(&mut node, op)?,
        Op::L2Norm(op) => normalise::l2_norm(&mut node, op)?,
        Op::Softmax(op) => normalise::softmax(&mut node, "Softmax", op.axis)?,
        Op::LogSoftmax(op) => normalise::softmax(&mut node, "LogSoftmax", op.axis)?,
        Op::UnaryGrad(_)
        | Op::BatchNormTrain(_)
        | Op::BatchNormGrad(_)
        | Op::Conv2dWeightGrad(_)
        | Op::MaxPoolGrad(_)
        | Op::AveragePoolGrad(_)
        | Op::ReduceGrad(_)
        | Op::ResizeGrad(_)
        | Op::PadGrad(_)
        | Op::SliceGrad(_) => {
            return Err(node.training());
        }
        Op::Reduce(op) => normalise::reduce(&mut node, op)?,
        Op::Linear => normalise::linear(&mut node),
        Op::MatMul => node.main("MatMul", vec![]),
        Op::Quantize(op) => quantise::quantize(&mut node, op)?,
        Op::Dequantize(op) => quantise::dequantize(&mut node, op)?,
        Op::Concat(op) => reshape::concat(&mut node, op)?,
        Op::Split(op) => reshape::split(&mut node, op)?,
        Op::Slice(op) => reshape::slice(&mut node, op)?,
        Op::Pad(op) => reshape::pad(&mut node, op)?,
        Op::Reshape(op) => reshape::reshape(&mut node, op)?,
        Op::Flatten(op) => reshape::flatten(&mut node, op)?,
        Op::Transpose(op) => reshape::transpose(&mut node, op)?,
        Op::Squeeze(op) => reshape::squeeze(&mut node, op)?,
        Op::Unsqueeze(op) => reshape::unsqueeze(&mut node, op)?,
    }
    Ok(())
}

fn model(
    graph: &Graph,
    opset: i64,
    values: &[String],
    outputs: &Outputs,
    nodes: Vec<NodeProto>,
) -> ModelProto {
    let mut metadata = graph.metadata.clone();
    let fields = metadata::FIELDS.map(|key| metadata.remove(key).unwrap_or_default());
    let [_, producer_name, producer_version, domain, model_version, doc_string, graph_doc] = fields;
    let (producer_name, producer_version) = match producer_name.as_str() {
        "" => (metadata::PRODUCER.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        _ => (producer_name, producer_version),
    };
    let frozen = frozen(graph, values);
    if !frozen.is_empty() {
        metadata.insert(metadata::FROZEN.to_owned(), frozen.join("\n"));
    }
    let graph_proto = GraphProto {
        node: nodes,
        // The format asks for a name.
        name: if graph.name.is_empty() { "graph".to_owned() } else { graph.name.clone() },
        initializer: graph.weights().iter().filter_map(|&id| weight(graph, values, id)).collect(),
        doc_string: graph_doc,
        input: graph.inputs().iter().map(|&id| info(graph, &values[id.index()], id)).collect(),
        output: outputs.iter().map(|(name, id)| info(graph, name, *id)).collect(),
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: opset::ir_version(opset),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        producer_name,
        producer_version,
        domain,
        model_version: model_version.parse().unwrap_or_default(),
        doc_string,
        graph: Some(graph_proto),
        metadata_props: entries(metadata),
        ..ModelProto::default()
    }
}

fn entries(metadata: BTreeMap<String, String>) -> Vec<StringStringEntryProto> {
    metadata.into_iter().map(|(key, value)| StringStringEntryProto { key, value }).collect()
}

fn weight(graph: &Graph, values: &[String], id: TensorId) -> Option<TensorProto> {
    let tensor = graph.weight_tensor(id)?;
    let data_type = data_type(tensor.dtype());
    let bytes = Bytes::from_owner(Shared(tensor.clone()));
    Some(tensor_data::write(&values[id.index()], data_type, tensor.shape(), bytes))
}

/// A weight's bytes, shared with the graph.
struct Shared(Tensor);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The names of the weights that import would take for ones that training may change, although it
/// may not.
fn frozen(graph: &Graph, values: &[String]) -> Vec<String> {
    let mut known = vec![false; graph.value_count()];
    for node in graph.nodes() {
        let from = match node.op {
            Op::BatchNorm(_) => 3,
            Op::Quantize(_) | Op::Dequantize(_) => 1,
            _ => continue,
        };
        node.inputs.iter().skip(from).for_each(|id| known[id.index()] = true);
    }
    let frozen = graph.weights().iter().filter(|id| match &graph.value(**id).source {
        Source::Weight { tensor, trainable, .. } => {
            !trainable && tensor.dtype().is_float() && !known[id.index()]
        }
        _ => false,
    });
    frozen.map(|id| values[id.index()].clone()).collect()
}

fn info(graph: &Graph, name: &str, id: TensorId) -> ValueInfoProto {
    let ty = graph.ty(id);
    let dim = ty.dims.iter().map(|dim| Dimension {
        value: Some(match dim {
            Dim::Fixed(size) => DimensionValue::DimValue(i64::try_from(*size).unwrap_or(i64::MAX)),
            dynamic => DimensionValue::DimParam(dynamic.to_string()),
        }),
    });
    let tensor = TensorType {
        elem_type: data_type(ty.dtype).code(),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    let value = Some(TypeValue::Tensor(tensor));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value }),
        ..ValueInfoProto::default()
    }
}
