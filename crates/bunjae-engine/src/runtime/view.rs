//! Where a step finds the elements of an operand: a region of memory, a first element and a stride
//! per axis.

use bunjae_kernels::{Halo, Planar};
use bunjae_tensor::DType;

/// A run of bytes that one tensor, or several that are parts of it, live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub space: Space,
    /// The first byte; a multiple of [`crate::runtime::memory::ALIGN`].
    pub start: usize,
    /// The number of bytes.
    pub len: usize,
}

/// Which memory a region is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// The session's own.
    Arena,
    /// One of the model's weights, never written.
    Weight(usize),
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// Index into the model's regions.
    pub region: usize,
    pub dtype: DType,
    /// The element at index 0 of all axes, counted in elements from the region's start.
    pub first: isize,
    pub dims: Vec<usize>,
    /// The distance between neighbours along each axis, in elements.
    pub strides: Vec<isize>,
    /// Zeros around each plane of a picture that are kept for the kernels.
    pub halo: Halo,
}

/// The strides of a tensor in row-major order without gaps.
pub(crate) fn dense_strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis] as isize;
    }
    strides
}

impl View {
    /// A tensor without gaps at the start of a region.
    pub(crate) fn dense(region: usize, dtype: DType, dims: &[usize]) -> View {
        let strides = dense_strides(dims);
        View { region, dtype, first: 0, dims: dims.to_vec(), strides, halo: Halo::default() }
    }

    /// A picture laid out as the kernels want it.
    pub(crate) fn planar(region: usize, planar: &Planar) -> View {
        let strides = [planar.image_stride, planar.channel_stride, planar.row_stride, 1];
        View {
            region,
            dtype: DType::F32,
            first: planar.origin as isize,
            dims: vec![planar.images, planar.channels, planar.height, planar.width],
            strides: strides.map(|stride| stride as isize).to_vec(),
            halo: planar.halo,
        }
    }

    /// The number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// True where the elements lie in row-major order without gaps.
    pub(crate) fn is_dense(&self) -> bool {
        let dense = dense_strides(&self.dims);
        let mut axes = self.dims.iter().zip(self.strides.iter().zip(&dense));
        axes.all(|(&dim, (own, dense))| dim == 1 || own == dense)
    }

    /// The smallest and the largest element index; `None` where there are no elements.
    pub(crate) fn bounds(&self) -> Option<(isize, isize)> {
        let (mut low, mut high) = (self.first, self.first);
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            let reach = isize::try_from(dim.checked_sub(1)?).ok()?.checked_mul(stride)?;
            if reach < 0 {
                low = low.checked_add(reach)?;
            } else {
                high = high.checked_add(reach)?;
            }
        }
        Some((low, high))
    }

    /// The part that one axis has from `start` on, `len` elements `step` apart. A halo survives
    /// only where whole planes are taken.
    pub(crate) fn range(&self, axis: usize, start: usize, len: usize, step: isize) -> View {
        let mut part = self.clone();
        part.first += start as isize * self.strides[axis];
        part.dims[axis] = len;
        part.strides[axis] *= step;
        let whole = start == 0 && len == self.dims[axis] && step == 1;
        if axis + 2 >= self.dims.len() && !whole {
            part.halo = Halo::default();
        }
        part
    }

    /// The axes in another order.
    pub(crate) fn permuted(&self, perm: &[usize]) -> View {
        let dims = perm.iter().map(|&axis| self.dims[axis]).collect();
        let strides = perm.iter().map(|&axis| self.strides[axis]).collect();
        View { dims, strides, halo: Halo::default(), ..*self }
    }

    /// As seen by a result of shape `dims`: axes of 1 stand still, missing ones are put in front.
    pub(crate) fn broadcast(&self, dims: &[usize]) -> View {
        let added = dims.len() - self.dims.len();
        let own = self.dims.iter().zip(&self.strides);
        let own = own.map(|(&dim, &stride)| if dim == 1 { 0 } else { stride });
        let strides = std::iter::repeat_n(0, added).chain(own).collect();
        View { dims: dims.to_vec(), strides, halo: Halo::default(), ..*self }
    }

    /// The same elements, in row-major order, under another shape; `None` where no strides say
    /// that.
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Option<View> {
        let own: Vec<(usize, isize)> = self
            .dims
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|(dim, _)| *dim != 1)
            .collect();
        let mut strides = vec![0isize; dims.len()];
        let mut runs = own.as_slice();
        let mut at = 0;
        // Gathers axes of both sides until they hold the same number of elements; the own ones must
        // then lie in one another without gaps.
        while at < dims.len() {
            let (mut count, mut used) = (1usize, 0);
            let begin = at;
            let mut wanted = dims[at];
            at += 1;
            while count != wanted {
                if count < wanted {
                    let (dim, stride) = *runs.get(used)?;
                    if used > 0 && runs[used - 1].1 != dim as isize * stride {
                        return None;
                    }
                    count = count.checked_mul(dim)?;
                    used += 1;
                } else {
                    wanted = wanted.checked_mul(*dims.get(at)?)?;
                    at += 1;
                }
            }
            let mut stride = if used > 0 { runs[used - 1].1 } else { 0 };
            for axis in (begin..at).rev() {
                strides[axis] = stride;
                stride *= dims[axis] as isize;
            }
            runs = &runs[used..];
        }
        runs.is_empty().then(|| View {
            dims: dims.to_vec(),
            strides,
            halo: Halo::default(),
            ..*self
        })
    }

    /// This view as a picture of the kernels; `None` where it is none, because of its type, rank or
    /// strides. Rank 2 counts as pictures of one pixel.
    pub(crate) fn as_planar(&self) -> Option<Planar> {
        if self.dtype != DType::F32 || self.dims.contains(&0) {
            return None;
        }
        let (dims, strides) = match (self.dims.as_slice(), self.strides.as_slice()) {
            (&[n, c, h, w], &[sn, sc, sh, sw]) => ([n, c, h, w], [sn, sc, sh, sw]),
            (&[n, c], &[sn, sc]) => ([n, c, 1, 1], [sn, sc, 1, 1]),
            _ => return None,
        };
        let [images, channels, height, width] = dims;
        let halo = self.halo;
        // Strides of axes of length 1 mean nothing; they are made to fit.
        let of = |axis: usize, least: usize| match (dims[axis], usize::try_from(strides[axis])) {
            (1, _) => Some(least),
            (_, Ok(stride)) => (stride >= least).then_some(stride),
            _ => None,
        };
        if width > 1 && strides[3] != 1 {
            return None;
        }
        let row_stride = of(2, width + halo.left.max(halo.right))?;
        let before = halo.top * row_stride + halo.left;
        let after = halo.bottom * row_stride + halo.right;
        let plane = (height - 1) * row_stride + width;
        let channel_stride = of(1, plane + before.max(after))?;
        let image_stride = of(0, (channels - 1) * channel_stride + plane + before.max(after))?;
        let origin = usize::try_from(self.first).ok().filter(|&origin| origin >= before)?;
        Some(Planar {
            images,
            channels,
            height,
            width,
            origin,
            image_stride,
            channel_stride,
            row_stride,
            halo,
        })
    }

    /// As a picture, once axes are merged ([`coalesce`]): of at most four axes, those that stand
    /// still (stride 0) taken as of length 1, which kernels repeat.
    pub(crate) fn as_repeated_planar(&self) -> Option<Planar> {
        let missing = 4usize.checked_sub(self.dims.len())?;
        let axes = self.dims.iter().zip(&self.strides);
        let dims = axes.map(|(&dim, &stride)| if stride == 0 { 1 } else { dim });
        let dims = std::iter::repeat_n(1, missing).chain(dims).collect();
        let strides = std::iter::repeat_n(0, missing).chain(self.strides.iter().copied());
        View { dims, strides: strides.collect(), halo: Halo::default(), ..*self }.as_planar()
    }

    /// How the elements lie, in a word or two.
    pub(crate) fn layout(&self) -> String {
        let Halo { top, bottom, left, right } = self.halo;
        if self.halo != Halo::default() {
            return format!("planar+{top},{left},{bottom},{right}");
        }
        match self.is_dense() {
            true => "dense".to_string(),
            false if self.dims.len() == 4 && self.as_planar().is_some() => "planar".to_string(),
            false => "strided".to_string(),
        }
    }

    /// The index of an element in the given row: `row` counts all axes but the last in row-major
    /// order.
    #[inline]
    pub(crate) fn row_start(&self, row: usize) -> isize {
        let axes = self.dims.len().saturating_sub(1);
        self.first + offset(&self.dims[..axes], &self.strides[..axes], row)
    }

    /// The length of the last axis and its stride; a tensor without axes is one element.
    #[inline]
    pub(crate) fn last(&self) -> (usize, isize) {
        match (self.dims.last(), self.strides.last()) {
            (Some(&dim), Some(&stride)) => (dim, stride),
            _ => (1, 0),
        }
    }

    /// The number of rows: all axes but the last.
    pub(crate) fn rows(&self) -> usize {
        self.dims[..self.dims.len().saturating_sub(1)].iter().product()
    }
}

/// The distance from the first element to that with row-major index `index`.
#[inline]
pub(crate) fn offset(dims: &[usize], strides: &[isize], mut index: usize) -> isize {
    let mut offset = 0;
    for (&dim, &stride) in dims.iter().zip(strides).rev() {
        if index == 0 {
            break;
        }
        offset += (index % dim) as isize * stride;
        index /= dim;
    }
    offset
}

/// Merges axes of views of the same dims wherever all of them allow it, and drops those of length
/// 1, so that loops over rows have long rows.
pub(crate) fn coalesce<const N: usize>(views: [&View; N]) -> [View; N] {
    let dims = &views[0].dims;
    let mut merged: Vec<(usize, [isize; N])> = Vec::new();
    for (axis, &dim) in dims.iter().enumerate() {
        if dim == 1 {
            continue;
        }
        let strides = views.map(|view| view.strides[axis]);
        match merged.last_mut() {
            Some((outer, own))
                if own.iter().zip(&strides).all(|(own, inner)| *own == inner * dim as isize) =>
            {
                *outer *= dim;
                *own = strides;
            }
            _ => merged.push((dim, strides)),
        }
    }
    let mut at = 0;
    views.map(|view| {
        let strides = merged.iter().map(|(_, strides)| strides[at]).collect();
        at += 1;
        let dims = merged.iter().map(|(dim, _)| *dim).collect();
        View { dims, strides, halo: Halo::default(), ..*view }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(dims: &[usize]) -> View {
        View::dense(0, DType::F32, dims)
    }

    fn indices(view: &View) -> Vec<isize> {
        let (len, step) = view.last();
        (0..view.rows())
            .flat_map(|row| (0..len).map(move |at| view.row_start(row) + at as isize * step))
            .collect()
    }

    #[test]
    fn reshapes_of_strides_keep_the_order_or_are_refused() {
        let transposed = dense(&[2, 3, 4]).permuted(&[1, 0, 2]);
        assert_eq!(transposed.reshaped(&[6, 4]), None);
        let split = transposed.reshaped(&[3, 2, 2, 2]).unwrap();
        assert_eq!(indices(&split), indices(&transposed));
        let gaps = dense(&[2, 4, 5]).range(2, 1, 3, 1);
        assert_eq!(gaps.reshaped(&[8, 3]).map(|view| indices(&view)), Some(indices(&gaps)));
        assert_eq!(gaps.reshaped(&[24]), None);
        let ones = dense(&[1, 6]).reshaped(&[1, 2, 1, 3]).unwrap();
        assert_eq!(indices(&ones), (0..6).collect::<Vec<_>>());
        assert_eq!(indices(&dense(&[]).reshaped(&[1, 1]).unwrap()), [0]);
        assert_eq!(indices(&dense(&[1]).reshaped(&[]).unwrap()), [0]);
    }

    #[test]
    fn merged_axes_visit_the_same_elements() {
        let a = dense(&[2, 1, 3, 4]);
        let b = dense(&[3, 4]).broadcast(&[2, 1, 3, 4]);
        let [x, y] = coalesce([&a, &b]);
        assert_eq!(x.dims, [2, 12]);
        assert_eq!((indices(&x), indices(&y)), (indices(&a), indices(&b)));
        let scalar = dense(&[]).broadcast(&[1, 1]);
        assert_eq!(coalesce([&scalar])[0].dims, [0usize; 0]);
    }

    #[test]
    fn pictures_are_recognised() {
        let halo = Halo::uniform(1);
        let planar = Planar::new(2, 3, 4, 5, halo);
        let view = View::planar(0, &planar);
        assert_eq!(view.as_planar(), Some(planar));
        assert_eq!(view.range(1, 1, 2, 1).as_planar(), planar.channel_range(1, 2).ok());
        assert_eq!(view.range(2, 0, 2, 1).as_planar().unwrap().halo, Halo::default());
        assert_eq!(view.permuted(&[0, 1, 3, 2]).as_planar(), None);
        assert_eq!(view.range(3, 4, 5, -1).as_planar(), None);
    }

    #[test]
    fn bounds_hold_all_elements() {
        let view = dense(&[3, 4]).range(1, 3, 2, -2);
        assert_eq!(indices(&view), [3, 1, 7, 5, 11, 9]);
        assert_eq!(view.bounds(), Some((1, 11)));
        assert_eq!(dense(&[0, 2]).bounds(), None);
    }
}
