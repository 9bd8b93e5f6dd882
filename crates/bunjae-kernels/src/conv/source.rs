//! Where a convolution reads: the input itself, if its halo holds the padding, or a copy of it
//! that is padded and, for strides, split by phase.
//!
//! The copy of a stride `(sy, sx)` convolution has `sy * sx` planes per channel; plane `(ry, rx)`
//! holds the padded input's rows `ry, ry + sy, ...` and columns `rx, rx + sx, ...`. On these planes
//! every tap again is one offset for all output pixels, as in a stride-1 convolution.

use super::{ConvSpec, MAX_TASKS, Tail};
use crate::activation::Activation;
use crate::error::{KernelError, require};
use crate::output::part;
use crate::planar::{Planar, TAIL};
use crate::simd::{Body, Entry, Simd};

/// Addresses of a convolution's reads.
pub(super) struct Source {
    /// Index read by tap offset 0 for output pixel (0, 0) of image 0, channel 0.
    pub(super) first: usize,
    pub(super) image_stride: usize,
    /// Distance between (original) channels.
    pub(super) channel_stride: usize,
    /// Distance between the reads of vertically neighbouring output pixels.
    pub(super) pixel_row: usize,
    /// Distance between the reads of horizontally neighbouring output pixels.
    pub(super) pixel_column: usize,
    /// Offset of each tap, within one channel, row by row.
    pub(super) taps: Vec<isize>,
    /// Elements that must be readable, whole-vector overrun included.
    pub(super) len: usize,
    /// The copy that makes the source, unless it is the input itself.
    pub(super) copy: Option<PaddedCopy>,
}

impl Source {
    /// The source for the form that wants neighbouring pixels next to each other (`phases`) or
    /// for the one that can skip pixels itself.
    ///
    /// `wanted_row` is the row distance that a copy uses if it is large enough, so that the
    /// convolution can run over whole planes.
    pub(super) fn new(spec: &ConvSpec, phases: bool, wanted_row: usize) -> Source {
        let [oh, ow] = spec.size;
        let [kh, kw] = spec.kernel;
        let [dy, dx] = spec.dilation;
        let [sy, sx] = spec.stride;
        let input = &spec.input;
        let channels = input.channels;
        let split = phases && (sy > 1 || sx > 1);
        if spec.halo_suffices() && !split {
            let row = input.row_stride;
            let taps = (0..kh * kw).map(|t| (t / kw * dy * row + t % kw * dx) as isize).collect();
            let mut source = Source {
                first: input.origin - spec.padding[0] * row - spec.padding[1],
                image_stride: input.image_stride,
                channel_stride: input.channel_stride,
                pixel_row: sy * row,
                pixel_column: sx,
                taps,
                len: 0,
                copy: None,
            };
            source.len = source.reach(input.images, channels, oh, ow) + TAIL;
            return source;
        }
        let (py, px) = if phases { (sy, sx) } else { (1, 1) };
        // A kernel of one row or column sees the first phase only.
        let kept = [if kh > 1 { py } else { 1 }, if kw > 1 { px } else { 1 }];
        // Rows and columns of one phase plane: what the farthest tap of the last pixel reads.
        let height = ((oh - 1) * sy + (kh - 1) * dy) / py + 1;
        let width = ((ow - 1) * sx + (kw - 1) * dx) / px + 1;
        let row = width.max(wanted_row);
        let plane = (height * row).next_multiple_of(16) | 16;
        let taps = (0..kh * kw)
            .map(|t| {
                let (y, x) = (t / kw * dy, t % kw * dx);
                ((y % py * kept[1] + x % px) * plane + y / py * row + x / px) as isize
            })
            .collect();
        let copy = PaddedCopy {
            input: *input,
            padding: spec.padding,
            phases: [py, px],
            kept,
            height,
            width,
            row,
            plane,
        };
        let mut source = Source {
            first: 0,
            image_stride: channels * kept[0] * kept[1] * plane,
            channel_stride: kept[0] * kept[1] * plane,
            pixel_row: sy / py * row,
            pixel_column: sx / px,
            taps,
            len: 0,
            copy: Some(copy),
        };
        let reach = source.reach(input.images, channels, oh, ow);
        source.len = reach.max(input.images * source.image_stride) + TAIL;
        source
    }

    /// Elements of the input `input` that are read by a kernel that reads no whole vectors past the
    /// last pixel.
    pub(super) fn exact_len(&self, input: &Planar) -> usize {
        match &self.copy {
            None => self.len - TAIL,
            Some(_) => input.end(),
        }
    }

    /// One past the last element that a tap of an output pixel reads.
    fn reach(&self, images: usize, channels: usize, oh: usize, ow: usize) -> usize {
        let farthest = self.taps.iter().copied().max().unwrap_or(0) as usize;
        self.first
            + (images - 1) * self.image_stride
            + (channels - 1) * self.channel_stride
            + (oh - 1) * self.pixel_row
            + (ow - 1) * self.pixel_column
            + farthest
            + 1
    }

    /// Offsets of all products of one group: channel by channel, tap by tap.
    pub(super) fn offsets(&self, channels: usize) -> Vec<isize> {
        let mut offsets = Vec::with_capacity(channels * self.taps.len());
        for c in 0..channels {
            offsets.extend(self.taps.iter().map(|t| (c * self.channel_stride) as isize + t));
        }
        offsets
    }
}

/// Copies planes, adding padding and splitting phases.
pub(super) struct PaddedCopy {
    input: Planar,
    padding: [usize; 2],
    phases: [usize; 2],
    kept: [usize; 2],
    height: usize,
    width: usize,
    row: usize,
    plane: usize,
}

impl PaddedCopy {
    /// Planes of the input, the unit of work.
    fn planes(&self) -> usize {
        self.input.images * self.input.channels
    }

    /// Number of tasks of a copy of all planes.
    pub(super) fn tasks(&self) -> usize {
        self.planes().min(MAX_TASKS)
    }

    /// Copies the planes of one task.
    ///
    /// # Safety
    /// The whole input is readable at `input`, and [`PaddedCopy::plane_len`] elements for each of its
    /// planes are writable at `out`; no other thread writes those of this task.
    pub(super) unsafe fn run_task(
        &self,
        copy_plane: Entry<CopyArgs>,
        task: usize,
        input: *const f32,
        out: *mut f32,
    ) {
        for plane in part(self.planes(), self.tasks(), task) {
            let args = self.args(plane, input, out.wrapping_add(plane * self.plane_len()));
            // SAFETY: the caller's promise.
            unsafe { copy_plane(&args) };
        }
    }

    /// Elements of all phases of one plane.
    pub(super) fn plane_len(&self) -> usize {
        self.kept[0] * self.kept[1] * self.plane
    }

    /// The copy of input plane `index` to `out`.
    pub(super) fn args(&self, index: usize, input: *const f32, out: *mut f32) -> CopyArgs {
        let (image, channel) = (index / self.input.channels, index % self.input.channels);
        CopyArgs {
            input: input.wrapping_add(self.input.index(image, channel, 0, 0)),
            out,
            size: [self.input.height, self.input.width],
            input_row: self.input.row_stride,
            padding: self.padding,
            phases: self.phases,
            kept: self.kept,
            height: self.height,
            width: self.width,
            row: self.row,
            plane: self.plane,
        }
    }
}

/// One plane of a [`PaddedCopy`].
pub(super) struct CopyArgs {
    input: *const f32,
    out: *mut f32,
    size: [usize; 2],
    input_row: usize,
    padding: [usize; 2],
    phases: [usize; 2],
    kept: [usize; 2],
    height: usize,
    width: usize,
    row: usize,
    plane: usize,
}

/// The body of [`PaddedCopy`]: writes every element of the phase planes' rows.
pub(super) struct CopyPlane;

impl Body<CopyArgs> for CopyPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &CopyArgs) {
        let [h, w] = a.size;
        let [py, px] = a.phases;
        for ry in 0..a.kept[0] {
            for rx in 0..a.kept[1] {
                // Columns x of this phase with 0 <= x * px + rx - left < w.
                let begin = a.padding[1].saturating_sub(rx).div_ceil(px).min(a.width);
                let end = (w + a.padding[1]).saturating_sub(rx).div_ceil(px).clamp(begin, a.width);
                for y in 0..a.height {
                    let source = (y * py + ry).wrapping_sub(a.padding[0]);
                    // SAFETY: the row lies within its plane of the output; the columns read lie
                    // within the input's row by the choice of `begin` and `end`.
                    unsafe {
                        let out = a.out.add((ry * a.kept[1] + rx) * a.plane + y * a.row);
                        if source >= h {
                            std::ptr::write_bytes(out, 0, a.row);
                            continue;
                        }
                        clear_ends::<S>(out, begin, end, a.row);
                        if end == begin {
                            continue;
                        }
                        let skipped = begin * px + rx - a.padding[1];
                        let from = a.input.add(source * a.input_row + skipped);
                        gather::<S>(from, out.add(begin), end - begin, px);
                    }
                }
            }
        }
    }
}

/// Writes zeros before `begin` and from `end` on, and whatever it likes between them.
///
/// # Safety
/// `row` elements are writable at `out`; `begin <= end <= row`.
#[inline(always)]
unsafe fn clear_ends<S: Simd>(out: *mut f32, begin: usize, end: usize, row: usize) {
    let l = S::LANES;
    // SAFETY: both vectors lie within the row where there is room for one.
    unsafe {
        // Mostly one or two elements: less than what a call of the C library's function costs.
        if row >= l && begin <= l && row - end <= l {
            S::store(out, S::zero());
            S::store(out.add(row - l), S::zero());
        } else {
            std::ptr::write_bytes(out, 0, begin);
            std::ptr::write_bytes(out.add(end), 0, row - end);
        }
    }
}

/// Runs of elements to be cleared, `distance` apart.
pub(super) struct ClearArgs {
    pub(super) out: *mut f32,
    pub(super) distance: usize,
    pub(super) count: usize,
    pub(super) len: usize,
}

/// Writes zeros. The runs are the gaps between planes, often shorter than what a call of the C
/// library's function costs.
pub(super) struct ClearGaps;

impl Body<ClearArgs> for ClearGaps {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ClearArgs) {
        let l = S::LANES;
        for i in 0..a.count {
            let out = a.out.wrapping_add(i * a.distance);
            // SAFETY: `len` elements are writable at `out`; the last vector ends with them.
            unsafe {
                for at in (0..a.len / l * l).step_by(l) {
                    S::store(out.add(at), S::zero());
                }
                let rest = a.len % l;
                if rest > 0 && a.len > l {
                    S::store(out.add(a.len - l), S::zero());
                } else if rest > 0 {
                    for at in 0..rest {
                        *out.add(at) = 0.0;
                    }
                }
            }
        }
    }
}

/// Copies every `step`-th element.
///
/// # Safety
/// `count` elements are readable at distance `step` from `from`, and writable at `out`.
#[inline(always)]
pub(super) unsafe fn gather<S: Simd>(from: *const f32, out: *mut f32, count: usize, step: usize) {
    // SAFETY: all indices are below `count`; the vector loop reads one element past the last even
    // one only while another pair follows.
    unsafe {
        if step == 1 {
            std::ptr::copy_nonoverlapping(from, out, count);
            return;
        }
        let mut i = 0;
        if step == 2 {
            while i + S::LANES < count {
                let a = S::load(from.add(2 * i));
                let b = S::load(from.add(2 * i + S::LANES));
                S::store(out.add(i), S::deinterleave(a, b).0);
                i += S::LANES;
            }
        }
        while i < count {
            *out.add(i) = *from.add(i * step);
            i += 1;
        }
    }
}

impl ConvSpec {
    /// Refuses what only a forward convolution has: an activation, a residual or a pooling.
    pub(super) fn require_plain(&self, name: &'static str) -> Result<(), KernelError> {
        let plain = self.activation == Activation::Identity
            && self.residual.is_none()
            && self.tail == Tail::Store;
        require(name, plain, || format!("an epilogue in {self:?}"))
    }

    /// Whether the input's halo holds all padding that the taps read.
    pub(super) fn halo_suffices(&self) -> bool {
        let halo = self.input.halo;
        let [bottom, right] = self.padding_end();
        self.padding[0] <= halo.top
            && self.padding[1] <= halo.left
            && bottom <= halo.bottom
            && right <= halo.right
    }

    /// Rows below and columns right of the input that the taps read.
    pub(super) fn padding_end(&self) -> [usize; 2] {
        let size = [self.input.height, self.input.width];
        [0, 1].map(|i| {
            let last =
                (self.size[i] - 1) * self.stride[i] + (self.kernel[i] - 1) * self.dilation[i];
            (last + 1).saturating_sub(self.padding[i] + size[i])
        })
    }

    pub(super) fn check(&self) -> Result<(), KernelError> {
        let name = "conv";
        self.input.check(name, "the input")?;
        self.output.check(name, "the output")?;
        let positive =
            self.kernel.iter().chain(&self.stride).chain(&self.dilation).chain(&self.size);
        require(name, positive.into_iter().all(|x| *x > 0) && self.groups > 0, || {
            format!("kernel, stride, dilation, size and groups must be positive: {self:?}")
        })?;
        let (ic, oc) = (self.input.channels, self.output.channels);
        require(name, ic % self.groups == 0 && oc % self.groups == 0, || {
            format!("{} groups do not divide {ic} input and {oc} output channels", self.groups)
        })?;
        require(name, self.input.images == self.output.images, || {
            format!("{} images in, {} out", self.input.images, self.output.images)
        })?;
        for i in 0..2 {
            // Bounds every product below; a picture needs far less.
            let limit = 1 << 24;
            let small =
                [self.kernel[i], self.stride[i], self.dilation[i], self.size[i], self.padding[i]];
            require(name, small.iter().all(|x| *x < limit), || format!("too large: {self:?}"))?;
        }
        let [oh, ow] = self.size;
        let stored = match self.tail {
            Tail::Store => [oh, ow],
            Tail::MaxPool2 => [oh / 2, ow / 2],
            Tail::GlobalAverage => [1, 1],
        };
        let found = [self.output.height, self.output.width];
        require(name, stored == found, || {
            format!("the output is {found:?}, the result {stored:?} (rows, columns)")
        })?;
        if let Some((residual, _)) = &self.residual {
            residual.check(name, "the residual")?;
            let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
            let expected = [self.input.images, oc, oh, ow];
            require(name, shape(residual) == expected, || {
                format!("the residual is {:?}, the result {expected:?}", shape(residual))
            })?;
            require(name, self.tail != Tail::MaxPool2, || {
                "a residual cannot be combined with pooling".to_owned()
            })?;
        }
        Ok(())
    }
}
