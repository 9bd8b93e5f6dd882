//! Walking tensors whose axes are broadcast, permuted or reduced.

/// The distances between neighbours along each axis of a tensor in row-major order.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The strides that read a tensor of shape `shape` as if it were broadcast to `result`: shapes are
/// aligned at their last axes, and an axis of 1 stands still.
pub(crate) fn broadcast_strides(shape: &[usize], result: &[usize]) -> Vec<usize> {
    let mut aligned = vec![0; result.len().saturating_sub(shape.len())];
    let own = strides(shape);
    aligned.extend(shape.iter().zip(own).map(|(&dim, stride)| if dim == 1 { 0 } else { stride }));
    aligned
}

/// A run along the last axis, seen in several tensors at once.
pub(crate) struct Row<const N: usize> {
    /// The offset of the first element in each tensor.
    pub start: [usize; N],
    /// The distance to the next in each tensor.
    pub step: [usize; N],
    /// The number of elements.
    pub len: usize,
}

/// Calls `visit` for each row of `shape`, in row-major order. A shape without axes is one element.
pub(crate) fn for_each_row<const N: usize>(
    shape: &[usize],
    strides: [&[usize]; N],
    mut visit: impl FnMut(Row<N>),
) {
    if shape.contains(&0) {
        return;
    }
    let (&len, outer) = shape.split_last().unwrap_or((&1, &[]));
    let step = strides.map(|strides| strides.last().copied().unwrap_or(0));
    let mut index = vec![0; outer.len()];
    let mut start = [0; N];
    loop {
        visit(Row { start, step, len });
        // Counts up like an odometer, from the last axis.
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            let full = index[axis] == outer[axis];
            for (start, strides) in start.iter_mut().zip(strides) {
                *start += strides[axis];
                if full {
                    *start -= strides[axis] * outer[axis];
                }
            }
            if !full {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(shape: &[usize], strides: &[usize]) -> Vec<usize> {
        let mut found = Vec::new();
        for_each_row(shape, [strides], |row| {
            found.extend((0..row.len).map(|at| row.start[0] + at * row.step[0]));
        });
        found
    }

    #[test]
    fn rows_come_in_row_major_order() {
        assert_eq!(offsets(&[2, 3, 2], &strides(&[2, 3, 2])), (0..12).collect::<Vec<_>>());
        assert_eq!(offsets(&[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(offsets(&[], &[]), [0]);
        assert_eq!(offsets(&[2, 0, 2], &[0, 0, 0]), []);
    }

    #[test]
    fn broadcast_axes_stand_still() {
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 2]), [0, 1, 0]);
        assert_eq!(broadcast_strides(&[], &[2]), [0]);
        assert_eq!(
            offsets(&[2, 2, 2], &broadcast_strides(&[2, 1], &[2, 2, 2])),
            [0, 0, 1, 1, 0, 0, 1, 1]
        );
    }
}
