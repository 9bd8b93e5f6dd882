//! Convolutions, and the windows that pools share with them.

use bunjae_ir::op::{Conv2d, ConvTranspose2d, Groups};
use bunjae_ir::{Dim, Op};

use super::super::builder::Operand;
use super::super::node::{Lowering, Outcome, size};
use super::super::problem::ProblemKind;

/// Who decides about the padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// The attribute `pads`.
    Given,
    /// As much as keeps the size (over the stride), the odd element at the end.
    SameUpper,
    /// The same with the odd element at the start.
    SameLower,
    /// None.
    Valid,
}

pub(super) fn auto_pad(node: &mut Lowering<'_>) -> Outcome<AutoPad> {
    node.attributes.word(
        "auto_pad",
        &[
            ("NOTSET", AutoPad::Given),
            ("SAME_UPPER", AutoPad::SameUpper),
            ("SAME_LOWER", AutoPad::SameLower),
            ("VALID", AutoPad::Valid),
        ],
    )
}

/// The attribute `pads`: top, left, bottom, right.
pub(super) fn pads(node: &mut Lowering<'_>) -> Outcome<[usize; 4]> {
    match node.attributes.ints("pads")? {
        None => Ok([0; 4]),
        Some(&[top, left, bottom, right]) if [top, left, bottom, right].iter().all(|&p| p >= 0) => {
            Ok([size(top)?, size(left)?, size(bottom)?, size(right)?])
        }
        Some(other) => {
            Err(ProblemKind::value("pads", other, "and should be four numbers of at least 0"))
        }
    }
}

/// Splits padding between start and end.
fn halves(total: usize, odd_at_end: bool) -> (usize, usize) {
    let half = total / 2;
    if odd_at_end { (half, total - half) } else { (total - half, half) }
}

/// How far a window reaches.
fn extent(kernel: usize, dilation: usize) -> usize {
    kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1)
}

/// The padding of a window that slides over `dims`: top, left, bottom, right.
pub(super) fn window_pads(
    node: &mut Lowering<'_>,
    dims: &[Dim],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Outcome<[usize; 4]> {
    let given = pads(node)?;
    let odd_at_end = match auto_pad(node)? {
        AutoPad::Given => return Ok(given),
        AutoPad::Valid => return Ok([0; 4]),
        mode => mode == AutoPad::SameUpper,
    };
    let mut pads = [0; 4];
    for at in 0..2 {
        let reach = extent(kernel[at], dilation[at]);
        let total = match (stride[at], dims.get(2 + at)) {
            // The same for every size.
            (1, _) => reach - 1,
            (stride, Some(Dim::Fixed(size))) => {
                let windows = size.div_ceil(stride).max(1);
                ((windows - 1).saturating_mul(stride).saturating_add(reach)).saturating_sub(*size)
            }
            _ => return Err(ProblemKind::Dynamic("padding (auto_pad)")),
        };
        (pads[at], pads[at + 2]) = halves(total, odd_at_end);
    }
    Ok(pads)
}

/// The height and width of a convolution's kernel, from its weight.
fn kernel(node: &mut Lowering<'_>, x: Operand, weight: Operand) -> Outcome<[usize; 2]> {
    let dims = node.dims(weight);
    let (&[Dim::Fixed(_), Dim::Fixed(_), Dim::Fixed(height), Dim::Fixed(width)], 4) =
        (dims.as_slice(), node.rank(x))
    else {
        let words = format!(
            "its input has {} dimensions and its weight {}; only convolutions over pictures, with \
             4 and 4, are supported",
            node.rank(x),
            dims.len()
        );
        return Err(ProblemKind::Unsupported(words));
    };
    if let Some(stated) = node.attributes.ints("kernel_shape")?
        && stated.iter().map(|&size| usize::try_from(size).ok()).ne([Some(height), Some(width)])
    {
        let why = format!("but its weight has a kernel of {height} x {width}");
        return Err(ProblemKind::value("kernel_shape", stated, &why));
    }
    Ok([height, width])
}

/// The groups of a convolution with `channels` input channels.
fn groups(node: &mut Lowering<'_>, channels: Option<&Dim>) -> Outcome<Groups> {
    match node.attributes.int("group")?.unwrap_or(1) {
        1 => Ok(Groups::Dense),
        group if group > 1 => {
            let group = size(group)?;
            let own = channels == Some(&Dim::Fixed(group));
            Ok(if own { Groups::Depthwise } else { Groups::Grouped(group) })
        }
        group => Err(ProblemKind::value("group", group, "and should be at least 1")),
    }
}

/// The operands: input, weight and, where there is one, bias.
fn operands(node: &Lowering<'_>) -> Outcome<Vec<Operand>> {
    node.at_most(3)?;
    let mut operands = vec![node.x()?, node.operand(1, "weight")?];
    operands.extend(node.optional(2)?);
    Ok(operands)
}

pub(super) fn conv(node: &mut Lowering<'_>) -> Outcome<()> {
    let operands = operands(node)?;
    let dims = node.dims(operands[0]);
    let kernel = kernel(node, operands[0], operands[1])?;
    let stride = node.pair("strides", [1, 1])?;
    let dilation = node.pair("dilations", [1, 1])?;
    let pad = window_pads(node, &dims, kernel, stride, dilation)?;
    let groups = groups(node, dims.get(1))?;
    node.finish_with(Op::Conv2d(Conv2d { stride, dilation, pad, groups }), &operands)
}

pub(super) fn conv_transpose(node: &mut Lowering<'_>) -> Outcome<()> {
    let operands = operands(node)?;
    let dims = node.dims(operands[0]);
    let kernel = kernel(node, operands[0], operands[1])?;
    let stride = node.pair("strides", [1, 1])?;
    let dilation = node.pair("dilations", [1, 1])?;
    let output_pad = match node.attributes.ints("output_padding")? {
        None => [0; 2],
        Some(&[height, width]) if height >= 0 && width >= 0 => [size(height)?, size(width)?],
        Some(other) => {
            let why = "and should be two numbers of at least 0";
            return Err(ProblemKind::value("output_padding", other, why));
        }
    };
    let groups = groups(node, dims.get(1))?;
    let given = pads(node)?;
    let mode = auto_pad(node)?;
    let wanted = match node.attributes.ints("output_shape")? {
        None => None,
        // Some writers state batch and channels as well.
        Some(&[.., height, width]) if height > 0 && width > 0 => {
            Some([size(height)?, size(width)?])
        }
        Some(other) => {
            let why = "and should be two positive numbers";
            return Err(ProblemKind::value("output_shape", other, why));
        }
    };
    let pad = match (mode, wanted) {
        (AutoPad::Given, None) => given,
        (AutoPad::Valid, None) => [0; 4],
        (AutoPad::SameUpper | AutoPad::SameLower, None) if node.since < 11 && stride != [1, 1] => {
            return Err(ProblemKind::unsupported(
                "auto_pad meant another size before operator set 11; export with pads",
            ));
        }
        _ => {
            let mut pads = [0; 4];
            for at in 0..2 {
                let reach = extent(kernel[at], dilation[at]);
                let full = reach.saturating_add(output_pad[at]);
                // What the windows would cover without padding, less what is asked for.
                let total = match (wanted, dims.get(2 + at)) {
                    (None, _) => full.checked_sub(stride[at]),
                    (Some(wanted), Some(Dim::Fixed(size))) => size
                        .checked_sub(1)
                        .and_then(|steps| steps.checked_mul(stride[at])?.checked_add(full))
                        .and_then(|covered| covered.checked_sub(wanted[at])),
                    _ => return Err(ProblemKind::Dynamic("padding (output_shape)")),
                };
                let total = total.ok_or_else(|| {
                    ProblemKind::unsupported("its windows do not reach as far as its output")
                })?;
                // Before operator set 11, the format stated the opposite; ONNX Runtime has done
                // this in every set.
                (pads[at], pads[at + 2]) = halves(total, mode == AutoPad::SameUpper);
            }
            pads
        }
    };
    let op = ConvTranspose2d { stride, dilation, pad, output_pad, groups };
    node.finish_with(Op::ConvTranspose2d(op), &operands)
}
