//! Kernels that only move elements.

use bunjae_kernels::Planar;
use bunjae_tensor::Element;

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Number, by_number};
use crate::runtime::step::{StepError, clear_halo};
use crate::runtime::view::{View, coalesce, offset};

use super::operands;
use super::walk::rows;

/// `y = x`, whatever the strides: transpositions, slices, the parts of a concatenation.
#[derive(Debug)]
pub(crate) struct Copy {
    x: View,
    y: View,
}

operands!(Copy: x -> y);

impl Copy {
    /// For views of the same dims and type.
    pub(crate) fn new(x: &View, y: &View) -> Copy {
        let [x, y] = coalesce([x, y]);
        Copy { x, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Element>(own: &Copy, memory: &StepMemory<'_>) -> Result<(), StepError> {
            copy_between(&own.x, memory.read::<T>(&own.x)?, &own.y, memory.write::<T>(&own.y)?);
            Ok(())
        }
        by_number!(self.y.dtype, run(self, memory))
    }
}

/// Copies the elements of one view to another of the same dims.
fn copy_between<T: Element>(x: &View, from: &[T], y: &View, to: &mut [T]) {
    let done: Result<(), std::convert::Infallible> = rows([x, y], |row| {
        let [source, target] = row.at(0);
        if row.is_packed() {
            to[target..][..row.len].copy_from_slice(&from[source..][..row.len]);
        } else {
            for index in 0..row.len {
                let [source, target] = row.at(index);
                to[target] = from[source];
            }
        }
        Ok(())
    });
    match done {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// Copies row-major elements, given as bytes, to a view.
pub(crate) fn copy_from(
    bytes: &[u8],
    dense: &View,
    y: &View,
    memory: &StepMemory<'_>,
) -> Result<(), StepError> {
    fn run<T: Element>(
        bytes: &[u8],
        dense: &View,
        y: &View,
        memory: &StepMemory<'_>,
    ) -> Result<(), StepError> {
        let from = bytemuck::try_cast_slice::<u8, T>(bytes).map_err(|_| StepError::Operand)?;
        copy_between(dense, from, y, memory.write::<T>(y)?);
        Ok(())
    }
    by_number!(y.dtype, run(bytes, dense, y, memory))
}

/// Copies a view to row-major elements, given as bytes.
pub(crate) fn copy_to(
    x: &View,
    memory: &StepMemory<'_>,
    dense: &View,
    bytes: &mut [u8],
) -> Result<(), StepError> {
    fn run<T: Element>(
        x: &View,
        memory: &StepMemory<'_>,
        dense: &View,
        bytes: &mut [u8],
    ) -> Result<(), StepError> {
        let to = bytemuck::try_cast_slice_mut::<u8, T>(bytes).map_err(|_| StepError::Operand)?;
        copy_between(x, memory.read::<T>(x)?, dense, to);
        Ok(())
    }
    by_number!(x.dtype, run(x, memory, dense, bytes))
}

/// Sets all elements to one number.
#[derive(Debug)]
pub(crate) struct Fill {
    value: f64,
    y: View,
}

operands!(Fill: -> y);

impl Fill {
    pub(crate) fn new(value: f64, y: &View) -> Fill {
        let [y] = coalesce([y]);
        Fill { value, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Number>(own: &Fill, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let y = memory.write::<T>(&own.y)?;
            let value = T::from_f64(own.value);
            rows([&own.y], |row| {
                for index in 0..row.len {
                    let [to] = row.at(index);
                    y[to] = value;
                }
                Ok(())
            })
        }
        by_number!(self.y.dtype, run(self, memory))
    }
}

/// Clears what lies around and between the rows of a picture.
#[derive(Debug)]
pub(crate) struct Clear {
    planar: Planar,
    y: View,
}

operands!(Clear: -> y);

impl Clear {
    /// For a picture at the start of a region.
    pub(crate) fn new(region: usize, planar: Planar) -> Clear {
        Clear { planar, y: View::planar(region, &planar) }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        clear_halo(&self.planar, memory.write::<f32>(&self.y)?)
    }
}

/// Reads along each axis at indices from a table: padding by repeated elements, resizing to the
/// nearest.
#[derive(Debug)]
pub(crate) struct Gather {
    x: View,
    y: View,
    /// For each axis of the result and each index along it, the offset in `x`.
    offsets: Vec<Vec<isize>>,
}

operands!(Gather: x -> y);

impl Gather {
    /// `sources` holds for each axis the operand's index for each index of the result.
    pub(crate) fn new(x: &View, y: &View, sources: &[Vec<usize>]) -> Gather {
        let axes = sources.iter().zip(&x.strides);
        let offsets = axes
            .map(|(axis, stride)| axis.iter().map(|at| *at as isize * stride).collect())
            .collect();
        Gather { x: x.clone(), y: y.clone(), offsets }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Element>(own: &Gather, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, y) = (memory.read::<T>(&own.x)?, memory.write::<T>(&own.y)?);
            let Some((last, outer)) = own.offsets.split_last() else {
                y[own.y.first as usize] = x[own.x.first as usize];
                return Ok(());
            };
            let step = own.y.last().1;
            for row in 0..own.y.rows() {
                let mut from = own.x.first;
                let mut rest = row;
                for axis in outer.iter().rev() {
                    from += axis[rest % axis.len()];
                    rest /= axis.len();
                }
                let to = own.y.row_start(row);
                for (index, source) in last.iter().enumerate() {
                    y[(to + index as isize * step) as usize] = x[(from + source) as usize];
                }
            }
            Ok(())
        }
        by_number!(self.y.dtype, run(self, memory))
    }
}

/// The offset of an element within some axes of a view, for kernels with loops of their own.
#[inline]
pub(super) fn offset_of(view: &View, axes: std::ops::Range<usize>, index: usize) -> isize {
    offset(&view.dims[axes.clone()], &view.strides[axes], index)
}
