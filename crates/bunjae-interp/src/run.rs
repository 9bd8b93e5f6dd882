//! A whole graph, node by node.

use std::collections::BTreeMap;

use bunjae_ir::{Bindings, Dim, DimExpr, Graph, NodeId, TensorId};
use bunjae_tensor::{MAX_BYTES, Tensor};

use crate::error::RunError;
use crate::eval::{eval, type_of};

/// Computes a graph's outputs, in the order of [`Graph::outputs`], from its inputs, in the order of
/// [`Graph::inputs`].
///
/// # Errors
/// [`RunError`] where an input is not of its declared type, where a symbol would stand for two
/// sizes, and where a node cannot be computed.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
    run_with(graph, inputs, |_, _| {})
}

/// As [`run()`], and shows each node's results to `observe` as soon as they are computed.
///
/// A tensor is freed after its last use, and no more than [`MAX_BYTES`] of inputs and results are in
/// use at once.
///
/// # Errors
/// As [`run()`].
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    observe: impl FnMut(NodeId, &[Tensor]),
) -> Result<Vec<Tensor>, RunError> {
    run_within(MAX_BYTES, graph, inputs, observe)
}

/// As [`run_with`], with another limit to the tensors in use at once, in bytes.
fn run_within(
    limit: usize,
    graph: &Graph,
    inputs: &[Tensor],
    mut observe: impl FnMut(NodeId, &[Tensor]),
) -> Result<Vec<Tensor>, RunError> {
    let bindings = check_inputs(graph, inputs)?;
    let mut live = Live::new(graph, inputs);
    for (id, node) in graph.node_ids() {
        let op = node.op.name();
        let expected = node.outputs.iter().filter_map(|&output| bytes(graph, output, &bindings));
        if expected.fold(live.bytes, usize::saturating_add) > limit {
            return Err(RunError::Memory { node: graph.node_label(id), op, limit });
        }
        let operands: Vec<&Tensor> =
            node.inputs.iter().filter_map(|&operand| live.get(graph, operand)).collect();
        let results = eval(&node.op, &operands).map_err(|source| RunError::Node {
            node: graph.node_label(id),
            op,
            source,
        })?;
        for (&output, result) in node.outputs.iter().zip(&results) {
            check_result(graph, id, output, result, &bindings)?;
        }
        observe(id, &results);
        for (&output, result) in node.outputs.iter().zip(results) {
            live.hold(output, result);
        }
        live.release(&node.inputs);
    }
    let outputs = graph.outputs().iter();
    Ok(outputs.filter_map(|output| live.get(graph, output.tensor).cloned()).collect())
}

/// The tensors that are still needed.
struct Live {
    tensors: Vec<Option<Tensor>>,
    /// How often each is still used.
    uses: Vec<usize>,
    /// The size of the tensors together; tensors that share storage count each.
    bytes: usize,
}

impl Live {
    fn new(graph: &Graph, inputs: &[Tensor]) -> Self {
        let mut live = Live {
            tensors: vec![None; graph.value_count()],
            uses: vec![0; graph.value_count()],
            bytes: 0,
        };
        let operands = graph.nodes().iter().flat_map(|node| &node.inputs);
        for id in operands.chain(graph.outputs().iter().map(|output| &output.tensor)) {
            live.uses[id.index()] += 1;
        }
        for (id, tensor) in graph.inputs().iter().zip(inputs) {
            live.hold(*id, tensor.clone());
        }
        live
    }

    /// A weight, or a tensor that is held: nodes are in topological order, so every operand is.
    fn get<'a>(&'a self, graph: &'a Graph, id: TensorId) -> Option<&'a Tensor> {
        graph.weight_tensor(id).or(self.tensors[id.index()].as_ref())
    }

    /// Holds a tensor, if it is used at all.
    fn hold(&mut self, id: TensorId, tensor: Tensor) {
        if self.uses[id.index()] > 0 {
            self.bytes = self.bytes.saturating_add(tensor.bytes().len());
            self.tensors[id.index()] = Some(tensor);
        }
    }

    /// Notes one use of each operand, and frees those that have no other.
    fn release(&mut self, operands: &[TensorId]) {
        for id in operands {
            let uses = &mut self.uses[id.index()];
            *uses = uses.saturating_sub(1);
            if *uses == 0
                && let Some(tensor) = self.tensors[id.index()].take()
            {
                self.bytes = self.bytes.saturating_sub(tensor.bytes().len());
            }
        }
    }
}

/// Compares the inputs with their declared types, and finds what the symbols stand for.
fn check_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<Bindings, RunError> {
    let declared = graph.inputs();
    if declared.len() != inputs.len() {
        return Err(RunError::InputCount { expected: declared.len(), found: inputs.len() });
    }
    let mut bindings = Bindings::new();
    let mut bound_by = BTreeMap::new();
    for (&id, tensor) in declared.iter().zip(inputs) {
        let expected = graph.ty(id);
        if expected.dtype != tensor.dtype() || expected.rank() != tensor.shape().len() {
            return Err(wrong_input(graph, id, tensor));
        }
        for (dim, &size) in expected.dims.iter().zip(tensor.shape()) {
            let Dim::Dynamic(expr) = dim else { continue };
            let DimExpr::Symbol(symbol) = expr.as_ref() else { continue };
            let first = *bindings.entry(symbol.to_string()).or_insert(size);
            let first_input = *bound_by.entry(symbol.to_string()).or_insert(id);
            if first != size {
                return Err(RunError::Symbol {
                    symbol: symbol.to_string(),
                    first,
                    first_input: graph.label(first_input),
                    second: size,
                    second_input: graph.label(id),
                });
            }
        }
    }
    // Only now are all symbols known that an expression may be made of.
    for (&id, tensor) in declared.iter().zip(inputs) {
        let shape = graph.ty(id).shape(&bindings);
        let shape =
            shape.map_err(|source| RunError::InputSize { name: graph.label(id), source })?;
        if shape != tensor.shape() {
            return Err(wrong_input(graph, id, tensor));
        }
    }
    Ok(bindings)
}

/// The size of a result in bytes; `None` where no shape comes out, which computing the node explains
/// better.
fn bytes(graph: &Graph, id: TensorId, bindings: &Bindings) -> Option<usize> {
    let ty = graph.ty(id);
    let shape = ty.shape(bindings).ok()?;
    Some(shape.iter().copied().fold(ty.dtype.size(), usize::saturating_mul))
}

fn wrong_input(graph: &Graph, id: TensorId, tensor: &Tensor) -> RunError {
    let (name, expected) = (graph.label(id), graph.ty(id).clone());
    RunError::Input { name, expected, found: type_of(tensor) }
}

/// Compares a result with the type that was inferred for it before the sizes were known.
fn check_result(
    graph: &Graph,
    id: NodeId,
    output: TensorId,
    result: &Tensor,
    bindings: &Bindings,
) -> Result<(), RunError> {
    let expected = graph.ty(output);
    if expected.dtype == result.dtype() && expected.shape(bindings).as_deref() == Ok(result.shape())
    {
        return Ok(());
    }
    let (node, op) = (graph.node_label(id), graph.node(id).op.name());
    let (expected, found) = (expected.clone(), type_of(result));
    Err(RunError::Result { node, op, expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunjae_ir::TensorType;
    use bunjae_ir::op::Unary;
    use bunjae_tensor::DType;

    const KIB: usize = 1024;

    /// A graph whose one input, a KiB large, is copied `copies` times, each from the one before or all
    /// from the input and kept as outputs.
    fn copies(copies: usize, chained: bool) -> Graph {
        let mut graph = Graph::new("copies");
        let input = graph.input("x", TensorType::new(DType::I8, [KIB])).unwrap();
        let mut last = input;
        for at in 0..copies {
            let from = if chained { last } else { input };
            last = graph.push(&format!("copy{at}"), Unary::Identity, &[from]).unwrap();
            if !chained || at + 1 == copies {
                graph.output(&format!("y{at}"), last).unwrap();
            }
        }
        graph
    }

    #[test]
    fn results_are_freed_after_their_last_use() {
        let x = Tensor::zeros(DType::I8, &[KIB]).unwrap();
        // While a copy is made, there is the input or the copy before.
        let outputs = run_within(2 * KIB, &copies(30, true), &[x], |_, _| {});
        assert_eq!(outputs.unwrap().len(), 1);
    }

    #[test]
    fn the_memory_in_use_at_once_is_bounded() {
        let x = [Tensor::zeros(DType::I8, &[KIB]).unwrap()];
        let found = run_within(9 * KIB, &copies(9, false), &x, |_, _| {});
        let error = RunError::Memory { node: "copy8".into(), op: "identity", limit: 9 * KIB };
        assert_eq!(found, Err(error));
        assert!(run_within(10 * KIB, &copies(9, false), &x, |_, _| {}).is_ok());
    }
}
