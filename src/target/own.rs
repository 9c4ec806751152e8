//! Ourselves, as the operating system sees us: what observing costs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The CPU time that this process has used so far, over all its threads; zero where the kernel does not say.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
