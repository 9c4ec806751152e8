//! speedscope's own JSON: a profile a track, on one time axis, with what was measured and nothing evened out.
//!
//! Design constraints: the app fails on files that its schema accepts (an index out of range, one weight too few) and
//! refuses keys that are null. Each profile has its own axis in the app, so time without a sample is an empty stack:
//! without it threads would slide along each other. Neighbours that are shown alike are written once, for the app gets
//! slow at some hundred thousand samples.

use std::io::{self, Write};

use serde::Serialize;

use super::text;
use crate::model::{At, TrackId};
use crate::recording::view::{NodeId, Row, RowId};
use crate::recording::{Metric, View};

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";
const EXPORTER: &str = concat!("pitviper@", env!("CARGO_PKG_VERSION"));

/// A frame in the file.
#[derive(Serialize)]
struct Frame<'v> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// A stretch of a track: a stack, or none where nothing was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    node: Option<NodeId>,
    weight: u64,
}

/// Writes the view.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let tracks: Vec<TrackId> =
        view.tracks().iter().copied().filter(|track| view.samples(*track).next().is_some()).collect();
    let frames = Frames::of(view, &tracks);
    let name = format!("{}: {}", text::title(view), text::facts(view));
    write!(out, "{{\"$schema\":\"{SCHEMA}\",\"exporter\":\"{EXPORTER}\",\"name\":{}", json(&name)?)?;
    write!(out, ",\"activeProfileIndex\":{},\n\"shared\":{{\"frames\":[", busiest(view, &tracks))?;
    for (n, row) in frames.rows.iter().enumerate() {
        write!(out, "{}{}", comma(n), json(&frame(row))?)?;
    }
    write!(out, "]}},\n\"profiles\":[")?;
    for (n, track) in tracks.iter().enumerate() {
        write!(out, "{}", comma(n))?;
        profile(view, &frames, *track, &mut out)?;
    }
    if tracks.is_empty() {
        let (start, end) = axis(view, 0);
        let unit = unit(view);
        write!(out, "{{\"type\":\"sampled\",\"name\":\"no samples\",\"unit\":\"{unit}\",")?;
        write!(out, "\"startValue\":{start},\"endValue\":{end},\"samples\":[],\"weights\":[]}}")?;
    }
    writeln!(out, "]}}")?;
    out.flush()
}

fn profile(view: &View<'_>, frames: &Frames<'_>, track: TrackId, out: &mut impl Write) -> io::Result<()> {
    let sum = stretches(view, track).map(|stretch| stretch.weight).fold(0, u64::saturating_add);
    let (start, end) = axis(view, sum);
    let (name, unit) = (json(&text::printable(&view.track_name(track)))?, unit(view));
    write!(out, "{{\"type\":\"sampled\",\"name\":{name},\"unit\":\"{unit}\",")?;
    write!(out, "\"startValue\":{start},\"endValue\":{end},\n\"samples\":[")?;
    let mut stack = Vec::new();
    for (n, stretch) in stretches(view, track).enumerate() {
        stack.clear();
        stack.extend(
            stretch.node.into_iter().flat_map(|node| view.rows_of(node)).map(|row| frames.place(row)),
        );
        write!(out, "{}[", comma(n))?;
        for (n, frame) in stack.iter().rev().enumerate() {
            write!(out, "{}{frame}", if n == 0 { "" } else { "," })?;
        }
        write!(out, "]")?;
    }
    write!(out, "],\n\"weights\":[")?;
    for (n, stretch) in stretches(view, track).enumerate() {
        write!(out, "{}{}", if n == 0 { "" } else { "," }, stretch.weight)?;
    }
    write!(out, "]}}")
}

/// What a track did from the view's begin to its end, equal neighbours joined.
fn stretches(view: &View<'_>, track: TrackId) -> impl Iterator<Item = Stretch> {
    let time = view.options().metric == Metric::Time;
    let (start, end) = view.span();
    let mut at = micros(start);
    let seen = view.samples(track).flat_map(move |seen| {
        let (from, until) = (micros(seen.from), micros(seen.until));
        let gap = if time { from.saturating_sub(at) } else { 0 };
        at = until;
        let weight = if time { until.saturating_sub(from) } else { seen.weight };
        [Stretch { node: None, weight: gap }, Stretch { node: Some(seen.node), weight }]
    });
    let last = view.samples(track).last().map_or(start, |seen| seen.until);
    let rest = if time { micros(end).saturating_sub(micros(last)) } else { 0 };
    let parts = seen.chain([Stretch { node: None, weight: rest }]);
    let parts = parts.filter(|stretch| stretch.node.is_some() || stretch.weight > 0);
    joined(parts)
}

/// Joins neighbours that show the same stack.
fn joined(parts: impl Iterator<Item = Stretch>) -> impl Iterator<Item = Stretch> {
    let mut parts = parts.peekable();
    std::iter::from_fn(move || {
        let mut stretch = parts.next()?;
        while let Some(next) = parts.next_if(|next| next.node == stretch.node) {
            stretch.weight = stretch.weight.saturating_add(next.weight);
        }
        Some(stretch)
    })
}

/// The rows that samples show, in the order in which they stand in the file.
struct Frames<'v> {
    rows: Vec<&'v Row>,
    places: Vec<usize>,
}

impl<'v> Frames<'v> {
    fn of(view: &'v View<'_>, tracks: &[TrackId]) -> Frames<'v> {
        let mut shown = vec![false; view.rows().len()];
        let mut walked = vec![false; view.nodes().len()];
        for seen in tracks.iter().flat_map(|track| view.samples(*track)) {
            let mut next = Some(seen.node);
            while let Some(id) = next {
                let (Some(node), Some(walked)) = (view.nodes().get(id.index()), walked.get_mut(id.index()))
                else {
                    break;
                };
                if std::mem::replace(walked, true) {
                    break;
                }
                if let Some(shown) = shown.get_mut(node.row.index()) {
                    *shown = true;
                }
                next = node.parent;
            }
        }
        let mut frames = Frames { rows: Vec::new(), places: Vec::with_capacity(shown.len()) };
        for (row, shown) in view.rows().iter().zip(shown) {
            frames.places.push(frames.rows.len());
            frames.rows.extend(shown.then_some(row));
        }
        frames
    }

    fn place(&self, row: RowId) -> usize {
        self.places.get(row.index()).copied().unwrap_or(0)
    }
}

fn frame(row: &Row) -> Frame<'_> {
    Frame { name: text::printable(&row.name), file: row.file.as_deref(), line: row.line }
}

/// The track that did most: by CPU time where that is known, else by how often its stack changed.
fn busiest(view: &View<'_>, tracks: &[TrackId]) -> usize {
    let activity = |track: &TrackId| {
        let samples = view.recording().samples_of(*track);
        let cpu =
            samples.iter().filter_map(|sample| sample.cpu).map(|cpu| cpu.0).fold(0, u64::saturating_add);
        (cpu, view.samples(*track).count())
    };
    let busiest = tracks.iter().enumerate().max_by_key(|(n, track)| (activity(track), std::cmp::Reverse(*n)));
    busiest.map_or(0, |(n, _)| n)
}

/// The begin and end of every profile; where no time is shown, each has the length of its own sum.
fn axis(view: &View<'_>, sum: u64) -> (u64, u64) {
    let (start, end) = view.span();
    if view.options().metric == Metric::Time { (micros(start), micros(end)) } else { (0, sum) }
}

fn unit(view: &View<'_>) -> &'static str {
    match view.options().metric {
        Metric::Time => "microseconds",
        Metric::Bytes => "bytes",
        Metric::Samples | Metric::Objects => "none",
    }
}

/// Samples lie on whole microseconds; only the ends of a span that was asked for may not.
fn micros(at: At) -> u64 {
    at.0 / 1_000
}

fn comma(n: usize) -> &'static str {
    if n == 0 { "" } else { ",\n" }
}

fn json(value: &impl Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}
