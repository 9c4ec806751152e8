//! Thread states of an interpreter, and which of the kernel's threads each of them is.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::layout::field::Room;
use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Word};
use crate::model::Torn;
use crate::target::Thread;

/// The most threads of one interpreter that are read.
const MAX_THREADS: usize = 1 << 16;
/// `_Py_THREAD_ATTACHED`, Include/internal/pycore_pystate.h.
const ATTACHED: i32 = 1;
/// How much of a C library's own description of a thread is searched for the kernel's id (`struct pthread` of glibc has it at
/// 0x2d0 on x86-64, 2.36).
const PTHREAD_SPAN: usize = 0x500;

fields! {
    /// `PyThreadState`, Include/cpython/pystate.h (Include/pystate.h in Python 2).
    struct StateFields in "thread" {
        next: Field<Addr>,
        /// The state of a thread of the same interpreter that came right after it (Python 3).
        prev: Option<Field<Addr>>,
        interp: Field<Addr>,
        thread_id: Field<u64>,
        /// From 3.11 on.
        native_thread_id: Option<Field<u64>>,
        /// A number that no two states of an interpreter share (3.7 and later).
        id: Option<Field<u64>>,
        /// `_Py_THREAD_ATTACHED` and its like (3.13 and later).
        state: Option<Field<i32>>,
    }
}

/// One thread, as one interpreter knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Where its `PyThreadState` is.
    pub at: Addr,
    /// `threading.get_ident()`: the C library's `pthread_t`.
    pub thread: u64,
    /// The kernel's id as the target itself says it; 0 or absent where it does not.
    pub native: Option<u64>,
    /// A number that no two states of its interpreter share, where there is one.
    pub id: Option<u64>,
    /// Whether it may touch Python objects, where the state says so.
    pub attached: Option<bool>,
    /// The state of the thread of its interpreter that came right after it; null where it came last.
    pub newer: Option<Addr>,
}

/// How the target keeps thread states.
#[derive(Debug)]
pub struct Threads {
    fields: StateFields,
    seen: FxHashSet<Addr>,
}

impl State {
    /// Whether the other is the state of the same thread.
    pub fn is(&self, other: &State) -> bool {
        *self == State { attached: self.attached, newer: self.newer, ..*other }
    }

    /// Whether it says itself that no thread came after it, and that it has the GIL.
    pub fn is_newest_and_attached(&self) -> bool {
        self.attached == Some(true) && self.newer == Some(Addr::NULL)
    }
}

impl Threads {
    /// Binds what the layout says of thread states.
    pub fn bind(layout: &Layout) -> Result<Threads, Missing> {
        Ok(Threads { fields: StateFields::bind(layout)?, seen: FxHashSet::default() })
    }

    /// Puts the thread states of `interpreter` that follow from `head` into `states`, and says what stopped it short of
    /// the end.
    pub fn list(
        &mut self,
        memory: &dyn Memory,
        interpreter: Addr,
        head: Addr,
        states: &mut Vec<State>,
    ) -> Option<Torn> {
        states.clear();
        self.seen.clear();
        let mut next = head;
        while !next.is_null() {
            if states.len() >= MAX_THREADS {
                return Some(Torn::TooDeep);
            }
            if !self.seen.insert(next) {
                return Some(Torn::Cycle);
            }
            let mut room = Room::default();
            let Ok(copy) = Struct::read(memory, next, self.fields.span, &mut room) else {
                return Some(Torn::Unreadable);
            };
            let Some(state) = self.state(next, interpreter, copy) else { return Some(Torn::Garbage) };
            states.push(state);
            next = copy.get(self.fields.next);
        }
        None
    }

    /// How many bytes of a state are read.
    pub fn span(&self) -> usize {
        self.fields.span
    }

    /// What the first [`Threads::span`] bytes of the state at `at` say; nothing where it is none of `interpreter`.
    pub fn state(&self, at: Addr, interpreter: Addr, copy: Struct<'_>) -> Option<State> {
        (copy.get(self.fields.interp) == interpreter).then(|| State {
            at,
            thread: copy.get(self.fields.thread_id),
            native: copy.maybe(self.fields.native_thread_id),
            id: copy.maybe(self.fields.id),
            attached: copy.maybe(self.fields.state).map(|state| state == ATTACHED),
            newer: copy.maybe(self.fields.prev),
        })
    }
}

/// The kernel's threads of the process.
#[derive(Debug)]
pub struct Tasks<'a> {
    first: Option<&'a Thread>,
    /// By the ids that the target itself sees.
    by_own: FxHashMap<i32, &'a Thread>,
}

impl<'a> Tasks<'a> {
    /// Those, the process's own first one first.
    pub fn new(tasks: &'a [Thread]) -> Tasks<'a> {
        Tasks { first: tasks.first(), by_own: tasks.iter().map(|task| (task.ns_tid, task)).collect() }
    }

    /// The one that bears the process's id.
    pub fn first(&self) -> Option<&'a Thread> {
        self.first
    }

    /// The one that a thread state names.
    fn said_by(&self, state: &State) -> Option<&'a Thread> {
        self.by_own.get(&i32::try_from(state.native?).ok()?).copied()
    }
}

/// Where the C library keeps the kernel's id of a thread in what `pthread_t` points to. No table says it: it is learned from
/// the threads themselves.
#[derive(Debug, Default)]
pub struct Pthreads {
    offset: Option<u64>,
}

impl Pthreads {
    /// The kernel's thread that a state belongs to: the one that it names, else the one that the C library names.
    pub fn task<'a>(&self, memory: &dyn Memory, state: &State, tasks: &Tasks<'a>) -> Option<&'a Thread> {
        tasks.said_by(state).or_else(|| {
            let id: i32 = memory.get(Addr(state.thread).plus(self.offset?)).ok()?;
            tasks.by_own.get(&id).copied()
        })
    }

    /// Learns the place, where it is needed: the first word that is the id of the process's first thread in what one state
    /// points to, and that of some thread of the process in all that can be read.
    pub fn learn(&mut self, memory: &dyn Memory, states: &[State], tasks: &Tasks<'_>) {
        let (None, Some(first)) = (self.offset, tasks.first) else { return };
        if states.iter().all(|state| tasks.said_by(state).is_some()) {
            return;
        }
        let described: Vec<Vec<i32>> = states
            .iter()
            .filter_map(|state| memory.bytes(Addr(state.thread), PTHREAD_SPAN).ok())
            .map(|bytes| bytes.chunks_exact(i32::SIZE).map(i32::from_bytes).collect())
            .collect();
        self.offset = (0..PTHREAD_SPAN / i32::SIZE)
            .find(|word| {
                let ids = || described.iter().filter_map(|words| words.get(*word));
                ids().any(|id| *id == first.ns_tid) && ids().all(|id| tasks.by_own.contains_key(id))
            })
            .map(|word| (word * i32::SIZE) as u64);
    }
}
