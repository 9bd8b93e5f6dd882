//! Arithmetic on single elements, for loops that are generic over the element type.

use std::ops::Div;

use crate::Element;

/// A number in the widest type of its kind, without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wide {
    /// From `f32` or `f64`.
    Float(f64),
    /// From an integer type.
    Int(i64),
}

/// An element type that can be computed with.
///
/// Integers wrap around where they overflow, as in ONNX Runtime.
pub trait Number: Element {
    /// Not larger than any number: minus infinity, or the smallest integer.
    const LOWEST: Self;

    /// This number without loss.
    fn wide(self) -> Wide;
    /// The nearest number of this type; an integer is truncated and saturated, and 0 for NaN.
    fn from_f64(value: f64) -> Self;
    /// The nearest float, or the integer wrapped around.
    fn from_i64(value: i64) -> Self;

    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// `self - other`.
    fn minus(self, other: Self) -> Self;
    /// `self * other`.
    fn times(self, other: Self) -> Self;
    /// `self / other`; of integers the quotient rounded towards 0, and `None` where there is none.
    fn over(self, other: Self) -> Option<Self>;
    /// `self` to the power of `other`. Of integers `None` for a negative power of 0; other negative
    /// powers are rounded towards 0.
    fn power(self, other: Self) -> Option<Self>;
    /// The larger, or NaN where one is NaN.
    fn larger(self, other: Self) -> Self;
    /// The smaller, or NaN where one is NaN.
    fn smaller(self, other: Self) -> Self;
}

/// A floating-point type.
pub trait Real: Number + Div<Output = Self> {}

impl Real for f32 {}
impl Real for f64 {}

macro_rules! floats {
    ($($ty:ident),*) => {$(
        impl Number for $ty {
            const LOWEST: Self = $ty::NEG_INFINITY;

            #[inline]
            fn wide(self) -> Wide {
                Wide::Float(f64::from(self))
            }
            #[inline]
            fn from_f64(value: f64) -> Self {
                value as $ty
            }
            #[inline]
            fn from_i64(value: i64) -> Self {
                value as $ty
            }
            #[inline]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline]
            fn times(self, other: Self) -> Self {
                self * other
            }
            #[inline]
            fn over(self, other: Self) -> Option<Self> {
                Some(self / other)
            }
            #[inline]
            fn power(self, other: Self) -> Option<Self> {
                Some(libm::pow(f64::from(self), f64::from(other)) as $ty)
            }
            #[inline]
            fn larger(self, other: Self) -> Self {
                if self.is_nan() || self >= other { self } else { other }
            }
            #[inline]
            fn smaller(self, other: Self) -> Self {
                if self.is_nan() || self <= other { self } else { other }
            }
        }
    )*};
}
floats!(f32, f64);

macro_rules! integers {
    ($($ty:ident),*) => {$(
        impl Number for $ty {
            const LOWEST: Self = $ty::MIN;

            #[inline]
            fn wide(self) -> Wide {
                Wide::Int(i64::from(self))
            }
            #[inline]
            fn from_f64(value: f64) -> Self {
                value as $ty
            }
            #[inline]
            fn from_i64(value: i64) -> Self {
                value as $ty
            }
            #[inline]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline]
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline]
            fn over(self, other: Self) -> Option<Self> {
                if other == 0 { None } else { Some(self.wrapping_div(other)) }
            }
            #[inline]
            fn power(self, other: Self) -> Option<Self> {
                integer_power(i64::from(self), i64::from(other)).map(|power| power as $ty)
            }
            #[inline]
            fn larger(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline]
            fn smaller(self, other: Self) -> Self {
                self.min(other)
            }
        }
    )*};
}
integers!(i8, u8, i32, i64);

/// The power of an integer modulo 2^64, by squaring; truncation makes it that of a narrower type.
fn integer_power(base: i64, exponent: i64) -> Option<i64> {
    let Ok(mut rest) = u64::try_from(exponent) else {
        return match base {
            0 => None,
            1 => Some(1),
            -1 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
            _ => Some(0),
        };
    };
    let (mut power, mut square) = (1i64, base);
    while rest > 0 {
        if rest % 2 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest /= 2;
    }
    Some(power)
}

/// Calls a function generic over [`Number`] for an element type: `by_number!(dtype, f(a, b))`.
#[macro_export]
macro_rules! by_number {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            $crate::DType::F32 => $function::<f32>($($argument),*),
            $crate::DType::F64 => $function::<f64>($($argument),*),
            $crate::DType::I8 => $function::<i8>($($argument),*),
            $crate::DType::U8 => $function::<u8>($($argument),*),
            $crate::DType::I32 => $function::<i32>($($argument),*),
            $crate::DType::I64 => $function::<i64>($($argument),*),
        }
    };
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_around_and_refuse_what_has_no_value() {
        assert_eq!((100i8.plus(100), (-100i8).minus(100), 16u8.times(17)), (-56, 56, 16));
        assert_eq!(
            (7i32.over(-2), (-7i32).over(2), i32::MIN.over(-1)),
            (Some(-3), Some(-3), Some(i32::MIN))
        );
        assert_eq!((5u8.over(0), 0i64.power(-1)), (None, None));
        assert_eq!(
            (2i64.power(10), (-3i32).power(3), 2i8.power(-1)),
            (Some(1024), Some(-27), Some(0))
        );
        assert_eq!(
            ((-1i8).power(-3), (-1i64).power(i64::MIN), 1i32.power(-9)),
            (Some(-1), Some(1), Some(1))
        );
        // 3 has order 2^62 modulo 2^64.
        assert_eq!(3i64.power(1 << 62), Some(1));
        assert_eq!(3i64.power((1 << 62) + 2), Some(9));
    }

    #[test]
    fn nan_beats_every_number() {
        let nan = f32::NAN;
        for number in [1.0, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(nan.larger(number).is_nan() && number.larger(nan).is_nan());
            assert!(nan.smaller(number).is_nan() && number.smaller(nan).is_nan());
        }
        assert_eq!((2f32.larger(3.0), 2f32.smaller(3.0)), (3.0, 2.0));
    }
}
