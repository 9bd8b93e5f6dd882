//! Planes too small to be visited one by one, gathered in scratch memory.
//!
//! The planes of one channel lie as far apart as images, on as many pages, and often in the same few
//! sets of a cache; those of neighbouring channels lie side by side. Where a plane is a cache line or
//! two, fetching it takes longer than all that is done with it. So the planes of several channels are
//! copied together, image by image, and each channel is then one run of numbers without gaps.

use std::ops::Range;

use crate::conv::Tail;
use crate::isa::Isa;
use crate::planar::Planar;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

/// Elements that a gathered tensor takes at most: several fit a second-level cache of 512 KiB. Few in
/// tests, so that the channels of a task do not all fit.
const ROOM: usize = if cfg!(test) { 2 * 1024 } else { 16 * 1024 };

/// The largest plane that is gathered, in elements: eight cache lines of 64 bytes.
const LARGEST: usize = 128;

/// How the planes of a tensor are gathered.
#[derive(Clone, Copy)]
pub(super) struct Gather {
    images: usize,
    height: usize,
    width: usize,
    /// Most channels at a time.
    channels: usize,
    /// Elements from one gathered channel to the next.
    pub(super) stride: usize,
    collect: Entry<Copies>,
    spread: Entry<Copies>,
}

/// Planes to be copied. Strides are between images, channels and rows.
struct Copies {
    from: *const f32,
    from_strides: [usize; 3],
    to: *mut f32,
    to_strides: [usize; 3],
    channels: usize,
    /// Images, rows, and their width.
    rows: [usize; 3],
}

/// Copies in whole vectors: what is written after a row is written again with the next one.
struct Collect;

impl Body<Copies> for Collect {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &Copies) {
        // SAFETY: rows of `width` elements are readable; a vector more than that is writable.
        unsafe { copy_rows::<S, false>(a) }
    }
}

/// Copies no element too many.
struct Spread;

impl Body<Copies> for Spread {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &Copies) {
        // SAFETY: rows of `width` elements are readable and writable.
        unsafe { copy_rows::<S, true>(a) }
    }
}

/// # Safety
/// As the bodies.
#[inline(always)]
unsafe fn copy_rows<S: Simd, const EXACT: bool>(a: &Copies) {
    let [images, height, width] = a.rows;
    // SAFETY: as the caller promises.
    unsafe {
        for image in 0..images {
            for channel in 0..a.channels {
                let at = |strides: [usize; 3]| image * strides[0] + channel * strides[1];
                let (from, to) = (a.from.add(at(a.from_strides)), a.to.add(at(a.to_strides)));
                for y in 0..height {
                    let (from, to) = (from.add(y * a.from_strides[2]), to.add(y * a.to_strides[2]));
                    for x in (0..width).step_by(S::LANES) {
                        let n = width - x;
                        let v = S::load_n(from.add(x), n);
                        if EXACT {
                            S::store_n(to.add(x), v, n);
                        } else {
                            S::store(to.add(x), v);
                        }
                    }
                }
            }
        }
    }
}

impl Gather {
    /// For tensors of this shape, if their planes are small.
    pub(super) fn of(shape: &Planar, isa: Isa) -> Option<Gather> {
        let area = shape.height * shape.width;
        let stride = shape.images * area + MAX_LANES;
        (area <= LARGEST && stride <= ROOM).then(|| Gather {
            images: shape.images,
            height: shape.height,
            width: shape.width,
            channels: (ROOM / stride).clamp(1, shape.channels),
            stride,
            collect: entry::<Collect, Copies>(isa),
            spread: entry::<Spread, Copies>(isa),
        })
    }

    /// Some channels in parts that are gathered together.
    pub(super) fn parts(&self, channels: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (most, end) = (self.channels, channels.end);
        channels.step_by(most).map(move |first| first..end.min(first + most))
    }

    /// Elements of a gathered tensor.
    pub(super) fn len(&self) -> usize {
        self.channels * self.stride
    }

    /// The layout of a gathered channel, as far as what is done with it asks for images and rows.
    pub(super) fn layout(&self, tail: Tail) -> Planar {
        let area = self.height * self.width;
        match tail {
            Tail::Store => Planar::dense(1, 1, 1, self.images * area),
            Tail::GlobalAverage => Planar::dense(self.images, 1, 1, area),
            Tail::MaxPool2 => Planar::dense(self.images, 1, self.height, self.width),
        }
    }

    /// Gathers some channels of a tensor.
    ///
    /// # Safety
    /// The tensor lies at `from` in `layout`, which has this shape; there are at most
    /// [`Gather::channels`], and [`Gather::len`] elements are writable at `to`.
    pub(super) unsafe fn collect(
        &self,
        from: *const f32,
        layout: &Planar,
        channels: Range<usize>,
        to: *mut f32,
    ) {
        let from = from.wrapping_add(layout.index(0, channels.start, 0, 0));
        let (far, near) = (strides(layout), self.strides());
        let rows = self.rows(layout);
        let copy = Copies {
            from,
            from_strides: far,
            to,
            to_strides: near,
            rows,
            channels: channels.len(),
        };
        // SAFETY: the caller vouches for both tensors; after the last row of a channel is room for a
        // vector.
        unsafe { (self.collect)(&copy) };
    }

    /// The way back: writes some channels of a tensor.
    ///
    /// # Safety
    /// As [`Gather::collect`], with `from` and `to` exchanged; nobody else uses these channels.
    pub(super) unsafe fn spread(
        &self,
        from: *const f32,
        to: *mut f32,
        layout: &Planar,
        channels: Range<usize>,
    ) {
        let to = to.wrapping_add(layout.index(0, channels.start, 0, 0));
        let (far, near) = (strides(layout), self.strides());
        let rows = self.rows(layout);
        let copy = Copies {
            from,
            from_strides: near,
            to,
            to_strides: far,
            rows,
            channels: channels.len(),
        };
        // SAFETY: the caller vouches for both tensors.
        unsafe { (self.spread)(&copy) };
    }

    fn strides(&self) -> [usize; 3] {
        [self.height * self.width, self.stride, self.width]
    }

    /// Images, rows and their width; a plane whose rows follow one another is a single one.
    fn rows(&self, layout: &Planar) -> [usize; 3] {
        match layout.row_stride == self.width {
            true => [self.images, 1, self.height * self.width],
            false => [self.images, self.height, self.width],
        }
    }
}

fn strides(layout: &Planar) -> [usize; 3] {
    [layout.image_stride, layout.channel_stride, layout.row_stride]
}
