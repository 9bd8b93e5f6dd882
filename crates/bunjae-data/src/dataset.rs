//! The one form of a data set, whatever it looks like on disk.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::decode::{DecodeError, Limits, decode, decode_native};
use crate::error::DataError;
use crate::picture::{Channels, Picture};

/// What a picture is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose settings by.
    Val,
    /// To be scored on once, at the end.
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// `train`, `val` or `test`.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    /// Takes the usual names, in any case: `train`, `training`, `val`, `valid`, `validation`,
    /// `test`, `testing`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "train" | "training" => Ok(Split::Train),
            "val" | "valid" | "validation" => Ok(Split::Val),
            "test" | "testing" => Ok(Split::Test),
            _ => Err(format!("`{text}` is neither train, val nor test")),
        }
    }
}

/// Many pictures of one size in one piece of memory, as MNIST, CIFAR and the generators have them.
#[derive(PartialEq, Eq)]
pub struct Records {
    /// Where they come from, for messages.
    pub origin: String,
    /// Columns of each.
    pub width: usize,
    /// Rows of each.
    pub height: usize,
    /// Samples of each.
    pub channels: Channels,
    /// One picture after the other, the samples of a pixel together.
    pub samples: Vec<u8>,
}

impl Records {
    /// The number of whole pictures.
    pub fn len(&self) -> usize {
        self.samples.len().checked_div(self.size()).unwrap_or(0)
    }

    /// True where there is no whole picture.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples of one picture.
    fn size(&self) -> usize {
        self.width * self.height * self.channels.count()
    }

    fn get(&self, index: usize) -> Result<&[u8], DecodeError> {
        let size = self.size();
        index
            .checked_mul(size)
            .and_then(|start| self.samples.get(start..start.checked_add(size)?))
            .filter(|samples| !samples.is_empty())
            .ok_or(DecodeError::NoRecord { index, count: self.len() })
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Records { origin, width, height, channels, .. } = self;
        write!(f, "Records({origin}: {} of {width}x{height} {channels:?})", self.len())
    }
}

/// Where the bytes of a picture are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A picture file.
    File(PathBuf),
    /// One of many in memory.
    Record {
        /// All of them.
        records: Arc<Records>,
        /// Which one.
        index: usize,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Record { records, index } => write!(f, "{} #{index}", records.origin),
        }
    }
}

/// SHA-256 of what a picture is stored as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl ContentHash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> ContentHash {
        ContentHash(Sha256::digest(bytes).into())
    }

    /// The hash of a picture's size and samples: equal for every file that decodes to the same.
    pub fn of_picture(picture: &Picture) -> ContentHash {
        let mut hash = Sha256::new();
        hash.update((picture.width() as u64).to_le_bytes());
        hash.update((picture.height() as u64).to_le_bytes());
        hash.update([picture.channels().count() as u8]);
        hash.update(picture.samples());
        ContentHash(hash.finalize().into())
    }
}

impl Source {
    /// Decodes the picture to the samples asked for.
    ///
    /// # Errors
    /// [`DecodeError`], also where the file cannot be read.
    pub fn picture(&self, channels: Channels, limits: Limits) -> Result<Picture, DecodeError> {
        match self {
            Source::File(_) => decode(&self.bytes(limits)?, channels, limits),
            Source::Record { .. } => Ok(self.native(limits)?.into_channels(channels)),
        }
    }

    /// Decodes the picture to grey or colour as it is stored.
    ///
    /// # Errors
    /// As [`Source::picture`].
    pub fn native(&self, limits: Limits) -> Result<Picture, DecodeError> {
        match self {
            Source::File(_) => decode_native(&self.bytes(limits)?, limits),
            Source::Record { records, index } => {
                let samples = records.get(*index)?.to_vec();
                Picture::new(records.width, records.height, records.channels, samples)
                    .ok_or(DecodeError::Empty)
            }
        }
    }

    /// The stored bytes: a whole file, or the samples of a record.
    ///
    /// # Errors
    /// [`DecodeError::Read`], [`DecodeError::LargeFile`], [`DecodeError::NoRecord`].
    pub fn bytes(&self, limits: Limits) -> Result<Vec<u8>, DecodeError> {
        match self {
            Source::File(path) => {
                let read = |error: std::io::Error| DecodeError::Read(error.to_string());
                let mut file = fs::File::open(path).map_err(read)?;
                let size = file.metadata().map_err(read)?.len();
                if size > limits.file_bytes {
                    return Err(DecodeError::LargeFile { bytes: size, limit: limits.file_bytes });
                }
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                // What is no plain file may have no size, or grow while it is read.
                let mut bounded = (&mut file).take(limits.file_bytes.saturating_add(1));
                bounded.read_to_end(&mut bytes).map_err(read)?;
                Ok(bytes)
            }
            Source::Record { records, index } => Ok(records.get(*index)?.to_vec()),
        }
    }

    /// The hash of the stored bytes.
    ///
    /// # Errors
    /// As [`Source::bytes`].
    pub fn content_hash(&self, limits: Limits) -> Result<ContentHash, DecodeError> {
        Ok(ContentHash::of(&self.bytes(limits)?))
    }
}

/// A picture and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where the picture is.
    pub source: Source,
    /// The index of its class; `None` for a picture that nobody has labelled.
    pub label: Option<usize>,
    /// What it is used for, where that is settled.
    pub split: Option<Split>,
    /// Pictures of one group (a person, an object, a film) must stay in one split.
    pub group: Option<String>,
}

/// A file that is no picture, or a folder that is not entered, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why it does not count.
    pub why: String,
}

/// Classes and pictures, in an order that depends on names alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The classes' names; a label is an index into them.
    pub classes: Vec<String>,
    /// The pictures.
    pub items: Vec<Item>,
    /// What lay among the pictures and is none.
    pub skipped: Vec<Skipped>,
}

impl Dataset {
    /// The pictures of one split, with the same classes.
    #[must_use]
    pub fn part(&self, split: Split) -> Dataset {
        let items = self.items.iter().filter(|item| item.split == Some(split)).cloned().collect();
        Dataset { classes: self.classes.clone(), items, skipped: Vec::new() }
    }

    /// True where every picture has its split.
    pub fn is_split(&self) -> bool {
        self.items.iter().all(|item| item.split.is_some())
    }

    /// How many pictures each class has.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for label in self.items.iter().filter_map(|item| item.label) {
            if let Some(count) = counts.get_mut(label) {
                *count += 1;
            }
        }
        counts
    }

    /// Makes sure that there is something to learn: pictures of two classes at least.
    ///
    /// # Errors
    /// [`DataError::TooFewClasses`].
    pub fn check_trainable(&self) -> Result<(), DataError> {
        let counts = self.counts();
        let found = counts.iter().filter(|&&count| count > 0).count();
        if found >= 2 {
            return Ok(());
        }
        let class = counts.iter().position(|&count| count > 0).and_then(|i| self.classes.get(i));
        Err(DataError::TooFewClasses { found, class: class.cloned() })
    }
}
