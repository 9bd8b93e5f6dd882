//! Activation functions and their vector forms.
//!
//! Accuracy (checked by the tests of this module against f64): `exp` 2 ulp on the range where the
//! result is normal, the sigmoid family and `tanh` 4 ulp, `gelu` 4e-7 absolute per unit of
//! `max(1, |x|)`.

use crate::simd::{Body, Simd};

/// A function applied to each element.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, lo), hi)`
    Clip {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// `x` if not negative, else `slope * x`
    LeakyRelu {
        /// Factor of negative inputs.
        slope: f32,
    },
    /// `x` if not negative, else `slope[channel] * x`; the slopes are handed over at each run.
    Prelu,
    /// `x` if not negative, else `alpha * (exp(x) - 1)`
    Elu {
        /// Factor of the negative branch.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `min(max(alpha * x + beta, 0), 1)`
    HardSigmoid {
        /// Slope of the middle part.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x * min(max(x / 6 + 1/2, 0), 1)`
    HardSwish,
    /// `x * sigmoid(x)`
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x / 2 * (1 + erf(x / sqrt 2))`
    Gelu,
    /// The approximation of [`Activation::Gelu`] by
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `exp(x)`
    Exp,
}

/// What a fused epilogue does per vector: two cheap classes inline, the rest through a call.
#[derive(Clone, Copy)]
pub(crate) enum Fused {
    /// Bounds; identity and the rectifiers are bounds too.
    Clamp { lo: f32, hi: f32 },
    /// One slope for all channels, above 0 and at most 1: the larger of a number and its share.
    Leaky { slope: f32 },
    /// One slope per channel.
    Prelu,
    /// Anything else.
    Other(Activation),
}

impl Activation {
    pub(crate) fn fused(self) -> Fused {
        match self {
            Activation::Identity => Fused::Clamp { lo: f32::NEG_INFINITY, hi: f32::INFINITY },
            Activation::Relu => Fused::Clamp { lo: 0.0, hi: f32::INFINITY },
            Activation::Clip { lo, hi } => Fused::Clamp { lo, hi },
            Activation::LeakyRelu { slope } if slope > 0.0 && slope <= 1.0 => {
                Fused::Leaky { slope }
            }
            Activation::Prelu => Fused::Prelu,
            other => Fused::Other(other),
        }
    }
}

/// In-place activation of a contiguous run, for epilogues that found it worth a call.
pub(crate) struct RunInPlace;

/// Arguments of [`RunInPlace`].
pub(crate) struct RunArgs {
    pub(crate) data: *mut f32,
    pub(crate) len: usize,
    pub(crate) activation: Activation,
}

impl Body<RunArgs> for RunInPlace {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &RunArgs) {
        // SAFETY: the caller vouches for `len` elements at `data` and for the instruction set.
        unsafe { map::<S>(a.data, a.data, a.len, a.activation, 0.0) }
    }
}

/// Evaluates an expression of vector `v` for each whole vector, and for a padded copy of what
/// remains. A macro, because a closure would be compiled without the instruction set whenever it is
/// too long to be inlined.
macro_rules! each {
    ($simd:ident, $x:ident, $out:ident, $n:ident, $v:ident => $f:expr) => {{
        let mut i = 0;
        while i + $simd::LANES <= $n {
            let $v = $simd::load($x.add(i));
            $simd::store($out.add(i), $f);
            i += $simd::LANES;
        }
        if i < $n {
            let $v = $simd::load_partial($x.add(i), $n - i);
            $simd::store_partial($out.add(i), $f, $n - i);
        }
    }};
}

/// `out[i] = f(x[i])` for `n` elements; `x` and `out` are the same or do not overlap.
///
/// # Safety
/// `n` elements are readable at `x` and writable at `out`; the instruction set is present.
#[inline(always)]
pub(crate) unsafe fn map<S: Simd>(
    x: *const f32,
    out: *mut f32,
    n: usize,
    activation: Activation,
    slope: f32,
) {
    // SAFETY: `each` visits exactly the `n` elements the caller vouches for.
    unsafe {
        match activation {
            Activation::Identity => each!(S, x, out, n, v => v),
            Activation::Relu => each!(S, x, out, n, v => S::max(S::zero(), v)),
            Activation::Clip { lo, hi } => {
                let (lo, hi) = (S::splat(lo), S::splat(hi));
                each!(S, x, out, n, v => S::clamp(v, lo, hi));
            }
            Activation::LeakyRelu { slope } => {
                let slope = S::splat(slope);
                each!(S, x, out, n, v => leaky::<S>(v, slope));
            }
            Activation::Prelu => {
                let slope = S::splat(slope);
                each!(S, x, out, n, v => leaky::<S>(v, slope));
            }
            Activation::Elu { alpha } => each!(S, x, out, n, v => {
                let below = S::mul(S::splat(alpha), expm1::<S>(v));
                S::select(S::lt(v, S::zero()), below, v)
            }),
            Activation::Sigmoid => each!(S, x, out, n, v => sigmoid::<S>(v)),
            Activation::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (S::splat(alpha), S::splat(beta));
                each!(S, x, out, n, v => hard::<S>(S::fma(v, alpha, beta)));
            }
            Activation::HardSwish => {
                let (sixth, half) = (S::splat(1.0 / 6.0), S::splat(0.5));
                each!(S, x, out, n, v => S::mul(v, hard::<S>(S::fma(v, sixth, half))));
            }
            Activation::Silu => each!(S, x, out, n, v => S::mul(v, sigmoid::<S>(v))),
            Activation::Tanh => each!(S, x, out, n, v => tanh::<S>(v)),
            Activation::Gelu => each!(S, x, out, n, v => {
                let erf = erf::<S>(S::mul(v, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
                let half = S::mul(v, S::splat(0.5));
                S::fma(half, erf, half)
            }),
            Activation::GeluTanh => each!(S, x, out, n, v => {
                // sqrt(2 / pi) x (1 + 0.044715 x^2)
                const SCALE: f32 = 0.797_884_6;
                let cubic = S::fma(S::mul(v, v), S::splat(0.044715 * SCALE), S::splat(SCALE));
                let half = S::mul(v, S::splat(0.5));
                S::fma(half, tanh::<S>(S::mul(v, cubic)), half)
            }),
            Activation::Exp => each!(S, x, out, n, v => exp::<S>(v)),
        }
    }
}

/// `x` if not negative, else `slope * x`.
///
/// # Safety
/// The instruction set is present; so for the functions below.
#[inline(always)]
pub(crate) unsafe fn leaky<S: Simd>(x: S::V, slope: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe { S::select(S::lt(x, S::zero()), S::mul(x, slope), x) }
}

/// [`leaky`] for the slopes of [`Fused::Leaky`].
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
pub(crate) unsafe fn leaky_max<S: Simd>(x: S::V, slope: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe { S::max(x, S::mul(x, slope)) }
}

#[inline(always)]
unsafe fn hard<S: Simd>(x: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe { S::clamp(x, S::zero(), S::splat(1.0)) }
}

/// The polynomial of a range-reduced exponential: `(exp(r) - 1, n)` with `x = r + n ln 2` and
/// `|r| <= ln 2 / 2`.
#[inline(always)]
unsafe fn exp_parts<S: Simd>(x: S::V) -> (S::V, S::V) {
    // ln 2 in two parts, the first with trailing zeros so that `n * HI` is exact.
    const HI: f32 = 0.693_359_4;
    const LO: f32 = -2.121_944_4e-4;
    // SAFETY: pure arithmetic.
    unsafe {
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-HI), x);
        let r = S::fma(n, S::splat(-LO), r);
        // The Taylor series to degree 7: its remainder on |r| <= 0.347 is below 1e-8 relative.
        let mut p = S::splat(1.0 / 5040.0);
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
            p = S::fma(p, r, S::splat(c));
        }
        (S::fma(S::mul(r, r), p, r), n)
    }
}

/// `exp(x)`; zero below about -87, infinity above about 88.7.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: pure arithmetic; the clamp keeps the exponents in range.
    unsafe {
        let clamped = S::min(S::splat(89.0), S::max(S::splat(-87.33), x));
        let (p, n) = exp_parts::<S>(clamped);
        // 2^n in two steps, because n = 128 is needed just below the overflow.
        let n1 = S::min(S::splat(127.0), n);
        let value = S::mul(S::add(S::splat(1.0), p), S::exp2_int(n1));
        let value = S::mul(value, S::exp2_int(S::sub(n, n1)));
        let value = S::select(S::lt(x, S::splat(-87.33)), S::zero(), value);
        S::select(S::is_nan(x), x, value)
    }
}

/// `exp(x) - 1` for `x <= 0`, without cancellation near zero.
#[inline(always)]
unsafe fn expm1<S: Simd>(x: S::V) -> S::V {
    // SAFETY: pure arithmetic; the clamp keeps the exponents in range.
    unsafe {
        let clamped = S::min(S::zero(), S::max(S::splat(-87.0), x));
        let (p, n) = exp_parts::<S>(clamped);
        let scale = S::exp2_int(n);
        S::fma(p, scale, S::sub(scale, S::splat(1.0)))
    }
}

#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::zero(), x))))
    }
}

/// `tanh |x| = -expm1(-2|x|) / (2 + expm1(-2|x|))`, with the sign put back.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe {
        let negated = S::sub(S::zero(), x);
        let minus_abs = S::min(x, negated);
        let e = expm1::<S>(S::add(minus_abs, minus_abs));
        let t = S::div(e, S::add(S::splat(2.0), e));
        let signed = S::select(S::lt(x, S::zero()), t, S::sub(S::zero(), t));
        S::select(S::is_nan(x), x, signed)
    }
}

/// The error function after Abramowitz and Stegun, formula 7.1.26: absolute error below 1.5e-7,
/// here about 3e-7 with the rounding of f32.
#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe {
        let negated = S::sub(S::zero(), x);
        let abs = S::max(negated, x);
        let one = S::splat(1.0);
        let t = S::div(one, S::fma(abs, S::splat(0.327_591_1), one));
        let mut p = S::splat(1.061_405_4);
        for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = S::fma(p, t, S::splat(c));
        }
        let tail = S::mul(S::mul(p, t), exp::<S>(S::mul(negated, x)));
        let positive = S::sub(one, tail);
        S::select(S::lt(x, S::zero()), S::sub(S::zero(), positive), positive)
    }
}
