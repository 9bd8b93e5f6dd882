//! Compiling training graphs: parameters that stay in memory, groups of nodes, and their steps.

mod groups;
mod lower;
mod parameters;

pub(super) use groups::{TrainingGroup, TrainingGroups};
pub(super) use lower::wishes;
pub use parameters::Segment;
pub(crate) use parameters::{Layout, Trained, trained};
