//! Operators that only move elements: their gradients move them back.

use std::collections::BTreeMap;

use bunjae_ir::op::{
    Concat, DepthOrder, DepthToSpace, Pad, PadMode, Range, Reshape, Slice, Split, Transpose,
};
use bunjae_ir::{Factor, FactorGroup, Factors, Op, Target, TensorId};

use super::rules::{Rule, Share, Shares};
use crate::formula::Formula;

fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The indices `start..end` of an axis.
fn range(axis: usize, start: usize, end: usize) -> Range {
    Range { axis, start: int(start), end: int(end), step: 1 }
}

impl Rule<'_> {
    pub(super) fn concat(&self, f: &mut Formula<'_>, op: &Concat, dy: TensorId) -> Shares {
        let mut shares = Vec::new();
        let mut start = Some(0usize);
        for (at, &operand) in self.node.inputs.iter().enumerate() {
            let size = f.ty(operand).dims[op.axis].fixed();
            let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
            let mut share = None;
            if self.wants(at) {
                let (Some(start), Some(end)) = (start, end) else {
                    return self.refuse("the sizes that it joins have to be known");
                };
                let ranges = vec![range(op.axis, start, end)];
                share = Some(f.push(Op::Slice(Slice { ranges }), &[dy])?);
            }
            shares.push(share);
            start = end;
        }
        Ok(shares)
    }

    /// The parts joined again; parts on which the loss does not depend are zeros.
    pub(super) fn split(&self, f: &mut Formula<'_>, op: &Split) -> Shares {
        let parts: Vec<TensorId> = self.gradients.iter().flatten().copied().collect();
        if parts.len() == self.gradients.len() {
            let whole = f.push(Op::Concat(Concat { axis: op.axis }), &parts)?;
            return Ok(vec![Some(whole)]);
        }
        let mut sum: Option<TensorId> = None;
        let mut start = 0;
        for (gradient, &size) in self.gradients.iter().zip(&op.sizes) {
            if let &Some(dy) = gradient {
                let ranges = vec![range(op.axis, start, start + size)];
                let part = f.push(Op::SliceGrad(Slice { ranges }), &[self.input(0), dy])?;
                sum = Some(match sum {
                    Some(sum) => f.add(sum, part)?,
                    None => part,
                });
            }
            start += size;
        }
        Ok(vec![sum])
    }

    pub(super) fn pad(&self, f: &mut Formula<'_>, op: &Pad, dy: TensorId) -> Share {
        if op.mode != PadMode::Constant {
            return Ok(f.push(Op::PadGrad(op.clone()), &[self.input(0), dy])?);
        }
        let mut around: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
        for &[axis, before, after] in &op.pads {
            let known = around.entry(axis).or_default();
            *known = [known[0].saturating_add(before), known[1].saturating_add(after)];
        }
        let inside = |(axis, [before, after]): (usize, [usize; 2])| Range {
            axis,
            start: int(before),
            end: if after == 0 { Range::OPEN } else { -int(after) },
            step: 1,
        };
        let ranges = around.into_iter().map(inside).collect();
        Ok(f.push(Op::Slice(Slice { ranges }), &[dy])?)
    }

    /// Back to the shape of the operand.
    pub(super) fn regrouped(&self, f: &mut Formula<'_>, dy: TensorId) -> Share {
        let target = f.ty(self.input(0)).dims.iter().cloned().map(Target::Size);
        let map = Factors::between(&f.ty(dy).dims, &target.collect::<Vec<_>>());
        let map = map.map_err(|_| {
            self.refused("more than one of the sizes that it merges is unknown; bind them first")
        })?;
        Ok(f.push(Op::Reshape(Reshape { map }), &[dy])?)
    }

    pub(super) fn transpose(&self, f: &mut Formula<'_>, perm: &[usize], dy: TensorId) -> Share {
        let mut back = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(at, &from)| back[from] = at);
        Ok(f.push(Op::Transpose(Transpose { perm: back }), &[dy])?)
    }

    /// Space to depth: height and width split into blocks, whose positions move in front of or behind
    /// the channels.
    pub(super) fn depth_to_space(
        &self,
        f: &mut Formula<'_>,
        op: &DepthToSpace,
        dy: TensorId,
    ) -> Share {
        let side = Factor::Fixed(op.block);
        let group = |axes, out: &[Factor]| FactorGroup { axes, out: out.to_vec() };
        let keep = || group(1, &[Factor::Rest]);
        let split = || group(1, &[Factor::Rest, side]);
        let map = Factors(vec![keep(), keep(), split(), split()]);
        // n, c, h, row, w, column
        let parts = f.push(Op::Reshape(Reshape { map }), &[dy])?;
        let perm = match op.order {
            DepthOrder::DepthColumnRow => vec![0, 3, 5, 1, 2, 4],
            DepthOrder::ColumnRowDepth => vec![0, 1, 3, 5, 2, 4],
        };
        let moved = f.push(Op::Transpose(Transpose { perm }), &[parts])?;
        let map = Factors(vec![keep(), group(3, &[Factor::Rest]), keep(), keep()]);
        Ok(f.push(Op::Reshape(Reshape { map }), &[moved])?)
    }
}
