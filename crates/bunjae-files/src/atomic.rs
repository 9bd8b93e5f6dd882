//! Writing under a temporary name, and taking the place of the target.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::temporary::{create_beside, folder_of, temporary_name};

/// Why a file could not be written; the old file, if there was one, is untouched.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// The operating system's reason.
    pub source: io::Error,
}

impl WriteError {
    fn new(path: &Path, source: io::Error) -> Self {
        WriteError { path: path.to_owned(), source }
    }
}

/// Writes `bytes` to `path`, replacing an existing file atomically.
///
/// # Errors
/// [`WriteError`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| WriteError::new(path, source))?;
    file.commit()
}

/// A file being written. Dropped without [`commit`](Self::commit), it vanishes.
///
/// A new file gets the permissions the process gives to every new file; a replaced file passes its
/// own on. A symbolic link as the target stays a link, and the file it leads to is replaced. What
/// is no regular file (a terminal, a pipe, `/dev/null`) is written directly, since nothing can
/// take its place.
#[derive(Debug)]
pub struct AtomicFile {
    /// The path asked for, for errors.
    path: PathBuf,
    writer: BufWriter<File>,
    pending: Option<Pending>,
}

/// A temporary file and the name it is to take.
#[derive(Debug)]
struct Pending {
    temporary: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Begins to write the file at `path`.
    ///
    /// # Errors
    /// [`WriteError`] when the folder does not exist or cannot be written to, or when `path` is a
    /// folder or a read-only file.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        Self::create_inner(path).map_err(|source| WriteError::new(path, source))
    }

    fn create_inner(path: &Path) -> io::Result<Self> {
        let existing = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(metadata) = &existing {
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if !metadata.is_file() {
                let writer = BufWriter::new(OpenOptions::new().write(true).open(path)?);
                return Ok(AtomicFile { path: path.to_owned(), writer, pending: None });
            }
            // Renaming would overrule the owner's wish to keep the file as it is.
            if metadata.permissions().readonly() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only"));
            }
        }
        let target = if existing.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let (temporary, file) = create_beside(&target)?;
        let pending = Some(Pending { temporary, target });
        let atomic = AtomicFile { path: path.to_owned(), writer: BufWriter::new(file), pending };
        if let Some(metadata) = existing {
            atomic.writer.get_ref().set_permissions(metadata.permissions())?;
        }
        Ok(atomic)
    }

    /// Waits until the contents are on the disk, then lets them take the target's place.
    ///
    /// # Errors
    /// [`WriteError`]; the target is then as it was.
    pub fn commit(self) -> Result<(), WriteError> {
        commit_all(vec![self])
    }

    /// Writes out what is buffered and waits for the disk.
    fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        if self.pending.is_some() { self.writer.get_ref().sync_all() } else { Ok(()) }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            // An error leaves a stray temporary file, and there is nobody left to tell.
            let _ = fs::remove_file(pending.temporary);
        }
    }
}

/// Commits files that belong together: either all of them take their places or, when one cannot,
/// none does and the old files stand.
///
/// The last file should be the one that refers to the others, because a process killed between two
/// renames leaves the earlier files new and the later ones old.
///
/// # Errors
/// [`WriteError`] for the file that failed.
pub fn commit_all(mut files: Vec<AtomicFile>) -> Result<(), WriteError> {
    for file in &mut files {
        file.finish().map_err(|source| WriteError::new(&file.path, source))?;
    }
    let last = files.len().saturating_sub(1);
    let mut done: Vec<Replaced> = Vec::new();
    let mut outcome = Ok(());
    for (index, file) in files.iter_mut().enumerate() {
        let Some(pending) = &file.pending else { continue };
        // The last rename needs no way back: nothing can fail after it.
        match replace(pending, index < last) {
            Ok(replaced) => done.push(replaced),
            Err(source) => {
                outcome = Err(WriteError::new(&file.path, source));
                break;
            }
        }
        file.pending = None;
    }
    for replaced in done.into_iter().rev() {
        if outcome.is_err() {
            replaced.undo();
        } else {
            replaced.settle();
        }
    }
    outcome
}

/// A target that was replaced, and where its former contents are kept.
struct Replaced {
    target: PathBuf,
    backup: Option<PathBuf>,
}

impl Replaced {
    /// Puts the former contents back, as far as the system lets it.
    fn undo(self) {
        let _ = match self.backup {
            Some(backup) => fs::rename(backup, self.target),
            None => fs::remove_file(self.target),
        };
    }

    /// Forgets the former contents.
    fn settle(self) {
        if let Some(backup) = self.backup {
            let _ = fs::remove_file(backup);
        }
        sync_folder(&self.target);
    }
}

fn replace(pending: &Pending, keep_old: bool) -> io::Result<Replaced> {
    let Pending { temporary, target } = pending;
    let backup = if keep_old && target.exists() { Some(back_up(target)?) } else { None };
    match fs::rename(temporary, target) {
        Ok(()) => Ok(Replaced { target: target.clone(), backup }),
        Err(error) => {
            if let Some(backup) = backup {
                let _ = fs::rename(backup, target);
            }
            Err(error)
        }
    }
}

/// Gives the file a second name, so that the first can be replaced in one step; on file systems
/// without hard links, moves it.
fn back_up(target: &Path) -> io::Result<PathBuf> {
    let backup = temporary_name(target)?;
    fs::hard_link(target, &backup).or_else(|_| fs::rename(target, &backup))?;
    Ok(backup)
}

/// Makes a rename survive a power failure, where the system has a way to ask for that.
fn sync_folder(target: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder_of(target)).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_committed_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["report.json"]);
    }

    #[test]
    fn an_abandoned_file_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn folders_missing_folders_and_read_only_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), b"x").is_err());
        assert!(write(&folder.path().join("missing/x"), b"x").is_err());
        let path = folder.path().join("kept");
        write(&path, b"old").unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        let error = write(&path, b"new").unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["kept"]);
    }

    #[test]
    fn files_that_belong_together_change_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (data, fresh, model) =
            (folder.path().join("data"), folder.path().join("fresh"), folder.path().join("model"));
        write(&data, b"old data").unwrap();
        let begin = |path: &Path, bytes: &[u8]| {
            let mut file = AtomicFile::create(path).unwrap();
            file.write_all(bytes).unwrap();
            file
        };
        let files =
            || vec![begin(&data, b"new data"), begin(&fresh, b"x"), begin(&model, b"model")];

        let doomed = files();
        // A folder that appears meanwhile makes the last rename fail.
        fs::create_dir(&model).unwrap();
        let error = commit_all(doomed).unwrap_err();
        assert_eq!(error.path, model);
        assert_eq!(fs::read(&data).unwrap(), b"old data");
        assert_eq!(names(folder.path()), ["data", "model"]);

        fs::remove_dir(&model).unwrap();
        commit_all(files()).unwrap();
        assert_eq!(fs::read(&data).unwrap(), b"new data");
        assert_eq!(fs::read(&model).unwrap(), b"model");
        assert_eq!(names(folder.path()), ["data", "fresh", "model"]);
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{PermissionsExt, symlink};

        use super::*;

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        }

        #[test]
        fn permissions_are_those_of_any_new_file_or_of_the_file_replaced() {
            let folder = tempfile::tempdir().unwrap();
            let plain = folder.path().join("plain");
            fs::write(&plain, b"x").unwrap();
            let path = folder.path().join("ours");
            write(&path, b"x").unwrap();
            assert_eq!(mode(&path), mode(&plain));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            write(&path, b"y").unwrap();
            assert_eq!(mode(&path), 0o640);
        }

        #[test]
        fn a_link_stays_a_link() {
            let folder = tempfile::tempdir().unwrap();
            let (real, link) = (folder.path().join("real"), folder.path().join("link"));
            write(&real, b"old").unwrap();
            symlink(&real, &link).unwrap();
            write(&link, b"new").unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read(&real).unwrap(), b"new");
        }

        #[test]
        fn a_device_is_written_and_not_replaced() {
            write(Path::new("/dev/null"), b"x").unwrap();
            assert!(!fs::metadata("/dev/null").unwrap().is_file());
        }
    }
}
