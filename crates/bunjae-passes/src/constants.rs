//! Computing what no input has a say in.

use bunjae_interp::eval;
use bunjae_ir::{Graph, TensorId};
use bunjae_tensor::Tensor;

use crate::error::PassError;

/// Results larger than this many bytes are left to be computed at run time: a constant of ones
/// that is broadcast should not become part of the model.
const MAX_FOLDED: usize = 64 << 20;

/// The graph with every node whose operands are all weights replaced by its results; `None` where
/// there is none.
///
/// Contract: shapes and numbers are kept exactly, as the interpreter computes them. The results
/// are constants that training leaves alone, so this is not for a graph that is to be trained;
/// and weights that are stored as integers become floats where a dequantisation is folded.
///
/// # Errors
/// [`PassError::Eval`] where a node cannot be computed, such as an integer divided by 0.
pub fn fold_constants(graph: &Graph) -> Result<Option<Graph>, PassError> {
    let mut values: Vec<Option<Tensor>> = vec![None; graph.value_count()];
    for &weight in graph.weights() {
        values[weight.index()] = graph.weight_tensor(weight).cloned();
    }
    let mut folded = false;
    let result = graph.map(
        |_, tensor| tensor.clone(),
        |result, id, inputs| {
            let node = graph.node(id);
            let operands = node.inputs.iter().map(|input| values[input.index()].as_ref());
            let operands: Option<Vec<&Tensor>> = operands.collect();
            let small = node.outputs.iter().all(|&output| is_small(graph, output));
            let Some(operands) = operands.filter(|_| small) else {
                return Ok(result.push_multi(&node.name, node.op.clone(), inputs)?);
            };
            let tensors = eval(&node.op, &operands)
                .map_err(|source| PassError::Eval { node: graph.node_label(id), source })?;
            folded = true;
            let mut ids = Vec::new();
            for (&output, tensor) in node.outputs.iter().zip(tensors) {
                let name = graph.label(output);
                ids.push(crate::names::add_weight(result, &name, tensor.clone(), false)?);
                values[output.index()] = Some(tensor);
            }
            Ok::<_, PassError>(ids)
        },
    )?;
    if folded { Ok(Some(crate::prune_dead(&result)?.unwrap_or(result))) } else { Ok(None) }
}

/// Whether a tensor's size is known and not too large.
fn is_small(graph: &Graph, id: TensorId) -> bool {
    let ty = graph.ty(id);
    let bytes =
        ty.dims.iter().try_fold(ty.dtype.size(), |bytes, dim| bytes.checked_mul(dim.fixed()?));
    bytes.is_some_and(|bytes| bytes <= MAX_FOLDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_constants_become_one() {
        let graph = Graph::parse(
            "graph @g
in   %x: f32[N,2]
w    @a: f32[2] = [1, 2]
w    @b: f32[2] = [3, 5]
%1 = mul @a, @b : f32[2]
%2 = neg %1     : f32[2]
%3 = add %x, %2 : f32[N,2]
out  %3
out  %2 ; \"c\"
",
        )
        .unwrap();
        let folded = fold_constants(&graph).unwrap().unwrap();
        let constant = folded.outputs()[1].tensor;
        let values = folded.weight_tensor(constant).unwrap().elements::<f32>().unwrap();
        assert_eq!(values, [-3.0, -10.0]);
        assert_eq!((folded.nodes().len(), folded.weights().len()), (1, 1));
        assert!(fold_constants(&folded).unwrap().is_none());
    }

    #[test]
    fn a_division_by_zero_is_reported_and_large_results_are_left() {
        let text = "graph @g
w    @a: i32[1] = [1]
w    @b: i32[1] = [0]
%1 = div @a, @b : i32[1] ; \"quotient\"
out  %1
";
        let error = fold_constants(&Graph::parse(text).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("quotient: "), "{error}");
        let text = "graph @g
w    @a: f32[8192,1] = full(1)
w    @b: f32[1,8192] = full(2)
%1 = add @a, @b : f32[8192,8192]
out  %1
";
        assert!(fold_constants(&Graph::parse(text).unwrap()).unwrap().is_none());
    }
}
