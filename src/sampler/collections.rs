//! Collections of garbage: the collectors are read with every look at the stacks, and what they did becomes events.

use std::sync::Arc;
use std::time::Instant;

use super::epoch::Epoch;
use super::intern::Interner;
use crate::layout::Missing;
use crate::memory::Addr;
use crate::model::gc::Gauge;
use crate::model::{At, Counter, Event, Nanos, ProcessId, Sample, StackId};
use crate::python::collector::{GENERATIONS, State, Totals};
use crate::python::gc::Collectors;
use crate::python::plan::{Plan, Rider};
use crate::target::{Located, Process, own};

/// Collectors that do not collect are read at most this often.
const READ_EVERY: Nanos = Nanos(100_000);
/// For interpreters that have come they are asked at most this often.
const LISTED_EVERY: Nanos = Nanos(10_000_000);
/// Counters of the collectors are told at most this often.
const COUNTERS_EVERY: Nanos = Nanos(100_000_000);

/// The collectors of one process, from the first look on.
#[derive(Debug)]
pub struct Collections {
    process: Arc<Process>,
    id: ProcessId,
    collectors: Collectors,
    start: Option<Instant>,
    /// What the monotonic clock says at the recording's zero; where the kernel does not say it, no time of the target's is
    /// believed.
    zero: Option<u64>,
    epochs: Vec<Epoch>,
    /// Interpreters that collect in this look, and whether they still did when its stacks were read.
    collecting: Vec<(i64, Option<bool>)>,
    /// They are read along with this look.
    asked: bool,
    read_at: Option<At>,
    listed_at: Option<At>,
    counters_at: Option<At>,
    counted: Vec<(i64, (Gauge, i64))>,
    ended: Vec<crate::model::gc::Collection>,
}

/// Collectors are read in the call that reads the stacks, and before them.
impl Rider for Collections {
    fn ask(&mut self, plan: &mut Plan, now: Instant) {
        let rests = self.collecting.iter().all(|(_, collecting)| *collecting == Some(false));
        let now = self.at(now);
        self.asked = !rests || self.read_at.is_none_or(|at| now.since(at) >= READ_EVERY);
        if self.asked {
            let listed = self.listed_at.is_none_or(|at| now.since(at) >= LISTED_EVERY);
            if listed {
                self.listed_at = Some(now);
            }
            self.collectors.ask(plan, listed);
        }
    }

    fn hear(&mut self, plan: &Plan) {
        if !self.asked {
            return;
        }
        if !self.collectors.hear(plan) {
            self.collectors.read(self.process.memory());
        }
        self.take();
    }
}

impl Collections {
    /// Binds the collectors of a process, or says what its layout lacks.
    pub fn open(process: Arc<Process>, located: &Located, id: ProcessId) -> Result<Collections, Missing> {
        let collectors = Collectors::bind(located)?;
        Ok(Collections {
            process,
            id,
            collectors,
            start: None,
            zero: None,
            epochs: Vec::new(),
            collecting: Vec::new(),
            asked: false,
            read_at: None,
            listed_at: None,
            counters_at: None,
            counted: Vec::new(),
            ended: Vec::new(),
        })
    }

    /// Says when the recording's zero is.
    pub fn begin(&mut self, start: Instant) {
        self.start = Some(start);
        let since = start.elapsed();
        self.zero =
            own::monotonic().and_then(|now| now.checked_sub(since)).map(|zero| zero.as_nanos() as u64);
    }

    fn at(&self, moment: Instant) -> At {
        At(self.start.map_or(0, |start| moment.saturating_duration_since(start).as_nanos() as u64))
    }

    /// Takes what the collectors say, as it was read just now.
    fn take(&mut self) {
        // Whatever the read saw was before.
        let at = self.at(Instant::now());
        self.read_at = Some(at);
        self.collecting.clear();
        for (state, records) in self.collectors.told() {
            match self.epochs.iter_mut().find(|epoch| epoch.state().interpreter == state.interpreter) {
                Some(epoch) => epoch.look(at, (state, records), self.zero, &mut self.ended),
                None => self.epochs.push(Epoch::new(self.id, at, (state, records))),
            }
            self.collecting.push((state.interpreter, state.collecting));
        }
        let states = self.collectors.states();
        self.epochs.retain(|epoch| states.iter().any(|state| state.interpreter == epoch.state().interpreter));
    }

    /// Reads those that collect once more, after the stacks are read: a stack that was read between two looks at the same
    /// collection is the one that it interrupts.
    pub fn confirm(&mut self) {
        if !self.collecting.iter().any(|(_, collecting)| *collecting == Some(true)) {
            return;
        }
        self.collectors.read(self.process.memory());
        let states = self.collectors.states();
        for (interpreter, collecting) in self.collecting.iter_mut().filter(|(_, it)| *it == Some(true)) {
            let now = states.iter().find(|state| state.interpreter == *interpreter);
            let epoch = self.epochs.iter().find(|epoch| epoch.state().interpreter == *interpreter);
            let same = now.zip(epoch).is_some_and(|(now, epoch)| is_same(now, epoch.state()));
            *collecting = same.then_some(true);
        }
    }

    /// Marks a sample of the look whose thread collects garbage, and takes its stack for what set that off: of what runs on top
    /// of that, such as a `__del__`, nothing, where the target says which frame it was. `part` is the stack from that frame on down.
    pub fn mark(
        &mut self,
        interpreter: i64,
        sample: &mut Sample,
        part: impl FnOnce(Addr) -> Option<StackId>,
    ) {
        // Before 3.9 one collector serves all interpreters.
        let own =
            self.collecting.iter().find(|(id, _)| *id == interpreter).or(match self.collecting.as_slice() {
                [only] => Some(only),
                _ => None,
            });
        let Some((id, collecting)) = own else { return };
        sample.flags.in_gc = match (collecting, sample.flags.holds_gil) {
            (Some(true), Some(holds)) => Some(holds),
            (Some(false), _) => Some(false),
            _ => None,
        };
        if sample.flags.in_gc == Some(true)
            && let Some(epoch) = self.epochs.iter_mut().find(|epoch| epoch.state().interpreter == *id)
            && epoch.wants_stack()
        {
            let set_off = epoch.state().frame.and_then(part);
            epoch.running(set_off.or(sample.stack));
        }
    }

    /// Reads the collectors once more and tells everything: what was collected since the last look is not lost.
    pub fn end(&mut self, at: At, interner: &mut Interner, out: &mut Vec<Event>) {
        self.collectors.read(self.process.memory());
        self.take();
        self.counters_at = None;
        self.tell(at, interner, out);
    }

    /// Tells what the look saw.
    pub fn tell(&mut self, at: At, interner: &mut Interner, out: &mut Vec<Event>) {
        let mut told = Vec::new();
        for epoch in &mut self.epochs {
            let totals = epoch.take_first();
            let interpreter = epoch.state().interpreter;
            told.extend(totals.into_iter().flat_map(before).map(|gauge| (interpreter, gauge)));
        }
        if self.counters_at.is_none_or(|last| at.since(last) >= COUNTERS_EVERY) {
            self.counters_at = Some(at);
            let now = self.epochs.iter().map(Epoch::state);
            let now: Vec<(i64, (Gauge, i64))> = now
                .flat_map(|state| gauges(state).into_iter().map(|gauge| (state.interpreter, gauge)))
                .collect();
            told.extend(now.iter().filter(|gauge| !self.counted.contains(gauge)));
            self.counted = now;
        }
        for (interpreter, (gauge, value)) in told {
            let name = interner.string(&gauge.name(interpreter), out);
            out.push(Event::Counter(Counter { at, process: self.id, name, value }));
        }
        out.extend(self.ended.drain(..).map(Event::Gc));
    }
}

/// Whether two states are of the same collection: none has ended in between.
fn is_same(one: &State, other: &State) -> bool {
    let totals = |state: &State| state.generations.map(|generation| generation.totals);
    let counts = |state: &State| state.generations.map(|generation| generation.count);
    let [_, middle, oldest] = counts(one);
    let [_, middle_before, oldest_before] = counts(other);
    one.collecting == Some(true)
        && totals(one) == totals(other)
        && (middle, oldest) == (middle_before, oldest_before)
}

/// What of a state is told as numbers that change.
fn gauges(state: &State) -> Vec<(Gauge, i64)> {
    let mut gauges = Vec::new();
    for (number, generation) in (0..).zip(&state.generations) {
        gauges.push((Gauge::Count(number), i64::from(generation.count)));
        gauges.push((Gauge::Threshold(number), i64::from(generation.threshold)));
    }
    gauges.extend(state.enabled.map(|enabled| (Gauge::Enabled, i64::from(enabled))));
    let objects = [
        (Gauge::Tracked, state.tracked),
        (Gauge::LongLived, state.long_lived.map(|(all, _)| all)),
        (Gauge::Pending, state.long_lived.map(|(_, pending)| pending)),
    ];
    gauges.extend(objects.into_iter().filter_map(|(gauge, count)| Some((gauge, number(count?)))));
    gauges
}

/// What the target had counted before the first look.
fn before(totals: [Totals; GENERATIONS]) -> impl Iterator<Item = (Gauge, i64)> {
    (0..).zip(totals).flat_map(|(number_of, totals)| {
        [
            (Gauge::Collections(number_of), number(totals.collections)),
            (Gauge::Collected(number_of), number(totals.collected)),
            (Gauge::Uncollectable(number_of), number(totals.uncollectable)),
        ]
    })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
