//! What the loops ask of an element type, beyond being one.

use bunjae_ir::ShapeError;
use bunjae_tensor::DType;
pub(crate) use bunjae_tensor::{Number, Real, Wide, by_number};

use crate::error::EvalError;

/// Calls a function generic over [`Real`] for an element type; integers, which inference refuses
/// before, are an error: `by_real!(dtype, f(a, b))`.
macro_rules! by_real {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            bunjae_tensor::DType::F32 => $function::<f32>($($argument),*),
            bunjae_tensor::DType::F64 => $function::<f64>($($argument),*),
            found => Err(crate::number::no_float(found)),
        }
    };
}
pub(crate) use by_real;

/// The error of [`by_real`].
pub(crate) fn no_float(found: DType) -> EvalError {
    let expected = "f32 or f64".to_string();
    EvalError::Shape(ShapeError::DType { operand: "input", expected, found })
}
