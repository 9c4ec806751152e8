//! The runtime: one interpreter program in a process, and a look at all its threads.

mod awake;
mod learn;
mod list;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layout::{Field, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::model::{Quality, Torn};
use crate::target::{Located, Root, Thread};

use self::awake::Awake;
use self::learn::Doubts;
use self::list::Listed;
use super::code::Codes;
use super::exception::Exceptions;
use super::frame::{Frame, Frames};
use super::gil::{Gil, Ran};
use super::interpreter::Interpreter;
use super::means::Means;
use super::mention::Mentions;
use super::name::Names;
use super::plan::{Plan, Rider};
use super::settle::{self, Ask, settle};
use super::stacks::{StackNumber, Stacks};
use super::thread::{Pthreads, Threads};
use super::watch::{Verdict, Watch, When};

/// The most steps that one look takes from frame to frame: a hostile target could make it endless.
const MAX_STEPS: u32 = 1 << 22;
/// How often a stack that changed is read again; and where frames are objects: of a program that does nothing but call, the
/// innermost one is still there at one try in seven or so.
const RETRIES: u32 = 24;
const RETRIES_APART: u32 = 64;
/// How long calls are looked for, where that is done at once.
const PROVING: Duration = Duration::from_millis(20);
/// After so long without a look, what the kernel needs for one is no longer in the processor's cache.
const COLD: Duration = Duration::from_micros(100);

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
        /// Counts the code objects that were made, where the layout says so, among others.
        func_state_next_version: Option<Field<u32>>,
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
    exceptions: Exceptions,
    mentions: Option<Mentions>,
    /// The functions that were met; [`Frame::code`] names one of them.
    pub codes: Codes,
    /// The stacks that were met; [`ThreadLook::stack`] names one of them.
    pub stacks: Stacks,
    /// What the last look saw.
    pub seen: Look,
    interpreters: Vec<Interpreter>,
    /// One for each thread of `seen`.
    watches: Vec<Watch>,
    /// What is read of all threads together, and of one that has to be read again.
    plan: Plan,
    solo: Plan,
    /// Threads that are read together, and those that must be read after them.
    asked: Vec<usize>,
    late: Vec<usize>,
    /// How many steps this look may still take.
    steps: u32,
    /// When the last look began, and whether that was long ago.
    looked: Instant,
    cold: bool,
    awake: Awake,
    listed: Listed,
    audit: Option<Audit>,
    /// The target holds still.
    still: bool,
    /// Calls are looked for between looks; those of these stacks.
    learns_later: bool,
    doubts: Doubts,
}

/// What one look at a Python saw.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// All threads of all interpreters.
    pub threads: Vec<ThreadLook>,
    /// Why some threads are missing, if any are.
    pub missing: Option<Torn>,
}

/// What one look saw of a thread.
#[derive(Debug, Clone, Default)]
pub struct ThreadLook {
    /// The interpreter's number; the main one's is 0.
    pub interpreter: i64,
    /// Where the thread's state is.
    pub state: Addr,
    /// `threading.get_ident()`: the C library's `pthread_t`.
    pub thread: u64,
    /// A number that no two threads of its interpreter share, where there is one.
    pub number: Option<u64>,
    /// The kernel's id of the thread, as we see it.
    pub native: Option<i32>,
    /// `threading`'s name of it, else the kernel's.
    pub name: Option<Arc<str>>,
    /// Whether it is the main thread of its process.
    pub main: bool,
    /// Whether it holds its interpreter's GIL; on free-threaded builds, whether it is attached.
    pub holds_gil: Option<bool>,
    /// Its stack.
    pub stack: StackNumber,
    /// How good that is.
    pub quality: Quality,
    /// What it may have been instead, where it is not known yet whether that can be ([`Stacks::believed`]).
    pub told: Option<StackNumber>,
    /// Whether it can have run Python since the look before.
    pub may_have_run: bool,
    /// Whether it was handling an exception, where its state alone says so.
    pub in_exception: Option<bool>,
    /// Whether its state says that it is attached.
    attached: Option<bool>,
    /// Which of [`Python::interpreters`] it is a thread of.
    place: usize,
    /// Its stack was read at least once.
    read: bool,
}

/// What was found by reading what was proven not to have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Stacks that were proven to be the same, and read all the same.
    pub compared: u64,
    /// Those that were another one.
    pub differed: u64,
}

impl ThreadLook {
    /// Its stack need not be read again before it runs.
    fn is_sure(&self) -> bool {
        self.read && self.quality != Quality::Probable && self.told.is_none()
    }
}

impl Python {
    /// Binds everything for an interpreter that was found, or says what its layout lacks.
    pub fn open(located: &Located) -> Result<Python, Missing> {
        let layout = &located.chosen.layout;
        let root = located.root;
        let frames = Frames::bind(layout)?;
        let interpreter = InterpreterFields::bind(layout)?;
        let counted: bool = layout.fact("code.counted")?;
        Ok(Python {
            root,
            runtime: match root {
                Root::Runtime(_) => Some(RuntimeFields::bind(layout)?),
                Root::InterpHead(_) => None,
            },
            interpreter: InterpreterFields {
                func_state_next_version: interpreter.func_state_next_version.filter(|_| counted),
                ..interpreter
            },
            threads: Threads::bind(layout)?,
            pthreads: Pthreads::default(),
            names: Names::bind(layout)?,
            gil: Gil::bind(layout, root, &located.module.symbols)?,
            exceptions: Exceptions::bind(layout, &located.module.symbols)?,
            mentions: Mentions::bind(layout, located.fingerprint.version)?,
            codes: Codes::bind(layout)?,
            stacks: Stacks::new(frames.are_apart()),
            frames,
            seen: Look::default(),
            interpreters: Vec::new(),
            watches: Vec::new(),
            plan: Plan::default(),
            solo: Plan::default(),
            asked: Vec::new(),
            late: Vec::new(),
            steps: 0,
            looked: Instant::now(),
            cold: true,
            awake: Awake::default(),
            listed: Listed::default(),
            audit: None,
            still: false,
            learns_later: false,
            doubts: Doubts::default(),
        })
    }

    /// The frames of a thread that the last look saw, innermost first.
    pub fn frames(&self, thread: &ThreadLook) -> impl Iterator<Item = Frame> + '_ {
        self.stacks.frames(thread.stack)
    }

    /// Where the frames of a thread that the last look saw are, innermost first, each with its code object; nothing of those
    /// that have gone on since.
    pub fn places(&self, memory: &dyn Memory, thread: &ThreadLook) -> Vec<Option<(Addr, Addr)>> {
        let watch = self.watches.iter().find(|watch| watch.state.at == thread.state);
        let places = watch.into_iter().flat_map(|watch| watch.places(memory, &self.frames, &self.codes));
        self.frames(thread)
            .zip(places)
            .map(|(seen, (frame, at, code))| Some((at, code)).filter(|_| frame == Some(seen)))
            .collect()
    }

    /// The part of a thread's stack from the frame at `at` down to the base, where the last look met that frame.
    pub fn part(&self, thread: &ThreadLook, at: Addr) -> Option<StackNumber> {
        let watch = self.watches.iter().find(|watch| watch.state.at == thread.state)?;
        self.stacks.lowest(thread.stack, watch.depth(at)?)
    }

    /// From now on also reads what need not be read, and counts how often it was wrong not to.
    pub fn audit(&mut self) -> Audit {
        *self.audit.get_or_insert_default()
    }

    /// The places in [`Python::seen`] of those threads of which the last look may say something else than the one before, in order;
    /// `None` for all of them.
    pub fn changed(&self) -> Option<&[usize]> {
        self.awake.changed()
    }

    /// When the last look began.
    pub fn looked(&self) -> Instant {
        self.looked
    }

    /// Looks at all threads, and leaves what it saw in [`Python::seen`]: the main interpreter's first, and the oldest first.
    /// `tasks` are the kernel's threads of the process, its own first one first.
    pub fn look(&mut self, memory: &dyn Memory, tasks: &[Thread]) {
        self.look_along(memory, tasks, &mut ());
    }

    /// The same, while the target holds still: what holds still then needs no other proof.
    pub fn look_still(&mut self, memory: &dyn Memory, tasks: &[Thread], rider: &mut dyn Rider) {
        self.still = true;
        self.look_along(memory, tasks, rider);
        self.still = false;
    }

    /// The same as [`Python::look`], and reads something else along.
    pub fn look_along(&mut self, memory: &dyn Memory, tasks: &[Thread], rider: &mut dyn Rider) {
        if self.codes.are_many() || self.stacks.are_many() {
            self.forget();
        }
        self.steps = MAX_STEPS;
        let is_told = self.is_alone() || self.interpreters.iter().all(Interpreter::tells_who_ran);
        let now = Instant::now();
        self.cold = now.saturating_duration_since(std::mem::replace(&mut self.looked, now)) > COLD;
        if self.listed.is_due(now, is_told) {
            self.list(memory, tasks);
        }
        if !self.round(memory, rider) {
            self.list(memory, tasks);
            self.round(memory, &mut ());
        }
        if self.steps == 0 {
            self.seen.missing = Some(Torn::TooDeep);
        }
    }

    /// Forgets all functions and stacks; every thread is read anew.
    fn forget(&mut self) {
        self.codes.clear();
        self.stacks.clear();
        self.doubts.clear();
        self.watches.iter_mut().for_each(Watch::forget);
        for thread in &mut self.seen.threads {
            thread.read = false;
        }
        self.awake.forget();
    }

    /// Reads every thread that can have run since it was read last. Says whether all of them are known and still there; those
    /// that are not are left out.
    fn round(&mut self, memory: &dyn Memory, rider: &mut dyn Rider) -> bool {
        let audits = self.audit.is_some();
        self.awake.expect(&self.seen.threads, &self.interpreters, audits, &mut self.asked);
        self.plan.clear();
        // What the only thread does not say itself, the GIL does not either.
        let alone = !audits && self.is_alone();
        // One thread takes it from nobody, and in a short time few do.
        let exactly = self.cold && self.seen.threads.len() > 1;
        for one in &mut self.interpreters {
            if alone {
                one.pass_gil();
            } else {
                one.ask_gil(&mut self.plan, exactly);
            }
        }
        self.read(memory, rider);
        rider.hear(&self.plan);
        let mut known = true;
        for one in &mut self.interpreters {
            if !alone {
                one.hear_gil(&self.plan);
            }
            // Nobody that is not listed may have run.
            known &= match one.ran {
                Ran::Only(.., last) => last.is_null() || self.awake.knows(last),
                // It may have begun to wait again.
                Ran::Any => {
                    if !alone {
                        self.listed.doubt();
                    }
                    true
                }
            };
        }
        let mut gone = self.settle(memory);
        // Nor is there one that the only one names.
        if let [only] = self.watches.as_slice() {
            known &= only.state.newer.is_none_or(Addr::is_null);
        }
        // Others have run than those that were expected.
        self.awake.late(&self.seen.threads, &self.interpreters, &self.asked, &mut self.late);
        if !self.late.is_empty() {
            std::mem::swap(&mut self.asked, &mut self.late);
            self.plan.clear();
            self.read(memory, &mut ());
            gone |= self.settle(memory);
        }
        if gone {
            self.watches.retain(|watch| !watch.gone);
            self.seen.threads.retain(|thread| thread.read);
            self.take_list();
        }
        self.awake.close(&mut self.seen.threads, &self.interpreters, [&self.asked, &self.late]);
        known && !gone
    }

    /// Whether there was one thread when it was read last, which had the GIL.
    fn is_alone(&self) -> bool {
        let (watches, interpreters) = (self.watches.as_slice(), self.interpreters.len());
        matches!(watches, [only] if interpreters == 1 && only.state.is_newest_and_attached())
    }

    /// Reads what is planned, and behind it the threads that are asked for.
    fn read(&mut self, memory: &dyn Memory, rider: &mut dyn Rider) {
        let plan = &mut self.plan;
        for one in &mut self.interpreters {
            one.ask_before(plan);
        }
        for place in &self.asked {
            let when = When { first: true, cold: self.cold };
            self.watches[*place].ask(plan, &self.threads, &self.frames, &self.exceptions, when);
        }
        for one in &mut self.interpreters {
            one.ask_after(plan, self.audit.is_some());
        }
        // What a target writes often comes last: it has to wait for what we read.
        rider.ask(plan, self.looked);
        plan.read(memory);
        for one in &mut self.interpreters {
            one.hear(plan);
        }
    }

    /// Takes what was read of the threads that were asked for, and reads those again that need it. Says whether one is gone.
    fn settle(&mut self, memory: &dyn Memory) -> bool {
        let Python { plan, solo, watches, seen, interpreters, stacks, .. } = self;
        let mut gone = false;
        for place in &self.asked {
            let (watch, thread) = (&mut watches[*place], &mut seen.threads[*place]);
            let Some(one) = interpreters.get(thread.place) else { continue };
            let means = Means {
                memory,
                threads: &self.threads,
                frames: &mut self.frames,
                codes: &mut self.codes,
                mentions: self.mentions.as_mut(),
                exceptions: &self.exceptions,
                steps: &mut self.steps,
                still: self.still,
            };
            let until = if self.learns_later { None } else { Some(Instant::now() + PROVING) };
            let mut reader = Reader { watch, one, plan: solo, means, until };
            let first = reader.watch.hear(plan, one.epochs, &mut reader.means, stacks);
            if let (Some(audit), Verdict::Whole(stack)) = (&mut self.audit, first.1) {
                let proven =
                    thread.is_sure() && !one.ran.holds(thread.state) && !one.runs(plan, thread.state);
                audit.compared += u64::from(proven);
                audit.differed += u64::from(proven && stack != thread.stack);
            }
            let settled = settle(first, stacks, &mut reader);
            let Some(settled) = settled else {
                (watches[*place].gone, thread.read, gone) = (true, false, true);
                continue;
            };
            (thread.stack, thread.quality, thread.read) = (settled.stack, settled.quality, true);
            thread.told = settled.told;
            (thread.attached, thread.in_exception) =
                (watches[*place].state.attached, watches[*place].in_exception);
            if let Some(told) = settled.told.filter(|_| self.learns_later) {
                self.doubts.add(thread.state, told);
            }
        }
        gone
    }
}

/// One thread that is read alone, after all of them were read together.
struct Reader<'a> {
    watch: &'a mut Watch,
    one: &'a Interpreter,
    plan: &'a mut Plan,
    means: Means<'a>,
    /// Until when calls are looked for; `None` where they are not looked for now.
    until: Option<Instant>,
}

impl Ask for Reader<'_> {
    fn again(&mut self, stacks: &mut Stacks) -> settle::Heard {
        let Reader { watch, one, plan, means, .. } = self;
        plan.clear();
        let before = one.ask_count(plan);
        let when = When { first: false, cold: false };
        watch.ask(plan, means.threads, means.frames, means.exceptions, when);
        let after = one.ask_count(plan);
        plan.read(means.memory);
        let epochs = one.hear_counts(plan, [before, after]);
        watch.hear(plan, epochs, means, stacks)
    }

    fn prove(&mut self, stack: StackNumber, stacks: &mut Stacks) {
        let Means { memory, codes, mentions, .. } = &mut self.means;
        if let Some(mentions) = mentions {
            mentions.tell(stack, *memory, codes, stacks);
        }
        if let Some(until) = self.until {
            self.watch.prove(stack, until, self.plan, &mut self.means, stacks);
        }
    }

    fn learns_later(&self) -> bool {
        self.until.is_none()
    }

    fn is_still(&self) -> bool {
        self.means.still
    }

    fn retries(&self) -> u32 {
        if self.means.frames.are_apart() { RETRIES_APART } else { RETRIES }
    }

    fn is_spent(&self) -> bool {
        *self.means.steps == 0
    }
}
