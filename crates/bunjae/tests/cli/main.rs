//! The program end to end: the real binary in a temporary folder, with snapshots of what it was
//! asked and what it answered on stdout and stderr.
//!
//! `INSTA_UPDATE=always cargo test -p bunjae` rewrites the snapshots; review the diff like code.
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod bench;
mod camera;
mod compare;
mod compile;
mod data;
mod detect;
mod diff;
mod errors;
mod evaluate;
mod inspect;
mod new;
mod predict;
mod profile;
mod prune;
mod prune_data;
mod real_models;
mod recipes;
mod run;
mod shell;
mod streams;
mod support;
mod train;
