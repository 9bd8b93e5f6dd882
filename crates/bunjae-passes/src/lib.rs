//! Graph in, graph out: pure functions that change a model.
//!
//! Owns channel surgery ([`remove`], [`mask`]), the removal of dead nodes ([`prune_dead`]), and
//! the check that two graphs compute the same ([`output_difference`]).
//!
//! Never here: deciding what to cut (that is compression), training, files.
#![forbid(unsafe_code)]

mod dead;
mod equivalence;
mod surgery;

pub use dead::prune_dead;
pub use equivalence::{EquivalenceError, output_difference, sample_inputs};
pub use surgery::{mask, remove};
