//! What can be wrong with a graph.

use bunjae_tensor::{DType, TensorError};
use thiserror::Error;

use crate::dim::{Dim, DimError};
use crate::types::TensorType;

/// Why an operator does not accept its operands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// Wrong number of operands.
    #[error("takes {}, but has {found}", operands(*.min, *.max))]
    Arity {
        /// The fewest.
        min: usize,
        /// The most; `usize::MAX` for any number.
        max: usize,
        /// The number given.
        found: usize,
    },
    /// An operand has the wrong number of dimensions.
    #[error("{operand} should have {expected} dimension{}, but is {found}", if expected == "1" { "" } else { "s" })]
    Rank {
        /// Which operand: "input", "weight", ...
        operand: &'static str,
        /// The number of dimensions, in words.
        expected: String,
        /// The operand's type.
        found: TensorType,
    },
    /// An operand has the wrong element type.
    #[error("{operand} should hold {expected}, but holds {found}")]
    DType {
        /// Which operand.
        operand: &'static str,
        /// What it should hold, in words.
        expected: String,
        /// What it holds.
        found: DType,
    },
    /// Two sizes that have to be equal are not.
    #[error("{left} has {left_size} {what}, {right} has {right_size}")]
    Mismatch {
        /// What is counted: "input channels".
        what: &'static str,
        /// The first operand.
        left: &'static str,
        /// Its size.
        left_size: Dim,
        /// The second operand.
        right: &'static str,
        /// Its size.
        right_size: Dim,
    },
    /// Two shapes do not broadcast.
    #[error("{left} and {right} do not broadcast")]
    Broadcast {
        /// The first type.
        left: TensorType,
        /// The second type.
        right: TensorType,
    },
    /// An axis that the operand does not have.
    #[error("axis {axis} is out of range for {operand}")]
    Axis {
        /// The axis.
        axis: usize,
        /// The operand's type.
        operand: TensorType,
    },
    /// A window larger than the padded picture.
    #[error("a window of {window} does not fit into {size} with padding {pad}")]
    Window {
        /// The extent of the window.
        window: i64,
        /// The size of the picture.
        size: Dim,
        /// The padding of both sides together.
        pad: i64,
    },
    /// A reshape whose sizes do not fit together.
    #[error("cannot reshape {input:?} to [{}]", .target.join(","))]
    Reshape {
        /// The operand's dimensions.
        input: Vec<Dim>,
        /// What was asked for.
        target: Vec<String>,
    },
    /// A setting without sense.
    #[error("{0}")]
    Setting(String),
    /// A dimension that cannot be computed.
    #[error(transparent)]
    Dim(#[from] DimError),
    /// A result too large to exist.
    #[error("the result {0} is larger than any memory this program asks for")]
    TooLarge(TensorType),
}

fn operands(min: usize, max: usize) -> String {
    match max {
        1 => "1 operand".into(),
        _ if min == max => format!("{min} operands"),
        usize::MAX => format!("{min} or more operands"),
        _ => format!("{min} to {max} operands"),
    }
}

fn duplicate(what: &str, name: &str) -> String {
    match name {
        "" => format!("more than one {what} has no name"),
        name => format!("the {what} name `{name}` is used twice"),
    }
}

/// What can be wrong with a graph as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GraphError {
    /// A node does not accept its operands.
    #[error("{node} ({op}): {source}")]
    Node {
        /// The node's path, such as `layer1.0.conv2`.
        node: String,
        /// The operator's name in the text form.
        op: &'static str,
        /// The reason.
        source: ShapeError,
    },
    /// A tensor id of another graph.
    #[error("{node}: operand {operand} does not exist in this graph")]
    UnknownTensor {
        /// The node's path.
        node: String,
        /// The place of the operand.
        operand: usize,
    },
    /// Two weights or inputs of one name, two nodes, or two outputs.
    #[error("{}", duplicate(what, name))]
    DuplicateName {
        /// "input", "weight", "node" or "output".
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A graph without outputs computes nothing.
    #[error("the graph has no outputs")]
    NoOutputs,
    /// The verifier found two parts of a graph at odds.
    #[error("{place}: {what}")]
    Invalid {
        /// Where: a node's path or a tensor's name.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A tensor that cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A dimension that cannot be computed.
    #[error(transparent)]
    Dim(#[from] DimError),
}
