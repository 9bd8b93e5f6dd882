//! Maxima and means over windows.

use std::ops::Range;

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Number, Real, by_number, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::operands;

/// A window along one axis: at position `p`, tap `t` lies on the element
/// `p * stride + t * dilation - before`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The number of elements of the picture.
    pub size: usize,
    /// The number of taps.
    pub taps: usize,
    pub stride: usize,
    pub dilation: usize,
    /// The padding before the picture.
    pub before: usize,
    /// The padding after it.
    pub after: usize,
}

impl Window {
    /// The taps that lie inside the picture.
    pub(super) fn inside(&self, position: usize) -> Range<usize> {
        let from = |limit| self.first_from(position, limit);
        from(self.before)..from(self.before + self.size)
    }

    /// The number of taps inside the picture or its padding.
    fn padded(&self, position: usize) -> usize {
        self.first_from(position, self.before + self.size + self.after)
    }

    /// The number of taps that a mean counts. A float, because the padding of an absurd window can be
    /// beyond counting.
    pub(super) fn counted(&self, position: usize, pad: bool) -> f64 {
        (if pad { self.padded(position) } else { self.inside(position).len() }) as f64
    }

    fn first_from(&self, position: usize, limit: usize) -> usize {
        limit.saturating_sub(position * self.stride).div_ceil(self.dilation).min(self.taps)
    }

    /// The element that a tap inside the picture lies on.
    pub(super) fn index(&self, position: usize, tap: usize) -> usize {
        position * self.stride + tap * self.dilation - self.before
    }
}

/// What a pool computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolKind {
    /// The largest; under a window that misses the picture the lowest value of the type.
    Max,
    /// The mean of the taps inside the picture or, with `count_pad`, the padded picture; over
    /// nothing 0.
    Mean {
        /// Whether padding counts.
        count_pad: bool,
    },
}

/// A pool over pictures.
#[derive(Debug)]
pub(crate) struct Pool {
    kind: PoolKind,
    windows: [Window; 2],
    x: View,
    y: View,
}

operands!(Pool: x -> y);

impl Pool {
    /// For pictures of the same images, channels and type; `windows` are vertical and horizontal.
    pub(crate) fn new(kind: PoolKind, windows: [Window; 2], x: &View, y: &View) -> Pool {
        Pool { kind, windows, x: x.clone(), y: y.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn max<T: Number>(own: &Pool, memory: &StepMemory<'_>) -> Result<(), StepError> {
            own.slide::<T>(memory, |values, _, _| values.fold(T::LOWEST, T::larger))
        }
        fn mean<T: Real>(own: &Pool, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let [vertical, horizontal] = own.windows;
            let count_pad = own.kind == PoolKind::Mean { count_pad: true };
            own.slide::<T>(memory, |values, y, x| {
                let sum: f64 = values.map(|value| value.to_f64()).sum();
                let taps = vertical.counted(y, count_pad) * horizontal.counted(x, count_pad);
                T::from_f64(sum / taps.max(1.0))
            })
        }
        match self.kind {
            PoolKind::Max => by_number!(self.y.dtype, max(self, memory)),
            PoolKind::Mean { .. } => by_real!(self.y.dtype, mean(self, memory)),
        }
    }

    #[inline]
    fn slide<T: Number>(
        &self,
        memory: &StepMemory<'_>,
        summary: impl Fn(&mut dyn Iterator<Item = T>, usize, usize) -> T,
    ) -> Result<(), StepError> {
        let (from, to) = (memory.read::<T>(&self.x)?, memory.write::<T>(&self.y)?);
        let [vertical, horizontal] = self.windows;
        let (len, step) = self.y.last();
        let height = self.y.dims[2];
        let (row_stride, stride) = (self.x.strides[2], self.x.strides[3]);
        for row in 0..self.y.rows() {
            let (plane, y) = (row / height, row % height);
            let start = self.x.first + super::movement::offset_of(&self.x, 0..2, plane);
            let target = self.y.row_start(row);
            for x in 0..len {
                let rows = vertical.inside(y).map(|tap| vertical.index(y, tap) as isize);
                let mut values = rows.flat_map(|row| {
                    let columns = horizontal.inside(x).map(|tap| horizontal.index(x, tap));
                    columns.map(move |column| {
                        from[(start + row * row_stride + column as isize * stride) as usize]
                    })
                });
                to[(target + x as isize * step) as usize] = summary(&mut values, y, x);
            }
        }
        Ok(())
    }
}
