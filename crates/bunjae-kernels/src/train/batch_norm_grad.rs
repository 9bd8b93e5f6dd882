//! The gradient of batch normalisation by the statistics of the batch, with that of what follows.
//!
//! With `g` the gradient of the normalised and scaled tensor, `n` elements per channel and
//! `d = 1 / sqrt(variance + eps)`:
//!
//! ```text
//! dbeta  = sum g
//! dgamma = d sum g (x - mean)
//! dx     = gamma d (g - dbeta / n - (x - mean) d dgamma / n)
//! ```
//!
//! `g` is the given gradient, brought back through the pooling and the activation on the way; what
//! those need is computed again from `x`, with the same bits as in the forward pass, so that neither
//! masks nor positions are stored. As in the forward pass a task is some channels, whose small planes
//! are gathered: a first pass over a channel's planes for the sums, a second for `dx`.

use std::ops::Range;

use super::batch_norm::{BatchNormSpec, MAX_TASKS, first_lanes, images_together};
use super::gather::Gather;
use super::slope::{Clamp, Class, Leaky, Slope, Straight, with_slope};
use crate::conv::Tail;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, Simd, entry};

const NAME: &str = "batch norm gradient";

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradInputs<'a> {
    /// The input of the forward pass.
    pub input: &'a [f32],
    /// The gradient of what the forward pass stored.
    pub gradient: &'a [f32],
    /// One factor per channel.
    pub gamma: &'a [f32],
    /// One addend per channel.
    pub beta: &'a [f32],
    /// The mean of each channel, as the forward pass found it.
    pub mean: &'a [f32],
    /// The biased variance of each channel.
    pub variance: &'a [f32],
}

/// The results of one run.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradOutputs<'a> {
    /// The gradient of the input.
    pub input: Output<'a>,
    /// The gradient of gamma.
    pub gamma: Output<'a>,
    /// The gradient of beta.
    pub beta: Output<'a>,
    /// The sum of each channel of the gradient of the input, which is that of a bias added before
    /// the normalisation (and would be zero, but for rounding).
    pub bias: Option<Output<'a>>,
}

/// A prepared gradient of a batch normalisation.
pub struct BatchNormGrad {
    spec: BatchNormSpec,
    gradient: Planar,
    output: Planar,
    class: Class,
    sums: Entry<SumsArgs>,
    apply: Entry<ApplyArgs>,
    gather: Option<Gather>,
    tasks: usize,
    clears: bool,
}

/// One plane of all tensors read, and of as many images after it.
#[derive(Clone, Copy)]
struct Plane {
    images: usize,
    input: *const f32,
    input_image: usize,
    input_row: usize,
    gradient: *const f32,
    gradient_image: usize,
    gradient_row: usize,
    height: usize,
    width: usize,
    scale: f32,
    shift: f32,
    mean: f32,
    class: Class,
    tail: Tail,
}

impl Plane {
    /// The plane of a later image.
    #[inline(always)]
    fn at(&self, image: usize) -> Plane {
        Plane {
            input: self.input.wrapping_add(image * self.input_image),
            gradient: self.gradient.wrapping_add(image * self.gradient_image),
            ..*self
        }
    }
}

/// What is done with each vector of the input and of `g`.
trait Sink<S: Simd> {
    /// Whether the vectors that it returns are to be stored.
    const STORES: bool;

    /// Where `FULL`, all lanes count, whatever `valid` says.
    ///
    /// # Safety
    /// The instruction set is present.
    unsafe fn take<const FULL: bool>(&mut self, x: S::V, g: S::V, valid: S::V) -> S::V;
}

/// Sums of `g` and of `g (x - mean)`.
struct Sums<S: Simd> {
    mean: S::V,
    g: S::V,
    product: S::V,
}

impl<S: Simd> Sink<S> for Sums<S> {
    const STORES: bool = false;

    #[inline(always)]
    unsafe fn take<const FULL: bool>(&mut self, x: S::V, g: S::V, valid: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe {
            let g = if FULL { g } else { S::and(g, valid) };
            self.g = S::add(self.g, g);
            self.product = S::fma(g, S::sub(x, self.mean), self.product);
            g
        }
    }
}

/// `k g - a - (x - mean) b`, and the sum of it.
struct Apply<S: Simd> {
    mean: S::V,
    k: S::V,
    minus_a: S::V,
    b: S::V,
    sum: S::V,
}

impl<S: Simd> Sink<S> for Apply<S> {
    const STORES: bool = true;

    #[inline(always)]
    unsafe fn take<const FULL: bool>(&mut self, x: S::V, g: S::V, valid: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe {
            let deviation = S::sub(self.mean, x);
            let v = S::fma(deviation, self.b, S::fma(g, self.k, self.minus_a));
            self.sum = S::add(self.sum, if FULL { v } else { S::and(v, valid) });
            v
        }
    }
}

/// Visits a plane.
///
/// # Safety
/// The plane exists in all tensors; `out` is as large as the input's where the sink stores.
#[inline(always)]
unsafe fn visit<S: Simd, A: Slope<S>, K: Sink<S>>(
    p: &Plane,
    slope: A,
    sink: &mut K,
    out: *mut f32,
    [out_image, out_row]: [usize; 2],
) {
    let l = S::LANES;
    // SAFETY: rows have `width` elements in input and output, and those of the gradient as many as
    // the tail leaves.
    unsafe {
        let (scale, shift) = (S::splat(p.scale), S::splat(p.shift));
        let row = |y: usize| p.input.add(y * p.input_row);
        match p.tail {
            Tail::Store => {
                for y in 0..p.height {
                    let (x_row, g_row) = (row(y), p.gradient.add(y * p.gradient_row));
                    let out = out.wrapping_add(y * out_row);
                    let mut x = 0;
                    while x + l <= p.width {
                        ask_for_next::<S, K>(
                            p,
                            x_row.add(x),
                            g_row.add(x),
                            out.wrapping_add(x),
                            out_image,
                        );
                        let v = S::load(x_row.add(x));
                        let g = slope.gradient(S::fma(v, scale, shift), S::load(g_row.add(x)));
                        let d = sink.take::<true>(v, g, S::zero());
                        if K::STORES {
                            S::store(out.add(x), d);
                        }
                        x += l;
                    }
                    if x < p.width {
                        ask_for_next::<S, K>(
                            p,
                            x_row.add(x),
                            g_row.add(x),
                            out.wrapping_add(x),
                            out_image,
                        );
                        let n = p.width - x;
                        let v = S::load_partial(x_row.add(x), n);
                        let g = S::load_partial(g_row.add(x), n);
                        let g = slope.gradient(S::fma(v, scale, shift), g);
                        let d = sink.take::<false>(v, g, first_lanes::<S>(n));
                        if K::STORES {
                            S::store_partial(out.add(x), d, n);
                        }
                    }
                }
            }
            Tail::GlobalAverage => {
                let mean = S::splat(*p.gradient / (p.height * p.width) as f32);
                for y in 0..p.height {
                    rest::<S, A, K>(p, slope, sink, y, mean, out.wrapping_add(y * out_row));
                }
            }
            Tail::MaxPool2 => {
                for y in 0..p.height / 2 {
                    let rows = [row(2 * y), row(2 * y + 1)];
                    let outs = [
                        out.wrapping_add(2 * y * out_row),
                        out.wrapping_add((2 * y + 1) * out_row),
                    ];
                    let g_row = p.gradient.add(y * p.gradient_row);
                    let mut x = 0;
                    while x + 2 * l <= p.width {
                        for r in 0..2 {
                            for x in [x, x + l] {
                                let (row, out) = (rows[r].add(x), outs[r].wrapping_add(x));
                                let g_row = g_row.wrapping_add(x / 2);
                                ask_for_next::<S, K>(p, row, g_row, out, out_image);
                            }
                        }
                        let g = S::load(g_row.add(x / 2));
                        pool_windows::<S, A, K, true>(p, slope, sink, [x, 2 * l], rows, outs, g);
                        x += 2 * l;
                    }
                    if x < p.width {
                        // Windows that are whole; a last odd column is in none.
                        let windows = p.width / 2 - x / 2;
                        let g = match windows {
                            0 => S::zero(),
                            _ => S::load_partial(g_row.add(x / 2), windows),
                        };
                        let n = p.width - x;
                        pool_windows::<S, A, K, false>(p, slope, sink, [x, n], rows, outs, g);
                    }
                }
                if p.height % 2 == 1 {
                    let y = p.height - 1;
                    rest::<S, A, K>(p, slope, sink, y, S::zero(), out.wrapping_add(y * out_row));
                }
            }
        }
    }
}

/// Asks for the lines of the next image's plane: those read in the first pass, as the second one, which
/// stores, finds them in the cache, and those written in the second.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn ask_for_next<S: Simd, K: Sink<S>>(
    p: &Plane,
    x: *const f32,
    gradient: *const f32,
    out: *mut f32,
    out_image: usize,
) {
    // SAFETY: any address will do.
    unsafe {
        if K::STORES {
            S::prefetch_write(out.wrapping_add(p.images * out_image));
        } else {
            S::prefetch_read(x.wrapping_add(p.images * p.input_image));
            S::prefetch_read(gradient.wrapping_add(p.images * p.gradient_image));
        }
    }
}

/// A row whose elements all have the gradient `g`.
///
/// # Safety
/// As [`visit`].
#[inline(always)]
unsafe fn rest<S: Simd, A: Slope<S>, K: Sink<S>>(
    p: &Plane,
    slope: A,
    sink: &mut K,
    y: usize,
    g: S::V,
    out: *mut f32,
) {
    let l = S::LANES;
    // SAFETY: as the caller's.
    unsafe {
        let (scale, shift) = (S::splat(p.scale), S::splat(p.shift));
        let row = p.input.add(y * p.input_row);
        for x in (0..p.width).step_by(l) {
            let n = (p.width - x).min(l);
            let v = S::load_n(row.add(x), n);
            let g = slope.gradient(S::fma(v, scale, shift), g);
            let d = sink.take::<false>(v, g, first_lanes::<S>(n));
            if K::STORES {
                S::store_n(out.add(x), d, n);
            }
        }
    }
}

/// The `n` columns from `x` on of two rows, in windows of 2 x 2 whose maximum has the gradient `g`;
/// of several largest elements the first has all of it. `FULL` promises that `n` is two vectors.
///
/// # Safety
/// As [`visit`].
#[inline(always)]
unsafe fn pool_windows<S: Simd, A: Slope<S>, K: Sink<S>, const FULL: bool>(
    p: &Plane,
    slope: A,
    sink: &mut K,
    [x, n]: [usize; 2],
    rows: [*const f32; 2],
    outs: [*mut f32; 2],
    g: S::V,
) {
    let l = S::LANES;
    // SAFETY: as the caller's.
    unsafe {
        let (scale, shift) = (S::splat(p.scale), S::splat(p.shift));
        // The four elements of each window, and what they are compared by. The order of the windows is
        // one that costs less where all of them exist.
        let g = if FULL { S::out_of_order(g) } else { g };
        let mut v = [S::zero(); 4];
        let mut rank = [S::zero(); 4];
        for r in 0..2 {
            let row = rows[r].add(x);
            (v[2 * r], v[2 * r + 1]) = if FULL {
                S::split(S::load(row), S::load(row.add(l)))
            } else {
                let [lo, hi] = S::load_pair(row, n);
                S::deinterleave(lo, hi)
            };
        }
        for i in 0..4 {
            rank[i] = slope.rank(S::fma(v[i], scale, shift));
        }
        if !K::STORES {
            // Only the largest count.
            let (mut largest, mut selected) = (rank[0], v[0]);
            for i in 1..4 {
                selected = S::select(S::lt(largest, rank[i]), v[i], selected);
                largest = S::max(largest, rank[i]);
            }
            sink.take::<FULL>(selected, slope.gradient(largest, g), first_lanes::<S>(n / 2));
            return;
        }
        let largest = S::max(S::max(rank[0], rank[1]), S::max(rank[2], rank[3]));
        let mut left = slope.gradient(largest, g);
        let valid = match FULL {
            true => [S::zero(); 2],
            false => [first_lanes::<S>(n.div_ceil(2)), first_lanes::<S>(n / 2)],
        };
        let mut d = [S::zero(); 4];
        for i in 0..4 {
            let smaller = S::lt(rank[i], largest);
            let own = S::select(smaller, S::zero(), left);
            left = S::select(smaller, left, S::zero());
            d[i] = sink.take::<FULL>(v[i], own, valid[i % 2]);
        }
        for r in 0..2 {
            let out = outs[r].add(x);
            if FULL {
                let (lo, hi) = S::join(d[2 * r], d[2 * r + 1]);
                S::store(out, lo);
                S::store(out.add(l), hi);
            } else {
                let (lo, hi) = S::interleave(d[2 * r], d[2 * r + 1]);
                S::store_n(out, lo, n.min(l));
                if n > l {
                    S::store_n(out.add(l), hi, n - l);
                }
            }
        }
    }
}

struct SumsArgs {
    plane: Plane,
    /// Sums of `g` and of `g (x - mean)`.
    out: *mut [f32; 2],
}

struct SumsPlane;

impl Body<SumsArgs> for SumsPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &SumsArgs) {
        let p = &a.plane;
        // SAFETY: passed on; nothing is stored.
        unsafe {
            let mut sums = Sums::<S> { mean: S::splat(p.mean), g: S::zero(), product: S::zero() };
            let out = std::ptr::null_mut();
            with_slope!(S, p.class, slope => for image in 0..p.images {
                visit::<S, _, _>(&p.at(image), slope, &mut sums, out, [0; 2]);
            });
            *a.out = [S::sum(sums.g), S::sum(sums.product)];
        }
    }
}

struct ApplyArgs {
    plane: Plane,
    k: f32,
    a: f32,
    b: f32,
    out: *mut f32,
    out_image: usize,
    out_row: usize,
    /// The sum of what is stored.
    sum: *mut f32,
}

struct ApplyPlane;

impl Body<ApplyArgs> for ApplyPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ApplyArgs) {
        let p = &a.plane;
        // SAFETY: passed on.
        unsafe {
            let mut apply = Apply::<S> {
                mean: S::splat(p.mean),
                k: S::splat(a.k),
                minus_a: S::splat(-a.a),
                b: S::splat(a.b),
                sum: S::zero(),
            };
            with_slope!(S, p.class, slope => for image in 0..p.images {
                let out = a.out.wrapping_add(image * a.out_image);
                visit::<S, _, _>(&p.at(image), slope, &mut apply, out, [a.out_image, a.out_row]);
            });
            *a.sum = S::sum(apply.sum);
        }
    }
}

impl BatchNormGrad {
    /// Prepares the gradient of the batch normalisation `spec` without a residual. `gradient` is
    /// the layout of the gradient of what it stores, `output` that of the gradient to be computed.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts itself
    /// or its activation cannot be fused.
    pub fn new(
        spec: BatchNormSpec,
        gradient: Planar,
        output: Planar,
        isa: Isa,
    ) -> Result<BatchNormGrad, KernelError> {
        isa.require()?;
        let class = spec.check(&spec.input, &gradient)?;
        output.check(NAME, "the output")?;
        let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
        require(NAME, spec.residual.is_none() && shape(&output) == shape(&spec.input), || {
            format!("{:?} for {spec:?}", shape(&output))
        })?;
        Ok(BatchNormGrad {
            spec,
            gradient,
            output,
            class,
            sums: entry::<SumsPlane, SumsArgs>(isa),
            apply: entry::<ApplyPlane, ApplyArgs>(isa),
            gather: Gather::of(&spec.input, isa),
            tasks: spec.input.channels.min(MAX_TASKS),
            clears: false,
        })
    }

    /// The same, but the zeros around and between the rows of the output are set as well, while a
    /// plane is in the cache.
    pub fn clearing(self) -> BatchNormGrad {
        BatchNormGrad { clears: true, ..self }
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        let tensors = 1 + usize::from(self.spec.tail == Tail::Store);
        self.gather.map_or(0, |gather| tensors * gather.len())
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        inputs: &BatchNormGradInputs<'_>,
        outputs: &mut BatchNormGradOutputs<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, inputs, outputs, scratch) }
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
        inputs: &BatchNormGradInputs<'_>,
        outputs: &BatchNormGradOutputs<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let channels = self.spec.input.channels;
        require_len(NAME, "the input", self.spec.input.end(), inputs.input.len())?;
        require_len(NAME, "the gradient", self.gradient.end(), inputs.gradient.len())?;
        for (what, slice) in [
            ("gamma", inputs.gamma),
            ("beta", inputs.beta),
            ("the mean", inputs.mean),
            ("the variance", inputs.variance),
        ] {
            require_len(NAME, what, channels, slice.len())?;
        }
        let end = if self.clears { self.output.end_with_halo() } else { self.output.end() };
        require_len(NAME, "the output", end, outputs.input.len())?;
        require_len(NAME, "the gradient of gamma", channels, outputs.gamma.len())?;
        require_len(NAME, "the gradient of beta", channels, outputs.beta.len())?;
        if let Some(bias) = &outputs.bias {
            require_len(NAME, "the gradient of the bias", channels, bias.len())?;
        }
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        for task in tasks {
            let channels = part(channels, self.tasks, task);
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
        inputs: &BatchNormGradInputs<'_>,
        outputs: &BatchNormGradOutputs<'_>,
    ) {
        let (x, dx) = (&self.spec.input, &self.output);
        let planes = Channel {
            x: inputs.input.as_ptr().wrapping_add(x.index(0, channel, 0, 0)),
            x_layout: x,
            gradient: self.gradient_of(channel, inputs),
            gradient_layout: &self.gradient,
            out: outputs.input.ptr().wrapping_add(dx.index(0, channel, 0, 0)),
            out_layout: dx,
        };
        // SAFETY: the planes exist in all tensors.
        unsafe {
            self.both_passes(channel, &planes, inputs, outputs, |images| {
                for image in images.filter(|_| self.clears) {
                    dx.clear_around(outputs.input.ptr(), image, channel);
                }
            });
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
        inputs: &BatchNormGradInputs<'_>,
        outputs: &BatchNormGradOutputs<'_>,
        scratch: &mut [f32],
    ) {
        let (x, gradient) = scratch.split_at_mut(gather.len());
        let (x, gradient) = (x.as_mut_ptr(), gradient.as_mut_ptr());
        let (layout, stores) = (gather.layout(self.spec.tail), self.spec.tail == Tail::Store);
        // SAFETY: the planes exist in all tensors, and scratch holds as many gathered ones as there
        // are.
        unsafe {
            gather.collect(inputs.input.as_ptr(), &self.spec.input, channels.clone(), x);
            if stores {
                let all = inputs.gradient.as_ptr();
                gather.collect(all, &self.gradient, channels.clone(), gradient);
            }
            for (at, channel) in channels.clone().enumerate() {
                let x = x.add(at * gather.stride);
                let (gradient, gradient_layout) = match stores {
                    true => (gradient.add(at * gather.stride).cast_const(), &layout),
                    false => (self.gradient_of(channel, inputs), &self.gradient),
                };
                let planes = Channel {
                    x,
                    x_layout: &layout,
                    gradient,
                    gradient_layout,
                    out: x,
                    out_layout: &layout,
                };
                self.both_passes(channel, &planes, inputs, outputs, |_| ());
            }
            gather.spread(x, outputs.input.ptr(), &self.output, channels.clone());
            for image in 0..if self.clears { self.output.images } else { 0 } {
                for channel in channels.clone() {
                    self.output.clear_around(outputs.input.ptr(), image, channel);
                }
            }
        }
    }

    /// The first plane of a channel's gradient.
    fn gradient_of(&self, channel: usize, inputs: &BatchNormGradInputs<'_>) -> *const f32 {
        inputs.gradient.as_ptr().wrapping_add(self.gradient.index(0, channel, 0, 0))
    }

    /// Both passes over a channel; `done` is told of images whose gradient is written.
    ///
    /// # Safety
    /// The planes exist; lengths are checked; no other thread writes this channel. What is written may
    /// be what is read.
    unsafe fn both_passes(
        &self,
        channel: usize,
        planes: &Channel<'_>,
        inputs: &BatchNormGradInputs<'_>,
        outputs: &BatchNormGradOutputs<'_>,
        mut done: impl FnMut(Range<usize>),
    ) {
        let (x, dy, dx) = (planes.x_layout, planes.gradient_layout, planes.out_layout);
        let (gamma, mean) = (inputs.gamma[channel], inputs.mean[channel]);
        let affine = self.spec.affine(gamma, inputs.beta[channel], mean, inputs.variance[channel]);
        let together = images_together(x);
        let plane = |image: usize| Plane {
            images: together.min(x.images - image),
            input_image: x.image_stride,
            gradient_image: dy.image_stride,
            input: planes.x.wrapping_add(image * x.image_stride),
            input_row: x.row_stride,
            gradient: planes.gradient.wrapping_add(image * dy.image_stride),
            gradient_row: dy.row_stride,
            height: x.height,
            width: x.width,
            scale: affine.scale,
            shift: affine.shift,
            mean,
            class: self.class,
            tail: self.spec.tail,
        };
        let (mut sum, mut product) = (0.0f64, 0.0f64);
        for image in (0..x.images).step_by(together) {
            let mut out = [0.0f32; 2];
            // SAFETY: the planes exist in all tensors.
            unsafe { (self.sums)(&SumsArgs { plane: plane(image), out: &mut out }) };
            sum += f64::from(out[0]);
            product += f64::from(out[1]);
        }
        // Rounded, as they are stored.
        let (d_gamma, d_beta) = ((product * affine.inverse) as f32, sum as f32);
        let scale = f64::from(gamma) * affine.inverse;
        let share = scale / (x.images * x.height * x.width) as f64;
        let mut bias = 0.0f64;
        for image in (0..x.images).step_by(together) {
            let mut total = 0.0f32;
            let plane = plane(image);
            let args = ApplyArgs {
                plane,
                k: scale as f32,
                a: (share * f64::from(d_beta)) as f32,
                b: (share * affine.inverse * f64::from(d_gamma)) as f32,
                out: planes.out.wrapping_add(image * dx.image_stride),
                out_image: dx.image_stride,
                out_row: dx.row_stride,
                sum: &mut total,
            };
            // SAFETY: as above.
            unsafe { (self.apply)(&args) };
            done(image..image + plane.images);
            bias += f64::from(total);
        }
        // SAFETY: there is one of each per channel.
        unsafe {
            *outputs.gamma.ptr().add(channel) = d_gamma;
            *outputs.beta.ptr().add(channel) = d_beta;
            if let Some(to) = &outputs.bias {
                *to.ptr().add(channel) = bias as f32;
            }
        }
    }
}

/// The planes of one channel in all tensors: where the first is, and how the others follow.
struct Channel<'a> {
    x: *const f32,
    x_layout: &'a Planar,
    gradient: *const f32,
    gradient_layout: &'a Planar,
    out: *mut f32,
    out_layout: &'a Planar,
}
