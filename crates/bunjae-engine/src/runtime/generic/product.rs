//! Products of matrices.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::movement::offset_of;
use super::operands;

/// `y[.., m, n] = sum over k of a[.., m, k] b[.., k, n], + bias[.., m, n]`.
#[derive(Debug)]
pub(crate) struct Product {
    a: View,
    b: View,
    bias: Option<View>,
    y: View,
}

operands!(Product: a, b, bias -> y);

impl Product {
    /// The axes before the last two, and all of the bias, are broadcast to those of `y`.
    pub(crate) fn new(a: &View, b: &View, bias: Option<&View>, y: &View) -> Product {
        let lead = &y.dims[..y.dims.len() - 2];
        let spread = |view: &View| {
            let own = &view.dims[view.dims.len() - 2..];
            view.broadcast_lead(lead, own)
        };
        let bias = bias.map(|bias| bias.broadcast(&y.dims));
        Product { a: spread(a), b: spread(b), bias, y: y.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Product, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (a, b) = (memory.read::<T>(&own.a)?, memory.read::<T>(&own.b)?);
            let bias = own.bias.as_ref().map(|bias| memory.read::<T>(bias)).transpose()?;
            let y = memory.write::<T>(&own.y)?;
            let lead = own.y.dims.len() - 2;
            let (rows, columns) = (own.y.dims[lead], own.y.dims[lead + 1]);
            let depth = own.a.dims[lead + 1];
            let matrices: usize = own.y.dims[..lead].iter().product();
            let start = |view: &View, matrix| view.first + offset_of(view, 0..lead, matrix);
            for matrix in 0..matrices {
                let (from_a, from_b) = (start(&own.a, matrix), start(&own.b, matrix));
                let to = start(&own.y, matrix);
                for m in 0..rows {
                    for n in 0..columns {
                        let row = from_a + m as isize * own.a.strides[lead];
                        let column = from_b + n as isize * own.b.strides[lead + 1];
                        let mut sum = 0.0;
                        for k in 0..depth as isize {
                            let a = a[(row + k * own.a.strides[lead + 1]) as usize].to_f64();
                            let b = b[(column + k * own.b.strides[lead]) as usize].to_f64();
                            sum += a * b;
                        }
                        let place = |view: &View, start: isize| {
                            let row = start + m as isize * view.strides[lead];
                            (row + n as isize * view.strides[lead + 1]) as usize
                        };
                        if let (Some(view), Some(bias)) = (&own.bias, bias) {
                            sum += bias[place(view, start(view, matrix))].to_f64();
                        }
                        y[place(&own.y, to)] = T::from_f64(sum);
                    }
                }
            }
            Ok(())
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

impl View {
    /// The last two axes as they are, those before them broadcast to `lead`.
    fn broadcast_lead(&self, lead: &[usize], own: &[usize]) -> View {
        let dims: Vec<usize> = lead.iter().chain(own).copied().collect();
        let mut spread = self.broadcast(&dims);
        let count = dims.len();
        // The matrices themselves are not broadcast, so an axis of length 1 keeps its stride; it
        // does not matter which.
        spread.dims[count - 2..].copy_from_slice(own);
        spread
    }
}
