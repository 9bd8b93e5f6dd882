//! Batch normalisation by the statistics of the batch, with what follows it.
//!
//! A task is some channels with all their planes: first the statistics of a channel, then its
//! normalisation, so that the second pass finds in the cache what the first one read, and nothing
//! has to be shared between tasks. Small planes are gathered first ([`Gather`]).
//!
//! Mean and squared deviations are computed in two passes over bands of a plane that fit the
//! first-level cache, in vectors of f32, and merged in f64 in order (Chan, Golub and LeVeque,
//! 1979): no cancellation, whatever the mean.

use std::ops::Range;

use super::channel_sum::sum_rows;
use super::gather::Gather;
use super::slope::{Clamp, Class, Leaky, Slope, Straight, with_slope};
use crate::activation::Activation;
use crate::conv::{Tail, pooled};
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

const NAME: &str = "batch norm";

/// Elements of a band: half of a first-level cache of 32 KiB.
pub(super) const BAND: usize = 4096;

/// How many images' planes of a channel are visited together: as many as make a band. A call for
/// each plane of 4 x 4 would take longer than what it does.
pub(super) fn images_together(layout: &Planar) -> usize {
    (BAND / (layout.height * layout.width).max(1)).clamp(1, layout.images)
}

/// Most tasks.
pub(super) const MAX_TASKS: usize = 16;

/// Batch normalisation with what follows it:
/// `tail(activation((x - mean) / sqrt(variance + eps) * gamma + beta + residual))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSpec {
    /// Layout of the input; its border is not read.
    pub input: Planar,
    /// Layout of what is stored.
    pub output: Planar,
    /// Added to the variance.
    pub eps: f32,
    /// One of those that do not bend: identity, bounds, or a slope that is not negative.
    pub activation: Activation,
    /// A tensor of the input's shape to be added before the activation; not with a pooling.
    pub residual: Option<Planar>,
    /// What is done with the result.
    pub tail: Tail,
}

impl BatchNormSpec {
    /// Whether there is a kernel for an activation.
    pub fn suits(activation: Activation) -> bool {
        Class::of(activation).is_some()
    }

    /// Checks the spec and returns the class of its activation. `inner` and `outer` are the layouts
    /// before and after the tail.
    pub(super) fn check(&self, inner: &Planar, outer: &Planar) -> Result<Class, KernelError> {
        inner.check(NAME, "the input")?;
        outer.check(NAME, "the output")?;
        let stored = match self.tail {
            Tail::Store => [inner.height, inner.width],
            Tail::MaxPool2 => [inner.height / 2, inner.width / 2],
            Tail::GlobalAverage => [1, 1],
        };
        let found = [outer.height, outer.width];
        let outer_shape = [outer.images, outer.channels];
        require(NAME, stored == found && outer_shape == [inner.images, inner.channels], || {
            format!("the output does not fit: {self:?}")
        })?;
        if let Some(residual) = &self.residual {
            residual.check(NAME, "the residual")?;
            let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
            require(NAME, shape(residual) == shape(inner) && self.tail == Tail::Store, || {
                format!("the residual does not fit: {self:?}")
            })?;
        }
        Class::of(self.activation).ok_or_else(|| KernelError::Geometry {
            kernel: NAME,
            reason: format!("{:?} cannot be fused", self.activation),
        })
    }

    pub(super) fn affine(&self, gamma: f32, beta: f32, mean: f32, variance: f32) -> Affine {
        Affine::new(self.eps, gamma, beta, mean, variance)
    }
}

/// `x * scale + shift` is `x` normalised; `inverse` is that of the deviation.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) shift: f32,
    pub(super) inverse: f64,
}

impl Affine {
    /// From numbers rounded to f32, so that forward and backward pass compute the same bits.
    pub(super) fn new(eps: f32, gamma: f32, beta: f32, mean: f32, variance: f32) -> Affine {
        let inverse = 1.0 / (f64::from(variance) + f64::from(eps)).sqrt();
        let scale = (f64::from(gamma) * inverse) as f32;
        let shift = (f64::from(beta) - f64::from(mean) * f64::from(scale)) as f32;
        Affine { scale, shift, inverse }
    }
}

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormInputs<'a> {
    /// The input tensor.
    pub input: &'a [f32],
    /// One factor per channel.
    pub gamma: &'a [f32],
    /// One addend per channel.
    pub beta: &'a [f32],
    /// The residual, if the spec has one.
    pub residual: Option<&'a [f32]>,
}

/// The results of one run.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormOutputs<'a> {
    /// The output tensor.
    pub output: Output<'a>,
    /// The mean of each channel.
    pub mean: Output<'a>,
    /// The biased variance of each channel.
    pub variance: Output<'a>,
}

/// A prepared batch normalisation.
pub struct BatchNormTrain {
    spec: BatchNormSpec,
    class: Class,
    moments: Entry<MomentsArgs>,
    normalise: Entry<NormaliseArgs>,
    gather: Option<Gather>,
    tasks: usize,
    clears: bool,
}

/// The planes of one channel: where the first is, and how the others follow.
type Planes<'a, P> = (P, &'a Planar);

/// Mean and sum of squared deviations.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn merge(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + delta * other.count / count,
            squares: self.squares
                + other.squares
                + delta * delta * self.count * other.count / count,
        }
    }
}

struct MomentsArgs {
    input: *const f32,
    images: usize,
    image_stride: usize,
    rows: usize,
    width: usize,
    row_stride: usize,
    /// A value near the mean of the rows, and the sums of the deviations from it and of their
    /// squares.
    out: *mut [f32; 3],
}

/// All ones for the first sixteen, zeros for the others.
static FIRST: [f32; 2 * MAX_LANES] = {
    let mut mask = [0.0; 2 * MAX_LANES];
    let mut i = 0;
    while i < MAX_LANES {
        mask[i] = f32::from_bits(u32::MAX);
        i += 1;
    }
    mask
};

/// A mask of the first `n` lanes.
///
/// # Safety
/// `n <= LANES`; the instruction set is present.
#[inline(always)]
pub(super) unsafe fn first_lanes<S: Simd>(n: usize) -> S::V {
    // SAFETY: `MAX_LANES - n` and a vector more lie within the table.
    unsafe { S::load(FIRST.as_ptr().add(MAX_LANES - n)) }
}

/// The moments of a few rows of each image.
struct MomentsRows;

impl Body<MomentsArgs> for MomentsRows {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &MomentsArgs) {
        let l = S::LANES;
        // SAFETY: each row has `width` elements; the result is writable.
        unsafe {
            let count = (a.images * a.rows * a.width) as f32;
            let mut sum = 0.0;
            for image in 0..a.images {
                let input = a.input.add(image * a.image_stride);
                // The next plane is on another page, which no processor looks ahead to by itself.
                let ahead = a.image_stride * a.images;
                sum += sum_rows::<S>(input, a.rows, a.width, a.row_stride, ahead);
            }
            // Rounded; what is missing shows in the deviations.
            let mean = sum / count;
            let centre = S::splat(mean);
            let (mut squares, mut rest) = ([S::zero(); 4], [S::zero(); 4]);
            for at in 0..a.images * a.rows {
                let row = a.input.add(at / a.rows * a.image_stride + at % a.rows * a.row_stride);
                let mut x = 0;
                while x + 4 * l <= a.width {
                    for j in 0..4 {
                        let v = S::sub(S::load(row.add(x + j * l)), centre);
                        rest[j] = S::add(rest[j], v);
                        squares[j] = S::fma(v, v, squares[j]);
                    }
                    x += 4 * l;
                }
                while x < a.width {
                    let n = (a.width - x).min(l);
                    let v = S::sub(S::load_n(row.add(x), n), centre);
                    let v = S::and(v, first_lanes::<S>(n));
                    rest[0] = S::add(rest[0], v);
                    squares[0] = S::fma(v, v, squares[0]);
                    x += l;
                }
            }
            let total = |v: [S::V; 4]| S::sum(S::add(S::add(v[0], v[1]), S::add(v[2], v[3])));
            *a.out = [mean, total(rest), total(squares)];
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct NormaliseArgs {
    pub(super) images: usize,
    /// Distances between images in input, residual and output.
    pub(super) strides: [usize; 3],
    /// How far behind these planes those lie that are read next, and those that are written next; 0 where
    /// they need not be asked for.
    pub(super) ahead: [usize; 2],
    pub(super) input: *const f32,
    pub(super) input_row: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) scale: f32,
    pub(super) shift: f32,
    pub(super) class: Class,
    /// Null without one.
    pub(super) residual: *const f32,
    pub(super) residual_row: usize,
    pub(super) tail: Tail,
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
}

impl NormaliseArgs {
    /// The planes from an image on.
    #[inline(always)]
    pub(super) fn at(&self, image: usize) -> NormaliseArgs {
        let [input, residual, output] = self.strides;
        let residual = if self.residual.is_null() { 0 } else { residual };
        NormaliseArgs {
            input: self.input.wrapping_add(image * input),
            residual: self.residual.wrapping_add(image * residual),
            out: self.out.wrapping_add(image * output),
            ..*self
        }
    }
}

/// The planes of some images.
struct NormalisePlanes;

impl Body<NormaliseArgs> for NormalisePlanes {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &NormaliseArgs) {
        // SAFETY: passed on.
        unsafe {
            with_slope!(S, a.class, slope => for image in 0..a.images {
                let a = a.at(image);
                match a.tail {
                    Tail::Store => store::<S, _>(&a, slope),
                    Tail::MaxPool2 => pool::<S, _>(&a, slope),
                    Tail::GlobalAverage => average::<S, _>(&a, slope),
                }
            });
        }
    }
}

/// # Safety
/// As the body.
#[inline(always)]
pub(super) unsafe fn store<S: Simd, A: Slope<S>>(a: &NormaliseArgs, slope: A) {
    let l = S::LANES;
    // SAFETY: rows have `width` elements in input, residual and output.
    unsafe {
        let (scale, shift) = (S::splat(a.scale), S::splat(a.shift));
        for y in 0..a.height {
            let (row, out) = (a.input.add(y * a.input_row), a.out.add(y * a.out_row));
            let residual = a.residual.wrapping_add(y * a.residual_row);
            for x in (0..a.width).step_by(l) {
                let n = a.width - x;
                if a.ahead[0] > 0 {
                    S::prefetch_read(row.wrapping_add(a.ahead[0] + x));
                }
                if a.ahead[1] > 0 {
                    S::prefetch_write(out.wrapping_add(a.ahead[1] + x));
                }
                let mut v = S::fma(S::load_n(row.add(x), n), scale, shift);
                if !a.residual.is_null() {
                    v = S::add(v, S::load_n(residual.add(x), n));
                }
                S::store_n(out.add(x), slope.value(v), n);
            }
        }
    }
}

/// # Safety
/// As the body.
#[inline(always)]
unsafe fn pool<S: Simd, A: Slope<S>>(a: &NormaliseArgs, slope: A) {
    let l = S::LANES;
    // SAFETY: rows `2 y` and `2 y + 1` have `width` elements in the input, rows of the output half
    // as many.
    unsafe {
        let (scale, shift) = (S::splat(a.scale), S::splat(a.shift));
        let pairs = a.width / 2;
        for y in 0..a.height / 2 {
            let rows = [a.input.add(2 * y * a.input_row), a.input.add((2 * y + 1) * a.input_row)];
            let out = a.out.add(y * a.out_row);
            let mut x = 0;
            while x < pairs {
                let n = (pairs - x).min(l);
                let mut v = [S::zero(); 4];
                for (r, row) in rows.into_iter().enumerate() {
                    let row = row.add(2 * x);
                    // Without a closure, which would not be compiled for the instruction set.
                    let [lo, hi] = if n == l {
                        [S::load(row), S::load(row.add(l))]
                    } else {
                        S::load_pair(row, 2 * n)
                    };
                    v[2 * r] = S::fma(lo, scale, shift);
                    v[2 * r + 1] = S::fma(hi, scale, shift);
                }
                // The slope does not fall: what is largest before it is so behind it.
                S::store_n(out.add(x), slope.value(pooled::<S, true>(&v)), n);
                x += l;
            }
        }
    }
}

/// # Safety
/// As the body.
#[inline(always)]
unsafe fn average<S: Simd, A: Slope<S>>(a: &NormaliseArgs, slope: A) {
    let l = S::LANES;
    // SAFETY: rows have `width` elements in the input; the output has one.
    unsafe {
        let (scale, shift) = (S::splat(a.scale), S::splat(a.shift));
        let mut sum = 0.0f64;
        for y in 0..a.height {
            let row = a.input.add(y * a.input_row);
            let mut sums = S::zero();
            for x in (0..a.width).step_by(l) {
                let n = (a.width - x).min(l);
                let v = slope.value(S::fma(S::load_n(row.add(x), n), scale, shift));
                sums = S::add(sums, S::and(v, first_lanes::<S>(n)));
            }
            sum += f64::from(S::sum(sums));
        }
        *a.out = (sum / (a.height * a.width) as f64) as f32;
    }
}

impl BatchNormTrain {
    /// Prepares a batch normalisation for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts itself
    /// or its activation cannot be fused.
    pub fn new(spec: BatchNormSpec, isa: Isa) -> Result<BatchNormTrain, KernelError> {
        isa.require()?;
        let class = spec.check(&spec.input, &spec.output)?;
        Ok(BatchNormTrain {
            spec,
            class,
            moments: entry::<MomentsRows, MomentsArgs>(isa),
            normalise: entry::<NormalisePlanes, NormaliseArgs>(isa),
            gather: Gather::of(&spec.input, isa),
            tasks: spec.input.channels.min(MAX_TASKS),
            clears: false,
        })
    }

    /// The same, but the zeros around and between the rows of the output are set as well, while a
    /// plane is in the cache.
    pub fn clearing(self) -> BatchNormTrain {
        BatchNormTrain { clears: true, ..self }
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        let tensors = 1 + usize::from(self.spec.residual.is_some());
        self.gather.map_or(0, |gather| tensors * gather.len())
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        inputs: &BatchNormInputs<'_>,
        output: &mut [f32],
        mean: &mut [f32],
        variance: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let outputs = BatchNormOutputs {
            output: Output::new(output),
            mean: Output::new(mean),
            variance: Output::new(variance),
        };
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, inputs, &outputs, scratch) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same outputs name disjoint tasks, and each has its
    /// own `scratch`; outputs overlap no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        inputs: &BatchNormInputs<'_>,
        outputs: &BatchNormOutputs<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let BatchNormSpec { input, output, residual, .. } = &self.spec;
        require_len(NAME, "the input", input.end(), inputs.input.len())?;
        require_len(NAME, "gamma", input.channels, inputs.gamma.len())?;
        require_len(NAME, "beta", input.channels, inputs.beta.len())?;
        let end = if self.clears { output.end_with_halo() } else { output.end() };
        require_len(NAME, "the output", end, outputs.output.len())?;
        require_len(NAME, "the mean", input.channels, outputs.mean.len())?;
        require_len(NAME, "the variance", input.channels, outputs.variance.len())?;
        if let Some(residual) = residual {
            let found = inputs.residual.map_or(0, <[f32]>::len);
            require_len(NAME, "the residual", residual.end(), found)?;
        }
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        for task in tasks {
            let channels = part(input.channels, self.tasks, task);
            // SAFETY: lengths are checked; this task alone writes these channels.
            unsafe {
                match self.gather {
                    None => channels.for_each(|channel| self.channel(channel, inputs, outputs)),
                    Some(gather) => gather
                        .parts(channels)
                        .for_each(|some| self.gathered(&gather, some, inputs, outputs, scratch)),
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// Lengths are checked; no other thread writes this channel.
    unsafe fn channel(
        &self,
        channel: usize,
        inputs: &BatchNormInputs<'_>,
        outputs: &BatchNormOutputs<'_>,
    ) {
        let BatchNormSpec { input, output, residual, .. } = &self.spec;
        let x = (inputs.input.as_ptr().wrapping_add(input.index(0, channel, 0, 0)), input);
        let added = residual.as_ref().zip(inputs.residual).map(|(layout, residual)| {
            (residual.as_ptr().wrapping_add(layout.index(0, channel, 0, 0)), layout)
        });
        let y = (outputs.output.ptr().wrapping_add(output.index(0, channel, 0, 0)), output);
        // SAFETY: the planes exist in all tensors.
        unsafe {
            let affine = self.statistics(channel, x, inputs, outputs);
            let together = images_together(input);
            for image in (0..input.images).step_by(together) {
                let images = image..input.images.min(image + together);
                self.normalise(affine, images.clone(), x, added, y);
                if self.clears {
                    images.for_each(|image| {
                        output.clear_around(outputs.output.ptr(), image, channel)
                    });
                }
            }
        }
    }

    /// Some channels with small planes.
    ///
    /// # Safety
    /// Lengths are checked; no other thread writes these channels.
    unsafe fn gathered(
        &self,
        gather: &Gather,
        channels: Range<usize>,
        inputs: &BatchNormInputs<'_>,
        outputs: &BatchNormOutputs<'_>,
        scratch: &mut [f32],
    ) {
        let BatchNormSpec { input, output, residual, tail, .. } = &self.spec;
        let (x, added) = scratch.split_at_mut(gather.len());
        let (x, added) = (x.as_mut_ptr(), added.as_mut_ptr());
        let (all, layout) = (gather.layout(Tail::Store), gather.layout(*tail));
        // SAFETY: the planes exist in all tensors, and scratch holds as many gathered ones as there
        // are.
        unsafe {
            gather.collect(inputs.input.as_ptr(), input, channels.clone(), x);
            let residual = residual.as_ref().zip(inputs.residual);
            if let Some((layout, residual)) = residual {
                gather.collect(residual.as_ptr(), layout, channels.clone(), added);
            }
            for (at, channel) in channels.clone().enumerate() {
                let x = x.add(at * gather.stride);
                let affine = self.statistics(channel, (x, &all), inputs, outputs);
                let added = residual.map(|_| (added.add(at * gather.stride).cast_const(), &layout));
                let y = match tail {
                    Tail::Store => (x, &layout),
                    _ => (outputs.output.ptr().add(output.index(0, channel, 0, 0)), output),
                };
                self.normalise(affine, 0..layout.images, (x, &layout), added, y);
            }
            if *tail == Tail::Store {
                gather.spread(x, outputs.output.ptr(), output, channels.clone());
            }
            for image in 0..if self.clears { output.images } else { 0 } {
                for channel in channels.clone() {
                    output.clear_around(outputs.output.ptr(), image, channel);
                }
            }
        }
    }

    /// Writes mean and variance of a channel.
    ///
    /// # Safety
    /// The planes exist; lengths are checked; no other thread writes this channel's results.
    unsafe fn statistics(
        &self,
        channel: usize,
        (x, planes): Planes<'_, *const f32>,
        inputs: &BatchNormInputs<'_>,
        outputs: &BatchNormOutputs<'_>,
    ) -> Affine {
        let mut all = Moments::default();
        let together = images_together(planes);
        let band = (BAND / planes.width).clamp(1, planes.height);
        for image in (0..planes.images).step_by(together) {
            let images = together.min(planes.images - image);
            for y in (0..planes.height).step_by(band) {
                let rows = band.min(planes.height - y);
                let mut out = [0.0f32; 3];
                let args = MomentsArgs {
                    input: x.wrapping_add(image * planes.image_stride + y * planes.row_stride),
                    images,
                    image_stride: planes.image_stride,
                    rows,
                    width: planes.width,
                    row_stride: planes.row_stride,
                    out: &mut out,
                };
                // SAFETY: the rows exist.
                unsafe { (self.moments)(&args) };
                let [near, rest, squares] = out.map(f64::from);
                let count = (images * rows * planes.width) as f64;
                let (mean, squares) = (near + rest / count, squares - rest * rest / count);
                all = all.merge(Moments { count, mean, squares });
            }
        }
        let (mean, variance) = (all.mean as f32, (all.squares / all.count) as f32);
        // SAFETY: there is one of each per channel.
        unsafe {
            *outputs.mean.ptr().add(channel) = mean;
            *outputs.variance.ptr().add(channel) = variance;
        }
        self.spec.affine(inputs.gamma[channel], inputs.beta[channel], mean, variance)
    }

    /// Normalises the planes of some images, and does what follows.
    ///
    /// # Safety
    /// The planes exist in all tensors; no other thread writes those of the result.
    unsafe fn normalise(
        &self,
        affine: Affine,
        images: Range<usize>,
        (x, planes): Planes<'_, *const f32>,
        residual: Option<Planes<'_, *const f32>>,
        (y, output): Planes<'_, *mut f32>,
    ) {
        let (added, residual_strides) = match residual {
            Some((added, planes)) => {
                let first = added.wrapping_add(images.start * planes.image_stride);
                (first, [planes.image_stride, planes.row_stride])
            }
            None => (std::ptr::null(), [0; 2]),
        };
        let args = NormaliseArgs {
            images: images.len(),
            strides: [planes.image_stride, residual_strides[0], output.image_stride],
            // The statistics have read what is read now.
            ahead: [0, images.len() * output.image_stride],
            input: x.wrapping_add(images.start * planes.image_stride),
            input_row: planes.row_stride,
            height: planes.height,
            width: planes.width,
            scale: affine.scale,
            shift: affine.shift,
            class: self.class,
            residual: added,
            residual_row: residual_strides[1],
            tail: self.spec.tail,
            out: y.wrapping_add(images.start * output.image_stride),
            out_row: output.row_stride,
        };
        // SAFETY: the planes exist in all tensors.
        unsafe { (self.normalise)(&args) };
    }
}
