//! What happened between two looks at a collector: states in, collections out, none lost and none invented.
//!
//! Design constraints: where the target counts its collections, the rows that come out add up to what it counted, whatever
//! was seen of them. A row is one generation between two looks, or one collection where the target wrote its times down.

use crate::model::gc::{Collection, Exactness};
use crate::model::{At, Nanos, ProcessId, StackId};
use crate::python::collector::{GENERATIONS, Record, State, Totals};

/// More collections than this between two looks there cannot be: such a count is another program's, or garbage.
const MAX_BETWEEN: u64 = 1 << 31;
/// After so many looks in a row whose counts went back, another program counts there.
const MAX_BACK: u32 = 3;

/// One collector from the first look at it on.
#[derive(Debug)]
pub struct Epoch {
    process: ProcessId,
    at: At,
    state: State,
    seen: Option<Seen>,
    /// What was told of each generation. A count that is written just now may be ahead of the others: it waits for them.
    told: [Told; GENERATIONS],
    back: u32,
    /// What was counted before it began, until that is told.
    first: Option<[Totals; GENERATIONS]>,
}

/// What one generation had done when it was told of: in sum, and how long that took, where the target wrote it down.
#[derive(Debug, Clone, Copy)]
struct Told {
    totals: Totals,
    took: Option<u64>,
}

/// A collection that looks meet while it is under way.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The last look that did not meet it.
    start: At,
    /// The first look that met it.
    met: At,
    pause: Nanos,
    generation: Option<usize>,
    stack: Option<StackId>,
    /// It was counted before it was over, or another one was, and the next of that generation looks the same.
    counted: bool,
}

/// What one generation did since it was last told of.
#[derive(Debug, Clone, Copy)]
struct Work {
    generation: usize,
    old: Told,
    now: Told,
    /// When it was last told of, and the objects that were tracked then.
    since: At,
    tracked: Option<u64>,
}

impl Epoch {
    /// Begins with the first look: a state, and the collections that the target wrote down.
    pub fn new(process: ProcessId, at: At, (state, records): (&State, &[Record])) -> Epoch {
        let told = told(state, records);
        let first = Some(totals(state)).filter(|_| counted(state));
        let mut epoch = Epoch { process, at, state: *state, seen: None, told, back: 0, first };
        epoch.meet(at, at, state);
        epoch
    }

    /// The last state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What the target had counted when this began, once; nothing where it does not count.
    pub fn take_first(&mut self) -> Option<[Totals; GENERATIONS]> {
        self.first.take()
    }

    /// Whether a collection is under way whose stack was not named yet, or may be another one's by now.
    pub fn wants_stack(&self) -> bool {
        self.seen.is_some_and(|seen| seen.stack.is_none() || seen.counted)
    }

    /// Names the stack that runs while a collection is under way, where one is wanted.
    pub fn running(&mut self, stack: Option<StackId>) {
        if let Some(seen) = &mut self.seen {
            seen.stack = if seen.counted { stack.or(seen.stack) } else { seen.stack.or(stack) };
        }
    }

    /// Goes on to the next look. `zero` is what the target's clock says at the recording's zero, where that is known.
    pub fn look(
        &mut self,
        at: At,
        (state, records): (&State, &[Record]),
        zero: Option<u64>,
        out: &mut Vec<Collection>,
    ) {
        let Some(works) = self.works(state, records) else {
            // A read that met the counts while they were written is not believed, and its time is the next look's.
            self.back += 1;
            if self.back > MAX_BACK {
                *self = Epoch::new(self.process, at, (state, records));
            }
            return;
        };
        self.back = 0;
        let before = std::mem::replace(&mut self.state, *state);
        let since = std::mem::replace(&mut self.at, at);
        if counted(state) {
            let works = works.iter().flatten();
            let ended = self.seen.and_then(|seen| Some((seen, chosen(&seen, works.clone())?)));
            for work in works {
                let seen = ended.filter(|(_, generation)| *generation == work.generation);
                self.tell(*work, records, seen.map(|(seen, _)| seen), zero, out);
            }
            if ended.is_some() || state.collecting != Some(true) {
                self.seen = None;
            }
        } else {
            self.guess(since, &before, out);
        }
        self.meet(since, at, state);
        if let Some(seen) = self.seen.as_mut().filter(|_| works.iter().any(Option::is_some)) {
            seen.counted = true;
        }
    }

    /// What each generation did since it was last told of, the youngest first; `None` where the counts went back.
    fn works(&self, state: &State, records: &[Record]) -> Option<[Option<Work>; GENERATIONS]> {
        let mut works = [None; GENERATIONS];
        let (since, tracked) = (self.at, self.state.tracked);
        let pairs = self.told.into_iter().zip(told(state, records));
        for (generation, ((old, now), place)) in pairs.zip(&mut works).enumerate() {
            let (before, after) = (old.totals, now.totals);
            let back = after.collections < before.collections
                || after.collected < before.collected
                || after.uncollectable < before.uncollectable;
            if back || after.collections - before.collections > MAX_BETWEEN {
                return None;
            }
            if after.collections > before.collections {
                *place = Some(Work { generation, old, now, since, tracked });
            }
        }
        Some(works)
    }

    /// Takes note of a collection that is under way.
    fn meet(&mut self, since: At, at: At, state: &State) {
        if state.collecting != Some(true) {
            return;
        }
        let generation = running(state);
        let new = Seen { start: since, met: at, pause: Nanos(0), generation, stack: None, counted: false };
        let seen = self.seen.get_or_insert(new);
        if seen.generation != generation {
            // The one that was met had been counted already, and another one was begun since: its stack is its own.
            *seen = Seen { pause: seen.pause, ..new };
        }
        seen.pause += at.since(since);
    }

    fn row(&self, generation: usize, start: At, done: Totals) -> Collection {
        Collection {
            process: self.process,
            interpreter: self.state.interpreter,
            generation: generation as u8,
            start,
            stop: self.at,
            pause: Nanos(0),
            exactness: Exactness::Bounds,
            count: u32::try_from(done.collections).unwrap_or(u32::MAX),
            collected: done.collected,
            uncollectable: done.uncollectable,
            objects_before: None,
            objects_after: None,
            stack: None,
        }
    }

    /// Tells what one generation did: what the target wrote down itself one by one, and the rest in one row.
    fn tell(
        &mut self,
        work: Work,
        records: &[Record],
        seen: Option<Seen>,
        zero: Option<u64>,
        out: &mut Vec<Collection>,
    ) {
        if let Some(told) = self.told.get_mut(work.generation) {
            *told = work.now;
        }
        let place = out.len();
        let mut left = less(work.now.totals, work.old.totals);
        let mut time = work.old.took.zip(work.now.took).map(|(old, now)| now.saturating_sub(old));
        // Of the first one that is still in the ring it is only known what it freed when none is missing before it.
        let mut last = work.old;
        for record in fresh(records, &work) {
            let now = Told { totals: record.totals, took: Some(record.took) };
            let Told { totals: from, took } = std::mem::replace(&mut last, now);
            if from.collections + 1 != record.totals.collections {
                continue;
            }
            let moment = |time: u64| zero.and_then(|zero| time.checked_sub(zero)).map(At);
            let (Some(start), Some(stop)) = (moment(record.start), moment(record.stop)) else { continue };
            // The times are the target's word: they lie between the looks, or they are not believed.
            if stop > self.at || stop < work.since {
                continue;
            }
            let done = less(record.totals, from);
            left = less(left, done);
            time = time.zip(took).map(|(time, took)| time.saturating_sub(record.took.saturating_sub(took)));
            let met = seen.filter(|seen| start <= seen.met && seen.met <= stop);
            out.push(Collection {
                stop,
                pause: stop.since(start),
                exactness: Exactness::Exact,
                objects_after: record.tracked,
                stack: met.and_then(|seen| seen.stack),
                ..self.row(work.generation, start, done)
            });
        }
        if left.collections > 0 {
            let seen = seen.filter(|_| out.iter().skip(place).all(|row| row.stack.is_none()));
            let met = seen.map_or(Nanos(0), |seen| seen.pause);
            let row = Collection {
                pause: time.map_or(met, Nanos),
                objects_before: work.tracked,
                objects_after: self.state.tracked,
                stack: seen.and_then(|seen| seen.stack),
                ..self.row(work.generation, seen.map_or(work.since, |seen| seen.start), left)
            };
            // They were before those that are known one by one.
            out.insert(place, row);
        }
    }

    /// Tells what the counts alone prove, for a target that counts no collections.
    fn guess(&mut self, since: At, before: &State, out: &mut Vec<Collection>) {
        let counts = |state: &State| state.generations.map(|generation| i64::from(generation.count).max(0));
        let ([_, middle, oldest], [_, middle_now, oldest_now]) = (counts(before), counts(&self.state));
        let mut proved = if oldest_now < oldest || (oldest_now == oldest && middle_now < middle) {
            [middle_now, oldest_now, 1]
        } else if oldest_now > oldest {
            [middle_now, oldest_now - oldest, 0]
        } else {
            [middle_now - middle, 0, 0]
        };
        // A count goes up when a collection begins: that of one which is under way is proved already, and told at its end.
        let now = Some(&self.state).filter(|state| state.collecting == Some(true)).and_then(running);
        let goes_on = proved == [0; GENERATIONS] && now.is_some();
        if let Some(seen) = self.seen.take_if(|_| !goes_on) {
            let one = Totals { collections: 1, ..Totals::default() };
            out.push(Collection {
                pause: seen.pause,
                stack: seen.stack,
                exactness: Exactness::AtLeast,
                ..self.row(seen.generation.unwrap_or(0), seen.start, one)
            });
        }
        if let Some(proved) = now.and_then(|generation| proved.get_mut(generation)) {
            *proved = (*proved - 1).max(0);
        }
        for (generation, proved) in proved.into_iter().enumerate().filter(|(_, proved)| *proved > 0) {
            let done = Totals { collections: proved.cast_unsigned(), ..Totals::default() };
            out.push(Collection { exactness: Exactness::AtLeast, ..self.row(generation, since, done) });
        }
    }
}

fn totals(state: &State) -> [Totals; GENERATIONS] {
    state.generations.map(|generation| generation.totals.unwrap_or_default())
}

/// What each generation has done up to a look.
fn told(state: &State, records: &[Record]) -> [Told; GENERATIONS] {
    let mut told = totals(state).map(|totals| Told { totals, took: (totals.collections == 0).then_some(0) });
    for record in records {
        if let Some(told) = told.get_mut(usize::from(record.generation))
            && told.totals == record.totals
        {
            told.took = Some(record.took);
        }
    }
    told
}

/// The records of what was not told of yet, without a gap between them; none where they contradict each other.
fn fresh<'a>(records: &'a [Record], work: &Work) -> &'a [Record] {
    let is_own = |record: &Record| usize::from(record.generation) == work.generation;
    let is_new = |record: &Record| is_own(record) && record.totals.collections > work.old.totals.collections;
    let (Some(first), Some(last)) = (records.iter().position(is_new), records.iter().rposition(is_own))
    else {
        return &[];
    };
    let new = records.get(first..=last).unwrap_or_default();
    let follow = |pair: &[Record]| match pair {
        [one, next] => {
            next.generation == one.generation
                && next.totals.collections == one.totals.collections + 1
                && next.totals.collected >= one.totals.collected
                && next.totals.uncollectable >= one.totals.uncollectable
                && next.start >= one.stop
        }
        _ => false,
    };
    let whole = new.windows(2).all(follow);
    let ends = new.last().is_some_and(|record| record.totals == work.now.totals);
    if whole && ends { new } else { &[] }
}

fn less(one: Totals, other: Totals) -> Totals {
    Totals {
        collections: one.collections.saturating_sub(other.collections),
        collected: one.collected.saturating_sub(other.collected),
        uncollectable: one.uncollectable.saturating_sub(other.uncollectable),
    }
}

/// Whether the target counts its collections.
fn counted(state: &State) -> bool {
    state.generations.iter().any(|generation| generation.totals.is_some())
}

/// Which generation is collected, while a collection is under way: when one begins, its own count and those of the younger
/// ones go to zero, and that of the next older one goes up.
fn running(state: &State) -> Option<usize> {
    let [_, middle, oldest] = state.generations.map(|generation| generation.count);
    match (middle, oldest) {
        (1.., _) => Some(0),
        (0, 1..) => Some(1),
        (0, 0) => Some(2),
        _ => None,
    }
}

/// Which of several generations it was that was seen under way.
fn chosen<'a>(seen: &Seen, works: impl DoubleEndedIterator<Item = &'a Work> + Clone) -> Option<usize> {
    let named = works.clone().find(|work| Some(work.generation) == seen.generation);
    named.or_else(|| works.clone().next_back()).map(|work| work.generation)
}

#[cfg(test)]
mod tests;
