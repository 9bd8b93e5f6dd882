//! The one activation layout: padded planes.
//!
//! A tensor is a sequence of channel planes; a plane is its rows, one after the other, with a gap
//! of zeros between them and zeros before the first and after the last row. A convolution reads
//! its padding from those zeros, so the inner loops know no borders, and because the gap after one
//! row is also the gap before the next, a stride-1 convolution can run over the whole plane as one
//! long row: the pixels computed in the gaps are cleared when stored.

use crate::error::{KernelError, require, require_len};

/// Elements that a kernel may read (never write) past the end of a tensor, because it loads whole
/// vectors. [`Planar::len`] includes them; the values are ignored.
pub const TAIL: usize = 32;

/// Planes start at multiples of this many elements: one cache line.
pub(crate) const ALIGN: usize = 16;

/// Zeros that a tensor keeps around each plane, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Halo {
    /// Rows above the first.
    pub top: usize,
    /// Rows below the last.
    pub bottom: usize,
    /// Pixels before each row.
    pub left: usize,
    /// Pixels after each row.
    pub right: usize,
}

impl Halo {
    /// The same number of pixels on each side.
    pub fn uniform(pixels: usize) -> Halo {
        Halo { top: pixels, bottom: pixels, left: pixels, right: pixels }
    }

    /// The smallest halo that contains both.
    pub fn union(self, other: Halo) -> Halo {
        Halo {
            top: self.top.max(other.top),
            bottom: self.bottom.max(other.bottom),
            left: self.left.max(other.left),
            right: self.right.max(other.right),
        }
    }
}

/// Where the elements of an image tensor lie in a slice. All fields count elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planar {
    /// Number of images.
    pub images: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of a plane.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Index of image 0, channel 0, row 0, pixel 0.
    pub origin: usize,
    /// Distance between images.
    pub image_stride: usize,
    /// Distance between planes.
    pub channel_stride: usize,
    /// Distance between rows.
    pub row_stride: usize,
    /// The zeros kept around each plane.
    pub halo: Halo,
}

impl Planar {
    /// A tensor with `halo`: planes start on cache lines, and the distance between planes is an
    /// odd number of cache lines, so that the same pixel of many channels does not fall into the
    /// same few cache sets.
    pub fn new(images: usize, channels: usize, height: usize, width: usize, halo: Halo) -> Planar {
        let row_stride = width + halo.left.max(halo.right);
        let before = halo.top * row_stride + halo.left;
        let after = halo.bottom * row_stride + halo.right;
        let span = height.saturating_sub(1) * row_stride + width;
        let lines = (span + before.max(after)).div_ceil(ALIGN);
        let channel_stride = (lines | usize::from(channels > 1)) * ALIGN;
        Planar {
            images,
            channels,
            height,
            width,
            origin: before.next_multiple_of(ALIGN),
            image_stride: channels * channel_stride,
            channel_stride,
            row_stride,
            halo,
        }
    }

    /// A tensor without gaps: plain NCHW, as users hand it in and take it out.
    pub fn dense(images: usize, channels: usize, height: usize, width: usize) -> Planar {
        Planar {
            images,
            channels,
            height,
            width,
            origin: 0,
            image_stride: channels * height * width,
            channel_stride: height * width,
            row_stride: width,
            halo: Halo::default(),
        }
    }

    /// The same layout, seen as only the channels `first..first + count`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if there are no such channels.
    pub fn channel_range(self, first: usize, count: usize) -> Result<Planar, KernelError> {
        require("planar", first + count <= self.channels && count > 0, || {
            format!("channels {first}..{} of {}", first + count, self.channels)
        })?;
        Ok(Planar { channels: count, origin: self.origin + first * self.channel_stride, ..self })
    }

    /// Index one past the last element.
    pub fn end(&self) -> usize {
        self.index(self.images - 1, self.channels - 1, self.height - 1, self.width - 1) + 1
    }

    /// Elements that a slice holding this tensor must have, halo and [`TAIL`] included.
    pub fn len(&self) -> usize {
        self.end() + self.zeros_after() + TAIL
    }

    /// Whether the tensor has no elements; such tensors are refused by every kernel.
    pub fn is_empty(&self) -> bool {
        self.images == 0 || self.channels == 0 || self.height == 0 || self.width == 0
    }

    /// Index one past the last zero of the halo.
    pub(crate) fn end_with_halo(&self) -> usize {
        self.end() + self.zeros_after()
    }

    /// Index of an element.
    pub fn index(&self, image: usize, channel: usize, y: usize, x: usize) -> usize {
        self.origin
            + image * self.image_stride
            + channel * self.channel_stride
            + y * self.row_stride
            + x
    }

    /// Elements from the first pixel of a plane to the last, gaps between rows included.
    pub fn span(&self) -> usize {
        (self.height - 1) * self.row_stride + self.width
    }

    /// Multiplied extents: the elements without any gap.
    pub fn elements(&self) -> usize {
        self.images * self.channels * self.height * self.width
    }

    /// Zeros before the first pixel of each plane.
    pub(crate) fn zeros_before(&self) -> usize {
        self.halo.top * self.row_stride + self.halo.left
    }

    /// Zeros after the last pixel of each plane.
    pub(crate) fn zeros_after(&self) -> usize {
        self.halo.bottom * self.row_stride + self.halo.right
    }

    /// Refuses layouts whose elements overlap or whose halo does not fit.
    pub(crate) fn check(&self, kernel: &'static str, what: &str) -> Result<(), KernelError> {
        require(kernel, !self.is_empty(), || format!("{what} has no elements: {self:?}"))?;
        let gap = self.halo.left.max(self.halo.right);
        let zeros = self.zeros_before().max(self.zeros_after());
        let limit = isize::MAX as usize / size_of::<f32>() / 4;
        let fits = self.row_stride >= self.width + gap
            && (self.channels == 1 || self.channel_stride >= self.span() + zeros)
            && (self.images == 1
                || self.image_stride
                    >= (self.channels - 1) * self.channel_stride + self.span() + zeros)
            && self.origin >= self.zeros_before();
        require(kernel, fits, || format!("the rows or planes of {what} overlap: {self:?}"))?;
        let total = (self.images as u128) * (self.image_stride as u128)
            + (self.channels as u128) * (self.channel_stride as u128)
            + (self.height as u128) * (self.row_stride as u128)
            + self.origin as u128;
        require(kernel, total < limit as u128, || format!("{what} is too large: {self:?}"))
    }

    /// Sets all zeros of the halo and of the gaps between rows, leaving the elements alone.
    ///
    /// Kernels keep a cleared halo cleared, so this is needed once per allocation, or before each
    /// use when the memory serves other tensors in between.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the slice is shorter than [`Planar::end`] plus the halo.
    pub fn clear_halo(&self, data: &mut [f32]) -> Result<(), KernelError> {
        self.check("clear_halo", "tensor")?;
        require_len("clear_halo", "tensor", self.end() + self.zeros_after(), data.len())?;
        for image in 0..self.images {
            for channel in 0..self.channels {
                // SAFETY: all planes with their borders lie within the slice.
                unsafe { self.clear_around(data.as_mut_ptr(), image, channel) };
            }
        }
        Ok(())
    }

    /// Sets the zeros around one plane and between its rows.
    ///
    /// # Safety
    /// The layout is sound ([`Planar::check`]); its elements and halo are writable from `data` on,
    /// and nobody else uses those of this plane.
    pub(crate) unsafe fn clear_around(&self, data: *mut f32, image: usize, channel: usize) {
        let first = self.index(image, channel, 0, 0);
        // SAFETY: all that is written belongs to this plane.
        unsafe {
            let before = self.zeros_before();
            std::ptr::write_bytes(data.add(first - before), 0, before);
            std::ptr::write_bytes(data.add(first + self.span()), 0, self.zeros_after());
            let gap = self.row_stride - self.width;
            if gap > 0 {
                for y in 0..self.height - 1 {
                    let row = data.add(first + y * self.row_stride + self.width);
                    for x in 0..gap {
                        *row.add(x) = 0.0;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_planes_neither_overlap_nor_share_cache_sets() {
        for halo in
            [Halo::default(), Halo::uniform(1), Halo { top: 3, right: 2, ..Halo::default() }]
        {
            for (h, w) in [(1, 1), (7, 7), (13, 127), (128, 128)] {
                let p = Planar::new(2, 3, h, w, halo);
                p.check("test", "tensor").unwrap();
                assert_eq!(p.channel_stride / ALIGN % 2, 1, "{p:?}");
                assert_eq!(p.origin % ALIGN, 0);
            }
        }
    }

    #[test]
    fn clearing_touches_the_halo_and_nothing_else() {
        let p = Planar::new(2, 3, 4, 5, Halo { top: 1, bottom: 2, left: 1, right: 3 });
        let mut data = vec![7.0; p.len()];
        p.clear_halo(&mut data).unwrap();
        for image in 0..2 {
            for channel in 0..3 {
                let at = |y: isize, x: isize| {
                    let i = p.index(image, channel, 0, 0) as isize;
                    data[(i + y * p.row_stride as isize + x) as usize]
                };
                for y in -1..6isize {
                    for x in -1..8isize {
                        let inside = (0..4).contains(&y) && (0..5).contains(&x);
                        assert_eq!(at(y, x), if inside { 7.0 } else { 0.0 }, "{y} {x}");
                    }
                }
            }
        }
        let elements = data.iter().filter(|x| **x == 7.0).count();
        assert!(elements >= p.elements());
    }

    #[test]
    fn contradictory_layouts_are_refused() {
        let p = Planar::new(1, 2, 4, 5, Halo::uniform(1));
        assert!(Planar { row_stride: 5, ..p }.check("test", "x").is_err());
        assert!(Planar { channel_stride: 20, ..p }.check("test", "x").is_err());
        assert!(Planar { origin: 0, ..p }.check("test", "x").is_err());
        assert!(Planar { channels: 0, ..p }.check("test", "x").is_err());
        assert!(Planar { image_stride: usize::MAX / 4, ..p }.check("test", "x").is_err());
        assert!(p.clear_halo(&mut [0.0; 10]).is_err());
        assert!(p.channel_range(1, 2).is_err());
    }
}
