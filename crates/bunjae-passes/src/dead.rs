//! Removal of nodes that no output depends on.

use bunjae_ir::{Graph, GraphError, Output};

/// The graph without the nodes and weights that no output depends on; `None` where there are none.
///
/// # Errors
/// As [`Graph::map`]; does not happen for a graph that verifies.
pub fn prune_dead(graph: &Graph) -> Result<Option<Graph>, GraphError> {
    let mut live = vec![false; graph.value_count()];
    for Output { tensor, .. } in graph.outputs() {
        live[tensor.index()] = true;
    }
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|id| live[id.index()]) {
            node.inputs.iter().for_each(|id| live[id.index()] = true);
        }
    }
    let used = |outputs: &[bunjae_ir::TensorId]| outputs.iter().any(|id| live[id.index()]);
    let dead_node = graph.nodes().iter().any(|node| !used(&node.outputs));
    let dead_weight = graph.weights().iter().any(|id| !live[id.index()]);
    if !dead_node && !dead_weight {
        return Ok(None);
    }
    let slim = graph.map(
        |_, tensor| tensor.clone(),
        |result, id, inputs| {
            let node = graph.node(id);
            if used(&node.outputs) {
                result.push_multi(&node.name, node.op.clone(), inputs)
            } else {
                Ok::<_, GraphError>(Vec::new())
            }
        },
    )?;
    // The weights of the dropped nodes were copied before it was known that they are dropped.
    slim.retyped().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunjae_ir::TensorType;
    use bunjae_ir::op::Unary;
    use bunjae_tensor::Tensor;

    #[test]
    fn dead_chains_go_with_their_weights() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::image(2, 4, 4)).unwrap();
        let slope = graph.weight("slope", Tensor::scalar(0.5f32)).unwrap();
        let dead = graph.push("dead", bunjae_ir::Op::PRelu, &[x, slope]).unwrap();
        graph.push("dead2", Unary::Relu, &[dead]).unwrap();
        let y = graph.push("y", Unary::Tanh, &[x]).unwrap();
        graph.output("y", y).unwrap();
        let slim = prune_dead(&graph).unwrap().unwrap();
        assert_eq!(slim.nodes().len(), 1);
        assert!(slim.weights().is_empty());
        assert_eq!(slim.inputs().len(), 1);
        assert_eq!(prune_dead(&slim).unwrap(), None);
    }
}
