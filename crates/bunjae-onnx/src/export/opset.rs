//! Which operator set a node needs.

use bunjae_ir::op::{Binary, Coordinates, DepthOrder, Resize, ResizeMode, ResizeTo, Rounding};
use bunjae_ir::{Graph, Node, Op};
use bunjae_tensor::DType;

use crate::opset::OLDEST;

/// The first operator set that can express a node, in one operator or in several.
pub(super) fn needed(graph: &Graph, node: &Node) -> i64 {
    let ty = |at: usize| node.inputs.get(at).map(|&id| graph.ty(id));
    let dtype = ty(0).map_or(DType::F32, |ty| ty.dtype);
    let bytes = matches!(dtype, DType::I8 | DType::U8);
    let plain = |dilation: [usize; 2], ceil: bool| dilation == [1, 1] && !ceil;
    match &node.op {
        Op::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div) if bytes => 14,
        Op::Binary(Binary::Max | Binary::Min | Binary::Pow) if !dtype.is_float() => 12,
        Op::MaxPool(_) if !dtype.is_float() => 12,
        Op::MaxPool(op) if !plain(op.dilation, op.ceil) => 10,
        Op::AveragePool(op) if op.dilation != [1, 1] => 19,
        Op::AveragePool(op) if op.ceil => 10,
        Op::Resize(op) => resize(op),
        Op::DepthToSpace(op) if op.order == DepthOrder::ColumnRowDepth => 11,
        Op::Slice(op) if op.ranges.iter().any(|range| range.step != 1) => 10,
        Op::Pad(_) if !dtype.is_float() => 11,
        Op::Quantize(_) | Op::Dequantize(_) => match ty(1) {
            Some(scale) if scale.rank() > 0 => 13,
            _ => 10,
        },
        _ => OLDEST,
    }
}

fn resize(op: &Resize) -> i64 {
    let ResizeTo::Scale(scale) = op.to else { return 11 };
    let grows = scale.iter().all(|&scale| scale >= 1.0);
    let shrinks = scale.iter().all(|&scale| scale < 1.0);
    let linear = op.mode == ResizeMode::Linear;
    match op.rounding {
        _ if op.coordinates != Coordinates::Asymmetric => 11,
        // Upsample, which only grows.
        Rounding::Floor if grows => 9,
        _ if linear && grows => 9,
        // What runtimes do with the Resize of set 10, which says nothing about rounding.
        _ if linear => 10,
        Rounding::Ceil if shrinks => 10,
        _ => 11,
    }
}

/// The version of the file format that came with an operator set.
pub(super) fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opset::{NEWEST, NEWEST_IR};

    #[test]
    fn every_operator_set_has_a_file_format_that_import_reads() {
        let versions: Vec<i64> = (OLDEST..=NEWEST).map(ir_version).collect();
        assert!(versions.is_sorted());
        assert_eq!(versions.last(), Some(&NEWEST_IR));
    }
}
