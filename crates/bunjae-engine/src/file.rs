//! Files mapped into memory.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bunjae_tensor::SharedBytes;

/// The contents of a regular file, mapped into memory; `None` for what is none.
///
/// Whoever changes the file in place changes what is mapped, and whoever shortens it makes reading
/// fail; [`bunjae_files::write`] does neither.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_keeps_the_file_that_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        bunjae_files::write(&path, b"old").unwrap();
        let old = map(&path).unwrap().unwrap();
        bunjae_files::write(&path, b"newer").unwrap();
        let new = map(&path).unwrap().unwrap();
        assert_eq!(((*old).as_ref(), (*new).as_ref()), (&b"old"[..], &b"newer"[..]));
    }

    #[test]
    fn what_is_no_regular_file_is_not_mapped() {
        let folder = tempfile::tempdir().unwrap();
        assert!(map(folder.path()).unwrap().is_none());
        assert_eq!(map(&folder.path().join("x")).err().unwrap().kind(), io::ErrorKind::NotFound);
        let empty = folder.path().join("empty");
        fs::write(&empty, b"").unwrap();
        assert_eq!(map(&empty).unwrap().map(|bytes| (*bytes).as_ref().len()), Some(0));
    }
}
