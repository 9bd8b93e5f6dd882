//! Whole runs on small networks and pictures that are made up here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod distil;
mod run;
mod support;
