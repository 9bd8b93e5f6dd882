//! Channel surgery: the same cut carried out in two ways.
//!
//! [`remove`] takes the channels out of every tensor; [`mask`] keeps all shapes and makes the
//! channels count for nothing. Both compute exactly the same outputs, bit for bit, which is how
//! the couplings are shown to be right.

use bunjae_ir::{Axis, Cut, Graph, GraphError, Operand};

/// The graph without the channels of `cut`.
///
/// # Errors
/// [`GraphError::Node`] where the shapes do not fit together afterwards, which means that the cut
/// does not come from this graph's couplings.
pub fn remove(graph: &Graph, cut: &Cut) -> Result<Graph, GraphError> {
    graph.map(
        |id, tensor| {
            let axes = cut.removed.iter().filter(|(at, _)| at.tensor == id);
            axes.fold(tensor.clone(), |tensor, (at, removed)| {
                let size = tensor.shape()[at.axis];
                let kept: Vec<usize> =
                    (0..size).filter(|index| removed.binary_search(index).is_err()).collect();
                tensor.select(at.axis, &kept)
            })
        },
        |result, id, inputs| {
            let node = graph.node(id);
            let types: Vec<_> = node.inputs.iter().map(|&id| graph.ty(id)).collect();
            let op = node.op.without(&types, |axis: Axis| match axis.of {
                Operand::In(at) => cut.of(node.inputs[at], axis.axis),
                Operand::Out(at) => cut.of(node.outputs[at], axis.axis),
            });
            result.push_multi(&node.name, op, inputs)
        },
    )
}

/// The graph with the weights that read the channels of `cut` set to zero.
///
/// The weights that *make* the channels stay: zeroing them instead would be wrong, because a bias,
/// a batch normalisation or a sigmoid brings a value back that is not zero.
///
/// # Errors
/// As [`remove`], though no shape changes.
pub fn mask(graph: &Graph, cut: &Cut) -> Result<Graph, GraphError> {
    graph.map(
        |id, tensor| {
            let axes = cut.contracting.iter().filter(|at| at.tensor == id);
            axes.fold(tensor.clone(), |tensor, at| {
                tensor.with_zeroed(at.axis, cut.of(at.tensor, at.axis))
            })
        },
        |result, id, inputs| {
            let node = graph.node(id);
            result.push_multi(&node.name, node.op.clone(), inputs)
        },
    )
}
