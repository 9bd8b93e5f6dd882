//! MNIST's IDX files: pictures in `*-images-idx3-ubyte`, labels in `*-labels-idx1-ubyte`, also
//! compressed as `.gz`. Names that begin with `t10k` or `test` are test, others train.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::folder;
use crate::dataset::{Dataset, Item, Records, Source, Split};
use crate::error::DataError;
use crate::picture::Channels;

/// The largest file, unpacked.
const MAX_BYTES: u64 = 4 << 30;

const IMAGES: &str = "-images-idx3-ubyte";
const LABELS: &str = "-labels-idx1-ubyte";

/// `None` where the folder holds no IDX files.
pub(super) fn open(path: &Path) -> Result<Option<Dataset>, DataError> {
    let files = folder::list(path)?;
    let mut items = Vec::new();
    let mut highest = None;
    for split in [Split::Train, Split::Test] {
        for file in &files {
            let Some(prefix) = prefix(file, IMAGES) else { continue };
            let is_test = prefix.starts_with("t10k") || prefix.starts_with("test");
            if is_test != (split == Split::Test) {
                continue;
            }
            let labels =
                files.iter().find(|other| prefix_is(other, LABELS, &prefix)).ok_or_else(|| {
                    DataError::nothing(file, format!("no {prefix}{LABELS} beside it"))
                })?;
            let records = Arc::new(images(file)?);
            let labels = self::labels(labels, records.len())?;
            highest = highest.max(labels.iter().copied().max());
            items.extend(labels.into_iter().enumerate().map(|(index, label)| Item {
                source: Source::Record { records: Arc::clone(&records), index },
                label: Some(usize::from(label)),
                split: Some(split),
                group: None,
            }));
        }
    }
    let Some(highest) = highest else { return Ok(None) };
    let classes = (0..=highest).map(|class| class.to_string()).collect();
    Ok(Some(Dataset { classes, items, skipped: Vec::new() }))
}

fn prefix(path: &Path, kind: &str) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    Some(name.strip_suffix(kind)?.to_owned())
}

fn prefix_is(path: &Path, kind: &str, expected: &str) -> bool {
    prefix(path, kind).is_some_and(|prefix| prefix == expected)
}

fn images(path: &PathBuf) -> Result<Records, DataError> {
    let bytes = unpacked(path)?;
    let [count, height, width] = header::<3>(path, &bytes, 0x0803)?;
    let size = count.checked_mul(height).and_then(|size| size.checked_mul(width));
    let samples = bytes.get(16..).unwrap_or_default();
    if size != Some(samples.len()) || samples.is_empty() {
        return Err(DataError::format(
            path,
            format!("{count} pictures of {width} x {height} announced, {} bytes", samples.len()),
        ));
    }
    Ok(Records {
        origin: path.display().to_string(),
        width,
        height,
        channels: Channels::Grey,
        samples: samples.to_vec(),
    })
}

fn labels(path: &PathBuf, expected: usize) -> Result<Vec<u8>, DataError> {
    let bytes = unpacked(path)?;
    let [count] = header::<1>(path, &bytes, 0x0801)?;
    let labels = bytes.get(8..).unwrap_or_default();
    if count != labels.len() || count != expected {
        return Err(DataError::format(
            path,
            format!("{count} labels announced, {} there, {expected} pictures", labels.len()),
        ));
    }
    Ok(labels.to_vec())
}

/// The sizes that follow the magic number, all big-endian.
fn header<const N: usize>(path: &Path, bytes: &[u8], magic: u32) -> Result<[usize; N], DataError> {
    let (words, _) = bytes.as_chunks::<4>();
    let mut words = words.iter().map(|&word| u32::from_be_bytes(word));
    let found = words.next();
    if found != Some(magic) {
        let found = found.unwrap_or(0);
        let what = format!("begins with {found:#010x} instead of {magic:#010x}");
        return Err(DataError::format(path, what));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        let word = words.next().ok_or_else(|| DataError::format(path, "ends in the header"))?;
        *size = word as usize;
    }
    Ok(sizes)
}

fn unpacked(path: &PathBuf) -> Result<Vec<u8>, DataError> {
    let file = fs::File::open(path).map_err(DataError::read(path))?;
    let mut bytes = Vec::new();
    let mut read = |reader: &mut dyn Read| reader.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let is_packed = path.extension().is_some_and(|ending| ending == "gz");
    let result = if is_packed { read(&mut MultiGzDecoder::new(file)) } else { read(&mut { file }) };
    result.map_err(DataError::read(path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(DataError::format(path, format!("more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}
