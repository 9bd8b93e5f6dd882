//! What a process takes of the machine's memory.

/// The peak of this process's resident memory up to now, in bytes: the most physical memory that it
/// had at a time. `None` where the system does not tell; Linux does.
pub fn peak_resident() -> Option<u64> {
    peak(&std::fs::read_to_string("/proc/self/status").ok()?)
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
            assert!(peak_resident().is_some_and(|bytes| bytes > 0));
        }
    }
}
