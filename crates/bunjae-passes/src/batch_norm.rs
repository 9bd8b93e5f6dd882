//! Batch normalisation made part of the layer before it.

use bunjae_ir::op::{BatchNorm, Groups};
use bunjae_ir::{Graph, NodeId, Op, Source, TensorId};
use bunjae_tensor::{DType, Tensor, TensorError};

use crate::error::PassError;
use crate::names::add_weight;

/// One batch normalisation and the layer that takes it in.
struct Fold {
    layer: NodeId,
    norm: NodeId,
    weight: TensorId,
    bias: Option<TensorId>,
    new_weight: Tensor,
    new_bias: Tensor,
}

/// The graph with batch normalisations folded into the convolutions, transposed convolutions and
/// linear layers before them, wherever nobody else reads the layer's result and all numbers are
/// weights; `None` where there are none.
///
/// With `s = gamma / sqrt(variance + eps)` the layer's weights are multiplied by `s` of their
/// output channel, and its bias becomes `(bias - mean) s + beta`.
///
/// Contract: shapes are kept; numbers are kept up to the rounding of the new weights, each of which
/// is computed in f64 and rounded once: a relative error of one unit in the last place per product.
/// Not for a graph that is to be trained.
///
/// # Errors
/// As [`Graph::map`]; does not happen for a graph that verifies.
pub fn fold_batch_norm(graph: &Graph) -> Result<Option<Graph>, PassError> {
    let users = graph.users();
    let mut folds = Vec::new();
    for (id, node) in graph.node_ids() {
        if let Op::BatchNorm(norm) = &node.op
            && let Some(fold) = fold_of(graph, &users, id, norm)?
        {
            folds.push(fold);
        }
    }
    if folds.is_empty() {
        return Ok(None);
    }
    let alone = |id: TensorId| {
        users[id.index()].len() == 1 && graph.outputs().iter().all(|output| output.tensor != id)
    };
    let result = graph.map(
        |id, tensor| {
            // A weight that this layer alone uses keeps its name.
            let fold = folds.iter().find(|fold| fold.weight == id || fold.bias == Some(id));
            match fold.filter(|_| alone(id)) {
                Some(fold) if fold.weight == id => fold.new_weight.clone(),
                Some(fold) => fold.new_bias.clone(),
                None => tensor.clone(),
            }
        },
        |result, id, inputs| {
            let node = graph.node(id);
            if folds.iter().any(|fold| fold.norm == id) {
                return Ok(vec![inputs[0]]);
            }
            let Some(fold) = folds.iter().find(|fold| fold.layer == id) else {
                return result.push_multi(&node.name, node.op.clone(), inputs);
            };
            let mut operands = inputs.to_vec();
            if !alone(fold.weight) {
                let name = format!("{}.weight", graph.node_label(id));
                operands[1] = add_weight(result, &name, fold.new_weight.clone(), true)?;
            }
            if !fold.bias.is_some_and(alone) {
                let name = format!("{}.bias", graph.node_label(id));
                let bias = add_weight(result, &name, fold.new_bias.clone(), true)?;
                operands.truncate(2);
                operands.push(bias);
            }
            result.push_multi(&node.name, node.op.clone(), &operands)
        },
    )?;
    Ok(Some(crate::prune_dead(&result)?.unwrap_or(result)))
}

fn fold_of(
    graph: &Graph,
    users: &[Vec<NodeId>],
    norm_id: NodeId,
    norm: &BatchNorm,
) -> Result<Option<Fold>, PassError> {
    let node = graph.node(norm_id);
    let x = node.inputs[0];
    let Source::Node { node: layer_id, .. } = graph.value(x).source else { return Ok(None) };
    let layer = graph.node(layer_id);
    let shared =
        users[x.index()].len() != 1 || graph.outputs().iter().any(|output| output.tensor == x);
    // Of a linear layer, axis 1 is the features only without further axes.
    let fits = match &layer.op {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) => true,
        Op::Linear => graph.ty(x).rank() == 2,
        _ => false,
    };
    if shared || !fits {
        return Ok(None);
    }
    let values = |id: TensorId| graph.weight_tensor(id).map(Tensor::to_f64_vec);
    let parameters = [1, 2, 3, 4].map(|at| values(node.inputs[at]));
    let [Some(gamma), Some(beta), Some(mean), Some(variance)] = parameters else {
        return Ok(None);
    };
    let (weight, bias) = (layer.inputs[1], layer.inputs.get(2).copied());
    let Some(old_weight) = graph.weight_tensor(weight) else { return Ok(None) };
    let old_bias = match bias {
        None => vec![0.0; gamma.len()],
        Some(bias) => match values(bias) {
            Some(bias) => bias,
            None => return Ok(None),
        },
    };
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(gamma, variance)| gamma / (variance + f64::from(norm.eps)).sqrt())
        .collect();
    let shape = old_weight.shape();
    let channel = |index: usize| match &layer.op {
        Op::ConvTranspose2d(op) => {
            // [input channels, output channels / groups, rows, columns]
            let inner: usize = shape[2..].iter().product();
            let (input, filter) = (index / inner / shape[1], index / inner % shape[1]);
            let groups = match op.groups {
                Groups::Dense => 1,
                Groups::Grouped(count) => count,
                Groups::Depthwise => shape[0],
            };
            input / (shape[0] / groups) * shape[1] + filter
        }
        _ => index / shape[1..].iter().product::<usize>(),
    };
    let weights = old_weight.to_f64_vec();
    let weights: Vec<f64> =
        weights.iter().enumerate().map(|(index, weight)| weight * scale[channel(index)]).collect();
    let biases: Vec<f64> = (0..scale.len())
        .map(|channel| (old_bias[channel] - mean[channel]) * scale[channel] + beta[channel])
        .collect();
    let dtype = old_weight.dtype();
    Ok(Some(Fold {
        layer: layer_id,
        norm: norm_id,
        weight,
        bias,
        new_weight: rounded(dtype, shape, &weights)?,
        new_bias: rounded(dtype, &[scale.len()], &biases)?,
    }))
}

/// A tensor of a float type from numbers computed in f64.
fn rounded(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Tensor, TensorError> {
    if dtype == DType::F64 {
        return Tensor::from_slice(shape, values);
    }
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::from_slice(shape, &values)
}
