//! Operators that cut, join and reorder.

use bunjae_ir::op::{
    Concat, DepthOrder, DepthToSpace, Pad, PadMode, Range, Reshape, Slice, Split, Squeeze,
    Transpose, Unary,
};
use bunjae_ir::{Dim, Factor, FactorGroup, Factors, Op};

use super::super::builder::{MAX_RANK, Operand};
use super::super::elements::Scalar;
use super::super::node::{Lowering, Outcome, axis, size};
use super::super::problem::ProblemKind;

pub(super) fn concat(node: &mut Lowering<'_>) -> Outcome<()> {
    let operands = node.operands()?;
    let rank = node.rank(node.x()?);
    let given = node.attributes.int("axis")?.ok_or(ProblemKind::MissingAttribute("axis"))?;
    let op = Op::Concat(Concat { axis: axis(given, rank)? });
    node.finish_with(op, &operands)
}

/// The lengths of the parts that an axis is split into.
pub(in super::super) fn split_sizes(node: &mut Lowering<'_>, dim: &Dim) -> Outcome<Vec<usize>> {
    node.at_most(if node.since >= 13 { 2 } else { 1 })?;
    let results = node.result_count();
    let parts = if node.since >= 18 { node.attributes.int("num_outputs")? } else { None };
    let sizes = if let Some(given) = node.ints("split", 13, 1)? {
        given.into_iter().map(size).collect::<Outcome<Vec<_>>>()?
    } else {
        let parts = parts.map_or(Ok(results), size)?;
        let length = dim.fixed().ok_or(ProblemKind::Dynamic("length of the split axis"))?;
        // The last part is the shorter one.
        let part = length.div_ceil(parts.max(1));
        let exact = length.checked_rem(parts) == Some(0);
        if parts != results || !(exact || node.since >= 18) {
            let words = format!("{length} elements cannot be split into {parts} equal parts");
            return Err(ProblemKind::Unsupported(words));
        }
        let start = |at: usize| at.saturating_mul(part).min(length);
        (0..parts).map(|at| start(at + 1) - start(at)).collect()
    };
    let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if sizes.len() != results || dim.fixed().is_some_and(|length| total != Some(length)) {
        let why = format!("which does not cut {dim} into {results}");
        return Err(ProblemKind::value("split", sizes, &why));
    }
    Ok(sizes)
}

pub(super) fn split(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let dims = node.dims(x);
    let axis = node.axis(0, dims.len())?;
    let sizes = split_sizes(node, dims.get(axis).unwrap_or(&Dim::Fixed(1)))?;
    match sizes.len() {
        1 => node.finish_with(Unary::Identity, &[x]),
        _ => node.emit_all(Op::Split(Split { axis, sizes }), &[x]),
    }
}

/// The ranges that a Slice takes of an operand of dimensions `dims`; whole axes are left out.
pub(in super::super) fn slice_ranges(node: &mut Lowering<'_>, dims: &[Dim]) -> Outcome<Vec<Range>> {
    let (starts, ends, axes, steps) = if node.since >= 10 {
        node.at_most(5)?;
        let mut list = |at, what| -> Outcome<Option<Vec<Scalar>>> {
            let Some(operand) = node.optional(at)? else { return Ok(None) };
            Ok(Some(node.elements(operand, what)?.values.clone()))
        };
        (list(1, "starts")?, list(2, "ends")?, list(3, "axes")?, list(4, "steps")?)
    } else {
        node.at_most(1)?;
        let mut list = |name| -> Outcome<Option<Vec<Scalar>>> {
            let list = node.attributes.ints(name)?;
            Ok(list.map(|list| list.iter().map(|&value| Scalar::Int(value)).collect()))
        };
        (list("starts")?, list("ends")?, list("axes")?, None)
    };
    let starts = starts.ok_or(ProblemKind::MissingOperand("starts"))?;
    let ends = ends.ok_or(ProblemKind::MissingOperand("ends"))?;
    let count = starts.len();
    if count > MAX_RANK {
        return Err(ProblemKind::Rank(count));
    }
    let numbered = || (0..).map(Scalar::Int).take(count).collect();
    let axes = axes.unwrap_or_else(numbered);
    let steps = steps.unwrap_or_else(|| vec![Scalar::Int(1); count]);
    if [ends.len(), axes.len(), steps.len()] != [count; 3] {
        return Err(ProblemKind::unsupported("its starts, ends, axes and steps differ in length"));
    }
    let int = |scalar: &Scalar, what| match scalar {
        Scalar::Int(value) => Ok(*value),
        _ => Err(ProblemKind::Dynamic(what)),
    };
    let mut ranges: Vec<Range> = Vec::new();
    for (at, (start, end)) in starts.iter().zip(&ends).enumerate() {
        let axis = axis(int(&axes[at], "axes")?, dims.len())?;
        if ranges.iter().any(|range| range.axis == axis) {
            return Err(ProblemKind::unsupported("it slices one axis twice"));
        }
        let dim = dims.get(axis).unwrap_or(&Dim::Fixed(1));
        let step = int(&steps[at], "steps")?;
        let start = int(start, "starts")?;
        let end = match end {
            // Up to the axis's own size.
            Scalar::Size(end) if end == dim && step > 0 => Range::OPEN,
            end => open_end(int(end, "ends")?, step, dim),
        };
        ranges.push(Range { axis, start, end, step });
    }
    ranges.retain(|range| (range.start, range.end, range.step) != (0, Range::OPEN, 1));
    Ok(ranges)
}

/// The end of a range, [`Range::OPEN`] where it lies beyond the end of the axis.
fn open_end(end: i64, step: i64, dim: &Dim) -> i64 {
    // What exporters write where they mean "as far as it goes".
    const FAR: i64 = i32::MAX as i64;
    let size = dim.fixed().and_then(|size| i64::try_from(size).ok()).unwrap_or(FAR);
    match step > 0 {
        true if end > size.min(FAR - 1) => Range::OPEN,
        false if end < -size.min(FAR - 1) => Range::OPEN,
        _ => end,
    }
}

pub(super) fn slice(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let dims = node.dims(x);
    let ranges = slice_ranges(node, &dims)?;
    node.finish_with(Op::Slice(Slice { ranges }), &[x])
}

/// Picks a single index, or a run of them, of a tensor that is computed when the model runs.
pub(super) fn gather(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(2)?;
    let x = node.x()?;
    let dims = node.dims(x);
    let at = node.axis(0, dims.len())?;
    let indices = node.operand(1, "indices")?;
    let rank = node.rank(indices);
    let values = node.known_ints(1, "indices")?.unwrap_or_default();
    let run = values.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
    let (&[first, ..], true, 0 | 1) = (values.as_slice(), run, rank) else {
        return Err(ProblemKind::unsupported("only an index or a run of indices is supported"));
    };
    let end = first.checked_add(i64::try_from(values.len()).unwrap_or(i64::MAX));
    let end = match end {
        // One past -1 is the end, not the start.
        Some(0) if first < 0 => Range::OPEN,
        Some(end) if first < 0 && end > 0 => {
            return Err(ProblemKind::unsupported("the indices run past the end"));
        }
        Some(end) => end,
        None => return Err(ProblemKind::TooLarge),
    };
    if let Some(Dim::Fixed(size)) = dims.get(at) {
        for &index in &values {
            axis(index, *size)?;
        }
    }
    let range = Range { axis: at, start: first, end, step: 1 };
    let slice = Op::Slice(Slice { ranges: vec![range] });
    if rank == 1 {
        return node.finish_with(slice, &[x]);
    }
    let part = node.emit_part("slice", slice, &[x])?;
    node.finish_with(Op::Squeeze(Squeeze { axes: vec![at] }), &[part])
}

pub(super) fn pad(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let rank = node.rank(x);
    let choices =
        [("constant", PadMode::Constant), ("reflect", PadMode::Reflect), ("edge", PadMode::Edge)];
    let mode = node.attributes.word("mode", &choices)?;
    let pads = node.ints("pads", 11, 1)?.ok_or(ProblemKind::MissingOperand("pads"))?;
    let (value, axes) = if node.since >= 11 {
        node.at_most(if node.since >= 18 { 4 } else { 3 })?;
        let value = node.known_floats(2, "constant_value")?;
        (value.and_then(|v| v.first().map(|&v| v as f32)), node.known_ints(3, "axes")?)
    } else {
        (node.attributes.float("value")?, None)
    };
    let axes: Vec<usize> = match axes {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|&at| axis(at, rank)).collect::<Outcome<_>>()?,
    };
    if pads.len() != 2 * axes.len() {
        let why = format!("and should be {} numbers", 2 * axes.len());
        return Err(ProblemKind::value("pads", pads, &why));
    }
    let (before, after) = pads.split_at(axes.len());
    let mut added = Vec::new();
    let mut removed = Vec::new();
    for (&at, (&before, &after)) in axes.iter().zip(before.iter().zip(after)) {
        let grow = [size(before.max(0))?, size(after.max(0))?];
        if grow != [0, 0] {
            added.push([at, grow[0], grow[1]]);
        }
        if before < 0 || after < 0 {
            let start = before.min(0).checked_neg().ok_or(ProblemKind::TooLarge)?;
            let end = if after < 0 { after } else { Range::OPEN };
            removed.push(Range { axis: at, start, end, step: 1 });
        }
    }
    added.sort_unstable();
    if added.windows(2).any(|pair| pair[0][0] == pair[1][0]) {
        return Err(ProblemKind::value("axes", axes, "which names an axis twice"));
    }
    let padding = Op::Pad(Pad { pads: added.clone(), mode, value: value.unwrap_or(0.0) });
    if removed.is_empty() {
        return node.finish_with(padding, &[x]);
    }
    if mode != PadMode::Constant {
        return Err(ProblemKind::value(
            "pads",
            pads,
            "and negative ones are supported for mode constant alone",
        ));
    }
    let slice = Op::Slice(Slice { ranges: removed });
    if added.is_empty() {
        return node.finish_with(slice, &[x]);
    }
    let cut = node.emit_part("cut", slice, &[x])?;
    node.finish_with(padding, &[cut])
}

/// The permutation of a Transpose; without one, the axes are turned around.
pub(in super::super) fn permutation(node: &mut Lowering<'_>, rank: usize) -> Outcome<Vec<usize>> {
    node.at_most(1)?;
    let Some(given) = node.attributes.ints("perm")? else { return Ok((0..rank).rev().collect()) };
    let perm: Option<Vec<usize>> = given.iter().map(|&at| usize::try_from(at).ok()).collect();
    let is_permutation =
        |perm: &Vec<usize>| perm.len() == rank && (0..rank).all(|at| perm.contains(&at));
    perm.filter(is_permutation).ok_or_else(|| {
        ProblemKind::value("perm", given, &format!("which is no order of {rank} axes"))
    })
}

pub(super) fn transpose(node: &mut Lowering<'_>) -> Outcome<()> {
    let x = node.x()?;
    let perm = permutation(node, node.rank(x))?;
    node.finish_with(Op::Transpose(Transpose { perm }), &[x])
}

fn block(node: &mut Lowering<'_>) -> Outcome<usize> {
    let block = node.attributes.int("blocksize")?;
    let block = size(block.ok_or(ProblemKind::MissingAttribute("blocksize"))?)?;
    match block {
        0 => Err(ProblemKind::value("blocksize", block, "and should be positive")),
        block => Ok(block),
    }
}

pub(super) fn depth_to_space(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let x = node.x()?;
    let block = block(node)?;
    let choices = [("DCR", DepthOrder::DepthColumnRow), ("CRD", DepthOrder::ColumnRowDepth)];
    let order =
        if node.since >= 11 { node.attributes.word("mode", &choices)? } else { choices[0].1 };
    node.finish_with(Op::DepthToSpace(DepthToSpace { block, order }), &[x])
}

/// `[N, C, H, W]` by way of `[N, C, H / b, b, W / b, b]` to `[N, b b C, H / b, W / b]`.
pub(super) fn space_to_depth(node: &mut Lowering<'_>) -> Outcome<()> {
    node.at_most(1)?;
    let x = node.x()?;
    let block = block(node)?;
    if node.rank(x) != 4 {
        return Err(ProblemKind::unsupported("its input should have 4 dimensions"));
    }
    let keep = || FactorGroup { axes: 1, out: vec![Factor::Rest] };
    let cut = || FactorGroup { axes: 1, out: vec![Factor::Rest, Factor::Fixed(block)] };
    let blocks = Op::Reshape(Reshape { map: Factors(vec![keep(), keep(), cut(), cut()]) });
    let turned = Op::Transpose(Transpose { perm: vec![0, 3, 5, 1, 2, 4] });
    let join = FactorGroup { axes: 3, out: vec![Factor::Rest] };
    let joined = Op::Reshape(Reshape { map: Factors(vec![keep(), join, keep(), keep()]) });
    let result: Operand = node.emit_part("blocks", blocks, &[x])?;
    let result = node.emit_part("transpose", turned, &[result])?;
    node.finish_with(joined, &[result])
}
