//! Ourselves, as the operating system sees us: what observing costs.

use std::sync::Mutex;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, gettid};

/// Threads that have a budget of their own, and what those have used that are gone.
static ASIDE: Mutex<(Vec<Pid>, Duration)> = Mutex::new((Vec::new(), Duration::ZERO));

/// While it lives, the CPU time of the thread that made it counts for no other's budget.
#[derive(Debug)]
pub struct Aside(Pid);

/// The CPU time that this process has used so far, over all its threads; zero where the kernel does not say.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The CPU time that this thread has used so far; zero where the kernel does not say.
pub fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What [`cpu_time`] is without the threads that have a budget of their own.
pub fn looking_time() -> Duration {
    let Ok(aside) = ASIDE.lock() else { return cpu_time() };
    // Before theirs: what they use meanwhile must not count.
    let all = cpu_time();
    let each = aside.0.iter().filter_map(|thread| clock_gettime(clock_of(*thread)).ok().map(Duration::from));
    all.saturating_sub(aside.1 + each.sum())
}

/// The clock of the CPU time of a thread of ours (`make_thread_cpuclock`, include/linux/posix-timers_types.h).
fn clock_of(thread: Pid) -> ClockId {
    ClockId::from_raw(!thread.as_raw() << 3 | 6)
}

impl Aside {
    /// Sets this thread aside.
    pub fn this_thread() -> Aside {
        let thread = gettid();
        if let Ok(mut aside) = ASIDE.lock() {
            aside.0.push(thread);
        }
        Aside(thread)
    }
}

impl Drop for Aside {
    /// Is dropped in the thread that made it.
    fn drop(&mut self) {
        if let Ok(mut aside) = ASIDE.lock() {
            aside.0.retain(|thread| *thread != self.0);
            aside.1 += thread_time();
        }
    }
}

/// What the monotonic clock says, by which CPython times its collections; `None` where the kernel does not say.
pub fn monotonic() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_MONOTONIC).ok().map(Duration::from)
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
        let (cpu, thread) = (cpu_time(), thread_time());
        let room = vec![1_u8; 64 << 20];
        assert!(room.iter().map(|byte| u64::from(*byte)).sum::<u64>() == 64 << 20);
        assert!(cpu_time() > cpu && thread_time() > thread && peak_memory().unwrap() >= 64 << 20);
    }

    #[test]
    fn the_clock_of_a_thread_is_the_one_that_it_reads_itself() {
        let before = thread_time();
        let said = clock_gettime(clock_of(gettid())).map(Duration::from).unwrap();
        assert!(before <= said && said <= thread_time(), "{before:?} {said:?}");
    }

    #[test]
    fn what_a_thread_uses_that_is_set_aside_counts_for_nobody() {
        let work = || {
            let _aside = Aside::this_thread();
            while thread_time() < Duration::from_millis(200) {}
        };
        std::thread::spawn(work).join().unwrap();
        // Other tests run meanwhile, and count for both.
        let looking = looking_time();
        assert!(cpu_time() >= looking + Duration::from_millis(200), "{looking:?} of {:?}", cpu_time());
    }
}
