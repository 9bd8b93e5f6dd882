//! The geometry of a sliding window along one axis.

use std::ops::Range;

/// A window along one axis of a picture: at position `p`, tap `t` lies on the element
/// `p * stride + t * dilation - before`.
///
/// In a transposed convolution the roles change: the positions are those of the operand, and the
/// picture is the result.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// The number of elements of the picture.
    pub size: usize,
    /// The step between positions.
    pub stride: usize,
    /// The step between taps.
    pub dilation: usize,
    /// The padding before the picture.
    pub before: usize,
}

impl Window {
    /// The element that a tap lies on, or `None` in the padding.
    pub(crate) fn index(&self, position: usize, tap: usize) -> Option<usize> {
        let padded = position * self.stride + tap * self.dilation;
        padded.checked_sub(self.before).filter(|&index| index < self.size)
    }

    /// The positions below `count` at which a tap lies inside the picture.
    pub(crate) fn positions(&self, tap: usize, count: usize) -> Range<usize> {
        let inside = |limit| first_from(limit, tap * self.dilation, self.stride).min(count);
        inside(self.before)..inside(self.before + self.size)
    }

    /// The taps below `count` that lie inside the picture.
    pub(crate) fn taps(&self, position: usize, count: usize) -> Range<usize> {
        let inside = |limit| first_from(limit, position * self.stride, self.dilation).min(count);
        inside(self.before)..inside(self.before + self.size)
    }

    /// The number of taps below `count` that lie inside the picture or its padding, of which
    /// `after` follow the picture. A window that was admitted by rounding up can reach further.
    pub(crate) fn padded_taps(&self, position: usize, count: usize, after: usize) -> usize {
        let end = self.before + self.size + after;
        first_from(end, position * self.stride, self.dilation).min(count)
    }
}

/// The smallest `k` with `offset + k * step >= limit`.
fn first_from(limit: usize, offset: usize, step: usize) -> usize {
    limit.saturating_sub(offset).div_ceil(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_the_definition() {
        let mut checked = 0;
        for (size, stride, dilation, before) in
            [(5, 1, 1, 1), (5, 2, 1, 2), (4, 3, 2, 3), (1, 2, 2, 1), (7, 1, 3, 0), (3, 5, 1, 2)]
        {
            let window = Window { size, stride, dilation, before };
            for (position, tap) in (0..6).flat_map(|p| (0..4).map(move |t| (p, t))) {
                let inside = window.index(position, tap).is_some();
                assert_eq!(window.positions(tap, 6).contains(&position), inside);
                assert_eq!(window.taps(position, 4).contains(&tap), inside);
                let padded = position * stride + tap * dilation < before + size + 2;
                assert_eq!(tap < window.padded_taps(position, 4, 2), padded);
                checked += usize::from(inside);
            }
        }
        assert!(checked > 20, "{checked}");
    }
}
