//! What can be wrong with a stored network.

use std::io;
use std::path::PathBuf;

use bunjae_ir::{GraphError, ParseError};
use thiserror::Error;

use crate::error::CompileError;

/// Why bytes are no stored network that this engine can load.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// The bytes begin otherwise.
    #[error("not a compiled network; hint: compile the model first")]
    NotAnArtefact,
    /// Bytes are missing at the end, or follow it.
    #[error("{found} bytes where {expected} are expected; hint: copy or compile it again")]
    Length {
        /// The number of bytes that the header states, or the least there can be.
        expected: u64,
        /// The number of bytes there are.
        found: u64,
    },
    /// Numbers stand in the file in another byte order than this machine has.
    #[error("the byte order is not that of this machine; hint: compile the model here")]
    ByteOrder,
    /// Another version of the format.
    #[error(
        "format {found}, written by engine {engine}, where this engine reads format {supported}; \
         hint: compile the model again"
    )]
    Version {
        /// The format's version.
        found: u32,
        /// The version that this engine reads.
        supported: u32,
        /// The engine that wrote it.
        engine: String,
    },
    /// The contents changed since they were written.
    #[error(
        "the checksum of the contents is {found:08x}, not {expected:08x}; hint: copy or compile it \
         again"
    )]
    Checksum {
        /// The checksum in the header.
        expected: u32,
        /// The checksum of the contents.
        found: u32,
    },
    /// A section is not what the format says.
    #[error("{section}: {what}")]
    Section {
        /// The section.
        section: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The text of the graph does not parse.
    #[error("graph: {0}")]
    Parse(#[from] ParseError),
    /// The graph does not hold together.
    #[error("graph: {0}")]
    Graph(GraphError),
    /// The model that is planned when a network is loaded cannot be, for one because packed weights
    /// are missing or do not fit.
    #[error("plan: {0}")]
    Plan(#[source] CompileError),
    /// The instruction set asked for cannot be used.
    #[error(transparent)]
    Isa(#[from] CompileError),
}

/// Why a stored network could not be opened.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: OpenProblem,
}

/// What is wrong with a file that should hold a network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenProblem {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file")]
    NotAFile,
    /// The contents.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
}
