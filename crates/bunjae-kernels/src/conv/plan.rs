//! Division of a convolution into tiles and tasks, and the choice between forms.

use std::ops::Range;

use super::channel::{ChannelStoreArgs, channel_store, max_px, panels_of};
use super::depthwise::{DepthwiseArgs, depthwise_rows};
use super::gemm::{GemmPlan, gemm_estimate, suits_gemm};
use super::pixel::{MAX_MR, max_nr, max_pool_mr};
use super::source::{PaddedCopy, Source};
use super::winograd::{
    InputArgs, OutputArgs, POSITIONS, TILE, buffer_len, input_entry, output_entry,
};
use super::{ConvForm, ConvSpec, Tail};
use crate::isa::Isa;
use crate::output::part;
use crate::packing::Packing;
use crate::planar::ALIGN;
use crate::simd::{Entry, MAX_LANES};

pub(super) enum Plan {
    Pixel(PixelPlan),
    Channel(ChannelPlan),
    Gemm(GemmPlan),
    Depthwise(DepthwisePlan),
    Winograd(WinogradPlan),
}

impl Plan {
    /// The order of the weights.
    pub(super) fn packing(&self, spec: &ConvSpec, isa: Isa) -> Packing {
        let (groups, outputs) = (spec.groups, spec.group_outputs());
        match self {
            Plan::Depthwise(_) => Packing::plain(spec.output.channels, spec.k()),
            Plan::Pixel(plan) => {
                Packing::blocks(groups, spec.k(), plan.blocks.iter().map(ExactSizeIterator::len))
            }
            Plan::Gemm(plan) => {
                Packing::blocks(groups, spec.k(), plan.blocks.iter().map(ExactSizeIterator::len))
            }
            Plan::Channel(plan) => {
                let widths = plan.panels.iter().map(|(_, _, vectors)| vectors * isa.lanes());
                Packing::panels(groups, spec.k(), outputs, widths)
            }
            Plan::Winograd(plan) => {
                let blocks = plan.blocks.iter().map(ExactSizeIterator::len);
                Packing::winograd(spec.input.channels, blocks)
            }
        }
    }
}

/// Division of the pixel form.
pub(super) struct PixelPlan {
    /// Output channels of one group as tiles: first channel and count.
    pub(super) blocks: Vec<Range<usize>>,
    /// Whether pixels run over whole planes, gaps included, or row by row.
    pub(super) flat: bool,
    /// What is divided: vectors of the plane, rows, or pairs of rows.
    pub(super) units: usize,
    pub(super) bands: usize,
    pub(super) chunks: usize,
    /// Units that all channels are computed for before the next.
    pub(super) strip: usize,
}

/// Division of the channel form.
pub(super) struct ChannelPlan {
    /// Output channels of one group as panels: first channel, existing and vectors.
    pub(super) panels: Vec<(usize, usize, usize)>,
    pub(super) pixel_offsets: Vec<isize>,
    pub(super) bands: usize,
    pub(super) store: Entry<ChannelStoreArgs>,
}

/// Division of the depthwise form: a task is some rows of some input planes with all their outputs.
pub(super) struct DepthwisePlan {
    pub(super) bands: usize,
    /// Parts of the planes.
    pub(super) chunks: usize,
    pub(super) flat: bool,
    /// For the kernels that have a body of their own.
    pub(super) rows: Option<Entry<DepthwiseArgs>>,
}

/// Division of the Winograd form: a task is some rows of tiles with all their channels.
pub(super) struct WinogradPlan {
    /// Output channels as tiles of the matrix products.
    pub(super) blocks: Vec<Range<usize>>,
    pub(super) bands: usize,
    /// Parts of the channels that are tasks of their own.
    pub(super) chunks: usize,
    /// Tiles per row and rows of tiles.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Tiles of the largest band, in whole vectors. A vector that begins in a row may end in the
    /// next, which is written later, or behind the last row of a position.
    pub(super) row: usize,
    /// A row of the input below its padding.
    pub(super) zeros: Vec<f32>,
    pub(super) input: Entry<InputArgs>,
    pub(super) output: Entry<OutputArgs>,
}

/// Tasks are made of about this many multiply-accumulates (a few microseconds) or more.
pub(super) const TASK_MACS: u64 = 1 << 18;

/// And no more numerous than this per kernel.
pub(super) const MAX_TASKS: usize = 16;

/// Row distance of pixel positions: the source's when it is read as whole planes.
pub(super) fn row_of(spec: &ConvSpec, source: &Source) -> usize {
    source.pixel_row.max(spec.size[1])
}

/// Divides `count` vectors (or pixels) into tiles of at most `max`, all nearly the same size:
/// `(size, tiles)`, the larger ones first.
pub(crate) fn even_tiles(count: usize, max: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(max).max(1);
    let (size, larger) = (count / tiles, count % tiles);
    [(size + 1, larger), (size, tiles - larger)]
        .into_iter()
        .filter(|(size, tiles)| *size > 0 && *tiles > 0)
}

/// Relative time of one product in a tile that streams `streamed` broadcasts and holds `held`
/// vectors: multiply-adds, or loads if there are more of those.
pub(super) fn tile_cost(held: usize, streamed: usize) -> f64 {
    let fma = (held * streamed) as f64;
    let loads = 1.5 * held as f64 + 0.6 * streamed as f64;
    fma.max(loads) + 1.5
}

/// Relative time of the pixel form with tiles of at most `cap` channels over `segments` of
/// `vectors`.
pub(super) fn pixel_cost(
    isa: Isa,
    channels: usize,
    cap: usize,
    vectors: usize,
    segments: usize,
) -> f64 {
    tiles_cost(isa, channels, cap, vectors, tile_cost) * segments as f64
}

/// The sum of `tile(vectors, channels)` over all tiles of one segment.
pub(super) fn tiles_cost(
    isa: Isa,
    channels: usize,
    cap: usize,
    vectors: usize,
    tile: impl Fn(usize, usize) -> f64,
) -> f64 {
    let blocks = channels.div_ceil(cap);
    let per_block = |mr: usize| -> f64 {
        even_tiles(vectors, max_nr(isa, mr)).map(|(nr, n)| n as f64 * tile(nr, mr)).sum()
    };
    (0..blocks).map(|b| per_block(part(channels, blocks, b).len())).sum()
}

/// Vectors per segment and number of segments of the pixel form.
pub(super) fn pixel_segments(
    spec: &ConvSpec,
    isa: Isa,
    pixel_row: usize,
    flat: bool,
) -> (usize, usize) {
    let [oh, ow] = spec.size;
    if flat {
        (((oh - 1) * pixel_row + ow).div_ceil(isa.lanes()), 1)
    } else {
        (ow.div_ceil(isa.lanes()), oh)
    }
}

pub(super) fn runs_flat(spec: &ConvSpec, pixel_row: usize) -> bool {
    let residual_matches = spec.residual.is_none_or(|(r, _)| r.row_stride == pixel_row);
    match spec.tail {
        Tail::Store => spec.output.row_stride == pixel_row && residual_matches,
        Tail::GlobalAverage => residual_matches,
        Tail::MaxPool2 => false,
    }
}

/// The most channels of a tile that cost least, and what they cost.
pub(super) fn cheapest_cap(isa: Isa, channels: usize, cost: impl Fn(usize) -> f64) -> (usize, f64) {
    (1..=MAX_MR.min(channels))
        .filter(|cap| max_nr(isa, *cap) > 0)
        .map(|cap| (cap, cost(cap)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((1, f64::INFINITY))
}

/// [`cheapest_cap`] of the pixel form.
pub(super) fn best_cap(spec: &ConvSpec, isa: Isa, vectors: usize, segments: usize) -> (usize, f64) {
    let channels = spec.group_outputs();
    cheapest_cap(isa, channels, |cap| pixel_cost(isa, channels, cap, vectors, segments))
}

/// Channels in as few blocks of at most `cap` as there can be, all nearly the same size.
pub(super) fn blocks_of(channels: usize, cap: usize) -> Vec<Range<usize>> {
    let count = channels.div_ceil(cap);
    (0..count).map(|block| part(channels, count, block)).collect()
}

/// Estimated relative time of each form that can compute `spec`, fastest first: the vector
/// operations, counted.
pub(super) fn estimates(spec: &ConvSpec, isa: Isa) -> Vec<(ConvForm, f64)> {
    let mut all = Vec::new();
    if spec.is_depthwise() && spec.tail == Tail::Store {
        // Nothing else comes close; the estimate need not be comparable.
        all.push((ConvForm::Depthwise, 0.0));
    }
    let groups = spec.groups as f64;
    all.push((ConvForm::Pixel, groups * pixel_estimate(spec, isa)));
    if spec.tail != Tail::MaxPool2 {
        all.push((ConvForm::Channel, groups * channel_estimate(spec, isa)));
    }
    if suits_gemm(spec, isa) {
        all.push((ConvForm::Gemm, groups * gemm_estimate(spec, isa)));
    }
    if spec.suits_winograd() {
        all.push((ConvForm::Winograd, winograd_estimate(spec, isa)));
    }
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all
}

fn pixel_estimate(spec: &ConvSpec, isa: Isa) -> f64 {
    let source = Source::new(spec, true, spec.output.row_stride);
    let flat = runs_flat(spec, source.pixel_row);
    let (vectors, segments) = pixel_segments(spec, isa, source.pixel_row, flat);
    let copied = source.copy.as_ref().map_or(0, PaddedCopy::plane_len) * spec.group_inputs();
    let tiles = spec.k() as f64 * best_cap(spec, isa, vectors, segments).1;
    tiles * scattered(spec) + copy_cost(copied, isa)
}

/// What it costs a pointwise convolution to read another plane with each product, as a factor: little
/// while the input is in a second-level cache of 512 KiB, much beyond it. Factors here, and what packing
/// costs in [`gemm_estimate`], are from pointwise layers of 16 to 960 channels on AVX2.
fn scattered(spec: &ConvSpec) -> f64 {
    let len = spec.group_inputs() * spec.input.height * spec.input.width;
    match spec.kernel {
        [1, 1] if len > CACHED_LEN / 2 => 1.3,
        [1, 1] => 1.15,
        _ => 1.0,
    }
}

/// Relative time of copying so many elements: about four operations per vector.
fn copy_cost(elements: usize, isa: Isa) -> f64 {
    4.0 * elements as f64 / isa.lanes() as f64
}

fn channel_estimate(spec: &ConvSpec, isa: Isa) -> f64 {
    let pixels = spec.size[0] * spec.size[1];
    let vectors = spec.group_outputs().div_ceil(isa.lanes());
    let panel = |nv: usize| {
        let tiles = even_tiles(pixels, max_px(isa, nv));
        tiles.map(|(px, tiles)| tiles as f64 * tile_cost(nv, px)).sum::<f64>()
    };
    let sums: f64 = panels_of(isa, vectors).map(panel).sum();
    // The transposition, row by row: about four operations per vector and round.
    let rounds = f64::from(isa.lanes().trailing_zeros() + 2);
    let turned = spec.size[0] * spec.size[1].next_multiple_of(isa.lanes());
    let source = Source::new(spec, false, 0);
    let copied = source.copy.as_ref().map_or(0, PaddedCopy::plane_len) * spec.group_inputs();
    let strided = if spec.kernel == [1, 1] { 1.1 } else { 1.0 };
    spec.k() as f64 * sums * strided
        + 4.0 * rounds * (turned * vectors) as f64
        + copy_cost(copied, isa)
}

/// Elements that a second-level cache of 512 KiB holds.
const CACHED_LEN: usize = 128 * 1024;

fn winograd_estimate(spec: &ConvSpec, isa: Isa) -> f64 {
    let [down, across] = spec.size.map(|x| x.div_ceil(TILE));
    let (ic, oc) = (spec.input.channels, spec.output.channels);
    let vectors = (down * across).div_ceil(isa.lanes());
    let products = (POSITIONS * ic) as f64 * best_cap(spec, isa, vectors, 1).1;
    // Operations per vector of tiles, a seventh more than are counted in the bodies: that fits layers of
    // 3 to 64 input channels on AVX2. Vectors do not span rows of tiles.
    let transforms = (down * across.div_ceil(isa.lanes())) as f64 * (310 * ic + 265 * oc) as f64;
    // Patches and products come from the second-level cache; weights that do not fit it come from
    // beyond, once, and that is not hidden: four elements take the time of two operations.
    let weights = (POSITIONS * ic * oc).saturating_sub(CACHED_LEN) as f64;
    1.25 * products + transforms + 0.5 * weights
}

/// Whether the form wants a strided input split by phases.
pub(super) fn wants_phases(spec: &ConvSpec, isa: Isa, form: ConvForm) -> bool {
    match form {
        ConvForm::Pixel | ConvForm::Winograd => true,
        ConvForm::Channel | ConvForm::Gemm => false,
        // The bodies for blocks of rows step over columns themselves.
        ConvForm::Depthwise => {
            depthwise_rows(isa, spec.kernel, spec.stride, spec.size[0]).is_none()
                || spec.dilation != [1, 1]
        }
    }
}

/// How many tasks the work of one image and group is worth: an even number if it is shared at all, as
/// two threads would take as long for three tasks as for four.
pub(super) fn task_target(spec: &ConvSpec) -> usize {
    let outer = (spec.input.images * spec.groups) as u64;
    let rounded = (spec.macs() / outer + TASK_MACS / 2) / TASK_MACS;
    let tasks = match rounded {
        0 | 1 => 1,
        many => many.next_multiple_of(2).min(MAX_TASKS as u64) as usize,
    };
    tasks.min(MAX_TASKS.div_ceil(outer as usize).max(1))
}

impl PixelPlan {
    pub(super) fn new(spec: &ConvSpec, isa: Isa, source: &Source) -> PixelPlan {
        let flat = runs_flat(spec, source.pixel_row);
        let (vectors, segments) = pixel_segments(spec, isa, source.pixel_row, flat);
        let channels = spec.group_outputs();
        let cap = match spec.tail {
            Tail::MaxPool2 => max_pool_mr(isa),
            _ => best_cap(spec, isa, vectors, segments).0,
        };
        let blocks = blocks_of(channels, cap);
        let target = task_target(spec);
        // A band holds at least a few tiles, so that the weights of a block, which are read again
        // for each band, are used often enough.
        let most = match spec.tail {
            Tail::GlobalAverage => 1,
            Tail::MaxPool2 => (spec.size[0] / 4).max(1),
            Tail::Store if flat => (vectors / 12).max(1),
            Tail::Store => (segments * vectors / 12).clamp(1, segments),
        };
        let bands = target.min(most);
        let chunks = target.div_ceil(bands).min(blocks.len());
        let (units, unit_vectors) = match spec.tail {
            Tail::MaxPool2 => (spec.size[0] / 2, 2 * vectors),
            _ if flat => (vectors, 1),
            _ => (segments, vectors),
        };
        // If the input of a few tiles fits the first-level cache it stays there while all blocks of
        // channels pass over it; if not, it is the weights of a block that stay.
        let input = spec.group_inputs() * spec.kernel[0] * unit_vectors * isa.lanes();
        let tile = max_nr(isa, blocks[0].len()).div_ceil(unit_vectors);
        let strip = STRIP_LEN / input / tile * tile;
        let whole = strip == 0 || spec.tail == Tail::GlobalAverage;
        let strip = if whole { units } else { strip };
        PixelPlan { blocks, flat, units, bands, chunks, strip }
    }
}

/// Elements of input that a strip may have: half of a first-level cache of 32 KiB.
const STRIP_LEN: usize = 4096;

impl DepthwisePlan {
    pub(super) fn new(spec: &ConvSpec, isa: Isa, source: &Source) -> DepthwisePlan {
        let [oh, ow] = spec.size;
        let flat = runs_flat(spec, source.pixel_row);
        // A plane is moved through memory for few operations: tasks by bytes rather than by
        // products, some 4 Ki pixels or more each, and evenly for two threads.
        let planes = spec.input.images * spec.input.channels;
        let pixels = planes * spec.group_outputs() * oh * ow;
        let tasks = match pixels >> 12 {
            0 | 1 => 1,
            many => many.next_multiple_of(2).min(MAX_TASKS).min(planes),
        };
        // Rows are divided as those of the convolutions before and after, see `Conv::share`, but only into
        // halves: blocks of rows want many.
        let halves = tasks > 1
            && spec.input.images == 1
            && oh >= 14
            && oh.is_multiple_of(2)
            && source.copy.is_none();
        let bands = if halves { 2 } else { 1 };
        let row_isa = isa.for_rows_of(ow);
        let rows = depthwise_rows(row_isa, spec.kernel, spec.stride, oh / bands)
            .filter(|_| spec.dilation == [1, 1]);
        let bands = if rows.is_some() { bands } else { 1 };
        DepthwisePlan { bands, chunks: tasks.div_ceil(bands), flat, rows }
    }
}

/// Elements of patches that a band may have. All weights pass by once per band: few of them stay in
/// the second-level cache beside the patches, so smaller bands are better; many come from beyond it
/// each time, so larger bands are better, even such as fill the cache. The bounds are from layers of
/// 3 to 512 channels on AVX2 with 512 KiB of second-level cache, where halving or doubling a value
/// cost up to a third.
fn patches_len(weights: usize) -> usize {
    match weights >> 10 {
        0..40 => 32 << 10,
        40..160 => 64 << 10,
        _ => 128 << 10,
    }
}

impl WinogradPlan {
    pub(super) fn new(spec: &ConvSpec, isa: Isa) -> WinogradPlan {
        let [down, across] = spec.size.map(|x| x.div_ceil(TILE));
        let ic = spec.input.channels;
        let tiles = |bands: usize| down.div_ceil(bands) * across;
        let limit = patches_len(POSITIONS * ic * spec.output.channels);
        let fits = |bands: usize| POSITIONS * ic * tiles(bands) <= limit;
        let bands = (1..=down)
            .filter(|bands| fits(*bands) || *bands == down)
            .min_by_key(|bands| bands * tiles(*bands).div_ceil(isa.lanes()))
            .unwrap_or(1);
        // Enough work for two threads, but one band: both halves of the channels transform the
        // input, which is less than what half-filled vectors of tiles would cost.
        let divide = bands == 1 && spec.input.images == 1 && spec.macs() > 8 * TASK_MACS;
        let vectors = tiles(bands).div_ceil(isa.lanes());
        let cap = best_cap(spec, isa, vectors, 1).0;
        let channels = spec.output.channels;
        let blocks = blocks_of(channels, cap);
        let row = tiles(bands).next_multiple_of(isa.lanes());
        WinogradPlan {
            chunks: if divide { 2.min(blocks.len()) } else { 1 },
            blocks,
            bands,
            across,
            down,
            row,
            zeros: vec![0.0; spec.size[1] + 2],
            input: input_entry(isa),
            output: output_entry(isa),
        }
    }

    /// Tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.bands * self.chunks
    }

    /// Distance between the positions of `channels` rows of tiles, with room for a vector past the
    /// last: an odd number of cache lines. The transforms touch all positions in turn, and if they lay a power of two apart, as they would
    /// with 64 channels, all would fall into the same few sets of the cache.
    pub(super) fn position(&self, channels: usize) -> usize {
        ((channels * self.row + MAX_LANES).div_ceil(ALIGN) | 1) * ALIGN
    }

    /// Elements of the transformed patches of a band.
    pub(super) fn patches_len(&self, channels: usize) -> usize {
        POSITIONS * self.position(channels)
    }

    /// Elements of scratch memory.
    pub(super) fn scratch_len(&self, channels: usize) -> usize {
        let products = POSITIONS * self.position(MAX_MR);
        buffer_len(self.across) + self.patches_len(channels) + products
    }
}

impl ChannelPlan {
    pub(super) fn new(spec: &ConvSpec, isa: Isa, source: &Source) -> ChannelPlan {
        let [oh, ow] = spec.size;
        let lanes = isa.lanes();
        let channels = spec.group_outputs();
        let mut panels = Vec::new();
        let mut first = 0;
        for nv in panels_of(isa, channels.div_ceil(lanes)) {
            let existing = (channels - first).min(nv * lanes);
            panels.push((first, existing, nv));
            first += existing;
        }
        let pixel_offsets = (0..oh * ow)
            .map(|p| (p / ow * source.pixel_row + p % ow * source.pixel_column) as isize)
            .collect();
        // A band's accumulators should stay in the second-level cache: at most about 256 pixels.
        let bands = match spec.tail {
            Tail::GlobalAverage => 1,
            _ => (oh * ow).div_ceil(256).max(task_target(spec).div_ceil(panels.len())).min(oh),
        };
        ChannelPlan { panels, pixel_offsets, bands, store: channel_store(isa) }
    }
}
