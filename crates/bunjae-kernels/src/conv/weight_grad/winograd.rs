//! The Winograd form of the weight gradient, for 3 x 3 kernels: 36 products for each 4 x 4 pixels of the
//! gradient where the direct forms need 144.
//!
//! With the result's tile `y = A^T [(G g G^T) . (B^T d B)] A` (see [`crate::conv::winograd`]), the
//! gradient of the kernel is `dg = G^T [sum over tiles of (A dy A^T) . (B^T d B)] G`: the sum in brackets
//! is, for each of the 36 positions, a matrix product over tiles.
//!
//! Some tiles at a time are transformed in scratch memory, of all input channels and of a panel of output
//! channels. Pixels are transposed first, so that vectors run over channels and a tile takes any place in
//! a plane of any width. The products are the tiles of the channel form: for each tile of the picture an
//! input channel is broadcast and multiplied by vectors of output channels. A task keeps its 36 sums until
//! all tiles of its images are done, and only their transform, nine for each pair of channels, is added to that of
//! other images.

use std::ops::Range;

use super::super::channel::{ChannelArgs, PanelWeights, channel_tile, max_px};
use super::super::winograd::{A, A2, B, B2, PATCH, POSITIONS, TILE, input_transform, kernel_rows};
use super::super::{ConvSpec, MAX_TASKS, even_tiles};
use super::Operands;
use super::channel::{ChannelForm, MAX_VECTORS, Panel, TransposeArgs};
use crate::isa::Isa;
use crate::output::part;
use crate::planar::ALIGN;
use crate::simd::{Body, Entry, Simd, entry};

/// Tiles that are transformed together, if rows of them are not longer: enough products for each time
/// that sums are loaded and stored.
const TOGETHER: usize = 64;

/// Fewest output channels of a task, as each task transforms all input channels.
const PART_OUTPUTS: usize = 64;

/// Elements of scratch memory that are not worth it.
const MOST_SCRATCH: usize = 1 << 23;

/// A prepared weight gradient.
pub(super) struct WinogradForm {
    isa: Isa,
    spec: ConvSpec,
    /// The panels of output channels, and what is done before and after.
    channel: ChannelForm,
    /// Tiles of a row, and rows of tiles.
    across: usize,
    down: usize,
    /// `0, 1, 2, ...`: the input channels of a tile lie next to each other.
    channels: Vec<isize>,
    /// Where the tiles that are transformed together are.
    tiles: Vec<isize>,
    input: Entry<PatchArgs>,
    gradient: Entry<PatchArgs>,
    finish_sums: Entry<FinishArgs>,
}

/// Tiles that are transformed together: whole images, or rows of tiles of one.
struct Chunk {
    images: Range<usize>,
    rows: Range<usize>,
}

/// The parts of a task's scratch memory.
struct Scratch<'a> {
    /// Pixels of one image, the channels of each next to each other.
    pixels: &'a mut [f32],
    /// `POSITIONS x tiles x input channels`.
    input: &'a mut [f32],
    /// `POSITIONS x tiles x panel`.
    gradient: &'a mut [f32],
    /// For each panel `POSITIONS x input channels x panel`.
    sums: &'a mut [f32],
}

/// Relative time of a tile, in cycles of two vector operations each: for each vector of channels its
/// transposition and transform, and the products. The factors are from layers of 3 to 128 channels in a
/// batch of 32, AVX2.
fn cost(spec: &ConvSpec, isa: Isa) -> f64 {
    let lanes = isa.lanes();
    let vectors = |channels: usize| channels.div_ceil(lanes) as f64;
    let (inputs, outputs) = (spec.input.channels, spec.output.channels);
    let parts = outputs.div_ceil(2 * PART_OUTPUTS) as f64;
    let products = (POSITIONS * inputs) as f64 * vectors(outputs) / 2.0;
    260.0 * parts * vectors(inputs) + 265.0 * vectors(outputs) + 1.5 * products
}

/// Whether this form can compute a gradient and beats the direct ones.
pub(super) fn is_faster(spec: &ConvSpec, isa: Isa) -> bool {
    let [down, across] = spec.size.map(|x| x.div_ceil(TILE));
    let pixels = (spec.size[0] * spec.size[1]) as f64;
    let (inputs, outputs) = (spec.input.channels, spec.output.channels);
    // The direct forms reach about 70 % of the peak.
    let direct = pixels * (9 * inputs * outputs) as f64 / (2 * isa.lanes()) as f64 * 1.4;
    is_able(spec, isa) && (down * across) as f64 * cost(spec, isa) < direct
}

/// Whether this form can compute a gradient.
pub(super) fn is_able(spec: &ConvSpec, isa: Isa) -> bool {
    let across = spec.size[1].div_ceil(TILE);
    let tiles = TOGETHER.max(across);
    let channels = spec.input.channels + MAX_VECTORS * isa.lanes();
    spec.suits_winograd()
        && tiles.checked_mul(POSITIONS * channels).is_some_and(|len| len <= MOST_SCRATCH)
}

impl WinogradForm {
    /// Prepares a gradient whose `spec` has been checked, and [`is_able`].
    pub(super) fn new(spec: ConvSpec, isa: Isa) -> WinogradForm {
        let [down, across] = spec.size.map(|x| x.div_ceil(TILE));
        let mut channel = ChannelForm::new(spec, isa);
        let parts = MAX_TASKS.div_ceil(channel.blocks).min(spec.output.channels / PART_OUTPUTS);
        channel.parts = parts.clamp(1, channel.panels.len());
        let inputs = spec.input.channels;
        let mut form = WinogradForm {
            isa,
            spec,
            channel,
            across,
            down,
            channels: (0..inputs as isize).collect(),
            tiles: Vec::new(),
            input: entry::<InputPatches, PatchArgs>(isa),
            gradient: entry::<GradientPatches, PatchArgs>(isa),
            finish_sums: entry::<FinishSums, FinishArgs>(isa),
        };
        let width = form.input_width();
        form.tiles = (0..form.tiles_together()).map(|t| (t * width) as isize).collect();
        form
    }

    /// Input channels in whole vectors.
    fn input_width(&self) -> usize {
        self.spec.input.channels.next_multiple_of(self.isa.lanes())
    }

    /// Most images of a block.
    fn block_images(&self) -> usize {
        self.spec.input.images.div_ceil(self.channel.blocks)
    }

    fn images_together(&self) -> usize {
        (TOGETHER / (self.across * self.down)).clamp(1, self.block_images())
    }

    fn rows_together(&self) -> usize {
        (TOGETHER / self.across).clamp(1, self.down)
    }

    fn tiles_together(&self) -> usize {
        self.images_together() * self.rows_together() * self.across
    }

    /// Elements from a position of transformed tiles to the next: an odd number of cache lines, so that the
    /// positions of a tile do not fall into the same few cache sets.
    fn position(&self, width: usize) -> usize {
        ((self.tiles_together() * width).div_ceil(ALIGN) | 1) * ALIGN
    }

    /// Whether each task transforms all its tiles together: then the sums of one panel are done before
    /// the next begins.
    fn at_once(&self) -> bool {
        self.images_together() == self.block_images() && self.rows_together() == self.down
    }

    /// Elements of one panel's sums.
    fn sums_len(&self) -> usize {
        POSITIONS * self.spec.input.channels * MAX_VECTORS * self.isa.lanes()
    }

    /// Elements of the parts of [`Scratch`].
    fn scratch_lens(&self) -> [usize; 4] {
        let widest = MAX_VECTORS * self.isa.lanes();
        let side = |tiles: usize| tiles * TILE + PATCH - TILE;
        let panels = match self.at_once() {
            true => 1,
            false => self.channel.panels.len().div_ceil(self.channel.parts),
        };
        [
            side(self.rows_together()) * side(self.across) * widest,
            POSITIONS * self.position(self.input_width()),
            POSITIONS * self.position(widest),
            panels * self.sums_len(),
        ]
    }

    pub(super) fn input_len(&self) -> usize {
        self.channel.input_len()
    }

    pub(super) fn workspace_len(&self) -> usize {
        self.channel.workspace_len()
    }

    pub(super) fn scratch_len(&self) -> usize {
        self.scratch_lens().iter().sum()
    }

    pub(super) fn stages(&self) -> [usize; 3] {
        self.channel.stages()
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
        if stage != 1 {
            // SAFETY: passed on.
            return unsafe { self.channel.run(stage, task, operands, scratch) };
        }
        let form = &self.channel;
        let (block, index) = (task / form.parts, task % form.parts);
        let panels = &form.panels[part(form.panels.len(), form.parts, index)];
        let images = part(self.spec.input.images, form.blocks, block);
        let source = match form.source.copy {
            Some(_) => operands.workspace.cast_const(),
            None => operands.input.as_ptr(),
        };
        let weights = operands.workspace.wrapping_add(form.copy_len() + block * form.sums_len());
        let [pixels, input, gradient, sums] = self.scratch_lens();
        let (pixels, rest) = scratch.split_at_mut(pixels);
        let (input, rest) = rest.split_at_mut(input);
        let (gradient, rest) = rest.split_at_mut(gradient);
        let sums = &mut rest[..sums];
        let mut scratch = Scratch { pixels, input, gradient, sums };
        let together = if self.at_once() { 1 } else { panels.len().max(1) };
        // All panels for each chunk of tiles, or all tiles, which are one chunk, for each panel.
        for (round, panels) in panels.chunks(together).enumerate() {
            scratch.sums.fill(0.0);
            for chunk in self.chunks(images.clone()) {
                // SAFETY: lengths are checked; the copy is complete.
                unsafe {
                    if round == 0 {
                        self.transform_input(&chunk, source, &mut scratch);
                    }
                    for (index, panel) in panels.iter().enumerate() {
                        self.transform_gradient(&chunk, panel, operands.gradient, &mut scratch);
                        self.multiply(&chunk, panel, index, &mut scratch);
                    }
                }
            }
            for (panel, sums) in panels.iter().zip(scratch.sums.chunks_exact(self.sums_len())) {
                // SAFETY: this task alone writes the sums of these panels in this block.
                unsafe { self.finish(panel, sums, weights) };
            }
        }
    }

    /// Turns the sums of a panel to those of its weights.
    ///
    /// # Safety
    /// The weights of the panel are writable from its place in `weights` on.
    unsafe fn finish(&self, panel: &Panel, sums: &[f32], weights: *mut f32) {
        let inputs = self.spec.input.channels;
        let args = FinishArgs {
            sums: sums.as_ptr(),
            position: inputs * panel.vectors * self.isa.lanes(),
            vectors: inputs * panel.vectors,
            per_input: panel.vectors,
            out: weights.wrapping_add(panel.sums),
        };
        // SAFETY: passed on.
        unsafe { (self.finish_sums)(&args) };
    }

    /// The chunks of some images, in order.
    fn chunks(&self, images: Range<usize>) -> impl Iterator<Item = Chunk> {
        let (together, rows) = (self.images_together(), self.rows_together());
        let down = self.down;
        let end = images.end;
        images.step_by(together).flat_map(move |first| {
            (0..down).step_by(rows).map(move |row| Chunk {
                images: first..(first + together).min(end),
                rows: row..(row + rows).min(down),
            })
        })
    }

    /// `B^T d B` of all input channels.
    ///
    /// # Safety
    /// Lengths are checked.
    unsafe fn transform_input(&self, chunk: &Chunk, source: *const f32, scratch: &mut Scratch<'_>) {
        let from = &self.channel.source;
        let lanes = self.isa.lanes();
        let vectors = self.spec.input.channels.div_ceil(lanes);
        let width = self.input_width();
        let (rows, y) = (chunk.rows.len(), chunk.rows.start * TILE);
        let mut vector = 0;
        for (size, count) in even_tiles(vectors, MAX_VECTORS) {
            for _ in 0..count {
                let first = vector * lanes;
                for (at, image) in chunk.images.clone().enumerate() {
                    let start = from.first
                        + image * from.image_stride
                        + first * from.channel_stride
                        + y * from.pixel_row;
                    let planes = Planes {
                        first: source.wrapping_add(start),
                        channel: from.channel_stride,
                        row: from.pixel_row,
                        channels: (self.spec.input.channels - first).min(size * lanes),
                        vectors: size,
                        rows: self.spec.size[0] + PATCH - TILE - y,
                        columns: self.spec.size[1] + PATCH - TILE,
                        border: PATCH - TILE,
                    };
                    let tile = at * rows * self.across;
                    let out = &mut scratch.input[tile * width + first..];
                    // SAFETY: a 3 x 3 kernel reads as many rows and columns.
                    unsafe {
                        self.transform(self.input, &planes, rows, scratch.pixels, out, width);
                    }
                }
                vector += size;
            }
        }
    }

    /// `A dy A^T` of a panel.
    ///
    /// # Safety
    /// Lengths are checked.
    unsafe fn transform_gradient(
        &self,
        chunk: &Chunk,
        panel: &Panel,
        gradient: &[f32],
        scratch: &mut Scratch<'_>,
    ) {
        let dy = &self.spec.output;
        let width = panel.vectors * self.isa.lanes();
        let (rows, y) = (chunk.rows.len(), chunk.rows.start * TILE);
        for (at, image) in chunk.images.clone().enumerate() {
            let planes = Planes {
                first: gradient[dy.index(image, panel.channel, y, 0)..].as_ptr(),
                channel: dy.channel_stride,
                row: dy.row_stride,
                channels: panel.channels,
                vectors: panel.vectors,
                rows: self.spec.size[0] - y,
                columns: self.spec.size[1],
                border: 0,
            };
            let out = &mut scratch.gradient[at * rows * self.across * width..];
            // SAFETY: these rows and columns exist.
            unsafe { self.transform(self.gradient, &planes, rows, scratch.pixels, out, width) };
        }
    }

    /// Some rows of tiles, transformed into `out`, where tiles are `width` elements apart.
    ///
    /// # Safety
    /// The planes are readable; `pixels` and `out` have room.
    unsafe fn transform(
        &self,
        patches: Entry<PatchArgs>,
        planes: &Planes,
        tile_rows: usize,
        pixels: &mut [f32],
        out: &mut [f32],
        width: usize,
    ) {
        // SAFETY: passed on.
        unsafe {
            let row = self.gather(planes, tile_rows, pixels);
            patches(&PatchArgs {
                pixels: pixels.as_ptr(),
                row,
                vectors: planes.vectors,
                tile_rows,
                tiles: self.across,
                out: out.as_mut_ptr(),
                out_tile: width,
                position: self.position(width),
            });
        }
    }

    /// The pixels that some rows of tiles see; those that do not exist are zero. Returns the distance
    /// between rows.
    ///
    /// # Safety
    /// The planes are readable; `pixels` has room.
    unsafe fn gather(&self, planes: &Planes, tile_rows: usize, pixels: &mut [f32]) -> usize {
        let width = planes.vectors * self.isa.lanes();
        let columns = self.across * TILE + planes.border;
        let rows = tile_rows * TILE + planes.border;
        let row = columns * width;
        let (existing, used) = (planes.rows.min(rows), planes.columns.min(columns) * width);
        let mut args = TransposeArgs {
            from: planes.first,
            image: 0,
            channel: planes.channel,
            row: planes.row,
            channels: planes.channels,
            vectors: planes.vectors,
            images: 1,
            rows: existing,
            pixels: planes.columns.min(columns),
            ahead: tile_rows * TILE * planes.row,
            out: pixels.as_mut_ptr(),
        };
        // SAFETY: the caller's promise.
        unsafe {
            if used == row {
                (self.channel.transpose)(&args);
            } else {
                args.rows = 1;
                for y in 0..existing {
                    args.from = planes.first.wrapping_add(y * planes.row);
                    args.out = pixels[y * row..].as_mut_ptr();
                    (self.channel.transpose)(&args);
                    pixels[y * row + used..(y + 1) * row].fill(0.0);
                }
            }
        }
        pixels[existing * row..rows * row].fill(0.0);
        row
    }

    /// Adds the products of all positions of a panel to its sums.
    ///
    /// # Safety
    /// Lengths are checked; both operands are transformed.
    unsafe fn multiply(
        &self,
        chunk: &Chunk,
        panel: &Panel,
        index: usize,
        scratch: &mut Scratch<'_>,
    ) {
        let inputs = self.spec.input.channels;
        let width = panel.vectors * self.isa.lanes();
        let tiles = chunk.images.len() * chunk.rows.len() * self.across;
        let steps = [self.position(self.input_width()), self.position(width)];
        let sums = scratch.sums[index * self.sums_len()..].as_mut_ptr();
        for position in 0..POSITIONS {
            let mut input = 0;
            for (px, count) in even_tiles(inputs, max_px(self.isa, panel.vectors)) {
                let args = ChannelArgs {
                    input: scratch.input[position * steps[0]..].as_ptr(),
                    pixel_offsets: self.channels[input..].as_ptr(),
                    pixels: px * count,
                    panel: PanelWeights {
                        offsets: self.tiles.as_ptr(),
                        k: tiles,
                        weights: scratch.gradient[position * steps[1]..].as_ptr(),
                    },
                    bias: std::ptr::null(),
                    channels: 0,
                    first: false,
                    acc: sums.wrapping_add((position * inputs + input) * width),
                };
                // SAFETY: the scratch memory holds all tiles of both operands, and the sums.
                unsafe { channel_tile(self.isa, px, panel.vectors)(&args) };
                input += px * count;
            }
        }
    }
}

/// Some channels of one image.
struct Planes {
    first: *const f32,
    channel: usize,
    row: usize,
    channels: usize,
    vectors: usize,
    /// Rows and columns that exist, from the first on.
    rows: usize,
    columns: usize,
    /// Rows and columns that are seen beyond those of the tiles.
    border: usize,
}

/// Arguments of [`InputPatches`] and [`GradientPatches`].
struct PatchArgs {
    /// For each pixel, `vectors` of channels.
    pixels: *const f32,
    /// Distance between rows of pixels.
    row: usize,
    vectors: usize,
    tile_rows: usize,
    /// Tiles of a row.
    tiles: usize,
    /// The first tile at position 0.
    out: *mut f32,
    /// Distance between tiles, and between positions.
    out_tile: usize,
    position: usize,
}

/// `B^T d B` of patches of 6 x 6 pixels, four apart.
struct InputPatches;

/// `A dy A^T` of tiles of 4 x 4 pixels.
struct GradientPatches;

/// The transform of one column of a tile. No closure: the compiler would not inline one that is called
/// twice, and compile it without the instruction set.
trait Transform<const N: usize> {
    /// # Safety
    /// The instruction set is present.
    unsafe fn transform<S: Simd>(column: [S::V; N]) -> [S::V; PATCH];
}

impl Transform<PATCH> for InputPatches {
    #[inline(always)]
    unsafe fn transform<S: Simd>(column: [S::V; PATCH]) -> [S::V; PATCH] {
        // SAFETY: passed on.
        unsafe { input_transform::<S>(column) }
    }
}

impl Body<PatchArgs> for InputPatches {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PatchArgs) {
        // SAFETY: passed on.
        unsafe { patches::<S, PATCH, InputPatches>(a) };
    }
}

impl Body<PatchArgs> for GradientPatches {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PatchArgs) {
        // SAFETY: passed on.
        unsafe { patches::<S, TILE, GradientPatches>(a) };
    }
}

impl Transform<TILE> for GradientPatches {
    /// `A y`.
    #[inline(always)]
    unsafe fn transform<S: Simd>(y: [S::V; TILE]) -> [S::V; PATCH] {
        // SAFETY: pure arithmetic.
        unsafe {
            let even_a = S::fma(y[2], S::splat(A2), y[0]);
            let even_b = S::fma(y[2], S::splat(B2), y[0]);
            let odd_a = S::fma(y[3], S::splat(A * A2), S::mul(y[1], S::splat(A)));
            let odd_b = S::fma(y[3], S::splat(B * B2), S::mul(y[1], S::splat(B)));
            [
                y[0],
                S::add(even_a, odd_a),
                S::sub(even_a, odd_a),
                S::add(even_b, odd_b),
                S::sub(even_b, odd_b),
                y[3],
            ]
        }
    }
}

/// Transforms tiles that see `N x N` pixels.
///
/// # Safety
/// All pixels are readable and all tiles writable; the instruction set is present.
#[inline(always)]
unsafe fn patches<S: Simd, const N: usize, T: Transform<N>>(a: &PatchArgs) {
    let l = S::LANES;
    let width = a.vectors * l;
    for tile in 0..a.tile_rows * a.tiles {
        let (y, x) = (tile / a.tiles * TILE, tile % a.tiles * TILE);
        for vector in 0..a.vectors {
            // SAFETY: the caller's promise.
            unsafe {
                let from = a.pixels.add(y * a.row + x * width + vector * l);
                let to = a.out.add(tile * a.out_tile + vector * l);
                let mut down = [[S::zero(); N]; PATCH];
                for j in 0..N {
                    let mut d = [S::zero(); N];
                    for i in 0..N {
                        d[i] = S::load(from.add(i * a.row + j * width));
                    }
                    let d = T::transform::<S>(d);
                    for i in 0..PATCH {
                        down[i][j] = d[i];
                    }
                }
                for i in 0..PATCH {
                    let d = T::transform::<S>(down[i]);
                    for j in 0..PATCH {
                        S::store(to.add((i * PATCH + j) * a.position), d[j]);
                    }
                }
            }
        }
    }
}

/// Arguments of [`FinishSums`].
struct FinishArgs {
    /// `POSITIONS` times `vectors` vectors.
    sums: *const f32,
    /// Distance between positions.
    position: usize,
    vectors: usize,
    /// Vectors of one input channel.
    per_input: usize,
    /// For each input channel, nine taps of its vectors.
    out: *mut f32,
}

/// `G^T s G` of the sums.
struct FinishSums;

impl Body<FinishArgs> for FinishSums {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &FinishArgs) {
        let l = S::LANES;
        let rows = kernel_rows();
        for vector in 0..a.vectors {
            // SAFETY: the sums are readable and the taps writable.
            unsafe {
                let from = a.sums.add(vector * l);
                let mut down = [[S::zero(); PATCH]; 3];
                for j in 0..PATCH {
                    for i in 0..PATCH {
                        let s = S::load(from.add((i * PATCH + j) * a.position));
                        for tap in 0..3 {
                            let g = S::splat(rows[i][tap] as f32);
                            down[tap][j] = S::fma(s, g, down[tap][j]);
                        }
                    }
                }
                let (input, at) = (vector / a.per_input, vector % a.per_input);
                let to = a.out.add((input * 9 * a.per_input + at) * l);
                for y in 0..3 {
                    for x in 0..3 {
                        let mut sum = S::zero();
                        for j in 0..PATCH {
                            sum = S::fma(down[y][j], S::splat(rows[j][x] as f32), sum);
                        }
                        S::store(to.add((y * 3 + x) * a.per_input * l), sum);
                    }
                }
            }
        }
    }
}
