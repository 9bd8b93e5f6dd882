//! The pixel form of the weight gradient: vectors run over pixels.
//!
//! On padded planes a weight's gradient is one dot product of two runs of pixels: the gradient's
//! plane, and the input's shifted by the tap's offset. Where the rows of both are the same distance
//! apart, with zeros between them, a run is a whole plane. A strided input is first copied and split
//! by phases, as the forward convolution does, but for the depthwise kernels with a tile of their own
//! ([`strided_tile`]); where a group has one channel, that and making an input that is not stored are
//! done a few planes at a time.
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
use super::made::Made;
use super::pixel_tile::{GradArgs, grad_tile, max_channels, max_products};
use super::strided_tile::strided_tile;
use crate::isa::Isa;
use crate::output::part;
use crate::planar::{Halo, Planar, TAIL};
use crate::simd::{Entry, entry};
use crate::train::PlaneSet;

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
    /// The tile of all products of a channel, where the source is read two columns apart.
    strided: Option<Entry<GradArgs>>,
    /// Channels of the gradient as tiles: group, first channel within the group, count.
    tiles: Vec<(usize, usize, usize)>,
    /// Runs of pixels per plane and their length.
    rows: usize,
    pixels: usize,
    /// Blocks of images with sums of their own.
    blocks: usize,
    /// Parts of the tiles that are tasks of their own.
    parts: usize,
    /// The layout of an input that is made in scratch memory: all planes in the same place, those of
    /// images that are used together excepted.
    made: Option<Planar>,
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
        let strided = strided_tile(&spec, isa).filter(|_| spec.halo_suffices());
        let source = Source::new(&spec, strided.is_none(), gradient.row_stride);
        let zero_gap = |p: &Planar| p.row_stride - p.width <= p.halo.left.max(p.halo.right);
        let flat = strided.is_none()
            && source.pixel_row == gradient.row_stride
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
            strided,
            tiles,
            rows,
            pixels,
            blocks,
            made: None,
        }
    }

    /// For an input that is made: of depthwise convolutions.
    pub(super) fn making(spec: ConvSpec, isa: Isa) -> Option<PixelForm> {
        let Planar { images, channels, height, width, .. } = spec.input;
        if spec.group_inputs() > 1 {
            return None;
        }
        let [bottom, right] = spec.padding_end();
        let [top, left] = spec.padding;
        // Rows as far apart as the gradient's, so that runs are whole planes.
        let gap = left.max(right);
        let gap = match spec.output.row_stride.checked_sub(width) {
            Some(wanted) if spec.stride == [1, 1] => gap.max(wanted),
            _ => gap,
        };
        let halo = Halo { top, bottom, left: gap, right: gap };
        let plane = Planar::new(1, 1, height, width, halo);
        let plane =
            Planar { images, channels, image_stride: plane.len(), channel_stride: 0, ..plane };
        let form = PixelForm::new(ConvSpec { input: plane, ..spec }, isa);
        Some(PixelForm { made: Some(plane), ..form })
    }

    /// Images whose planes are used together.
    fn images_together(&self) -> usize {
        (CHUNK / (self.rows * self.pixels)).clamp(1, self.spec.input.images)
    }

    /// Whether stage 0 copies the input; where a group is one channel, planes are copied one by one
    /// instead.
    fn copies_first(&self) -> bool {
        self.source.copy.is_some() && self.spec.group_inputs() > 1
    }

    /// Whether a tile's planes are copied or made just before they are used.
    fn prepares_planes(&self) -> bool {
        self.made.is_some() || (self.source.copy.is_some() && self.spec.group_inputs() == 1)
    }

    /// Elements of made planes, and of copied ones, that are used together.
    fn prepared_lens(&self) -> [usize; 2] {
        let images = self.images_together();
        let made = self.made.map_or(0, |made| images * made.image_stride);
        let copied = match &self.source.copy {
            Some(copy) if self.prepares_planes() => images * copy.plane_len() + TAIL,
            _ => 0,
        };
        [made, copied]
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
        self.prepared_lens().iter().sum()
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
        let Operands { input, made, gradient, weights, workspace } = *operands;
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
                unsafe { self.task(task, source, made, gradient, sums, scratch) };
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
        made: Option<Made<'_>>,
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
        let grad = Grad { gradient, sums };
        if self.spec.group_inputs() == 1 {
            // SAFETY: passed on.
            unsafe { self.plane_by_plane(images, tiles, source, made, grad, scratch) };
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
                    let first_input = source.wrapping_add(
                        self.source.first
                            + chunk.images.start * self.source.image_stride
                            + group * inputs * self.source.channel_stride
                            + chunk.rows.start * self.source.pixel_row
                            + chunk.pixels.start * self.source.pixel_column,
                    );
                    let image = self.source.image_stride;
                    let input = Input { first: first_input, image, channel: 0 };
                    let (channels, products) = (first..first + count, products.clone());
                    // SAFETY: the chunk lies within the planes.
                    unsafe { self.tile(chunk, group, channels, input, products, grad) };
                }
            }
        });
    }

    /// As [`PixelForm::task`], where no plane of the input is used by two groups: all chunks of a plane
    /// before the next one, and planes that are made or copied in scratch memory just before they are used.
    ///
    /// # Safety
    /// As [`PixelForm::task`]; groups have one input channel.
    unsafe fn plane_by_plane(
        &self,
        images: Range<usize>,
        tiles: &[(usize, usize, usize)],
        source: *const f32,
        made: Option<Made<'_>>,
        grad: Grad<'_>,
        scratch: &mut [f32],
    ) {
        let together = self.images_together();
        let (made_planes, copies) = scratch.split_at_mut(self.prepared_lens()[0]);
        // The borders of made planes, which nobody else writes.
        made_planes.fill(0.0);
        let image_stride = match &self.source.copy {
            Some(copy) => copy.plane_len(),
            None => self.source.image_stride,
        };
        for first_image in images.clone().step_by(together) {
            let images = first_image..images.end.min(first_image + together);
            let mut prepared = None;
            for &(group, first, count) in tiles {
                if prepared != Some(group) {
                    // SAFETY: scratch holds the planes of these images.
                    unsafe { self.prepare(&images, group, source, made, made_planes, copies) };
                    prepared = Some(group);
                }
                let stored = self.source.channel_stride;
                let (planes, channel) = match (&self.source.copy, self.made) {
                    (Some(_), _) => (copies.as_ptr(), 0),
                    (None, Some(_)) => (made_planes.as_ptr().wrapping_add(self.source.first), 0),
                    (None, None) => {
                        let first = self.source.first + first_image * image_stride;
                        (source.wrapping_add(first + group * stored), stored)
                    }
                };
                self.chunks(images.clone(), |chunk| {
                    let input = planes.wrapping_add(
                        (chunk.images.start - first_image) * image_stride
                            + chunk.rows.start * self.source.pixel_row
                            + chunk.pixels.start * self.source.pixel_column,
                    );
                    // SAFETY: the chunk lies within the planes.
                    unsafe {
                        let products = 0..self.spec.k();
                        let channels = first..first + count;
                        let input = Input { first: input, image: image_stride, channel };
                        self.tile(chunk, group, channels, input, products, grad);
                    }
                });
            }
        }
    }

    /// Makes and copies the planes of a channel of some images.
    ///
    /// # Safety
    /// The operand is readable; scratch memory has as many planes as there are images.
    unsafe fn prepare(
        &self,
        images: &Range<usize>,
        channel: usize,
        source: *const f32,
        made: Option<Made<'_>>,
        planes: &mut [f32],
        copies: &mut [f32],
    ) {
        let made = made.zip(self.made);
        if let Some((made, layout)) = made {
            let to = PlaneSet {
                first: planes[layout.origin..].as_mut_ptr(),
                image: layout.image_stride,
                channel: layout.channel_stride,
                row: layout.row_stride,
            };
            let (rows, columns) = (0..layout.height, 0..layout.width);
            // SAFETY: the caller's promise.
            unsafe { made.make(images.clone(), channel..channel + 1, rows, columns, to) };
        }
        let Some(copy) = &self.source.copy else { return };
        for (at, image) in images.clone().enumerate() {
            let to = copies[at * copy.plane_len()..].as_mut_ptr();
            let args = match made {
                // All channels are in the same place.
                Some((_, layout)) => copy.args(0, planes[at * layout.image_stride..].as_ptr(), to),
                None => copy.args(image * self.spec.groups + channel, source, to),
            };
            // SAFETY: the caller's promise.
            unsafe { (self.copy_plane)(&args) };
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
        input: Input,
        products: Range<usize>,
        grad: Grad<'_>,
    ) {
        let k = self.spec.k();
        let dy = &self.spec.output;
        let channel = group * self.spec.group_outputs() + channels.start;
        let index = dy.index(chunk.images.start, channel, chunk.rows.start, chunk.pixels.start);
        // The planes of the next tile, the next channel's where planes are used one by one.
        let next_planes = [dy.channel_stride * channels.len(), input.channel];
        // Of the tile's channel `at` and a product on.
        let args = |at: usize, product: usize| GradArgs {
            gradient: grad.gradient.as_ptr().wrapping_add(index + at * dy.channel_stride),
            gradient_channel: dy.channel_stride,
            gradient_row: dy.row_stride,
            gradient_image: dy.image_stride,
            input: input.first,
            input_row: self.source.pixel_row,
            input_image: input.image,
            ahead: if product == products.start { next_planes } else { [0; 2] },
            offsets: self.offsets[product..].as_ptr(),
            images: chunk.images.len(),
            rows: chunk.rows.len(),
            pixels: chunk.pixels.len(),
            out: grad.sums.wrapping_add((channel + at) * k + product),
            out_row: k,
        };
        // SAFETY: as the caller's promise; offsets lead to what the taps of existing pixels see, which the
        // source's length covers.
        unsafe {
            if let Some(tile) = self.strided {
                for at in 0..channels.len() {
                    tile(&args(at, 0));
                }
                return;
            }
            let mut next = products.start;
            let most = max_products(self.isa, channels.len());
            for (size, count) in even_tiles(products.len(), most) {
                let tile = grad_tile(self.isa, channels.len(), size);
                for _ in 0..count {
                    tile(&args(0, next));
                    next += size;
                }
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

/// The first pixel of a chunk, and the distances to the next image's and to the next tile's: 0 where that
/// is the same, or nothing that is stored.
#[derive(Clone, Copy)]
struct Input {
    first: *const f32,
    image: usize,
    channel: usize,
}

/// What a tile reads and where its sums go.
#[derive(Clone, Copy)]
struct Grad<'a> {
    gradient: &'a [f32],
    sums: *mut f32,
}
