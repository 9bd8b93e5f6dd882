//! How the axes of an operator's operands and results hang together: what removing one channel
//! does, stated by every operator without a default.

use crate::dim::Dim;
use crate::infer::resolve_range;
use crate::op::{DepthOrder, Groups, Op, PadMode, Range};
use crate::reshape::{Factor, FactorGroup, Factors};
use crate::types::TensorType;

/// An operand or a result of one operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operand {
    /// The operand in this place.
    In(usize),
    /// The result in this place.
    Out(usize),
}

/// One axis of an operand or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axis {
    /// Of which operand or result.
    pub of: Operand,
    /// Which axis.
    pub axis: usize,
}

fn input(operand: usize, axis: usize) -> Axis {
    Axis { of: Operand::In(operand), axis }
}

fn output(result: usize, axis: usize) -> Axis {
    Axis { of: Operand::Out(result), axis }
}

/// A statement about axes of one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Index `i` of one is index `i` of the other.
    Same(Axis, Axis),
    /// Index `i` of the part is the run `offset + i * repeat .. offset + (i + 1) * repeat` of the
    /// whole.
    Span {
        /// The smaller axis.
        part: Axis,
        /// The axis that holds it.
        whole: Axis,
        /// Where the part begins.
        offset: usize,
        /// How many indices of the whole stand for one of the part.
        repeat: usize,
    },
    /// The whole runs over all combinations of the parts in row-major order. Which one of the
    /// parts may lose indices is decided over the whole graph: the one that nothing pins.
    Merge {
        /// The axes merged, outermost first.
        parts: Vec<Axis>,
        /// Their product.
        whole: Axis,
    },
    /// The axis is made of blocks that have to stay equally long, so that the same positions leave
    /// every block.
    Block {
        /// The axis.
        axis: Axis,
        /// The length of a block.
        size: usize,
    },
    /// A weight axis of which each index makes a new channel: the origin of a group.
    Produces(Axis),
    /// A weight axis that is summed over: where a channel ends. Zeroing a slice of it removes the
    /// channel's effect without changing any shape.
    Contracts(Axis),
    /// Nothing may be removed from the axis.
    Pinned {
        /// The axis.
        axis: Axis,
        /// The reason, as a clause: "it is normalised over".
        why: &'static str,
    },
}

use Relation::{Block, Contracts, Merge, Pinned, Produces, Same, Span};

impl Op {
    /// How the axes of operands and results hang together. Every axis appears at least once.
    ///
    /// `inputs` and `outputs` are the types the operator was checked with; `is_weight` says which
    /// operands are stored in the model rather than computed.
    pub fn relations(
        &self,
        inputs: &[&TensorType],
        is_weight: &[bool],
        outputs: &[&TensorType],
    ) -> Vec<Relation> {
        let mut found = Found { inputs, outputs, relations: Vec::new() };
        match self {
            Op::Unary(_) | Op::Dropout(_) | Op::Cast(_) => found.all_same(0, &[]),
            Op::Binary(_) | Op::PRelu => {
                found.broadcast(0, inputs[0].rank(), outputs[0].rank());
                found.broadcast(1, inputs[1].rank(), outputs[0].rank());
            }
            Op::Conv2d(op) => {
                found.picture("a convolution slides over it", true);
                found.conv_weight();
                let weight = &inputs[1].dims;
                match op.groups {
                    Groups::Dense => {
                        found.add([Same(input(0, 1), input(1, 1)), Contracts(input(1, 1))]);
                        found.add([Produces(input(1, 0))]);
                    }
                    Groups::Grouped(count) => {
                        let seen = weight[1].fixed().unwrap_or(0);
                        found.spans(input(1, 1), input(0, 1), (0..count).map(|g| g * seen), 1);
                        let size = weight[0].fixed().unwrap_or(0) / count.max(1);
                        let axis = input(1, 0);
                        found.add([Contracts(input(1, 1)), Block { axis, size }, Produces(axis)]);
                    }
                    Groups::Depthwise => {
                        let repeat = ratio(&weight[0], &inputs[0].dims[1]);
                        found.spans(input(0, 1), input(1, 0), [0], repeat);
                        found.pin(input(1, 1), "a depthwise filter has one input channel");
                    }
                }
                found.add([Same(input(1, 0), output(0, 1))]);
                found.bias(2, output(0, 1));
            }
            Op::ConvTranspose2d(op) => {
                found.picture("a convolution slides over it", true);
                found.conv_weight();
                found.add([Same(input(0, 1), input(1, 0))]);
                let weight = &inputs[1].dims;
                match op.groups {
                    Groups::Dense => {
                        found.add([Contracts(input(1, 0)), Produces(input(1, 1))]);
                        found.add([Same(input(1, 1), output(0, 1))]);
                    }
                    Groups::Grouped(count) => {
                        let made = weight[1].fixed().unwrap_or(0);
                        let size = weight[0].fixed().unwrap_or(0) / count.max(1);
                        found.spans(input(1, 1), output(0, 1), (0..count).map(|g| g * made), 1);
                        found.add([Contracts(input(1, 0)), Block { axis: input(1, 0), size }]);
                        found.add([Produces(input(1, 1))]);
                    }
                    Groups::Depthwise => {
                        let repeat = weight[1].fixed().unwrap_or(1);
                        found.spans(input(0, 1), output(0, 1), [0], repeat);
                        found.pin(input(1, 1), "it multiplies each channel of a depthwise layer");
                    }
                }
                found.bias(2, output(0, 1));
            }
            Op::Linear => {
                let last = inputs[0].rank() - 1;
                (0..last).for_each(|at| found.add([Same(input(0, at), output(0, at))]));
                found.add([Same(input(0, last), input(1, 1)), Contracts(input(1, 1))]);
                found.add([Produces(input(1, 0)), Same(input(1, 0), output(0, last))]);
                found.bias(2, output(0, last));
            }
            Op::MatMul => {
                let (a, b, y) = (inputs[0].rank(), inputs[1].rank(), outputs[0].rank());
                found.broadcast(0, a - 2, y - 2);
                found.broadcast(1, b - 2, y - 2);
                let (summed_a, summed_b) = (input(0, a - 1), input(1, b - 2));
                found.add([Same(input(0, a - 2), output(0, y - 2))]);
                found.add([Same(input(1, b - 1), output(0, y - 1)), Same(summed_a, summed_b)]);
                match (is_weight.first(), is_weight.get(1)) {
                    (_, Some(true)) => {
                        found.add([Contracts(summed_b), Produces(input(1, b - 1))]);
                    }
                    (Some(true), _) => {
                        found.add([Contracts(summed_a), Produces(input(0, a - 2))]);
                    }
                    _ => found.pin(summed_a, "two computed tensors are multiplied over it"),
                }
            }
            Op::BatchNorm(_) => {
                found.all_same(0, &[]);
                (1..5).for_each(|operand| found.add([Same(input(0, 1), input(operand, 0))]));
            }
            Op::LayerNorm(op) => {
                found.all_same(0, &[]);
                for at in op.axis..inputs[0].rank() {
                    found.pin(input(0, at), "it is normalised over");
                    for operand in 1..inputs.len() {
                        found.add([Same(input(0, at), input(operand, at - op.axis))]);
                    }
                }
            }
            Op::LogSoftmax(op) => {
                found.all_same(0, &[]);
                found.pin(input(0, op.axis), "a softmax runs over it");
            }
            // Channels are cut from the graph that a training graph is made from.
            Op::UnaryGrad(_)
            | Op::BatchNormTrain(_)
            | Op::BatchNormGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_) => found.pin_all("its operator stands in training graphs only"),
            Op::L2Norm(op) => {
                found.all_same(0, &[]);
                found.pin(input(0, op.axis), "it is normalised over");
            }
            Op::Softmax(op) => {
                found.all_same(0, &[]);
                found.pin(input(0, op.axis), "a softmax runs over it");
            }
            Op::Concat(op) => {
                let mut offset = Some(0usize);
                for (operand, ty) in inputs.iter().enumerate() {
                    found.same_but(operand, 0, op.axis);
                    let (part, whole) = (input(operand, op.axis), output(0, op.axis));
                    match (offset, ty.dims[op.axis].fixed()) {
                        (Some(start), Some(size)) => {
                            found.spans(part, whole, [start], 1);
                            offset = start.checked_add(size);
                        }
                        _ => {
                            offset = None;
                            found.pin(part, "it is joined to axes of unknown size");
                            found.pin(whole, "it is joined from axes of unknown size");
                        }
                    }
                }
            }
            Op::Split(op) => {
                let mut offset = 0;
                for (result, size) in op.sizes.iter().enumerate() {
                    found.same_but(0, result, op.axis);
                    found.spans(output(result, op.axis), input(0, op.axis), [offset], 1);
                    offset += size;
                }
            }
            Op::Slice(op) => {
                for at in 0..inputs[0].rank() {
                    let range = op.ranges.iter().find(|range| range.axis == at);
                    match (range, window(range, &inputs[0].dims[at])) {
                        (None, _) => found.add([Same(input(0, at), output(0, at))]),
                        (Some(_), Some(start)) => {
                            found.spans(output(0, at), input(0, at), [start], 1);
                        }
                        (Some(_), None) => {
                            found.pin(input(0, at), "it is sliced with a step, or of unknown size");
                            found.pin(output(0, at), "it is sliced with a step");
                        }
                    }
                }
            }
            Op::Pad(op) => {
                for at in 0..inputs[0].rank() {
                    let (part, whole) = (input(0, at), output(0, at));
                    match op.pads.iter().find(|pad| pad[0] == at) {
                        None => found.add([Same(part, whole)]),
                        Some(&[_, before, _])
                            if op.mode == PadMode::Constant
                                && inputs[0].dims[at].fixed().is_some() =>
                        {
                            found.spans(part, whole, [before], 1);
                        }
                        Some(_) => {
                            found.pin(part, "its padding repeats it, or its size is unknown");
                            found.pin(whole, "its padding repeats it, or its size is unknown");
                        }
                    }
                }
            }
            Op::MaxPool(_) | Op::AveragePool(_) => {
                found.picture("a pool slides over it", false);
            }
            Op::GlobalPool(_) => found.picture("it is pooled over", false),
            Op::Resize(_) => found.picture("it is resized", false),
            Op::Reduce(op) => {
                let mut kept = 0;
                for at in 0..inputs[0].rank() {
                    if op.axes.contains(&at) {
                        found.pin(input(0, at), "it is reduced over");
                        if op.keep {
                            found.pin(output(0, kept), "it is what a reduction leaves");
                        }
                        kept += usize::from(op.keep);
                    } else {
                        found.add([Same(input(0, at), output(0, kept))]);
                        kept += 1;
                    }
                }
            }
            Op::Reshape(op) => found.regroup(&op.map.0),
            Op::Flatten(op) => {
                found.regroup(&Factors::flatten(inputs[0].rank(), op.axis).0);
            }
            Op::Transpose(op) => {
                for (at, &from) in op.perm.iter().enumerate() {
                    found.add([Same(input(0, from), output(0, at))]);
                }
            }
            Op::Squeeze(op) => {
                let mut kept = 0;
                for at in 0..inputs[0].rank() {
                    if op.axes.contains(&at) {
                        found.pin(input(0, at), "it has one element");
                    } else {
                        found.add([Same(input(0, at), output(0, kept))]);
                        kept += 1;
                    }
                }
            }
            Op::Unsqueeze(op) => {
                let mut from = 0;
                for at in 0..outputs[0].rank() {
                    if op.axes.contains(&at) {
                        found.pin(output(0, at), "it has one element");
                    } else {
                        found.add([Same(input(0, from), output(0, at))]);
                        from += 1;
                    }
                }
            }
            Op::DepthToSpace(op) => {
                found.picture("channels are moved into it", false);
                found.relations.retain(|r| *r != Same(input(0, 1), output(0, 1)));
                let area = op.block * op.block;
                let channels = outputs[0].dims[1].fixed().unwrap_or(0);
                match op.order {
                    DepthOrder::DepthColumnRow => {
                        let offsets = (0..area).map(|at| at * channels);
                        found.spans(output(0, 1), input(0, 1), offsets, 1);
                    }
                    DepthOrder::ColumnRowDepth => {
                        found.spans(output(0, 1), input(0, 1), [0], area);
                    }
                }
            }
            Op::Quantize(op) => found.quantisation(op.axis),
            Op::Dequantize(op) => found.quantisation(op.axis),
        }
        found.relations
    }

    /// The operator after the removal of channels: settings that count channels are brought up to
    /// date. `removed` gives the sorted indices that leave an axis; `inputs` are the types before
    /// the removal.
    #[must_use]
    pub fn without<'a>(&self, inputs: &[&TensorType], removed: impl Fn(Axis) -> &'a [usize]) -> Op {
        let count = |axis: Axis, range: std::ops::Range<usize>| {
            removed(axis).iter().filter(|index| range.contains(index)).count()
        };
        let mut result = self.clone();
        match &mut result {
            Op::Split(op) => {
                for (at, size) in op.sizes.iter_mut().enumerate() {
                    *size -= removed(output(at, op.axis)).len();
                }
            }
            Op::Slice(op) => {
                for range in &mut op.ranges {
                    let size = inputs[0].dims[range.axis].fixed();
                    let known = size.and_then(|size| resolve_range(range, size).ok());
                    let cut = input(0, range.axis);
                    if let Some((start, taken, 1)) = known.filter(|_| !removed(cut).is_empty()) {
                        let first = start - count(cut, 0..start);
                        let left = taken - count(cut, start..start + taken);
                        let int = |value: usize| i64::try_from(value).unwrap_or(Range::OPEN);
                        range.start = int(first);
                        range.end = int(first + left);
                    }
                }
            }
            Op::Pad(op) => {
                for [at, before, after] in &mut op.pads {
                    let (cut, size) = (output(0, *at), inputs[0].dims[*at].fixed().unwrap_or(0));
                    let end = *before + size;
                    (*before, *after) =
                        (*before - count(cut, 0..*before), *after - count(cut, end..end + *after));
                }
            }
            // Fixed factors of a reshape are pinned; the rest follows from the operand.
            Op::Reshape(_) | Op::Flatten(_) => {}
            // These count no channels in their settings.
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Conv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::Linear
            | Op::MatMul
            | Op::BatchNorm(_)
            | Op::LayerNorm(_)
            | Op::L2Norm(_)
            | Op::PRelu
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::UnaryGrad(_)
            | Op::BatchNormTrain(_)
            | Op::BatchNormGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_)
            | Op::Concat(_)
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalPool(_)
            | Op::Reduce(_)
            | Op::Transpose(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Resize(_)
            | Op::DepthToSpace(_)
            | Op::Dropout(_)
            | Op::Cast(_)
            | Op::Quantize(_)
            | Op::Dequantize(_) => {}
        }
        result
    }
}

fn ratio(whole: &Dim, part: &Dim) -> usize {
    match (whole.fixed(), part.fixed()) {
        (Some(whole), Some(part)) if part > 0 => whole / part,
        _ => 1,
    }
}

/// Where a range with step 1 of an axis of known size begins.
fn window(range: Option<&Range>, size: &Dim) -> Option<usize> {
    match resolve_range(range?, size.fixed()?) {
        Ok((start, _, 1)) => Some(start),
        _ => None,
    }
}

struct Found<'a> {
    inputs: &'a [&'a TensorType],
    outputs: &'a [&'a TensorType],
    relations: Vec<Relation>,
}

impl Found<'_> {
    fn add(&mut self, relations: impl IntoIterator<Item = Relation>) {
        self.relations.extend(relations);
    }

    fn pin(&mut self, axis: Axis, why: &'static str) {
        self.relations.push(Pinned { axis, why });
    }

    fn pin_all(&mut self, why: &'static str) {
        let operands = self.inputs.iter().enumerate().map(|(at, ty)| (Operand::In(at), ty));
        let results = self.outputs.iter().enumerate().map(|(at, ty)| (Operand::Out(at), ty));
        for (of, ty) in operands.chain(results) {
            let axes = (0..ty.rank()).map(|axis| Pinned { axis: Axis { of, axis }, why });
            self.relations.extend(axes);
        }
    }

    fn spans(
        &mut self,
        part: Axis,
        whole: Axis,
        offsets: impl IntoIterator<Item = usize>,
        repeat: usize,
    ) {
        let span = |offset| Span { part, whole, offset, repeat };
        self.relations.extend(offsets.into_iter().map(span));
    }

    /// Every axis of an operand is the same axis of the first result, but for those named.
    fn all_same(&mut self, operand: usize, but: &[usize]) {
        let axes = (0..self.inputs[operand].rank()).filter(|at| !but.contains(at));
        self.relations.extend(axes.map(|at| Same(input(operand, at), output(0, at))));
    }

    fn same_but(&mut self, operand: usize, result: usize, but: usize) {
        let axes = (0..self.inputs[operand].rank()).filter(|&at| at != but);
        self.relations.extend(axes.map(|at| Same(input(operand, at), output(result, at))));
    }

    /// The first `rank` axes of an operand against the first `result_rank` of the result, aligned
    /// at their ends.
    fn broadcast(&mut self, operand: usize, rank: usize, result_rank: usize) {
        for at in 0..rank {
            let to = at + result_rank - rank;
            let repeats =
                self.inputs[operand].dims[at].is_one() && !self.outputs[0].dims[to].is_one();
            if repeats {
                self.pin(input(operand, at), "it is repeated by broadcasting");
            } else {
                self.add([Same(input(operand, at), output(0, to))]);
            }
        }
    }

    /// Batch and, unless they are weighed, channels pass; height and width are pinned.
    fn picture(&mut self, why: &'static str, weighed: bool) {
        self.add([Same(input(0, 0), output(0, 0))]);
        if !weighed {
            self.add([Same(input(0, 1), output(0, 1))]);
        }
        for at in 2..self.inputs[0].rank() {
            self.pin(input(0, at), why);
            self.pin(output(0, at), why);
        }
    }

    fn conv_weight(&mut self) {
        for at in 2..4 {
            self.pin(input(1, at), "it is the window of a convolution");
        }
    }

    fn bias(&mut self, operand: usize, channels: Axis) {
        if operand < self.inputs.len() {
            self.add([Same(input(operand, 0), channels)]);
        }
    }

    fn quantisation(&mut self, axis: usize) {
        self.all_same(0, &[]);
        for operand in 1..3 {
            if self.inputs[operand].rank() == 1 {
                self.add([Same(input(operand, 0), input(0, axis))]);
            }
        }
    }

    fn regroup(&mut self, groups: &[FactorGroup]) {
        let (mut from, mut to) = (0, 0);
        for group in groups {
            let ins: Vec<Axis> = (from..from + group.axes).map(|at| input(0, at)).collect();
            let outs: Vec<Axis> = (to..to + group.out.len()).map(|at| output(0, at)).collect();
            from += group.axes;
            to += group.out.len();
            if let ([a], [b]) = (ins.as_slice(), outs.as_slice()) {
                self.add([Same(*a, *b)]);
                continue;
            }
            for (axis, factor) in outs.iter().zip(&group.out) {
                if matches!(factor, Factor::Fixed(_)) {
                    self.pin(*axis, "a reshape gives it a fixed length");
                }
            }
            let long = |axes: &[Axis], types: &[&TensorType]| -> Vec<Axis> {
                axes.iter().copied().filter(|a| !types[0].dims[a.axis].is_one()).collect()
            };
            let (long_in, long_out) = (long(&ins, self.inputs), long(&outs, self.outputs));
            for axis in ins.iter().chain(&outs) {
                if !long_in.contains(axis) && !long_out.contains(axis) {
                    self.pin(*axis, "it has one element");
                }
            }
            match (long_in.as_slice(), long_out.as_slice()) {
                ([], _) | (_, []) => {}
                ([a], [b]) => self.add([Same(*a, *b)]),
                (_, [whole]) => self.add([Merge { parts: long_in, whole: *whole }]),
                ([whole], _) => self.add([Merge { parts: long_out, whole: *whole }]),
                _ => {
                    for axis in long_in.iter().chain(&long_out) {
                        self.pin(*axis, "a reshape mixes it with others");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::examples::examples;

    /// An axis that no relation mentions would be cut without anyone being asked.
    #[test]
    fn every_operator_speaks_of_every_axis() {
        for example in examples() {
            let inputs: Vec<&TensorType> = example.inputs.iter().collect();
            let outputs = example.op.infer(&inputs).unwrap();
            let outputs: Vec<&TensorType> = outputs.iter().collect();
            let mut spoken = BTreeSet::new();
            for relation in example.op.relations(&inputs, &example.weights, &outputs) {
                match relation {
                    Same(a, b) | Span { part: a, whole: b, .. } => spoken.extend([a, b]),
                    Merge { parts, whole } => spoken.extend(parts.into_iter().chain([whole])),
                    Block { axis, .. } | Produces(axis) | Contracts(axis) => {
                        spoken.insert(axis);
                    }
                    Pinned { axis, .. } => {
                        spoken.insert(axis);
                    }
                }
            }
            let axes = |types: &[&TensorType], of: fn(usize) -> Operand| -> Vec<Axis> {
                let ranks = types.iter().enumerate();
                ranks
                    .flat_map(|(at, ty)| (0..ty.rank()).map(move |axis| Axis { of: of(at), axis }))
                    .collect()
            };
            let all = axes(&inputs, Operand::In).into_iter().chain(axes(&outputs, Operand::Out));
            for axis in all {
                assert!(spoken.contains(&axis), "{} says nothing of {axis:?}", example.op.name());
            }
            assert!(
                spoken.iter().all(|axis| match axis.of {
                    Operand::In(at) => axis.axis < inputs[at].rank(),
                    Operand::Out(at) => axis.axis < outputs[at].rank(),
                }),
                "{} speaks of axes that it does not have",
                example.op.name()
            );
        }
    }
}
