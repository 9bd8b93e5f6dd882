//! Tensors whose bytes lie in other files, confined to the model's own folder.
//!
//! A model names such a file by a path relative to itself. A model from elsewhere must not be able
//! to read anything but its own data, so [`ExternalData`] accepts plain relative paths alone,
//! resolves symbolic links, and refuses whatever then lies outside the folder or is not a regular
//! file. Each file is opened once, each range read once and shared by the tensors that name it,
//! and nothing is allocated before the file is known to have the bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use prost::bytes::Bytes;
use thiserror::Error;

use crate::file::read_up_to;
use crate::proto::StringStringEntryProto;
use crate::quote;

/// Tensors may share bytes of a file (tied weights), but together they may draw at most this many
/// times its size, so that a small file cannot stand for any amount of memory.
const MAX_REUSE: u64 = 16;

/// Where an external tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalRef {
    /// Path relative to the model's folder, with forward slashes.
    pub location: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes, where stated.
    pub length: Option<u64>,
}

/// Why external data cannot be used.
#[derive(Debug, Error)]
pub enum ExternalError {
    /// The model was not read from a file, so there is no folder to look in.
    #[error("its data lie in another file, but the model itself was not read from one")]
    NoFolder,
    /// A key is missing, repeated or not a number.
    #[error("external data entry `{key}` {problem}")]
    Entry {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A path that could lead out of the model's folder.
    #[error("external data file {} {problem}", quote(location))]
    Path {
        /// The path as the model states it.
        location: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The operating system refused.
    #[error("external data file {}: {source}", quote(location))]
    Io {
        /// The path as the model states it.
        location: String,
        /// Its reason.
        source: io::Error,
    },
    /// The stated length is not the one the shape asks for.
    #[error("its shape asks for {expected} bytes, but its external data have {found}")]
    Length {
        /// Bytes the shape asks for.
        expected: u64,
        /// Bytes the model states.
        found: u64,
    },
    /// The range passes the end of the file.
    #[error(
        "bytes {offset} to {offset} + {length} of external data file {} are asked for, \
         but it has {available} bytes",
        quote(location)
    )]
    Truncated {
        /// The path as the model states it.
        location: String,
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        length: u64,
        /// Size of the file.
        available: u64,
    },
    /// All tensors together ask for more than the limit, or for the same bytes too often.
    #[error("the tensors ask for more than {limit} bytes of external data ({reason})")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
        /// Where the limit comes from.
        reason: &'static str,
    },
}

impl ExternalRef {
    /// Reads the entries of a tensor's `external_data`. Keys other than `location`, `offset` and
    /// `length` (such as `checksum`) are ignored.
    ///
    /// # Errors
    /// [`ExternalError::Entry`] for a missing, repeated or malformed entry.
    pub fn parse(entries: &[StringStringEntryProto]) -> Result<Self, ExternalError> {
        let value = |key: &'static str| {
            let mut values = entries.iter().filter(|e| e.key == key).map(|e| e.value.as_str());
            let first = values.next();
            match values.next() {
                None => Ok(first),
                Some(_) => Err(ExternalError::Entry { key, problem: "occurs twice" }),
            }
        };
        let number = |key: &'static str| {
            let Some(text) = value(key)? else { return Ok(None) };
            // `parse` alone would accept a leading plus sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = text.parse::<u64>().ok().filter(|_| digits);
            parsed.map(Some).ok_or(ExternalError::Entry { key, problem: "is not a number" })
        };
        let location = value("location")?
            .ok_or(ExternalError::Entry { key: "location", problem: "is missing" })?;
        Ok(ExternalRef {
            location: location.to_owned(),
            offset: number("offset")?.unwrap_or(0),
            length: number("length")?,
        })
    }
}

/// Reads the external data of one model.
#[derive(Debug)]
pub struct ExternalData {
    folder: Option<PathBuf>,
    limit: u64,
    drawn: u64,
    /// Opened files by canonical path.
    files: BTreeMap<PathBuf, DataFile>,
}

#[derive(Debug)]
struct DataFile {
    file: File,
    size: u64,
    drawn: u64,
    /// What was read, by offset and length.
    ranges: BTreeMap<(u64, usize), Bytes>,
}

impl ExternalData {
    /// For a model that lies in `folder`, whose external tensors may take `limit` bytes in total.
    pub fn in_folder(folder: &Path, limit: u64) -> Self {
        // The parent of a bare file name is the empty path, which no system call understands.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        ExternalData { folder: Some(folder.to_owned()), ..Self::none(limit) }
    }

    /// For a model that has no folder: every external tensor is an error.
    pub fn none(limit: u64) -> Self {
        ExternalData { folder: None, limit, drawn: 0, files: BTreeMap::new() }
    }

    /// The `expected` bytes that `reference` points to.
    ///
    /// # Errors
    /// [`ExternalError`] when the path leaves the folder or is no regular file, when the range is
    /// not in the file or has another length, and when a limit is passed.
    pub fn read(
        &mut self,
        reference: &ExternalRef,
        expected: usize,
    ) -> Result<Bytes, ExternalError> {
        let ExternalRef { location, offset, length } = reference;
        let length = length.unwrap_or(expected as u64);
        if length != expected as u64 {
            return Err(ExternalError::Length { expected: expected as u64, found: length });
        }
        let limit = self.limit;
        self.drawn = self.drawn.saturating_add(length);
        if self.drawn > limit {
            return Err(ExternalError::TooLarge { limit, reason: "the limit for one model" });
        }
        let data_file = self.open(location)?;
        let available = data_file.size;
        if offset.checked_add(length).is_none_or(|end| end > available) {
            let (location, offset) = (location.clone(), *offset);
            return Err(ExternalError::Truncated { location, offset, length, available });
        }
        data_file.drawn = data_file.drawn.saturating_add(length);
        let limit = available.saturating_mul(MAX_REUSE);
        if data_file.drawn > limit {
            let reason = "the same bytes are used too often";
            return Err(ExternalError::TooLarge { limit, reason });
        }
        if let Some(bytes) = data_file.ranges.get(&(*offset, expected)) {
            return Ok(bytes.clone());
        }
        let buffer = data_file
            .file
            .seek(SeekFrom::Start(*offset))
            .and_then(|_| read_up_to(&data_file.file, length, length))
            .map_err(|source| ExternalError::Io { location: location.clone(), source })?;
        if buffer.len() != expected {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(ExternalError::Io { location: location.clone(), source });
        }
        let bytes = Bytes::from(buffer);
        data_file.ranges.insert((*offset, expected), bytes.clone());
        Ok(bytes)
    }

    /// Opens the file at `location`, or finds it among those already open.
    fn open(&mut self, location: &str) -> Result<&mut DataFile, ExternalError> {
        check_location(location)?;
        let refuse = |problem| ExternalError::Path { location: location.to_owned(), problem };
        let io = |source| ExternalError::Io { location: location.to_owned(), source };
        let folder = self.folder.as_ref().ok_or(ExternalError::NoFolder)?;
        let folder = fs::canonicalize(folder).map_err(io)?;
        let path = fs::canonicalize(folder.join(location)).map_err(io)?;
        if !path.starts_with(&folder) {
            return Err(refuse("is a link that leads out of the model's folder"));
        }
        match self.files.entry(path) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(vacant) => {
                // Asked before opening too, because opening a pipe would wait for a writer.
                if !fs::metadata(vacant.key()).map_err(io)?.is_file() {
                    return Err(refuse("is not a regular file"));
                }
                let file = File::open(vacant.key()).map_err(io)?;
                let metadata = file.metadata().map_err(io)?;
                if !metadata.is_file() {
                    return Err(refuse("is not a regular file"));
                }
                let size = metadata.len();
                Ok(vacant.insert(DataFile { file, size, drawn: 0, ranges: BTreeMap::new() }))
            }
        }
    }
}

/// Accepts plain relative paths with forward slashes, on every system alike.
///
/// # Errors
/// [`ExternalError::Path`].
pub fn check_location(location: &str) -> Result<(), ExternalError> {
    let drive = matches!(location.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    let problem = if location.is_empty() {
        "is an empty path"
    } else if location.contains('\0') {
        "contains a null character"
    } else if location.contains('\\') {
        "contains a backslash"
    } else if location.starts_with('/') {
        "is an absolute path"
    } else if drive || (cfg!(windows) && location.contains(':')) {
        "names a drive or stream"
    } else if location.split('/').any(|part| part == "..") {
        "leads out of the model's folder"
    } else {
        return Ok(());
    };
    Err(ExternalError::Path { location: location.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(location: &str, offset: u64) -> ExternalRef {
        ExternalRef { location: location.to_owned(), offset, length: None }
    }

    fn model_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("model/sub")).unwrap();
        fs::write(folder.path().join("secret"), b"secret").unwrap();
        fs::write(folder.path().join("model/weights"), b"0123456789").unwrap();
        fs::write(folder.path().join("model/sub/weights"), b"abcdefghij").unwrap();
        folder
    }

    fn error(data: &mut ExternalData, reference: &ExternalRef, expected: usize) -> String {
        data.read(reference, expected).unwrap_err().to_string()
    }

    #[test]
    fn ranges_are_read_once_and_shared() {
        let folder = model_folder();
        let mut data = ExternalData::in_folder(&folder.path().join("model"), 1000);
        let first = data.read(&at("weights", 2), 3).unwrap();
        assert_eq!(first, "234");
        assert_eq!(data.read(&at("sub/weights", 0), 10).unwrap(), "abcdefghij");
        assert_eq!(data.read(&at("weights", 10), 0).unwrap(), "");
        // Another spelling of the same file.
        let again = data.read(&at("./weights", 2), 3).unwrap();
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_eq!(data.files.len(), 2);
    }

    #[test]
    fn paths_that_could_leave_the_folder_are_refused() {
        let folder = model_folder();
        let model = folder.path().join("model");
        let mut data = ExternalData::in_folder(&model, 1000);
        let absolute = model.join("weights").to_str().unwrap().to_owned();
        for location in [
            "",
            "..",
            "../secret",
            "sub/../../secret",
            "sub/../weights",
            "/etc/passwd",
            &absolute,
            "//server/share",
            "C:/weights",
            "c:weights",
            "..\\secret",
            "sub\\weights",
            "\\\\server\\share",
            "weights\0",
            "weights\0/../../secret",
        ] {
            let error = data.read(&at(location, 0), 1).unwrap_err();
            assert!(matches!(error, ExternalError::Path { .. }), "{location:?}: {error}");
        }
        assert!(data.files.is_empty());
        for location in ["missing", "...", "weights/x", "%2e%2e/secret", "~/secret"] {
            let error = data.read(&at(location, 0), 1).unwrap_err();
            assert!(matches!(error, ExternalError::Io { .. }), "{location:?}: {error}");
        }
        assert_eq!(
            error(&mut data, &at("sub", 0), 0),
            "external data file `sub` is not a regular file"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_may_not_leave_the_folder_either() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        let folder = model_folder();
        let model = folder.path().join("model");
        symlink("../secret", model.join("up")).unwrap();
        symlink("/dev/zero", model.join("zero")).unwrap();
        symlink("..", model.join("parent")).unwrap();
        symlink("sub/weights", model.join("inside")).unwrap();
        let _socket = UnixListener::bind(model.join("socket")).unwrap();
        // A link to the folder itself is how many people keep their models.
        symlink("model", folder.path().join("alias")).unwrap();
        let mut data = ExternalData::in_folder(&folder.path().join("alias"), 1000);
        for location in ["up", "zero", "parent/secret", "parent"] {
            assert_eq!(
                error(&mut data, &at(location, 0), 1),
                format!(
                    "external data file `{location}` is a link that leads out of the model's folder"
                )
            );
        }
        assert_eq!(
            error(&mut data, &at("socket", 0), 1),
            "external data file `socket` is not a regular file"
        );
        assert_eq!(data.read(&at("inside", 1), 2).unwrap(), "bc");
        assert_eq!(data.read(&at("parent/model/weights", 1), 2).unwrap(), "12");
    }

    #[test]
    fn ranges_outside_the_file_are_refused_before_reading() {
        let folder = model_folder();
        let mut data = ExternalData::in_folder(&folder.path().join("model"), u64::MAX);
        assert_eq!(
            error(&mut data, &at("weights", 8), 3),
            "bytes 8 to 8 + 3 of external data file `weights` are asked for, but it has 10 bytes"
        );
        for (offset, length) in [(11, 0), (u64::MAX, 1), (0, usize::MAX >> 1), (u64::MAX, 0)] {
            let error = data.read(&at("weights", offset), length).unwrap_err();
            assert!(matches!(error, ExternalError::Truncated { .. }), "{error}");
        }
        let stated = ExternalRef { length: Some(4), ..at("weights", 0) };
        assert_eq!(
            error(&mut data, &stated, 3),
            "its shape asks for 3 bytes, but its external data have 4"
        );
    }

    #[test]
    fn tensors_cannot_multiply_the_bytes_of_a_file() {
        let folder = model_folder();
        let model = folder.path().join("model");
        let mut data = ExternalData::in_folder(&model, u64::MAX);
        for _ in 0..MAX_REUSE {
            assert!(data.read(&at("weights", 0), 10).is_ok());
        }
        assert_eq!(
            error(&mut data, &at("weights", 0), 10),
            "the tensors ask for more than 160 bytes of external data \
             (the same bytes are used too often)"
        );
        let mut data = ExternalData::in_folder(&model, 15);
        assert!(data.read(&at("weights", 0), 10).is_ok());
        assert_eq!(
            error(&mut data, &at("sub/weights", 0), 10),
            "the tensors ask for more than 15 bytes of external data (the limit for one model)"
        );
    }

    #[test]
    fn entries_are_parsed_strictly() {
        let parse = |entries: &[(&str, &str)]| {
            let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
                key: key.to_owned(),
                value: value.to_owned(),
            };
            ExternalRef::parse(&entries.iter().map(entry).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        let whole = [("location", "w"), ("offset", "4096"), ("length", "8"), ("checksum", "x")];
        let expected = ExternalRef { location: "w".into(), offset: 4096, length: Some(8) };
        assert_eq!(parse(&whole), Ok(expected));
        assert_eq!(parse(&[("location", "w")]), Ok(at("w", 0)));
        assert_eq!(parse(&[]), Err("external data entry `location` is missing".into()));
        assert_eq!(
            parse(&[("location", "w"), ("location", "v")]),
            Err("external data entry `location` occurs twice".into())
        );
        for offset in ["", "-1", "+1", " 1", "1.0", "0x10", "18446744073709551616"] {
            assert_eq!(
                parse(&[("location", "w"), ("offset", offset)]),
                Err("external data entry `offset` is not a number".into()),
                "{offset:?}"
            );
        }
    }
}
