//! Activations and their derivatives where they are fused with something else.

use crate::activation::{Activation, Fused, leaky};
use crate::simd::Simd;

/// A piecewise linear function that does not fall.
pub(super) trait Slope<S: Simd>: Copy {
    /// # Safety
    /// The instruction set is present; so for the others.
    unsafe fn value(self, x: S::V) -> S::V;
    /// The gradient `g` of the value, times the derivative at `x`, or at `rank(x)`.
    ///
    /// # Safety
    /// As [`Slope::value`].
    unsafe fn gradient(self, x: S::V, g: S::V) -> S::V;
    /// What orders elements as their values do: those of equal values too, or they have no gradient.
    ///
    /// # Safety
    /// As [`Slope::value`].
    #[inline(always)]
    unsafe fn rank(self, x: S::V) -> S::V {
        x
    }
}

/// Bounds; the derivative is 0 at the bounds.
#[derive(Clone, Copy)]
pub(super) struct Clamp<S: Simd> {
    pub(super) lo: S::V,
    pub(super) hi: S::V,
}

impl<S: Simd> Slope<S> for Clamp<S> {
    #[inline(always)]
    unsafe fn value(self, x: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { S::clamp(x, self.lo, self.hi) }
    }

    #[inline(always)]
    unsafe fn gradient(self, x: S::V, g: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe {
            let zero = S::zero();
            S::select(S::lt(self.lo, x), S::select(S::lt(x, self.hi), g, zero), zero)
        }
    }
}

/// The identity.
#[derive(Clone, Copy)]
pub(super) struct Straight;

impl<S: Simd> Slope<S> for Straight {
    #[inline(always)]
    unsafe fn value(self, x: S::V) -> S::V {
        x
    }

    #[inline(always)]
    unsafe fn gradient(self, _: S::V, g: S::V) -> S::V {
        g
    }
}

/// One slope for what is negative; the derivative at 0 is that slope.
#[derive(Clone, Copy)]
pub(super) struct Leaky<S: Simd> {
    pub(super) slope: S::V,
}

impl<S: Simd> Slope<S> for Leaky<S> {
    #[inline(always)]
    unsafe fn value(self, x: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { leaky::<S>(x, self.slope) }
    }

    #[inline(always)]
    unsafe fn gradient(self, x: S::V, g: S::V) -> S::V {
        // SAFETY: pure arithmetic.
        unsafe { S::select(S::lt(S::zero(), x), g, S::mul(g, self.slope)) }
    }

    #[inline(always)]
    unsafe fn rank(self, x: S::V) -> S::V {
        // Different elements may have the same value, by rounding.
        // SAFETY: pure arithmetic.
        unsafe { self.value(x) }
    }
}

/// Which [`Slope`] an activation is.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Straight,
    Clamp { lo: f32, hi: f32 },
    Leaky { slope: f32 },
}

impl Class {
    /// `None` for activations that bend, or fall.
    pub(super) fn of(activation: Activation) -> Option<Class> {
        match (activation, activation.fused()) {
            (Activation::Identity, _) => Some(Class::Straight),
            (_, Fused::Clamp { lo, hi }) => Some(Class::Clamp { lo, hi }),
            (_, Fused::Leaky { slope }) if slope >= 0.0 => Some(Class::Leaky { slope }),
            _ => None,
        }
    }
}

/// Runs an expression with `$slope` bound to the [`Slope`] of a [`Class`].
macro_rules! with_slope {
    ($simd:ident, $class:expr, $slope:ident => $body:expr) => {
        match $class {
            Class::Straight => {
                let $slope = Straight;
                $body
            }
            Class::Clamp { lo, hi } => {
                let $slope = Clamp::<$simd> { lo: $simd::splat(lo), hi: $simd::splat(hi) };
                $body
            }
            Class::Leaky { slope } => {
                let $slope = Leaky::<$simd> { slope: $simd::splat(slope) };
                $body
            }
        }
    };
}
pub(super) use with_slope;
