//! Normalisations and softmax. All intermediate values are f64; each element is rounded once.

use bunjae_ir::op::{BatchNorm, BatchNormTrain, L2Norm, LayerNorm, LogSoftmax, Softmax};
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

/// As [`batch_norm`], with the mean and the biased variance of the batch itself, which it returns
/// as well. An empty batch has the mean and the variance NaN.
pub(crate) fn batch_norm_train<T: Real>(
    op: &BatchNormTrain,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>, EvalError> {
    let x = inputs[0].elements::<T>()?;
    let (gamma, beta) = (inputs[1].elements::<T>()?, inputs[2].elements::<T>()?);
    let along = Along::new(inputs[0].shape(), 1);
    let count = (along.outer * along.inner) as f64;
    let per_channel = |value: &dyn Fn(usize) -> f64| (0..along.len).map(value).collect::<Vec<_>>();
    let channel = |c: usize| channel_of(x, along, c);
    let means = per_channel(&|c| channel(c).sum::<f64>() / count);
    let variances =
        per_channel(&|c| channel(c).map(|x| (x - means[c]) * (x - means[c])).sum::<f64>() / count);
    let y = fill::<T>(inputs[0].shape(), |result| {
        let planes = result.chunks_exact_mut(along.inner).zip(x.chunks_exact(along.inner));
        for (place, (y, x)) in planes.enumerate() {
            let c = place % along.len;
            let deviation = (variances[c] + f64::from(op.eps)).sqrt();
            let [gamma, beta] = [gamma, beta].map(|values| values[c].to_f64());
            for (y, x) in y.iter_mut().zip(x) {
                *y = T::from_f64((x.to_f64() - means[c]) / deviation * gamma + beta);
            }
        }
    })?;
    let rounded = |values: Vec<f64>| {
        fill::<T>(&[along.len], |result| {
            result.iter_mut().zip(&values).for_each(|(y, &value)| *y = T::from_f64(value));
        })
    };
    Ok(vec![y, rounded(means)?, rounded(variances)?])
}

/// The elements of a channel in row-major order.
pub(crate) fn channel_of<T: Real>(
    elements: &[T],
    along: Along,
    channel: usize,
) -> impl Iterator<Item = f64> {
    (0..along.outer).flat_map(move |n| {
        let start = (n * along.len + channel) * along.inner;
        elements[start..start + along.inner].iter().map(|x| x.to_f64())
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

/// `x - ln(sum(exp(x)))` over one axis, in the form `x - max - ln(sum(exp(x - max)))`.
pub(crate) fn log_softmax<T: Real>(op: &LogSoftmax, x: &Tensor) -> Result<Tensor, EvalError> {
    runs::<T>(x, op.axis, |run| {
        let largest = run.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.larger(x));
        let sum = run.iter().map(|x| libm::exp(*x - largest)).sum::<f64>();
        let shift = libm::log(sum);
        run.iter_mut().for_each(|x| *x = *x - largest - shift);
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
