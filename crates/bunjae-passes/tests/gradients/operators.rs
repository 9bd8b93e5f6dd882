//! Every operator by itself: its examples, and random settings of those that have many.

use std::collections::{BTreeMap, BTreeSet};

use bunjae_ir::examples::{Example, examples};
use bunjae_ir::op::{
    AveragePool, Binary, Conv2d, ConvTranspose2d, Coordinates, Groups, MaxPool, Pad, PadMode,
    Range, Reduce, Reduction, Resize, ResizeMode, ResizeTo, Rounding, Slice, Unary,
};
use bunjae_ir::{Graph, Op, TensorId, TensorType};
use bunjae_passes::DifferentiateError;
use bunjae_tensor::{DType, Random, Tensor};
use bunjae_testkit::fill::uniform;

use super::differences::{Outcome, compare, random_loss};

/// A use of an operator in f64, all of its float operands inputs, as a loss.
pub(crate) fn use_of(
    example: &Example,
    seed: u64,
) -> (Graph, TensorId, Vec<TensorId>, Vec<Tensor>) {
    let mut wide = example.clone();
    for ty in &mut wide.inputs {
        if ty.dtype == DType::F32 {
            ty.dtype = DType::F64;
        }
    }
    if let Op::Cast(cast) = &mut wide.op
        && cast.to == DType::F32
    {
        cast.to = DType::F64;
    }
    wide.weights.fill(false);
    let graph = wide.graph::<bunjae_ir::GraphError>(|_, _| unreachable!()).unwrap();
    let mut random = Random::new(seed);
    let operands = wide.inputs.iter().enumerate();
    let inputs = operands.map(|(at, ty)| operand(&wide.op, at, ty, &mut random)).collect();
    let (graph, loss) = random_loss(&graph, seed);
    let floats = graph.inputs().iter().copied().filter(|id| graph.ty(*id).dtype.is_float());
    let floats = floats.collect();
    (graph, loss, floats, inputs)
}

/// Numbers from where the operator is defined, and on both sides of its kinks.
fn operand(op: &Op, at: usize, ty: &TensorType, random: &mut Random) -> Tensor {
    let (low, high) = match (op, at) {
        _ if !ty.dtype.is_float() => (0.0, 3.0),
        (Op::BatchNorm(_), 4) => (0.5, 2.0),
        (Op::Unary(Unary::Log | Unary::Sqrt | Unary::Reciprocal), _) => (0.3, 2.0),
        (Op::Unary(Unary::Clip { .. } | Unary::HardSwish | Unary::HardSigmoid { .. }), _) => {
            (-5.0, 8.0)
        }
        (Op::Binary(Binary::Pow), 0) | (Op::Binary(Binary::Div), 1) => (0.7, 2.0),
        _ => (-2.0, 2.0),
    };
    uniform(ty, low, high, random).unwrap()
}

/// Checks an operator; `None` where it is refused, with a reason that names the node.
fn check(example: &Example, seed: u64) -> Option<Outcome> {
    let (graph, loss, floats, inputs) = use_of(example, seed);
    let context = format!("{:?} of {:?}", example.op, example.inputs);
    match compare(&graph, loss, &floats, &inputs, 60, &context) {
        Ok(outcome) => Some(outcome),
        Err(DifferentiateError::NoGradient { node, op, .. }) => {
            assert_eq!((node.as_str(), op), (example.op.name(), example.op.name()));
            None
        }
        Err(error) => panic!("{context}: {error}"),
    }
}

#[test]
fn every_operator() {
    let (mut total, mut seen, mut refused) = (Outcome::default(), BTreeSet::new(), BTreeSet::new());
    for (at, example) in examples().into_iter().enumerate() {
        // Integers have no gradient, and operators that convert to them are refused.
        if !example.inputs[0].dtype.is_float() && !matches!(example.op, Op::Dequantize(_)) {
            continue;
        }
        match check(&example, at as u64) {
            Some(outcome) => {
                seen.insert(example.op.name());
                total.add(outcome);
            }
            None => {
                refused.insert(example.op.name());
            }
        }
    }
    assert_eq!(total.wrong, [""; 0]);
    assert!(total.kinks * 500 < total.compared, "{} of {}", total.kinks, total.compared);
    // Second derivatives and integers.
    let without = |op: &Op| {
        op.is_training() && !matches!(op, Op::BatchNormTrain(_))
            || matches!(op, Op::Quantize(_) | Op::Dequantize(_))
    };
    let refusable: BTreeSet<&str> =
        examples().iter().filter(|e| without(&e.op)).map(|e| e.op.name()).collect();
    let refused: BTreeSet<&str> = refused.into_iter().filter(|name| *name != "cast").collect();
    assert_eq!(refused, refusable);
    let missing: Vec<&str> =
        Op::names().filter(|name| !seen.contains(name) && !refused.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}

fn x(dims: &[usize]) -> TensorType {
    TensorType::new(DType::F32, dims.to_vec())
}

/// Uses with random settings; those whose shapes do not fit are passed over.
pub(crate) fn random_uses(seed: u64) -> Vec<Example> {
    let mut random = Random::new(seed);
    let mut uses = Vec::new();
    let mut add = |op: Op, inputs: Vec<TensorType>| {
        let types: Vec<&TensorType> = inputs.iter().collect();
        if op.infer(&types).is_ok() {
            let weights = vec![false; inputs.len()];
            uses.push(Example { op, inputs, weights });
        }
    };
    let mut r = |low: usize, high: usize| low + random.below(high - low + 1);
    for round in 0..60 {
        let (stride, dilation) = ([r(1, 3), r(1, 3)], [r(1, 2), r(1, 3)]);
        let pad = [r(0, 3), r(0, 2), r(0, 2), r(0, 3)];
        let kernel = [r(1, 3), r(1, 4)];
        let picture = [r(3, 8), r(4, 9)];
        let (images, multiplier) = (r(1, 2), r(1, 3));
        let count = r(2, 3);
        let (groups, channels, filters, seen) = match round % 4 {
            0 | 1 => {
                let (channels, filters) = (r(1, 3), r(1, 4));
                (Groups::Dense, channels, filters, channels)
            }
            2 => {
                let seen = r(1, 2);
                (Groups::Grouped(count), count * seen, count * multiplier, seen)
            }
            _ => {
                let channels = r(1, 3);
                (Groups::Depthwise, channels, channels * multiplier, 1)
            }
        };
        let image = [images, channels, picture[0], picture[1]];
        let with_bias = |dims: [usize; 4], bias: usize| match round % 3 {
            0 => vec![x(&image), x(&dims), x(&[bias])],
            _ => vec![x(&image), x(&dims)],
        };
        let conv = Conv2d { stride, dilation, pad, groups };
        add(Op::Conv2d(conv), with_bias([filters, seen, kernel[0], kernel[1]], filters));
        let output_pad = [r(0, 4), r(0, 3)];
        let op = ConvTranspose2d { stride, dilation, pad, output_pad, groups };
        let made = match groups {
            Groups::Dense => multiplier,
            Groups::Grouped(count) => count * multiplier,
            Groups::Depthwise => channels * multiplier,
        };
        add(Op::ConvTranspose2d(op), with_bias([channels, multiplier, kernel[0], kernel[1]], made));
        let pool_pad = [r(0, 1), r(0, 1), r(0, 1), r(0, 1)];
        let (ceil, count_pad) = (r(0, 1) == 1, r(0, 1) == 1);
        // With dilation and padding a window may miss the picture, whose maximum is minus infinity.
        let taps = if pool_pad == [0; 4] { dilation } else { [1, 1] };
        let pool = MaxPool { kernel, stride, dilation: taps, pad: pool_pad, ceil: false };
        add(Op::MaxPool(pool), vec![x(&image)]);
        let pool = AveragePool { kernel, stride, dilation, pad: pool_pad, ceil, count_pad };
        add(Op::AveragePool(pool), vec![x(&image)]);
        let kinds =
            [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min, Reduction::L2];
        let axes = (0..4).filter(|_| r(0, 1) == 1).collect();
        let reduce = Reduce { kind: kinds[round % 5], axes, keep: ceil };
        add(Op::Reduce(reduce), vec![x(&image)]);
        let to = match round % 2 {
            0 => ResizeTo::Size([r(1, 9), r(1, 9)]),
            _ => ResizeTo::Scale([r(1, 5) as f32 / 2.0, r(1, 5) as f32 / 2.0]),
        };
        let mode = if round % 3 == 0 { ResizeMode::Nearest } else { ResizeMode::Linear };
        let coordinates = [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ][r(0, 3)];
        let rounding = [
            Rounding::Floor,
            Rounding::Ceil,
            Rounding::RoundPreferFloor,
            Rounding::RoundPreferCeil,
        ][r(0, 3)];
        add(Op::Resize(Resize { to, mode, coordinates, rounding }), vec![x(&image)]);
        let mode = [PadMode::Constant, PadMode::Reflect, PadMode::Edge][round % 3];
        let pads = vec![[2, r(0, 2), r(0, 2)], [3, r(0, 3), r(0, 3)], [2, r(0, 1), r(0, 1)]];
        add(Op::Pad(Pad { pads, mode, value: 1.5 }), vec![x(&image)]);
        let steps = [-3i64, -2, -1, 1, 2, 3];
        let range = |axis, start: usize, step: usize| {
            let (start, step) = (start as i64, steps[step]);
            Range { axis, start: if step < 0 { -1 - start } else { start }, end: Range::OPEN, step }
        };
        let ranges = vec![range(2, r(0, 2), r(0, 5)), range(3, r(0, 2), r(0, 5))];
        add(Op::Slice(Slice { ranges }), vec![x(&image)]);
        let (m, k, n) = (r(1, 3), r(1, 4), r(1, 3));
        let leads = [vec![], vec![2], vec![1], vec![3, 1], vec![1, 2], vec![3, 2]];
        let matrix = |lead: &[usize], rows, columns| x(&[lead, &[rows, columns][..]].concat());
        let [a, b] = [r(0, 5), r(0, 5)];
        add(Op::MatMul, vec![matrix(&leads[a], m, k), matrix(&leads[b], k, n)]);
        let shapes = [
            vec![],
            vec![4],
            vec![1],
            vec![3, 1],
            vec![2, 3, 4],
            vec![2, 1, 4],
            vec![1, 3, 1],
            vec![5, 1, 3, 4],
        ];
        let functions = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
            Binary::Pow,
        ];
        let [a, b] = [r(0, 7), r(0, 7)];
        add(Op::Binary(functions[round % 7].clone()), vec![x(&shapes[a]), x(&shapes[b])]);
    }
    uses
}

#[test]
fn random_settings() {
    let (mut total, mut counts, mut kinks) =
        (Outcome::default(), BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new());
    for (at, example) in random_uses(11).into_iter().enumerate() {
        let outcome = check(&example, at as u64);
        let outcome = outcome.unwrap_or_else(|| panic!("{example:?} is refused"));
        *kinks.entry(example.op.name()).or_default() += outcome.kinks;
        total.add(outcome);
        *counts.entry(example.op.name()).or_default() += 1;
    }
    assert_eq!(total.wrong, [""; 0]);
    assert!(total.kinks * 500 < total.compared, "{kinks:?} of {}", total.compared);
    for name in ["conv2d", "conv_transpose2d", "max_pool", "average_pool", "matmul", "pad"] {
        assert!(counts[name] >= 15, "{counts:?}");
    }
}
