//! Threads that wait: what was said of one stays as it is until it runs Python or is due to be asked.
//!
//! Most threads of most programs wait. A look does not pass over them: looks are counted, and of how many of them a thread rested in is told
//! when its rest or a batch ends.

use std::time::{Duration, Instant};

use super::runs::Runs;
use crate::model::{At, Nanos, Sample};
use crate::python::{StackNumber, ThreadLook};

/// Those that are due are looked for at most this often.
const DUE_EVERY: Duration = Duration::from_millis(5);

/// Those of one list of threads, by their places in it.
#[derive(Debug, Default)]
pub struct Rests {
    rows: Vec<Option<Rest>>,
    /// Which list that is ([`Python::lists`](crate::python::Python::lists)).
    list: u64,
    /// The looks that there were, and those before the last one.
    passed: Passed,
    before: Passed,
    /// Those of the list that do not rest.
    restless: Vec<usize>,
    /// When one is due next.
    due: Option<Instant>,
}

/// What a look may say otherwise than the one before.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Which list of threads it had.
    pub list: u64,
    /// All of them.
    pub threads: &'a [ThreadLook],
    /// The places of those of which it may say something else; `None` for all.
    pub changed: Option<&'a [usize]>,
    /// When it was.
    pub now: Instant,
    /// The time that it stands for.
    pub span: (At, At),
}

/// So many looks, until then.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    looks: u64,
    until: At,
}

/// A thread that rests.
#[derive(Debug, Clone, Copy)]
struct Rest {
    stack: StackNumber,
    /// When it is due to be asked.
    due: Instant,
    /// What looks see of it.
    sample: Sample,
    /// The looks that are told already.
    told: Passed,
}

impl Rest {
    fn holds(&self, thread: &ThreadLook, now: Instant) -> bool {
        let waits = !thread.may_have_run && thread.holds_gil == Some(false) && thread.told.is_none();
        waits && thread.stack == self.stack && now < self.due
    }

    /// Tells of the looks that it rested in.
    fn tell(&mut self, passed: Passed, runs: &mut Runs) {
        let told = std::mem::replace(&mut self.told, passed);
        let (from, until) = (told.until, passed.until);
        let count = u32::try_from(passed.looks - told.looks).unwrap_or(u32::MAX);
        if count > 0 {
            runs.add(Sample { from, until, count, weight: until.since(from), ..self.sample });
        }
    }
}

impl Rests {
    /// Counts a look for all that rest, and puts the places of those that do not into `out`, in order: each of them is to be
    /// [added](Rests::add).
    pub fn look(&mut self, seen: &Seen<'_>, runs: &mut Runs, out: &mut Vec<usize>) {
        let Seen { threads, now, span: (from, until), .. } = *seen;
        // Nobody knows what they did in a time that no look stands for.
        if self.list != seen.list || self.passed.until != from {
            self.clear(runs);
        }
        if self.rows.len() != threads.len() {
            self.clear(runs);
            self.rows.resize(threads.len(), None);
            self.restless.extend(0..threads.len());
        }
        self.list = seen.list;
        self.before = self.passed;
        self.passed = Passed { looks: self.passed.looks + 1, until };
        out.clear();
        out.append(&mut self.restless);
        let wakes = |place: &usize| match (self.rows.get(*place), threads.get(*place)) {
            (Some(Some(rest)), Some(thread)) => !rest.holds(thread, now),
            _ => false,
        };
        let is_due = self.due.is_some_and(|due| due <= now);
        match seen.changed {
            Some(changed) if !is_due => out.extend(changed.iter().copied().filter(wakes)),
            _ => out.extend((0..threads.len()).filter(wakes)),
        }
        if is_due {
            let rests = self.rows.iter().flatten().filter(|rest| now < rest.due);
            self.due = rests.map(|rest| rest.due.max(now + DUE_EVERY)).min();
        }
        out.sort_unstable();
        out.dedup();
    }

    /// What the last look saw of a thread that did not rest; until it is `due`, if it rests from now on.
    pub fn add(
        &mut self,
        place: usize,
        sample: Sample,
        stack: StackNumber,
        due: Option<Instant>,
        runs: &mut Runs,
    ) {
        let Some(row) = self.rows.get_mut(place) else { return };
        row.iter_mut().for_each(|rest| rest.tell(self.before, runs));
        let quiet = Sample { cpu: sample.cpu.map(|_| Nanos(0)), ..sample };
        *row = due.map(|due| Rest { stack, due, sample: quiet, told: self.passed });
        match due {
            Some(due) => self.due = Some(self.due.map_or(due, |first| first.min(due))),
            None => self.restless.push(place),
        }
    }

    /// Tells what was counted.
    pub fn tell(&mut self, runs: &mut Runs) {
        self.rows.iter_mut().flatten().for_each(|rest| rest.tell(self.passed, runs));
    }

    /// Tells what was counted, and lets nobody rest.
    pub fn clear(&mut self, runs: &mut Runs) {
        self.tell(runs);
        self.rows.clear();
        self.restless.clear();
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Event, Flags, Quality, State, TrackId};

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks at threads, of which these may have changed; says which do not rest.
    fn look(
        rests: &mut Rests,
        runs: &mut Runs,
        (list, threads, changed): (u64, &[ThreadLook], Option<&[usize]>),
        now: Instant,
        (from, until): (u64, u64),
    ) -> Vec<usize> {
        let mut out = vec![9];
        let seen = Seen { list, threads, changed, now, span: (At(from), At(until)) };
        rests.look(&seen, runs, &mut out);
        out
    }

    fn sample(track: u32, (from, until): (u64, u64), count: u32, cpu: u64) -> Sample {
        Sample {
            from: At(from),
            until: At(until),
            count,
            track: TrackId(track),
            stack: None,
            weight: Nanos(until - from),
            cpu: Some(Nanos(cpu)),
            state: State::WantsGil,
            flags: Flags::default(),
            quality: Quality::Whole,
        }
    }

    fn rows(runs: &mut Runs) -> Vec<Sample> {
        let Event::Samples { rows, .. } = runs.take(At(0), Vec::new()) else { panic!("no samples") };
        rows
    }

    fn waiting() -> ThreadLook {
        let mut thread = ThreadLook::default();
        thread.holds_gil = Some(false);
        thread
    }

    #[test]
    fn looks_at_who_rests_are_told_as_if_each_had_been_told() {
        let (now, stack) = (Instant::now(), StackNumber::default());
        let mut threads = [waiting(), waiting()];
        let (mut rests, mut runs) = (Rests::default(), Runs::default());
        let asked = look(&mut rests, &mut runs, (1, &threads, None), now, (0, 10));
        assert_eq!(asked, [0, 1], "nothing is known of them yet");
        for place in [0, 1] {
            let sample = sample(place, (0, 10), 1, 4);
            rests.add(place as usize, sample, stack, Some(now + SECOND).filter(|_| place == 0), &mut runs);
            runs.add(sample);
        }
        for number in 1..5 {
            let span = (10 * number, 10 * number + 10);
            let changed = if number == 3 { None } else { Some([].as_slice()) };
            assert_eq!(look(&mut rests, &mut runs, (1, &threads, changed), now, span), [1]);
            rests.add(1, sample(1, span, 1, 0), stack, None, &mut runs);
            runs.add(sample(1, span, 1, 0));
        }
        // One of which something may have changed, and has not; and one that may have run.
        assert_eq!(look(&mut rests, &mut runs, (1, &threads, Some(&[0])), now, (50, 60)), [1]);
        rests.add(1, sample(1, (50, 60), 1, 0), stack, None, &mut runs);
        threads[0].may_have_run = true;
        assert_eq!(look(&mut rests, &mut runs, (1, &threads, Some(&[0])), now, (60, 70)), [0, 1]);
        rests.add(0, sample(0, (60, 70), 1, 7), stack, None, &mut runs);
        runs.add(sample(0, (60, 70), 1, 7));
        let of_first = rows(&mut runs).into_iter().filter(|row| row.track == TrackId(0));
        assert_eq!(of_first.collect::<Vec<_>>(), [sample(0, (0, 70), 7, 11)]);
    }

    #[test]
    fn who_is_due_is_asked_and_others_rest_on() {
        let (now, stack) = (Instant::now(), StackNumber::default());
        let threads = [waiting(), waiting()];
        let (mut rests, mut runs) = (Rests::default(), Runs::default());
        look(&mut rests, &mut runs, (1, &threads, None), now, (0, 10));
        rests.add(0, sample(0, (0, 10), 1, 0), stack, Some(now + SECOND), &mut runs);
        rests.add(1, sample(1, (0, 10), 1, 0), stack, Some(now + 2 * SECOND), &mut runs);
        let mut at = |after: Duration, span, due| {
            let asked = look(&mut rests, &mut runs, (1, &threads, Some(&[])), now + after, span);
            let due: Option<Duration> = due;
            for place in &asked {
                let sample = sample(*place as u32, span, 1, 0);
                rests.add(*place, sample, stack, due.map(|due| now + due), &mut runs);
            }
            asked
        };
        assert!(at(SECOND / 2, (10, 20), None).is_empty());
        assert_eq!(at(SECOND, (20, 30), Some(SECOND * 3)), [0]);
        assert_eq!(at(SECOND * 2, (30, 40), Some(SECOND * 4)), [1]);
        assert_eq!(at(SECOND * 3, (40, 50), None), [0]);
        assert_eq!(at(SECOND * 3, (50, 60), None), [0]);
    }

    #[test]
    fn another_list_has_other_places_and_nothing_that_was_counted_is_lost() {
        let (now, stack) = (Instant::now(), StackNumber::default());
        let threads = [waiting(), waiting()];
        // Another list, a time that no look stands for, and another number of threads.
        for (list, count, from) in [(2, 1, 20), (1, 1, 25), (1, 2, 20)] {
            let (mut rests, mut runs) = (Rests::default(), Runs::default());
            look(&mut rests, &mut runs, (1, &threads[..1], None), now, (0, 10));
            rests.add(0, sample(0, (0, 10), 1, 0), stack, Some(now + SECOND), &mut runs);
            let asked = look(&mut rests, &mut runs, (1, &threads[..1], Some(&[])), now, (10, 20));
            assert!(asked.is_empty());
            let asked = look(&mut rests, &mut runs, (list, &threads[..count], Some(&[])), now, (from, 30));
            assert_eq!(asked, (0..count).collect::<Vec<_>>());
            assert_eq!(rows(&mut runs), [sample(0, (10, 20), 1, 0)]);
        }
    }

    #[test]
    fn what_is_told_in_parts_is_told_once() {
        let (now, stack) = (Instant::now(), StackNumber::default());
        let threads = [waiting()];
        let (mut rests, mut runs) = (Rests::default(), Runs::default());
        look(&mut rests, &mut runs, (1, &threads, None), now, (0, 10));
        rests.add(0, sample(0, (0, 10), 1, 5), stack, Some(now + SECOND), &mut runs);
        for (span, told) in [((10, 20), 1), ((20, 30), 1), ((30, 30), 1)] {
            look(&mut rests, &mut runs, (1, &threads, Some(&[])), now, span);
            rests.tell(&mut runs);
            rests.tell(&mut runs);
            assert_eq!(rows(&mut runs), [sample(0, span, told, 0)]);
        }
    }
}
