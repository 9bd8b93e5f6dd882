//! Batch normalisation by the statistics of the batch, and its gradient. All intermediate values are
//! f64; each element is rounded once.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::movement::offset_of;
use super::operands;

/// A view with the channel axis in front.
fn by_channel(view: &View) -> View {
    let order: Vec<usize> = [1, 0].into_iter().chain(2..view.dims.len()).collect();
    view.permuted(&order)
}

/// The index of an element of a channel.
#[inline]
fn place(view: &View, channel: usize, element: usize) -> usize {
    let within = offset_of(view, 1..view.dims.len(), element);
    (view.first + channel as isize * view.strides[0] + within) as usize
}

/// The element of a channel of a vector.
#[inline]
fn of_channel<T: Real>(view: &View, values: &[T], channel: usize) -> f64 {
    values[(view.first + channel as isize * view.strides[0]) as usize].to_f64()
}

/// `(x - mean) / sqrt(variance + eps) * gamma + beta`, with the mean and the biased variance of x.
#[derive(Debug)]
pub(crate) struct BatchNormTrain {
    eps: f64,
    x: View,
    gamma: View,
    beta: View,
    y: View,
    mean: View,
    variance: View,
}

operands!(BatchNormTrain: x, gamma, beta -> y, mean, variance);

impl BatchNormTrain {
    /// x and y have the same dims; the others have the length of their axis 1.
    pub(crate) fn new(
        eps: f32,
        [x, gamma, beta]: [&View; 3],
        [y, mean, variance]: [&View; 3],
    ) -> BatchNormTrain {
        BatchNormTrain {
            eps: f64::from(eps),
            x: by_channel(x),
            gamma: gamma.clone(),
            beta: beta.clone(),
            y: by_channel(y),
            mean: mean.clone(),
            variance: variance.clone(),
        }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &BatchNormTrain, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let x = memory.read::<T>(&own.x)?;
            let (gamma, beta) = (memory.read::<T>(&own.gamma)?, memory.read::<T>(&own.beta)?);
            let (y, means) = (memory.write::<T>(&own.y)?, memory.write::<T>(&own.mean)?);
            let variances = memory.write::<T>(&own.variance)?;
            let count: usize = own.x.dims[1..].iter().product();
            for c in 0..own.x.dims[0] {
                let value = |element: usize| x[place(&own.x, c, element)].to_f64();
                let mean = (0..count).map(value).sum::<f64>() / count as f64;
                let square = |element: usize| (value(element) - mean) * (value(element) - mean);
                let variance = (0..count).map(square).sum::<f64>() / count as f64;
                means[place(&own.mean, c, 0)] = T::from_f64(mean);
                variances[place(&own.variance, c, 0)] = T::from_f64(variance);
                let deviation = (variance + own.eps).sqrt();
                let gamma = of_channel(&own.gamma, gamma, c);
                let beta = of_channel(&own.beta, beta, c);
                for element in 0..count {
                    let normal = (value(element) - mean) / deviation;
                    y[place(&own.y, c, element)] = T::from_f64(normal * gamma + beta);
                }
            }
            Ok(())
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

/// The gradients of x, gamma and beta. With `normal = (x - mean) / deviation` over the n elements of
/// a channel: `dbeta = sum(dy)`, `dgamma = sum(dy normal)`,
/// `dx = gamma / deviation (dy - dbeta / n - normal dgamma / n)`.
#[derive(Debug)]
pub(crate) struct BatchNormGrad {
    eps: f64,
    x: View,
    dy: View,
    gamma: View,
    mean: View,
    variance: View,
    dx: View,
    dgamma: View,
    dbeta: View,
}

operands!(BatchNormGrad: x, dy, gamma, mean, variance -> dx, dgamma, dbeta);

impl BatchNormGrad {
    /// x, dy and dx have the same dims; the others have the length of their axis 1.
    pub(crate) fn new(
        eps: f32,
        [x, dy, gamma, mean, variance]: [&View; 5],
        [dx, dgamma, dbeta]: [&View; 3],
    ) -> BatchNormGrad {
        BatchNormGrad {
            eps: f64::from(eps),
            x: by_channel(x),
            dy: by_channel(dy),
            gamma: gamma.clone(),
            mean: mean.clone(),
            variance: variance.clone(),
            dx: by_channel(dx),
            dgamma: dgamma.clone(),
            dbeta: dbeta.clone(),
        }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &BatchNormGrad, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, dy) = (memory.read::<T>(&own.x)?, memory.read::<T>(&own.dy)?);
            let (gammas, means) = (memory.read::<T>(&own.gamma)?, memory.read::<T>(&own.mean)?);
            let variances = memory.read::<T>(&own.variance)?;
            let (dx, dgammas) = (memory.write::<T>(&own.dx)?, memory.write::<T>(&own.dgamma)?);
            let dbetas = memory.write::<T>(&own.dbeta)?;
            let count: usize = own.x.dims[1..].iter().product();
            for c in 0..own.x.dims[0] {
                let mean = of_channel(&own.mean, means, c);
                let deviation = (of_channel(&own.variance, variances, c) + own.eps).sqrt();
                let gamma = of_channel(&own.gamma, gammas, c);
                let normal =
                    |element: usize| (x[place(&own.x, c, element)].to_f64() - mean) / deviation;
                let gradient = |element: usize| dy[place(&own.dy, c, element)].to_f64();
                let dbeta: f64 = (0..count).map(gradient).sum();
                let dgamma: f64 =
                    (0..count).map(|element| gradient(element) * normal(element)).sum();
                dgammas[place(&own.dgamma, c, 0)] = T::from_f64(dgamma);
                dbetas[place(&own.dbeta, c, 0)] = T::from_f64(dbeta);
                for element in 0..count {
                    let n = count as f64;
                    let shared = dbeta / n + normal(element) * dgamma / n;
                    let value = gamma / deviation * (gradient(element) - shared);
                    dx[place(&own.dx, c, element)] = T::from_f64(value);
                }
            }
            Ok(())
        }
        by_real!(self.dx.dtype, run(self, memory))
    }
}
