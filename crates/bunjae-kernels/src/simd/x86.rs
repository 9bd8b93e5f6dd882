//! AVX2 + FMA (8 lanes) and AVX-512 (16 lanes).

use std::arch::x86_64::*;

use super::{Body, Simd};

#[derive(Clone, Copy)]
pub(super) struct Avx2;

#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Asks for a cache line that no other core may have a copy of afterwards. The intrinsic of that name asks
/// for a shared one where the compiler has not been told of `prefetchw`; processors that do not have
/// it take it for no operation.
///
/// # Safety
/// None to be kept: a hint, which no address makes fault.
#[inline(always)]
unsafe fn prefetch_exclusive(p: *const f32) {
    // SAFETY: writes nothing, neither memory nor registers nor flags.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
}

/// Sliding window over this table gives the mask of the first `n` of eight lanes.
static FIRST_LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// Mask of the first `n <= 8` lanes.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn first_lanes_avx2(n: usize) -> __m256i {
    // SAFETY: `8 - n` is at most 8, so eight values follow it in the table of sixteen.
    unsafe { _mm256_loadu_si256(FIRST_LANES.as_ptr().add(8 - n).cast()) }
}

// SAFETY: each method is the intrinsic of the same meaning. The comments of the trait state what the
// callers promise: the instruction set is present and pointers are valid for the lanes accessed.
unsafe impl Simd for Avx2 {
    type V = __m256;
    type M = __m256;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_maskload_ps(p, first_lanes_avx2(n)) }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: __m256, n: usize) {
        // In pieces, because a masked store takes dozens of micro-operations on AMD's processors
        // of the Zen 3 generation, and narrow pictures have one in each row.
        // SAFETY: see the comment on this implementation; the pieces add up to `n < 8` lanes.
        unsafe {
            let (mut p, mut rest) = (p, _mm256_castps256_ps128(v));
            if n & 4 != 0 {
                _mm_storeu_ps(p, rest);
                (p, rest) = (p.add(4), _mm256_extractf128_ps::<1>(v));
            }
            if n & 2 != 0 {
                _mm_storel_pd(p.cast(), _mm_castps_pd(rest));
                (p, rest) = (p.add(2), _mm_movehl_ps(rest, rest));
            }
            if n & 1 != 0 {
                _mm_store_ss(p, rest);
            }
        }
    }
    #[inline(always)]
    unsafe fn prefetch_write(p: *const f32) {
        // SAFETY: a hint, which no address makes fault.
        unsafe { prefetch_exclusive(p) }
    }
    #[inline(always)]
    unsafe fn prefetch_read(p: *const f32) {
        // SAFETY: a hint, which no address makes fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn and(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_and_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn lt(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn select(m: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_blendv_ps(b, a, m) }
    }
    #[inline(always)]
    unsafe fn is_nan(a: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    unsafe fn any_nan(a: __m256) -> bool {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_movemask_ps(Self::is_nan(a)) != 0 }
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn deinterleave(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let (even, odd) = Self::split(a, b);
            (Self::in_order(even), Self::in_order(odd))
        }
    }
    #[inline(always)]
    unsafe fn split(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: see the comment on this implementation.
        unsafe {
            // Within 128-bit halves.
            let even = _mm256_shuffle_ps::<0b10_00_10_00>(a, b);
            let odd = _mm256_shuffle_ps::<0b11_01_11_01>(a, b);
            (even, odd)
        }
    }
    #[inline(always)]
    unsafe fn in_order(v: __m256) -> __m256 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v))) }
    }
    #[inline(always)]
    unsafe fn out_of_order(v: __m256) -> __m256 {
        // Its own inverse: the two quarters in the middle change places.
        // SAFETY: see the comment on this implementation.
        unsafe { Self::in_order(v) }
    }
    #[inline(always)]
    unsafe fn join(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: see the comment on this implementation.
        unsafe { (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn interleave(a: __m256, b: __m256) -> (__m256, __m256) {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let (lo, hi) = Self::join(a, b);
            (_mm256_permute2f128_ps::<0x20>(lo, hi), _mm256_permute2f128_ps::<0x31>(lo, hi))
        }
    }
    #[inline(always)]
    unsafe fn deinterleave4([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: see the comment on this implementation.
        unsafe {
            // Put in order once instead of after each of two rounds.
            let (even, odd) = (Self::split(a, b), Self::split(c, d));
            let (first, third) = Self::split(even.0, odd.0);
            let (second, fourth) = Self::split(even.1, odd.1);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            [
                _mm256_permutevar8x32_ps(first, order),
                _mm256_permutevar8x32_ps(second, order),
                _mm256_permutevar8x32_ps(third, order),
                _mm256_permutevar8x32_ps(fourth, order),
            ]
        }
    }
    #[inline(always)]
    unsafe fn interleave4([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: see the comment on this implementation.
        unsafe {
            // A square of 4 x 4 in each half, then the halves.
            let (ab, cd) = (Self::join(a, b), Self::join(c, d));
            let r0 = _mm256_shuffle_ps::<0b01_00_01_00>(ab.0, cd.0);
            let r1 = _mm256_shuffle_ps::<0b11_10_11_10>(ab.0, cd.0);
            let r2 = _mm256_shuffle_ps::<0b01_00_01_00>(ab.1, cd.1);
            let r3 = _mm256_shuffle_ps::<0b11_10_11_10>(ab.1, cd.1);
            [
                _mm256_permute2f128_ps::<0x20>(r0, r1),
                _mm256_permute2f128_ps::<0x20>(r2, r3),
                _mm256_permute2f128_ps::<0x31>(r0, r1),
                _mm256_permute2f128_ps::<0x31>(r2, r3),
            ]
        }
    }
}

// SAFETY: each method is the intrinsic of the same meaning. The comments of the trait state what the
// callers promise: the instruction set is present and pointers are valid for the lanes accessed.
unsafe impl Simd for Avx512 {
    type V = __m512;
    type M = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_maskz_loadu_ps((1u16 << n) - 1, p) }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: __m512, n: usize) {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_mask_storeu_ps(p, (1u16 << n) - 1, v) }
    }
    #[inline(always)]
    unsafe fn prefetch_write(p: *const f32) {
        // SAFETY: a hint, which no address makes fault.
        unsafe { prefetch_exclusive(p) }
    }
    #[inline(always)]
    unsafe fn prefetch_read(p: *const f32) {
        // SAFETY: a hint, which no address makes fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn and(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_and_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn lt(a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }
    #[inline(always)]
    unsafe fn is_nan(a: __m512) -> __mmask16 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    unsafe fn any_nan(a: __m512) -> bool {
        // SAFETY: see the comment on this implementation.
        unsafe { Self::is_nan(a) != 0 }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: __m512) -> __m512 {
        // SAFETY: see the comment on this implementation.
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
    }
    #[inline(always)]
    unsafe fn deinterleave(a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
        }
    }
    #[inline(always)]
    unsafe fn interleave(a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: see the comment on this implementation.
        unsafe {
            let lo = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let hi =
                _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_ps(a, lo, b), _mm512_permutex2var_ps(a, hi, b))
        }
    }
}

/// Runs body `K` with AVX2 and FMA enabled.
///
/// # Safety
/// The processor has AVX2 and FMA; otherwise as [`Body::run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<K: Body<A>, A>(args: &A) {
    // SAFETY: the caller vouches for the instruction set and the arguments.
    unsafe { K::run::<Avx2>(args) }
}

/// Runs body `K` with AVX-512 enabled.
///
/// # Safety
/// The processor has AVX-512 F, VL, DQ and BW; otherwise as [`Body::run`].
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub(super) unsafe fn run_avx512<K: Body<A>, A>(args: &A) {
    // SAFETY: the caller vouches for the instruction set and the arguments.
    unsafe { K::run::<Avx512>(args) }
}
