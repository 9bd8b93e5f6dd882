//! From bytes to [`ModelProto`], with every bound checked before anything is allocated.
//!
//! Protobuf is compact enough to be dangerous: the two bytes `0a 00` are an empty node, which
//! decodes into a struct of hundreds of bytes, so a small file can ask for a large amount of
//! memory. [`decode_model`] therefore walks the bytes once without allocating, along a table of
//! the messages of [`crate::proto`], and computes what the decoded structs will occupy, growth of
//! the vectors included. Only a file that stays within [`structure_budget`] is decoded.
//!
//! The walk also finds every malformation (truncation, wrong wire types, invalid UTF-8, endless
//! nesting) and reports it with the offset in the file and the name of the field, which the
//! decoder alone cannot do. What passes the walk decodes; the tests hold it to that.

use std::fmt;
use std::mem::size_of;
use std::ops::Range;

use prost::Message;
use prost::bytes::Bytes;
use thiserror::Error;

use crate::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, MapType, ModelProto, NodeProto,
    OpaqueType, OperatorSetIdProto, OptionalType, Segment, SequenceType, SparseTensorProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TensorShapeProto, TensorType,
    TrainingInfoProto, TypeProto, ValueInfoProto,
};

/// Largest serialised message protobuf allows, in bytes: its lengths are signed 32-bit numbers.
pub const MAX_MESSAGE_BYTES: u64 = i32::MAX as u64;

/// How deep messages may lie inside each other. A subgraph inside a subgraph costs three levels.
pub const MAX_NESTING: usize = 64;

/// Bytes that the structs decoded from a file of `file_bytes` bytes may occupy; weights stored as
/// `raw_data` are shared with the file and do not count.
///
/// Real models need at most about twenty bytes for each byte of graph structure and far less once
/// weights dominate; the constant part leaves room for small files, the cap keeps a large file of
/// nothing but structure within reason.
pub fn structure_budget(file_bytes: usize) -> usize {
    const BASE: usize = 16 << 20;
    const CAP: usize = 1 << 30;
    file_bytes.saturating_mul(32).saturating_add(BASE).min(CAP)
}

/// Why bytes are not an acceptable ONNX model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// There is nothing to read.
    #[error("the file is empty")]
    Empty,
    /// The bytes are those of another kind of file.
    #[error("this is {0}, not an ONNX model")]
    NotOnnx(&'static str),
    /// More bytes than protobuf can describe.
    #[error("the model has {bytes} bytes, more than the {limit} a model may have")]
    TooLarge {
        /// Size of the model.
        bytes: u64,
        /// Largest size accepted.
        limit: u64,
    },
    /// A field promises more bytes than its message has left.
    #[error(
        "byte {offset}: {context} needs {needed} bytes, but {available} are left; \
         the file is truncated or damaged"
    )]
    Truncated {
        /// Where the field's contents begin.
        offset: usize,
        /// Message and field.
        context: String,
        /// Bytes the field needs.
        needed: u64,
        /// Bytes there are.
        available: usize,
    },
    /// A variable-length integer does not end within its message or passes 64 bits.
    #[error("byte {offset}: malformed integer in {context}")]
    Varint {
        /// Where the integer begins.
        offset: usize,
        /// Message and field.
        context: String,
    },
    /// A field key with a number or wire type protobuf does not have.
    #[error("byte {offset}: invalid field key {key:#x} in {message}")]
    Key {
        /// Where the key begins.
        offset: usize,
        /// Message that holds it.
        message: &'static str,
        /// The key.
        key: u64,
    },
    /// A known field is stored in a form that does not fit its type.
    #[error("byte {offset}: {context} is stored with wire type {found}")]
    WireType {
        /// Where the field begins.
        offset: usize,
        /// Message and field.
        context: String,
        /// Wire type found.
        found: u8,
    },
    /// Text that is not UTF-8.
    #[error("byte {offset}: {context} is not valid UTF-8")]
    Utf8 {
        /// First offending byte.
        offset: usize,
        /// Message and field.
        context: String,
    },
    /// Messages inside messages beyond [`MAX_NESTING`].
    #[error("byte {offset}: messages are nested more than {MAX_NESTING} deep")]
    TooDeep {
        /// Where the innermost message begins.
        offset: usize,
    },
    /// The decoded structs would pass [`structure_budget`].
    #[error(
        "byte {offset}: the file describes more structure than a model of its size can have \
         (over {budget} bytes of memory, reached in {context})"
    )]
    TooComplex {
        /// Where the budget was passed.
        offset: usize,
        /// Message and field.
        context: String,
        /// The budget, in bytes.
        budget: usize,
    },
    /// The decoder refused what the walk accepted.
    #[error("the protobuf decoder failed: {0}")]
    Decode(String),
}

/// Decodes a model. The weights stored as `raw_data` share the memory of `bytes`.
///
/// # Errors
/// [`WireError`], with offset and field, for bytes that are malformed or that would take more
/// memory than a model of that size can need.
pub fn decode_model(bytes: Bytes) -> Result<ModelProto, WireError> {
    if bytes.is_empty() {
        return Err(WireError::Empty);
    }
    if bytes.len() as u64 > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge { bytes: bytes.len() as u64, limit: MAX_MESSAGE_BYTES });
    }
    match scan(&bytes) {
        Ok(_) => ModelProto::decode(bytes).map_err(|error| WireError::Decode(error.to_string())),
        // Other formats do not survive the walk, and their names help more than an offset.
        Err(error) => Err(recognise(&bytes).map_or(error, WireError::NotOnnx)),
    }
}

/// Names the format of a file that people hand over in place of an ONNX model.
fn recognise(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"PK\x03\x04") {
        Some("a zip archive (such as a PyTorch or Keras checkpoint)")
    } else if starts(b"\x89HDF\r\n\x1a\n") {
        Some("an HDF5 file (such as a Keras checkpoint)")
    } else if starts(b"version https://git-lfs") {
        Some("a Git LFS pointer (the model itself was not downloaded)")
    } else if bytes.get(4..8) == Some(b"TFL3") {
        Some("a TensorFlow Lite model")
    } else if bytes.get(8..9) == Some(b"{") && bytes.get(6..8) == Some(b"\0\0") {
        Some("a safetensors file")
    } else if starts(b"<!DOCTYPE") || starts(b"<html") {
        Some("a web page")
    } else {
        None
    }
}

/// What a walk over a model found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scan {
    /// Bytes the decoded structs will occupy.
    structure: usize,
    /// Fields of a known message that the table does not list; a decoder skips them.
    unknown_fields: usize,
}

/// Walks a serialised [`ModelProto`] without allocating.
fn scan(bytes: &[u8]) -> Result<Scan, WireError> {
    let budget = structure_budget(bytes.len());
    let mut walk = Walk { bytes, budget, found: Scan::default() };
    walk.charge(MODEL.size, 0, Place { layout: &MODEL, field: None })?;
    walk.message(&MODEL, 0..bytes.len(), 1)?;
    Ok(walk.found)
}

struct Walk<'a> {
    bytes: &'a [u8],
    budget: usize,
    found: Scan,
}

impl Walk<'_> {
    /// Walks the message that occupies `range` of the file.
    fn message(
        &mut self,
        layout: &'static Layout,
        range: Range<usize>,
        depth: usize,
    ) -> Result<(), WireError> {
        if depth > MAX_NESTING {
            return Err(WireError::TooDeep { offset: range.start });
        }
        // How often each field has occurred, for the growth of its vector.
        let mut counts = [0usize; MAX_FIELDS];
        let Range { start: mut at, end } = range;
        while at < end {
            let offset = at;
            let message = Place { layout, field: None };
            let key = self.varint(&mut at, end, message)?;
            let (number, wire) = (key >> 3, (key & 7) as u8);
            let valid = key <= u64::from(u32::MAX)
                && number != 0
                && matches!(wire, WIRE_VARINT | WIRE_64 | WIRE_LEN | WIRE_32);
            if !valid {
                return Err(WireError::Key { offset, message: layout.name, key });
            }
            let known = layout.fields.iter().zip(&mut counts);
            let Some((field, count)) = known.into_iter().find(|(f, _)| f.number == number) else {
                self.found.unknown_fields += 1;
                self.skip(wire, &mut at, end, message)?;
                continue;
            };
            let place = Place { layout, field: Some(field) };
            let payload = self.skip(wire, &mut at, end, place)?;
            let added = match (field.value, wire) {
                (Value::Varint(_), WIRE_VARINT)
                | (Value::Fixed32, WIRE_32)
                | (Value::Fixed64, WIRE_64)
                | (Value::Text | Value::Bytes | Value::Message(_), WIRE_LEN) => 1,
                // Repeated numbers may come one by one or packed into one run.
                (Value::Varint(_), WIRE_LEN) if field.repeated => {
                    self.packed_varints(&payload, place)?
                }
                (Value::Fixed32, WIRE_LEN) if field.repeated => packed(&payload, 4, place)?,
                (Value::Fixed64, WIRE_LEN) if field.repeated => packed(&payload, 8, place)?,
                _ => {
                    let context = place.to_string();
                    return Err(WireError::WireType { offset, context, found: wire });
                }
            };
            self.charge(field.growth(*count, added), offset, place)?;
            *count += added;
            match field.value {
                Value::Message(inner) => self.message(inner, payload, depth + 1)?,
                Value::Text => self.utf8(payload, place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds `bytes` of memory to the account.
    fn charge(&mut self, bytes: usize, offset: usize, place: Place) -> Result<(), WireError> {
        self.found.structure = self.found.structure.saturating_add(bytes);
        if self.found.structure > self.budget {
            let (context, budget) = (place.to_string(), self.budget);
            return Err(WireError::TooComplex { offset, context, budget });
        }
        Ok(())
    }

    /// Reads a base-128 integer and moves past it.
    fn varint(&self, at: &mut usize, end: usize, place: Place) -> Result<u64, WireError> {
        let offset = *at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(*at).filter(|_| *at < end) else { break };
            *at += 1;
            // The tenth byte has room for the highest bit alone.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Varint { offset, context: place.to_string() })
    }

    /// Moves past the value of a field and returns where its contents lie.
    fn skip(
        &self,
        wire: u8,
        at: &mut usize,
        end: usize,
        place: Place,
    ) -> Result<Range<usize>, WireError> {
        let needed = match wire {
            WIRE_VARINT => {
                let start = *at;
                self.varint(at, end, place)?;
                return Ok(start..*at);
            }
            WIRE_LEN => self.varint(at, end, place)?,
            WIRE_64 => 8,
            _ => 4,
        };
        let (offset, available) = (*at, end - *at);
        match usize::try_from(needed) {
            Ok(length) if length <= available => {
                *at += length;
                Ok(offset..*at)
            }
            _ => {
                let context = place.to_string();
                Err(WireError::Truncated { offset, context, needed, available })
            }
        }
    }

    /// Checks a run of packed base-128 integers and returns how many there are.
    fn packed_varints(&self, range: &Range<usize>, place: Place) -> Result<usize, WireError> {
        let mut at = range.start;
        let mut elements = 0;
        while at < range.end {
            self.varint(&mut at, range.end, place)?;
            elements += 1;
        }
        Ok(elements)
    }

    fn utf8(&self, range: Range<usize>, place: Place) -> Result<(), WireError> {
        let start = range.start;
        let text = self.bytes.get(range).unwrap_or_default();
        std::str::from_utf8(text).map(drop).map_err(|error| WireError::Utf8 {
            offset: start + error.valid_up_to(),
            context: place.to_string(),
        })
    }
}

/// Checks a run of packed numbers of `width` bytes and returns how many there are.
fn packed(range: &Range<usize>, width: usize, place: Place) -> Result<usize, WireError> {
    let available = range.len() % width;
    if available != 0 {
        let (offset, context) = (range.end - available, place.to_string());
        return Err(WireError::Truncated { offset, context, needed: width as u64, available });
    }
    Ok(range.len() / width)
}

/// Message and field, for errors.
#[derive(Clone, Copy)]
struct Place {
    layout: &'static Layout,
    field: Option<&'static Field>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.layout.name)?;
        self.field.map_or(Ok(()), |field| write!(f, ".{}", field.name))
    }
}

const WIRE_VARINT: u8 = 0;
const WIRE_64: u8 = 1;
const WIRE_LEN: u8 = 2;
const WIRE_32: u8 = 5;

/// No message has more fields than this; [`layout!`] checks it.
const MAX_FIELDS: usize = 20;

/// A message: its name, the size of its struct and its fields.
struct Layout {
    name: &'static str,
    size: usize,
    fields: &'static [Field],
}

/// A field of a message.
struct Field {
    number: u64,
    name: &'static str,
    value: Value,
    repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Value {
    /// A base-128 integer, decoded into this many bytes.
    Varint(usize),
    /// Four bytes.
    Fixed32,
    /// Eight bytes.
    Fixed64,
    /// UTF-8.
    Text,
    /// Any bytes.
    Bytes,
    /// Another message.
    Message(&'static Layout),
}

impl Field {
    /// Memory taken by `added` more occurrences after `count` earlier ones.
    ///
    /// A vector starts with room for four elements and doubles when full. A single message may be
    /// boxed and is allocated once; a single number or string lies within its message. Characters
    /// of strings and numbers of fixed width are not counted: they take at most twice the place
    /// they have in the file.
    fn growth(&self, count: usize, added: usize) -> usize {
        let size = match self.value {
            Value::Varint(size) => size,
            Value::Fixed32 | Value::Fixed64 => 0,
            Value::Text | Value::Bytes => size_of::<Vec<u8>>(),
            Value::Message(layout) => layout.size,
        };
        let capacity = |n: usize| match (self.repeated, self.value, n) {
            (_, _, 0) => 0,
            (true, _, n) => n.next_power_of_two().max(4),
            (false, Value::Message(_), _) => 1,
            (false, _, _) => 0,
        };
        size.saturating_mul(capacity(count + added) - capacity(count))
    }
}

const fn one(number: u64, name: &'static str, value: Value) -> Field {
    Field { number, name, value, repeated: false }
}

const fn many(number: u64, name: &'static str, value: Value) -> Field {
    Field { number, name, value, repeated: true }
}

const INT: Value = Value::Varint(8);
const INT32: Value = Value::Varint(4);
const TEXT: Value = Value::Text;
const BYTES: Value = Value::Bytes;

/// Declares the layout of a message of [`crate::proto`].
macro_rules! layout {
    ($name:ident: $message:ty { $($count:ident $number:literal $field:literal $value:expr;)* }) => {
        static $name: Layout = Layout {
            name: stringify!($message),
            size: size_of::<$message>(),
            fields: &[$($count($number, $field, $value)),*],
        };
        const _: () = assert!([$($number),*].len() <= MAX_FIELDS);
    };
}

layout! { MODEL: ModelProto {
    one 1 "ir_version" INT;
    many 8 "opset_import" Value::Message(&OPSET);
    one 2 "producer_name" TEXT;
    one 3 "producer_version" TEXT;
    one 4 "domain" TEXT;
    one 5 "model_version" INT;
    one 6 "doc_string" TEXT;
    one 7 "graph" Value::Message(&GRAPH);
    many 14 "metadata_props" Value::Message(&ENTRY);
    many 20 "training_info" Value::Message(&TRAINING);
    many 25 "functions" Value::Message(&FUNCTION);
} }

layout! { OPSET: OperatorSetIdProto {
    one 1 "domain" TEXT;
    one 2 "version" INT;
} }

layout! { ENTRY: StringStringEntryProto {
    one 1 "key" TEXT;
    one 2 "value" TEXT;
} }

layout! { TRAINING: TrainingInfoProto {
    one 1 "initialization" Value::Message(&GRAPH);
    one 2 "algorithm" Value::Message(&GRAPH);
    many 3 "initialization_binding" Value::Message(&ENTRY);
    many 4 "update_binding" Value::Message(&ENTRY);
} }

layout! { GRAPH: GraphProto {
    many 1 "node" Value::Message(&NODE);
    one 2 "name" TEXT;
    many 5 "initializer" Value::Message(&TENSOR);
    many 15 "sparse_initializer" Value::Message(&SPARSE);
    one 10 "doc_string" TEXT;
    many 11 "input" Value::Message(&VALUE_INFO);
    many 12 "output" Value::Message(&VALUE_INFO);
    many 13 "value_info" Value::Message(&VALUE_INFO);
    many 14 "quantization_annotation" Value::Message(&ANNOTATION);
    many 16 "metadata_props" Value::Message(&ENTRY);
} }

layout! { NODE: NodeProto {
    many 1 "input" TEXT;
    many 2 "output" TEXT;
    one 3 "name" TEXT;
    one 4 "op_type" TEXT;
    one 7 "domain" TEXT;
    one 8 "overload" TEXT;
    many 5 "attribute" Value::Message(&ATTRIBUTE);
    one 6 "doc_string" TEXT;
    many 9 "metadata_props" Value::Message(&ENTRY);
} }

layout! { ATTRIBUTE: AttributeProto {
    one 1 "name" TEXT;
    one 21 "ref_attr_name" TEXT;
    one 13 "doc_string" TEXT;
    one 20 "type" INT32;
    one 2 "f" Value::Fixed32;
    one 3 "i" INT;
    one 4 "s" BYTES;
    one 5 "t" Value::Message(&TENSOR);
    one 6 "g" Value::Message(&GRAPH);
    one 22 "sparse_tensor" Value::Message(&SPARSE);
    one 14 "tp" Value::Message(&TYPE);
    many 7 "floats" Value::Fixed32;
    many 8 "ints" INT;
    many 9 "strings" BYTES;
    many 10 "tensors" Value::Message(&TENSOR);
    many 11 "graphs" Value::Message(&GRAPH);
    many 23 "sparse_tensors" Value::Message(&SPARSE);
    many 15 "type_protos" Value::Message(&TYPE);
} }

layout! { TENSOR: TensorProto {
    many 1 "dims" INT;
    one 2 "data_type" INT32;
    one 3 "segment" Value::Message(&SEGMENT);
    many 4 "float_data" Value::Fixed32;
    many 5 "int32_data" INT32;
    many 6 "string_data" BYTES;
    many 7 "int64_data" INT;
    one 8 "name" TEXT;
    one 12 "doc_string" TEXT;
    one 9 "raw_data" BYTES;
    many 13 "external_data" Value::Message(&ENTRY);
    one 14 "data_location" INT32;
    many 10 "double_data" Value::Fixed64;
    many 11 "uint64_data" INT;
    many 16 "metadata_props" Value::Message(&ENTRY);
} }

layout! { SEGMENT: Segment {
    one 1 "begin" INT;
    one 2 "end" INT;
} }

layout! { SPARSE: SparseTensorProto {
    one 1 "values" Value::Message(&TENSOR);
    one 2 "indices" Value::Message(&TENSOR);
    many 3 "dims" INT;
} }

layout! { ANNOTATION: TensorAnnotation {
    one 1 "tensor_name" TEXT;
    many 2 "quant_parameter_tensor_names" Value::Message(&ENTRY);
} }

layout! { VALUE_INFO: ValueInfoProto {
    one 1 "name" TEXT;
    one 2 "type" Value::Message(&TYPE);
    one 3 "doc_string" TEXT;
    many 4 "metadata_props" Value::Message(&ENTRY);
} }

layout! { TYPE: TypeProto {
    one 1 "tensor_type" Value::Message(&TENSOR_TYPE);
    one 4 "sequence_type" Value::Message(&SEQUENCE_TYPE);
    one 5 "map_type" Value::Message(&MAP_TYPE);
    one 7 "opaque_type" Value::Message(&OPAQUE_TYPE);
    one 8 "sparse_tensor_type" Value::Message(&TENSOR_TYPE);
    one 9 "optional_type" Value::Message(&OPTIONAL_TYPE);
} }

layout! { TENSOR_TYPE: TensorType {
    one 1 "elem_type" INT32;
    one 2 "shape" Value::Message(&SHAPE);
} }

layout! { SEQUENCE_TYPE: SequenceType {
    one 1 "elem_type" Value::Message(&TYPE);
} }

layout! { MAP_TYPE: MapType {
    one 1 "key_type" INT32;
    one 2 "value_type" Value::Message(&TYPE);
} }

layout! { OPTIONAL_TYPE: OptionalType {
    one 1 "elem_type" Value::Message(&TYPE);
} }

layout! { OPAQUE_TYPE: OpaqueType {
    one 1 "domain" TEXT;
    one 2 "name" TEXT;
} }

layout! { SHAPE: TensorShapeProto {
    many 1 "dim" Value::Message(&DIMENSION);
} }

layout! { DIMENSION: Dimension {
    one 1 "dim_value" INT;
    one 2 "dim_param" TEXT;
} }

layout! { FUNCTION: FunctionProto {
    one 1 "name" TEXT;
    many 4 "input" TEXT;
    many 5 "output" TEXT;
    many 6 "attribute" TEXT;
    many 11 "attribute_proto" Value::Message(&ATTRIBUTE);
    many 7 "node" Value::Message(&NODE);
    one 8 "doc_string" TEXT;
    many 9 "opset_import" Value::Message(&OPSET);
    one 10 "domain" TEXT;
    one 13 "overload" TEXT;
    many 12 "value_info" Value::Message(&VALUE_INFO);
    many 14 "metadata_props" Value::Message(&ENTRY);
} }

#[cfg(test)]
mod tests;
