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
    /// The model's first output is no list of scores.
    #[error("output `{output}` is {found}, not f32 [batch, classes]")]
    NoScores {
        /// The output's name.
        output: String,
        /// What it is.
        found: String,
    },
    /// The model tells apart another number of classes than the data has.
    #[error("the model tells {model} classes apart, the pictures are of {data}")]
    Classes {
        /// The model's.
        model: usize,
        /// The data's.
        data: usize,
    },
    /// The last layer cannot be replaced.
    #[error("the scores come from {found}, not from a linear layer or a convolution")]
    NoHead {
        /// What they come from.
        found: String,
    },
    /// Not one input.
    #[error("the model has {found} inputs; one that takes pictures can be trained")]
    Inputs {
        /// How many.
        found: usize,
    },
    /// The model is made for another batch.
    #[error("the model fixes its batch to {fixed}, not {batch}")]
    Batch {
        /// The model's batch; 0 where it is an expression.
        fixed: usize,
        /// The batch asked for.
        batch: usize,
    },
    /// A hint names a layer that is not there, or none whose result is a picture of channels.
    #[error("the {whose} has {found}")]
    NoHint {
        /// `student` or `teacher`.
        whose: &'static str,
        /// What it has instead.
        found: String,
    },
    /// No layers can be compared without being named.
    #[error(
        "no layers of student and teacher give features of one size: the student's are {student}, \
         the teacher's {teacher}"
    )]
    NoCommonHints {
        /// Heights and widths.
        student: String,
        /// Heights and widths.
        teacher: String,
    },
    /// Everything is frozen.
    #[error("nothing is left to train: every weight on which the loss depends is frozen")]
    NothingToTrain,
    /// A graph does not hold together.
    #[error(transparent)]
    Graph(#[from] bunjae_ir::GraphError),
    /// A pass failed.
    #[error(transparent)]
    Pass(#[from] bunjae_passes::PassError),
    /// The loss cannot be written.
    #[error(transparent)]
    Loss(#[from] bunjae_passes::losses::LossError),
    /// The model has no gradient.
    #[error(transparent)]
    Differentiate(#[from] bunjae_passes::DifferentiateError),
    /// The step cannot be compiled.
    #[error(transparent)]
    Compile(#[from] bunjae_engine::CompileError),
    /// The step cannot be run.
    #[error(transparent)]
    Run(#[from] bunjae_engine::RunError),
    /// Pictures cannot be had.
    #[error(transparent)]
    Data(#[from] bunjae_data::DataError),
    /// A validation came to no figures.
    #[error("the validation failed: {0}")]
    Metric(#[from] bunjae_measure::metrics::MetricError),
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] bunjae_tensor::TensorError),
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
            TrainError::Write { source, .. } if is_full(source.kind()) => {
                Some("make room on the disk and resume: the last good checkpoint is still there")
            }
            TrainError::Classes { .. } => Some("`--classes` gives the model a new last layer"),
            TrainError::Batch { .. } => {
                Some("export the model with an open batch, or train with that of the model")
            }
            TrainError::NoHint { .. } | TrainError::NoCommonHints { .. } => {
                Some("`--hint STUDENT=TEACHER` names layers; `bunjae inspect --layers` shows them")
            }
            TrainError::Data(error) => error.hint(),
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

impl From<bunjae_files::WriteError> for TrainError {
    fn from(error: bunjae_files::WriteError) -> Self {
        TrainError::Write { path: error.path, source: error.source }
    }
}

/// Whether there is no room for a file: on the disk, in the user's share of it, or by a limit.
fn is_full(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}
