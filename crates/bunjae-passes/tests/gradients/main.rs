//! Gradients against finite differences, in f64: every operator, the losses, random networks; and
//! rules broken on purpose, which the differences find.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken;
mod differences;
mod golden;
mod losses;
mod networks;
mod operators;
mod training;
