//! What a network costs: parameters, multiply-accumulates, bytes, and memory for activations.
//!
//! # Parameters
//! As in PyTorch, the *parameters* are what training may change: weights, biases, gamma and beta,
//! slopes. A frozen layer keeps its parameters, so a weight counts as one where it is marked
//! trainable *or* an operator takes it in a place where layers keep their parameters, directly or
//! after other operators (a dequantised weight). The running mean and variance of a batch
//! normalisation are *buffers*. What is left (scales and zero points, anchors, fixed numbers) are
//! *constants*. A weight that several nodes share counts once, at the first of them.
//!
//! # Multiply-accumulates
//! MACs are counted by one of three [`Convention`]s. `x` and `y` are the numbers of elements of the
//! first operand and of the result, `taps` is the height times the width of the kernel, `Ci`, `Co`
//! are channels and `g` the number of groups.
//!
//! | operator | [`Exact`](Convention::Exact) | [`Thop`](Convention::Thop) | [`TorchPruning`](Convention::TorchPruning) |
//! |---|---|---|---|
//! | convolution | y taps Ci/g | y taps Ci/g | y taps Ci/g, + y with a bias |
//! | transposed convolution | x taps Co/g | y taps Ci/g (stride² too many) | y taps Ci/g, + y with a bias |
//! | gradient of a convolution's weight | dy taps Ci/g | 0 | 0 |
//! | linear, I to O | y I | y I | x O, + O a picture with a bias |
//! | matrix product over K | y K | 0 | 0 |
//! | batch and layer normalisation | 0 | 4 x | 2 x |
//! | relu, leaky relu, relu6, elu, gelu | 0 | 0 | y |
//! | prelu | 0 | x | y |
//! | softmax over F | 0 | x/F (3 F - 1) | 0 |
//! | max pool | 0 | 0 | x |
//! | average pool | 0 | y | x |
//! | global pool, mean | 0 | (H W + 1) y | x |
//! | global pool, max | 0 | 0 | x |
//! | resize, nearest / linear | 0 | y / 11 y | y |
//! | all others | 0 | 0 | 0 |
//!
//! Taps that lie in the padding count, in all three. The two tools see modules only, so what a
//! model calls as a function (`x + y`, `relu(x)`, `x.mean((2, 3))`) costs nothing there; the graph
//! knows no such difference, and an activation counts however it was called. The mean over axes
//! counts as a function (Reduce) or as a module (GlobalPool), by which of the two stands in the
//! graph. Torch-pruning divides by the batch, so its count is that of one picture; the other two
//! grow with the batch.
//!
//! # Memory for activations
//! The peak is the largest sum of bytes of the inputs and results alive at one node, in the graph's
//! order: a node's results from that node on, an input from the start, both to their last use, and
//! the outputs of the graph to the end. Views ([`Op::is_view`]) share their operand's memory;
//! nothing else is computed in place.

use std::fmt;

use bunjae_tensor::{DType, Element, Tensor};
use thiserror::Error;

use crate::dim::Bindings;
use crate::error::GraphError;
use crate::graph::{Graph, Node, NodeId, Source, TensorId};
use crate::op::{Groups, Op, Reduction, ResizeMode, Unary};

/// By which rule multiply-accumulates are counted; see the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Convention {
    /// One for each multiplication whose product is added up: convolutions, linear layers and
    /// matrix products, and nothing else.
    #[default]
    Exact,
    /// The rule of thop 0.1.1.
    Thop,
    /// The rule of torch-pruning 1.6.1 (`count_ops_and_params`), for one picture.
    TorchPruning,
}

impl Convention {
    /// All conventions.
    pub const ALL: [Convention; 3] =
        [Convention::Exact, Convention::Thop, Convention::TorchPruning];

    /// The name for users: `exact`, `thop`, `torch-pruning`.
    pub fn name(self) -> &'static str {
        match self {
            Convention::Exact => "exact",
            Convention::Thop => "thop",
            Convention::TorchPruning => "torch-pruning",
        }
    }

    /// The convention of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Convention::ALL.into_iter().find(|convention| convention.name() == name)
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a cost cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CostError {
    /// A symbol has no value, or the graph does not accept the values given.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A count beyond what this program reports.
    #[error("{place}: the number of {what} does not fit 63 bits")]
    TooLarge {
        /// The node or tensor; the graph's name for a sum.
        place: String,
        /// What was counted.
        what: &'static str,
    },
}

/// What a whole graph costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The rule by which the MACs are counted.
    pub convention: Convention,
    /// The parameters.
    pub parameters: Parameters,
    /// The bytes of all weights as they are stored.
    pub weights: WeightBytes,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// The memory for activations.
    pub peak: Peak,
    /// The nodes in the graph's order.
    pub nodes: Vec<NodeCost>,
}

impl Cost {
    /// Floating-point operations of one run: a multiplication and an addition for each MAC.
    pub fn flops(&self) -> u64 {
        // `macs` fits 63 bits.
        2 * self.macs
    }
}

/// Numbers of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Parameters {
    /// All of them.
    pub total: u64,
    /// Those that are stored as 0 (or -0).
    pub zero: u64,
    /// Those that training may change.
    pub trainable: u64,
}

impl Parameters {
    /// Those that are not 0.
    pub fn nonzero(&self) -> u64 {
        self.total - self.zero
    }

    /// Those that training leaves alone.
    pub fn frozen(&self) -> u64 {
        self.total - self.trainable
    }
}

/// Bytes of weights by what they are for: the number of elements times the size of their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WeightBytes {
    /// Parameters.
    pub parameters: u64,
    /// Running means and variances.
    pub buffers: u64,
    /// Everything else.
    pub constants: u64,
}

impl WeightBytes {
    /// All weights together.
    pub fn total(&self) -> u64 {
        self.parameters + self.buffers + self.constants
    }
}

/// The most memory that activations take at one time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peak {
    /// Bytes of the inputs and results alive at that node, its own included.
    pub bytes: u64,
    /// The first node at which it is reached; `None` in a graph without nodes.
    pub node: Option<NodeId>,
}

/// What one node costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCost {
    /// The node.
    pub node: NodeId,
    /// What people call it.
    pub label: String,
    /// The operator's name in the text form.
    pub op: &'static str,
    /// The shapes of its results.
    pub outputs: Vec<Vec<usize>>,
    /// The number of parameters that it is the first to use.
    pub parameters: u64,
    /// Multiply-accumulates, by the convention asked for.
    pub macs: u64,
    /// Bytes of its results; 0 for a view.
    pub activation_bytes: u64,
    /// Bytes of all inputs and results alive while it runs, its own included.
    pub live_bytes: u64,
}

impl Graph {
    /// What the graph costs under the given values for its symbols.
    ///
    /// # Errors
    /// [`CostError::Graph`] where a symbol has no value or a shape turns out not to fit,
    /// [`CostError::TooLarge`] where a count passes 63 bits.
    pub fn cost(&self, bindings: &Bindings, convention: Convention) -> Result<Cost, CostError> {
        // Binding infers every type again, so sizes that do not fit together are found here. It
        // keeps the nodes and their order, but not the ids of tensors.
        let bound = self.bind(bindings)?;
        let shapes = bound
            .values()
            .map(|(_, value)| value.ty.shape(bindings).map_err(GraphError::from))
            .collect::<Result<Vec<_>, _>>()?;
        let weights = self.count_weights()?;
        let memory = Memory::of(&bound, &shapes)?;
        let first = bound.inputs().first().and_then(|id| shapes[id.index()].first());
        let batch = first.copied().unwrap_or(1).max(1);

        let mut nodes = Vec::with_capacity(bound.nodes().len());
        for (id, node) in bound.node_ids() {
            let label = bound.node_label(id);
            let shape = |id: &TensorId| shapes[id.index()].as_slice();
            let work = Work {
                inputs: node.inputs.iter().map(shape).collect(),
                outputs: node.outputs.iter().map(shape).collect(),
                batch: batch as u128,
            };
            nodes.push(NodeCost {
                node: id,
                op: node.op.name(),
                outputs: work.outputs.iter().map(|shape| shape.to_vec()).collect(),
                parameters: weights.per_node[id.index()],
                macs: fit(macs(&node.op, &work, convention), &label, "MACs")?,
                activation_bytes: fit(Some(memory.born[id.index()]), &label, "bytes")?,
                live_bytes: fit(Some(memory.live[id.index()]), &label, "bytes")?,
                label,
            });
        }
        let total = nodes.iter().map(|node| u128::from(node.macs)).sum();
        // Of equals, `max_by_key` returns the last.
        let peak = match nodes.iter().rev().max_by_key(|node| node.live_bytes) {
            Some(worst) => Peak { bytes: worst.live_bytes, node: Some(worst.node) },
            None => Peak { bytes: fit(Some(memory.inputs), &self.name, "bytes")?, node: None },
        };
        Ok(Cost {
            convention,
            parameters: weights.parameters,
            weights: weights.bytes,
            macs: fit(Some(total), &self.name, "MACs")?,
            peak,
            nodes,
        })
    }

    fn count_weights(&self) -> Result<Weights, CostError> {
        let roles = self.roles();
        let mut weights = Weights {
            parameters: Parameters::default(),
            bytes: WeightBytes::default(),
            per_node: vec![0; self.nodes().len()],
        };
        let mut owners: Vec<Option<NodeId>> = vec![None; self.value_count()];
        for (id, node) in self.node_ids() {
            for input in &node.inputs {
                owners[input.index()].get_or_insert(id);
            }
        }
        for &id in self.weights() {
            let Source::Weight { tensor, trainable, .. } = &self.value(id).source else {
                continue;
            };
            // Memory held these elements, and so 64 bits count them and their sum.
            let (count, size) = (tensor.len() as u64, tensor.dtype().size() as u64);
            match roles[id.index()] {
                Role::Constant => weights.bytes.constants += count * size,
                Role::Buffer => weights.bytes.buffers += count * size,
                Role::Parameter => {
                    weights.bytes.parameters += count * size;
                    weights.parameters.total += count;
                    weights.parameters.zero += zeros(tensor);
                    weights.parameters.trainable += if *trainable { count } else { 0 };
                    if let Some(owner) = owners[id.index()] {
                        weights.per_node[owner.index()] += count;
                    }
                }
            }
        }
        Ok(weights)
    }

    /// What each tensor is for, as far as it is a weight or computed from weights.
    fn roles(&self) -> Vec<Role> {
        let mut roles = vec![Role::Constant; self.value_count()];
        for node in self.nodes().iter().rev() {
            let result = node.outputs.iter().map(|id| roles[id.index()]).max();
            for (place, input) in node.inputs.iter().enumerate() {
                let role = Role::of(&node.op, place, result.unwrap_or(Role::Constant));
                let known = &mut roles[input.index()];
                *known = role.max(*known);
            }
        }
        for &id in self.weights() {
            if let Source::Weight { trainable: true, .. } = self.value(id).source {
                roles[id.index()] = Role::Parameter;
            }
        }
        roles
    }
}

struct Weights {
    parameters: Parameters,
    bytes: WeightBytes,
    per_node: Vec<u64>,
}

/// What a weight is for; the last that applies wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Constant,
    Buffer,
    Parameter,
}

impl Role {
    /// The role of the operand in the given place of an operator whose result has the role
    /// `result`.
    fn of(op: &Op, place: usize, result: Role) -> Role {
        match (op, place) {
            (Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::Linear, 1..)
            | (Op::BatchNorm(_) | Op::BatchNormTrain(_), 1 | 2)
            | (Op::LayerNorm(_) | Op::PRelu, 1..)
            | (Op::MatMul, _) => Role::Parameter,
            (Op::BatchNorm(_), 3..) => Role::Buffer,
            (Op::Quantize(_) | Op::Dequantize(_), 1..) => Role::Constant,
            // The pictures that pass through a layer are nobody's parameters.
            (
                Op::Conv2d(_)
                | Op::ConvTranspose2d(_)
                | Op::Linear
                | Op::BatchNorm(_)
                | Op::BatchNormTrain(_)
                | Op::LayerNorm(_)
                | Op::PRelu,
                0,
            ) => Role::Constant,
            // Whatever a parameter is computed from is a parameter itself.
            _ => result,
        }
    }
}

fn zeros(tensor: &Tensor) -> u64 {
    fn count<T: Element>(tensor: &Tensor) -> u64 {
        let elements = tensor.elements::<T>().unwrap_or_default();
        elements.iter().filter(|element| element.to_f64() == 0.0).count() as u64
    }
    match tensor.dtype() {
        DType::F32 => count::<f32>(tensor),
        DType::F64 => count::<f64>(tensor),
        DType::I8 => count::<i8>(tensor),
        DType::U8 => count::<u8>(tensor),
        DType::I32 => count::<i32>(tensor),
        DType::I64 => count::<i64>(tensor),
    }
}

/// How much memory lives when. All sums are of at most 2^32 tensors of at most 2^64 bytes each.
struct Memory {
    /// Bytes of the inputs.
    inputs: u128,
    /// For each node, bytes of its results.
    born: Vec<u128>,
    /// For each node, bytes alive while it runs.
    live: Vec<u128>,
}

impl Memory {
    fn of(graph: &Graph, shapes: &[Vec<usize>]) -> Result<Memory, CostError> {
        let nodes = graph.nodes().len();
        let mut bytes = vec![0u128; graph.value_count()];
        for (id, value) in graph.values() {
            if !matches!(value.source, Source::Weight { .. }) {
                let size = value.ty.dtype.size() as u128;
                let total = elements(&shapes[id.index()]).and_then(|n| n.checked_mul(size));
                bytes[id.index()] = u128::from(fit(total, &graph.label(id), "bytes")?);
            }
        }
        // The tensor whose memory a tensor takes, and the last node that needs it.
        let mut home: Vec<TensorId> = graph.values().map(|(id, _)| id).collect();
        let mut last = vec![0; graph.value_count()];
        let mut born = vec![0; nodes];
        for (at, Node { op, inputs, outputs, .. }) in graph.nodes().iter().enumerate() {
            for &input in inputs {
                last[home[input.index()].index()] = at;
            }
            for &output in outputs {
                match inputs.first() {
                    Some(&operand) if op.is_view() => home[output.index()] = home[operand.index()],
                    _ => {
                        last[output.index()] = at;
                        born[at] += bytes[output.index()];
                    }
                }
            }
        }
        for output in graph.outputs() {
            last[home[output.tensor.index()].index()] = nodes.saturating_sub(1);
        }

        let mut dead = vec![0u128; nodes];
        for (id, _) in graph.values().filter(|(id, _)| home[id.index()] == *id) {
            if let Some(dead) = dead.get_mut(last[id.index()]) {
                *dead += bytes[id.index()];
            }
        }
        let inputs = graph.inputs().iter().map(|id| bytes[id.index()]).sum();
        let mut now = inputs;
        let mut live = Vec::with_capacity(nodes);
        for (born, dead) in born.iter().zip(&dead) {
            now += born;
            live.push(now);
            now -= dead;
        }
        Ok(Memory { inputs, born, live })
    }
}

/// The shapes that one node works on.
struct Work<'a> {
    inputs: Vec<&'a [usize]>,
    outputs: Vec<&'a [usize]>,
    batch: u128,
}

impl Work<'_> {
    /// The number of elements of the first operand.
    fn x(&self) -> Option<u128> {
        elements(self.inputs.first()?)
    }

    /// The number of elements of the first result.
    fn y(&self) -> Option<u128> {
        elements(self.outputs.first()?)
    }

    fn size(&self, operand: usize, axis: usize) -> Option<u128> {
        self.inputs.get(operand)?.get(axis).map(|&size| size as u128)
    }

    /// What one element of the result of a convolution (of the operand, where it is transposed)
    /// takes: the weight's elements but for its first axis.
    fn window(&self) -> Option<u128> {
        elements(self.inputs.get(1)?.get(1..)?)
    }

    /// One for each element of a transposed convolution's result, channel and tap, as if it were a
    /// convolution.
    fn untransposed(&self, groups: Groups) -> Option<u128> {
        let channels = match groups {
            Groups::Dense => self.size(0, 1)?,
            Groups::Grouped(count) => self.size(0, 1)?.checked_div(count as u128)?,
            Groups::Depthwise => 1,
        };
        let taps = elements(self.inputs.get(1)?.get(2..)?)?;
        self.y()?.checked_mul(taps)?.checked_mul(channels)
    }

    /// `additions` where there is a bias, else 0.
    fn bias(&self, additions: Option<u128>) -> Option<u128> {
        if self.inputs.len() > 2 { additions } else { Some(0) }
    }
}

/// The MACs of one node; `None` where they do not fit. The table of the module in code.
fn macs(op: &Op, work: &Work, convention: Convention) -> Option<u128> {
    use Convention::{Exact, Thop, TorchPruning};
    let count = match (op, convention) {
        (Op::Conv2d(_), Exact | Thop) => work.y()?.checked_mul(work.window()?)?,
        (Op::Conv2d(_), TorchPruning) => {
            work.y()?.checked_mul(work.window()?)?.checked_add(work.bias(work.y())?)?
        }
        (Op::ConvTranspose2d(_), Exact) => work.x()?.checked_mul(work.window()?)?,
        (Op::ConvTranspose2d(op), Thop) => work.untransposed(op.groups)?,
        (Op::ConvTranspose2d(op), TorchPruning) => {
            work.untransposed(op.groups)?.checked_add(work.bias(work.y())?)?
        }
        // Each element of the gradient meets the window of its filter, as in the convolution.
        (Op::Conv2dWeightGrad(_), Exact) => {
            let filter = elements(work.outputs.first()?.get(1..)?)?;
            elements(work.inputs.get(1)?)?.checked_mul(filter)?
        }
        (Op::Linear, Exact | Thop) => work.y()?.checked_mul(work.size(1, 1)?)?,
        (Op::Linear, TorchPruning) => {
            let features = work.size(1, 0)?;
            let bias = work.bias(features.checked_mul(work.batch))?;
            work.x()?.checked_mul(features)?.checked_add(bias)?
        }
        (Op::MatMul, Exact) => {
            let inner = *work.inputs.first()?.last()?;
            work.y()?.checked_mul(inner as u128)?
        }
        (Op::BatchNorm(_) | Op::LayerNorm(_), Thop) => work.x()?.checked_mul(4)?,
        (Op::BatchNorm(_) | Op::LayerNorm(_), TorchPruning) => work.x()?.checked_mul(2)?,
        (Op::PRelu, Thop | TorchPruning) => work.x()?,
        (Op::Unary(op), TorchPruning) if torch_pruning_counts(op) => work.y()?,
        (Op::Softmax(op), Thop) => match work.size(0, op.axis)? {
            0 => 0,
            features => (work.x()? / features).checked_mul(features.checked_mul(3)? - 1)?,
        },
        (Op::AveragePool(_), Thop) => work.y()?,
        (Op::GlobalPool(op), Thop) if op.kind == Reduction::Mean => {
            let window = elements(work.inputs.first()?.get(2..)?)?;
            work.y()?.checked_mul(window.checked_add(1)?)?
        }
        (Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalPool(_), TorchPruning) => work.x()?,
        (Op::Resize(op), Thop) => match op.mode {
            ResizeMode::Nearest => work.y()?,
            ResizeMode::Linear => work.y()?.checked_mul(11)?,
        },
        (Op::Resize(_), TorchPruning) => work.y()?,
        // Written out, so that a new operator has to be thought about here.
        (
            Op::MatMul
            | Op::BatchNorm(_)
            | Op::LayerNorm(_)
            | Op::PRelu
            | Op::Unary(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::UnaryGrad(_)
            | Op::BatchNormTrain(_)
            | Op::BatchNormGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_)
            | Op::AveragePool(_)
            | Op::GlobalPool(_)
            | Op::MaxPool(_)
            | Op::Resize(_)
            | Op::Binary(_)
            | Op::L2Norm(_)
            | Op::Concat(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Reduce(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Transpose(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::DepthToSpace(_)
            | Op::Dropout(_)
            | Op::Cast(_)
            | Op::Quantize(_)
            | Op::Dequantize(_),
            _,
        ) => 0,
    };
    Some(if convention == TorchPruning { count / work.batch } else { count })
}

/// The activations that torch-pruning has a rule for. A clip to other bounds than relu6's is a
/// Hardtanh in PyTorch, for which it has none.
fn torch_pruning_counts(op: &Unary) -> bool {
    match op {
        Unary::Relu | Unary::LeakyRelu { .. } | Unary::Elu { .. } | Unary::Gelu { .. } => true,
        Unary::Clip { min, max } => (*min, *max) == (0.0, 6.0),
        _ => false,
    }
}

fn elements(shape: &[usize]) -> Option<u128> {
    shape.iter().try_fold(1u128, |product, &size| product.checked_mul(size as u128))
}

/// The count as reported: below 2^63, so that its double, the FLOPs, fits as well.
fn fit(count: Option<u128>, place: &str, what: &'static str) -> Result<u64, CostError> {
    count
        .and_then(|count| u64::try_from(count).ok())
        .filter(|&count| count <= u64::MAX / 2)
        .ok_or_else(|| CostError::TooLarge { place: place.to_string(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op;
    use crate::types::TensorType;

    fn zero(shape: &[usize]) -> Tensor {
        Tensor::zeros(DType::F32, shape).unwrap()
    }

    fn batch(size: usize) -> Bindings {
        Bindings::from([("N".to_string(), size)])
    }

    /// A graph of one node over an input and weights of the given shapes.
    fn single(op: impl Into<Op>, input: &[usize], weights: &[&[usize]]) -> Graph {
        let mut graph = Graph::new("single");
        let dims = [crate::Dim::symbol("N")].into_iter().chain(input.iter().map(|&n| n.into()));
        let mut operands = vec![graph.input("x", TensorType::new(DType::F32, dims)).unwrap()];
        for (at, shape) in weights.iter().enumerate() {
            operands.push(graph.weight(&format!("w{at}"), zero(shape)).unwrap());
        }
        let result = graph.push("layer", op, &operands).unwrap();
        graph.output("y", result).unwrap();
        graph
    }

    fn macs_of(graph: &Graph, batch_size: usize) -> [u64; 3] {
        Convention::ALL.map(|convention| graph.cost(&batch(batch_size), convention).unwrap().macs)
    }

    /// Operator, shape of the input without the batch, shapes of the weights, and the counts.
    type Row<'a> = (Op, &'a [usize], Vec<&'a [usize]>, [u64; 3]);

    /// Exact, thop and torch-pruning's counts. The latter two were measured with thop 0.1.1 and
    /// torch-pruning 1.6.1 on the PyTorch module that the operator stands for, on 8 channels of
    /// 10 x 10 unless the shape says otherwise; exact is the formula by hand.
    #[test]
    fn every_operator_counts_as_the_tools_measure_it() {
        let x = [8, 10, 10];
        let pad = |groups| op::Conv2d { pad: [1; 4], groups, ..Default::default() };
        let transposed =
            || op::ConvTranspose2d { stride: [2, 2], pad: [1; 4], ..Default::default() };
        let bilinear = op::Resize { mode: ResizeMode::Linear, ..Default::default() };
        let conv = Op::Conv2d(pad(Groups::Dense));
        let shallow = Op::Conv2d(pad(Groups::Grouped(4)));
        let deep = Op::Conv2d(pad(Groups::Depthwise));
        let unary = Op::Unary;
        let c: &[usize] = &[8];
        let rows: Vec<Row> = vec![
            (conv.clone(), &x, vec![&[16, 8, 3, 3], &[16]], [115_200, 115_200, 116_800]),
            (conv, &x, vec![&[16, 8, 3, 3]], [115_200, 115_200, 115_200]),
            (shallow, &x, vec![&[16, 2, 3, 3], &[16]], [28_800, 28_800, 30_400]),
            (deep, &x, vec![&[16, 1, 3, 3]], [14_400, 14_400, 14_400]),
            (
                Op::ConvTranspose2d(transposed()),
                &x,
                vec![&[8, 16, 4, 4], &[16]],
                [204_800, 819_200, 825_600],
            ),
            (
                Op::ConvTranspose2d(op::ConvTranspose2d {
                    groups: Groups::Grouped(4),
                    ..transposed()
                }),
                &x,
                vec![&[8, 4, 4, 4]],
                [51_200, 204_800, 204_800],
            ),
            (
                Op::ConvTranspose2d(op::ConvTranspose2d {
                    groups: Groups::Depthwise,
                    ..transposed()
                }),
                &x,
                vec![&[8, 1, 4, 4]],
                [12_800, 51_200, 51_200],
            ),
            (Op::BatchNorm(Default::default()), &x, vec![c, c, c, c], [0, 3_200, 1_600]),
            (Op::LayerNorm(Default::default()), &x, vec![&x, &x], [0, 3_200, 1_600]),
            (unary(Unary::Relu), &x, vec![], [0, 0, 800]),
            (unary(Unary::Clip { min: 0.0, max: 6.0 }), &x, vec![], [0, 0, 800]),
            (unary(Unary::Clip { min: -1.0, max: 1.0 }), &x, vec![], [0, 0, 0]),
            (unary(Unary::LeakyRelu { alpha: 0.2 }), &x, vec![], [0, 0, 800]),
            (unary(Unary::Elu { alpha: 1.0 }), &x, vec![], [0, 0, 800]),
            (unary(Unary::Gelu { tanh: false }), &x, vec![], [0, 0, 800]),
            (unary(Unary::Silu), &x, vec![], [0, 0, 0]),
            (unary(Unary::HardSwish), &x, vec![], [0, 0, 0]),
            (unary(Unary::Sigmoid), &x, vec![], [0, 0, 0]),
            (Op::PRelu, &x, vec![&[8, 1, 1]], [0, 800, 800]),
            (Op::MaxPool(Default::default()), &x, vec![], [0, 0, 800]),
            (Op::AveragePool(Default::default()), &x, vec![], [0, 200, 800]),
            (Op::GlobalPool(Default::default()), &x, vec![], [0, 808, 800]),
            (Op::GlobalPool(op::GlobalPool { kind: Reduction::Max }), &x, vec![], [0, 0, 800]),
            (Op::Softmax(Default::default()), &x, vec![], [0, 2_300, 0]),
            (Op::Resize(Default::default()), &x, vec![], [0, 3_200, 3_200]),
            (Op::Resize(bilinear), &x, vec![], [0, 35_200, 3_200]),
            (Op::Dropout(Default::default()), &x, vec![], [0, 0, 0]),
            (Op::DepthToSpace(Default::default()), &x, vec![], [0, 0, 0]),
            (Op::Binary(op::Binary::Mul), &x, vec![&[8, 1, 1]], [0, 0, 0]),
            (Op::Linear, &[8], vec![&[16, 8], &[16]], [128, 128, 144]),
            // Torch-pruning adds the bias once a picture, even where it is added to five rows.
            (Op::Linear, &[5, 8], vec![&[16, 8], &[16]], [640, 640, 656]),
            (Op::MatMul, &[5, 8], vec![&[8, 3]], [120, 0, 0]),
        ];
        for (op, input, weights, expected) in rows {
            let graph = single(op.clone(), input, &weights);
            assert_eq!(macs_of(&graph, 1), expected, "{op:?}");
            let [exact, thop, torch_pruning] = expected;
            assert_eq!(macs_of(&graph, 3), [3 * exact, 3 * thop, torch_pruning], "{op:?}");
        }
    }

    #[test]
    fn conventions_are_found_by_name() {
        for convention in Convention::ALL {
            assert_eq!(Convention::from_name(&convention.to_string()), Some(convention));
        }
        assert_eq!(Convention::from_name("ptflops"), None);
    }

    #[test]
    fn weights_are_told_apart_by_what_they_are_for() {
        let mut graph = Graph::new("roles");
        let x = graph.input("x", TensorType::image(2, 4, 4)).unwrap();
        let i8s = Tensor::from_slice(&[3, 2, 1, 1], &[0i8, 1, 2, 0, 3, 4]).unwrap();
        let stored = graph.constant("conv.weight", i8s).unwrap();
        let scale = graph.constant("conv.scale", Tensor::scalar(0.5f32)).unwrap();
        let zero_point = graph.constant("conv.zero", Tensor::scalar(0i8)).unwrap();
        let dequantized = [stored, scale, zero_point];
        let weight = graph.push("dq", Op::Dequantize(Default::default()), &dequantized).unwrap();
        let bias = Tensor::from_slice(&[3], &[-0.0f32, f32::NAN, 1.0]).unwrap();
        let bias = graph.constant("conv.bias", bias).unwrap();
        let y = graph.push("conv", Op::Conv2d(Default::default()), &[x, weight, bias]).unwrap();
        let affine = ["gamma", "beta"].map(|name| graph.weight(name, zero(&[3])).unwrap());
        let running = ["mean", "variance"].map(|name| graph.constant(name, zero(&[3])).unwrap());
        let operands = [y, affine[0], affine[1], running[0], running[1]];
        let y = graph.push("bn", Op::BatchNorm(Default::default()), &operands).unwrap();
        let learned = graph.weight("scale", zero(&[1])).unwrap();
        let fixed = graph.constant("shift", zero(&[1])).unwrap();
        let y = graph.push("mul", op::Binary::Mul, &[y, learned]).unwrap();
        let y = graph.push("add", op::Binary::Add, &[y, fixed]).unwrap();
        graph.output("y", y).unwrap();

        let cost = graph.cost(&batch(1), Convention::Exact).unwrap();
        // 6 in the weight, 3 in the bias, gamma and beta, one scale.
        assert_eq!(cost.parameters, Parameters { total: 16, zero: 10, trainable: 7 });
        assert_eq!((cost.parameters.nonzero(), cost.parameters.frozen()), (6, 9));
        let bytes = WeightBytes { parameters: 6 + 4 * 10, buffers: 24, constants: 4 + 1 + 4 };
        assert_eq!(cost.weights, bytes);
        assert_eq!(cost.weights.total(), 79);
        let per_node: Vec<u64> = cost.nodes.iter().map(|node| node.parameters).collect();
        assert_eq!(per_node, [6, 3, 6, 1, 0]);
    }

    #[test]
    fn a_shared_weight_counts_once_and_an_unused_one_still_counts() {
        let mut graph = Graph::new("shared");
        let x = graph
            .input("x", TensorType::new(DType::F32, ["N".into(), 4.into()] as [crate::Dim; 2]))
            .unwrap();
        let weight = graph.weight("weight", zero(&[4, 4])).unwrap();
        graph.weight("unused", zero(&[5])).unwrap();
        let y = graph.push("a", Op::Linear, &[x, weight]).unwrap();
        let y = graph.push("b", Op::Linear, &[y, weight]).unwrap();
        graph.output("y", y).unwrap();
        let cost = graph.cost(&batch(2), Convention::Exact).unwrap();
        assert_eq!(cost.parameters.total, 21);
        assert_eq!(cost.nodes.iter().map(|node| node.parameters).collect::<Vec<_>>(), [16, 0]);
        assert_eq!((cost.macs, cost.flops()), (64, 128));
    }

    #[test]
    fn activations_live_from_their_node_to_their_last_use() {
        let mut graph = Graph::new("peak");
        // 32 bytes.
        let x = graph.input("x", TensorType::image(2, 2, 2)).unwrap();
        let relu = graph.push("relu", Unary::Relu, &[x]).unwrap();
        let twice = graph.push("concat", Op::Concat(Default::default()), &[relu, relu]).unwrap();
        let flat = graph.push("flatten", Op::Flatten(Default::default()), &[twice]).unwrap();
        let parts = Op::Split(op::Split { axis: 1, sizes: vec![12, 4] });
        let parts = graph.push_multi("split", parts, &[flat]).unwrap();
        // The first part is never used; the view keeps `twice` alive up to here.
        let tanh = graph.push("tanh", Unary::Tanh, &[parts[1]]).unwrap();
        let back = graph.push("exp", Unary::Exp, &[flat]).unwrap();
        graph.output("tanh", tanh).unwrap();
        graph.output("exp", back).unwrap();

        let cost = graph.cost(&batch(1), Convention::Exact).unwrap();
        let rows: Vec<(&str, u64, u64)> = cost
            .nodes
            .iter()
            .map(|node| (&*node.label, node.activation_bytes, node.live_bytes))
            .collect();
        assert_eq!(
            rows,
            [
                ("relu", 32, 64),
                ("concat", 64, 96),
                ("flatten", 0, 64),
                ("split", 64, 128),
                ("tanh", 16, 64 + 16 + 16),
                ("exp", 64, 64 + 16 + 64),
            ]
        );
        assert_eq!(cost.peak.bytes, 144);
        assert_eq!(cost.peak.node.map(|node| graph.node_label(node)).as_deref(), Some("exp"));
        assert_eq!(cost.nodes[3].outputs, [[1, 12], [1, 4]]);
        assert_eq!(graph.cost(&batch(5), Convention::Exact).unwrap().peak.bytes, 5 * 144);
    }

    #[test]
    fn of_equal_peaks_the_first_is_named() {
        let mut graph = single(Unary::Relu, &[4], &[]);
        let y = graph.outputs()[0].tensor;
        graph.push("tail", Unary::Relu, &[y]).unwrap();
        let cost = graph.cost(&batch(1), Convention::Exact).unwrap();
        assert_eq!(cost.nodes[0].live_bytes, cost.nodes[1].live_bytes);
        assert_eq!(cost.peak.node.map(NodeId::index), Some(0));
    }

    #[test]
    fn a_graph_without_nodes_holds_its_inputs() {
        let mut graph = Graph::new("wire");
        let x = graph.input("x", TensorType::image(1, 2, 2)).unwrap();
        graph.output("y", x).unwrap();
        let cost = graph.cost(&batch(3), Convention::Thop).unwrap();
        assert_eq!(cost.peak, Peak { bytes: 48, node: None });
        assert_eq!((cost.macs, cost.parameters), (0, Parameters::default()));
    }

    #[test]
    fn hostile_sizes_are_errors() {
        let mut graph = Graph::new("huge");
        let ty = |dims: [usize; 2]| TensorType::new(DType::F32, dims);
        let a = graph.input("a", ty([1 << 15, 1 << 60])).unwrap();
        let b = graph.input("b", ty([1 << 60, 1 << 15])).unwrap();
        let y = graph.push("product", Op::MatMul, &[a, b]).unwrap();
        graph.output("y", y).unwrap();
        let error = graph.cost(&Bindings::new(), Convention::Exact).unwrap_err();
        assert_eq!(error, CostError::TooLarge { place: "a".into(), what: "bytes" });

        let mut graph = Graph::new("huge");
        let a = graph.input("a", ty([1 << 15, 1 << 44])).unwrap();
        let b = graph.input("b", ty([1 << 44, 1 << 15])).unwrap();
        let y = graph.push("product", Op::MatMul, &[a, b]).unwrap();
        graph.output("y", y).unwrap();
        let error = graph.cost(&Bindings::new(), Convention::Exact).unwrap_err();
        assert_eq!(error, CostError::TooLarge { place: "product".into(), what: "MACs" });
        assert!(graph.cost(&Bindings::new(), Convention::Thop).is_ok());

        let mut wire = Graph::new("wire");
        let x = wire.input("x", TensorType::new(DType::F32, [1 << 62; 3])).unwrap();
        wire.output("y", x).unwrap();
        let error = wire.cost(&Bindings::new(), Convention::Exact).unwrap_err();
        assert_eq!(error, CostError::TooLarge { place: "x".into(), what: "bytes" });

        let small = single(Unary::Relu, &[4], &[]);
        for size in [1 << 40, usize::MAX] {
            assert!(small.cost(&batch(size), Convention::Exact).is_err(), "batch {size}");
        }
    }

    #[test]
    fn unknown_and_unfit_sizes_are_errors() {
        let graph = single(Unary::Relu, &[4], &[]);
        let error = graph.cost(&Bindings::new(), Convention::Exact).unwrap_err();
        assert_eq!(error.to_string(), "the size `N` is not known; give it a value");

        let mut graph = Graph::new("unfit");
        let side = |name: &str| TensorType::new(DType::F32, [crate::Dim::symbol(name)]);
        let a = graph.input("a", side("A")).unwrap();
        let b = graph.input("b", side("B")).unwrap();
        let y = graph.push("add", op::Binary::Add, &[a, b]).unwrap();
        graph.output("y", y).unwrap();
        let sizes = |a, b| Bindings::from([("A".to_string(), a), ("B".to_string(), b)]);
        assert!(graph.cost(&sizes(3, 3), Convention::Exact).is_ok());
        let error = graph.cost(&sizes(3, 4), Convention::Exact).unwrap_err();
        assert!(matches!(&error, CostError::Graph(GraphError::Node { node, .. }) if node == "add"));
    }
}
