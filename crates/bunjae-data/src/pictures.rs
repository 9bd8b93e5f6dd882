//! The pictures of a data set, decoded on demand, with a cache under a byte limit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Item, Source};
use crate::decode::{DecodeError, Limits};
use crate::error::DataError;
use crate::parallel;
use crate::picture::Picture;
use crate::preprocess::Preprocess;
use crate::resize::resize;

/// In which form pictures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// In the size of the input: for evaluation, and for training without random crops.
    Fitted,
    /// Whole, the shorter side no longer than this: for training with random crops.
    Whole {
        /// Pixels; larger pictures are made smaller once, when they are decoded.
        shorter: usize,
    },
}

/// How pictures are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The way to the network's input.
    pub preprocess: Preprocess,
    /// In which form pictures are kept.
    pub keep: Keep,
    /// The most bytes of decoded pictures that are kept in memory.
    pub cache_bytes: usize,
    /// What a file may cost.
    pub limits: Limits,
}

impl Reading {
    /// Fitted pictures, a cache of 1 GiB, the usual limits.
    pub fn new(preprocess: Preprocess) -> Reading {
        let (keep, cache_bytes, limits) = (Keep::Fitted, 1 << 30, Limits::default());
        Reading { preprocess, keep, cache_bytes, limits }
    }
}

/// A picture that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrupt {
    /// The picture, as [`Source`] prints it.
    pub item: String,
    /// The reason.
    pub why: String,
}

/// A data set with its decoded pictures.
///
/// Pictures stay in the cache until it is full and are never driven out: epochs go through all of
/// them, so any that left would be needed as soon as any that came. What is cached depends on who
/// comes first, what [`Pictures::get`] returns does not.
pub struct Pictures {
    dataset: Dataset,
    reading: Reading,
    cache: Vec<OnceLock<Picture>>,
    cached_bytes: AtomicUsize,
}

impl Pictures {
    /// Nothing is decoded yet.
    ///
    /// # Errors
    /// [`DataError::Setting`] for preprocessing that makes no sense, and for labels that are no
    /// class.
    pub fn new(dataset: Dataset, reading: Reading) -> Result<Pictures, DataError> {
        reading.preprocess.check()?;
        if reading.keep == (Keep::Whole { shorter: 0 }) {
            return Err(DataError::setting("keep", "pictures of no size"));
        }
        check_labels(&dataset.items, dataset.classes.len())?;
        let cache = dataset.items.iter().map(|_| OnceLock::new()).collect();
        Ok(Pictures { dataset, reading, cache, cached_bytes: AtomicUsize::new(0) })
    }

    /// The classes and pictures.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// How the pictures are read.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Adds pictures; their labels, if they have any, are of the same classes.
    ///
    /// # Errors
    /// [`DataError::Setting`] for labels that are no class.
    pub fn extend(&mut self, items: Vec<Item>) -> Result<(), DataError> {
        check_labels(&items, self.dataset.classes.len())?;
        self.cache.extend(items.iter().map(|_| OnceLock::new()));
        self.dataset.items.extend(items);
        Ok(())
    }

    /// Bytes of decoded pictures in memory.
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes.load(Ordering::Relaxed)
    }

    /// Decodes every picture once, takes out those that cannot be decoded, and returns them. The
    /// cache is filled on the way, so that this is no lost time. `progress` hears, from any
    /// thread, how many are done.
    ///
    /// # Errors
    /// [`DataError::TooManyCorrupt`] where more than `share` (0 to 1) of the pictures are corrupt,
    /// or all of them.
    pub fn check(
        &mut self,
        share: f64,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Corrupt>, DataError> {
        let total = self.dataset.items.len();
        let results = parallel::map(total, threads, progress, |index| {
            self.with(index, |_| ()).err().map(|error| error.to_string())
        });
        let mut corrupt = Vec::new();
        for (item, why) in self.dataset.items.iter().zip(&results) {
            if let Some(why) = why {
                corrupt.push(Corrupt { item: item.source.to_string(), why: why.clone() });
            }
        }
        let found = corrupt.len();
        if let Some(first) = corrupt.first()
            && (found as f64 > share * total as f64 || found == total)
        {
            let first = format!("{}: {}", first.item, first.why);
            return Err(DataError::TooManyCorrupt { corrupt: found, total, share, first });
        }
        let mut good = results.iter().map(Option::is_none);
        self.dataset.items.retain(|_| good.next().unwrap_or(true));
        let mut good = results.iter().map(Option::is_none);
        self.cache.retain(|_| good.next().unwrap_or(true));
        Ok(corrupt)
    }

    /// The picture in the form in which it is kept.
    ///
    /// # Errors
    /// [`DataError::Decode`].
    pub fn get(&self, index: usize) -> Result<Picture, DataError> {
        self.with(index, Picture::clone).map_err(|source| {
            let item = self.dataset.items.get(index);
            let item = item.map_or_else(|| format!("#{index}"), |item| item.source.to_string());
            DataError::Decode { item, source }
        })
    }

    fn with<T>(
        &self,
        index: usize,
        function: impl FnOnce(&Picture) -> T,
    ) -> Result<T, DecodeError> {
        let count = self.dataset.items.len();
        let no_record = || DecodeError::NoRecord { index, count };
        let slot = self.cache.get(index).ok_or_else(no_record)?;
        if let Some(picture) = slot.get() {
            return Ok(function(picture));
        }
        let item = self.dataset.items.get(index).ok_or_else(no_record)?;
        let channels = self.reading.preprocess.colour.channels();
        let decoded = item.source.picture(channels, self.reading.limits)?;
        let sides = (decoded.width(), decoded.height());
        let picture = self.kept(decoded);
        let result = function(&picture);
        // What is in memory already needs no second place there.
        let is_record = matches!(item.source, Source::Record { .. });
        if is_record && (picture.width(), picture.height()) == sides {
            return Ok(result);
        }
        let bytes = picture.samples().len();
        let before = self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.reading.cache_bytes;
        // Another thread may have come first with the same picture.
        if !fits || slot.set(picture).is_err() {
            self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(result)
    }

    fn kept(&self, picture: Picture) -> Picture {
        match self.reading.keep {
            Keep::Fitted => self.reading.preprocess.fitted(picture),
            Keep::Whole { shorter } => {
                let (width, height) = (picture.width(), picture.height());
                let side = width.min(height);
                if side <= shorter {
                    return picture;
                }
                let (width, height) = (width * shorter / side, height * shorter / side);
                resize(&picture, width, height, self.reading.preprocess.filter)
            }
        }
    }
}

fn check_labels(items: &[Item], classes: usize) -> Result<(), DataError> {
    match items.iter().filter_map(|item| item.label).find(|&label| label >= classes) {
        Some(label) => Err(DataError::setting("label", format!("{label} of {classes} classes"))),
        None => Ok(()),
    }
}
