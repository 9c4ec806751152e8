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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Event, Flags, Quality, State, TrackId};

    #[test]
    fn looks_at_who_rests_are_told_as_if_each_had_been_told() {
        let (now, stack) = (Instant::now(), StackNumber::default());
        let sample = |from, until, count, cpu| Sample {
            from: At(from),
            until: At(until),
            count,
            track: TrackId(0),
            stack: None,
            weight: Nanos(until - from),
            cpu: Some(Nanos(cpu)),
            state: State::WantsGil,
            flags: Flags::default(),
            quality: Quality::Whole,
        };
        let mut thread = ThreadLook::default();
        thread.holds_gil = Some(false);
        let (mut rests, mut runs) = (Rests::default(), Runs::default());
        rests.begin(1, 1, &mut runs);
        assert!(!rests.count(0, &thread, now, (At(0), At(10))), "nothing is known of it yet");
        rests.add(0, sample(0, 10, 1, 4), stack, Some(now + Duration::from_secs(1)), &mut runs);
        runs.add(sample(0, 10, 1, 4));
        for look in 1..5 {
            assert!(rests.count(0, &thread, now, (At(10 * look), At(10 * look + 10))));
        }
        // A pause between looks, a thread that may have run, and one that is due.
        assert!(!rests.count(0, &thread, now, (At(60), At(70))));
        assert!(!rests.count(0, &thread, now + Duration::from_secs(1), (At(50), At(60))));
        thread.may_have_run = true;
        assert!(!rests.count(0, &thread, now, (At(50), At(60))));
        rests.add(0, sample(60, 70, 1, 0), stack, None, &mut runs);
        runs.add(sample(60, 70, 1, 0));
        let Event::Samples { rows, .. } = runs.take(At(70), Vec::new()) else { panic!("no samples") };
        assert_eq!(rows, [sample(0, 50, 5, 4), sample(60, 70, 1, 0)]);
    }

    #[test]
    fn another_list_has_other_places_and_nothing_that_was_counted_is_lost() {
        let mut thread = ThreadLook::default();
        thread.holds_gil = Some(false);
        let now = Instant::now();
        let sample = Sample {
            from: At(0),
            until: At(10),
            count: 1,
            track: TrackId(0),
            stack: None,
            weight: Nanos(10),
            cpu: None,
            state: State::Native,
            flags: Flags::default(),
            quality: Quality::Whole,
        };
        let (mut rests, mut runs) = (Rests::default(), Runs::default());
        rests.begin(1, 1, &mut runs);
        rests.add(0, sample, StackNumber::default(), Some(now + Duration::from_secs(1)), &mut runs);
        assert!(rests.count(0, &thread, now, (At(10), At(20))));
        rests.begin(2, 2, &mut runs);
        assert!(!rests.count(0, &thread, now, (At(20), At(30))));
        let Event::Samples { rows, .. } = runs.take(At(30), Vec::new()) else { panic!("no samples") };
        assert_eq!(rows.iter().map(|row| (row.from, row.until)).collect::<Vec<_>>(), [(At(10), At(20))]);
    }
}
