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

use super::pixel::{LINE, PixelArgs, accumulate, finish_tile, max_nr, sized_entry};
use super::plan::even_tiles;
use crate::isa::Isa;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

/// Most vectors that are packed at once.
pub(super) const MAX_GROUP: usize = 48;

/// Planes between the one that is packed and the one that is fetched meanwhile.
const AHEAD: usize = 8;

/// Arguments of [`PackStrips`]: some vectors of pixels, of some channels.
pub(super) struct PackArgs {
    /// Input at pixel (0, 0) of the first channel.
    pub(super) input: *const f32,
    pub(super) input_channel: usize,
    /// Distances between vertically and horizontally neighbouring pixels.
    pub(super) pixel_row: usize,
    pub(super) pixel_column: usize,
    /// Rows and columns of the result.
    pub(super) size: [usize; 2],
    /// Positions of a row, gap included.
    pub(super) row: usize,
    /// Vectors of positions; at most [`MAX_GROUP`].
    pub(super) vectors: Range<usize>,
    /// Vectors of the widest strip.
    pub(super) nr: usize,
    /// Channels that are packed here: which of the strips' products, all of which are `k`.
    pub(super) channels: Range<usize>,
    pub(super) k: usize,
    /// The strips of these vectors: `k` times its vectors each.
    pub(super) out: *mut f32,
}

/// Copies pixels into strips. Positions in gaps become anything that is stored nowhere.
pub(super) struct PackStrips;

impl Body<PackArgs> for PackStrips {
    /// Reads whole vectors: up to `LANES - 1` elements past the last pixel.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PackArgs) {
        let l = S::LANES;
        let (first, count) = (a.vectors.start * l, a.vectors.len());
        let dense = a.pixel_column == 1 && a.pixel_row == a.row;
        let mut line = [0.0f32; MAX_GROUP * MAX_LANES];
        for channel in a.channels.clone() {
            let plane = a.input.wrapping_add((channel - a.channels.start) * a.input_channel);
            // SAFETY: the positions of `vectors` that are pixels exist in the plane; if it is dense,
            // whole vectors of them are readable. The strips have room for all products.
            unsafe {
                let from = if dense {
                    plane.wrapping_add(first)
                } else {
                    gather_rows::<S>(a, plane, &mut line[..count * l]);
                    line.as_ptr()
                };
                if dense {
                    for at in (0..count * l).step_by(LINE) {
                        S::prefetch_read(from.wrapping_add(AHEAD * a.input_channel + at));
                    }
                }
                let mut done = 0;
                for (size, strips) in even_tiles(count, a.nr) {
                    for _ in 0..strips {
                        let out = a.out.add(done * a.k * l + channel * size * l);
                        for v in 0..size {
                            S::store(out.add(v * l), S::load(from.wrapping_add((done + v) * l)));
                        }
                        done += size;
                    }
                }
            }
        }
    }
}

/// The pixels of the positions of `a.vectors`, in order; what lies in gaps is left as it was.
///
/// # Safety
/// As [`PackStrips`]; `line` holds as many positions.
#[inline(always)]
unsafe fn gather_rows<S: Simd>(a: &PackArgs, plane: *const f32, line: &mut [f32]) {
    let first = a.vectors.start * S::LANES;
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
        let mut p = a.pixels.start;
        let mut x_in_row = p % a.row;
        let mut strip = a.input;
        while p < a.pixels.end {
            let count = (a.pixels.end - p).min(NR * l);
            // SAFETY: a strip holds `k` times `NR` vectors; for the rest see `finish_tile`.
            unsafe {
                let mut bias = [S::zero(); MR];
                for m in 0..MR {
                    bias[m] = S::splat(*a.bias.add(m));
                }
                let at = |k: usize| strip.wrapping_add(k * NR * l);
                let acc = accumulate::<S, MR, NR>(a.k, a.weights, bias, at, |j| j * l);
                finish_tile::<S, MR, NR>(a, acc, p, x_in_row, count);
            }
            strip = strip.wrapping_add(a.k * NR * l);
            p += count;
            x_in_row += count;
            while x_in_row >= a.row {
                x_in_row -= a.row;
            }
        }
    }
}

/// The instance of [`PackStrips`] for a path.
pub(super) fn pack_strips(isa: Isa) -> Entry<PackArgs> {
    entry::<PackStrips, PackArgs>(isa)
}

/// The instance of [`GemmTile`] for a size within [`max_nr`].
pub(super) fn gemm_tile(isa: Isa, mr: usize, nr: usize) -> Entry<PixelArgs> {
    debug_assert!(nr >= 1 && nr <= max_nr(isa, mr));
    sized_entry!(isa, mr, nr, GemmTile, PixelArgs)
}
