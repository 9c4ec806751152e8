//! The columns of every table in the file: a table in code, in the order of `docs/recording.md`.

use super::table::{Row, difference, from_difference, from_long_option, from_option, long_option, option};
use super::varint::{unzigzag, zigzag};
use crate::model::gc::{Collection, Exactness};
use crate::model::heap::{Arena, SizeClass};
use crate::model::{
    At, Bytes, Counter, File, FileId, FileKind, Flags, Frame, FrameId, FrameKind, Mark, Nanos, Process,
    ProcessEvent, ProcessId, ProcessState, Quality, Sample, Stack, StackId, State, StringId, Torn, Track,
    TrackId, TrackKind, Trouble, TroubleKind, Wait, WaitId,
};

/// Nanoseconds in the unit in which the times of samples lie in the file.
const MICRO: u64 = 1_000;

/// A small number and what it stands for.
type Codes<T> = &'static [T];

const FRAME_KINDS: Codes<FrameKind> =
    &[FrameKind::Python, FrameKind::Native, FrameKind::Kernel, FrameKind::Mark];
const FILE_KINDS: Codes<FileKind> =
    &[FileKind::Unknown, FileKind::Own, FileKind::Standard, FileKind::Installed, FileKind::Synthetic];
const TRACK_KINDS: Codes<TrackKind> = &[TrackKind::Thread, TrackKind::Task, TrackKind::Greenlet];
const EXACTNESS: Codes<Exactness> = &[Exactness::Exact, Exactness::Bounds];
const TROUBLES: Codes<TroubleKind> = &[
    TroubleKind::Other,
    TroubleKind::Missed,
    TroubleKind::Threads,
    TroubleKind::Dropped,
    TroubleKind::Suspended,
    TroubleKind::Layout,
    TroubleKind::HeldBack,
];
const QUALITIES: Codes<Quality> = &[
    Quality::Whole,
    Quality::Retried,
    Quality::Probable,
    Quality::BaseMissing(Torn::Unreadable),
    Quality::BaseMissing(Torn::Garbage),
    Quality::BaseMissing(Torn::Cycle),
    Quality::BaseMissing(Torn::TooDeep),
    Quality::BaseMissing(Torn::Changed),
    Quality::TopMissing(Torn::Unreadable),
    Quality::TopMissing(Torn::Garbage),
    Quality::TopMissing(Torn::Cycle),
    Quality::TopMissing(Torn::TooDeep),
    Quality::TopMissing(Torn::Changed),
];

/// States that wait for nothing; [`WAITING`] stands behind them.
const STATES: Codes<State> = &[State::Unknown, State::Python, State::Native, State::WantsGil];
const WAITING: u64 = 4;

const CAME: u64 = 0;
const EXEC: u64 = 1;
const GONE: u64 = 2;
const FORKED: u64 = 3;

/// The length of a string, whose bytes stand behind the table.
pub(super) struct Length(pub(super) u64);

impl Row<1> for Length {
    fn cells(&self, _: Option<&Self>) -> [u64; 1] {
        [self.0]
    }

    fn from_cells([len]: [u64; 1], _: Option<&Self>) -> Option<Self> {
        Some(Length(len))
    }
}

impl Row<3> for File {
    fn cells(&self, _: Option<&Self>) -> [u64; 3] {
        [u64::from(self.path.0), code(FILE_KINDS, self.kind), option(self.distribution.map(|id| id.0))]
    }

    fn from_cells([path, kind, distribution]: [u64; 3], _: Option<&Self>) -> Option<Self> {
        Some(File {
            path: StringId(id(path)?),
            kind: decode(FILE_KINDS, kind).unwrap_or(FileKind::Unknown),
            distribution: from_option(distribution)?.map(StringId),
        })
    }
}

impl Row<9> for Frame {
    fn cells(&self, _: Option<&Self>) -> [u64; 9] {
        [
            code(FRAME_KINDS, self.kind),
            u64::from(self.name.0),
            option(self.qualname.map(|id| id.0)),
            u64::from(self.file.0),
            option(self.line),
            option(self.end_line),
            option(self.column),
            option(self.end_column),
            option(self.first_line),
        ]
    }

    fn from_cells(cells: [u64; 9], _: Option<&Self>) -> Option<Self> {
        let [kind, name, qualname, file, line, end_line, column, end_column, first_line] = cells;
        Some(Frame {
            kind: decode(FRAME_KINDS, kind)?,
            name: StringId(id(name)?),
            qualname: from_option(qualname)?.map(StringId),
            file: FileId(id(file)?),
            line: from_option(line)?,
            end_line: from_option(end_line)?,
            column: from_option(column)?,
            end_column: from_option(end_column)?,
            first_line: from_option(first_line)?,
        })
    }
}

impl Row<2> for Stack {
    fn cells(&self, before: Option<&Self>) -> [u64; 2] {
        let parent = option(self.parent.map(|id| id.0));
        let parent_before = before.map_or(0, |row| option(row.parent.map(|id| id.0)));
        let frame_before = before.map_or(0, |row| u64::from(row.frame.0));
        [difference(parent, parent_before), difference(u64::from(self.frame.0), frame_before)]
    }

    fn from_cells([parent, frame]: [u64; 2], before: Option<&Self>) -> Option<Self> {
        let parent_before = before.map_or(0, |row| option(row.parent.map(|id| id.0)));
        let frame_before = before.map_or(0, |row| u64::from(row.frame.0));
        Some(Stack {
            parent: from_option(from_difference(parent, parent_before))?.map(StackId),
            frame: FrameId(id(from_difference(frame, frame_before))?),
        })
    }
}

impl Row<8> for (TrackId, Track) {
    fn cells(&self, _: Option<&Self>) -> [u64; 8] {
        let (id, track) = self;
        [
            u64::from(id.0),
            code(TRACK_KINDS, track.kind),
            u64::from(track.process.0),
            zigzag(track.interpreter),
            track.thread,
            option(track.native),
            option(track.name.map(|id| id.0)),
            u64::from(track.main),
        ]
    }

    fn from_cells(cells: [u64; 8], _: Option<&Self>) -> Option<Self> {
        let [track, kind, process, interpreter, thread, native, name, main] = cells;
        let row = Track {
            kind: decode(TRACK_KINDS, kind).unwrap_or(TrackKind::Thread),
            process: ProcessId(id(process)?),
            interpreter: unzigzag(interpreter),
            thread,
            native: from_option(native)?,
            name: from_option(name)?.map(StringId),
            main: main != 0,
        };
        Some((TrackId(id(track)?), row))
    }
}

impl Row<5> for Process {
    fn cells(&self, _: Option<&Self>) -> [u64; 5] {
        [
            u64::from(self.pid),
            option(self.parent.map(|id| id.0)),
            u64::from(self.command.0),
            u64::from(self.python.0),
            u64::from(self.free_threaded) | u64::from(self.debug) << 1,
        ]
    }

    fn from_cells([pid, parent, command, python, build]: [u64; 5], _: Option<&Self>) -> Option<Self> {
        Some(Process {
            pid: id(pid)?,
            parent: from_option(parent)?.map(ProcessId),
            command: StringId(id(command)?),
            python: StringId(id(python)?),
            free_threaded: build & 1 != 0,
            debug: build & 2 != 0,
        })
    }
}

impl Row<1> for Wait {
    fn cells(&self, _: Option<&Self>) -> [u64; 1] {
        [u64::from(self.text.0)]
    }

    fn from_cells([text]: [u64; 1], _: Option<&Self>) -> Option<Self> {
        Some(Wait { text: StringId(id(text)?) })
    }
}

impl Row<3> for (FileId, u32, StringId) {
    fn cells(&self, _: Option<&Self>) -> [u64; 3] {
        [u64::from(self.0.0), u64::from(self.1), u64::from(self.2.0)]
    }

    fn from_cells([file, line, text]: [u64; 3], _: Option<&Self>) -> Option<Self> {
        Some((FileId(id(file)?), id(line)?, StringId(id(text)?)))
    }
}

impl Row<3> for ProcessEvent {
    fn cells(&self, before: Option<&Self>) -> [u64; 3] {
        let state = match self.state {
            ProcessState::Came => CAME,
            ProcessState::Exec => EXEC,
            ProcessState::Gone => GONE,
            ProcessState::Forked(child) => FORKED + u64::from(child.0),
        };
        [difference(self.at.0, before.map_or(0, |row| row.at.0)), u64::from(self.process.0), state]
    }

    fn from_cells([at, process, state]: [u64; 3], before: Option<&Self>) -> Option<Self> {
        let state = match state {
            CAME => ProcessState::Came,
            EXEC => ProcessState::Exec,
            GONE => ProcessState::Gone,
            child => ProcessState::Forked(ProcessId(id(child - FORKED)?)),
        };
        let at = At(from_difference(at, before.map_or(0, |row| row.at.0)));
        Some(ProcessEvent { at, process: ProcessId(id(process)?), state })
    }
}

impl Row<11> for Sample {
    fn cells(&self, before: Option<&Self>) -> [u64; 11] {
        let (from, until) = (self.from.0 / MICRO, self.until.0 / MICRO);
        let span = until.wrapping_sub(from);
        let (state, wait) = match self.state {
            State::Waiting(wait) => (WAITING, option(Some(wait.0))),
            state => (code(STATES, state), 0),
        };
        [
            difference(u64::from(self.track.0), before.map_or(0, |row| u64::from(row.track.0))),
            difference(from, before.map_or(0, |row| row.until.0 / MICRO)),
            span,
            u64::from(self.count),
            option(self.stack.map(|id| id.0)),
            difference(self.weight.0 / MICRO, span),
            long_option(self.cpu.map(|cpu| cpu.0 / MICRO)),
            state,
            wait,
            flags(self.flags),
            code(QUALITIES, self.quality),
        ]
    }

    fn from_cells(cells: [u64; 11], before: Option<&Self>) -> Option<Self> {
        let [track, from, span, count, stack, weight, cpu, state, wait, flags, quality] = cells;
        let track = from_difference(track, before.map_or(0, |row| u64::from(row.track.0)));
        let from = from_difference(from, before.map_or(0, |row| row.until.0 / MICRO));
        let wait = from_option(wait)?.map(WaitId);
        Some(Sample {
            from: At(from.checked_mul(MICRO)?),
            until: At(from.checked_add(span)?.checked_mul(MICRO)?),
            count: id(count)?,
            track: TrackId(id(track)?),
            stack: from_option(stack)?.map(StackId),
            weight: Nanos(from_difference(weight, span).checked_mul(MICRO)?),
            cpu: match from_long_option(cpu) {
                Some(cpu) => Some(Nanos(cpu.checked_mul(MICRO)?)),
                None => None,
            },
            state: match (state, wait) {
                (WAITING, Some(wait)) => State::Waiting(wait),
                (state, _) => decode(STATES, state).unwrap_or(State::Unknown),
            },
            flags: from_flags(flags),
            quality: decode(QUALITIES, quality)?,
        })
    }
}

impl Row<12> for Collection {
    fn cells(&self, before: Option<&Self>) -> [u64; 12] {
        [
            u64::from(self.process.0),
            zigzag(self.interpreter),
            u64::from(self.generation),
            difference(self.start.0, before.map_or(0, |row| row.start.0)),
            difference(self.stop.0, self.start.0),
            code(EXACTNESS, self.exactness),
            u64::from(self.count),
            self.collected,
            self.uncollectable,
            long_option(self.objects_before),
            long_option(self.objects_after),
            option(self.stack.map(|id| id.0)),
        ]
    }

    fn from_cells(cells: [u64; 12], before: Option<&Self>) -> Option<Self> {
        let [
            process,
            interpreter,
            generation,
            start,
            span,
            exactness,
            count,
            collected,
            uncollectable,
            was,
            is,
            stack,
        ] = cells;
        let start = from_difference(start, before.map_or(0, |row| row.start.0));
        Some(Collection {
            process: ProcessId(id(process)?),
            interpreter: unzigzag(interpreter),
            generation: u8::try_from(generation).ok()?,
            start: At(start),
            stop: At(from_difference(span, start)),
            exactness: decode(EXACTNESS, exactness)?,
            count: id(count)?,
            collected,
            uncollectable,
            objects_before: from_long_option(was),
            objects_after: from_long_option(is),
            stack: from_option(stack)?.map(StackId),
        })
    }
}

/// One look at the allocator; its arenas and size classes stand in tables of their own, in the order of the looks.
#[derive(Clone, Copy)]
pub(super) struct HeapLook {
    pub(super) at: At,
    pub(super) process: ProcessId,
    pub(super) arenas: u64,
    pub(super) classes: u64,
    pub(super) suspect_pools: u32,
}

impl Row<5> for HeapLook {
    fn cells(&self, before: Option<&Self>) -> [u64; 5] {
        let at = difference(self.at.0, before.map_or(0, |row| row.at.0));
        [at, u64::from(self.process.0), self.arenas, self.classes, u64::from(self.suspect_pools)]
    }

    fn from_cells(
        [at, process, arenas, classes, suspect_pools]: [u64; 5],
        before: Option<&Self>,
    ) -> Option<Self> {
        Some(HeapLook {
            at: At(from_difference(at, before.map_or(0, |row| row.at.0))),
            process: ProcessId(id(process)?),
            arenas,
            classes,
            suspect_pools: id(suspect_pools)?,
        })
    }
}

impl Row<3> for Arena {
    fn cells(&self, before: Option<&Self>) -> [u64; 3] {
        [difference(self.address, before.map_or(0, |row| row.address)), self.size.0, self.used.0]
    }

    fn from_cells([address, size, used]: [u64; 3], before: Option<&Self>) -> Option<Self> {
        let address = from_difference(address, before.map_or(0, |row| row.address));
        Some(Arena { address, size: Bytes(size), used: Bytes(used) })
    }
}

impl Row<4> for SizeClass {
    fn cells(&self, _: Option<&Self>) -> [u64; 4] {
        [u64::from(self.size), u64::from(self.pools), self.used, self.free]
    }

    fn from_cells([size, pools, used, free]: [u64; 4], _: Option<&Self>) -> Option<Self> {
        Some(SizeClass { size: id(size)?, pools: id(pools)?, used, free })
    }
}

impl Row<4> for Counter {
    fn cells(&self, before: Option<&Self>) -> [u64; 4] {
        [
            difference(self.at.0, before.map_or(0, |row| row.at.0)),
            u64::from(self.process.0),
            u64::from(self.name.0),
            zigzag(self.value),
        ]
    }

    fn from_cells([at, process, name, value]: [u64; 4], before: Option<&Self>) -> Option<Self> {
        let at = At(from_difference(at, before.map_or(0, |row| row.at.0)));
        Some(Counter {
            at,
            process: ProcessId(id(process)?),
            name: StringId(id(name)?),
            value: unzigzag(value),
        })
    }
}

impl Row<2> for Mark {
    fn cells(&self, before: Option<&Self>) -> [u64; 2] {
        [difference(self.at.0, before.map_or(0, |row| row.at.0)), u64::from(self.text.0)]
    }

    fn from_cells([at, text]: [u64; 2], before: Option<&Self>) -> Option<Self> {
        let at = At(from_difference(at, before.map_or(0, |row| row.at.0)));
        Some(Mark { at, text: StringId(id(text)?) })
    }
}

impl Row<4> for Trouble {
    fn cells(&self, before: Option<&Self>) -> [u64; 4] {
        let at = difference(self.at.0, before.map_or(0, |row| row.at.0));
        [at, code(TROUBLES, self.kind), self.count, option(self.text.map(|id| id.0))]
    }

    fn from_cells([at, kind, count, text]: [u64; 4], before: Option<&Self>) -> Option<Self> {
        Some(Trouble {
            at: At(from_difference(at, before.map_or(0, |row| row.at.0))),
            kind: decode(TROUBLES, kind).unwrap_or(TroubleKind::Other),
            count,
            text: from_option(text)?.map(StringId),
        })
    }
}

/// Two bits a flag: 0 unknown, 1 no, 2 yes.
fn flags(flags: Flags) -> u64 {
    let bits = |flag: Option<bool>| flag.map_or(0, |set| 1 + u64::from(set));
    bits(flags.holds_gil) | bits(flags.in_gc) << 2 | bits(flags.in_exception) << 4
}

fn from_flags(cell: u64) -> Flags {
    let flag = |place: u32| match cell >> place & 3 {
        1 => Some(false),
        2 => Some(true),
        _ => None,
    };
    Flags { holds_gil: flag(0), in_gc: flag(2), in_exception: flag(4) }
}

fn id(cell: u64) -> Option<u32> {
    u32::try_from(cell).ok()
}

fn code<T: PartialEq>(codes: Codes<T>, value: T) -> u64 {
    codes.iter().position(|known| *known == value).unwrap_or(0) as u64
}

fn decode<T: Copy>(codes: Codes<T>, code: u64) -> Option<T> {
    codes.get(usize::try_from(code).ok()?).copied()
}
