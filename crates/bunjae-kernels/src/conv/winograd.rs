//! Winograd's minimal filtering F(4 x 4, 3 x 3): 36 products where the direct form needs 144.
//!
//! The result is divided into tiles of 4 x 4 pixels, each of which sees 6 x 6 pixels of the input.
//! With `d` such a patch, `g` a kernel and `y` the tile,
//! `y = A^T [(G g G^T) . (B^T d B)] A`, where the products in brackets are, for each of the 36
//! positions, a matrix product over the input channels.
//!
//! The transforms are those of Cook and Toom for the points 0, +-a, +-b and infinity. With
//! `a = 1/sqrt 2` and `b = sqrt 2`, that is `a^2 b^2 = 1` and `a^2 + b^2 = 5/2`, the coefficients
//! stay small and rounding errors are several times smaller than with 1 and 2:
//!
//! ```text
//! B^T = 1   0    -5/2  0    1  0      A^T = 1  1   1   1   1   0
//!       0  -ab^2 -b^2  a    1  0            0  a  -a   b  -b   0
//!       0   ab^2 -b^2 -a    1  0            0  a^2 a^2 b^2 b^2 0
//!       0  -ba^2 -a^2  b    1  0            0  a^3 -a^3 b^3 -b^3 1
//!       0   ba^2 -a^2 -b    1  0
//!       0   1     0   -5/2  0  1      row j of G: (1, p_j, p_j^2) / prod_{l != j} (p_j - p_l)
//! ```
//!
//! Vectors run over tiles. Columns are separated by their position in the tile once, while the
//! input is transformed, and joined again while the output is; the 36 products in between are the
//! tiles of [`super::pixel`] on plain matrices.

use super::epilogue::Epilogue;
use super::pixel::larger;
use crate::activation::Fused;
use crate::isa::Isa;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

/// Rows and columns of the result per tile.
pub(super) const TILE: usize = 4;

/// Rows and columns of a transformed patch.
pub(super) const PATCH: usize = 6;

/// Matrix products.
pub(crate) const POSITIONS: usize = PATCH * PATCH;

pub(super) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
pub(super) const B: f32 = std::f32::consts::SQRT_2;
pub(super) const A2: f32 = 0.5;
pub(super) const B2: f32 = 2.0;
const SUM2: f32 = A2 + B2;

/// The rows of `G`.
pub(super) fn kernel_rows() -> [[f64; 3]; PATCH] {
    let (a, b) = (0.5f64.sqrt(), 2.0f64.sqrt());
    let points = [0.0, a, -a, b, -b];
    let mut rows = [[0.0; 3]; PATCH];
    for (j, p) in points.into_iter().enumerate() {
        let others = points.iter().enumerate().filter(|(l, _)| *l != j);
        let norm: f64 = others.map(|(_, q)| p - q).product();
        rows[j] = [1.0 / norm, p / norm, p * p / norm];
    }
    rows[PATCH - 1] = [0.0, 0.0, 1.0];
    rows
}

/// `G g G^T` of one kernel, row by row.
pub(crate) fn transform_kernel(g: &[f32]) -> [f32; POSITIONS] {
    let rows = kernel_rows();
    let mut out = [0.0; POSITIONS];
    for i in 0..PATCH {
        for j in 0..PATCH {
            let mut sum = 0.0;
            for y in 0..3 {
                for x in 0..3 {
                    sum += rows[i][y] * f64::from(g[y * 3 + x]) * rows[j][x];
                }
            }
            out[i * PATCH + j] = sum as f32;
        }
    }
    out
}

/// `B^T d` for one column of six vectors.
///
/// # Safety
/// The instruction set is present; so for the next function.
#[inline(always)]
pub(super) unsafe fn input_transform<S: Simd>(d: [S::V; PATCH]) -> [S::V; PATCH] {
    // SAFETY: pure arithmetic.
    unsafe {
        let (b2, a2) = (S::splat(-B2), S::splat(-A2));
        let (s, a, b) = (S::splat(-SUM2), S::splat(A), S::splat(B));
        let even_a = S::fma(d[2], b2, d[4]);
        let even_b = S::fma(d[2], a2, d[4]);
        // a (d3 - b^2 d1) and b (d3 - a^2 d1)
        let odd_a = S::mul(S::fma(d[1], b2, d[3]), a);
        let odd_b = S::mul(S::fma(d[1], a2, d[3]), b);
        [
            S::add(S::fma(d[2], s, d[4]), d[0]),
            S::add(even_a, odd_a),
            S::sub(even_a, odd_a),
            S::add(even_b, odd_b),
            S::sub(even_b, odd_b),
            S::add(S::fma(d[3], s, d[5]), d[1]),
        ]
    }
}

/// `A^T m` for one column of six vectors.
#[inline(always)]
unsafe fn output_transform<S: Simd>(m: [S::V; PATCH]) -> [S::V; TILE] {
    // SAFETY: pure arithmetic.
    unsafe {
        let (sum_a, sum_b) = (S::add(m[1], m[2]), S::add(m[3], m[4]));
        let (dif_a, dif_b) = (S::sub(m[1], m[2]), S::sub(m[3], m[4]));
        let (a, b) = (S::splat(A), S::splat(B));
        let (a2, b2) = (S::splat(A2), S::splat(B2));
        let (a3, b3) = (S::splat(A * A2), S::splat(B * B2));
        [
            S::add(m[0], S::add(sum_a, sum_b)),
            S::fma(dif_a, a, S::mul(dif_b, b)),
            S::fma(sum_a, a2, S::mul(sum_b, b2)),
            S::add(S::fma(dif_a, a3, S::mul(dif_b, b3)), m[5]),
        ]
    }
}

/// Arguments of [`InputTransform`]: some rows of tiles of one channel.
pub(super) struct InputArgs {
    /// The first row of the first row of tiles; each is readable for `columns` elements.
    pub(super) input: *const f32,
    pub(super) input_row: usize,
    /// How many rows there are; `zeros` stands for each one after them.
    pub(super) rows: usize,
    pub(super) zeros: *const f32,
    pub(super) columns: usize,
    /// Rows of tiles, and tiles of a row.
    pub(super) tile_rows: usize,
    pub(super) tiles: usize,
    /// [`buffer_len`] elements of scratch memory.
    pub(super) buffer: *mut f32,
    /// First tile at position 0, one row of tiles after the other; up to `LANES - 1` elements past
    /// the last tile are overwritten.
    pub(super) out: *mut f32,
    /// Distance between positions.
    pub(super) position: usize,
}

/// Scratch elements that the transform of a row of `tiles` needs.
pub(super) fn buffer_len(tiles: usize) -> usize {
    PATCH * TILE * buffer_row(tiles)
}

/// One more tile than there are, for the columns a patch shares with the next, in whole vectors.
fn buffer_row(tiles: usize) -> usize {
    (tiles + 1).next_multiple_of(MAX_LANES) + MAX_LANES
}

struct InputTransform;

impl Body<InputArgs> for InputTransform {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &InputArgs) {
        for tile_row in 0..a.tile_rows {
            let mut rows = [a.zeros; PATCH];
            for (i, row) in rows.iter_mut().enumerate() {
                let y = tile_row * TILE + i;
                if y < a.rows {
                    *row = a.input.wrapping_add(y * a.input_row);
                }
            }
            // SAFETY: as the arguments promise.
            unsafe { input_row::<S>(a, rows, a.out.add(tile_row * a.tiles)) };
        }
    }
}

/// One row of tiles.
///
/// # Safety
/// As [`InputTransform`].
#[inline(always)]
unsafe fn input_row<S: Simd>(a: &InputArgs, rows: [*const f32; PATCH], out: *mut f32) {
    let l = S::LANES;
    let stride = buffer_row(a.tiles);
    // Down the columns, then separated by column within the tile.
    for t in (0..=a.tiles).step_by(l) {
        // SAFETY: columns are loaded while they are below `columns`; the buffer row has room
        // for whole vectors past the last tile.
        unsafe {
            let mut down = [[S::zero(); TILE]; PATCH];
            for v in 0..TILE {
                let x = t * TILE + v * l;
                let mut d = [S::zero(); PATCH];
                if x < a.columns {
                    for i in 0..PATCH {
                        d[i] = S::load_n(rows[i].add(x), a.columns - x);
                    }
                }
                let d = input_transform::<S>(d);
                for i in 0..PATCH {
                    down[i][v] = d[i];
                }
            }
            for i in 0..PATCH {
                let [c0, c1, c2, c3] = S::deinterleave4(down[i]);
                let to = a.buffer.add(i * TILE * stride + t);
                S::store(to, c0);
                S::store(to.add(stride), c1);
                S::store(to.add(2 * stride), c2);
                S::store(to.add(3 * stride), c3);
            }
        }
    }
    // Along the rows.
    for t in (0..a.tiles).step_by(l) {
        for i in 0..PATCH {
            // SAFETY: the last two columns of a patch are the first two of the next, which the
            // loop above has stored; the output takes whole vectors.
            unsafe {
                let from = a.buffer.add(i * TILE * stride + t);
                let d = [
                    S::load(from),
                    S::load(from.add(stride)),
                    S::load(from.add(2 * stride)),
                    S::load(from.add(3 * stride)),
                    S::load(from.add(1)),
                    S::load(from.add(stride + 1)),
                ];
                let d = input_transform::<S>(d);
                for j in 0..PATCH {
                    S::store(out.add((i * PATCH + j) * a.position + t), d[j]);
                }
            }
        }
    }
}

/// What is done with a transformed tile.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum TileSink {
    Store,
    MaxPool2,
    Sum,
}

impl TileSink {
    pub(super) fn new(tail: super::Tail) -> TileSink {
        match tail {
            super::Tail::Store => TileSink::Store,
            super::Tail::MaxPool2 => TileSink::MaxPool2,
            super::Tail::GlobalAverage => TileSink::Sum,
        }
    }
}

/// Arguments of [`OutputTransform`]: some rows of tiles of one channel.
pub(super) struct OutputArgs {
    /// First tile at position 0, one row of tiles after the other; readable in whole vectors.
    pub(super) products: *const f32,
    pub(super) position: usize,
    /// Rows of tiles, and tiles of a row.
    pub(super) tile_rows: usize,
    pub(super) tiles: usize,
    /// Rows and columns of the result that exist, from the first row of tiles on.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bias: f32,
    pub(super) slope: *const f32,
    /// Output at the tiles' first row; for [`TileSink::Sum`], `LANES` sums.
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
    pub(super) residual: *const f32,
    pub(super) residual_row: usize,
    pub(super) sink: TileSink,
    pub(super) epilogue: Epilogue,
}

struct OutputTransform;

/// One of the rows of tiles.
struct TileRow {
    products: *const f32,
    /// Rows of the result that exist, from its first on.
    rows: usize,
    out: *mut f32,
    residual: *const f32,
}

impl Body<OutputArgs> for OutputTransform {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &OutputArgs) {
        let out_rows = match a.sink {
            TileSink::Store => TILE,
            TileSink::MaxPool2 => TILE / 2,
            TileSink::Sum => 0,
        };
        for at in 0..a.tile_rows {
            let row = TileRow {
                products: a.products.wrapping_add(at * a.tiles),
                rows: a.rows - at * TILE,
                out: a.out.wrapping_add(at * out_rows * a.out_row),
                residual: a.residual.wrapping_add(at * TILE * a.residual_row),
            };
            // SAFETY: as the arguments promise.
            unsafe { output_row::<S>(a, &row) };
        }
    }
}

/// # Safety
/// As [`OutputTransform`].
#[inline(always)]
unsafe fn output_row<S: Simd>(a: &OutputArgs, row: &TileRow) {
    let l = S::LANES;
    for x in (0..a.columns).step_by(TILE * l) {
        // SAFETY: products are readable in whole vectors; rows below `rows` and columns below
        // `columns` exist in output and residual.
        unsafe {
            let mut down = [[S::zero(); PATCH]; TILE];
            for j in 0..PATCH {
                let mut m = [S::zero(); PATCH];
                for i in 0..PATCH {
                    m[i] = S::load(row.products.add((i * PATCH + j) * a.position + x / TILE));
                }
                let m = output_transform::<S>(m);
                for i in 0..TILE {
                    down[i][j] = m[i];
                }
            }
            let bias = S::splat(a.bias);
            let mut tile = [[S::zero(); TILE]; TILE];
            for i in 0..TILE {
                tile[i] = output_transform::<S>(down[i]);
            }
            let whole = row.rows >= TILE && x + TILE * l <= a.columns;
            if let (TileSink::MaxPool2, true, Fused::Clamp { lo, hi }) =
                (a.sink, whole, a.epilogue.fused)
            {
                // What comes after the maximum keeps the order of its operands.
                let (lo, hi) = (S::splat(lo), S::splat(hi));
                // Each position counts in a corner, so that a NaN shows there.
                let corners = S::add(
                    S::add(tile[0][0], tile[0][TILE - 1]),
                    S::add(tile[TILE - 1][0], tile[TILE - 1][TILE - 1]),
                );
                let nans = S::any_nan(corners);
                for i in 0..2 {
                    let (upper, lower) = (&tile[2 * i], &tile[2 * i + 1]);
                    let maxima = match nans {
                        true => maxima::<S, true>(upper, lower),
                        false => maxima::<S, false>(upper, lower),
                    };
                    for j in 0..2 {
                        let v = S::clamp(S::add(maxima[j], bias), lo, hi);
                        S::store(row.out.add(i * a.out_row + x / 2 + j * l), v);
                    }
                }
                continue;
            }
            for i in 0..TILE {
                for j in 0..TILE {
                    tile[i][j] = S::add(tile[i][j], bias);
                }
            }
            if a.sink == TileSink::MaxPool2 {
                pool::<S>(a, row, &mut tile, x);
                continue;
            }
            if let (TileSink::Sum, true, Fused::Clamp { lo, hi }, None) =
                (a.sink, whole, a.epilogue.fused, a.epilogue.residual)
            {
                // The order of the pixels does not matter.
                let (lo, hi) = (S::splat(lo), S::splat(hi));
                let mut sums = [S::zero(); TILE];
                for pixels in &tile {
                    for j in 0..TILE {
                        sums[j] = S::add(sums[j], S::clamp(pixels[j], lo, hi));
                    }
                }
                let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
                S::store(a.out, S::add(S::load(a.out), sum));
                continue;
            }
            let lanes = |j: usize| a.columns.saturating_sub(x + j * l).min(l);
            let mut sum = S::zero();
            for i in 0..row.rows.min(TILE) {
                let mut pixels = S::interleave4(tile[i]);
                let residual = row.residual.wrapping_add(i * a.residual_row + x);
                a.epilogue.apply::<S, TILE>(&mut pixels, residual, lanes, a.slope);
                for j in 0..TILE {
                    let n = lanes(j);
                    if n == 0 {
                        break;
                    }
                    if a.sink == TileSink::Store {
                        S::store_n(row.out.add(i * a.out_row + x + j * l), pixels[j], n);
                    } else if n == l {
                        sum = S::add(sum, pixels[j]);
                    } else {
                        let mut kept = [0.0f32; MAX_LANES];
                        S::store_partial(kept.as_mut_ptr(), pixels[j], n);
                        sum = S::add(sum, S::load(kept.as_ptr()));
                    }
                }
            }
            if a.sink == TileSink::Sum {
                S::store(a.out, S::add(S::load(a.out), sum));
            }
        }
    }
}

/// The 2 x 2 maxima of two rows of a vector of tiles, in the order of pixels; there may be `NANS`.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn maxima<S: Simd, const NANS: bool>(
    upper: &[S::V; TILE],
    lower: &[S::V; TILE],
) -> [S::V; 2] {
    // SAFETY: pure arithmetic.
    unsafe {
        let mut columns = [S::zero(); TILE];
        for j in 0..TILE {
            columns[j] = larger::<S, NANS>(upper[j], lower[j]);
        }
        let left = larger::<S, NANS>(columns[0], columns[1]);
        let right = larger::<S, NANS>(columns[2], columns[3]);
        let (first, second) = S::interleave(left, right);
        [first, second]
    }
}

/// Stores the 2 x 2 maxima of a vector of tiles; an odd last row or column is dropped.
///
/// # Safety
/// As [`OutputTransform`].
#[inline(always)]
unsafe fn pool<S: Simd>(a: &OutputArgs, row: &TileRow, tile: &mut [[S::V; TILE]; TILE], x: usize) {
    let l = S::LANES;
    // SAFETY: as above.
    unsafe {
        let monotone = a.epilogue.is_clamp();
        for i in 0..(row.rows / 2).min(2) {
            let (upper, lower) = tile.split_at_mut(2 * i + 1);
            let (upper, lower) = (&mut upper[2 * i], &mut lower[0]);
            if !monotone {
                a.epilogue.apply::<S, TILE>(upper, row.residual, |_| l, a.slope);
                a.epilogue.apply::<S, TILE>(lower, row.residual, |_| l, a.slope);
            }
            let mut pixels = maxima::<S, true>(upper, lower);
            if monotone {
                a.epilogue.apply::<S, 2>(&mut pixels, row.residual, |_| l, a.slope);
            }
            for j in 0..2 {
                let n = (a.columns / 2).saturating_sub(x / 2 + j * l).min(l);
                if n > 0 {
                    S::store_n(row.out.add(i * a.out_row + x / 2 + j * l), pixels[j], n);
                }
            }
        }
    }
}

pub(super) fn input_entry(isa: Isa) -> Entry<InputArgs> {
    entry::<InputTransform, InputArgs>(isa)
}

pub(super) fn output_entry(isa: Isa) -> Entry<OutputArgs> {
    entry::<OutputTransform, OutputArgs>(isa)
}
