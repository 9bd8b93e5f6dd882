//! Measuring what a model does.
//!
//! Owns the metrics of classification as plain functions over labels and probabilities
//! ([`metrics`]), the protocol by which runs are timed ([`latency`]), and the memory of a process
//! ([`memory`]). Sums run in the order of the pictures, so one list gives one figure.
//!
//! Never here: decoding of pictures, kernels and compilation, training, laying out reports,
//! printing.
#![forbid(unsafe_code)]

pub mod latency;
pub mod memory;
pub mod metrics;
