//! Normalisation and reduction.

use bunjae_ir::op::{
    BatchNorm, Binary, Flatten, L2Norm, LayerNorm, LogSoftmax, Reduce, Reduction, Reshape, Softmax,
    Unary,
};
use bunjae_ir::{Dim, Factors, Op, Target};

use super::super::node::{Lowering, Outcome, axes};
use super::super::problem::ProblemKind;

const EPSILON: f32 = 1e-5;

pub(super) fn batch_norm(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(5)?;
    // Only for training.
    node.attributes.ignore(&["momentum"]);
    let training = ProblemKind::unsupported(
        "computes its statistics from the batch, as in training; export the model for inference",
    );
    if node.since >= 14 {
        if node.flag("training_mode", false)? {
            return Err(training);
        }
        node.only_first_result("running_mean")?;
    } else if node.only_first_result("mean").is_err() {
        return Err(training);
    }
    let eps = node.attributes.float("epsilon")?.unwrap_or(EPSILON);
    let names = ["input", "scale", "bias", "mean", "variance"];
    let operands: Vec<_> = names
        .into_iter()
        .enumerate()
        .map(|(at, name)| node.operand(at, name))
        .collect::<Outcome<_>>()?;
    // Statistics are gathered in training, not learned.
    for &statistic in &operands[3..] {
        node.builder.freeze(statistic);
    }
    node.finish_with(Op::BatchNorm(BatchNorm { eps }), &operands)
}

pub(super) fn layer_norm(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(3)?;
    // How precise the statistics are on a machine with less than single precision.
    node.attributes.ignore(&["stash_type"]);
    node.only_first_result("mean")?;
    let x = node.x()?;
    let axis = node.axis(-1, node.rank(x))?;
    let eps = node.attributes.float("epsilon")?.unwrap_or(EPSILON);
    let mut operands = vec![x, node.operand(1, "scale")?];
    operands.extend(node.optional(2)?);
    node.finish_with(Op::LayerNorm(LayerNorm { axis, eps }), &operands)
}

pub(super) fn lp_norm(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let x = node.x()?;
    let axis = node.axis(-1, node.rank(x))?;
    match node.attributes.int("p")?.unwrap_or(2) {
        // Below every norm but 0, for which the result is 0.
        2 => node.finish_with(Op::L2Norm(L2Norm { axis, eps: f32::from_bits(1) }), &[x]),
        p => Err(ProblemKind::value("p", p, "and only 2 is supported")),
    }
}

pub(super) fn softmax(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let x = node.x()?;
    let dims = node.dims(x);
    let rank = dims.len();
    let joined = node.since < 13;
    let axis = node.axis(if joined { 1 } else { -1 }, rank)?;
    let log = node.op() == "LogSoftmax";
    let op = |axis| match log {
        true => Op::LogSoftmax(LogSoftmax { axis }),
        false => Op::Softmax(Softmax { axis }),
    };
    let one = Dim::Fixed(1);
    // Before operator set 13, all axes from the given one on were one.
    let mut long = (axis..rank).filter(|&at| dims.get(at) != Some(&one));
    let (first, second) = (long.next(), long.next());
    let result = if joined && second.is_some() {
        let flat = node.emit_part("flatten", Op::Flatten(Flatten { axis }), &[x])?;
        let flat = node.emit_part("joined", op(1), &[flat])?;
        let target: Vec<Target> = dims.iter().cloned().map(Target::Size).collect();
        let map = Factors::between(&node.dims(flat), &target)?;
        node.emit(Op::Reshape(Reshape { map }), &[flat])?
    } else {
        let axis = if joined { first.unwrap_or(axis) } else { axis };
        node.emit(op(axis), &[x])?
    };
    node.set(0, result);
    Ok(())
}

pub(super) fn reduce(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let rank = node.rank(x);
    let since = if node.op() == "ReduceSum" { 13 } else { 18 };
    node.at_most(if node.since >= since { 2 } else { 1 })?;
    let given = node.ints("axes", since, 1)?.unwrap_or_default();
    let keep = node.flag("keepdims", true)?;
    let nothing = node.flag("noop_with_empty_axes", false)? && given.is_empty();
    let axes = match given.as_slice() {
        [] if nothing => Vec::new(),
        [] => (0..rank).collect(),
        given => axes(given, rank)?,
    };
    let (before, kind) = match node.op() {
        "ReduceMean" => (None, Reduction::Mean),
        "ReduceSum" => (None, Reduction::Sum),
        "ReduceMax" => (None, Reduction::Max),
        "ReduceMin" => (None, Reduction::Min),
        "ReduceL2" => (None, Reduction::L2),
        "ReduceL1" => (Some(Op::Unary(Unary::Abs)), Reduction::Sum),
        "ReduceSumSquare" => (Some(Op::Binary(Binary::Mul)), Reduction::Sum),
        _ => return Err(ProblemKind::UnknownOperator),
    };
    let x = match before {
        None => x,
        Some(op @ Op::Binary(_)) => node.emit_part("square", op, &[x, x])?,
        Some(op) => node.emit_part("abs", op, &[x])?,
    };
    node.finish_with(Op::Reduce(Reduce { kind, axes, keep }), &[x])
}
