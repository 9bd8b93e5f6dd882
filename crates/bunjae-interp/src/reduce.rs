//! Reductions over any axes.

use bunjae_ir::op::Reduction;
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::fill;
use crate::number::{Number, Real};
use crate::walk::{for_each_row, strides};

/// Reduces over `axes`, visiting the operand in row-major order. Over no elements a sum is 0, a
/// mean NaN, a maximum minus infinity and a minimum infinity.
pub(crate) fn reduce<T: Real>(
    kind: Reduction,
    axes: &[usize],
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    match kind {
        Reduction::Sum => fold::<T>(axes, x, shape, 0.0, |sum, x| sum + x, |sum, _| sum),
        Reduction::Mean => fold::<T>(axes, x, shape, 0.0, |sum, x| sum + x, |sum, n| sum / n),
        Reduction::L2 => fold::<T>(axes, x, shape, 0.0, |sum, x| sum + x * x, |sum, _| sum.sqrt()),
        Reduction::Max => {
            let start = f64::NEG_INFINITY;
            fold::<T>(axes, x, shape, start, |most, x| most.larger(x), |most, _| most)
        }
        Reduction::Min => {
            let start = f64::INFINITY;
            fold::<T>(axes, x, shape, start, |least, x| least.smaller(x), |least, _| least)
        }
    }
}

/// Folds `step` from `start` over the elements that fall on the same result; `finish` is given the
/// last value and the number of elements.
fn fold<T: Real>(
    axes: &[usize],
    x: &Tensor,
    shape: &[usize],
    start: f64,
    step: impl Fn(f64, f64) -> f64,
    finish: impl Fn(f64, f64) -> f64,
) -> Result<Tensor, EvalError> {
    let own = strides(x.shape());
    let kept = |axis: &usize| !axes.contains(axis);
    let kept_axes: Vec<usize> = (0..x.shape().len()).filter(kept).collect();
    let kept_shape: Vec<usize> = kept_axes.iter().map(|&axis| x.shape()[axis]).collect();
    let mut onto = vec![0; x.shape().len()];
    for (&axis, stride) in kept_axes.iter().zip(strides(&kept_shape)) {
        onto[axis] = stride;
    }
    let count = axes.iter().map(|&axis| x.shape()[axis] as f64).product();
    let elements = x.elements::<T>()?;
    fill::<T>(shape, |result| {
        let mut values = vec![start; result.len()];
        for_each_row(x.shape(), [&own, &onto], |row| {
            let row_elements = elements[row.start[0]..].iter().take(row.len).enumerate();
            for (at, element) in row_elements {
                let value = &mut values[row.start[1] + at * row.step[1]];
                *value = step(*value, element.to_f64());
            }
        });
        for (y, value) in result.iter_mut().zip(values) {
            *y = T::from_f64(finish(value, count));
        }
    })
}
