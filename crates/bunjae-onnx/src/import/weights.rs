//! Tensors of the file as values for importing.

use bunjae_tensor::Tensor;

use super::builder::{Builder, Known, MAX_RANK};
use super::elements::{Elements, Scalar, dtype};
use super::node::Outcome;
use super::problem::ProblemKind;
use crate::external::ExternalData;
use crate::proto::TensorProto;
use crate::tensor_data::{self, DataType};

/// Reads a tensor. 16-bit floats are widened, which the builder remembers.
pub(super) fn read(
    builder: &mut Builder,
    tensor: &TensorProto,
    external: &mut ExternalData,
) -> Outcome<Known> {
    if tensor.dims.len() > MAX_RANK {
        return Err(ProblemKind::Rank(tensor.dims.len()));
    }
    let data = tensor_data::read(tensor, external).map_err(|error| error.problem)?;
    builder.widened.extend(data.widened_from);
    match dtype(data.data_type) {
        None => Ok(Known::Elements(Elements::of_data(&data)?)),
        Some(dtype) => {
            let tensor = Tensor::from_bytes(dtype, &data.dims, &data.bytes);
            Ok(Known::Tensor(tensor.map_err(|_| ProblemKind::TooLarge)?))
        }
    }
}

/// Reads a tensor that stands inside a node.
pub(super) fn inline(builder: &mut Builder, tensor: &TensorProto) -> Outcome<Known> {
    read(builder, tensor, &mut ExternalData::none(0))
}

/// A list of numbers that stands inside a node.
pub(super) fn list(data_type: DataType, values: impl Iterator<Item = Scalar>) -> Outcome<Known> {
    let elements = Elements::vector(data_type, values.collect());
    Ok(Known::Tensor(elements.to_tensor()?))
}
