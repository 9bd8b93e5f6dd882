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
    for row in 0..views[0].rows() {
        visit(Row { start: views.map(|view| view.row_start(row)), step, len })?;
    }
    Ok(())
}
