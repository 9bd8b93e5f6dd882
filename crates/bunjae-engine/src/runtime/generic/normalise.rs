//! Normalisations and softmax. All intermediate values are f64; each element is rounded once.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Number, Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::movement::offset_of;
use super::operands;
use super::walk::rows;

/// `(x - mean) / sqrt(variance + eps) * gamma + beta`.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    eps: f64,
    /// x, gamma, beta, mean, variance, all with the dims of the result.
    operands: [View; 5],
    y: View,
}

operands!(BatchNorm: operands -> y);

impl BatchNorm {
    /// The last four operands have the length of axis 1.
    pub(crate) fn new(eps: f32, operands: [&View; 5], y: &View) -> BatchNorm {
        let mut at = 0;
        let operands = operands.map(|view| {
            at += 1;
            if at == 1 {
                return view.clone();
            }
            let mut strides = vec![0; y.dims.len()];
            strides[1] = view.strides[0];
            View { dims: y.dims.clone(), strides, ..*view }
        });
        BatchNorm { eps: f64::from(eps), operands, y: y.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &BatchNorm, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let [x, gamma, beta, mean, variance] = &own.operands;
            let values = [x, gamma, beta, mean, variance].map(|view| memory.read::<T>(view));
            let [vx, vgamma, vbeta, vmean, vvariance] = values;
            let (vx, vgamma, vbeta) = (vx?, vgamma?, vbeta?);
            let (vmean, vvariance) = (vmean?, vvariance?);
            let vy = memory.write::<T>(&own.y)?;
            rows([x, gamma, beta, mean, variance, &own.y], |row| {
                for index in 0..row.len {
                    let [x, gamma, beta, mean, variance, y] = row.at(index);
                    let deviation = (vvariance[variance].to_f64() + own.eps).sqrt();
                    let normal = (vx[x].to_f64() - vmean[mean].to_f64()) / deviation;
                    vy[y] = T::from_f64(normal * vgamma[gamma].to_f64() + vbeta[beta].to_f64());
                }
                Ok(())
            })
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

/// Normalisation over all axes from one on, by the biased variance.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    axis: usize,
    eps: f64,
    x: View,
    gamma: View,
    beta: Option<View>,
    y: View,
}

operands!(LayerNorm: x, gamma, beta -> y);

impl LayerNorm {
    /// Scale and shift have the dims from `axis` on.
    pub(crate) fn new(
        axis: usize,
        eps: f32,
        [x, gamma]: [&View; 2],
        beta: Option<&View>,
        y: &View,
    ) -> LayerNorm {
        LayerNorm {
            axis,
            eps: f64::from(eps),
            x: x.clone(),
            gamma: gamma.clone(),
            beta: beta.cloned(),
            y: y.clone(),
        }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &LayerNorm, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, gamma) = (memory.read::<T>(&own.x)?, memory.read::<T>(&own.gamma)?);
            let beta = own.beta.as_ref().map(|beta| memory.read::<T>(beta)).transpose()?;
            let y = memory.write::<T>(&own.y)?;
            let axes = own.x.dims.len();
            let len: usize = own.x.dims[own.axis..].iter().product();
            let outer: usize = own.x.dims[..own.axis].iter().product();
            for group in 0..outer {
                let start = own.x.first + offset_of(&own.x, 0..own.axis, group);
                let at = |i: usize| x[(start + offset_of(&own.x, own.axis..axes, i)) as usize];
                let mean = (0..len).map(|i| at(i).to_f64()).sum::<f64>() / len as f64;
                let squares = (0..len).map(|i| (at(i).to_f64() - mean) * (at(i).to_f64() - mean));
                let deviation = (squares.sum::<f64>() / len as f64 + own.eps).sqrt();
                let target = own.y.first + offset_of(&own.y, 0..own.axis, group);
                for i in 0..len {
                    let parameter = |view: &View, values: &[T]| {
                        let place = view.first + offset_of(view, 0..view.dims.len(), i);
                        values[place as usize].to_f64()
                    };
                    let beta = match (&own.beta, beta) {
                        (Some(view), Some(values)) => parameter(view, values),
                        _ => 0.0,
                    };
                    let normal = (at(i).to_f64() - mean) / deviation;
                    let place = target + offset_of(&own.y, own.axis..axes, i);
                    y[place as usize] = T::from_f64(normal * parameter(&own.gamma, gamma) + beta);
                }
            }
            Ok(())
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

/// What is done to each run along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RunFunction {
    /// `exp(x - max) / sum(exp(x - max))`.
    Softmax,
    /// `x - max - ln(sum(exp(x - max)))`.
    LogSoftmax,
    /// `x / max(|x|, eps)`.
    L2Norm {
        /// The smallest norm divided by.
        eps: f32,
    },
}

/// A function of the runs along one axis.
#[derive(Debug)]
pub(crate) struct Runs {
    function: RunFunction,
    /// Operand and result with the axis moved to the end.
    x: View,
    y: View,
}

operands!(Runs: x -> y);

impl Runs {
    /// For views of the same dims and type.
    pub(crate) fn new(function: RunFunction, axis: usize, x: &View, y: &View) -> Runs {
        let order: Vec<usize> = (0..x.dims.len()).filter(|at| *at != axis).chain([axis]).collect();
        Runs { function, x: x.permuted(&order), y: y.permuted(&order) }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Runs, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, y) = (memory.read::<T>(&own.x)?, memory.write::<T>(&own.y)?);
            rows([&own.x, &own.y], |row| {
                let run = || (0..row.len).map(|index| x[row.at(index)[0]].to_f64());
                match own.function {
                    RunFunction::Softmax => {
                        let largest = run().fold(f64::NEG_INFINITY, f64::larger);
                        let sum: f64 = run().map(|x| libm::exp(x - largest)).sum();
                        for (index, x) in run().enumerate() {
                            y[row.at(index)[1]] = T::from_f64(libm::exp(x - largest) / sum);
                        }
                    }
                    RunFunction::LogSoftmax => {
                        let largest = run().fold(f64::NEG_INFINITY, f64::larger);
                        let shift = libm::log(run().map(|x| libm::exp(x - largest)).sum());
                        for (index, x) in run().enumerate() {
                            y[row.at(index)[1]] = T::from_f64(x - largest - shift);
                        }
                    }
                    RunFunction::L2Norm { eps } => {
                        let norm = run().map(|x| x * x).sum::<f64>().sqrt().larger(f64::from(eps));
                        for (index, x) in run().enumerate() {
                            y[row.at(index)[1]] = T::from_f64(x / norm);
                        }
                    }
                }
                Ok(())
            })
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}
