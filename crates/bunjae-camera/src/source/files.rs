//! Single pictures, and folders of them in the order of their names.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunjae_data::decode::{DecodeError, Format, Limits, decode};
use bunjae_data::{Channels, Picture};

use super::{Read, Source, SourceError};

/// Picture files, one after the other.
pub(crate) struct Pictures {
    name: String,
    paths: std::vec::IntoIter<PathBuf>,
    limits: Limits,
    lasts: Duration,
    bytes: Vec<u8>,
}

impl Pictures {
    /// One picture.
    pub(crate) fn one(path: &Path, limits: Limits, lasts: Duration) -> Pictures {
        let (name, paths) = (format!("picture {}", path.display()), vec![path.to_owned()]);
        Pictures { name, paths: paths.into_iter(), limits, lasts, bytes: Vec::new() }
    }

    /// The pictures of a folder, without those in folders within.
    pub(crate) fn folder(
        path: &Path,
        limits: Limits,
        lasts: Duration,
    ) -> Result<Pictures, SourceError> {
        let failed = |why: String, hint| SourceError::failed(path.display(), why, hint);
        let entries = fs::read_dir(path).map_err(|error| failed(error.to_string(), ""))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(error.to_string(), ""))?.path();
            if path.is_file() && is_picture(&path) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            let what = "there are no pictures in the folder".to_owned();
            return Err(failed(what, "JPEG, PNG, WebP, BMP and GIF files count"));
        }
        paths.sort_by(|a, b| by_number(&file_name(a), &file_name(b)));
        let name = format!("{} pictures in {}", paths.len(), path.display());
        Ok(Pictures { name, paths: paths.into_iter(), limits, lasts, bytes: Vec::new() })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a file begins as pictures do.
fn is_picture(path: &Path) -> bool {
    let mut start = [0; 12];
    File::open(path)
        .and_then(|mut file| file.read(&mut start))
        .is_ok_and(|count| Format::of(&start[..count]).is_some())
}

/// Orders names so that `frame9` comes before `frame10`.
fn by_number(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        match (digits(left), digits(right)) {
            (0, 0) => {
                let [first, second] = [left, right].map(|text| text.chars().next());
                let (Some(x), Some(y)) = (first, second) else {
                    return left.len().cmp(&right.len()).then(a.cmp(b));
                };
                if x != y {
                    return x.cmp(&y);
                }
                (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
            }
            (of_left, of_right) => {
                let (x, y) = (&left[..of_left], &right[..of_right]);
                let number = |text: &str| text.trim_start_matches('0').to_owned();
                let order = match (x.is_empty(), y.is_empty()) {
                    (false, false) => {
                        let (x, y) = (number(x), number(y));
                        x.len().cmp(&y.len()).then(x.cmp(&y))
                    }
                    _ => left.cmp(right),
                };
                if order != Ordering::Equal {
                    return order;
                }
                (left, right) = (&left[of_left..], &right[of_right..]);
            }
        }
    }
}

/// Reads a file into a buffer that is used again.
fn load(path: &Path, limits: Limits, bytes: &mut Vec<u8>) -> Result<(), DecodeError> {
    bytes.clear();
    let read = |error: std::io::Error| DecodeError::Read(error.to_string());
    let file = File::open(path).map_err(read)?;
    let limit = limits.file_bytes;
    file.take(limit.saturating_add(1)).read_to_end(bytes).map_err(read)?;
    let size = bytes.len() as u64;
    if size > limit { Err(DecodeError::LargeFile { bytes: size, limit }) } else { Ok(()) }
}

impl Source for Pictures {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        let Some(path) = self.paths.next() else { return Ok(Read::End) };
        let decoded = load(&path, self.limits, &mut self.bytes)
            .and_then(|()| decode(&self.bytes, Channels::Rgb, self.limits));
        let broken = |error| SourceError::Corrupt(format!("{}: {error}", path.display()));
        *picture = decoded.map_err(broken)?;
        Ok(Read::Paced { lasts: self.lasts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_ordered_as_numbers() {
        let mut names = ["f10.png", "f9.png", "f010a", "e", "f9", "f", "가2", "가10", "10", "9"];
        names.sort_by(|a, b| by_number(a, b));
        assert_eq!(names, ["9", "10", "e", "f", "f9", "f9.png", "f10.png", "f010a", "가2", "가10"]);
    }

    #[test]
    fn a_folder_is_read_in_order_and_what_is_broken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, shade) in [("2.png", 2), ("10.png", 10)] {
            let file = File::create(folder.path().join(name)).unwrap();
            let picture = Picture::filled(4, 3, Channels::Rgb, [shade; 3]);
            bunjae_data::encode::png(&picture, file).unwrap();
        }
        fs::write(folder.path().join("3.jpg"), [0xff, 0xd8, 0xff, 0xe0, 0]).unwrap();
        fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        let second = Duration::from_secs(1);
        let mut source = Pictures::folder(folder.path(), Limits::default(), second).unwrap();
        assert!(source.describe().starts_with("3 pictures"), "{}", source.describe());
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        assert_eq!(source.read(&mut picture), Ok(Read::Paced { lasts: second }));
        assert_eq!(picture.samples()[0], 2);
        let error = source.read(&mut picture).unwrap_err();
        assert_eq!(error.fault(), super::super::Fault::Frame);
        assert!(error.to_string().contains("3.jpg"), "{error}");
        source.read(&mut picture).unwrap();
        assert_eq!(picture.samples()[0], 10);
        assert_eq!(source.read(&mut picture), Ok(Read::End));
    }
}
