//! Functions of one element and of two, and conversions between element types.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Number, Real, Wide, by_number, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::{View, coalesce};

use super::operands;
use super::walk::rows;

/// A function of one element of a float type; the names are the operators'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum UnaryFunction {
    Relu,
    LeakyRelu { alpha: f32 },
    Clip { min: f32, max: f32 },
    Sigmoid,
    HardSigmoid { alpha: f32, beta: f32 },
    HardSwish,
    Silu,
    Tanh,
    Gelu,
    GeluTanh,
    Elu { alpha: f32 },
    Softplus,
    Mish,
    Exp,
    Log,
    Sqrt,
    Neg,
    Abs,
    Reciprocal,
    Erf,
}

impl UnaryFunction {
    /// The function, computed in f64.
    #[inline]
    fn of(self, x: f64) -> f64 {
        match self {
            UnaryFunction::Relu => x.larger(0.0),
            UnaryFunction::LeakyRelu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    f64::from(alpha) * x
                }
            }
            UnaryFunction::Clip { min, max } => x.larger(f64::from(min)).smaller(f64::from(max)),
            UnaryFunction::Sigmoid => sigmoid(x),
            UnaryFunction::HardSigmoid { alpha, beta } => {
                (f64::from(alpha) * x + f64::from(beta)).larger(0.0).smaller(1.0)
            }
            UnaryFunction::HardSwish => x * (x / 6.0 + 0.5).larger(0.0).smaller(1.0),
            UnaryFunction::Silu => x * sigmoid(x),
            UnaryFunction::Tanh => libm::tanh(x),
            // The complementary error function keeps the digits that 1 + erf loses below 0.
            UnaryFunction::Gelu => 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            UnaryFunction::GeluTanh => {
                let slope = (2.0 / std::f64::consts::PI).sqrt();
                0.5 * x * (1.0 + libm::tanh(slope * (x + 0.044715 * x * x * x)))
            }
            UnaryFunction::Elu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    f64::from(alpha) * libm::expm1(x)
                }
            }
            UnaryFunction::Softplus => softplus(x),
            UnaryFunction::Mish => x * libm::tanh(softplus(x)),
            UnaryFunction::Exp => libm::exp(x),
            UnaryFunction::Log => libm::log(x),
            UnaryFunction::Sqrt => x.sqrt(),
            UnaryFunction::Neg => -x,
            UnaryFunction::Abs => x.abs(),
            UnaryFunction::Reciprocal => 1.0 / x,
            UnaryFunction::Erf => libm::erf(x),
        }
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// `ln(1 + exp(x))`, in a form in which nothing overflows.
pub(super) fn softplus(x: f64) -> f64 {
    x.larger(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// `y = f(x)`.
#[derive(Debug)]
pub(crate) struct Map {
    function: UnaryFunction,
    x: View,
    y: View,
}

operands!(Map: x -> y);

impl Map {
    /// For views of the same dims and type.
    pub(crate) fn new(function: UnaryFunction, x: &View, y: &View) -> Map {
        let [x, y] = coalesce([x, y]);
        Map { function, x, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Map, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, y) = (memory.read::<T>(&own.x)?, memory.write::<T>(&own.y)?);
            rows([&own.x, &own.y], |row| {
                for index in 0..row.len {
                    let [from, to] = row.at(index);
                    y[to] = T::from_f64(own.function.of(x[from].to_f64()));
                }
                Ok(())
            })
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryFunction {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    /// `a` where positive, else `b a`.
    PRelu,
}

/// `y = f(a, b)`, in the arithmetic of their type.
#[derive(Debug)]
pub(crate) struct Zip {
    function: BinaryFunction,
    a: View,
    b: View,
    y: View,
}

operands!(Zip: a, b -> y);

impl Zip {
    /// For views of the same type, broadcast to the dims of the result.
    pub(crate) fn new(function: BinaryFunction, a: &View, b: &View, y: &View) -> Zip {
        let [a, b, y] = coalesce([&a.broadcast(&y.dims), &b.broadcast(&y.dims), y]);
        Zip { function, a, b, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Number>(own: &Zip, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let zero = T::from_i64(0);
            match own.function {
                BinaryFunction::Add => own.each::<T>(memory, |a, b| Some(a.plus(b))),
                BinaryFunction::Sub => own.each::<T>(memory, |a, b| Some(a.minus(b))),
                BinaryFunction::Mul => own.each::<T>(memory, |a, b| Some(a.times(b))),
                BinaryFunction::Div => own.each::<T>(memory, T::over),
                BinaryFunction::Max => own.each::<T>(memory, |a, b| Some(a.larger(b))),
                BinaryFunction::Min => own.each::<T>(memory, |a, b| Some(a.smaller(b))),
                BinaryFunction::Pow => own.each::<T>(memory, T::power),
                BinaryFunction::PRelu => {
                    own.each::<T>(memory, |a, b| Some(if a > zero { a } else { b.times(a) }))
                }
            }
        }
        by_number!(self.y.dtype, run(self, memory))
    }

    /// `None` is a division by 0.
    #[inline]
    fn each<T: Number>(
        &self,
        memory: &StepMemory<'_>,
        function: impl Fn(T, T) -> Option<T>,
    ) -> Result<(), StepError> {
        let (a, b) = (memory.read::<T>(&self.a)?, memory.read::<T>(&self.b)?);
        let y = memory.write::<T>(&self.y)?;
        let mut failed = false;
        let mut set = |y: &mut T, a: T, b: T| match function(a, b) {
            Some(value) => *y = value,
            None => failed = true,
        };
        rows([&self.a, &self.b, &self.y], |row| {
            let [from_a, from_b, to] = row.at(0);
            if row.is_packed() {
                // The same as below, in a form that the compiler turns into vector instructions.
                let operands = a[from_a..][..row.len].iter().zip(&b[from_b..][..row.len]);
                y[to..][..row.len].iter_mut().zip(operands).for_each(|(y, (a, b))| set(y, *a, *b));
            } else if row.step == [1, 0, 1] {
                let (b, operands) = (b[from_b], &a[from_a..][..row.len]);
                y[to..][..row.len].iter_mut().zip(operands).for_each(|(y, a)| set(y, *a, b));
            } else {
                for index in 0..row.len {
                    let [from_a, from_b, to] = row.at(index);
                    set(&mut y[to], a[from_a], b[from_b]);
                }
            }
            Ok::<(), StepError>(())
        })?;
        if failed { Err(StepError::DivisionByZero) } else { Ok(()) }
    }
}

/// Conversion to another element type.
#[derive(Debug)]
pub(crate) struct Cast {
    x: View,
    y: View,
}

operands!(Cast: x -> y);

impl Cast {
    /// For views of the same dims.
    pub(crate) fn new(x: &View, y: &View) -> Cast {
        let [x, y] = coalesce([x, y]);
        Cast { x, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn from<X: Number>(own: &Cast, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let x = memory.read::<X>(&own.x)?;
            let wide = |index: usize| x[index].wide();
            by_number!(own.y.dtype, to(own, wide, memory))
        }
        fn to<Y: Number>(
            own: &Cast,
            wide: impl Fn(usize) -> Wide,
            memory: &StepMemory<'_>,
        ) -> Result<(), StepError> {
            let y = memory.write::<Y>(&own.y)?;
            rows([&own.x, &own.y], |row| {
                for index in 0..row.len {
                    let [from, to] = row.at(index);
                    y[to] = match wide(from) {
                        Wide::Float(x) => Y::from_f64(x),
                        Wide::Int(x) => Y::from_i64(x),
                    };
                }
                Ok(())
            })
        }
        by_number!(self.x.dtype, from(self, memory))
    }
}
