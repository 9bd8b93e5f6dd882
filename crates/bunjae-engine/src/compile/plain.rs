//! Operators to generic kernels. The match is exhaustive: whatever the graph can express runs.

use bunjae_ir::op::{self, Groups, PadMode};
use bunjae_ir::{NodeId, Op, resolve_range};

use super::lower::Lowering;
use crate::error::CompileError;
use crate::runtime::generic::{
    Adjoint, BatchNorm, BatchNormGrad, BatchNormTrain, BinaryFunction, Cast, ConvTransposed,
    Convolution, Copy, Dequantize, Fill, Gather, Generic, LayerNorm, Map, MapGrad, Pool, PoolGrad,
    PoolKind, Product, Quantize, Reduce, ReduceGrad, Reduction, ResizeLinear, RunFunction, Runs,
    Sample, UnaryFunction, WeightGrad, Window, Zip,
};
use crate::runtime::step::Kernel;
use crate::runtime::view::View;

impl Lowering<'_> {
    /// Adds the steps that compute a node with generic kernels.
    pub(super) fn plain(&mut self, id: NodeId) -> Result<(), CompileError> {
        let node = self.graph.node(id);
        let inputs = node.inputs.iter().map(|&input| self.operand(input));
        let inputs = inputs.collect::<Result<Vec<View>, _>>()?;
        let reads: Vec<usize> = inputs.iter().map(|view| view.region).collect();
        let x = &inputs[0];
        let mut taken: Vec<usize> = reads;
        let mut results = Vec::new();
        for &output in &node.outputs {
            let view = self.places.allocate(output, &taken);
            // Two results never share a region: a step is given each once.
            taken.push(view.region);
            results.push(view);
        }
        let y = results[0].clone();
        let pick = |at: usize| inputs.get(at);
        let kernel: Generic = match &node.op {
            Op::Unary(op) => match unary(op) {
                Some(function) => Map::new(function, x, &y).into(),
                None => Copy::new(x, &y).into(),
            },
            Op::Binary(op) => Zip::new(binary(op), x, &inputs[1], &y).into(),
            Op::PRelu => Zip::new(BinaryFunction::PRelu, x, &inputs[1], &y).into(),
            Op::Conv2d(op) => {
                let weight = &inputs[1];
                let windows = [0, 1].map(|at| Window {
                    size: x.dims[2 + at],
                    taps: weight.dims[2 + at],
                    stride: op.stride[at],
                    dilation: op.dilation[at],
                    before: op.pad[at],
                    after: op.pad[at + 2],
                });
                let groups = group_count(op.groups, x.dims[1]);
                Convolution::new(groups, windows, [x, weight], pick(2), &y).into()
            }
            Op::ConvTranspose2d(op) => {
                let weight = &inputs[1];
                let windows = [0, 1].map(|at| Window {
                    size: y.dims[2 + at],
                    taps: weight.dims[2 + at],
                    stride: op.stride[at],
                    dilation: op.dilation[at],
                    before: op.pad[at],
                    after: op.pad[at + 2],
                });
                let groups = group_count(op.groups, x.dims[1]);
                ConvTransposed::new(groups, windows, [x, weight], pick(2), &y).into()
            }
            Op::Linear => {
                // One row of features is a matrix of one row.
                let [x, y] = match x.dims.len() {
                    1 => [x, &y].map(|view| view.broadcast(&[1, view.dims[0]]).kept(1, view)),
                    _ => [x.clone(), y.clone()],
                };
                Product::new(&x, &inputs[1].permuted(&[1, 0]), pick(2), &y).into()
            }
            Op::MatMul => Product::new(x, &inputs[1], None, &y).into(),
            Op::BatchNorm(op) => {
                let operands = [x, &inputs[1], &inputs[2], &inputs[3], &inputs[4]];
                BatchNorm::new(op.eps, operands, &y).into()
            }
            Op::LayerNorm(op) => {
                LayerNorm::new(op.axis, op.eps, [x, &inputs[1]], pick(2), &y).into()
            }
            Op::L2Norm(op) => Runs::new(RunFunction::L2Norm { eps: op.eps }, op.axis, x, &y).into(),
            Op::Softmax(op) => Runs::new(RunFunction::Softmax, op.axis, x, &y).into(),
            Op::LogSoftmax(op) => Runs::new(RunFunction::LogSoftmax, op.axis, x, &y).into(),
            Op::UnaryGrad(op) => match unary(op) {
                Some(function) => MapGrad::new(function, x, &inputs[1], &y).into(),
                None => Copy::new(&inputs[1], &y).into(),
            },
            Op::BatchNormTrain(op) => {
                let operands = [x, &inputs[1], &inputs[2]];
                BatchNormTrain::new(op.eps, operands, [&y, &results[1], &results[2]]).into()
            }
            Op::BatchNormGrad(op) => {
                let operands = [x, &inputs[1], &inputs[2], &inputs[3], &inputs[4]];
                BatchNormGrad::new(op.eps, operands, [&y, &results[1], &results[2]]).into()
            }
            Op::Conv2dWeightGrad(op) => {
                let windows = windows(x, op.kernel, op.stride, op.dilation, op.pad);
                let groups = group_count(op.groups, x.dims[1]);
                WeightGrad::new(groups, windows, [x, &inputs[1]], &y).into()
            }
            Op::MaxPoolGrad(op) => {
                let windows = windows(x, op.kernel, op.stride, op.dilation, op.pad);
                PoolGrad::new(PoolKind::Max, windows, x, &inputs[1], &y).into()
            }
            Op::AveragePoolGrad(op) => {
                let windows = windows(x, op.kernel, op.stride, op.dilation, op.pad);
                let kind = PoolKind::Mean { count_pad: op.count_pad };
                PoolGrad::new(kind, windows, x, &inputs[1], &y).into()
            }
            Op::ReduceGrad(op) => {
                ReduceGrad::new(reduction(op.kind), &op.axes, x, &inputs[1], &y).into()
            }
            Op::ResizeGrad(op) => {
                let dy = &inputs[1];
                let mut sources = itself(&y);
                for axis in 0..2 {
                    let at = 2 + axis;
                    let samples = samples(op, axis, y.dims[at], dy.dims[at]);
                    let shares = |Sample { low, high, fraction }| {
                        vec![(low, 1.0 - fraction), (high, fraction)]
                    };
                    sources[at] = samples.into_iter().map(shares).collect();
                }
                Adjoint::new(&sources, dy, &y).into()
            }
            Op::PadGrad(op) => {
                let mut sources = itself(&y);
                for &[axis, before, after] in &op.pads {
                    let len = sources[axis].len();
                    let source = |at| padded(op.mode, before, len, at);
                    let places = (0..before + len + after).map(source);
                    // An axis may be padded more than once.
                    let inner = std::mem::take(&mut sources[axis]);
                    let of = |at: Option<usize>| at.map(|at| inner[at].clone()).unwrap_or_default();
                    sources[axis] = places.map(of).collect();
                }
                Adjoint::new(&sources, &inputs[1], &y).into()
            }
            Op::SliceGrad(op) => {
                let mut sources = itself(&y);
                for range in &op.ranges {
                    let (start, len, step) =
                        resolve_range(range, y.dims[range.axis]).map_err(|source| {
                            let (node, op) = (self.graph.node_label(id), node.op.name());
                            bunjae_ir::GraphError::Node { node, op, source }
                        })?;
                    let place = |at: usize| start as i64 + at as i64 * step;
                    let place = |at| vec![(usize::try_from(place(at)).unwrap_or(0), 1.0)];
                    sources[range.axis] = (0..len).map(place).collect();
                }
                Adjoint::new(&sources, &inputs[1], &y).into()
            }
            Op::Pad(op) if op.mode == PadMode::Constant => {
                let fill = Fill::new(f64::from(op.value), &y);
                self.push(&[id], Kernel::Generic(Box::new(fill.into())));
                let inside = op.pads.iter().fold(y.clone(), |part, &[axis, before, _]| {
                    part.range(axis, before, x.dims[axis], 1)
                });
                Copy::new(x, &inside).into()
            }
            Op::Pad(op) => {
                let mut sources: Vec<Vec<usize>> =
                    x.dims.iter().map(|&dim| (0..dim).collect()).collect();
                for &[axis, before, after] in &op.pads {
                    let len = x.dims[axis];
                    let places = 0..before + len + after;
                    let source = |at| padded(op.mode, before, len, at).unwrap_or(0);
                    sources[axis] = places.map(source).collect();
                }
                Gather::new(x, &y, &sources).into()
            }
            Op::MaxPool(op) => {
                let windows = windows(x, op.kernel, op.stride, op.dilation, op.pad);
                Pool::new(PoolKind::Max, windows, x, &y).into()
            }
            Op::AveragePool(op) => {
                let windows = windows(x, op.kernel, op.stride, op.dilation, op.pad);
                Pool::new(PoolKind::Mean { count_pad: op.count_pad }, windows, x, &y).into()
            }
            Op::GlobalPool(op) => {
                let axes: Vec<usize> = (2..x.dims.len()).collect();
                Reduce::new(reduction(op.kind), &axes, x, &y).into()
            }
            Op::Reduce(op) => Reduce::new(reduction(op.kind), &op.axes, x, &y).into(),
            Op::Resize(op) => {
                let [rows, columns] =
                    [0, 1].map(|axis| samples(op, axis, x.dims[2 + axis], y.dims[2 + axis]));
                match op.mode {
                    op::ResizeMode::Linear => ResizeLinear::new(rows, columns, x, &y).into(),
                    op::ResizeMode::Nearest => {
                        let outer = x.dims[..2].iter().map(|&dim| (0..dim).collect());
                        let lows = [rows, columns]
                            .map(|samples| samples.iter().map(|sample| sample.low).collect());
                        let sources: Vec<Vec<usize>> = outer.chain(lows).collect();
                        Gather::new(x, &y, &sources).into()
                    }
                }
            }
            Op::DepthToSpace(op) => {
                let [x, y] = depth_to_space(op, x, &y);
                Copy::new(&x, &y).into()
            }
            Op::Cast(_) => Cast::new(x, &y).into(),
            Op::Quantize(op) => Quantize::new(op.axis, [x, &inputs[1], &inputs[2]], &y).into(),
            Op::Dequantize(op) => Dequantize::new(op.axis, [x, &inputs[1], &inputs[2]], &y).into(),
            // Their results are views of their operands, and copies of them otherwise.
            Op::Concat(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Transpose(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Dropout(_) => {
                let label = self.graph.node_label(id);
                return Err(CompileError::Plan(format!("{label} is a view and no step")));
            }
        };
        self.push(&[id], Kernel::Generic(Box::new(kernel)));
        Ok(())
    }
}

impl View {
    /// This view with the stride of an axis as in `other`'s last, which broadcasting drops where
    /// the axis has length 1.
    fn kept(mut self, axis: usize, other: &View) -> View {
        self.strides[axis] = other.last().1;
        self
    }
}

/// Which of the `len` elements of an axis stands at `at` of the padded one; `None` for the constant.
fn padded(mode: PadMode, before: usize, len: usize, at: usize) -> Option<usize> {
    match (mode, at.checked_sub(before)) {
        (PadMode::Constant, inside) => inside.filter(|&at| at < len),
        (PadMode::Reflect, None) => Some(before - at),
        (PadMode::Reflect, Some(at)) if at >= len => Some(2 * (len - 1) - at),
        (PadMode::Edge, None) => Some(0),
        (PadMode::Edge | PadMode::Reflect, Some(at)) => Some(at.min(len - 1)),
    }
}

/// For each axis and each index along it, that it is made of itself.
fn itself(view: &View) -> Vec<Vec<Vec<(usize, f64)>>> {
    view.dims.iter().map(|&dim| (0..dim).map(|at| vec![(at, 1.0)]).collect()).collect()
}

pub(super) fn group_count(groups: Groups, channels: usize) -> usize {
    match groups {
        Groups::Dense => 1,
        Groups::Grouped(count) => count,
        Groups::Depthwise => channels,
    }
}

fn windows(
    x: &View,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 4],
) -> [Window; 2] {
    [0, 1].map(|at| Window {
        size: x.dims[2 + at],
        taps: kernel[at],
        stride: stride[at],
        dilation: dilation[at],
        before: pad[at],
        after: pad[at + 2],
    })
}

/// `None` for the identity.
fn unary(op: &op::Unary) -> Option<UnaryFunction> {
    Some(match *op {
        op::Unary::Identity => return None,
        op::Unary::Relu => UnaryFunction::Relu,
        op::Unary::LeakyRelu { alpha } => UnaryFunction::LeakyRelu { alpha },
        op::Unary::Clip { min, max } => UnaryFunction::Clip { min, max },
        op::Unary::Sigmoid => UnaryFunction::Sigmoid,
        op::Unary::HardSigmoid { alpha, beta } => UnaryFunction::HardSigmoid { alpha, beta },
        op::Unary::HardSwish => UnaryFunction::HardSwish,
        op::Unary::Silu => UnaryFunction::Silu,
        op::Unary::Tanh => UnaryFunction::Tanh,
        op::Unary::Gelu { tanh: false } => UnaryFunction::Gelu,
        op::Unary::Gelu { tanh: true } => UnaryFunction::GeluTanh,
        op::Unary::Elu { alpha } => UnaryFunction::Elu { alpha },
        op::Unary::Softplus => UnaryFunction::Softplus,
        op::Unary::Mish => UnaryFunction::Mish,
        op::Unary::Exp => UnaryFunction::Exp,
        op::Unary::Log => UnaryFunction::Log,
        op::Unary::Sqrt => UnaryFunction::Sqrt,
        op::Unary::Neg => UnaryFunction::Neg,
        op::Unary::Abs => UnaryFunction::Abs,
        op::Unary::Reciprocal => UnaryFunction::Reciprocal,
        op::Unary::Erf => UnaryFunction::Erf,
    })
}

fn binary(op: &op::Binary) -> BinaryFunction {
    match op {
        op::Binary::Add => BinaryFunction::Add,
        op::Binary::Sub => BinaryFunction::Sub,
        op::Binary::Mul => BinaryFunction::Mul,
        op::Binary::Div => BinaryFunction::Div,
        op::Binary::Max => BinaryFunction::Max,
        op::Binary::Min => BinaryFunction::Min,
        op::Binary::Pow => BinaryFunction::Pow,
    }
}

fn reduction(kind: op::Reduction) -> Reduction {
    match kind {
        op::Reduction::Mean => Reduction::Mean,
        op::Reduction::Sum => Reduction::Sum,
        op::Reduction::Max => Reduction::Max,
        op::Reduction::Min => Reduction::Min,
        op::Reduction::L2 => Reduction::L2,
    }
}

/// Operand and result as six axes in which the elements correspond: the channel axis split into the
/// position in the block and the rest, height and width into blocks and positions.
fn depth_to_space(op: &op::DepthToSpace, x: &View, y: &View) -> [View; 2] {
    let side = op.block;
    let rest = x.dims[1] / (side * side);
    let [n, h, w] = [x.dims[0], x.dims[2], x.dims[3]];
    let s = &x.strides;
    // The strides of the block's rows and columns, and of the rest, in the channel axis.
    let (down, across, inner) = match op.order {
        op::DepthOrder::DepthColumnRow => {
            let step = rest as isize * s[1];
            (side as isize * step, step, s[1])
        }
        op::DepthOrder::ColumnRowDepth => {
            (side as isize * s[1], s[1], (side * side) as isize * s[1])
        }
    };
    let dims = vec![n, rest, h, side, w, side];
    let t = &y.strides;
    let block = side as isize;
    let from = vec![s[0], inner, s[2], down, s[3], across];
    let to = vec![t[0], t[1], block * t[2], t[2], block * t[3], t[3]];
    [(x, from), (y, to)].map(|(view, strides)| View { dims: dims.clone(), strides, ..*view })
}

/// What each element of a resized axis is made of.
fn samples(op: &op::Resize, axis: usize, source: usize, target: usize) -> Vec<Sample> {
    let scale = match op.to {
        op::ResizeTo::Scale(scale) => scale[axis],
        op::ResizeTo::Size(_) => target as f32 / source as f32,
    };
    let last = source - 1;
    let clamped = |coordinate: f64| (coordinate.max(0.0) as usize).min(last);
    let sample = |index: usize| {
        let coordinate = f64::from(coordinate(op.coordinates, index, scale, source, target));
        match op.mode {
            op::ResizeMode::Nearest => {
                let nearest = clamped(match op.rounding {
                    op::Rounding::Floor => coordinate.floor(),
                    op::Rounding::Ceil => coordinate.ceil(),
                    op::Rounding::RoundPreferFloor => (coordinate - 0.5).ceil(),
                    op::Rounding::RoundPreferCeil => (coordinate + 0.5).floor(),
                });
                Sample { low: nearest, high: nearest, fraction: 0.0 }
            }
            op::ResizeMode::Linear => {
                let low = clamped(coordinate);
                let fraction = (coordinate - low as f64).clamp(0.0, 1.0);
                Sample { low, high: (low + 1).min(last), fraction }
            }
        }
    };
    (0..target).map(sample).collect()
}

/// The source coordinate of an element of the result, in f32 as ONNX's formulas are.
fn coordinate(
    coordinates: op::Coordinates,
    index: usize,
    scale: f32,
    source: usize,
    target: usize,
) -> f32 {
    let x = index as f32;
    match coordinates {
        op::Coordinates::HalfPixel => (x + 0.5) / scale - 0.5,
        op::Coordinates::PytorchHalfPixel if target > 1 => (x + 0.5) / scale - 0.5,
        op::Coordinates::AlignCorners if target > 1 => {
            x * (source - 1) as f32 / (target - 1) as f32
        }
        op::Coordinates::PytorchHalfPixel | op::Coordinates::AlignCorners => 0.0,
        op::Coordinates::Asymmetric => x / scale,
    }
}
