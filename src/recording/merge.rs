//! Several streams of events become one: every id is numbered anew, and every time put on one clock.
//!
//! Design constraints: each stream comes from its own sampler, which knows nothing of the others, so that a process that
//! is slow or gone keeps nobody waiting. Batches are changed in place, for they go back to where they came from. What
//! streams have in common is kept once: forked children share nearly all of their strings, frames and stacks.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::allocation::Allocation;
use crate::model::{
    At, Define, Event, File, FileId, FileKind, Frame, FrameId, FrameKind, Nanos, Process, ProcessEvent,
    ProcessId, ProcessState, Sample, Stack, StackId, State, StringId, TrackId, Trouble, TroubleKind, WaitId,
};

/// Where a stream's process comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there before, or nobody who made it is in the recording.
    Unknown,
    /// The process of this pid made it, itself or by way of others.
    Child(u32),
    /// It was another program before, which that one had made.
    Exec(Option<u32>),
}

/// What can be asked about the files of a stream's process.
pub trait Ask {
    /// The distribution that an installed file came with.
    fn distribution(&mut self, path: &str) -> Option<String>;
    /// A line of a file, where lines are kept.
    fn line(&mut self, path: &str, line: u32) -> Option<String>;
}

/// Nobody is there to be asked.
impl Ask for () {
    fn distribution(&mut self, _: &str) -> Option<String> {
        None
    }

    fn line(&mut self, _: &str, _: u32) -> Option<String> {
        None
    }
}

/// What all streams have in common.
#[derive(Debug, Default)]
pub struct Merge {
    strings: FxHashMap<Arc<str>, StringId>,
    texts: Vec<Arc<str>>,
    /// The distribution of each path that was asked for.
    distributions: FxHashMap<StringId, Option<StringId>>,
    files: FxHashMap<File, FileId>,
    /// The path of each file, and the lines that were asked for.
    paths: Vec<StringId>,
    lines: FxHashSet<(FileId, u32)>,
    frames: FxHashMap<Frame, FrameId>,
    stacks: FxHashMap<Stack, StackId>,
    waits: FxHashMap<StringId, WaitId>,
    tracks: u32,
    /// Tracks that nobody remembers any more.
    free: Vec<TrackId>,
    processes: u32,
    /// Room for the next batch.
    said: Vec<Event>,
    /// The last process of each pid.
    by_pid: FxHashMap<u32, ProcessId>,
}

/// One stream: when it began, and what its ids are in the whole.
#[derive(Debug)]
pub struct Stream {
    began: Nanos,
    process: ProcessId,
    strings: Vec<StringId>,
    files: Vec<FileId>,
    frames: Vec<FrameId>,
    stacks: Vec<StackId>,
    tracks: Vec<TrackId>,
    waits: Vec<WaitId>,
}

/// Who a stream is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its id in our own pid namespace.
    pub pid: u32,
    /// Where it comes from.
    pub origin: Origin,
    /// Program and script, or the whole command line.
    pub command: &'a str,
    /// The interpreter's version.
    pub python: &'a str,
    /// The interpreter has no GIL.
    pub free_threaded: bool,
    /// The interpreter is a `Py_DEBUG` build.
    pub debug: bool,
}

impl Stream {
    fn new(began: Nanos, process: ProcessId) -> Stream {
        Stream {
            began,
            process,
            strings: Vec::new(),
            files: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            tracks: Vec::new(),
            waits: Vec::new(),
        }
    }

    /// Its process, as the whole knows it.
    pub fn process(&self) -> ProcessId {
        self.process
    }

    fn string(&self, id: StringId) -> Option<StringId> {
        self.strings.get(id.index()).copied()
    }

    fn optional_string(&self, id: Option<StringId>) -> Option<Option<StringId>> {
        id.map_or(Some(None), |id| self.string(id).map(Some))
    }

    fn stack(&self, id: Option<StackId>) -> Option<Option<StackId>> {
        id.map_or(Some(None), |id| self.stacks.get(id.index()).copied().map(Some))
    }

    fn file(&self, id: FileId) -> Option<FileId> {
        self.files.get(id.index()).copied()
    }

    fn at(&self, at: At) -> At {
        At(at.0.saturating_add(self.began.0))
    }

    fn allocation(&self, row: &mut Allocation) -> Option<()> {
        row.at = self.at(row.at);
        row.track = *self.tracks.get(row.track.index())?;
        row.stack = self.stack(row.stack)?;
        Some(())
    }

    fn sample(&self, sample: &mut Sample) -> Option<()> {
        sample.from = self.at(sample.from);
        sample.until = self.at(sample.until);
        sample.track = *self.tracks.get(sample.track.index())?;
        sample.stack = self.stack(sample.stack)?;
        if let State::Waiting(wait) = &mut sample.state {
            *wait = *self.waits.get(wait.0 as usize)?;
        }
        Some(())
    }
}

impl Merge {
    /// A further stream, whose own zero is `began` after that of the whole; says who has come. What the stream itself says
    /// of that is left out: it may come later than the end of its children.
    pub fn stream(&mut self, began: Nanos, subject: &Subject<'_>, out: &mut Vec<Event>) -> Stream {
        let (command, python) = (self.text(subject.command, out), self.text(subject.python, out));
        let (maker, born) = match subject.origin {
            Origin::Unknown => (None, false),
            Origin::Child(maker) => (Some(maker), true),
            Origin::Exec(maker) => (maker, false),
        };
        let parent = maker.and_then(|pid| self.by_pid.get(&pid).copied());
        let process = ProcessId(self.processes);
        self.processes += 1;
        self.by_pid.insert(subject.pid, process);
        let row = Process {
            pid: subject.pid,
            parent,
            command,
            python,
            free_threaded: subject.free_threaded,
            debug: subject.debug,
        };
        out.push(Event::Define(Define::Process(process, row)));
        let at = At(began.0);
        if let Some(parent) = parent.filter(|_| born) {
            let state = ProcessState::Forked(process);
            out.push(Event::Process(ProcessEvent { at, process: parent, state }));
        }
        out.push(Event::Process(ProcessEvent { at, process, state: ProcessState::Came }));
        Stream::new(began, process)
    }

    /// A stream of another reader of the same process, with ids of its own.
    pub fn beside(&self, stream: &Stream) -> Stream {
        Stream::new(stream.began, stream.process)
    }

    /// Turns a batch of a stream into a part of the whole, and leaves out of it what the whole knows already. What names
    /// something that the stream never said is left out too. `ask` is asked about each file and each line once.
    pub fn adopt(&mut self, stream: &mut Stream, events: &mut Vec<Event>, ask: &mut dyn Ask) {
        let mut said = std::mem::take(&mut self.said);
        for mut event in events.drain(..) {
            if self.event(stream, &mut event, ask, &mut said).unwrap_or(false) {
                said.push(event);
            }
        }
        self.said = std::mem::replace(events, said);
    }

    /// The distribution that a file came with, asked for once.
    fn distribution(&mut self, path: StringId, ask: &mut dyn Ask, out: &mut Vec<Event>) -> Option<StringId> {
        if let Some(known) = self.distributions.get(&path) {
            return *known;
        }
        let text = self.texts.get(path.index()).map(Arc::clone)?;
        let name = ask.distribution(&text).map(|name| self.text(&name, out));
        self.distributions.insert(path, name);
        name
    }

    /// Keeps the line that a frame was at, asked for once.
    fn line(&mut self, frame: &Frame, ask: &mut dyn Ask, out: &mut Vec<Event>) -> Option<()> {
        let line = frame.line.filter(|line| self.lines.insert((frame.file, *line)))?;
        let path = self.paths.get(frame.file.index())?;
        let path = self.texts.get(path.index()).map(Arc::clone)?;
        let text = ask.line(&path, line)?;
        let text = self.text(&text, out);
        out.push(Event::Define(Define::Source(frame.file, line, text)));
        Some(())
    }

    fn text(&mut self, text: &str, out: &mut Vec<Event>) -> StringId {
        let (new, id) = self.intern(text);
        out.extend(new.then(|| Event::Define(Define::String(id, text.into()))));
        id
    }

    /// The number of a text, and whether it is new.
    fn intern(&mut self, text: &str) -> (bool, StringId) {
        if let Some(id) = self.strings.get(text) {
            return (false, *id);
        }
        let (id, text) = (StringId(self.texts.len() as u32), Arc::<str>::from(text));
        self.texts.push(Arc::clone(&text));
        self.strings.insert(text, id);
        (true, id)
    }

    /// Gives tracks to threads that are yet to come. Nothing that was said of them is remembered, and no stream names them again.
    pub fn reuse(&mut self, tracks: Vec<TrackId>) {
        self.free.extend(tracks);
    }

    /// Something that did not work and that no stream says, in words.
    pub fn trouble(&mut self, at: At, text: &str, out: &mut Vec<Event>) {
        let id = self.text(text, out);
        let trouble = Trouble { at, kind: TroubleKind::Other, count: 1, text: Some(id) };
        out.push(Event::Trouble(trouble));
    }

    /// Whether an event, as it is afterwards, says anything new; `None` where it names something unknown.
    fn event(
        &mut self,
        stream: &mut Stream,
        event: &mut Event,
        ask: &mut dyn Ask,
        out: &mut Vec<Event>,
    ) -> Option<bool> {
        match event {
            Event::Define(define) => return self.define(stream, define, ask, out),
            Event::Process(event) => {
                event.at = stream.at(event.at);
                event.process = stream.process;
                return Some(event.state != ProcessState::Came);
            }
            Event::Samples { rows, .. } => rows.retain_mut(|row| stream.sample(row).is_some()),
            Event::Gc(collection) => {
                collection.start = stream.at(collection.start);
                collection.stop = stream.at(collection.stop);
                collection.process = stream.process;
                collection.stack = stream.stack(collection.stack)?;
            }
            Event::Heap(state) => {
                state.at = stream.at(state.at);
                state.process = stream.process;
            }
            Event::Census(census) => {
                census.at = stream.at(census.at);
                census.process = stream.process;
                for of in &mut census.types {
                    of.name = stream.string(of.name)?;
                }
            }
            Event::Allocations(rows) => {
                rows.retain_mut(|row| stream.allocation(row).is_some());
                return Some(!rows.is_empty());
            }
            Event::Counter(counter) => {
                counter.at = stream.at(counter.at);
                counter.process = stream.process;
                counter.name = stream.string(counter.name)?;
            }
            Event::Mark(mark) => {
                mark.at = stream.at(mark.at);
                mark.text = stream.string(mark.text)?;
            }
            Event::Trouble(trouble) => {
                trouble.at = stream.at(trouble.at);
                trouble.text = stream.optional_string(trouble.text)?;
            }
        }
        Some(true)
    }

    fn define(
        &mut self,
        stream: &mut Stream,
        define: &mut Define,
        ask: &mut dyn Ask,
        out: &mut Vec<Event>,
    ) -> Option<bool> {
        match define {
            Define::String(id, text) => {
                let (new, known) = self.intern(text);
                *id = known;
                stream.strings.push(known);
                Some(new)
            }
            Define::File(id, file) => {
                file.path = stream.string(file.path)?;
                file.distribution = match file.distribution {
                    None if file.kind == FileKind::Installed => self.distribution(file.path, ask, out),
                    own => stream.optional_string(own)?,
                };
                let (new, known) = number(&mut self.files, file, FileId);
                self.paths.extend(new.then_some(file.path));
                *id = known;
                stream.files.push(known);
                Some(new)
            }
            Define::Frame(id, frame) => {
                frame.name = stream.string(frame.name)?;
                frame.qualname = stream.optional_string(frame.qualname)?;
                frame.file = stream.file(frame.file)?;
                let (new, known) = number(&mut self.frames, frame, FrameId);
                if new && frame.kind == FrameKind::Python {
                    self.line(frame, ask, out);
                }
                *id = known;
                stream.frames.push(known);
                Some(new)
            }
            Define::Stack(id, stack) => {
                stack.parent = stream.stack(stack.parent)?;
                stack.frame = *stream.frames.get(stack.frame.index())?;
                let (new, known) = number(&mut self.stacks, stack, StackId);
                *id = known;
                stream.stacks.push(known);
                Some(new)
            }
            Define::Wait(id, wait) => {
                wait.text = stream.string(wait.text)?;
                let (new, known) = number(&mut self.waits, &wait.text, WaitId);
                *id = known;
                stream.waits.push(known);
                Some(new)
            }
            Define::Track(id, track) => {
                track.process = stream.process;
                track.name = stream.optional_string(track.name)?;
                // A track may be said again, and is never anybody else's.
                if let Some(known) = stream.tracks.get(id.index()) {
                    *id = *known;
                    return Some(true);
                }
                *id = self.free.pop().unwrap_or_else(|| {
                    self.tracks += 1;
                    TrackId(self.tracks - 1)
                });
                stream.tracks.push(*id);
                Some(true)
            }
            Define::Process(..) => Some(false),
            Define::Source(file, _, text) => {
                *file = stream.file(*file)?;
                *text = stream.string(*text)?;
                Some(true)
            }
        }
    }
}

/// The number of a thing, and whether it is new.
fn number<K: Hash + Eq + Clone, I: Copy>(
    known: &mut FxHashMap<K, I>,
    key: &K,
    id: impl Fn(u32) -> I,
) -> (bool, I) {
    if let Some(id) = known.get(key) {
        return (false, *id);
    }
    let id = id(known.len() as u32);
    known.insert(key.clone(), id);
    (true, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileKind, Flags, FrameKind, Quality, Track, TrackKind, Wait};
    use crate::recording::{Meta, Recording};

    fn string(id: u32, text: &str) -> Event {
        Event::Define(Define::String(StringId(id), text.into()))
    }

    fn subject(pid: u32, origin: Origin) -> Subject<'static> {
        Subject { pid, origin, command: "app.py", python: "3.13.0", free_threaded: false, debug: false }
    }

    /// What a sampler says of a process in which `name` waited in `work`.
    fn process(pid: u32, name: &str) -> Vec<Event> {
        let frame = Frame {
            kind: FrameKind::Python,
            name: StringId(2),
            qualname: None,
            file: FileId(0),
            line: Some(3),
            end_line: None,
            column: None,
            end_column: None,
            first_line: None,
        };
        let process = Process {
            pid,
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
            thread: 7,
            native: Some(pid),
            name: Some(StringId(1)),
            main: true,
        };
        let sample = Sample {
            from: At(0),
            until: At(1_000),
            count: 1,
            track: TrackId(0),
            stack: Some(StackId(0)),
            weight: Nanos(1_000),
            cpu: None,
            state: State::Waiting(WaitId(0)),
            flags: Flags::default(),
            quality: Quality::Whole,
        };
        let file = File { path: StringId(0), kind: FileKind::Own, distribution: None };
        let came = ProcessEvent { at: At(0), process: ProcessId(0), state: ProcessState::Came };
        let trouble = Trouble { at: At(1_000), kind: TroubleKind::Other, count: 1, text: Some(StringId(1)) };
        vec![
            string(0, "3.13.0"),
            string(1, name),
            string(2, "work"),
            Event::Define(Define::Process(ProcessId(0), process)),
            Event::Process(came),
            Event::Define(Define::File(FileId(0), file)),
            Event::Define(Define::Frame(FrameId(0), frame)),
            Event::Define(Define::Stack(StackId(0), Stack { parent: None, frame: FrameId(0) })),
            Event::Define(Define::Wait(WaitId(0), Wait { text: StringId(2) })),
            Event::Define(Define::Track(TrackId(0), track)),
            Event::Samples { looks: 1, rows: vec![sample] },
            Event::Trouble(trouble),
        ]
    }

    #[test]
    fn two_streams_become_one_recording_that_holds_what_they_share_once() {
        let (mut merge, mut all) = (Merge::default(), Vec::new());
        let mut parent = merge.stream(Nanos(0), &subject(10, Origin::Unknown), &mut all);
        let mut child = merge.stream(Nanos(5_000), &subject(11, Origin::Child(10)), &mut all);
        // The child's first batch may be the first of all.
        for (stream, pid, name) in [(&mut child, 11, "child"), (&mut parent, 10, "main")] {
            let mut batch = process(pid, name);
            merge.adopt(stream, &mut batch, &mut ());
            all.extend(batch);
        }
        let mut recording = Recording::new(Meta::default());
        for event in all {
            recording.add(event).unwrap();
        }
        let pids: Vec<_> = recording.processes.iter().map(|process| (process.pid, process.parent)).collect();
        assert_eq!(pids, [(10, None), (11, Some(ProcessId(0)))]);
        assert_eq!(recording.strings.len(), 5, "{:?}", recording.strings);
        let sizes = [&recording.files.len(), &recording.frames.len(), &recording.stacks.len()];
        assert_eq!((sizes, recording.waits.len(), recording.tracks.len()), ([&1; 3], 1, 2));
        let names = recording.tracks.iter().map(|track| recording.string(track.name.unwrap()));
        assert!(names.eq(["child", "main"]));
        assert_eq!((recording.samples[0][0].from, recording.samples[1][0].from), (At(5_000), At(0)));
        assert_eq!(recording.samples[1][0].stack, recording.samples[0][0].stack);
        let forked =
            ProcessEvent { at: At(5_000), process: ProcessId(0), state: ProcessState::Forked(ProcessId(1)) };
        assert!(recording.process_events.contains(&forked), "{:?}", recording.process_events);
        assert_eq!(recording.troubles.last().and_then(|trouble| trouble.text), Some(StringId(4)));
    }

    #[test]
    fn what_names_the_unknown_is_left_out_and_harms_nothing() {
        let (mut merge, mut all) = (Merge::default(), Vec::new());
        let mut stream = merge.stream(Nanos(0), &subject(10, Origin::Exec(None)), &mut all);
        let mut batch = process(10, "main");
        batch.retain(|event| !matches!(event, Event::Define(Define::Stack(..))));
        merge.adopt(&mut stream, &mut batch, &mut ());
        let mut recording = Recording::new(Meta::default());
        for event in all.into_iter().chain(batch) {
            recording.add(event).unwrap();
        }
        assert_eq!((recording.looks, recording.samples[0].len(), recording.tracks.len()), (1, 0, 1));
    }

    #[test]
    fn a_track_that_nobody_remembers_is_the_next_thread_s() {
        let (mut merge, mut all) = (Merge::default(), Vec::new());
        let mut recording = Recording::new(Meta::default());
        for name in ["first", "second", "third"] {
            let mut stream = merge.stream(Nanos(0), &subject(10, Origin::Unknown), &mut all);
            let mut batch = process(10, name);
            merge.adopt(&mut stream, &mut batch, &mut ());
            all.append(&mut batch);
            all.drain(..).for_each(|event| recording.add(event).unwrap());
            if name == "second" {
                merge.reuse(vec![TrackId(0)]);
            }
        }
        let names = recording.tracks.iter().map(|track| recording.string(track.name.unwrap()));
        assert!(names.eq(["third", "second"]));
    }

    #[derive(Default)]
    struct Asked(Vec<String>);

    impl Ask for Asked {
        fn distribution(&mut self, path: &str) -> Option<String> {
            self.0.push(path.to_owned());
            Some("Flask".to_owned())
        }

        fn line(&mut self, _: &str, line: u32) -> Option<String> {
            self.0.push(format!("line {line}"));
            Some(format!("return {line}"))
        }
    }

    #[test]
    fn an_installed_file_is_asked_for_once_and_bears_its_distribution_and_the_lines_that_ran() {
        let (mut merge, mut all, mut asked) = (Merge::default(), Vec::new(), Asked::default());
        let path = "/venv/site-packages/flask/app.py";
        for pid in [10, 11] {
            let mut stream = merge.stream(Nanos(0), &subject(pid, Origin::Unknown), &mut all);
            let file = File { path: StringId(0), kind: FileKind::Installed, distribution: None };
            let name = StringId(0);
            let frame = |column| Frame {
                kind: FrameKind::Python,
                name,
                qualname: None,
                file: FileId(0),
                line: Some(7),
                end_line: None,
                column: Some(column),
                end_column: None,
                first_line: None,
            };
            let mut batch = vec![string(0, path), Event::Define(Define::File(FileId(0), file))];
            batch.extend((0..2).map(|n| Event::Define(Define::Frame(FrameId(n), frame(n)))));
            merge.adopt(&mut stream, &mut batch, &mut asked);
            all.extend(batch);
        }
        let mut recording = Recording::new(Meta::default());
        for event in all {
            recording.add(event).unwrap();
        }
        assert_eq!(asked.0, [path, "line 7"]);
        assert_eq!(
            recording.sources.values().map(|text| recording.string(*text)).collect::<Vec<_>>(),
            ["return 7"]
        );
        let [file] = recording.files.as_slice() else { panic!("{:?}", recording.files) };
        assert_eq!(file.distribution.map(|name| recording.string(name)), Some("Flask"));
    }
}
