//! CIFAR's binary files: records of one label byte (CIFAR-10) or two (CIFAR-100: coarse, fine) and
//! 32 x 32 pixels, the red plane first, then green and blue.
//!
//! Files whose name begins with `test` are test, others train. The classes' names come from
//! `batches.meta.txt` or `fine_label_names.txt`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::folder;
use crate::dataset::{Dataset, Item, Records, Source, Split};
use crate::error::DataError;
use crate::picture::Channels;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// `None` where the folder does not look like CIFAR.
pub(super) fn open(path: &Path) -> Result<Option<Dataset>, DataError> {
    let entries = folder::list(path)?;
    let is_bin = |path: &&std::path::PathBuf| {
        path.extension().is_some_and(|ending| ending == "bin") && path.is_file()
    };
    let files: Vec<_> = entries.iter().filter(is_bin).collect();
    if files.is_empty() || entries.iter().any(|entry| entry.is_dir()) {
        return Ok(None);
    }
    let names = |file: &str| fs::read_to_string(path.join(file)).ok();
    let (label_bytes, names) = match (names("fine_label_names.txt"), names("batches.meta.txt")) {
        (Some(fine), _) => (2, Some(fine)),
        (None, names) => (1, names),
    };
    let mut items = Vec::new();
    for split in [Split::Train, Split::Test] {
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("test") != (split == Split::Test) {
                continue;
            }
            read(file, label_bytes, split, &mut items)?;
        }
    }
    let highest = items.iter().filter_map(|item| item.label).max().unwrap_or(0);
    let classes: Vec<String> = match names {
        Some(names) => names.lines().map(|line| line.trim().to_owned()).collect(),
        None => (0..=highest).map(|class| class.to_string()).collect(),
    };
    let classes: Vec<String> = classes.into_iter().filter(|name| !name.is_empty()).collect();
    if highest >= classes.len() {
        return Err(DataError::format(
            path,
            format!("label {highest}, but names for {} classes only", classes.len()),
        ));
    }
    Ok(Some(Dataset { classes, items, skipped: Vec::new() }))
}

fn read(
    path: &Path,
    label_bytes: usize,
    split: Split,
    items: &mut Vec<Item>,
) -> Result<(), DataError> {
    let size = path.metadata().map_err(DataError::read(path))?.len();
    let record = label_bytes + 3 * PLANE;
    if size > MAX_BYTES || size == 0 || size % record as u64 != 0 {
        return Err(DataError::format(
            path,
            format!("{size} bytes are no whole number of CIFAR records of {record}"),
        ));
    }
    let bytes = fs::read(path).map_err(DataError::read(path))?;
    let mut labels = Vec::new();
    let mut samples = Vec::with_capacity(bytes.len());
    for record in bytes.chunks_exact(record) {
        let (label, planes) = record.split_at(label_bytes);
        labels.extend(label.last().copied());
        for pixel in 0..PLANE {
            samples.extend([planes[pixel], planes[PLANE + pixel], planes[2 * PLANE + pixel]]);
        }
    }
    let records = Arc::new(Records {
        origin: path.display().to_string(),
        width: SIDE,
        height: SIDE,
        channels: Channels::Rgb,
        samples,
    });
    items.extend(labels.into_iter().enumerate().map(|(index, label)| Item {
        source: Source::Record { records: Arc::clone(&records), index },
        label: Some(usize::from(label)),
        split: Some(split),
        group: None,
    }));
    Ok(())
}
