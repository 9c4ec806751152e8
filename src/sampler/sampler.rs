//! Looks at one process until it ends or somebody says stop, and turns each look into events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::bursts::{Bursts, Names};
use super::channel::{Closed, Outbox};
use super::clock::{Clock, Schedule, Stop, Tick};
use super::collections::Collections;
use super::dial::Dial;
use super::hold::{Consistency, Hold};
use super::intern::Interner;
use super::opcodes::Opcodes;
use super::places::Places;
use super::rests::{Rests, Seen};
use super::runs::Runs;
use super::state::States;
use super::tracks::Tracks;
use super::waiting::WaitIds;
use crate::model::{
    At, Define, Event, Flags, Nanos, Process as ProcessRow, ProcessEvent, ProcessId, ProcessState, Quality,
    Sample, State, Trouble, TroubleKind,
};
use crate::python::plan::Rider;
use crate::python::{Python, ThreadLook};
use crate::target::{Process, Thread, own};

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
    /// What is done about stacks that change while they are read.
    pub consistency: Consistency,
    /// The share of time for which [`Consistency::Exact`] may hold the target.
    pub pause_budget: f64,
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
    /// For how long the target was held still.
    pub paused: Nanos,
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
    states: States,
    waits: WaitIds,
    places: Places,
    tasks: Vec<Thread>,
    tasks_at: Option<Instant>,
    events: Vec<Event>,
    runs: Runs,
    /// What did not work since the last batch, a row a kind.
    troubles: Vec<Trouble>,
    /// `None` where the layout does not say where collectors are.
    collections: Option<Collections>,
    /// Where they were asked for.
    opcodes: Option<Opcodes>,
    /// Where memory is put down to stacks.
    bursts: Option<Bursts>,
    dial: Dial,
    rests: Rests,
    /// Room for the places of threads that do not rest.
    restless: Vec<usize>,
    /// How often threads were listed when it was last asked whether the process runs another program by now.
    listings: u64,
    /// Which list of threads was looked through last for those that the kernel has and we do not, and whether it had any.
    listed: u64,
    unknown: bool,
}

/// So long before a look, nothing else is begun any more.
const SPARE: Duration = Duration::from_micros(150);

/// The one process of this recording.
pub const PROCESS: ProcessId = ProcessId(0);

impl Sampler {
    /// A sampler that sends what it sees to `outbox`.
    pub fn new(
        process: Arc<Process>,
        python: Python,
        states: States,
        collections: Option<Collections>,
        options: Options,
        outbox: Outbox,
    ) -> Sampler {
        Sampler {
            process,
            python,
            options,
            outbox,
            interner: Interner::default(),
            tracks: Tracks::new(PROCESS),
            states,
            waits: WaitIds::default(),
            places: Places::default(),
            tasks: Vec::new(),
            tasks_at: None,
            events: Vec::new(),
            runs: Runs::default(),
            troubles: Vec::new(),
            collections,
            opcodes: None,
            bursts: None,
            dial: Dial::default(),
            rests: Rests::default(),
            restless: Vec::new(),
            listings: 0,
            listed: 0,
            unknown: false,
        }
    }

    /// Listens to a dial.
    pub fn with_dial(self, dial: Dial) -> Sampler {
        Sampler { dial, ..self }
    }

    /// Tells the instructions of the innermost frames too.
    pub fn with_opcodes(self, opcodes: Option<Opcodes>) -> Sampler {
        Sampler { opcodes, ..self }
    }

    /// Tells how much memory the stacks ask for too.
    pub fn with_bursts(self, bursts: Option<Bursts>) -> Sampler {
        Sampler { bursts, ..self }
    }

    /// Samples from `start` on until the time is over, the target is gone, nobody listens, or `stop` says so.
    pub fn run(mut self, start: Instant, stop: &Stop) -> Outcome {
        let mut clock = Clock::new(start, self.options.rate, self.options.schedule, self.options.duration);
        let mut outcome = Outcome::default();
        let (mut last, mut blind) = (At(0), 0);
        let mut hold = Hold::new(self.options.consistency, self.options.pause_budget);
        let mut budget =
            self.options.max_overhead.map(|share| Budget::new(share, clock.period(), own::looking_time()));
        self.come(At(0));
        self.collections.iter_mut().for_each(|collections| collections.begin(start));
        self.python.learn_between_looks();
        while let Some(tick) = clock.wait(stop) {
            outcome.missed += tick.missed;
            if let Some(period) = self.dial.turned() {
                clock.set_period(period);
                budget.iter_mut().for_each(|budget| budget.ask(period));
            }
            self.bursts.iter_mut().for_each(|bursts| bursts.announce(&self.process, tick.at));
            let held = self.look(&mut hold, tick.at);
            self.collections.iter_mut().for_each(Collections::confirm);
            let is_blind = self.python.seen.threads.is_empty();
            blind = if is_blind { blind + 1 } else { 0 };
            outcome.errors += u64::from(is_blind);
            // After an exec nothing that was learned of its memory holds: the process that we watched is no more. The next program
            // may lie where it lay, but it has none of its threads.
            let listings = std::mem::replace(&mut self.listings, self.python.listings());
            let execed = (is_blind || listings != self.listings) && self.process.execed();
            if execed || is_blind && (!self.process.alive() || blind > MAX_BLIND) {
                outcome.target_gone = true;
                break;
            }
            outcome.taken += u64::from(!is_blind);
            self.list_tasks();
            self.tell(&tick, held, last);
            self.burst(tick.at);
            last = tick.at;
            outcome.dropped += self.outbox.take_dropped();
            if let Some(budget) =
                budget.as_mut().filter(|budget| budget.is_due(Duration::from_nanos(tick.at.0)))
            {
                let (now, looks) = (Duration::from_nanos(tick.at.0), outcome.taken + outcome.errors);
                if let Some(period) = budget.spend(now, own::looking_time(), looks) {
                    clock.set_period(period);
                    outcome.held_back |= budget.holds_back();
                    self.trouble(tick.at, TroubleKind::HeldBack, 1);
                }
            }
            self.dial.tell(hold.spent(), budget.as_ref().is_some_and(Budget::holds_back));
            if self.runs.is_due(tick.at) && self.send(tick.at).is_err() {
                break;
            }
            self.python.learn(self.process.memory(), clock.due() - SPARE);
        }
        if outcome.target_gone || !self.process.alive() {
            outcome.errors -= u64::from(blind); // Whoever is on the way out has no threads to show.
        }
        outcome.duration = clock.now().since(At(0));
        outcome.paused = Nanos(hold.spent().as_nanos() as u64);
        self.go(clock.now(), &outcome);
        outcome
    }

    /// Looks once, while the target holds still if that was asked for; says whether it did.
    fn look(&mut self, hold: &mut Hold, at: At) -> bool {
        hold.settle();
        let (process, tasks) = (&*self.process, &self.tasks);
        let (python, states, collections) = (&mut self.python, &mut self.states, &mut self.collections);
        let rider: &mut dyn Rider = match collections {
            Some(collections) => collections,
            None => &mut (),
        };
        if hold.holds_always() {
            states.foresee(python);
            let held = hold.hold(process, || python.look_still(process.memory(), tasks, rider));
            if !held {
                python.look_along(process.memory(), tasks, rider);
            }
            return held;
        }
        python.look_along(process.memory(), tasks, rider);
        let doubts = |thread: &ThreadLook| thread.quality.is_partial() || thread.told.is_some();
        if !hold.holds_torn(Duration::from_nanos(at.0)) || !python.seen.threads.iter().any(doubts) {
            return false;
        }
        states.foresee(python);
        hold.hold(process, || self.python.look_still(process.memory(), tasks, &mut ()))
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
        if let Some(collections) = self.collections.as_mut().filter(|_| !outcome.target_gone) {
            collections.end(at, &mut self.interner, &mut self.events);
        }
        if outcome.target_gone {
            self.events.push(Event::Process(ProcessEvent {
                at,
                process: PROCESS,
                state: ProcessState::Gone,
            }));
        }
        if let Some(why) = self.bursts.as_ref().and_then(Bursts::missing) {
            let text = Some(self.interner.string(why, &mut self.events));
            self.events.push(Event::Trouble(Trouble { at, kind: TroubleKind::Other, count: 1, text }));
        }
        if outcome.dropped > 0 {
            self.trouble(at, TroubleKind::Dropped, outcome.dropped);
        }
        // Nobody listening is no trouble at the end.
        let _ = self.send(at).and_then(|()| self.outbox.flush());
    }

    /// Sends what was seen since this was last done.
    fn send(&mut self, at: At) -> Result<(), Closed> {
        let Sampler { python, places, interner, events, .. } = self;
        self.rests.tell(&mut self.runs);
        self.runs.reconsider(|(told, epoch)| {
            let stack = Some(told).filter(|_| python.stacks.epoch() == epoch)?;
            let stack = python.stacks.believed(stack)?;
            Some(places.stack(stack, python, interner, events))
        });
        let spare = self.outbox.spare_rows();
        self.events.push(self.runs.take(at, spare));
        self.events.extend(self.bursts.as_mut().and_then(Bursts::take));
        self.events.extend(self.troubles.drain(..).map(Event::Trouble));
        self.outbox.send(&mut self.events)
    }

    /// Looks how much memory is asked for right now, where that is wanted.
    fn burst(&mut self, at: At) {
        let Sampler { process, python, tasks, tracks, places, interner, events, bursts, .. } = self;
        if let Some(bursts) = bursts {
            bursts.burst(process, python, tasks, at, Names { tracks, places, interner, events });
            // It looked too: who ran before that is not told to the next look.
            self.rests.clear(&mut self.runs);
        }
    }

    /// Turns the last look into events.
    fn tell(&mut self, tick: &Tick, held: bool, last: At) {
        if tick.missed > 0 {
            self.trouble(tick.at, TroubleKind::Missed, tick.missed);
        }
        let mut from = last;
        if tick.gap.is_some() {
            // What the target did meanwhile is unknown: the look stands for its own moment alone.
            self.trouble(tick.at, TroubleKind::Suspended, 1);
            from = tick.at;
        }
        let look = &self.python.seen;
        if look.missing.is_some() || look.threads.is_empty() {
            self.trouble(tick.at, TroubleKind::Threads, 1);
        }
        self.states.begin(&self.python);
        self.tracks.look(tick.at);
        if held {
            self.rests.clear(&mut self.runs);
        }
        let mut places = std::mem::take(&mut self.restless);
        let python = &self.python;
        let seen = Seen {
            list: python.lists(),
            threads: &python.seen.threads,
            changed: python.changed(),
            now: self.states.now(),
            span: (from, tick.at),
        };
        self.rests.look(&seen, &mut self.runs, &mut places);
        for place in &places {
            self.add(*place, held, from, tick.at);
        }
        self.restless = places;
        self.runs.look();
        if let Some(collections) = &mut self.collections {
            collections.tell(tick.at, &mut self.interner, &mut self.events);
        }
    }

    /// Adds what the last look saw of one thread.
    fn add(&mut self, place: usize, held: bool, from: At, until: At) {
        let Sampler { python, places, interner, tracks, states, waits, events, rests, .. } = self;
        let Some(thread) = python.seen.threads.get(place) else { return };
        let met = states.of(thread);
        // At the first time, how long it ran is not known yet.
        let due = met.rests.filter(|_| !held && met.cpu.is_some() == met.ran.is_some());
        let mut sample = Sample {
            from,
            until,
            count: 1,
            track: tracks.id(thread, interner, events),
            stack: places.stack(thread.stack, python, interner, events),
            weight: until.since(from),
            cpu: met.cpu.map(|cpu| Nanos(cpu.as_nanos() as u64)),
            state: waits.state(met.standing, interner, events),
            flags: Flags { holds_gil: thread.holds_gil, in_exception: met.in_exception, ..Flags::default() },
            quality: match thread.quality {
                Quality::Whole | Quality::Retried if held => Quality::Stopped,
                quality => quality,
            },
        };
        if let Some(opcodes) = &mut self.opcodes {
            opcodes.mark(thread.stack, self.process.memory(), python, &mut sample, interner, events);
        }
        if let Some(collections) = &mut self.collections {
            collections.mark(thread.interpreter, &mut sample, |frame| {
                places.stack(python.part(thread, frame)?, python, interner, events)
            });
        }
        rests.add(place, sample, thread.stack, due, &mut self.runs);
        match thread.told.filter(|_| !held) {
            Some(told) => self.runs.add_open(sample, (told, python.stacks.epoch())),
            None => self.runs.add(sample),
        }
        if sample.state == State::Unknown && thread.native.is_some() {
            self.python.list_soon();
        }
    }

    /// Lists the kernel's threads anew when the look met one that is not among them, but not at every look.
    fn list_tasks(&mut self) {
        if self.listed != self.python.lists() {
            self.listed = self.python.lists();
            self.unknown = self.python.seen.threads.iter().any(|thread| thread.native.is_none());
        }
        if self.unknown && self.tasks_at.is_none_or(|at| at.elapsed() >= TASKS_EVERY) {
            self.tasks = self.process.threads();
            self.tasks_at = Some(Instant::now());
        }
    }

    fn trouble(&mut self, at: At, kind: TroubleKind, count: u64) {
        match self.troubles.iter_mut().find(|trouble| trouble.kind == kind) {
            Some(trouble) => *trouble = Trouble { at, count: trouble.count + count, ..*trouble },
            None => self.troubles.push(Trouble { at, kind, count, text: None }),
        }
    }
}
