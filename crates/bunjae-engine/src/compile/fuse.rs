//! What is computed together: a convolution with the activation, residual and pooling that follow
//! it, a linear layer or an addition with its activation.
//!
//! A node is taken in only where nobody else wants the result it replaces. The whole group runs in
//! the place of its last node, where all its operands are known; a residual therefore goes to the
//! later of two convolutions that are added.

use bunjae_ir::op::{Binary, Groups, MaxPool, Reduction, Unary};
use bunjae_ir::{Graph, NodeId, Op, TensorId};
use bunjae_kernels::{Activation, ResidualAt, Tail};
use bunjae_tensor::DType;

use super::block::Block;
use super::train::{TrainingGroup, TrainingGroups};

/// What is computed in one go.
#[derive(Clone, Debug)]
pub(super) enum Group {
    /// A node by itself.
    Single(NodeId),
    /// A convolution or other arithmetic with what follows it.
    Fused(Fused),
    /// Three convolutions.
    Block(Box<Block>),
    /// A part of a training graph.
    Training(TrainingGroup),
}

/// Arithmetic with what follows it.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    /// A convolution, a batch normalisation, a linear layer or a function of two elements.
    pub node: NodeId,
    /// The others, in order.
    pub taken: Vec<NodeId>,
    pub activation: Activation,
    /// The slopes of [`Activation::Prelu`], a weight.
    pub slopes: Option<TensorId>,
    pub residual: Option<(TensorId, ResidualAt)>,
    pub tail: Tail,
    /// The tensor that it computes.
    pub result: TensorId,
}

impl Fused {
    /// All its nodes, in order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::once(self.node).chain(self.taken.iter().copied())
    }
}

/// The graph's nodes in groups, in an order in which they can run.
pub(super) fn groups(graph: &Graph) -> Vec<Group> {
    let training = TrainingGroups::new(graph);
    let users = graph.users();
    let mut is_output = vec![false; graph.value_count()];
    graph.outputs().iter().for_each(|output| is_output[output.tensor.index()] = true);
    let mut slots: Vec<Option<Group>> = Vec::new();
    // For each tensor the slot of the group that makes it, where more may be taken in.
    let mut open: Vec<Option<usize>> = vec![None; graph.value_count()];
    for (id, node) in graph.node_ids() {
        if training.has(id) {
            slots.extend(training.at(id).cloned().map(|group| Some(Group::Training(group))));
            continue;
        }
        let slot = slots.len();
        let own_only =
            |tensor: TensorId| users[tensor.index()].len() == 1 && !is_output[tensor.index()];
        let mut candidates: Vec<(usize, TensorId)> = node
            .inputs
            .iter()
            .filter(|&&input| own_only(input))
            .filter_map(|&input| Some((open[input.index()]?, input)))
            .collect();
        // The latest group first.
        candidates.sort_by_key(|(slot, _)| std::cmp::Reverse(*slot));
        let mut group = None;
        for (at, input) in candidates {
            if let Some(Some(Group::Fused(earlier))) = slots.get(at)
                && let Some(mut extended) = extend(graph, earlier, id, input)
            {
                slots[at] = None;
                extended.taken.push(id);
                extended.result = node.outputs[0];
                group = Some(extended);
                break;
            }
        }
        let group = group.or_else(|| start(graph, id));
        slots.push(Some(match group {
            Some(conv) => {
                open[conv.result.index()] = Some(slot);
                Group::Fused(conv)
            }
            None => Group::Single(id),
        }));
    }
    slots.into_iter().flatten().collect()
}

/// A group of this node alone, where something may be taken in.
fn start(graph: &Graph, id: NodeId) -> Option<Fused> {
    let node = graph.node(id);
    let x = graph.ty(*node.inputs.first()?);
    let fits = match node.op {
        Op::Conv2d(_) => true,
        Op::Linear => x.rank() == 2,
        Op::BatchNorm(_) => x.rank() == 4,
        Op::Binary(ref op) => *op != Binary::Pow,
        _ => false,
    };
    let weight = |id: TensorId| graph.weight_tensor(id).is_some();
    let constant = matches!(node.op, Op::Binary(_))
        || (!weight(node.inputs[0]) && node.inputs[1..].iter().all(|&id| weight(id)));
    (fits && constant && x.dtype == DType::F32).then(|| Fused {
        node: id,
        taken: Vec::new(),
        activation: Activation::Identity,
        slopes: None,
        residual: None,
        tail: Tail::Store,
        result: node.outputs[0],
    })
}

/// The group with one more node, which uses the group's result `input`.
fn extend(graph: &Graph, group: &Fused, id: NodeId, input: TensorId) -> Option<Fused> {
    let node = graph.node(id);
    let mut group = group.clone();
    if group.tail != Tail::Store {
        return None;
    }
    let rounded_off = matches!(group.residual, Some((_, ResidualAt::AfterActivation)));
    let plain = group.activation == Activation::Identity && !rounded_off;
    let base = &graph.node(group.node).op;
    let convolves = matches!(base, Op::Conv2d(_) | Op::BatchNorm(_));
    match &node.op {
        Op::Unary(op) if plain => group.activation = activation(op)?,
        Op::PRelu if plain && convolves && node.inputs[0] == input => {
            group.slopes = Some(slopes(graph, node.inputs[1], input)?);
            group.activation = Activation::Prelu;
        }
        Op::Binary(Binary::Add) if convolves && group.residual.is_none() => {
            let [a, b] = node.inputs[..] else { return None };
            let other = if a == input { b } else { a };
            let same = graph.ty(other).dims == graph.ty(input).dims;
            if other == input || !same || graph.weight_tensor(other).is_some() {
                return None;
            }
            let at = match group.activation {
                Activation::Identity => ResidualAt::BeforeActivation,
                _ => ResidualAt::AfterActivation,
            };
            group.residual = Some((other, at));
        }
        Op::MaxPool(pool) if group.residual.is_none() && is_dense_conv(graph, group.node) => {
            let standard =
                MaxPool { kernel: [2, 2], stride: [2, 2], ceil: pool.ceil, ..MaxPool::default() };
            let [height, width] = [2, 3].map(|axis| graph.ty(input).dims[axis].fixed());
            let even = height? % 2 == 0 && width? % 2 == 0;
            if *pool != standard || (pool.ceil && !even) || height? < 2 || width? < 2 {
                return None;
            }
            group.tail = Tail::MaxPool2;
        }
        Op::GlobalPool(pool)
            if pool.kind == Reduction::Mean && is_dense_conv(graph, group.node) =>
        {
            group.tail = Tail::GlobalAverage;
        }
        Op::Reduce(reduce)
            if reduce.kind == Reduction::Mean
                && reduce.axes == [2, 3]
                && is_dense_conv(graph, group.node) =>
        {
            group.tail = Tail::GlobalAverage;
        }
        _ => return None,
    }
    Some(group)
}

/// Whether the kernels have a pooling tail for this convolution that is worth it; the depthwise
/// form has none.
fn is_dense_conv(graph: &Graph, id: NodeId) -> bool {
    matches!(&graph.node(id).op, Op::Conv2d(conv) if conv.groups != Groups::Depthwise)
}

/// The kernels' activation for an operator, where there is one.
pub(super) fn activation(op: &Unary) -> Option<Activation> {
    Some(match *op {
        Unary::Identity => Activation::Identity,
        Unary::Relu => Activation::Relu,
        Unary::LeakyRelu { alpha } => Activation::LeakyRelu { slope: alpha },
        Unary::Clip { min, max } => Activation::Clip { lo: min, hi: max },
        Unary::Sigmoid => Activation::Sigmoid,
        Unary::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
        Unary::HardSwish => Activation::HardSwish,
        Unary::Silu => Activation::Silu,
        Unary::Tanh => Activation::Tanh,
        Unary::Gelu { tanh: false } => Activation::Gelu,
        Unary::Gelu { tanh: true } => Activation::GeluTanh,
        Unary::Elu { alpha } => Activation::Elu { alpha },
        Unary::Exp => Activation::Exp,
        Unary::Softplus
        | Unary::Mish
        | Unary::Log
        | Unary::Sqrt
        | Unary::Neg
        | Unary::Abs
        | Unary::Reciprocal
        | Unary::Erf => return None,
    })
}

/// The weight, where it holds one slope for all or one per channel.
pub(super) fn slopes(graph: &Graph, slopes: TensorId, x: TensorId) -> Option<TensorId> {
    let shape = graph.weight_tensor(slopes)?.shape();
    let rank = graph.ty(x).rank();
    let channels = graph.ty(x).dims.get(1)?.fixed()?;
    let count: usize = shape.iter().product();
    // Aligned at the last axis, the channels are axis 1.
    let per_channel = shape.len() + 1 >= rank
        && count == channels
        && shape.get((shape.len() + 1).checked_sub(rank)?) == Some(&channels);
    (count == 1 || per_channel).then_some(slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fused(text: &str) -> Vec<String> {
        let graph = Graph::parse(text).unwrap();
        let name = |id: &NodeId| graph.node(*id).op.name();
        groups(&graph)
            .iter()
            .map(|group| match group {
                Group::Single(id) => name(id).to_string(),
                Group::Training(_) | Group::Block(_) => format!("{group:?}"),
                Group::Fused(group) => {
                    let nodes = std::iter::once(&group.node).chain(&group.taken).map(name);
                    let nodes: Vec<&str> = nodes.collect();
                    match group.residual {
                        Some((_, at)) => format!("{} {at:?}", nodes.join("+")),
                        None => nodes.join("+"),
                    }
                }
            })
            .collect()
    }

    const CONV: &str = "graph @g
in   %x: f32[1,4,6,6]
w    @w: f32[4,4,3,3] = rand(seed=1)
w    @s: f32[4,1,1] = rand(seed=2)
%1 = conv2d %x, @w {pad=[1,1,1,1]} : f32[1,4,6,6]
";

    #[test]
    fn what_follows_a_convolution_is_taken_in() {
        let cases = [
            (
                "%2 = relu %1 : f32[1,4,6,6]\n%3 = max_pool %2 : f32[1,4,3,3]\nout %3",
                "conv2d+relu+max_pool",
            ),
            (
                "%2 = add %x, %1 : f32[1,4,6,6]\n%3 = relu %2 : f32[1,4,6,6]\nout %3",
                "conv2d+add+relu BeforeActivation",
            ),
            (
                "%2 = relu %1 : f32[1,4,6,6]\n%3 = add %2, %x : f32[1,4,6,6]\nout %3",
                "conv2d+relu+add AfterActivation",
            ),
            (
                "%2 = prelu %1, @s : f32[1,4,6,6]\n%3 = global_pool %2 : f32[1,4,1,1]\nout %3",
                "conv2d+prelu+global_pool",
            ),
            (
                "%2 = relu %1 : f32[1,4,6,6]\n%3 = relu %2 : f32[1,4,6,6]\nout %3",
                "conv2d+relu relu",
            ),
            ("%2 = relu %1 : f32[1,4,6,6]\nout %1\nout %2 ; \"y\"", "conv2d relu"),
            ("%2 = add %1, %1 : f32[1,4,6,6]\nout %2", "conv2d add"),
            ("%2 = mish %1 : f32[1,4,6,6]\nout %2", "conv2d mish"),
        ];
        for (rest, expected) in cases {
            assert_eq!(fused(&format!("{CONV}{rest}\n")).join(" "), expected, "{rest}");
        }
    }

    #[test]
    fn the_later_of_two_convolutions_takes_the_residual() {
        let text = format!(
            "{CONV}w @v: f32[4,4,1,1] = rand(seed=3)
%2 = conv2d %x, @v : f32[1,4,6,6]
%3 = add %1, %2 : f32[1,4,6,6]
out %3
"
        );
        assert_eq!(fused(&text), ["conv2d", "conv2d+add BeforeActivation"]);
    }
}
