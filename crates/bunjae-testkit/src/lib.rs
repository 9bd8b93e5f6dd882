//! Tools for the tests of the other crates: golden files, random graphs, random tensors, and what a
//! test finds outside of the repository.
//!
//! Owns the runner of golden files, the generators of random graphs and tensors, and the rules by
//! which a test is skipped where data or a judge are missing.
//!
//! Never here: anything that the product needs, for only tests may depend on this crate; expectations
//! of particular crates, which stand in their tests.
#![forbid(unsafe_code)]

pub mod fill;
pub mod golden;
pub mod onnx_runtime;
pub mod random_graph;
mod surroundings;

pub use surroundings::{browser, data_dir, python};
