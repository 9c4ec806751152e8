//! Chrome's trace events, for Perfetto and speedscope: calls and collections with a duration, counters as they change.
//!
//! Design constraints: speedscope pairs begins and ends by name and arguments, and gets it wrong where they are equal in time; so
//! every call is one complete event (`X`). It is slow at some hundred thousand events, so a call goes on as long as neighbours
//! in time show it. Collections stand on a row of their own: those that are known by bounds alone would cut calls in two.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::{gc_csv, text};
use crate::model::gc::Gauge;
use crate::model::{At, ProcessId, TrackId};
use crate::recording::gc::when;
use crate::recording::view::RowId;
use crate::recording::{Metric, View, label};

/// Interpreters' rows of collections have thread ids from here on: the kernel has none there.
const GC_TID: i64 = 1 << 32;

/// A call that goes on.
struct Open {
    row: RowId,
    from: u64,
}

/// A call: begin, depth, end, row.
type Call = (u64, usize, u64, RowId);

/// The list of events, as it is written.
struct Events<W> {
    out: W,
    some: bool,
}

impl<W: Write> Events<W> {
    fn add(&mut self, event: &Value) -> io::Result<()> {
        let comma = if std::mem::replace(&mut self.some, true) { ",\n" } else { "\n" };
        write!(self.out, "{comma}{event}")
    }
}

/// Writes the view.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let about = json!({ "title": text::title(view), "facts": text::facts(view) });
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{about},\"traceEvents\":[")?;
    let mut events = Events { out, some: false };
    let recording = view.recording();
    for (id, process) in (0..).map(ProcessId).zip(&recording.processes) {
        let name = text::printable(&label::process(recording, id));
        let pid = process.pid;
        events.add(
            &json!({ "ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": { "name": name } }),
        )?;
    }
    for track in view.tracks() {
        thread(view, *track, &mut events)?;
    }
    collections(view, &mut events)?;
    counters(view, &mut events)?;
    let mut out = events.out;
    writeln!(out, "\n]}}")?;
    out.flush()
}

fn pid(view: &View<'_>, process: ProcessId) -> u32 {
    view.recording().process(process).map_or(0, |process| process.pid)
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn thread<W: Write>(view: &View<'_>, id: TrackId, events: &mut Events<W>) -> io::Result<()> {
    let Some(track) = view.recording().track(id) else { return Ok(()) };
    let (pid, tid) = (pid(view, track.process), track.native.map_or(track.thread, u64::from));
    let name = text::printable(&view.track_name(id));
    events.add(
        &json!({ "ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": { "name": name } }),
    )?;
    for (from, _, until, row) in calls(view, id) {
        let Some(row) = view.row(row) else { continue };
        let mut event = json!({
            "ph": "X", "cat": "python", "name": text::printable(&row.name), "pid": pid, "tid": tid,
            "ts": micros(from), "dur": micros(until - from),
        });
        if let Some(file) = &row.file {
            event["args"] = json!({ "file": text::printable(file), "line": row.line });
        }
        events.add(&event)?;
    }
    Ok(())
}

/// The calls of a thread, those that began first before those that they made.
fn calls(view: &View<'_>, id: TrackId) -> Vec<Call> {
    let (mut calls, mut open) = (Vec::new(), Vec::new());
    let mut last = 0;
    let mut stack: Vec<RowId> = Vec::new();
    // Time goes by as it did, whatever weights are; other units lie one behind the other.
    let time = view.options().metric == Metric::Time;
    for seen in view.samples(id) {
        let (from, until) = match time {
            true => (seen.from.0.max(last), seen.until.0.max(last)),
            false => (last, last.saturating_add(seen.weight)),
        };
        stack.clear();
        stack.extend(view.rows_of(seen.node));
        stack.reverse();
        let same = open.iter().zip(&stack).take_while(|(open, row): &(&Open, _)| open.row == **row).count();
        let same = if from > last { 0 } else { same };
        close(&mut calls, &mut open, same, last);
        open.extend(stack.iter().skip(same).map(|row| Open { row: *row, from }));
        last = until;
    }
    close(&mut calls, &mut open, 0, last);
    calls.sort_by_key(|(from, depth, ..)| (*from, *depth));
    calls
}

fn close(calls: &mut Vec<Call>, open: &mut Vec<Open>, keep: usize, until: u64) {
    while open.len() > keep {
        let depth = open.len();
        if let Some(call) = open.pop().filter(|call| call.from < until) {
            calls.push((call.from, depth, until, call.row));
        }
    }
}

fn collections<W: Write>(view: &View<'_>, events: &mut Events<W>) -> io::Result<()> {
    let mut ends: BTreeMap<(ProcessId, i64), At> = BTreeMap::new();
    for row in text::collections(view) {
        let (pid, tid) = (pid(view, row.process), GC_TID.saturating_add(row.interpreter));
        let last = ends.entry((row.process, row.interpreter)).or_insert_with(|| At(u64::MAX));
        if *last == At(u64::MAX) {
            let name = format!("garbage collection (interpreter {})", row.interpreter);
            let args = json!({ "name": name });
            events.add(&json!({ "ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": args }))?;
            *last = At(0);
        }
        let (from, until) = when(row);
        let from = from.max(*last);
        if until <= from {
            continue;
        }
        *last = until;
        events.add(&json!({
            "ph": "X", "cat": "gc", "name": format!("<GC> generation {}", row.generation), "pid": pid, "tid": tid,
            "ts": micros(from.0), "dur": micros(until.since(from).0),
            "args": {
                "count": row.count, "collected": row.collected, "uncollectable": row.uncollectable,
                "times": gc_csv::exactness(row),
            },
        }))?;
    }
    Ok(())
}

fn counters<W: Write>(view: &View<'_>, events: &mut Events<W>) -> io::Result<()> {
    let recording = view.recording();
    let (from, to) = view.span();
    // The generations are drawn as one, each on the next.
    let mut counts: BTreeMap<(ProcessId, i64), BTreeMap<String, i64>> = BTreeMap::new();
    for counter in recording.counters.iter().filter(|counter| from <= counter.at && counter.at <= to) {
        let name = recording.string(counter.name);
        let (pid, ts) = (pid(view, counter.process), micros(counter.at.0));
        let (name, args) = match Gauge::of_name(name) {
            Some((interpreter, Gauge::Count(generation))) => {
                let counts = counts.entry((counter.process, interpreter)).or_default();
                counts.insert(format!("generation {generation}"), counter.value);
                (format!("gc counts of interpreter {interpreter}"), json!(counts))
            }
            Some((_, gauge)) if gauge.is_before() => continue,
            _ => (text::printable(name), json!({ "value": counter.value })),
        };
        events.add(&json!({ "ph": "C", "name": name, "pid": pid, "ts": ts, "args": args }))?;
    }
    Ok(())
}
