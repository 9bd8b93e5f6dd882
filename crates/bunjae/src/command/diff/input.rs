//! Input tensors from a safetensors file.

use std::path::Path;

use bunjae_ir::Graph;
use bunjae_tensor::{DType, Tensor};
use safetensors::{Dtype, SafeTensors};

use crate::failure::{Failure, Fallible, closest};

/// The inputs of `graph`, in its order, from the tensors of that name.
pub(super) fn read(path: &Path, graph: &Graph) -> Fallible<Vec<Tensor>> {
    let failure = |what: &dyn std::fmt::Display| {
        Failure::new(format!("cannot read {}: {what}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| failure(&error))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|error| failure(&error).hint("`--input` takes a safetensors file"))?;
    let mut names = tensors.names();
    names.sort_unstable();
    let input = |&id| {
        let name = graph.label(id);
        let view = tensors.tensor(&name).map_err(|_| {
            let missing = Failure::new(format!("{} has no tensor `{name}`", path.display()));
            match closest(&name, names.iter().copied()) {
                Some(similar) => missing.hint(format!("did you mean `{similar}`?")),
                None => missing.hint(format!("its tensors are {}", names.join(", "))),
            }
        })?;
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::I8 => DType::I8,
            Dtype::U8 => DType::U8,
            Dtype::I32 => DType::I32,
            Dtype::I64 => DType::I64,
            other => {
                let what = format!("tensor `{name}` holds {other:?}, which no input takes");
                return Err(failure(&what));
            }
        };
        Tensor::from_bytes(dtype, view.shape(), view.data()).map_err(|error| failure(&error))
    };
    graph.inputs().iter().map(input).collect()
}
