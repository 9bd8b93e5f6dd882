//! Between floats and the integers that stand for them.

use bunjae_ir::ShapeError;
use bunjae_ir::op::{Dequantize, Quantize};
use bunjae_tensor::{DType, Tensor};

use crate::error::EvalError;
use crate::eval::{Along, fill};
use crate::number::{Number, Real};

/// `saturate(round_half_even(x / scale) + zero_point)`.
///
/// The quotient is rounded to the type of x before it is rounded to an integer: a runtime that
/// divides in f32 decides by that quotient which way a half goes. NaN becomes the lowest value, as
/// in ONNX Runtime.
pub(crate) fn quantize<T: Real>(op: &Quantize, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    match inputs[2].dtype() {
        DType::I8 => quantize_to::<T, i8>(op, inputs),
        DType::U8 => quantize_to::<T, u8>(op, inputs),
        found => {
            let expected = "i8 or u8".to_string();
            Err(ShapeError::DType { operand: "zero point", expected, found }.into())
        }
    }
}

fn quantize_to<T: Real, Z: Number>(op: &Quantize, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let (x, scale) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let zero = inputs[2].elements::<Z>()?;
    let along = scale_axis(op.axis, inputs);
    fill::<Z>(inputs[0].shape(), |result| {
        for (place, (y, x)) in result.iter_mut().zip(x).enumerate() {
            let c = along.index(place);
            let whole = (*x / scale[c]).to_f64().round_ties_even() + zero[c].to_f64();
            // `max` of NaN and a number is the number.
            *y = Z::from_f64(whole.max(Z::LOWEST.to_f64()));
        }
    })
}

/// `(x - zero_point) * scale`, the difference exact and the product rounded once.
pub(crate) fn dequantize<T: Real>(
    op: &Dequantize,
    inputs: &[&Tensor],
) -> Result<Tensor, EvalError> {
    match inputs[0].dtype() {
        DType::I8 => dequantize_from::<T, i8>(op, inputs),
        DType::U8 => dequantize_from::<T, u8>(op, inputs),
        DType::I32 => dequantize_from::<T, i32>(op, inputs),
        found => {
            let expected = "i8, u8 or i32".to_string();
            Err(ShapeError::DType { operand: "input", expected, found }.into())
        }
    }
}

fn dequantize_from<T: Real, Z: Number>(
    op: &Dequantize,
    inputs: &[&Tensor],
) -> Result<Tensor, EvalError> {
    let (x, zero) = (inputs[0].elements::<Z>()?, inputs[2].elements::<Z>()?);
    let scale = inputs[1].elements::<T>()?;
    let along = scale_axis(op.axis, inputs);
    fill::<T>(inputs[0].shape(), |result| {
        for (place, (y, x)) in result.iter_mut().zip(x).enumerate() {
            let c = along.index(place);
            *y = T::from_f64((x.to_f64() - zero[c].to_f64()) * scale[c].to_f64());
        }
    })
}

/// The operand seen from the axis of the scales; one scale for all is an axis of length 1.
fn scale_axis(axis: usize, inputs: &[&Tensor]) -> Along {
    match inputs[1].shape() {
        [] => Along { outer: 1, len: 1, inner: inputs[0].len() },
        _ => Along::new(inputs[0].shape(), axis),
    }
}
