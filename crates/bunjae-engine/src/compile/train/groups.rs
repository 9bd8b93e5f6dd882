//! What a training graph computes together.
//!
//! Forward, a batch normalisation takes in the residual, the activation and the pooling that follow
//! it. Its backward pass takes in their gradients: what those need of the tensors in between is
//! computed again from the normalisation's operand, so that these tensors are never stored. That
//! holds only where all users of a tensor in between are of the group, which is decided here for both
//! passes at once.
//!
//! The input gradient of a convolution takes in the addition of another gradient, and the gradient of
//! a convolution's bias comes with that of the normalisation behind it. The weight gradient takes in a
//! normalisation that is done again for it alone.

use bunjae_ir::op::{Binary, MaxPool, Reduction, Unary};
use bunjae_ir::{Graph, Node, NodeId, Op, Source, TensorId};
use bunjae_kernels::{Activation, BatchNormSpec, Tail};
use bunjae_tensor::DType;

use super::super::fuse::activation;

/// What is computed in one go.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::compile) enum TrainingGroup {
    /// A convolution whose weight is computed or changes between runs.
    Conv {
        node: NodeId,
    },
    Norm(Norm),
    NormGrad(NormGrad),
    /// A transposed convolution, which is the gradient of a convolution's input.
    InputGrad {
        node: NodeId,
        /// An addition that it takes in: the node, and the other operand.
        added: Option<(NodeId, TensorId)>,
        result: TensorId,
    },
    WeightGrad {
        node: NodeId,
        /// The normalisation whose result is the convolution's input, if only this gradient reads it.
        norm: Option<Norm>,
    },
    /// The gradient of an activation, at `x` or, where its sign says as much, at the activation's
    /// result.
    MapGrad {
        node: NodeId,
        x: TensorId,
        activation: Activation,
    },
    MaxPoolGrad {
        node: NodeId,
    },
    /// The sum of each channel.
    ChannelSum {
        node: NodeId,
    },
}

impl TrainingGroup {
    /// The nodes that it computes, in order.
    pub(in crate::compile) fn nodes(&self) -> Vec<NodeId> {
        let (node, taken) = match self {
            TrainingGroup::Norm(norm) => (norm.node, norm.taken.clone()),
            TrainingGroup::NormGrad(grad) => (grad.node, grad.taken.clone()),
            TrainingGroup::InputGrad { node, added, .. } => {
                (*node, added.iter().map(|(sum, _)| *sum).collect())
            }
            TrainingGroup::WeightGrad { node, norm } => {
                let of = |norm: &Norm| [&[norm.node], &norm.taken[..]].concat();
                (*node, norm.as_ref().map(of).unwrap_or_default())
            }
            TrainingGroup::Conv { node }
            | TrainingGroup::MapGrad { node, .. }
            | TrainingGroup::MaxPoolGrad { node }
            | TrainingGroup::ChannelSum { node } => (*node, Vec::new()),
        };
        let mut nodes: Vec<NodeId> = std::iter::once(node).chain(taken).collect();
        nodes.sort_by_key(|id| id.index());
        nodes
    }
}

/// A batch normalisation by the statistics of the batch, computed or given, with what follows it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::compile) struct Norm {
    pub node: NodeId,
    pub taken: Vec<NodeId>,
    pub activation: Activation,
    pub residual: Option<TensorId>,
    pub tail: Tail,
    pub result: TensorId,
}

/// The gradient of a batch normalisation, of what it took in and of a bias before it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::compile) struct NormGrad {
    pub node: NodeId,
    pub taken: Vec<NodeId>,
    pub activation: Activation,
    pub tail: Tail,
    /// The addend of the forward pass.
    pub beta: TensorId,
    /// The gradient of what the forward pass stores.
    pub gradient: TensorId,
    /// The sum of each channel of the result.
    pub bias: Option<TensorId>,
}

/// The groups of a graph, and for each node the group that it belongs to.
#[derive(Debug, Default)]
pub(in crate::compile) struct TrainingGroups {
    pub groups: Vec<TrainingGroup>,
    /// By node: the group, and whether it runs in this node's place.
    places: Vec<Option<Place>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    group: usize,
    here: bool,
}

impl TrainingGroups {
    /// The groups of a graph; none where nothing is trained.
    pub(in crate::compile) fn new(graph: &Graph) -> TrainingGroups {
        let mut finder = Finder::new(graph);
        for (id, node) in graph.node_ids() {
            if finder.normalises_by_batch(node) {
                finder.norm(id, node);
            }
        }
        for (id, node) in graph.node_ids() {
            if finder.groups.places[id.index()].is_none() {
                finder.other(id, node);
            }
        }
        finder.groups
    }

    /// Whether a node belongs to a group.
    pub(in crate::compile) fn has(&self, node: NodeId) -> bool {
        self.places.get(node.index()).is_some_and(Option::is_some)
    }

    /// The group that a node belongs to.
    pub(in crate::compile) fn of(&self, node: NodeId) -> Option<&TrainingGroup> {
        let place = self.places.get(node.index())?.as_ref()?;
        self.groups.get(place.group)
    }

    /// The group that runs in a node's place.
    pub(in crate::compile) fn at(&self, node: NodeId) -> Option<&TrainingGroup> {
        let here = self.places.get(node.index())?.is_some_and(|place| place.here);
        self.of(node).filter(|_| here)
    }

    fn add(&mut self, group: TrainingGroup, nodes: &[NodeId], here: NodeId) {
        let at = self.groups.len();
        self.groups.push(group);
        for node in nodes {
            self.places[node.index()] = Some(Place { group: at, here: *node == here });
        }
    }
}

struct Finder<'g> {
    graph: &'g Graph,
    users: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
    groups: TrainingGroups,
}

/// A tensor on the way through what follows a normalisation.
struct Link {
    /// The node that makes it from the one before.
    forward: NodeId,
    /// The node that brings its gradient back, if there is one.
    backward: Option<NodeId>,
}

impl<'g> Finder<'g> {
    fn new(graph: &'g Graph) -> Finder<'g> {
        let mut is_output = vec![false; graph.value_count()];
        graph.outputs().iter().for_each(|output| is_output[output.tensor.index()] = true);
        let places = vec![None; graph.nodes().len()];
        let groups = TrainingGroups { groups: Vec::new(), places };
        Finder { graph, users: graph.users(), is_output, groups }
    }

    /// The users of a tensor that is no output of the graph.
    fn inner_users(&self, id: TensorId) -> Option<&[NodeId]> {
        (!self.is_output[id.index()]).then_some(&self.users[id.index()])
    }

    /// The only user of a tensor.
    fn only_user(&self, id: TensorId) -> Option<NodeId> {
        match self.inner_users(id)? {
            &[user] => Some(user),
            _ => None,
        }
    }

    fn op(&self, id: NodeId) -> &'g Op {
        &self.graph.node(id).op
    }

    /// Where all users of `x` are one function and at most one gradient of it by `x`, those two.
    fn link(
        &self,
        x: TensorId,
        forward: impl Fn(&Op) -> bool,
        backward: impl Fn(&Op, &Op) -> bool,
    ) -> Option<Link> {
        let users = self.inner_users(x)?;
        let (mut ahead, mut back) = (None, None);
        for &user in users {
            let node = self.graph.node(user);
            let place = if forward(&node.op) { &mut ahead } else { &mut back };
            if node.inputs[0] != x || place.replace(user).is_some() {
                return None;
            }
        }
        let forward = ahead?;
        let fits = back.is_none_or(|back| {
            backward(self.op(forward), self.op(back)) && self.graph.node(back).inputs[1] != x
        });
        fits.then_some(Link { forward, backward: back })
    }

    /// Whether a node normalises by the statistics of the batch, be it for the first time or again.
    fn normalises_by_batch(&self, node: &Node) -> bool {
        match node.op {
            Op::BatchNormTrain(_) => true,
            Op::BatchNorm(_) => self
                .maker(node.inputs[3])
                .is_some_and(|maker| matches!(self.op(maker), Op::BatchNormTrain(_))),
            _ => false,
        }
    }

    /// The normalisation with all that can be taken in, and its gradient likewise.
    fn norm(&mut self, id: NodeId, node: &'g Node) {
        let x = node.inputs[0];
        if self.graph.ty(x).rank() != 4 || self.graph.ty(x).dtype != DType::F32 {
            return;
        }
        let grad = self.grad_of(id, node);
        let mut forward = Norm {
            node: id,
            taken: Vec::new(),
            activation: Activation::Identity,
            residual: None,
            tail: Tail::Store,
            result: node.outputs[0],
        };
        // The gradients taken in, from the last to the one before the normalisation's.
        let mut backward: Vec<NodeId> = Vec::new();
        if let Some(link) = self.activation_after(forward.result) {
            let back = link.backward.filter(|back| grad == self.grad_behind(*back));
            if back.is_some() == grad.is_some() {
                self.take(&mut forward, &mut backward, &link);
                if let Some(link) = self.pool_after(forward.result) {
                    let back = link.backward.and_then(|back| self.behind(back));
                    if back == backward.first().copied() {
                        self.take(&mut forward, &mut backward, &link);
                    }
                }
            }
        } else if let Some(add) = self.residual_after(forward.result) {
            let [a, b] = self.graph.node(add).inputs[..] else { return };
            forward.residual = Some(if a == forward.result { b } else { a });
            forward.result = self.graph.node(add).outputs[0];
            forward.taken.push(add);
            self.activation_after_residual(&mut forward);
        }
        let nodes: Vec<NodeId> = [id].into_iter().chain(forward.taken.iter().copied()).collect();
        let last = forward.taken.last().copied().unwrap_or(id);
        let (activation, tail) = (forward.activation, forward.tail);
        let separate = forward.residual.is_some();
        self.groups.add(TrainingGroup::Norm(forward), &nodes, last);

        let Some(grad) = grad else { return };
        let own = self.graph.node(grad);
        let outermost = backward.first().copied().unwrap_or(grad);
        let bias = self.inner_bias(own.outputs[0]);
        let nodes: Vec<NodeId> =
            [grad].into_iter().chain(backward.iter().copied()).chain(bias).collect();
        let group = NormGrad {
            node: grad,
            taken: nodes[1..].to_vec(),
            activation: if separate { Activation::Identity } else { activation },
            tail,
            beta: node.inputs[2],
            gradient: self.graph.node(outermost).inputs[1],
            bias: bias.map(|bias| self.graph.node(bias).outputs[0]),
        };
        self.groups.add(TrainingGroup::NormGrad(group), &nodes, grad);
    }

    fn take(&self, forward: &mut Norm, backward: &mut Vec<NodeId>, link: &Link) {
        forward.taken.push(link.forward);
        forward.result = self.graph.node(link.forward).outputs[0];
        match self.op(link.forward) {
            Op::Unary(op) => forward.activation = activation(op).unwrap_or_default(),
            Op::MaxPool(_) => forward.tail = Tail::MaxPool2,
            _ => forward.tail = Tail::GlobalAverage,
        }
        if let Some(back) = link.backward {
            backward.insert(0, back);
        }
    }

    /// The gradient of a normalisation by its operand.
    fn grad_of(&self, id: NodeId, node: &Node) -> Option<NodeId> {
        let &[_, mean, variance] = node.outputs.as_slice() else { return None };
        self.users[node.inputs[0].index()].iter().copied().find(|&user| {
            let grad = self.graph.node(user);
            matches!((&grad.op, self.op(id)), (Op::BatchNormGrad(a), Op::BatchNormTrain(b)) if a.eps == b.eps)
                && grad.inputs[0] == node.inputs[0]
                && grad.inputs[2] == node.inputs[1]
                && grad.inputs[3] == mean
                && grad.inputs[4] == variance
        })
    }

    /// The only user of a gradient, which takes it as the gradient of its result.
    fn behind(&self, back: NodeId) -> Option<NodeId> {
        let gradient = self.graph.node(back).outputs[0];
        let user = self.only_user(gradient)?;
        let inputs = &self.graph.node(user).inputs;
        (inputs[1] == gradient && inputs[0] != gradient).then_some(user)
    }

    /// As [`Finder::behind`], where that is the gradient of a normalisation.
    fn grad_behind(&self, back: NodeId) -> Option<NodeId> {
        self.behind(back).filter(|&user| matches!(self.op(user), Op::BatchNormGrad(_)))
    }

    fn activation_after(&self, x: TensorId) -> Option<Link> {
        self.link(x, is_fused_activation, |forward, back| match (forward, back) {
            (Op::Unary(forward), Op::UnaryGrad(back)) => forward == back,
            _ => false,
        })
    }

    fn pool_after(&self, x: TensorId) -> Option<Link> {
        let dims = &self.graph.ty(x).dims;
        let [height, width] = [dims.get(2)?.fixed()?, dims.get(3)?.fixed()?];
        let even = height % 2 == 0 && width % 2 == 0;
        let forward = |op: &Op| match op {
            Op::MaxPool(pool) => {
                let standard = MaxPool {
                    kernel: [2, 2],
                    stride: [2, 2],
                    ceil: pool.ceil,
                    ..MaxPool::default()
                };
                *pool == standard && (even || !pool.ceil) && height >= 2 && width >= 2
            }
            Op::GlobalPool(pool) => pool.kind == Reduction::Mean,
            Op::Reduce(reduce) => reduce.kind == Reduction::Mean && reduce.axes == [2, 3],
            _ => false,
        };
        self.link(x, forward, |forward, back| match (forward, back) {
            (Op::MaxPool(forward), Op::MaxPoolGrad(back)) => forward == back,
            (Op::GlobalPool(_) | Op::Reduce(_), Op::ReduceGrad(back)) => {
                back.kind == Reduction::Mean && back.axes == [2, 3]
            }
            _ => false,
        })
    }

    /// An addition of equal shapes that alone uses `x`.
    fn residual_after(&self, x: TensorId) -> Option<NodeId> {
        let user = self.only_user(x)?;
        let node = self.graph.node(user);
        let [a, b] = node.inputs[..] else { return None };
        let same = a != b && self.graph.ty(a).dims == self.graph.ty(b).dims;
        let free = self.groups.places[user.index()].is_none();
        // The sum runs in the place of the later operand, as both have to be there.
        let other = if a == x { b } else { a };
        let later = self
            .made_by_norm(other)
            .is_none_or(|other| self.made_by_norm(x).is_some_and(|own| own > other));
        let adds = matches!(node.op, Op::Binary(Binary::Add));
        let computed = self.graph.weight_tensor(other).is_none();
        (adds && same && free && later && computed).then_some(user)
    }

    /// The node that makes a tensor.
    fn maker(&self, id: TensorId) -> Option<NodeId> {
        match self.graph.value(id).source {
            Source::Node { node, .. } => Some(node),
            _ => None,
        }
    }

    /// The number of the normalisation that makes a tensor by itself.
    fn made_by_norm(&self, id: TensorId) -> Option<usize> {
        let maker = self.maker(id)?;
        let node = self.graph.node(maker);
        let normalised = self.normalises_by_batch(node) && node.outputs.first() == Some(&id);
        normalised.then_some(maker.index())
    }

    /// The activation of a sum: its gradient stays by itself, as both operands want it, and goes by
    /// the sign of the result.
    fn activation_after_residual(&mut self, forward: &mut Norm) {
        let Some(link) = self.activation_after(forward.result) else { return };
        let Op::Unary(op) = self.op(link.forward) else { return };
        let Some(activation) = activation(op).filter(|a| keeps_its_place(*a)) else { return };
        let result = self.graph.node(link.forward).outputs[0];
        if let Some(back) = link.backward {
            let group = TrainingGroup::MapGrad { node: back, x: result, activation };
            self.groups.add(group, &[back], back);
        }
        forward.taken.push(link.forward);
        forward.activation = activation;
        forward.result = result;
    }

    /// The sum of each channel of a gradient, among its users.
    fn inner_bias(&self, gradient: TensorId) -> Option<NodeId> {
        let mut users = self.users[gradient.index()].iter().copied();
        users.rfind(|user| is_channel_sum(self.op(*user)))
    }

    fn other(&mut self, id: NodeId, node: &'g Node) {
        let f32 =
            |id: TensorId| self.graph.ty(id).dtype == DType::F32 && self.graph.ty(id).rank() == 4;
        if !node.inputs.iter().take(2).all(|id| f32(*id)) {
            return;
        }
        let computed = |at: usize| self.graph.weight_tensor(node.inputs[at]).is_none();
        let group = match &node.op {
            Op::Conv2d(_) if computed(1) => TrainingGroup::Conv { node: id },
            Op::ConvTranspose2d(_) if computed(1) => {
                let result = node.outputs[0];
                let added = self.only_user(result).and_then(|user| {
                    let sum = self.graph.node(user);
                    let [a, b] = sum.inputs[..] else { return None };
                    let other = if a == result { b } else { a };
                    let fits = matches!(sum.op, Op::Binary(Binary::Add))
                        && a != b
                        && self.graph.ty(other).dims == self.graph.ty(result).dims
                        && self.groups.places[user.index()].is_none()
                        && self.graph.weight_tensor(other).is_none();
                    fits.then_some((user, other))
                });
                // Of two that are added the later one, which is reached last, takes in the sum.
                let added = added.filter(|(user, other)| !self.is_later(*other, id, *user));
                let group = TrainingGroup::InputGrad {
                    node: id,
                    added,
                    result: added.map_or(result, |(sum, _)| self.graph.node(sum).outputs[0]),
                };
                let nodes: Vec<NodeId> =
                    [id].into_iter().chain(added.map(|(sum, _)| sum)).collect();
                let last = nodes[nodes.len() - 1];
                return self.groups.add(group, &nodes, last);
            }
            Op::Conv2dWeightGrad(_) => {
                let norm = self.norm_again(node.inputs[0]);
                let group = TrainingGroup::WeightGrad { node: id, norm };
                let nodes = group.nodes();
                return self.groups.add(group, &nodes, id);
            }
            Op::UnaryGrad(op) => match activation(op) {
                Some(activation) => {
                    TrainingGroup::MapGrad { node: id, x: node.inputs[0], activation }
                }
                None => return,
            },
            Op::MaxPoolGrad(_) => TrainingGroup::MaxPoolGrad { node: id },
            op if is_channel_sum(op) => TrainingGroup::ChannelSum { node: id },
            _ => return,
        };
        self.groups.add(group, &[id], id);
    }

    /// The normalisation that is done again for one reader of its result alone.
    fn norm_again(&self, result: TensorId) -> Option<Norm> {
        self.only_user(result)?;
        match self.groups.of(self.maker(result)?)? {
            TrainingGroup::Norm(norm)
                if matches!(self.op(norm.node), Op::BatchNorm(_))
                    && norm.residual.is_none()
                    && norm.tail == Tail::Store =>
            {
                Some(norm.clone())
            }
            _ => None,
        }
    }

    /// Whether a tensor is another transposed convolution's result that the same sum could go to,
    /// and comes after `id`.
    fn is_later(&self, other: TensorId, id: NodeId, sum: NodeId) -> bool {
        self.maker(other).is_some_and(|maker| {
            matches!(self.op(maker), Op::ConvTranspose2d(_))
                && self.only_user(other) == Some(sum)
                && maker.index() > id.index()
        })
    }
}

fn is_fused_activation(op: &Op) -> bool {
    match op {
        Op::Unary(Unary::Identity) => false,
        Op::Unary(op) => activation(op).is_some_and(BatchNormSpec::suits),
        _ => false,
    }
}

/// Whether the derivative at the result is that at the operand.
fn keeps_its_place(activation: Activation) -> bool {
    match activation {
        Activation::Relu => true,
        Activation::LeakyRelu { slope } => slope > 0.0,
        // Outside of the bounds the result is at one of them, where the derivative is 0 too.
        Activation::Clip { lo, hi } => lo < hi,
        _ => false,
    }
}

fn is_channel_sum(op: &Op) -> bool {
    matches!(op, Op::Reduce(reduce)
        if reduce.kind == Reduction::Sum && reduce.axes == [0, 2, 3] && !reduce.keep)
}
