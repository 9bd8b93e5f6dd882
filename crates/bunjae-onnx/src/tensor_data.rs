//! Tensors of a file as little-endian bytes, and back.
//!
//! ONNX stores the elements of a tensor in one of seven places: raw little-endian bytes, one of
//! five typed lists (narrow integers and 16-bit floats share the list of 32-bit integers), or
//! another file. [`read`] accepts all of them and checks, before it allocates anything, that the
//! number of elements the shape promises is the number that is there. [`write()`] always makes raw
//! bytes.

use std::fmt;

use bunjae_tensor::DType;
use prost::bytes::Bytes;
use thiserror::Error;

use crate::external::{ExternalData, ExternalError, ExternalRef};
use crate::proto::{DATA_LOCATION_EXTERNAL, TensorProto};
use crate::quote;

/// Element types of the ONNX format; the discriminants are the codes stored in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
#[expect(missing_docs, reason = "the variants carry the format's own names")]
pub enum DataType {
    Float = 1,
    Uint8 = 2,
    Int8 = 3,
    Uint16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    String = 8,
    Bool = 9,
    Float16 = 10,
    Double = 11,
    Uint32 = 12,
    Uint64 = 13,
    Complex64 = 14,
    Complex128 = 15,
    Bfloat16 = 16,
    Float8E4M3FN = 17,
    Float8E4M3FNUZ = 18,
    Float8E5M2 = 19,
    Float8E5M2FNUZ = 20,
    Uint4 = 21,
    Int4 = 22,
    Float4E2M1 = 23,
    Float8E8M0 = 24,
    Uint2 = 25,
    Int2 = 26,
    Float6E2M3 = 27,
    Float6E3M2 = 28,
}

impl DataType {
    /// Every element type with the format's name for it, in the order of the codes from 1.
    const ALL: [(DataType, &'static str); 28] = [
        (DataType::Float, "FLOAT"),
        (DataType::Uint8, "UINT8"),
        (DataType::Int8, "INT8"),
        (DataType::Uint16, "UINT16"),
        (DataType::Int16, "INT16"),
        (DataType::Int32, "INT32"),
        (DataType::Int64, "INT64"),
        (DataType::String, "STRING"),
        (DataType::Bool, "BOOL"),
        (DataType::Float16, "FLOAT16"),
        (DataType::Double, "DOUBLE"),
        (DataType::Uint32, "UINT32"),
        (DataType::Uint64, "UINT64"),
        (DataType::Complex64, "COMPLEX64"),
        (DataType::Complex128, "COMPLEX128"),
        (DataType::Bfloat16, "BFLOAT16"),
        (DataType::Float8E4M3FN, "FLOAT8E4M3FN"),
        (DataType::Float8E4M3FNUZ, "FLOAT8E4M3FNUZ"),
        (DataType::Float8E5M2, "FLOAT8E5M2"),
        (DataType::Float8E5M2FNUZ, "FLOAT8E5M2FNUZ"),
        (DataType::Uint4, "UINT4"),
        (DataType::Int4, "INT4"),
        (DataType::Float4E2M1, "FLOAT4E2M1"),
        (DataType::Float8E8M0, "FLOAT8E8M0"),
        (DataType::Uint2, "UINT2"),
        (DataType::Int2, "INT2"),
        (DataType::Float6E2M3, "FLOAT6E2M3"),
        (DataType::Float6E3M2, "FLOAT6E3M2"),
    ];

    /// The type with this code, or `None` for 0 (undefined) and codes of a later format.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().map(|(data_type, _)| data_type).find(|t| t.code() == code)
    }

    /// The code stored in files.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The format's name for the type, such as `FLOAT16`.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|&(t, _)| t == self).map_or("UNDEFINED", |(_, name)| name)
    }

    /// Bytes an element takes in raw storage, for the types that [`read`] supports.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => Some(1),
            Self::Int16 | Self::Uint16 | Self::Float16 | Self::Bfloat16 => Some(2),
            Self::Int32 | Self::Uint32 | Self::Float => Some(4),
            Self::Int64 | Self::Uint64 | Self::Double => Some(8),
            _ => None,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format's element type for one of ours.
pub(crate) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::F64 => DataType::Double,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
    }
}

/// A dense tensor as plain bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorData {
    /// Element type of `bytes`. Never `Float16` or `Bfloat16`: [`read`] widens those to `Float`.
    pub data_type: DataType,
    /// Extents, outermost first; none for a scalar.
    pub dims: Vec<usize>,
    /// The elements in row-major order, little-endian; `Bool` elements are 0 or 1.
    pub bytes: Bytes,
    /// The type the file stores, where it is one that was widened.
    pub widened_from: Option<DataType>,
}

/// Why a tensor of a file cannot be used.
#[derive(Debug, Error)]
#[error("tensor {}: {problem}", quote(name))]
pub struct TensorError {
    /// Name of the tensor; empty for tensors inside attributes.
    pub name: String,
    /// What is wrong with it.
    pub problem: TensorProblem,
}

/// What is wrong with a tensor.
#[derive(Debug, Error)]
pub enum TensorProblem {
    /// The code of the element type is 0 or from a later version of the format.
    #[error("unknown element type {0}")]
    UnknownType(i32),
    /// An element type this program cannot compute with.
    #[error("element type {0} is not supported")]
    UnsupportedType(DataType),
    /// The message holds only a part of the tensor.
    #[error("split over several messages, which is not supported")]
    Segmented,
    /// A negative extent.
    #[error("dimension {axis} is {value}")]
    NegativeDim {
        /// Which axis.
        axis: usize,
        /// Its extent.
        value: i64,
    },
    /// The number of bytes the shape asks for does not fit the address space.
    #[error("dimensions {dims:?} are too large")]
    Overflow {
        /// The dimensions.
        dims: Vec<i64>,
    },
    /// More than one storage form is in use.
    #[error("holds data both as {first} and as {second}")]
    Ambiguous {
        /// One form.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// The data are in a list meant for other element types.
    #[error("{data_type} elements cannot be stored as {storage}")]
    WrongStorage {
        /// The element type.
        data_type: DataType,
        /// The list that holds data.
        storage: &'static str,
    },
    /// The shape promises another number of elements than there are.
    #[error("dimensions {dims:?} ask for {expected} {unit}, but {storage} holds {found}")]
    Length {
        /// The dimensions.
        dims: Vec<i64>,
        /// Elements or bytes expected.
        expected: usize,
        /// Elements or bytes found.
        found: usize,
        /// What is counted.
        unit: &'static str,
        /// The form of storage.
        storage: &'static str,
    },
    /// An element that its type cannot represent.
    #[error("element {index} is {value}, outside the range of {data_type}")]
    Range {
        /// Which element.
        index: usize,
        /// Its stored value.
        value: i128,
        /// The element type.
        data_type: DataType,
    },
    /// The bytes lie in another file and could not be fetched.
    #[error("{0}")]
    External(#[from] ExternalError),
}

/// The elements of `tensor`, fetched from another file where it says so.
///
/// Raw bytes are shared with the tensor and typed lists are converted; 16-bit floats of either
/// kind become `Float`, which represents each of them exactly.
///
/// # Errors
/// [`TensorError`] when the element type is not supported, when shape and storage disagree, or
/// when an external file cannot be used.
pub fn read(tensor: &TensorProto, external: &mut ExternalData) -> Result<TensorData, TensorError> {
    read_inner(tensor, external)
        .map_err(|problem| TensorError { name: tensor.name.clone(), problem })
}

fn read_inner(
    tensor: &TensorProto,
    external: &mut ExternalData,
) -> Result<TensorData, TensorProblem> {
    let stored = DataType::from_code(tensor.data_type)
        .ok_or(TensorProblem::UnknownType(tensor.data_type))?;
    let size = stored.size().ok_or(TensorProblem::UnsupportedType(stored))?;
    if tensor.segment.is_some() {
        return Err(TensorProblem::Segmented);
    }
    let (dims, count) = shape(&tensor.dims, size.max(4))?;
    let bytes = match storage(tensor)? {
        Storage::External => {
            let reference = ExternalRef::parse(&tensor.external_data)?;
            external.read(&reference, count * size)?
        }
        Storage::Raw(bytes) => {
            check_length(tensor, count * size, bytes.len(), "bytes", RAW)?;
            bytes
        }
        Storage::List(list) => {
            check_length(tensor, count, list.len(), "elements", list.name())?;
            convert(&list, stored)?
        }
        Storage::Nothing => {
            check_length(tensor, count, 0, "elements", "the tensor")?;
            Bytes::new()
        }
    };
    let (data_type, widened_from, bytes) = match stored {
        DataType::Float16 => (DataType::Float, Some(stored), widen(&bytes, f16_to_f32)),
        DataType::Bfloat16 => (DataType::Float, Some(stored), widen(&bytes, bf16_to_f32)),
        DataType::Bool => (stored, None, normalise_bools(bytes)),
        _ => (stored, None, bytes),
    };
    Ok(TensorData { data_type, dims, bytes, widened_from })
}

/// A tensor message with the given elements as raw bytes.
///
/// `bytes` are little-endian, row-major, and as many as `dims` and `data_type` ask for.
pub fn write(name: &str, data_type: DataType, dims: &[usize], bytes: Bytes) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: data_type.code(),
        // An extent beyond i64 cannot belong to bytes that exist.
        dims: dims.iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
        raw_data: Some(bytes),
        ..TensorProto::default()
    }
}

/// The extents as `usize` and their product, given that every element may take `widest` bytes.
///
/// The product is also formed with zero extents left out, so that code which multiplies some of
/// the extents later cannot overflow either.
fn shape(dims: &[i64], widest: usize) -> Result<(Vec<usize>, usize), TensorProblem> {
    let overflow = || TensorProblem::Overflow { dims: dims.to_vec() };
    let mut extents = Vec::with_capacity(dims.len());
    let mut bytes = widest;
    for (axis, &value) in dims.iter().enumerate() {
        if value < 0 {
            return Err(TensorProblem::NegativeDim { axis, value });
        }
        let extent = usize::try_from(value).map_err(|_| overflow())?;
        bytes = bytes.checked_mul(extent.max(1)).ok_or_else(overflow)?;
        extents.push(extent);
    }
    if bytes > isize::MAX as usize {
        return Err(overflow());
    }
    let count = if extents.contains(&0) { 0 } else { bytes / widest };
    Ok((extents, count))
}

const RAW: &str = "raw_data";

/// Where a tensor keeps its elements.
enum Storage<'a> {
    Nothing,
    Raw(Bytes),
    List(List<'a>),
    External,
}

/// One of the typed lists.
enum List<'a> {
    Float(&'a [f32]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Double(&'a [f64]),
    Uint64(&'a [u64]),
    String(&'a [Vec<u8>]),
}

impl List<'_> {
    fn len(&self) -> usize {
        match self {
            List::Float(x) => x.len(),
            List::Int32(x) => x.len(),
            List::Int64(x) => x.len(),
            List::Double(x) => x.len(),
            List::Uint64(x) => x.len(),
            List::String(x) => x.len(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            List::Float(_) => "float_data",
            List::Int32(_) => "int32_data",
            List::Int64(_) => "int64_data",
            List::Double(_) => "double_data",
            List::Uint64(_) => "uint64_data",
            List::String(_) => "string_data",
        }
    }
}

impl Storage<'_> {
    fn name(&self) -> &'static str {
        match self {
            Storage::Nothing => "nothing",
            Storage::Raw(_) => RAW,
            Storage::List(list) => list.name(),
            Storage::External => "external data",
        }
    }
}

/// The one form of storage in use.
fn storage(tensor: &TensorProto) -> Result<Storage<'_>, TensorProblem> {
    let lists = [
        List::Float(&tensor.float_data),
        List::Int32(&tensor.int32_data),
        List::Int64(&tensor.int64_data),
        List::Double(&tensor.double_data),
        List::Uint64(&tensor.uint64_data),
        List::String(&tensor.string_data),
    ];
    let external = tensor.data_location == DATA_LOCATION_EXTERNAL;
    // An empty byte string beside another form is what some writers leave; it holds nothing.
    let raw = tensor.raw_data.clone().filter(|bytes| !bytes.is_empty());
    let mut used = external
        .then_some(Storage::External)
        .into_iter()
        .chain(raw.map(Storage::Raw))
        .chain(lists.into_iter().filter(|list| list.len() > 0).map(Storage::List));
    let first = used.next().unwrap_or(Storage::Nothing);
    match used.next() {
        None => Ok(first),
        Some(second) => {
            Err(TensorProblem::Ambiguous { first: first.name(), second: second.name() })
        }
    }
}

fn check_length(
    tensor: &TensorProto,
    expected: usize,
    found: usize,
    unit: &'static str,
    storage: &'static str,
) -> Result<(), TensorProblem> {
    if expected == found {
        return Ok(());
    }
    Err(TensorProblem::Length { dims: tensor.dims.clone(), expected, found, unit, storage })
}

/// The elements of a typed list as little-endian bytes of their own type.
fn convert(list: &List<'_>, data_type: DataType) -> Result<Bytes, TensorProblem> {
    use DataType as D;
    match (list, data_type) {
        (List::Float(x), D::Float) => Ok(x.iter().flat_map(|v| v.to_le_bytes()).collect()),
        (List::Double(x), D::Double) => Ok(x.iter().flat_map(|v| v.to_le_bytes()).collect()),
        (List::Int64(x), D::Int64) => Ok(x.iter().flat_map(|v| v.to_le_bytes()).collect()),
        (List::Uint64(x), D::Uint64) => Ok(x.iter().flat_map(|v| v.to_le_bytes()).collect()),
        (List::Uint64(x), D::Uint32) => narrow(x, data_type, u32::to_le_bytes),
        (List::Int32(x), D::Int32) => Ok(x.iter().flat_map(|v| v.to_le_bytes()).collect()),
        (List::Int32(x), D::Int16) => narrow(x, data_type, i16::to_le_bytes),
        (List::Int32(x), D::Int8) => narrow(x, data_type, i8::to_le_bytes),
        // The bits of a 16-bit float are stored as an unsigned number.
        (List::Int32(x), D::Uint16 | D::Float16 | D::Bfloat16) => {
            narrow(x, data_type, u16::to_le_bytes)
        }
        (List::Int32(x), D::Uint8 | D::Bool) => narrow(x, data_type, u8::to_le_bytes),
        (list, _) => Err(TensorProblem::WrongStorage { data_type, storage: list.name() }),
    }
}

/// Converts each value to the narrower type `T`, refusing those that do not fit.
fn narrow<W, T, const N: usize>(
    values: &[W],
    data_type: DataType,
    to_le_bytes: fn(T) -> [u8; N],
) -> Result<Bytes, TensorProblem>
where
    W: Copy + Into<i128>,
    T: TryFrom<W>,
{
    let mut bytes = Vec::with_capacity(values.len() * N);
    for (index, &value) in values.iter().enumerate() {
        let narrowed = T::try_from(value).map_err(|_| TensorProblem::Range {
            index,
            value: value.into(),
            data_type,
        })?;
        bytes.extend_from_slice(&to_le_bytes(narrowed));
    }
    Ok(bytes.into())
}

/// Replaces each little-endian 16-bit float by the little-endian `f32` of the same value.
fn widen(bytes: &[u8], to_f32: fn(u16) -> f32) -> Bytes {
    let mut wide = Vec::with_capacity(bytes.len() * 2);
    for pair in bytes.chunks_exact(2) {
        if let &[low, high] = pair {
            wide.extend_from_slice(&to_f32(u16::from_le_bytes([low, high])).to_le_bytes());
        }
    }
    wide.into()
}

/// The value of an IEEE 754 half-precision number; payloads of NaNs are kept.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Subnormal: fraction x 2^-24, exact in f32. The sign is set on the bits to keep -0.
        0 => {
            let magnitude = fraction as f32 * f32::from_bits((127 - 24) << 23);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0xff << 23 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

/// The value of a bfloat16 number, which is the upper half of an `f32`.
fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Maps every non-zero byte to 1, as readers of the format do.
fn normalise_bools(bytes: Bytes) -> Bytes {
    if bytes.iter().all(|&byte| byte <= 1) {
        return bytes;
    }
    bytes.iter().map(|&byte| u8::from(byte != 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Segment, StringStringEntryProto};

    fn tensor(data_type: DataType, dims: &[i64]) -> TensorProto {
        let dims = dims.to_vec();
        TensorProto { name: "t".into(), data_type: data_type.code(), dims, ..Default::default() }
    }

    fn read_alone(tensor: &TensorProto) -> Result<TensorData, String> {
        read(tensor, &mut ExternalData::none(0)).map_err(|error| error.to_string())
    }

    fn error(tensor: &TensorProto) -> String {
        read_alone(tensor).unwrap_err()
    }

    #[test]
    fn codes_and_names_agree() {
        for (index, (data_type, name)) in DataType::ALL.into_iter().enumerate() {
            assert_eq!(data_type.code(), index as i32 + 1);
            assert_eq!(DataType::from_code(data_type.code()), Some(data_type));
            assert_eq!(data_type.to_string(), name);
            assert_eq!(format!("{data_type:?}").to_uppercase(), name);
        }
        assert_eq!(DataType::from_code(0), None);
        assert_eq!(DataType::from_code(29), None);
    }

    /// Every typed list gives the bytes that raw storage of the same elements has.
    #[test]
    fn typed_lists_and_raw_bytes_are_the_same_tensor() {
        use DataType as D;
        fn raw<const N: usize>(elements: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
            elements.into_iter().flatten().collect()
        }
        let ints = |data_type, int32_data: &[i32]| {
            let int32_data = int32_data.to_vec();
            TensorProto { int32_data, ..tensor(data_type, &[3]) }
        };
        let longs = |data_type, uint64_data: &[u64]| {
            let uint64_data = uint64_data.to_vec();
            TensorProto { uint64_data, ..tensor(data_type, &[3]) }
        };
        let cases = [
            (
                TensorProto { float_data: vec![1.5, -0.0, f32::MAX], ..tensor(D::Float, &[3]) },
                raw([1.5, -0.0, f32::MAX].map(f32::to_le_bytes)),
            ),
            (
                TensorProto { double_data: vec![1.5, -0.0, f64::MAX], ..tensor(D::Double, &[3]) },
                raw([1.5, -0.0, f64::MAX].map(f64::to_le_bytes)),
            ),
            (
                TensorProto { int64_data: vec![1, -2, i64::MIN], ..tensor(D::Int64, &[3]) },
                raw([1, -2, i64::MIN].map(i64::to_le_bytes)),
            ),
            (longs(D::Uint64, &[1, 2, u64::MAX]), raw([1, 2, u64::MAX].map(u64::to_le_bytes))),
            (longs(D::Uint32, &[1, 2, 0xffff_ffff]), raw([1, 2, u32::MAX].map(u32::to_le_bytes))),
            (ints(D::Int32, &[1, -2, i32::MIN]), raw([1, -2, i32::MIN].map(i32::to_le_bytes))),
            (ints(D::Int16, &[1, -2, -32768]), raw([1, -2, i16::MIN].map(i16::to_le_bytes))),
            (ints(D::Uint16, &[1, 2, 65535]), raw([1, 2, u16::MAX].map(u16::to_le_bytes))),
            (ints(D::Int8, &[1, -2, -128]), vec![1, 0xfe, 0x80]),
            (ints(D::Uint8, &[1, 2, 255]), vec![1, 2, 255]),
            (ints(D::Bool, &[1, 0, 1]), vec![1, 0, 1]),
            // Bits of 1, -2 and infinity.
            (
                ints(D::Float16, &[0x3c00, 0xc000, 0x7c00]),
                raw([0x3c00, 0xc000, 0x7c00].map(u16::to_le_bytes)),
            ),
            (
                ints(D::Bfloat16, &[0x3f80, 0xc000, 0x7f80]),
                raw([0x3f80, 0xc000, 0x7f80].map(u16::to_le_bytes)),
            ),
        ];
        for (listed, bytes) in cases {
            let data_type = DataType::from_code(listed.data_type).unwrap();
            let from_list = read_alone(&listed).unwrap();
            let from_raw = read_alone(&write("t", data_type, &[3], bytes.clone().into())).unwrap();
            assert_eq!(from_list, from_raw, "{data_type}");
            assert_eq!(from_raw.dims, [3]);
            if matches!(data_type, D::Float16 | D::Bfloat16) {
                let wide = raw([1.0, -2.0, f32::INFINITY].map(f32::to_le_bytes));
                assert_eq!(from_raw.bytes, wide);
                assert_eq!(
                    (from_raw.data_type, from_raw.widened_from),
                    (D::Float, Some(data_type))
                );
            } else {
                assert_eq!(from_raw.bytes, bytes);
                assert_eq!((from_raw.data_type, from_raw.widened_from), (data_type, None));
            }
        }
    }

    #[test]
    fn every_half_precision_number_keeps_its_value() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let wide = f16_to_f32(bits);
            match exponent {
                31 if fraction != 0.0 => assert!(wide.is_nan()),
                31 => assert_eq!(f64::from(wide), sign * f64::INFINITY),
                0 => assert_eq!(f64::from(wide), sign * fraction / 1024.0 * 2f64.powi(-14)),
                _ => {
                    let value = sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15);
                    assert_eq!(f64::from(wide), value);
                }
            }
            assert_eq!(wide.is_sign_negative(), bits >> 15 == 1);
        }
    }

    #[test]
    fn scalars_and_empty_tensors_are_read() {
        let scalar = TensorProto { float_data: vec![2.0], ..tensor(DataType::Float, &[]) };
        let scalar = read_alone(&scalar).unwrap();
        assert_eq!((scalar.dims.as_slice(), scalar.bytes.len()), (&[][..], 4));
        let empty = read_alone(&tensor(DataType::Int64, &[2, 0])).unwrap();
        assert_eq!((empty.dims.as_slice(), empty.bytes.len()), (&[2, 0][..], 0));
    }

    #[test]
    fn any_non_zero_byte_is_true() {
        let bools = write("t", DataType::Bool, &[3], Bytes::from_static(&[0, 2, 255]));
        assert_eq!(read_alone(&bools).unwrap().bytes, [0u8, 1, 1].as_slice());
    }

    #[test]
    fn shapes_that_do_not_fit_the_data_are_refused_before_anything_is_allocated() {
        let raw = |dims: &[usize], length| {
            error(&write("t", DataType::Float, dims, vec![0; length].into()))
        };
        assert_eq!(
            raw(&[2, 3], 20),
            "tensor `t`: dimensions [2, 3] ask for 24 bytes, but raw_data holds 20"
        );
        assert_eq!(
            raw(&[1 << 40], 4),
            "tensor `t`: dimensions [1099511627776] ask for \
            4398046511104 bytes, but raw_data holds 4"
        );
        assert_eq!(
            raw(&[1 << 31, 1 << 31, 4], 4),
            "tensor `t`: dimensions [2147483648, 2147483648, 4] are too large"
        );
        // A zero elsewhere does not excuse extents whose product overflows.
        assert_eq!(
            raw(&[0, 1 << 31, 1 << 31, 4], 0),
            "tensor `t`: dimensions [0, 2147483648, 2147483648, 4] are too large"
        );
        assert_eq!(error(&tensor(DataType::Float, &[3, -1])), "tensor `t`: dimension 1 is -1");
        let short = TensorProto { int64_data: vec![1], ..tensor(DataType::Int64, &[2]) };
        assert_eq!(
            error(&short),
            "tensor `t`: dimensions [2] ask for 2 elements, but int64_data holds 1"
        );
        assert_eq!(
            error(&tensor(DataType::Float, &[2])),
            "tensor `t`: dimensions [2] ask for 2 elements, but the tensor holds 0"
        );
    }

    #[test]
    fn contradictory_storage_is_refused() {
        let two = TensorProto {
            float_data: vec![1.0],
            raw_data: Some(Bytes::from_static(&[0; 4])),
            ..tensor(DataType::Float, &[1])
        };
        assert_eq!(error(&two), "tensor `t`: holds data both as raw_data and as float_data");
        let wrong = TensorProto { int32_data: vec![1], ..tensor(DataType::Float, &[1]) };
        assert_eq!(error(&wrong), "tensor `t`: FLOAT elements cannot be stored as int32_data");
        let wide = TensorProto { int32_data: vec![1, 300], ..tensor(DataType::Int8, &[2]) };
        assert_eq!(error(&wide), "tensor `t`: element 1 is 300, outside the range of INT8");
        let negative = TensorProto { int32_data: vec![-1], ..tensor(DataType::Uint8, &[1]) };
        assert_eq!(error(&negative), "tensor `t`: element 0 is -1, outside the range of UINT8");
        let segment = Some(Segment { begin: 0, end: 1 });
        let part = TensorProto { segment, ..tensor(DataType::Float, &[1]) };
        assert_eq!(error(&part), "tensor `t`: split over several messages, which is not supported");
    }

    #[test]
    fn element_types_without_support_are_named() {
        let unsupported: Vec<DataType> = DataType::ALL
            .into_iter()
            .map(|(data_type, _)| data_type)
            .filter(|&data_type| read_alone(&tensor(data_type, &[0])).is_err())
            .collect();
        assert_eq!(unsupported.len(), 15);
        for data_type in unsupported {
            let message = format!("tensor `t`: element type {data_type} is not supported");
            assert_eq!(error(&tensor(data_type, &[0])), message);
        }
        let unknown = TensorProto { data_type: 99, ..tensor(DataType::Float, &[0]) };
        assert_eq!(error(&unknown), "tensor `t`: unknown element type 99");
    }

    #[test]
    fn external_tensors_need_a_folder() {
        let entry = StringStringEntryProto { key: "location".into(), value: "w".into() };
        let external = TensorProto {
            data_location: DATA_LOCATION_EXTERNAL,
            external_data: vec![entry],
            ..tensor(DataType::Float, &[0])
        };
        assert_eq!(
            error(&external),
            "tensor `t`: its data lie in another file, but the model itself was not read from one"
        );
    }
}
