//! Operators that move elements or change the shape alone.

use bunjae_ir::op::{
    Concat, Flatten, Pad, PadMode, Range, Reshape, Slice, Split, Squeeze, Transpose, Unsqueeze,
};
use bunjae_ir::{Dim, Factor, FactorGroup};

use super::ExportError;
use super::node::{NodeWriter, float, int, ints, word};

type Result<T> = std::result::Result<T, ExportError>;

pub(super) fn concat(node: &mut NodeWriter<'_, '_>, op: &Concat) -> Result<()> {
    let axis = node.int(op.axis)?;
    node.main("Concat", vec![int("axis", axis)]);
    Ok(())
}

pub(super) fn split(node: &mut NodeWriter<'_, '_>, op: &Split) -> Result<()> {
    let mut attributes = vec![int("axis", node.int(op.axis)?)];
    let mut inputs = vec![node.x()];
    let sizes = node.ints(&op.sizes)?;
    if node.opset() >= 13 {
        inputs.push(node.list("split", &sizes));
    } else {
        attributes.push(ints("split", sizes));
    }
    node.main_on("Split", inputs, attributes);
    Ok(())
}

pub(super) fn slice(node: &mut NodeWriter<'_, '_>, op: &Slice) -> Result<()> {
    if op.ranges.is_empty() {
        node.main("Identity", vec![]);
        return Ok(());
    }
    let list = |part: fn(&Range) -> i64| op.ranges.iter().map(part).collect::<Vec<i64>>();
    let starts = list(|range| range.start);
    let ends = list(|range| match range.end {
        // Backwards, the open end lies before the first element.
        Range::OPEN if range.step < 0 => i64::MIN,
        end => end,
    });
    let axes: Vec<usize> = op.ranges.iter().map(|range| range.axis).collect();
    let axes = node.ints(&axes)?;
    if node.opset() < 10 {
        // All steps are 1; see `opset::needed`.
        let attributes = vec![ints("axes", axes), ints("starts", starts), ints("ends", ends)];
        node.main("Slice", attributes);
        return Ok(());
    }
    let mut inputs = vec![node.x(), node.list("starts", &starts)];
    inputs.extend([node.list("ends", &ends), node.list("axes", &axes)]);
    inputs.push(node.list("steps", &list(|range| range.step)));
    node.main_on("Slice", inputs, vec![]);
    Ok(())
}

pub(super) fn pad(node: &mut NodeWriter<'_, '_>, op: &Pad) -> Result<()> {
    let mode = match op.mode {
        PadMode::Constant => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
    };
    let rank = node.ty(0).rank();
    let mut pads = vec![0; 2 * rank];
    for &[axis, before, after] in &op.pads {
        let sides = [(axis, before), (rank + axis, after)];
        for (at, size) in sides {
            let size = node.int(size)?;
            // An axis may be padded in several entries.
            pads.get_mut(at).into_iter().for_each(|pad: &mut i64| *pad += size);
        }
    }
    let mut attributes = vec![word("mode", mode)];
    let mut inputs = vec![node.x()];
    if node.opset() >= 11 {
        inputs.push(node.list("pads", &pads));
        if op.mode == PadMode::Constant {
            inputs.push(node.number("value", op.value.into()));
        }
    } else {
        attributes.extend([ints("pads", pads), float("value", op.value)]);
    }
    node.main_on("Pad", inputs, attributes);
    Ok(())
}

pub(super) fn flatten(node: &mut NodeWriter<'_, '_>, op: &Flatten) -> Result<()> {
    let axis = node.int(op.axis)?;
    node.main("Flatten", vec![int("axis", axis)]);
    Ok(())
}

pub(super) fn transpose(node: &mut NodeWriter<'_, '_>, op: &Transpose) -> Result<()> {
    let perm = node.ints(&op.perm)?;
    node.main("Transpose", vec![ints("perm", perm)]);
    Ok(())
}

pub(super) fn squeeze(node: &mut NodeWriter<'_, '_>, op: &Squeeze) -> Result<()> {
    squeeze_like(node, "Squeeze", &op.axes)
}

pub(super) fn unsqueeze(node: &mut NodeWriter<'_, '_>, op: &Unsqueeze) -> Result<()> {
    squeeze_like(node, "Unsqueeze", &op.axes)
}

fn squeeze_like(node: &mut NodeWriter<'_, '_>, op: &str, axes: &[usize]) -> Result<()> {
    if axes.is_empty() {
        // To the format, no axes are all axes of length 1.
        node.main("Identity", vec![]);
        return Ok(());
    }
    let (mut inputs, mut attributes) = (vec![node.x()], vec![]);
    node.axes(axes, 13, &mut inputs, &mut attributes)?;
    node.main_on(op, inputs, attributes);
    Ok(())
}

/// One entry of the shape that a Reshape asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// A size, 0 for that of the operand's axis in the same place, -1 for whatever is left.
    Number(i64),
    /// The product of a run of the operand's axes over a number.
    Product { from: usize, to: usize, over: usize },
}

pub(super) fn reshape(node: &mut NodeWriter<'_, '_>, op: &Reshape) -> Result<()> {
    let entries = shape_entries(node, op)?;
    let x = node.x();
    let numbers: Option<Vec<i64>> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Number(number) => Some(*number),
            Entry::Product { .. } => None,
        })
        .collect();
    let shape = match numbers {
        Some(numbers) => node.list("shape", &numbers),
        None => computed_shape(node, &x, &entries)?,
    };
    node.main_on("Reshape", vec![x, shape], vec![]);
    Ok(())
}

fn shape_entries(node: &NodeWriter<'_, '_>, op: &Reshape) -> Result<Vec<Entry>> {
    let (input, output) = (node.ty(0).dims, node.result_ty().dims);
    let mut entries = Vec::with_capacity(output.len());
    let mut from = 0;
    for group in &op.map.0 {
        let to = from + group.axes;
        for factor in &group.out {
            let at = entries.len();
            entries.push(match (factor, output.get(at)) {
                (Factor::Fixed(size), _) | (Factor::Rest, Some(Dim::Fixed(size))) => {
                    Entry::Number(node.int(*size)?)
                }
                (Factor::Rest, same) if input.get(at) == same => Entry::Number(0),
                (Factor::Rest, _) => Entry::Product { from, to, over: fixed_product(group) },
            });
        }
        from = to;
    }
    // One size may be left to the runtime: one that is not known or, failing that, one that import
    // would not take for the rest of its group.
    let open = entries.iter().position(|entry| matches!(entry, Entry::Product { .. }));
    if let Some(at) = open.or_else(|| unusual_rest(op, &output))
        && let Some(entry) = entries.get_mut(at)
    {
        *entry = Entry::Number(-1);
    }
    Ok(entries)
}

fn fixed_product(group: &FactorGroup) -> usize {
    let fixed = group.out.iter().map(|factor| match factor {
        Factor::Fixed(size) => *size,
        Factor::Rest => 1,
    });
    fixed.fold(1, usize::saturating_mul)
}

/// The place of a rest that is not the largest of its group.
fn unusual_rest(op: &Reshape, output: &[Dim]) -> Option<usize> {
    let mut start = 0;
    for group in &op.map.0 {
        let end = start + group.out.len();
        let rest = group.out.iter().position(|&factor| factor == Factor::Rest);
        let sizes = output.get(start..end)?;
        let usual = (0..sizes.len()).max_by_key(|&at| sizes.get(at).and_then(Dim::fixed));
        let known = sizes.iter().all(|size| size.fixed().is_some());
        if sizes.len() > 1 && known && rest.is_some() && rest != usual {
            return rest.map(|rest| start + rest);
        }
        start = end;
    }
    None
}

/// A shape of which more than one size depends on the operand's, in ways that the format has no
/// number for.
fn computed_shape(node: &mut NodeWriter<'_, '_>, x: &str, entries: &[Entry]) -> Result<String> {
    let shape = node.part("shape_of", "Shape", &[x], vec![]);
    let mut parts = Vec::with_capacity(entries.len());
    for entry in entries {
        parts.push(match *entry {
            Entry::Number(number) => node.list("size", &[number]),
            Entry::Product { from, to, over } => {
                let (from, to) = (node.int(from)?, node.int(to)?);
                let mut size = node.range("sizes", &shape, from, to);
                if to - from > 1 {
                    let mut inputs = vec![size.clone()];
                    let mut attributes = vec![int("keepdims", 1)];
                    node.axes(&[0], 18, &mut inputs, &mut attributes)?;
                    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                    size = node.part("product", "ReduceProd", &inputs, attributes);
                }
                if over > 1 {
                    let over = [node.int(over)?];
                    let over = node.list("over", &over);
                    size = node.part("quotient", "Div", &[&size, &over], vec![]);
                }
                size
            }
        });
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(node.part("shape", "Concat", &parts, vec![int("axis", 0)]))
}
