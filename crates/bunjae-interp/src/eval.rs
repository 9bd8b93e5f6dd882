//! One operator: the checks that all have in common, and the way to each one's loops.

use bunjae_ir::{Dim, Op, ShapeError, TensorType};
use bunjae_tensor::{MAX_BYTES, Tensor, TensorError};

use crate::conv::{conv_transpose2d, conv2d};
use crate::elementwise::{binary, cast, prelu, unary};
use crate::error::EvalError;
use crate::gradient::{
    average_pool_grad, batch_norm_grad, conv2d_weight_grad, max_pool_grad, pad_grad, reduce_grad,
    resize_grad, slice_grad, unary_grad,
};
use crate::linear::{linear, matmul};
use crate::movement::{concat, depth_to_space, pad, slice, split, transpose};
use crate::normalise::{batch_norm, batch_norm_train, l2_norm, layer_norm, log_softmax, softmax};
use crate::number::{Number, by_number, by_real};
use crate::pool::{average_pool, global_pool, max_pool};
use crate::quantise::{dequantize, quantize};
use crate::reduce::reduce;
use crate::resize::resize;

/// Computes an operator.
///
/// # Errors
/// [`EvalError`] where the operands do not fit the operator, where a result would be larger than
/// [`bunjae_tensor::MAX_BYTES`], and for integers divided by 0.
pub fn eval(op: &Op, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let types: Vec<TensorType> = inputs.iter().map(|input| type_of(input)).collect();
    types.iter().try_for_each(check_extent)?;
    let results = op.infer(&types.iter().collect::<Vec<_>>())?;
    // Inference has checked the arity, which is at least 1, and gives at least one result.
    let (&x, result) = match (inputs.first(), results.first()) {
        (Some(x), Some(result)) => (x, result),
        _ => return Err(ShapeError::Arity { min: 1, max: usize::MAX, found: 0 }.into()),
    };
    check_extent(result)?;
    let shape = fixed(result)?;
    let dtype = x.dtype();
    let tensor = match op {
        Op::Unary(op) => unary(op, x),
        Op::UnaryGrad(op) => by_real!(dtype, unary_grad(op, inputs)),
        Op::Binary(op) => by_number!(dtype, binary(op, inputs, &shape)),
        Op::Conv2d(op) => by_real!(dtype, conv2d(op, inputs, &shape)),
        Op::ConvTranspose2d(op) => by_real!(dtype, conv_transpose2d(op, inputs, &shape)),
        Op::Linear => by_real!(dtype, linear(inputs, &shape)),
        Op::MatMul => by_real!(dtype, matmul(inputs, &shape)),
        Op::BatchNorm(op) => by_real!(dtype, batch_norm(op, inputs)),
        Op::BatchNormTrain(op) => return by_real!(dtype, batch_norm_train(op, inputs)),
        Op::BatchNormGrad(op) => return by_real!(dtype, batch_norm_grad(op, inputs)),
        Op::Conv2dWeightGrad(op) => by_real!(dtype, conv2d_weight_grad(op, inputs, &shape)),
        Op::LayerNorm(op) => by_real!(dtype, layer_norm(op, inputs)),
        Op::L2Norm(op) => by_real!(dtype, l2_norm(op, x)),
        Op::Softmax(op) => by_real!(dtype, softmax(op, x)),
        Op::LogSoftmax(op) => by_real!(dtype, log_softmax(op, x)),
        Op::PRelu => by_real!(dtype, prelu(inputs)),
        Op::Concat(op) => by_number!(dtype, concat(op, inputs, &shape)),
        Op::Split(op) => return by_number!(dtype, split(op, x)),
        Op::Slice(op) => by_number!(dtype, slice(op, x)),
        Op::Pad(op) => by_number!(dtype, pad(op, x)),
        Op::MaxPool(op) => by_number!(dtype, max_pool(op, x, &shape)),
        Op::AveragePool(op) => by_real!(dtype, average_pool(op, x, &shape)),
        Op::GlobalPool(op) => by_real!(dtype, global_pool(op, x, &shape)),
        Op::Reduce(op) => by_real!(dtype, reduce(op.kind, &op.axes, x, &shape)),
        Op::MaxPoolGrad(op) => by_real!(dtype, max_pool_grad(op, inputs)),
        Op::AveragePoolGrad(op) => by_real!(dtype, average_pool_grad(op, inputs)),
        Op::ReduceGrad(op) => by_real!(dtype, reduce_grad(op, inputs)),
        Op::ResizeGrad(op) => by_real!(dtype, resize_grad(op, inputs)),
        Op::PadGrad(op) => by_real!(dtype, pad_grad(op, inputs)),
        Op::SliceGrad(op) => by_real!(dtype, slice_grad(op, inputs)),
        Op::Transpose(op) => by_number!(dtype, transpose(op, x, &shape)),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
            Ok(x.clone().reshaped(&shape)?)
        }
        Op::Resize(op) => by_real!(dtype, resize(op, x, &shape)),
        Op::DepthToSpace(op) => by_number!(dtype, depth_to_space(op, x, &shape)),
        // Nothing is dropped in inference.
        Op::Dropout(_) => Ok(x.clone()),
        Op::Cast(op) => cast(op, x),
        Op::Quantize(op) => by_real!(dtype, quantize(op, inputs)),
        Op::Dequantize(op) => by_real!(inputs[1].dtype(), dequantize(op, inputs)),
    };
    Ok(vec![tensor?])
}

/// The type of a tensor, all dimensions known.
pub(crate) fn type_of(tensor: &Tensor) -> TensorType {
    TensorType::new(tensor.dtype(), tensor.shape().iter().copied())
}

/// Refuses a tensor that would be too large if it had no dimension of 0, so that products of some of
/// its dimensions are safe to form.
fn check_extent(ty: &TensorType) -> Result<(), TensorError> {
    let sizes = ty.dims.iter().map(|dim| dim.fixed().unwrap_or(1).max(1));
    let bytes = sizes.fold(ty.dtype.size(), usize::saturating_mul);
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let shape = ty.dims.iter().filter_map(Dim::fixed).collect();
    Err(TensorError::TooLarge { dtype: ty.dtype, shape })
}

/// The shape of a result; of operands whose dimensions are known, it is known as well.
fn fixed(ty: &TensorType) -> Result<Vec<usize>, EvalError> {
    let unknown = |dim: &Dim| ShapeError::Setting(format!("the size {dim} is not known"));
    let sizes = ty.dims.iter().map(|dim| dim.fixed().ok_or_else(|| unknown(dim)));
    Ok(sizes.collect::<Result<_, _>>()?)
}

/// The dimensions of an operand whose rank inference has checked.
pub(crate) fn sizes<const N: usize>(tensor: &Tensor) -> Result<[usize; N], EvalError> {
    <[usize; N]>::try_from(tensor.shape()).map_err(|_| {
        let (expected, found) = (N.to_string(), type_of(tensor));
        ShapeError::Rank { operand: "operand", expected, found }.into()
    })
}

/// A tensor whose elements, zeros at first, are set by `write`, which is not called where there are
/// none: no dimension that it sees is 0.
pub(crate) fn fill<T: Number>(
    shape: &[usize],
    write: impl FnOnce(&mut [T]),
) -> Result<Tensor, EvalError> {
    try_fill(shape, |elements| {
        write(elements);
        Ok(())
    })
}

/// As [`fill`], where `write` can fail.
pub(crate) fn try_fill<T: Number>(
    shape: &[usize],
    write: impl FnOnce(&mut [T]) -> Result<(), EvalError>,
) -> Result<Tensor, EvalError> {
    let mut tensor = Tensor::zeros(T::DTYPE, shape)?;
    if !tensor.is_empty() {
        write(tensor.elements_mut::<T>()?)?;
    }
    Ok(tensor)
}

/// A shape seen from one axis: `outer` runs of `len` elements that lie `inner` apart.
#[derive(Clone, Copy)]
pub(crate) struct Along {
    /// The product of the dimensions before the axis.
    pub outer: usize,
    /// The length of the axis.
    pub len: usize,
    /// The product of the dimensions after the axis.
    pub inner: usize,
}

impl Along {
    /// A shape seen from an axis that inference has checked.
    pub(crate) fn new(shape: &[usize], axis: usize) -> Self {
        Along {
            outer: shape[..axis].iter().product(),
            len: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// The place on the axis of an element, by its offset.
    pub(crate) fn index(self, offset: usize) -> usize {
        offset / self.inner % self.len
    }

    /// The offset of the first element of each run.
    pub(crate) fn starts(self) -> impl Iterator<Item = usize> {
        (0..self.outer).flat_map(move |outer| {
            let start = outer * self.len * self.inner;
            start..start + self.inner
        })
    }
}
