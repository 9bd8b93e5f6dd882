//! Reductions over any axes, global pools among them.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Number, Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::operands;

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
    L2,
}

/// A reduction: for each element of `y`, over the elements of `x` that fall on it.
#[derive(Debug)]
pub(crate) struct Reduce {
    kind: Reduction,
    x: View,
    /// The kept axes of the operand.
    kept: View,
    /// The reduced axes, from index 0 on.
    reduced: View,
    /// The result with the kept axes alone.
    y: View,
}

operands!(Reduce: x, kept -> y);

impl Reduce {
    /// `y` has the dims of `x` without `axes`, in order, once its own axes of length 1 that stand
    /// for reduced ones are left out.
    pub(crate) fn new(kind: Reduction, axes: &[usize], x: &View, y: &View) -> Reduce {
        let pick = |keep: bool| {
            let mut part = x.clone();
            part.dims.clear();
            part.strides.clear();
            for axis in (0..x.dims.len()).filter(|axis| axes.contains(axis) != keep) {
                part.dims.push(x.dims[axis]);
                part.strides.push(x.strides[axis]);
            }
            part
        };
        let (kept, mut reduced) = (pick(true), pick(false));
        reduced.first = 0;
        let mut result = y.clone();
        if y.dims.len() == x.dims.len() {
            let keep = |axis: &usize| !axes.contains(axis);
            let all: Vec<usize> = (0..y.dims.len()).filter(keep).collect();
            result.dims = all.iter().map(|&axis| y.dims[axis]).collect();
            result.strides = all.iter().map(|&axis| y.strides[axis]).collect();
        }
        Reduce { kind, x: x.clone(), kept, reduced, y: result }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Reduce, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let count = own.reduced.elements() as f64;
            let zero = 0.0;
            match own.kind {
                Reduction::Sum => own.fold::<T>(memory, zero, |sum, x| sum + x, |sum| sum),
                Reduction::Mean => own.fold::<T>(memory, zero, |sum, x| sum + x, |sum| sum / count),
                Reduction::L2 => own.fold::<T>(memory, zero, |sum, x| sum + x * x, f64::sqrt),
                Reduction::Max => {
                    own.fold::<T>(memory, f64::NEG_INFINITY, f64::larger, |most| most)
                }
                Reduction::Min => own.fold::<T>(memory, f64::INFINITY, f64::smaller, |least| least),
            }
        }
        by_real!(self.y.dtype, run(self, memory))
    }

    #[inline]
    fn fold<T: Real>(
        &self,
        memory: &StepMemory<'_>,
        start: f64,
        step: impl Fn(f64, f64) -> f64,
        finish: impl Fn(f64) -> f64,
    ) -> Result<(), StepError> {
        let (x, y) = (memory.read::<T>(&self.kept)?, memory.write::<T>(&self.y)?);
        let axes = self.kept.dims.len();
        let (len, stride) = self.reduced.last();
        for index in 0..self.kept.elements() {
            let from = self.kept.first + super::movement::offset_of(&self.kept, 0..axes, index);
            let mut value = start;
            for row in 0..self.reduced.rows() {
                let from = from + self.reduced.row_start(row);
                for at in 0..len {
                    value = step(value, x[(from + at as isize * stride) as usize].to_f64());
                }
            }
            let to = self.y.first + super::movement::offset_of(&self.y, 0..axes, index);
            y[to as usize] = T::from_f64(finish(value));
        }
        Ok(())
    }
}
