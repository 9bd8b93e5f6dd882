//! Separation of vectors that layers share by coincidence.

use std::collections::BTreeMap;

use bunjae_ir::{Graph, GraphError, NodeId, Source, TensorId};

use crate::names::add_weight;

/// The graph with a vector (a bias, a scale, a statistic) of its own for every layer, and the names
/// of the vectors that were shared; `None` where there are none.
///
/// Exporters store equal values once, so in a network that is not trained yet all biases of one
/// length may be a single tensor. Taken at its word, that couples layers that have nothing to do with
/// each other, and hardly a channel could be cut. Layers that share their weight matrix as well (a
/// head that runs over several feature maps) are left as they are.
///
/// Contract: exact; shapes kept; the number of parameters grows by what was counted once.
///
/// # Errors
/// As [`Graph::map`]; does not happen for a graph that verifies.
pub fn untie(graph: &Graph) -> Result<Option<(Graph, Vec<String>)>, GraphError> {
    // For each shared vector, the layers that use it, by what makes two uses one layer.
    let mut layers: BTreeMap<TensorId, Vec<Layer>> = BTreeMap::new();
    for (id, node) in graph.node_ids() {
        for &operand in &node.inputs {
            if graph.weight_tensor(operand).is_some() && graph.ty(operand).rank() == 1 {
                let own = layers.entry(operand).or_default();
                let layer = layer_of(graph, id);
                if !own.contains(&layer) {
                    own.push(layer);
                }
            }
        }
    }
    layers.retain(|_, layers| layers.len() > 1);
    if layers.is_empty() {
        return Ok(None);
    }
    let shared = layers.keys().map(|&id| graph.label(id)).collect();
    let mut copies: BTreeMap<(TensorId, Layer), TensorId> = BTreeMap::new();
    let result = graph.map(
        |_, tensor| tensor.clone(),
        |result, id, inputs| {
            let node = graph.node(id);
            let layer = layer_of(graph, id);
            let mut inputs = inputs.to_vec();
            for (old, new) in node.inputs.iter().zip(&mut inputs) {
                let Some(own) = layers.get(old) else { continue };
                // The first layer keeps the tensor, the others get a copy each.
                if own.first() == Some(&layer) {
                    continue;
                }
                *new = match copies.get(&(*old, layer)) {
                    Some(&copy) => copy,
                    None => {
                        let copy = copy_weight(graph, result, *old)?;
                        copies.insert((*old, layer), copy);
                        copy
                    }
                };
            }
            result.push_multi(&node.name, node.op.clone(), &inputs)
        },
    )?;
    Ok(Some((result, shared)))
}

/// What makes two uses of a vector uses by one layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// They use the same weight matrix, or follow a node that does.
    Weight(TensorId),
    /// There is no such matrix.
    Node(NodeId),
}

fn layer_of(graph: &Graph, id: NodeId) -> Layer {
    let matrix = |id: NodeId| {
        let operands = graph.node(id).inputs.iter().copied();
        let mut weights = operands.filter(|&operand| graph.weight_tensor(operand).is_some());
        weights.find(|&operand| graph.ty(operand).rank() > 1)
    };
    let before = graph.node(id).inputs.first().and_then(|&x| match graph.value(x).source {
        Source::Node { node, .. } => matrix(node),
        _ => None,
    });
    matrix(id).or(before).map_or(Layer::Node(id), Layer::Weight)
}

fn copy_weight(
    graph: &Graph,
    result: &mut Graph,
    weight: TensorId,
) -> Result<TensorId, GraphError> {
    let Source::Weight { name, tensor, trainable } = &graph.value(weight).source else {
        let what = "it is no weight".to_string();
        return Err(GraphError::Invalid { place: graph.label(weight), what });
    };
    add_weight(result, name, tensor.clone(), *trainable)
}

#[cfg(test)]
mod tests {
    use bunjae_ir::TensorType;
    use bunjae_ir::op::Conv2d;
    use bunjae_ir::{Op, TensorId};
    use bunjae_tensor::{DType, Tensor};

    use super::*;

    /// Two 1x1 convolutions of four channels each; `share` says whether they share their weight.
    fn network(share: bool) -> Graph {
        let mut graph = Graph::new("tied");
        let x = graph.input("x", TensorType::image(4, 2, 2)).unwrap();
        let zeros = |shape: &[usize]| Tensor::zeros(DType::F32, shape).unwrap();
        let first = graph.weight("w", zeros(&[4, 4, 1, 1])).unwrap();
        let second = if share { first } else { graph.weight("w2", zeros(&[4, 4, 1, 1])).unwrap() };
        let bias = graph.weight("b", zeros(&[4])).unwrap();
        let conv = || Op::Conv2d(Conv2d::default());
        let y = graph.push("one", conv(), &[x, first, bias]).unwrap();
        let y = graph.push("two", conv(), &[y, second, bias]).unwrap();
        let last = graph.weight("w3", zeros(&[2, 4, 1, 1])).unwrap();
        let y = graph.push("three", conv(), &[y, last]).unwrap();
        graph.output("y", y).unwrap();
        graph
    }

    fn bias_of(graph: &Graph, node: usize) -> TensorId {
        graph.nodes()[node].inputs[2]
    }

    #[test]
    fn a_bias_shared_by_coincidence_gets_a_copy() {
        let graph = network(false);
        assert_eq!(graph.couplings().groups().len(), 2, "the bias couples the first two");
        let (apart, shared) = untie(&graph).unwrap().unwrap();
        assert_eq!(shared, ["b"]);
        assert_ne!(bias_of(&apart, 0), bias_of(&apart, 1));
        assert_eq!(apart.label(bias_of(&apart, 1)), "b.1");
        assert_eq!(apart.couplings().groups().len(), 3);
        assert!(untie(&apart).unwrap().is_none());
    }

    #[test]
    fn a_layer_that_runs_twice_keeps_its_bias() {
        assert!(untie(&network(true)).unwrap().is_none());
    }
}
