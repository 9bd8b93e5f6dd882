//! Quantisation.

use bunjae_ir::Op;
use bunjae_ir::op::{Dequantize, Quantize};
use bunjae_tensor::Tensor;

use super::{check, tensor, vector};

#[test]
fn quantize_rounds_halves_to_even_and_saturates() {
    let x = vector(&[0.25, 0.75, 1.25, -0.25, -0.75, 100.0, -100.0]);
    let (scale, zero) = (Tensor::scalar(0.5f32), Tensor::scalar(3i8));
    let op = || Op::Quantize(Quantize::default());
    check(op(), &[&x, &scale, &zero], &tensor(&[7], &[3i8, 5, 5, 3, 1, 127, -128]));
    let zero = Tensor::scalar(3u8);
    check(op(), &[&x, &scale, &zero], &tensor(&[7], &[3u8, 5, 5, 3, 1, 203, 0]));
    let x = vector(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    check(op(), &[&x, &scale, &zero], &tensor(&[3], &[255u8, 0, 0]));
    check(op(), &[&x, &scale, &Tensor::scalar(-3i8)], &tensor(&[3], &[127i8, -128, -128]));
}

/// 0.35 / 0.1 in f32 is 3.5, which goes to 4; between the two f32 it is 3.4999999, which goes to 3.
#[test]
fn the_quotient_is_rounded_before_it_is_rounded_to_an_integer() {
    let quotient = f64::from(0.35f32) / f64::from(0.1f32);
    assert!(quotient < 3.5 && 0.35f32 / 0.1f32 == 3.5);
    let operands = [&vector(&[0.35]), &Tensor::scalar(0.1f32), &Tensor::scalar(0i8)];
    check(Op::Quantize(Quantize::default()), &operands, &tensor(&[1], &[4i8]));
}

#[test]
fn scales_per_channel() {
    let x = tensor(&[1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
    let (scale, zero) = (vector(&[1.0, 0.5]), tensor(&[2], &[0i8, -1]));
    let quantised = tensor(&[1, 2, 2], &[1i8, 2, 5, 7]);
    check(Op::Quantize(Quantize { axis: 1 }), &[&x, &scale, &zero], &quantised);
    check(Op::Dequantize(Dequantize { axis: 1 }), &[&quantised, &scale, &zero], &x);
    let quantised = tensor(&[1, 2, 2], &[1i8, 3, 3, 7]);
    check(Op::Quantize(Quantize { axis: 2 }), &[&x, &scale, &zero], &quantised);
    check(Op::Dequantize(Dequantize { axis: 2 }), &[&quantised, &scale, &zero], &x);
}

#[test]
fn dequantize_subtracts_in_wider_integers() {
    let op = || Op::Dequantize(Dequantize::default());
    let x = tensor(&[2], &[0u8, 255]);
    let operands = [&x, &Tensor::scalar(0.5f32), &Tensor::scalar(128u8)];
    check(op(), &operands, &vector(&[-64.0, 63.5]));
    let x = tensor(&[2], &[i32::MIN, i32::MAX]);
    let operands = [&x, &Tensor::scalar(1f64), &Tensor::scalar(1i32)];
    check(op(), &operands, &tensor(&[2], &[-2147483649f64, 2147483646.0]));
}
