//! The names under which files are written before they take their places.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

const ENDING: &str = ".tmp";

/// Creates a file with a fresh hidden name in the folder of `target`.
pub(crate) fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let path = temporary_name(target)?;
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            // Left behind by a process of the same number that was killed; the next name is free.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// A name such as `.model.onnx.1234-0.tmp`, unique among the running processes of this machine.
pub(crate) fn temporary_name(target: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let file_name = target
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut name = OsString::from(".");
    name.push(file_name);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{number}{ENDING}", process::id()));
    Ok(folder_of(target).join(name))
}

/// Whether [`temporary_name`] makes such names.
fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let numbers = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(ENDING)?.rsplit_once('.')?.1.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Removes what killed processes have left half-written in a folder.
///
/// For folders in which one process writes at a time: what another is writing looks the same.
///
/// # Errors
/// The operating system's, where the folder cannot be read or a file in it not be removed.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_temporary(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder in which a file lies: `.` for a name alone.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (left, _) = create_beside(&path("last.safetensors")).unwrap();
        let kept = [
            ".hidden",
            ".last.safetensors.1-.tmp",
            ".last.safetensors.1-2x.tmp",
            ".tmp",
            "last.safetensors",
            "last.safetensors.1-2.tmp",
        ];
        for name in kept {
            fs::write(path(name), "somebody's").unwrap();
        }
        assert!(left.exists());
        remove_unfinished(folder.path()).unwrap();
        let names = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, kept);
        let error = remove_unfinished(&path("no")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
