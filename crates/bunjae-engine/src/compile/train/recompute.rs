//! Results of the forward pass that the backward pass computes again.
//!
//! The gradient of a convolution's weight needs what the convolution read, which mostly is a
//! normalisation with its activation and residual. The gradient of the normalisation needs what *it*
//! read. Keeping both is half of a step's memory, although the first follows from the second by one
//! multiplication and addition per element. So only what a normalisation read is kept, and its result
//! is made anew, to the bit, right before the backward pass first asks for it (Chen et al., 2016,
//! Training Deep Nets with Sublinear Memory Cost).
//!
//! What only the gradient of one depthwise or pointwise convolution's weight reads is not even written
//! again: the gradient makes it on the way ([`TrainingGroup::WeightGrad`]). The rest takes time, so it
//! all begins where a step would take more than [`ENOUGH`], with the largest tensors.

use std::collections::BTreeMap;

use bunjae_ir::op::BatchNorm;
use bunjae_ir::{Graph, GraphError, NodeId, Op, Source, TensorId};
use bunjae_kernels::Tail;

use super::groups::{Norm, TrainingGroup, TrainingGroups};

/// Bytes that a step of training may take before it trades time for memory.
pub(in crate::compile) const ENOUGH: usize = 256 << 20;

/// The graph with nodes that compute again what would otherwise be kept beyond `room` bytes.
///
/// # Errors
/// [`GraphError`], where the graph contradicts itself.
pub(in crate::compile) fn recomputing(graph: &Graph, room: usize) -> Result<Graph, GraphError> {
    let Some(mut plan) = Plan::new(graph) else { return Ok(graph.clone()) };
    plan.keep(room);
    // The new tensors that are the old ones, and those that are them again.
    let mut kept: BTreeMap<TensorId, TensorId> = BTreeMap::new();
    let mut again: BTreeMap<TensorId, TensorId> = BTreeMap::new();
    graph.map(
        |_, tensor| tensor.clone(),
        |result, id, inputs| {
            let node = graph.node(id);
            kept.extend(node.inputs.iter().copied().zip(inputs.iter().copied()));
            let mut inputs = inputs.to_vec();
            for (at, tensor) in plan.reads(id) {
                let mut writer = Writer { plan: &plan, result, kept: &kept, again: &mut again };
                inputs[at] = writer.compute(tensor)?;
            }
            let outputs = result.push_multi(&node.name, node.op.clone(), &inputs)?;
            kept.extend(node.outputs.iter().copied().zip(outputs.iter().copied()));
            Ok::<_, GraphError>(outputs)
        },
    )
}

/// What can be computed again, and what reads it.
struct Plan<'g> {
    graph: &'g Graph,
    groups: TrainingGroups,
    /// The first node of the backward pass.
    backward: NodeId,
    /// By tensor: how it comes about.
    recipes: Vec<Option<Recipe>>,
}

/// How a tensor comes about from tensors that are kept or come about likewise.
enum Recipe {
    /// By a normalisation with what it took in.
    Norm(Norm),
    /// By a function of one element.
    Map(NodeId),
}

impl<'g> Plan<'g> {
    /// `None` where nothing is normalised.
    fn new(graph: &'g Graph) -> Option<Plan<'g>> {
        let is_gradient = |id: NodeId| matches!(graph.node(id).op, Op::BatchNormGrad(_));
        let backward = graph.node_ids().map(|(id, _)| id).find(|id| is_gradient(*id))?;
        let recipes = (0..graph.value_count()).map(|_| None).collect();
        let mut plan = Plan { graph, groups: TrainingGroups::new(graph), backward, recipes };
        let mut is_read_late = vec![false; graph.value_count()];
        for (id, _) in graph.node_ids() {
            plan.operands(id).iter().for_each(|(_, read)| is_read_late[read.index()] = true);
        }
        // Whether a tensor can be computed again, or is kept for the backward pass in any case.
        let is_there = |plan: &Plan<'_>, tensor: TensorId| {
            let given = !matches!(graph.value(tensor).source, Source::Node { .. });
            given || is_read_late[tensor.index()] || plan.recipe(tensor).is_some()
        };
        for (id, node) in graph.node_ids().take_while(|(id, _)| id.index() < backward.index()) {
            match plan.groups.at(id) {
                Some(TrainingGroup::Norm(norm)) if norm.tail == Tail::Store => {
                    if norm.residual.is_none_or(|id| is_there(&plan, id)) {
                        let (result, recipe) = (norm.result.index(), Recipe::Norm(norm.clone()));
                        plan.recipes[result] = Some(recipe);
                    }
                }
                None => {
                    let follows = node.inputs.first().is_some_and(|x| plan.recipe(*x).is_some());
                    if matches!(node.op, Op::Unary(_)) && follows && !plan.groups.has(id) {
                        plan.recipes[node.outputs[0].index()] = Some(Recipe::Map(id));
                    }
                }
                Some(_) => {}
            }
        }
        Some(plan)
    }

    /// Drops the recipes of the smallest tensors, as long as all that is kept has room.
    fn keep(&mut self, room: usize) {
        let mut kept = vec![false; self.graph.value_count()];
        let mut computed = Vec::new();
        for (id, node) in self.graph.node_ids() {
            for (_, tensor) in self.operands(id) {
                computed.extend(self.recipe(tensor).map(|_| tensor));
                kept[tensor.index()] |= self.recipe(tensor).is_none();
            }
            if let Op::BatchNormGrad(_) = node.op {
                kept[node.inputs[0].index()] = true;
            }
        }
        let is_forward = |tensor: TensorId| match self.graph.value(tensor).source {
            Source::Node { node, .. } => node.index() < self.backward.index(),
            _ => false,
        };
        let tensors = self.graph.values().map(|(id, _)| id);
        let kept = tensors.filter(|id| kept[id.index()] && is_forward(*id));
        let mut bytes: usize = kept.map(|id| self.bytes(id)).sum();
        computed.sort_by_key(|id| (self.bytes(*id), id.index()));
        computed.dedup();
        for tensor in computed {
            bytes += self.bytes(tensor);
            if bytes > room {
                return;
            }
            self.recipes[tensor.index()] = None;
        }
    }

    fn bytes(&self, tensor: TensorId) -> usize {
        elements(self.graph, tensor) * self.graph.ty(tensor).dtype.size()
    }

    fn recipe(&self, tensor: TensorId) -> Option<&Recipe> {
        self.recipes[tensor.index()].as_ref()
    }

    /// The tensors that a node of the backward pass reads, with the operands that they are.
    fn operands(&self, id: NodeId) -> Vec<(usize, TensorId)> {
        if id.index() < self.backward.index() {
            return Vec::new();
        }
        let inputs = self.graph.node(id).inputs.iter().copied().enumerate();
        match self.groups.of(id) {
            // What the forward pass did not store is not read either.
            Some(TrainingGroup::NormGrad(_)) => Vec::new(),
            Some(TrainingGroup::MapGrad { x, .. }) => {
                inputs.map(|(at, id)| (at, if at == 0 { *x } else { id })).collect()
            }
            _ => inputs.collect(),
        }
    }

    /// Those of them that are computed again.
    fn reads(&self, id: NodeId) -> Vec<(usize, TensorId)> {
        let mut reads = self.operands(id);
        reads.retain(|(_, tensor)| self.recipe(*tensor).is_some());
        reads
    }
}

/// Elements of a tensor whose sizes are known.
fn elements(graph: &Graph, tensor: TensorId) -> usize {
    graph.ty(tensor).fixed_shape().map_or(0, |shape| shape.iter().product())
}

/// Writes recipes into the new graph.
struct Writer<'w, 'g> {
    plan: &'w Plan<'g>,
    result: &'w mut Graph,
    kept: &'w BTreeMap<TensorId, TensorId>,
    again: &'w mut BTreeMap<TensorId, TensorId>,
}

impl Writer<'_, '_> {
    /// The new tensor that is `tensor` again: made here, unless it has been before.
    fn compute(&mut self, tensor: TensorId) -> Result<TensorId, GraphError> {
        let plan = self.plan;
        if let Some(&again) = self.again.get(&tensor) {
            return Ok(again);
        }
        let result = match plan.recipe(tensor) {
            None => return self.kept(tensor),
            Some(Recipe::Map(id)) => {
                let x = self.compute(plan.graph.node(*id).inputs[0])?;
                self.push(*id, &[x])?
            }
            Some(Recipe::Norm(norm)) => self.norm(norm)?,
        };
        self.again.insert(tensor, result);
        Ok(result)
    }

    fn norm(&mut self, norm: &Norm) -> Result<TensorId, GraphError> {
        let graph = self.plan.graph;
        let residual = match norm.residual {
            Some(residual) => Some((residual, self.compute(residual)?)),
            None => None,
        };
        let node = graph.node(norm.node);
        let eps = match &node.op {
            Op::BatchNormTrain(op) => op.eps,
            _ => BatchNorm::default().eps,
        };
        let operands =
            [node.inputs[0], node.inputs[1], node.inputs[2], node.outputs[1], node.outputs[2]];
        let mut inputs = Vec::new();
        for operand in operands {
            inputs.push(self.kept(operand)?);
        }
        let op = Op::BatchNorm(BatchNorm { eps });
        let mut last = self.result.push(&name(graph, norm.node), op, &inputs)?;
        for &id in &norm.taken {
            let own = |input: &TensorId| match residual {
                Some((old, new)) if old == *input => new,
                _ => last,
            };
            let inputs: Vec<TensorId> = graph.node(id).inputs.iter().map(own).collect();
            last = self.push(id, &inputs)?;
        }
        Ok(last)
    }

    fn push(&mut self, id: NodeId, inputs: &[TensorId]) -> Result<TensorId, GraphError> {
        let graph = self.plan.graph;
        self.result.push(&name(graph, id), graph.node(id).op.clone(), inputs)
    }

    fn kept(&self, tensor: TensorId) -> Result<TensorId, GraphError> {
        self.kept.get(&tensor).copied().ok_or_else(|| GraphError::Invalid {
            place: self.plan.graph.label(tensor),
            what: "is read before it is computed".into(),
        })
    }
}

/// What the node that does again what another did is called.
fn name(graph: &Graph, id: NodeId) -> String {
    match graph.node(id).name.as_str() {
        "" => String::new(),
        name => format!("{name}.again"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use bunjae_ir::Bindings;
    use bunjae_passes::losses::cross_entropy;
    use bunjae_passes::{differentiate, for_training, sample_inputs, trainable_weights};
    use bunjae_tensor::Tensor;
    use bunjae_zoo::Options;

    use super::super::super::{CompileOptions, Target, lower::lower, simplified, store};
    use super::super::{Trained, trained};
    use super::*;
    use crate::runtime::{Input, Model, Output, Session};

    const BATCH: usize = 8;

    fn training_graph(name: &str, input: [usize; 3]) -> Graph {
        let options = Options { input: Some(input), classes: Some(3), ..Options::default() };
        let graph = bunjae_zoo::build(name, &options).unwrap();
        let mut graph = for_training(&graph, |_| false).unwrap().graph;
        let logits = graph.outputs()[0].tensor;
        let ty = graph.ty(logits).clone();
        let targets = graph.input("targets", ty).unwrap();
        let loss = cross_entropy(&mut graph, "loss", logits, targets, None).unwrap();
        graph.output("loss", loss).unwrap();
        let weights = trainable_weights(&graph, loss);
        let bindings = Bindings::from([("N".to_string(), BATCH)]);
        differentiate(&graph, loss, &weights).unwrap().bind(&bindings).unwrap()
    }

    /// The outputs, then parameters and gradients, and the bytes of the arena.
    fn outcome(trained: &Trained, graph: &Graph, values: &[Tensor]) -> (Vec<Vec<f32>>, usize) {
        let options = CompileOptions { compact: true, ..CompileOptions::default() };
        let target = Target::new(&options).unwrap();
        let parts = lower(graph, target, &mut store(&options), &trained.layout).unwrap();
        let mut session = Session::new(Arc::new(Model::new(parts).unwrap())).unwrap();
        let (values, parameters) = values.split_at(trained.layout.inputs);
        for (segment, value) in trained.layout.segments.iter().zip(parameters) {
            session.resident_mut()[segment.start..segment.start + segment.len]
                .copy_from_slice(value.elements().unwrap());
        }
        let inputs: Vec<Input<'_>> = values.iter().map(Input::from).collect();
        let ports = session.model().outputs().to_vec();
        let mut results: Vec<Vec<f32>> = ports.iter().map(|p| vec![0.0; p.elements()]).collect();
        let mut outputs: Vec<Output<'_>> =
            results.iter_mut().map(|result| Output::from(&mut result[..])).collect();
        session.run(&inputs, &mut outputs).unwrap();
        let len = trained.layout.len;
        for segment in &trained.layout.segments {
            let start = len + segment.start;
            results.push(session.resident()[start..start + segment.len].to_vec());
        }
        (results, session.model().arena_bytes())
    }

    #[test]
    fn gradients_are_the_same_to_the_bit_in_less_memory() {
        // What is left of the memory, at most.
        for (name, input, most) in [
            ("resnet20", [3, 32, 32], 0.7),
            ("mobilenet-v2", [3, 64, 64], 0.7),
            ("mobilenet-v3-small", [3, 64, 64], 0.7),
            ("densenet-tiny", [3, 32, 32], 0.6),
            ("mask-base", [3, 32, 32], 1.0),
        ] {
            let trained = trained(&training_graph(name, input)).unwrap();
            let values = sample_inputs(&trained.graph, &Bindings::new(), 5).unwrap();
            let plain = simplified(&trained.graph).unwrap();
            let again = recomputing(&plain, 0).unwrap();
            let (expected, before) = outcome(&trained, &plain, &values);
            let (found, after) = outcome(&trained, &again, &values);
            let equal = |(a, b): (&Vec<f32>, &Vec<f32>)| {
                a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
            };
            assert!(expected.iter().zip(&found).all(equal), "{name}");
            assert!(expected.iter().flatten().any(|value| *value != 0.0), "{name}");
            let share = after as f64 / before as f64;
            assert!(share <= most, "{name}: {after} of {before} bytes, {share:.2}");
        }
    }

    #[test]
    fn the_smallest_tensors_are_kept_while_there_is_room() {
        let graph = training_graph("resnet20", [3, 32, 32]);
        let again = |room: usize| {
            let graph = recomputing(&graph, room).unwrap();
            let anew = graph.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm(_)));
            let elements = anew.map(|node| elements(&graph, node.outputs[0]));
            elements.collect::<Vec<usize>>()
        };
        let (all, none) = (again(0), again(usize::MAX));
        assert!(all.len() > 10 && none.is_empty(), "{all:?} {none:?}");
        let some = again(9 << 20);
        assert!(!some.is_empty() && some.len() < all.len(), "{some:?} of {all:?}");
        assert!(some.iter().min() > all.iter().min(), "{some:?} of {all:?}");
    }

    #[test]
    fn a_graph_that_is_not_trained_stays_as_it_is() {
        let graph = bunjae_zoo::build("mask-small", &Options::default()).unwrap();
        assert_eq!(recomputing(&graph, 0).unwrap(), graph);
    }
}
