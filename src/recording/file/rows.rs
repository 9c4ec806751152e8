//! The columns of every table in the file but that of samples: a table in code, in the order of `docs/recording.md`.

use super::table::{Row, difference, from_difference, from_long_option, from_option, long_option, option};
use super::varint::{unzigzag, zigzag};
use crate::model::allocation::{Allocation, Evidence};
use crate::model::gc::{Collection, Exactness};
use crate::model::heap::{Arena, Pool, SizeClass, TypeCount};
use crate::model::{
    At, Bytes, Counter, File, FileId, FileKind, Frame, FrameId, FrameKind, Mark, Nanos, Process,
    ProcessEvent, ProcessId, ProcessState, Stack, StackId, StringId, Track, TrackId, TrackKind, Trouble,
    TroubleKind, Wait,
};

/// A small number and what it stands for.
pub(super) type Codes<T> = &'static [T];

const FRAME_KINDS: Codes<FrameKind> =
    &[FrameKind::Python, FrameKind::Native, FrameKind::Kernel, FrameKind::Mark, FrameKind::Opcode];
const FILE_KINDS: Codes<FileKind> =
    &[FileKind::Unknown, FileKind::Own, FileKind::Standard, FileKind::Installed, FileKind::Synthetic];
const TRACK_KINDS: Codes<TrackKind> =
    &[TrackKind::Thread, TrackKind::Task, TrackKind::Greenlet, TrackKind::Memory];
const EXACTNESS: Codes<Exactness> = &[Exactness::Exact, Exactness::Bounds, Exactness::AtLeast];
const TROUBLES: Codes<TroubleKind> = &[
    TroubleKind::Other,
    TroubleKind::Missed,
    TroubleKind::Threads,
    TroubleKind::Dropped,
    TroubleKind::Suspended,
    TroubleKind::Layout,
    TroubleKind::HeldBack,
];
const TRACED: u64 = 0;
const BURST: u64 = 1;
const MOVED: u64 = 2;
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

impl Row<13> for Collection {
    fn cells(&self, before: Option<&Self>) -> [u64; 13] {
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
            self.pause.0,
        ]
    }

    fn from_cells(cells: [u64; 13], before: Option<&Self>) -> Option<Self> {
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
            pause,
        ] = cells;
        let start = from_difference(start, before.map_or(0, |row| row.start.0));
        Some(Collection {
            process: ProcessId(id(process)?),
            interpreter: unzigzag(interpreter),
            generation: u8::try_from(generation).ok()?,
            start: At(start),
            stop: At(from_difference(span, start)),
            pause: Nanos(pause),
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
    pub(super) whole: bool,
    pub(super) pools: u64,
    pub(super) pool_size: u32,
}

impl Row<8> for HeapLook {
    fn cells(&self, before: Option<&Self>) -> [u64; 8] {
        let at = difference(self.at.0, before.map_or(0, |row| row.at.0));
        let (process, suspect) = (u64::from(self.process.0), u64::from(self.suspect_pools));
        let (change, pool_size) = (u64::from(!self.whole), u64::from(self.pool_size));
        [at, process, self.arenas, self.classes, suspect, change, self.pools, pool_size]
    }

    fn from_cells(
        [at, process, arenas, classes, suspect_pools, change, pools, pool_size]: [u64; 8],
        before: Option<&Self>,
    ) -> Option<Self> {
        Some(HeapLook {
            at: At(from_difference(at, before.map_or(0, |row| row.at.0))),
            process: ProcessId(id(process)?),
            arenas,
            classes,
            suspect_pools: id(suspect_pools)?,
            whole: change == 0,
            pools,
            pool_size: id(pool_size)?,
        })
    }
}

impl Row<4> for Arena {
    fn cells(&self, before: Option<&Self>) -> [u64; 4] {
        let address = difference(self.address, before.map_or(0, |row| row.address));
        [address, self.size.0, self.pooled.0, long_option(self.used.map(|used| used.0))]
    }

    fn from_cells([address, size, pooled, used]: [u64; 4], before: Option<&Self>) -> Option<Self> {
        let address = from_difference(address, before.map_or(0, |row| row.address));
        Some(Arena {
            address,
            size: Bytes(size),
            pooled: Bytes(pooled),
            used: from_long_option(used).map(Bytes),
        })
    }
}

/// An arena as version 1 has it, which knew nothing of its pools.
pub(super) struct OldArena(pub(super) Arena);

impl Row<3> for OldArena {
    fn cells(&self, before: Option<&Self>) -> [u64; 3] {
        let used = self.0.used.map_or(0, |used| used.0);
        [difference(self.0.address, before.map_or(0, |row| row.0.address)), self.0.size.0, used]
    }

    fn from_cells([address, size, used]: [u64; 3], before: Option<&Self>) -> Option<Self> {
        let address = from_difference(address, before.map_or(0, |row| row.0.address));
        let arena = Arena { address, size: Bytes(size), pooled: Bytes(used), used: Some(Bytes(used)) };
        Some(OldArena(arena))
    }
}

impl Row<4> for SizeClass {
    fn cells(&self, _: Option<&Self>) -> [u64; 4] {
        [self.size, u64::from(self.pools), self.used, self.free]
    }

    fn from_cells([size, pools, used, free]: [u64; 4], _: Option<&Self>) -> Option<Self> {
        Some(SizeClass { size, pools: id(pools)?, used, free })
    }
}

impl Row<3> for Pool {
    fn cells(&self, before: Option<&Self>) -> [u64; 3] {
        let number = difference(self.number, before.map_or(0, |row| row.number));
        [number, u64::from(self.size), u64::from(self.used)]
    }

    fn from_cells([number, size, used]: [u64; 3], before: Option<&Self>) -> Option<Self> {
        let number = from_difference(number, before.map_or(0, |row| row.number));
        Some(Pool { number, size: id(size)?, used: u16::try_from(used).ok()? })
    }
}

/// A census; what it counted stands in a table of its own, in the order of the censuses.
#[derive(Clone, Copy)]
pub(super) struct CensusLook {
    pub(super) at: At,
    pub(super) process: ProcessId,
    pub(super) took: Nanos,
    pub(super) suspect_pools: u32,
    pub(super) types: u64,
}

impl Row<5> for CensusLook {
    fn cells(&self, before: Option<&Self>) -> [u64; 5] {
        let at = difference(self.at.0, before.map_or(0, |row| row.at.0));
        [at, u64::from(self.process.0), self.took.0, u64::from(self.suspect_pools), self.types]
    }

    fn from_cells([at, process, took, suspect, types]: [u64; 5], before: Option<&Self>) -> Option<Self> {
        Some(CensusLook {
            at: At(from_difference(at, before.map_or(0, |row| row.at.0))),
            process: ProcessId(id(process)?),
            took: Nanos(took),
            suspect_pools: id(suspect)?,
            types,
        })
    }
}

impl Row<3> for TypeCount {
    fn cells(&self, _: Option<&Self>) -> [u64; 3] {
        [u64::from(self.name.0), self.count, self.bytes]
    }

    fn from_cells([name, count, bytes]: [u64; 3], _: Option<&Self>) -> Option<Self> {
        Some(TypeCount { name: StringId(id(name)?), count, bytes })
    }
}

impl Row<7> for Allocation {
    fn cells(&self, before: Option<&Self>) -> [u64; 7] {
        let (evidence, span) = match self.evidence {
            Evidence::Traced => (TRACED, 0),
            Evidence::Burst(span) => (BURST, span.0),
            Evidence::Moved(span) => (MOVED, span.0),
        };
        [
            difference(self.at.0, before.map_or(0, |row| row.at.0)),
            u64::from(self.track.0),
            option(self.stack.map(|id| id.0)),
            zigzag(self.bytes),
            zigzag(self.blocks),
            evidence,
            span,
        ]
    }

    fn from_cells(cells: [u64; 7], before: Option<&Self>) -> Option<Self> {
        let [at, track, stack, bytes, blocks, evidence, span] = cells;
        Some(Allocation {
            at: At(from_difference(at, before.map_or(0, |row| row.at.0))),
            track: TrackId(id(track)?),
            stack: from_option(stack)?.map(StackId),
            bytes: unzigzag(bytes),
            blocks: unzigzag(blocks),
            evidence: match evidence {
                TRACED => Evidence::Traced,
                BURST => Evidence::Burst(Nanos(span)),
                MOVED => Evidence::Moved(Nanos(span)),
                _ => return None,
            },
        })
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

pub(super) fn id(cell: u64) -> Option<u32> {
    u32::try_from(cell).ok()
}

pub(super) fn code<T: PartialEq>(codes: Codes<T>, value: T) -> u64 {
    codes.iter().position(|known| *known == value).unwrap_or(0) as u64
}

pub(super) fn decode<T: Copy>(codes: Codes<T>, code: u64) -> Option<T> {
    codes.get(usize::try_from(code).ok()?).copied()
}
