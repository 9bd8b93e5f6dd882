//! What the generic kernels ask of an element type.

use bunjae_tensor::Element;

/// A number in the widest type of its kind, without loss.
#[derive(Clone, Copy)]
pub(crate) enum Wide {
    Float(f64),
    Int(i64),
}

/// An element type that can be computed with. Integers wrap around where they overflow.
pub(crate) trait Number: Element {
    /// Not larger than any number.
    const LOWEST: Self;

    fn wide(self) -> Wide;
    /// The nearest number of this type; an integer is truncated and saturated, and 0 for NaN.
    fn from_f64(value: f64) -> Self;
    /// The nearest float, or the integer wrapped around.
    fn from_i64(value: i64) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// Of integers the quotient rounded towards 0, and `None` where there is none.
    fn over(self, other: Self) -> Option<Self>;
    /// Of integers `None` for a negative power of 0; other negative powers round towards 0.
    fn power(self, other: Self) -> Option<Self>;
    /// The larger, or NaN where one is NaN.
    fn larger(self, other: Self) -> Self;
    /// The smaller, or NaN where one is NaN.
    fn smaller(self, other: Self) -> Self;
}

/// A floating-point type.
pub(crate) trait Real: Number + std::ops::Div<Output = Self> {}

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

/// The power of an integer modulo 2^64; truncation makes it that of a narrower type.
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
macro_rules! by_number {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            bunjae_tensor::DType::F32 => $function::<f32>($($argument),*),
            bunjae_tensor::DType::F64 => $function::<f64>($($argument),*),
            bunjae_tensor::DType::I8 => $function::<i8>($($argument),*),
            bunjae_tensor::DType::U8 => $function::<u8>($($argument),*),
            bunjae_tensor::DType::I32 => $function::<i32>($($argument),*),
            bunjae_tensor::DType::I64 => $function::<i64>($($argument),*),
        }
    };
}
pub(crate) use by_number;

/// Calls a function generic over [`Real`]; of a type that is none it is the error of a step that
/// does not suit its operands.
macro_rules! by_real {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            bunjae_tensor::DType::F32 => $function::<f32>($($argument),*),
            bunjae_tensor::DType::F64 => $function::<f64>($($argument),*),
            found => Err(crate::runtime::step::StepError::DType(found)),
        }
    };
}
pub(crate) use by_real;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_around_and_refuse_what_has_no_value() {
        assert_eq!((100i8.plus(100), 16u8.times(17)), (-56, 16));
        assert_eq!(
            ((-7i32).over(2), i32::MIN.over(-1), 5u8.over(0)),
            (Some(-3), Some(i32::MIN), None)
        );
        assert_eq!((2i64.power(10), 2i8.power(-1), 0i32.power(-1)), (Some(1024), Some(0), None));
    }

    #[test]
    fn nan_beats_every_number() {
        assert!(f32::NAN.larger(1.0).is_nan() && 1f32.smaller(f32::NAN).is_nan());
    }
}
