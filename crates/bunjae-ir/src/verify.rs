//! The verifier: whether the parts of a graph agree.
//!
//! [`Graph`]'s own methods keep a graph sound, so this finds the mistakes of this crate and of code
//! that builds graphs in unusual ways. It checks, and this is the complete list:
//!
//! 1. **Lists.** The inputs, the weights and the results of all nodes are tensors of the graph, each
//!    list in the order in which the tensors were added. Every tensor stands in exactly the list that
//!    its source names, in the place that its source names.
//! 2. **Order.** Every operand of a node was added before the node's results, so nodes stand in
//!    topological order.
//! 3. **Types.** Every node accepts its operands, and the types of its results are those that
//!    inference gives, none larger than [`MAX_BYTES`](bunjae_tensor::MAX_BYTES).
//! 4. **Inputs.** The sizes of an input are in the normal form of [`Dim`], and its symbols are plain
//!    names (a letter or `_`, then letters, digits and `_`), so that they print and parse.
//! 5. **Weights.** The values of a weight have its type.
//! 6. **Names.** No two inputs or weights share a name, no two outputs do, and no two nodes do
//!    unless it is empty.
//! 7. **Outputs.** There is at least one, and each is a tensor of the graph.
//!
//! Values are not looked at: a weight may hold NaN.

use std::collections::BTreeSet;

use crate::dim::{Dim, is_symbol};
use crate::error::GraphError;
use crate::graph::{Graph, Node, NodeId, Source, TensorId, Value};
use crate::types::TensorType;

impl Graph {
    /// Checks that the parts of the graph agree: lists and sources, topological order, types by
    /// inference, sizes of inputs, values of weights, names, outputs. The source of this method
    /// opens with the complete list.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the graph.
    pub fn verify(&self) -> Result<(), Vec<GraphError>> {
        let mut verifier = Verifier { graph: self, errors: Vec::new() };
        verifier.lists();
        verifier.values();
        verifier.nodes();
        verifier.names();
        verifier.outputs();
        if verifier.errors.is_empty() { Ok(()) } else { Err(verifier.errors) }
    }
}

struct Verifier<'a> {
    graph: &'a Graph,
    errors: Vec<GraphError>,
}

impl<'a> Verifier<'a> {
    fn invalid(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.errors.push(GraphError::Invalid { place: place.into(), what: what.into() });
    }

    fn value(&self, id: TensorId) -> Option<&'a Value> {
        self.graph.values.get(id.index())
    }

    /// Every list ascends, and its tensors say that they stand in it.
    fn lists(&mut self) {
        let graph = self.graph;
        let is_input = |source: &Source, _: usize| matches!(source, Source::Input { .. });
        self.list("inputs", graph.inputs.iter().copied(), is_input);
        let is_weight = |source: &Source, _: usize| matches!(source, Source::Weight { .. });
        self.list("weights", graph.weights.iter().copied(), is_weight);
        let places: Vec<Source> = graph
            .node_ids()
            .flat_map(|(node, Node { outputs, .. })| {
                (0..outputs.len()).map(move |slot| Source::Node { node, slot })
            })
            .collect();
        let results = graph.nodes.iter().flat_map(|node| node.outputs.iter().copied());
        self.list("results", results, |source, at| places.get(at) == Some(source));
    }

    fn list(
        &mut self,
        list: &str,
        ids: impl Iterator<Item = TensorId>,
        belongs: impl Fn(&Source, usize) -> bool,
    ) {
        let mut last = None;
        for (at, id) in ids.enumerate() {
            let place = || format!("{list}, place {at}");
            match self.value(id) {
                None => self.invalid(place(), format!("{id:?} does not exist in this graph")),
                Some(value) if !belongs(&value.source, at) => {
                    self.invalid(place(), format!("{id:?} says that it comes from elsewhere"));
                }
                Some(_) if last >= Some(id) => {
                    self.invalid(place(), format!("{id:?} was added before the one in front"));
                }
                Some(_) => last = Some(id),
            }
        }
    }

    /// Every tensor is listed, and what it holds has its type.
    fn values(&mut self) {
        let graph = self.graph;
        let (inputs, weights) = (set(&graph.inputs), set(&graph.weights));
        for (id, Value { ty, source }) in graph.values() {
            match source {
                Source::Input { name } => {
                    if !inputs.contains(&id) {
                        self.invalid(name, "is not in the list of inputs");
                    }
                    self.input(name, ty);
                }
                Source::Weight { name, tensor, .. } => {
                    if !weights.contains(&id) {
                        self.invalid(name, "is not in the list of weights");
                    }
                    let held = TensorType::new(tensor.dtype(), tensor.shape().to_vec());
                    if held != *ty {
                        self.invalid(name, format!("is {ty}, but its values are {held}"));
                    }
                }
                Source::Node { node, slot } => {
                    let outputs = graph.nodes.get(node.index()).map(|node| &node.outputs);
                    if outputs.and_then(|outputs| outputs.get(*slot)) != Some(&id) {
                        let what = format!("is not result {slot} of {node:?}");
                        self.invalid(format!("{id:?}"), what);
                    }
                }
            }
        }
    }

    fn input(&mut self, name: &str, ty: &TensorType) {
        let mut symbols = Vec::new();
        ty.dims.iter().for_each(|dim| dim.symbols(&mut symbols));
        let mut plain = true;
        for symbol in symbols.iter().filter(|symbol| !is_symbol(symbol)) {
            self.invalid(name, format!("the symbol `{symbol}` is no plain name"));
            plain = false;
        }
        for dim in ty.dims.iter().filter(|_| plain) {
            if Dim::parse(&dim.to_string()).as_ref() != Ok(dim) {
                self.invalid(name, format!("the size {dim} is not in its normal form"));
            }
        }
    }

    /// Every node uses what was there before it, and its results have the types of inference.
    fn nodes(&mut self) {
        for (id, node) in self.graph.node_ids() {
            let place = || place(id, node);
            let first = node.outputs.iter().min();
            let mut types = Vec::with_capacity(node.inputs.len());
            for (operand, input) in node.inputs.iter().enumerate() {
                match self.value(*input) {
                    None => {
                        self.errors.push(GraphError::UnknownTensor { node: place(), operand });
                    }
                    Some(_) if first.is_some_and(|first| input >= first) => {
                        self.invalid(place(), format!("operand {operand} is made after it"));
                    }
                    Some(value) => types.push(&value.ty),
                }
            }
            if types.len() < node.inputs.len() {
                continue;
            }
            let inferred = match node.op.infer_sized(&types) {
                Ok(inferred) => inferred,
                Err(source) => {
                    let (node, op) = (place(), node.op.name());
                    self.errors.push(GraphError::Node { node, op, source });
                    continue;
                }
            };
            if inferred.len() != node.outputs.len() {
                let (has, lists) = (inferred.len(), node.outputs.len());
                self.invalid(place(), format!("has {has} results, but lists {lists}"));
            }
            for (slot, (inferred, id)) in inferred.iter().zip(&node.outputs).enumerate() {
                if let Some(Value { ty, .. }) = self.value(*id)
                    && ty != inferred
                {
                    let what = format!("result {slot} is {inferred} by inference, but says {ty}");
                    self.invalid(place(), what);
                }
            }
        }
    }

    fn names(&mut self) {
        let graph = self.graph;
        let mut seen = BTreeSet::new();
        for value in &graph.values {
            let (what, name) = match &value.source {
                Source::Input { name } => ("input", name),
                Source::Weight { name, .. } => ("weight", name),
                Source::Node { .. } => continue,
            };
            if !seen.insert(name.as_str()) {
                self.errors.push(GraphError::DuplicateName { what, name: name.clone() });
            }
            if !graph.names.contains(name) {
                self.invalid(name, "is not in the set of names");
            }
        }
        let named = graph.nodes.iter().filter(|node| !node.name.is_empty());
        self.unique("node", named.map(|node| &node.name));
        self.unique("output", graph.outputs.iter().map(|output| &output.name));
    }

    fn unique(&mut self, what: &'static str, names: impl Iterator<Item = &'a String>) {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                self.errors.push(GraphError::DuplicateName { what, name: name.clone() });
            }
        }
    }

    fn outputs(&mut self) {
        if self.graph.outputs.is_empty() {
            self.errors.push(GraphError::NoOutputs);
        }
        for output in &self.graph.outputs {
            if self.value(output.tensor).is_none() {
                let node = format!("output {}", output.name);
                self.errors.push(GraphError::UnknownTensor { node, operand: 0 });
            }
        }
    }
}

fn set(ids: &[TensorId]) -> BTreeSet<TensorId> {
    ids.iter().copied().collect()
}

/// What to call a node that may not even know its own results.
fn place(id: NodeId, node: &Node) -> String {
    if node.name.is_empty() { format!("node {}", id.0) } else { node.name.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bunjae_tensor::{DType, Tensor};

    use super::*;
    use crate::dim::DimExpr;

    const TEXT: &str = "graph @g
        in %x: f32[N,4]
        w @w: f32[3,4] = ones
        %1 = linear %x, @w     : f32[N,3]           ; \"a\"
        %2, %3 = split %1 {sizes=[1,2]} : f32[N,1], f32[N,2] ; \"b\"
        in %y: f32[N,1]
        %4 = add %3, %y        : f32[N,2]
        %5 = relu %4           : f32[N,2]
        out %5 ; \"out\"
        out %2 ; \"other\"";

    /// The messages after `break_it` has been at a sound graph.
    fn errors(break_it: impl FnOnce(&mut Graph)) -> Vec<String> {
        let mut graph = Graph::parse(TEXT).unwrap();
        assert_eq!(graph.verify(), Ok(()));
        break_it(&mut graph);
        graph.verify().unwrap_err().iter().map(GraphError::to_string).collect()
    }

    fn rename(graph: &mut Graph, id: usize, new: &str) {
        if let Source::Input { name } | Source::Weight { name, .. } = &mut graph.values[id].source {
            *name = new.to_string();
        }
        graph.names.insert(new.to_string());
    }

    #[test]
    fn every_tensor_stands_in_the_list_of_its_source() {
        // The tensors are x, w, 1, 2, 3, y, 4, 5 = t0 to t7.
        assert_eq!(
            errors(|graph| graph.inputs.swap(0, 1)),
            ["inputs, place 1: t0 was added before the one in front"]
        );
        assert_eq!(
            errors(|graph| graph.inputs.push(TensorId(5))),
            ["inputs, place 2: t5 was added before the one in front"]
        );
        assert_eq!(
            errors(|graph| graph.inputs.push(TensorId(8))),
            ["inputs, place 2: t8 does not exist in this graph"]
        );
        assert_eq!(
            errors(|graph| graph.weights.push(TensorId(5))),
            ["weights, place 1: t5 says that it comes from elsewhere"]
        );
        assert_eq!(errors(|graph| graph.inputs.truncate(1)), ["y: is not in the list of inputs"]);
        assert_eq!(errors(|graph| graph.weights.clear()), ["w: is not in the list of weights"]);
    }

    #[test]
    fn results_and_their_nodes_agree() {
        let found = errors(|graph| graph.nodes[1].outputs.swap(0, 1));
        assert_eq!(
            found,
            [
                "results, place 1: t4 says that it comes from elsewhere",
                "results, place 2: t3 says that it comes from elsewhere",
                "t3: is not result 0 of n1",
                "t4: is not result 1 of n1",
                "b: result 0 is f32[N,1] by inference, but says f32[N,2]",
                "b: result 1 is f32[N,2] by inference, but says f32[N,1]",
            ]
        );
        let elsewhere = |graph: &mut Graph| {
            graph.values[7].source = Source::Node { node: NodeId(9), slot: 0 };
        };
        assert_eq!(
            errors(elsewhere),
            ["results, place 4: t7 says that it comes from elsewhere", "t7: is not result 0 of n9"]
        );
        let found = errors(|graph| graph.nodes[1].outputs.truncate(1));
        assert!(found.contains(&"t4: is not result 1 of n1".to_string()), "{found:?}");
        assert!(found.contains(&"b: has 2 results, but lists 1".to_string()), "{found:?}");
    }

    #[test]
    fn nodes_come_after_their_operands() {
        assert_eq!(
            errors(|graph| graph.nodes[2].inputs[0] = TensorId(7)),
            ["node 2: operand 0 is made after it"]
        );
        assert_eq!(
            errors(|graph| graph.nodes[3].inputs[0] = TensorId(7)),
            ["node 3: operand 0 is made after it"]
        );
        assert_eq!(
            errors(|graph| graph.nodes[2].inputs[1] = TensorId(8)),
            ["node 2: operand 1 does not exist in this graph"]
        );
        assert_eq!(
            errors(|graph| graph.nodes.swap(2, 3)),
            [
                "results, place 3: t7 says that it comes from elsewhere",
                "results, place 4: t6 says that it comes from elsewhere",
                "t6: is not result 0 of n2",
                "t7: is not result 0 of n3",
            ]
        );
    }

    #[test]
    fn types_are_those_of_inference() {
        assert_eq!(
            errors(|graph| graph.values[7].ty.dtype = DType::F64),
            ["node 3: result 0 is f32[N,2] by inference, but says f64[N,2]"]
        );
    }

    #[test]
    fn operands_have_to_be_accepted() {
        assert_eq!(
            errors(|graph| graph.values[0].ty = TensorType::new(DType::F32, [2usize, 5])),
            ["a (linear): weight has 4 input features, input has 5"]
        );
        assert_eq!(
            errors(|graph| graph.nodes[3].inputs.clear()),
            ["node 3 (relu): takes 1 operand, but has 0"]
        );
        let huge = |graph: &mut Graph| {
            let ty = TensorType::new(DType::F32, [1usize << 40, 4]);
            graph.values[0].ty = ty;
        };
        assert!(errors(huge)[0].contains("larger than any memory"));
    }

    #[test]
    fn sizes_of_inputs_print_and_parse() {
        let sized = |dim: Dim| {
            let mut graph = Graph::new("g");
            let ty = TensorType { dtype: DType::F32, dims: vec![dim] };
            let x = graph.input("x", ty).unwrap();
            graph.output("x", x).unwrap();
            graph.verify().map_err(|errors| errors[0].to_string())
        };
        assert_eq!(sized(Dim::symbol("H_2")), Ok(()));
        assert_eq!(
            sized(Dim::symbol("batch size")),
            Err("x: the symbol `batch size` is no plain name".into())
        );
        let floor = |dim, by| Dim::Dynamic(Arc::new(DimExpr::Floor(dim, by)));
        assert_eq!(
            sized(floor(floor(Dim::symbol("H"), 2), 2)),
            Err("x: the size H/2/2 is not in its normal form".into())
        );
    }

    #[test]
    fn weights_have_the_type_of_their_values() {
        let shrink = |graph: &mut Graph| {
            if let Source::Weight { tensor, .. } = &mut graph.values[1].source {
                *tensor = Tensor::zeros(DType::F64, &[3, 4]).unwrap();
            }
        };
        assert_eq!(errors(shrink), ["w: is f32[3,4], but its values are f64[3,4]"]);
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(errors(|graph| rename(graph, 1, "x")), ["the weight name `x` is used twice"]);
        assert_eq!(errors(|graph| rename(graph, 5, "x")), ["the input name `x` is used twice"]);
        assert_eq!(errors(|graph| graph.names.clear())[1..2], ["w: is not in the set of names"]);
        assert_eq!(
            errors(|graph| graph.nodes[3].name = "a".into()),
            ["the node name `a` is used twice"]
        );
        assert_eq!(
            errors(|graph| graph.outputs[1].name = "out".into()),
            ["the output name `out` is used twice"]
        );
    }

    #[test]
    fn there_are_outputs_and_they_exist() {
        assert_eq!(errors(|graph| graph.outputs.clear()), ["the graph has no outputs"]);
        assert_eq!(
            errors(|graph| graph.outputs[0].tensor = TensorId(8)),
            ["output out: operand 0 does not exist in this graph"]
        );
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let found = errors(|graph| {
            graph.nodes[3].name = "a".into();
            graph.outputs.clear();
            graph.values[7].ty.dtype = DType::F64;
        });
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
