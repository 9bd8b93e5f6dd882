//! Normalisations and softmax.

use bunjae_ir::Op;
use bunjae_ir::op::{BatchNorm, L2Norm, LayerNorm, Softmax};

use super::{check, check_close, tensor, vector};

#[test]
fn batch_norm_scales_each_channel_by_its_statistics() {
    let x = tensor(&[1, 2, 1, 2], &[1f32, 3.0, 10.0, 20.0]);
    let (gamma, beta) = (vector(&[2.0, 1.0]), vector(&[0.5, -1.0]));
    let (mean, variance) = (vector(&[1.0, 15.0]), vector(&[4.0, 25.0]));
    let op = Op::BatchNorm(BatchNorm { eps: 0.0 });
    let expected = tensor(&[1, 2, 1, 2], &[0.5f32, 2.5, -2.0, 0.0]);
    check(op.clone(), &[&x, &gamma, &beta, &mean, &variance], &expected);
    let x = tensor(&[2, 2], &[1f32, 10.0, 3.0, 20.0]);
    let expected = tensor(&[2, 2], &[0.5f32, -2.0, 2.5, 0.0]);
    check(op, &[&x, &gamma, &beta, &mean, &variance], &expected);
    let op = Op::BatchNorm(BatchNorm { eps: 5.0 });
    let variance = vector(&[4.0, 20.0]);
    let expected = tensor(&[2, 2], &[0.5f32, -2.0, 0.5 + 4.0 / 3.0, 0.0]);
    check_close(op, &[&x, &gamma, &beta, &mean, &variance], &expected, 1e-7);
}

#[test]
fn layer_norm_divides_by_the_biased_deviation() {
    // Mean 3, squared distances 9, 1, 1, 9: variance 5; with eps 4 the deviation is 3.
    let x = tensor(&[2, 2, 2], &[0f32, 2.0, 4.0, 6.0, 10.0, 12.0, 14.0, 16.0]);
    let gamma = tensor(&[2, 2], &[1f32, 3.0, 6.0, 2.0]);
    let beta = tensor(&[2, 2], &[0f32, 0.0, 10.0, 0.0]);
    let op = Op::LayerNorm(LayerNorm { axis: 1, eps: 4.0 });
    let rows = [-1f32, -1.0, 12.0, 2.0];
    let expected = tensor(&[2, 2, 2], &[rows, rows].concat());
    check(op.clone(), &[&x, &gamma, &beta], &expected);
    let rows = [-1f32, -1.0, 2.0, 2.0];
    check(op, &[&x, &gamma], &tensor(&[2, 2, 2], &[rows, rows].concat()));
    // Over the last axis alone: mean 1, 5, ..., variance 1, deviation 2 with eps 3.
    let op = Op::LayerNorm(LayerNorm { axis: 2, eps: 3.0 });
    let rows = [-0.5f32, 0.5];
    let expected = tensor(&[2, 2, 2], &[rows, rows, rows, rows].concat());
    check(op, &[&x, &vector(&[1.0, 1.0])], &expected);
}

#[test]
fn l2_norm_divides_along_its_axis() {
    let x = tensor(&[1, 2, 2], &[3f32, 0.0, 4.0, 0.0]);
    let op = Op::L2Norm(L2Norm { axis: 1, eps: 1e-12 });
    check(op, &[&x], &tensor(&[1, 2, 2], &[0.6f32, 0.0, 0.8, 0.0]));
    let op = Op::L2Norm(L2Norm { axis: 2, eps: 8.0 });
    check(op, &[&x], &tensor(&[1, 2, 2], &[0.375f32, 0.0, 0.5, 0.0]));
    // Squares that would overflow f32.
    let op = Op::L2Norm(L2Norm { axis: 0, eps: 1e-12 });
    let big = 2f32.powi(100);
    check(op, &[&vector(&[3.0 * big, 4.0 * big])], &vector(&[0.6, 0.8]));
}

#[test]
fn softmax_along_any_axis() {
    // exp of 1, 2, 4 over their sum, from mpmath.
    let shares = [0.04201006613406605, 0.11419519938459448, 0.8437947344813395];
    let softmax = |axis| Op::Softmax(Softmax { axis });
    check_close(softmax(0), &[&tensor(&[3], &[1.0, 2.0, 4.0])], &tensor(&[3], &shares), 1e-15);
    let x = tensor(&[1, 3, 2], &[1001f32, 0.0, 1002.0, 0.0, 1004.0, 0.0]);
    let third = 1.0 / 3.0;
    let [a, b, c] = shares.map(|share| share as f32);
    check(softmax(1), &[&x], &tensor(&[1, 3, 2], &[a, third, b, third, c, third]));
    check(softmax(0), &[&x], &tensor(&[1, 3, 2], &[1f32; 6]));
    check(softmax(0), &[&vector(&[f32::NEG_INFINITY, 5.0])], &vector(&[0.0, 1.0]));
}
