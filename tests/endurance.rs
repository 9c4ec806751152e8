//! A view that is left open: it stays small, goes on drawing, and looks on time. `scripts/soak top` has it open for longer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what was measured, and a skip, are told")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::terminal::Terminal;
use support::{python, start};

const CROWD: &str = include_str!("programs/crowd.py");
/// For CI; `PITVIPER_SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 5;
/// The most that the process may hold, in kilobytes.
const MEMORY: u64 = 30_000;
/// From so many seconds on, the second half may add no more than this to the first, and looks must be on time.
const LONG: u64 = 120;
const GROWTH: u64 = 1_000;
const ON_TIME: f64 = 0.9;
/// A screen may be behind the clock by so much: a second from picture to picture, and what a busy machine adds.
const BEHIND: f64 = 3.0;

/// Kilobytes of a process that lie in memory.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The time since the start and the looks a second, as a screen shows them.
#[track_caller]
fn told(screen: &str) -> (f64, f64) {
    let mut lines = screen.lines();
    let first = lines.next().unwrap().trim_end();
    let clock = first.trim_end_matches(" s").rsplit(' ').next().unwrap();
    let parts = clock.split(':').map(|part| part.parse::<f64>().unwrap_or_else(|_| panic!("{screen}")));
    let rate = lines.next().unwrap().split('/').next().unwrap().parse().unwrap_or(0.0);
    (parts.fold(0.0, |sum, part| sum * 60.0 + part), rate)
}

#[test]
fn a_view_that_is_left_open_stays_small_and_goes_on() {
    let asked = std::env::var("PITVIPER_SOAK_SECONDS").ok();
    let seconds = asked.map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let (Some(python), Some(terminal)) = (python("3.13"), Terminal::open()) else { return };
    let target = start(python, CROWD);
    let top = terminal.start_top(&format!("--rate 100 --history 2m --pid {}", target.pid()), "work (");
    let (begin, began) = (told(&terminal.screen()).0, Instant::now());
    let (mut held, mut rates) = (Vec::new(), Vec::new());
    for second in 0..seconds {
        let due = began + Duration::from_secs(second + 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let (clock, rate) = told(&terminal.screen());
        let late = began.elapsed().as_secs_f64() - (clock - begin);
        assert!(late < BEHIND, "second {second}: {late:.1} s behind");
        let resident = resident(top);
        assert!(resident < MEMORY, "second {second}: {resident} kB");
        held.push(resident);
        rates.push(rate);
        // Every view in turn: each has something of its own to keep.
        terminal.press(&[["1", "2", "3", "4", "5", "6"][second as usize % 6]]);
        if second % 30 == 0 {
            println!("{second:>4} s: {resident} kB, {rate} looks a second");
        }
    }
    let (first, second) = held.split_at(held.len() / 2);
    let (before, after) = (first.iter().max().unwrap(), second.iter().max().unwrap());
    let rate = rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "{seconds} s: {before} kB at most in the first half, {after} kB in the second, {rate:.1} looks a second"
    );
    if seconds >= LONG {
        assert!(*after <= before + GROWTH, "{before} kB, then {after} kB");
        assert!(rate >= 100.0 * ON_TIME, "{rate} looks a second");
    }
    terminal.press(&["q"]);
    terminal.works_again();
}
