//! The workspace's own checks.
//!
//! Owns the steps of `cargo xtask ci` and the rules that no compiler lint can state ([`tidy`]): which
//! crate may use which, what every source file opens with, which licences may come in, what may be
//! tracked by git.
//!
//! Never here: anything that the program or its libraries need at run time, and any rule that rustc or
//! clippy can enforce; those are set once in the workspace's `Cargo.toml`.
#![forbid(unsafe_code)]

pub mod aarch64;
pub mod memory;
pub mod metadata;
pub mod source;
pub mod steps;
pub mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The command that the README gives for running the tests, and that CI closes with.
pub const TEST_COMMAND: &str = "cargo test --workspace";

/// Why a check could not be carried out; a check that ran and found something reports
/// [`tidy::Problem`]s instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the workspace could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote to its error stream.
        stderr: String,
    },
    /// `cargo metadata` printed something this tool does not understand.
    #[error("cannot read the output of cargo metadata: {0}")]
    Metadata(#[from] serde_json::Error),
}

/// The folder of the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// True where the checks run unattended, and one that cannot run must fail rather than be skipped.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// The cargo that runs us, so that a toolchain chosen with `cargo +name` is kept.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command` and returns what it printed to stdout.
fn output_of(command: &mut Command) -> Result<Vec<u8>, Error> {
    let line = command_line(command);
    let output =
        command.output().map_err(|source| Error::Start { command: line.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command { command: line, stderr })
}

/// The command as one would type it, the program without its folder.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let mut words = vec![program.to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}
