//! Collectors as `gc --json` prints them: an object a line an interval, the last one the summary. Keys are only added.

use std::io::Write;

use serde::Serialize;

use super::moment::{Moment, Seen};
use super::verdict;
use crate::model::gc::{Collection, Exactness};
use crate::model::{At, Frame, Nanos};
use crate::recording::gc::{Done, Generation, Trigger};
use crate::recording::{Account, Recording};

/// How many functions that set collections off are told.
const TRIGGERS: usize = 10;

#[derive(Debug, Serialize)]
struct Line<'r> {
    pid: u32,
    /// Seconds since we began to look.
    at: f64,
    /// The seconds up to then that `done` speaks of.
    span: f64,
    /// The share of them in which garbage was collected.
    collecting: f64,
    interpreters: Vec<Interpreter>,
    #[serde(flatten)]
    summary: Option<Summary<'r>>,
}

#[derive(Debug, Serialize)]
struct Interpreter {
    pid: u32,
    id: i64,
    enabled: Option<bool>,
    /// A collection is under way.
    collecting: Option<bool>,
    permanent: Option<u64>,
    tracked: Option<u64>,
    long_lived: Option<u64>,
    long_lived_pending: Option<u64>,
    /// Containers made a second, less those that went away without the collector; at least so many.
    net_allocations: Option<f64>,
    generations: Vec<Told>,
}

/// A generation: the first five as `gc` itself says them.
#[derive(Debug, Serialize)]
struct Told {
    count: Option<i64>,
    threshold: Option<i64>,
    collections: Option<u64>,
    collected: Option<u64>,
    uncollectable: Option<u64>,
    /// What was done in the span.
    done: ToldDone,
}

#[derive(Debug, Serialize)]
struct ToldDone {
    collections: u64,
    /// There may have been more: this Python counts none.
    at_least: bool,
    collected: u64,
    uncollectable: u64,
    /// The share of what they looked at that they freed, where that is known.
    freed: Option<f64>,
    /// Seconds, all together.
    pause: f64,
    p50: Option<f64>,
    p95: Option<f64>,
    max: Option<f64>,
    /// The target wrote the times down itself; elsewhere a collection that no look met counts as none at all.
    exact: bool,
}

#[derive(Debug, Serialize)]
struct Summary<'r> {
    summary: bool,
    python: &'r str,
    command: &'r str,
    /// The share of the time in which no garbage was collected.
    throughput: f64,
    /// Seconds from one look to the next.
    resolution: Option<f64>,
    longest: Option<Longest<'r>>,
    triggers: Vec<ToldTrigger<'r>>,
    verdict: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Longest<'r> {
    interpreter: i64,
    generation: u8,
    start: f64,
    pause: f64,
    exact: bool,
    collected: u64,
    /// The stack that set it off, innermost first; empty where no look met it.
    frames: Vec<Place<'r>>,
}

#[derive(Debug, Serialize)]
struct ToldTrigger<'r> {
    #[serde(flatten)]
    place: Place<'r>,
    /// How many collections were met in it.
    collections: u64,
    pause: f64,
}

#[derive(Debug, Serialize)]
struct Place<'r> {
    name: &'r str,
    qualname: Option<&'r str>,
    file: &'r str,
    line: Option<u32>,
}

/// Prints what an interval was like.
pub(super) fn line(moment: &Moment, out: &mut impl Write) -> anyhow::Result<()> {
    print(&tell(moment, None), out)
}

/// Prints the summary.
pub(super) fn summary(recording: &Recording, moment: &Moment, out: &mut impl Write) -> anyhow::Result<()> {
    let process = recording.processes.first();
    let place = |frame: &Frame| Place {
        name: recording.string(frame.name),
        qualname: frame.qualname.map(|name| recording.string(name)),
        file: recording.file(frame.file).map_or("", |file| recording.string(file.path)),
        line: frame.line,
    };
    let triggers = Trigger::of(recording, At(0), moment.at);
    let triggers = triggers.iter().take(TRIGGERS).filter_map(|trigger| {
        Some(ToldTrigger {
            place: place(recording.frame(trigger.frame)?),
            collections: trigger.collections,
            pause: trigger.pause.as_secs_f64(),
        })
    });
    let summary = Summary {
        summary: true,
        python: process.map_or("", |process| recording.string(process.python)),
        command: process.map_or("", |process| recording.string(process.command)),
        throughput: 1.0 - moment.share(),
        resolution: Account::of(recording).rate_achieved.map(|rate| 1.0 / rate),
        longest: moment.longest().map(|row| Longest {
            interpreter: row.interpreter,
            generation: row.generation,
            start: Nanos(row.start.0).as_secs_f64(),
            pause: row.pause.as_secs_f64(),
            exact: row.exactness == Exactness::Exact,
            collected: row.collected,
            frames: frames(recording, row).map(place).collect(),
        }),
        triggers: triggers.collect(),
        verdict: verdict::of(recording, moment),
    };
    print(&tell(moment, Some(summary)), out)
}

/// The frames of the stack that set a collection off, innermost first.
pub(super) fn frames<'r>(recording: &'r Recording, row: &Collection) -> impl Iterator<Item = &'r Frame> {
    row.stack.into_iter().flat_map(|stack| recording.frames_of(stack))
}

fn print(line: &Line<'_>, out: &mut impl Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

fn tell<'r>(moment: &Moment, summary: Option<Summary<'r>>) -> Line<'r> {
    Line {
        pid: moment.seen.first().map_or(0, |seen| seen.pid),
        at: Nanos(moment.at.0).as_secs_f64(),
        span: moment.span.as_secs_f64(),
        collecting: moment.share(),
        interpreters: moment.seen.iter().map(|seen| interpreter(seen, moment.span)).collect(),
        summary,
    }
}

fn interpreter(seen: &Seen, span: Nanos) -> Interpreter {
    let collector = &seen.collector;
    let generations = collector.generations.iter().zip(&seen.work.generations).enumerate();
    Interpreter {
        pid: seen.pid,
        id: collector.interpreter,
        enabled: collector.enabled,
        collecting: seen.collecting,
        permanent: seen.permanent,
        tracked: collector.tracked,
        long_lived: collector.long_lived,
        long_lived_pending: collector.pending,
        net_allocations: seen.allocated(span),
        generations: generations
            .map(|(number, (generation, done))| told(generation, done, seen.freed(number)))
            .collect(),
    }
}

fn told(generation: &Generation, done: &Done, freed: Option<f64>) -> Told {
    let seconds = |share| done.percentile(share).map(Nanos::as_secs_f64);
    Told {
        count: generation.count,
        threshold: generation.threshold,
        collections: generation.totals.map(|totals| totals.collections),
        collected: generation.totals.map(|totals| totals.collected),
        uncollectable: generation.totals.map(|totals| totals.uncollectable),
        done: ToldDone {
            collections: done.sums.collections,
            at_least: done.at_least,
            collected: done.sums.collected,
            uncollectable: done.sums.uncollectable,
            freed,
            pause: done.pause.as_secs_f64(),
            p50: seconds(0.5),
            p95: seconds(0.95),
            max: seconds(1.0),
            exact: done.exact,
        },
    }
}
