//! Between floats and the integers that stand for them.

use bunjae_tensor::DType;

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Number, Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::operands;
use super::walk::rows;

/// Scale or zero point as seen by the result: a scalar, or a value per index of `axis`.
fn along(view: &View, axis: usize, dims: &[usize]) -> View {
    let mut strides = vec![0; dims.len()];
    if let [stride] = view.strides[..] {
        strides[axis] = stride;
    }
    View { dims: dims.to_vec(), strides, ..*view }
}

/// `saturate(round_half_even(x / scale) + zero_point)`.
///
/// The quotient is rounded to the type of x before it is rounded to an integer. NaN becomes the
/// lowest value.
#[derive(Debug)]
pub(crate) struct Quantize {
    x: View,
    scale: View,
    zero: View,
    y: View,
}

operands!(Quantize: x, scale, zero -> y);

impl Quantize {
    pub(crate) fn new(axis: usize, [x, scale, zero]: [&View; 3], y: &View) -> Quantize {
        let [scale, zero] = [scale, zero].map(|view| along(view, axis, &y.dims));
        Quantize { x: x.clone(), scale, zero, y: y.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Quantize, memory: &StepMemory<'_>) -> Result<(), StepError> {
            match own.y.dtype {
                DType::I8 => own.to::<T, i8>(memory),
                DType::U8 => own.to::<T, u8>(memory),
                found => Err(StepError::DType(found)),
            }
        }
        by_real!(self.x.dtype, run(self, memory))
    }

    fn to<T: Real, Z: Number>(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        let (vx, vscale) = (memory.read::<T>(&self.x)?, memory.read::<T>(&self.scale)?);
        let (vzero, vy) = (memory.read::<Z>(&self.zero)?, memory.write::<Z>(&self.y)?);
        rows([&self.x, &self.scale, &self.zero, &self.y], |row| {
            for index in 0..row.len {
                let [x, scale, zero, y] = row.at(index);
                let quotient = (vx[x] / vscale[scale]).to_f64();
                let whole = quotient.round_ties_even() + vzero[zero].to_f64();
                // `max` of NaN and a number is the number.
                vy[y] = Z::from_f64(whole.max(Z::LOWEST.to_f64()));
            }
            Ok(())
        })
    }
}

/// `(x - zero_point) * scale`, the difference exact and the product rounded once.
#[derive(Debug)]
pub(crate) struct Dequantize {
    x: View,
    scale: View,
    zero: View,
    y: View,
}

operands!(Dequantize: x, scale, zero -> y);

impl Dequantize {
    pub(crate) fn new(axis: usize, [x, scale, zero]: [&View; 3], y: &View) -> Dequantize {
        let [scale, zero] = [scale, zero].map(|view| along(view, axis, &y.dims));
        Dequantize { x: x.clone(), scale, zero, y: y.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Dequantize, memory: &StepMemory<'_>) -> Result<(), StepError> {
            match own.x.dtype {
                DType::I8 => own.from::<T, i8>(memory),
                DType::U8 => own.from::<T, u8>(memory),
                DType::I32 => own.from::<T, i32>(memory),
                found => Err(StepError::DType(found)),
            }
        }
        by_real!(self.y.dtype, run(self, memory))
    }

    fn from<T: Real, Z: Number>(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        let (vx, vzero) = (memory.read::<Z>(&self.x)?, memory.read::<Z>(&self.zero)?);
        let (vscale, vy) = (memory.read::<T>(&self.scale)?, memory.write::<T>(&self.y)?);
        rows([&self.x, &self.scale, &self.zero, &self.y], |row| {
            for index in 0..row.len {
                let [x, scale, zero, y] = row.at(index);
                let difference = vx[x].to_f64() - vzero[zero].to_f64();
                vy[y] = T::from_f64(difference * vscale[scale].to_f64());
            }
            Ok(())
        })
    }
}
