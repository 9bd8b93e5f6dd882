//! Gradients as nodes: backpropagation written into the graph.
//!
//! The nodes are visited from the last to the first. Each adds, for those of its operands that the
//! gradient is asked of, the nodes that compute their share from the gradient of its result. The shares
//! of a tensor that is used several times are added in the order in which they come about, the last
//! user's first, whatever the machine.

mod layers;
mod movement;
mod products;
mod rules;

use bunjae_ir::op::Binary;
use bunjae_ir::{Graph, GraphError, NodeId, Op, Source, TensorId};
use bunjae_tensor::{DType, Tensor, TensorError};
use thiserror::Error;

use crate::formula::Formula;
use crate::names::add_weight;

/// Why a graph cannot be differentiated.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DifferentiateError {
    /// The loss has more than one element, or is no float.
    #[error("{label} is {ty}, but a loss is a single float\nhint: take its mean or sum first")]
    NotScalar {
        /// What people call the loss.
        label: String,
        /// Its type.
        ty: String,
    },
    /// Asked for the gradient of integers.
    #[error("{label} holds {dtype}, which have no gradient")]
    Integers {
        /// What people call the tensor.
        label: String,
        /// Its element type.
        dtype: DType,
    },
    /// The loss is not computed from the tensor.
    #[error("the loss does not depend on {label}\nhint: freeze it, or leave it out")]
    Independent {
        /// What people call the tensor.
        label: String,
    },
    /// An operator on the way that has no gradient.
    #[error("{node}: {op} has no gradient: {why}")]
    NoGradient {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// The new graph does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// The weights that training may change and on which the loss depends, in the order of the graph.
///
/// # Panics
/// As a slice index would, where `loss` is a tensor of another graph.
pub fn trainable_weights(graph: &Graph, loss: TensorId) -> Vec<TensorId> {
    let leads = leads_to(graph, loss);
    let trainable = |id: &TensorId| match &graph.value(*id).source {
        Source::Weight { trainable, tensor, .. } => *trainable && tensor.dtype().is_float(),
        _ => false,
    };
    graph.weights().iter().copied().filter(|id| trainable(id) && leads[id.index()]).collect()
}

/// The graph with the gradients of `loss` by the tensors of `with_respect_to` as further outputs, each
/// called `grad.` and the name of its weight, input or node.
///
/// The ids of the graph stay what they were, and so do its outputs. What leads only to tensors that
/// are not asked for (frozen weights, the picture) costs nothing: no node is made for it. Sizes may
/// depend on symbols. Where a function has no derivative, the gradient is that of PyTorch, as each
/// operator says.
///
/// Contract: the old outputs are the same to the bit.
///
/// # Errors
/// [`DifferentiateError`].
///
/// # Panics
/// As a slice index would, where a tensor is one of another graph.
pub fn differentiate(
    graph: &Graph,
    loss: TensorId,
    with_respect_to: &[TensorId],
) -> Result<Graph, DifferentiateError> {
    let ty = graph.ty(loss);
    if !ty.dtype.is_float() || !ty.dims.iter().all(bunjae_ir::Dim::is_one) {
        let (label, ty) = (graph.label(loss), ty.to_string());
        return Err(DifferentiateError::NotScalar { label, ty });
    }
    for &id in with_respect_to {
        let dtype = graph.ty(id).dtype;
        if !dtype.is_float() {
            return Err(DifferentiateError::Integers { label: graph.label(id), dtype });
        }
    }
    let depends = depends_on(graph, with_respect_to);
    let leads = leads_to(graph, loss);

    let mut result = graph.clone();
    let seed = one(ty.dtype, ty.rank())?;
    let seed = add_weight(&mut result, "constant", seed, false)?;
    let mut formula = Formula::new(&mut result, "");
    let mut shares: Vec<Vec<TensorId>> = vec![Vec::new(); graph.value_count()];
    shares[loss.index()].push(seed);
    for (at, node) in graph.nodes().iter().enumerate().rev() {
        let wanted: Vec<bool> = node.inputs.iter().map(|id| depends[id.index()]).collect();
        let reached = node.outputs.iter().any(|id| leads[id.index()]);
        if !reached || !wanted.contains(&true) {
            continue;
        }
        let id = node_id(graph, at)?;
        // A node without a name leaves its gradient without one.
        let scope =
            if node.name.is_empty() { String::new() } else { format!("{}.grad", node.name) };
        formula.enter(scope);
        let mut gradients = Vec::new();
        for output in &node.outputs {
            gradients.push(total(&mut formula, &mut shares[output.index()])?);
        }
        let rule = rules::Rule { node, label: graph.node_label(id), wanted: &wanted, gradients };
        for (&input, share) in node.inputs.iter().zip(rule.shares(&mut formula)?) {
            if let Some(share) = share.filter(|_| depends[input.index()]) {
                shares[input.index()].push(share);
            }
        }
    }
    let mut gradients = Vec::new();
    for &id in with_respect_to {
        let label = graph.label(id);
        formula.enter(format!("{label}.grad"));
        let Some(gradient) = total(&mut formula, &mut shares[id.index()])? else {
            return Err(DifferentiateError::Independent { label });
        };
        gradients.push((format!("grad.{label}"), gradient));
    }
    for (name, gradient) in gradients {
        result.output(&name, gradient)?;
    }
    Ok(result)
}

/// The sum of the shares of a tensor, which becomes its only one; `None` where it has none.
fn total(
    formula: &mut Formula<'_>,
    shares: &mut Vec<TensorId>,
) -> Result<Option<TensorId>, GraphError> {
    let mut rest = shares.drain(..);
    let Some(mut sum) = rest.next() else { return Ok(None) };
    for share in rest.by_ref() {
        sum = formula.push(Binary::Add, &[sum, share])?;
    }
    drop(rest);
    shares.push(sum);
    Ok(Some(sum))
}

fn node_id(graph: &Graph, at: usize) -> Result<NodeId, GraphError> {
    graph.node_ids().nth(at).map(|(id, _)| id).ok_or_else(|| GraphError::Invalid {
        place: format!("node {at}"),
        what: "does not exist in this graph".into(),
    })
}

fn one(dtype: DType, rank: usize) -> Result<Tensor, TensorError> {
    let shape = vec![1; rank];
    match dtype {
        DType::F64 => Tensor::from_slice(&shape, &[1f64]),
        _ => Tensor::from_slice(&shape, &[1f32]),
    }
}

/// For each tensor, whether it is one of `origins` or computed from one.
fn depends_on(graph: &Graph, origins: &[TensorId]) -> Vec<bool> {
    let mut depends = vec![false; graph.value_count()];
    origins.iter().for_each(|id| depends[id.index()] = true);
    for node in graph.nodes() {
        if node.inputs.iter().any(|id| depends[id.index()]) {
            node.outputs.iter().for_each(|id| depends[id.index()] = true);
        }
    }
    depends
}

/// For each tensor, whether `loss` is computed from it.
fn leads_to(graph: &Graph, loss: TensorId) -> Vec<bool> {
    let mut leads = vec![false; graph.value_count()];
    leads[loss.index()] = true;
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|id| leads[id.index()]) {
            let values = node.inputs.iter().enumerate();
            let counts = values.filter(|(at, _)| !only_shape_counts(&node.op, *at));
            counts.for_each(|(_, id)| leads[id.index()] = true);
        }
    }
    leads
}

/// Whether of an operand only the shape counts, so that nothing flows through it.
fn only_shape_counts(op: &Op, operand: usize) -> bool {
    operand == 0
        && matches!(
            op,
            Op::AveragePoolGrad(_) | Op::ResizeGrad(_) | Op::PadGrad(_) | Op::SliceGrad(_)
        )
}
