//! What can be wrong with data, and with what is asked of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bunjae_tensor::TensorError;
use thiserror::Error;

use crate::decode::DecodeError;

/// Why data cannot be used.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or a folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no data in the form that was looked for.
    #[error("{}: {what}", path.display())]
    Nothing {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A folder that holds more than anybody can mean.
    #[error("{}: more than {limit} entries", path.display())]
    TooManyEntries {
        /// The folder that was given.
        path: PathBuf,
        /// The number at which reading stopped.
        limit: usize,
    },
    /// A file of a fixed format that does not keep to it.
    #[error("{}: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with numbers.
        what: String,
    },
    /// Lines of a manifest that cannot be used.
    #[error("{}: {} bad line{}{}", path.display(), problems.len(), plural(problems.len()), listed(problems))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Every bad line.
        problems: Vec<LineProblem>,
    },
    /// A class that the training part does not have.
    #[error("{}: {split} has the class `{class}`, which train has not", path.display())]
    StrangeClass {
        /// The folder.
        path: PathBuf,
        /// The part with the strange class.
        split: String,
        /// The class.
        class: String,
    },
    /// Too few classes to learn anything.
    #[error("pictures of {found} class{} only{}", if *found == 1 { "" } else { "es" }, named(class))]
    TooFewClasses {
        /// How many classes have pictures.
        found: usize,
        /// The one class.
        class: Option<String>,
    },
    /// One picture that cannot be decoded.
    #[error("{item}: {source}")]
    Decode {
        /// The picture, as [`Source`](crate::Source) prints it.
        item: String,
        /// The reason.
        source: DecodeError,
    },
    /// More pictures are corrupt than the given share.
    #[error(
        "{corrupt} of {total} pictures are corrupt, more than {:.1} %; the first: {first}",
        share * 100.0
    )]
    TooManyCorrupt {
        /// How many cannot be decoded.
        corrupt: usize,
        /// Out of how many.
        total: usize,
        /// The share that would have been accepted, 0 to 1.
        share: f64,
        /// The first corrupt picture and the reason.
        first: String,
    },
    /// A setting without meaning.
    #[error("{setting}: {what}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with its value.
        what: String,
    },
    /// A text that is no record of preprocessing or augmentation.
    #[error("{record} does not parse: {source}")]
    Text {
        /// Which record.
        record: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A batch that cannot be allocated.
    #[error("a batch cannot be made: {0}")]
    Batch(#[from] TensorError),
    /// A worker of the loader failed in a way that is a mistake of this program.
    #[error("a worker of the loader panicked: {0}")]
    Worker(String),
}

/// One bad line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Counted from 1, as editors do.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl DataError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            DataError::Nothing { .. } => Some(
                "a data set is a folder with a folder of pictures per class, such folders under \
                 train, val and test, a manifest.csv with the columns file and class, or a folder \
                 with MNIST's IDX or CIFAR's binary files",
            ),
            DataError::Manifest { .. } => {
                Some("columns: file, class, and if wanted split (train, val, test) and group")
            }
            DataError::TooFewClasses { .. } => {
                Some("give the folder that holds one folder of pictures per class")
            }
            DataError::TooManyCorrupt { .. } => {
                Some("`bunjae data inspect` lists them; remove them or accept a larger share")
            }
            _ => None,
        }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> DataError {
        let path = path.to_path_buf();
        |source| DataError::Read { path, source }
    }

    pub(crate) fn format(path: &Path, what: impl fmt::Display) -> DataError {
        DataError::Format { path: path.to_path_buf(), what: what.to_string() }
    }

    pub(crate) fn nothing(path: &Path, what: impl fmt::Display) -> DataError {
        DataError::Nothing { path: path.to_path_buf(), what: what.to_string() }
    }

    pub(crate) fn setting(setting: &'static str, what: impl fmt::Display) -> DataError {
        DataError::Setting { setting, what: what.to_string() }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn named(class: &Option<String>) -> String {
    class.as_ref().map(|class| format!(" (`{class}`)")).unwrap_or_default()
}

/// The first ten problems, one a line.
fn listed(problems: &[LineProblem]) -> String {
    const SHOWN: usize = 10;
    let mut text: String = problems
        .iter()
        .take(SHOWN)
        .map(|problem| format!("\n  line {}: {}", problem.line, problem.what))
        .collect();
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", problems.len() - SHOWN));
    }
    text
}
