//! How far ONNX Runtime may be from the interpreter, per operator.
//!
//! The interpreter is within half a unit in the last place of the exact value, so the tolerance is that
//! of a runtime that computes in the element type.

use bunjae_interp::eval;
use bunjae_ir::Op;
use bunjae_ir::op::{Binary, Reduction, ResizeMode, Unary};
use bunjae_tensor::{DType, Tensor, Tolerance};

/// The tolerance for an operator on the given operands.
pub(crate) fn tolerance(op: &Op, inputs: &[Tensor]) -> Tolerance {
    let x = &inputs[0];
    // Half the distance between neighbours, relative: the error of one rounding.
    let rounding = if x.dtype() == DType::F64 { 2f64.powi(-53) } else { 2f64.powi(-24) };
    let roundings = |count: usize| Tolerance::both(count as f64 * rounding);
    // The error of a sum of rounded products, added one by one in any order, is at most so many
    // roundings of the sum of their absolute values.
    let sum = |terms: usize| Tolerance {
        absolute: (terms + 2) as f64 * rounding * largest_of_absolutes(op, inputs),
        relative: rounding,
    };
    match op {
        Op::Unary(op) => match op {
            Unary::Identity
            | Unary::Relu
            | Unary::LeakyRelu { .. }
            | Unary::Clip { .. }
            | Unary::Sqrt
            | Unary::Neg
            | Unary::Abs => Tolerance::EXACT,
            Unary::Reciprocal => roundings(2),
            Unary::HardSigmoid { .. } | Unary::HardSwish => roundings(4),
            // Approximated by polynomials and quotients of them, with few units in the last place.
            Unary::Exp | Unary::Log | Unary::Elu { .. } | Unary::Softplus => roundings(8),
            Unary::Sigmoid | Unary::Tanh | Unary::Erf => roundings(8),
            // Products of such a function with x, which here is at most 8.
            Unary::Silu | Unary::Gelu { .. } | Unary::Mish => roundings(32),
        },
        Op::Binary(op) => match op {
            Binary::Pow if x.dtype().is_float() => roundings(4),
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Div
            | Binary::Max
            | Binary::Min
            | Binary::Pow => Tolerance::EXACT,
        },
        Op::Conv2d(_) => sum(inputs[1].shape()[1..].iter().product()),
        Op::ConvTranspose2d(_) => {
            let kernel = &inputs[1].shape()[2..];
            sum(x.shape()[1] * kernel.iter().product::<usize>())
        }
        Op::Linear => sum(inputs[1].shape()[1]),
        Op::MatMul => sum(x.shape().last().copied().unwrap_or(1)),
        Op::AveragePool(op) => sum(op.kernel.iter().product()),
        Op::GlobalPool(op) if op.kind == Reduction::Max => Tolerance::EXACT,
        Op::GlobalPool(_) => sum(x.shape()[2..].iter().product()),
        Op::Reduce(op) => match op.kind {
            Reduction::Max | Reduction::Min => Tolerance::EXACT,
            Reduction::Mean | Reduction::Sum | Reduction::L2 => {
                sum(op.axes.iter().map(|&axis| x.shape()[axis]).product())
            }
        },
        // `x * scale + shift` with scale and shift computed beforehand, where the two may be larger
        // than their sum.
        Op::BatchNorm(_) => roundings(64),
        // Two sums, whose roundings partly cancel; the results are of the order of 1.
        Op::LayerNorm(op) => roundings(16 + x.shape()[op.axis..].iter().product::<usize>()),
        Op::L2Norm(op) => roundings(4 + x.shape()[op.axis]),
        Op::Softmax(op) => roundings(8 + x.shape()[op.axis]),
        // The same sum, and its logarithm, of which the result may be a difference.
        Op::LogSoftmax(op) => roundings(16 + x.shape()[op.axis]),
        Op::UnaryGrad(_)
        | Op::BatchNormTrain(_)
        | Op::BatchNormGrad(_)
        | Op::Conv2dWeightGrad(_)
        | Op::MaxPoolGrad(_)
        | Op::AveragePoolGrad(_)
        | Op::ReduceGrad(_)
        | Op::ResizeGrad(_)
        | Op::PadGrad(_)
        | Op::SliceGrad(_) => panic!("the judge does not know {}", op.name()),
        Op::Resize(op) => match op.mode {
            ResizeMode::Nearest => Tolerance::EXACT,
            // Four products and their weights, none larger than x.
            ResizeMode::Linear => roundings(16),
        },
        Op::Dequantize(_) => Tolerance { absolute: 0.0, relative: 2f64.powi(-23) },
        Op::PRelu
        | Op::Concat(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::MaxPool(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Transpose(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::DepthToSpace(_)
        | Op::Dropout(_)
        | Op::Cast(_)
        | Op::Quantize(_) => Tolerance::EXACT,
    }
}

/// The largest result of a sum when all its operands are made positive.
fn largest_of_absolutes(op: &Op, inputs: &[Tensor]) -> f64 {
    let absolute = |x: &Tensor| eval(&Op::Unary(Unary::Abs), &[x]).unwrap().remove(0);
    let inputs: Vec<Tensor> = inputs.iter().map(absolute).collect();
    let results = eval(op, &inputs.iter().collect::<Vec<_>>()).unwrap();
    results.iter().flat_map(Tensor::to_f64_vec).fold(0.0, f64::max)
}
