//! Compiling training graphs: parameters that stay in memory, groups of nodes, and their steps.

mod groups;
mod lower;
mod parameters;
mod recompute;

pub(super) use groups::{TrainingGroup, TrainingGroups};
pub(super) use lower::wishes;
pub use parameters::Segment;
pub(crate) use parameters::{LINE, Layout, Trained, trained};
pub(super) use recompute::{ENOUGH, recomputing};
