//! ONNX files: bytes to graphs and back, with limits.
//!
//! Owns the way from a file to a graph ([`mod@import`]) and back ([`mod@export`]), and the file
//! format below them: the protobuf messages ([`proto`]), reading and writing them ([`wire`],
//! [`mod@file`]), the storage forms of tensors ([`tensor_data`]), tensors in other files
//! ([`external`]), what changed between versions of the operators ([`opset`]), and where the
//! graph keeps what the file says about itself ([`metadata`]).
//!
//! A model file is untrusted. Reading one never panics, never touches a file outside the model's
//! folder, and allocates in proportion to bytes that exist. What the program cannot handle is an
//! error that names it, never a guess.
//!
//! Never here: what operators mean (the interpreter computes the constants that import folds),
//! changes to a graph, knowledge of other file formats.
#![forbid(unsafe_code)]

pub mod export;
pub mod external;
pub mod file;
pub mod import;
pub mod metadata;
mod names;
pub mod opset;
pub mod proto;
pub mod tensor_data;
pub mod wire;

#[cfg(test)]
mod sample;

pub use export::{ExportError, ExportOptions, SaveError, export, save};
pub use file::{Limits, WeightStorage, read_model, write_model};
pub use import::{ImportError, Imported, import, import_bytes};

/// A name from a file, fit for a message: in backquotes, control characters escaped, shortened.
fn quote(name: &str) -> String {
    const LONGEST: usize = 100;
    let mut quoted = String::from("`");
    quoted.extend(name.chars().take(LONGEST).flat_map(char::escape_debug));
    if name.chars().nth(LONGEST).is_some() {
        quoted.push_str("...");
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(quote("conv1"), "`conv1`");
        assert_eq!(quote("a\x1b[2J\nb"), "`a\\u{1b}[2J\\nb`");
        assert_eq!(quote(&"x".repeat(1000)).len(), 105);
    }
}
