//! What each living thread is doing, and what it did with the present.

use std::cmp::Ordering;

use super::safe;
use crate::model::{At, Frame, Sample, StackId, State, TrackId};
use crate::recording::{Recording, Spent, View, label};
use crate::tui::query::{Query, ThreadColumn};

/// A stack that is deeper is shown without its base.
const MAX_STACK: usize = 2000;

/// A thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Thread {
    /// Which one.
    pub track: TrackId,
    /// What it is called.
    pub name: String,
    /// What it was doing when it was last looked at.
    pub state: &'static str,
    /// What it waits for.
    pub wait: String,
    /// The share of the present on a processor, where the kernel says.
    pub cpu: Option<f64>,
    /// The share of the present holding the GIL.
    pub gil: f64,
    /// The share of the present wanting the GIL.
    pub wants: f64,
    /// The share of the present waiting for anything else.
    pub waits: f64,
    /// Its innermost frame.
    pub top: String,
}

/// The threads that live at a moment, and the stack of the one that was asked for, innermost frame first.
pub(super) fn all(view: &View<'_>, query: &Query, present: At, at: At) -> (Vec<Thread>, Vec<String>) {
    let recording = view.recording();
    let paths: Vec<&str> = recording.files.iter().map(|file| recording.string(file.path)).collect();
    let frames = Frames { recording, files: label::short_files(&paths) };
    let latest = |track: TrackId| latest(recording, track, at).map(|sample| (track, sample));
    let living =
        view.tracks().iter().filter_map(|track| latest(*track)).filter(|(_, it)| it.until >= present);
    let mut threads: Vec<Thread> =
        living.map(|(track, sample)| thread(&frames, track, sample, present, at)).collect();
    sort(&mut threads, query);
    let stack = query.stack_of.and_then(latest).and_then(|(_, sample)| sample.stack);
    let stack = stack.map(|stack| frames.of(stack).take(MAX_STACK).collect()).unwrap_or_default();
    (threads, stack)
}

/// What all living threads are called, as patterns of theirs see them.
pub(super) fn names(recording: &Recording, present: At, at: At) -> Vec<String> {
    let tracks = (0..recording.tracks.len() as u32).map(TrackId);
    let living = tracks.filter(|track| latest(recording, *track, at).is_some_and(|it| it.until >= present));
    living.map(|track| label::track(recording, track)).collect()
}

fn thread(frames: &Frames<'_>, track: TrackId, sample: &Sample, present: At, at: At) -> Thread {
    let recording = frames.recording;
    let spent = Spent::within(recording, track, present, at);
    let (state, wait) = match sample.state {
        State::Python => ("python", ""),
        State::Native => ("native", ""),
        State::WantsGil => ("wants GIL", ""),
        State::Waiting(wait) => ("waits", recording.wait(wait).unwrap_or_default()),
        State::Unknown => ("unknown", ""),
    };
    let state = if sample.flags.in_gc == Some(true) { "collects" } else { state };
    Thread {
        track,
        name: safe(&label::track(recording, track)),
        state,
        wait: safe(wait),
        cpu: spent.cpu.map(|cpu| spent.share(cpu)),
        gil: spent.share(spent.held),
        wants: spent.share(spent.wanted),
        waits: spent.share(spent.waited),
        top: sample.stack.and_then(|stack| frames.of(stack).next()).unwrap_or_default(),
    }
}

/// The last sample of a thread up to a moment.
fn latest(recording: &Recording, track: TrackId, at: At) -> Option<&Sample> {
    let rows = recording.samples_of(track);
    let behind = rows.partition_point(|row| row.from < at);
    rows.get(behind.checked_sub(1)?)
}

fn sort(threads: &mut [Thread], query: &Query) {
    let down = |a: f64, b: f64| b.total_cmp(&a);
    threads.sort_by(|a, b| {
        let order = match query.thread_column {
            ThreadColumn::Name => Ordering::Equal,
            ThreadColumn::Cpu => down(a.cpu.unwrap_or(0.0), b.cpu.unwrap_or(0.0)),
            ThreadColumn::Gil => down(a.gil, b.gil),
            ThreadColumn::Wants => down(a.wants, b.wants),
            ThreadColumn::Waits => down(a.waits, b.waits),
        };
        let order = order.then_with(|| a.name.cmp(&b.name)).then(a.track.cmp(&b.track));
        if query.inverted { order.reverse() } else { order }
    });
}

/// How frames are written.
struct Frames<'a> {
    recording: &'a Recording,
    /// A short name for each file.
    files: Vec<String>,
}

impl Frames<'_> {
    /// The frames of a stack, innermost first.
    fn of(&self, stack: StackId) -> impl Iterator<Item = String> {
        self.recording.frames_of(stack).map(|frame| self.text(frame))
    }

    fn text(&self, frame: &Frame) -> String {
        let name = self.recording.string(frame.qualname.unwrap_or(frame.name));
        let file = self.files.get(frame.file.index()).map_or("", String::as_str);
        match (file, frame.line) {
            ("", _) => safe(name),
            (file, Some(line)) => safe(&format!("{name} ({file}:{line})")),
            (file, None) => safe(&format!("{name} ({file})")),
        }
    }
}
