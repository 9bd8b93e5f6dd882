//! An input that is not stored: made anew in scratch memory, a few planes at a time, from what a
//! normalisation read. The tensor that the forward pass convolved is then neither kept nor written
//! once more, which is most of what having it again would cost.

use std::ops::Range;

use crate::error::{KernelError, require_len};
use crate::planar::{ALIGN, Planar};
use crate::train::{BatchNormNumbers, PlaneSet, PlanesAgain};

use super::NAME;

/// How the input is made.
pub(super) struct Making {
    pub(super) planes: PlanesAgain,
    /// Where the normalisation's operand lies.
    pub(super) layout: Planar,
}

/// The operand, and what each of its channels is multiplied by and what is added.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) making: &'a Making,
    pub(super) operand: *const f32,
    pub(super) affine: &'a [[f32; 2]],
}

impl Making {
    /// Elements of scratch memory for factors and addends.
    pub(super) fn affine_len(&self) -> usize {
        (2 * self.layout.channels).next_multiple_of(ALIGN)
    }

    /// Computes factors and addends at the beginning of the scratch memory, and leaves the rest.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the operand or the numbers are too few.
    pub(super) fn begin<'a>(
        &'a self,
        operand: &[f32],
        numbers: &BatchNormNumbers<'_>,
        scratch: &'a mut [f32],
    ) -> Result<(Made<'a>, &'a mut [f32]), KernelError> {
        require_len(NAME, "the normalisation's operand", self.layout.end(), operand.len())?;
        let (affine, scratch) = scratch.split_at_mut(self.affine_len());
        let (affine, _) = affine.as_chunks_mut::<2>();
        let affine = &mut affine[..self.layout.channels];
        self.planes.affine(NAME, numbers, affine)?;
        Ok((Made { making: self, operand: operand.as_ptr(), affine }, scratch))
    }
}

impl Made<'_> {
    /// Makes the same part of the planes of some channels of some images.
    ///
    /// # Safety
    /// The operand is readable, and `to` writable by this thread alone.
    pub(super) unsafe fn make(
        &self,
        images: Range<usize>,
        channels: Range<usize>,
        rows: Range<usize>,
        columns: Range<usize>,
        to: PlaneSet<*mut f32>,
    ) {
        let layout = &self.making.layout;
        let first = layout.index(images.start, channels.start, rows.start, columns.start);
        let from = PlaneSet {
            first: self.operand.wrapping_add(first),
            image: layout.image_stride,
            channel: layout.channel_stride,
            row: layout.row_stride,
        };
        let (affine, size) = (&self.affine[channels], [rows.len(), columns.len()]);
        // SAFETY: the part lies within the planes; the caller vouches for `to`.
        unsafe { self.making.planes.run(affine, images.len(), size, from, None, to) };
    }
}
