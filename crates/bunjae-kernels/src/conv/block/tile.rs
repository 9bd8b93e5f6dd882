//! The inner loops of a block: vectors run over channels, and neighbouring channels of a pixel lie next
//! to each other.
//!
//! The depthwise convolution gains most by that: whatever the width of a picture and the stride, no lane is
//! wasted, nothing is shuffled, and a vector that is loaded is a product's operand as it is.

use crate::activation::{Fused, leaky_max};
use crate::conv::channel::{Ahead, PanelWeights, channel_products, max_nv};
use crate::isa::Isa;
use crate::simd::{Body, Entry, Simd, entry};

/// Elements from a pixel of a band to the next: the widest panel's channels.
pub(super) fn band_pixel(isa: Isa) -> usize {
    max_nv(isa) * isa.lanes()
}

/// [`band_pixel`], known when the loops are compiled.
#[inline(always)]
const fn band_pixel_of<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 4 * S::LANES } else { 2 * S::LANES }
}

/// A function that follows a sum: those of [`Fused`] that need no more than a few operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finish {
    Clamp { lo: f32, hi: f32 },
    Leaky { slope: f32 },
}

impl Finish {
    /// The function, if it is one of these.
    pub(super) fn new(fused: Fused) -> Option<Finish> {
        match fused {
            Fused::Clamp { lo, hi } => Some(Finish::Clamp { lo, hi }),
            Fused::Leaky { slope } => Some(Finish::Leaky { slope }),
            Fused::Prelu | Fused::Other(_) => None,
        }
    }

    /// # Safety
    /// The instruction set is present.
    #[inline(always)]
    unsafe fn apply<S: Simd, const N: usize>(self, v: &mut [S::V; N]) {
        // SAFETY: pure arithmetic.
        unsafe {
            match self {
                Finish::Clamp { lo, hi } => {
                    let (lo, hi) = (S::splat(lo), S::splat(hi));
                    for i in 0..N {
                        v[i] = S::clamp(v[i], lo, hi);
                    }
                }
                Finish::Leaky { slope } => {
                    let slope = S::splat(slope);
                    for i in 0..N {
                        v[i] = leaky_max::<S>(v[i], slope);
                    }
                }
            }
        }
    }
}

/// Arguments of [`ExpandTile`].
pub(super) struct ExpandArgs {
    /// Input as seen by pixel offset 0 and tap offset 0.
    pub(super) input: *const f32,
    /// One offset per pixel.
    pub(super) pixel_offsets: *const isize,
    /// A multiple of `PX`.
    pub(super) pixels: usize,
    pub(super) panel: PanelWeights,
    /// `NV x LANES` biases.
    pub(super) bias: *const f32,
    /// Where the first pixel's channels go.
    pub(super) out: *mut f32,
    /// One offset per pixel.
    pub(super) out_offsets: *const isize,
    pub(super) finish: Finish,
}

/// `PX` pixels of `NV` vectors of channels: the channel form, finished before it is stored.
struct ExpandTile<const PX: usize, const NV: usize>;

impl<const PX: usize, const NV: usize> Body<ExpandArgs> for ExpandTile<PX, NV> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ExpandArgs) {
        if S::REGISTERS < 32 && PX * NV > 12 {
            unreachable!("a tile of {PX} pixels by {NV} vectors does not fit the registers");
        }
        let mut ahead = Ahead::new(&a.panel, a.panel.k * NV * S::LANES, a.pixels / PX);
        let mut p = 0;
        while p + PX <= a.pixels {
            // SAFETY: the plan has checked that every pixel offset plus every tap offset lies within
            // the input, and sized weights, biases and the band.
            unsafe {
                let mut acc = [[S::zero(); NV]; PX];
                for v in 0..NV {
                    let bias = S::load(a.bias.add(v * S::LANES));
                    for i in 0..PX {
                        acc[i][v] = bias;
                    }
                }
                let mut x = [a.input; PX];
                for i in 0..PX {
                    x[i] = a.input.offset(*a.pixel_offsets.add(p + i));
                }
                channel_products::<S, PX, NV>(&a.panel, &x, &mut acc, &mut ahead);
                for i in 0..PX {
                    a.finish.apply::<S, NV>(&mut acc[i]);
                    let out = a.out.offset(*a.out_offsets.add(p + i));
                    for v in 0..NV {
                        S::store(out.add(v * S::LANES), acc[i][v]);
                    }
                }
            }
            p += PX;
        }
    }
}

/// The instance of [`ExpandTile`] for up to [`max_px`](crate::conv::channel::max_px) pixels
/// and [`max_nv`] vectors.
pub(super) fn expand_tile(isa: Isa, px: usize, nv: usize) -> Entry<ExpandArgs> {
    macro_rules! instances {
        ($(($px:literal: $($nv:literal)*))*) => {
            match (px, nv) {
                $($(($px, $nv) => entry::<ExpandTile<$px, $nv>, ExpandArgs>(isa),)*)*
                _ => unreachable!("no tile of {px} pixels by {nv} vectors"),
            }
        };
    }
    instances! { (1: 1 2 3 4) (2: 1 2 3 4) (3: 1 2 3 4) (4: 1 2 3 4) (5: 1 2 3 4) (6: 1 2 3 4) }
}

/// Arguments of [`DepthwiseTile`].
pub(super) struct DepthwiseArgs {
    /// Vectors of channels.
    pub(super) vectors: usize,
    /// The rows that are read, as seen by the first tap of their first pixel.
    pub(super) rows_read: *const *const f32,
    /// Rows from the first that an output row reads to the first that the next reads.
    pub(super) row_step: usize,
    pub(super) rows: usize,
    /// At least `PX`.
    pub(super) width: usize,
    /// The weights of one tap after another.
    pub(super) weights: *const f32,
    /// Elements from a tap to the next.
    pub(super) weights_tap: usize,
    pub(super) bias: *const f32,
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
    pub(super) out_pixel: usize,
    pub(super) finish: Finish,
}

/// `PX` neighbouring pixels of one vector of channels, with a kernel of side `K` and a stride of
/// `STRIDE` columns.
struct DepthwiseTile<const PX: usize, const K: usize, const STRIDE: usize>;

impl<const PX: usize, const K: usize, const STRIDE: usize> Body<DepthwiseArgs>
    for DepthwiseTile<PX, K, STRIDE>
{
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &DepthwiseArgs) {
        let pixel = band_pixel_of::<S>();
        for v in 0..a.vectors {
            // SAFETY: the band holds what the taps of `rows` x `width` pixels read, the output has
            // as many; the last tile of a row ends with the row.
            unsafe {
                let first = v * S::LANES;
                let bias = S::load(a.bias.add(first));
                for y in 0..a.rows {
                    let read = a.rows_read.add(y * a.row_step);
                    let out = a.out.add(y * a.out_row + first);
                    let mut next = 0;
                    while next < a.width {
                        let x = next.min(a.width - PX);
                        let mut acc = [bias; PX];
                        let mut weights = a.weights.add(first);
                        for row in 0..K {
                            let row = (*read.add(row)).add(x * STRIDE * pixel + first);
                            for column in 0..K {
                                let weight = S::load(weights);
                                for i in 0..PX {
                                    let value = S::load(row.add((i * STRIDE + column) * pixel));
                                    acc[i] = S::fma(value, weight, acc[i]);
                                }
                                weights = weights.wrapping_add(a.weights_tap);
                            }
                        }
                        a.finish.apply::<S, PX>(&mut acc);
                        let mut to = out.add(x * a.out_pixel);
                        for i in 0..PX {
                            S::store(to, acc[i]);
                            to = to.wrapping_add(a.out_pixel);
                        }
                        next = x + PX;
                    }
                }
            }
        }
    }
}

/// The instance of [`DepthwiseTile`] for a kernel of side 3 or 5, a stride of 1 or 2 columns and rows of
/// `width` pixels, if there is one.
pub(super) fn depthwise_tile(
    isa: Isa,
    kernel: usize,
    stride: usize,
    width: usize,
) -> Option<Entry<DepthwiseArgs>> {
    // As few tiles as there can be; of those, the smallest.
    let px = match width {
        0 => return None,
        1 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        7 => 7,
        _ if width.div_ceil(7) == width.div_ceil(8) => 7,
        _ => 8,
    };
    macro_rules! instances {
        ($($k:literal $stride:literal: $($px:literal)*;)*) => {
            match (kernel, stride, px) {
                $($(($k, $stride, $px) => {
                    Some(entry::<DepthwiseTile<$px, $k, $stride>, DepthwiseArgs>(isa))
                })*)*
                _ => None,
            }
        };
    }
    instances! { 3 1: 1 2 4 7 8; 3 2: 1 2 4 7 8; 5 1: 1 2 4 7 8; 5 2: 1 2 4 7 8; }
}
