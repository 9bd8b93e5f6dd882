//! Normalisation, reduction and layers of products.

use bunjae_ir::Dim;
use bunjae_ir::op::{BatchNorm, L2Norm, LayerNorm, Reduce, Reduction};

use super::ExportError;
use super::node::{Attributes, NodeWriter, float, int, ints};

type Result<T> = std::result::Result<T, ExportError>;

pub(super) fn batch_norm(node: &mut NodeWriter<'_, '_>, op: &BatchNorm) {
    node.main("BatchNormalization", vec![float("epsilon", op.eps)]);
}

/// Writes a reduction as a part.
fn reduced(
    node: &mut NodeWriter<'_, '_>,
    part: &str,
    op: &str,
    x: &str,
    axes: &[usize],
) -> Result<String> {
    let mut attributes = vec![int("keepdims", 1)];
    let mut inputs = vec![x.to_owned()];
    node.axes(axes, since(op), &mut inputs, &mut attributes)?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(node.part(part, op, &inputs, attributes))
}

/// The operator set since when a reduction takes its axes as an operand.
fn since(op: &str) -> i64 {
    if op == "ReduceSum" { 13 } else { 18 }
}

pub(super) fn layer_norm(node: &mut NodeWriter<'_, '_>, op: &LayerNorm) -> Result<()> {
    if node.opset() >= 17 {
        let attributes = vec![int("axis", node.int(op.axis)?), float("epsilon", op.eps)];
        node.main("LayerNormalization", attributes);
        return Ok(());
    }
    let x = node.x();
    let axes: Vec<usize> = (op.axis..node.ty(0).rank()).collect();
    let mean = reduced(node, "mean", "ReduceMean", &x, &axes)?;
    let centred = node.part("centred", "Sub", &[&x, &mean], vec![]);
    let square = node.part("square", "Mul", &[&centred, &centred], vec![]);
    let variance = reduced(node, "variance", "ReduceMean", &square, &axes)?;
    let eps = node.number("eps", op.eps.into());
    let safe = node.part("safe", "Add", &[&variance, &eps], vec![]);
    let deviation = node.part("deviation", "Sqrt", &[&safe], vec![]);
    let normal = node.part("normal", "Div", &[&centred, &deviation], vec![]);
    match node.inputs.clone().as_slice() {
        [_, gamma, beta] => {
            let scaled = node.part("scaled", "Mul", &[&normal, gamma], vec![]);
            node.main_on("Add", vec![scaled, beta.clone()], vec![]);
        }
        [_, gamma, ..] => node.main_on("Mul", vec![normal, gamma.clone()], vec![]),
        _ => {}
    }
    Ok(())
}

pub(super) fn l2_norm(node: &mut NodeWriter<'_, '_>, op: &L2Norm) -> Result<()> {
    let x = node.x();
    let norm = reduced(node, "norm", "ReduceL2", &x, &[op.axis])?;
    let eps = node.number("eps", op.eps.into());
    let safe = node.part("safe", "Max", &[&norm, &eps], vec![]);
    node.main_on("Div", vec![x, safe], vec![]);
    Ok(())
}

/// Writes `Softmax` or, of the same form, `LogSoftmax`.
pub(super) fn softmax(node: &mut NodeWriter<'_, '_>, name: &str, over: usize) -> Result<()> {
    let ty = node.ty(0);
    let last = ty.rank().saturating_sub(1);
    let behind = ty.dims.iter().skip(over + 1);
    // Before operator set 13, all axes from the given one on were one.
    if node.opset() >= 13 || behind.clone().all(Dim::is_one) {
        let axis = node.int(over)?;
        node.main(name, vec![int("axis", axis)]);
        return Ok(());
    }
    let mut swapped: Vec<usize> = (0..=last).collect();
    swapped.swap(over, last);
    let swapped = node.ints(&swapped)?;
    let x = node.x();
    let turned = node.part("turned", "Transpose", &[&x], vec![ints("perm", swapped.clone())]);
    let axis = vec![int("axis", node.int(last)?)];
    let softmax = node.part("softmax", name, &[&turned], axis);
    node.main_on("Transpose", vec![softmax], vec![ints("perm", swapped)]);
    Ok(())
}

pub(super) fn reduce(node: &mut NodeWriter<'_, '_>, op: &Reduce) -> Result<()> {
    if op.axes.is_empty() {
        // To the format, no axes are all axes.
        let identity = if op.kind == Reduction::L2 { "Abs" } else { "Identity" };
        node.main(identity, vec![]);
        return Ok(());
    }
    let name = match op.kind {
        Reduction::Mean => "ReduceMean",
        Reduction::Sum => "ReduceSum",
        Reduction::Max => "ReduceMax",
        Reduction::Min => "ReduceMin",
        Reduction::L2 => "ReduceL2",
    };
    let mut attributes: Attributes = vec![int("keepdims", op.keep.into())];
    let mut inputs = vec![node.x()];
    node.axes(&op.axes, since(name), &mut inputs, &mut attributes)?;
    node.main_on(name, inputs, attributes);
    Ok(())
}

pub(super) fn linear(node: &mut NodeWriter<'_, '_>) {
    let inputs = node.inputs.clone();
    let mut operands = inputs.iter();
    let (Some(x), Some(weight)) = (operands.next(), operands.next()) else { return };
    let bias = operands.next();
    if node.ty(0).rank() == 2 {
        let mut attributes = vec![int("transB", 1)];
        let mut inputs = inputs.clone();
        if bias.is_none() && node.opset() < 11 {
            // The operand may not be missing, but it may count nothing.
            inputs.push(node.number("no_bias", 0.0));
            attributes.push(float("beta", 0.0));
        }
        return node.main_on("Gemm", inputs, attributes);
    }
    let perm = vec![ints("perm", vec![1, 0])];
    let turned = node.part("weight", "Transpose", &[weight], perm);
    match bias {
        None => node.main_on("MatMul", vec![x.clone(), turned], vec![]),
        Some(bias) => {
            let product = node.part("product", "MatMul", &[x, &turned], vec![]);
            node.main_on("Add", vec![product, bias.clone()], vec![]);
        }
    }
}
