//! Operators that change the shape alone.

use bunjae_ir::op::{Binary, Flatten, Reshape, Squeeze, Unary, Unsqueeze};
use bunjae_ir::{Dim, Factors, Op, Target};
use bunjae_tensor::DType;

use super::super::builder::MAX_RANK;
use super::super::elements::{Elements, Scalar};
use super::super::node::{Bound, Lowering, Outcome, axes, axis, size};
use super::super::problem::ProblemKind;
use crate::tensor_data::data_type;

pub(super) fn reshape(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let x = node.x()?;
    let shape = node.elements(node.operand(1, "shape")?, "shape")?;
    let copy = !node.flag("allowzero", false)?;
    if shape.values.len() > MAX_RANK {
        return Err(ProblemKind::Rank(shape.values.len()));
    }
    let target = shape.values.iter().map(|scalar| match scalar {
        Scalar::Int(-1) => Ok(Target::Infer),
        Scalar::Int(0) if copy => Ok(Target::Copy),
        Scalar::Int(value) => Ok(Target::Size(Dim::Fixed(size(*value)?))),
        Scalar::Size(dim) => Ok(Target::Size(dim.clone())),
        Scalar::Float(_) => Err(ProblemKind::value("shape", scalar, "and should be integers")),
    });
    let target = target.collect::<Outcome<Vec<_>>>()?;
    let map = Factors::between(&node.dims(x), &target)?;
    node.finish_with(Op::Reshape(Reshape { map }), &[x])
}

/// The first axis of the second part; it may lie behind the last.
pub(in super::super) fn flatten_axis(node: &mut Lowering<'_>, rank: usize) -> Outcome<usize> {
    node.at_most(1)?;
    let given = node.attributes.int("axis")?.unwrap_or(1);
    if usize::try_from(given) == Ok(rank) { Ok(rank) } else { axis(given, rank) }
}

pub(super) fn flatten(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let axis = flatten_axis(node, node.rank(x))?;
    node.finish_with(Op::Flatten(Flatten { axis }), &[x])
}

/// The axes that a Squeeze drops, ascending.
pub(in super::super) fn squeezed_axes(
    node: &mut Lowering<'_>,
    dims: &[Dim],
) -> Outcome<Vec<usize>> {
    node.at_most(if node.since >= 13 { 2 } else { 1 })?;
    match node.ints("axes", 13, 1)? {
        Some(given) => axes(&given, dims.len()),
        None if dims.iter().any(|dim| dim.fixed().is_none()) => Err(ProblemKind::Dynamic("result")),
        None => Ok((0..dims.len()).filter(|&at| dims.get(at).is_some_and(Dim::is_one)).collect()),
    }
}

pub(super) fn squeeze(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let axes = squeezed_axes(node, &node.dims(x))?;
    node.finish_with(Op::Squeeze(Squeeze { axes }), &[x])
}

/// The places in the result of the axes that an Unsqueeze inserts, ascending.
pub(in super::super) fn inserted_axes(node: &mut Lowering<'_>, rank: usize) -> Outcome<Vec<usize>> {
    node.at_most(if node.since >= 13 { 2 } else { 1 })?;
    let given = node.ints("axes", 13, 1)?.ok_or(ProblemKind::MissingOperand("axes"))?;
    let result = rank.saturating_add(given.len());
    if result > MAX_RANK {
        return Err(ProblemKind::Rank(result));
    }
    axes(&given, result)
}

pub(super) fn unsqueeze(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let axes = inserted_axes(node, node.rank(x))?;
    node.finish_with(Op::Unsqueeze(Unsqueeze { axes }), &[x])
}

/// Repeats along axes of length 1. Arithmetic does so by itself, so where nothing else uses the
/// result, there is nothing to do; otherwise, multiplying by ones repeats.
pub(super) fn expand(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let x = node.x()?;
    let shape = node.elements(node.operand(1, "shape")?, "shape")?;
    let own = node.dims(x);
    let rank = shape.values.len().max(own.len());
    if rank > MAX_RANK {
        return Err(ProblemKind::Rank(rank));
    }
    let mut target = Vec::with_capacity(rank);
    let mut ones = Vec::with_capacity(rank);
    for back in (1..=rank).rev() {
        let missing = Dim::Fixed(1);
        let from = own.len().checked_sub(back).and_then(|at| own.get(at)).unwrap_or(&missing);
        let to = match shape.values.len().checked_sub(back).and_then(|at| shape.values.get(at)) {
            None => Dim::Fixed(1),
            Some(Scalar::Int(value)) => Dim::Fixed(size(*value)?),
            Some(Scalar::Size(dim)) => dim.clone(),
            Some(scalar) => {
                return Err(ProblemKind::value("shape", scalar, "and should be integers"));
            }
        };
        if to.is_one() || to == *from {
            target.push(from.clone());
            ones.push(Dim::Fixed(1));
        } else if from.is_one() {
            target.push(to.clone());
            ones.push(to);
        } else {
            let words = format!("a dimension of {from} cannot be expanded to {to}");
            return Err(ProblemKind::Unsupported(words));
        }
    }
    if target == own {
        return node.finish_with(Unary::Identity, &[x]);
    }
    if node.only_arithmetic {
        node.set(0, Bound { operand: x, expanded: Some(target) });
        return Ok(());
    }
    let Some(ones) = ones.iter().map(Dim::fixed).collect::<Option<Vec<usize>>>() else {
        return Err(ProblemKind::Dynamic("shape"));
    };
    let one = match node.dtype(x)? {
        DType::F32 | DType::F64 => Scalar::Float(1.0),
        _ => Scalar::Int(1),
    };
    let ones = Elements::full(data_type(node.dtype(x)?), ones, &one)?.to_tensor()?;
    let ones = node.constant("ones", ones);
    node.finish_with(Binary::Mul, &[x, ones])
}

/// Repeats whole tensors, which is supported where it repeats nothing.
pub(super) fn tile(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let x = node.x()?;
    let repeats = node.known_ints(1, "repeats")?.ok_or(ProblemKind::MissingOperand("repeats"))?;
    if repeats.iter().any(|&times| times != 1) {
        let why = "and repeating is supported for constants alone";
        return Err(ProblemKind::value("repeats", repeats, why));
    }
    node.finish_with(Unary::Identity, &[x])
}
