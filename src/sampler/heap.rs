//! The heap over time: a reader of its own beside the sampler, at a low rate, that gives way to what else we cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allowance::{Allowance, LEAST};
use super::channel::{Closed, Outbox};
use super::clock::{Clock, Schedule, Stop};
use super::intern::Interner;
use super::occupancy::{MAX_POOLS, Occupancy};
use super::sampler::PROCESS;
use super::traced::Traced;
use crate::model::heap::{self, Gauge, HeapState, TypeCount};
use crate::model::{At, Counter, Event, Nanos, Trouble, TroubleKind};
use crate::python::Python;
use crate::python::census::{Census, Counted};
use crate::python::heap::{Heap, NoHeap};
use crate::python::obmalloc::NoAllocator;
use crate::python::pools::Room;
use crate::python::traces::NoTraces;
use crate::target::usage::Usage;
use crate::target::{Located, Process, own};

/// How often counters and tables of arenas are read, a second.
const RATE: f64 = 10.0;
/// How often headers of pools are read.
const HEADERS_EVERY: Nanos = Nanos::SECOND;
/// Tables of arenas take at most one part in so many of a core: there are allocators that have none, but hundreds of headers.
const TABLES: u32 = 100;
/// Which pools have changed is told whenever a recording has become longer by one part in so many, for nobody draws it finer: else the
/// pools of a heap that churns would make up nearly all of a long recording.
const PARTS: u64 = 240;
/// An allocator that was not found is looked for again after this long, and then after twice as long each time; but no sooner than
/// after so many times what it took to look for it.
const AGAIN: Duration = Duration::from_millis(100);
const PAUSE: u32 = 50;

/// How deep the heap is looked into; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Numbers that one read gives.
    Counters,
    /// The table of arenas.
    Arenas,
    /// The headers of all pools.
    Pools,
}

/// How the heap is followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeapOptions {
    /// How deep it is looked into, beside the censuses.
    pub depth: Option<Depth>,
    /// The share of one core that all of us may use.
    pub max_overhead: Option<f64>,
    /// How often objects are counted by type, if they are.
    pub census_every: Option<Duration>,
    /// Whether it is asked what is put down to which code.
    pub attribute: bool,
}

/// Follows the heap of one process.
#[derive(Debug)]
pub struct HeapSampler {
    process: Arc<Process>,
    located: Located,
    python: Python,
    options: HeapOptions,
    outbox: Outbox,
    interner: Interner,
    events: Vec<Event>,
    usage: Usage,
    heap: Option<Heap>,
    /// Why there is none, when it is looked for next, and how long after that.
    missing: Option<(NoHeap, Instant, Duration)>,
    occupancy: Occupancy,
    room: Room,
    /// The last value of each counter.
    counted: Vec<(Gauge, i64)>,
    headers_at: Option<At>,
    /// When tables of arenas may be read again.
    tables_due: At,
    /// When it was last told which pools have changed.
    pools_at: At,
    allowance: Allowance,
    /// Something was told of the allocator.
    begun: bool,
    /// What was said, and is not said again.
    said: Vec<&'static str>,
    census_due: Option<At>,
    /// Where it is asked what `tracemalloc` says.
    traced: Option<Traced>,
}

impl HeapSampler {
    /// One that sends what it sees to `outbox`.
    pub fn new(
        process: Arc<Process>,
        located: Located,
        python: Python,
        options: HeapOptions,
        outbox: Outbox,
    ) -> HeapSampler {
        let traced = options.attribute.then(|| Traced::open(&located)).flatten();
        HeapSampler {
            usage: Usage::open(&process),
            process,
            located,
            python,
            outbox,
            interner: Interner::default(),
            events: Vec::new(),
            heap: None,
            missing: None,
            occupancy: Occupancy::default(),
            room: Room::default(),
            counted: Vec::new(),
            headers_at: None,
            tables_due: At(0),
            pools_at: At(0),
            allowance: Allowance::new(options.max_overhead),
            begun: false,
            said: Vec::new(),
            census_due: None,
            traced,
            options,
        }
    }

    /// Looks from `start` on until `stop` says so or nobody listens; the last look is at the end.
    pub fn run(mut self, start: Instant, stop: &Stop) {
        let _aside = own::Aside::this_thread();
        let mut clock = Clock::new(start, Some(RATE), Schedule::Fixed, None);
        while let Some(tick) = clock.wait(stop) {
            self.look(tick.at, false);
            if self.send().is_err() {
                return;
            }
        }
        if self.process.alive() && !self.process.execed() {
            self.look(clock.now(), true);
        }
        if let Some((why, ..)) = &self.missing {
            let why = format!("heap: {why}");
            self.trouble(clock.now(), TroubleKind::Other, &why);
        }
        // Nobody listening is no trouble at the end.
        let _ = self.send().and_then(|()| self.outbox.flush());
    }

    /// Looks once, as deep as it is time for; the `last` look reads headers too, and may cost what one a second may at most.
    fn look(&mut self, at: At, last: bool) {
        self.allowance.begin(Duration::from_nanos(at.0), own::looking_time(), own::thread_time());
        if last {
            self.allowance.raise();
        }
        let depth = self.options.depth;
        if let Some(resident) = self.usage.resident().filter(|_| depth.is_some()) {
            self.count(at, Gauge::Resident, resident);
        }
        let opened = self.open();
        self.traces(at, last);
        if opened.is_err() {
            return;
        }
        let counts = self.heap.as_ref().map(Heap::counts).unwrap_or_default();
        if let Some(blocks) = counts.all.filter(|_| depth.is_some()) {
            self.count(at, Gauge::Blocks, blocks);
        }
        match (depth, counts.arenas) {
            (Some(Depth::Arenas | Depth::Pools), _) => self.arenas(at, last),
            (Some(Depth::Counters), Some(arenas)) => self.count(at, Gauge::Arenas, arenas),
            _ => {}
        }
        if self.options.census_every.is_some() && self.census_due.is_none_or(|due| at >= due) {
            self.count_objects(at);
        }
    }

    /// Counts all objects by type, and says when it is time to do so again: no sooner than the budget has room for it.
    fn count_objects(&mut self, at: At) {
        let Some(every) = self.options.census_every else { return };
        let began = (Instant::now(), own::thread_time());
        let counted = self.census();
        let cost = own::thread_time().saturating_sub(began.1);
        let apart = every.max(self.apart(cost));
        self.census_due = Some(At(at.0.saturating_add(apart.as_nanos() as u64)));
        match counted {
            Ok(counted) => {
                let suspect = counted.look.sums().suspect_pools;
                let suspect_pools = u32::try_from(suspect).unwrap_or(u32::MAX);
                let types = self.types(&counted);
                let took = Nanos(began.0.elapsed().as_nanos() as u64);
                let census = heap::Census { at, took, process: PROCESS, suspect_pools, types };
                self.events.push(Event::Census(census));
            }
            Err(why) => self.once(at, TroubleKind::Other, "no census", &format!("census: {why}")),
        }
        if apart > every {
            let text =
                format!("census: every {:.1} s and no sooner, for what one costs", apart.as_secs_f64());
            self.once(at, TroubleKind::HeldBack, "censuses", &text);
        }
    }

    /// How long what costs so much must not be done again, to stay within the budget.
    fn apart(&self, cost: Duration) -> Duration {
        self.options.max_overhead.map_or(Duration::ZERO, |limit| cost.div_f64(limit.max(LEAST)))
    }

    /// Asks what `tracemalloc` says, when it is time to.
    fn traces(&mut self, at: At, last: bool) {
        let Some(traced) = self.traced.as_mut().filter(|traced| last || traced.is_due(at)) else { return };
        let began = own::thread_time();
        let (process, located, heap) = (&self.process, &self.located, self.heap.as_ref());
        let told = traced.tell(process, located, heap, at, &mut self.interner, &mut self.events);
        let apart = self.apart(own::thread_time().saturating_sub(began));
        self.traced.iter_mut().for_each(|traced| traced.done(at, apart));
        match told {
            Ok(0) | Err(NoTraces::Idle) => {}
            Ok(lost) => {
                let text =
                    format!("tracemalloc: {lost} traces changed while they were read, and are left out");
                self.once(at, TroubleKind::Other, "traces", &text);
            }
            Err(why) => self.once(at, TroubleKind::Other, "traces", &why.to_string()),
        }
    }

    /// What there is of each type, those of the same name together.
    fn types(&mut self, counted: &Counted) -> Vec<TypeCount> {
        let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (class, tally) in &counted.types {
            let (count, bytes) = types.entry(&class.name).or_default();
            (*count, *bytes) = (*count + tally.count, *bytes + tally.bytes);
        }
        let mut name = |name| self.interner.string(name, &mut self.events);
        types.into_iter().map(|(of, (count, bytes))| TypeCount { name: name(of), count, bytes }).collect()
    }

    fn census(&self) -> Result<Counted, String> {
        let memory = self.process.memory();
        let heap = self.heap.as_ref().ok_or("there is no allocator to count in")?;
        let maps = self.process.maps().map_err(|error| error.to_string())?;
        let mut census = Census::open(&self.located).map_err(|error| error.to_string())?;
        census.take(memory, &maps, heap, None).map_err(|error| error.to_string())
    }

    /// Finds the allocators, or reads anew what they count.
    fn open(&mut self) -> Result<(), ()> {
        if let Some((_, next, _)) = &self.missing
            && Instant::now() < *next
        {
            return Err(());
        }
        let memory = self.process.memory();
        let began = own::thread_time();
        let opened = match &mut self.heap {
            Some(heap) => heap.refresh(memory, &self.process, &self.located, &self.python),
            None => Heap::open(memory, &self.process, &self.located, &self.python)
                .map(|heap| self.heap = Some(heap)),
        };
        match opened {
            Ok(()) => {
                self.missing = None;
                Ok(())
            }
            Err(why) => {
                let wait = self.missing.take().map_or(AGAIN, |(_, _, wait)| wait * 2);
                // What a layout says does not change.
                let forever = !matches!(why, NoHeap::Allocator(NoAllocator::NotFound) | NoHeap::Arenas(_));
                let cost = own::thread_time().saturating_sub(began) * PAUSE;
                let wait = if forever { Duration::from_secs(1 << 32) } else { wait.max(cost) };
                self.missing = Some((why, Instant::now() + wait, wait));
                Err(())
            }
        }
    }

    /// Reads the tables of arenas and, when it is time, headers of pools, and tells what has changed.
    fn arenas(&mut self, at: At, last: bool) {
        let Some(heap) = self.heap.as_ref().filter(|_| last || at >= self.tables_due) else { return };
        let memory = self.process.memory();
        let began = own::thread_time();
        // A table that moves whenever it is read says something at the next look.
        let Ok(arenas) = heap.tables(memory) else { return };
        let took = own::thread_time().saturating_sub(began) * TABLES;
        self.tables_due = At(at.0.saturating_add(took.as_nanos() as u64));
        let pool_size = heap.pool_size();
        self.occupancy.table(&arenas);
        let due = self.headers_at.is_none_or(|before| at.since(before) >= HEADERS_EVERY);
        let headers = self.options.depth == Some(Depth::Pools) && (due || last);
        let (mut read, queue) = (0, if headers { self.occupancy.queue() } else { Vec::new() });
        if headers {
            self.headers_at = Some(at);
            let swapped = self.usage.swapped() != Some(0);
            for arena in &queue {
                let told = self.occupancy.untold() >= MAX_POOLS;
                if read > 0 && (told || self.allowance.is_spent(own::thread_time())) {
                    break;
                }
                if let Some(pools) = heap.headers(memory, arena, swapped, &mut self.room) {
                    self.occupancy.pools(arena, pools, pool_size);
                }
                read += 1;
            }
        }
        let (arenas, classes) = self.occupancy.take_news(pool_size);
        let whole = !std::mem::replace(&mut self.begun, true);
        let late = at.since(self.pools_at) >= Nanos(at.0 / PARTS) || self.occupancy.untold() >= MAX_POOLS;
        let pools = if late || last { self.occupancy.take_pools() } else { Vec::new() };
        if !pools.is_empty() {
            self.pools_at = at;
        }
        if whole || !arenas.is_empty() || !classes.is_empty() || !pools.is_empty() {
            let suspect_pools = self.occupancy.suspect_pools();
            let pool_size = if self.headers_at.is_some() { pool_size as u32 } else { 0 };
            let state =
                HeapState { at, process: PROCESS, whole, arenas, classes, pools, pool_size, suspect_pools };
            self.events.push(Event::Heap(state));
        }
        let (count, bytes, pooled) = self.occupancy.sizes(pool_size);
        self.count(at, Gauge::Arenas, count);
        self.count(at, Gauge::ArenaBytes, bytes);
        self.count(at, Gauge::PoolBytes, pooled);
        if let Some((blocks, bytes)) = self.occupancy.blocks().filter(|_| headers) {
            self.count(at, Gauge::BlockBytes, bytes);
            let counts = self.heap.as_ref().map(Heap::counts).unwrap_or_default();
            if let Some(large) = counts.large.filter(|_| counts.all.is_none()) {
                self.count(at, Gauge::Blocks, blocks + large);
            }
        }
        if read < queue.len() {
            let text = format!(
                "heap: {:.1} % of a core read the pools of {read} of {} arenas a second; a pool is up to {} s behind",
                100.0 * self.allowance.share(),
                queue.len(),
                queue.len().div_ceil(read)
            );
            self.once(at, TroubleKind::HeldBack, "headers", &text);
        }
    }

    /// Tells a number, if it has changed.
    fn count(&mut self, at: At, gauge: Gauge, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        match self.counted.iter_mut().find(|(known, _)| *known == gauge) {
            Some((_, known)) if *known == value => return,
            Some((_, known)) => *known = value,
            None => self.counted.push((gauge, value)),
        }
        let name = self.interner.string(gauge.name(), &mut self.events);
        self.events.push(Event::Counter(Counter { at, process: PROCESS, name, value }));
    }

    /// Says something that did not work, and `what` that is about, once.
    fn once(&mut self, at: At, kind: TroubleKind, what: &'static str, text: &str) {
        if !self.said.contains(&what) {
            self.said.push(what);
            self.trouble(at, kind, text);
        }
    }

    fn trouble(&mut self, at: At, kind: TroubleKind, text: &str) {
        let text = self.interner.string(text, &mut self.events);
        self.events.push(Event::Trouble(Trouble { at, kind, count: 1, text: Some(text) }));
    }

    fn send(&mut self) -> Result<(), Closed> {
        if self.events.is_empty() {
            return Ok(());
        }
        self.outbox.send(&mut self.events)
    }
}
