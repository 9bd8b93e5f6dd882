//! Matrix products.

use bunjae_ir::op::{Binary, Squeeze, Transpose, Unsqueeze};
use bunjae_ir::{Dim, Op};
use bunjae_tensor::Tensor;

use super::super::builder::Operand;
use super::super::elements::Elements;
use super::super::node::{Lowering, Outcome};
use super::super::problem::ProblemKind;

const TRANSPOSE: [usize; 2] = [1, 0];

/// `alpha A B + beta C`, with A and B transposed on demand.
pub(super) fn gemm(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(3)?;
    let (mut a, mut b) = (node.operand(0, "A")?, node.operand(1, "B")?);
    let c = node.optional(2)?;
    for (operand, what) in [(a, "A"), (b, "B")] {
        let rank = node.rank(operand);
        if rank != 2 {
            let words = format!("its {what} has {rank} dimensions and should have 2");
            return Err(ProblemKind::Unsupported(words));
        }
    }
    let alpha = node.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = node.attributes.float("beta")?.unwrap_or(1.0);
    let (turn_a, turn_b) = (node.flag("transA", false)?, node.flag("transB", false)?);
    let turned = || Op::Transpose(Transpose { perm: TRANSPOSE.to_vec() });
    if turn_a {
        a = node.emit_part("transA", turned(), &[a])?;
    }
    // A layer has weights; everything else is a product of two matrices.
    let layer = node.builder.is_fixed(b) && (turn_b || matches!(b, Operand::Constant(_)));
    if turn_b != layer {
        b = node.emit_part("transB", turned(), &[b])?;
    }
    let features = node.dims(b).get(if layer { 0 } else { 1 }).and_then(Dim::fixed);
    let bias = match c {
        Some(c) if layer && alpha == 1.0 && beta == 1.0 => bias(node, c, features)?,
        _ => None,
    };
    let op = if layer { Op::Linear } else { Op::MatMul };
    let plain = alpha == 1.0 && (c.is_none() || beta == 0.0 || bias.is_some());
    let mut operands = vec![a, b];
    operands.extend(bias);
    if plain {
        return node.finish_with(op, &operands);
    }
    let mut result = node.emit_part("product", op, &operands)?;
    if alpha != 1.0 {
        let alpha = node.number("alpha", alpha.into(), result)?;
        let part = if c.is_none() { "" } else { "scaled" };
        result = node.emit_part(part, Binary::Mul, &[result, alpha])?;
    }
    if let Some(mut c) = c.filter(|_| beta != 0.0) {
        if beta != 1.0 {
            let beta = node.number("beta", beta.into(), c)?;
            c = node.emit_part("bias", Binary::Mul, &[c, beta])?;
        }
        result = node.emit(Binary::Add, &[result, c])?;
    }
    node.set(0, result);
    Ok(())
}

/// C as the bias of a layer, where it is one value for each of its outputs.
fn bias(node: &mut Lowering<'_>, c: Operand, features: Option<usize>) -> Outcome<Option<Operand>> {
    let Some(features) = features else { return Ok(None) };
    let dims: Option<Vec<usize>> = node.dims(c).iter().map(Dim::fixed).collect();
    match dims.as_deref() {
        Some(&[size]) if size == features => Ok(Some(c)),
        Some(&[1, size]) if size == features => {
            let op = Op::Squeeze(Squeeze { axes: vec![0] });
            Ok(Some(node.emit_part("bias", op, &[c])?))
        }
        // One number for all outputs.
        Some([] | [1] | [1, 1]) => match node.builder.elements(c) {
            None => Ok(None),
            Some(elements) => {
                let value = elements.values.first().ok_or(ProblemKind::TooLarge)?;
                let full = Elements::full(elements.data_type, vec![features], value)?;
                let tensor: Tensor = full.to_tensor()?;
                let frozen = node.builder.is_frozen(c);
                Ok(Some(node.derived("bias", tensor, frozen)))
            }
        },
        _ => Ok(None),
    }
}

pub(super) fn matmul(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let (mut a, mut b) = (node.operand(0, "first operand")?, node.operand(1, "second operand")?);
    // A vector on the left is a row, one on the right a column.
    let (row, column) = (node.rank(a) == 1, node.rank(b) == 1);
    if row {
        a = node.emit_part("row", Op::Unsqueeze(Unsqueeze { axes: vec![0] }), &[a])?;
    }
    if column {
        b = node.emit_part("column", Op::Unsqueeze(Unsqueeze { axes: vec![1] }), &[b])?;
    }
    if !row && !column {
        return node.finish_with(Op::MatMul, &[a, b]);
    }
    let product = node.emit_part("product", Op::MatMul, &[a, b])?;
    let rank = node.rank(product);
    let mut axes = Vec::new();
    if row {
        axes.extend(rank.checked_sub(2));
    }
    if column {
        axes.extend(rank.checked_sub(1));
    }
    node.finish_with(Op::Squeeze(Squeeze { axes }), &[product])
}
