//! What a live view remembers: a recording that stays small. What is too old is let go, and where rows become too many,
//! older samples are folded a second at a time, or several.
//!
//! Design constraints: it is a [`Recording`], so that pictures of it and files made of it are one and the same thing. Folding
//! changes no sum: the rows of a thread that say the same within a second become one, and lie in that second one behind
//! the other.

use rustc_hash::FxHashMap;

use crate::model::gc::{Collection, Gauge};
use crate::model::heap::HeapState;
use crate::model::{At, Counter, Event, Nanos, ProcessId, Sample, StringId, TrackId};
use crate::recording::heap::Heap;
use crate::recording::known::Refusal;
use crate::recording::{Meta, Recording};

/// The most rows of samples, of all threads together; they are what takes memory: 3 MB.
const MAX_ROWS: usize = 40_000;
/// Each thread has room for so many more rows than it has.
const SPARE: usize = 16;
/// Folding makes room for one part in so many.
const ROOM: usize = 4;
/// The most collections, and the most counters, that are kept one by one.
const MAX_COLLECTIONS: usize = 10_000;
const MAX_COUNTERS: usize = 20_000;
/// The most arenas and size classes, of all states of allocators together.
const MAX_HEAP_ROWS: usize = 20_000;
/// The most troubles.
const MAX_TROUBLES: usize = 10_000;
/// How often what is too old is let go; more often where the history is short.
const FORGET_EVERY: Nanos = Nanos(10 * Nanos::SECOND.0);
/// A thread that was not met for so long has ended: its track may be another one's. Whoever samples it knew that long before.
const ENDED: Nanos = Nanos(60 * Nanos::SECOND.0);
/// So much of the past is never folded, unless all rows lie in it.
const RECENT: Nanos = Nanos(20 * Nanos::SECOND.0);

/// The recording of a live view.
#[derive(Debug)]
pub struct History {
    recording: Recording,
    /// How far it reaches back.
    span: Nanos,
    max_rows: usize,
    rows: usize,
    /// How much time one fold takes in; zero where nothing is folded yet.
    grain: Nanos,
    /// When it was last tidied up.
    tidied: At,
    /// When what is too old was last let go.
    forgot: At,
    /// Tracks of threads that have ended, and of which nothing is left.
    ended: Vec<TrackId>,
}

impl History {
    /// An empty history that reaches back so far.
    pub fn new(meta: Meta, span: Nanos) -> History {
        History::with_room(meta, span, MAX_ROWS)
    }

    fn with_room(meta: Meta, span: Nanos, max_rows: usize) -> History {
        let recording = Recording::new(meta);
        let (grain, never) = (Nanos(0), At(0));
        History { recording, span, max_rows, rows: 0, grain, tidied: never, forgot: never, ended: Vec::new() }
    }

    /// What is remembered.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What it says of itself.
    pub fn meta_mut(&mut self) -> &mut Meta {
        &mut self.recording.meta
    }

    /// How far it reaches back.
    pub fn span(&self) -> Nanos {
        self.span
    }

    /// How much time older samples are folded by; `None` where none are.
    pub fn grain(&self) -> Option<Nanos> {
        (self.grain > Nanos(0)).then_some(self.grain)
    }

    /// Adds what happened; of single pools, which no view shows, nothing is kept.
    pub fn add(&mut self, mut event: Event) -> Result<(), Refusal> {
        if let Event::Heap(state) = &mut event {
            (state.pools, state.pool_size) = (Vec::new(), 0);
        }
        self.recording.add(event)
    }

    /// Lets go of what is too old, and folds what is too much; once a second of the recording is enough. Gives back the tracks
    /// of which nothing is left.
    pub fn tidy(&mut self, now: At) -> Vec<TrackId> {
        if now.since(self.tidied) >= Nanos::SECOND {
            self.shrink(now);
        }
        std::mem::take(&mut self.ended)
    }

    fn shrink(&mut self, now: At) {
        self.tidied = now;
        // Not at every turn: what is kept of counters and the like is made anew each time.
        if now.since(self.forgot) >= FORGET_EVERY.min(Nanos(self.span.0 / 10)) {
            self.forgot = now;
            self.forget(now, now.back(self.span));
        }
        self.count();
        if self.rows <= self.max_rows {
            return;
        }
        // By as much as before at first, for that changes nothing of what is folded; then by more, until there is room.
        self.grain = self.grain.max(Nanos::SECOND);
        while !self.fold(now, self.grain) && self.grain < self.span {
            self.grain = self.grain + self.grain;
        }
        // More threads than rows: there is no room for all that time.
        let mut span = self.span;
        while self.rows > self.max_rows && span > Nanos(0) {
            span = Nanos(span.0 / 2);
            self.forget(now, now.back(span));
            self.count();
        }
    }

    fn count(&mut self) {
        self.rows = self.recording.samples.iter().map(Vec::len).sum();
    }

    /// Folds what is older than the recent past; whether that made enough room.
    fn fold(&mut self, now: At, grain: Nanos) -> bool {
        let before = At(now.back(RECENT).0 / grain.0 * grain.0);
        self.recording.samples.iter_mut().for_each(|rows| fold(rows, before, grain));
        self.count();
        self.rows + self.max_rows / ROOM <= self.max_rows
    }

    /// Lets go of everything before a moment.
    fn forget(&mut self, now: At, cut: At) {
        for (track, rows) in (0..).map(TrackId).zip(&mut self.recording.samples) {
            let mut gone = rows.partition_point(|row| row.until <= cut);
            // The last row goes with the track.
            if let Some(last) = rows.last().filter(|_| gone == rows.len()) {
                let ended = now.since(last.until) >= ENDED;
                self.ended.extend(ended.then_some(track));
                gone -= usize::from(!ended);
            }
            rows.drain(..gone);
            // A vector that has grown holds room for as much again; that of a thread that has ended needs none at all.
            let lives = rows.last().is_some_and(|last| now.since(last.until) < FORGET_EVERY);
            let spare = if lives { SPARE + rows.len() / 4 } else { 0 };
            if rows.capacity() > rows.len() + spare {
                rows.shrink_to(rows.len() + spare);
            }
        }
        let old = self.recording.gc.iter().take_while(|row| row.stop <= cut).count();
        let old = old.max(self.recording.gc.len().saturating_sub(MAX_COLLECTIONS));
        let gone: Vec<Collection> = self.recording.gc.drain(..old).collect();
        self.forget_counters(cut, &gone);
        self.forget_heaps(cut);
        let troubles = &mut self.recording.troubles;
        let old = troubles.iter().take_while(|trouble| trouble.at <= cut).count();
        // What is let go is still counted, in the first of its kind that stays.
        let old = old.max(troubles.len().saturating_sub(MAX_TROUBLES));
        let gone: Vec<_> = troubles.drain(..old).filter(|trouble| trouble.text.is_none()).collect();
        for trouble in gone {
            match troubles.iter_mut().find(|it| it.kind == trouble.kind && it.text.is_none()) {
                Some(kept) => kept.count = kept.count.saturating_add(trouble.count),
                None => troubles.insert(0, trouble),
            }
        }
    }

    /// Lets go of states of allocators. Each says what changed since the one before it: in place of those of a process that go
    /// there is one that says all there was.
    fn forget_heaps(&mut self, cut: At) {
        let rows = |state: &HeapState| 1 + state.arenas.len() + state.classes.len();
        let heaps = &mut self.recording.heaps;
        let mut room = MAX_HEAP_ROWS;
        let fits = |state: &&HeapState| {
            let left = room.checked_sub(rows(state));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let kept = heaps.iter().rev().take_while(|state| state.at > cut).take_while(fits).count();
        let old = heaps.len() - kept;
        // One that stands for all before it goes when there is another one to put in its place.
        if heaps.iter().take(old).all(|state| state.whole) {
            return;
        }
        let mut sums: Vec<(ProcessId, At, Heap)> = Vec::new();
        for state in heaps.drain(..old) {
            let place = sums.iter().position(|(process, ..)| *process == state.process);
            let place = place.unwrap_or_else(|| {
                sums.push((state.process, state.at, Heap::default()));
                sums.len() - 1
            });
            if let Some((_, at, heap)) = sums.get_mut(place) {
                *at = state.at;
                heap.take(&state);
            }
        }
        sums.sort_by_key(|(_, at, _)| *at);
        let whole = sums.into_iter().map(|(process, at, heap)| HeapState {
            at,
            process,
            whole: true,
            arenas: heap.arenas.into_values().collect(),
            classes: heap.classes.into_values().collect(),
            pools: Vec::new(),
            pool_size: 0,
            suspect_pools: heap.suspect_pools,
        });
        heaps.splice(..0, whole);
    }

    /// Lets go of counters; of each the last value before the cut stays. Collections that are no longer told one by one move
    /// into the totals from before.
    fn forget_counters(&mut self, cut: At, collections: &[Collection]) {
        let counters = &self.recording.counters;
        let old = counters.iter().take_while(|counter| counter.at <= cut).count();
        let old = old.max(counters.len().saturating_sub(MAX_COUNTERS));
        if old == 0 && collections.is_empty() {
            return;
        }
        let mut last: FxHashMap<(ProcessId, StringId), Counter> = FxHashMap::default();
        let mut order = Vec::new();
        for counter in self.recording.counters.drain(..old) {
            let key = (counter.process, counter.name);
            if last.insert(key, counter).is_none() {
                order.push(key);
            }
        }
        let mut kept: Vec<Counter> = order.iter().filter_map(|key| last.get(key)).copied().collect();
        kept.append(&mut self.recording.counters);
        if let Some(until) = collections.iter().map(|row| row.stop).max() {
            for counter in &mut kept {
                let gauge = Gauge::of_name(self.recording.string(counter.name));
                let Some((interpreter, gauge)) = gauge.filter(|(_, gauge)| gauge.is_before()) else {
                    continue;
                };
                let own = collections.iter().filter(|row| {
                    counter.at < row.stop && (row.process, row.interpreter) == (counter.process, interpreter)
                });
                let more: u64 = own.map(|row| told(row, gauge)).fold(0, u64::saturating_add);
                counter.value = counter.value.saturating_add_unsigned(more);
                counter.at = counter.at.max(until);
            }
            kept.sort_by_key(|counter| counter.at);
        }
        self.recording.counters = kept;
    }
}

/// What a collection adds to a total.
fn told(row: &Collection, gauge: Gauge) -> u64 {
    match gauge {
        Gauge::Collections(of) if of == row.generation => u64::from(row.count),
        Gauge::Collected(of) if of == row.generation => row.collected,
        Gauge::Uncollectable(of) if of == row.generation => row.uncollectable,
        _ => 0,
    }
}

/// Makes one row of those that say the same within a stretch of time of that length, as far as they lie before a moment.
fn fold(rows: &mut Vec<Sample>, before: At, grain: Nanos) {
    let old = rows.partition_point(|row| row.until <= before);
    let mut folded: Vec<Sample> = Vec::new();
    // What the stretch of time at hand has already, and where.
    let (mut known, mut stretch) = (FxHashMap::default(), None);
    for row in rows.iter().take(old) {
        let of = row.from.0 / grain.0;
        if stretch != Some(of) {
            known.clear();
            stretch = Some(of);
        }
        let says = (row.stack, row.state, row.flags, row.quality, row.cpu.is_some());
        let place = *known.entry(says).or_insert(folded.len());
        match folded.get_mut(place) {
            Some(first) => {
                first.count = first.count.saturating_add(row.count);
                first.weight += row.weight;
                first.cpu = first.cpu.zip(row.cpu).map(|(one, other)| one + other);
                first.until = first.until + row.until.since(row.from);
            }
            None => folded.push(*row),
        }
    }
    if folded.len() == old {
        return;
    }
    lay(&mut folded, grain);
    rows.splice(..old, folded);
    rows.shrink_to_fit();
}

/// Puts the rows of each stretch of time one behind the other.
fn lay(rows: &mut [Sample], grain: Nanos) {
    let (mut end, mut stretch) = (At(0), None);
    for row in rows {
        let of = row.from.0 / grain.0;
        let length = row.until.since(row.from);
        let from = if stretch == Some(of) { end } else { row.from.max(end) };
        stretch = Some(of);
        (row.from, row.until) = (from, from + length);
        end = row.until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Define, Process, StackId, State, Track, TrackId, TrackKind};

    const MS: u64 = 1_000_000;

    fn sample(from: u64, until: u64, stack: Option<u32>, state: State) -> Sample {
        Sample {
            from: At(from),
            until: At(until),
            count: 1,
            track: TrackId(0),
            stack: stack.map(StackId),
            weight: Nanos(until - from),
            cpu: Some(Nanos((until - from) / 2)),
            state,
            flags: Default::default(),
            quality: Default::default(),
        }
    }

    fn history(span: Nanos, max_rows: usize) -> History {
        let mut history = History::with_room(Meta::default(), span, max_rows);
        let text = |id, text: &str| Event::Define(Define::String(StringId(id), text.into()));
        let process = Process {
            pid: 1,
            parent: None,
            command: StringId(0),
            python: StringId(0),
            free_threaded: false,
            debug: false,
        };
        let track = Track {
            kind: TrackKind::Thread,
            process: ProcessId(0),
            interpreter: 0,
            thread: 1,
            native: None,
            name: None,
            main: true,
        };
        let define = [
            text(0, "app"),
            text(1, &Gauge::Collections(0).name(0)),
            text(2, &Gauge::Count(0).name(0)),
            Event::Define(Define::Process(ProcessId(0), process)),
            Event::Define(Define::Track(TrackId(0), track)),
        ];
        define.into_iter().for_each(|event| history.add(event).unwrap());
        history
    }

    /// The sums that folding must not change: weight, processor time and looks of each state.
    fn sums(rows: &[Sample]) -> [(u64, u64, u64); 2] {
        [State::Python, State::Native].map(|state| {
            let own = || rows.iter().filter(|row| row.state == state);
            (
                own().map(|row| row.weight.0).sum(),
                own().filter_map(|row| row.cpu).map(|cpu| cpu.0).sum(),
                own().map(|row| u64::from(row.count)).sum(),
            )
        })
    }

    #[test]
    fn folding_keeps_every_sum_and_the_order_of_time() {
        let mut history = history(Nanos(600 * Nanos::SECOND.0), 3_000);
        let mut last = At(0);
        let mut said = Vec::new();
        for look in 0..60_000_u64 {
            let state = if look % 3 == 0 { State::Python } else { State::Native };
            let row = sample(look * 10 * MS, (look + 1) * 10 * MS, None, state);
            said.push(row);
            history.add(Event::Samples { looks: 1, rows: vec![row] }).unwrap();
            last = row.until;
            history.tidy(last);
            assert!(history.rows <= 3_000);
        }
        let rows = &history.recording().samples[0];
        assert!(rows.len() <= 3_100, "{}", rows.len());
        assert!(history.grain() > Some(Nanos::SECOND));
        assert_eq!(sums(rows), sums(&said));
        assert!(rows.windows(2).all(|two| two[0].until <= two[1].from), "they overlap");
        assert_eq!(rows.last().unwrap().until, last);
    }

    #[test]
    fn what_is_older_than_the_history_is_let_go() {
        let mut history = history(Nanos(5 * Nanos::SECOND.0), 2_000);
        for look in 0..1_000_u64 {
            let state = if look % 2 == 0 { State::Python } else { State::Native };
            let row = sample(look * 10 * MS, (look + 1) * 10 * MS, None, state);
            history.add(Event::Samples { looks: 1, rows: vec![row] }).unwrap();
            history.tidy(row.until);
        }
        let rows = &history.recording().samples[0];
        assert_eq!((rows.len(), rows[0].from), (500, At(5_000 * MS)));
        assert_eq!(history.grain(), None);
    }

    #[test]
    fn a_track_is_given_back_once_when_its_thread_has_ended_and_nothing_is_left_of_it() {
        let mut history = history(Nanos(5 * Nanos::SECOND.0), 2_000);
        let track = history.recording().tracks[0];
        history.add(Event::Define(Define::Track(TrackId(1), track))).unwrap();
        let mut back = Vec::new();
        for second in 0..100 {
            let lives = sample(second * 1_000 * MS, (second + 1) * 1_000 * MS, None, State::Python);
            let ends = Sample { track: TrackId(1), ..lives };
            let rows = if second < 10 { vec![lives, ends] } else { vec![lives] };
            history.add(Event::Samples { looks: 1, rows }).unwrap();
            back.extend(history.tidy(lives.until).into_iter().map(|track| (lives.until, track)));
        }
        assert_eq!(back, [(At((10 + 60) * 1_000 * MS), TrackId(1))]);
        assert_eq!(history.recording().samples_of(TrackId(1)), []);
    }

    #[test]
    fn the_allocator_stays_what_it_is_when_its_states_are_let_go() {
        use crate::model::Bytes;
        use crate::model::heap::Arena;
        let mut history = history(Nanos(5 * Nanos::SECOND.0), 2_000);
        let (mut all, mut truth) = (0, Heap::default());
        for tenth in 0..400_u64 {
            let at = At(tenth * 100 * MS);
            // An arena is made each time, and each second one is given back.
            let (made, gone) = (tenth << 20, (tenth / 2) << 20);
            let mut arenas =
                vec![Arena { address: made, size: Bytes(1 << 20), pooled: Bytes(64), used: None }];
            if tenth % 10 == 9 {
                arenas.insert(0, Arena { address: gone, size: Bytes(0), pooled: Bytes(0), used: None });
            }
            all += arenas.len();
            let process = ProcessId(0);
            let state = HeapState {
                at,
                process,
                whole: tenth == 0,
                arenas,
                classes: vec![],
                pools: vec![],
                pool_size: 0,
                suspect_pools: 0,
            };
            truth.take(&state);
            history.add(Event::Heap(state)).unwrap();
            history.tidy(at);
            assert_eq!(Heap::at(history.recording(), process, at).as_ref(), Some(&truth));
        }
        let heaps = &history.recording().heaps;
        assert!(heaps.len() <= 61 && heaps[0].whole && !heaps[1].whole, "{} of {all}", heaps.len());
    }

    #[test]
    fn totals_stay_what_they_are_when_collections_are_let_go() {
        use crate::model::gc::Exactness;
        use crate::recording::gc::Collector;
        let mut history = history(Nanos(5 * Nanos::SECOND.0), 2_000);
        let counter = |name, at, value| {
            Event::Counter(Counter { at: At(at), process: ProcessId(0), name: StringId(name), value })
        };
        history.add(counter(1, 0, 7)).unwrap();
        for second in 1..=20_u64 {
            let stop = At(second * Nanos::SECOND.0);
            let row = Collection {
                process: ProcessId(0),
                interpreter: 0,
                generation: 0,
                start: stop,
                stop,
                pause: Nanos(0),
                exactness: Exactness::Bounds,
                count: 2,
                collected: 0,
                uncollectable: 0,
                objects_before: None,
                objects_after: None,
                stack: None,
            };
            history.add(counter(2, stop.0, second as i64)).unwrap();
            history.add(Event::Gc(row)).unwrap();
            history.tidy(stop);
            let [collector] = &Collector::all_at(history.recording(), stop)[..] else { panic!() };
            let totals = collector.generations[0].totals.unwrap();
            assert_eq!(totals.collections, 7 + 2 * second);
            assert_eq!(collector.generations[0].count, Some(second as i64));
        }
        assert!(history.recording().gc.len() <= 6 && history.recording().counters.len() <= 8);
    }
}
