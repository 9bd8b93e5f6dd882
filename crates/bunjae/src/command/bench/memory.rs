//! The peak of resident memory that one model alone is responsible for.

use std::path::Path;
use std::process::{Command, Stdio};

/// The peak of a process of its own that does nothing but run the model of `arguments` once, so that
/// other models in this one do not count.
pub(super) fn peak_of_a_process(model: &Path, arguments: &[String]) -> Option<u64> {
    let output = Command::new(std::env::current_exe().ok()?)
        .arg("bench")
        .arg(model)
        .args(arguments)
        .args(["--runs", "1", "--warmup", "0", "--seconds", "0", "--format", "json", "--quiet"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    report["results"][0]["peak_resident_bytes"].as_u64()
}
