//! How much memory something takes at its peak.

use std::fs;

/// The most memory, in KiB, that `work` had resident beyond what was so before it.
pub(crate) fn peak_growth_kib(work: impl FnOnce()) -> u64 {
    // Sets the recorded peak back to what is resident now.
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be set back");
    let before = status_kib("VmRSS:");
    work();
    status_kib("VmHWM:").saturating_sub(before)
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// The most memory, in KiB, that another process had resident so far; `None` once it has ended.
pub(crate) fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
