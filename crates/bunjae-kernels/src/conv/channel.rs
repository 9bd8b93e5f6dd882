//! The channel form: vectors run over output channels, input pixels are broadcast.
//!
//! For small pictures (7 x 7, 8 x 15) a vector of pixels wastes lanes and a strided convolution
//! would first have to be split by phases. Here a tile is `PX` arbitrary pixels by `NV` vectors of
//! output channels; weights are packed so that the vectors are loaded directly, and any stride
//! works because every pixel has its own offset. The result, pixel-major, is transposed when
//! stored, which costs little once `K` is large.
//!
//! Tile sizes: 6 x 4 + 4 + 1 = 29 of 32 registers, 6 x 2 + 2 + 1 = 15 of 16, and all 16 with 4 x 3 + 3 + 1
//! where a single vector would be left over: six sums do not hide the latency of a multiply-add.

use std::iter::repeat_n;

use super::epilogue::Epilogue;
use super::pixel::{Sink, UNROLLED, many_registers};
use super::plan::even_tiles;
use crate::activation::{Fused, leaky_max};
use crate::isa::Isa;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

/// Most pixels of a tile of so many vectors.
pub(crate) fn max_px(isa: Isa, nv: usize) -> usize {
    if nv > 2 && !many_registers(isa) { 4 } else { 6 }
}

/// Products accumulated before the next panel of weights: with 128, the weights of a panel and the
/// lines of as many input planes fit a first-level cache together (with 256 they did not, which cost
/// 3 to 12 % on pointwise layers of many channels).
pub(crate) const K_BLOCK: usize = 128;

/// Most vectors of output channels in a tile, apart from the odd one of [`panels_of`].
pub(crate) fn max_nv(isa: Isa) -> usize {
    if many_registers(isa) { 4 } else { 2 }
}

/// Most channels of a panel of [`panels_of`].
pub(super) fn widest_panel(isa: Isa) -> usize {
    max_nv(isa).max(3) * isa.lanes()
}

/// Output channels of `vectors` in panels: as wide as there can be, all nearly the same.
pub(super) fn panels_of(isa: Isa, vectors: usize) -> impl Iterator<Item = usize> {
    let odd = !many_registers(isa) && vectors > 1 && vectors % 2 == 1;
    let rest = if odd { vectors - 3 } else { vectors };
    let even = even_tiles(rest, max_nv(isa)).flat_map(|(nv, count)| repeat_n(nv, count));
    even.chain(odd.then_some(3))
}

/// Arguments of [`ChannelTile`].
pub(crate) struct ChannelArgs {
    /// Input as seen by pixel offset 0 and tap offset 0.
    pub(crate) input: *const f32,
    /// One offset per pixel.
    pub(crate) pixel_offsets: *const isize,
    pub(crate) pixels: usize,
    pub(crate) panel: PanelWeights,
    /// `channels` biases, used if `first`.
    pub(crate) bias: *const f32,
    /// Channels of the panel that exist; the others are padding.
    pub(crate) channels: usize,
    /// Whether this is the first block of products, which starts from the bias.
    pub(crate) first: bool,
    /// `pixels x NV x LANES` accumulators.
    pub(crate) acc: *mut f32,
}

/// The weights of a panel.
#[derive(Clone, Copy)]
pub(crate) struct PanelWeights {
    /// `k` offsets into the input.
    pub(crate) offsets: *const isize,
    pub(crate) k: usize,
    /// `k x NV x LANES` weights.
    pub(crate) weights: *const f32,
}

/// The weights of the next panel, which follow, are asked for a little at a time: those of a network are
/// more than the second-level cache holds, and the first tile would wait for them.
pub(super) struct Ahead {
    next: *const f32,
    stride: usize,
}

impl Ahead {
    /// For a panel of `len` weights of which `tiles` tiles use all.
    #[inline(always)]
    pub(super) fn new(panel: &PanelWeights, len: usize, tiles: usize) -> Ahead {
        let steps = tiles * (panel.k / UNROLLED);
        Ahead { next: panel.weights.wrapping_add(len), stride: len.div_ceil(steps.max(1)) }
    }
}

/// All products of `PX` pixels, whose first products are at `x`, and `NV` vectors of weights.
///
/// # Safety
/// As [`ChannelTile`].
#[inline(always)]
pub(super) unsafe fn channel_products<S: Simd, const PX: usize, const NV: usize>(
    panel: &PanelWeights,
    x: &[*const f32; PX],
    acc: &mut [[S::V; NV]; PX],
    ahead: &mut Ahead,
) {
    let mut k = 0;
    // SAFETY: passed on.
    unsafe {
        for _ in 0..panel.k / UNROLLED {
            S::prefetch_read(ahead.next);
            ahead.next = ahead.next.wrapping_add(ahead.stride);
            for u in 0..UNROLLED {
                multiply::<S, PX, NV>(panel, k + u, x, acc);
            }
            k += UNROLLED;
        }
        for _ in 0..panel.k % UNROLLED {
            multiply::<S, PX, NV>(panel, k, x, acc);
            k += 1;
        }
    }
}

/// Product `k`.
///
/// # Safety
/// As [`ChannelTile`].
#[inline(always)]
unsafe fn multiply<S: Simd, const PX: usize, const NV: usize>(
    panel: &PanelWeights,
    k: usize,
    x: &[*const f32; PX],
    acc: &mut [[S::V; NV]; PX],
) {
    // SAFETY: the caller vouches for all addresses formed here.
    unsafe {
        let offset = *panel.offsets.add(k);
        let weights = panel.weights.add(k * NV * S::LANES);
        let mut ws = [S::zero(); NV];
        for v in 0..NV {
            ws[v] = S::load(weights.add(v * S::LANES));
        }
        for i in 0..PX {
            let xi = S::splat(*x[i].offset(offset));
            for v in 0..NV {
                acc[i][v] = S::fma(xi, ws[v], acc[i][v]);
            }
        }
    }
}

struct ChannelTile<const PX: usize, const NV: usize>;

impl<const PX: usize, const NV: usize> Body<ChannelArgs> for ChannelTile<PX, NV> {
    /// Handles `pixels`, a multiple of `PX`.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ChannelArgs) {
        if S::REGISTERS < 32 && PX * NV > 12 {
            unreachable!("a tile of {PX} pixels by {NV} vectors does not fit the registers");
        }
        let l = S::LANES;
        let mut ahead = Ahead::new(&a.panel, a.panel.k * NV * l, a.pixels / PX);
        let mut p = 0;
        while p + PX <= a.pixels {
            // SAFETY: the plan has checked that every pixel offset plus every tap offset lies
            // within the input, and sized weights and accumulators.
            unsafe {
                let mut acc = [[S::zero(); NV]; PX];
                let out = a.acc.add(p * NV * l);
                if a.first {
                    for v in 0..NV {
                        let bias = if a.channels > v * l {
                            S::load_n(a.bias.add(v * l), a.channels - v * l)
                        } else {
                            S::zero()
                        };
                        for i in 0..PX {
                            acc[i][v] = bias;
                        }
                    }
                } else {
                    for i in 0..PX {
                        for v in 0..NV {
                            acc[i][v] = S::load(out.add((i * NV + v) * l));
                        }
                    }
                }
                let mut x = [a.input; PX];
                for i in 0..PX {
                    x[i] = a.input.offset(*a.pixel_offsets.add(p + i));
                }
                channel_products::<S, PX, NV>(&a.panel, &x, &mut acc, &mut ahead);
                for i in 0..PX {
                    for v in 0..NV {
                        S::store(out.add((i * NV + v) * l), acc[i][v]);
                    }
                }
            }
            p += PX;
        }
    }
}

/// The instance of [`ChannelTile`] for up to [`max_px`] pixels.
pub(crate) fn channel_tile(isa: Isa, px: usize, nv: usize) -> Entry<ChannelArgs> {
    macro_rules! instances {
        ($(($px:literal: $($nv:literal)*))*) => {
            match (px, nv) {
                $($(($px, $nv) => entry::<ChannelTile<$px, $nv>, ChannelArgs>(isa),)*)*
                _ => unreachable!("no tile of {px} pixels by {nv} vectors"),
            }
        };
    }
    instances! { (1: 1 2 3 4) (2: 1 2 3 4) (3: 1 2 3 4) (4: 1 2 3 4) (5: 1 2 3 4) (6: 1 2 3 4) }
}

/// Arguments of [`ChannelStore`].
pub(super) struct ChannelStoreArgs {
    /// `rows x width x panel` accumulators.
    pub(super) acc: *const f32,
    /// Padded channels of the panel.
    pub(super) panel: usize,
    /// Channels of the panel that exist.
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Output at the first channel and row.
    pub(super) out: *mut f32,
    pub(super) out_channel: usize,
    pub(super) out_row: usize,
    pub(super) residual: *const f32,
    pub(super) residual_channel: usize,
    pub(super) residual_row: usize,
    pub(super) slopes: *const f32,
    pub(super) sink: Sink,
    pub(super) epilogue: Epilogue,
}

/// Transposes pixel-major accumulators into planes and applies the epilogue.
pub(super) struct ChannelStore;

impl Body<ChannelStoreArgs> for ChannelStore {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ChannelStoreArgs) {
        let l = S::LANES;
        if let (Sink::Sum, None) = (a.sink, a.epilogue.residual) {
            match a.epilogue.fused {
                Fused::Clamp { lo, hi } => {
                    // SAFETY: passed on.
                    return unsafe {
                        let (lo, hi) = (S::splat(lo), S::splat(hi));
                        sum_pixels::<S>(a, |v| S::clamp(v, lo, hi));
                    };
                }
                Fused::Leaky { slope } => {
                    // SAFETY: passed on.
                    return unsafe {
                        let slope = S::splat(slope);
                        sum_pixels::<S>(a, |v| leaky_max::<S>(v, slope));
                    };
                }
                Fused::Prelu | Fused::Other(_) => {}
            }
        }
        let whole = matches!(a.sink, Sink::Store) && a.width >= l && a.epilogue.is_inline();
        for first in (0..a.channels).step_by(l) {
            let channels = (a.channels - first).min(l);
            if whole && channels == l {
                // SAFETY: passed on.
                unsafe { store_squares::<S>(a, first) };
                continue;
            }
            for y in 0..a.rows {
                for x in (0..a.width).step_by(l) {
                    let n = (a.width - x).min(l);
                    // SAFETY: pixel `(y, x + i)` with `i < n` and channel `first + c` with
                    // `c < channels` exist in accumulators, output and residual, whose strides the
                    // plan has checked.
                    unsafe {
                        let mut square = [S::zero(); MAX_LANES];
                        let acc = a.acc.add((y * a.width + x) * a.panel + first);
                        for c in 0..channels {
                            // The same columns of the next row.
                            let next = (first + c) * a.out_channel + (y + 1) * a.out_row + x;
                            S::prefetch_write(a.out.wrapping_add(next));
                        }
                        for i in 0..n {
                            square[i] = S::load(acc.add(i * a.panel));
                        }
                        S::transpose(&mut square);
                        for c in 0..channels {
                            let channel = first + c;
                            let residual = a.residual.wrapping_add(
                                channel * a.residual_channel + y * a.residual_row + x,
                            );
                            let slope = a.slopes.wrapping_add(channel);
                            let mut v = [square[c]];
                            a.epilogue.apply::<S, 1>(&mut v, residual, |_| n, slope);
                            match a.sink {
                                Sink::Store => {
                                    let out =
                                        a.out.add(channel * a.out_channel + y * a.out_row + x);
                                    S::store_n(out, v[0], n);
                                }
                                Sink::Sum => {
                                    let out = a.out.add(channel * l);
                                    let mut kept = [0.0f32; MAX_LANES];
                                    S::store_n(kept.as_mut_ptr(), v[0], n);
                                    S::store(out, S::add(S::load(out), S::load(kept.as_ptr())));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A whole vector of channels from `first` on, of rows that are at least as wide as a vector: the last
/// pixels of a row are stored once more, so that no vector is partial.
///
/// # Safety
/// As [`ChannelStore`]; these channels and `LANES` columns exist.
#[inline(always)]
unsafe fn store_squares<S: Simd>(a: &ChannelStoreArgs, first: usize) {
    let l = S::LANES;
    for y in 0..a.rows {
        // SAFETY: pixels `(y, x + i)` and channels `first + c` with `i, c < LANES` exist in
        // accumulators, output and residual.
        unsafe {
            let acc = a.acc.add(y * a.width * a.panel + first);
            let row = a.out.add(first * a.out_channel + y * a.out_row);
            let residual = a.residual.wrapping_add(first * a.residual_channel + y * a.residual_row);
            let mut next = 0;
            while next < a.width {
                let x = next.min(a.width - l);
                let mut square = [S::zero(); MAX_LANES];
                for i in 0..l {
                    square[i] = S::load(acc.add((x + i) * a.panel));
                }
                S::transpose(&mut square);
                let residual = residual.wrapping_add(x);
                a.epilogue.apply_to_channels::<S>(
                    &mut square,
                    residual,
                    a.residual_channel,
                    a.slopes.wrapping_add(first),
                );
                let mut out = row.add(x);
                for c in 0..l {
                    // The same columns of the next row.
                    S::prefetch_write(out.wrapping_add(a.out_row));
                    S::store(out, square[c]);
                    out = out.wrapping_add(a.out_channel);
                }
                next = x + l;
            }
        }
    }
}

/// [`Sink::Sum`] where the channels need not be told apart: the lanes of a vector are added pixel by
/// pixel, and each becomes the first of its channel's sums.
///
/// # Safety
/// As [`ChannelStore`].
#[inline(always)]
unsafe fn sum_pixels<S: Simd>(a: &ChannelStoreArgs, f: impl Fn(S::V) -> S::V) {
    let l = S::LANES;
    let pixels = a.rows * a.width;
    for first in (0..a.channels).step_by(l) {
        // SAFETY: `pixels` rows of accumulators are readable in whole vectors; each existing
        // channel has `LANES` sums.
        unsafe {
            let acc = a.acc.add(first);
            // Four sums, so that an addition need not wait for the one before.
            let mut sums = [S::zero(); 4];
            for p in 0..pixels {
                let v = f(S::load(acc.add(p * a.panel)));
                sums[p % 4] = S::add(sums[p % 4], v);
            }
            let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            let mut lanes = [0.0f32; MAX_LANES];
            S::store(lanes.as_mut_ptr(), sum);
            for c in 0..(a.channels - first).min(l) {
                *a.out.add((first + c) * l) += lanes[c];
            }
        }
    }
}

/// The instance of [`ChannelStore`] for a path.
pub(super) fn channel_store(isa: Isa) -> Entry<ChannelStoreArgs> {
    entry::<ChannelStore, ChannelStoreArgs>(isa)
}
