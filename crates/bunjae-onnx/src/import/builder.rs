//! The graph while it is being imported: tensors, constants, and what becomes of both.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bunjae_interp::eval;
use bunjae_ir::{Dim, Graph, GraphError, Op, TensorId, TensorType};
use bunjae_tensor::Tensor;

use super::elements::{Elements, MAX_ELEMENTS};
use super::problem::ProblemKind;
use crate::names::Names;
use crate::tensor_data::{DataType, data_type};

/// No network has tensors of more dimensions.
pub(super) const MAX_RANK: usize = 16;

/// What a name of the file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operand {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// A value known now.
    Constant(ConstantId),
}

/// The place of a constant in the builder's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConstantId(usize);

enum Data {
    Tensor {
        tensor: Tensor,
        /// The single elements, once somebody asked.
        elements: Option<Rc<Elements>>,
    },
    /// Elements that depend on the input's size, or of a type that no tensor has.
    Elements(Rc<Elements>),
}

/// A value known at import. It becomes a weight of the graph when an operator takes it as operand;
/// shapes and other settings never do.
struct Constant {
    /// The name it has in the file, or that of the one constant it was computed from.
    name: String,
    /// Its place among the initialisers, for those that are one.
    place: Option<usize>,
    data: Data,
    frozen: bool,
    weight: Option<TensorId>,
}

/// Builds a graph, computing at once what depends on constants alone.
pub(super) struct Builder {
    graph: Graph,
    constants: Vec<Constant>,
    /// The constant behind each weight of the graph.
    weights: BTreeMap<TensorId, ConstantId>,
    /// Results computed before, so that a weight used twice stays one weight.
    computed: BTreeMap<(String, Vec<ConstantId>), Vec<ConstantId>>,
    /// Tensors computed from constants alone.
    fixed: BTreeSet<TensorId>,
    names: Names,
    /// The types that were widened to 32-bit floats.
    pub(super) widened: BTreeSet<DataType>,
    /// The number of elements that may still be computed at import.
    budget: usize,
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Builder {
            graph: Graph::new(name),
            constants: Vec::new(),
            weights: BTreeMap::new(),
            computed: BTreeMap::new(),
            fixed: BTreeSet::new(),
            names: Names::default(),
            widened: BTreeSet::new(),
            budget: 64 * MAX_ELEMENTS,
        }
    }

    /// Adds an input of the model.
    pub(super) fn input(&mut self, name: &str, ty: TensorType) -> Result<Operand, ProblemKind> {
        Ok(Operand::Tensor(self.graph.input(name, ty)?))
    }

    /// Adds an initialiser, of which `place` is the place in the file, or the tensor of a node.
    pub(super) fn literal(
        &mut self,
        value: Known,
        name: &str,
        place: Option<usize>,
        frozen: bool,
    ) -> Operand {
        // What is computed from weights is in proportion to them, unless somebody wants to waste
        // time and memory.
        if let Known::Tensor(tensor) = &value {
            self.budget = self.budget.saturating_add(tensor.len().saturating_mul(4));
        }
        Operand::Constant(self.add(value, name, place, frozen))
    }

    /// Adds a constant that is computed at import.
    pub(super) fn constant(&mut self, value: Known, name: &str, frozen: bool) -> Operand {
        Operand::Constant(self.add(value, name, None, frozen))
    }

    fn add(&mut self, value: Known, name: &str, place: Option<usize>, frozen: bool) -> ConstantId {
        let data = match value {
            Known::Tensor(tensor) => Data::Tensor { tensor, elements: None },
            Known::Elements(elements) => Data::Elements(Rc::new(elements)),
        };
        let name = name.to_owned();
        self.constants.push(Constant { name, place, data, frozen, weight: None });
        ConstantId(self.constants.len() - 1)
    }

    /// Takes from the work that may be done at import.
    pub(super) fn spend(&mut self, elements: usize) -> Result<(), ProblemKind> {
        self.budget = self.budget.checked_sub(elements).ok_or(ProblemKind::TooMuchWork)?;
        Ok(())
    }

    pub(super) fn dims(&self, operand: Operand) -> Vec<Dim> {
        match operand {
            Operand::Tensor(id) => self.graph.ty(id).dims.clone(),
            Operand::Constant(id) => self.shape(id).iter().copied().map(Dim::Fixed).collect(),
        }
    }

    pub(super) fn rank(&self, operand: Operand) -> usize {
        match operand {
            Operand::Tensor(id) => self.graph.ty(id).rank(),
            Operand::Constant(id) => self.shape(id).len(),
        }
    }

    fn shape(&self, id: ConstantId) -> &[usize] {
        match &self.constants[id.0].data {
            Data::Tensor { tensor, .. } => tensor.shape(),
            Data::Elements(elements) => &elements.shape,
        }
    }

    /// The element type, as the format names it.
    pub(super) fn data_type(&self, operand: Operand) -> DataType {
        match operand {
            Operand::Tensor(id) => data_type(self.graph.ty(id).dtype),
            Operand::Constant(ConstantId(at)) => match &self.constants[at].data {
                Data::Tensor { tensor, .. } => data_type(tensor.dtype()),
                Data::Elements(elements) => elements.data_type,
            },
        }
    }

    /// The single elements of a constant that is small enough to have them looked at.
    pub(super) fn elements(&mut self, operand: Operand) -> Option<Rc<Elements>> {
        let Operand::Constant(ConstantId(at)) = operand else { return None };
        match &mut self.constants[at].data {
            Data::Tensor { tensor, elements } => {
                if elements.is_none() {
                    *elements = Elements::of_tensor(tensor).map(Rc::new);
                }
                elements.clone()
            }
            Data::Elements(elements) => Some(elements.clone()),
        }
    }

    /// True for what training leaves alone.
    pub(super) fn is_frozen(&self, operand: Operand) -> bool {
        match operand {
            Operand::Tensor(_) => false,
            Operand::Constant(id) => self.constants[id.0].frozen,
        }
    }

    /// Marks a constant as one that training leaves alone, because of the part it plays.
    pub(super) fn freeze(&mut self, operand: Operand) {
        if let Operand::Constant(ConstantId(at)) = operand {
            self.constants[at].frozen = true;
        }
    }

    /// True for constants, and for tensors that are computed from constants alone.
    pub(super) fn is_fixed(&self, operand: Operand) -> bool {
        match operand {
            Operand::Tensor(id) => self.fixed.contains(&id),
            Operand::Constant(_) => true,
        }
    }

    /// Applies an operator: at once where all operands are constants, otherwise as a node.
    pub(super) fn emit(
        &mut self,
        name: &str,
        op: Op,
        operands: &[Operand],
    ) -> Result<Vec<Operand>, ProblemKind> {
        if let Some(results) = self.compute(name, &op, operands)? {
            return Ok(results);
        }
        let fixed = operands.iter().all(|&operand| self.is_fixed(operand));
        let inputs =
            operands.iter().map(|&operand| self.tensor(operand)).collect::<Result<Vec<_>, _>>()?;
        let name = self.names.unique(name);
        let results = self.graph.push_multi(&name, op, &inputs)?;
        if let Some(rank) = results.iter().map(|&id| self.graph.ty(id).rank()).max()
            && rank > MAX_RANK
        {
            return Err(ProblemKind::Rank(rank));
        }
        if fixed {
            self.fixed.extend(&results);
        }
        Ok(results.into_iter().map(Operand::Tensor).collect())
    }

    /// Computes an operator on constants. `None` where an operand is no constant, where the
    /// operator means to stay (the weights of a quantised model stay integers), or where computing
    /// it is no matter of copying elements and simple arithmetic.
    fn compute(
        &mut self,
        name: &str,
        op: &Op,
        operands: &[Operand],
    ) -> Result<Option<Vec<Operand>>, ProblemKind> {
        let cheap = match op {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Concat(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Reduce(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Transpose(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Dropout(_)
            | Op::Cast(_) => true,
            Op::Conv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::BatchNorm(_)
            | Op::LayerNorm(_)
            | Op::L2Norm(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::UnaryGrad(_)
            | Op::BatchNormTrain(_)
            | Op::BatchNormGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_)
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalPool(_)
            | Op::Resize(_)
            | Op::DepthToSpace(_)
            | Op::Quantize(_)
            | Op::Dequantize(_)
            | Op::Linear
            | Op::MatMul
            | Op::PRelu => false,
        };
        let ids = operands.iter().map(|&operand| match operand {
            Operand::Constant(id) => Some(id),
            Operand::Tensor(_) => None,
        });
        let Some(ids) = ids.collect::<Option<Vec<ConstantId>>>().filter(|_| cheap) else {
            return Ok(None);
        };
        let key = (format!("{op:?}"), ids);
        if let Some(known) = self.computed.get(&key) {
            return Ok(Some(known.iter().copied().map(Operand::Constant).collect()));
        }
        let (_, ids) = &key;
        let tensors = ids.iter().map(|&id| self.value(id)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<TensorType> = tensors
            .iter()
            .map(|tensor| TensorType::new(tensor.dtype(), tensor.shape().iter().copied()))
            .collect();
        let results = op.infer(&types.iter().collect::<Vec<_>>())?;
        for ty in &results {
            let shape = ty.fixed_shape().unwrap_or_default();
            self.spend(bunjae_tensor::element_count(&shape).unwrap_or(usize::MAX))?;
        }
        let results = eval(op, &tensors.iter().collect::<Vec<_>>())
            .map_err(|error| ProblemKind::Arithmetic(format!("it: {error}")))?;
        let frozen = ids.iter().all(|id| self.constants[id.0].frozen);
        // A weight that is merely brought into another form keeps its name.
        let name = match (ids.as_slice(), results.len()) {
            ([id], 1) => self.constants[id.0].name.clone(),
            _ => name.to_owned(),
        };
        let results: Vec<ConstantId> = results
            .into_iter()
            .map(|tensor| self.add(Known::Tensor(tensor), &name, None, frozen))
            .collect();
        self.computed.insert(key, results.clone());
        Ok(Some(results.into_iter().map(Operand::Constant).collect()))
    }

    /// The value of a constant.
    fn value(&self, id: ConstantId) -> Result<Tensor, ProblemKind> {
        match &self.constants[id.0].data {
            Data::Tensor { tensor, .. } => Ok(tensor.clone()),
            Data::Elements(elements) => elements.to_tensor(),
        }
    }

    /// The operand as a tensor of the graph; a constant becomes a weight.
    fn tensor(&mut self, operand: Operand) -> Result<TensorId, ProblemKind> {
        let id = match operand {
            Operand::Tensor(id) => return Ok(id),
            Operand::Constant(id) => id,
        };
        if let Some(weight) = self.constants[id.0].weight {
            return Ok(weight);
        }
        let tensor = self.value(id)?;
        // Its final name is given when all names are known.
        let weight = self.graph.weight(&format!("\0{}", id.0), tensor)?;
        self.constants[id.0].weight = Some(weight);
        self.weights.insert(weight, id);
        Ok(weight)
    }

    /// The finished graph: the inputs, then the weights in the order of the file (computed ones
    /// last), then the nodes that contribute to an output.
    pub(super) fn finish(mut self, outputs: &[(&str, Operand)]) -> Result<Graph, Finish> {
        let mut ids = Vec::with_capacity(outputs.len());
        for (at, &(_, operand)) in outputs.iter().enumerate() {
            ids.push(self.tensor(operand).map_err(|kind| Finish { output: at, kind })?);
        }
        self.rebuild(outputs, &ids)
            .map_err(|error| Finish { output: 0, kind: ProblemKind::Graph(error) })
    }

    fn rebuild(
        &self,
        outputs: &[(&str, Operand)],
        output_ids: &[TensorId],
    ) -> Result<Graph, GraphError> {
        let mut needed = vec![false; self.graph.value_count()];
        output_ids.iter().for_each(|id| needed[id.index()] = true);
        for node in self.graph.nodes().iter().rev() {
            if node.outputs.iter().any(|id| needed[id.index()]) {
                node.inputs.iter().for_each(|id| needed[id.index()] = true);
            }
        }

        let mut result = Graph::new(&self.graph.name);
        let mut ids: Vec<Option<TensorId>> = vec![None; self.graph.value_count()];
        let mut names = Names::default();
        for &id in self.graph.inputs() {
            let name = self.graph.label(id);
            ids[id.index()] = Some(result.input(&name, self.graph.ty(id).clone())?);
            names.take(&name);
        }
        let mut weights: Vec<(TensorId, &Constant)> = self
            .weights
            .iter()
            .filter(|(id, _)| needed[id.index()])
            .map(|(&id, constant)| (id, &self.constants[constant.0]))
            .collect();
        weights.sort_by_key(|(_, constant)| constant.place.unwrap_or(usize::MAX));
        for (id, constant) in weights {
            if let Some(tensor) = self.graph.weight_tensor(id) {
                let base = if constant.name.is_empty() { "constant" } else { &constant.name };
                let name = names.unique(base);
                let trainable = !constant.frozen && tensor.dtype().is_float();
                ids[id.index()] = Some(result.add_weight(&name, tensor.clone(), trainable)?);
            }
        }
        for node in self.graph.nodes() {
            if !node.outputs.iter().any(|id| needed[id.index()]) {
                continue;
            }
            let inputs: Vec<TensorId> =
                node.inputs.iter().filter_map(|id| ids[id.index()]).collect();
            let results = result.push_multi(&node.name, node.op.clone(), &inputs)?;
            for (old, new) in node.outputs.iter().zip(results) {
                ids[old.index()] = Some(new);
            }
        }
        for ((name, _), id) in outputs.iter().zip(output_ids) {
            if let Some(id) = ids[id.index()] {
                result.output(name, id)?;
            }
        }
        Ok(result)
    }
}

/// Why the graph could not be finished, and at which output.
pub(super) struct Finish {
    pub(super) output: usize,
    pub(super) kind: ProblemKind,
}

/// A value known at import.
pub(super) enum Known {
    Tensor(Tensor),
    Elements(Elements),
}
