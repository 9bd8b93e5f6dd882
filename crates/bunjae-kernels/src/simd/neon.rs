//! aarch64 NEON: 4 lanes.

use std::arch::aarch64::*;

use super::{Body, Simd};

#[derive(Clone, Copy)]
pub(super) struct Neon;

// SAFETY: each method is the intrinsic of the same meaning. The comments of the trait state what the
// callers promise: the instruction set is present and pointers are valid for the lanes accessed.
unsafe impl Simd for Neon {
    type V = float32x4_t;
    type M = uint32x4_t;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        // SAFETY: see the comment on this implementation.
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let mut lanes = [0.0f32; 4];
            for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                *lane = *p.add(i);
            }
            vld1q_f32(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: float32x4_t, n: usize) {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let mut lanes = [0.0f32; 4];
            vst1q_f32(lanes.as_mut_ptr(), v);
            for (i, lane) in lanes.iter().enumerate().take(n) {
                *p.add(i) = *lane;
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn and(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let bits = vandq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
            vreinterpretq_f32_u32(bits)
        }
    }
    #[inline(always)]
    unsafe fn lt(a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vcltq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn select(m: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vbslq_f32(m, a, b) }
    }
    #[inline(always)]
    unsafe fn is_nan(a: float32x4_t) -> uint32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vmvnq_u32(vceqq_f32(a, a)) }
    }
    #[inline(always)]
    unsafe fn any_nan(a: float32x4_t) -> bool {
        // SAFETY: see the comment on this implementation.
        unsafe { vmaxvq_u32(Self::is_nan(a)) != 0 }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: float32x4_t) -> float32x4_t {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn deinterleave(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
        // SAFETY: see the comment on this implementation.
        unsafe { (vuzp1q_f32(a, b), vuzp2q_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn interleave(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
        // SAFETY: see the comment on this implementation.
        unsafe { (vzip1q_f32(a, b), vzip2q_f32(a, b)) }
    }
}

/// Runs body `K` with NEON enabled.
///
/// # Safety
/// The processor has NEON; otherwise as [`Body::run`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn run_neon<K: Body<A>, A>(args: &A) {
    // SAFETY: the caller vouches for the instruction set and the arguments.
    unsafe { K::run::<Neon>(args) }
}
