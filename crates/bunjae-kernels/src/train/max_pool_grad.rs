//! The gradient of a maximum over windows: each element goes to the first of the largest elements
//! of its window.
//!
//! For a row of windows the position of the maximum is found for vectors of windows at once, as the
//! number of its tap; the gradients are then added one by one, as windows may overlap.

use std::ops::Range;

use crate::elementwise::same_shape;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::pool::{Pool, PoolKind, PoolSpec, strided};
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

const NAME: &str = "max pool gradient";

/// Most taps of a window: numbers up to this are exact in f32.
const MAX_TAPS: usize = 1 << 20;

/// A prepared gradient of a maximum over windows.
pub struct MaxPoolGrad {
    spec: PoolSpec,
    output: Planar,
    entry: Entry<MaxPoolGradArgs>,
    /// Elements of a row with its padding, and whole vectors past the last window.
    row_len: usize,
    tasks: usize,
}

struct MaxPoolGradArgs {
    spec: PoolSpec,
    input: *const f32,
    gradient: *const f32,
    out: *mut f32,
    out_row: usize,
    /// A padded row per row of the kernel, then one number per window.
    scratch: *mut f32,
    row_len: usize,
}

/// One plane.
struct MaxPoolGradPlane;

impl Body<MaxPoolGradArgs> for MaxPoolGradPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &MaxPoolGradArgs) {
        let s = &a.spec;
        let (h, w) = (s.input.height, s.input.width);
        let (kh, kw) = (s.kernel[0], s.kernel[1]);
        let [top, left] = s.padding_begin;
        // SAFETY: rows of input and output below `h` have `w` elements; scratch holds `kh` padded
        // rows, which the windows and whole vectors past them do not leave, and a row of numbers.
        // A number is that of a tap of its window inside the picture, where there is one.
        unsafe {
            let numbers = a.scratch.add(kh * a.row_len);
            for y in 0..h {
                std::ptr::write_bytes(a.out.add(y * a.out_row), 0, w);
            }
            for i in 0..kh * a.row_len {
                *a.scratch.add(i) = f32::NEG_INFINITY;
            }
            for y in 0..s.output.height {
                let source = |ky: usize| (y * s.stride[0] + ky * s.dilation[0]).wrapping_sub(top);
                for ky in 0..kh {
                    if source(ky) < h {
                        let from = a.input.add(source(ky) * s.input.row_stride);
                        let to = a.scratch.add(ky * a.row_len + left);
                        std::ptr::copy_nonoverlapping(from, to, w);
                    }
                }
                for x in (0..s.output.width).step_by(S::LANES) {
                    let n = (s.output.width - x).min(S::LANES);
                    let mut largest = S::splat(f32::NEG_INFINITY);
                    let mut number = S::splat(-1.0);
                    for ky in 0..kh {
                        if source(ky) >= h {
                            continue;
                        }
                        for kx in 0..kw {
                            let from = a
                                .scratch
                                .add(ky * a.row_len + x * s.stride[1] + kx * s.dilation[1]);
                            let v = strided::<S>(from, s.stride[1], n);
                            let larger = S::lt(largest, v);
                            largest = S::select(larger, v, largest);
                            let own = S::splat((ky * kw + kx) as f32);
                            number = S::select(larger, own, number);
                        }
                    }
                    S::store_n(numbers.add(x), number, n);
                }
                let gradient = a.gradient.add(y * s.output.row_stride);
                for x in 0..s.output.width {
                    let number = *numbers.add(x);
                    if number < 0.0 {
                        continue;
                    }
                    let (ky, kx) = (number as usize / kw, number as usize % kw);
                    let column = x * s.stride[1] + kx * s.dilation[1] - left;
                    *a.out.add(source(ky) * a.out_row + column) += *gradient.add(x);
                }
            }
        }
    }
}

impl MaxPoolGrad {
    /// Prepares the gradient of the pooling `spec`, which takes maxima: `spec.output` is the layout
    /// of the gradient of its result, `output` that of the gradient to be computed.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts
    /// itself.
    pub fn new(spec: PoolSpec, output: Planar, isa: Isa) -> Result<MaxPoolGrad, KernelError> {
        // What a pooling refuses, its gradient does.
        Pool::new(spec, isa)?;
        output.check(NAME, "the output")?;
        same_shape(NAME, &spec.input, &output)?;
        let taps = spec.kernel[0].saturating_mul(spec.kernel[1]);
        require(NAME, spec.kind == PoolKind::Max && taps < MAX_TAPS, || format!("{spec:?}"))?;
        let reach = (spec.output.width + MAX_LANES) * spec.stride[1]
            + spec.kernel[1] * spec.dilation[1]
            + 2 * MAX_LANES;
        let planes = spec.input.images * spec.input.channels;
        Ok(MaxPoolGrad {
            entry: entry::<MaxPoolGradPlane, MaxPoolGradArgs>(isa),
            row_len: reach.max(spec.padding_begin[1] + spec.input.width),
            tasks: (spec.input.elements() >> 13).clamp(1, 16).min(planes),
            spec,
            output,
        })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        (self.spec.kernel[0] + 1) * self.row_len
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        input: &[f32],
        gradient: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, input, gradient, Output::new(output), scratch) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` name disjoint tasks and different
    /// `scratch`; `output` overlaps no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        input: &[f32],
        gradient: &[f32],
        output: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let s = &self.spec;
        require_len(NAME, "the input", s.input.end(), input.len())?;
        require_len(NAME, "the gradient", s.output.end(), gradient.len())?;
        require_len(NAME, "the output", self.output.end(), output.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        for task in tasks {
            for plane in part(s.input.images * s.input.channels, self.tasks, task) {
                let (image, channel) = (plane / s.input.channels, plane % s.input.channels);
                let args = MaxPoolGradArgs {
                    spec: *s,
                    input: input[s.input.index(image, channel, 0, 0)..].as_ptr(),
                    gradient: gradient[s.output.index(image, channel, 0, 0)..].as_ptr(),
                    out: output.ptr().wrapping_add(self.output.index(image, channel, 0, 0)),
                    out_row: self.output.row_stride,
                    scratch: scratch.as_mut_ptr(),
                    row_len: self.row_len,
                };
                // SAFETY: lengths are checked; this task alone writes its planes.
                unsafe { (self.entry)(&args) };
            }
        }
        Ok(())
    }
}
