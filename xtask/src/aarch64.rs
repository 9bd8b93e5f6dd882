//! The step `aarch64`: tests of the kernels and the engine for another processor, under qemu.
//!
//! Correctness only; what qemu says about speed means nothing. All tests of the two crates run, whole
//! networks against the interpreter among them: a few minutes, most of them for the compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;

/// The target triple.
pub const TARGET: &str = "aarch64-unknown-linux-gnu";

const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// The commands of the step for the workspace at `root`.
///
/// # Errors
/// What is missing on this machine, with a hint.
pub fn commands(root: &Path) -> Result<Vec<Command>, String> {
    for program in [LINKER, EMULATOR] {
        if Command::new(program).arg("--version").output().is_err() {
            return Err(format!(
                "{program} is not installed; hint: on Debian, apt-get install \
                 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
            ));
        }
    }
    let rustc = compiler()?;
    let test = |arguments: &[&str]| {
        let mut command = cargo();
        command.current_dir(root).args(["test", "--target", TARGET]).args(arguments);
        command
            .env("RUSTC", &rustc)
            .env("CARGO_TARGET_DIR", root.join("target-aarch64"))
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", EMULATOR)
            // Dynamically linked programs with threads hang under qemu's user mode.
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command
    };
    Ok(vec![
        test(&["-p", "bunjae-kernels", "--lib"]),
        test(&["-p", "bunjae-engine", "--lib", "--tests"]),
    ])
}

/// A compiler that has the standard library of the target: the one in use, or Debian's.
fn compiler() -> Result<PathBuf, String> {
    let ours = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let candidates = [PathBuf::from(ours), PathBuf::from("/usr/bin/rustc")];
    let found = candidates.into_iter().find(|rustc| has_library(rustc));
    found.ok_or_else(|| {
        format!(
            "no standard library for {TARGET}; hint: rustup target add {TARGET}, or on Debian \
             dpkg --add-architecture arm64 and apt-get install rustc-web libstd-rust-web-dev:arm64"
        )
    })
}

/// Whether `rustc` can compile for the target.
fn has_library(rustc: &Path) -> bool {
    let output =
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success()
        && std::fs::read_dir(folder).is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
            })
        })
}
