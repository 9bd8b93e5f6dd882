//! Functions of one element and of two, and conversions between element types.

use bunjae_ir::op::{Binary, Cast, Unary};
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::{fill, try_fill};
use crate::number::{Number, Real, Wide, by_number, by_real};
use crate::walk::{broadcast_strides, for_each_row};

/// A function of one element; the identity takes any element type.
pub(crate) fn unary(op: &Unary, x: &Tensor) -> Result<Tensor, EvalError> {
    match op {
        Unary::Identity => Ok(x.clone()),
        op => by_real!(x.dtype(), real_unary(op, x)),
    }
}

/// Functions are computed in f64 and rounded once. Where one consists of a single addition,
/// product, quotient or root, that gives the bits of the same arithmetic in f32, because f64 has
/// more than twice the digits.
fn real_unary<T: Real>(op: &Unary, x: &Tensor) -> Result<Tensor, EvalError> {
    match *op {
        Unary::Identity => Ok(x.clone()),
        Unary::Relu => map::<T>(x, |x| x.larger(0.0)),
        Unary::LeakyRelu { alpha } => {
            let alpha = f64::from(alpha);
            map::<T>(x, |x| if x > 0.0 { x } else { alpha * x })
        }
        Unary::Clip { min, max } => {
            let (min, max) = (f64::from(min), f64::from(max));
            map::<T>(x, |x| x.larger(min).smaller(max))
        }
        Unary::Sigmoid => map::<T>(x, sigmoid),
        Unary::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (f64::from(alpha), f64::from(beta));
            map::<T>(x, |x| (alpha * x + beta).larger(0.0).smaller(1.0))
        }
        Unary::HardSwish => map::<T>(x, |x| x * (x / 6.0 + 0.5).larger(0.0).smaller(1.0)),
        Unary::Silu => map::<T>(x, |x| x * sigmoid(x)),
        Unary::Tanh => map::<T>(x, libm::tanh),
        // The complementary error function keeps the digits that 1 + erf loses below 0. So does the
        // sigmoid for the other form: (1 + tanh(u)) / 2 = sigmoid(2 u).
        Unary::Gelu { tanh: false } => {
            map::<T>(x, |x| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2))
        }
        Unary::Gelu { tanh: true } => {
            let slope = (2.0 / std::f64::consts::PI).sqrt();
            map::<T>(x, |x| x * sigmoid(2.0 * slope * (x + 0.044715 * x * x * x)))
        }
        Unary::Elu { alpha } => {
            let alpha = f64::from(alpha);
            map::<T>(x, |x| if x > 0.0 { x } else { alpha * libm::expm1(x) })
        }
        Unary::Softplus => map::<T>(x, softplus),
        Unary::Mish => map::<T>(x, |x| x * libm::tanh(softplus(x))),
        Unary::Exp => map::<T>(x, libm::exp),
        Unary::Log => map::<T>(x, libm::log),
        Unary::Sqrt => map::<T>(x, f64::sqrt),
        Unary::Neg => map::<T>(x, |x| -x),
        Unary::Abs => map::<T>(x, f64::abs),
        Unary::Reciprocal => map::<T>(x, |x| 1.0 / x),
        Unary::Erf => map::<T>(x, libm::erf),
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// `ln(1 + exp(x))`, in a form in which nothing overflows.
pub(crate) fn softplus(x: f64) -> f64 {
    x.larger(0.0) + libm::log1p(libm::exp(-x.abs()))
}

fn map<T: Real>(x: &Tensor, function: impl Fn(f64) -> f64) -> Result<Tensor, EvalError> {
    let elements = x.elements::<T>()?;
    fill::<T>(x.shape(), |result| {
        for (y, x) in result.iter_mut().zip(elements) {
            *y = T::from_f64(function(x.to_f64()));
        }
    })
}

/// A function of two elements, in the arithmetic of their type.
pub(crate) fn binary<T: Number>(
    op: &Binary,
    inputs: &[&Tensor],
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let (a, b) = (inputs[0], inputs[1]);
    match op {
        Binary::Add => zip::<T>(a, b, shape, |a, b| Some(a.plus(b))),
        Binary::Sub => zip::<T>(a, b, shape, |a, b| Some(a.minus(b))),
        Binary::Mul => zip::<T>(a, b, shape, |a, b| Some(a.times(b))),
        Binary::Div => zip::<T>(a, b, shape, T::over),
        Binary::Max => zip::<T>(a, b, shape, |a, b| Some(a.larger(b))),
        Binary::Min => zip::<T>(a, b, shape, |a, b| Some(a.smaller(b))),
        Binary::Pow => zip::<T>(a, b, shape, T::power),
    }
}

/// `x` where positive, else `slope x`.
pub(crate) fn prelu<T: Real>(inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let (x, slope) = (inputs[0], inputs[1]);
    let zero = T::from_i64(0);
    zip::<T>(x, slope, x.shape(), |x, slope| Some(if x > zero { x } else { slope.times(x) }))
}

/// Applies a function to all pairs of two broadcast operands. `None` is a division by 0.
fn zip<T: Number>(
    a: &Tensor,
    b: &Tensor,
    shape: &[usize],
    function: impl Fn(T, T) -> Option<T>,
) -> Result<Tensor, EvalError> {
    // Operands of the same shape are one long row.
    let row = [a.len()];
    let walked = if a.shape() == b.shape() { &row[..] } else { shape };
    let strides = |tensor: &Tensor| match a.shape() == b.shape() {
        true => vec![1],
        false => broadcast_strides(tensor.shape(), shape),
    };
    let (strides_a, strides_b) = (strides(a), strides(b));
    let (a, b) = (a.elements::<T>()?, b.elements::<T>()?);
    try_fill::<T>(shape, |result| {
        let mut done = 0;
        let mut failed = None;
        for_each_row(walked, [&strides_a, &strides_b], |row| {
            let [from_a, from_b] = row.start;
            let [step_a, step_b] = row.step;
            for (at, y) in result[done..done + row.len].iter_mut().enumerate() {
                match function(a[from_a + at * step_a], b[from_b + at * step_b]) {
                    Some(value) => *y = value,
                    None => failed = failed.or(Some(done + at)),
                }
            }
            done += row.len;
        });
        failed.map_or(Ok(()), |index| Err(EvalError::DivisionByZero { index }))
    })
}

/// Conversion to another element type.
pub(crate) fn cast(op: &Cast, x: &Tensor) -> Result<Tensor, EvalError> {
    if op.to == x.dtype() {
        return Ok(x.clone());
    }
    by_number!(x.dtype(), cast_from(op, x))
}

fn cast_from<T: Number>(op: &Cast, x: &Tensor) -> Result<Tensor, EvalError> {
    let elements = x.elements::<T>()?;
    by_number!(op.to, cast_to(x.shape(), elements.iter().map(|x| x.wide())))
}

fn cast_to<T: Number>(
    shape: &[usize],
    elements: impl Iterator<Item = Wide>,
) -> Result<Tensor, EvalError> {
    fill::<T>(shape, |result| {
        for (y, x) in result.iter_mut().zip(elements) {
            *y = match x {
                Wide::Float(x) => T::from_f64(x),
                Wide::Int(x) => T::from_i64(x),
            };
        }
    })
}
