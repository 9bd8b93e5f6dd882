//! The ONNX file format as Rust structs: what the bytes of an `.onnx` file say, and nothing more.
//!
//! The structs carry protobuf field numbers and are decoded by `prost`; no protobuf compiler runs
//! at build time. Names follow the ONNX specification, so that its documentation applies. Fields
//! this program has no use for (device placement, sharding, denotations) are left out: a decoder
//! skips what it does not know, so files that have them still read.
//!
//! Two choices differ from what a generator would make. `raw_data` is a [`Bytes`], so decoding a
//! file shares its weights with the buffer that was read. Rare and large members of
//! [`AttributeProto`] are boxed, which keeps the common attribute (one integer) small.
//!
//! Every struct here has a twin in the table of [`crate::wire`], which bounds memory before
//! decoding; a test there fails when the two disagree.

use prost::Message;
use prost::bytes::Bytes;

/// A whole file: one graph and what is needed to interpret it.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of the file format (not of the operators), 3 to 14 at present.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Operator sets the graph draws on; the empty domain is the standard one.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Tool that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Version of that tool.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// Reverse-DNS name space of the model.
    #[prost(string, tag = "4")]
    pub domain: String,
    /// Version of the model within its domain.
    #[prost(int64, tag = "5")]
    pub model_version: i64,
    /// Free text about the model.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// The network.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Named strings that travel with the model: labels, preprocessing, provenance.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    /// Training algorithms stored beside the network.
    #[prost(message, repeated, tag = "20")]
    pub training_info: Vec<TrainingInfoProto>,
    /// Operators defined by the model itself in terms of other operators.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// One operator set: a domain and the version whose semantics apply.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Domain; empty or `ai.onnx` for the standard operators.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Version of the operator set.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// How a model is initialised and updated during training.
#[derive(Clone, PartialEq, Message)]
pub struct TrainingInfoProto {
    /// Graph that computes initial values.
    #[prost(message, optional, tag = "1")]
    pub initialization: Option<GraphProto>,
    /// Graph of one training step.
    #[prost(message, optional, tag = "2")]
    pub algorithm: Option<GraphProto>,
    /// Which output of `initialization` sets which weight.
    #[prost(message, repeated, tag = "3")]
    pub initialization_binding: Vec<StringStringEntryProto>,
    /// Which output of `algorithm` replaces which weight.
    #[prost(message, repeated, tag = "4")]
    pub update_binding: Vec<StringStringEntryProto>,
}

/// A network: nodes in topological order, joined by the names of their values.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// Operators, each after the producers of its inputs.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Name of the graph.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Weights and other constants. Up to IR version 3 each is also listed in `input`.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Constants stored sparsely.
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<SparseTensorProto>,
    /// Free text.
    #[prost(string, tag = "10")]
    pub doc_string: String,
    /// What the caller supplies, with types.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// What the caller receives, with types.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Types of values in between, where the writer knew them.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
    /// Quantisation parameters attached to values.
    #[prost(message, repeated, tag = "14")]
    pub quantization_annotation: Vec<TensorAnnotation>,
    /// Named strings that travel with the graph.
    #[prost(message, repeated, tag = "16")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// One operator applied to named values.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the inputs; an empty name is an optional input left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the results; an empty name is an optional result not wanted.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name of the node itself, often empty.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Operator, such as `Conv`.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Domain of the operator; empty or `ai.onnx` for the standard ones.
    #[prost(string, tag = "7")]
    pub domain: String,
    /// Selects among model functions of one name.
    #[prost(string, tag = "8")]
    pub overload: String,
    /// Named parameters.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// Free text.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// Named strings that travel with the node.
    #[prost(message, repeated, tag = "9")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// A named parameter of a node; `r#type` says which of the other fields holds it.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Name of the parameter.
    #[prost(string, tag = "1")]
    pub name: String,
    /// In a function body: the function's attribute this one stands for.
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
    /// Free text.
    #[prost(string, tag = "13")]
    pub doc_string: String,
    /// Code of an [`AttributeType`]; 0 in files older than IR version 2.
    #[prost(int32, tag = "20")]
    pub r#type: i32,
    /// A number.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// A string, UTF-8 by convention.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    /// A tensor.
    #[prost(message, optional, boxed, tag = "5")]
    pub t: Option<Box<TensorProto>>,
    /// A graph: the body of a control-flow operator.
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<GraphProto>>,
    /// A sparse tensor.
    #[prost(message, optional, boxed, tag = "22")]
    pub sparse_tensor: Option<Box<SparseTensorProto>>,
    /// A type.
    #[prost(message, optional, boxed, tag = "14")]
    pub tp: Option<Box<TypeProto>>,
    /// Numbers.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Strings.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    /// Tensors.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    /// Graphs.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    /// Sparse tensors.
    #[prost(message, repeated, tag = "23")]
    pub sparse_tensors: Vec<SparseTensorProto>,
    /// Types.
    #[prost(message, repeated, tag = "15")]
    pub type_protos: Vec<TypeProto>,
}

/// Which field of an [`AttributeProto`] holds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "each variant is named after the field it selects")]
pub enum AttributeType {
    Float = 1,
    Int = 2,
    String = 3,
    Tensor = 4,
    Graph = 5,
    Floats = 6,
    Ints = 7,
    Strings = 8,
    Tensors = 9,
    Graphs = 10,
    SparseTensor = 11,
    SparseTensors = 12,
    TypeProto = 13,
    TypeProtos = 14,
}

impl AttributeType {
    /// The type with this code, or `None` for 0 (undefined) and for codes of a later format.
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Float,
            2 => Self::Int,
            3 => Self::String,
            4 => Self::Tensor,
            5 => Self::Graph,
            6 => Self::Floats,
            7 => Self::Ints,
            8 => Self::Strings,
            9 => Self::Tensors,
            10 => Self::Graphs,
            11 => Self::SparseTensor,
            12 => Self::SparseTensors,
            13 => Self::TypeProto,
            14 => Self::TypeProtos,
            _ => return None,
        })
    }

    /// The code stored in a file.
    pub fn code(self) -> i32 {
        self as i32
    }
}

/// A dense tensor: a shape, an element type and one of several forms of storage.
///
/// [`crate::tensor_data::read`] turns it into little-endian bytes and checks that the storage
/// agrees with the shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Extents, outermost first; none for a scalar.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Code of a [`crate::tensor_data::DataType`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Set when this message holds only a part of the tensor.
    #[prost(message, optional, tag = "3")]
    pub segment: Option<Segment>,
    /// Elements of FLOAT (and pairs for COMPLEX64).
    #[prost(float, repeated, packed = "true", tag = "4")]
    pub float_data: Vec<f32>,
    /// Elements of INT32 and of every narrower integer, BOOL, and the bits of 16-bit floats.
    #[prost(int32, repeated, packed = "true", tag = "5")]
    pub int32_data: Vec<i32>,
    /// Elements of STRING.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub string_data: Vec<Vec<u8>>,
    /// Elements of INT64.
    #[prost(int64, repeated, packed = "true", tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name of the tensor.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Free text.
    #[prost(string, tag = "12")]
    pub doc_string: String,
    /// Elements of any fixed-width type as little-endian bytes.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Where the bytes lie when `data_location` is [`DATA_LOCATION_EXTERNAL`]: keys `location`,
    /// `offset`, `length`, `checksum`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 0 when the data are in this message, [`DATA_LOCATION_EXTERNAL`] when in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
    /// Elements of DOUBLE (and pairs for COMPLEX128).
    #[prost(double, repeated, packed = "true", tag = "10")]
    pub double_data: Vec<f64>,
    /// Elements of UINT32 and UINT64.
    #[prost(uint64, repeated, packed = "true", tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Named strings that travel with the tensor.
    #[prost(message, repeated, tag = "16")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// Value of [`TensorProto::data_location`] for tensors stored in another file.
pub const DATA_LOCATION_EXTERNAL: i32 = 1;

/// Which elements of a tensor a partial [`TensorProto`] holds.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Segment {
    /// First element.
    #[prost(int64, tag = "1")]
    pub begin: i64,
    /// One past the last element.
    #[prost(int64, tag = "2")]
    pub end: i64,
}

/// A tensor stored as the positions and values of its non-zero elements.
#[derive(Clone, PartialEq, Message)]
pub struct SparseTensorProto {
    /// The values; its name is the tensor's name.
    #[prost(message, optional, tag = "1")]
    pub values: Option<TensorProto>,
    /// Their positions.
    #[prost(message, optional, tag = "2")]
    pub indices: Option<TensorProto>,
    /// Extents of the dense tensor.
    #[prost(int64, repeated, packed = "false", tag = "3")]
    pub dims: Vec<i64>,
}

/// Quantisation parameters attached to a value.
#[derive(Clone, PartialEq, Message)]
pub struct TensorAnnotation {
    /// Name of the value.
    #[prost(string, tag = "1")]
    pub tensor_name: String,
    /// Which tensors hold its scale and zero point.
    #[prost(message, repeated, tag = "2")]
    pub quant_parameter_tensor_names: Vec<StringStringEntryProto>,
}

/// Name and type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Name of the value.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type, if known.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
    /// Free text.
    #[prost(string, tag = "3")]
    pub doc_string: String,
    /// Named strings that travel with the value.
    #[prost(message, repeated, tag = "4")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// Type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// Which kind of type.
    #[prost(oneof = "TypeValue", tags = "1, 4, 5, 7, 8, 9")]
    pub value: Option<TypeValue>,
}

/// The kinds of types. Only tensors can be computed with here; the others are recognised so that
/// an error can name them.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum TypeValue {
    /// A dense tensor.
    #[prost(message, tag = "1")]
    Tensor(TensorType),
    /// A list of values of one type.
    #[prost(message, tag = "4")]
    Sequence(Box<SequenceType>),
    /// A dictionary.
    #[prost(message, tag = "5")]
    Map(Box<MapType>),
    /// A type outside the standard.
    #[prost(message, tag = "7")]
    Opaque(OpaqueType),
    /// A sparse tensor.
    #[prost(message, tag = "8")]
    SparseTensor(TensorType),
    /// A value that may be absent.
    #[prost(message, tag = "9")]
    Optional(Box<OptionalType>),
}

/// Element type and shape of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// Code of a [`crate::tensor_data::DataType`].
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Shape; `None` when even the rank is unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// Type of a list.
#[derive(Clone, PartialEq, Message)]
pub struct SequenceType {
    /// Type of the elements.
    #[prost(message, optional, boxed, tag = "1")]
    pub elem_type: Option<Box<TypeProto>>,
}

/// Type of a dictionary.
#[derive(Clone, PartialEq, Message)]
pub struct MapType {
    /// Element type of the keys.
    #[prost(int32, tag = "1")]
    pub key_type: i32,
    /// Type of the values.
    #[prost(message, optional, boxed, tag = "2")]
    pub value_type: Option<Box<TypeProto>>,
}

/// Type of a value that may be absent.
#[derive(Clone, PartialEq, Message)]
pub struct OptionalType {
    /// Type of the value when it is present.
    #[prost(message, optional, boxed, tag = "1")]
    pub elem_type: Option<Box<TypeProto>>,
}

/// A type outside the standard.
#[derive(Clone, PartialEq, Message)]
pub struct OpaqueType {
    /// Domain that defines it.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Shape of a tensor, outermost extent first.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// One entry an axis.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// One extent of a shape; without a value it is unknown.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// A number or a name.
    #[prost(oneof = "DimensionValue", tags = "1, 2")]
    pub value: Option<DimensionValue>,
}

/// A fixed or a symbolic extent.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum DimensionValue {
    /// A fixed extent.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// A symbol; equal symbols are equal extents.
    #[prost(string, tag = "2")]
    DimParam(String),
}

/// An operator defined in terms of other operators.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionProto {
    /// Name, used as `op_type` by the nodes that call it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Names of the inputs inside the body.
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    /// Names of the results inside the body.
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    /// Attributes without a default.
    #[prost(string, repeated, tag = "6")]
    pub attribute: Vec<String>,
    /// Attributes with their defaults.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
    /// The body.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// Free text.
    #[prost(string, tag = "8")]
    pub doc_string: String,
    /// Operator sets the body draws on.
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Domain of the function.
    #[prost(string, tag = "10")]
    pub domain: String,
    /// Tells functions of one name apart.
    #[prost(string, tag = "13")]
    pub overload: String,
    /// Types of values in the body.
    #[prost(message, repeated, tag = "12")]
    pub value_info: Vec<ValueInfoProto>,
    /// Named strings that travel with the function.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}
