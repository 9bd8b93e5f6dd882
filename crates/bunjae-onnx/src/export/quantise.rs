//! Conversion to integers and back.

use bunjae_ir::op::{Dequantize, Quantize};

use super::ExportError;
use super::node::{Attributes, NodeWriter, int};

/// The axis, where the scale has one.
fn axis(node: &NodeWriter<'_, '_>, axis: usize) -> Result<Attributes, ExportError> {
    Ok(if node.ty(1).rank() > 0 { vec![int("axis", node.int(axis)?)] } else { vec![] })
}

pub(super) fn quantize(node: &mut NodeWriter<'_, '_>, op: &Quantize) -> Result<(), ExportError> {
    let attributes = axis(node, op.axis)?;
    node.main("QuantizeLinear", attributes);
    Ok(())
}

pub(super) fn dequantize(
    node: &mut NodeWriter<'_, '_>,
    op: &Dequantize,
) -> Result<(), ExportError> {
    let attributes = axis(node, op.axis)?;
    node.main("DequantizeLinear", attributes);
    Ok(())
}
