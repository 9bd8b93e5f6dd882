//! Small tensors of which every element is known, if only as an expression over the input's size.

use std::fmt;

use bunjae_ir::Dim;
use bunjae_tensor::{DType, Element, Tensor};

use super::problem::ProblemKind;
use crate::tensor_data::{DataType, TensorData, data_type};

/// The most elements such a tensor may have. Shapes have a handful; anchors have thousands.
pub(super) const MAX_ELEMENTS: usize = 1 << 16;

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// An integer, or a truth value as 0 or 1.
    Int(i64),
    /// A number.
    Float(f64),
    /// A size that depends on symbols; a known one is an integer.
    Size(Dim),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Int(value) => write!(f, "{value}"),
            Scalar::Float(value) => write!(f, "{value:?}"),
            Scalar::Size(dim) => write!(f, "{dim}"),
        }
    }
}

impl From<Dim> for Scalar {
    fn from(dim: Dim) -> Self {
        match dim {
            // A known size is at most the size of memory.
            Dim::Fixed(size) => Scalar::Int(i64::try_from(size).unwrap_or(i64::MAX)),
            dim => Scalar::Size(dim),
        }
    }
}

/// A tensor of known elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Elements {
    pub(super) data_type: DataType,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<Scalar>,
}

impl Elements {
    /// A list.
    pub(super) fn vector(data_type: DataType, values: Vec<Scalar>) -> Self {
        Elements { data_type, shape: vec![values.len()], values }
    }

    /// A tensor without dimensions.
    pub(super) fn scalar(data_type: DataType, value: Scalar) -> Self {
        Elements { data_type, shape: Vec::new(), values: vec![value] }
    }

    /// The same value everywhere.
    pub(super) fn full(
        data_type: DataType,
        shape: Vec<usize>,
        value: &Scalar,
    ) -> Result<Self, ProblemKind> {
        let values = vec![value.clone(); count(&shape)?];
        Ok(Elements { data_type, shape, values })
    }

    /// A tensor of another shape whose element at an index is this one's at `source(index)`.
    pub(super) fn rearranged(
        &self,
        shape: Vec<usize>,
        source: impl Fn(&[usize]) -> usize,
    ) -> Result<Self, ProblemKind> {
        let total = count(&shape)?;
        let mut index = vec![0; shape.len()];
        let mut values = Vec::with_capacity(total);
        for _ in 0..total {
            let value = self.values.get(source(&index));
            values.push(value.cloned().ok_or(ProblemKind::TooLarge)?);
            for (at, size) in index.iter_mut().zip(&shape).rev() {
                *at += 1;
                if *at < *size {
                    break;
                }
                *at = 0;
            }
        }
        Ok(Elements { data_type: self.data_type, shape, values })
    }

    /// The elements repeated along axes of length 1 to fill `shape`.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Result<Self, ProblemKind> {
        if self.shape == shape {
            return Ok(self.clone());
        }
        let missing = shape.len().saturating_sub(self.shape.len());
        self.rearranged(shape.to_vec(), |index| {
            let own = index.iter().skip(missing).zip(&self.shape);
            own.fold(0, |flat, (&at, &size)| flat * size + if size == 1 { 0 } else { at })
        })
    }

    pub(super) fn of_tensor(tensor: &Tensor) -> Option<Self> {
        fn list<T: Element>(tensor: &Tensor, scalar: impl Fn(T) -> Scalar) -> Option<Vec<Scalar>> {
            Some(tensor.elements::<T>().ok()?.iter().map(|&x| scalar(x)).collect())
        }
        count(tensor.shape()).ok()?;
        let values = match tensor.dtype() {
            DType::F32 => list(tensor, |x: f32| Scalar::Float(x.into())),
            DType::F64 => list(tensor, Scalar::Float),
            DType::I8 => list(tensor, |x: i8| Scalar::Int(x.into())),
            DType::U8 => list(tensor, |x: u8| Scalar::Int(x.into())),
            DType::I32 => list(tensor, |x: i32| Scalar::Int(x.into())),
            DType::I64 => list(tensor, Scalar::Int),
        };
        let data_type = data_type(tensor.dtype());
        Some(Elements { data_type, shape: tensor.shape().to_vec(), values: values? })
    }

    /// The elements of a tensor of a type that [`Tensor`] does not have.
    pub(super) fn of_data(data: &TensorData) -> Result<Self, ProblemKind> {
        fn list<const SIZE: usize>(
            bytes: &[u8],
            scalar: impl Fn([u8; SIZE]) -> Option<i64>,
        ) -> Option<Vec<Scalar>> {
            bytes.as_chunks().0.iter().map(|&chunk| scalar(chunk).map(Scalar::Int)).collect()
        }
        let unsupported = || ProblemKind::ElementType(data.data_type.name().to_owned());
        if count(&data.dims).is_err() {
            return Err(unsupported());
        }
        let bytes = &data.bytes;
        let values = match data.data_type {
            DataType::Bool => list(bytes, |[x]: [u8; 1]| Some(x.into())),
            DataType::Int16 => list(bytes, |x| Some(i16::from_le_bytes(x).into())),
            DataType::Uint16 => list(bytes, |x| Some(u16::from_le_bytes(x).into())),
            DataType::Uint32 => list(bytes, |x| Some(u32::from_le_bytes(x).into())),
            DataType::Uint64 => list(bytes, |x| u64::from_le_bytes(x).try_into().ok()),
            _ => None,
        };
        let values = values.ok_or_else(unsupported)?;
        Ok(Elements { data_type: data.data_type, shape: data.dims.clone(), values })
    }

    /// The elements as a tensor for computing.
    pub(super) fn to_tensor(&self) -> Result<Tensor, ProblemKind> {
        fn list<T: Element>(
            elements: &Elements,
            convert: impl Fn(&Scalar) -> Option<T>,
        ) -> Result<Tensor, ProblemKind> {
            let convert = |scalar| {
                convert(scalar).ok_or_else(|| match scalar {
                    Scalar::Size(dim) => ProblemKind::SizeArithmetic(dim.to_string()),
                    scalar => ProblemKind::Arithmetic(format!("{scalar} as {}", T::DTYPE)),
                })
            };
            let values = elements.values.iter().map(convert).collect::<Result<Vec<T>, _>>()?;
            Tensor::from_slice(&elements.shape, &values).map_err(|_| ProblemKind::TooLarge)
        }
        let float = |scalar: &Scalar| match scalar {
            Scalar::Float(value) => Some(*value),
            _ => None,
        };
        let int = |scalar: &Scalar| match scalar {
            Scalar::Int(value) => Some(*value),
            _ => None,
        };
        match dtype(self.data_type) {
            Some(DType::F32) => list(self, |x| float(x).map(|x| x as f32)),
            Some(DType::F64) => list(self, float),
            Some(DType::I8) => list(self, |x| i8::try_from(int(x)?).ok()),
            Some(DType::U8) => list(self, |x| u8::try_from(int(x)?).ok()),
            Some(DType::I32) => list(self, |x| i32::try_from(int(x)?).ok()),
            Some(DType::I64) => list(self, int),
            None => Err(ProblemKind::ElementType(self.data_type.name().to_owned())),
        }
    }
}

/// The number of elements of a tensor that is small enough to be computed with here.
///
/// A length of 0 does not excuse the others, so that every product of some of them is small, too.
pub(super) fn count(shape: &[usize]) -> Result<usize, ProblemKind> {
    let extent = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)));
    match extent {
        Some(extent) if extent <= MAX_ELEMENTS => Ok(if shape.contains(&0) { 0 } else { extent }),
        _ => Err(ProblemKind::TooMuchWork),
    }
}

/// The element type for computing, where there is one.
pub(super) fn dtype(data_type: DataType) -> Option<DType> {
    Some(match data_type {
        // 16-bit floats are widened wherever they appear.
        DataType::Float | DataType::Float16 | DataType::Bfloat16 => DType::F32,
        DataType::Double => DType::F64,
        DataType::Int8 => DType::I8,
        DataType::Uint8 => DType::U8,
        DataType::Int32 => DType::I32,
        DataType::Int64 => DType::I64,
        _ => return None,
    })
}
