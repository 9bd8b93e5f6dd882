//! The house rules that no compiler lint can state, each a function from text to [`Problem`]s.
//!
//! `cargo xtask tidy` runs them, and so does a test, so that plain `cargo test` keeps the house tidy.

pub mod arrows;
pub mod docs;
pub mod licences;
pub mod roots;
pub mod rust;
pub mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::metadata::{self, Package};
use crate::{Error, output_of};

/// A broken rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the workspace.
    pub path: String,
    /// The line, from 1, where one line is to blame.
    pub line: Option<usize>,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Problem {
    /// A problem of a whole file.
    pub fn file(path: &str, message: impl Into<String>) -> Problem {
        Problem { path: path.to_owned(), line: None, message: message.into() }
    }

    /// A problem of one line, counted from 1.
    pub fn line(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: path.to_owned(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Whose dependencies have their licences read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platforms {
    /// Those needed on this machine, all of them present once the workspace has been built.
    Host,
    /// Those needed on any platform, for which cargo may have to download some.
    All,
}

/// Applies every rule to the checkout at `root` and returns what it broke, sorted.
pub fn check(root: &Path, platforms: Platforms) -> Result<Vec<Problem>, Error> {
    let host = match platforms {
        Platforms::Host => Some(metadata::host_platform()?),
        Platforms::All => None,
    };
    let packages = metadata::load(root, host.as_deref())?;
    let mut problems = arrows::check(&packages);
    problems.extend(licences::check(&packages, &read(root, "deny.toml")?));
    for package in packages.iter().filter(|package| package.is_ours()) {
        problems.extend(check_package(root, package)?);
    }

    let tracked = tracked_files(root)?;
    for path in &tracked {
        problems.extend(check_file(root, path)?);
    }
    let ours = packages.iter().filter(|package| package.is_ours());
    let names: Vec<&str> = ours.map(|package| package.name.as_str()).collect();
    problems
        .extend(docs::check_architecture(read(root, docs::ARCHITECTURE).ok().as_deref(), &names));
    problems.extend(docs::check_summary(read(root, docs::SUMMARY).ok().as_deref(), &tracked));
    for path in docs::NAMES_TEST_COMMAND {
        problems.extend(docs::check_test_command(path, &read(root, path)?));
    }
    problems.sort();
    Ok(problems)
}

/// The problems one per line, and their number.
pub fn listing(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.push(match problems.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    });
    lines.join("\n")
}

fn check_package(root: &Path, package: &Package) -> Result<Vec<Problem>, Error> {
    let manifest = relative(root, &package.manifest_path);
    let mut problems = roots::check_manifest(&manifest, &read(root, &manifest)?);
    for (path, kind) in roots::of(package) {
        let path = relative(root, path);
        problems.extend(roots::check_root(&package.name, kind, &path, &read(root, &path)?));
    }
    Ok(problems)
}

fn check_file(root: &Path, path: &str) -> Result<Vec<Problem>, Error> {
    let full = root.join(path);
    let bytes = fs::read(&full).map_err(|source| Error::Read { path: full, source })?;
    let mut problems = text::check_bytes(path, &bytes);
    // A file that is not text has its problem already.
    let Ok(content) = std::str::from_utf8(&bytes) else { return Ok(problems) };
    problems.extend(text::check(path, content));
    if path.ends_with(".rs") {
        problems.extend(rust::check(path, content));
    }
    if path.ends_with(".md") {
        problems.extend(docs::check_links(path, content, |target| root.join(target).exists()));
    }
    Ok(problems)
}

/// The files that git tracks and that are there, relative to `root`.
fn tracked_files(root: &Path) -> Result<Vec<String>, Error> {
    let mut command = Command::new("git");
    command.current_dir(root).args(["ls-files", "-z"]);
    let output = output_of(&mut command)?;
    let names = String::from_utf8_lossy(&output);
    let names = names.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file());
    Ok(names.map(str::to_owned).collect())
}

fn read(root: &Path, path: &str) -> Result<String, Error> {
    let path: PathBuf = root.join(path);
    fs::read_to_string(&path).map_err(|source| Error::Read { path, source })
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_first() {
        assert_eq!(Problem::line("a/b.rs", 7, "bad").to_string(), "a/b.rs:7: bad");
        assert_eq!(Problem::file("a/b.rs", "bad").to_string(), "a/b.rs: bad");
    }

    #[test]
    fn a_listing_ends_with_the_count() {
        let problems = [Problem::file("a", "x"), Problem::file("b", "y")];
        assert_eq!(listing(&problems), "a: x\nb: y\n2 problems");
        assert_eq!(listing(&problems[..1]), "a: x\n1 problem");
    }
}
