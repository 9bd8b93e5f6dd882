//! What can go wrong in a pass.

use bunjae_interp::EvalError;
use bunjae_ir::GraphError;
use bunjae_tensor::TensorError;
use thiserror::Error;

/// Why a pass failed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PassError {
    /// The new graph does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A constant cannot be computed.
    #[error("{node}: {source}")]
    Eval {
        /// The node's path.
        node: String,
        /// The reason.
        source: EvalError,
    },
}
