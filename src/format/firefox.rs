//! Firefox Profiler's processed format, version 60: threads with their CPU time, collections as markers, counters.
//!
//! Design constraints: the app upgrades old versions itself, so the smallest stable one is written. A sample there is a moment
//! and has no duration; so a row is written at its beginning, weighs what it stands for, and time without a sample begins with
//! an empty one. The CPU time of a row stands at the next, for the app takes it for what was used since the one before. Every
//! thread needs a sample, and a counter's values are what is added to the one before.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::{gc_csv, text};
use crate::model::gc::Gauge;
use crate::model::{At, FileKind, FrameKind, ProcessId, TrackId};
use crate::recording::gc::{track, when};
use crate::recording::place::GC;
use crate::recording::view::Row;
use crate::recording::{Metric, View, label};

/// The version that is written.
const VERSION: u32 = 60;
/// The version of Firefox's own format that it stands for.
const GECKO_VERSION: u32 = 27;
/// The interval that is told where none was asked for or reached, in milliseconds.
const INTERVAL_MS: f64 = 1.0;

/// What frames are told apart by: name and colour. The first is for whatever is none of the others.
const CATEGORIES: [(&str, &str); 7] = [
    ("Other", "grey"),
    ("Python", "yellow"),
    ("Standard library", "lightblue"),
    ("Installed", "green"),
    ("Native", "orange"),
    ("GC", "red"),
    ("Memory", "purple"),
];
const GC_CATEGORY: usize = 5;

/// The strings of the file.
#[derive(Default)]
struct Strings {
    all: Vec<String>,
    known: FxHashMap<String, usize>,
}

impl Strings {
    fn id(&mut self, text: &str) -> usize {
        let text = text::printable(text);
        if let Some(id) = self.known.get(&text) {
            return *id;
        }
        let id = self.all.len();
        self.all.push(text.clone());
        self.known.insert(text, id);
        id
    }
}

/// The markers of one thread, a column each.
#[derive(Default, Serialize)]
struct Markers {
    data: Vec<Value>,
    name: Vec<usize>,
    #[serde(rename = "startTime")]
    start: Vec<f64>,
    #[serde(rename = "endTime")]
    end: Vec<Option<f64>>,
    phase: Vec<u8>,
    category: Vec<usize>,
    length: usize,
}

impl Markers {
    /// Adds a span of time, or a moment where both ends are one.
    fn add(&mut self, name: usize, category: usize, (from, until): (At, At), data: Value) {
        let span = from < until;
        self.data.push(data);
        self.name.push(name);
        self.start.push(millis(from.0));
        self.end.push(span.then(|| millis(until.0)));
        self.phase.push(u8::from(span));
        self.category.push(category);
        self.length += 1;
    }
}

/// The samples of one thread, a column each.
#[derive(Default, Serialize)]
struct Samples {
    stack: Vec<Option<usize>>,
    time: Vec<f64>,
    weight: Vec<f64>,
    #[serde(rename = "weightType")]
    weight_type: &'static str,
    #[serde(rename = "threadCPUDelta")]
    cpu: Vec<Option<f64>>,
    length: usize,
}

impl Samples {
    fn add(&mut self, stack: Option<usize>, at: u64, weight: f64, cpu: Option<f64>) {
        self.stack.push(stack);
        self.time.push(millis(at));
        self.weight.push(weight);
        self.cpu.push(cpu);
        self.length += 1;
    }
}

fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Writes the view.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let mut strings = Strings::default();
    let shared = shared(view, &mut strings);
    let tracks: Vec<TrackId> =
        view.tracks().iter().copied().filter(|track| view.samples(*track).next().is_some()).collect();
    let mut markers: BTreeMap<TrackId, Markers> = BTreeMap::new();
    collect_markers(view, &tracks, &mut strings, &mut markers);
    let mut threads: Vec<Value> = tracks
        .iter()
        .map(|id| thread(view, *id, samples(view, *id), markers.remove(id).unwrap_or_default()))
        .collect();
    if threads.is_empty() {
        let mut nothing = Samples { weight_type: "samples", ..Samples::default() };
        nothing.add(None, view.span().0.0, 0.0, None);
        threads.push(thread(view, TrackId(u32::MAX), nothing, Markers::default()));
    }
    let mut profile = json!({
        "meta": meta(view), "libs": [], "pages": [], "counters": counters(view, &tracks), "threads": threads,
        "shared": shared,
    });
    profile["shared"]["stringArray"] = json!(strings.all);
    serde_json::to_writer(&mut out, &profile)?;
    writeln!(out)?;
    out.flush()
}

fn meta(view: &View<'_>) -> Value {
    let (recording, account) = (view.recording(), view.account());
    let rate = account.rate_asked.or(account.rate_achieved).filter(|rate| *rate > 0.0);
    let process = recording.processes.first();
    let categories: Vec<Value> = CATEGORIES
        .iter()
        .map(|(name, color)| json!({ "name": name, "color": color, "subcategories": ["Other"] }))
        .collect();
    let field =
        |key: &str, label: &str, format: &str| json!({ "key": key, "label": label, "format": format });
    json!({
        "interval": rate.map_or(INTERVAL_MS, |rate| 1e3 / rate),
        "startTime": millis(recording.meta.started_unix_ns),
        "processType": 0,
        "product": text::title(view),
        "importedFrom": text::printable(&recording.meta.tool),
        "stackwalk": 1,
        "debug": process.is_some_and(|process| process.debug),
        "version": GECKO_VERSION,
        "preprocessedProfileVersion": VERSION,
        "symbolicated": true,
        "usesOnlyOneStackType": true,
        "sourceCodeIsNotOnSearchfox": true,
        "extensions": { "id": [], "name": [], "baseURL": [], "length": 0 },
        "sampleUnits": { "time": "ms", "eventDelay": "ms", "threadCPUDelta": "µs" },
        "categories": categories,
        "markerSchema": [
            {
                "name": "gc",
                "display": ["marker-chart", "marker-table", "timeline-memory"],
                "tooltipLabel": "Generation {marker.data.generation}",
                "tableLabel": "Generation {marker.data.generation}, {marker.data.collected} freed",
                "chartLabel": "Generation {marker.data.generation}",
                "fields": [
                    field("generation", "Generation", "integer"),
                    field("interpreter", "Interpreter", "integer"),
                    field("count", "Collections", "integer"),
                    field("collected", "Objects freed", "integer"),
                    field("uncollectable", "Objects that could not be freed", "integer"),
                    field("times", "Times are", "string"),
                ],
            },
            {
                "name": "mark",
                "display": ["marker-chart", "marker-table", "timeline-overview"],
                "tableLabel": "{marker.data.text}",
                "fields": [field("text", "Text", "string")],
            },
        ],
        "extra": [{
            "label": "Recording",
            "entries": [{ "label": "How good it is", "format": "string", "value": text::facts(view) }],
        }],
    })
}

/// The tables of stacks, frames and functions, which the view has already: its nodes are stacks, its rows frames.
fn shared(view: &View<'_>, strings: &mut Strings) -> Value {
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    let mut file_ids: FxHashMap<&str, usize> = FxHashMap::default();
    let mut function_ids: FxHashMap<(&str, Option<&str>), usize> = FxHashMap::default();
    let mut of_row = Vec::with_capacity(view.rows().len());
    for row in view.rows() {
        let file = row.file.as_deref().map(|file| {
            let next = files.len();
            *file_ids.entry(file).or_insert_with(|| {
                files.push(strings.id(file));
                next
            })
        });
        let next = functions.len();
        let function = *function_ids.entry((&row.name, row.file.as_deref())).or_insert_with(|| {
            functions.push((strings.id(&row.name), file));
            next
        });
        of_row.push(function);
    }
    let frames = view.rows().len();
    let categories: Vec<usize> = view.rows().iter().map(category).collect();
    let nothing = |length: usize| vec![Value::Null; length];
    json!({
        "stringArray": [],
        "sources": { "uuid": nothing(files.len()), "filename": files, "length": files.len() },
        "stackTable": {
            "prefix": view.nodes().iter().map(|node| node.parent.map(|parent| parent.index())).collect::<Vec<_>>(),
            "frame": view.nodes().iter().map(|node| node.row.index()).collect::<Vec<_>>(),
            "length": view.nodes().len(),
        },
        "frameTable": {
            "address": vec![-1; frames], "inlineDepth": vec![0; frames], "category": categories,
            "subcategory": vec![0; frames], "func": of_row, "nativeSymbol": nothing(frames),
            "innerWindowID": vec![0; frames], "column": nothing(frames),
            "line": view.rows().iter().map(|row| row.line).collect::<Vec<_>>(), "length": frames,
        },
        "funcTable": {
            "name": functions.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "source": functions.iter().map(|(_, file)| *file).collect::<Vec<_>>(),
            "isJS": vec![false; functions.len()], "relevantForJS": vec![false; functions.len()],
            "resource": vec![-1; functions.len()], "lineNumber": nothing(functions.len()),
            "columnNumber": nothing(functions.len()), "length": functions.len(),
        },
        "resourceTable": { "lib": [], "name": [], "host": [], "type": [], "length": 0 },
        "nativeSymbols": { "libIndex": [], "address": [], "name": [], "functionSize": [], "length": 0 },
    })
}

fn category(row: &Row) -> usize {
    match (row.kind, row.whose) {
        (FrameKind::Mark, _) if row.name == GC => GC_CATEGORY,
        (FrameKind::Mark, _) => 0,
        (FrameKind::Native | FrameKind::Kernel, _) => 4,
        (FrameKind::Python | FrameKind::Opcode, FileKind::Standard | FileKind::Synthetic) => 2,
        (FrameKind::Python | FrameKind::Opcode, FileKind::Installed) => 3,
        (FrameKind::Python | FrameKind::Opcode, FileKind::Own | FileKind::Unknown) => 1,
    }
}

fn thread(view: &View<'_>, id: TrackId, samples: Samples, markers: Markers) -> Value {
    let recording = view.recording();
    let track = recording.track(id);
    let process = track.and_then(|track| recording.process(track.process));
    json!({
        "processType": "default", "processStartupTime": 0, "processShutdownTime": null,
        "processName": process.map_or_else(String::new, |process| text::printable(recording.string(process.command))),
        "registerTime": samples.time.first(), "unregisterTime": null, "pausedRanges": [],
        "name": if track.is_some() { text::printable(&view.track_name(id)) } else { "no samples".to_owned() },
        "isMainThread": track.is_none_or(|track| track.main),
        "pid": process.map_or(0, |process| process.pid).to_string(),
        "tid": track.map_or(0, |track| track.native.map_or(track.thread, u64::from)),
        "samples": samples, "markers": markers,
    })
}

fn samples(view: &View<'_>, id: TrackId) -> Samples {
    let time = view.options().metric == Metric::Time;
    let weight_type = if time { "tracing-ms" } else { "samples" };
    let mut samples = Samples { weight_type, ..Samples::default() };
    let rows = view.recording().samples_of(id);
    let (mut last, mut used) = (None, None);
    for seen in view.samples(id) {
        let begin = last.map_or(seen.from.0, |last: u64| seen.from.0.max(last));
        if let Some(last) = last.filter(|last| *last < begin) {
            samples.add(None, last, 0.0, used.take());
        }
        let weight = if time { millis(seen.weight) } else { seen.weight as f64 };
        samples.add(Some(seen.node.index()), begin, weight, used.take());
        let cpu = seen.row.and_then(|row| rows.get(row)).and_then(|row| row.cpu);
        used = cpu.map(|cpu| cpu.0 as f64 / 1e3);
        last = Some(seen.until.0.max(begin));
    }
    if let Some(last) = last {
        samples.add(None, last, 0.0, used);
    }
    samples
}

fn collect_markers(
    view: &View<'_>,
    tracks: &[TrackId],
    strings: &mut Strings,
    markers: &mut BTreeMap<TrackId, Markers>,
) {
    let recording = view.recording();
    let Some(first) = tracks.first() else { return };
    let shown = |id: Option<TrackId>| id.filter(|id| tracks.contains(id)).unwrap_or(*first);
    for row in text::collections(view) {
        let name = strings.id(GC);
        let mut data = json!({
            "type": "gc", "generation": row.generation, "interpreter": row.interpreter, "count": row.count,
            "collected": row.collected, "uncollectable": row.uncollectable, "times": gc_csv::exactness(row),
        });
        if let Some(node) = row.stack.and_then(|stack| view.node_of(stack)) {
            data["cause"] = json!({ "time": millis(when(row).0.0), "stack": node.index() });
        }
        let own = markers.entry(shown(track(recording, row))).or_default();
        own.add(name, GC_CATEGORY, when(row), data);
    }
    let (from, to) = view.span();
    for mark in recording.marks.iter().filter(|mark| from <= mark.at && mark.at <= to) {
        let name = strings.id("mark");
        let data = json!({ "type": "mark", "text": text::printable(recording.string(mark.text)) });
        markers.entry(*first).or_default().add(name, 0, (mark.at, mark.at), data);
    }
}

/// Numbers that change, each with the moments at which it did.
fn counters(view: &View<'_>, tracks: &[TrackId]) -> Vec<Value> {
    let recording = view.recording();
    let (from, to) = view.span();
    let within = |at: At| from <= at && at <= to;
    let mut all: BTreeMap<(ProcessId, String), Vec<(At, i64)>> = BTreeMap::new();
    for counter in recording.counters.iter().filter(|counter| within(counter.at)) {
        let name = recording.string(counter.name);
        if Gauge::of_name(name).is_none_or(|(_, gauge)| !gauge.is_before()) {
            let values = all.entry((counter.process, text::printable(name))).or_default();
            values.push((counter.at, counter.value));
        }
    }
    let counter = |((process, name), mut values): ((ProcessId, String), Vec<(At, i64)>)| {
        values.sort_by_key(|(at, _)| *at);
        let mut last = 0_i64;
        let deltas: Vec<i64> = values
            .iter()
            .map(|(_, value)| {
                let delta = value.saturating_sub(last);
                last = *value;
                delta
            })
            .collect();
        let bytes = name.ends_with("_bytes");
        let main = tracks.iter().position(|id| recording.track(*id).is_some_and(|it| it.process == process));
        json!({
            "name": name, "category": if bytes { "Memory" } else { "GC" },
            "description": format!("{name} of {}", text::printable(&label::process(recording, process))),
            "pid": recording.process(process).map_or(0, |process| process.pid).to_string(),
            "mainThreadIndex": main.unwrap_or(0),
            "display": {
                "graphType": "line-accumulated", "unit": if bytes { "bytes" } else { "" },
                "color": if bytes { "orange" } else { "red" }, "markerSchemaLocation": null, "sortWeight": 20,
                "label": name,
            },
            "samples": {
                "time": values.iter().map(|(at, _)| millis(at.0)).collect::<Vec<_>>(),
                "count": deltas, "length": values.len(),
            },
        })
    };
    all.into_iter().map(counter).collect()
}
