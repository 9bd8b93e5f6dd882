//! Functions of single elements.

use bunjae_ir::op::{Binary, Cast, Dropout, Unary};
use bunjae_ir::{Dim, Op};
use bunjae_tensor::DType;

use super::super::builder::{Known, Operand};
use super::super::elements::{self, Scalar};
use super::super::fold;
use super::super::node::{Bound, Lowering, Outcome};
use super::super::problem::ProblemKind;
use crate::tensor_data::DataType;

pub(super) fn unary(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let x = node.x()?;
    let name = node.op();
    let mut float =
        |name, default| -> Outcome<f32> { Ok(node.attributes.float(name)?.unwrap_or(default)) };
    let op = match name {
        "Abs" => Unary::Abs,
        "Elu" => Unary::Elu { alpha: float("alpha", 1.0)? },
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Gelu" => {
            let choices = [("none", false), ("tanh", true)];
            Unary::Gelu { tanh: node.attributes.word("approximate", &choices)? }
        }
        "HardSigmoid" => {
            Unary::HardSigmoid { alpha: float("alpha", 0.2)?, beta: float("beta", 0.5)? }
        }
        "HardSwish" => Unary::HardSwish,
        "LeakyRelu" => Unary::LeakyRelu { alpha: float("alpha", 0.01)? },
        "Log" => Unary::Log,
        "Mish" => Unary::Mish,
        "Neg" => Unary::Neg,
        "Reciprocal" => Unary::Reciprocal,
        "Relu" => Unary::Relu,
        "Sigmoid" => Unary::Sigmoid,
        "Softplus" => Unary::Softplus,
        "Sqrt" => Unary::Sqrt,
        "Tanh" => Unary::Tanh,
        _ => return Err(ProblemKind::UnknownOperator),
    };
    node.finish_with(op, &[x])
}

fn arithmetic(op: &str) -> Outcome<Binary> {
    Ok(match op {
        "Add" | "Sum" | "Mean" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        "Pow" => Binary::Pow,
        _ => return Err(ProblemKind::UnknownOperator),
    })
}

pub(super) fn binary(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let operands = arithmetic_operands(node)?;
    node.finish_with(arithmetic(node.op())?, &operands)
}

/// The two operands, after checking that those whose expansion was left out still give a result of
/// the same shape.
fn arithmetic_operands(node: &Lowering<'_>) -> Outcome<[Operand; 2]> {
    let missing = ProblemKind::MissingOperand;
    let a = node.bound(0).ok_or(missing("first operand"))?;
    let b = node.bound(1).ok_or(missing("second operand"))?;
    for (one, other) in [(a, b), (b, a)] {
        let Some(expanded) = &one.expanded else { continue };
        let others = shape_of(node, other);
        // The other operand has to bring every axis that was to be filled.
        let fills = expanded.iter().rev().enumerate().all(|(back, wanted)| {
            let from_end = |dims: &[Dim]| {
                dims.len().checked_sub(back + 1).and_then(|at| dims.get(at)).cloned()
            };
            let own = from_end(&node.dims(one.operand)).unwrap_or(Dim::Fixed(1));
            own == *wanted || from_end(&others).as_ref() == Some(wanted)
        });
        if !fills || other.expanded.is_some() {
            return Err(ProblemKind::Expanded);
        }
    }
    Ok([a.operand, b.operand])
}

fn shape_of(node: &Lowering<'_>, bound: &Bound) -> Vec<Dim> {
    bound.expanded.clone().unwrap_or_else(|| node.dims(bound.operand))
}

pub(super) fn pow(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let [x, mut exponent] = arithmetic_operands(node)?;
    // The exponent may have a type of its own.
    let data_type = node.builder.data_type(x);
    if node.builder.data_type(exponent) != data_type {
        let elements = node.elements(exponent, "exponent")?;
        let converted = fold::convert(&elements, data_type)?.to_tensor()?;
        exponent = node.constant("exponent", converted);
    }
    node.finish_with(Binary::Pow, &[x, exponent])
}

/// Maximum, minimum, sum and mean of any number of operands.
pub(super) fn variadic(node: &mut Lowering<'_>) -> Outcome<()> {
    if node.operand_count() == 2 && node.op() != "Mean" {
        return binary(node);
    }
    let operands = node.operands()?;
    let op = arithmetic(node.op())?;
    let mean = node.op() == "Mean";
    let mut rest = operands.iter().copied();
    let Some(mut result) = rest.next() else {
        return Err(ProblemKind::MissingOperand("operand"));
    };
    let last = operands.len() - 1;
    for (at, operand) in rest.enumerate() {
        let part = if at + 1 == last && !mean { String::new() } else { format!("{}", at + 1) };
        result = node.emit_part(&part, op.clone(), &[result, operand])?;
    }
    if mean && last > 0 {
        let count = node.number("count", operands.len() as f64, result)?;
        result = node.emit(Binary::Div, &[result, count])?;
    }
    node.set(0, result);
    Ok(())
}

pub(super) fn prelu(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let operands = [node.x()?, node.operand(1, "slope")?];
    node.finish_with(Op::PRelu, &operands)
}

pub(super) fn swish(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let x = node.x()?;
    match node.attributes.float("alpha")?.unwrap_or(1.0) {
        1.0 => node.finish_with(Unary::Silu, &[x]),
        alpha => {
            let alpha = node.number("alpha", alpha.into(), x)?;
            let scaled = node.emit_part("scaled", Binary::Mul, &[x, alpha])?;
            let gate = node.emit_part("gate", Unary::Sigmoid, &[scaled])?;
            node.finish_with(Binary::Mul, &[x, gate])
        }
    }
}

pub(super) fn clip(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    if node.since < 11 {
        node.at_most(1)?;
        // These are the defaults that the format states.
        let min = node.attributes.float("min")?.unwrap_or(f32::MIN);
        let max = node.attributes.float("max")?.unwrap_or(f32::MAX);
        return node.finish_with(Unary::Clip { min, max }, &[x]);
    }
    node.at_most(3)?;
    let bounds = [node.optional(1)?, node.optional(2)?];
    let computed = bounds.iter().flatten().any(|bound| matches!(bound, Operand::Tensor(_)));
    let is_f32 = node.dtype(x)? == DType::F32;
    if computed || !is_f32 {
        // Bounds that are no numbers of the settings' type.
        let mut result = x;
        let parts = [("min", Binary::Max), ("max", Binary::Min)];
        for ((part, op), bound) in parts.into_iter().zip(bounds) {
            if let Some(bound) = bound {
                result = node.emit_part(part, op, &[result, bound])?;
            }
        }
        node.set(0, result);
        return Ok(());
    }
    let mut bound = |at, what, default: f32| match node.known_floats(at, what)?.as_deref() {
        None => Ok(default),
        Some(&[bound]) => Ok(bound as f32),
        Some(other) => Err(ProblemKind::value(what, other, "and should be one number")),
    };
    let (min, max) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
    node.finish_with(Unary::Clip { min, max }, &[x])
}

pub(super) fn identity(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    match node.x()? {
        // The same weight under another name.
        constant @ Operand::Constant(_) => node.set(0, constant),
        x => node.finish_with(Unary::Identity, &[x])?,
    }
    Ok(())
}

pub(super) fn cast(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let to = node.cast_target()?;
    cast_to(node, to)
}

pub(super) fn cast_like(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    node.attributes.ignore(&["saturate", "round_mode"]);
    let to = node.builder.data_type(node.operand(1, "second operand")?);
    cast_to(node, to)
}

fn cast_to(node: &mut Lowering<'_>, to: DataType) -> Outcome<()> {
    let x = node.x()?;
    match (x, elements::dtype(to)) {
        (Operand::Constant(_), Some(_)) if node.builder.data_type(x) == to => node.set(0, x),
        (_, Some(dtype)) => return node.finish_with(Op::Cast(Cast { to: dtype }), &[x]),
        (Operand::Tensor(_), None) => {
            return Err(ProblemKind::ElementType(to.name().to_owned()));
        }
        (Operand::Constant(_), None) => {
            let converted = fold::convert(&*node.elements(x, "input")?, to)?;
            let name = node.result_name(0);
            let result = node.builder.constant(Known::Elements(converted), &name, true);
            node.set(0, result);
        }
    }
    Ok(())
}

pub(super) fn dropout(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(3)?;
    node.attributes.ignore(&["seed"]);
    node.only_first_result("mask")?;
    let x = node.x()?;
    let ratio = if node.since < 12 {
        node.attributes.float("ratio")?
    } else {
        let training = match node.optional(2)? {
            None => None,
            Some(flag) => node.elements(flag, "training_mode")?.values.first().cloned(),
        };
        if !matches!(training, None | Some(Scalar::Int(0))) {
            return Err(ProblemKind::unsupported(
                "drops elements at random, as in training; export the model for inference",
            ));
        }
        node.known_floats(1, "ratio")?.and_then(|ratio| ratio.first().map(|&ratio| ratio as f32))
    };
    node.finish_with(Op::Dropout(Dropout { ratio: ratio.unwrap_or(0.5) }), &[x])
}
