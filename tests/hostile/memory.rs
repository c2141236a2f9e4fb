//! A process' memory, as Linux tells it.

/// Resident now, in bytes.
pub fn resident(process: u32) -> u64 {
    told(process, "VmRSS:")
}

/// Resident at most, in bytes, since the last call of this.
pub fn peak(process: u32) -> u64 {
    let peak = told(process, "VmHWM:");
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("/proc");
    peak
}

fn told(process: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect(what);
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}
