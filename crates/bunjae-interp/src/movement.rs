//! Operators that only move elements, of any type.

use bunjae_ir::op::{Concat, DepthOrder, DepthToSpace, Pad, PadMode, Slice, Split, Transpose};
use bunjae_ir::resolve_range;
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::{Along, fill, sizes, type_of};
use crate::number::Number;
use crate::walk::{for_each_row, strides};

/// Joins the operands along an axis.
pub(crate) fn concat<T: Number>(
    op: &Concat,
    inputs: &[&Tensor],
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let parts = inputs.iter().map(|input| input.elements::<T>()).collect::<Result<Vec<_>, _>>()?;
    fill::<T>(shape, |result| {
        let whole = Along::new(shape, op.axis);
        for (outer, mut row) in result.chunks_exact_mut(whole.len * whole.inner).enumerate() {
            for (input, elements) in inputs.iter().zip(&parts) {
                let len = input.shape()[op.axis] * whole.inner;
                let (own, rest) = row.split_at_mut(len);
                own.copy_from_slice(&elements[outer * len..(outer + 1) * len]);
                row = rest;
            }
        }
    })
}

/// Cuts the operand into parts along an axis.
pub(crate) fn split<T: Number>(op: &Split, x: &Tensor) -> Result<Vec<Tensor>, EvalError> {
    let mut start = 0;
    let mut parts = Vec::with_capacity(op.sizes.len());
    for &size in &op.sizes {
        parts.push(take::<T>(x, op.axis, size, T::from_i64(0), |at| Some(start + at))?);
        start += size;
    }
    Ok(parts)
}

/// Takes a range of some axes.
pub(crate) fn slice<T: Number>(op: &Slice, x: &Tensor) -> Result<Tensor, EvalError> {
    let mut result = x.clone();
    for range in &op.ranges {
        let (start, count, step) = resolve_range(range, x.shape()[range.axis])?;
        let at = |at: usize| usize::try_from(start as i64 + at as i64 * step).ok();
        result = take::<T>(&result, range.axis, count, T::from_i64(0), at)?;
    }
    Ok(result)
}

/// Adds elements around the operand.
pub(crate) fn pad<T: Number>(op: &Pad, x: &Tensor) -> Result<Tensor, EvalError> {
    let constant = T::from_f64(f64::from(op.value));
    let mut result = x.clone();
    for &[axis, before, after] in &op.pads {
        let len = result.shape()[axis];
        if len == 0 && before + after > 0 && op.mode != PadMode::Constant {
            return Err(EvalError::NoElements(type_of(&result)));
        }
        let source = |at| padded(op.mode, before, len, at);
        result = take::<T>(&result, axis, before + len + after, constant, source)?;
    }
    Ok(result)
}

/// Which of the `len` elements of an axis stands at `at` of the padded one, `before` elements having
/// been put in front; `None` for the constant.
pub(crate) fn padded(mode: PadMode, before: usize, len: usize, at: usize) -> Option<usize> {
    match (mode, at.checked_sub(before)) {
        (PadMode::Constant, inside) => inside.filter(|&at| at < len),
        (PadMode::Reflect, None) => Some(before - at),
        (PadMode::Reflect, Some(at)) if at >= len => Some(2 * (len - 1) - at),
        (PadMode::Edge, None) => Some(0),
        (PadMode::Edge | PadMode::Reflect, Some(at)) => Some(at.min(len - 1)),
    }
}

/// A tensor whose index `i` along an axis, `i` below `len`, holds what `x` has at `source(i)`, or
/// `constant` throughout where that is `None`.
fn take<T: Number>(
    x: &Tensor,
    axis: usize,
    len: usize,
    constant: T,
    source: impl Fn(usize) -> Option<usize>,
) -> Result<Tensor, EvalError> {
    let elements = x.elements::<T>()?;
    let mut shape = x.shape().to_vec();
    shape[axis] = len;
    let along = Along::new(x.shape(), axis);
    fill::<T>(&shape, |result| {
        for (outer, row) in result.chunks_exact_mut(len * along.inner).enumerate() {
            for (at, block) in row.chunks_exact_mut(along.inner).enumerate() {
                match source(at) {
                    Some(from) => {
                        let from = (outer * along.len + from) * along.inner;
                        block.copy_from_slice(&elements[from..from + along.inner]);
                    }
                    None => block.fill(constant),
                }
            }
        }
    })
}

/// Reorders the axes.
pub(crate) fn transpose<T: Number>(
    op: &Transpose,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    permute::<T>(x, x.shape(), &op.perm, shape)
}

/// Moves blocks of channels into height and width: the channel axis is split into the position in
/// the block and the rest, and the position's axes move behind height and width.
pub(crate) fn depth_to_space<T: Number>(
    op: &DepthToSpace,
    x: &Tensor,
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let [n, c, h, w] = sizes(x)?;
    let side = op.block;
    let rest = c / (side * side);
    match op.order {
        DepthOrder::DepthColumnRow => {
            permute::<T>(x, &[n, side, side, rest, h, w], &[0, 3, 4, 1, 5, 2], shape)
        }
        DepthOrder::ColumnRowDepth => {
            permute::<T>(x, &[n, rest, side, side, h, w], &[0, 1, 4, 2, 5, 3], shape)
        }
    }
}

/// Reads `x`, seen as `dims`, in the order of the permuted axes.
fn permute<T: Number>(
    x: &Tensor,
    dims: &[usize],
    perm: &[usize],
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let elements = x.elements::<T>()?;
    let own = strides(dims);
    let order: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
    let permuted: Vec<usize> = perm.iter().map(|&axis| own[axis]).collect();
    fill::<T>(shape, |result| {
        let mut done = 0;
        for_each_row(&order, [&permuted], |row| {
            for (at, y) in result[done..done + row.len].iter_mut().enumerate() {
                *y = elements[row.start[0] + at * row.step[0]];
            }
            done += row.len;
        });
    })
}
