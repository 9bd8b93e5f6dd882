//! What can keep a model from being imported.

use std::fmt;
use std::path::PathBuf;

use bunjae_ir::{DimError, GraphError, ShapeError};
use thiserror::Error;

use crate::file::ReadError;
use crate::opset::{NEWEST, NEWEST_IR, OLDEST, OLDEST_IR};
use crate::quote;
use crate::tensor_data::{DataType, TensorProblem};
use crate::wire::WireError;

/// Why a model could not be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bytes are no acceptable model.
    #[error("cannot read the model: {0}")]
    Wire(#[from] WireError),
    /// The model was read, but parts of it cannot be imported.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Everything found in a model that keeps it from being imported.
#[derive(Debug)]
pub struct Problems {
    /// The file, where the model came from one.
    pub path: Option<PathBuf>,
    /// The problems in the order in which they were found, at most [`Problems::LISTED`].
    pub listed: Vec<Problem>,
    /// How many there are, including those not listed.
    pub total: usize,
}

impl Problems {
    /// How many problems are listed at most.
    pub const LISTED: usize = 50;
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "cannot import {}: ", path.display())?,
            None => write!(f, "cannot import the model: ")?,
        }
        if let ([problem], 1) = (self.listed.as_slice(), self.total) {
            return write!(f, "{problem}");
        }
        write!(f, "{} problems", self.total)?;
        for problem in &self.listed {
            write!(f, "\n  {problem}")?;
        }
        match self.total - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// One reason why a model cannot be imported, and where it lies.
#[derive(Debug, Error)]
#[error("{place}{kind}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ProblemKind,
}

/// A part of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The model as a whole.
    Model,
    /// A node.
    Node {
        /// Its place in the file.
        index: usize,
        /// Its name, often empty.
        name: String,
        /// Its operator.
        op: String,
    },
    /// An initialiser.
    Weight(String),
    /// An input of the model.
    Input(String),
    /// An output of the model.
    Output(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Model => Ok(()),
            Place::Node { index, name, op } => {
                let op = quote(op);
                let op = op.trim_matches('`');
                match name.as_str() {
                    "" => write!(f, "node {index} ({op}): "),
                    name => write!(f, "node {} ({op}): ", quote(name)),
                }
            }
            Place::Weight(name) => write!(f, "weight {}: ", quote(name)),
            Place::Input(name) => write!(f, "input {}: ", quote(name)),
            Place::Output(name) => write!(f, "output {}: ", quote(name)),
        }
    }
}

/// What is wrong.
#[derive(Debug, Error)]
pub enum ProblemKind {
    /// A model without a graph.
    #[error("it holds no graph")]
    NoGraph,
    /// A graph that computes nothing.
    #[error("the graph has no outputs")]
    NoOutputs,
    /// A version of the file format that is not supported.
    #[error("its file format version {0} is not supported, only {OLDEST_IR} to {NEWEST_IR}")]
    IrVersion(i64),
    /// No version of the standard operators is stated.
    #[error("it does not say which version of the standard operators it uses")]
    NoOpset,
    /// A version of the standard operators that is not supported.
    #[error(
        "its operator set {0} is not supported; export it again with a set from {OLDEST} to {NEWEST}"
    )]
    Opset(i64),
    /// An operator this program does not know.
    #[error("the operator is not supported")]
    UnknownOperator,
    /// An operator of another domain than the standard one.
    #[error("operators of the domain {} are not supported, only the standard ones", quote(.0))]
    Domain(String),
    /// A call of a function that the model defines.
    #[error("calls a function of the model; inline the functions first (onnx.inliner does)")]
    Function,
    /// An operator that its operator set does not have yet.
    #[error("the operator comes with operator set {since}, the model uses {opset}")]
    NotYet {
        /// The first set that has it.
        since: i64,
        /// The set of the model.
        opset: i64,
    },
    /// An operator that its operator set no longer has.
    #[error("the operator went with operator set {gone}, the model uses {opset}")]
    Removed {
        /// The first set without it.
        gone: i64,
        /// The set of the model.
        opset: i64,
    },
    /// A name that nothing defines.
    #[error("uses {}, which nothing defines", quote(.0))]
    Dangling(String),
    /// Nodes that wait for each other.
    #[error("the nodes feed each other in a circle through {}", quote(.0))]
    Cycle(String),
    /// A name with two definitions.
    #[error("the name {} is defined twice", quote(.0))]
    DuplicateName(String),
    /// A name that may not be empty.
    #[error("it has no name")]
    NoName,
    /// A result without which the node makes no sense.
    #[error("has no result")]
    NoResult,
    /// A result that the operator does not have, counted from 0.
    #[error("has no result {0}, but it is used")]
    NoSuchResult(usize),
    /// More operands than the operator takes.
    #[error("takes at most {most} operands, but has {found}")]
    Operands {
        /// The most there may be.
        most: usize,
        /// The number there are.
        found: usize,
    },
    /// An operand that has to be there.
    #[error("its {0} is missing")]
    MissingOperand(&'static str),
    /// An attribute that has to be there.
    #[error("its attribute `{0}` is missing")]
    MissingAttribute(&'static str),
    /// An attribute the operator does not have.
    #[error("has an attribute {} that is not known for this operator", quote(.0))]
    UnknownAttribute(String),
    /// An attribute given twice.
    #[error("its attribute {} is given twice", quote(.0))]
    DuplicateAttribute(String),
    /// An attribute of another kind than the operator asks for.
    #[error("its attribute `{name}` should be {expected}")]
    AttributeKind {
        /// The attribute.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A value that makes no sense or is not supported.
    #[error("its `{name}` is {value}, {why}")]
    Value {
        /// The attribute or operand.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// An axis that the operand does not have.
    #[error("axis {axis} is out of range for {rank} dimensions")]
    Axis {
        /// The axis as given.
        axis: i64,
        /// The number of dimensions.
        rank: usize,
    },
    /// An element type that cannot be computed with.
    #[error("elements of type {0} are not supported")]
    ElementType(String),
    /// A tensor that cannot be used.
    #[error("{0}")]
    Tensor(#[from] TensorProblem),
    /// A value that is no tensor.
    #[error("it is {0}, and only tensors are supported")]
    NotATensor(&'static str),
    /// An input without a stated shape.
    #[error("its shape is not stated, not even the number of dimensions")]
    NoShape,
    /// A dimension of an input that no tensor has.
    #[error("dimension {axis} is {size}")]
    Dimension {
        /// Which dimension.
        axis: usize,
        /// Its size.
        size: i64,
    },
    /// More dimensions than any network has.
    #[error("{0} dimensions are too many")]
    Rank(usize),
    /// More elements than memory holds.
    #[error("its size passes any memory this program asks for")]
    TooLarge,
    /// Something that has to be known when the model is imported.
    #[error("its {0} has to be a constant, but is computed when the model runs")]
    NotConstant(&'static str),
    /// Something that would have to be known when the model is imported.
    #[error(
        "the size of the input, which is not fixed, decides its {0}; export the model with a fixed \
         input size"
    )]
    Dynamic(&'static str),
    /// Arithmetic on sizes that has no answer before the input's size is known.
    #[error(
        "cannot work out {0} before the size of the input is known; export the model with a fixed \
         input size"
    )]
    SizeArithmetic(String),
    /// Arithmetic on constants without an answer.
    #[error("cannot compute {0}")]
    Arithmetic(String),
    /// More computing at import than any exporter asks for.
    #[error("asks for too much computing on constants")]
    TooMuchWork,
    /// A result that cannot be supplied.
    #[error("its result {0} is used, which is not supported")]
    ResultUsed(&'static str),
    /// An expansion that is more than broadcasting.
    #[error("uses a result of Expand, which only arithmetic may do where sizes are not fixed")]
    Expanded,
    /// Something else that is not supported, in words.
    #[error("{0}")]
    Unsupported(String),
    /// The operator does not accept its operands.
    #[error("{0}")]
    Shape(#[from] ShapeError),
    /// The graph could not take a part.
    #[error("{0}")]
    Graph(GraphError),
}

impl ProblemKind {
    /// An element type that cannot be computed with.
    pub(super) fn element_type(code: i32) -> Self {
        let name = DataType::from_code(code).map(|data_type| data_type.name().to_owned());
        ProblemKind::ElementType(name.unwrap_or_else(|| format!("{code}, which is not known")))
    }

    pub(super) fn value(name: &'static str, value: impl fmt::Debug, why: &str) -> Self {
        // A list in a file may be of any length; a message may not.
        const LONGEST: usize = 100;
        let mut value = format!("{value:?}");
        if let Some((end, _)) = value.char_indices().nth(LONGEST) {
            value.truncate(end);
            value.push_str("...");
        }
        ProblemKind::Value { name, value, why: why.to_owned() }
    }

    pub(super) fn unsupported(words: &str) -> Self {
        ProblemKind::Unsupported(words.to_owned())
    }
}

impl From<GraphError> for ProblemKind {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Node { source, .. } => ProblemKind::Shape(source),
            error => ProblemKind::Graph(error),
        }
    }
}

impl From<DimError> for ProblemKind {
    fn from(error: DimError) -> Self {
        ProblemKind::Shape(ShapeError::Dim(error))
    }
}
