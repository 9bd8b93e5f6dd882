//! Convolution and its transpose.

use bunjae_ir::Op;
use bunjae_ir::op::{Conv2d, ConvTranspose2d, Groups};
use bunjae_tensor::{Random, Tensor};

use super::{check, compute, counting, picture, tensor, vector, whole};

#[test]
fn a_window_of_taps_slides_over_the_picture() {
    let (x, weight) = (counting(&[1, 1, 3, 3]), counting(&[1, 1, 2, 2]));
    // 1*1 + 2*2 + 3*4 + 4*5 = 37.
    let expected = picture(2, 2, &[37.0, 47.0, 67.0, 77.0]);
    check(Op::Conv2d(Conv2d::default()), &[&x, &weight], &expected);
    let expected = picture(2, 2, &[37.5, 47.5, 67.5, 77.5]);
    check(Op::Conv2d(Conv2d::default()), &[&x, &weight, &vector(&[0.5])], &expected);
    let strided = Conv2d { stride: [2, 1], pad: [0, 0, 1, 0], ..Conv2d::default() };
    // The second row of windows sees the picture's last row and the padding below.
    check(Op::Conv2d(strided), &[&x, &weight], &picture(2, 2, &[37.0, 47.0, 23.0, 26.0]));
}

#[test]
fn padding_is_top_left_bottom_right() {
    let (x, ones) = (counting(&[1, 1, 2, 2]), picture(2, 2, &[1.0; 4]));
    let op = Conv2d { pad: [1, 0, 0, 1], ..Conv2d::default() };
    check(Op::Conv2d(op), &[&x, &ones], &picture(2, 2, &[3.0, 2.0, 10.0, 6.0]));
    let op = Conv2d { pad: [0, 2, 0, 0], ..Conv2d::default() };
    check(Op::Conv2d(op), &[&x, &ones], &picture(1, 3, &[0.0, 4.0, 10.0]));
}

#[test]
fn dilation_spreads_the_taps() {
    let op = Conv2d { dilation: [1, 2], ..Conv2d::default() };
    let (x, weight) = (counting(&[1, 1, 1, 4]), picture(1, 2, &[1.0, 10.0]));
    check(Op::Conv2d(op), &[&x, &weight], &picture(1, 2, &[31.0, 42.0]));
}

#[test]
fn groups_do_not_see_each_other() {
    let x = tensor(&[1, 4, 1, 1], &[1f32, 2.0, 3.0, 4.0]);
    let weight = tensor(&[2, 2, 1, 1], &[1f32, 10.0, 100.0, 1000.0]);
    let op = Conv2d { groups: Groups::Grouped(2), ..Conv2d::default() };
    check(Op::Conv2d(op), &[&x, &weight], &tensor(&[1, 2, 1, 1], &[21f32, 4300.0]));

    let x = tensor(&[1, 2, 1, 1], &[3f32, 5.0]);
    let weight = tensor(&[4, 1, 1, 1], &[1f32, 2.0, 10.0, 20.0]);
    let op = Conv2d { groups: Groups::Depthwise, ..Conv2d::default() };
    check(Op::Conv2d(op), &[&x, &weight], &tensor(&[1, 4, 1, 1], &[3f32, 6.0, 50.0, 100.0]));
}

#[test]
fn sums_are_rounded_once_after_the_bias() {
    let big = 16_777_216f32; // 2^24: the next f32 is 2 away
    let x = tensor(&[1, 3, 1, 1], &[big, 1.0, -big]);
    let ones = tensor(&[1, 3, 1, 1], &[1f32; 3]);
    check(Op::Conv2d(Conv2d::default()), &[&x, &ones], &picture(1, 1, &[1.0]));
    // 2^24 + 1 rounded before the bias would be 2^24, and stay there.
    let x = tensor(&[1, 3, 1, 1], &[big, 1.0, 0.0]);
    let expected = picture(1, 1, &[big + 2.0]);
    check(Op::Conv2d(Conv2d::default()), &[&x, &ones, &vector(&[1.0])], &expected);
}

/// The definition, element by element.
fn by_definition(op: &Conv2d, x: &Tensor, weight: &Tensor, shape: &[usize]) -> Tensor {
    let (values, weights) = (x.elements::<f32>().unwrap(), weight.elements::<f32>().unwrap());
    let [channels, height, width] = [1, 2, 3].map(|axis| x.shape()[axis]);
    let [filters, seen, rows, columns] = [0, 1, 2, 3].map(|axis| weight.shape()[axis]);
    let groups = channels / seen;
    let mut result = Vec::new();
    for place in 0..shape.iter().product() {
        let (ox, oy) = (place % shape[3], place / shape[3] % shape[2]);
        let (o, n) =
            (place / (shape[2] * shape[3]) % filters, place / shape[1..].iter().product::<usize>());
        let mut sum = 0.0;
        for tap in 0..seen * rows * columns {
            let (kx, ky, c) = (tap % columns, tap / columns % rows, tap / (columns * rows));
            let y = (oy * op.stride[0] + ky * op.dilation[0]).wrapping_sub(op.pad[0]);
            let x = (ox * op.stride[1] + kx * op.dilation[1]).wrapping_sub(op.pad[1]);
            if y < height && x < width {
                let channel = o / (filters / groups) * seen + c;
                sum += values[((n * channels + channel) * height + y) * width + x]
                    * weights[o * seen * rows * columns + tap];
            }
        }
        result.push(sum);
    }
    tensor(shape, &result)
}

/// Whole numbers keep every sum exact, so the blocks in which the loops run must leave no trace:
/// more than 16 filters, more than 128 positions, rows longer than that.
#[test]
fn convolution_keeps_to_its_definition_across_blocks() {
    let mut random = Random::new(1);
    let mut compared = 0;
    for case in 0..300 {
        let groups = [1, 1, 2, 3][random.below(4)];
        let (seen, per_group) = (1 + random.below(4), 1 + random.below(20));
        let kernel = [1 + random.below(4), 1 + random.below(4)];
        let (batch, height) = (1 + random.below(2), 1 + random.below(40));
        let width = 1 + random.below(if case % 10 == 0 { 300 } else { 30 });
        let x = whole(&mut random, &[batch, groups * seen, height, width]);
        let weight = whole(&mut random, &[groups * per_group, seen, kernel[0], kernel[1]]);
        let op = Conv2d {
            stride: [1 + random.below(3), 1 + random.below(3)],
            dilation: [1 + random.below(3), 1 + random.below(3)],
            pad: [(); 4].map(|()| random.below(4)),
            groups: match groups {
                1 => Groups::Dense,
                _ if seen == 1 => Groups::Depthwise,
                count => Groups::Grouped(count),
            },
        };
        let Ok(results) = bunjae_interp::eval(&Op::Conv2d(op.clone()), &[&x, &weight]) else {
            continue; // a window larger than the picture
        };
        let expected = by_definition(&op, &x, &weight, results[0].shape());
        assert_eq!(results[0], expected, "case {case}: {op:?} {x:?} {weight:?}");
        compared += 1;
    }
    assert!(compared > 200, "{compared}");
}

/// Removing channels gives the bits of masking them, although real weights make every sum round.
#[test]
fn a_masked_channel_changes_no_bit() {
    let mut random = Random::new(2);
    let mut values = |shape: &[usize]| {
        let count = shape.iter().product();
        tensor(shape, &(0..count).map(|_| random.normal() as f32).collect::<Vec<f32>>())
    };
    let (x, weight, bias) = (values(&[1, 9, 7, 7]), values(&[5, 9, 3, 3]), values(&[5]));
    let (cut, kept) = ([0, 3, 4, 8], [1, 2, 5, 6, 7]);
    let op = Op::Conv2d(Conv2d { pad: [1; 4], ..Conv2d::default() });
    let masked = compute(op.clone(), &[&x, &weight.with_zeroed(1, &cut), &bias]);
    check(op, &[&x.select(1, &kept), &weight.select(1, &kept), &bias], &masked);

    let op = Op::ConvTranspose2d(ConvTranspose2d { stride: [2, 2], ..ConvTranspose2d::default() });
    let weight = values(&[9, 4, 3, 3]);
    let masked = compute(op.clone(), &[&x, &weight.with_zeroed(0, &cut)]);
    check(op, &[&x.select(1, &kept), &weight.select(0, &kept)], &masked);

    let (x, weight, bias) = (values(&[4, 9]), values(&[11, 9]), values(&[11]));
    let masked = compute(Op::Linear, &[&x, &weight.with_zeroed(1, &cut), &bias]);
    check(Op::Linear, &[&x.select(1, &kept), &weight.select(1, &kept), &bias], &masked);

    let weight = values(&[9, 3]);
    let masked = compute(Op::MatMul, &[&x, &weight.with_zeroed(0, &cut)]);
    check(Op::MatMul, &[&x.select(1, &kept), &weight.select(0, &kept)], &masked);
}

#[test]
fn terms_that_are_minus_zero_leave_no_sign_behind() {
    let (x, zero) = (picture(1, 1, &[-1.0]), picture(1, 1, &[0.0]));
    let bias = vector(&[-0.0]);
    check(Op::Conv2d(Conv2d::default()), &[&x, &zero, &bias], &picture(1, 1, &[0.0]));
}

#[test]
fn transposed_convolution_spreads_the_kernel() {
    let x = counting(&[1, 1, 2, 2]);
    let weight = picture(2, 2, &[1.0, 10.0, 100.0, 1000.0]);
    let op = ConvTranspose2d::default();
    #[rustfmt::skip]
    let expected = [
        1.0,   12.0,   20.0,
        103.0, 1234.0, 2040.0,
        300.0, 3400.0, 4000.0,
    ];
    check(Op::ConvTranspose2d(op), &[&x, &weight], &picture(3, 3, &expected));
    let op = ConvTranspose2d { pad: [1, 1, 0, 0], ..ConvTranspose2d::default() };
    let expected = picture(2, 2, &[1234.0, 2040.0, 3400.0, 4000.0]);
    check(Op::ConvTranspose2d(op), &[&x, &weight], &expected);
    let op = ConvTranspose2d { stride: [2, 2], output_pad: [0, 1], ..ConvTranspose2d::default() };
    #[rustfmt::skip]
    let expected = [
        1.5,   10.5,   2.5,   20.5,   0.5,
        100.5, 1000.5, 200.5, 2000.5, 0.5,
        3.5,   30.5,   4.5,   40.5,   0.5,
        300.5, 3000.5, 400.5, 4000.5, 0.5,
    ];
    check(Op::ConvTranspose2d(op), &[&x, &weight, &vector(&[0.5])], &picture(4, 5, &expected));
}

#[test]
fn groups_of_a_transposed_convolution() {
    let x = tensor(&[1, 2, 1, 1], &[3f32, 5.0]);
    let weight = tensor(&[2, 2, 1, 1], &[1f32, 2.0, 10.0, 20.0]);
    let dense = Op::ConvTranspose2d(ConvTranspose2d::default());
    check(dense, &[&x, &weight], &tensor(&[1, 2, 1, 1], &[53f32, 106.0]));
    for groups in [Groups::Grouped(2), Groups::Depthwise] {
        let op = Op::ConvTranspose2d(ConvTranspose2d { groups, ..ConvTranspose2d::default() });
        check(op, &[&x, &weight], &tensor(&[1, 4, 1, 1], &[3f32, 6.0, 50.0, 100.0]));
    }
}

/// `<conv(x), y> = <x, conv_transpose(y)>`, exactly for whole numbers, whatever the settings.
#[test]
fn transposed_convolution_is_the_transpose_of_convolution() {
    let mut random = Random::new(3);
    let dot = |a: &Tensor, b: &Tensor| {
        assert_eq!(a.shape(), b.shape());
        let pairs = a.to_f64_vec().into_iter().zip(b.to_f64_vec());
        pairs.map(|(a, b)| a * b).sum::<f64>()
    };
    let mut compared = 0;
    for _ in 0..300 {
        let groups = [1, 2, 3][random.below(3)];
        let (seen, per_group) = (1 + random.below(3), 1 + random.below(3));
        let kernel = [1 + random.below(4), 1 + random.below(4)];
        let (height, width) = (1 + random.below(9), 1 + random.below(9));
        let x = whole(&mut random, &[2, groups * seen, height, width]);
        let weight = whole(&mut random, &[groups * per_group, seen, kernel[0], kernel[1]]);
        let op = Conv2d {
            stride: [1 + random.below(3), 1 + random.below(3)],
            dilation: [1 + random.below(3), 1 + random.below(3)],
            pad: [(); 4].map(|()| random.below(3)),
            groups: if groups == 1 { Groups::Dense } else { Groups::Grouped(groups) },
        };
        let Ok(forward) = bunjae_interp::eval(&Op::Conv2d(op.clone()), &[&x, &weight]) else {
            continue;
        };
        let y = whole(&mut random, forward[0].shape());
        // The rows and columns that the last window of a stride leaves over.
        let size = [height, width];
        let output_pad = [0, 1].map(|axis| {
            let free = size[axis] + op.pad[axis] + op.pad[axis + 2];
            (free - (kernel[axis] - 1) * op.dilation[axis] - 1) % op.stride[axis]
        });
        let Conv2d { stride, dilation, pad, groups } = op;
        let back = ConvTranspose2d { stride, dilation, pad, output_pad, groups };
        let backward = compute(Op::ConvTranspose2d(back), &[&y, &weight]);
        assert_eq!(dot(&forward[0], &y), dot(&x, &backward));
        compared += 1;
    }
    assert!(compared > 150, "{compared}");
}
