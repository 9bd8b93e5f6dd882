//! Do two graphs compute the same?

use bunjae_interp::{RunError, run};
use bunjae_ir::{Bindings, DimError, Graph};
use bunjae_tensor::{DType, Difference, Random, Tensor, TensorError, Tolerance, compare};
use thiserror::Error;

/// Why two graphs could not be compared.
#[derive(Debug, Error)]
pub enum EquivalenceError {
    /// One of them does not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// An input has a size that is not known.
    #[error(transparent)]
    Dim(#[from] DimError),
    /// An input cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// They have outputs of other names, numbers or shapes.
    #[error("the outputs differ: {0}")]
    Outputs(String),
}

/// Seeded inputs for a graph under the given sizes: floats uniform in [-1, 1), integers over a
/// small range that every integer type holds.
///
/// # Errors
/// A symbol without a size, or an input too large to make.
pub fn sample_inputs(
    graph: &Graph,
    bindings: &Bindings,
    seed: u64,
) -> Result<Vec<Tensor>, EquivalenceError> {
    let mut random = Random::new(seed);
    let mut inputs = Vec::new();
    for &id in graph.inputs() {
        let ty = graph.ty(id);
        let mut tensor = Tensor::zeros(ty.dtype, &ty.shape(bindings)?)?;
        match ty.dtype {
            DType::F32 => {
                let fill = |x: &mut f32| *x = random.uniform(-1.0, 1.0) as f32;
                tensor.elements_mut::<f32>()?.iter_mut().for_each(fill);
            }
            DType::F64 => {
                let fill = |x: &mut f64| *x = random.uniform(-1.0, 1.0);
                tensor.elements_mut::<f64>()?.iter_mut().for_each(fill);
            }
            DType::I8 => {
                let fill = |x: &mut i8| *x = random.integer(-100, 100) as i8;
                tensor.elements_mut::<i8>()?.iter_mut().for_each(fill);
            }
            DType::U8 => {
                let fill = |x: &mut u8| *x = random.integer(0, 200) as u8;
                tensor.elements_mut::<u8>()?.iter_mut().for_each(fill);
            }
            DType::I32 => {
                let fill = |x: &mut i32| *x = random.integer(-100, 100) as i32;
                tensor.elements_mut::<i32>()?.iter_mut().for_each(fill);
            }
            DType::I64 => {
                let fill = |x: &mut i64| *x = random.integer(-100, 100);
                tensor.elements_mut::<i64>()?.iter_mut().for_each(fill);
            }
        }
        inputs.push(tensor);
    }
    Ok(inputs)
}

/// The difference of each output of `graph` from that of `reference` on the same inputs, with the
/// output's name.
///
/// # Errors
/// [`EquivalenceError`] where one does not run or their outputs do not match up.
pub fn output_difference(
    graph: &Graph,
    reference: &Graph,
    inputs: &[Tensor],
    tolerance: Tolerance,
) -> Result<Vec<(String, Difference)>, EquivalenceError> {
    let names = |graph: &Graph| -> Vec<String> {
        graph.outputs().iter().map(|output| output.name.clone()).collect()
    };
    let (own, expected) = (names(graph), names(reference));
    if own != expected {
        let what = format!("[{}] against [{}]", own.join(", "), expected.join(", "));
        return Err(EquivalenceError::Outputs(what));
    }
    let (found, wanted) = (run(graph, inputs)?, run(reference, inputs)?);
    let mut differences = Vec::new();
    for ((name, value), reference) in own.into_iter().zip(&found).zip(&wanted) {
        let difference = compare(value, reference, tolerance)
            .map_err(|what| EquivalenceError::Outputs(format!("{name}: {what}")))?;
        differences.push((name, difference));
    }
    Ok(differences)
}
