//! The sum of each channel over images and pixels: the gradient of a convolution's bias.

use std::ops::Range;

use super::batch_norm::MAX_TASKS;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, Simd, entry};

const NAME: &str = "channel sum";

/// A prepared sum per channel.
pub struct ChannelSum {
    input: Planar,
    entry: Entry<SumArgs>,
    tasks: usize,
}

struct SumArgs {
    input: *const f32,
    rows: usize,
    width: usize,
    row_stride: usize,
    out: *mut f32,
}

/// One plane.
struct SumPlane;

impl Body<SumArgs> for SumPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &SumArgs) {
        // SAFETY: each row has `width` elements; the result is writable.
        unsafe { *a.out = sum_rows::<S>(a.input, a.rows, a.width, a.row_stride, 0) }
    }
}

/// The sum of the elements of some rows, in four sums of vectors so that an addition need not wait
/// for the one before. Lines `ahead` of those read are asked for.
///
/// # Safety
/// Each of `rows` rows, `row_stride` apart, has `width` readable elements; the instruction set is
/// present.
#[inline(always)]
pub(super) unsafe fn sum_rows<S: Simd>(
    input: *const f32,
    rows: usize,
    width: usize,
    row_stride: usize,
    ahead: usize,
) -> f32 {
    let l = S::LANES;
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = [S::zero(); 4];
        for y in 0..rows {
            let row = input.add(y * row_stride);
            let mut x = 0;
            while x + 4 * l <= width {
                for j in 0..4 {
                    S::prefetch_read(row.wrapping_add(ahead + x + j * l));
                    sums[j] = S::add(sums[j], S::load(row.add(x + j * l)));
                }
                x += 4 * l;
            }
            while x < width {
                S::prefetch_read(row.wrapping_add(ahead + x));
                sums[0] = S::add(sums[0], S::load_n(row.add(x), width - x));
                x += l;
            }
        }
        S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
    }
}

impl ChannelSum {
    /// Prepares the sums for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] for an impossible layout.
    pub fn new(input: Planar, isa: Isa) -> Result<ChannelSum, KernelError> {
        isa.require()?;
        input.check(NAME, "the input")?;
        let tasks = input.channels.min(MAX_TASKS);
        Ok(ChannelSum { input, entry: entry::<SumPlane, SumArgs>(isa), tasks })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Runs all tasks on this thread; `output` has one element per channel.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(&self, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, input, Output::new(output)) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` name disjoint tasks; `output`
    /// overlaps no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        input: &[f32],
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        require_len(NAME, "the input", self.input.end(), input.len())?;
        require_len(NAME, "the output", self.input.channels, output.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        for task in tasks {
            for channel in part(self.input.channels, self.tasks, task) {
                let mut sum = 0.0f64;
                for image in 0..self.input.images {
                    let mut plane = 0.0f32;
                    let args = SumArgs {
                        input: input[self.input.index(image, channel, 0, 0)..].as_ptr(),
                        rows: self.input.height,
                        width: self.input.width,
                        row_stride: self.input.row_stride,
                        out: &mut plane,
                    };
                    // SAFETY: the plane exists.
                    unsafe { (self.entry)(&args) };
                    sum += f64::from(plane);
                }
                // SAFETY: the channel's element, which this task alone writes.
                unsafe { *output.ptr().add(channel) = sum as f32 };
            }
        }
        Ok(())
    }
}
