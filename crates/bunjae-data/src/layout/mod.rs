//! Data sets as they lie on disk.
//!
//! | layout | recognised by |
//! |---|---|
//! | CSV manifest | a `.csv` file, or a folder with `manifest.csv` |
//! | MNIST IDX | a folder with `*-images-idx3-ubyte`, also `.gz` |
//! | CIFAR binary | a folder with `*.bin` and no folders |
//! | splits | a folder with `train`, and `val` or `test`, each with a folder per class |
//! | classes | a folder with a folder of pictures per class |
//!
//! They are tried in this order. Classes are sorted by name, byte by byte, as torchvision's
//! `ImageFolder` does; pictures by path.

mod cifar;
mod csv;
mod folder;
mod idx;
mod manifest;

use std::path::Path;

use crate::dataset::{Dataset, Item, Source};
use crate::error::DataError;

/// Reads the list of a data set, whatever its layout; pictures are not decoded.
///
/// # Errors
/// [`DataError`]: nothing there, unreadable, against the format, or a class that only a validation
/// part has.
pub fn open(path: &Path) -> Result<Dataset, DataError> {
    let metadata = path.metadata().map_err(DataError::read(path))?;
    if metadata.is_file() {
        let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        return if is_csv {
            manifest::open(path)
        } else {
            Err(DataError::nothing(path, "a file, but no .csv manifest"))
        };
    }
    let manifest = path.join("manifest.csv");
    if manifest.is_file() {
        return manifest::open(&manifest);
    }
    if let Some(dataset) = idx::open(path)? {
        return Ok(dataset);
    }
    if let Some(dataset) = cifar::open(path)? {
        return Ok(dataset);
    }
    folder::open(path)
}

/// The pictures in a folder and everything below it, without labels.
///
/// # Errors
/// [`DataError`]: unreadable, or no picture anywhere.
pub fn unlabelled(path: &Path) -> Result<Dataset, DataError> {
    let mut skipped = Vec::new();
    let files = folder::pictures_below(path, &mut skipped)?;
    if files.is_empty() {
        return Err(DataError::nothing(path, "no pictures in this folder or below"));
    }
    let items = files.into_iter().map(|file| Item {
        source: Source::File(file),
        label: None,
        split: None,
        group: None,
    });
    Ok(Dataset { classes: Vec::new(), items: items.collect(), skipped })
}
