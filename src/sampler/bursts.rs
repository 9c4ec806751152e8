//! Bursts: how much memory was handed out in a moment at whose both ends a thread had the same stack.
//!
//! Design constraints: what memory grew by between two samples belongs to all that ran in between, and most of that is in neither
//! stack. In a burst little else can have run. So bursts say how much each stack has its share in, and the headers of all pools, which are
//! read once a second, how much there is to be shared.

use std::thread;
use std::time::{Duration, Instant};

use super::intern::Interner;
use super::places::Places;
use super::tracks::Tracks;
use crate::model::allocation::{Allocation, Evidence};
use crate::model::{At, Event, Nanos, Quality};
use crate::python::heap::Heap;
use crate::python::meter::{Glance, Grown, Meter};
use crate::python::{CodeId, Python, ThreadLook};
use crate::target::{Located, Process, Thread};

/// A burst lasts until the process has run for so long, by its clock on a processor: it may have to wait for one.
const LENGTH: Duration = Duration::from_micros(100);
/// How often that is asked.
const STEP: Duration = Duration::from_micros(50);
/// One in which it has not run for so long, or in which it has run for longer than it should have, says nothing.
const PATIENCE: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_micros(500);
/// Nor does one if the process ran for so long from before the first look at its stack until after the last one: we were kept from
/// a processor ourselves, and the stack may be that of another moment than what memory grew by.
const FARTHEST: Duration = Duration::from_millis(1);
/// How far apart bursts begin at least.
const EVERY: Nanos = Nanos(2_000_000);
/// A clock that stood so often, and four times as often as it went on, stands.
const STOOD: u32 = 64;
/// After so long an allocator is looked for again that was not found.
const AGAIN: Duration = Duration::from_secs(1);

/// Who takes bursts of a process.
#[derive(Debug)]
pub struct Bursts {
    located: Located,
    meter: Option<Meter>,
    looked: Option<Instant>,
    last: Option<At>,
    /// The moment before the look that the next burst begins with.
    ahead: Option<Moment>,
    stands: Stands,
    rows: Vec<Allocation>,
}

/// A moment in the life of a process.
#[derive(Debug)]
struct Moment {
    /// For how long it had run.
    ran: Duration,
    wall: Instant,
}

/// Whether a process's clock on a processor stands between two ticks of the kernel's. Some kernels have it go on then, and some do not
/// (`thread_group_cputime`, kernel/sched/cputime.c): a tick is longer than a burst.
#[derive(Debug, Default)]
struct Stands {
    /// How often it stood, and how often it went on, while a thread that held the GIL should have run.
    stood: u32,
    went: u32,
}

impl Moment {
    fn of(process: &Process) -> Option<Moment> {
        Some(Moment { ran: process.cpu_time()?, wall: Instant::now() })
    }
}

impl Stands {
    /// For how long a process ran since a moment. Where its clock stands, all time counts: it may have had to wait for a processor, but
    /// that happens to every kind of burst.
    fn since(&mut self, then: &Moment, process: &Process) -> Duration {
        let wall = then.wall.elapsed();
        let ran = process.cpu_time().map_or(Duration::MAX, |now| now.saturating_sub(then.ran));
        self.take(ran, wall)
    }

    fn take(&mut self, ran: Duration, wall: Duration) -> Duration {
        if wall >= LENGTH && ran <= wall * 2 {
            let counted = if ran.is_zero() { &mut self.stood } else { &mut self.went };
            *counted = counted.saturating_add(1);
        }
        if self.stood >= STOOD && self.stood / 4 > self.went { wall } else { ran }
    }
}

/// Who names what a burst saw.
pub(super) struct Names<'a> {
    pub(super) tracks: &'a mut Tracks,
    pub(super) places: &'a mut Places,
    pub(super) interner: &'a mut Interner,
    pub(super) events: &'a mut Vec<Event>,
}

/// A thread at one end of a burst.
struct End {
    /// Which thread it is.
    thread: (i64, u64),
    /// The functions of its stack, innermost first; none where a part of the stack is missing.
    functions: Vec<CodeId>,
}

impl Bursts {
    /// Those of a process.
    pub fn new(located: Located) -> Bursts {
        Bursts {
            located,
            meter: None,
            looked: None,
            last: None,
            ahead: None,
            stands: Stands::default(),
            rows: Vec::new(),
        }
    }

    /// What was seen since this was last asked.
    pub(super) fn take(&mut self) -> Option<Event> {
        (!self.rows.is_empty()).then(|| Event::Allocations(std::mem::take(&mut self.rows)))
    }

    /// Why there are none.
    pub(super) fn missing(&self) -> Option<&'static str> {
        self.meter
            .is_none()
            .then_some("memory is put down to no stack: nothing shows how much the allocator hands out")
    }

    /// Is told that a look follows, which a burst will begin with if it is time for one.
    pub(super) fn announce(&mut self, process: &Process, at: At) {
        let due = self.last.is_none_or(|last| at.since(last) >= EVERY);
        self.ahead = if due { Moment::of(process) } else { None };
    }

    /// Takes a burst that begins with what was looked at just now, if that was announced and it is time for one.
    pub(super) fn burst(
        &mut self,
        process: &Process,
        python: &mut Python,
        tasks: &[Thread],
        at: At,
        names: Names<'_>,
    ) {
        let Some(ahead) = self.ahead.take() else { return };
        self.last = Some(at);
        let Some(meter) = self.meter(process, python) else { return };
        let memory = process.memory();
        let Some(start) = Moment::of(process) else { return };
        let Some(before) = meter.glance(memory, &Glance::default()) else { return };
        let Names { tracks, places, interner, events } = names;
        let holder =
            |python: &Python| python.seen.threads.iter().position(|thread| thread.holds_gil == Some(true));
        let Some(thread) = holder(python).and_then(|place| python.seen.threads.get(place)) else { return };
        let first = End::of(thread, python);
        let track = tracks.id(thread, interner, events);
        let stack = places.stack(thread.stack, python, interner, events);
        let stands = &mut self.stands;
        while stands.since(&start, process) < LENGTH {
            if start.wall.elapsed() > PATIENCE {
                return;
            }
            thread::sleep(STEP);
        }
        let after = meter.glance(memory, &before);
        let span = stands.since(&start, process);
        python.look(memory, tasks);
        let last = holder(python)
            .and_then(|place| python.seen.threads.get(place))
            .map(|thread| End::of(thread, python));
        let last = last.filter(|last| last.thread == first.thread);
        let Some(after) = after.filter(|_| span < LONGEST && self.stands.since(&ahead, process) < FARTHEST)
        else {
            return;
        };
        let span = Nanos(span.as_nanos() as u64);
        let stood = !first.functions.is_empty() && last.is_some_and(|last| last.functions == first.functions);
        let evidence = if stood { Evidence::Burst(span) } else { Evidence::Moved(span) };
        let Grown { bytes, blocks } = meter.grown(&before, &after);
        self.rows.push(Allocation { at, track, stack, bytes, blocks, evidence });
    }

    /// What shows how much the allocator hands out, once that is found.
    fn meter(&mut self, process: &Process, python: &Python) -> Option<Meter> {
        if self.meter.is_none() && self.looked.is_none_or(|looked| looked.elapsed() >= AGAIN) {
            self.looked = Some(Instant::now());
            let heap = Heap::open(process.memory(), process, &self.located, python).ok();
            self.meter = heap.and_then(|heap| heap.meter(process.memory(), &self.located.chosen.layout));
        }
        self.meter
    }
}

impl End {
    fn of(thread: &ThreadLook, python: &Python) -> End {
        let whole = !matches!(thread.quality, Quality::BaseMissing(_) | Quality::TopMissing(_));
        let frames = python.stacks.frames(thread.stack).filter(|_| whole);
        let functions = frames.map(|frame| frame.code).collect();
        End { thread: (thread.interpreter, thread.thread), functions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_time_counts_where_the_clock_of_the_process_stands() {
        let micros = Duration::from_micros;
        let mut stands = Stands::default();
        (0..100).for_each(|_| assert_eq!(stands.take(micros(90), micros(100)), micros(90)));
        (0..100)
            .for_each(|_| assert_eq!(stands.take(micros(0), micros(100)), micros(0), "it waits at times"));
        let mut stands = Stands::default();
        (1..STOOD).for_each(|_| assert_eq!(stands.take(micros(0), micros(100)), micros(0)));
        assert_eq!(stands.take(micros(4000), micros(150)), micros(4000), "a tick");
        assert_eq!(stands.take(micros(0), micros(150)), micros(150));
        assert_eq!(stands.take(micros(4000), micros(150)), micros(150));
    }
}
