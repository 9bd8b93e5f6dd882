//! What can go wrong while computing.

use bunjae_ir::{DimError, ShapeError, TensorType};
use bunjae_tensor::TensorError;
use thiserror::Error;

/// Why an operator could not be computed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvalError {
    /// The operator does not accept its operands.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A result cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// An integer has no quotient by 0, and 0 no negative power; floats have infinity.
    #[error("element {index}: an integer divided by 0")]
    DivisionByZero {
        /// The flat index of the result's element.
        index: usize,
    },
    /// A result that takes its elements from an operand that has none.
    #[error("the operand {0} has no elements to take values from")]
    NoElements(TensorType),
}

/// Why a graph could not be computed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RunError {
    /// Wrong number of inputs.
    #[error("the graph has {expected} inputs, but {found} were given")]
    InputCount {
        /// The number of inputs the graph declares.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// An input of another element type, rank or size than declared.
    #[error("input {name} should be {expected}, but is {found}")]
    Input {
        /// The input's name.
        name: String,
        /// The declared type.
        expected: TensorType,
        /// The type of what was given.
        found: TensorType,
    },
    /// A symbol that stands for two sizes.
    #[error("{symbol} is {first} in input {first_input}, but {second} in input {second_input}")]
    Symbol {
        /// The symbol's name.
        symbol: String,
        /// Its first value.
        first: usize,
        /// The input that gave it.
        first_input: String,
        /// Another value.
        second: usize,
        /// The input that gave that one.
        second_input: String,
    },
    /// A dimension of an input that is an expression, and cannot be computed from the symbols.
    #[error("input {name}: {source}")]
    InputSize {
        /// The input's name.
        name: String,
        /// The reason.
        source: DimError,
    },
    /// A node that could not be computed.
    #[error("{node} ({op}): {source}")]
    Node {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The reason.
        source: EvalError,
    },
    /// A result of another size than its type says. Types are inferred before sizes are known, on
    /// the assumption that slices lie inside their operand, which these inputs do not keep.
    #[error("{node} ({op}): the result should be {expected}, but is {found}")]
    Result {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The type in the graph.
        expected: TensorType,
        /// The type of what was computed.
        found: TensorType,
    },
    /// Too much memory would be in use at once.
    #[error("{node} ({op}): more than {limit} bytes would be in use at once")]
    Memory {
        /// The node's label.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
}
