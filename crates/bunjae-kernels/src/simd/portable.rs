//! Four lanes in plain Rust; the compiler turns them into the target's baseline vectors.

use super::{Body, Simd};

#[derive(Clone, Copy)]
pub(super) struct Portable;

/// Four lanes, aligned so that the compiler keeps them in one vector register.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(super) struct F4([f32; 4]);

#[inline(always)]
fn map2(a: F4, b: F4, f: impl Fn(f32, f32) -> f32) -> F4 {
    F4([f(a.0[0], b.0[0]), f(a.0[1], b.0[1]), f(a.0[2], b.0[2]), f(a.0[3], b.0[3])])
}

// SAFETY: every method does what the trait says with ordinary arithmetic and accesses exactly the
// lanes named.
unsafe impl Simd for Portable {
    type V = F4;
    type M = [bool; 4];
    const LANES: usize = 4;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F4 {
        F4([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F4 {
        // SAFETY: the caller vouches for four values at `p`.
        F4(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: F4) {
        // SAFETY: the caller vouches for four values at `p`.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v.0) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> F4 {
        let mut v = [0.0; 4];
        for (i, lane) in v.iter_mut().enumerate().take(n) {
            // SAFETY: the caller vouches for `n` values at `p`.
            *lane = unsafe { *p.add(i) };
        }
        F4(v)
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: F4, n: usize) {
        for (i, lane) in v.0.iter().enumerate().take(n) {
            // SAFETY: the caller vouches for `n` values at `p`.
            unsafe { *p.add(i) = *lane };
        }
    }
    #[inline(always)]
    unsafe fn add(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: F4) -> F4 {
        F4(a.0.map(f32::sqrt))
    }
    #[inline(always)]
    unsafe fn fma(a: F4, b: F4, c: F4) -> F4 {
        // Not `mul_add`: without the hardware instruction that is a library call per lane.
        map2(map2(a, b, |a, b| a * b), c, |p, c| p + c)
    }
    #[inline(always)]
    unsafe fn max(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn and(a: F4, b: F4) -> F4 {
        map2(a, b, |a, b| f32::from_bits(a.to_bits() & b.to_bits()))
    }
    #[inline(always)]
    unsafe fn lt(a: F4, b: F4) -> [bool; 4] {
        [a.0[0] < b.0[0], a.0[1] < b.0[1], a.0[2] < b.0[2], a.0[3] < b.0[3]]
    }
    #[inline(always)]
    unsafe fn select(m: [bool; 4], a: F4, b: F4) -> F4 {
        let pick = |i: usize| if m[i] { a.0[i] } else { b.0[i] };
        F4([pick(0), pick(1), pick(2), pick(3)])
    }
    #[inline(always)]
    unsafe fn is_nan(a: F4) -> [bool; 4] {
        a.0.map(f32::is_nan)
    }
    #[inline(always)]
    unsafe fn any_nan(a: F4) -> bool {
        a.0.iter().any(|x| x.is_nan())
    }
    #[inline(always)]
    unsafe fn round(a: F4) -> F4 {
        // Adding and removing 1.5 * 2^23 leaves the integer part, rounded to nearest even.
        const MAGIC: f32 = 12_582_912.0;
        F4(a.0.map(|x| (x + MAGIC) - MAGIC))
    }
    #[inline(always)]
    unsafe fn exp2_int(n: F4) -> F4 {
        F4(n.0.map(|x| f32::from_bits(((x as i32 + 127) << 23) as u32)))
    }
    #[inline(always)]
    unsafe fn deinterleave(a: F4, b: F4) -> (F4, F4) {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.0, b.0);
        (F4([a0, a2, b0, b2]), F4([a1, a3, b1, b3]))
    }
    #[inline(always)]
    unsafe fn interleave(a: F4, b: F4) -> (F4, F4) {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.0, b.0);
        (F4([a0, b0, a1, b1]), F4([a2, b2, a3, b3]))
    }
}

/// Runs body `K` on plain arrays.
///
/// # Safety
/// As [`Body::run`].
pub(super) unsafe fn run_portable<K: Body<A>, A>(args: &A) {
    // SAFETY: every processor has this path; the caller vouches for the arguments.
    unsafe { K::run::<Portable>(args) }
}
