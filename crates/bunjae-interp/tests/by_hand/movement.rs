//! Operators that move elements.

use bunjae_interp::{EvalError, eval};
use bunjae_ir::op::{
    Concat, DepthOrder, DepthToSpace, Dropout, Flatten, Pad, PadMode, Range, Reshape, Slice, Split,
    Squeeze, Transpose, Unsqueeze,
};
use bunjae_ir::{Dim, Factors, Op, Target};
use bunjae_tensor::{DType, Tensor};

use super::{check, counting, tensor, vector};

/// 0, 1, 2, ... of a type that only moving operators take.
fn bytes(shape: &[usize]) -> Tensor {
    let values: Vec<u8> = (0..shape.iter().product::<usize>()).map(|value| value as u8).collect();
    tensor(shape, &values)
}

#[test]
fn concat_and_split_are_inverse() {
    let (a, b) = (bytes(&[2, 1, 2]), tensor(&[2, 2, 2], &[10u8, 11, 12, 13, 14, 15, 16, 17]));
    let whole = tensor(&[2, 3, 2], &[0u8, 1, 10, 11, 12, 13, 2, 3, 14, 15, 16, 17]);
    check(Op::Concat(Concat { axis: 1 }), &[&a, &b], &whole);
    let parts = eval(&Op::Split(Split { axis: 1, sizes: vec![1, 2] }), &[&whole]).unwrap();
    assert_eq!(parts, [a.clone(), b]);
    check(Op::Concat(Concat { axis: 2 }), &[&a], &a);
    let none = tensor::<u8>(&[2, 0, 2], &[]);
    check(Op::Concat(Concat { axis: 1 }), &[&none, &a, &none], &a);
}

fn slice(axis: usize, start: i64, end: i64, step: i64) -> Op {
    Op::Slice(Slice { ranges: vec![Range { axis, start, end, step }] })
}

#[test]
fn slices_count_from_both_ends_and_both_ways() {
    let x = tensor(&[5], &[10i64, 11, 12, 13, 14]);
    check(slice(0, 1, 4, 1), &[&x], &tensor(&[3], &[11i64, 12, 13]));
    check(slice(0, -2, Range::OPEN, 1), &[&x], &tensor(&[2], &[13i64, 14]));
    check(slice(0, 0, Range::OPEN, 2), &[&x], &tensor(&[3], &[10i64, 12, 14]));
    check(slice(0, -1, Range::OPEN, -2), &[&x], &tensor(&[3], &[14i64, 12, 10]));
    check(slice(0, 3, 0, -1), &[&x], &tensor(&[3], &[13i64, 12, 11]));
    check(slice(0, -100, 100, 1), &[&x], &x);
    check(slice(0, 4, Range::OPEN, i64::MIN), &[&x], &tensor(&[1], &[14i64]));
    check(slice(0, 4, Range::OPEN, i64::MAX), &[&x], &tensor(&[1], &[14i64]));
    let ranges = vec![
        Range { axis: 2, start: 1, end: Range::OPEN, step: 1 },
        Range { axis: 0, start: -1, end: Range::OPEN, step: -1 },
    ];
    let expected = tensor(&[2, 1, 2], &[4u8, 5, 1, 2]);
    check(Op::Slice(Slice { ranges }), &[&bytes(&[2, 1, 3])], &expected);
}

#[test]
fn an_empty_slice_is_an_error() {
    for (x, op) in [
        (bytes(&[3]), slice(0, 2, 2, 1)),
        (bytes(&[3]), slice(0, 0, 3, -1)),
        (bytes(&[0]), slice(0, 0, Range::OPEN, -1)),
        (bytes(&[3]), slice(0, 0, 3, 0)),
    ] {
        assert!(matches!(eval(&op, &[&x]), Err(EvalError::Shape(_))), "{op:?}");
    }
}

fn pad(mode: PadMode, pads: &[[usize; 3]]) -> Op {
    Op::Pad(Pad { pads: pads.to_vec(), mode, value: -1.5 })
}

#[test]
fn pads_continue_the_border_in_three_ways() {
    let x = vector(&[1.0, 2.0, 3.0]);
    let padded = vector(&[-1.5, -1.5, 1.0, 2.0, 3.0, -1.5]);
    check(pad(PadMode::Constant, &[[0, 2, 1]]), &[&x], &padded);
    let padded = vector(&[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    check(pad(PadMode::Reflect, &[[0, 2, 1]]), &[&x], &padded);
    let padded = vector(&[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    check(pad(PadMode::Edge, &[[0, 2, 1]]), &[&x], &padded);
    let x = tensor(&[1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
    #[rustfmt::skip]
    let expected = [
        1.0, 2.0, 2.0,
        1.0, 2.0, 2.0,
        3.0, 4.0, 4.0f32,
    ];
    let op = pad(PadMode::Edge, &[[2, 0, 1], [1, 1, 0]]);
    check(op, &[&x], &tensor(&[1, 3, 3], &expected));
    // The constant in the type of the operand: truncated, saturated.
    check(pad(PadMode::Constant, &[[0, 1, 0]]), &[&bytes(&[1])], &tensor(&[2], &[0u8, 0]));
    let x = tensor(&[1], &[5i32]);
    check(pad(PadMode::Constant, &[[0, 0, 1]]), &[&x], &tensor(&[2], &[5i32, -1]));
}

#[test]
fn nothing_has_no_border() {
    let none = tensor::<f32>(&[2, 0], &[]);
    let found = eval(&pad(PadMode::Edge, &[[1, 0, 1]]), &[&none]);
    assert!(matches!(found, Err(EvalError::NoElements(_))));
    let expected = tensor(&[2, 1], &[-1.5f32; 2]);
    check(pad(PadMode::Constant, &[[1, 0, 1]]), &[&none], &expected);
}

#[test]
fn transpose_reorders_any_number_of_axes() {
    let transpose = |perm: &[usize]| Op::Transpose(Transpose { perm: perm.to_vec() });
    let x = bytes(&[2, 3]);
    check(transpose(&[1, 0]), &[&x], &tensor(&[3, 2], &[0u8, 3, 1, 4, 2, 5]));
    let x = bytes(&[2, 2, 3]);
    let expected = [0u8, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11];
    check(transpose(&[2, 1, 0]), &[&x], &tensor(&[3, 2, 2], &expected));
    let expected = [0u8, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11];
    check(transpose(&[1, 0, 2]), &[&x], &tensor(&[2, 2, 3], &expected));
    let scalar = Tensor::scalar(3i32);
    check(transpose(&[]), &[&scalar], &scalar);
}

#[test]
fn depth_to_space_reads_the_block_first_or_last() {
    // Channels 0..8 of one pixel become two channels of 2 x 2.
    let x = bytes(&[1, 8, 1, 1]);
    let op = |order| Op::DepthToSpace(DepthToSpace { block: 2, order });
    let expected = tensor(&[1, 2, 2, 2], &[0u8, 2, 4, 6, 1, 3, 5, 7]);
    check(op(DepthOrder::DepthColumnRow), &[&x], &expected);
    check(op(DepthOrder::ColumnRowDepth), &[&x], &bytes(&[1, 2, 2, 2]));
    // Pixels stay beside each other: 1 x 2 pixels of four channels become 2 x 4.
    let x = bytes(&[1, 4, 1, 2]);
    let expected = tensor(&[1, 1, 2, 4], &[0u8, 2, 1, 3, 4, 6, 5, 7]);
    check(op(DepthOrder::ColumnRowDepth), &[&x], &expected);
}

#[test]
fn views_keep_the_order_of_the_elements() {
    let x = counting(&[2, 1, 3]);
    let target = [Target::Size(Dim::Fixed(3)), Target::Infer];
    let map = Factors::between(&[2, 1, 3].map(Dim::Fixed), &target).unwrap();
    check(Op::Reshape(Reshape { map }), &[&x], &counting(&[3, 2]));
    check(Op::Flatten(Flatten { axis: 2 }), &[&x], &counting(&[2, 3]));
    check(Op::Flatten(Flatten { axis: 0 }), &[&x], &counting(&[1, 6]));
    check(Op::Squeeze(Squeeze { axes: vec![1] }), &[&x], &counting(&[2, 3]));
    check(Op::Unsqueeze(Unsqueeze { axes: vec![0, 4] }), &[&x], &counting(&[1, 2, 1, 3, 1]));
    check(Op::Dropout(Dropout { ratio: 0.9 }), &[&x], &x);
    let scalar = Tensor::scalar(1u8);
    check(Op::Unsqueeze(Unsqueeze { axes: vec![0] }), &[&scalar], &tensor(&[1], &[1u8]));
}

#[test]
fn every_type_can_be_moved() {
    let op = slice(0, 1, 2, 1);
    for dtype in DType::ALL {
        let x = Tensor::from_bytes(dtype, &[2], &[3; 16][..2 * dtype.size()]).unwrap();
        let expected = Tensor::from_bytes(dtype, &[1], &[3; 8][..dtype.size()]).unwrap();
        check(op.clone(), &[&x], &expected);
    }
}
