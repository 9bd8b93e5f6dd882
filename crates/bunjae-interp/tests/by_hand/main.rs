//! Every operator on operands small enough to compute the result on paper, and the edges of their
//! definitions: padding, rounding, NaN, nothing at all.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

mod conv;
mod elementwise;
mod gradient;
mod limits;
mod linear;
mod movement;
mod normalise;
mod pool;
mod quantise;
mod reduce;
mod resize;

use bunjae_interp::eval;
use bunjae_ir::Op;
use bunjae_tensor::{Element, Random, Tensor, Tolerance, compare};

/// A tensor of any element type.
fn tensor<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
    Tensor::from_slice(shape, values).unwrap()
}

/// A tensor of f32 along one axis.
fn vector(values: &[f32]) -> Tensor {
    tensor(&[values.len()], values)
}

/// A picture with one channel, as f32.
fn picture(height: usize, width: usize, values: &[f32]) -> Tensor {
    tensor(&[1, 1, height, width], values)
}

/// The numbers 1, 2, 3, ... as f32.
fn counting(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (1..=shape.iter().product()).map(|value: usize| value as f32).collect();
    tensor(shape, &values)
}

/// Random whole numbers from -8 to 8: sums of their products are exact in any order.
fn whole(random: &mut Random, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| random.integer(-8, 8) as f32).collect();
    tensor(shape, &values)
}

/// The one result of an operator.
#[track_caller]
fn compute(op: impl Into<Op>, inputs: &[&Tensor]) -> Tensor {
    let mut results = eval(&op.into(), inputs).unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// Asserts a result to the last bit, except that one NaN is as good as another.
#[track_caller]
fn check(op: impl Into<Op>, inputs: &[&Tensor], expected: &Tensor) {
    let found = compute(op, inputs);
    let same = |(a, b): (f64, f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let equal = found.dtype() == expected.dtype()
        && found.shape() == expected.shape()
        && found.to_f64_vec().into_iter().zip(expected.to_f64_vec()).all(same);
    assert!(equal, "found    {found:?}\nexpected {expected:?}");
}

/// Asserts a result within a relative tolerance.
#[track_caller]
fn check_close(op: impl Into<Op>, inputs: &[&Tensor], expected: &Tensor, relative: f64) {
    let found = compute(op, inputs);
    let tolerance = Tolerance { absolute: 0.0, relative };
    let difference = compare(&found, expected, tolerance).unwrap();
    assert!(difference.is_within(), "{difference:?}\n{found:?}\n{expected:?}");
}
