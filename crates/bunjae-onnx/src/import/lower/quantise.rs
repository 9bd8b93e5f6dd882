//! Conversion to integers and back.

use bunjae_ir::Op;
use bunjae_ir::op::{Dequantize, Quantize, Squeeze};
use bunjae_tensor::{DType, Tensor};

use super::super::builder::Operand;
use super::super::elements::dtype;
use super::super::node::{Lowering, Outcome};
use super::super::problem::ProblemKind;
use crate::tensor_data::{DataType, data_type};

struct Parameters {
    axis: usize,
    scale: Operand,
    zero: Operand,
}

/// Scale and zero point: both scalars, or both with one value for each index of an axis. `integer`
/// is the type of a zero point that is left out.
fn parameters(node: &mut Lowering<'_>, x: Operand, integer: DType) -> Outcome<Parameters> {
    node.at_most(3)?;
    node.attributes.ignore(&["saturate"]);
    let rank = node.rank(x);
    match node.attributes.int("block_size")?.unwrap_or(0) {
        0 => {}
        block => {
            return Err(ProblemKind::value("block_size", block, "and blocks are not supported"));
        }
    }
    let mut scale = node.operand(1, "scale")?;
    let zero = node.optional(2)?;
    let dims = node.dims(scale);
    let single = dims.iter().all(bunjae_ir::Dim::is_one);
    let axis = match (single, node.since >= 13) {
        (false, true) => node.axis(1, rank)?,
        _ => {
            node.attributes.ignore(&["axis"]);
            1
        }
    };
    if single && !dims.is_empty() {
        scale = without_dims(node, "scale", scale)?;
    }
    let mut zero = match zero {
        Some(zero) => zero,
        None => {
            let shape: Option<Vec<usize>> =
                node.dims(scale).iter().map(bunjae_ir::Dim::fixed).collect();
            let shape = shape.ok_or(ProblemKind::Dynamic("scale"))?;
            let zeros = Tensor::zeros(integer, &shape).map_err(|_| ProblemKind::TooLarge)?;
            node.constant("zero_point", zeros)
        }
    };
    if single && node.rank(zero) > 0 {
        zero = without_dims(node, "zero_point", zero)?;
    }
    // They are measured, not learned.
    node.builder.freeze(scale);
    node.builder.freeze(zero);
    Ok(Parameters { axis, scale, zero })
}

fn without_dims(node: &mut Lowering<'_>, part: &str, operand: Operand) -> Outcome<Operand> {
    let axes = (0..node.rank(operand)).collect();
    node.emit_part(part, Op::Squeeze(Squeeze { axes }), &[operand])
}

/// The integer type that the attribute `output_dtype` asks for.
fn output_type(node: &mut Lowering<'_>) -> Outcome<Option<DataType>> {
    let Some(code) = node.attributes.int("output_dtype")?.filter(|&code| code != 0) else {
        return Ok(None);
    };
    let code = i32::try_from(code).unwrap_or(0);
    DataType::from_code(code).map(Some).ok_or_else(|| ProblemKind::element_type(code))
}

fn disagrees(wanted: Option<DataType>, found: DType) -> Outcome<()> {
    match wanted {
        Some(wanted) if dtype(wanted) != Some(found) => {
            let why = format!("which is not supported for {}", data_type(found));
            Err(ProblemKind::value("output_dtype", wanted, &why))
        }
        _ => Ok(()),
    }
}

pub(super) fn quantize(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    // How precisely x / scale is computed on a machine with less than single precision.
    node.attributes.ignore(&["precision"]);
    let wanted = output_type(node)?;
    let integer = match wanted {
        Some(DataType::Int8) => DType::I8,
        _ => DType::U8,
    };
    let Parameters { axis, scale, zero } = parameters(node, x, integer)?;
    disagrees(wanted, node.dtype(zero)?)?;
    node.finish_with(Op::Quantize(Quantize { axis }), &[x, scale, zero])
}

pub(super) fn dequantize(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let wanted = output_type(node)?;
    let integer = node.dtype(x)?;
    let Parameters { axis, scale, zero } = parameters(node, x, integer)?;
    disagrees(wanted, node.dtype(scale)?)?;
    node.finish_with(Op::Dequantize(Dequantize { axis }), &[x, scale, zero])
}
