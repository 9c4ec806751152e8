//! What memory is put down to which stacks, as a view counts it, and how well that is known.
//!
//! Design constraints: bursts say how much memory was handed out in a moment while a stack stood. A burst at whose end the stack was
//! another one says nothing of what was handed out, but that the first stack was there: so what the others say of its functions counts for
//! it too, or those that run for a moment only would get less than their share. The sum is then brought to what all pools grew by,
//! as far as that is known and not mostly given back.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::options::{Metric, ViewOptions};
use super::tables::Recording;
use crate::model::allocation::{Allocation, Evidence};
use crate::model::heap::Gauge;
use crate::model::{At, ProcessId, StackId, StringId, TrackId};

/// Sums are brought to what all pools grew by where what grew is so many times what shrank, at least.
const MOSTLY: f64 = 3.0;
/// Functions that were never there at both ends of a burst have a part in it where they were in more than one burst in so many.
const OFTEN: u64 = 10;
/// How many standard errors are told: 95 of 100 times it is no more.
const SIGMAS: f64 = 1.96;

/// How memory was put down to stacks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Source {
    /// It was not.
    #[default]
    Nothing,
    /// By the target's own `tracemalloc`: what was in use at that moment.
    Traced(At),
    /// By bursts: what small blocks grew by.
    Sampled(Sampled),
}

/// How well it is known what bursts say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// Bursts at whose end the stack was the same.
    pub kept: u64,
    /// All bursts.
    pub bursts: u64,
    /// How far the sum may be off, as a part of it, before it is brought to what is known.
    pub error: f64,
    /// What small blocks grew by in all, in bytes, where the sum was brought to that.
    pub known: Option<i64>,
}

/// Memory put down to a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) at: At,
    pub(super) stack: Option<StackId>,
    pub(super) weight: u64,
}

/// What a stack has more at a moment than before it, or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: At,
    pub(super) stack: Option<StackId>,
    pub(super) by: i64,
}

/// The memory of a recording, by track.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    pub(super) source: Source,
    tracks: FxHashMap<TrackId, Vec<Share>>,
    changes: FxHashMap<TrackId, Vec<Change>>,
}

/// What bursts say of the functions of a stack.
#[derive(Debug, Default)]
struct Sum {
    kept: u64,
    moved: u64,
    grown: f64,
    /// What the bursts of each stack of these functions, with its lines, grew by.
    stacks: FxHashMap<(TrackId, Option<StackId>), f64>,
}

/// A function on a stack of functions; whose lines do not matter.
type Functions = Option<u32>;

impl Attribution {
    /// What a view counts, where memory is what it counts. Of what `tracemalloc` said of a process, the last is what counts; bursts
    /// are where it said nothing.
    pub(super) fn new(recording: &Recording, options: &ViewOptions, from: At, to: At) -> Attribution {
        let mut attribution = Attribution::default();
        if !options.metric.is_memory() {
            return attribution;
        }
        let process = |row: &Allocation| recording.track(row.track).map(|track| track.process);
        let mut tables: FxHashMap<Option<ProcessId>, BTreeMap<At, Vec<&Allocation>>> = FxHashMap::default();
        let mut bursts: FxHashMap<Option<ProcessId>, Vec<&Allocation>> = FxHashMap::default();
        for row in recording.allocations.iter().filter(|row| row.at <= to) {
            match row.evidence {
                Evidence::Traced => {
                    tables.entry(process(row)).or_default().entry(row.at).or_default().push(row);
                }
                _ if row.at >= from => bursts.entry(process(row)).or_default().push(row),
                _ => {}
            }
        }
        bursts.retain(|process, _| !tables.contains_key(process));
        for tables in tables.values() {
            attribution.trace(options.metric, tables);
        }
        let functions = if bursts.is_empty() { Vec::new() } else { functions(recording) };
        for (process, rows) in bursts {
            let Some(process) = process else { continue };
            let source = attribution.sample(recording, options.metric, process, &rows, &functions);
            if !matches!(attribution.source, Source::Traced(_)) {
                attribution.source = Source::Sampled(source);
            }
        }
        attribution
            .tracks
            .values_mut()
            .for_each(|shares| shares.sort_by_key(|share| (share.at, share.stack)));
        for changes in attribution.changes.values_mut() {
            changes.sort_by_key(|change| (change.at, change.stack));
        }
        attribution
    }

    /// What is put down to the stacks of a track.
    pub(super) fn of(&self, track: TrackId) -> &[Share] {
        self.tracks.get(&track).map_or(&[], Vec::as_slice)
    }

    /// How that came to be, in time: of each stack it adds up to its share.
    pub(super) fn changes(&self, track: TrackId) -> &[Change] {
        self.changes.get(&track).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, track: TrackId, share: Share) {
        self.tracks.entry(track).or_default().push(share);
    }

    fn change(&mut self, track: TrackId, change: Change) {
        if change.by != 0 {
            self.changes.entry(track).or_default().push(change);
        }
    }

    /// Puts down what `tracemalloc` says of a process: what was in use at the last table, and how each differs from the one before it.
    fn trace(&mut self, metric: Metric, tables: &BTreeMap<At, Vec<&Allocation>>) {
        let mut held: BTreeMap<(TrackId, Option<StackId>), i64> = BTreeMap::new();
        for (n, (at, rows)) in tables.iter().enumerate() {
            // Of what was in use before the first table nothing else is known.
            let at = if n == 0 { At(0) } else { *at };
            let mut now: BTreeMap<(TrackId, Option<StackId>), i64> = BTreeMap::new();
            for row in rows {
                let sum = now.entry((row.track, row.stack)).or_default();
                *sum = sum.saturating_add(amount(row, metric).max(0));
            }
            let gone = held.iter().filter(|(of, _)| !now.contains_key(of)).map(|(of, was)| (*of, -was));
            let there = now.iter().map(|(of, is)| (*of, is - held.get(of).copied().unwrap_or(0)));
            for ((track, stack), by) in gone.chain(there) {
                self.change(track, Change { at, stack, by });
            }
            held = now;
        }
        let Some(at) = tables.keys().next_back().copied() else { return };
        for ((track, stack), weight) in held {
            self.add(track, Share { at, stack, weight: weight.unsigned_abs() });
        }
        let before = if let Source::Traced(before) = self.source { before } else { at };
        self.source = Source::Traced(at.max(before));
    }

    /// Puts down what the bursts of a process say.
    fn sample(
        &mut self,
        recording: &Recording,
        metric: Metric,
        process: ProcessId,
        rows: &[&Allocation],
        functions: &[Functions],
    ) -> Sampled {
        let mut sums: FxHashMap<Functions, Sum> = FxHashMap::default();
        let (mut kept, mut spans) = (0, 0);
        let of =
            |row: &Allocation| row.stack.and_then(|stack| functions.get(stack.index()).copied()).flatten();
        for row in rows {
            let sum = sums.entry(of(row)).or_default();
            match row.evidence {
                Evidence::Burst(span) => (sum.kept, kept, spans) = (sum.kept + 1, kept + 1, spans + span.0),
                Evidence::Moved(span) => (sum.moved, spans) = (sum.moved + 1, spans + span.0),
                Evidence::Traced => {}
            }
        }
        let fleeting: u64 = sums.values().filter(|sum| sum.kept == 0).map(|sum| sum.moved).sum();
        if fleeting * OFTEN < rows.len() as u64 {
            sums.retain(|_, sum| sum.kept > 0);
        }
        for row in rows {
            let Some(sum) = sums.get_mut(&of(row)) else { continue };
            let Some(grown) = sum.part(row, metric) else { continue };
            sum.grown += grown;
            *sum.stacks.entry((row.track, row.stack)).or_default() += grown;
        }
        let (grew, shrank) = sums.values().fold((0.0, 0.0), |(grew, shrank): (f64, f64), sum| {
            (grew + sum.grown.max(0.0), shrank - sum.grown.min(0.0))
        });
        let (first, last) =
            (rows.first().map_or(At(0), |row| row.at), rows.last().map_or(At(0), |row| row.at));
        let known = known(recording, process, first, last).filter(|_| metric == Metric::Bytes);
        let known = known.filter(|known| *known > 0 && grew > 0.0 && grew >= MOSTLY * shrank);
        // Bursts are a part of the time for which the GIL was held and something ran.
        let alone = ran(recording, process, first, last) as f64 / spans.max(1) as f64;
        let scale = known.map_or(alone, |known| known as f64 / (grew - shrank));
        let squares: f64 = rows
            .iter()
            .filter(|row| matches!(row.evidence, Evidence::Burst(_)))
            .map(|row| (amount(row, metric) as f64).powi(2))
            .sum();
        let plain: f64 = sums.values().flat_map(|sum| sum.stacks.values()).sum::<f64>().abs();
        // What each stack gets of what it grew by, and how much of both was told so far.
        let mut told: FxHashMap<(TrackId, Option<StackId>), (f64, f64, i64)> = FxHashMap::default();
        for sum in sums.values().filter(|sum| sum.grown > 0.0) {
            let whole: f64 = sum.stacks.values().filter(|grown| **grown > 0.0).sum();
            for ((track, stack), grown) in sum.stacks.iter().filter(|(_, grown)| **grown > 0.0) {
                let weight = (sum.grown * scale * grown / whole).round();
                self.add(*track, Share { at: last, stack: *stack, weight: weight as u64 });
                told.insert((*track, *stack), (weight / grown, 0.0, 0));
            }
        }
        for row in rows {
            let Some(grown) = sums.get(&of(row)).and_then(|sum| sum.part(row, metric)) else { continue };
            let Some((each, sum, before)) = told.get_mut(&(row.track, row.stack)) else { continue };
            *sum += grown;
            // The sum is rounded, so that all of it is told in the end.
            let now = (*each * *sum).round() as i64;
            self.change(row.track, Change { at: row.at, stack: row.stack, by: now.saturating_sub(*before) });
            *before = now;
        }
        let error = if plain > 0.0 { SIGMAS * squares.sqrt() / plain } else { f64::INFINITY };
        Sampled { kept, bursts: rows.len() as u64, error, known }
    }
}

impl Sum {
    /// What a burst counts for, so that those that moved have their part; `None` where it says nothing.
    fn part(&self, row: &Allocation, metric: Metric) -> Option<f64> {
        let all = match (self.kept, row.evidence) {
            (0, _) => 1.0,
            (kept, Evidence::Burst(_)) => (kept + self.moved) as f64 / kept as f64,
            _ => return None,
        };
        Some(amount(row, metric) as f64 * all)
    }
}

fn amount(row: &Allocation, metric: Metric) -> i64 {
    if metric == Metric::Bytes { row.bytes } else { row.blocks }
}

/// What small blocks of a process grew by between two moments, as the headers of all pools say it.
fn known(recording: &Recording, process: ProcessId, from: At, to: At) -> Option<i64> {
    let name = recording.strings.iter().position(|text| **text == *Gauge::BlockBytes.name())?;
    let name = StringId(u32::try_from(name).ok()?);
    let told = recording.counters.iter().filter(|counter| counter.process == process && counter.name == name);
    // Who is looked at once a second is looked at last a moment after the last burst.
    let first =
        told.clone().take_while(|counter| counter.at <= from).last().or_else(|| told.clone().next())?;
    let last = told.clone().find(|counter| counter.at >= to).or_else(|| told.clone().next_back())?;
    (last.at > first.at).then(|| last.value.saturating_sub(first.value))
}

/// For how long the threads of a process ran and held the GIL between two moments, in nanoseconds.
fn ran(recording: &Recording, process: ProcessId, from: At, to: At) -> u64 {
    let tracks = (0..).map(TrackId).zip(&recording.tracks).filter(|(_, track)| track.process == process);
    let rows = tracks.flat_map(|(id, _)| recording.samples_of(id));
    let rows = rows.filter(|row| row.flags.holds_gil == Some(true) && row.until >= from && row.from <= to);
    rows.map(|row| row.cpu.unwrap_or(row.weight).0).fold(0, u64::saturating_add)
}

/// For each stack, its functions: equal for stacks that differ in their lines only.
fn functions(recording: &Recording) -> Vec<Functions> {
    let mut known: FxHashMap<(Functions, StringId, u32, Option<u32>), u32> = FxHashMap::default();
    let mut all: Vec<Functions> = Vec::with_capacity(recording.stacks.len());
    for stack in &recording.stacks {
        let below = stack.parent.and_then(|parent| all.get(parent.index()).copied()).flatten();
        let next = known.len() as u32;
        let function = recording.frame(stack.frame).map(|frame| {
            let key = (below, frame.qualname.unwrap_or(frame.name), frame.file.0, frame.first_line);
            *known.entry(key).or_insert(next)
        });
        all.push(function);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Counter, Define, Event, File, FileId, FileKind, Frame, FrameId, FrameKind, Nanos, Process, Stack,
        Track, TrackKind,
    };
    use crate::recording::Meta;

    /// A process with two functions, each a stack of its own, whose small blocks grew by so much.
    fn recording(grew: i64, rows: Vec<Allocation>) -> Recording {
        let mut recording = Recording::new(Meta::default());
        let mut add = |event: Event| recording.add(event).unwrap();
        for (id, text) in (0..).zip(["keeps", "computes", Gauge::BlockBytes.name()]) {
            add(Event::Define(Define::String(StringId(id), text.into())));
        }
        let (name, process) = (StringId(0), ProcessId(0));
        let file = File { path: name, kind: FileKind::Own, distribution: None };
        add(Event::Define(Define::File(FileId(0), file)));
        let (parent, free_threaded, debug) = (None, false, false);
        let row = Process { pid: 1, parent, command: name, python: name, free_threaded, debug };
        add(Event::Define(Define::Process(process, row)));
        let (kind, native, name) = (TrackKind::Thread, None, None);
        let track = Track { kind, process, interpreter: 0, thread: 1, native, name, main: true };
        add(Event::Define(Define::Track(TrackId(0), track)));
        // The first function has two lines.
        for (id, name, line) in [(0, 0, 1), (1, 0, 2), (2, 1, 5)] {
            let frame = Frame {
                kind: FrameKind::Python,
                name: StringId(name),
                qualname: None,
                file: FileId(0),
                line: Some(line),
                end_line: None,
                column: None,
                end_column: None,
                first_line: Some(1),
            };
            add(Event::Define(Define::Frame(FrameId(id), frame)));
            add(Event::Define(Define::Stack(StackId(id), Stack { parent: None, frame: FrameId(id) })));
        }
        for (at, value) in [(At(0), 0), (At(100), grew)] {
            add(Event::Counter(Counter { at, process, name: StringId(2), value }));
        }
        add(Event::Allocations(rows));
        recording
    }

    fn row(at: u64, stack: u32, bytes: i64, evidence: Evidence) -> Allocation {
        Allocation { at: At(at), track: TrackId(0), stack: Some(StackId(stack)), bytes, blocks: 1, evidence }
    }

    #[track_caller]
    fn check(grew: i64, rows: &[Allocation], expected: &[(u32, u64)]) -> Source {
        let options = ViewOptions { metric: Metric::Bytes, ..ViewOptions::default() };
        let seen = Attribution::new(&recording(grew, rows.to_vec()), &options, At(0), At(1000));
        let shares = seen.of(TrackId(0)).iter();
        let shares: Vec<(u32, u64)> = shares.map(|share| (share.stack.unwrap().0, share.weight)).collect();
        assert_eq!(shares, expected);
        let mut sums: BTreeMap<u32, i64> = BTreeMap::new();
        for change in seen.changes(TrackId(0)) {
            *sums.entry(change.stack.unwrap().0).or_default() += change.by;
        }
        sums.retain(|_, sum| *sum != 0);
        assert!(sums.into_iter().eq(expected.iter().map(|(stack, weight)| (*stack, *weight as i64))));
        seen.source
    }

    #[track_caller]
    fn check_changes(rows: &[Allocation], expected: &[(u64, u32, i64)]) {
        let options = ViewOptions { metric: Metric::Bytes, ..ViewOptions::default() };
        let seen = Attribution::new(&recording(1000, rows.to_vec()), &options, At(0), At(1000));
        let changes = seen.changes(TrackId(0)).iter();
        let changes: Vec<_> = changes.map(|it| (it.at.0, it.stack.unwrap().0, it.by)).collect();
        assert_eq!(changes, expected);
    }

    #[test]
    fn each_burst_has_its_part_in_what_a_stack_grew_by() {
        let burst = Evidence::Burst(Nanos(100));
        // All pools grew by twice as much as bursts say. A stack that gave back more than it took has none; another one gave back for a while.
        let rows =
            [row(1, 0, 300, burst), row(2, 0, -100, burst), row(3, 2, 300, burst), row(4, 2, -301, burst)];
        let rest = [row(5, 0, 301, burst)];
        check_changes(&[&rows[..], &rest[..]].concat(), &[(1, 0, 600), (2, 0, -200), (5, 0, 602)]);
    }

    #[test]
    fn a_table_of_tracemalloc_tells_what_is_other_than_in_the_one_before_it() {
        let traced = Evidence::Traced;
        let rows = [row(3, 0, 5, traced), row(3, 2, 9, traced), row(7, 0, 64, traced), row(7, 1, 32, traced)];
        check_changes(&rows, &[(0, 0, 5), (0, 2, 9), (7, 0, 59), (7, 1, 32), (7, 2, -9)]);
        check_changes(&rows[..2], &[(0, 0, 5), (0, 2, 9)]);
    }

    #[test]
    fn bursts_tell_shares_and_the_pools_how_much_there_is() {
        let burst = Evidence::Burst(Nanos(100));
        let mut rows = vec![row(1, 0, 300, burst), row(2, 1, 100, burst), row(3, 2, 0, burst)];
        let source = check(8000, &rows, &[(0, 6000), (1, 2000)]);
        let Source::Sampled(Sampled { kept: 3, bursts: 3, known: Some(8000), error }) = source else {
            panic!("{source:?}");
        };
        assert!((error - 1.96 * 100_000_f64.sqrt() / 400.0).abs() < 1e-9, "{error}");
        // A burst that moved is time of the function that it began in: here it stands for a third of it.
        rows.extend([row(4, 2, 50, burst), row(5, 0, 9999, Evidence::Moved(Nanos(100)))]);
        check(6500, &rows, &[(0, 4500), (1, 1500), (2, 500)]);
    }

    #[test]
    fn the_last_word_of_tracemalloc_is_worth_more_than_any_burst() {
        let traced = Evidence::Traced;
        let burst = row(9, 2, 700, Evidence::Burst(Nanos(100)));
        let rows = [row(1, 0, 5, traced), burst, row(7, 0, 64, traced), row(7, 1, 32, traced)];
        assert_eq!(check(800, &rows, &[(0, 64), (1, 32)]), Source::Traced(At(7)));
    }
}
