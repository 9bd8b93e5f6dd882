//! Small files cannot ask for large memory: the peak of the whole process is measured while
//! decoding files made of nothing but tiny messages.
//!
//! One test alone, because the measure is the process's.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]
#![cfg(target_os = "linux")]

use std::fs;

use bunjae_onnx::wire::{WireError, decode_model};
use prost::bytes::Bytes;
use prost::encoding::encode_varint;

const MIB: usize = 1 << 20;

/// A field with wire type 2 around `contents`.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(u64::from(number) << 3 | 2, &mut bytes);
    encode_varint(contents.len() as u64, &mut bytes);
    bytes.extend_from_slice(contents);
    bytes
}

/// `unit` over and over inside the messages that `path` leads to from the outermost.
fn bomb(path: &[u8], unit: &[u8], size: usize) -> Vec<u8> {
    let contents = unit.repeat(size / unit.len());
    path.iter().rev().fold(contents, |contents, &number| field(number, &contents))
}

/// The largest amount of memory the process has held so far, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn files_of_tiny_messages_stay_within_a_fixed_amount_of_memory() {
    const GRAPH: u8 = 7;
    let attribute_in_node = field(5, &[]);
    let node_with_attribute = field(1, &attribute_in_node);
    let tensor_in_attribute = field(5, &field(5, &[]));
    let all: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("nodes", vec![GRAPH], field(1, &[])),
        ("initializers", vec![GRAPH], field(5, &[])),
        ("sparse initializers", vec![GRAPH], field(15, &[])),
        ("values", vec![GRAPH], field(13, &[])),
        ("metadata", vec![], field(14, &[])),
        ("functions", vec![], field(25, &[])),
        ("training", vec![], field(20, &[])),
        ("attributes of one node", vec![GRAPH, 1], attribute_in_node.clone()),
        ("nodes with an attribute", vec![GRAPH], node_with_attribute),
        ("nodes with a tensor", vec![GRAPH], field(1, &tensor_in_attribute)),
        ("graphs in an attribute", vec![GRAPH, 1, 5], field(11, &[])),
        ("types in an attribute", vec![GRAPH, 1, 5], field(15, &[])),
        ("dimensions of a type", vec![GRAPH, 11, 2, 1, 2], field(1, &[])),
        ("names of inputs", vec![GRAPH, 1], field(1, &[])),
        ("strings of a tensor", vec![GRAPH, 5], field(6, &[])),
        ("packed integers", vec![GRAPH, 5, 7], vec![1]),
        ("single integers", vec![GRAPH, 1, 5], vec![8 << 3, 1]),
        ("packed dimensions", vec![GRAPH, 5, 1], vec![1]),
        ("packed numbers", vec![GRAPH, 5, 4], vec![1; 4]),
    ];
    let before = peak();
    let (mut accepted, mut refused) = (0, 0);
    for (name, path, unit) in &all {
        for size in [MIB / 16, MIB / 8, MIB / 4, MIB / 2, MIB] {
            let outcome = decode_model(Bytes::from(bomb(path, unit, size)));
            let used = peak() - before;
            assert!(used < 64 * MIB, "{size} bytes of {name}: {} MiB", used / MIB);
            match outcome {
                Ok(_) => accepted += 1,
                Err(WireError::TooComplex { .. }) => refused += 1,
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    // Both sides of the limit were visited.
    assert!(accepted > 20 && refused > 20, "{accepted} accepted, {refused} refused");
}
