//! Where frames come from: cameras, files, patterns, behind one trait.

mod convert;
mod files;
mod gif;
#[cfg(feature = "gstreamer")]
mod gst;
mod mjpeg;
mod open;
mod pattern;
pub mod pipeline;
pub mod webcam;
pub(crate) mod y4m;

use std::time::{Duration, Instant};

use bunjae_data::Picture;
use bunjae_data::decode::DecodeError;
use thiserror::Error;

pub use open::{Asked, Flip, MAX_RATE, Spec, Supported, open, supported};

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// From a camera or a stream, which have a time of their own.
    Live {
        /// When it was taken.
        captured: Instant,
    },
    /// From a file, which is played.
    Paced {
        /// How long it is shown.
        lasts: Duration,
    },
    /// There is no more.
    End,
}

/// Frames, one after the other.
pub trait Source {
    /// What it is and what it delivers, for people.
    fn describe(&self) -> String;

    /// Waits for the next frame and writes it into a picture, as RGB, in any size.
    ///
    /// # Errors
    /// [`SourceError`]; [`SourceError::fault`] says whether it is worth asking again.
    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError>;
}

/// What an error of a source means for those who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This frame is broken; the next may be well.
    Frame,
    /// The source is gone, and may come back: it has to be opened again.
    Lost,
    /// It will not work.
    Fatal,
}

/// Why there is no frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// A frame that cannot be decoded.
    #[error("a frame is corrupt: {0}")]
    Corrupt(String),
    /// A device or stream that has gone.
    #[error("{source_name}: {reason}")]
    Lost {
        /// Which source.
        source_name: String,
        /// What happened.
        reason: String,
    },
    /// What cannot be opened or read at all.
    #[error("{source_name}: {reason}")]
    Failed {
        /// Which source.
        source_name: String,
        /// What is wrong.
        reason: String,
        /// The way out, or nothing.
        hint: String,
    },
}

impl SourceError {
    /// What the error means for those who read the source.
    pub fn fault(&self) -> Fault {
        match self {
            SourceError::Corrupt(_) => Fault::Frame,
            SourceError::Lost { .. } => Fault::Lost,
            SourceError::Failed { .. } => Fault::Fatal,
        }
    }

    /// The way out, where one is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            SourceError::Failed { hint, .. } if !hint.is_empty() => Some(hint),
            _ => None,
        }
    }

    fn lost(name: impl ToString, reason: impl ToString) -> SourceError {
        SourceError::Lost { source_name: name.to_string(), reason: reason.to_string() }
    }

    fn failed(name: impl ToString, reason: impl ToString, hint: impl ToString) -> SourceError {
        let (source_name, reason) = (name.to_string(), reason.to_string());
        SourceError::Failed { source_name, reason, hint: hint.to_string() }
    }
}

impl From<DecodeError> for SourceError {
    fn from(error: DecodeError) -> SourceError {
        SourceError::Corrupt(error.to_string())
    }
}
