//! For tests: a model that uses every field of every message once, and raw protobuf by hand.

use prost::Message;
use prost::bytes::Bytes;

use crate::proto::*;

/// A serialised model in which every field of [`crate::proto`] has a value that is written.
pub(crate) fn everything() -> Vec<u8> {
    model().encode_to_vec()
}

/// One field: its key with wire type 2, the length and the contents.
pub(crate) fn field(number: u64, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(number << 3 | 2, &mut bytes);
    varint(contents.len() as u64, &mut bytes);
    bytes.extend_from_slice(contents);
    bytes
}

pub(crate) fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn text() -> String {
    "text".to_owned()
}

fn entries() -> Vec<StringStringEntryProto> {
    vec![StringStringEntryProto { key: "key".to_owned(), value: "value".to_owned() }]
}

pub(crate) fn model() -> ModelProto {
    let opset = OperatorSetIdProto { domain: text(), version: 17 };
    let training = TrainingInfoProto {
        initialization: Some(GraphProto::default()),
        algorithm: Some(GraphProto::default()),
        initialization_binding: entries(),
        update_binding: entries(),
    };
    let function = FunctionProto {
        name: text(),
        input: vec![text()],
        output: vec![text()],
        attribute: vec![text()],
        attribute_proto: vec![attribute()],
        node: vec![NodeProto::default()],
        doc_string: text(),
        opset_import: vec![opset.clone()],
        domain: text(),
        overload: text(),
        value_info: vec![value_info(1)],
        metadata_props: entries(),
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        producer_name: text(),
        producer_version: text(),
        domain: text(),
        model_version: 1,
        doc_string: text(),
        graph: Some(graph()),
        metadata_props: entries(),
        training_info: vec![training],
        functions: vec![function],
    }
}

fn graph() -> GraphProto {
    let node = NodeProto {
        input: vec!["x".to_owned(), "w".to_owned()],
        output: vec!["y".to_owned()],
        name: text(),
        op_type: "Conv".to_owned(),
        domain: text(),
        overload: text(),
        attribute: vec![attribute()],
        doc_string: text(),
        metadata_props: entries(),
    };
    let annotation =
        TensorAnnotation { tensor_name: text(), quant_parameter_tensor_names: entries() };
    GraphProto {
        node: vec![node],
        name: text(),
        initializer: vec![
            tensor(),
            TensorProto {
                name: "w".to_owned(),
                data_type: 1,
                dims: vec![2, 3],
                raw_data: Some(Bytes::from_static(&[1; 24])),
                ..TensorProto::default()
            },
        ],
        sparse_initializer: vec![sparse()],
        doc_string: text(),
        input: (1..=6).map(value_info).collect(),
        output: vec![value_info(1)],
        value_info: vec![value_info(1)],
        quantization_annotation: vec![annotation],
        metadata_props: entries(),
    }
}

fn attribute() -> AttributeProto {
    AttributeProto {
        name: text(),
        ref_attr_name: text(),
        doc_string: text(),
        r#type: AttributeType::Ints.code(),
        f: Some(0.5),
        i: Some(-1),
        s: Some(vec![0xff]),
        t: Some(Box::new(tensor())),
        g: Some(Box::default()),
        sparse_tensor: Some(Box::new(sparse())),
        tp: Some(Box::new(type_of_kind(1))),
        floats: vec![1.0, -0.0],
        ints: vec![1, -1],
        strings: vec![vec![0xff]],
        tensors: vec![tensor()],
        graphs: vec![GraphProto::default()],
        sparse_tensors: vec![sparse()],
        type_protos: vec![type_of_kind(1)],
    }
}

fn tensor() -> TensorProto {
    TensorProto {
        dims: vec![2, 1],
        data_type: 1,
        segment: Some(Segment { begin: 1, end: 2 }),
        float_data: vec![1.0, 2.0],
        int32_data: vec![1, -2],
        string_data: vec![vec![0xff]],
        int64_data: vec![1, -2],
        name: text(),
        doc_string: text(),
        raw_data: Some(Bytes::from_static(&[1, 2, 3, 4])),
        external_data: entries(),
        data_location: 1,
        double_data: vec![1.0, 2.0],
        uint64_data: vec![1, u64::MAX],
        metadata_props: entries(),
    }
}

fn sparse() -> SparseTensorProto {
    SparseTensorProto {
        values: Some(TensorProto::default()),
        indices: Some(TensorProto::default()),
        dims: vec![4],
    }
}

fn value_info(kind: usize) -> ValueInfoProto {
    ValueInfoProto {
        name: text(),
        r#type: Some(type_of_kind(kind)),
        doc_string: text(),
        metadata_props: entries(),
    }
}

fn type_of_kind(kind: usize) -> TypeProto {
    let inner = Some(Box::new(TypeProto { value: Some(TypeValue::Tensor(tensor_type())) }));
    TypeProto {
        value: Some(match kind {
            1 => TypeValue::Tensor(tensor_type()),
            2 => TypeValue::Sequence(Box::new(SequenceType { elem_type: inner })),
            3 => TypeValue::Map(Box::new(MapType { key_type: 7, value_type: inner })),
            4 => TypeValue::Opaque(OpaqueType { domain: text(), name: text() }),
            5 => TypeValue::SparseTensor(tensor_type()),
            _ => TypeValue::Optional(Box::new(OptionalType { elem_type: inner })),
        }),
    }
}

fn tensor_type() -> TensorType {
    let dim = vec![
        Dimension { value: Some(DimensionValue::DimValue(0)) },
        Dimension { value: Some(DimensionValue::DimParam(text())) },
        Dimension { value: None },
    ];
    TensorType { elem_type: 1, shape: Some(TensorShapeProto { dim }) }
}
