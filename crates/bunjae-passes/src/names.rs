//! Names for weights that passes make.

use bunjae_ir::{Graph, GraphError, TensorId};
use bunjae_tensor::Tensor;

/// Adds a weight under the given name or, where that is taken, under the first free one with a
/// number behind it.
pub(crate) fn add_weight(
    graph: &mut Graph,
    name: &str,
    tensor: Tensor,
    trainable: bool,
) -> Result<TensorId, GraphError> {
    let mut number = 0;
    loop {
        let tried = match number {
            0 => name.to_string(),
            number => format!("{name}.{number}"),
        };
        match graph.add_weight(&tried, tensor.clone(), trainable) {
            Err(GraphError::DuplicateName { .. }) => number += 1,
            done => return done,
        }
    }
}
