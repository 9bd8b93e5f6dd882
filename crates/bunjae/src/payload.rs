//! A model at the end of an executable: what `bunjae compile --emit exe` appends and what this
//! program finds in itself.
//!
//! After the program come zeros up to a multiple of 64 bytes, the compiled model, and the trailer:
//! magic (8 bytes), the place of the model and its length (8 bytes each, little-endian), a checksum
//! of these three (4 bytes, CRC-32), 4 zeros. The model has a checksum of its own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::failure::{Failure, Fallible};

/// The first bytes of a trailer.
const MAGIC: &[u8; 8] = b"BNJAEXE\x01";

/// Bytes of the trailer.
const TRAILER: usize = 32;

/// Models begin at a multiple of this, so that they can be used where they are mapped into memory.
const ALIGN: usize = 64;

/// Where the model in an executable stands; `None` for a program without one.
///
/// # Errors
/// A trailer that is there, but damaged.
pub(crate) fn find(executable: &Path) -> Fallible<Option<Range<u64>>> {
    let read = || -> std::io::Result<Option<(u64, [u8; TRAILER])>> {
        let mut file = File::open(executable)?;
        let length = file.metadata()?.len();
        let Some(at) = length.checked_sub(TRAILER as u64) else { return Ok(None) };
        file.seek(SeekFrom::Start(at))?;
        let mut trailer = [0; TRAILER];
        file.read_exact(&mut trailer)?;
        Ok(Some((at, trailer)))
    };
    // A program that cannot be read, though it runs, has no model that could be used.
    let Ok(Some((end, trailer))) = read() else { return Ok(None) };
    if !trailer.starts_with(MAGIC) {
        return Ok(None);
    }
    let damaged = || {
        Failure::new(format!("the model in {} is damaged", executable.display()))
            .hint("copy the executable again, or make it anew with `bunjae compile --emit exe`")
    };
    let number = |at: usize| {
        trailer.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&n| u64::from_le_bytes(n))
    };
    let (start, length) = (number(8), number(16));
    let fits = start.checked_add(length) == Some(end) && trailer[24..28] == checksum(&trailer);
    if fits { Ok(Some(start..end)) } else { Err(damaged()) }
}

/// The program with a model at its end; a model that it has already is replaced.
pub(crate) fn attach(mut program: Vec<u8>, own: Option<Range<u64>>, model: &[u8]) -> Vec<u8> {
    if let Some(own) = own.and_then(|own| usize::try_from(own.start).ok()) {
        program.truncate(own);
    }
    program.resize(program.len().next_multiple_of(ALIGN), 0);
    let start = program.len() as u64;
    program.extend_from_slice(model);
    let mut trailer = [0; TRAILER];
    trailer[..8].copy_from_slice(MAGIC);
    trailer[8..16].copy_from_slice(&start.to_le_bytes());
    trailer[16..24].copy_from_slice(&(model.len() as u64).to_le_bytes());
    let sum = checksum(&trailer);
    trailer[24..28].copy_from_slice(&sum);
    program.extend_from_slice(&trailer);
    program
}

/// Of the fields before it.
fn checksum(trailer: &[u8; TRAILER]) -> [u8; 4] {
    crc32fast::hash(&trailer[..24]).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_where_it_was_put() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exe");
        let find = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            super::find(&path).map_err(|failure| failure.what)
        };
        assert_eq!(find(b"short"), Ok(None));
        assert_eq!(find(&[7; 500]), Ok(None));
        assert_eq!(super::find(&folder.path().join("nowhere")).unwrap(), None);
        let whole = attach(vec![7; 500], None, b"model");
        assert_eq!(find(&whole), Ok(Some(512..517)));
        assert_eq!(&whole[512..517], b"model");
        // Another model takes the place of the first.
        let other = attach(whole.clone(), Some(512..517), b"another");
        assert_eq!((find(&other), &other[512..519]), (Ok(Some(512..519)), &b"another"[..]));
        for at in whole.len() - TRAILER + 8..whole.len() - 4 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(find(&damaged).unwrap_err().contains("is damaged"), "{at}");
        }
        let cut = [&whole[..100], &whole[whole.len() - TRAILER..]].concat();
        assert!(find(&cut).unwrap_err().contains("is damaged"));
    }
}
