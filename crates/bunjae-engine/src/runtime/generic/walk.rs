//! Walking several views of the same dims row by row.

use crate::runtime::view::View;

/// A run along the last axis, seen in several views at once.
pub(super) struct Row<const N: usize> {
    /// The index of the first element in each view's region.
    pub start: [isize; N],
    /// The distance to the next in each.
    pub step: [isize; N],
    pub len: usize,
}

impl<const N: usize> Row<N> {
    /// The index of an element of the row in each view's region.
    #[inline]
    pub(super) fn at(&self, index: usize) -> [usize; N] {
        std::array::from_fn(|view| (self.start[view] + index as isize * self.step[view]) as usize)
    }

    /// True where the elements are neighbours in all views.
    #[inline]
    pub(super) fn is_packed(&self) -> bool {
        self.step == [1; N]
    }
}

/// Calls `visit` for each row of views that have the same dims, in row-major order.
#[inline]
pub(super) fn rows<const N: usize, E>(
    views: [&View; N],
    mut visit: impl FnMut(Row<N>) -> Result<(), E>,
) -> Result<(), E> {
    let len = views[0].last().0;
    let step = views.map(|view| view.last().1);
    // Rows of the last axis but one are a stride apart; only the first is looked up, which divides.
    let axis = views[0].dims.len().checked_sub(2);
    let run = axis.map_or(1, |axis| views[0].dims[axis]);
    let stride = views.map(|view| axis.map_or(0, |axis| view.strides[axis]));
    for first in (0..views[0].rows()).step_by(run.max(1)) {
        let mut start = views.map(|view| view.row_start(first));
        for _ in 0..run {
            visit(Row { start, step, len })?;
            for (start, stride) in start.iter_mut().zip(stride) {
                *start += stride;
            }
        }
    }
    Ok(())
}
