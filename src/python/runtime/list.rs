//! Listing interpreters and threads, and what hardly ever changes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::memory::{Addr, Memory};
use crate::model::Torn;
use crate::python::interpreter::Interpreter;
use crate::python::thread::Tasks;
use crate::python::watch::Watch;
use crate::target::{Root, Thread};

use super::{Python, ThreadLook};

/// The most interpreters of one process that are read.
const MAX_INTERPRETERS: usize = 256;
/// They are listed anew at most this often, and for no larger a share of the time than one in so many. A thread that is met before it
/// was listed makes for a new list at once.
const EVERY: Duration = Duration::from_millis(10);
const SHARE: u32 = 50;
/// The same where the GIL tells of a thread as soon as it runs, or the only one as soon as there is another one: at first, and after many
/// lists that were the same.
const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(1);

/// When all was listed last, and how long that holds.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// When, and how long it took.
    last: Option<(Instant, Duration)>,
    /// How long it holds where something tells of another thread.
    holds: Duration,
    /// How often that was done, and how often there was another list since.
    times: u64,
    others: u64,
}

impl Listed {
    /// Whether to list anew; `told`, if something tells of another thread.
    pub(super) fn is_due(&self, now: Instant, told: bool) -> bool {
        let every = if told { self.holds } else { EVERY };
        self.last.is_none_or(|(at, took)| now.saturating_duration_since(at) > every.max(took * SHARE))
    }

    /// Something may have told of none: it holds no longer than the first one.
    pub(super) fn doubt(&mut self) {
        self.holds = self.holds.min(FIRST);
    }

    fn done(&mut self, began: Instant, is_same: bool) {
        self.last = Some((began, began.elapsed()));
        self.holds = if is_same { (self.holds * 2).min(LAST) } else { FIRST };
        self.times += 1;
    }
}

impl Python {
    /// How often threads were listed.
    pub fn listings(&self) -> u64 {
        self.listed.times
    }

    /// How often there was another list: as long as it is the same, each thread has the same place in [`Python::seen`], and the same names.
    pub fn lists(&self) -> u64 {
        self.listed.others
    }

    /// Lists threads anew soon: one of them seems to have ended.
    pub fn list_soon(&mut self) {
        self.listed.holds = EVERY;
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

    /// Lists interpreters and threads, and what hardly ever changes of them.
    pub(super) fn list(&mut self, memory: &dyn Memory, tasks: &[Thread]) {
        let began = Instant::now();
        let tasks = Tasks::new(tasks);
        self.names.begin();
        let main_thread = self.main_thread(memory);
        let watched = self.watches.drain(..).zip(self.seen.threads.drain(..)).enumerate();
        let mut known: FxHashMap<Addr, (usize, (Watch, ThreadLook))> =
            watched.map(|(number, both)| (both.0.state.at, (number, both))).collect();
        let mut is_same = true;
        let before = std::mem::take(&mut self.interpreters);
        let (found, missing) = self.interpreters(memory);
        self.seen.missing = missing;
        let mut states = Vec::new();
        for (place, at) in found.into_iter().enumerate() {
            let id = self.interpreter.id.and_then(|id| id.read(memory, at).ok()).unwrap_or(place as i64);
            let words = self.gil.words(memory, at).ok();
            let count = self.interpreter.func_state_next_version.map(|count| count.of(at));
            self.interpreters.push(Interpreter::new(at, words, count, &before));
            let Ok(head) = self.interpreter.threads_head.read(memory, at) else {
                self.seen.missing = Some(Torn::Unreadable);
                continue;
            };
            self.seen.missing = self.threads.list(memory, at, head, &mut states).or(self.seen.missing);
            states.reverse();
            self.names.refresh(memory, at, &states);
            self.pthreads.learn(memory, &states, &tasks);
            for state in &states {
                let known = known.remove(&state.at).filter(|(_, (watch, _))| watch.is(state, at));
                is_same &= known.as_ref().is_some_and(|(number, _)| *number == self.watches.len());
                let new = || (Watch::new(*state, at, &self.frames), ThreadLook::default());
                let (watch, old) = known.map_or_else(new, |(_, both)| both);
                let task = self.pthreads.task(memory, state, &tasks);
                let thread = ThreadLook {
                    interpreter: id,
                    state: state.at,
                    thread: state.thread,
                    number: state.id,
                    native: task.map(|task| task.tid),
                    name: self.names.get(state).or_else(|| task.map(|task| Arc::clone(&task.comm))),
                    main: match main_thread {
                        Some(main_thread) => state.thread == main_thread,
                        None => task.is_some() && task == tasks.first(),
                    },
                    place,
                    ..old.clone()
                };
                is_same &= thread.is_called_as(&old);
                self.watches.push(watch);
                self.seen.threads.push(thread);
            }
        }
        is_same &= known.is_empty();
        if !is_same {
            self.take_list();
        }
        self.listed.done(began, is_same);
    }

    /// Takes note that threads have other places or names by now.
    pub(super) fn take_list(&mut self) {
        self.awake.list(&self.seen.threads);
        self.listed.others += 1;
    }

    fn main_thread(&self, memory: &dyn Memory) -> Option<u64> {
        let Root::Runtime(at) = self.root else { return None };
        self.runtime?.main_thread?.read(memory, at).ok()
    }
}

impl ThreadLook {
    /// Whether it has the same names and numbers.
    fn is_called_as(&self, other: &ThreadLook) -> bool {
        let of = |one: &ThreadLook| (one.interpreter, one.place, one.number, one.native, one.main);
        of(self) == of(other) && self.name == other.name
    }
}
