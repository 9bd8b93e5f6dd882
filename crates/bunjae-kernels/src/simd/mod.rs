//! Vectors of f32 lanes: one small trait, one implementation per instruction set.
//!
//! Every kernel body is written once, generic over [`Simd`], and marked `#[inline(always)]`.
//! [`entry`] instantiates it inside a function that enables the instruction set, so that the
//! intrinsics inline and values stay in registers; the result is a plain function pointer that a
//! prepared kernel keeps.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::isa::Isa;

/// Lanes of the widest path; the size of stack buffers that hold one vector of any path.
pub(crate) const MAX_LANES: usize = 16;

/// f32 vectors of one instruction set.
///
/// # Safety
/// Implementors must do exactly what each method says, touching no memory but the lanes named.
/// Callers of any method must run on a processor that has the instruction set; pointers must be
/// valid for the lanes accessed (no alignment is asked for).
pub(crate) unsafe trait Simd: Copy + 'static {
    /// `LANES` values of f32.
    type V: Copy;
    /// One truth value per lane.
    type M: Copy;
    /// Values per vector.
    const LANES: usize;
    /// Architectural vector registers: what the tile sizes are derived from.
    const REGISTERS: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n < LANES` values; the other lanes are zero.
    unsafe fn load_partial(p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n < LANES` lanes and touches nothing else.
    unsafe fn store_partial(p: *mut f32, v: Self::V, n: usize);
    /// Asks for the cache line of `p`, which is about to be written; any address will do.
    #[inline(always)]
    unsafe fn prefetch_write(p: *const f32) {
        let _ = p;
    }
    /// Asks for the cache line of `p`, which is about to be read; any address will do.
    #[inline(always)]
    unsafe fn prefetch_read(p: *const f32) {
        let _ = p;
    }
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `a * b + c`, fused where the instruction set can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger lane. A NaN in `b` is returned; a NaN in `a` may be lost.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller lane. A NaN in `b` is returned; a NaN in `a` may be lost.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Bitwise and: with a mask of all ones or all zeros it keeps or clears a lane, NaN included.
    unsafe fn and(a: Self::V, b: Self::V) -> Self::V;
    /// `a < b`; false where either is NaN.
    unsafe fn lt(a: Self::V, b: Self::V) -> Self::M;
    /// `a` where the mask holds, else `b`.
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// Lanes that are NaN.
    unsafe fn is_nan(a: Self::V) -> Self::M;
    /// Whether any lane is NaN.
    unsafe fn any_nan(a: Self::V) -> bool;
    /// Round to the nearest integer, ties to even, for |a| < 2^22; NaN stays NaN or becomes any
    /// integer.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^n` for integral lanes in -126..=127.
    unsafe fn exp2_int(n: Self::V) -> Self::V;
    /// Even and odd elements of the concatenation of `a` and `b`.
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// As [`Simd::deinterleave`], but the lanes of both are in an order of the implementation's own,
    /// which [`Simd::in_order`] undoes: cheaper where sums of many such vectors are put in order once.
    #[inline(always)]
    unsafe fn split(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe { Self::deinterleave(a, b) }
    }
    /// Lanes as [`Simd::split`] orders them, in the order of [`Simd::deinterleave`].
    #[inline(always)]
    unsafe fn in_order(v: Self::V) -> Self::V {
        v
    }
    /// The inverse of [`Simd::in_order`].
    #[inline(always)]
    unsafe fn out_of_order(v: Self::V) -> Self::V {
        v
    }
    /// The inverse of [`Simd::split`].
    #[inline(always)]
    unsafe fn join(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe { Self::interleave(a, b) }
    }
    /// The inverse of [`Simd::deinterleave`]: `a0 b0 a1 b1 ...` as two vectors.
    unsafe fn interleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);

    /// Every fourth element of the concatenation of all four, from the first to the fourth on.
    #[inline(always)]
    unsafe fn deinterleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe {
            let (even, odd) = (Self::deinterleave(a, b), Self::deinterleave(c, d));
            let (first, third) = Self::deinterleave(even.0, odd.0);
            let (second, fourth) = Self::deinterleave(even.1, odd.1);
            [first, second, third, fourth]
        }
    }
    /// The inverse of [`Simd::deinterleave4`]: `a0 b0 c0 d0 a1 ...` as four vectors.
    #[inline(always)]
    unsafe fn interleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe {
            let (even, odd) = (Self::interleave(a, c), Self::interleave(b, d));
            let (first, second) = Self::interleave(even.0, odd.0);
            let (third, fourth) = Self::interleave(even.1, odd.1);
            [first, second, third, fourth]
        }
    }

    /// All lanes zero.
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe { Self::splat(0.0) }
    }

    /// The larger lane, NaN if either is NaN.
    #[inline(always)]
    unsafe fn max_nan(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe { Self::select(Self::is_nan(a), a, Self::max(a, b)) }
    }

    /// `min(max(v, lo), hi)`; a NaN in `v` is returned.
    #[inline(always)]
    unsafe fn clamp(v: Self::V, lo: Self::V, hi: Self::V) -> Self::V {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe { Self::min(hi, Self::max(lo, v)) }
    }

    /// The smaller lane, NaN if either is NaN.
    #[inline(always)]
    unsafe fn min_nan(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: passes on the caller's promise that the instruction set is present.
        unsafe { Self::select(Self::is_nan(a), a, Self::min(a, b)) }
    }

    /// Loads `n` lanes, `1 <= n <= LANES`.
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller vouches for `n` lanes at `p`.
        unsafe { if n >= Self::LANES { Self::load(p) } else { Self::load_partial(p, n) } }
    }

    /// Two neighbouring vectors of which the first `n` elements are loaded, `1 <= n <= 2 LANES`; the
    /// others are zero.
    #[inline(always)]
    unsafe fn load_pair(p: *const f32, n: usize) -> [Self::V; 2] {
        let l = Self::LANES;
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe {
            let hi = if n > l { Self::load_n(p.add(l), n - l) } else { Self::zero() };
            [Self::load_n(p, n), hi]
        }
    }

    /// Stores `n` lanes, `1 <= n <= LANES`.
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: the caller vouches for `n` lanes at `p`.
        unsafe {
            if n >= Self::LANES {
                Self::store(p, v);
            } else {
                Self::store_partial(p, v, n);
            }
        }
    }

    /// Sum of all lanes, in a fixed pairwise order.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the buffer has room for the widest vector.
        unsafe { Self::store(lanes.as_mut_ptr(), v) };
        let mut width = Self::LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    /// Transposes a square of `LANES` vectors held in the first `LANES` places of `v`.
    ///
    /// `log2(LANES)` rounds of the perfect shuffle: each round pairs vector `i` with vector
    /// `i + LANES / 2`.
    #[inline(always)]
    unsafe fn transpose(v: &mut [Self::V; MAX_LANES]) {
        let half = Self::LANES / 2;
        let mut rounds = Self::LANES.trailing_zeros();
        while rounds > 0 {
            let from = *v;
            for i in 0..half {
                // SAFETY: passes on the caller's promise that the instruction set is present.
                let (lo, hi) = unsafe { Self::interleave(from[i], from[i + half]) };
                v[2 * i] = lo;
                v[2 * i + 1] = hi;
            }
            rounds -= 1;
        }
    }
}

/// A kernel body, generic over the instruction set.
pub(crate) trait Body<A> {
    /// Runs the body.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`, and every pointer in `args` is valid for
    /// what the body documents.
    unsafe fn run<S: Simd>(args: &A);
}

/// A kernel body instantiated for one instruction set.
pub(crate) type Entry<A> = unsafe fn(&A);

/// The instance of body `K` for `isa`.
///
/// The caller has checked [`Isa::require`]; a path that is not built falls back to the portable
/// one, which is correct everywhere.
pub(crate) fn entry<K: Body<A>, A>(isa: Isa) -> Entry<A> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::run_avx512::<K, A>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::run_avx2::<K, A>,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::run_neon::<K, A>,
        _ => portable::run_portable::<K, A>,
    }
}

#[cfg(test)]
mod tests;
