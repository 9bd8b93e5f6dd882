//! Pools.

use bunjae_ir::Op;
use bunjae_ir::op::{AveragePool, GlobalPool, MaxPool, Reduction};

use super::super::builder::Operand;
use super::super::node::{Lowering, Outcome};
use super::super::problem::ProblemKind;
use super::conv::window_pads;

struct Window {
    x: Operand,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 4],
    ceil: bool,
}

fn window(node: &mut Lowering<'_>) -> Outcome<Window> {
    node.at_most(1)?;
    let x = node.x()?;
    let dims = node.dims(x);
    if dims.len() != 4 {
        let words = format!(
            "its input has {} dimensions; only pools over pictures, with 4, are supported",
            dims.len()
        );
        return Err(ProblemKind::Unsupported(words));
    }
    let kernel = node.pair("kernel_shape", [0, 0])?;
    if kernel == [0, 0] {
        return Err(ProblemKind::MissingAttribute("kernel_shape"));
    }
    let stride = node.pair("strides", [1, 1])?;
    let dilation = node.pair("dilations", [1, 1])?;
    let pad = window_pads(node, &dims, kernel, stride, dilation)?;
    let ceil = node.flag("ceil_mode", false)?;
    Ok(Window { x, kernel, stride, dilation, pad, ceil })
}

pub(super) fn max_pool(node: &mut Lowering<'_>) -> Outcome<()> {
    node.only_first_result("indices")?;
    // The order of the indices, which nobody asked for.
    node.attributes.ignore(&["storage_order"]);
    let Window { x, kernel, stride, dilation, pad, ceil } = window(node)?;
    node.finish_with(Op::MaxPool(MaxPool { kernel, stride, dilation, pad, ceil }), &[x])
}

pub(super) fn average_pool(node: &mut Lowering<'_>) -> Outcome<()> {
    let Window { x, kernel, stride, dilation, pad, ceil } = window(node)?;
    let count_pad = node.flag("count_include_pad", false)?;
    let op = AveragePool { kernel, stride, dilation, pad, ceil, count_pad };
    node.finish_with(Op::AveragePool(op), &[x])
}

pub(super) fn global_pool(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let kind = if node.op() == "GlobalMaxPool" { Reduction::Max } else { Reduction::Mean };
    let x = node.x()?;
    node.finish_with(Op::GlobalPool(GlobalPool { kind }), &[x])
}
