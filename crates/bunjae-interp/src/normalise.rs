//! Normalisations and softmax. All intermediate values are f64; each element is rounded once.

use bunjae_ir::op::{BatchNorm, L2Norm, LayerNorm, Softmax};
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::{Along, fill};
use crate::number::{Number, Real};

/// `(x - mean) / sqrt(variance + eps) * gamma + beta` with fixed statistics per channel.
pub(crate) fn batch_norm<T: Real>(op: &BatchNorm, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let [x, gamma, beta, mean, variance] =
        [0, 1, 2, 3, 4].map(|operand| inputs[operand].elements::<T>());
    let (x, gamma, beta, mean, variance) = (x?, gamma?, beta?, mean?, variance?);
    let along = Along::new(inputs[0].shape(), 1);
    fill::<T>(inputs[0].shape(), |result| {
        let planes = result.chunks_exact_mut(along.inner).zip(x.chunks_exact(along.inner));
        for (place, (y, x)) in planes.enumerate() {
            let c = place % along.len;
            let [gamma, beta, mean] = [gamma, beta, mean].map(|values| values[c].to_f64());
            let deviation = (variance[c].to_f64() + f64::from(op.eps)).sqrt();
            for (y, x) in y.iter_mut().zip(x) {
                *y = T::from_f64((x.to_f64() - mean) / deviation * gamma + beta);
            }
        }
    })
}

/// Normalisation over all axes from one on, by the biased variance.
pub(crate) fn layer_norm<T: Real>(op: &LayerNorm, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let (x, gamma) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let beta = inputs.get(2).map(|beta| beta.elements::<T>()).transpose()?;
    let shape = inputs[0].shape();
    fill::<T>(shape, |result| {
        let len: usize = shape[op.axis..].iter().product();
        for (y, x) in result.chunks_exact_mut(len).zip(x.chunks_exact(len)) {
            let mean = x.iter().map(|x| x.to_f64()).sum::<f64>() / len as f64;
            let squares = x.iter().map(|x| (x.to_f64() - mean) * (x.to_f64() - mean));
            let variance = squares.sum::<f64>() / len as f64;
            let deviation = (variance + f64::from(op.eps)).sqrt();
            for (at, (y, x)) in y.iter_mut().zip(x).enumerate() {
                let beta = beta.map_or(0.0, |beta| beta[at].to_f64());
                let normal = (x.to_f64() - mean) / deviation;
                *y = T::from_f64(normal * gamma[at].to_f64() + beta);
            }
        }
    })
}

/// `x / max(|x|, eps)`, `|x|` being the Euclidean norm over one axis.
pub(crate) fn l2_norm<T: Real>(op: &L2Norm, x: &Tensor) -> Result<Tensor, EvalError> {
    runs::<T>(x, op.axis, |run| {
        let norm = run.iter().map(|x| x * x).sum::<f64>().sqrt().larger(f64::from(op.eps));
        run.iter_mut().for_each(|x| *x /= norm);
    })
}

/// `exp(x) / sum(exp(x))` over one axis, in the form `exp(x - max) / sum(exp(x - max))`, in which
/// nothing overflows.
pub(crate) fn softmax<T: Real>(op: &Softmax, x: &Tensor) -> Result<Tensor, EvalError> {
    runs::<T>(x, op.axis, |run| {
        let largest = run.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.larger(x));
        run.iter_mut().for_each(|x| *x = libm::exp(*x - largest));
        let sum = run.iter().sum::<f64>();
        run.iter_mut().for_each(|x| *x /= sum);
    })
}

/// Applies a function to each run along an axis.
fn runs<T: Real>(
    x: &Tensor,
    axis: usize,
    function: impl Fn(&mut [f64]),
) -> Result<Tensor, EvalError> {
    let elements = x.elements::<T>()?;
    let along = Along::new(x.shape(), axis);
    fill::<T>(x.shape(), |result| {
        let mut run = vec![0.0; along.len];
        for start in along.starts() {
            let elements = elements[start..].iter().step_by(along.inner);
            run.iter_mut().zip(elements).for_each(|(value, x)| *value = x.to_f64());
            function(&mut run);
            let result = result[start..].iter_mut().step_by(along.inner);
            result.zip(&run).for_each(|(y, &value)| *y = T::from_f64(value));
        }
    })
}
