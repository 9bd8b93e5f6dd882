//! Graph in, graph out: pure functions that change a model.
//!
//! Owns channel surgery ([`remove`], [`mask`]), the removal of dead nodes ([`prune_dead`]), the
//! simplifications that an executor wants ([`simplify()`] and its parts), gradients as nodes
//! ([`differentiate()`]) of losses ([`losses`]) of graphs in the form that is trained
//! ([`for_training`]), and the check that two graphs compute the same ([`output_difference`]).
//!
//! Never here: deciding what to cut (that is compression), training, files.
#![forbid(unsafe_code)]

mod batch_norm;
mod constants;
mod dead;
mod differentiate;
mod equivalence;
mod error;
mod formula;
mod identities;
pub mod losses;
mod names;
mod simplify;
mod surgery;
mod training;
mod untie;

pub use batch_norm::fold_batch_norm;
pub use constants::fold_constants;
pub use dead::prune_dead;
pub use differentiate::{DifferentiateError, differentiate, trainable_weights};
pub use equivalence::{EquivalenceError, output_difference, sample_inputs};
pub use error::PassError;
pub use identities::{drop_identities, fold_padding};
pub use simplify::simplify;
pub use surgery::{mask, remove};
pub use training::{BatchStatistics, DropoutMask, TrainingForm, for_training};
pub use untie::untie;
