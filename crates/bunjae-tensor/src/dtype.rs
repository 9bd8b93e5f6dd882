//! Element types.

use std::fmt;
use std::str::FromStr;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 single precision; the type networks are stored and run in.
    F32,
    /// IEEE 754 double precision; used to check gradients and to judge rounding.
    F64,
    /// Signed 8-bit integer (quantised weights and activations).
    I8,
    /// Unsigned 8-bit integer (quantised activations, pictures).
    U8,
    /// Signed 32-bit integer (quantised biases, accumulators).
    I32,
    /// Signed 64-bit integer (indices).
    I64,
}

impl DType {
    /// Every element type, in the order of the enum.
    pub const ALL: [DType; 6] =
        [DType::F32, DType::F64, DType::I8, DType::U8, DType::I32, DType::I64];

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 => 1,
            DType::F32 | DType::I32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// The name used in the text form: `f32`, `f64`, `i8`, `u8`, `i32`, `i64`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::I64 => "i64",
        }
    }

    /// True for `f32` and `f64`.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DType::ALL
            .into_iter()
            .find(|d| d.name() == text)
            .ok_or_else(|| format!("unknown element type `{text}`"))
    }
}

/// A Rust type that can be the element of a [`Tensor`](crate::Tensor).
///
/// Implemented for exactly the types that [`DType`] names.
pub trait Element: bytemuck::Pod + PartialEq + PartialOrd + fmt::Debug + sealed::Sealed {
    /// The element type this Rust type stands for.
    const DTYPE: DType;
    /// The value as `f64`; `i64` beyond 2^53 is rounded.
    fn to_f64(self) -> f64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),* $(,)?) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
elements!(f32 => F32, f64 => F64, i8 => I8, u8 => U8, i32 => I32, i64 => I64);
