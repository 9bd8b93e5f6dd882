//! Reductions.

use bunjae_ir::Op;
use bunjae_ir::op::{Reduce, Reduction};
use bunjae_tensor::Tensor;

use super::{check, counting, tensor, vector};

fn reduce(kind: Reduction, axes: &[usize], keep: bool) -> Op {
    Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep })
}

#[test]
fn any_axes_are_reduced() {
    let x = counting(&[2, 3, 2]);
    let sum = |axes: &[usize]| reduce(Reduction::Sum, axes, false);
    check(sum(&[1]), &[&x], &tensor(&[2, 2], &[9f32, 12.0, 27.0, 30.0]));
    check(sum(&[0, 2]), &[&x], &vector(&[18.0, 26.0, 34.0]));
    check(sum(&[0, 1, 2]), &[&x], &Tensor::scalar(78f32));
    check(sum(&[]), &[&x], &x);
    check(reduce(Reduction::Sum, &[0, 2], true), &[&x], &tensor(&[1, 3, 1], &[18f32, 26.0, 34.0]));
}

#[test]
fn kinds_of_reduction() {
    let x = tensor(&[2, 2], &[3f32, -4.0, -6.0, 8.0]);
    let table = [
        (Reduction::Sum, [-1.0, 2.0]),
        (Reduction::Mean, [-0.5, 1.0]),
        (Reduction::Max, [3.0, 8.0]),
        (Reduction::Min, [-4.0, -6.0]),
        (Reduction::L2, [5.0, 10.0]),
    ];
    for (kind, expected) in table {
        check(reduce(kind, &[1], false), &[&x], &vector(&expected));
    }
}

#[test]
fn means_are_rounded_once() {
    let big = 16_777_216f32;
    let x = vector(&[big, 1.0, 1.0, 2.0 - big]);
    check(reduce(Reduction::Mean, &[0], false), &[&x], &Tensor::scalar(1f32));
}

#[test]
fn nan_is_passed_on() {
    for values in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
        for kind in [Reduction::Max, Reduction::Min, Reduction::Sum] {
            check(reduce(kind, &[0], false), &[&vector(&values)], &Tensor::scalar(f32::NAN));
        }
    }
}

#[test]
fn over_nothing() {
    let none = tensor::<f32>(&[0, 1], &[]);
    let table = [
        (Reduction::Sum, 0.0),
        (Reduction::Mean, f32::NAN),
        (Reduction::Max, f32::NEG_INFINITY),
        (Reduction::Min, f32::INFINITY),
        (Reduction::L2, 0.0),
    ];
    for (kind, expected) in table {
        check(reduce(kind, &[0], false), &[&none], &vector(&[expected]));
    }
}
