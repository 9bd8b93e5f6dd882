//! What a test finds outside of the repository: real data, and a Python with the outside judges.
//!
//! A clean clone passes its tests without either. A test that misses something says so in one line
//! and passes; where `CI` is `true` nothing may be missing, and it fails.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Where the data folder lies, seen from the root of the workspace, unless `BUNJAE_DATA` says so.
const DATA: &str = "../shared/data";

/// The folder with real data, which must not be written to: `BUNJAE_DATA`, or `../shared/data` beside
/// the checkout. Relative paths start at the root of the workspace.
///
/// `None` where it is missing; the line `skipped: <test>: ...` has then been written to stderr.
///
/// # Panics
/// Where it is missing and `CI` is `true`.
pub fn data_dir(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, data_at(std::env::var_os("BUNJAE_DATA")))
}

/// The Python that can import what the outside judges need: `BUNJAE_PYTHON`.
///
/// `None` where that is not set; the line `skipped: <test>: ...` has then been written to stderr.
///
/// # Panics
/// Where it is not set and `CI` is `true`.
pub fn python(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, python_at(std::env::var_os("BUNJAE_PYTHON")))
}

fn data_at(variable: Option<OsString>) -> Result<PathBuf, String> {
    let path = variable.map_or_else(|| PathBuf::from(DATA), PathBuf::from);
    // An absolute path replaces the root.
    let folder = Path::new(ROOT).join(&path);
    let missing = || format!("no data folder at {}", path.display());
    if folder.is_dir() { Ok(folder) } else { Err(missing()) }
}

fn python_at(variable: Option<OsString>) -> Result<PathBuf, String> {
    let path = PathBuf::from(variable.ok_or("BUNJAE_PYTHON is not set")?);
    // A bare name is looked up in PATH when it is run.
    if path.components().count() > 1 && !path.is_file() {
        return Err(format!("no Python at {}", path.display()));
    }
    Ok(path)
}

fn found_or_skipped(test: &str, found: Result<PathBuf, String>) -> Option<PathBuf> {
    let must = std::env::var_os("CI").is_some_and(|value| value == "true");
    match found {
        Ok(path) => Some(path),
        Err(reason) if must => panic!("skipped: {test}: {reason}"),
        Err(reason) => {
            // The test runner swallows what the print macros say in a test that passes. Where stderr
            // is closed, nobody is there to read it.
            let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_named_as_it_was_given() {
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(data_at(Some(here.into())), Ok(PathBuf::from(here)));
        assert!(data_at(Some("crates".into())).is_ok_and(|path| path.is_dir()));
        assert_eq!(
            data_at(Some("no/such/folder".into())),
            Err("no data folder at no/such/folder".into())
        );
        // A file is no folder.
        assert!(data_at(Some("Cargo.toml".into())).is_err());
        if let Err(reason) = data_at(None) {
            assert_eq!(reason, "no data folder at ../shared/data");
        }
    }

    #[test]
    fn a_missing_python_is_named() {
        assert_eq!(python_at(None), Err("BUNJAE_PYTHON is not set".into()));
        assert_eq!(python_at(Some("python3".into())), Ok("python3".into()));
        assert_eq!(python_at(Some("no/python".into())), Err("no Python at no/python".into()));
    }
}
