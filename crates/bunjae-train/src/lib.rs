//! Training: what happens between two runs of a training graph, and what is kept of it.
//!
//! A [`Recipe`](recipe::Recipe) says as plain data how a model is trained, and a [`Run`] does it.
//!
//! Owns the optimisers over flat arrays of parameters ([`optimiser`]), learning rates over the
//! steps of a run ([`schedule`]), moving averages ([`average`]), what teachers say, the rule that ends
//! a run early ([`stop`]), checkpoints ([`checkpoint`]) and the logs of a run ([`log`]).
//!
//! Nothing here depends on the number of threads or the time of day, so that one seed gives one
//! model and a run that is resumed goes on as if it had not been stopped; the wall time in the event
//! files of TensorBoard is the one exception.
//!
//! Never here: gradients and kernels, decoding and augmentation, metrics, printing.
#![forbid(unsafe_code)]

pub mod average;
pub mod checkpoint;
mod distil;
mod error;
mod freeze;
mod hints;
mod infer;
pub mod log;
pub mod optimiser;
pub mod recipe;
mod run;
pub mod schedule;
mod step;
pub mod stop;
mod targets;
mod teach;

pub use error::TrainError;
pub use infer::validate;
pub use run::{Event, LAST, Materials, Penalty, Run, Trained};
pub use step::{LOSS, TARGETS, WEIGHTS, classes, with_batch, with_cross_entropy, with_new_head};
