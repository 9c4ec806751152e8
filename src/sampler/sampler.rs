//! Looks at one process until it ends or somebody says stop, and turns each look into events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::budget::Budget;
use super::channel::Outbox;
use super::clock::{Clock, Schedule, Stop, Tick};
use super::intern::Interner;
use super::tracks::Tracks;
use crate::model::{
    At, Define, Event, Flags, FrameId, FrameKind, Nanos, Process as ProcessRow, ProcessEvent, ProcessId,
    ProcessState, Quality, Sample, StackId, State, Torn, TrackId, Trouble, TroubleKind,
};
use crate::python::{self, Look, Python, ThreadLook};
use crate::target::{Process, Thread, own};

/// When more places in functions than this are kept, all are forgotten and named anew as they are met.
const MAX_PLACES: usize = 1 << 18;
/// The kernel's threads are listed anew at most this often, for threads that are not among them.
const TASKS_EVERY: Duration = Duration::from_millis(100);
/// After this many looks in a row that could read nothing, a process that cannot be asked counts as gone.
const MAX_BLIND: u32 = 1000;

/// How to sample.
#[derive(Debug, Clone)]
pub struct Options {
    /// Looks a second; `None` is as many as can be had.
    pub rate: Option<f64>,
    /// When looks happen.
    pub schedule: Schedule,
    /// How long, if not until the end.
    pub duration: Option<Duration>,
    /// The share of one core that we may use ourselves; over it, looks become rarer.
    pub max_overhead: Option<f64>,
    /// What the recording says of the program.
    pub command: String,
    /// The interpreter's version, such as `3.13.0`.
    pub version: String,
    /// The interpreter has no GIL.
    pub free_threaded: bool,
    /// The interpreter is a `Py_DEBUG` build.
    pub debug: bool,
}

/// What became of the sampling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// From the start to the end.
    pub duration: Nanos,
    /// Looks that were taken.
    pub taken: u64,
    /// Looks that were due and did not happen.
    pub missed: u64,
    /// Looks that could read no thread at all.
    pub errors: u64,
    /// Samples that the channel had no room for.
    pub dropped: u64,
    /// Looks became rarer than was asked, to stay within the budget.
    pub held_back: bool,
    /// It ended because the target did.
    pub target_gone: bool,
}

/// One process under observation.
#[derive(Debug)]
pub struct Sampler {
    process: Arc<Process>,
    python: Python,
    options: Options,
    outbox: Outbox,
    interner: Interner,
    tracks: Tracks,
    places: FxHashMap<python::Frame, FrameId>,
    tasks: Vec<Thread>,
    tasks_at: Option<Instant>,
    events: Vec<Event>,
}

/// The one process of this recording.
const PROCESS: ProcessId = ProcessId(0);

impl Sampler {
    /// A sampler that sends what it sees to `outbox`.
    pub fn new(process: Arc<Process>, python: Python, options: Options, outbox: Outbox) -> Sampler {
        Sampler {
            process,
            python,
            options,
            outbox,
            interner: Interner::default(),
            tracks: Tracks::new(PROCESS),
            places: FxHashMap::default(),
            tasks: Vec::new(),
            tasks_at: None,
            events: Vec::new(),
        }
    }

    /// Samples from `start` on until the time is over, the target is gone, nobody listens, or `stop` says so.
    pub fn run(mut self, start: Instant, stop: &Stop) -> Outcome {
        let mut clock = Clock::new(start, self.options.rate, self.options.schedule, self.options.duration);
        let mut outcome = Outcome::default();
        let (mut look, mut last, mut blind) = (Look::default(), At(0), 0);
        let mut budget =
            self.options.max_overhead.map(|share| Budget::new(share, clock.period(), own::cpu_time()));
        self.come(At(0));
        while let Some(tick) = clock.wait(stop) {
            outcome.missed += tick.missed;
            self.python.look(self.process.memory(), &self.tasks, &mut look);
            if look.threads.is_empty() {
                blind += 1;
                // After an exec nothing that was learned of its memory holds: the process that we watched is no more.
                if !self.process.alive() || self.process.execed() || blind > MAX_BLIND {
                    outcome.target_gone = true;
                    break;
                }
                outcome.errors += 1;
            } else {
                blind = 0;
                outcome.taken += 1;
            }
            self.list_tasks(&look);
            self.tell(&tick, &look, last);
            last = tick.at;
            outcome.dropped += self.outbox.take_dropped();
            if let Some(budget) =
                budget.as_mut().filter(|budget| budget.is_due(Duration::from_nanos(tick.at.0)))
            {
                let (now, looks) = (Duration::from_nanos(tick.at.0), outcome.taken + outcome.errors);
                if let Some(period) = budget.spend(now, own::cpu_time(), looks) {
                    clock.set_period(period);
                    outcome.held_back |= budget.holds_back();
                    self.trouble(tick.at, TroubleKind::HeldBack, 1);
                }
            }
            let mut events = std::mem::take(&mut self.events);
            if self.outbox.send(&mut events).is_err() {
                break;
            }
            self.events = events;
        }
        outcome.duration = clock.now().since(At(0));
        self.go(clock.now(), &outcome);
        outcome
    }

    /// Says which process this is.
    fn come(&mut self, at: At) {
        let command = self.interner.string(&self.options.command, &mut self.events);
        let version = self.interner.string(&self.options.version, &mut self.events);
        let process = ProcessRow {
            pid: self.process.pid().cast_unsigned(),
            parent: None,
            command,
            python: version,
            free_threaded: self.options.free_threaded,
            debug: self.options.debug,
        };
        self.events.push(Event::Define(Define::Process(PROCESS, process)));
        self.events.push(Event::Process(ProcessEvent { at, process: PROCESS, state: ProcessState::Came }));
        self.tasks = self.process.threads();
        self.tasks_at = Some(Instant::now());
    }

    /// Says how it ended.
    fn go(&mut self, at: At, outcome: &Outcome) {
        if outcome.target_gone {
            self.events.push(Event::Process(ProcessEvent {
                at,
                process: PROCESS,
                state: ProcessState::Gone,
            }));
        }
        if outcome.dropped > 0 {
            self.trouble(at, TroubleKind::Dropped, outcome.dropped);
        }
        let mut events = std::mem::take(&mut self.events);
        // Nobody listening is no trouble at the end.
        let _ = self.outbox.send(&mut events).and_then(|()| self.outbox.flush());
    }

    /// Turns a look into events.
    fn tell(&mut self, tick: &Tick, look: &Look, last: At) {
        if self.places.len() > MAX_PLACES {
            self.places.clear();
        }
        if tick.missed > 0 {
            self.trouble(tick.at, TroubleKind::Missed, tick.missed);
        }
        let mut from = last;
        if tick.gap.is_some() {
            // What the target did meanwhile is unknown: the look stands for its own moment alone.
            self.trouble(tick.at, TroubleKind::Suspended, 1);
            from = tick.at;
        }
        if look.missing.is_some() || look.threads.is_empty() {
            self.trouble(tick.at, TroubleKind::Threads, 1);
        }
        let samples = look.threads.iter().map(|thread| self.sample(thread, look, from, tick.at)).collect();
        self.events.push(Event::Samples(samples));
    }

    fn sample(&mut self, thread: &ThreadLook, look: &Look, from: At, until: At) -> Sample {
        let track: TrackId = self.tracks.id(thread, &mut self.interner, &mut self.events);
        let mut stack = None;
        for frame in look.frames(thread).iter().rev() {
            let frame = self.place(*frame);
            stack = Some(self.interner.stack(stack, frame, &mut self.events));
        }
        Sample {
            from,
            until,
            count: 1,
            track,
            stack: stack as Option<StackId>,
            weight: until.since(from),
            cpu: None,
            state: State::Unknown,
            flags: Flags { holds_gil: thread.holds_gil, ..Flags::default() },
            quality: match thread.torn {
                Some(Torn::Changed) => Quality::TopMissing(Torn::Changed),
                Some(torn) => Quality::BaseMissing(torn),
                None if thread.retried => Quality::Retried,
                None => Quality::Whole,
            },
        }
    }

    /// The id of a place in a function.
    fn place(&mut self, place: python::Frame) -> FrameId {
        if let Some(id) = self.places.get(&place) {
            return *id;
        }
        let (interner, events) = (&mut self.interner, &mut self.events);
        let frame = match self.python.codes.get(place.code) {
            Some(code) => {
                let position = code.position(place.offset);
                crate::model::Frame {
                    kind: FrameKind::Python,
                    name: interner.string(&code.name, events),
                    qualname: code.qualname.as_deref().map(|name| interner.string(name, events)),
                    file: interner.file(&code.filename, events),
                    line: position.line,
                    end_line: position.end_line,
                    column: position.column,
                    end_column: position.end_column,
                    first_line: u32::try_from(code.first_line).ok(),
                }
            }
            // A look names only functions that it knows; this is the answer that cannot mislead if one does not.
            None => crate::model::Frame {
                kind: FrameKind::Mark,
                name: interner.string("<unknown>", events),
                qualname: None,
                file: interner.file("", events),
                line: None,
                end_line: None,
                column: None,
                end_column: None,
                first_line: None,
            },
        };
        let id = interner.frame(frame, events);
        self.places.insert(place, id);
        id
    }

    /// Lists the kernel's threads anew when the look met one that is not among them, but not at every look.
    fn list_tasks(&mut self, look: &Look) {
        let unknown = look.threads.iter().any(|thread| thread.native.is_none());
        if unknown && self.tasks_at.is_none_or(|at| at.elapsed() >= TASKS_EVERY) {
            self.tasks = self.process.threads();
            self.tasks_at = Some(Instant::now());
        }
    }

    fn trouble(&mut self, at: At, kind: TroubleKind, count: u64) {
        self.events.push(Event::Trouble(Trouble { at, kind, count, text: None }));
    }
}
