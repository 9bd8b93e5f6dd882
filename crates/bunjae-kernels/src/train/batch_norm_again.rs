//! Batch normalisation with the statistics that a run over the same batch has found: what a backward
//! pass does to have again what the forward pass did not keep.
//!
//! With nothing to find out about a channel first, planes come in the order of memory. A task is some
//! images.

use std::ops::Range;

use super::batch_norm::{BAND, BatchNormSpec};
use super::planes_again::{BatchNormNumbers, PlaneSet, PlanesAgain};
use crate::conv::Tail;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;

const NAME: &str = "batch norm again";

/// Most tasks: each call for some of them computes what all channels are multiplied by.
const MAX_TASKS: usize = 8;

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormAgainInputs<'a> {
    /// The input tensor.
    pub input: &'a [f32],
    /// Factors, addends and statistics.
    pub numbers: BatchNormNumbers<'a>,
    /// The residual, if the spec has one.
    pub residual: Option<&'a [f32]>,
}

/// A prepared batch normalisation with given statistics, whose result has the bits of the first time.
pub struct BatchNormAgain {
    spec: BatchNormSpec,
    planes: PlanesAgain,
    tasks: usize,
    clears: bool,
}

impl BatchNormAgain {
    /// Prepares a batch normalisation for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts itself,
    /// its activation cannot be fused, or it has a pooling.
    pub fn new(spec: BatchNormSpec, isa: Isa) -> Result<BatchNormAgain, KernelError> {
        isa.require()?;
        spec.check(&spec.input, &spec.output)?;
        let planes = PlanesAgain::new(spec.eps, spec.activation, isa);
        let planes = planes.ok_or_else(|| KernelError::Geometry {
            kernel: NAME,
            reason: format!("{:?} cannot be fused", spec.activation),
        })?;
        require(NAME, spec.tail == Tail::Store, || format!("{:?} is not done again", spec.tail))?;
        Ok(BatchNormAgain { spec, planes, tasks: spec.input.images.min(MAX_TASKS), clears: false })
    }

    /// The same, but the zeros around and between the rows of the output are set as well, while a
    /// plane is in the cache.
    pub fn clearing(self) -> BatchNormAgain {
        BatchNormAgain { clears: true, ..self }
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        2 * self.spec.input.channels
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same output name disjoint tasks, and each has its own
    /// `scratch`; the output overlaps no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        inputs: &BatchNormAgainInputs<'_>,
        out: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let BatchNormSpec { input, output, residual, .. } = &self.spec;
        require_len(NAME, "the input", input.end(), inputs.input.len())?;
        let end = if self.clears { output.end_with_halo() } else { output.end() };
        require_len(NAME, "the output", end, out.len())?;
        if let Some(residual) = residual {
            let found = inputs.residual.map_or(0, <[f32]>::len);
            require_len(NAME, "the residual", residual.end(), found)?;
        }
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        let (affine, _) = scratch.as_chunks_mut::<2>();
        let affine = &mut affine[..input.channels];
        self.planes.affine(NAME, &inputs.numbers, affine)?;
        let together = (BAND / (input.height * input.width).max(1)).clamp(1, input.channels);
        for task in tasks {
            for image in part(input.images, self.tasks, task) {
                for first in (0..input.channels).step_by(together) {
                    let channels = first..input.channels.min(first + together);
                    // SAFETY: lengths are checked; this task alone writes these images.
                    unsafe {
                        self.make(image, channels.clone(), affine, inputs, out);
                        if self.clears {
                            channels.for_each(|c| output.clear_around(out.ptr(), image, c));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// Lengths are checked; no other thread writes these planes.
    unsafe fn make(
        &self,
        image: usize,
        channels: Range<usize>,
        affine: &[[f32; 2]],
        inputs: &BatchNormAgainInputs<'_>,
        out: Output<'_>,
    ) {
        let BatchNormSpec { input, output, residual, .. } = &self.spec;
        let first = |layout: &Planar| layout.index(image, channels.start, 0, 0);
        let read = |layout: &Planar, slice: &[f32]| PlaneSet {
            first: slice.as_ptr().wrapping_add(first(layout)),
            image: layout.image_stride,
            channel: layout.channel_stride,
            row: layout.row_stride,
        };
        let to = PlaneSet {
            first: out.ptr().wrapping_add(first(output)),
            image: output.image_stride,
            channel: output.channel_stride,
            row: output.row_stride,
        };
        let added =
            residual.as_ref().zip(inputs.residual).map(|(layout, added)| read(layout, added));
        let size = [input.height, input.width];
        let affine = &affine[channels.clone()];
        // SAFETY: the planes exist in all tensors.
        unsafe { self.planes.run(affine, 1, size, read(input, inputs.input), added, to) };
    }
}
