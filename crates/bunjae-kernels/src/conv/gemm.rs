//! The GEMM form: a pointwise convolution as a product of matrices, its input packed first.
//!
//! A pointwise convolution reads one pixel of every input plane for each sum. The planes lie kilobytes
//! apart, so that a tile of [`super::pixel`] touches another page of memory with each product, which no
//! prefetcher follows, and does so again for every block of output channels. Here some dozens of
//! pixels of all planes are packed into strips, in the order in which the tiles read them: product by
//! product, one tile's vectors after another. All blocks of channels then read the same strips from the
//! caches, front to back.
//!
//! Packing also takes up strides and the gaps between rows, so that tiles run over the whole picture
//! in the geometry of the output.

use std::ops::Range;

use super::pixel::{
    LINE, PixelArgs, accumulate, finish_tile, first_of_tile, max_nr, prefetch_tile, sized_entry,
};
use super::plan::{
    MAX_TASKS, blocks_of, cheapest_cap, even_tiles, pixel_segments, task_target, tile_cost,
    tiles_cost,
};
use super::run::RunView;
use super::{Conv, ConvInputs, ConvSpec, Tail};
use crate::isa::Isa;
use crate::output::part;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

/// Most vectors that are packed at once.
const MAX_GROUP: usize = 48;

/// Division of the GEMM form.
pub(super) struct GemmPlan {
    /// Output channels of one group as tiles.
    pub(super) blocks: Vec<Range<usize>>,
    /// Vectors of positions that are packed together.
    pub(super) groups: Vec<Range<usize>>,
    /// Vectors of the widest strip.
    pub(super) nr: usize,
    /// Whether the output lies beyond a second-level cache. Only there does asking for it pay where
    /// one thread has it all; where there are several, the other cores' caches have much of it.
    far: bool,
    /// Parts of `groups` and of `blocks` that are tasks of their own.
    pub(super) bands: usize,
    pub(super) chunks: usize,
    pack: Entry<PackArgs>,
}

/// Whether the GEMM form can compute this: pointwise, and everything that is stored or added has the
/// same gaps between its rows.
pub(super) fn suits_gemm(spec: &ConvSpec, isa: Isa) -> bool {
    let row = gemm_row(spec);
    spec.kernel == [1, 1]
        && spec.padding == [0, 0]
        && spec.halo_suffices()
        && !spec.is_depthwise()
        && spec.residual.is_none_or(|(r, _)| r.row_stride == row)
        && match spec.tail {
            Tail::Store => true,
            Tail::MaxPool2 => false,
            Tail::GlobalAverage => pixel_segments(spec, isa, row, true).0 <= MAX_GROUP,
        }
}

/// Positions of a row of the GEMM form, gap included: the output's.
pub(super) fn gemm_row(spec: &ConvSpec) -> usize {
    match spec.tail {
        Tail::Store => spec.output.row_stride,
        _ => spec.size[1],
    }
}

/// The most channels of a tile of the GEMM form, and the relative time of the form with it.
fn gemm_cap(spec: &ConvSpec, isa: Isa) -> (usize, f64) {
    let (vectors, _) = pixel_segments(spec, isa, gemm_row(spec), true);
    let (channels, k) = (spec.group_outputs(), spec.k());
    cheapest_cap(isa, channels, |cap| {
        let tile = |nr: usize, mr: usize| gemm_tile_cost(k, isa.lanes(), nr, mr);
        // Packing writes short runs of vectors slower than long ones.
        let pack = 3.0 + 4.0 / max_nr(isa, cap) as f64;
        k as f64 * (tiles_cost(isa, channels, cap, vectors, tile) + pack * vectors as f64)
    })
}

/// [`tile_cost`] of the GEMM form: what a tile does not find in the first-level cache comes from the
/// second, and finishing it takes time per channel, whatever the number of products. The factors are from
/// pointwise layers of 16 to 960 channels on AVX2.
fn gemm_tile_cost(k: usize, lanes: usize, nr: usize, mr: usize) -> f64 {
    let strip = if k * nr * lanes > STRIP_LEN { 0.75 } else { 0.1 } * nr as f64;
    let weights = if k * mr > BLOCK_LEN { 0.25 } else { 0.0 } * mr as f64;
    tile_cost(nr, mr) + strip + weights + 8.0 * mr as f64 / k as f64
}

/// Elements of a strip that stay in a first-level cache of 32 KiB while blocks of channels pass over it,
/// and of a block's weights that stay there while strips pass by.
const STRIP_LEN: usize = 5120;
const BLOCK_LEN: usize = 4096;

/// Relative time of the GEMM form.
pub(super) fn gemm_estimate(spec: &ConvSpec, isa: Isa) -> f64 {
    gemm_cap(spec, isa).1
}

/// Elements that are packed at once: a quarter of a second-level cache of 512 KiB.
const PACKED_LEN: usize = 32 * 1024;

/// Elements of output that a second-level cache of 512 KiB does not hold any more, half as many again:
/// asking for fewer took 2 to 5 % longer than not to.
const FAR_LEN: usize = 192 * 1024;

/// Vectors that are packed at once even if they are more than that: the weights of all blocks pass by
/// once per group.
const MIN_GROUP: usize = 8;

impl GemmPlan {
    pub(super) fn new(spec: &ConvSpec, isa: Isa) -> GemmPlan {
        let (vectors, _) = pixel_segments(spec, isa, gemm_row(spec), true);
        let (cap, _) = gemm_cap(spec, isa);
        let blocks = blocks_of(spec.group_outputs(), cap);
        let nr = max_nr(isa, cap);
        let target = task_target(spec);
        let groups: Vec<_> = if spec.tail == Tail::GlobalAverage {
            std::iter::once(0..vectors).collect()
        } else {
            let fits = PACKED_LEN / (spec.k() * isa.lanes());
            let size = fits.min(vectors / target).clamp(MIN_GROUP, MAX_GROUP);
            let (units, count) = (vectors.div_ceil(nr), vectors.div_ceil(size));
            let group = |g| {
                let units = part(units, count, g);
                units.start * nr..(units.end * nr).min(vectors)
            };
            (0..count).map(group).filter(|group| !group.is_empty()).collect()
        };
        let bands = target.min(groups.len());
        // A few bands are shared well enough: better than to pack for several tasks.
        let chunks = if bands >= 4 { 1 } else { target.div_ceil(bands).min(blocks.len()) };
        let far = spec.output.end() - spec.output.origin > FAR_LEN;
        GemmPlan { blocks, groups, nr, far, bands, chunks, pack: pack_strips(isa) }
    }

    /// Whether strips are packed before all else, for several tasks, or by each task for itself.
    pub(super) fn packs_first(&self) -> bool {
        self.chunks > 1
    }

    /// Vectors of positions.
    pub(super) fn vectors(&self) -> usize {
        self.groups.last().map_or(0, |group| group.end)
    }
}

/// Planes between the one that is packed and the one that is fetched meanwhile.
const AHEAD: usize = 8;

/// Arguments of [`PackStrips`]: some vectors of pixels, of some channels.
struct PackArgs {
    /// Input at pixel (0, 0) of the first channel.
    input: *const f32,
    input_channel: usize,
    /// Distances between vertically and horizontally neighbouring pixels.
    pixel_row: usize,
    pixel_column: usize,
    /// Rows and columns of the result.
    size: [usize; 2],
    /// Positions of a row, gap included.
    row: usize,
    /// Vectors of positions; at most [`MAX_GROUP`].
    vectors: Range<usize>,
    /// As [`PixelArgs::again`].
    again: usize,
    /// Vectors of the widest strip.
    nr: usize,
    /// Channels that are packed here: which of the strips' products, all of which are `k`.
    channels: Range<usize>,
    k: usize,
    /// The strips of these vectors: `k` times its vectors each.
    out: *mut f32,
}

/// Copies pixels into strips. Positions in gaps become anything that is stored nowhere.
struct PackStrips;

impl Body<PackArgs> for PackStrips {
    /// Reads whole vectors: up to `LANES - 1` elements past the last pixel.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PackArgs) {
        let mut next = a.vectors.start;
        for (size, strips) in even_tiles(a.vectors.len(), a.nr) {
            let run = StripRun { next, strips };
            // SAFETY: passed on; the strips of a run begin with its first vector.
            unsafe {
                match size {
                    1 => run.pack::<S, 1>(a),
                    2 => run.pack::<S, 2>(a),
                    3 => run.pack::<S, 3>(a),
                    4 => run.pack::<S, 4>(a),
                    5 => run.pack::<S, 5>(a),
                    6 => run.pack::<S, 6>(a),
                    7 => run.pack::<S, 7>(a),
                    8 => run.pack::<S, 8>(a),
                    _ => unreachable!("a strip has at most 8 vectors"),
                }
            }
            next += size * strips;
        }
    }
}

/// Strips of the same size that are packed one beside the other.
struct StripRun {
    /// The first vector of the first strip.
    next: usize,
    strips: usize,
}

impl StripRun {
    /// Packs the strips of `N` vectors for all channels.
    ///
    /// # Safety
    /// As [`PackStrips`]; the vectors are among those of `a`.
    #[inline(always)]
    unsafe fn pack<S: Simd, const N: usize>(&self, a: &PackArgs) {
        let size = N * S::LANES;
        let (first, count) = (self.next * S::LANES, self.strips * size);
        let end = ((a.size[0] - 1) * a.row + a.size[1]).min(a.vectors.end * S::LANES);
        let last = first_of_tile(first + count - size, size, end, a.again);
        // What the last strip computes once more may lie before the first.
        let begin = first.min(last);
        let dense = a.pixel_column == 1 && a.pixel_row == a.row;
        // Memory that is touched only where it is needed: this is called for a few microseconds of work.
        let mut line = if dense { None } else { Some([0.0f32; MAX_GROUP * MAX_LANES]) };
        let ahead = if dense { AHEAD * a.input_channel } else { 0 };
        let mut plane = a.input;
        let mut out = a.out.wrapping_add((self.next - a.vectors.start) * a.k * S::LANES);
        out = out.wrapping_add(a.channels.start * size);
        for _ in a.channels.clone() {
            // SAFETY: the positions that are pixels exist in the plane; if it is dense, whole vectors of
            // them are readable. The strips have room for all products.
            unsafe {
                let from = if let Some(line) = &mut line {
                    gather_rows::<S>(a, plane, begin, &mut line[..first + count - begin]);
                    line.as_ptr()
                } else {
                    plane.wrapping_add(begin)
                };
                let last = from.wrapping_add(last - begin);
                let mut from = from.wrapping_add(first - begin);
                let mut to = out;
                for _ in 1..self.strips {
                    copy_vectors::<S, N>(from, to, ahead);
                    from = from.wrapping_add(size);
                    to = to.wrapping_add(a.k * size);
                }
                copy_vectors::<S, N>(last, to, ahead);
            }
            plane = plane.wrapping_add(a.input_channel);
            out = out.wrapping_add(size);
        }
    }
}

/// Copies `N` vectors, and asks for those that lie `ahead` elements after them.
///
/// # Safety
/// They are readable at `from` and writable at `to`.
#[inline(always)]
unsafe fn copy_vectors<S: Simd, const N: usize>(from: *const f32, to: *mut f32, ahead: usize) {
    for v in 0..N {
        let at = v * S::LANES;
        // SAFETY: the caller's promise; any address will do to be asked for.
        unsafe {
            if at % LINE == 0 {
                S::prefetch_read(from.wrapping_add(at + ahead));
            }
            S::store(to.add(at), S::load(from.add(at)));
        }
    }
}

/// The pixels of the positions from `first` on, in order; what lies in gaps is left as it was.
///
/// # Safety
/// As [`PackStrips`].
#[inline(always)]
unsafe fn gather_rows<S: Simd>(a: &PackArgs, plane: *const f32, first: usize, line: &mut [f32]) {
    let [oh, ow] = a.size;
    let (mut y, mut x) = (first / a.row, first % a.row);
    let mut at = 0;
    while at < line.len() && y < oh {
        if x < ow {
            let count = (ow - x).min(line.len() - at);
            let from = plane.wrapping_add(y * a.pixel_row + x * a.pixel_column);
            // SAFETY: columns `x..x + count` of row `y` exist; `line` has room for them.
            unsafe {
                super::source::gather::<S>(from, line.as_mut_ptr().add(at), count, a.pixel_column);
            }
        }
        at += a.row - x;
        (y, x) = (y + 1, 0);
    }
}

/// `MR` channels by `NR` vectors of packed strips: as [`super::pixel::PixelTile`], but `input` is the
/// first of the strips that hold `pixels`.
struct GemmTile<const MR: usize, const NR: usize>;

impl<const MR: usize, const NR: usize> Body<PixelArgs> for GemmTile<MR, NR> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PixelArgs) {
        if S::REGISTERS < 32 && MR * NR > 12 {
            // Known at compile time: the instances that `max_nr` rules out have no code.
            unreachable!("a tile of {MR} by {NR} does not fit the registers");
        }
        let l = S::LANES;
        let mut strip = a.input;
        for tile in a.tiles(NR * l) {
            let mut a = *a;
            for _ in 0..a.blocks {
                // SAFETY: a strip holds `k` times `NR` vectors; for the rest see `finish_tile`.
                unsafe {
                    let mut bias = [S::zero(); MR];
                    for m in 0..MR {
                        bias[m] = S::splat(*a.bias.add(m));
                    }
                    let at = |k: usize| strip.wrapping_add(k * NR * l);
                    prefetch_tile::<S, MR>(&a, &tile);
                    let acc = accumulate::<S, MR, NR>(a.k, a.weights, bias, at, |j| j * l);
                    finish_tile::<S, MR, NR>(&a, acc, &tile);
                }
                a.step_block(MR, l);
            }
            strip = strip.wrapping_add(a.k * NR * l);
        }
    }
}

/// The instance of [`PackStrips`] for a path.
fn pack_strips(isa: Isa) -> Entry<PackArgs> {
    entry::<PackStrips, PackArgs>(isa)
}

/// The instance of [`GemmTile`] for a size within [`max_nr`].
fn gemm_tile(isa: Isa, mr: usize, nr: usize) -> Entry<PixelArgs> {
    debug_assert!(nr >= 1 && nr <= max_nr(isa, mr));
    sized_entry!(isa, mr, nr, GemmTile, PixelArgs)
}

impl Conv {
    /// Parts of the channels of one image and group that are packed by tasks of their own.
    pub(super) fn pack_parts(&self) -> usize {
        (self.spec.k() / 64).clamp(1, MAX_TASKS)
    }

    /// Packs the strips of some channels of one image and group into `out`.
    ///
    /// # Safety
    /// The input is readable; the strips have room; no other thread runs this task.
    pub(super) unsafe fn pack_task(
        &self,
        plan: &GemmPlan,
        task: usize,
        inputs: &ConvInputs<'_>,
        out: *mut f32,
    ) {
        let (outer, part_of) = (task / self.pack_parts(), task % self.pack_parts());
        let channels = part(self.spec.k(), self.pack_parts(), part_of);
        for group in &plan.groups {
            let at = outer * self.packed_input_len(plan) + self.group_at(group);
            let out = out.wrapping_add(at);
            // SAFETY: passed on.
            unsafe {
                self.pack_group(plan, outer, group, channels.clone(), inputs.input.as_ptr(), out);
            };
        }
    }

    /// The first position of a group that may be computed once more: each, unless what is computed is
    /// added up.
    fn again(&self, group: &Range<usize>) -> usize {
        match self.spec.tail {
            Tail::Store => group.start * self.isa.lanes(),
            _ => group.end * self.isa.lanes(),
        }
    }

    /// Where the strips of a group begin among those of their image.
    fn group_at(&self, group: &Range<usize>) -> usize {
        group.start * self.isa.lanes() * self.spec.k()
    }

    /// # Safety
    /// As [`Conv::pack_task`]; `input` is the whole input, `out` the strips of the group.
    unsafe fn pack_group(
        &self,
        plan: &GemmPlan,
        outer: usize,
        group: &Range<usize>,
        channels: Range<usize>,
        input: *const f32,
        out: *mut f32,
    ) {
        let (image, first) = (outer / self.spec.groups, outer % self.spec.groups * self.spec.k());
        let at = self.source.first
            + image * self.source.image_stride
            + (first + channels.start) * self.source.channel_stride;
        let args = PackArgs {
            input: input.wrapping_add(at),
            input_channel: self.source.channel_stride,
            pixel_row: self.source.pixel_row,
            pixel_column: self.source.pixel_column,
            size: self.spec.size,
            row: self.row,
            vectors: group.clone(),
            again: self.again(group),
            nr: plan.nr,
            channels,
            k: self.spec.k(),
            out,
        };
        // SAFETY: passed on.
        unsafe { (plan.pack)(&args) };
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    pub(super) unsafe fn gemm_task(
        &self,
        plan: &GemmPlan,
        task: usize,
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let share = self.share(task, plan.bands, plan.chunks);
        let outer = share.image * self.spec.groups + share.group;
        let blocks = &plan.blocks[part(plan.blocks.len(), plan.chunks, share.chunk)];
        let [oh, ow] = self.spec.size;
        let (k, lanes) = (self.spec.k(), self.isa.lanes());
        let positions = (oh - 1) * self.row + ow;
        for vectors in &plan.groups[part(plan.groups.len(), plan.bands, share.band)] {
            let strips = if plan.packs_first() {
                let at = outer * self.packed_input_len(plan) + self.group_at(vectors);
                view.packed.wrapping_add(at)
            } else {
                let (input, out) = (view.source.as_ptr(), scratch.as_mut_ptr());
                // SAFETY: scratch holds the largest group.
                unsafe { self.pack_group(plan, outer, vectors, 0..k, input, out) };
                scratch.as_ptr()
            };
            let ends = [vectors.start == 0, vectors.end == plan.vectors()];
            // SAFETY: the strips are packed; the positions lie within output and residual, whose rows
            // have that distance.
            unsafe {
                self.over_blocks(blocks, true, &share, strips, ends, view, |args, mr, _| {
                    let mut next = vectors.start;
                    args.again = self.again(vectors);
                    args.asks &= !view.alone || plan.far;
                    for (size, tiles) in even_tiles(vectors.len(), plan.nr) {
                        let end = next + size * tiles;
                        args.pixels = [next * lanes, (end * lanes).min(positions)];
                        gemm_tile(self.isa, mr, size)(args);
                        args.input = args.input.wrapping_add(size * tiles * lanes * k);
                        next = end;
                    }
                });
            }
        }
    }
}
