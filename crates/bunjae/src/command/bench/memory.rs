//! The peak of resident memory: the most physical memory that a process had at a time.

use std::path::Path;
use std::process::{Command, Stdio};

/// That of this process up to now, where the system tells (Linux).
pub(super) fn of_this_process() -> Option<u64> {
    peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// That of a process of its own that does nothing but run the model of `arguments` once, so that
/// other models in this one do not count.
pub(super) fn of_a_process(model: &Path, arguments: &[String]) -> Option<u64> {
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

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_found_among_other_lines() {
        let status = "Name:\tbunjae\nVmPeak:\t  999 kB\nVmHWM:\t  1234 kB\nVmRSS:\t  7 kB\n";
        assert_eq!(peak(status), Some(1234 * 1024));
        assert_eq!(peak("Name:\tbunjae\n"), None);
        assert_eq!(peak("VmHWM:\t lots\n"), None);
        if cfg!(target_os = "linux") {
            assert!(of_this_process().is_some_and(|bytes| bytes > 0));
        }
    }
}
