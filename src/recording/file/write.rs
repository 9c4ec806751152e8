//! Writes a recording while it is made: events in, blocks out.

use std::io::{self, Write};

use super::block::{self, Codec, Kind};
use super::rows::{CensusLook, HeapLook, Length};
use super::{MAGIC, VERSION, samples, table, varint};
use crate::model::allocation::Allocation;
use crate::model::heap::{Census, HeapState};
use crate::model::{
    At, Counter, Define, Event, File, FileId, Frame, Mark, Nanos, Process, ProcessEvent, Sample, Stack,
    StringId, Track, TrackId, Trouble, Wait, gc::Collection,
};
use crate::recording::known::Known;
use crate::recording::meta::Meta;
use crate::recording::resolution::settle;
use crate::recording::tables::Recording;

/// A crash loses what happened in this time at most. It is measured on the recording's own clock, so that equal
/// recordings are cut into equal blocks.
const FLUSH_EVERY: Nanos = Nanos::SECOND;

/// What is held back at most, in bytes, more or less: it bounds our memory, and keeps blocks far below their limit.
const FLUSH_BYTES: usize = 1 << 20;

/// What a row takes, more or less: most are samples.
const ROW_BYTES: usize = size_of::<Sample>();

/// A recording in the making.
///
/// What it has been given lies in the file after one second of the recording's clock, whole blocks at a time. An
/// error leaves a file that can be read up to the last whole block.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: W,
    codec: Codec,
    written: u64,
    /// A block could not be written. What would follow it could not be read.
    broken: bool,
    known: Known,
    held: Held,
    /// When the last block was written, on the recording's clock.
    flushed: At,
    /// How many rows of the tables with running ids are written.
    ids: Ids,
}

#[derive(Debug, Default)]
struct Ids {
    strings: u64,
    files: u64,
    frames: u64,
    stacks: u64,
    processes: u64,
    waits: u64,
}

/// What is not written yet.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    strings: Vec<Box<str>>,
    files: Vec<File>,
    frames: Vec<Frame>,
    stacks: Vec<Stack>,
    tracks: Vec<(TrackId, Track)>,
    processes: Vec<Process>,
    waits: Vec<Wait>,
    sources: Vec<(FileId, u32, StringId)>,
    process_events: Vec<ProcessEvent>,
    samples: Vec<Sample>,
    looks: u64,
    gc: Vec<Collection>,
    heaps: Vec<HeapState>,
    censuses: Vec<Census>,
    allocations: Vec<Allocation>,
    counters: Vec<Counter>,
    marks: Vec<Mark>,
    troubles: Vec<Trouble>,
    /// For each track, where its last row stands in `samples`, and when that row ended.
    last: Vec<(Option<usize>, At)>,
}

impl<W: Write> Recorder<W> {
    /// Starts a recording: its first bytes and what it says of itself are written at once.
    pub fn new(out: W, meta: &Meta) -> io::Result<Recorder<W>> {
        Recorder::with_codec(out, meta, Codec::Zstd)
    }

    /// Starts a recording whose blocks are all packed in the same way.
    pub fn with_codec(mut out: W, meta: &Meta, codec: Codec) -> io::Result<Recorder<W>> {
        out.write_all(&[&MAGIC[..], &VERSION.to_le_bytes()].concat())?;
        let mut recorder = Recorder {
            out,
            codec,
            written: (MAGIC.len() + size_of_val(&VERSION)) as u64,
            broken: false,
            known: Known::default(),
            held: Held::default(),
            flushed: At(0),
            ids: Ids::default(),
        };
        recorder.meta(meta)?;
        recorder.out.flush()?;
        Ok(recorder)
    }

    /// Adds what happened. An event that names what was never defined is an error of the kind `InvalidInput`, and
    /// nothing is written of it.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.known.admit(event).map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal))?;
        let at = self.held.hold(event);
        if self.held.bytes >= FLUSH_BYTES || at.is_some_and(|at| at.since(self.flushed) >= FLUSH_EVERY) {
            self.flushed = at.unwrap_or(self.flushed);
            self.flush()?;
        }
        Ok(())
    }

    /// Writes all that is held back. After an error nothing more is written: a file is whole up to where it breaks.
    pub fn flush(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(io::Error::other("an earlier part of the recording could not be written"));
        }
        let held = std::mem::take(&mut self.held);
        self.numbered(
            Kind::Strings,
            held.strings.len(),
            |ids| &mut ids.strings,
            |out| put_strings(out, &held.strings),
        )?;
        self.numbered(
            Kind::Files,
            held.files.len(),
            |ids| &mut ids.files,
            |out| table::put(out, &held.files),
        )?;
        self.numbered(
            Kind::Frames,
            held.frames.len(),
            |ids| &mut ids.frames,
            |out| table::put(out, &held.frames),
        )?;
        self.numbered(
            Kind::Stacks,
            held.stacks.len(),
            |ids| &mut ids.stacks,
            |out| table::put(out, &held.stacks),
        )?;
        self.numbered(
            Kind::Waits,
            held.waits.len(),
            |ids| &mut ids.waits,
            |out| table::put(out, &held.waits),
        )?;
        self.numbered(
            Kind::Processes,
            held.processes.len(),
            |ids| &mut ids.processes,
            |out| {
                table::put(out, &held.processes);
            },
        )?;
        self.rows(Kind::Tracks, &held.tracks)?;
        self.rows(Kind::Sources, &held.sources)?;
        self.rows(Kind::ProcessEvents, &held.process_events)?;
        self.samples(held.samples, held.looks)?;
        self.rows(Kind::Gc, &held.gc)?;
        self.heaps(&held.heaps)?;
        self.censuses(&held.censuses)?;
        self.rows(Kind::Allocations, &held.allocations)?;
        self.rows(Kind::Counters, &held.counters)?;
        self.rows(Kind::Marks, &held.marks)?;
        self.rows(Kind::Troubles, &held.troubles)?;
        self.held.last = held.last;
        self.held.last.iter_mut().for_each(|(row, _)| *row = None);
        self.out.flush()?;
        self.broken = false;
        Ok(())
    }

    /// Ends the recording: writes what is held back, what became of it all, and the mark that nothing follows.
    pub fn finish(mut self, meta: &Meta) -> io::Result<W> {
        self.flush()?;
        self.meta(meta)?;
        self.block(Kind::End, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// How many bytes have been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn meta(&mut self, meta: &Meta) -> io::Result<()> {
        let json = serde_json::to_vec(meta)?;
        self.block(Kind::Meta, &json)
    }

    /// Writes rows whose ids are their places, behind the id of the first.
    fn numbered(
        &mut self,
        kind: Kind,
        count: usize,
        ids: impl Fn(&mut Ids) -> &mut u64,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let next = ids(&mut self.ids);
        let mut payload = Vec::new();
        varint::put(&mut payload, *next);
        *next += count as u64;
        put(&mut payload);
        self.block(kind, &payload)
    }

    fn rows<const N: usize, R: table::Row<N>>(&mut self, kind: Kind, rows: &[R]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut payload = Vec::new();
        table::put(&mut payload, rows);
        self.block(kind, &payload)
    }

    /// A track's rows stand together: then most of them begin where the row before ended, and that costs nothing.
    fn samples(&mut self, mut samples: Vec<Sample>, looks: u64) -> io::Result<()> {
        if samples.is_empty() && looks == 0 {
            return Ok(());
        }
        samples.sort_by_key(|sample| sample.track);
        let mut payload = Vec::new();
        samples::put(&mut payload, looks, &samples);
        self.block(Kind::Samples, &payload)
    }

    fn heaps(&mut self, heaps: &[HeapState]) -> io::Result<()> {
        if heaps.is_empty() {
            return Ok(());
        }
        let looks: Vec<HeapLook> = heaps
            .iter()
            .map(|state| HeapLook {
                at: state.at,
                process: state.process,
                arenas: state.arenas.len() as u64,
                classes: state.classes.len() as u64,
                suspect_pools: state.suspect_pools,
                whole: state.whole,
                pools: state.pools.len() as u64,
                pool_size: state.pool_size,
            })
            .collect();
        let arenas: Vec<_> = heaps.iter().flat_map(|state| state.arenas.iter().copied()).collect();
        let classes: Vec<_> = heaps.iter().flat_map(|state| state.classes.iter().copied()).collect();
        let pools: Vec<_> = heaps.iter().flat_map(|state| state.pools.iter().copied()).collect();
        let mut payload = Vec::new();
        table::put(&mut payload, &looks);
        table::put(&mut payload, &arenas);
        table::put(&mut payload, &classes);
        table::put(&mut payload, &pools);
        self.block(Kind::Heap, &payload)
    }

    fn censuses(&mut self, censuses: &[Census]) -> io::Result<()> {
        if censuses.is_empty() {
            return Ok(());
        }
        let look = |census: &Census| CensusLook {
            at: census.at,
            process: census.process,
            took: census.took,
            suspect_pools: census.suspect_pools,
            types: census.types.len() as u64,
        };
        let looks: Vec<CensusLook> = censuses.iter().map(look).collect();
        let types: Vec<_> = censuses.iter().flat_map(|census| census.types.iter().copied()).collect();
        let mut payload = Vec::new();
        table::put(&mut payload, &looks);
        table::put(&mut payload, &types);
        self.block(Kind::Censuses, &payload)
    }

    fn block(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        self.written += block::put(&mut self.out, kind, self.codec, payload)? as u64;
        Ok(())
    }
}

impl Held {
    /// Takes an event in; says when it happened, where it did at a certain time.
    fn hold(&mut self, event: &Event) -> Option<At> {
        self.bytes += ROW_BYTES;
        match event {
            Event::Define(define) => {
                self.define(define);
                return None;
            }
            Event::Process(event) => self.process_events.push(*event),
            Event::Samples { looks, rows } => {
                self.looks = self.looks.saturating_add(*looks);
                rows.iter().for_each(|sample| self.sample(sample));
                return rows.iter().map(|sample| sample.until).max();
            }
            Event::Gc(collection) => self.gc.push(*collection),
            Event::Heap(state) => {
                self.bytes += (state.arenas.len() + state.classes.len() + state.pools.len()) * ROW_BYTES;
                self.heaps.push(state.clone());
            }
            Event::Census(census) => {
                self.bytes += census.types.len() * ROW_BYTES;
                self.censuses.push(census.clone());
            }
            Event::Allocations(rows) => {
                self.bytes += rows.len() * ROW_BYTES;
                self.allocations.extend(rows);
            }
            Event::Counter(counter) => self.counters.push(*counter),
            Event::Mark(mark) => self.marks.push(*mark),
            Event::Trouble(trouble) => self.troubles.push(*trouble),
        }
        at(event)
    }

    fn define(&mut self, define: &Define) {
        match define {
            Define::String(_, text) => {
                self.bytes += text.len();
                self.strings.push(text.clone());
            }
            Define::File(_, file) => self.files.push(*file),
            Define::Frame(_, frame) => self.frames.push(*frame),
            Define::Stack(_, stack) => self.stacks.push(*stack),
            Define::Track(id, track) => {
                self.tracks.push((*id, *track));
                if id.index() == self.last.len() {
                    self.last.push((None, At(0)));
                }
            }
            Define::Process(_, process) => self.processes.push(*process),
            Define::Wait(_, wait) => self.waits.push(*wait),
            Define::Source(file, line, text) => self.sources.push((*file, *line, *text)),
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let Some((row, ended)) = self.last.get_mut(sample.track.index()) else { return };
        let sample = settle(*sample, *ended);
        *ended = sample.until;
        if row.and_then(|row| self.samples.get_mut(row)).is_some_and(|last| last.fold(&sample)) {
            return;
        }
        *row = Some(self.samples.len());
        self.samples.push(sample);
        self.bytes += ROW_BYTES;
    }
}

fn at(event: &Event) -> Option<At> {
    match event {
        Event::Process(event) => Some(event.at),
        Event::Gc(collection) => Some(collection.stop),
        Event::Heap(state) => Some(state.at),
        Event::Census(census) => Some(census.at),
        Event::Allocations(rows) => rows.last().map(|row| row.at),
        Event::Counter(counter) => Some(counter.at),
        Event::Mark(mark) => Some(mark.at),
        Event::Trouble(trouble) => Some(trouble.at),
        Event::Define(_) | Event::Samples { .. } => None,
    }
}

fn put_strings(out: &mut Vec<u8>, strings: &[Box<str>]) {
    let lengths: Vec<Length> = strings.iter().map(|text| Length(text.len() as u64)).collect();
    table::put(out, &lengths);
    strings.iter().for_each(|text| out.extend(text.as_bytes()));
}

/// Writes a whole recording, as if it were being made: equal recordings give equal bytes.
pub fn write<W: Write>(recording: &Recording, out: W) -> io::Result<W> {
    let mut recorder = Recorder::new(out, &recording.meta)?;
    recorder.recording(recording)?;
    if recording.ended {
        return recorder.finish(&recording.meta);
    }
    recorder.flush()?;
    Ok(recorder.out)
}

impl<W: Write> Recorder<W> {
    fn recording(&mut self, recording: &Recording) -> io::Result<()> {
        definitions(recording).try_for_each(|define| self.event(&Event::Define(define)))?;
        let mut samples: Vec<Sample> = recording.samples.iter().flatten().copied().collect();
        samples.sort_by_key(|sample| (sample.until, sample.track));
        for sample in samples {
            let at = sample.until;
            self.held.sample(&sample);
            if self.held.bytes >= FLUSH_BYTES || at.since(self.flushed) >= FLUSH_EVERY {
                self.flushed = at;
                self.flush()?;
            }
        }
        self.held.looks = recording.looks;
        let events = recording.process_events.iter().map(|event| Event::Process(*event));
        let gc = recording.gc.iter().map(|collection| Event::Gc(*collection));
        let heaps = recording.heaps.iter().map(|state| Event::Heap(state.clone()));
        let censuses = recording.censuses.iter().map(|census| Event::Census(census.clone()));
        let allocations = recording.allocations.iter().map(|row| Event::Allocations(vec![*row]));
        let counters = recording.counters.iter().map(|counter| Event::Counter(*counter));
        let marks = recording.marks.iter().map(|mark| Event::Mark(*mark));
        let troubles = recording.troubles.iter().map(|trouble| Event::Trouble(*trouble));
        events
            .chain(gc)
            .chain(heaps)
            .chain(censuses)
            .chain(allocations)
            .chain(counters)
            .chain(marks)
            .chain(troubles)
            .try_for_each(|event| self.event(&event))
    }
}

fn definitions(recording: &Recording) -> impl Iterator<Item = Define> {
    use crate::model::{FrameId, ProcessId, StackId, WaitId};
    let strings = (0..).zip(&recording.strings).map(|(id, text)| Define::String(StringId(id), text.clone()));
    let files = (0..).zip(&recording.files).map(|(id, file)| Define::File(FileId(id), *file));
    let frames = (0..).zip(&recording.frames).map(|(id, frame)| Define::Frame(FrameId(id), *frame));
    let stacks = (0..).zip(&recording.stacks).map(|(id, stack)| Define::Stack(StackId(id), *stack));
    let waits = (0..).zip(&recording.waits).map(|(id, wait)| Define::Wait(WaitId(id), *wait));
    let processes = (0..).zip(&recording.processes).map(|(id, row)| Define::Process(ProcessId(id), *row));
    let tracks = (0..).zip(&recording.tracks).map(|(id, track)| Define::Track(TrackId(id), *track));
    let sources = recording.sources.iter().map(|((file, line), text)| Define::Source(*file, *line, *text));
    strings
        .chain(files)
        .chain(frames)
        .chain(stacks)
        .chain(waits)
        .chain(processes)
        .chain(tracks)
        .chain(sources)
}
