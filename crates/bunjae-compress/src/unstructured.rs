//! Masks on single weights, for comparison.
//!
//! Zeros spread over a dense weight save neither time nor bytes in a dense runtime: every zero is
//! still stored and still multiplied. What these masks show is how much of a network is redundant.

use bunjae_ir::{Graph, GraphError, Op, TensorId};
use serde::Serialize;

use crate::plan::Scope;

/// The zeros of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerZeros {
    /// The layer.
    pub layer: String,
    /// The number of weights.
    pub weights: usize,
    /// How many of them are zero now.
    pub zeros: usize,
}

/// A network with masked weights.
#[derive(Clone, Debug)]
pub struct Unstructured {
    /// The network, of the same shapes as before.
    pub graph: Graph,
    /// The masked layers, in the order of the graph.
    pub layers: Vec<LayerZeros>,
}

/// Sets the weights of smallest magnitude in convolutions and linear layers to zero: the share
/// `ratio` of each layer, or of all layers together. Biases and normalisation stay.
///
/// # Errors
/// As [`Graph::map`]; does not happen for a graph that verifies.
pub fn mask_weights(graph: &Graph, ratio: f64, scope: Scope) -> Result<Unstructured, GraphError> {
    let mut layers: Vec<(TensorId, String)> = Vec::new();
    for (id, node) in graph.node_ids() {
        let weighed =
            matches!(node.op, Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::Linear | Op::MatMul);
        let weights = node.inputs.iter().filter(|&&id| graph.weight_tensor(id).is_some());
        // A bias has one dimension, a weight two or more.
        for &weight in weights.filter(|&&id| weighed && graph.ty(id).rank() > 1) {
            if graph.ty(weight).dtype.is_float() && !layers.iter().any(|(own, _)| *own == weight) {
                layers.push((weight, graph.node_label(id)));
            }
        }
    }
    let magnitudes: Vec<Vec<f64>> = layers
        .iter()
        .map(|(id, _)| graph.weight_tensor(*id).map_or(Vec::new(), |tensor| tensor.to_f64_vec()))
        .collect();
    let mut smallest: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
    let mut mark = |candidates: &mut Vec<(usize, usize)>| {
        let magnitude = |&(layer, at): &(usize, usize)| magnitudes[layer][at].abs();
        candidates.sort_by(|a, b| magnitude(a).total_cmp(&magnitude(b)).then(a.cmp(b)));
        let kept = (candidates.len() as f64 * (1.0 - ratio)) as usize;
        for &(layer, at) in &candidates[..candidates.len() - kept.min(candidates.len())] {
            smallest[layer].push(at);
        }
    };
    let of = |layer: usize| (0..magnitudes[layer].len()).map(move |at| (layer, at));
    match scope {
        Scope::Local => (0..layers.len()).for_each(|layer| mark(&mut of(layer).collect())),
        Scope::Global => mark(&mut (0..layers.len()).flat_map(of).collect()),
    }
    let masked = graph.map(
        |id, tensor| {
            let Some(layer) = layers.iter().position(|(own, _)| *own == id) else {
                return tensor.clone();
            };
            let mut tensor = tensor.clone();
            let size = tensor.dtype().size();
            let bytes = tensor.bytes_mut();
            for &at in &smallest[layer] {
                bytes[at * size..(at + 1) * size].fill(0);
            }
            tensor
        },
        |result, id, inputs| {
            let node = graph.node(id);
            result.push_multi(&node.name, node.op.clone(), inputs)
        },
    )?;
    // The ids of the new graph differ, but weights keep their names.
    let zeros = |(id, layer): &(TensorId, String)| {
        let found = masked.find_weight(&graph.label(*id));
        let tensor = found.and_then(|id| masked.weight_tensor(id));
        let values = tensor.map_or(Vec::new(), |tensor| tensor.to_f64_vec());
        let zeros = values.iter().filter(|&&value| value == 0.0).count();
        LayerZeros { layer: layer.clone(), weights: values.len(), zeros }
    };
    let layers = layers.iter().map(zeros).collect();
    Ok(Unstructured { graph: masked, layers })
}
