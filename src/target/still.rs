//! All that a process could change, copied while it held still: what is read from the copy is of one moment.
//!
//! The room for the copy is there, and written to, before the process is paused: the first write to a page costs more than the
//! copy of one. What takes longer than it may is given up, and the process goes on.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::maps::Maps;
use super::pages::{Pages, Presence, append};
use super::pause::{PauseError, Pauser};
use super::process::{Process, ProcessError};
use crate::memory::{Addr, Live, Memory, Moment, Part, Sheet};

/// How much is copied between two looks at the clock.
const STEP: usize = 16 << 20;
/// The longest piece of one call.
const PIECE: u64 = 4 << 20;
/// How much room there is for what is written between the measuring and the pause: a part of all, and at least some.
const MORE: usize = 16;
const LEAST_MORE: usize = 8 << 20;
/// No machine copies as many bytes a second from another process.
const FASTEST: f64 = 16e9;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum NoStill {
    /// The process could not be asked.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It could not be paused.
    #[error("cannot pause it: {0}")]
    Pause(#[from] PauseError),
    /// Nothing copies so much in the time that there is; it was not even paused.
    #[error("{0} bytes cannot be copied in the time that it may be paused")]
    Hopeless(u64),
    /// This machine has no memory left for a copy; it was not even paused.
    #[error("there are no {0} bytes of memory left for a copy of it")]
    Room(u64),
    /// There was more to copy than there was time for.
    #[error("the copy took too long: after {ms} ms {copied} of {all} bytes were copied, and it goes on")]
    Budget {
        /// For how long it was held.
        ms: u128,
        /// Bytes that were copied until then.
        copied: u64,
        /// Bytes that there were.
        all: u64,
    },
}

/// A process as it was at one moment.
#[derive(Debug)]
pub struct Still<'a> {
    /// Its memory.
    pub memory: Moment<&'a Live>,
    /// Its mappings.
    pub maps: Maps,
    /// For how long it was held.
    pub length: Duration,
    /// Bytes that were copied.
    pub copied: u64,
    /// Which of its pages were there.
    presence: Presence,
}

impl<'a> Still<'a> {
    /// Pauses a process, copies what it may write, and lets it go on, all of it within `budget`.
    pub fn take(process: &'a Process, budget: Duration) -> Result<Still<'a>, NoStill> {
        let pages = Pages::open(process);
        let expected = Plan::make(&process.maps()?, &pages).bytes;
        if expected as f64 / FASTEST > budget.as_secs_f64() {
            return Err(NoStill::Hopeless(expected));
        }
        let room = expected as usize + (expected as usize / MORE).max(LEAST_MORE);
        if available().is_some_and(|available| room as u64 > available) {
            return Err(NoStill::Room(room as u64));
        }
        // Not zeros: these would be pages that are not there yet.
        let mut bytes = Sheet::of(room, 1);
        let mut pauser = Pauser::default();
        let began = Instant::now();
        let paused = pauser.pause(process, budget)?;
        let maps = process.maps()?;
        let plan = Plan::make(&maps, &pages);
        bytes.resize(bytes.len().max(plan.bytes as usize));
        let mut pieces = Vec::with_capacity(plan.presence.present.len());
        let (mut rest, mut at, mut copied) = (&mut *bytes, 0, 0);
        let mut parts: Vec<Part<'_>> = Vec::new();
        let mut waiting = 0;
        let spans = plan.presence.present.iter().flat_map(split);
        let mut copy = |parts: &mut Vec<Part<'_>>| {
            process.memory().read_many(parts);
            // A page that is gone although nothing runs is one that the kernel does not give, and reads as zeros.
            parts.iter_mut().filter(|part| !part.arrived).for_each(|part| part.buf.fill(0));
            copied += parts.drain(..).map(|part| part.buf.len() as u64).sum::<u64>();
            if paused.length() > budget {
                let ms = paused.length().as_millis();
                return Err(NoStill::Budget { ms, copied, all: plan.bytes });
            }
            Ok(())
        };
        for span in spans {
            let len = (span.end - span.start) as usize;
            let (buf, behind) = std::mem::take(&mut rest).split_at_mut(len);
            rest = behind;
            parts.push(Part { addr: Addr(span.start), buf, arrived: false });
            pieces.push((span, at));
            at += len;
            waiting += len;
            if waiting >= STEP {
                copy(&mut parts)?;
                waiting = 0;
            }
        }
        copy(&mut parts)?;
        drop(paused);
        let length = began.elapsed();
        let memory = Moment::new(process.memory(), plan.covered, pieces, bytes);
        Ok(Still { memory, maps, length, copied, presence: plan.presence })
    }

    /// Which pages there were.
    pub fn pages(&self) -> Pages {
        Pages::known(self.presence.clone())
    }
}

/// What is copied.
#[derive(Debug, Default)]
struct Plan {
    /// The mappings that may be written.
    covered: Vec<Range<u64>>,
    presence: Presence,
    bytes: u64,
}

impl Plan {
    fn make(maps: &Maps, pages: &Pages) -> Plan {
        let mut plan = Plan::default();
        for mapping in maps.iter().filter(|m| m.read && m.write && !m.special()) {
            let whole = mapping.start..mapping.end;
            let presence = pages.all(&whole);
            let bytes: u64 = presence.present.iter().map(|span| span.end - span.start).sum();
            plan.bytes = plan.bytes.saturating_add(bytes);
            // What lies across the border of two mappings is read like all else.
            append(&mut plan.covered, whole);
            presence.present.into_iter().for_each(|span| append(&mut plan.presence.present, span));
            presence.swapped.into_iter().for_each(|span| append(&mut plan.presence.swapped, span));
        }
        plan
    }
}

/// How many bytes of memory can be had without driving others into swap (man 5 proc_meminfo: `MemAvailable`).
fn available() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A span in pieces that one call takes.
fn split(span: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = span.end;
    (span.start..end).step_by(PIECE as usize).map(move |start| start..end.min(start + PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_that_touch_are_copied_as_one_so_that_what_lies_across_their_border_can_be_read() {
        let maps = Maps::parse(
            b"1000-3000 rw-p 0 00:00 0\n3000-5000 rw-p 0 00:00 0 [anon:x]\n5000-6000 r--p 0 00:00 0\n7000-8000 rw-p 0 00:00 0\n",
        );
        let present = std::iter::once(0x2000..0x8000).collect();
        let plan = Plan::make(&maps, &Pages::known(Presence { present, swapped: Vec::new() }));
        assert_eq!(plan.covered, [0x1000..0x5000, 0x7000..0x8000]);
        assert_eq!(plan.presence.present, [0x2000..0x5000, 0x7000..0x8000]);
        assert_eq!(plan.bytes, 0x4000);
    }
}
