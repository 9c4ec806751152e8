//! Threads that wait: what was said of one stays as it is until it runs Python or is due to be asked.
//!
//! Most threads of most programs wait, and each look passes here once for each of them: it only counts, and how often is told when
//! a rest or a batch ends.

use std::time::Instant;

use super::runs::Runs;
use crate::model::{At, Nanos, Sample};
use crate::python::{StackNumber, ThreadLook};

/// Those of one list of threads, by their places in it.
#[derive(Debug, Default)]
pub struct Rests {
    rows: Vec<Option<Rest>>,
    /// Which list that is ([`Python::lists`](crate::python::Python::lists)).
    list: u64,
}

/// A thread that rests.
#[derive(Debug, Clone, Copy)]
struct Rest {
    stack: StackNumber,
    /// When it is due to be asked.
    due: Instant,
    /// What the looks saw that are not told yet.
    sample: Sample,
}

impl Rest {
    fn holds(&self, thread: &ThreadLook, now: Instant) -> bool {
        let waits = !thread.may_have_run && thread.holds_gil == Some(false) && thread.told.is_none();
        waits && thread.stack == self.stack && now < self.due
    }

    fn tell(&mut self, runs: &mut Runs) {
        if self.sample.count > 0 {
            runs.add(self.sample);
            self.sample.count = 0;
        }
    }
}

impl Rests {
    /// Begins a look at so many threads; another list has other places.
    pub fn begin(&mut self, list: u64, threads: usize, runs: &mut Runs) {
        if self.list != list {
            self.list = list;
            self.clear(runs);
        }
        self.rows.resize(threads, None);
    }

    /// Counts a look at the thread in a place if it rests; says whether it does.
    pub fn count(
        &mut self,
        place: usize,
        thread: &ThreadLook,
        now: Instant,
        (from, until): (At, At),
    ) -> bool {
        let rest = self.rows.get_mut(place).and_then(Option::as_mut);
        let Some(Rest { sample, .. }) = rest.filter(|rest| rest.holds(thread, now)) else { return false };
        if sample.count == 0 {
            (sample.from, sample.weight) = (from, Nanos(0));
        } else if sample.until != from {
            return false;
        }
        sample.until = until;
        sample.count += 1;
        sample.weight += until.since(from);
        true
    }

    /// What was seen just now of the thread in a place; until it is `due`, if it rests.
    pub fn add(
        &mut self,
        place: usize,
        sample: Sample,
        stack: StackNumber,
        due: Option<Instant>,
        runs: &mut Runs,
    ) {
        let Some(row) = self.rows.get_mut(place) else { return };
        row.iter_mut().for_each(|rest| rest.tell(runs));
        let quiet = Sample { count: 0, cpu: sample.cpu.map(|_| Nanos(0)), ..sample };
        *row = due.map(|due| Rest { stack, due, sample: quiet });
    }

    /// Tells what was counted.
    pub fn tell(&mut self, runs: &mut Runs) {
        self.rows.iter_mut().flatten().for_each(|rest| rest.tell(runs));
    }

    /// Tells what was counted, and lets nobody rest.
    pub fn clear(&mut self, runs: &mut Runs) {
        self.tell(runs);
        self.rows.clear();
    }
}
