//! Tensors of random numbers for a given type.

use bunjae_ir::{Bindings, GraphError, TensorType};
use bunjae_tensor::{DType, Element, Random, Tensor, TensorError};

/// A tensor of the given type with elements uniform in `low..high`: any numbers for floats, whole ones
/// (rounded towards 0) for integers.
///
/// # Errors
/// [`GraphError::Dim`] where the type depends on a symbol; bind it first.
pub fn uniform(
    ty: &TensorType,
    low: f64,
    high: f64,
    random: &mut Random,
) -> Result<Tensor, GraphError> {
    filled(ty, || random.uniform(low, high))
}

/// A tensor of the given type with whole elements, uniform over `low..=high`.
///
/// Sums of products of small whole numbers are exact in f32, in whatever order they are added.
///
/// # Errors
/// [`GraphError::Dim`] where the type depends on a symbol; bind it first.
pub fn whole(
    ty: &TensorType,
    low: i32,
    high: i32,
    random: &mut Random,
) -> Result<Tensor, GraphError> {
    filled(ty, || random.integer(low.into(), high.into()) as f64)
}

fn filled(ty: &TensorType, mut draw: impl FnMut() -> f64) -> Result<Tensor, GraphError> {
    let mut tensor = Tensor::zeros(ty.dtype, &ty.shape(&Bindings::new())?)?;
    match ty.dtype {
        DType::F32 => fill(&mut tensor, || draw() as f32),
        DType::F64 => fill(&mut tensor, draw),
        DType::I8 => fill(&mut tensor, || draw() as i8),
        DType::U8 => fill(&mut tensor, || draw() as u8),
        DType::I32 => fill(&mut tensor, || draw() as i32),
        DType::I64 => fill(&mut tensor, || draw() as i64),
    }?;
    Ok(tensor)
}

fn fill<T: Element>(tensor: &mut Tensor, draw: impl FnMut() -> T) -> Result<(), TensorError> {
    tensor.elements_mut::<T>()?.fill_with(draw);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_filled_from_its_range() {
        for dtype in DType::ALL {
            let ty = TensorType::new(dtype, [10usize, 50]);
            let random = || Random::new(3);
            let tensor = whole(&ty, 0, 3, &mut random()).unwrap();
            let values = tensor.to_f64_vec();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[10, 50][..]));
            for value in 0..4 {
                assert!(values.contains(&f64::from(value)), "{dtype}: no {value}");
            }
            assert!(values.iter().all(|v| (0.0..=3.0).contains(v) && v.fract() == 0.0));
            let values = uniform(&ty, 0.0, 9.0, &mut random()).unwrap().to_f64_vec();
            assert!(values.iter().all(|v| (0.0..=9.0).contains(v)));
            assert_eq!(values.iter().all(|v| v.fract() == 0.0), !dtype.is_float());
            assert_eq!(tensor, whole(&ty, 0, 3, &mut random()).unwrap());
        }
    }

    #[test]
    fn a_symbol_has_to_be_bound_first() {
        let error = uniform(&TensorType::image(3, 2, 2), 0.0, 1.0, &mut Random::new(1));
        assert!(matches!(error, Err(GraphError::Dim(_))), "{error:?}");
    }
}
