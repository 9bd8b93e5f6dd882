//! A folder of pictures per class, with or without a level for the split above.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Item, Skipped, Source, Split};
use crate::error::DataError;

/// The most files and folders that are looked at.
const MAX_ENTRIES: usize = 20_000_000;

/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 64;

/// The endings of picture files. The format itself is told by the file's first bytes.
const ENDINGS: [&str; 9] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif"];

pub(super) fn open(path: &Path) -> Result<Dataset, DataError> {
    let mut skipped = Vec::new();
    let top = list(path)?;
    let mut parts: BTreeMap<Split, PathBuf> = BTreeMap::new();
    for folder in top.iter().filter(|entry| entry.is_dir()) {
        if let Ok(split) = name(folder).parse() {
            parts.entry(split).or_insert_with(|| folder.clone());
        }
    }
    let classes_and_items = if parts.contains_key(&Split::Train) && parts.len() > 1 {
        let used: Vec<&PathBuf> = parts.values().collect();
        for entry in top.iter().filter(|entry| !used.contains(entry) && !is_hidden(entry)) {
            skip(&mut skipped, entry, "beside the folders of the splits");
        }
        open_splits(path, &parts, &mut skipped)?
    } else {
        open_classes(path, None, &mut skipped)?
    };
    let (classes, items) = classes_and_items;
    if items.is_empty() {
        return Err(DataError::nothing(path, "no folder with pictures in it"));
    }
    Ok(Dataset { classes, items, skipped })
}

type ClassesAndItems = (Vec<String>, Vec<Item>);

fn open_splits(
    path: &Path,
    parts: &BTreeMap<Split, PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<ClassesAndItems, DataError> {
    let mut classes: Vec<String> = Vec::new();
    let mut items = Vec::new();
    // The order of `Split`: train comes first and says which classes there are.
    for (&split, folder) in parts {
        let (names, found) = open_classes(folder, Some(split), skipped)?;
        if split == Split::Train {
            classes = names;
            items = found;
            continue;
        }
        for mut item in found {
            let class = item.label.and_then(|label| names.get(label));
            item.label = class.and_then(|class| classes.iter().position(|known| known == class));
            if let (Some(class), None) = (class, item.label) {
                let (split, class) = (split.to_string(), class.clone());
                return Err(DataError::StrangeClass { path: path.to_path_buf(), split, class });
            }
            items.push(item);
        }
    }
    Ok((classes, items))
}

fn open_classes(
    path: &Path,
    split: Option<Split>,
    skipped: &mut Vec<Skipped>,
) -> Result<ClassesAndItems, DataError> {
    let mut classes = Vec::new();
    let mut items = Vec::new();
    for folder in list(path)? {
        if is_hidden(&folder) {
            continue;
        }
        if !folder.is_dir() {
            skip(skipped, &folder, "not in the folder of a class");
            continue;
        }
        let files = pictures_below(&folder, skipped)?;
        if files.is_empty() {
            skip(skipped, &folder, "a folder without pictures, no class");
            continue;
        }
        let label = Some(classes.len());
        classes.push(name(&folder));
        items.extend(files.into_iter().map(|file| Item {
            source: Source::File(file),
            label,
            split,
            group: None,
        }));
    }
    Ok((classes, items))
}

/// The picture files in a folder and below, sorted; links are followed, but not in circles.
pub(super) fn pictures_below(
    path: &Path,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut seen = 0;
    let mut ancestors = Vec::new();
    walk(path, &mut ancestors, &mut files, skipped, &mut seen)?;
    if seen > MAX_ENTRIES {
        return Err(DataError::TooManyEntries { path: path.to_path_buf(), limit: MAX_ENTRIES });
    }
    Ok(files)
}

/// `ancestors` are the true paths of the folders above: a link back to one of them is a circle.
fn walk(
    folder: &Path,
    ancestors: &mut Vec<PathBuf>,
    files: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
    seen: &mut usize,
) -> Result<(), DataError> {
    let truly = folder.canonicalize().map_err(DataError::read(folder))?;
    if ancestors.contains(&truly) {
        skip(skipped, folder, "a link back to a folder above it");
        return Ok(());
    }
    if ancestors.len() >= MAX_DEPTH {
        skip(skipped, folder, "too deep");
        return Ok(());
    }
    ancestors.push(truly);
    for entry in list(folder)? {
        *seen += 1;
        if *seen > MAX_ENTRIES {
            break;
        }
        if is_hidden(&entry) {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&entry, ancestors, files, skipped, seen)?,
            Ok(metadata) if metadata.is_file() => {
                if has_picture_ending(&entry) {
                    files.push(entry);
                } else {
                    skip(skipped, &entry, "not the ending of a picture");
                }
            }
            Ok(_) => skip(skipped, &entry, "neither file nor folder"),
            Err(error) => skip(skipped, &entry, &error.to_string()),
        }
    }
    ancestors.pop();
    Ok(())
}

/// What is in a folder, sorted by name.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        entries.push(entry.map_err(DataError::read(folder))?.path());
        if entries.len() > MAX_ENTRIES {
            let path = folder.to_path_buf();
            return Err(DataError::TooManyEntries { path, limit: MAX_ENTRIES });
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn has_picture_ending(path: &Path) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// Hidden files, and what Windows and macOS leave in folders of pictures.
fn is_hidden(path: &Path) -> bool {
    let name = name(path);
    name.starts_with('.') || ["Thumbs.db", "desktop.ini", "__MACOSX"].contains(&name.as_str())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn skip(skipped: &mut Vec<Skipped>, path: &Path, why: &str) {
    skipped.push(Skipped { path: path.to_path_buf(), why: why.to_owned() });
}
