//! The channel form of the weight gradient: vectors run over output channels.
//!
//! Some pixels of up to three vectors of the gradient's channels are transposed into scratch memory,
//! a vector of channels for each pixel. A tile is `MR` products (input channel and tap) by these
//! vectors: for each pixel the input is broadcast and multiplied. There is nothing to add up across
//! lanes, rows may be as short as they like, and a strided input is read where it lies.
//!
//! Blocking: the gradient's pixels stay in the first-level cache while all products pass over them.
//! The pixels of several images are divided into blocks with sums of their own, which are added in
//! order in the end: the geometry alone decides which sums there are.

use std::ops::Range;

use super::super::pixel::{LINE, many_registers};
use super::super::source::{CopyArgs, CopyPlane, Source};
use super::super::{ConvSpec, MAX_TASKS, even_tiles};
use super::Operands;
use super::made::Made;
use crate::isa::Isa;
use crate::output::part;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};
use crate::train::PlaneSet;

/// Most vectors of channels of a tile.
pub(super) const MAX_VECTORS: usize = 3;

/// Elements of transposed gradient: half of a first-level cache of 32 KiB.
const CHUNK: usize = 4096;

/// Fewest pixels of a block of images: with fewer, adding up the sums costs more than it brings.
const BLOCK_PIXELS: usize = 512;

/// Elements of sums that all blocks of images together may have.
const PARTIAL_SUMS: usize = 1 << 20;

/// Most products of a tile of 1 to 3 vectors of channels, for 32 and for 16 registers. Tiles that
/// need every one of 16 registers were spilled and ran at half the speed.
const MR_32: [usize; MAX_VECTORS] = [8, 8, 8];
const MR_16: [usize; MAX_VECTORS] = [8, 5, 3];

/// Products for which transposing the gradient is worth its time on large planes.
const WORTH_TRANSPOSING: usize = 64;

/// Pixels of a plane on which vectors over pixels are mostly partial, or in the gaps between rows.
const SMALL_PLANE: usize = 400;

/// Whether this form beats the one over pixels.
pub(super) fn is_faster(spec: &ConvSpec, isa: Isa) -> bool {
    let outputs = spec.group_outputs();
    // A vector of channels that is mostly empty gives away more than short rows do.
    let filled = 4 * outputs >= 3 * outputs.next_multiple_of(isa.lanes());
    filled && (spec.k() >= WORTH_TRANSPOSING || spec.size[0] * spec.size[1] <= SMALL_PLANE)
}

/// A prepared weight gradient.
pub(super) struct ChannelForm {
    spec: ConvSpec,
    isa: Isa,
    pub(super) source: Source,
    copy_plane: Entry<CopyArgs>,
    pub(super) transpose: Entry<TransposeArgs>,
    offsets: Vec<isize>,
    pub(super) panels: Vec<Panel>,
    /// Blocks of images with sums of their own.
    pub(super) blocks: usize,
    /// Parts of the panels that are tasks of their own; of the products where the input is made.
    pub(super) parts: usize,
    /// Whether the input is made in scratch memory, all channels of a chunk.
    makes: bool,
}

/// Some vectors of output channels of a group.
pub(super) struct Panel {
    pub(super) group: usize,
    /// The first channel, and how many there are.
    pub(super) channel: usize,
    pub(super) channels: usize,
    pub(super) vectors: usize,
    /// Where its sums begin: for each product as many as its vectors have lanes.
    pub(super) sums: usize,
}

/// Pixels whose gradients are transposed together: whole images, rows of one, or part of a row.
struct Chunk {
    images: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Chunk {
    /// How far behind this one the next begins, in a tensor whose images and rows are so far apart.
    fn ahead(&self, height: usize, image: usize, row: usize) -> usize {
        if self.rows.end < height {
            self.rows.len() * row
        } else {
            (self.images.len() * image).saturating_sub(self.rows.start * row)
        }
    }
}

/// The sums that a task computes.
struct Share<'a> {
    images: Range<usize>,
    panels: &'a [Panel],
    products: Range<usize>,
}

/// Where the input is.
#[derive(Clone, Copy)]
enum Pixels<'a> {
    At(*const f32),
    Made(Made<'a>),
}

impl ChannelForm {
    /// Prepares a gradient whose `spec` has been checked.
    pub(super) fn new(spec: ConvSpec, isa: Isa) -> ChannelForm {
        let source = Source::new(&spec, false, 0);
        let (lanes, outputs) = (isa.lanes(), spec.group_outputs());
        let vectors = outputs.div_ceil(lanes);
        let count = vectors.div_ceil(MAX_VECTORS);
        let mut panels = Vec::new();
        let mut sums = 0;
        for group in 0..spec.groups {
            for index in 0..count {
                let range = part(vectors, count, index);
                let first = range.start * lanes;
                let channels = (range.end * lanes).min(outputs) - first;
                let channel = group * outputs + first;
                panels.push(Panel { group, channel, channels, vectors: range.len(), sums });
                sums += range.len() * lanes * spec.k();
            }
        }
        let images = spec.input.images;
        let pixels = images * spec.size[0] * spec.size[1];
        let most = (pixels / BLOCK_PIXELS).min(PARTIAL_SUMS / sums);
        let blocks = images.min(MAX_TASKS).min(most).max(1);
        ChannelForm {
            copy_plane: entry::<CopyPlane, CopyArgs>(isa),
            transpose: entry::<TransposeRows, TransposeArgs>(isa),
            offsets: source.offsets(spec.group_inputs()),
            parts: MAX_TASKS.div_ceil(blocks).min(panels.len()),
            spec,
            isa,
            source,
            panels,
            blocks,
            makes: false,
        }
    }

    /// For an input that is made: of pointwise convolutions.
    pub(super) fn making(spec: ConvSpec, isa: Isa) -> Option<ChannelForm> {
        let pointwise = spec.kernel == [1, 1] && spec.stride == [1, 1] && spec.padding == [0, 0];
        // A result larger than the input sees zeros behind it.
        let inside = spec.size[0] <= spec.input.height && spec.size[1] <= spec.input.width;
        if !pointwise || !inside || spec.groups != 1 {
            return None;
        }
        let mut form = ChannelForm::new(spec, isa);
        let [inputs, outputs] = [spec.input.channels, spec.output.channels];
        // Tasks that share images make different channels, and each transposes the gradient: never
        // more elements than are made.
        form.parts = MAX_TASKS.div_ceil(form.blocks).min(inputs / outputs).max(1);
        let chunk = form.chunk_pixels() as isize;
        form.offsets = (0..inputs as isize).map(|channel| channel * chunk).collect();
        form.makes = true;
        Some(form)
    }

    /// Most pixels of a chunk.
    fn chunk_pixels(&self) -> usize {
        CHUNK / (MAX_VECTORS * self.isa.lanes())
    }

    /// Elements of the input that are read.
    pub(super) fn input_len(&self) -> usize {
        self.source.exact_len(&self.spec.input)
    }

    pub(super) fn copy_len(&self) -> usize {
        if self.source.copy.is_some() { self.source.len } else { 0 }
    }

    /// Sums of one block.
    pub(super) fn sums_len(&self) -> usize {
        let vectors: usize = self.panels.iter().map(|panel| panel.vectors).sum();
        vectors * self.isa.lanes() * self.spec.k()
    }

    pub(super) fn workspace_len(&self) -> usize {
        self.copy_len() + self.blocks * self.sums_len()
    }

    pub(super) fn scratch_len(&self) -> usize {
        let made = if self.makes { self.spec.input.channels * self.chunk_pixels() } else { 0 };
        CHUNK + made
    }

    pub(super) fn stages(&self) -> [usize; 3] {
        let copies = self.source.copy.as_ref().map_or(0, |copy| copy.tasks());
        let weights = self.spec.output.channels * self.spec.k();
        let sums = (weights >> 13).clamp(1, MAX_TASKS).min(self.spec.output.channels);
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
        let sums = workspace.wrapping_add(self.copy_len());
        match (stage, &self.source.copy) {
            (0, Some(copy)) => {
                // SAFETY: the slices are long enough and this task alone writes its planes.
                unsafe { copy.run_task(self.copy_plane, task, input.as_ptr(), workspace) };
            }
            (1, copy) => {
                let source = match (copy, made) {
                    (_, Some(made)) => Pixels::Made(made),
                    (Some(_), None) => Pixels::At(workspace.cast_const()),
                    (None, None) => Pixels::At(input.as_ptr()),
                };
                let (block, index) = (task / self.parts, task % self.parts);
                let (panels, products) = if self.makes {
                    (&self.panels[..], part(self.spec.k(), self.parts, index))
                } else {
                    let panels = part(self.panels.len(), self.parts, index);
                    (&self.panels[panels], 0..self.spec.k())
                };
                let images = part(self.spec.input.images, self.blocks, block);
                let sums = sums.wrapping_add(block * self.sums_len());
                // SAFETY: lengths are checked; the copy is complete; this task alone writes the
                // sums of these products and panels in this block.
                unsafe {
                    let share = Share { images, panels, products };
                    self.block(share, source, gradient, sums, scratch);
                };
            }
            _ => {
                let channels = part(self.spec.output.channels, self.stages()[2], task);
                // SAFETY: the sums are complete; this task alone writes these channels.
                unsafe { self.add_up(channels, sums, weights) };
            }
        }
    }

    /// Computes the sums of a task.
    ///
    /// # Safety
    /// Lengths are checked; no other thread writes these sums.
    unsafe fn block(
        &self,
        share: Share<'_>,
        source: Pixels<'_>,
        gradient: &[f32],
        sums: *mut f32,
        scratch: &mut [f32],
    ) {
        let Share { images, panels, products } = share;
        let lanes = self.isa.lanes();
        for panel in panels {
            let width = panel.vectors * lanes;
            // SAFETY: the sums of these products of this panel.
            unsafe {
                let first = sums.add(panel.sums + products.start * width);
                std::ptr::write_bytes(first, 0, products.len() * width);
            }
        }
        let dy = &self.spec.output;
        let (scratch, made) = scratch.split_at_mut(CHUNK);
        self.chunks(images, |chunk| {
            let (image, row, column) = (chunk.images.start, chunk.rows.start, chunk.columns.start);
            let first = match source {
                Pixels::At(source) => source.wrapping_add(
                    self.source.first
                        + image * self.source.image_stride
                        + row * self.source.pixel_row
                        + column * self.source.pixel_column,
                ),
                Pixels::Made(_) => made.as_ptr(),
            };
            let [input_image, input_row, input_column] = match source {
                Pixels::At(_) => {
                    let source = &self.source;
                    [source.image_stride, source.pixel_row, source.pixel_column]
                }
                Pixels::Made(_) => [chunk.rows.len() * chunk.columns.len(), chunk.columns.len(), 1],
            };
            let ahead = match source {
                Pixels::At(_) => chunk.ahead(self.spec.size[0], input_image, input_row),
                Pixels::Made(_) => 0,
            };
            for (index, panel) in panels.iter().enumerate() {
                let from = dy.index(image, panel.channel, row, column);
                let transpose = TransposeArgs {
                    from: gradient.as_ptr().wrapping_add(from),
                    image: dy.image_stride,
                    channel: dy.channel_stride,
                    row: dy.row_stride,
                    channels: panel.channels,
                    vectors: panel.vectors,
                    images: chunk.images.len(),
                    rows: chunk.rows.len(),
                    pixels: chunk.columns.len(),
                    ahead: chunk.ahead(self.spec.size[0], dy.image_stride, dy.row_stride),
                    out: scratch.as_mut_ptr(),
                };
                // SAFETY: the chunk lies within the gradient, and fits the scratch memory.
                unsafe { (self.transpose)(&transpose) };
                let group = panel.group * self.spec.group_inputs() * self.source.channel_stride;
                let width = panel.vectors * lanes;
                let mut product = products.start;
                for (size, count) in
                    even_tiles(products.len(), max_products(self.isa, panel.vectors))
                {
                    let tile = channel_tile(self.isa, size, panel.vectors);
                    for _ in 0..count {
                        if let (Pixels::Made(input), 0) = (source, index) {
                            // While they are in the first-level cache, the tile reads them.
                            // SAFETY: the chunk lies within the operand.
                            unsafe { self.make(input, chunk, product..product + size, made) };
                        }
                        let args = TileArgs {
                            input: first.wrapping_add(group),
                            input_image,
                            input_row,
                            input_column,
                            ahead,
                            offsets: self.offsets[product..].as_ptr(),
                            gradient: scratch.as_ptr(),
                            images: chunk.images.len(),
                            rows: chunk.rows.len(),
                            pixels: chunk.columns.len(),
                            sums: sums.wrapping_add(panel.sums + product * width),
                        };
                        // SAFETY: offsets lead to what the taps of existing pixels see, which the
                        // source's length covers; the sums are this panel's.
                        unsafe { tile(&args) };
                        product += size;
                    }
                }
            }
        });
    }

    /// Makes some channels of a chunk of the input, in their place among all channels.
    ///
    /// # Safety
    /// `to` has as much as [`ChannelForm::scratch_len`] says; the chunk lies within the operand.
    unsafe fn make(&self, input: Made<'_>, chunk: &Chunk, channels: Range<usize>, to: &mut [f32]) {
        let Chunk { images, rows, columns } = chunk;
        let to = PlaneSet {
            first: to[channels.start * self.chunk_pixels()..].as_mut_ptr(),
            image: rows.len() * columns.len(),
            channel: self.chunk_pixels(),
            row: columns.len(),
        };
        // SAFETY: the caller's promise.
        unsafe { input.make(images.clone(), channels, rows.clone(), columns.clone(), to) };
    }

    /// Visits the chunks of some images in order.
    fn chunks(&self, images: Range<usize>, mut visit: impl FnMut(&Chunk)) {
        let [height, width] = self.spec.size;
        let most = self.chunk_pixels();
        if height * width <= most {
            let at_once = most / (height * width);
            for first in images.clone().step_by(at_once) {
                let images = first..(first + at_once).min(images.end);
                visit(&Chunk { images, rows: 0..height, columns: 0..width });
            }
            return;
        }
        let (row_parts, column_parts) = if width <= most {
            (height.div_ceil(most / width), 1)
        } else {
            (height, width.div_ceil(most))
        };
        for image in images {
            for row in 0..row_parts {
                for column in 0..column_parts {
                    visit(&Chunk {
                        images: image..image + 1,
                        rows: part(height, row_parts, row),
                        columns: part(width, column_parts, column),
                    });
                }
            }
        }
    }

    /// Adds up the sums of all blocks, in order, for some output channels.
    ///
    /// # Safety
    /// The sums of all blocks are readable; the channels are writable at `weights`.
    unsafe fn add_up(&self, channels: Range<usize>, sums: *const f32, weights: *mut f32) {
        let (lanes, k, all) = (self.isa.lanes(), self.spec.k(), self.sums_len());
        for panel in &self.panels {
            let first = channels.start.max(panel.channel);
            let end = channels.end.min(panel.channel + panel.channels);
            let width = panel.vectors * lanes;
            for channel in first..end {
                let from = sums.wrapping_add(panel.sums + channel - panel.channel);
                for product in 0..k {
                    // SAFETY: the caller vouches for both.
                    unsafe {
                        let mut sum = *from.add(product * width);
                        for block in 1..self.blocks {
                            sum += *from.add(block * all + product * width);
                        }
                        *weights.add(channel * k + product) = sum;
                    }
                }
            }
        }
    }
}

pub(super) struct TransposeArgs {
    /// The first pixel of the first channel.
    pub(super) from: *const f32,
    pub(super) image: usize,
    pub(super) channel: usize,
    pub(super) row: usize,
    pub(super) channels: usize,
    pub(super) vectors: usize,
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) pixels: usize,
    /// How far behind these pixels those of the next chunk lie.
    pub(super) ahead: usize,
    /// For each pixel, `vectors` of channels; those that do not exist are zero.
    pub(super) out: *mut f32,
}

struct TransposeRows;

impl Body<TransposeArgs> for TransposeRows {
    /// Reads the pixels named and no others.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &TransposeArgs) {
        let l = S::LANES;
        let width = a.vectors * l;
        let mut out = a.out;
        for image in 0..a.images {
            for row in 0..a.rows {
                for x in (0..a.pixels).step_by(l) {
                    let n = (a.pixels - x).min(l);
                    for vector in 0..a.vectors {
                        let first = vector * l;
                        // SAFETY: `n` pixels of each existing channel are readable from `x` on, and
                        // `n` vectors are writable.
                        unsafe {
                            let from =
                                a.from.add(image * a.image + row * a.row + first * a.channel + x);
                            let mut v = [S::zero(); MAX_LANES];
                            for i in 0..l.min(a.channels - first) {
                                let from = from.add(i * a.channel);
                                S::prefetch_read(from.wrapping_add(a.ahead));
                                v[i] = S::load_n(from, n);
                            }
                            S::transpose(&mut v);
                            for i in 0..n {
                                S::store(out.add((x + i) * width + first), v[i]);
                            }
                        }
                    }
                }
                out = out.wrapping_add(a.pixels * width);
            }
        }
    }
}

struct TileArgs {
    /// The input as seen by the first pixel through a tap of offset 0.
    input: *const f32,
    input_image: usize,
    input_row: usize,
    input_column: usize,
    /// How far behind these pixels those of the next chunk lie.
    ahead: usize,
    /// `MR` offsets into the input.
    offsets: *const isize,
    /// For each pixel, `NR` vectors.
    gradient: *const f32,
    images: usize,
    rows: usize,
    pixels: usize,
    /// `MR` times `NR` vectors of sums, to which the products are added.
    sums: *mut f32,
}

/// `MR` products by `NR` vectors of channels.
struct ChannelTile<const MR: usize, const NR: usize>;

impl<const MR: usize, const NR: usize> Body<TileArgs> for ChannelTile<MR, NR> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &TileArgs) {
        if S::REGISTERS < 32 && MR * NR > 10 {
            unreachable!("a tile of {MR} by {NR} does not fit the registers");
        }
        let l = S::LANES;
        // SAFETY: the caller vouches for every pixel seen through every tap, for the gradient's
        // vectors and for the sums.
        unsafe {
            let mut acc = [[S::zero(); NR]; MR];
            let mut gradient = a.gradient;
            for image in 0..a.images {
                for row in 0..a.rows {
                    let input = a.input.add(image * a.input_image + row * a.input_row);
                    let mut inputs = [input; MR];
                    for m in 0..MR {
                        inputs[m] = input.offset(*a.offsets.add(m));
                    }
                    for first in (0..a.pixels).step_by(LINE) {
                        // A chunk has few lines of each of many planes, which no processor looks ahead
                        // to by itself.
                        for m in 0..MR {
                            let ahead = first * a.input_column + a.ahead;
                            S::prefetch_read(inputs[m].wrapping_add(ahead));
                        }
                        for p in first..a.pixels.min(first + LINE) {
                            let mut d = [S::zero(); NR];
                            for n in 0..NR {
                                d[n] = S::load(gradient.add(n * l));
                            }
                            for m in 0..MR {
                                let x = S::splat(*inputs[m].add(p * a.input_column));
                                for n in 0..NR {
                                    acc[m][n] = S::fma(x, d[n], acc[m][n]);
                                }
                            }
                            gradient = gradient.add(NR * l);
                        }
                    }
                }
            }
            for m in 0..MR {
                for n in 0..NR {
                    let out = a.sums.add((m * NR + n) * l);
                    S::store(out, S::add(S::load(out), acc[m][n]));
                }
            }
        }
    }
}

/// Most products of a tile of so many vectors.
fn max_products(isa: Isa, vectors: usize) -> usize {
    let table = if many_registers(isa) { &MR_32 } else { &MR_16 };
    table[vectors.clamp(1, MAX_VECTORS) - 1]
}

/// The instance of [`ChannelTile`] for a size within [`max_products`].
fn channel_tile(isa: Isa, products: usize, vectors: usize) -> Entry<TileArgs> {
    macro_rules! instances {
        ($($m:literal)*) => {
            match (products, vectors) {
                $(($m, 1) => entry::<ChannelTile<$m, 1>, TileArgs>(isa),
                ($m, 2) => entry::<ChannelTile<$m, 2>, TileArgs>(isa),
                ($m, 3) => entry::<ChannelTile<$m, 3>, TileArgs>(isa),)*
                _ => unreachable!("no tile of {products} products by {vectors} vectors"),
            }
        };
    }
    instances! { 1 2 3 4 5 6 7 8 }
}
