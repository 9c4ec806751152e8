//! Thread states of an interpreter, and which of the kernel's threads each of them is.

use rustc_hash::FxHashSet;

use crate::layout::field::Room;
use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Word};
use crate::model::Torn;
use crate::target::Thread;

/// The most threads of one interpreter that are read.
const MAX_THREADS: usize = 1 << 16;
/// How much of a C library's own description of a thread is searched for the kernel's id (`struct pthread` of glibc has it at
/// 0x2d0 on x86-64, 2.36).
const PTHREAD_SPAN: usize = 0x500;

fields! {
    /// `PyThreadState`, Include/cpython/pystate.h (Include/pystate.h in Python 2).
    struct StateFields in "thread" {
        next: Field<Addr>,
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
}

/// How the target keeps thread states.
#[derive(Debug)]
pub struct Threads {
    fields: StateFields,
    seen: FxHashSet<Addr>,
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
            let Ok(state) = Struct::read(memory, next, self.fields.span, &mut room) else {
                return Some(Torn::Unreadable);
            };
            if state.get(self.fields.interp) != interpreter {
                return Some(Torn::Garbage);
            }
            states.push(State {
                at: next,
                thread: state.get(self.fields.thread_id),
                native: state.maybe(self.fields.native_thread_id),
                id: state.maybe(self.fields.id),
                attached: state.maybe(self.fields.state).map(|state| state == ATTACHED),
            });
            next = state.get(self.fields.next);
        }
        None
    }
}

/// `_Py_THREAD_ATTACHED`, Include/internal/pycore_pystate.h.
const ATTACHED: i32 = 1;

/// Where the C library keeps the kernel's id of a thread in what `pthread_t` points to. No table says it: it is learned from
/// the threads themselves.
#[derive(Debug, Default)]
pub struct Pthreads {
    offset: Option<u64>,
}

impl Pthreads {
    /// The kernel's id of a thread, as the target says it, if the C library's description of it can be read.
    pub fn native(&self, memory: &dyn Memory, thread: u64) -> Option<i32> {
        memory.get(Addr(thread).plus(self.offset?)).ok()
    }

    /// Learns the place from the threads `known`: there the first word stands that is the id of the process's first thread
    /// in one of them and the id of some thread of the process in all that can be read.
    pub fn learn(&mut self, memory: &dyn Memory, known: impl Iterator<Item = u64>, tasks: &[Thread]) {
        let (None, Some(leader)) = (self.offset, tasks.first()) else { return };
        let described: Vec<Vec<i32>> = known
            .filter_map(|thread| memory.bytes(Addr(thread), PTHREAD_SPAN).ok())
            .map(|bytes| bytes.chunks_exact(4).map(i32::from_bytes).collect())
            .collect();
        self.offset = (0..PTHREAD_SPAN / 4)
            .find(|word| {
                let ids = || described.iter().filter_map(|words| words.get(*word));
                ids().any(|id| *id == leader.ns_tid)
                    && ids().all(|id| tasks.iter().any(|task| task.ns_tid == *id))
            })
            .map(|word| 4 * word as u64);
    }
}
