//! Formulas written into a graph, one operator at a time: what the gradients and the losses are made
//! with.

use std::collections::{BTreeMap, BTreeSet};

use bunjae_ir::op::{Binary, Reduce, Reduction, Squeeze, Unary};
use bunjae_ir::{Graph, GraphError, Op, TensorId, TensorType};
use bunjae_tensor::{DType, Tensor};

use crate::names::add_weight;

/// A graph that grows. Its new nodes are called after the current scope.
pub(crate) struct Formula<'g> {
    pub(crate) graph: &'g mut Graph,
    scope: String,
    taken: BTreeSet<String>,
    /// The constants made so far, by their bits and type.
    numbers: BTreeMap<(u64, &'static str), TensorId>,
}

impl<'g> Formula<'g> {
    pub(crate) fn new(graph: &'g mut Graph, scope: &str) -> Self {
        let taken = graph.nodes().iter().map(|node| node.name.clone()).collect();
        Formula { graph, scope: scope.to_string(), taken, numbers: BTreeMap::new() }
    }

    /// Calls the nodes to come `scope`, `scope.1`, `scope.2`, ...
    pub(crate) fn enter(&mut self, scope: String) {
        self.scope = scope;
    }

    /// The first name of the scope that no node has.
    fn name(&mut self) -> String {
        let mut name = self.scope.clone();
        let mut number = 0;
        while !name.is_empty() && !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{}.{number}", self.scope);
        }
        name
    }

    pub(crate) fn ty(&self, id: TensorId) -> &TensorType {
        self.graph.ty(id)
    }

    pub(crate) fn push_multi(
        &mut self,
        op: impl Into<Op>,
        inputs: &[TensorId],
    ) -> Result<Vec<TensorId>, GraphError> {
        let name = self.name();
        self.graph.push_multi(&name, op.into(), inputs)
    }

    pub(crate) fn push(
        &mut self,
        op: impl Into<Op>,
        inputs: &[TensorId],
    ) -> Result<TensorId, GraphError> {
        let name = self.name();
        self.graph.push(&name, op, inputs)
    }

    pub(crate) fn add(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, GraphError> {
        self.push(Binary::Add, &[a, b])
    }

    pub(crate) fn sub(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, GraphError> {
        self.push(Binary::Sub, &[a, b])
    }

    pub(crate) fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, GraphError> {
        self.push(Binary::Mul, &[a, b])
    }

    pub(crate) fn div(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, GraphError> {
        self.push(Binary::Div, &[a, b])
    }

    pub(crate) fn neg(&mut self, x: TensorId) -> Result<TensorId, GraphError> {
        self.push(Unary::Neg, &[x])
    }

    /// A constant scalar of a float type.
    pub(crate) fn number(&mut self, value: f64, dtype: DType) -> Result<TensorId, GraphError> {
        let key = (value.to_bits(), dtype.name());
        if let Some(&known) = self.numbers.get(&key) {
            return Ok(known);
        }
        let tensor = match dtype {
            DType::F64 => Tensor::scalar(value),
            _ => Tensor::scalar(value as f32),
        };
        let id = add_weight(self.graph, "constant", tensor, false)?;
        self.numbers.insert(key, id);
        Ok(id)
    }

    /// `x` times a number; `x` itself for 1.
    pub(crate) fn scaled(&mut self, x: TensorId, factor: f64) -> Result<TensorId, GraphError> {
        if factor == 1.0 {
            return Ok(x);
        }
        let factor = self.number(factor, self.ty(x).dtype)?;
        self.mul(x, factor)
    }

    /// `x` plus a number.
    pub(crate) fn plus(&mut self, x: TensorId, number: f64) -> Result<TensorId, GraphError> {
        let number = self.number(number, self.ty(x).dtype)?;
        self.add(x, number)
    }

    pub(crate) fn reduce(
        &mut self,
        kind: Reduction,
        x: TensorId,
        axes: Vec<usize>,
        keep: bool,
    ) -> Result<TensorId, GraphError> {
        self.push(Op::Reduce(Reduce { kind, axes, keep }), &[x])
    }

    /// The mean over all axes: a scalar.
    pub(crate) fn mean(&mut self, x: TensorId) -> Result<TensorId, GraphError> {
        let axes = (0..self.ty(x).rank()).collect();
        self.reduce(Reduction::Mean, x, axes, false)
    }

    /// The sum over one axis, which goes.
    pub(crate) fn sum_over(&mut self, x: TensorId, axis: usize) -> Result<TensorId, GraphError> {
        self.reduce(Reduction::Sum, x, vec![axis], false)
    }

    /// The transpose of broadcasting an operand of the type of `like` to the shape of `x`: the sum over
    /// the axes that repeated it.
    pub(crate) fn sum_to(&mut self, x: TensorId, like: TensorId) -> Result<TensorId, GraphError> {
        let (from, to) = (self.ty(x).clone(), self.ty(like).clone());
        let added = from.rank().saturating_sub(to.rank());
        let repeated = (added..from.rank())
            .filter(|&axis| to.dims[axis - added].is_one() && !from.dims[axis].is_one());
        let axes: Vec<usize> = (0..added).chain(repeated).collect();
        let mut sum = x;
        if !axes.is_empty() {
            sum = self.reduce(Reduction::Sum, sum, axes, true)?;
        }
        if added > 0 {
            sum = self.push(Op::Squeeze(Squeeze { axes: (0..added).collect() }), &[sum])?;
        }
        Ok(sum)
    }
}
