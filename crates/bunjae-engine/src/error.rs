//! What can go wrong while compiling and running.

use bunjae_ir::GraphError;
use bunjae_kernels::KernelError;
use bunjae_tensor::{DType, TensorError};
use thiserror::Error;

/// Why a graph could not be compiled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The graph does not hold together under the given sizes.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A pass failed.
    #[error(transparent)]
    Pass(#[from] bunjae_passes::PassError),
    /// An input has a size that is not known.
    #[error("input {input} is {ty}, and `{symbol}` has no value; hint: give it one in the options")]
    UnknownSize {
        /// The input's name.
        input: String,
        /// Its type.
        ty: String,
        /// The first symbol without a value.
        symbol: String,
    },
    /// The batch is fixed, or no axis of the inputs is one.
    #[error(
        "a batch of {batch} is not possible: the inputs are {}; hint: export the model with an \
         open batch, or give each symbol a size",
        inputs.join(", ")
    )]
    Batch {
        /// The batch asked for.
        batch: usize,
        /// The types of the inputs.
        inputs: Vec<String>,
    },
    /// A tensor has no elements.
    #[error("{place}: a tensor of shape {shape:?} has no elements")]
    Empty {
        /// The input's name or the node's path.
        place: String,
        /// The shape.
        shape: Vec<usize>,
    },
    /// A kernel cannot be prepared.
    #[error("{node}: {source}")]
    Kernel {
        /// The node's path.
        node: String,
        /// The reason.
        source: KernelError,
    },
    /// The instruction set cannot be used.
    #[error(transparent)]
    Isa(KernelError),
    /// A weight could not be read.
    #[error("{weight}: {source}")]
    Weight {
        /// The weight's name.
        weight: String,
        /// The reason.
        source: TensorError,
    },
    /// Packed weights of a stored network are not what its kernels want.
    #[error("packed weights {key}: {what}; hint: compile the model again")]
    Packed {
        /// What is packed, and in which order.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// A weight that is to be trained is not f32.
    #[error("{name} is {dtype}; only f32 can be trained\nhint: freeze it")]
    Parameter {
        /// The weight's name.
        name: String,
        /// Its element type.
        dtype: DType,
    },
    /// A parameter was given numbers of another shape.
    #[error("{name} should be {expected:?}, but is {found:?}")]
    ParameterShape {
        /// The parameter's name.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A graph that is to be trained has no gradients.
    #[error(
        "no output is the gradient of a weight\nhint: differentiate the graph by the weights to train"
    )]
    NoGradients,
    /// A session could not be made.
    #[error(transparent)]
    Session(RunError),
    /// The tensors do not fit into memory together.
    #[error(
        "the model needs {bytes} bytes for its tensors, over the limit of {limit}; hint: choose a \
         smaller batch or smaller pictures"
    )]
    Memory {
        /// What it needs, or the largest number where that is more.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The compiler made a plan that does not hold; a fault of the compiler.
    #[error("the plan does not hold: {0}")]
    Plan(String),
}

/// Why a session could not be made or run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Wrong number of inputs or outputs.
    #[error("the model has {expected} {what}s, but {found} were given")]
    Count {
        /// `input` or `output`.
        what: &'static str,
        /// The model's number.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// Elements of another type.
    #[error("{what} {name} should be {expected}, but is {found}")]
    DType {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The model's type.
        expected: DType,
        /// The type given.
        found: DType,
    },
    /// Another number of elements.
    #[error("{what} {name} should be {shape:?}, {expected} elements, but {found} were given")]
    Length {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The model's shape.
        shape: Vec<usize>,
        /// The number of elements of that shape.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// A step could not be computed.
    #[error("{step}: {reason}")]
    Step {
        /// The path of the step's node.
        step: String,
        /// The reason.
        reason: String,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(String),
}
