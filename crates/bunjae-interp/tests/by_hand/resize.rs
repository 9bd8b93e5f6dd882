//! Resize.

use bunjae_interp::{EvalError, eval};
use bunjae_ir::op::{Coordinates, Resize, ResizeMode, ResizeTo, Rounding};
use bunjae_ir::{Op, TensorType};
use bunjae_tensor::DType;

use super::{check, compute, counting, picture, tensor};

fn linear(to: ResizeTo, coordinates: Coordinates) -> Op {
    Op::Resize(Resize { to, mode: ResizeMode::Linear, coordinates, ..Resize::default() })
}

fn nearest(to: ResizeTo, coordinates: Coordinates, rounding: Rounding) -> Op {
    Op::Resize(Resize { to, mode: ResizeMode::Nearest, coordinates, rounding })
}

#[test]
fn nearest_doubles_a_picture() {
    let x = counting(&[1, 1, 2, 2]);
    #[rustfmt::skip]
    let expected = [
        1.0, 1.0, 2.0, 2.0,
        1.0, 1.0, 2.0, 2.0,
        3.0, 3.0, 4.0, 4.0,
        3.0, 3.0, 4.0, 4.0,
    ];
    check(Op::Resize(Resize::default()), &[&x], &picture(4, 4, &expected));
    let to = ResizeTo::Size([1, 4]);
    let op = nearest(to, Coordinates::Asymmetric, Rounding::Floor);
    check(op, &[&x], &picture(1, 4, &[1.0, 1.0, 2.0, 2.0]));
}

#[test]
fn coordinates_decide_what_linear_interpolation_sees() {
    let x = picture(1, 2, &[0.0, 4.0]);
    let table = [
        (Coordinates::HalfPixel, [0.0, 1.0, 3.0, 4.0]),
        (Coordinates::PytorchHalfPixel, [0.0, 1.0, 3.0, 4.0]),
        (Coordinates::Asymmetric, [0.0, 2.0, 4.0, 4.0]),
    ];
    for (coordinates, expected) in table {
        let op = linear(ResizeTo::Scale([1.0, 2.0]), coordinates);
        check(op, &[&x], &picture(1, 4, &expected));
    }
    let op = linear(ResizeTo::Size([1, 3]), Coordinates::AlignCorners);
    check(op, &[&x], &picture(1, 3, &[0.0, 2.0, 4.0]));
}

#[test]
fn rows_and_columns_are_mixed() {
    let x = picture(2, 2, &[0.0, 4.0, 8.0, 12.0]);
    let op = linear(ResizeTo::Size([3, 3]), Coordinates::AlignCorners);
    let expected = [0.0, 2.0, 4.0, 4.0, 6.0, 8.0, 8.0, 10.0, 12.0];
    check(op, &[&x], &picture(3, 3, &expected));
}

#[test]
fn a_single_target_is_the_middle_or_the_first() {
    let x = picture(1, 3, &[1.0, 2.0, 3.0]);
    let table = [
        (Coordinates::HalfPixel, 2.0),
        (Coordinates::PytorchHalfPixel, 1.0),
        (Coordinates::AlignCorners, 1.0),
        (Coordinates::Asymmetric, 1.0),
    ];
    for (coordinates, expected) in table {
        let op = linear(ResizeTo::Size([1, 1]), coordinates);
        check(op, &[&x], &picture(1, 1, &[expected]));
    }
}

#[test]
fn halves_go_where_the_rounding_says() {
    // Coordinates 0, 0.5, 1, 1.5, the last clamped to the border where it is rounded up.
    let x = picture(1, 2, &[0.0, 1.0]);
    let table = [
        (Rounding::Floor, [0.0, 0.0, 1.0, 1.0]),
        (Rounding::Ceil, [0.0, 1.0, 1.0, 1.0]),
        (Rounding::RoundPreferFloor, [0.0, 0.0, 1.0, 1.0]),
        (Rounding::RoundPreferCeil, [0.0, 1.0, 1.0, 1.0]),
    ];
    for (rounding, expected) in table {
        let op = nearest(ResizeTo::Scale([1.0, 2.0]), Coordinates::Asymmetric, rounding);
        check(op, &[&x], &picture(1, 4, &expected));
    }
}

/// In f64, 11 over the f32 nearest to 1.1 lies below 10, and 6 times the f32 nearest to 7/3 below
/// 14; ONNX computes in f32.
#[test]
fn sizes_and_coordinates_are_computed_in_f32() {
    let x = counting(&[1, 1, 1, 20]);
    let op = nearest(ResizeTo::Scale([1.0, 1.1]), Coordinates::Asymmetric, Rounding::Floor);
    let found = compute(op, &[&x]);
    assert_eq!(found.shape(), [1, 1, 1, 22]);
    assert_eq!(found.elements::<f32>().unwrap()[10..13], [10.0, 11.0, 11.0]);
    let scale = ResizeTo::Scale([1.0, 7.0 / 3.0]);
    let op = nearest(scale, Coordinates::Asymmetric, Rounding::Floor);
    let found = compute(op, &[&counting(&[1, 1, 1, 6])]);
    assert_eq!(found.shape(), [1, 1, 1, 14]);
}

#[test]
fn an_infinite_neighbour_without_a_share_does_no_harm() {
    let x = picture(1, 3, &[1.0, 2.0, f32::INFINITY]);
    let op = linear(ResizeTo::Size([1, 5]), Coordinates::AlignCorners);
    let expected = picture(1, 5, &[1.0, 1.5, 2.0, f32::INFINITY, f32::INFINITY]);
    check(op, &[&x], &expected);
}

#[test]
fn nothing_cannot_be_enlarged() {
    let none = tensor::<f32>(&[1, 1, 0, 2], &[]);
    let found = eval(&linear(ResizeTo::Size([1, 1]), Coordinates::HalfPixel), &[&none]);
    let ty = TensorType::new(DType::F32, [1, 1, 0, 2]);
    assert_eq!(found, Err(EvalError::NoElements(ty)));
}
