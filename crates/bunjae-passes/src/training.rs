//! The form of a graph that is trained: normalisation by the batch, dropout by a mask.

use bunjae_ir::op::{BatchNormTrain, Binary};
use bunjae_ir::{Graph, Node, NodeId, Op, Source, TensorId};

use crate::error::PassError;

/// A graph in the form that is trained, and what its trainer has to know of it.
#[derive(Clone, Debug)]
pub struct TrainingForm {
    /// The graph.
    pub graph: Graph,
    /// For each batch normalisation in training, where its statistics are.
    pub statistics: Vec<BatchStatistics>,
    /// The masks of dropout, which are new inputs.
    pub masks: Vec<DropoutMask>,
}

/// The statistics of one batch normalisation in training.
///
/// After a step, `running = (1 - momentum) running + momentum batch`, the variance of the batch being
/// made unbiased by `n / (n - 1)`, where n is the number of elements of a channel in the batch. This is
/// PyTorch's rule, with a momentum of 0.1 by default; ONNX's momentum is 1 less this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchStatistics {
    /// What people call the node.
    pub node: String,
    /// The name of the weight that holds the running mean.
    pub running_mean: String,
    /// The name of the weight that holds the running variance.
    pub running_variance: String,
    /// The graph's output with the mean of the batch.
    pub mean: String,
    /// The graph's output with the biased variance of the batch.
    pub variance: String,
    /// The normalised tensor, in the new graph: all its axes but axis 1 count the elements.
    pub input: TensorId,
}

/// A mask of dropout: an input of the shape of the tensor it is multiplied with, to be filled with 0 in
/// the share `ratio` of the places, at random, and with `1 / (1 - ratio)` in the others.
#[derive(Clone, Debug, PartialEq)]
pub struct DropoutMask {
    /// The name of the input.
    pub input: String,
    /// The share of zeros.
    pub ratio: f32,
}

/// The graph as it is trained: each batch normalisation for which `frozen` is false normalises by the
/// batch, if its running statistics are weights, and its statistics become outputs called `batch.` and
/// the name of the running statistic; each dropout with a ratio above 0 is a product with a new input
/// called `mask.` and the name of its node.
///
/// Running statistics that nothing uses any more are no weights of the new graph: they stay in the graph
/// it was made from, which is where the trained weights go back to.
///
/// Contract: lossy. The names of weights and of the old outputs are kept.
///
/// # Errors
/// [`PassError::Graph`]; does not happen for a graph that verifies and has no inputs and outputs of
/// these names.
pub fn for_training(
    graph: &Graph,
    frozen: impl Fn(&Node) -> bool,
) -> Result<TrainingForm, PassError> {
    let (mut statistics, mut nodes): (Vec<BatchStatistics>, Vec<NodeId>) = (Vec::new(), Vec::new());
    let mut masks = Vec::new();
    let mut outputs: Vec<(String, TensorId)> = Vec::new();
    let weight_name = |id: TensorId| match &graph.value(id).source {
        Source::Weight { name, .. } => Some(name.clone()),
        _ => None,
    };
    let mut result = graph.map::<PassError>(
        |_, tensor| tensor.clone(),
        |new, id, inputs| {
            let node = graph.node(id);
            match &node.op {
                Op::BatchNorm(op) if !frozen(node) => {
                    let running = [3, 4].map(|at| weight_name(node.inputs[at]));
                    let [Some(running_mean), Some(running_variance)] = running else {
                        return Ok(new.push_multi(&node.name, node.op.clone(), inputs)?);
                    };
                    let train = Op::BatchNormTrain(BatchNormTrain { eps: op.eps });
                    let results = new.push_multi(&node.name, train, &inputs[..3])?;
                    let mut output = |running: &str, tensor: TensorId| {
                        let name = unused(&format!("batch.{running}"), |name| {
                            outputs.iter().any(|(known, _)| known == name)
                        });
                        outputs.push((name.clone(), tensor));
                        name
                    };
                    let mean = output(&running_mean, results[1]);
                    let variance = output(&running_variance, results[2]);
                    // The ids of tensors are not yet what they will be.
                    let (node, input) = (graph.node_label(id), node.inputs[0]);
                    nodes.push(id);
                    statistics.push(BatchStatistics {
                        node,
                        running_mean,
                        running_variance,
                        mean,
                        variance,
                        input,
                    });
                    Ok(vec![results[0]])
                }
                Op::Dropout(op) if op.ratio > 0.0 => {
                    let input = format!("mask.{}", graph.node_label(id));
                    let mask = new.input(&input, new.ty(inputs[0]).clone())?;
                    masks.push(DropoutMask { input, ratio: op.ratio });
                    Ok(vec![new.push(&node.name, Binary::Mul, &[inputs[0], mask])?])
                }
                _ => Ok(new.push_multi(&node.name, node.op.clone(), inputs)?),
            }
        },
    )?;
    for (name, tensor) in outputs {
        result.output(&name, tensor)?;
    }
    // What was used by batch normalisations alone is used no more.
    let result = result.map::<PassError>(
        |_, tensor| tensor.clone(),
        |new, id, inputs| {
            let node = result.node(id);
            Ok(new.push_multi(&node.name, node.op.clone(), inputs)?)
        },
    )?;
    // Each node became one node, so they are still numbered as they were.
    for (statistics, id) in statistics.iter_mut().zip(nodes) {
        statistics.input = result.node(id).inputs[0];
    }
    Ok(TrainingForm { graph: result, statistics, masks })
}

/// The name, or the first with a number behind it that is not taken.
fn unused(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut tried = name.to_string();
    let mut number = 0;
    while taken(&tried) {
        number += 1;
        tried = format!("{name}.{number}");
    }
    tried
}
