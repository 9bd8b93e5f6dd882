//! Small, well-typed uses of every operator, for coverage tests.
//!
//! A test that walks this list (the interpreter's, the couplings', the cost's, each format's) fails
//! for an operator that was added without an answer, and by name. So [`examples`] has at least one
//! entry for each of [`Op::names`]; most operators have several, with settings off their defaults and
//! operands of the shapes that go wrong first: broadcast both ways, ranks below and above four, odd
//! sizes, one element, windows that do not divide the picture.
//!
//! The sizes are numbers, the batch among them, so that an example can be computed as it stands.

use bunjae_tensor::{DType, Tensor};

use crate::error::GraphError;
use crate::graph::Graph;
use crate::op::{
    AveragePool, BatchNorm, BatchNormGrad, BatchNormTrain, Binary, Cast, Concat, Conv2d,
    Conv2dWeightGrad, ConvTranspose2d, Coordinates, DepthOrder, DepthToSpace, Dequantize, Dropout,
    Flatten, GlobalPool, Groups, L2Norm, LayerNorm, LogSoftmax, MaxPool, Op, Pad, PadMode,
    Quantize, Range, Reduce, Reduction, Reshape, Resize, ResizeMode, ResizeTo, Rounding, Slice,
    Softmax, Split, Squeeze, Transpose, Unary, Unsqueeze,
};
use crate::reshape::{Factor, FactorGroup, Factors};
use crate::types::TensorType;

/// A use of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The operator with its settings.
    pub op: Op,
    /// The types of its operands.
    pub inputs: Vec<TensorType>,
    /// For each operand, whether it is a weight; otherwise it is an input of the graph.
    pub weights: Vec<bool>,
}

impl Example {
    /// The graph of this node alone. Operand 0 is called `x0`, and so on; the results are the outputs
    /// `y0`, `y1`, ... `values` makes the values of the weights, given their place and type.
    ///
    /// # Errors
    /// Whatever `values` returns, and [`GraphError::Node`] where the example is not well typed.
    pub fn graph<E: From<GraphError>>(
        &self,
        mut values: impl FnMut(usize, &TensorType) -> Result<Tensor, E>,
    ) -> Result<Graph, E> {
        let mut graph = Graph::new(self.op.name());
        let mut operands = Vec::new();
        for (at, (ty, is_weight)) in self.inputs.iter().zip(&self.weights).enumerate() {
            let name = format!("x{at}");
            operands.push(match is_weight {
                true => graph.weight(&name, values(at, ty)?)?,
                false => graph.input(&name, ty.clone())?,
            });
        }
        let results = graph.push_multi(self.op.name(), self.op.clone(), &operands)?;
        for (at, result) in results.into_iter().enumerate() {
            graph.output(&format!("y{at}"), result)?;
        }
        Ok(graph)
    }
}

/// Uses of every operator, grouped by operator.
pub fn examples() -> Vec<Example> {
    let mut list = List(Vec::new());
    list.element_wise();
    list.convolutions();
    list.products();
    list.normalisations();
    list.joins_and_cuts();
    list.pools_and_reductions();
    list.regroupings();
    list.resizes();
    list.types();
    list.training();
    list.0
}

struct List(Vec<Example>);

/// An operand that is an input.
fn x(dims: &[usize]) -> (TensorType, bool) {
    (TensorType::new(DType::F32, dims.to_vec()), false)
}

/// An operand that is a weight.
fn w(dims: &[usize]) -> (TensorType, bool) {
    (TensorType::new(DType::F32, dims.to_vec()), true)
}

/// The same operand with elements of another type.
fn of(dtype: DType, (ty, is_weight): (TensorType, bool)) -> (TensorType, bool) {
    (TensorType { dtype, ..ty }, is_weight)
}

/// Every function of one element, some with settings off their defaults.
fn functions_of_one() -> Vec<Unary> {
    vec![
        Unary::Identity,
        Unary::Relu,
        Unary::LeakyRelu { alpha: 0.01 },
        Unary::LeakyRelu { alpha: 0.25 },
        Unary::Clip { min: 0.0, max: 6.0 },
        Unary::Clip { min: -0.5, max: f32::INFINITY },
        Unary::Sigmoid,
        Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::Silu,
        Unary::Tanh,
        Unary::Gelu { tanh: false },
        Unary::Gelu { tanh: true },
        Unary::Elu { alpha: 1.0 },
        Unary::Elu { alpha: 0.5 },
        Unary::Softplus,
        Unary::Mish,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Neg,
        Unary::Abs,
        Unary::Reciprocal,
        Unary::Erf,
    ]
}

impl List {
    fn add(&mut self, op: impl Into<Op>, operands: impl IntoIterator<Item = (TensorType, bool)>) {
        let (inputs, weights) = operands.into_iter().unzip();
        self.0.push(Example { op: op.into(), inputs, weights });
    }

    fn element_wise(&mut self) {
        for op in functions_of_one() {
            self.add(op, [x(&[2, 3, 5, 4])]);
        }
        self.add(Unary::Identity, [of(DType::I64, x(&[3]))]);
        self.add(Unary::Relu, [x(&[7])]);
        self.add(Unary::Sigmoid, [x(&[])]);
        let binary = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
            Binary::Pow,
        ];
        for op in binary {
            self.add(op.clone(), [x(&[2, 4, 3, 3]), x(&[2, 4, 3, 3])]);
            self.add(op, [x(&[2, 4, 3, 3]), w(&[4, 1, 1])]);
        }
        // A gate per channel, a constant on the left, both sides broadcast.
        self.add(Binary::Mul, [x(&[2, 4, 3, 3]), x(&[2, 4, 1, 1])]);
        self.add(Binary::Sub, [w(&[]), x(&[2, 4])]);
        self.add(Binary::Add, [x(&[2, 1, 5]), x(&[3, 1])]);
        self.add(Binary::Mul, [of(DType::I64, x(&[3])), of(DType::I64, w(&[1]))]);
        self.add(Op::PRelu, [x(&[2, 4, 3, 3]), w(&[4, 1, 1])]);
        self.add(Op::PRelu, [x(&[2, 4]), w(&[1])]);
        self.add(Op::Dropout(Dropout::default()), [x(&[2, 6])]);
        self.add(Op::Dropout(Dropout { ratio: 0.1 }), [x(&[2, 4, 3, 3])]);
    }

    fn convolutions(&mut self) {
        let conv = Conv2d::default;
        self.add(Op::Conv2d(conv()), [x(&[2, 3, 5, 6]), w(&[4, 3, 3, 3])]);
        self.add(
            Op::Conv2d(Conv2d { stride: [2, 1], pad: [1, 0, 2, 1], ..conv() }),
            [x(&[1, 3, 7, 6]), w(&[4, 3, 3, 2]), w(&[4])],
        );
        self.add(
            Op::Conv2d(Conv2d { dilation: [2, 3], pad: [2; 4], ..conv() }),
            [x(&[1, 2, 6, 7]), w(&[3, 2, 3, 3]), w(&[3])],
        );
        self.add(
            Op::Conv2d(Conv2d { groups: Groups::Grouped(2), ..conv() }),
            [x(&[2, 6, 4, 4]), w(&[4, 3, 1, 1]), w(&[4])],
        );
        self.add(
            Op::Conv2d(Conv2d { groups: Groups::Depthwise, pad: [1; 4], ..conv() }),
            [x(&[2, 4, 5, 5]), w(&[4, 1, 3, 3]), w(&[4])],
        );
        // Two filters a channel.
        self.add(
            Op::Conv2d(Conv2d { groups: Groups::Depthwise, stride: [2, 2], ..conv() }),
            [x(&[1, 3, 5, 5]), w(&[6, 1, 3, 3])],
        );
        let transposed = ConvTranspose2d::default;
        self.add(Op::ConvTranspose2d(transposed()), [x(&[2, 3, 4, 5]), w(&[3, 4, 3, 3])]);
        self.add(
            Op::ConvTranspose2d(ConvTranspose2d {
                stride: [2, 3],
                pad: [1, 1, 1, 0],
                output_pad: [1, 2],
                ..transposed()
            }),
            [x(&[1, 3, 4, 3]), w(&[3, 2, 3, 3]), w(&[2])],
        );
        self.add(
            Op::ConvTranspose2d(ConvTranspose2d {
                groups: Groups::Grouped(2),
                dilation: [2, 1],
                ..transposed()
            }),
            [x(&[1, 4, 3, 3]), w(&[4, 3, 2, 2]), w(&[6])],
        );
        self.add(
            Op::ConvTranspose2d(ConvTranspose2d {
                groups: Groups::Depthwise,
                stride: [2, 2],
                ..transposed()
            }),
            [x(&[1, 3, 3, 3]), w(&[3, 1, 4, 4])],
        );
    }

    fn products(&mut self) {
        self.add(Op::Linear, [x(&[3, 5]), w(&[4, 5]), w(&[4])]);
        self.add(Op::Linear, [x(&[2, 3, 5]), w(&[1, 5])]);
        self.add(Op::MatMul, [x(&[3, 4]), w(&[4, 2])]);
        self.add(Op::MatMul, [x(&[2, 3, 4, 5]), x(&[2, 3, 5, 2])]);
        self.add(Op::MatMul, [x(&[2, 1, 3, 4]), x(&[5, 4, 2])]);
    }

    fn normalisations(&mut self) {
        let four = || [w(&[4]), w(&[4]), w(&[4]), w(&[4])];
        self.add(Op::BatchNorm(BatchNorm::default()), [x(&[2, 4, 3, 3])].into_iter().chain(four()));
        self.add(Op::BatchNorm(BatchNorm { eps: 1e-3 }), [x(&[3, 4])].into_iter().chain(four()));
        self.add(
            Op::LayerNorm(LayerNorm { axis: 2, eps: 1e-6 }),
            [x(&[2, 3, 6]), w(&[6]), w(&[6])],
        );
        self.add(Op::LayerNorm(LayerNorm::default()), [x(&[2, 3, 4]), w(&[3, 4])]);
        self.add(Op::L2Norm(L2Norm::default()), [x(&[3, 8])]);
        self.add(Op::L2Norm(L2Norm { axis: 2, eps: 1e-3 }), [x(&[2, 3, 4, 2])]);
        self.add(Op::Softmax(Softmax::default()), [x(&[3, 10])]);
        self.add(Op::Softmax(Softmax { axis: 3 }), [x(&[2, 2, 3, 4])]);
        self.add(Op::LogSoftmax(LogSoftmax::default()), [x(&[3, 10])]);
        self.add(Op::LogSoftmax(LogSoftmax { axis: 0 }), [x(&[4, 3])]);
    }

    fn joins_and_cuts(&mut self) {
        self.add(Op::Concat(Concat::default()), [x(&[2, 3, 4, 4]), x(&[2, 1, 4, 4])]);
        self.add(Op::Concat(Concat { axis: 0 }), [x(&[2, 3]), w(&[1, 3]), x(&[4, 3])]);
        self.add(Op::Concat(Concat { axis: 2 }), [x(&[2, 3, 4])]);
        self.add(Op::Split(Split { axis: 1, sizes: vec![1, 3, 2] }), [x(&[2, 6, 3, 3])]);
        self.add(Op::Split(Split { axis: 0, sizes: vec![5] }), [x(&[5])]);
        let range = |axis, start, end, step| Range { axis, start, end, step };
        let slices = [
            vec![],
            vec![range(1, 1, 3, 1)],
            vec![range(1, 1, Range::OPEN, 2), range(3, -3, -1, 1)],
            vec![range(2, -1, Range::OPEN, -2)],
        ];
        for ranges in slices {
            self.add(Op::Slice(Slice { ranges }), [x(&[2, 4, 5, 6])]);
        }
        self.add(
            Op::Pad(Pad { pads: vec![[2, 1, 2], [3, 0, 1]], ..Pad::default() }),
            [x(&[2, 3, 4, 4])],
        );
        self.add(
            Op::Pad(Pad { pads: vec![[1, 0, 2]], value: -1.5, ..Pad::default() }),
            [x(&[2, 3])],
        );
        for mode in [PadMode::Reflect, PadMode::Edge] {
            let pads = vec![[2, 2, 1], [3, 1, 2]];
            self.add(Op::Pad(Pad { pads, mode, value: 0.0 }), [x(&[1, 2, 3, 4])]);
        }
    }

    fn pools_and_reductions(&mut self) {
        let max = MaxPool::default;
        self.add(Op::MaxPool(max()), [x(&[2, 3, 6, 4])]);
        self.add(
            Op::MaxPool(MaxPool { kernel: [3, 3], pad: [1; 4], ceil: true, ..max() }),
            [x(&[1, 2, 6, 7])],
        );
        self.add(
            Op::MaxPool(MaxPool {
                kernel: [2, 3],
                stride: [1, 2],
                dilation: [2, 1],
                pad: [1, 0, 0, 2],
                ..max()
            }),
            [x(&[1, 2, 5, 6])],
        );
        let average = AveragePool::default;
        self.add(Op::AveragePool(average()), [x(&[2, 3, 6, 4])]);
        for count_pad in [false, true] {
            for ceil in [false, true] {
                let (kernel, pad) = ([3, 3], [1, 1, 1, 1]);
                let pool = AveragePool { kernel, pad, count_pad, ceil, ..average() };
                self.add(Op::AveragePool(pool), [x(&[1, 2, 6, 7])]);
            }
        }
        for kind in [Reduction::Mean, Reduction::Max] {
            self.add(Op::GlobalPool(GlobalPool { kind }), [x(&[2, 3, 4, 5])]);
        }
        for kind in [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min, Reduction::L2]
        {
            self.add(
                Op::Reduce(Reduce { kind, axes: vec![1, 3], keep: false }),
                [x(&[2, 3, 4, 5])],
            );
        }
        self.add(Op::Reduce(Reduce { axes: vec![2, 3], ..Reduce::default() }), [x(&[2, 3, 4, 5])]);
        let all = Reduce { kind: Reduction::Sum, axes: vec![0, 1], keep: false };
        self.add(Op::Reduce(all), [x(&[2, 3])]);
    }

    fn regroupings(&mut self) {
        let group = |axes, out: &[Factor]| FactorGroup { axes, out: out.to_vec() };
        let (two, rest) = (Factor::Fixed(2), Factor::Rest);
        let keep = || group(1, &[rest]);
        // Half a channel shuffle, a flattening, a new axis of length 1.
        let maps = [
            vec![keep(), group(1, &[two, rest]), keep(), keep()],
            vec![keep(), group(3, &[rest])],
            vec![keep(), group(2, &[rest, two]), group(0, &[Factor::Fixed(1)]), keep()],
        ];
        for map in maps {
            self.add(Op::Reshape(Reshape { map: Factors(map) }), [x(&[2, 4, 3, 5])]);
        }
        self.add(Op::Flatten(Flatten::default()), [x(&[2, 4, 3, 3])]);
        self.add(Op::Flatten(Flatten { axis: 0 }), [x(&[2, 3])]);
        self.add(Op::Flatten(Flatten { axis: 3 }), [x(&[2, 3, 4])]);
        self.add(Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] }), [x(&[2, 3, 4, 5])]);
        self.add(Op::Transpose(Transpose { perm: vec![0, 2, 1, 3, 4] }), [x(&[2, 2, 3, 4, 5])]);
        self.add(Op::Transpose(Transpose { perm: vec![1, 0] }), [w(&[3, 4])]);
        self.add(Op::Squeeze(Squeeze { axes: vec![2, 3] }), [x(&[2, 5, 1, 1])]);
        self.add(Op::Squeeze(Squeeze { axes: vec![0] }), [x(&[1])]);
        self.add(Op::Unsqueeze(Unsqueeze { axes: vec![2, 3] }), [x(&[2, 5])]);
        self.add(Op::Unsqueeze(Unsqueeze { axes: vec![0, 2] }), [x(&[4])]);
    }

    fn resizes(&mut self) {
        let resize = Resize::default;
        self.add(Op::Resize(resize()), [x(&[1, 2, 3, 4])]);
        for coordinates in [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ] {
            let (to, mode) = (ResizeTo::Size([5, 1]), ResizeMode::Linear);
            self.add(Op::Resize(Resize { to, mode, coordinates, ..resize() }), [x(&[1, 2, 3, 4])]);
        }
        for rounding in
            [Rounding::Floor, Rounding::Ceil, Rounding::RoundPreferFloor, Rounding::RoundPreferCeil]
        {
            let (to, coordinates) = (ResizeTo::Scale([1.5, 0.5]), Coordinates::Asymmetric);
            self.add(
                Op::Resize(Resize { to, coordinates, rounding, ..resize() }),
                [x(&[1, 2, 4, 6])],
            );
        }
        self.add(
            Op::Resize(Resize { to: ResizeTo::Scale([0.7, 2.5]), ..resize() }),
            [x(&[2, 1, 5, 3])],
        );
        for order in [DepthOrder::DepthColumnRow, DepthOrder::ColumnRowDepth] {
            self.add(Op::DepthToSpace(DepthToSpace { block: 2, order }), [x(&[2, 8, 2, 3])]);
        }
        self.add(
            Op::DepthToSpace(DepthToSpace { block: 3, ..DepthToSpace::default() }),
            [x(&[1, 9, 1, 2])],
        );
    }

    fn types(&mut self) {
        self.add(Op::Cast(Cast { to: DType::U8 }), [x(&[2, 5])]);
        self.add(Op::Cast(Cast { to: DType::F64 }), [x(&[3])]);
        self.add(Op::Cast(Cast::default()), [of(DType::I64, x(&[2, 3]))]);
        for dtype in [DType::U8, DType::I8] {
            self.add(
                Op::Quantize(Quantize::default()),
                [x(&[2, 3, 2, 2]), w(&[]), of(dtype, w(&[]))],
            );
            self.add(
                Op::Dequantize(Dequantize::default()),
                [of(dtype, x(&[2, 3, 2, 2])), w(&[]), of(dtype, w(&[]))],
            );
        }
        // A scale per output channel of a weight.
        self.add(
            Op::Quantize(Quantize { axis: 0 }),
            [w(&[4, 2, 3, 3]), w(&[4]), of(DType::I8, w(&[4]))],
        );
        self.add(
            Op::Dequantize(Dequantize { axis: 0 }),
            [of(DType::I8, w(&[4, 2, 3, 3])), w(&[4]), of(DType::I8, w(&[4]))],
        );
        self.add(
            Op::Dequantize(Dequantize { axis: 0 }),
            [of(DType::I32, w(&[4])), w(&[4]), of(DType::I32, w(&[4]))],
        );
    }

    /// The gradients of uses above, and batch normalisation in training.
    fn training(&mut self) {
        for op in functions_of_one() {
            self.add(Op::UnaryGrad(op), [x(&[2, 3, 5, 4]), x(&[2, 3, 5, 4])]);
        }
        for dims in [&[2, 4, 3, 3][..], &[5, 4]] {
            let c = || w(&[4]);
            let train = BatchNormTrain::default();
            self.add(Op::BatchNormTrain(train), [x(dims), c(), c()]);
            let grad = BatchNormGrad { eps: 1e-3 };
            self.add(Op::BatchNormGrad(grad), [x(dims), x(dims), c(), c(), c()]);
        }
        let forward: Vec<Example> = self.0.clone();
        for Example { op, inputs, weights } in forward {
            let types: Vec<&TensorType> = inputs.iter().collect();
            let Ok(results) = op.infer(&types) else { continue };
            let grad = match op {
                Op::MaxPool(op) => Op::MaxPoolGrad(op),
                Op::AveragePool(op) => Op::AveragePoolGrad(op),
                Op::Reduce(op) => Op::ReduceGrad(op),
                Op::Resize(op) => Op::ResizeGrad(op),
                Op::Pad(op) => Op::PadGrad(op),
                Op::Slice(op) => Op::SliceGrad(op),
                Op::Conv2d(Conv2d { stride, dilation, pad, groups }) => {
                    let size = |axis: usize| inputs[1].dims[axis].fixed().unwrap_or(1);
                    let kernel = [size(2), size(3)];
                    let grad = Conv2dWeightGrad { kernel, stride, dilation, pad, groups };
                    Op::Conv2dWeightGrad(grad)
                }
                _ => continue,
            };
            let operands = inputs.into_iter().zip(weights).take(1);
            self.add(grad, operands.chain(results.into_iter().map(|ty| (ty, false))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operator_has_a_well_typed_example() {
        let mut covered = BTreeSet::new();
        for example in examples() {
            let zeros = |_: usize, ty: &TensorType| -> Result<Tensor, GraphError> {
                Ok(Tensor::zeros(ty.dtype, &ty.fixed_shape().unwrap())?)
            };
            let graph = example.graph(zeros).unwrap_or_else(|error| panic!("{example:?}: {error}"));
            assert_eq!(graph.verify(), Ok(()), "{example:?}");
            assert_eq!(example.inputs.len(), example.weights.len());
            covered.insert(example.op.name());
        }
        let missing: Vec<&str> = Op::names().filter(|name| !covered.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn no_example_is_there_twice() {
        let all = examples();
        for (at, example) in all.iter().enumerate() {
            assert!(!all[..at].contains(example), "{example:?}");
        }
    }

    /// The optional operands are with and without, and the number of parts and operands varies.
    #[test]
    fn optional_operands_come_both_ways() {
        let all = examples();
        for name in ["conv2d", "conv_transpose2d", "linear", "layer_norm"] {
            let counts: BTreeSet<usize> = all
                .iter()
                .filter(|example| example.op.name() == name)
                .map(|example| example.inputs.len())
                .collect();
            assert_eq!(counts, BTreeSet::from([2, 3]), "{name}");
        }
    }
}
