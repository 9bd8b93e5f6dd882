//! Functions of one and of two elements, and casts.

use std::f64::consts::{LN_2, LN_10};

use bunjae_interp::{EvalError, eval};
use bunjae_ir::Op;
use bunjae_ir::op::{Binary, Cast, Unary};
use bunjae_tensor::{DType, Tensor};

use super::{check, check_close, compute, tensor, vector};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Functions whose values are known exactly.
#[test]
fn piecewise_functions() {
    let x = vector(&[-8.0, -3.0, -1.5, 0.0, 1.5, 3.0, 8.0]);
    let table: [(Unary, [f32; 7]); 9] = [
        (Unary::Identity, [-8.0, -3.0, -1.5, 0.0, 1.5, 3.0, 8.0]),
        (Unary::Relu, [0.0, 0.0, 0.0, 0.0, 1.5, 3.0, 8.0]),
        (Unary::LeakyRelu { alpha: 0.25 }, [-2.0, -0.75, -0.375, 0.0, 1.5, 3.0, 8.0]),
        (Unary::Clip { min: 0.0, max: 6.0 }, [0.0, 0.0, 0.0, 0.0, 1.5, 3.0, 6.0]),
        (Unary::Clip { min: -2.0, max: 1.0 }, [-2.0, -2.0, -1.5, 0.0, 1.0, 1.0, 1.0]),
        (Unary::HardSigmoid { alpha: 0.25, beta: 0.5 }, [0.0, 0.0, 0.125, 0.5, 0.875, 1.0, 1.0]),
        (Unary::HardSwish, [-0.0, -0.0, -0.375, 0.0, 1.125, 3.0, 8.0]),
        (Unary::Neg, [8.0, 3.0, 1.5, -0.0, -1.5, -3.0, -8.0]),
        (Unary::Abs, [8.0, 3.0, 1.5, 0.0, 1.5, 3.0, 8.0]),
    ];
    for (op, expected) in table {
        check(op, &[&x], &vector(&expected));
    }
    check(Unary::Sqrt, &[&vector(&[0.0, 2.25, -1.0])], &vector(&[0.0, 1.5, NAN]));
    check(Unary::Reciprocal, &[&vector(&[4.0, 0.0, -0.0])], &vector(&[0.25, INF, -INF]));
    check(Op::PRelu, &[&x, &vector(&[2.0])], &vector(&[-16.0, -6.0, -3.0, 0.0, 1.5, 3.0, 8.0]));
    let slopes = tensor(&[2, 1], &[0.5f32, 4.0]);
    let x = tensor(&[1, 2, 2], &[-1f32, 2.0, -3.0, 4.0]);
    check(Op::PRelu, &[&x, &slopes], &tensor(&[1, 2, 2], &[-0.5f32, 2.0, -12.0, 4.0]));
}

/// Values from mpmath, at -6, -0.75, 0.5 and 3.
#[test]
fn transcendental_functions() {
    let table: [(Unary, [f64; 4]); 10] = [
        (
            Unary::Sigmoid,
            [0.0024726231566347743, 0.320821300824607, 0.6224593312018546, 0.9525741268224333],
        ),
        (
            Unary::Silu,
            [-0.014835738939808645, -0.24061597561845527, 0.3112296656009273, 2.8577223804672998],
        ),
        (
            Unary::Tanh,
            [-0.9999877116507956, -0.6351489523872873, 0.46211715726000974, 0.9950547536867305],
        ),
        (
            Unary::Gelu { tanh: false },
            [-5.9195258702261885e-09, -0.16997051428265114, 0.34573123063700656, 2.99595030590511],
        ),
        (
            Unary::Gelu { tanh: true },
            [-8.439646700762297e-11, -0.1700394448343797, 0.34571400982514394, 2.996362607918227],
        ),
        (Unary::Elu { alpha: 2.0 }, [-1.9950424956466672, -1.0552668945179706, 0.5, 3.0]),
        (
            Unary::Softplus,
            [0.0024756851377304495, 0.38687100611489994, 0.9740769841801067, 3.048587351573742],
        ),
        (
            Unary::Mish,
            [-0.014854080479424993, -0.2764947145054652, 0.3752452113048951, 2.986535004967957],
        ),
        (
            Unary::Exp,
            [0.0024787521766663585, 0.4723665527410147, 1.6487212707001282, 20.085536923187668],
        ),
        (Unary::Erf, [-1.0, -0.7111556336535151, 0.5204998778130465, 0.9999779095030014]),
    ];
    let points = [-6.0, -0.75, 0.5, 3.0];
    for (op, expected) in table {
        check_close(op.clone(), &[&tensor(&[4], &points)], &tensor(&[4], &expected), 1e-14);
        // In f32 the result is the nearest there is.
        check(op, &[&vector(&points.map(|x| x as f32))], &vector(&expected.map(|x| x as f32)));
    }
    let logarithms = [-2.0 * LN_2, 0.0, LN_10];
    check_close(
        Unary::Log,
        &[&tensor(&[3], &[0.25, 1.0, 10.0])],
        &tensor(&[3], &logarithms),
        1e-15,
    );
}

#[test]
fn nothing_overflows_on_the_way_to_a_finite_result() {
    let x = vector(&[-1000.0, 1000.0, -INF, INF]);
    check(Unary::Sigmoid, &[&x], &vector(&[0.0, 1.0, 0.0, 1.0]));
    check(Unary::Softplus, &[&x], &vector(&[0.0, 1000.0, 0.0, INF]));
    check(Unary::Tanh, &[&x], &vector(&[-1.0, 1.0, -1.0, 1.0]));
    let x = vector(&[-1000.0, 1000.0]);
    check(Unary::Silu, &[&x], &vector(&[-0.0, 1000.0]));
    check(Unary::Mish, &[&x], &vector(&[-0.0, 1000.0]));
    check(Unary::Gelu { tanh: false }, &[&x], &vector(&[-0.0, 1000.0]));
    check(Unary::Gelu { tanh: true }, &[&x], &vector(&[-0.0, 1000.0]));
}

#[test]
fn nan_is_passed_on() {
    let nan = vector(&[NAN]);
    for op in [
        Unary::Relu,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Clip { min: 0.0, max: 6.0 },
        Unary::Sigmoid,
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::Silu,
        Unary::Tanh,
        Unary::Gelu { tanh: false },
        Unary::Gelu { tanh: true },
        Unary::Elu { alpha: 1.0 },
        Unary::Softplus,
        Unary::Mish,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Neg,
        Unary::Abs,
        Unary::Reciprocal,
        Unary::Erf,
    ] {
        check(op, &[&nan], &nan);
    }
    for op in [Binary::Add, Binary::Max, Binary::Min] {
        check(op.clone(), &[&nan, &vector(&[1.0])], &nan);
        check(op, &[&vector(&[1.0]), &nan], &nan);
    }
}

#[test]
fn clip_with_crossed_bounds_is_the_upper_one() {
    let op = Unary::Clip { min: 6.0, max: 2.0 };
    check(op, &[&vector(&[1.0, 5.0, 9.0])], &vector(&[2.0, 2.0, 2.0]));
}

#[test]
fn binary_functions() {
    let (a, b) = (vector(&[6.0, -4.0, 0.5]), vector(&[3.0, 8.0, -2.0]));
    let table = [
        (Binary::Add, [9.0, 4.0, -1.5]),
        (Binary::Sub, [3.0, -12.0, 2.5]),
        (Binary::Mul, [18.0, -32.0, -1.0]),
        (Binary::Div, [2.0, -0.5, -0.25]),
        (Binary::Max, [6.0, 8.0, 0.5]),
        (Binary::Min, [3.0, -4.0, -2.0]),
        (Binary::Pow, [216.0, 65536.0, 4.0]),
    ];
    for (op, expected) in table {
        check(op, &[&a, &b], &vector(&expected));
    }
    check(Binary::Div, &[&vector(&[1.0, -1.0, 0.0]), &vector(&[0.0])], &vector(&[INF, -INF, NAN]));
}

#[test]
fn shapes_are_broadcast_from_the_last_axis() {
    let (a, b) =
        (tensor(&[2, 1, 2], &[1f32, 2.0, 3.0, 4.0]), tensor(&[3, 1], &[10f32, 20.0, 30.0]));
    let expected = [11f32, 12.0, 21.0, 22.0, 31.0, 32.0, 13.0, 14.0, 23.0, 24.0, 33.0, 34.0];
    check(Binary::Add, &[&a, &b], &tensor(&[2, 3, 2], &expected));
    check(Binary::Add, &[&b, &a], &tensor(&[2, 3, 2], &expected));
    let scalar = Tensor::scalar(5f32);
    check(Binary::Sub, &[&scalar, &scalar], &Tensor::scalar(0f32));
    check(Binary::Sub, &[&vector(&[7.0, 8.0]), &scalar], &vector(&[2.0, 3.0]));
    check(Binary::Sub, &[&scalar, &tensor(&[1, 1, 1], &[4f32])], &tensor(&[1, 1, 1], &[1f32]));
    let (none, one) = (tensor::<f32>(&[0, 2], &[]), tensor(&[1, 2], &[1f32, 2.0]));
    check(Binary::Mul, &[&none, &one], &none);
}

#[test]
fn integers_wrap_around_and_divide_towards_zero() {
    let a = tensor(&[3], &[i32::MAX, -7, 7]);
    check(Binary::Add, &[&a, &tensor(&[1], &[1i32])], &tensor(&[3], &[i32::MIN, -6, 8]));
    let halves = tensor(&[3], &[i32::MAX / 2, -3, 3]);
    check(Binary::Div, &[&a, &tensor(&[1], &[2i32])], &halves);
    check(Binary::Mul, &[&tensor(&[1], &[200u8]), &tensor(&[1], &[2u8])], &tensor(&[1], &[144u8]));
    check(
        Binary::Max,
        &[&tensor(&[2], &[-5i8, 5]), &tensor(&[1], &[1i8])],
        &tensor(&[2], &[1i8, 5]),
    );
    check(
        Binary::Pow,
        &[&tensor(&[2], &[-3i64, 2]), &tensor(&[1], &[3i64])],
        &tensor(&[2], &[-27i64, 8]),
    );
}

#[test]
fn an_integer_divided_by_zero_is_an_error() {
    let (a, b) = (tensor(&[2, 2], &[1i64, 2, 3, 4]), tensor(&[2], &[1i64, 0]));
    let found = eval(&Op::Binary(Binary::Div), &[&a, &b]);
    assert_eq!(found, Err(EvalError::DivisionByZero { index: 1 }));
    let found = eval(&Op::Binary(Binary::Pow), &[&tensor(&[1], &[0i8]), &tensor(&[1], &[-1i8])]);
    assert_eq!(found, Err(EvalError::DivisionByZero { index: 0 }));
}

#[test]
fn casts_truncate_saturate_and_wrap() {
    let to = |to| Op::Cast(Cast { to });
    let x = vector(&[1.9, -1.9, 300.0, -300.0, NAN, INF]);
    check(to(DType::I8), &[&x], &tensor(&[6], &[1i8, -1, 127, -128, 0, 127]));
    check(to(DType::U8), &[&x], &tensor(&[6], &[1u8, 0, 255, 0, 0, 255]));
    let x = tensor(&[3], &[3e9, -3e9, 1e300]);
    check(to(DType::I32), &[&x], &tensor(&[3], &[i32::MAX, i32::MIN, i32::MAX]));
    check(to(DType::F32), &[&x], &vector(&[3e9, -3e9, INF]));
    let x = tensor(&[4], &[-1i64, 200, 1 << 40, 70000]);
    check(to(DType::U8), &[&x], &tensor(&[4], &[255u8, 200, 0, 112]));
    check(to(DType::I8), &[&x], &tensor(&[4], &[-1i8, -56, 0, 112]));
    // 2^24 + 1 lies between two f32; through f64 and back nothing is lost.
    let x = tensor(&[1], &[16_777_217i32]);
    check(to(DType::F32), &[&x], &vector(&[16_777_216.0]));
    check(to(DType::I32), &[&compute(to(DType::F64), &[&x])], &x);
}
