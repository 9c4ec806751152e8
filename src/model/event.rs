//! What happened: samples first, and everything else that lies on the same clock.

use super::allocation::Allocation;
use super::gc::Collection;
use super::heap::{Census, HeapState};
use super::stack::{
    File, FileId, Frame, FrameId, Process, ProcessId, Stack, StackId, StringId, Track, TrackId, Wait,
};
use super::units::{At, Nanos};

/// What a waiting thread waits for; its row is a [`Wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(pub u32);

/// What a thread was doing. Exactly one of these holds; idle means [`State::Waiting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// It ran Python code.
    Python,
    /// It ran compiled code and did not hold the GIL.
    Native,
    /// It wanted the GIL.
    WantsGil,
    /// It waited in the kernel.
    Waiting(WaitId),
    /// Nobody looked. Never means no.
    #[default]
    Unknown,
}

/// What stands beside the state. `None` is unknown, which never means no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// The thread held its interpreter's GIL (on free-threaded builds: was attached).
    pub holds_gil: Option<bool>,
    /// Its interpreter was collecting garbage in this thread.
    pub in_gc: Option<bool>,
    /// It was handling an exception.
    pub in_exception: Option<bool>,
}

/// Why a walk up a stack stopped before the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Torn {
    /// Memory could not be read.
    Unreadable,
    /// What was read cannot be a frame.
    Garbage,
    /// The chain led back into itself.
    Cycle,
    /// The chain is longer than we follow.
    TooDeep,
    /// The stack changed while it was read; the part from the base up is true.
    Changed,
}

/// How good a sample's stack is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Quality {
    /// Read from the innermost frame to the base.
    #[default]
    Whole,
    /// Read whole, but not at the first try.
    Retried,
    /// Read whole while the target was held still.
    Stopped,
    /// Torn, but all of it was seen whole before; or, where it never is, every call in it was seen to happen.
    Probable,
    /// The inner frames are true; those near the base are missing.
    BaseMissing(Torn),
    /// The frames from the base up are true; the innermost ones are missing.
    TopMissing(Torn),
}

impl Quality {
    /// Whether a part of the stack is missing.
    pub fn is_partial(self) -> bool {
        self.torn().is_some()
    }

    /// Why a part of the stack is missing, if one is.
    pub fn torn(self) -> Option<Torn> {
        match self {
            Quality::BaseMissing(torn) | Quality::TopMissing(torn) => Some(torn),
            _ => None,
        }
    }
}

/// A stack of one track, and the time that it stands for.
///
/// A sample stands for the time *before* it: from the last look at the process, at most [`Sample::weight`] ago, to
/// `until`. Equal neighbours fold into one row, whose `count` says how many looks it holds; then the time from `from`
/// to `until` may be longer than `weight`, where looks were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where the time that the first look stands for begins.
    pub from: At,
    /// The moment of the last look.
    pub until: At,
    /// How many looks saw this.
    pub count: u32,
    /// Whose stack it is.
    pub track: TrackId,
    /// The stack; `None` where the thread had no Python frame.
    pub stack: Option<StackId>,
    /// The measured time that the looks stand for: never a count divided by a rate.
    pub weight: Nanos,
    /// The CPU time that the thread used in it, where that was measured.
    pub cpu: Option<Nanos>,
    /// What the thread was doing.
    pub state: State,
    /// What stands beside the state.
    pub flags: Flags,
    /// How good the stack is.
    pub quality: Quality,
}

impl Sample {
    /// Adds `next`, of the same track, if it follows without a gap and says the same; says whether it did.
    pub fn fold(&mut self, next: &Sample) -> bool {
        let same = self.until == next.from
            && self.stack == next.stack
            && self.state == next.state
            && self.flags == next.flags
            && self.quality == next.quality
            && self.cpu.is_some() == next.cpu.is_some();
        let Some(count) = self.count.checked_add(next.count).filter(|_| same) else {
            return false;
        };
        self.until = next.until;
        self.count = count;
        self.weight += next.weight;
        self.cpu = self.cpu.zip(next.cpu).map(|(a, b)| a + b);
        true
    }
}

/// A row of one of the tables: said once, before the first event that names its id. Ids count up from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Define {
    /// A string.
    String(StringId, Box<str>),
    /// A file.
    File(FileId, File),
    /// A frame.
    Frame(FrameId, Frame),
    /// A stack.
    Stack(StackId, Stack),
    /// A track. Said again under the same id when its name becomes known.
    Track(TrackId, Track),
    /// A process.
    Process(ProcessId, Process),
    /// Something to wait for.
    Wait(WaitId, Wait),
    /// The lines of a file that were seen running, when they were asked for: line number and text.
    Source(FileId, u32, StringId),
}

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessState {
    /// It was found and is watched.
    Came,
    /// It replaced its program.
    Exec,
    /// It made a child.
    Forked(ProcessId),
    /// It ended.
    Gone,
}

/// Something became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessEvent {
    /// When.
    pub at: At,
    /// Which.
    pub process: ProcessId,
    /// What.
    pub state: ProcessState,
}

/// A number that changes over time, such as `rss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// When.
    pub at: At,
    /// Of which process.
    pub process: ProcessId,
    /// Which number; bytes where its name ends in `_bytes`.
    pub name: StringId,
    /// Its value.
    pub value: i64,
}

/// A moment that somebody marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: At,
    /// What was said of it.
    pub text: StringId,
}

/// What did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TroubleKind {
    /// Looks that were due and did not happen.
    Missed,
    /// The interpreter's list of threads could not be read.
    Threads,
    /// Samples that the channel had no room for.
    Dropped,
    /// The machine or we ourselves were suspended.
    Suspended,
    /// Looks became rarer or more frequent, to stay within the budget for what observing may cost.
    HeldBack,
    /// A self-check of the layout failed and turned a feature off.
    Layout,
    /// Anything else; the text says it.
    Other,
}

/// Something that did not work, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// When it was last so.
    pub at: At,
    /// What.
    pub kind: TroubleKind,
    /// How often since the last report of this kind.
    pub count: u64,
    /// In words, where there are any.
    pub text: Option<StringId>,
}

/// Everything that can cross the channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Rows of the tables. Never dropped.
    Define(Define),
    /// Something became of a process.
    Process(ProcessEvent),
    /// What some looks at a process saw: the rows of a track stand in the order of time, those of different tracks in
    /// any.
    Samples {
        /// How many looks.
        looks: u64,
        /// What they saw, equal neighbours folded.
        rows: Vec<Sample>,
    },
    /// A collection of garbage.
    Gc(Collection),
    /// The state of the allocator.
    Heap(HeapState),
    /// The objects of a process by type.
    Census(Census),
    /// Memory that was put down to stacks.
    Allocations(Vec<Allocation>),
    /// A number that changes.
    Counter(Counter),
    /// A moment that somebody marked.
    Mark(Mark),
    /// Something that did not work.
    Trouble(Trouble),
}
