//! The graph: the only form of a model in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bunjae_tensor::{MAX_BYTES, Tensor};

use crate::dim::{Bindings, Dim};
use crate::error::{GraphError, ShapeError};
use crate::op::Op;
use crate::types::TensorType;

/// Names a tensor of one graph: an input, a weight or a node's result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub(crate) u32);

/// Names a node of one graph. Nodes are numbered in topological order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl TensorId {
    /// The place in the graph's list of tensors, for side tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// The place in the graph's list of nodes, for side tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for TensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// Where a tensor comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Given at each run.
    Input {
        /// The input's name.
        name: String,
    },
    /// Part of the model.
    Weight {
        /// The weight's name.
        name: String,
        /// The values.
        tensor: Tensor,
        /// Whether training may change it; running statistics and fixed constants it may not.
        trainable: bool,
    },
    /// Computed by a node.
    Node {
        /// The node.
        node: NodeId,
        /// Which of its results.
        slot: usize,
    },
}

/// A tensor of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Element type and dimensions.
    pub ty: TensorType,
    /// Where it comes from.
    pub source: Source,
}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The path of the layer it stands for, such as `layer1.0.conv2`; unique unless empty.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<TensorId>,
    /// Its results.
    pub outputs: Vec<TensorId>,
}

/// A named result of the whole graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The output's name.
    pub name: String,
    /// The tensor.
    pub tensor: TensorId,
}

/// A model: inputs, weights, nodes in topological order, outputs, and text metadata.
///
/// A graph only grows: [`Graph::push`] infers and checks the result types of each node as it is
/// added, so a graph that exists is well typed. A pass that changes or removes something builds a
/// new graph (weights are shared, not copied); [`Graph::map`] helps.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Text that travels with the model, by key (ONNX's `metadata_props`).
    pub metadata: BTreeMap<String, String>,
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<TensorId>,
    pub(crate) weights: Vec<TensorId>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) names: BTreeSet<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Graph { name: name.to_string(), ..Graph::default() }
    }

    fn add_value(&mut self, ty: TensorType, source: Source) -> TensorId {
        // Every tensor takes far more than four bytes, so memory ends long before the ids do.
        let id = TensorId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(Value { ty, source });
        id
    }

    fn claim_name(&mut self, what: &'static str, name: &str) -> Result<(), GraphError> {
        if self.names.insert(name.to_string()) {
            Ok(())
        } else {
            Err(GraphError::DuplicateName { what, name: name.to_string() })
        }
    }

    /// Adds an input.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`]; inputs and weights share one set of names.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Result<TensorId, GraphError> {
        self.claim_name("input", name)?;
        let id = self.add_value(ty, Source::Input { name: name.to_string() });
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a weight that training may change.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn weight(&mut self, name: &str, tensor: Tensor) -> Result<TensorId, GraphError> {
        self.add_weight(name, tensor, true)
    }

    /// Adds a weight that training leaves alone: running statistics, anchors, other constants.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Result<TensorId, GraphError> {
        self.add_weight(name, tensor, false)
    }

    /// Adds a weight, and says whether training may change it.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`].
    pub fn add_weight(
        &mut self,
        name: &str,
        tensor: Tensor,
        trainable: bool,
    ) -> Result<TensorId, GraphError> {
        self.claim_name("weight", name)?;
        let ty = TensorType::new(tensor.dtype(), tensor.shape().to_vec());
        let id = self.add_value(ty, Source::Weight { name: name.to_string(), tensor, trainable });
        self.weights.push(id);
        Ok(id)
    }

    /// Adds a node and returns its results.
    ///
    /// # Errors
    /// [`GraphError::Node`] where the operator does not accept its operands, with the node's name
    /// or, where that is empty, its place; [`GraphError::UnknownTensor`].
    pub fn push_multi(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[TensorId],
    ) -> Result<Vec<TensorId>, GraphError> {
        let place = || match name {
            "" => format!("node {}", self.nodes.len()),
            name => name.to_string(),
        };
        let mut types = Vec::with_capacity(inputs.len());
        for (operand, id) in inputs.iter().enumerate() {
            let value = self.values.get(id.index());
            let node = place;
            types.push(
                &value.ok_or_else(|| GraphError::UnknownTensor { node: node(), operand })?.ty,
            );
        }
        let results = match op.infer_sized(&types) {
            Ok(results) => results,
            Err(source) => return Err(GraphError::Node { node: place(), op: op.name(), source }),
        };
        let node = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let outputs: Vec<TensorId> = results
            .into_iter()
            .enumerate()
            .map(|(slot, ty)| self.add_value(ty, Source::Node { node, slot }))
            .collect();
        let inputs = inputs.to_vec();
        self.nodes.push(Node { name: name.to_string(), op, inputs, outputs: outputs.clone() });
        Ok(outputs)
    }

    /// Adds a node and returns its first result; only Split and the batch
    /// normalisations of training graphs have several.
    ///
    /// # Errors
    /// As [`Graph::push_multi`].
    pub fn push(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[TensorId],
    ) -> Result<TensorId, GraphError> {
        let results = self.push_multi(name, op.into(), inputs)?;
        results.first().copied().ok_or_else(|| GraphError::Invalid {
            place: name.to_string(),
            what: "the operator has no result".into(),
        })
    }

    /// Makes a tensor an output of the graph.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`] where another output has the name,
    /// [`GraphError::UnknownTensor`].
    pub fn output(&mut self, name: &str, tensor: TensorId) -> Result<(), GraphError> {
        if self.outputs.iter().any(|output| output.name == name) {
            return Err(GraphError::DuplicateName { what: "output", name: name.to_string() });
        }
        if tensor.index() >= self.values.len() {
            return Err(GraphError::UnknownTensor { node: format!("output {name}"), operand: 0 });
        }
        self.outputs.push(Output { name: name.to_string(), tensor });
        Ok(())
    }

    /// The inputs, in the order they were added.
    pub fn inputs(&self) -> &[TensorId] {
        &self.inputs
    }

    /// The weights, in the order they were added.
    pub fn weights(&self) -> &[TensorId] {
        &self.weights
    }

    /// The outputs, in the order they were added.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The nodes, in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes with their ids, in topological order.
    pub fn node_ids(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.nodes)
    }

    /// Every tensor with its id: inputs, weights and results in the order they were added.
    pub fn values(&self) -> impl Iterator<Item = (TensorId, &Value)> {
        (0..).map(TensorId).zip(&self.values)
    }

    /// The number of tensors; ids index side tables of this length.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// A tensor. Ids of another graph may name another tensor or panic, as a slice index would.
    pub fn value(&self, id: TensorId) -> &Value {
        &self.values[id.index()]
    }

    /// A tensor's type.
    pub fn ty(&self, id: TensorId) -> &TensorType {
        &self.value(id).ty
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The values of a weight; `None` for an input or a result.
    pub fn weight_tensor(&self, id: TensorId) -> Option<&Tensor> {
        match &self.value(id).source {
            Source::Weight { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// The weight of the given name.
    pub fn find_weight(&self, name: &str) -> Option<TensorId> {
        self.weights.iter().copied().find(
            |&id| matches!(&self.value(id).source, Source::Weight { name: own, .. } if own == name),
        )
    }

    /// What people call a tensor: the input's or weight's name, or the path of the node that
    /// computes it.
    pub fn label(&self, id: TensorId) -> String {
        match &self.value(id).source {
            Source::Input { name } | Source::Weight { name, .. } => name.clone(),
            Source::Node { node, slot: 0 } => self.node_label(*node),
            Source::Node { node, slot } => format!("{}:{slot}", self.node_label(*node)),
        }
    }

    /// What people call a node: its path, or its operator and place where it has none.
    pub fn node_label(&self, id: NodeId) -> String {
        let node = self.node(id);
        match node.name.as_str() {
            "" => format!("{}#{}", node.op.name(), id.0),
            name => name.to_string(),
        }
    }

    /// For each tensor, the nodes that use it, in order; a node that uses it twice counts twice.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for (id, node) in self.node_ids() {
            for input in &node.inputs {
                users[input.index()].push(id);
            }
        }
        users
    }

    /// The names of the symbols in the inputs' types, each once.
    pub fn symbols(&self) -> Vec<String> {
        let mut names = Vec::new();
        for &input in &self.inputs {
            self.ty(input).dims.iter().for_each(|dim| dim.symbols(&mut names));
        }
        names
    }

    /// Builds a graph from this one node by node. `node` is called for each node with the new
    /// graph and the operands' new ids, and returns the new ids of the results; `weight` may
    /// replace a weight's values. Weights that nothing uses any more are left out.
    ///
    /// # Errors
    /// Whatever the closures return.
    pub fn map<E: From<GraphError>>(
        &self,
        mut weight: impl FnMut(TensorId, &Tensor) -> Tensor,
        mut node: impl FnMut(&mut Graph, NodeId, &[TensorId]) -> Result<Vec<TensorId>, E>,
    ) -> Result<Graph, E> {
        let mut result = Graph::new(&self.name);
        result.metadata = self.metadata.clone();
        let mut ids: Vec<Option<TensorId>> = vec![None; self.values.len()];
        for &input in &self.inputs {
            let value = self.value(input);
            if let Source::Input { name } = &value.source {
                ids[input.index()] = Some(result.input(name, value.ty.clone())?);
            }
        }
        let mut used = vec![false; self.values.len()];
        let operands = self.nodes.iter().flat_map(|node| &node.inputs);
        for id in operands.chain(self.outputs.iter().map(|output| &output.tensor)) {
            used[id.index()] = true;
        }
        for &id in self.weights.iter().filter(|id| used[id.index()]) {
            if let Source::Weight { name, tensor, trainable } = &self.value(id).source {
                let tensor = weight(id, tensor);
                ids[id.index()] = Some(result.add_weight(name, tensor, *trainable)?);
            }
        }
        let lost = |id: TensorId| GraphError::Invalid {
            place: self.label(id),
            what: "its node was dropped, but it is still used".into(),
        };
        for (id, old) in self.node_ids() {
            let inputs = old.inputs.iter().map(|id| ids[id.index()].ok_or_else(|| lost(*id)));
            let Ok(inputs) = inputs.collect::<Result<Vec<_>, _>>() else {
                // Only the users of a dropped node get here; whether that matters shows below.
                continue;
            };
            for (old, new) in old.outputs.iter().zip(node(&mut result, id, &inputs)?) {
                ids[old.index()] = Some(new);
            }
        }
        for Output { name, tensor } in &self.outputs {
            result.output(name, ids[tensor.index()].ok_or_else(|| lost(*tensor))?)?;
        }
        Ok(result)
    }

    /// The graph with the given symbols of its inputs replaced by their values.
    ///
    /// # Errors
    /// [`GraphError::Node`] where a shape turns out not to fit.
    pub fn bind(&self, bindings: &Bindings) -> Result<Graph, GraphError> {
        let mut bound = self.clone();
        bound.values.iter_mut().try_for_each(|value| {
            if matches!(value.source, Source::Input { .. }) {
                value.ty = value.ty.bind(bindings)?;
            }
            Ok::<_, GraphError>(())
        })?;
        bound.retyped()
    }

    /// The graph with other dimensions of one of its inputs, such as another size of pictures.
    ///
    /// # Errors
    /// [`GraphError::Node`] where an operator does not accept what follows from them, such as a
    /// linear layer behind a flattened picture.
    pub fn with_input_dims(&self, input: TensorId, dims: &[Dim]) -> Result<Graph, GraphError> {
        let mut changed = self.clone();
        if let Some(value) = changed.values.get_mut(input.index())
            && matches!(value.source, Source::Input { .. })
        {
            value.ty.dims = dims.to_vec();
        }
        changed.retyped()
    }

    /// The graph built anew, with every type inferred again.
    ///
    /// # Errors
    /// [`GraphError::Node`] where an operator does not accept its operands.
    pub fn retyped(&self) -> Result<Graph, GraphError> {
        self.map(
            |_, tensor| tensor.clone(),
            |graph, id, inputs| {
                let node = self.node(id);
                graph.push_multi(&node.name, node.op.clone(), inputs)
            },
        )
    }
}

impl Op {
    /// As [`Op::infer`], but refuses a result that no memory holds, even for one picture.
    pub(crate) fn infer_sized(
        &self,
        inputs: &[&TensorType],
    ) -> Result<Vec<TensorType>, ShapeError> {
        let results = self.infer(inputs)?;
        for ty in &results {
            let known = ty.dims.iter().filter_map(Dim::fixed);
            if known.fold(ty.dtype.size(), usize::saturating_mul) > MAX_BYTES {
                return Err(ShapeError::TooLarge(ty.clone()));
            }
        }
        Ok(results)
    }
}
