//! Gradients, where they are a matter of definition: ties, kinks, borders. That they are derivatives
//! where there is one, finite differences show in the tests of the passes.

use bunjae_interp::eval;
use bunjae_ir::Op;
use bunjae_ir::op::{
    AveragePool, BatchNormGrad, BatchNormTrain, Conv2dWeightGrad, Groups, LogSoftmax, MaxPool, Pad,
    PadMode, Range, Reduce, Reduction, Resize, Slice, Unary,
};

use super::{check, check_close, counting, picture, tensor, vector};

#[test]
fn kinks_have_the_slope_that_pytorch_gives_them() {
    let ten = |count: usize| vector(&vec![10.0; count]);
    let slopes = |op: Unary, x: &[f32], expected: &[f32]| {
        check(Op::UnaryGrad(op), &[&vector(x), &ten(x.len())], &vector(expected));
    };
    slopes(Unary::Relu, &[-1.0, 0.0, 2.0], &[0.0, 0.0, 10.0]);
    slopes(Unary::LeakyRelu { alpha: 0.5 }, &[-1.0, 0.0, 2.0], &[5.0, 5.0, 10.0]);
    slopes(Unary::Elu { alpha: 0.5 }, &[0.0, 2.0], &[5.0, 10.0]);
    let relu6 = Unary::Clip { min: 0.0, max: 6.0 };
    slopes(relu6, &[-1.0, 0.0, 3.0, 6.0, 7.0], &[0.0, 0.0, 10.0, 0.0, 0.0]);
    let hard = Unary::HardSigmoid { alpha: 0.25, beta: 0.5 };
    slopes(hard, &[-2.0, 0.0, 2.0], &[0.0, 2.5, 0.0]);
    slopes(Unary::HardSwish, &[-4.0, -3.0, 0.0, 3.0, 4.0], &[0.0, 0.0, 5.0, 10.0, 10.0]);
    slopes(Unary::Abs, &[-2.0, 0.0, 2.0], &[-10.0, 0.0, 10.0]);
    // What does not pass, does not pass as NaN either.
    let (x, dy) = (vector(&[-1.0, 1.0]), vector(&[f32::INFINITY, 3.0]));
    check(Op::UnaryGrad(Unary::Relu), &[&x, &dy], &vector(&[0.0, 3.0]));
}

#[test]
fn log_softmax_neither_overflows_nor_loses_the_small() {
    let x = tensor(&[2, 2], &[1000f32, 1000.0, 0.0, -200.0]);
    let half = -std::f32::consts::LN_2;
    let expected = tensor(&[2, 2], &[half, half, 0.0, -200.0]);
    check_close(Op::LogSoftmax(LogSoftmax { axis: 1 }), &[&x], &expected, 1e-7);
}

#[test]
fn batch_norm_in_training_returns_what_it_normalised_by() {
    // Channel 0: 1, 3, 5, 7 has mean 4 and variance 5; channel 1: all 2.
    let x = tensor(&[2, 2, 1, 2], &[1f32, 3.0, 2.0, 2.0, 5.0, 7.0, 2.0, 2.0]);
    let (gamma, beta) = (vector(&[3.0, 1.0]), vector(&[0.0, 0.5]));
    let op = Op::BatchNormTrain(BatchNormTrain { eps: 4.0 });
    let results = eval(&op, &[&x, &gamma, &beta]).unwrap();
    let y = tensor(&[2, 2, 1, 2], &[-3f32, -1.0, 0.5, 0.5, 1.0, 3.0, 0.5, 0.5]);
    assert_eq!(results, [y, vector(&[4.0, 2.0]), vector(&[5.0, 0.0])]);
    // A gradient that is the same everywhere only moves beta: the mean takes it away again.
    let dy = tensor(&[2, 2, 1, 2], &[1f32; 8]);
    let op = Op::BatchNormGrad(BatchNormGrad { eps: 4.0 });
    let results = eval(&op, &[&x, &dy, &gamma, &results[1], &results[2]]).unwrap();
    let zeros = tensor(&[2, 2, 1, 2], &[0f32; 8]);
    assert_eq!(results, [zeros, vector(&[0.0, 0.0]), vector(&[4.0, 4.0])]);
}

#[test]
fn the_first_of_the_largest_has_the_gradient() {
    let x = picture(2, 3, &[1.0, 5.0, 5.0, 5.0, 0.0, 7.0]);
    let op = MaxPool { kernel: [2, 2], stride: [1, 1], ..MaxPool::default() };
    let dy = picture(1, 2, &[10.0, 100.0]);
    let expected = picture(2, 3, &[0.0, 10.0, 0.0, 0.0, 0.0, 100.0]);
    check(Op::MaxPoolGrad(op), &[&x, &dy], &expected);
    // Padding has no part in it, even where all of the picture is below it.
    let x = picture(1, 2, &[-3.0, -2.0]);
    let op = MaxPool { kernel: [1, 2], stride: [1, 1], pad: [0, 1, 0, 0], ..MaxPool::default() };
    let dy = picture(1, 2, &[1.0, 10.0]);
    check(Op::MaxPoolGrad(op), &[&x, &dy], &picture(1, 2, &[1.0, 10.0]));
    let grad = |kind, x: &[f32], expected: &[f32]| {
        let op = Reduce { kind, axes: vec![0], keep: false };
        check(Op::ReduceGrad(op), &[&vector(x), &tensor(&[], &[6f32])], &vector(expected));
    };
    grad(Reduction::Max, &[1.0, 4.0, 4.0], &[0.0, 6.0, 0.0]);
    grad(Reduction::Min, &[2.0, 1.0, 1.0], &[0.0, 6.0, 0.0]);
    grad(Reduction::Mean, &[9.0, 9.0, 9.0], &[2.0, 2.0, 2.0]);
    grad(Reduction::Sum, &[9.0, 9.0], &[6.0, 6.0]);
    grad(Reduction::L2, &[3.0, -4.0], &[3.6, -4.8]);
    grad(Reduction::L2, &[0.0, 0.0], &[0.0, 0.0]);
}

#[test]
fn means_share_by_what_they_divided_by() {
    let x = picture(1, 3, &[0.0; 3]);
    let pool = |count_pad| {
        let (kernel, stride, pad) = ([1, 2], [1, 2], [0, 1, 0, 0]);
        Op::AveragePoolGrad(AveragePool {
            kernel,
            stride,
            pad,
            count_pad,
            ..AveragePool::default()
        })
    };
    let dy = picture(1, 2, &[4.0, 8.0]);
    check(pool(false), &[&x, &dy], &picture(1, 3, &[4.0, 4.0, 4.0]));
    check(pool(true), &[&x, &dy], &picture(1, 3, &[2.0, 4.0, 4.0]));
}

#[test]
fn what_was_moved_goes_back() {
    let x = vector(&[0.0; 4]);
    let grad = |op: Op, x: &_, dy: &[f32], expected: &[f32]| {
        check(op, &[x, &vector(dy)], &vector(expected));
    };
    let range = Range { axis: 0, start: -1, end: Range::OPEN, step: -2 };
    let slice = Op::SliceGrad(Slice { ranges: vec![range] });
    grad(slice, &x, &[1.0, 2.0], &[0.0, 2.0, 0.0, 1.0]);
    let x = vector(&[0.0; 3]);
    let pad = |mode| Op::PadGrad(Pad { pads: vec![[0, 2, 1]], mode, value: 9.0 });
    let dy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    grad(pad(PadMode::Constant), &x, &dy, &[3.0, 4.0, 5.0]);
    grad(pad(PadMode::Edge), &x, &dy, &[6.0, 4.0, 11.0]);
    grad(pad(PadMode::Reflect), &x, &dy, &[3.0, 12.0, 6.0]);
    // Each element was repeated twice along each axis.
    let x = picture(1, 2, &[0.0; 2]);
    let expected = picture(1, 2, &[1.0 + 2.0 + 5.0 + 6.0, 3.0 + 4.0 + 7.0 + 8.0]);
    let grown = counting(&[1, 1, 2, 4]);
    check(Op::ResizeGrad(Resize::default()), &[&x, &grown], &expected);
}

#[test]
fn a_weight_meets_what_its_window_saw() {
    // One row: the window of two taps at positions 0 and 2 of 1, 2, 3, 4.
    let (x, dy) = (picture(1, 4, &[1.0, 2.0, 3.0, 4.0]), picture(1, 2, &[10.0, 1.0]));
    let op = Conv2dWeightGrad { kernel: [1, 2], stride: [1, 2], ..Conv2dWeightGrad::default() };
    check(Op::Conv2dWeightGrad(op), &[&x, &dy], &picture(1, 2, &[13.0, 24.0]));
    // Two channels by themselves, of which the second has two filters.
    let x = tensor(&[1, 2, 1, 1], &[2f32, 3.0]);
    let dy = tensor(&[1, 4, 1, 1], &[1f32, 10.0, 100.0, 1000.0]);
    let groups = Groups::Depthwise;
    let op = Conv2dWeightGrad { kernel: [1, 1], groups, ..Conv2dWeightGrad::default() };
    let expected = tensor(&[4, 1, 1, 1], &[2f32, 20.0, 300.0, 3000.0]);
    check(Op::Conv2dWeightGrad(op), &[&x, &dy], &expected);
}
