//! The steps `asan`, `tsan` and `miri`: tools that watch memory while tests run.
//!
//! | step | sees | runs | needs |
//! |---|---|---|---|
//! | `asan` | reads and writes outside of an allocation, use after free | kernels on every instruction set of the machine, the engine | the runtime that rustup's toolchains carry |
//! | `tsan` | two threads at one place without an order between them | the engine with two threads | a nightly toolchain with `rust-src`: the standard library is built with it |
//! | `miri` | undefined behaviour of any kind | kernels without intrinsics, small sessions | a nightly toolchain with `miri` and `rust-src` |
//!
//! A kernel reads up to a vector past the end of a row. That is inside of the slice it was given,
//! which the layouts pad for it, so none of the tools has a reason to complain, and where one does it
//! has found a mistake.
//!
//! Each has a target folder of its own, and compiles the kernels with little optimisation: the tools
//! look at what is read and written, which does not depend on it, and the build takes a quarter of the
//! time.

use std::path::Path;
use std::process::Command;

use crate::metadata::host_platform;
use crate::{Error, cargo, output_of};

/// Kernels are compiled at this level instead of that of the workspace.
const LIGHT: [&str; 2] = ["--config", "profile.dev.package.bunjae-kernels.opt-level=1"];

/// The tests of the engine that run under [`tsan`]: with a few hundred steps that are shared between
/// threads, and every kind of kernel.
const THREADED: [&str; 3] =
    ["every_operator", "mask_networks_of_odd_widths_and_sizes", "partial_discharge_networks"];

/// Tests that Miri would take minutes for: planning for hundreds of layers, a loop of arithmetic whose
/// speed is measured, whole networks, and the element-wise kernels of training, which [`asan`] sees.
const NOT_UNDER_MIRI: [&str; 9] = [
    "a_plan_is_explained",
    "sessions_on_several",
    "the_wanted_border_spares",
    "peak::",
    "batch_norm",
    "map_grad",
    "max_pool_grad",
    "channel_sum",
    "flat_math",
];

/// The commands of the step `asan` for the workspace at `root`.
///
/// # Errors
/// What is missing on this machine, with a hint.
pub fn asan(root: &Path) -> Result<Vec<Command>, String> {
    let mut asked = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let folder = text_of(output_of(asked.args(["--print", "target-libdir"])))?;
    let has_runtime = std::fs::read_dir(&folder).is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().ends_with("_rt.asan.a"))
        })
    });
    if !has_runtime {
        return Err(format!(
            "no runtime of AddressSanitizer in {folder}; hint: use a toolchain from rustup"
        ));
    }
    let host = host_platform().map_err(|error| error.to_string())?;
    let test = |arguments: &[&str]| {
        let mut command = cargo();
        command.current_dir(root).arg("test").args(LIGHT).args(["--target", &host]).args(arguments);
        command
            .env("CARGO_TARGET_DIR", root.join("target-asan"))
            .env("RUSTFLAGS", "-Zsanitizer=address")
            // The sanitizers are still unstable options, of the compiler alone.
            .env("RUSTC_BOOTSTRAP", "1")
            // Tests of borrowed bytes that live as long as the program leak them on purpose.
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command
    };
    Ok(vec![
        test(&["-p", "bunjae-tensor", "-p", "bunjae-kernels", "--lib"]),
        test(&["-p", "bunjae-engine", "--lib", "--tests"]),
    ])
}

/// The commands of the step `tsan` for the workspace at `root`.
///
/// # Errors
/// What is missing on this machine, with a hint.
pub fn tsan(root: &Path) -> Result<Vec<Command>, String> {
    require_nightly(&["rust-src"])?;
    let host = host_platform().map_err(|error| error.to_string())?;
    let test = |arguments: &[&str]| {
        let mut command = nightly();
        command.current_dir(root).args(["cargo", "test", "-Zbuild-std"]).args(LIGHT);
        command.args(["--target", &host, "-p", "bunjae-engine"]).args(arguments);
        command
            .env("CARGO_TARGET_DIR", root.join("target-tsan"))
            .env("RUSTFLAGS", "-Zsanitizer=thread")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command
    };
    let mut networks = test(&["--test", "equals_interpreter", "--"]);
    networks.args(THREADED);
    Ok(vec![test(&["--lib", "--test", "session"]), networks])
}

/// The commands of the step `miri` for the workspace at `root`.
///
/// # Errors
/// What is missing on this machine, with a hint.
pub fn miri(root: &Path) -> Result<Vec<Command>, String> {
    require_nightly(&["miri", "rust-src"])?;
    let test = |arguments: &[&str]| {
        let mut command = nightly();
        command.current_dir(root).args(["cargo", "miri", "test"]).args(arguments);
        command
            .env("CARGO_TARGET_DIR", root.join("target-miri"))
            .env("MIRIFLAGS", "-Zmiri-strict-provenance -Zmiri-deterministic-floats")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command
    };
    let mut commands = vec![
        test(&["-p", "bunjae-engine", "--test", "session", "--"]),
        test(&["-p", "bunjae-tensor", "-p", "bunjae-kernels", "--lib", "--"]),
    ];
    for command in &mut commands {
        command.args(NOT_UNDER_MIRI.iter().flat_map(|name| ["--skip", name]));
    }
    Ok(commands)
}

/// `rustup run nightly`, to which a program and its arguments are added.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    // The folders of the toolchain that runs us.
    command.args(["run", "nightly"]).env_remove("LD_LIBRARY_PATH");
    command
}

/// Checks that there is a nightly toolchain with these components.
fn require_nightly(components: &[&str]) -> Result<(), String> {
    let hint = format!(
        "hint: rustup toolchain install nightly --profile minimal --component {}",
        components.join(",")
    );
    let mut asked = Command::new("rustup");
    asked.args(["component", "list", "--installed", "--toolchain", "nightly"]);
    let installed = text_of(output_of(&mut asked))
        .map_err(|error| format!("no nightly toolchain: {error}; {hint}"))?;
    match components.iter().find(|component| !installed.contains(*component)) {
        Some(missing) => Err(format!("the nightly toolchain lacks {missing}; {hint}")),
        None => Ok(()),
    }
}

fn text_of(output: Result<Vec<u8>, Error>) -> Result<String, String> {
    let output = output.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}
