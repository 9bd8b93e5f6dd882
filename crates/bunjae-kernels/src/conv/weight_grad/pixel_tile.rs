//! The inner loop of the pixel form: dot products of rows of pixels.
//!
//! A tile is `MR` output channels by `NR` products (input channel and tap). Vectors run over
//! neighbouring pixels; each of the `MR x NR` sums is a vector until the end of the run of pixels,
//! when its lanes are added up. The larger side of a tile is streamed and the smaller one held, as
//! in the tiles of [`crate::conv::pixel`].

use crate::isa::Isa;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

use super::super::pixel::many_registers;

/// Most products of a tile by its number of channels, for 32 and for 16 registers.
const NR_32: [usize; 9] = [0, 9, 9, 7, 6, 5, 4, 3, 3];
const NR_16: [usize; 5] = [0, 9, 6, 4, 3];

/// Most channels of a tile.
pub(super) fn max_channels(isa: Isa) -> usize {
    if many_registers(isa) { NR_32.len() - 1 } else { NR_16.len() - 1 }
}

/// Most products of a tile of so many channels.
pub(super) fn max_products(isa: Isa, channels: usize) -> usize {
    let table: &[usize] = if many_registers(isa) { &NR_32 } else { &NR_16 };
    table.get(channels).copied().unwrap_or(0)
}

/// Arguments of [`GradTile`].
pub(super) struct GradArgs {
    /// The gradient at the first pixel of the first channel of the tile.
    pub(super) gradient: *const f32,
    pub(super) gradient_channel: usize,
    pub(super) gradient_row: usize,
    pub(super) gradient_image: usize,
    /// The input as seen by that pixel through a tap of offset 0.
    pub(super) input: *const f32,
    pub(super) input_row: usize,
    pub(super) input_image: usize,
    /// How far behind these pixels those of the next tile lie, in the gradient and in the input; 0 where
    /// they are the same.
    pub(super) ahead: [usize; 2],
    /// `NR` offsets into the input.
    pub(super) offsets: *const isize,
    pub(super) images: usize,
    /// Runs of pixels per image, a row apart.
    pub(super) rows: usize,
    /// Pixels of a run.
    pub(super) pixels: usize,
    /// `MR` rows of `NR` sums, to which the products are added.
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
}

struct GradTile<const MR: usize, const NR: usize>;

/// The products of one vector of pixels.
///
/// # Safety
/// `load` reads memory that the caller vouches for; the instruction set is present.
#[inline(always)]
unsafe fn multiply<S: Simd, const MR: usize, const NR: usize>(
    acc: &mut [[S::V; NR]; MR],
    gradient: *const f32,
    channel: usize,
    inputs: &[*const f32; NR],
    p: usize,
    load: impl Fn(*const f32) -> S::V,
) {
    // SAFETY: addresses are formed within what the caller vouches for.
    unsafe {
        if NR <= MR {
            let mut xs = [S::zero(); NR];
            for n in 0..NR {
                xs[n] = load(inputs[n].add(p));
            }
            for m in 0..MR {
                let d = load(gradient.add(m * channel + p));
                for n in 0..NR {
                    acc[m][n] = S::fma(d, xs[n], acc[m][n]);
                }
            }
        } else {
            let mut ds = [S::zero(); MR];
            for m in 0..MR {
                ds[m] = load(gradient.add(m * channel + p));
            }
            for n in 0..NR {
                let x = load(inputs[n].add(p));
                for m in 0..MR {
                    acc[m][n] = S::fma(ds[m], x, acc[m][n]);
                }
            }
        }
    }
}

impl<const MR: usize, const NR: usize> Body<GradArgs> for GradTile<MR, NR> {
    /// Reads the pixels named and no others.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &GradArgs) {
        if S::REGISTERS < 32 && MR * NR > 12 {
            unreachable!("a tile of {MR} by {NR} does not fit the registers");
        }
        let l = S::LANES;
        // SAFETY: the caller vouches for every pixel of every run, seen through every tap, and for
        // the sums.
        unsafe {
            let mut offsets = [0isize; NR];
            for n in 0..NR {
                offsets[n] = *a.offsets.add(n);
            }
            let mut acc = [[S::zero(); NR]; MR];
            for image in 0..a.images {
                for row in 0..a.rows {
                    let gradient = a.gradient.add(image * a.gradient_image + row * a.gradient_row);
                    let input = a.input.add(image * a.input_image + row * a.input_row);
                    let mut inputs = [input; NR];
                    for n in 0..NR {
                        inputs[n] = input.offset(offsets[n]);
                    }
                    let mut p = 0;
                    while p + l <= a.pixels {
                        if a.ahead[0] > 0 {
                            for m in 0..MR {
                                let next = m * a.gradient_channel + a.ahead[0] + p;
                                S::prefetch_read(gradient.wrapping_add(next));
                            }
                        }
                        if a.ahead[1] > 0 {
                            S::prefetch_read(input.wrapping_add(a.ahead[1] + p));
                        }
                        let load = |at: *const f32| S::load(at);
                        multiply::<S, MR, NR>(
                            &mut acc,
                            gradient,
                            a.gradient_channel,
                            &inputs,
                            p,
                            load,
                        );
                        p += l;
                    }
                    if p < a.pixels {
                        let rest = a.pixels - p;
                        let load = |at: *const f32| S::load_partial(at, rest);
                        multiply::<S, MR, NR>(
                            &mut acc,
                            gradient,
                            a.gradient_channel,
                            &inputs,
                            p,
                            load,
                        );
                    }
                }
            }
            let mut sums = [0.0f32; 2 * MAX_LANES + 8];
            lane_sums::<S, MR, NR>(&acc, &mut sums);
            for m in 0..MR {
                for n in 0..NR {
                    *a.out.add(m * a.out_row + n) += sums[m * NR + n];
                }
            }
        }
    }
}

/// Adds up the lanes of each vector, `LANES` vectors at a time: pairs of vectors are interleaved
/// and added until one vector holds a sum per lane.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
pub(super) unsafe fn lane_sums<S: Simd, const MR: usize, const NR: usize>(
    acc: &[[S::V; NR]; MR],
    sums: &mut [f32; 2 * MAX_LANES + 8],
) {
    let mut first = 0;
    while first < MR * NR {
        let n = (MR * NR - first).min(S::LANES);
        // SAFETY: pure arithmetic; `first + n` is at most 24 sums.
        unsafe {
            let mut v = [S::zero(); MAX_LANES];
            for i in 0..n {
                v[i] = acc[(first + i) / NR][(first + i) % NR];
            }
            let mut half = S::LANES / 2;
            while half > 0 {
                for i in 0..half {
                    let (lo, hi) = S::interleave(v[i], v[i + half]);
                    v[i] = S::add(lo, hi);
                }
                half /= 2;
            }
            S::store_n(sums.as_mut_ptr().add(first), v[0], n);
        }
        first += S::LANES;
    }
}

/// The instance of [`GradTile`] for a size within [`max_products`].
pub(super) fn grad_tile(isa: Isa, channels: usize, products: usize) -> Entry<GradArgs> {
    macro_rules! instances {
        ($(($m:literal: $($n:literal)*))*) => {
            match (channels, products) {
                $($(($m, $n) => entry::<GradTile<$m, $n>, GradArgs>(isa),)*)*
                _ => unreachable!("no tile of {channels} channels by {products} products"),
            }
        };
    }
    instances! {
        (1: 1 2 3 4 5 6 7 8 9) (2: 1 2 3 4 5 6 7 8 9) (3: 1 2 3 4 5 6 7) (4: 1 2 3 4 5 6)
        (5: 1 2 3 4 5) (6: 1 2 3 4) (7: 1 2 3) (8: 1 2 3)
    }
}
