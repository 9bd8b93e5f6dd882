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
    found_or_skipped(test, program_at("BUNJAE_PYTHON", std::env::var_os("BUNJAE_PYTHON")))
}

/// A Chromium that shows pages without a screen: `BUNJAE_BROWSER`.
///
/// `None` where that is not set; the line `skipped: <test>: ...` has then been written to stderr.
///
/// # Panics
/// Where it is not set and `CI` is `true`.
pub fn browser(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, program_at("BUNJAE_BROWSER", std::env::var_os("BUNJAE_BROWSER")))
}

fn data_at(variable: Option<OsString>) -> Result<PathBuf, String> {
    let path = variable.map_or_else(|| PathBuf::from(DATA), PathBuf::from);
    // An absolute path replaces the root.
    let folder = Path::new(ROOT).join(&path);
    let missing = || format!("no data folder at {}", path.display());
    if folder.is_dir() { Ok(folder) } else { Err(missing()) }
}

fn program_at(name: &str, variable: Option<OsString>) -> Result<PathBuf, String> {
    let path = PathBuf::from(variable.ok_or_else(|| format!("{name} is not set"))?);
    // A bare name is looked up in PATH when it is run.
    if path.components().count() > 1 && !path.is_file() {
        return Err(format!("{name}: there is no {}", path.display()));
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
    fn a_missing_program_is_named() {
        let found = |path: Option<&str>| program_at("BUNJAE_X", path.map(OsString::from));
        assert_eq!(found(None), Err("BUNJAE_X is not set".into()));
        assert_eq!(found(Some("python3")), Ok("python3".into()));
        assert_eq!(found(Some("no/python")), Err("BUNJAE_X: there is no no/python".into()));
    }
}
