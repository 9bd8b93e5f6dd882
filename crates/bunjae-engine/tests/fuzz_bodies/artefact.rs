//! Loads bytes as a stored network, and runs what loads. Never panics, whatever the bytes are.

use bunjae_engine::{Batch, Isa, LoadOptions, Network, Session};
use bunjae_ir::Bindings;
use bunjae_tensor::Tensor;

/// How far an input got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It was refused.
    Refused,
    /// It is a network, but too large to be run here, or no model of it can be planned.
    Loaded,
    /// It ran.
    Ran,
}

/// Networks with more elements in all their tensors are not planned.
const LIMIT: usize = 1 << 20;

/// Feeds one input.
pub(crate) fn artefact(bytes: &[u8]) -> Outcome {
    // Portable kernels are those that a checker of memory sees through.
    let options = LoadOptions { isa: Some(Isa::Portable), threads: Some(1) };
    let Ok(network) = Network::from_bytes(bytes.to_vec(), &options) else {
        return Outcome::Refused;
    };
    run(&network).map_or(Outcome::Loaded, |()| Outcome::Ran)
}

fn run(network: &Network) -> Option<()> {
    let sizes = match network.batch() {
        Batch::Any { symbol } => Bindings::from([(symbol, 2)]),
        _ => Bindings::new(),
    };
    let graph = network.graph().bind(&sizes).ok()?;
    let mut total = 0usize;
    for (_, value) in graph.values() {
        let shape = value.ty.fixed_shape()?;
        let elements = shape.iter().try_fold(1usize, |all, &dim| all.checked_mul(dim))?;
        total = total.checked_add(elements).filter(|total| *total <= LIMIT)?;
    }
    let model = network.model_for(&sizes).ok()?;
    // Borders and gaps come on top.
    if model.arena_bytes() > 64 * LIMIT {
        return None;
    }
    let inputs = model.inputs().iter().map(|port| Tensor::zeros(port.dtype, &port.shape).ok());
    let inputs = inputs.collect::<Option<Vec<_>>>()?;
    Session::new(model).ok()?.run_tensors(&inputs).ok()?;
    Some(())
}
