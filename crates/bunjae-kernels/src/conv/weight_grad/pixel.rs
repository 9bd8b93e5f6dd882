//! The pixel form of the weight gradient: vectors run over pixels.
//!
//! On padded planes a weight's gradient is one dot product of two runs of pixels: the gradient's
//! plane, and the input's shifted by the tap's offset. Where the rows of both are the same distance
//! apart, with zeros between them, a run is a whole plane. A strided input is first copied and split
//! by phases, as the forward convolution does.
//!
//! Blocking: a chunk of about [`CHUNK`] pixels (part of a plane, or the planes of several images) of
//! one tile's channels of the gradient stays in the first-level cache while the products of
//! [`BLOCK`] elements of input, which stay in the second-level cache, pass over it. The chunks are
//! divided into blocks of images, each with sums of its own, which are added in order in the end:
//! the geometry alone decides which sums there are.

use std::ops::Range;

use super::super::source::{CopyArgs, CopyPlane, Source};
use super::super::{ConvSpec, MAX_TASKS, even_tiles};
use super::Operands;
use super::pixel_tile::{GradArgs, grad_tile, max_channels, max_products};
use crate::isa::Isa;
use crate::output::part;
use crate::planar::{Planar, TAIL};
use crate::simd::{Entry, entry};

/// Pixels of a chunk: with four channels of the gradient, half of a first-level cache of 32 KiB.
const CHUNK: usize = 1024;

/// Elements of input that pass over a chunk of the gradient: half of a second-level cache of
/// 512 KiB.
const BLOCK: usize = 64 * 1024;

/// Elements of sums that all blocks of images together may have.
const PARTIAL_SUMS: usize = 1 << 20;

/// A prepared weight gradient.
pub(super) struct PixelForm {
    spec: ConvSpec,
    isa: Isa,
    source: Source,
    copy_plane: Entry<CopyArgs>,
    offsets: Vec<isize>,
    /// Channels of the gradient as tiles: group, first channel within the group, count.
    tiles: Vec<(usize, usize, usize)>,
    /// Runs of pixels per plane and their length.
    rows: usize,
    pixels: usize,
    /// Blocks of images with sums of their own.
    blocks: usize,
    /// Parts of the tiles that are tasks of their own.
    parts: usize,
}

/// Part of a plane, or all of several.
struct Chunk {
    images: Range<usize>,
    rows: Range<usize>,
    pixels: Range<usize>,
}

impl PixelForm {
    /// Prepares a gradient whose `spec` has been checked.
    pub(super) fn new(spec: ConvSpec, isa: Isa) -> PixelForm {
        let gradient = &spec.output;
        let source = Source::new(&spec, true, gradient.row_stride);
        let zero_gap = |p: &Planar| p.row_stride - p.width <= p.halo.left.max(p.halo.right);
        let flat = source.pixel_row == gradient.row_stride
            && zero_gap(gradient)
            && (source.copy.is_some() || zero_gap(&spec.input));
        let [oh, ow] = spec.size;
        let (rows, pixels) = if flat { (1, (oh - 1) * gradient.row_stride + ow) } else { (oh, ow) };
        let outputs = spec.group_outputs();
        let count = outputs.div_ceil(max_channels(isa));
        let group_tiles: Vec<Range<usize>> = (0..count).map(|b| part(outputs, count, b)).collect();
        let tiles: Vec<_> = (0..spec.groups)
            .flat_map(|group| group_tiles.iter().map(move |t| (group, t.start, t.len())))
            .collect();
        let weights = spec.output.channels * spec.k();
        // With many groups there are tiles enough; blocks of images would only cost sums.
        let most = if tiles.len() >= 2 * MAX_TASKS && spec.group_inputs() == 1 {
            1
        } else {
            (PARTIAL_SUMS / weights).max(1)
        };
        let blocks = spec.input.images.min(MAX_TASKS).min(most);
        PixelForm {
            copy_plane: entry::<CopyPlane, CopyArgs>(isa),
            offsets: source.offsets(spec.group_inputs()),
            parts: MAX_TASKS.div_ceil(blocks).min(tiles.len()),
            spec,
            isa,
            source,
            tiles,
            rows,
            pixels,
            blocks,
        }
    }

    /// Whether stage 0 copies the input; where a group is one channel, planes are copied one by one
    /// instead.
    fn copies_first(&self) -> bool {
        self.source.copy.is_some() && self.spec.group_inputs() > 1
    }

    fn copies_planes(&self) -> bool {
        self.source.copy.is_some() && self.spec.group_inputs() == 1
    }

    fn copy_len(&self) -> usize {
        if self.copies_first() { self.source.len } else { 0 }
    }

    fn weights_len(&self) -> usize {
        self.spec.output.channels * self.spec.k()
    }

    /// Elements of the input that are read.
    pub(super) fn input_len(&self) -> usize {
        self.source.exact_len(&self.spec.input)
    }

    pub(super) fn workspace_len(&self) -> usize {
        self.copy_len() + if self.blocks > 1 { self.blocks * self.weights_len() } else { 0 }
    }

    pub(super) fn scratch_len(&self) -> usize {
        if self.copies_planes() { self.source.channel_stride + TAIL } else { 0 }
    }

    pub(super) fn stages(&self) -> [usize; 3] {
        let copies = match &self.source.copy {
            Some(copy) if self.copies_first() => copy.tasks(),
            _ => 0,
        };
        let sums = if self.blocks > 1 { (self.weights_len() >> 13).clamp(1, MAX_TASKS) } else { 0 };
        [copies, self.blocks * self.parts, sums]
    }

    /// Runs one task.
    ///
    /// # Safety
    /// As [`super::ConvWeightGrad::run_tasks`], with lengths checked.
    pub(super) unsafe fn run(
        &self,
        stage: usize,
        task: usize,
        operands: &Operands<'_>,
        scratch: &mut [f32],
    ) {
        let Operands { input, gradient, weights, workspace } = *operands;
        let count = self.stages()[stage];
        match (stage, &self.source.copy) {
            (0, Some(copy)) => {
                // SAFETY: the slices are long enough and this task alone writes its planes.
                unsafe { copy.run_task(self.copy_plane, task, input.as_ptr(), workspace) };
            }
            (1, _) => {
                let sums = if self.blocks > 1 {
                    let block = task / self.parts;
                    workspace.wrapping_add(self.copy_len() + block * self.weights_len())
                } else {
                    weights
                };
                let source =
                    if self.copies_first() { workspace.cast_const() } else { input.as_ptr() };
                // SAFETY: lengths are checked; the copy is complete; tasks of the same block have
                // different tiles, and so write different weights.
                unsafe { self.task(task, source, gradient, sums, scratch) };
            }
            _ => {
                let range = part(self.weights_len(), count, task);
                let sums = workspace.wrapping_add(self.copy_len());
                // SAFETY: stage 1 is complete; this task alone writes this range.
                unsafe { self.add_up(range, sums, weights) };
            }
        }
    }

    /// Sums of one block of images and part of the tiles.
    ///
    /// # Safety
    /// Lengths are checked; no other thread writes these sums.
    unsafe fn task(
        &self,
        task: usize,
        source: *const f32,
        gradient: &[f32],
        sums: *mut f32,
        scratch: &mut [f32],
    ) {
        let k = self.spec.k();
        let outputs = self.spec.group_outputs();
        let (block, part_index) = (task / self.parts, task % self.parts);
        let images = part(self.spec.input.images, self.blocks, block);
        let tiles = &self.tiles[part(self.tiles.len(), self.parts, part_index)];
        for &(group, first, count) in tiles {
            // SAFETY: the rows of weights of this tile.
            unsafe {
                std::ptr::write_bytes(sums.add((group * outputs + first) * k), 0, count * k);
            }
        }
        if self.copies_planes() {
            // SAFETY: passed on.
            unsafe { self.plane_by_plane(images, tiles, source, gradient, sums, scratch) };
            return;
        }
        let taps = self.source.taps.len();
        let inputs = self.spec.group_inputs();
        self.chunks(images, |chunk| {
            let elements = chunk.images.len() * chunk.rows.len() * chunk.pixels.len();
            let at_once = (BLOCK / elements).clamp(1, inputs);
            for channel in (0..inputs).step_by(at_once) {
                let products = channel * taps..(channel + at_once).min(inputs) * taps;
                for &(group, first, count) in tiles {
                    let input = source.wrapping_add(
                        self.source.first
                            + chunk.images.start * self.source.image_stride
                            + group * inputs * self.source.channel_stride
                            + chunk.rows.start * self.source.pixel_row
                            + chunk.pixels.start,
                    );
                    // SAFETY: the chunk lies within the planes.
                    unsafe {
                        self.tile(
                            chunk,
                            group,
                            first..first + count,
                            input,
                            products.clone(),
                            Grad { gradient, sums },
                        );
                    }
                }
            }
        });
    }

    /// As [`PixelForm::task`], copying each plane to scratch memory just before it is used.
    ///
    /// # Safety
    /// As [`PixelForm::task`]; groups have one input channel.
    unsafe fn plane_by_plane(
        &self,
        images: Range<usize>,
        tiles: &[(usize, usize, usize)],
        source: *const f32,
        gradient: &[f32],
        sums: *mut f32,
        scratch: &mut [f32],
    ) {
        let Some(copy) = &self.source.copy else { return };
        for image in images {
            let mut copied = None;
            for &(group, first, count) in tiles {
                if copied != Some(group) {
                    let plane = image * self.spec.groups + group;
                    // SAFETY: scratch holds one channel's planes.
                    unsafe { (self.copy_plane)(&copy.args(plane, source, scratch.as_mut_ptr())) };
                    copied = Some(group);
                }
                let chunk =
                    Chunk { images: image..image + 1, rows: 0..self.rows, pixels: 0..self.pixels };
                let products = 0..self.spec.k();
                let grad = Grad { gradient, sums };
                // SAFETY: the chunk is a whole plane.
                unsafe {
                    let input = scratch.as_ptr();
                    self.tile(&chunk, group, first..first + count, input, products, grad);
                }
            }
        }
    }

    /// The products of one tile's channels with some of the group's inputs and taps.
    ///
    /// # Safety
    /// `input` is the chunk's first pixel as seen by the first input channel of the group through a
    /// tap of offset 0; the chunk lies within the planes; this thread alone writes these sums.
    unsafe fn tile(
        &self,
        chunk: &Chunk,
        group: usize,
        channels: Range<usize>,
        input: *const f32,
        products: Range<usize>,
        grad: Grad<'_>,
    ) {
        let k = self.spec.k();
        let dy = &self.spec.output;
        let channel = group * self.spec.group_outputs() + channels.start;
        let index = dy.index(chunk.images.start, channel, chunk.rows.start, chunk.pixels.start);
        let mut next = products.start;
        let most = max_products(self.isa, channels.len());
        for (size, count) in even_tiles(products.len(), most) {
            let tile = grad_tile(self.isa, channels.len(), size);
            for _ in 0..count {
                let args = GradArgs {
                    gradient: grad.gradient.as_ptr().wrapping_add(index),
                    gradient_channel: dy.channel_stride,
                    gradient_row: dy.row_stride,
                    gradient_image: dy.image_stride,
                    input,
                    input_row: self.source.pixel_row,
                    input_image: self.source.image_stride,
                    offsets: self.offsets[next..].as_ptr(),
                    images: chunk.images.len(),
                    rows: chunk.rows.len(),
                    pixels: chunk.pixels.len(),
                    out: grad.sums.wrapping_add(channel * k + next),
                    out_row: k,
                };
                // SAFETY: as the caller's promise; offsets lead to what the taps of existing pixels
                // see, which the source's length covers.
                unsafe { tile(&args) };
                next += size;
            }
        }
    }

    /// Visits the chunks of some images in order.
    fn chunks(&self, images: Range<usize>, mut visit: impl FnMut(&Chunk)) {
        let plane = self.rows * self.pixels;
        if plane <= CHUNK {
            let at_once = CHUNK / plane;
            for first in images.clone().step_by(at_once) {
                let images = first..(first + at_once).min(images.end);
                visit(&Chunk { images, rows: 0..self.rows, pixels: 0..self.pixels });
            }
            return;
        }
        for image in images {
            let count = plane.div_ceil(CHUNK);
            for index in 0..count {
                let images = image..image + 1;
                if self.rows == 1 {
                    // Whole vectors in all chunks but the last.
                    let lanes = self.isa.lanes();
                    let vectors = part(self.pixels.div_ceil(lanes), count, index);
                    let end = (vectors.end * lanes).min(self.pixels);
                    visit(&Chunk { images, rows: 0..1, pixels: vectors.start * lanes..end });
                } else if index < self.rows {
                    let rows = part(self.rows, count.min(self.rows), index);
                    visit(&Chunk { images, rows, pixels: 0..self.pixels });
                }
            }
        }
    }

    /// Adds up the sums of all blocks, in order, for a range of weights.
    ///
    /// # Safety
    /// `blocks` times all weights are readable at `sums`; the range is writable at `weights`.
    unsafe fn add_up(&self, range: Range<usize>, sums: *const f32, weights: *mut f32) {
        let all = self.weights_len();
        // SAFETY: the caller vouches for both.
        unsafe {
            let out = std::slice::from_raw_parts_mut(weights.add(range.start), range.len());
            for block in 0..self.blocks {
                let from = sums.add(block * all + range.start);
                let from = std::slice::from_raw_parts(from, range.len());
                if block == 0 {
                    out.copy_from_slice(from);
                } else {
                    out.iter_mut().zip(from).for_each(|(out, from)| *out += from);
                }
            }
        }
    }
}

/// What a tile reads and where its sums go.
#[derive(Clone, Copy)]
struct Grad<'a> {
    gradient: &'a [f32],
    sums: *mut f32,
}
