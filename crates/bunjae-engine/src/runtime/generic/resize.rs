//! Linear interpolation between rows and columns.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::movement::offset_of;
use super::operands;

/// The one or two elements of an axis that a result is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub low: usize,
    pub high: usize,
    /// The share of `high`.
    pub fraction: f64,
}

impl Sample {
    #[inline]
    fn mix(&self, low: f64, high: f64) -> f64 {
        // An infinite neighbour that has no share must not turn the other into NaN.
        if self.fraction == 0.0 { low } else { low * (1.0 - self.fraction) + high * self.fraction }
    }
}

/// Resizing of pictures by linear interpolation.
#[derive(Debug)]
pub(crate) struct ResizeLinear {
    rows: Vec<Sample>,
    columns: Vec<Sample>,
    x: View,
    y: View,
}

operands!(ResizeLinear: x -> y);

impl ResizeLinear {
    /// For pictures of the same images, channels and type, with a sample per row and column of the
    /// result.
    pub(crate) fn new(rows: Vec<Sample>, columns: Vec<Sample>, x: &View, y: &View) -> ResizeLinear {
        ResizeLinear { rows, columns, x: x.clone(), y: y.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &ResizeLinear, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, y) = (memory.read::<T>(&own.x)?, memory.write::<T>(&own.y)?);
            let (row_stride, stride) = (own.x.strides[2], own.x.strides[3]);
            let step = own.y.last().1;
            for row in 0..own.y.rows() {
                let sample = own.rows[row % own.rows.len()];
                let plane = own.x.first + offset_of(&own.x, 0..2, row / own.rows.len());
                let to = own.y.row_start(row);
                for (index, column) in own.columns.iter().enumerate() {
                    let [upper, lower] = [sample.low, sample.high].map(|y| {
                        let [low, high] = [column.low, column.high].map(|x_at| {
                            let place = y as isize * row_stride + x_at as isize * stride;
                            x[(plane + place) as usize].to_f64()
                        });
                        column.mix(low, high)
                    });
                    y[(to + index as isize * step) as usize] =
                        T::from_f64(sample.mix(upper, lower));
                }
            }
            Ok(())
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}
