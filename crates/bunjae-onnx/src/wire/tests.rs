//! Messages taken apart and put together, whole and damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::external::ExternalData;
use crate::sample::{self, field, varint};
use crate::tensor_data;

fn decode(bytes: &[u8]) -> Result<ModelProto, WireError> {
    decode_model(Bytes::copy_from_slice(bytes))
}

/// A model whose graph is `contents`.
fn with_graph(contents: &[u8]) -> Vec<u8> {
    field(7, contents)
}

#[test]
fn the_table_knows_every_field_of_every_message() {
    let bytes = sample::everything();
    let found = scan(&bytes).unwrap();
    assert_eq!(found.unknown_fields, 0);
    let model = decode(&bytes).unwrap();
    assert_eq!(model, sample::model());
    assert_eq!(decode(&model.encode_to_vec()).unwrap(), model);
}

/// The growth rule of [`Field::growth`] is the standard library's for elements up to 1 KiB.
#[test]
fn structs_in_vectors_are_small_enough_for_the_growth_rule() {
    for layout in [&OPSET, &ENTRY, &TRAINING, &GRAPH, &NODE, &ATTRIBUTE, &TENSOR, &SPARSE] {
        assert!(layout.size <= 1024, "{} has {} bytes", layout.name, layout.size);
    }
    for layout in [&ANNOTATION, &VALUE_INFO, &TYPE, &DIMENSION, &FUNCTION] {
        assert!(layout.size <= 1024, "{} has {} bytes", layout.name, layout.size);
    }
    let mut vector: Vec<NodeProto> = Vec::new();
    let field = many(1, "node", Value::Message(&NODE));
    let mut charged = 0;
    for count in 0..1000 {
        charged += field.growth(count, 1);
        vector.push(NodeProto::default());
        assert!(charged >= vector.capacity() * size_of::<NodeProto>(), "at {count}");
    }
}

#[test]
fn numbers_are_accepted_packed_and_one_by_one() {
    // AttributeProto.ints and TensorProto.int64_data, each in both forms.
    let packed = field(8, &[1, 2, 3]);
    let single = [8 << 3, 1, 8 << 3, 2, 8 << 3, 3];
    for ints in [packed.as_slice(), &single] {
        let model = decode(&with_graph(&field(1, &field(5, ints)))).unwrap();
        assert_eq!(model.graph.unwrap().node[0].attribute[0].ints, [1, 2, 3]);
    }
    let packed = field(7, &[1, 2, 3]);
    let single = [7 << 3, 1, 7 << 3, 2, 7 << 3, 3];
    for data in [packed.as_slice(), &single] {
        let model = decode(&with_graph(&field(5, data))).unwrap();
        assert_eq!(model.graph.unwrap().initializer[0].int64_data, [1, 2, 3]);
    }
}

#[test]
fn weights_are_shared_with_the_file() {
    let bytes = Bytes::from(sample::everything());
    let model = decode_model(bytes.clone()).unwrap();
    let raw = model.graph.unwrap().initializer[1].raw_data.clone().unwrap();
    assert!(bytes.as_ptr_range().contains(&raw.as_ptr()));
}

#[test]
fn malformations_are_reported_with_offset_and_field() {
    let message = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
    assert_eq!(message(&[]), "the file is empty");
    // ir_version without its value.
    assert_eq!(message(&[8]), "byte 1: malformed integer in ModelProto.ir_version");
    assert_eq!(
        message(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        "byte 1: malformed integer in ModelProto.ir_version"
    );
    assert_eq!(
        message(&[8, 8, 0x3a, 5, 0x0a]),
        "byte 4: ModelProto.graph needs 5 bytes, but 1 are left; the file is truncated or damaged"
    );
    // A node that promises more than its graph has, though the file has enough.
    let mut bytes = with_graph(&[0x0a, 9, 0]);
    bytes.extend([8; 20]);
    assert_eq!(
        message(&bytes),
        "byte 4: GraphProto.node needs 9 bytes, but 1 are left; the file is truncated or damaged"
    );
    // A length near 2^64 must not wrap around.
    let mut bytes = vec![0x3a];
    varint(u64::MAX - 1, &mut bytes);
    assert!(matches!(
        decode(&bytes),
        Err(WireError::Truncated { needed: 0xffff_ffff_ffff_fffe, .. })
    ));
    assert_eq!(message(&[0, 0]), "byte 0: invalid field key 0x0 in ModelProto");
    // Groups (wire types 3 and 4) are no part of ONNX.
    assert_eq!(message(&[0x0b, 0x0c]), "byte 0: invalid field key 0xb in ModelProto");
    assert_eq!(message(&[0x38, 1]), "byte 0: ModelProto.graph is stored with wire type 0");
    assert_eq!(
        message(&with_graph(&field(2, b"ab\xff"))),
        "byte 6: GraphProto.name is not valid UTF-8"
    );
    // Five bytes of packed floats.
    let tensor = field(4, &[0; 5]);
    assert_eq!(
        message(&with_graph(&field(5, &tensor))),
        "byte 10: TensorProto.float_data needs 4 bytes, but 1 are left; \
         the file is truncated or damaged"
    );
}

#[test]
fn unknown_fields_are_skipped_but_must_be_whole() {
    let mut bytes = vec![0x08, 8];
    bytes.extend(field(99, b"future"));
    bytes.extend([0xc5, 0x06, 1, 2, 3, 4]);
    let model = decode(&bytes).unwrap();
    assert_eq!(model.ir_version, 8);
    bytes.pop();
    assert!(matches!(decode(&bytes), Err(WireError::Truncated { .. })));
}

#[test]
fn nesting_is_limited_before_the_stack_is() {
    // Sequence types within sequence types, two messages a level.
    let nested = |levels: usize| {
        let mut bytes = Vec::new();
        for _ in 0..levels {
            bytes = field(4, &field(1, &bytes));
        }
        with_graph(&field(11, &field(2, &bytes)))
    };
    // Model, graph, value and type are the first four messages.
    let deepest = (MAX_NESTING - 4) / 2;
    assert!(decode(&nested(deepest)).is_ok());
    assert!(matches!(decode(&nested(deepest + 1)), Err(WireError::TooDeep { .. })));
    assert!(matches!(decode(&nested(10_000)), Err(WireError::TooDeep { .. })));
}

/// Decodes, reads every tensor and writes again, as import would; returns whether it was a model.
fn exercise(bytes: &[u8]) -> bool {
    match decode(bytes) {
        Ok(model) => {
            let mut external = ExternalData::none(1 << 20);
            let graphs = model.graph.iter();
            for tensor in graphs.flat_map(|graph| &graph.initializer) {
                let _ = tensor_data::read(tensor, &mut external).map_err(|e| e.to_string());
            }
            let again = model.encode_to_vec();
            // Not compared when a number is NaN, which never equals itself.
            let _ = decode(&again).unwrap();
            true
        }
        Err(WireError::Decode(error)) => {
            panic!("the walk accepted what the decoder refuses: {error}")
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[test]
fn every_truncation_is_handled() {
    let bytes = sample::everything();
    let accepted = (0..bytes.len()).filter(|&length| exercise(&bytes[..length])).count();
    // A cut between two fields of the outermost message leaves a valid, shorter message.
    assert!((5..20).contains(&accepted), "{accepted}");
}

#[test]
fn every_single_bit_flip_is_handled() {
    let mut bytes = sample::everything();
    let mut accepted = 0;
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        accepted += usize::from(exercise(&bytes));
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(accepted * 4 > bytes.len() * 8, "{accepted} of {} decoded", bytes.len() * 8);
}

#[test]
fn thousands_of_seeded_mutations_are_handled() {
    let original = sample::everything();
    let mut accepted = 0;
    for seed in 0..8000 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut below = |n: usize| (random.next_u64() % n as u64) as usize;
        let mut bytes = original.clone();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(8) {
                0..=3 => bytes[at] ^= 1 << below(8),
                4 => bytes[at] = [0, 0x7f, 0x80, 0xff][below(4)],
                5 => bytes.insert(at, below(256) as u8),
                6 => drop(bytes.remove(at)),
                _ => {
                    let end = (at + below(64)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| exercise(&bytes)));
        accepted += usize::from(outcome.unwrap_or_else(|_| panic!("seed {seed} panicked")));
    }
    // Were hardly any input valid, the mutations would test the first check alone.
    assert!(accepted > 1000, "{accepted} of 8000 decoded");
}
