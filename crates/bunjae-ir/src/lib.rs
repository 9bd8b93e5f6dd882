//! The graph: the one form in which Bunjae holds a model.
//!
//! Owns [`Graph`], the closed list of operators [`Op`], shape inference, the couplings between
//! channels that pruning rests on, the cost of a network (parameters, multiply-accumulates,
//! memory), the verifier, and a text form that prints and parses back.
//!
//! Never here: computing with tensors (the interpreter and the engine), changing a graph (the
//! passes), files and their formats (ONNX).
#![forbid(unsafe_code)]

mod attr;
mod cost;
mod couplings;
mod dim;
mod error;
pub mod examples;
mod graph;
mod infer;
pub mod op;
mod relation;
mod reshape;
mod text;
mod types;
mod verify;

pub use attr::{Attr, AttrError, AttrMap, AttrValue};
pub use cost::{Convention, Cost, CostError, NodeCost, Parameters, Peak, WeightBytes};
pub use couplings::{
    ClassId, Couplings, Cut, CutError, Group, Member, Pin, Producer, Stratum, TensorAxis,
};
pub use dim::{Bindings, Dim, DimError, DimExpr};
pub use error::{GraphError, ShapeError};
pub use graph::{Graph, Node, NodeId, Output, Source, TensorId, Value};
pub use infer::resolve_range;
pub use op::Op;
pub use relation::{Axis, Operand, Relation};
pub use reshape::{Factor, FactorGroup, Factors, Target};
pub use text::{ParseError, ParseProblem, Weights};
pub use types::TensorType;
