//! Everything of a view as JSON, a record a line: what a record is says its `type`, and ids are said before they are used.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::{gc_csv, text};
use crate::model::allocation::Evidence;
use crate::model::{Process, ProcessId, Quality, State, Torn, TroubleKind};
use crate::recording::View;
use crate::recording::heap::Heap;
use crate::recording::view::Row;

/// Writes the view.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let (recording, account) = (view.recording(), view.account());
    let (from, to) = view.span();
    let mut line = |value: &Value| -> io::Result<()> {
        serde_json::to_writer(&mut out, value)?;
        writeln!(out)
    };
    line(&json!({
        "type": "meta", "tool": recording.meta.tool, "started_unix_ns": recording.meta.started_unix_ns,
        "mode": view.options().mode.name(), "metric": view.options().metric.name(),
        "from_ns": from.0, "to_ns": to.0, "samples": account.samples,
        "rate_asked": account.rate_asked, "rate_achieved": account.rate_achieved,
        "missed": account.missed, "errors": account.errors, "partial": account.partial,
    }))?;
    for (id, process) in recording.processes.iter().enumerate() {
        line(&the_process(view, id, process))?;
    }
    let mut told = vec![false; view.nodes().len()];
    for track in view.tracks() {
        let Some(thread) = recording.track(*track) else { continue };
        line(&json!({
            "type": "thread", "id": track.0, "process": thread.process.0, "interpreter": thread.interpreter,
            "native_id": thread.native, "name": view.track_name(*track), "main": thread.main,
        }))?;
        for seen in view.samples(*track) {
            if !std::mem::replace(told.get_mut(seen.node.index()).unwrap_or(&mut true), true) {
                let frames: Vec<Value> =
                    view.rows_of(seen.node).filter_map(|row| view.row(row)).map(frame).collect();
                line(&json!({ "type": "stack", "id": seen.node.0, "frames": frames }))?;
            }
            let Some(sample) = seen.row.and_then(|row| recording.samples_of(*track).get(row)) else {
                continue;
            };
            let (state, waits_for) = match sample.state {
                State::Python => ("python", None),
                State::Native => ("native", None),
                State::WantsGil => ("wants_gil", None),
                State::Waiting(wait) => ("waiting", recording.wait(wait)),
                State::Unknown => ("unknown", None),
            };
            line(&json!({
                "type": "sample", "thread": track.0, "from_ns": seen.from.0, "until_ns": seen.until.0,
                "stack": seen.node.0, "weight": seen.weight, "count": sample.count,
                "cpu_ns": sample.cpu.map(|cpu| cpu.0), "state": state, "waits_for": waits_for,
                "holds_gil": sample.flags.holds_gil, "in_gc": sample.flags.in_gc,
                "in_exception": sample.flags.in_exception, "quality": quality(sample.quality),
            }))?;
        }
    }
    let name = |frame: &crate::model::Frame| {
        let file = recording.file(frame.file).map_or("", |file| recording.string(file.path));
        json!({ "name": recording.string(frame.name), "file": file, "line": frame.line })
    };
    for row in text::collections(view) {
        let frames: Vec<Value> =
            row.stack.into_iter().flat_map(|stack| recording.frames_of(stack)).map(name).collect();
        line(&json!({
            "type": "gc", "process": row.process.0, "interpreter": row.interpreter, "generation": row.generation,
            "start_ns": row.start.0, "stop_ns": row.stop.0, "pause_ns": row.pause.0,
            "exactness": gc_csv::exactness(row), "count": row.count, "collected": row.collected,
            "uncollectable": row.uncollectable, "objects_before": row.objects_before,
            "objects_after": row.objects_after, "frames": frames,
        }))?;
    }
    let within = |at: crate::model::At| from <= at && at <= to;
    let mut heaps: BTreeMap<ProcessId, Heap> = BTreeMap::new();
    for state in &recording.heaps {
        let heap = heaps.entry(state.process).or_default();
        heap.take(state);
        if within(state.at) {
            let sum = heap.sum();
            line(&json!({
                "type": "heap", "at_ns": state.at.0, "process": state.process.0, "arenas": heap.arenas.len(),
                "arena_bytes": sum.arenas, "pool_bytes": sum.pooled, "used_bytes": sum.used,
                "suspect_pools": heap.suspect_pools,
            }))?;
        }
    }
    for census in recording.censuses.iter().filter(|census| within(census.at)) {
        let types: Vec<Value> = census
            .types
            .iter()
            .map(|of| json!({ "name": recording.string(of.name), "count": of.count, "bytes": of.bytes }))
            .collect();
        line(&json!({
            "type": "census", "at_ns": census.at.0, "took_ns": census.took.0, "process": census.process.0,
            "suspect_pools": census.suspect_pools, "types": types,
        }))?;
    }
    for row in recording.allocations.iter().filter(|row| within(row.at)) {
        let frames: Vec<Value> =
            row.stack.into_iter().flat_map(|stack| recording.frames_of(stack)).map(name).collect();
        let (evidence, span) = match row.evidence {
            Evidence::Traced => ("traced", None),
            Evidence::Burst(span) => ("burst", Some(span.0)),
            Evidence::Moved(span) => ("moved", Some(span.0)),
        };
        line(&json!({
            "type": "allocation", "at_ns": row.at.0, "track": row.track.0, "bytes": row.bytes, "blocks": row.blocks,
            "evidence": evidence, "span_ns": span, "frames": frames,
        }))?;
    }
    for counter in recording.counters.iter().filter(|counter| within(counter.at)) {
        let name = recording.string(counter.name);
        line(&json!({
            "type": "counter", "at_ns": counter.at.0, "process": counter.process.0, "name": name,
            "value": counter.value,
        }))?;
    }
    for mark in recording.marks.iter().filter(|mark| within(mark.at)) {
        line(&json!({ "type": "mark", "at_ns": mark.at.0, "text": recording.string(mark.text) }))?;
    }
    for trouble in &recording.troubles {
        let text = trouble.text.map(|text| recording.string(text));
        let kind = trouble_name(trouble.kind);
        line(
            &json!({ "type": "trouble", "at_ns": trouble.at.0, "kind": kind, "count": trouble.count, "text": text }),
        )?;
    }
    out.flush()
}

fn the_process(view: &View<'_>, id: usize, process: &Process) -> Value {
    let recording = view.recording();
    json!({
        "type": "process", "id": id, "pid": process.pid, "command": recording.string(process.command),
        "python": recording.string(process.python), "free_threaded": process.free_threaded, "debug": process.debug,
    })
}

fn frame(row: &Row) -> Value {
    json!({ "name": row.name, "file": row.file, "line": row.line })
}

/// How good a stack is, in a word.
fn quality(quality: Quality) -> &'static str {
    match quality {
        Quality::Whole => "whole",
        Quality::Retried => "retried",
        Quality::Stopped => "stopped",
        Quality::Probable => "probable",
        Quality::BaseMissing(Torn::TooDeep) => "truncated",
        Quality::BaseMissing(_) => "base missing",
        Quality::TopMissing(_) => "top missing",
    }
}

fn trouble_name(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::Missed => "missed",
        TroubleKind::Threads => "threads",
        TroubleKind::Dropped => "dropped",
        TroubleKind::Suspended => "suspended",
        TroubleKind::HeldBack => "held back",
        TroubleKind::Layout => "layout",
        TroubleKind::Other => "other",
    }
}
