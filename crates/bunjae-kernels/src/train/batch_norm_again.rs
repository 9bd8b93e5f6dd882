//! Batch normalisation with the statistics that a run over the same batch has found: what a backward
//! pass does to have again what the forward pass did not keep.
//!
//! With nothing to find out about a channel first, planes come in the order of memory. A task is some
//! images.

use std::ops::Range;

use super::batch_norm::{BAND, BatchNormSpec, NormaliseArgs, store};
use super::slope::{Clamp, Class, Leaky, Straight, with_slope};
use crate::conv::Tail;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::simd::{Body, Entry, Simd, entry};

const NAME: &str = "batch norm again";

/// Most tasks: each call for some of them computes what all channels are multiplied by.
const MAX_TASKS: usize = 8;

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormAgainInputs<'a> {
    /// The input tensor.
    pub input: &'a [f32],
    /// One factor per channel.
    pub gamma: &'a [f32],
    /// One addend per channel.
    pub beta: &'a [f32],
    /// The mean of each channel, as [`BatchNormTrain`](super::BatchNormTrain) wrote it.
    pub mean: &'a [f32],
    /// The biased variance of each channel.
    pub variance: &'a [f32],
    /// The residual, if the spec has one.
    pub residual: Option<&'a [f32]>,
}

/// A prepared batch normalisation with given statistics, whose result has the bits of the first time.
pub struct BatchNormAgain {
    spec: BatchNormSpec,
    planes: Entry<PlanesArgs>,
    class: Class,
    tasks: usize,
    clears: bool,
}

/// The planes of some channels of an image.
struct PlanesArgs {
    /// Those of the first channel.
    first: NormaliseArgs,
    channels: usize,
    /// Distances between channels in input, residual and output.
    strides: [usize; 3],
    /// Factor and addend of each channel.
    affine: *const [f32; 2],
}

struct Planes;

impl Body<PlanesArgs> for Planes {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PlanesArgs) {
        let [input, residual, output] = a.strides;
        // SAFETY: the planes exist in all tensors, and there is a pair of numbers for each channel.
        unsafe {
            with_slope!(S, a.first.class, slope => for channel in 0..a.channels {
                let [scale, shift] = *a.affine.add(channel);
                let plane = NormaliseArgs {
                    input: a.first.input.wrapping_add(channel * input),
                    residual: a.first.residual.wrapping_add(channel * residual),
                    out: a.first.out.wrapping_add(channel * output),
                    scale,
                    shift,
                    ..a.first
                };
                store::<S, _>(&plane, slope);
            });
        }
    }
}

impl BatchNormAgain {
    /// Prepares a batch normalisation for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts itself,
    /// its activation cannot be fused, or it has a pooling.
    pub fn new(spec: BatchNormSpec, isa: Isa) -> Result<BatchNormAgain, KernelError> {
        isa.require()?;
        let class = spec.check(&spec.input, &spec.output)?;
        require(NAME, spec.tail == Tail::Store, || format!("{:?} is not done again", spec.tail))?;
        Ok(BatchNormAgain {
            spec,
            planes: entry::<Planes, PlanesArgs>(isa),
            class,
            tasks: spec.input.images.min(MAX_TASKS),
            clears: false,
        })
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
        for (name, slice) in [
            ("gamma", inputs.gamma),
            ("beta", inputs.beta),
            ("the mean", inputs.mean),
            ("the variance", inputs.variance),
        ] {
            require_len(NAME, name, input.channels, slice.len())?;
        }
        let end = if self.clears { output.end_with_halo() } else { output.end() };
        require_len(NAME, "the output", end, out.len())?;
        if let Some(residual) = residual {
            let found = inputs.residual.map_or(0, <[f32]>::len);
            require_len(NAME, "the residual", residual.end(), found)?;
        }
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        let (affine, _) = scratch.as_chunks_mut::<2>();
        for (channel, affine) in affine.iter_mut().enumerate().take(input.channels) {
            let of = |slice: &[f32]| slice[channel];
            let [gamma, beta] = [of(inputs.gamma), of(inputs.beta)];
            let own = self.spec.affine(gamma, beta, of(inputs.mean), of(inputs.variance));
            *affine = [own.scale, own.shift];
        }
        let together = (BAND / (input.height * input.width).max(1)).clamp(1, input.channels);
        for task in tasks {
            for image in part(input.images, self.tasks, task) {
                for first in (0..input.channels).step_by(together) {
                    let channels = first..input.channels.min(first + together);
                    // SAFETY: lengths are checked; this task alone writes these images.
                    unsafe {
                        self.planes(image, channels.clone(), &affine[first..], inputs, out);
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
    unsafe fn planes(
        &self,
        image: usize,
        channels: Range<usize>,
        affine: &[[f32; 2]],
        inputs: &BatchNormAgainInputs<'_>,
        out: Output<'_>,
    ) {
        let BatchNormSpec { input, output, residual, .. } = &self.spec;
        let (added, [added_channel, added_row]) = match residual.as_ref().zip(inputs.residual) {
            Some((layout, residual)) => {
                let first = layout.index(image, channels.start, 0, 0);
                let strides = [layout.channel_stride, layout.row_stride];
                (residual.as_ptr().wrapping_add(first), strides)
            }
            None => (std::ptr::null(), [0; 2]),
        };
        let first = NormaliseArgs {
            images: 1,
            strides: [0; 3],
            input: inputs.input.as_ptr().wrapping_add(input.index(image, channels.start, 0, 0)),
            input_row: input.row_stride,
            height: input.height,
            width: input.width,
            scale: 1.0,
            shift: 0.0,
            class: self.class,
            residual: added,
            residual_row: added_row,
            tail: Tail::Store,
            out: out.ptr().wrapping_add(output.index(image, channels.start, 0, 0)),
            out_row: output.row_stride,
        };
        let args = PlanesArgs {
            first,
            channels: channels.len(),
            strides: [input.channel_stride, added_channel, output.channel_stride],
            affine: affine.as_ptr(),
        };
        // SAFETY: the planes exist in all tensors.
        unsafe { (self.planes)(&args) };
    }
}
