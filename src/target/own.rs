//! Ourselves, as the operating system sees us: what observing costs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The CPU time that this process has used so far, over all its threads; zero where the kernel does not say.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The most memory that this process has had resident so far, in bytes, where the kernel says it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_use_is_something_and_grows() {
        let cpu = cpu_time();
        let room = vec![1_u8; 64 << 20];
        assert!(room.iter().map(|byte| u64::from(*byte)).sum::<u64>() == 64 << 20);
        assert!(cpu_time() > cpu && peak_memory().unwrap() >= 64 << 20);
    }
}
