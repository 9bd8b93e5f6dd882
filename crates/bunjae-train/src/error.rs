//! What can go wrong while training.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a run cannot begin or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting without meaning.
    #[error("{setting}: {what}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with its value.
        what: String,
    },
    /// Arrays that do not belong together.
    #[error("{what} has {found} elements, the parameters have {expected}")]
    Length {
        /// Which array.
        what: &'static str,
        /// The number of parameters.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// A loss or gradient that is no finite number.
    #[error("the {what} is {value} at step {step}")]
    NotFinite {
        /// `loss` or `gradient's norm`.
        what: &'static str,
        /// The value.
        value: f64,
        /// The step of the run, from 0.
        step: u64,
    },
    /// The engine refuses an arithmetic step; a mistake of this program.
    #[error("the optimiser failed: {0}")]
    Math(String),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be written; the old one, where there was one, is as it was.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is no checkpoint of this program.
    #[error("{} is no checkpoint: {what}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl TrainError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TrainError::NotFinite { .. } => {
                Some("a lower learning rate, a longer warm-up or clipped gradients may help")
            }
            TrainError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the disk and resume: the last good checkpoint is still there")
            }
            _ => None,
        }
    }

    pub(crate) fn setting(setting: &'static str, what: impl Into<String>) -> TrainError {
        TrainError::Setting { setting, what: what.into() }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> TrainError {
        let path = path.to_owned();
        |source| TrainError::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> TrainError {
        let path = path.to_owned();
        |source| TrainError::Write { path, source }
    }
}
