//! Recordings that nobody recorded: one made by hand, one like a busy service, and as many as wanted by chance.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses its own part, and fails where it cannot go on"
)]

pub mod heap;

use pitviper::model::gc::{Collection, Exactness};
use pitviper::model::*;
use pitviper::recording::meta::{Achieved, Asked, Meta};
use pitviper::recording::{Recording, ViewOptions};

/// Numbers that look random and are the same in every run (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    pub fn id(&mut self, count: u32) -> u32 {
        self.below(u64::from(count)) as u32
    }

    pub fn maybe<T>(&mut self, value: impl FnOnce(&mut Chance) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| value(self))
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Between 0 and 1.
    pub fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A time with this mean, as between the clicks of a Geiger counter.
    pub fn gap(&mut self, mean: f64) -> u64 {
        (-(1.0 - self.share()).ln() * mean) as u64
    }
}

/// Defines things and counts their ids.
#[derive(Default)]
pub struct Maker {
    pub events: Vec<Event>,
    pub strings: u32,
    pub files: u32,
    pub frames: u32,
    pub stacks: u32,
    pub tracks: u32,
    pub processes: u32,
    pub waits: u32,
}

impl Maker {
    pub fn string(&mut self, text: &str) -> StringId {
        let id = StringId(self.strings);
        self.strings += 1;
        self.events.push(Event::Define(Define::String(id, text.into())));
        id
    }

    pub fn file(&mut self, path: &str, kind: FileKind) -> FileId {
        let path = self.string(path);
        let id = FileId(self.files);
        self.files += 1;
        self.events.push(Event::Define(Define::File(id, File { path, kind, distribution: None })));
        id
    }

    pub fn frame(&mut self, frame: Frame) -> FrameId {
        let id = FrameId(self.frames);
        self.frames += 1;
        self.events.push(Event::Define(Define::Frame(id, frame)));
        id
    }

    pub fn python(
        &mut self,
        name: &str,
        qualname: Option<&str>,
        file: FileId,
        line: u32,
        first: u32,
    ) -> FrameId {
        let name = self.string(name);
        let qualname = qualname.map(|text| self.string(text));
        let (line, first_line) = (Some(line), Some(first));
        self.frame(Frame {
            kind: FrameKind::Python,
            name,
            qualname,
            file,
            line,
            end_line: line,
            column: Some(5),
            end_column: Some(20),
            first_line,
        })
    }

    pub fn stack(&mut self, parent: Option<StackId>, frame: FrameId) -> StackId {
        let id = StackId(self.stacks);
        self.stacks += 1;
        self.events.push(Event::Define(Define::Stack(id, Stack { parent, frame })));
        id
    }

    pub fn process(&mut self, pid: u32, command: &str) -> ProcessId {
        let (command, python) = (self.string(command), self.string("3.13.0"));
        let id = ProcessId(self.processes);
        self.processes += 1;
        let process = Process { pid, parent: None, command, python, free_threaded: false, debug: false };
        self.events.push(Event::Define(Define::Process(id, process)));
        id
    }

    pub fn thread(&mut self, process: ProcessId, native: u32, name: Option<&str>, main: bool) -> TrackId {
        let name = name.map(|text| self.string(text));
        let id = TrackId(self.tracks);
        self.tracks += 1;
        let thread = 0x7f00_0000_0000 + u64::from(native) * 4096;
        let native = Some(native);
        let track = Track { kind: TrackKind::Thread, process, interpreter: 0, thread, native, name, main };
        self.events.push(Event::Define(Define::Track(id, track)));
        id
    }

    pub fn look(&mut self, samples: Vec<Sample>) {
        self.events.push(Event::Samples { looks: 1, rows: samples });
    }
}

/// A whole sample of Python, seen once.
pub fn sample(track: TrackId, stack: Option<StackId>, from: u64, until: u64) -> Sample {
    Sample {
        from: At(from),
        until: At(until),
        count: 1,
        track,
        stack,
        weight: Nanos(until - from),
        cpu: None,
        state: State::Unknown,
        flags: Flags::default(),
        quality: Quality::Whole,
    }
}

pub fn meta() -> Meta {
    Meta {
        tool: "pitviper 0.0.0-test".to_owned(),
        started_unix_ns: 1_790_000_000_000_000_000,
        asked: Asked { rate_hz: Some(100.0), duration_ns: Some(1_000_000_000), ..Asked::default() },
        achieved: None,
        view: ViewOptions::default(),
    }
}

/// What [`meta`] becomes at the end of [`by_hand`].
pub fn ended() -> Meta {
    let achieved = Achieved {
        duration_ns: 100_000_000,
        due: 11,
        taken: 10,
        missed: 1,
        own_cpu_ns: 1_000_000,
        ..Achieved::default()
    };
    Meta { achieved: Some(achieved), ..meta() }
}

/// Two threads over a tenth of a second: calls, a gap, a torn stack, names that are hard to write down.
pub fn by_hand() -> Vec<Event> {
    const MS: u64 = 1_000_000;
    let mut made = Maker::default();
    let process = made.process(1234, "python app.py");
    let main = made.thread(process, 1234, Some("MainThread"), true);
    let worker = made.thread(process, 1240, Some("feeder <1>; \"two\""), false);
    let app = made.file("/srv/shop/app.py", FileKind::Own);
    let feed = made.file("/srv/shop/feed & seed.py", FileKind::Own);
    let json = made.file("/usr/lib/python3.13/json/decoder.py", FileKind::Standard);
    let module = made.python("<module>", Some("<module>"), app, 90, 1);
    let serve = made.python("serve", Some("Shop.serve"), app, 40, 30);
    let decode = made.python("decode", Some("JSONDecoder.decode"), json, 338, 330);
    let odd = made.python("naïve;счёт 12", None, feed, 7, 7);
    let lambda = made.python("<lambda>", Some("run.<locals>.<lambda>"), feed, 8, 8);
    let base = made.stack(None, module);
    let serving = made.stack(Some(base), serve);
    let decoding = made.stack(Some(serving), decode);
    let odd = made.stack(None, odd);
    let lambda = made.stack(Some(odd), lambda);
    made.events.push(Event::Process(ProcessEvent { at: At(0), process, state: ProcessState::Came }));
    let plan = [
        (serving, Some(odd), Quality::Whole),
        (serving, Some(odd), Quality::Whole),
        (decoding, Some(lambda), Quality::Whole),
        (decoding, Some(lambda), Quality::TopMissing(Torn::Changed)),
        (decoding, None, Quality::Whole),
        (serving, None, Quality::Whole),
        (base, Some(odd), Quality::BaseMissing(Torn::Unreadable)),
        (serving, Some(odd), Quality::Whole),
        (decoding, Some(odd), Quality::Retried),
        (decoding, Some(odd), Quality::Whole),
    ];
    for (n, (of_main, of_worker, quality)) in (0u64..).zip(plan) {
        let (from, until) = (n * 10 * MS, (n + 1) * 10 * MS);
        let mut look = vec![sample(main, Some(of_main), from, until)];
        if let Some(stack) = of_worker {
            look.push(Sample { quality, ..sample(worker, Some(stack), from, until) });
        }
        made.look(look);
    }
    let missed = Trouble { at: At(50 * MS), kind: TroubleKind::Missed, count: 1, text: None };
    made.events.push(Event::Trouble(missed));
    made.events
}

/// [`by_hand`], and one of everything else that a recording can hold.
pub fn everything() -> Vec<Event> {
    const MS: u64 = 1_000_000;
    let mut events = by_hand();
    let process = ProcessId(0);
    let count = |events: &[Event], is: fn(&Define) -> bool| {
        events.iter().filter(|event| matches!(event, Event::Define(define) if is(define))).count() as u32
    };
    let text = |events: &mut Vec<Event>, text: &str| {
        let id = StringId(count(events, |define| matches!(define, Define::String(..))));
        events.push(Event::Define(Define::String(id, text.into())));
        id
    };
    let command = text(&mut events, "python worker.py");
    let python = text(&mut events, "3.13.0");
    let child =
        Process { pid: 1300, parent: Some(process), command, python, free_threaded: true, debug: true };
    events.push(Event::Define(Define::Process(ProcessId(1), child)));
    events.push(Event::Process(ProcessEvent {
        at: At(20 * MS),
        process,
        state: ProcessState::Forked(ProcessId(1)),
    }));
    events.push(Event::Process(ProcessEvent {
        at: At(90 * MS),
        process: ProcessId(1),
        state: ProcessState::Gone,
    }));
    let wait = text(&mut events, "tcp 10.0.0.7:5432");
    events.push(Event::Define(Define::Wait(WaitId(0), Wait { text: wait })));
    let name = text(&mut events, "worker task");
    let task = Track {
        kind: TrackKind::Task,
        process: ProcessId(1),
        interpreter: -1,
        thread: u64::MAX,
        native: None,
        name: Some(name),
        main: false,
    };
    events.push(Event::Define(Define::Track(TrackId(2), task)));
    let line = text(&mut events, "    return self.decoder.decode(text)");
    events.push(Event::Define(Define::Source(FileId(0), 40, line)));
    events.push(Event::Samples {
        looks: 1,
        rows: vec![Sample {
            cpu: Some(Nanos(3 * MS)),
            state: State::Waiting(WaitId(0)),
            flags: Flags { holds_gil: Some(false), in_gc: Some(true), in_exception: None },
            quality: Quality::Probable,
            ..sample(TrackId(2), Some(StackId(2)), 80 * MS, 100 * MS)
        }],
    });
    events.push(Event::Gc(Collection {
        process,
        interpreter: 0,
        generation: 2,
        start: At(30 * MS),
        stop: At(34 * MS + 1),
        pause: Nanos(4 * MS + 1),
        exactness: Exactness::Exact,
        count: 1,
        collected: 4000,
        uncollectable: 0,
        objects_before: Some(50_000),
        objects_after: None,
        stack: Some(StackId(1)),
    }));
    events.push(Event::Heap(heap::state(process)));
    let rss = text(&mut events, "rss_bytes");
    events.push(Event::Counter(Counter { at: At(50 * MS), process, name: rss, value: 123_456_789 }));
    let mark = text(&mut events, "deployed");
    events.push(Event::Mark(Mark { at: At(60 * MS), text: mark }));
    let why = text(&mut events, "the collector's layout could not be proved");
    events.push(Event::Trouble(Trouble { at: At(0), kind: TroubleKind::Layout, count: 1, text: Some(why) }));
    events
}

/// Adds events to a new recording.
pub fn recording(meta: Meta, events: &[Event]) -> Recording {
    let mut recording = Recording::new(meta);
    for event in events {
        recording.add(event.clone()).unwrap();
    }
    recording
}

/// A service with a few threads, one of them busy, as a sampler at `hz` would see it.
///
/// Its stacks are walks in a call tree whose lines move at every look, its CPU times jitter as real ones do.
pub fn service(looks: usize, hz: f64, threads: u32, seed: u64) -> Vec<Event> {
    let mut made = Maker::default();
    serve(&mut made, &mut Chance(seed), looks, hz, threads, false);
    made.events
}

/// So many samples of eight threads that all run at once, and as many changes of their heap.
pub fn busy(many: usize) -> Vec<Event> {
    let (mut made, mut chance) = (Maker::default(), Chance(7));
    let until = serve(&mut made, &mut chance, many / 8, 1_000.0, 8, true);
    heap::busy(&mut made, &mut chance, ProcessId(0), many, until);
    made.events
}

/// Tells what a service does whose threads share a GIL or run all at once, and says when it ended.
fn serve(made: &mut Maker, chance: &mut Chance, looks: usize, hz: f64, threads: u32, free: bool) -> u64 {
    let process = made.process(1, "python service.py");
    let tracks: Vec<TrackId> =
        (0..threads).map(|n| made.thread(process, n + 1, Some("worker"), n == 0)).collect();
    let files: Vec<FileId> =
        (0..40).map(|n| made.file(&format!("/srv/app/part{n}.py"), FileKind::Own)).collect();
    let functions: Vec<Vec<FrameId>> = (0..400)
        .map(|n| {
            let file = files[n % files.len()];
            (0..6).map(|line| made.python(&format!("function_{n}"), None, file, 10 + line, 10)).collect()
        })
        .collect();
    let mut known = std::collections::HashMap::new();
    let mut paths: Vec<Vec<usize>> = vec![vec![0; 8]; tracks.len()];
    let mut at = 0;
    for _ in 0..looks {
        let before = at;
        at += 1_000 + chance.gap(1e9 / hz - 1_000.0);
        let mut look = Vec::new();
        let busy = chance.below(20) as usize % tracks.len();
        for (n, track) in tracks.iter().enumerate() {
            let running = free || n == busy % 2;
            let path = &mut paths[n];
            if running {
                // Most looks find the same function or a sibling of it; now and then the walk starts elsewhere.
                let keep = path.len() - (chance.gap(1.0) as usize).min(path.len() - 1);
                path.truncate(keep);
                let grow = (36 - path.len().min(36)).min(chance.gap(2.0) as usize);
                for _ in 0..grow {
                    let last = *path.last().unwrap() as u64;
                    path.push(((last * 7 + chance.gap(0.7)) % 400) as usize);
                }
            }
            let mut stack = None;
            for (depth, function) in path.iter().enumerate() {
                let leaf = depth + 1 == path.len();
                let line = if leaf && running { chance.gap(1.0).min(5) } else { (function % 6) as u64 };
                let frame = functions[*function][line as usize];
                stack = Some(*known.entry((stack, frame)).or_insert_with(|| {
                    let id = StackId(made.stacks);
                    made.stacks += 1;
                    made.events.push(Event::Define(Define::Stack(id, Stack { parent: stack, frame })));
                    id
                }));
            }
            let spent = if running { (at - before) - chance.gap(2_000.0).min(at - before) } else { 0 };
            look.push(Sample {
                cpu: Some(Nanos(spent)),
                state: if running { State::Python } else { State::WantsGil },
                ..sample(*track, stack, before, at)
            });
        }
        made.look(look);
    }
    at
}

/// Events of every kind with whatever values chance gives them, defined before they are used.
pub fn by_chance(seed: u64, count: usize) -> Vec<Event> {
    const TEXTS: &[&str] =
        &["", "a", "<module>", "größe", "счёт", "日本", "a;b", "line\nbreak", "\u{202e}x", "x 12", "💥"];
    let mut chance = Chance(seed);
    let mut made = Maker::default();
    made.string("zero");
    made.file("/a.py", FileKind::Own);
    made.python("f", None, FileId(0), 1, 1);
    made.stack(None, FrameId(0));
    made.process(1, "python");
    made.thread(ProcessId(0), 1, None, true);
    let text = made.string("sleep");
    made.events.push(Event::Define(Define::Wait(WaitId(0), Wait { text })));
    made.waits = 1;
    let mut at = 0;
    for _ in 0..count {
        match chance.below(16) {
            0 => {
                let text = chance.pick(TEXTS);
                made.string(text);
            }
            1 => {
                let id = FileId(made.files);
                made.files += 1;
                let kinds = [
                    FileKind::Unknown,
                    FileKind::Own,
                    FileKind::Standard,
                    FileKind::Installed,
                    FileKind::Synthetic,
                ];
                let file = File {
                    path: StringId(chance.id(made.strings)),
                    kind: chance.pick(&kinds),
                    distribution: chance.maybe(|chance| StringId(chance.id(made.strings))),
                };
                made.events.push(Event::Define(Define::File(id, file)));
            }
            2 => {
                let kinds = [FrameKind::Python, FrameKind::Native, FrameKind::Kernel, FrameKind::Mark];
                let frame = Frame {
                    kind: chance.pick(&kinds),
                    name: StringId(chance.id(made.strings)),
                    qualname: chance.maybe(|chance| StringId(chance.id(made.strings))),
                    file: FileId(chance.id(made.files)),
                    line: chance.maybe(|chance| chance.number() as u32),
                    end_line: chance.maybe(|_| u32::MAX),
                    column: chance.maybe(|_| 0),
                    end_column: chance.maybe(|chance| chance.id(100)),
                    first_line: chance.maybe(|chance| chance.id(100)),
                };
                made.frame(frame);
            }
            3 => {
                let parent = chance.maybe(|chance| StackId(chance.id(made.stacks)));
                let frame = FrameId(chance.id(made.frames));
                made.stack(parent, frame);
            }
            4 => track(&mut made, &mut chance),
            5 => {
                let id = ProcessId(made.processes);
                made.processes += 1;
                let process = Process {
                    pid: chance.number() as u32,
                    parent: chance.maybe(|chance| ProcessId(chance.id(id.0))),
                    command: StringId(chance.id(made.strings)),
                    python: StringId(chance.id(made.strings)),
                    free_threaded: chance.below(2) == 0,
                    debug: chance.below(2) == 0,
                };
                made.events.push(Event::Define(Define::Process(id, process)));
            }
            6 => {
                let text = StringId(chance.id(made.strings));
                made.events.push(Event::Define(Define::Wait(WaitId(made.waits), Wait { text })));
                made.waits += 1;
                let (file, text) = (FileId(chance.id(made.files)), StringId(chance.id(made.strings)));
                made.events.push(Event::Define(Define::Source(file, chance.number() as u32, text)));
            }
            7 => {
                let states = [
                    ProcessState::Came,
                    ProcessState::Exec,
                    ProcessState::Gone,
                    ProcessState::Forked(ProcessId(chance.id(made.processes))),
                ];
                let process = ProcessId(chance.id(made.processes));
                let state = chance.pick(&states);
                made.events.push(Event::Process(ProcessEvent { at: At(at), process, state }));
            }
            8 => gc(&mut made, &mut chance, at),
            9 => heap::by_chance(&mut made, &mut chance, at),
            10 => {
                let (process, name) =
                    (ProcessId(chance.id(made.processes)), StringId(chance.id(made.strings)));
                let value = chance.number() as i64;
                made.events.push(Event::Counter(Counter { at: At(at), process, name, value }));
                let text = StringId(chance.id(made.strings));
                made.events.push(Event::Mark(Mark { at: At(at), text }));
            }
            11 => {
                let kinds = [
                    TroubleKind::Missed,
                    TroubleKind::Threads,
                    TroubleKind::Dropped,
                    TroubleKind::Suspended,
                    TroubleKind::Layout,
                    TroubleKind::Other,
                ];
                let text = chance.maybe(|chance| StringId(chance.id(made.strings)));
                let (kind, count) = (chance.pick(&kinds), chance.number());
                made.events.push(Event::Trouble(Trouble { at: At(at), kind, count, text }));
            }
            _ => at = look(&mut made, &mut chance, at),
        }
    }
    made.events
}

fn track(made: &mut Maker, chance: &mut Chance) {
    let again = chance.below(2) == 0;
    let id = if again { TrackId(chance.id(made.tracks)) } else { TrackId(made.tracks) };
    made.tracks += u32::from(!again);
    let track = Track {
        kind: chance.pick(&[TrackKind::Thread, TrackKind::Task, TrackKind::Greenlet, TrackKind::Memory]),
        process: ProcessId(chance.id(made.processes)),
        interpreter: chance.number() as i64,
        thread: chance.number(),
        native: chance.maybe(|chance| chance.number() as u32),
        name: chance.maybe(|chance| StringId(chance.id(made.strings))),
        main: chance.below(2) == 0,
    };
    made.events.push(Event::Define(Define::Track(id, track)));
}

fn gc(made: &mut Maker, chance: &mut Chance, at: u64) {
    made.events.push(Event::Gc(Collection {
        process: ProcessId(chance.id(made.processes)),
        interpreter: chance.number() as i64,
        generation: chance.below(4) as u8,
        start: At(at),
        stop: At(at + chance.below(1 << 30)),
        pause: Nanos(chance.below(1 << 30)),
        exactness: chance.pick(&[Exactness::Exact, Exactness::Bounds, Exactness::AtLeast]),
        count: chance.number() as u32,
        collected: chance.number(),
        uncollectable: chance.below(9),
        objects_before: chance.maybe(|chance| chance.number() >> 1),
        objects_after: chance.maybe(|_| 0),
        stack: chance.maybe(|chance| StackId(chance.id(made.stacks))),
    }));
}

fn look(made: &mut Maker, chance: &mut Chance, before: u64) -> u64 {
    const TORN: [Torn; 5] = [Torn::Unreadable, Torn::Garbage, Torn::Cycle, Torn::TooDeep, Torn::Changed];
    let at = before + chance.pick(&[0, 1, 999, 1_000_000, 9_999_999, 2_000_000_000]);
    let count = chance.below(6);
    let samples = (0..count)
        .map(|_| {
            let torn = chance.pick(&TORN);
            let qualities = [
                Quality::Whole,
                Quality::Retried,
                Quality::Probable,
                Quality::BaseMissing(torn),
                Quality::TopMissing(torn),
            ];
            let waiting = State::Waiting(WaitId(chance.id(made.waits)));
            let states = [State::Python, State::Native, State::WantsGil, State::Unknown, waiting];
            let weight = if chance.below(4) == 0 { chance.below(1 << 40) } else { at - before };
            Sample {
                from: At(if chance.below(4) == 0 { chance.below(at + 1) } else { before }),
                until: At(at),
                count: 1 + chance.below(2) as u32,
                track: TrackId(chance.id(made.tracks)),
                stack: chance.maybe(|chance| StackId(chance.id(made.stacks))),
                weight: Nanos(weight),
                cpu: chance.maybe(|chance| Nanos(chance.below(1 << 33))),
                state: chance.pick(&states),
                flags: Flags {
                    holds_gil: chance.maybe(|chance| chance.below(2) == 0),
                    in_gc: chance.maybe(|chance| chance.below(2) == 0),
                    in_exception: chance.maybe(|chance| chance.below(2) == 0),
                },
                quality: chance.pick(&qualities),
            }
        })
        .collect();
    made.look(samples);
    at
}
