//! A recording in memory: tables of what was defined, and what happened, in order.

use std::collections::BTreeMap;

use super::file::Damage;
use super::known::{Known, Refusal};
use super::meta::Meta;
use super::resolution::settle;
use crate::model::{
    At, Counter, Define, Event, File, FileId, Frame, FrameId, Mark, Process, ProcessEvent, ProcessId, Sample,
    Stack, StackId, StringId, Track, TrackId, Trouble, Wait, WaitId, allocation::Allocation, gc::Collection,
    heap::Census, heap::HeapState,
};

/// Everything that was recorded.
///
/// Every id in it has been checked: a row that names another names one that is there.
#[derive(Debug, Default, PartialEq)]
pub struct Recording {
    /// What it says of itself.
    pub meta: Meta,
    /// Strings, by [`StringId`].
    pub strings: Vec<Box<str>>,
    /// Files, by [`FileId`].
    pub files: Vec<File>,
    /// Frames, by [`FrameId`].
    pub frames: Vec<Frame>,
    /// Stacks, by [`StackId`]. A parent always has the smaller id.
    pub stacks: Vec<Stack>,
    /// Tracks, by [`TrackId`].
    pub tracks: Vec<Track>,
    /// Processes, by [`ProcessId`].
    pub processes: Vec<Process>,
    /// What threads waited for, by [`WaitId`].
    pub waits: Vec<Wait>,
    /// The source lines that were asked for.
    pub sources: BTreeMap<(FileId, u32), StringId>,
    /// The samples of each track, by [`TrackId`], in time; equal neighbours are one row.
    pub samples: Vec<Vec<Sample>>,
    /// How many looks at a process there were.
    pub looks: u64,
    /// What became of processes.
    pub process_events: Vec<ProcessEvent>,
    /// Collections of garbage.
    pub gc: Vec<Collection>,
    /// States of the allocator.
    pub heaps: Vec<HeapState>,
    /// Objects by type, each time that they were counted.
    pub censuses: Vec<Census>,
    /// Memory that was put down to stacks, in the order in which it was told.
    pub allocations: Vec<Allocation>,
    /// Numbers that changed.
    pub counters: Vec<Counter>,
    /// Moments that were marked.
    pub marks: Vec<Mark>,
    /// What did not work.
    pub troubles: Vec<Trouble>,
    /// Whether it was ended by whoever made it, rather than by a crash.
    pub ended: bool,
    /// What is wrong with the file that it was read from.
    pub damage: Option<Damage>,
    /// Blocks of that file that this version does not know.
    pub unknown_blocks: u64,
    known: Known,
}

impl Recording {
    /// An empty recording.
    pub fn new(meta: Meta) -> Recording {
        Recording { meta, ..Recording::default() }
    }

    /// Adds what happened. An event that names what was never defined is refused, and changes nothing.
    pub fn add(&mut self, event: Event) -> Result<(), Refusal> {
        self.known.admit(&event)?;
        match event {
            Event::Define(define) => self.define(define),
            Event::Process(event) => self.process_events.push(event),
            Event::Samples { looks, rows } => {
                self.looks = self.looks.saturating_add(looks);
                rows.into_iter().for_each(|sample| self.keep(sample));
            }
            Event::Gc(collection) => self.gc.push(collection),
            Event::Heap(state) => self.heaps.push(state),
            Event::Census(census) => self.censuses.push(census),
            Event::Allocations(rows) => self.allocations.extend(rows),
            Event::Counter(counter) => self.counters.push(counter),
            Event::Mark(mark) => self.marks.push(mark),
            Event::Trouble(trouble) => self.troubles.push(trouble),
        }
        Ok(())
    }

    /// The text of a string; empty where there is none.
    pub fn string(&self, id: StringId) -> &str {
        self.strings.get(id.index()).map_or("", |text| text)
    }

    /// A file.
    pub fn file(&self, id: FileId) -> Option<&File> {
        self.files.get(id.index())
    }

    /// A frame.
    pub fn frame(&self, id: FrameId) -> Option<&Frame> {
        self.frames.get(id.index())
    }

    /// A stack.
    pub fn stack(&self, id: StackId) -> Option<&Stack> {
        self.stacks.get(id.index())
    }

    /// A track.
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.get(id.index())
    }

    /// A process.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(id.index())
    }

    /// What a thread waited for, in words.
    pub fn wait(&self, id: WaitId) -> Option<&str> {
        self.waits.get(id.0 as usize).map(|wait| self.string(wait.text))
    }

    /// The frames of a stack, innermost first.
    pub fn frames_of(&self, stack: StackId) -> impl Iterator<Item = &Frame> {
        let mut next = Some(stack);
        std::iter::from_fn(move || {
            let stack = self.stack(next?)?;
            next = stack.parent;
            self.frame(stack.frame)
        })
    }

    /// The samples of a track, in time.
    pub fn samples_of(&self, track: TrackId) -> &[Sample] {
        self.samples.get(track.index()).map_or(&[], Vec::as_slice)
    }

    /// The moment of the last thing that happened.
    pub fn end(&self) -> At {
        let last = self.samples.iter().filter_map(|rows| rows.last()).map(|sample| sample.until);
        let achieved = self.meta.achieved.iter().map(|achieved| At(achieved.duration_ns));
        let gc = self.gc.iter().map(|collection| collection.stop);
        let heaps = self.heaps.iter().map(|state| state.at);
        let censuses = self.censuses.iter().map(|census| census.at);
        let allocations = self.allocations.iter().map(|row| row.at);
        let processes = self.process_events.iter().map(|event| event.at);
        let counters = self.counters.iter().map(|counter| counter.at);
        let marks = self.marks.iter().map(|mark| mark.at);
        last.chain(achieved)
            .chain(gc)
            .chain(heaps)
            .chain(censuses)
            .chain(allocations)
            .chain(processes)
            .chain(counters)
            .chain(marks)
            .max()
            .unwrap_or_default()
    }

    fn define(&mut self, define: Define) {
        match define {
            Define::String(_, text) => self.strings.push(text),
            Define::File(_, file) => self.files.push(file),
            Define::Frame(_, frame) => self.frames.push(frame),
            Define::Stack(_, stack) => self.stacks.push(stack),
            Define::Track(id, track) => match self.tracks.get_mut(id.index()) {
                Some(said_before) => *said_before = track,
                None => {
                    self.tracks.push(track);
                    self.samples.push(Vec::new());
                }
            },
            Define::Process(_, process) => self.processes.push(process),
            Define::Wait(_, wait) => self.waits.push(wait),
            Define::Source(file, line, text) => {
                self.sources.insert((file, line), text);
            }
        }
    }

    fn keep(&mut self, sample: Sample) {
        let Some(rows) = self.samples.get_mut(sample.track.index()) else { return };
        let sample = settle(sample, rows.last().map_or(At(0), |last| last.until));
        if !rows.last_mut().is_some_and(|last| last.fold(&sample)) {
            rows.push(sample);
        }
    }
}
