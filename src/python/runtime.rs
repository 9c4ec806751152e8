//! The runtime: one interpreter program in a process, and a look at all its threads.

use std::ops::Range;
use std::sync::Arc;

use crate::layout::{Field, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::model::Torn;
use crate::target::{Located, Root, Thread};

use super::code::Codes;
use super::frame::{Frame, Frames, MAX_FRAMES, RawFrame};
use super::gil::Gil;
use super::name::Names;
use super::thread::{Pthreads, State, Tasks, Threads};

/// The most interpreters of one process that are read.
const MAX_INTERPRETERS: usize = 256;
/// When all threads together have more frames than this, the rest of the threads is not read.
const MAX_FRAMES_IN_ALL: usize = 1 << 20;
/// How often a stack is read in one look until it is believed.
const WALKS: u32 = 32;

fields! {
    /// `_PyRuntimeState`, Include/internal/pycore_runtime.h (3.7 and later).
    struct RuntimeFields in "runtime" {
        interpreters_head: Field<Addr>,
        /// `pthread_t` of the main thread (3.8 and later).
        main_thread: Option<Field<u64>>,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (Include/pystate.h before 3.8).
    struct InterpreterFields in "interp" {
        next: Field<Addr>,
        threads_head: Field<Addr>,
        /// From 3.7 on; before, interpreters have no number.
        id: Option<Field<i64>>,
    }
}

/// Everything that is known of one Python, and what was learned of it so far.
#[derive(Debug)]
pub struct Python {
    root: Root,
    runtime: Option<RuntimeFields>,
    interpreter: InterpreterFields,
    threads: Threads,
    pthreads: Pthreads,
    frames: Frames,
    names: Names,
    gil: Gil,
    /// The functions that were met; [`Frame::code`] names one of them.
    pub codes: Codes,
    /// Room that looks use.
    states: Vec<State>,
    raw: Vec<RawFrame>,
}

/// What one look at a Python saw. It is made once and filled anew by each look.
#[derive(Debug, Default)]
pub struct Look {
    /// All threads of all interpreters.
    pub threads: Vec<ThreadLook>,
    /// Why some threads are missing, if any are.
    pub missing: Option<Torn>,
    frames: Vec<Frame>,
}

/// What one look saw of a thread.
#[derive(Debug, Clone)]
pub struct ThreadLook {
    /// The interpreter's number; the main one's is 0.
    pub interpreter: i64,
    /// Where the thread's state is.
    pub state: Addr,
    /// `threading.get_ident()`: the C library's `pthread_t`.
    pub thread: u64,
    /// The kernel's id of the thread, as we see it.
    pub native: Option<i32>,
    /// `threading`'s name of it, else the kernel's.
    pub name: Option<Arc<str>>,
    /// Whether it is the main thread of its process.
    pub main: bool,
    /// Whether it holds its interpreter's GIL; on free-threaded builds, whether it is attached.
    pub holds_gil: Option<bool>,
    /// Why a part of the stack is missing, if one is: [`Torn::Changed`] at its inner end, all others at its base.
    pub torn: Option<Torn>,
    /// Whether the stack had to be read again because it changed while it was read.
    pub retried: bool,
    frames: Range<usize>,
}

impl Look {
    /// The frames of one of its threads, innermost first.
    pub fn frames(&self, thread: &ThreadLook) -> &[Frame] {
        self.frames.get(thread.frames.clone()).unwrap_or_default()
    }
}

impl Python {
    /// Binds everything for an interpreter that was found, or says what its layout lacks.
    pub fn open(located: &Located) -> Result<Python, Missing> {
        let layout = &located.chosen.layout;
        let root = located.root;
        Ok(Python {
            root,
            runtime: match root {
                Root::Runtime(_) => Some(RuntimeFields::bind(layout)?),
                Root::InterpHead(_) => None,
            },
            interpreter: InterpreterFields::bind(layout)?,
            threads: Threads::bind(layout)?,
            pthreads: Pthreads::default(),
            frames: Frames::bind(layout)?,
            names: Names::bind(layout)?,
            gil: Gil::bind(layout, root, &located.module.symbols)?,
            codes: Codes::bind(layout)?,
            states: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// Looks at all threads: the main interpreter's first, and the oldest first. `tasks` are the kernel's threads of the
    /// process, its own first one first.
    pub fn look(&mut self, memory: &dyn Memory, tasks: &[Thread], look: &mut Look) {
        look.threads.clear();
        look.frames.clear();
        self.codes.begin();
        self.names.begin();
        self.frames.begin();
        let tasks = Tasks::new(tasks);
        let main_thread = self.main_thread(memory);
        let (interpreters, missing) = self.interpreters(memory);
        look.missing = missing;
        for (place, interpreter) in interpreters.iter().enumerate() {
            let id = match self.interpreter.id {
                Some(id) => id.read(memory, *interpreter).unwrap_or(place as i64),
                None => place as i64,
            };
            self.look_at(memory, *interpreter, id, &tasks, main_thread, look);
        }
    }

    /// The interpreters of the process, the oldest first, and why some are missing, if any are.
    pub fn interpreters(&self, memory: &dyn Memory) -> (Vec<Addr>, Option<Torn>) {
        let mut found = Vec::new();
        let mut next = match (self.root, &self.runtime) {
            (Root::Runtime(at), Some(runtime)) => runtime.interpreters_head.read(memory, at),
            (Root::InterpHead(at) | Root::Runtime(at), _) => memory.get(at),
        };
        let missing = loop {
            match next {
                Ok(Addr::NULL) => break None,
                Ok(at) if found.contains(&at) => break Some(Torn::Cycle),
                Ok(_) if found.len() == MAX_INTERPRETERS => break Some(Torn::TooDeep),
                Ok(at) => {
                    found.push(at);
                    next = self.interpreter.next.read(memory, at);
                }
                Err(_) => break Some(Torn::Unreadable),
            }
        };
        found.reverse();
        (found, missing)
    }

    fn look_at(
        &mut self,
        memory: &dyn Memory,
        interpreter: Addr,
        id: i64,
        tasks: &Tasks<'_>,
        main_thread: Option<u64>,
        look: &mut Look,
    ) {
        let Ok(head) = self.interpreter.threads_head.read(memory, interpreter) else {
            return look.missing = Some(Torn::Unreadable);
        };
        let mut states = std::mem::take(&mut self.states);
        look.missing = self.threads.list(memory, interpreter, head, &mut states).or(look.missing);
        states.reverse();
        self.names.refresh(memory, interpreter, &states);
        self.pthreads.learn(memory, &states, tasks);
        for state in &states {
            let start = look.frames.len();
            if start > MAX_FRAMES_IN_ALL {
                look.missing = Some(Torn::TooDeep);
                break;
            }
            let (torn, retried) = self.stack(memory, state.at, &mut look.frames);
            // Asked as late as the stack is read, so that both speak of the same moment as nearly as they can.
            let holds_gil = self.gil.holder(memory, interpreter).is(state);
            let task = self.pthreads.task(memory, state, tasks);
            look.threads.push(ThreadLook {
                interpreter: id,
                state: state.at,
                thread: state.thread,
                native: task.map(|task| task.tid),
                name: self.names.get(state).or_else(|| task.map(|task| Arc::clone(&task.comm))),
                main: match main_thread {
                    Some(main_thread) => state.thread == main_thread,
                    None => task.is_some() && task == tasks.first(),
                },
                holds_gil,
                torn,
                retried,
                frames: start..look.frames.len(),
            });
        }
        self.states = states;
    }

    /// Adds the stack of a thread to `frames`; tells why a part of it is missing, if one is, and whether it took more walks
    /// than usual.
    ///
    /// A frame that returns while it is read can make a chain end too early and look whole (up to 3.10 a finished frame has
    /// no caller), and take its function along, whose memory then tells of others. So a walk is believed when it ends where
    /// the one before it ended, in this look or the last; when all its functions were known before it; and when all its
    /// frames were read in one call, which the last walk need not be.
    fn stack(&mut self, memory: &dyn Memory, thread: Addr, frames: &mut Vec<Frame>) -> (Option<Torn>, bool) {
        let start = frames.len();
        let (mut usual, mut read) = (1, 0);
        for number in 1.. {
            frames.truncate(start);
            let walk = self.frames.walk(memory, thread, &mut self.raw);
            let (torn, fresh) = self.resolve(memory, frames);
            if !walk.known || !fresh.is_empty() {
                usual = usual.max(number + 1);
            }
            read += self.raw.len();
            let last = number == WALKS || read > MAX_FRAMES;
            match torn.or(walk.torn) {
                None if walk.same_base && fresh.is_empty() && (walk.at_once || last) => {
                    return (None, number > usual);
                }
                _ if !last => {}
                None if walk.same_base => {
                    frames.drain(start..start + fresh.end);
                    return (Some(Torn::Changed), true);
                }
                torn => {
                    frames.truncate(if fresh.is_empty() { frames.len() } else { start + fresh.start });
                    return (torn.or(Some(Torn::Garbage)), true);
                }
            }
        }
        (Some(Torn::Garbage), true)
    }

    /// Finds the functions of the frames that a walk brought, and says from where to where they are not confirmed.
    fn resolve(&mut self, memory: &dyn Memory, frames: &mut Vec<Frame>) -> (Option<Torn>, Range<usize>) {
        let mut fresh: Option<Range<usize>> = None;
        let mut torn = None;
        self.codes.confirm(memory, self.raw.iter().map(|frame| frame.code));
        for (place, raw) in self.raw.iter().enumerate() {
            let (code, confirmed) = match self.codes.id(memory, raw.code) {
                Ok(found) => found,
                Err(unread) => {
                    torn = Some(unread.into());
                    break;
                }
            };
            let offset = i32::try_from(raw.offset).ok();
            let offset = offset.filter(|offset| self.codes.get(code).is_some_and(|code| code.holds(*offset)));
            let Some(offset) = offset else {
                torn = Some(Torn::Garbage);
                break;
            };
            frames.push(Frame { code, offset });
            if !confirmed {
                fresh = Some(fresh.map_or(place, |fresh| fresh.start)..place + 1);
            }
        }
        (torn, fresh.unwrap_or(0..0))
    }

    fn main_thread(&self, memory: &dyn Memory) -> Option<u64> {
        let Root::Runtime(at) = self.root else { return None };
        self.runtime?.main_thread?.read(memory, at).ok()
    }
}
