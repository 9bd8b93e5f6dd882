//! What is refused: operands that do not fit, and results that no memory should hold.

use bunjae_interp::{EvalError, eval};
use bunjae_ir::op::{Binary, Conv2d, Pad, Reduce, Reduction, Resize, ResizeTo, Unary};
use bunjae_ir::{Op, ShapeError};
use bunjae_tensor::{MAX_BYTES, TensorError};

use super::{counting, picture, tensor, vector};

#[test]
fn operands_that_do_not_fit_are_refused() {
    let x = counting(&[1, 2, 3, 3]);
    let weight = counting(&[1, 3, 1, 1]);
    let conv = Op::Conv2d(Conv2d::default());
    assert!(matches!(
        eval(&conv, &[&x, &weight]),
        Err(EvalError::Shape(ShapeError::Mismatch { .. }))
    ));
    assert!(matches!(
        eval(&conv, &[&x]),
        Err(EvalError::Shape(ShapeError::Arity { found: 1, .. }))
    ));
    assert!(matches!(eval(&conv, &[]), Err(EvalError::Shape(ShapeError::Arity { found: 0, .. }))));
    let bias = tensor(&[1], &[1f64]);
    assert!(matches!(
        eval(&conv, &[&x, &counting(&[1, 2, 1, 1]), &bias]),
        Err(EvalError::Shape(ShapeError::DType { operand: "bias", .. }))
    ));
    let integers = tensor(&[1], &[1i32]);
    assert!(matches!(
        eval(&Op::Unary(Unary::Relu), &[&integers]),
        Err(EvalError::Shape(ShapeError::DType { .. }))
    ));
    assert!(matches!(
        eval(&Op::Binary(Binary::Add), &[&integers, &vector(&[1.0])]),
        Err(EvalError::Shape(ShapeError::DType { .. }))
    ));
}

#[test]
fn results_without_bounds_are_refused_before_memory_is_touched() {
    let x = picture(1, 1, &[1.0]);
    let pads = vec![[0, 1 << 20, 0], [1, 1 << 20, 0]];
    let found = eval(&Op::Pad(Pad { pads, ..Pad::default() }), &[&x]);
    assert!(matches!(found, Err(EvalError::Tensor(TensorError::TooLarge { .. }))), "{found:?}");
    let to = ResizeTo::Size([1 << 31, 1 << 31]);
    let found = eval(&Op::Resize(Resize { to, ..Resize::default() }), &[&x]);
    assert!(matches!(found, Err(EvalError::Tensor(TensorError::TooLarge { .. }))), "{found:?}");
}

/// A dimension of 0 makes a tensor empty whatever the others are; products of the others alone
/// would overflow.
#[test]
fn empty_tensors_of_absurd_extent_are_refused() {
    let x = tensor::<f32>(&[0, MAX_BYTES, MAX_BYTES], &[]);
    let op = Op::Reduce(Reduce { kind: Reduction::Sum, axes: vec![0, 1, 2], keep: false });
    let found = eval(&op, &[&x]);
    assert!(matches!(found, Err(EvalError::Tensor(TensorError::TooLarge { .. }))), "{found:?}");
}

#[test]
fn an_empty_batch_is_computed() {
    let (x, weight) = (tensor::<f32>(&[0, 2, 3, 3], &[]), counting(&[4, 2, 3, 3]));
    let result = super::compute(Op::Conv2d(Conv2d::default()), &[&x, &weight]);
    assert_eq!(result.shape(), [0, 4, 1, 1]);
}
