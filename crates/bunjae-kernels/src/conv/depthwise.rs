//! Depthwise convolution with the common square kernels at stride 1 and 2.
//!
//! A block is some rows by one vector of pixels. The columns of the kernel are taken one after another,
//! so that only their weights occupy registers: each input vector is loaded once per column and used by
//! all rows that see it, and eight rows of 3 x 3 need 39 loads for 72 multiply-adds. At stride 2 a pair
//! of loads is separated into even and odd columns, which are taken together. Other kernels and strides
//! run through the one-channel tile of [`super::pixel`].

use super::epilogue::Epilogue;
use crate::activation::{Fused, leaky_max};
use crate::isa::Isa;
use crate::simd::{Body, Entry, Simd, entry};

/// Arguments of [`DepthwiseRows`]: some planes, one channel after another.
#[derive(Clone, Copy)]
pub(super) struct DepthwiseArgs {
    pub(super) planes: usize,
    /// Input of the first plane as seen by the first tap of output pixel (0, 0).
    pub(super) input: *const f32,
    pub(super) input_plane: usize,
    pub(super) input_row: usize,
    /// `K x K` weights per plane.
    pub(super) weights: *const f32,
    /// One bias per plane.
    pub(super) bias: *const f32,
    /// One slope per plane, if the activation wants them.
    pub(super) slopes: *const f32,
    /// Rows of the result, at least as many as a block has.
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) out: *mut f32,
    pub(super) out_plane: usize,
    pub(super) out_row: usize,
    pub(super) residual: *const f32,
    pub(super) residual_plane: usize,
    pub(super) residual_row: usize,
    pub(super) epilogue: Epilogue,
}

/// Where a plane of [`DepthwiseArgs`] begins.
struct Plane {
    input: *const f32,
    weights: *const f32,
    bias: *const f32,
    slope: *const f32,
    out: *mut f32,
    residual: *const f32,
}

/// Square kernels of side `K` at stride `STRIDE` (1 or 2), in blocks of `R` rows.
struct DepthwiseRows<const K: usize, const STRIDE: usize, const R: usize>;

/// What follows the sum where that is cheap: a part of the instance, as a call in the loop, even one never
/// taken, makes the compiler keep the weights in memory.
trait Finish<S: Simd> {
    /// # Safety
    /// The instruction set is present.
    unsafe fn finish(&self, v: S::V) -> S::V;
}

struct Clamp<S: Simd> {
    lo: S::V,
    hi: S::V,
}

impl<S: Simd> Finish<S> for Clamp<S> {
    #[inline(always)]
    unsafe fn finish(&self, v: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { S::min(self.hi, S::max(self.lo, v)) }
    }
}

struct Leaky<S: Simd> {
    slope: S::V,
}

impl<S: Simd> Finish<S> for Leaky<S> {
    #[inline(always)]
    unsafe fn finish(&self, v: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { leaky_max::<S>(v, self.slope) }
    }
}

/// For what follows in a pass of its own, [`finish_plane`].
struct Later;

impl<S: Simd> Finish<S> for Later {
    #[inline(always)]
    unsafe fn finish(&self, v: S::V) -> S::V {
        v
    }
}

/// Applies the epilogue to the sums of a plane.
///
/// # Safety
/// As the body.
#[inline(always)]
unsafe fn finish_plane<S: Simd>(a: &DepthwiseArgs, plane: &Plane) {
    for y in 0..a.rows {
        for x in (0..a.width).step_by(S::LANES) {
            let n = (a.width - x).min(S::LANES);
            // SAFETY: `n` pixels from `x` lie within the output and the residual.
            unsafe {
                let out = plane.out.add(y * a.out_row + x);
                let residual = plane.residual.wrapping_add(y * a.residual_row + x);
                let mut v = [S::load_n(out, n)];
                a.epilogue.apply::<S, 1>(&mut v, residual, |_| n, plane.slope);
                S::store_n(out, v[0], n);
            }
        }
    }
}

/// A loop that is written out, where the compiler would not unroll it.
macro_rules! written_out {
    ($i:ident in $($value:literal)* $body:block) => {
        $({
            const $i: usize = $value;
            $body
        })*
    };
}

/// Rows of a block for a picture of `rows`: up to eight, whose sums do not wait for one another and so
/// hide the latency of a multiply-add. At stride 2 the rows of input are twice as many, which fewer rows
/// of output take from the caches faster.
fn block_rows(rows: usize, stride: usize) -> usize {
    // A block takes the time of about one and a half rows beside its rows; the last one overlaps the one
    // before.
    let cost = |size: usize| rows.div_ceil(size) * (2 * size + 3);
    (1..=(8 / stride).min(rows)).rev().min_by_key(|size| cost(*size)).unwrap_or(1)
}

/// `R` rows from row `y`, all columns.
///
/// # Safety
/// As the body; rows `y..y + R` exist.
#[inline(always)]
unsafe fn block<S: Simd, const K: usize, const STRIDE: usize, const R: usize>(
    a: &DepthwiseArgs,
    plane: &Plane,
    y: usize,
    finish: &impl Finish<S>,
) {
    let l = S::LANES;
    let (input, out) = (y * STRIDE * a.input_row, y * a.out_row);
    let (input, out) = (plane.input.wrapping_add(input), plane.out.wrapping_add(out));
    // Where rows lie side by side, what is stored beyond one is the beginning of the next, which follows.
    let spills = a.out_row == a.width && a.width + a.width >= l;
    let follows = y + R < a.rows;
    for x in (0..a.width).step_by(l) {
        // The last vector of a row overlaps the one before rather than be stored in part.
        let x = if a.width >= l { x.min(a.width - l) } else { x };
        let n = (a.width - x).min(l);
        // SAFETY: `K x K` weights and a bias are readable. The rows and columns that the taps of
        // existing pixels see lie within the input by the plan. Whole vectors are loaded: at stride 1
        // up to `LANES - 1`, at stride 2 up to `2 LANES - 1` elements past those, within `TAIL`. `n`
        // pixels from `x` lie within the output, and beyond a row lies another.
        unsafe {
            let row = rows_from(input.add(x * STRIDE), a.input_row);
            let mut acc = [S::splat(*plane.bias); R];
            written_out!(KX in 0 1 2 3 4 {
                if KX < K && KX.is_multiple_of(STRIDE) {
                    let weights = plane.weights.add(KX);
                    take_columns::<S, K, STRIDE, R>(K - KX, weights, |i| row(i).add(KX), &mut acc);
                }
            });
            for r in 0..R {
                // The bias is the same in all lanes, so that only the sum has to be put in order.
                let sum = if STRIDE == 1 { acc[r] } else { S::in_order(acc[r]) };
                acc[r] = finish.finish(sum);
            }
            // One branch for all rows: a branch for each makes the compiler delay the sums of later
            // rows, with all that they need in memory.
            let out = rows_from(out.wrapping_add(x).cast_const(), a.out_row);
            if n == l || spills {
                for r in 0..R - 1 {
                    S::store(out(r).cast_mut(), acc[r]);
                }
                S::store_n(out(R - 1).cast_mut(), acc[R - 1], if follows { l } else { n });
            } else {
                for r in 0..R {
                    S::store_n(out(r).cast_mut(), acc[r], n);
                }
            }
        }
    }
}

/// The addresses of up to twelve rows of that distance. Three rows share a base, to which a processor's
/// address modes add a distance or twice it, so that they need few registers.
#[inline(always)]
fn rows_from(first: *const f32, distance: usize) -> impl Fn(usize) -> *const f32 {
    let bases = [0, 3, 6, 9].map(|i| first.wrapping_add(i * distance));
    move |i| bases[i / 3].wrapping_add(i % 3 * distance)
}

/// Adds to the sums of all rows what as many columns of the kernel as the stride has contribute, of which
/// `left` are left: `weights` of the first of them in the first row, and where it meets row `i`.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn take_columns<S: Simd, const K: usize, const STRIDE: usize, const R: usize>(
    left: usize,
    weights: *const f32,
    row: impl Fn(usize) -> *const f32,
    acc: &mut [S::V; R],
) {
    // SAFETY: the caller vouches for weights and rows.
    unsafe {
        let mut w = [[S::zero(); STRIDE]; K];
        for ky in 0..K {
            for c in 0..STRIDE.min(left) {
                w[ky][c] = S::splat(*weights.add(ky * K + c));
            }
        }
        written_out!(I in 0 1 2 3 4 5 6 7 8 9 10 11 {
            if I < (R - 1) * STRIDE + K {
                let taps = columns_at::<S, STRIDE>(row(I));
                for c in 0..STRIDE.min(left) {
                    for r in 0..R {
                        if (r * STRIDE..r * STRIDE + K).contains(&I) {
                            acc[r] = S::fma(taps[c], w[I - r * STRIDE][c], acc[r]);
                        }
                    }
                }
            }
        });
    }
}

/// As many neighbouring columns as the stride has, of every `STRIDE`-th pixel from `row` on.
///
/// # Safety
/// `STRIDE * LANES` elements are readable.
#[inline(always)]
unsafe fn columns_at<S: Simd, const STRIDE: usize>(row: *const f32) -> [S::V; STRIDE] {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        let mut columns = [S::load(row); STRIDE];
        if STRIDE == 2 {
            let (even, odd) = S::split(columns[0], S::load(row.add(S::LANES)));
            (columns[0], columns[1]) = (even, odd);
        }
        columns
    }
}

/// All rows of all planes.
///
/// # Safety
/// As the body.
#[inline(always)]
unsafe fn planes<S: Simd, const K: usize, const STRIDE: usize, const R: usize>(
    a: &DepthwiseArgs,
    finish: &impl Finish<S>,
    after: impl Fn(&DepthwiseArgs, &Plane),
) {
    // A copy, which no store can change.
    let a = *a;
    let mut plane = Plane {
        input: a.input,
        weights: a.weights,
        bias: a.bias,
        slope: a.slopes,
        out: a.out,
        residual: a.residual,
    };
    for _ in 0..a.planes {
        for y in (0..a.rows).step_by(R) {
            // SAFETY: the last block ends with the last row.
            unsafe { block::<S, K, STRIDE, R>(&a, &plane, y.min(a.rows - R), finish) };
        }
        after(&a, &plane);
        plane = Plane {
            input: plane.input.wrapping_add(a.input_plane),
            weights: plane.weights.wrapping_add(K * K),
            bias: plane.bias.wrapping_add(1),
            slope: plane.slope.wrapping_add(1),
            out: plane.out.wrapping_add(a.out_plane),
            residual: plane.residual.wrapping_add(a.residual_plane),
        };
    }
}

impl<const K: usize, const STRIDE: usize, const R: usize> Body<DepthwiseArgs>
    for DepthwiseRows<K, STRIDE, R>
{
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &DepthwiseArgs) {
        // SAFETY: passed on.
        unsafe {
            match (a.epilogue.residual, a.epilogue.fused) {
                (None, Fused::Clamp { lo, hi }) => {
                    let finish = Clamp::<S> { lo: S::splat(lo), hi: S::splat(hi) };
                    planes::<S, K, STRIDE, R>(a, &finish, |_, _| ());
                }
                (None, Fused::Leaky { slope }) => {
                    let finish = Leaky::<S> { slope: S::splat(slope) };
                    planes::<S, K, STRIDE, R>(a, &finish, |_, _| ());
                }
                _ => planes::<S, K, STRIDE, R>(a, &Later, |a, plane| finish_plane::<S>(a, plane)),
            }
        }
    }
}

/// The instance of [`DepthwiseRows`] for a kernel, a stride and a picture of so many rows, if there is one.
pub(super) fn depthwise_rows(
    isa: Isa,
    kernel: [usize; 2],
    stride: [usize; 2],
    rows: usize,
) -> Option<Entry<DepthwiseArgs>> {
    macro_rules! instances {
        ($k:literal, $stride:literal: $($rows:literal)*) => {
            match block_rows(rows, $stride) {
                $($rows => entry::<DepthwiseRows<$k, $stride, $rows>, DepthwiseArgs>(isa),)*
                _ => unreachable!("a block has at most {} rows", 8 / $stride),
            }
        };
    }
    match (kernel, stride) {
        ([3, 3], [1, 1]) => Some(instances!(3, 1: 1 2 3 4 5 6 7 8)),
        ([5, 5], [1, 1]) => Some(instances!(5, 1: 1 2 3 4 5 6 7 8)),
        ([3, 3], [2, 2]) => Some(instances!(3, 2: 1 2 3 4)),
        ([5, 5], [2, 2]) => Some(instances!(5, 2: 1 2 3 4)),
        _ => None,
    }
}
