//! Products of matrices.

use bunjae_ir::Op;

use super::{check, counting, tensor, vector};

#[test]
fn linear_multiplies_by_the_transposed_weight() {
    let (x, weight) = (counting(&[2, 3]), counting(&[2, 3]));
    // 1*1 + 2*2 + 3*3 = 14, 1*4 + 2*5 + 3*6 = 32.
    check(Op::Linear, &[&x, &weight], &tensor(&[2, 2], &[14f32, 32.0, 32.0, 77.0]));
    let expected = tensor(&[2, 2], &[14.5f32, 31.0, 32.5, 76.0]);
    check(Op::Linear, &[&x, &weight, &vector(&[0.5, -1.0])], &expected);
    check(Op::Linear, &[&vector(&[1.0, 0.0, 2.0]), &weight], &vector(&[7.0, 16.0]));
}

#[test]
fn linear_treats_every_output_alike() {
    // 19 outputs are two full blocks and a rest; output o is 10 o + 3 at x = (10, 1).
    let weight: Vec<f32> = (0..19).flat_map(|o| [o as f32, 3.0]).collect();
    let expected: Vec<f32> = (0..19).map(|o| 10.0 * o as f32 + 3.0).collect();
    let x = tensor(&[1, 1, 2], &[10f32, 1.0]);
    check(Op::Linear, &[&x, &tensor(&[19, 2], &weight)], &tensor(&[1, 1, 19], &expected));
}

#[test]
fn sums_of_products_are_rounded_once() {
    let big = 16_777_216f32;
    let (x, ones) = (tensor(&[1, 3], &[big, 1.0, -big]), tensor(&[3, 1], &[1f32; 3]));
    check(Op::MatMul, &[&x, &ones], &tensor(&[1, 1], &[1f32]));
    check(Op::Linear, &[&x, &tensor(&[1, 3], &[1f32; 3])], &tensor(&[1, 1], &[1f32]));
}

#[test]
fn matmul_broadcasts_its_leading_axes() {
    let (a, b) = (counting(&[2, 2]), counting(&[2, 2]));
    check(Op::MatMul, &[&a, &b], &tensor(&[2, 2], &[7f32, 10.0, 15.0, 22.0]));
    // [2,1,1,2] x [3,2,1]: rows (1,2) and (3,4) times columns (1,2), (3,4), (5,6).
    let (a, b) = (counting(&[2, 1, 1, 2]), counting(&[3, 2, 1]));
    let expected = tensor(&[2, 3, 1, 1], &[5f32, 11.0, 17.0, 11.0, 25.0, 39.0]);
    check(Op::MatMul, &[&a, &b], &expected);
}

#[test]
fn doubles_keep_their_digits() {
    let third = 1.0 / 3.0;
    let (x, weight) = (tensor(&[1, 1], &[third]), tensor(&[1, 1], &[3.0f64]));
    check(Op::Linear, &[&x, &weight], &tensor(&[1, 1], &[third * 3.0]));
}

#[test]
fn a_sum_over_nothing_is_the_bias() {
    let (x, weight) = (tensor::<f32>(&[2, 0], &[]), tensor::<f32>(&[1, 0], &[]));
    check(Op::Linear, &[&x, &weight, &vector(&[4.0])], &tensor(&[2, 1], &[4f32, 4.0]));
    let column = tensor::<f32>(&[0, 1], &[]);
    check(Op::MatMul, &[&x, &column], &tensor(&[2, 1], &[0f32, 0.0]));
}
