//! What the generic kernels ask of an element type.

pub(crate) use bunjae_tensor::{Number, Real, Wide, by_number};

/// Calls a function generic over [`Real`]; of a type that is none it is the error of a step that
/// does not suit its operands.
macro_rules! by_real {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            bunjae_tensor::DType::F32 => $function::<f32>($($argument),*),
            bunjae_tensor::DType::F64 => $function::<f64>($($argument),*),
            found => Err(crate::runtime::step::StepError::DType(found)),
        }
    };
}
pub(crate) use by_real;
