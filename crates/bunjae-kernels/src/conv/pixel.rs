//! The pixel form: vectors run over pixels, weights are broadcast.
//!
//! A tile is `MR` output channels by `NR` vectors of neighbouring pixels. For each of the
//! `K = channels x taps` products it loads the `NR` vectors at `input + offset[k]` and combines
//! them with `MR` broadcast weights. Because the input is a padded plane (see [`crate::planar`]),
//! the offset of a tap is one number for all pixels, and a kernel of any size and dilation is the
//! same loop with another table.
//!
//! Tile sizes: with 32 registers `MR x NR` accumulators, `min(MR, NR)` held operands and one
//! streamed operand must fit, and 8 x 3 + 3 + 1 = 28 does; it needs 11 loads for 24
//! multiplications. With 16 registers 6 x 2 + 2 + 1 = 15 needs 8 loads for 12, and 3 x 4 + 3 + 1 = 16
//! needs 7. The tile of 4 x 3 would need 7 as well, but with it the compiler runs out of registers:
//! it passes a sum through memory in each turn of the loop, which halves the speed (36 to 43 % of the
//! peak on pointwise layers instead of 62 to 81 %, AMD EPYC of the Zen 3 generation).

use super::epilogue::{Epilogue, ResidualAt};
use crate::activation::{Fused, leaky_max};
use crate::isa::Isa;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

/// Largest number of vectors in a tile of `mr` channels, for 32 and for 16 registers.
const NR_32: [usize; 9] = [0, 8, 8, 8, 6, 5, 4, 3, 3];
const NR_16: [usize; 7] = [0, 8, 6, 4, 2, 2, 2];

/// Most channels of a tile.
pub(super) const MAX_MR: usize = 8;

/// Longest tile in pixels: what the row mask must extend past one row.
pub(super) const MAX_TILE: usize = 8 * MAX_LANES;

/// Most vectors in a tile of `mr` channels on this path (0 if no such tile exists).
pub(super) fn max_nr(isa: Isa, mr: usize) -> usize {
    let table: &[usize] = if many_registers(isa) { &NR_32 } else { &NR_16 };
    table.get(mr).copied().unwrap_or(0)
}

/// Most channels of a tile that covers two rows by two vectors (four vectors in all).
pub(super) fn max_pool_mr(isa: Isa) -> usize {
    if many_registers(isa) { 6 } else { 3 }
}

pub(super) fn many_registers(isa: Isa) -> bool {
    matches!(isa, Isa::Avx512 | Isa::Neon)
}

/// What becomes of the finished tile.
#[derive(Clone, Copy)]
pub(super) enum Sink {
    /// Stored at `out`, gaps between rows cleared.
    Store,
    /// Added, lane by lane, to `LANES` sums per channel at `out`.
    Sum,
}

/// Arguments of [`PixelTile`], [`PoolTile`] and [`super::gemm`]'s tile. [`PoolTile`] computes one block.
#[derive(Clone, Copy)]
pub(super) struct PixelArgs {
    /// Blocks of `MR` output channels, one after another. What follows is that of the first.
    pub(super) blocks: usize,
    /// Input at pixel 0 of the segment, as seen by a tap with offset 0.
    pub(super) input: *const f32,
    /// `k` offsets into the input.
    pub(super) offsets: *const isize,
    pub(super) k: usize,
    /// `k x MR` weights.
    pub(super) weights: *const f32,
    /// `MR` biases.
    pub(super) bias: *const f32,
    /// `MR` slopes if the activation wants them.
    pub(super) slopes: *const f32,
    /// Pixels of the segment to compute, from and to; positions count from pixel 0 of the segment.
    pub(super) pixels: [usize; 2],
    /// The first pixel that may be computed once more, so that the last tile is a whole one; none may
    /// where it is the end of `pixels` or beyond.
    pub(super) again: usize,
    /// Output at pixel 0 of the segment, first channel of the tile.
    pub(super) out: *mut f32,
    pub(super) out_channel: usize,
    pub(super) residual: *const f32,
    pub(super) residual_channel: usize,
    /// For pixel `p`, `mask[p % row]` is all ones inside the row and zero in the gap; readable for
    /// [`MAX_TILE`] elements past one row.
    pub(super) mask: *const f32,
    pub(super) row: usize,
    /// Whether lines are asked for before they are written.
    pub(super) asks: bool,
    pub(super) sink: Sink,
    pub(super) epilogue: Epilogue,
    /// For [`PoolTile`]: distance between input rows.
    pub(super) input_row: usize,
}

/// `MR` channels by `NR` vectors.
struct PixelTile<const MR: usize, const NR: usize>;

/// Products per turn of the loop. A processor that shares its core with another thread is bound by the
/// instructions that it can issue: four products per turn are 12 to 16 % faster than one there.
pub(super) const UNROLLED: usize = 4;

/// One product of `MR` weights and `NR` vectors at `x`, added to `acc`.
///
/// # Safety
/// As [`accumulate`].
#[inline(always)]
unsafe fn multiply<S: Simd, const MR: usize, const NR: usize>(
    x: *const f32,
    weights: *const f32,
    step: &impl Fn(usize) -> usize,
    acc: &mut [[S::V; NR]; MR],
) {
    // SAFETY: the caller vouches for all addresses formed here.
    unsafe {
        // The smaller side is held in registers, the larger one streamed.
        if NR <= MR {
            let mut xs = [S::zero(); NR];
            for j in 0..NR {
                xs[j] = S::load(x.add(step(j)));
            }
            for m in 0..MR {
                let w = S::splat(*weights.add(m));
                for j in 0..NR {
                    acc[m][j] = S::fma(xs[j], w, acc[m][j]);
                }
            }
        } else {
            let mut ws = [S::zero(); MR];
            for m in 0..MR {
                ws[m] = S::splat(*weights.add(m));
            }
            for j in 0..NR {
                let xj = S::load(x.add(step(j)));
                for m in 0..MR {
                    acc[m][j] = S::fma(xj, ws[m], acc[m][j]);
                }
            }
        }
    }
}

/// The accumulation shared by all bodies: product `k` reads vector `j` at `at(k) + step(j)`, and
/// the sums of channel `m` start from `bias[m]`.
///
/// # Safety
/// For every `k` and `j`, `LANES` elements are readable at `at(k) + step(j)`; `k * MR` weights are
/// readable; the instruction set is present.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const MR: usize, const NR: usize>(
    products: usize,
    weights: *const f32,
    bias: [S::V; MR],
    at: impl Fn(usize) -> *const f32,
    step: impl Fn(usize) -> usize,
) -> [[S::V; NR]; MR] {
    // SAFETY: the caller vouches for all addresses formed here.
    unsafe {
        let mut acc = [[S::zero(); NR]; MR];
        for m in 0..MR {
            acc[m] = [bias[m]; NR];
        }
        // Not counted down as in the channel form: the compiler then runs out of registers for the tile of
        // three channels, and MobileNetV2 takes 1.2 times as long.
        let mut k = 0;
        while k + UNROLLED <= products {
            for u in 0..UNROLLED {
                multiply::<S, MR, NR>(at(k + u), weights.add((k + u) * MR), &step, &mut acc);
            }
            k += UNROLLED;
        }
        while k < products {
            multiply::<S, MR, NR>(at(k), weights.add(k * MR), &step, &mut acc);
            k += 1;
        }
        acc
    }
}

/// A tile's place.
pub(super) struct TileAt {
    /// Its first pixel.
    p: usize,
    /// Where that is in its row, gap included.
    x_in_row: usize,
    /// Its pixels, fewer than it has room for where the pixels end.
    count: usize,
}

/// The first pixel of the tile of `size` pixels that is to begin with `p`: an earlier one where the pixels
/// end within the tile, if enough of them, from `again` on, may be computed once more.
#[inline(always)]
pub(super) fn first_of_tile(p: usize, size: usize, end: usize, again: usize) -> usize {
    if p + size > end && end >= again + size { end - size } else { p }
}

impl PixelArgs {
    /// The tiles of `size` pixels that cover `pixels`. The last one is whole if there are enough pixels
    /// that may be computed once more: what is stored in part costs more than products.
    #[inline(always)]
    pub(super) fn tiles(&self, size: usize) -> impl Iterator<Item = TileAt> {
        let (row, again) = (self.row, self.again);
        let [mut p, end] = self.pixels;
        let mut x_in_row = p % row;
        std::iter::from_fn(move || {
            if p >= end {
                return None;
            }
            let first = first_of_tile(p, size, end, again);
            if first < p {
                p = end;
                return Some(TileAt { p: first, x_in_row: first % row, count: size });
            }
            let tile = TileAt { p, x_in_row, count: (end - p).min(size) };
            p += size;
            x_in_row += size;
            while x_in_row >= row {
                x_in_row -= row;
            }
            Some(tile)
        })
    }

    /// Goes on to the next block, of `mr` channels.
    #[inline(always)]
    pub(super) fn step_block(&mut self, mr: usize, lanes: usize) {
        self.weights = self.weights.wrapping_add(self.k * mr);
        self.bias = self.bias.wrapping_add(mr);
        self.slopes = self.slopes.wrapping_add(mr);
        self.residual = self.residual.wrapping_add(mr * self.residual_channel);
        self.out = self.out.wrapping_add(match self.sink {
            Sink::Store => mr * self.out_channel,
            Sink::Sum => mr * lanes,
        });
    }

    /// The biases, and the address of product `k` for the pixel at `p`.
    ///
    /// # Safety
    /// `MR` biases are readable; the closure is called with `k` below `self.k`.
    #[inline(always)]
    unsafe fn operands<S: Simd, const MR: usize>(
        &self,
        p: usize,
    ) -> ([S::V; MR], impl Fn(usize) -> *const f32) {
        // SAFETY: the caller vouches for the biases.
        let bias = unsafe {
            let mut bias = [S::zero(); MR];
            for m in 0..MR {
                bias[m] = S::splat(*self.bias.add(m));
            }
            bias
        };
        let x = self.input.wrapping_add(p);
        // SAFETY: the caller asks for offsets that exist.
        (bias, move |k| x.wrapping_offset(unsafe { *self.offsets.add(k) }))
    }
}

/// Asks for the lines of a tile that will be written when its sums are done. The rows of a tile lie
/// in as many planes, too many for a processor to see where the next stores will go, and pointwise
/// convolutions with few inputs write much for few products. The line in which a tile begins is the last
/// one of the tile before.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
pub(super) unsafe fn prefetch_tile<S: Simd, const MR: usize>(
    a: &PixelArgs,
    &TileAt { p, count, .. }: &TileAt,
) {
    if !a.asks {
        return;
    }
    for m in 0..MR {
        let row = a.out.wrapping_add(m * a.out_channel + p);
        for end in (LINE..count + LINE).step_by(LINE) {
            // SAFETY: passes on the caller's promise that the instruction set is present.
            unsafe { S::prefetch_write(row.wrapping_add(end.min(count) - 1)) };
        }
    }
}

/// Elements of a cache line.
pub(super) const LINE: usize = 16;

/// Finishes a whole tile if its epilogue is a common one, with no branch or call in between that would
/// make the compiler move the sums to memory and back: for sums of a few dozen products that costs as
/// much as the products. Returns whether it did.
///
/// # Safety
/// As [`finish_tile`], for a whole tile.
#[inline(always)]
unsafe fn finish_common<S: Simd, const MR: usize, const NR: usize>(
    a: &PixelArgs,
    acc: &[[S::V; NR]; MR],
    p: usize,
    mask: *const f32,
) -> bool {
    // SAFETY: the caller vouches for `MR x NR` vectors of output and residual, and `NR` of mask.
    unsafe {
        match (a.epilogue.fused, a.epilogue.residual, a.sink) {
            (Fused::Clamp { lo, hi }, residual, Sink::Store) => {
                let (lo, hi) = (S::splat(lo), S::splat(hi));
                let clamp = |v| S::clamp(v, lo, hi);
                match residual {
                    None => store_tile::<S, MR, NR>(a, acc, p, mask, |v, _| clamp(v)),
                    Some(ResidualAt::BeforeActivation) => {
                        store_tile::<S, MR, NR>(a, acc, p, mask, |v, r| {
                            clamp(S::add(v, S::load(r)))
                        });
                    }
                    Some(ResidualAt::AfterActivation) => {
                        store_tile::<S, MR, NR>(a, acc, p, mask, |v, r| {
                            S::add(clamp(v), S::load(r))
                        });
                    }
                }
            }
            (Fused::Leaky { slope }, None, Sink::Store) => {
                let slope = S::splat(slope);
                store_tile::<S, MR, NR>(a, acc, p, mask, |v, _| leaky_max::<S>(v, slope));
            }
            (Fused::Clamp { lo, hi }, None, Sink::Sum) => {
                let (lo, hi) = (S::splat(lo), S::splat(hi));
                sum_tile::<S, MR, NR>(a, acc, mask, |v| S::clamp(v, lo, hi));
            }
            (Fused::Leaky { slope }, None, Sink::Sum) => {
                let slope = S::splat(slope);
                sum_tile::<S, MR, NR>(a, acc, mask, |v| leaky_max::<S>(v, slope));
            }
            _ => return false,
        }
        true
    }
}

/// Stores what `f` makes of each sum and the address of its residual.
///
/// # Safety
/// As [`finish_common`].
#[inline(always)]
unsafe fn store_tile<S: Simd, const MR: usize, const NR: usize>(
    a: &PixelArgs,
    acc: &[[S::V; NR]; MR],
    p: usize,
    mask: *const f32,
    f: impl Fn(S::V, *const f32) -> S::V,
) {
    let out = a.out.wrapping_add(p);
    let residual = a.residual.wrapping_add(p);
    // SAFETY: as the caller's.
    unsafe {
        for j in 0..NR {
            let keep = S::load(mask.add(j * S::LANES));
            for m in 0..MR {
                let r = residual.wrapping_add(m * a.residual_channel + j * S::LANES);
                let v = S::and(f(acc[m][j], r), keep);
                S::store(out.add(m * a.out_channel + j * S::LANES), v);
            }
        }
    }
}

/// Adds what `f` makes of each sum to the sums of its channel.
///
/// # Safety
/// As [`finish_common`].
#[inline(always)]
unsafe fn sum_tile<S: Simd, const MR: usize, const NR: usize>(
    a: &PixelArgs,
    acc: &[[S::V; NR]; MR],
    mask: *const f32,
    f: impl Fn(S::V) -> S::V,
) {
    // SAFETY: as the caller's.
    unsafe {
        for m in 0..MR {
            let out = a.out.add(m * S::LANES);
            let mut sum = S::load(out);
            for j in 0..NR {
                let keep = S::load(mask.add(j * S::LANES));
                sum = S::add(sum, S::and(f(acc[m][j]), keep));
            }
            S::store(out, sum);
        }
    }
}

/// What becomes of the sums of a tile.
///
/// # Safety
/// The tile's pixels lie within output and residual; the mask reaches a whole tile past any position
/// in a row; biases and slopes are readable for `MR` channels.
#[inline(always)]
pub(super) unsafe fn finish_tile<S: Simd, const MR: usize, const NR: usize>(
    a: &PixelArgs,
    acc: [[S::V; NR]; MR],
    &TileAt { p, x_in_row, count }: &TileAt,
) {
    let l = S::LANES;
    let mask = a.mask.wrapping_add(x_in_row);
    // SAFETY: the caller vouches for a whole tile.
    if count == NR * l && unsafe { finish_common::<S, MR, NR>(a, &acc, p, mask) } {
        return;
    }
    // A copy: what is reached by an index that is not known in advance has to be in memory, and that
    // must not hold for the sums of the tiles above.
    let mut acc = acc;
    let lanes = |j: usize| count.saturating_sub(j * l).min(l);
    let out = a.out.wrapping_add(p);
    // SAFETY: the caller vouches for all addresses formed here.
    unsafe {
        for m in 0..MR {
            let residual = a.residual.wrapping_add(m * a.residual_channel + p);
            a.epilogue.apply::<S, NR>(&mut acc[m], residual, lanes, a.slopes.wrapping_add(m));
            match a.sink {
                Sink::Store => {
                    let out = out.add(m * a.out_channel);
                    for j in 0..NR {
                        if lanes(j) > 0 {
                            let v = S::and(acc[m][j], S::load(mask.add(j * l)));
                            S::store_n(out.add(j * l), v, lanes(j));
                        }
                    }
                }
                Sink::Sum => {
                    let out = a.out.add(m * l);
                    let mut sum = S::load(out);
                    for j in 0..NR {
                        if lanes(j) > 0 {
                            let keep = S::load_n(mask.add(j * l), lanes(j));
                            sum = S::add(sum, S::and(acc[m][j], keep));
                        }
                    }
                    S::store(out, sum);
                }
            }
        }
    }
}

impl<const MR: usize, const NR: usize> Body<PixelArgs> for PixelTile<MR, NR> {
    /// Reads whole vectors: up to `LANES - 1` elements past the last pixel of the segment.
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PixelArgs) {
        if S::REGISTERS < 32 && MR * NR > 12 {
            // Known at compile time: the instances that `max_nr` rules out have no code.
            unreachable!("a tile of {MR} by {NR} does not fit the registers");
        }
        let l = S::LANES;
        let mut a = *a;
        for _ in 0..a.blocks {
            for tile in a.tiles(NR * l) {
                // SAFETY: the plan has checked that every tap of every pixel in `pixels`, rounded up
                // to whole vectors, lies within the input, and that the tile's pixels lie within
                // output and residual; the mask reaches a whole tile past any position in a row.
                unsafe {
                    let (bias, at) = a.operands::<S, MR>(tile.p);
                    prefetch_tile::<S, MR>(&a, &tile);
                    let acc = accumulate::<S, MR, NR>(a.k, a.weights, bias, at, |j| j * l);
                    finish_tile::<S, MR, NR>(&a, acc, &tile);
                }
            }
            a.step_block(MR, l);
        }
    }
}

/// The larger lane; NaN if either is and there may be `NANS`, which costs twice as much.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
pub(super) unsafe fn larger<S: Simd, const NANS: bool>(a: S::V, b: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe { if NANS { S::max_nan(a, b) } else { S::max(a, b) } }
}

/// The 2 x 2 maxima of two rows of two vectors; there may be `NANS`.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
pub(crate) unsafe fn pooled<S: Simd, const NANS: bool>(v: &[S::V; 4]) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe {
        let left = larger::<S, NANS>(v[0], v[2]);
        let right = larger::<S, NANS>(v[1], v[3]);
        let (even, odd) = S::split(left, right);
        S::in_order(larger::<S, NANS>(even, odd))
    }
}

/// `MR` channels by two rows of two vectors, reduced to one vector by a 2 x 2 maximum.
///
/// `pixels` are positions within one row (of the two), starting at a multiple of two vectors.
struct PoolTile<const MR: usize>;

impl<const MR: usize> Body<PixelArgs> for PoolTile<MR> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PixelArgs) {
        if S::REGISTERS < 32 && MR > 3 {
            unreachable!("a pooling tile of {MR} channels does not fit the registers");
        }
        let l = S::LANES;
        let [mut p, end] = a.pixels;
        while p < end {
            let step = |j: usize| (j % 2) * l + (j / 2) * a.input_row;
            let n = ((end - p) / 2).min(l);
            // SAFETY: as for `PixelTile`, for two rows; `n` pooled pixels from `p / 2` lie within
            // the output. The plan refuses residuals.
            unsafe {
                let (bias, at) = a.operands::<S, MR>(p);
                let acc = accumulate::<S, MR, 4>(a.k, a.weights, bias, at, step);
                let out = a.out.wrapping_add(p / 2);
                if let (Fused::Clamp { lo, hi }, true) = (a.epilogue.fused, n == l) {
                    // Monotone, so once after the maximum; see `finish_common`.
                    let (lo, hi) = (S::splat(lo), S::splat(hi));
                    let mut sum = S::zero();
                    for m in 0..MR {
                        let rows = [S::add(acc[m][0], acc[m][1]), S::add(acc[m][2], acc[m][3])];
                        sum = S::add(sum, S::add(rows[0], rows[1]));
                    }
                    // Hardly ever: the sum is that of everything.
                    let nans = S::any_nan(sum);
                    for m in 0..MR {
                        let v = match nans {
                            true => pooled::<S, true>(&acc[m]),
                            false => pooled::<S, false>(&acc[m]),
                        };
                        S::store(out.add(m * a.out_channel), S::clamp(v, lo, hi));
                    }
                } else {
                    // A copy, as in `finish_tile`.
                    let mut acc = acc;
                    for m in 0..MR {
                        let slope = a.slopes.wrapping_add(m);
                        a.epilogue.apply::<S, 4>(&mut acc[m], a.residual, |_| l, slope);
                        if n > 0 {
                            let v = pooled::<S, true>(&acc[m]);
                            S::store_n(out.add(m * a.out_channel), v, n);
                        }
                    }
                }
            }
            p += 2 * l;
        }
    }
}

/// Arguments of [`ProductTile`]: several matrix products of the same shape.
pub(super) struct ProductArgs {
    pub(super) products: usize,
    /// `k` rows of vectors per product.
    pub(super) input: *const f32,
    pub(super) input_product: usize,
    pub(super) input_row: usize,
    pub(super) k: usize,
    /// `k x MR` weights per product.
    pub(super) weights: *const f32,
    /// `MR` rows of vectors per product.
    pub(super) out: *mut f32,
    pub(super) out_product: usize,
    pub(super) out_row: usize,
    /// Tiles of `NR` vectors per row.
    pub(super) tiles: usize,
}

/// `MR` rows by `NR` vectors of plain matrix products, without the ceremony of [`PixelTile`],
/// which counts when `k` is a few dozen.
struct ProductTile<const MR: usize, const NR: usize>;

impl<const MR: usize, const NR: usize> Body<ProductArgs> for ProductTile<MR, NR> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ProductArgs) {
        if S::REGISTERS < 32 && MR * NR > 12 {
            unreachable!("a tile of {MR} by {NR} does not fit the registers");
        }
        let l = S::LANES;
        for product in 0..a.products {
            for tile in 0..a.tiles {
                // SAFETY: rows have `tiles * NR` whole vectors, by the plan.
                unsafe {
                    let p = tile * NR * l;
                    let x = a.input.add(product * a.input_product + p);
                    let at = |k: usize| x.add(k * a.input_row);
                    let weights = a.weights.add(product * a.k * MR);
                    let zeros = [S::zero(); MR];
                    let acc = accumulate::<S, MR, NR>(a.k, weights, zeros, at, |j| j * l);
                    let out = a.out.add(product * a.out_product + p);
                    for m in 0..MR {
                        for j in 0..NR {
                            S::store(out.add(m * a.out_row + j * l), acc[m][j]);
                        }
                    }
                }
            }
        }
    }
}

/// Matches a tile size to its instance of `$body`.
macro_rules! sized_entry {
    ($isa:ident, $mr:ident, $nr:ident, $body:ident, $args:ty) => {
        sized_entry!(@ $isa, $mr, $nr, $body, $args,
            (1: 1 2 3 4 5 6 7 8) (2: 1 2 3 4 5 6 7 8) (3: 1 2 3 4 5 6 7 8) (4: 1 2 3 4 5 6)
            (5: 1 2 3 4 5) (6: 1 2 3 4) (7: 1 2 3) (8: 1 2 3))
    };
    (@ $isa:ident, $mr:ident, $nr:ident, $body:ident, $args:ty,
        $(($m:literal: $($n:literal)*))*) => {
        match ($mr, $nr) {
            $($(($m, $n) => entry::<$body<$m, $n>, $args>($isa),)*)*
            _ => unreachable!("no tile of {} channels by {} vectors", $mr, $nr),
        }
    };
}

pub(super) use sized_entry;

/// The instance of [`PixelTile`] for a size within [`max_nr`].
pub(super) fn pixel_tile(isa: Isa, mr: usize, nr: usize) -> Entry<PixelArgs> {
    debug_assert!(nr >= 1 && nr <= max_nr(isa, mr));
    sized_entry!(isa, mr, nr, PixelTile, PixelArgs)
}

/// The instance of [`ProductTile`] for a size within [`max_nr`].
pub(super) fn product_tile(isa: Isa, mr: usize, nr: usize) -> Entry<ProductArgs> {
    debug_assert!(nr >= 1 && nr <= max_nr(isa, mr));
    sized_entry!(isa, mr, nr, ProductTile, ProductArgs)
}

/// The instance of [`PoolTile`] for up to [`max_pool_mr`] channels.
pub(super) fn pool_tile(isa: Isa, mr: usize) -> Entry<PixelArgs> {
    macro_rules! instances {
        ($($mr:literal)*) => {
            match mr {
                $($mr => entry::<PoolTile<$mr>, PixelArgs>(isa),)*
                _ => unreachable!("no pooling tile of {mr} channels"),
            }
        };
    }
    instances! { 1 2 3 4 5 6 }
}
