//! Pools.

use bunjae_ir::Op;
use bunjae_ir::op::{AveragePool, GlobalPool, MaxPool, Reduction};

use super::{check, counting, picture, tensor};

#[test]
fn windows_step_over_the_picture() {
    let x = counting(&[1, 1, 4, 4]);
    check(Op::MaxPool(MaxPool::default()), &[&x], &picture(2, 2, &[6.0, 8.0, 14.0, 16.0]));
    check(Op::AveragePool(AveragePool::default()), &[&x], &picture(2, 2, &[3.5, 5.5, 11.5, 13.5]));
    let op = MaxPool { kernel: [1, 3], stride: [3, 1], ..MaxPool::default() };
    check(Op::MaxPool(op), &[&x], &picture(2, 2, &[3.0, 4.0, 15.0, 16.0]));
    let op = MaxPool { stride: [1, 1], dilation: [2, 3], ..MaxPool::default() };
    check(Op::MaxPool(op), &[&x], &picture(2, 1, &[12.0, 16.0]));
}

#[test]
fn padding_never_wins_a_maximum() {
    let x = picture(2, 2, &[-4.0, -3.0, -2.0, -1.0]);
    let op = Op::MaxPool(MaxPool { pad: [1; 4], ..MaxPool::default() });
    check(op.clone(), &[&x], &x);
    let x = tensor(&[1, 1, 2, 2], &[-4i8, -3, -2, -128]);
    check(op, &[&x], &x);
}

#[test]
fn padding_counts_in_the_divisor_only_where_asked() {
    let x = counting(&[1, 1, 2, 2]);
    let op = AveragePool { pad: [1, 1, 0, 0], stride: [1, 1], ..AveragePool::default() };
    let expected = picture(2, 2, &[1.0, 1.5, 2.0, 2.5]);
    check(Op::AveragePool(op.clone()), &[&x], &expected);
    let op = AveragePool { count_pad: true, ..op };
    check(Op::AveragePool(op), &[&x], &picture(2, 2, &[0.25, 0.75, 1.0, 2.5]));
}

#[test]
fn rounding_up_admits_windows_that_start_in_the_picture() {
    // Windows of 3 at 0, 2 and 4 over 5 elements and no padding: the last would be at 4.
    let x = counting(&[1, 1, 1, 6]);
    let op = MaxPool { kernel: [1, 3], stride: [1, 2], ceil: true, ..MaxPool::default() };
    check(Op::MaxPool(op), &[&x], &picture(1, 3, &[3.0, 5.0, 6.0]));
    let op = AveragePool { kernel: [1, 3], stride: [1, 2], ceil: true, ..AveragePool::default() };
    check(Op::AveragePool(op.clone()), &[&x], &picture(1, 3, &[2.0, 4.0, 5.5]));
    // Padded to 8 elements, windows at -1, 1, 3 and 5: the last one sees an element and a zero, and
    // what lies beyond the padding is not counted.
    let op = AveragePool { pad: [0, 1, 0, 1], count_pad: true, ..op };
    check(Op::AveragePool(op), &[&x], &picture(1, 4, &[1.0, 3.0, 5.0, 3.0]));
    // A window that would start in the padding behind the picture is left out.
    let x = counting(&[1, 1, 1, 2]);
    let op = MaxPool { kernel: [1, 2], pad: [0, 0, 0, 1], ceil: true, ..MaxPool::default() };
    check(Op::MaxPool(op), &[&x], &picture(1, 1, &[2.0]));
}

#[test]
fn a_window_over_nothing() {
    // Taps at -1 and 1 around a picture of one element.
    let x = picture(1, 1, &[7.0]);
    let max = MaxPool {
        kernel: [1, 2],
        stride: [1, 1],
        dilation: [1, 2],
        pad: [0, 1, 0, 1],
        ceil: false,
    };
    check(Op::MaxPool(max), &[&x], &picture(1, 1, &[f32::NEG_INFINITY]));
    for count_pad in [false, true] {
        let op = AveragePool {
            kernel: [1, 2],
            stride: [1, 1],
            dilation: [1, 2],
            pad: [0, 1, 0, 1],
            ceil: false,
            count_pad,
        };
        check(Op::AveragePool(op), &[&x], &picture(1, 1, &[0.0]));
    }
}

#[test]
fn nan_wins_a_maximum_wherever_it_stands() {
    for place in 0..4 {
        let mut values = [1.0, 2.0, 3.0, 4.0];
        values[place] = f32::NAN;
        let x = picture(2, 2, &values);
        let expected = picture(1, 1, &[f32::NAN]);
        check(Op::MaxPool(MaxPool::default()), &[&x], &expected);
        check(Op::GlobalPool(GlobalPool { kind: Reduction::Max }), &[&x], &expected);
    }
}

#[test]
fn global_pools_leave_one_element_per_channel() {
    let x = counting(&[1, 2, 2, 2]);
    let mean = tensor(&[1, 2, 1, 1], &[2.5f32, 6.5]);
    check(Op::GlobalPool(GlobalPool { kind: Reduction::Mean }), &[&x], &mean);
    let most = tensor(&[1, 2, 1, 1], &[4f32, 8.0]);
    check(Op::GlobalPool(GlobalPool { kind: Reduction::Max }), &[&x], &most);
    let x = counting(&[2, 1, 3]);
    check(Op::GlobalPool(GlobalPool::default()), &[&x], &tensor(&[2, 1, 1], &[2f32, 5.0]));
}

/// A window of 2^40 taps is a setting, not memory; only taps on the picture are visited.
#[test]
fn an_absurd_window_takes_no_time() {
    let big = 1 << 40;
    let (kernel, stride, pad) = ([1, big], [1, big], [0, big - 1, 0, big - 3]);
    let x = picture(1, 2, &[8.0, 2.0]);
    // The one window ends on the first element.
    let op = MaxPool { kernel, stride, pad, ..MaxPool::default() };
    check(Op::MaxPool(op), &[&x], &picture(1, 1, &[8.0]));
    let op = AveragePool { kernel, stride, pad, count_pad: true, ..AveragePool::default() };
    check(Op::AveragePool(op), &[&x], &picture(1, 1, &[8.0 / big as f32]));
}
