//! Products of matrices.

use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::fill;
use crate::number::Real;
use crate::walk::{broadcast_strides, for_each_row};

/// How many outputs of a linear layer are summed side by side, each in its own order.
const OUTPUTS: usize = 8;

/// `x W^T + b`.
pub(crate) fn linear<T: Real>(inputs: &[&Tensor], shape: &[usize]) -> Result<Tensor, EvalError> {
    let (x, weights) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let bias = inputs.get(2).map(|bias| bias.elements::<T>()).transpose()?;
    let features = inputs[1].shape()[1];
    let outputs = inputs[1].shape()[0];
    fill::<T>(shape, |result| {
        for (n, y) in result.chunks_exact_mut(outputs).enumerate() {
            let x = &x[n * features..(n + 1) * features];
            for (block, y) in y.chunks_mut(OUTPUTS).enumerate() {
                let first = block * OUTPUTS;
                let weights = &weights[first * features..(first + y.len()) * features];
                let mut sums = [0.0; OUTPUTS];
                for (i, x) in x.iter().enumerate() {
                    let x = x.to_f64();
                    for (o, sum) in sums[..y.len()].iter_mut().enumerate() {
                        *sum += weights[o * features + i].to_f64() * x;
                    }
                }
                for (o, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
                    let bias = bias.map_or(0.0, |bias| bias[first + o].to_f64());
                    *y = T::from_f64(sum + bias);
                }
            }
        }
    })
}

/// The product of the last two axes, the others broadcast.
pub(crate) fn matmul<T: Real>(inputs: &[&Tensor], shape: &[usize]) -> Result<Tensor, EvalError> {
    let [(lead_a, a_size), (lead_b, b_size), (lead, size)] =
        [inputs[0].shape(), inputs[1].shape(), shape].map(|shape| shape.split_at(shape.len() - 2));
    let (a, b) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let (depth, columns) = (a_size[1], size[1]);
    let area = |size: &[usize]| size[0] * size[1];
    fill::<T>(shape, |result| {
        let mut results = result.chunks_exact_mut(area(size));
        let mut sums = vec![0.0; columns];
        let strides = [broadcast_strides(lead_a, lead), broadcast_strides(lead_b, lead)];
        for_each_row(lead, [&strides[0], &strides[1]], |row| {
            for (at, result) in (0..row.len).zip(&mut results) {
                let [a, b] = [(a, a_size, 0), (b, b_size, 1)].map(|(matrices, size, operand)| {
                    let place = row.start[operand] + at * row.step[operand];
                    &matrices[place * area(size)..][..area(size)]
                });
                for (m, y) in result.chunks_exact_mut(columns).enumerate() {
                    sums.fill(0.0);
                    for k in 0..depth {
                        let a = a[m * depth + k].to_f64();
                        for (sum, b) in sums.iter_mut().zip(&b[k * columns..]) {
                            *sum += a * b.to_f64();
                        }
                    }
                    y.iter_mut().zip(&sums).for_each(|(y, &sum)| *y = T::from_f64(sum));
                }
            }
        });
    })
}
