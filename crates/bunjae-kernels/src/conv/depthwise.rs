//! Depthwise convolution with the common square kernels at stride 1 and 2.
//!
//! A block is four rows by one vector of pixels: each input vector is loaded once and used by all
//! rows that see it, so that 3 x 3 needs 18 loads for 36 multiply-adds instead of 36. At stride 2
//! a pair of loads is separated into even and odd columns. Other kernels and strides run through
//! the one-channel tile of [`super::pixel`].

use super::epilogue::Epilogue;
use crate::activation::{Fused, leaky_max};
use crate::isa::Isa;
use crate::simd::{Body, Entry, Simd, entry};

/// Arguments of [`DepthwiseRows`]: some planes, one channel after another.
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
    slope: *const f32,
    out: *mut f32,
    residual: *const f32,
}

/// Square kernels of side `K` at stride `STRIDE` (1 or 2).
struct DepthwiseRows<const K: usize, const STRIDE: usize>;

/// What follows the sum. The cheap cases are separate instances because a call in the loop, even
/// one never taken, makes the compiler keep the weights in memory.
trait Finish<S: Simd> {
    /// # Safety
    /// As [`Epilogue::apply`] for `n` pixels.
    unsafe fn finish(&self, v: S::V, residual: *const f32, n: usize, slope: *const f32) -> S::V;
}

struct Clamp<S: Simd> {
    lo: S::V,
    hi: S::V,
}

impl<S: Simd> Finish<S> for Clamp<S> {
    #[inline(always)]
    unsafe fn finish(&self, v: S::V, _: *const f32, _: usize, _: *const f32) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { S::min(self.hi, S::max(self.lo, v)) }
    }
}

struct Leaky<S: Simd> {
    slope: S::V,
}

impl<S: Simd> Finish<S> for Leaky<S> {
    #[inline(always)]
    unsafe fn finish(&self, v: S::V, _: *const f32, _: usize, _: *const f32) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { leaky_max::<S>(v, self.slope) }
    }
}

impl<S: Simd> Finish<S> for Epilogue {
    #[inline(always)]
    unsafe fn finish(&self, v: S::V, residual: *const f32, n: usize, slope: *const f32) -> S::V {
        let mut v = [v];
        // SAFETY: passed on.
        unsafe { self.apply::<S, 1>(&mut v, residual, |_| n, slope) };
        v[0]
    }
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
    weights: &[[S::V; K]; K],
    bias: S::V,
    finish: &impl Finish<S>,
) {
    let l = S::LANES;
    for x in (0..a.width).step_by(l) {
        // The last vector of a row overlaps the one before rather than be stored in part.
        let x = if a.width >= l { x.min(a.width - l) } else { x };
        let n = (a.width - x).min(l);
        // SAFETY: the rows and columns that the taps of existing pixels see lie within the input
        // by the plan. Whole vectors are loaded: at stride 1 up to `LANES - 1`, at stride 2 up to
        // `2 LANES - 1` elements past those, within `TAIL`. `n` pixels from `x` lie within the
        // output and residual.
        unsafe {
            let mut acc = [bias; R];
            for i in 0..(R - 1) * STRIDE + K {
                let row = plane.input.add((y * STRIDE + i) * a.input_row + x * STRIDE);
                let mut taps = [S::zero(); K];
                if STRIDE == 1 {
                    for kx in 0..K {
                        taps[kx] = S::load(row.add(kx));
                    }
                } else {
                    for kx in (0..K).step_by(2) {
                        let pair = S::split(S::load(row.add(kx)), S::load(row.add(kx + l)));
                        taps[kx] = pair.0;
                        if kx + 1 < K {
                            taps[kx + 1] = pair.1;
                        }
                    }
                }
                for kx in 0..K {
                    for r in 0..R {
                        if i >= r * STRIDE && i - r * STRIDE < K {
                            acc[r] = S::fma(taps[kx], weights[i - r * STRIDE][kx], acc[r]);
                        }
                    }
                }
            }
            for r in 0..R {
                let residual = plane.residual.wrapping_add((y + r) * a.residual_row + x);
                // The bias is the same in all lanes, so that only the sum has to be put in order.
                let sum = if STRIDE == 1 { acc[r] } else { S::in_order(acc[r]) };
                let v = finish.finish(sum, residual, n, plane.slope);
                S::store_n(plane.out.add((y + r) * a.out_row + x), v, n);
            }
        }
    }
}

/// All rows of all planes.
///
/// # Safety
/// As the body.
#[inline(always)]
unsafe fn planes<S: Simd, const K: usize, const STRIDE: usize>(
    a: &DepthwiseArgs,
    finish: &impl Finish<S>,
) {
    for i in 0..a.planes {
        let plane = Plane {
            input: a.input.wrapping_add(i * a.input_plane),
            slope: a.slopes.wrapping_add(i),
            out: a.out.wrapping_add(i * a.out_plane),
            residual: a.residual.wrapping_add(i * a.residual_plane),
        };
        // SAFETY: `K x K` weights and a bias are readable; the blocks cover exactly the rows that
        // exist.
        unsafe {
            let bias = S::splat(*a.bias.add(i));
            let mut weights = [[S::zero(); K]; K];
            for ky in 0..K {
                for kx in 0..K {
                    weights[ky][kx] = S::splat(*a.weights.add((i * K + ky) * K + kx));
                }
            }
            let mut y = 0;
            while y + 4 <= a.rows {
                block::<S, K, STRIDE, 4>(a, &plane, y, &weights, bias, finish);
                y += 4;
            }
            if y + 2 <= a.rows {
                block::<S, K, STRIDE, 2>(a, &plane, y, &weights, bias, finish);
                y += 2;
            }
            if y < a.rows {
                block::<S, K, STRIDE, 1>(a, &plane, y, &weights, bias, finish);
            }
        }
    }
}

impl<const K: usize, const STRIDE: usize> Body<DepthwiseArgs> for DepthwiseRows<K, STRIDE> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &DepthwiseArgs) {
        // SAFETY: passed on.
        unsafe {
            match (a.epilogue.residual, a.epilogue.fused) {
                (None, Fused::Clamp { lo, hi }) => {
                    let finish = Clamp::<S> { lo: S::splat(lo), hi: S::splat(hi) };
                    planes::<S, K, STRIDE>(a, &finish);
                }
                (None, Fused::Leaky { slope }) => {
                    planes::<S, K, STRIDE>(a, &Leaky::<S> { slope: S::splat(slope) });
                }
                _ => planes::<S, K, STRIDE>(a, &a.epilogue),
            }
        }
    }
}

/// The instance of [`DepthwiseRows`] for a kernel and stride, if there is one.
pub(super) fn depthwise_rows(
    isa: Isa,
    kernel: [usize; 2],
    stride: [usize; 2],
) -> Option<Entry<DepthwiseArgs>> {
    match (kernel, stride) {
        ([3, 3], [1, 1]) => Some(entry::<DepthwiseRows<3, 1>, DepthwiseArgs>(isa)),
        ([5, 5], [1, 1]) => Some(entry::<DepthwiseRows<5, 1>, DepthwiseArgs>(isa)),
        ([3, 3], [2, 2]) => Some(entry::<DepthwiseRows<3, 2>, DepthwiseArgs>(isa)),
        ([5, 5], [2, 2]) => Some(entry::<DepthwiseRows<5, 2>, DepthwiseArgs>(isa)),
        _ => None,
    }
}
