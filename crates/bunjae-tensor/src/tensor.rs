//! The dense tensor.

use std::fmt;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use crate::{DType, Element};

/// The largest tensor that is ever allocated, in bytes. A description that asks for more is
/// refused before any memory is touched, so that a hostile file cannot exhaust the machine.
pub const MAX_BYTES: usize = 8 << 30;

/// What can be wrong with a tensor that is being made or looked at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TensorError {
    /// The product of the dimensions does not fit, or the tensor would pass [`MAX_BYTES`].
    #[error("a {dtype} tensor of shape {shape:?} is larger than the limit of {MAX_BYTES} bytes")]
    TooLarge {
        /// The element type asked for.
        dtype: DType,
        /// The shape asked for.
        shape: Vec<usize>,
    },
    /// The number of elements given is not the product of the dimensions.
    #[error("shape {shape:?} holds {expected} elements, but {found} were given")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// The product of its dimensions.
        expected: usize,
        /// The number of elements given.
        found: usize,
    },
    /// Shared memory in which the elements do not begin on a 64-byte boundary.
    #[error("the elements begin at byte {start}, which is no multiple of 64 in memory")]
    Alignment {
        /// The first byte, counted from the beginning of the memory.
        start: usize,
    },
    /// The elements were asked for as another type than they have.
    #[error("the tensor holds {found}, not {expected}")]
    DType {
        /// The type asked for.
        expected: DType,
        /// The type of the tensor.
        found: DType,
    },
}

/// 64 bytes on a 64-byte boundary: a cache line and the widest vector register in use.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A dense, row-major tensor whose storage is shared between clones and copied on the first write.
///
/// The first element lies on a 64-byte boundary.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    storage: Storage,
}

/// Where the elements are.
#[derive(Clone)]
enum Storage {
    Own(Arc<Vec<Line>>),
    /// From a byte of somebody else's memory on.
    Shared {
        owner: SharedBytes,
        start: usize,
    },
}

impl From<Vec<Line>> for Storage {
    fn from(lines: Vec<Line>) -> Storage {
        Storage::Own(Arc::new(lines))
    }
}

/// Memory that tensors lie in without owning it alone, such as a file mapped into memory.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The product of `shape`, or `None` where it does not fit a `usize`.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`].
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self, TensorError> {
        let bytes = element_count(shape)
            .and_then(|count| count.checked_mul(dtype.size()))
            .filter(|&bytes| bytes <= MAX_BYTES)
            .ok_or_else(|| TensorError::TooLarge { dtype, shape: shape.to_vec() })?;
        let lines = bytemuck::zeroed_vec(bytes.div_ceil(64));
        Ok(Tensor { dtype, shape: shape.to_vec(), storage: lines.into() })
    }

    /// A tensor with the given elements in row-major order.
    ///
    /// # Errors
    /// [`TensorError::Length`] where their number does not fit the shape,
    /// [`TensorError::TooLarge`].
    pub fn from_slice<T: Element>(shape: &[usize], elements: &[T]) -> Result<Self, TensorError> {
        let expected = element_count(shape).unwrap_or(usize::MAX);
        if expected != elements.len() {
            let (shape, found) = (shape.to_vec(), elements.len());
            return Err(TensorError::Length { shape, expected, found });
        }
        let mut tensor = Tensor::zeros(T::DTYPE, shape)?;
        tensor.bytes_mut().copy_from_slice(bytemuck::cast_slice(elements));
        Ok(tensor)
    }

    /// A tensor from its elements' bytes in the machine's (little-endian) order.
    ///
    /// # Errors
    /// [`TensorError::Length`] where their number does not fit the shape (counted in elements),
    /// [`TensorError::TooLarge`].
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Self, TensorError> {
        let expected = element_count(shape).unwrap_or(usize::MAX);
        if expected.checked_mul(dtype.size()) != Some(bytes.len()) {
            let (shape, found) = (shape.to_vec(), bytes.len() / dtype.size());
            return Err(TensorError::Length { shape, expected, found });
        }
        let mut tensor = Tensor::zeros(dtype, shape)?;
        tensor.bytes_mut().copy_from_slice(bytes);
        Ok(tensor)
    }

    /// A tensor whose elements stay where they are, in the machine's (little-endian) order from
    /// the byte `start` on. It is copied on the first write. `owner` has to give the same bytes
    /// each time.
    ///
    /// # Errors
    /// [`TensorError::Length`] where the memory ends before the elements do (counted in elements),
    /// [`TensorError::Alignment`], [`TensorError::TooLarge`].
    pub fn from_shared(
        dtype: DType,
        shape: &[usize],
        owner: SharedBytes,
        start: usize,
    ) -> Result<Self, TensorError> {
        let expected = element_count(shape);
        let len = expected.and_then(|count| count.checked_mul(dtype.size()));
        let Some(len) = len.filter(|&len| len <= MAX_BYTES) else {
            return Err(TensorError::TooLarge { dtype, shape: shape.to_vec() });
        };
        let rest = (*owner).as_ref().get(start..).unwrap_or_default();
        if rest.len() < len {
            let (shape, found) = (shape.to_vec(), rest.len() / dtype.size());
            let expected = expected.unwrap_or(usize::MAX);
            return Err(TensorError::Length { shape, expected, found });
        }
        if !(rest.as_ptr() as usize).is_multiple_of(64) {
            return Err(TensorError::Alignment { start });
        }
        Ok(Tensor { dtype, shape: shape.to_vec(), storage: Storage::Shared { owner, start } })
    }

    /// A tensor without dimensions that holds one element.
    pub fn scalar<T: Element>(value: T) -> Self {
        let mut line = Line::zeroed();
        let bytes = bytemuck::bytes_of(&value);
        line.0[..bytes.len()].copy_from_slice(bytes);
        Tensor { dtype: T::DTYPE, shape: Vec::new(), storage: vec![line].into() }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        // The product was checked when the tensor was made.
        self.shape.iter().product()
    }

    /// True where a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as bytes in the machine's order.
    pub fn bytes(&self) -> &[u8] {
        let count = self.len() * self.dtype.size();
        match &self.storage {
            Storage::Own(lines) => &bytemuck::cast_slice(lines.as_slice())[..count],
            Storage::Shared { owner, start } => &(**owner).as_ref()[*start..start + count],
        }
    }

    /// The elements as bytes, for writing; copies the storage first where it is shared.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let count = self.len() * self.dtype.size();
        if let Storage::Shared { .. } = &self.storage {
            let mut lines: Vec<Line> = bytemuck::zeroed_vec(count.div_ceil(64));
            bytemuck::cast_slice_mut(&mut lines)[..count].copy_from_slice(self.bytes());
            self.storage = lines.into();
        }
        match &mut self.storage {
            Storage::Own(lines) => {
                let lines: &mut Vec<Line> = Arc::make_mut(lines);
                &mut bytemuck::cast_slice_mut(lines.as_mut_slice())[..count]
            }
            // Became its own above.
            Storage::Shared { .. } => &mut [],
        }
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// [`TensorError::DType`] where the tensor holds another type.
    pub fn elements<T: Element>(&self) -> Result<&[T], TensorError> {
        self.expect_dtype(T::DTYPE)?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// The elements in row-major order, for writing; copies the storage first where it is shared.
    ///
    /// # Errors
    /// [`TensorError::DType`] where the tensor holds another type.
    pub fn elements_mut<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        self.expect_dtype(T::DTYPE)?;
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// The elements as `f64`, whatever their type.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        fn widen<T: Element>(bytes: &[u8]) -> Vec<f64> {
            bytemuck::cast_slice::<u8, T>(bytes).iter().map(|&x| x.to_f64()).collect()
        }
        match self.dtype {
            DType::F32 => widen::<f32>(self.bytes()),
            DType::F64 => widen::<f64>(self.bytes()),
            DType::I8 => widen::<i8>(self.bytes()),
            DType::U8 => widen::<u8>(self.bytes()),
            DType::I32 => widen::<i32>(self.bytes()),
            DType::I64 => widen::<i64>(self.bytes()),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`TensorError::Length`] where the number of elements differs.
    pub fn reshaped(mut self, shape: &[usize]) -> Result<Self, TensorError> {
        let expected = element_count(shape).unwrap_or(usize::MAX);
        if expected != self.len() {
            let (shape, found) = (shape.to_vec(), self.len());
            return Err(TensorError::Length { shape, expected, found });
        }
        self.shape = shape.to_vec();
        Ok(self)
    }

    /// The tensor with only the given indices of one axis, in the given order. Indices past the
    /// end of the axis are left out.
    pub fn select(&self, axis: usize, indices: &[usize]) -> Self {
        let dim = self.shape.get(axis).copied().unwrap_or(0);
        let inside: Vec<usize> = indices.iter().copied().filter(|&i| i < dim).collect();
        let mut shape = self.shape.clone();
        if let Some(dim) = shape.get_mut(axis) {
            *dim = inside.len();
        }
        let row = self.shape.iter().skip(axis + 1).product::<usize>() * self.dtype.size();
        let outer = self.shape.iter().take(axis).product::<usize>();
        let source = self.bytes();
        let mut bytes = Vec::with_capacity(outer * inside.len() * row);
        for block in 0..outer {
            for &index in &inside {
                let start = (block * dim + index) * row;
                bytes.extend_from_slice(&source[start..start + row]);
            }
        }
        let mut lines: Vec<Line> = bytemuck::zeroed_vec(bytes.len().div_ceil(64));
        bytemuck::cast_slice_mut(&mut lines)[..bytes.len()].copy_from_slice(&bytes);
        Tensor { dtype: self.dtype, shape, storage: lines.into() }
    }

    /// The tensor with the given indices of one axis set to zero bytes.
    pub fn with_zeroed(&self, axis: usize, indices: &[usize]) -> Self {
        let dim = self.shape.get(axis).copied().unwrap_or(0);
        let row = self.shape.iter().skip(axis + 1).product::<usize>() * self.dtype.size();
        let outer = self.shape.iter().take(axis).product::<usize>();
        let mut result = self.clone();
        let bytes = result.bytes_mut();
        for block in 0..outer {
            for &index in indices.iter().filter(|&&i| i < dim) {
                let start = (block * dim + index) * row;
                bytes[start..start + row].fill(0);
            }
        }
        result
    }

    fn expect_dtype(&self, expected: DType) -> Result<(), TensorError> {
        if expected == self.dtype {
            Ok(())
        } else {
            Err(TensorError::DType { expected, found: self.dtype })
        }
    }
}

impl PartialEq for Tensor {
    /// Same type, same shape, same bits (so NaN equals itself and 0 differs from -0).
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && (std::ptr::eq(self.bytes(), other.bytes()) || self.bytes() == other.bytes())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?}", self.dtype, self.shape)?;
        let shown = self.to_f64_vec();
        let head: Vec<String> = shown.iter().take(8).map(|x| format!("{x}")).collect();
        let rest = if shown.len() > 8 { ", ..." } else { "" };
        write!(f, " = [{}{rest}])", head.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_aligned_and_round_trip() {
        let tensor = Tensor::from_slice(&[3, 7], &(0..21).collect::<Vec<i32>>()).unwrap();
        assert_eq!(tensor.bytes().as_ptr() as usize % 64, 0);
        assert_eq!(tensor.elements::<i32>().unwrap()[20], 20);
        assert_eq!(
            tensor.elements::<f32>().unwrap_err(),
            TensorError::DType { expected: DType::F32, found: DType::I32 }
        );
    }

    #[test]
    fn writing_leaves_clones_alone() {
        let original = Tensor::from_slice(&[2], &[1f32, 2.0]).unwrap();
        let mut copy = original.clone();
        copy.elements_mut::<f32>().unwrap()[0] = 9.0;
        assert_eq!(original.elements::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(copy.elements::<f32>().unwrap(), [9.0, 2.0]);
    }

    #[test]
    fn shared_memory_is_read_in_place_and_copied_on_the_first_write() {
        let numbers = Tensor::from_slice(&[40], &(0..40).collect::<Vec<i32>>()).unwrap();
        struct Memory(Tensor);
        impl AsRef<[u8]> for Memory {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        let owner: SharedBytes = Arc::new(Memory(numbers.clone()));
        let shared =
            |shape: &[usize], start| Tensor::from_shared(DType::I32, shape, owner.clone(), start);
        let mut tensor = shared(&[2, 3], 64).unwrap();
        assert_eq!(tensor.elements::<i32>().unwrap(), [16, 17, 18, 19, 20, 21]);
        assert_eq!(tensor.bytes().as_ptr(), numbers.bytes()[64..].as_ptr());
        assert_eq!(tensor, tensor.clone());
        tensor.elements_mut::<i32>().unwrap()[5] = -1;
        assert_eq!(tensor.elements::<i32>().unwrap(), [16, 17, 18, 19, 20, -1]);
        assert_eq!(numbers.elements::<i32>().unwrap()[21], 21);
        assert_eq!(shared(&[24], 64).unwrap().len(), 24);
        assert!(matches!(
            shared(&[25], 64),
            Err(TensorError::Length { expected: 25, found: 24, .. })
        ));
        assert!(matches!(shared(&[1], 1 << 40), Err(TensorError::Length { found: 0, .. })));
        assert!(matches!(shared(&[1], 4), Err(TensorError::Alignment { start: 4 })));
        assert!(matches!(shared(&[usize::MAX, 3], 0), Err(TensorError::TooLarge { .. })));
    }

    #[test]
    fn impossible_sizes_are_refused_without_allocating() {
        let huge = Tensor::zeros(DType::F32, &[usize::MAX, 2]);
        assert!(matches!(huge, Err(TensorError::TooLarge { .. })));
        assert!(matches!(
            Tensor::zeros(DType::U8, &[MAX_BYTES + 1]),
            Err(TensorError::TooLarge { .. })
        ));
        assert!(matches!(
            Tensor::from_bytes(DType::F32, &[3], &[0; 11]),
            Err(TensorError::Length { expected: 3, .. })
        ));
    }

    #[test]
    fn select_and_zero_work_on_any_axis() {
        let tensor = Tensor::from_slice(&[2, 3, 2], &(0..12).collect::<Vec<i64>>()).unwrap();
        assert_eq!(
            tensor.select(1, &[2, 0]),
            Tensor::from_slice(&[2, 2, 2], &[4i64, 5, 0, 1, 10, 11, 6, 7]).unwrap()
        );
        assert_eq!(
            tensor.with_zeroed(2, &[1]),
            Tensor::from_slice(&[2, 3, 2], &[0i64, 0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0]).unwrap()
        );
        assert_eq!(tensor.select(0, &[]).shape(), [0, 3, 2]);
    }

    #[test]
    fn scalar_has_no_dimensions() {
        let scalar = Tensor::scalar(2.5f64);
        assert_eq!((scalar.shape(), scalar.len()), (&[][..], 1));
        assert_eq!(scalar.elements::<f64>().unwrap(), [2.5]);
    }
}
