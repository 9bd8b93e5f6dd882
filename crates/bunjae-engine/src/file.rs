//! Files: mapped into memory to be read, and written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bunjae_tensor::SharedBytes;

/// The contents of a regular file, mapped into memory; `None` for what is none.
///
/// Whoever changes the file in place changes what is mapped, and whoever shortens it makes reading
/// fail; [`replace`] does neither.
pub(crate) fn map(path: &Path) -> io::Result<Option<SharedBytes>> {
    // Asked before opening, because opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    // SAFETY: the mapping is only read. That nobody writes to the file meanwhile cannot be had from
    // the system; it is asked of the user where this is offered (`Network::open`).
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Some(Arc::new(map)))
}

/// Writes a file under a temporary name beside its place, and renames it when its contents have
/// reached the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link: the file it leads to is replaced.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    if target.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // Hidden, and with the permissions that every new file gets rather than those of a secret one.
    builder.prefix(".").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Ok(old) = fs::metadata(&target) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_mapping_keeps_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        let old = map(&path).unwrap().unwrap();
        replace(&path, b"newer").unwrap();
        let new = map(&path).unwrap().unwrap();
        assert_eq!(((*old).as_ref(), (*new).as_ref()), (&b"old"[..], &b"newer"[..]));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let plain = folder.path().join("plain");
            fs::write(&plain, b"x").unwrap();
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&path), mode(&plain));
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(map(folder.path()).unwrap().is_none());
        assert_eq!(map(&folder.path().join("x")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(replace(folder.path(), b"x").is_err());
        assert!(replace(&folder.path().join("missing/x"), b"x").is_err());
        let empty = folder.path().join("empty");
        replace(&empty, b"").unwrap();
        assert_eq!(map(&empty).unwrap().map(|bytes| (*bytes).as_ref().len()), Some(0));
    }
}
