//! The runner: what is needed to execute a compiled model, and nothing of graphs.

mod explain;
pub(crate) mod generic;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod number;
mod session;
pub(crate) mod step;
mod team;
pub(crate) mod training_step;
pub(crate) mod view;

pub use explain::{Explanation, Profile, StepReport};
pub use model::{Model, Port};
pub use session::{Input, Output, Session};
