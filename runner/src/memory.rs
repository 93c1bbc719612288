//! Memory of this process, where the system tells: Linux.

/// Forgets the peak so far, so that [`peak`] tells that of what comes. Does nothing where the system cannot.
pub fn reset_peak() {
    // Write-only, and absent in some sandboxes; the peak then stays that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Most bytes that were resident at once.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
