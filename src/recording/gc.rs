//! What a recording tells of collectors: how they stood at a moment, and what they did in a span of time.

use rustc_hash::FxHashMap;

use super::tables::Recording;
use crate::model::gc::{Collection, Exactness, GENERATIONS, Gauge};
use crate::model::{At, FrameId, Nanos, ProcessId, TrackId};

/// A collector as it stood at a moment. What is `None` was not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Of which process.
    pub process: ProcessId,
    /// Of which interpreter; the main one's is 0.
    pub interpreter: i64,
    /// Collections happen by themselves.
    pub enabled: Option<bool>,
    /// Objects that it looks after.
    pub tracked: Option<u64>,
    /// Objects that survived the last collection of the oldest generation.
    pub long_lived: Option<u64>,
    /// Objects that wait to be such.
    pub pending: Option<u64>,
    /// The generations, youngest first.
    pub generations: [Generation; GENERATIONS],
}

/// A generation as it stood at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation {
    /// What `gc.get_count()` says.
    pub count: Option<i64>,
    /// What `gc.get_threshold()` says.
    pub threshold: Option<i64>,
    /// What `gc.get_stats()` says; `None` where the target does not count.
    pub totals: Option<Sums>,
}

/// What collections did, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many there were.
    pub collections: u64,
    /// Objects that they freed.
    pub collected: u64,
    /// Objects that they could not free.
    pub uncollectable: u64,
}

/// What one collector did in some span of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// In which process.
    pub process: ProcessId,
    /// In which interpreter.
    pub interpreter: i64,
    /// The generations, youngest first.
    pub generations: [Done; GENERATIONS],
    /// The collection that took longest, of those that took any time that is known.
    pub longest: Option<Collection>,
}

/// What collections of one generation did in some span of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    /// How many, and what they freed.
    pub sums: Sums,
    /// How long they took, all together.
    pub pause: Nanos,
    /// The target wrote down itself how long they took.
    pub exact: bool,
    /// The target may have collected more often: it keeps no count.
    pub at_least: bool,
    /// The time of each row, and how many collections it stands for.
    rows: Vec<(Nanos, u32)>,
}

/// A function that set collections off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// Where it was.
    pub frame: FrameId,
    /// How many collections were met in it.
    pub collections: u64,
    /// How long they took.
    pub pause: Nanos,
}

impl Sums {
    /// Adds what a row stands for.
    fn add(&mut self, row: &Collection) {
        self.collections = self.collections.saturating_add(u64::from(row.count));
        self.collected = self.collected.saturating_add(row.collected);
        self.uncollectable = self.uncollectable.saturating_add(row.uncollectable);
    }
}

impl Done {
    /// The time that this share of all collections did not exceed, 0.5 being the median; `None` where there were none. A
    /// collection that no look met took next to no time, and counts as none.
    pub fn percentile(&self, share: f64) -> Option<Nanos> {
        let mut each: Vec<(Nanos, u64)> = Vec::with_capacity(self.rows.len() + 1);
        for (pause, count) in self.rows.iter().copied().filter(|(_, count)| *count > 0) {
            if self.exact {
                // The sum of several is exact too.
                each.push((Nanos(pause.0 / u64::from(count)), u64::from(count)));
            } else {
                each.extend([(pause, 1), (Nanos(0), u64::from(count) - 1)]);
            }
        }
        each.sort_unstable();
        let all = each.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut below = 0_u64;
        each.into_iter().find_map(|(pause, count)| {
            below = below.saturating_add(count);
            (below >= rank).then_some(pause)
        })
    }
}

impl Work {
    /// Nothing done yet.
    pub fn new(process: ProcessId, interpreter: i64) -> Work {
        Work { process, interpreter, generations: Default::default(), longest: None }
    }

    /// What every collector that is told of did in a span of time; what ended in it counts.
    pub fn of(recording: &Recording, from: At, to: At) -> Vec<Work> {
        let mut works = Vec::new();
        for row in recording.gc.iter().filter(|row| from < row.stop && row.stop <= to) {
            Work::add_to(&mut works, row);
        }
        works.sort_by_key(|work| (work.process, work.interpreter));
        works
    }

    /// Adds a row to the work of its own collector.
    pub fn add_to(works: &mut Vec<Work>, row: &Collection) {
        let known =
            works.iter().position(|it| it.process == row.process && it.interpreter == row.interpreter);
        let place = known.unwrap_or_else(|| {
            works.push(Work::new(row.process, row.interpreter));
            works.len() - 1
        });
        if let Some(work) = works.get_mut(place) {
            work.add(row);
        }
    }

    fn add(&mut self, row: &Collection) {
        let Some(done) = self.generations.get_mut(usize::from(row.generation)) else { return };
        done.sums.add(row);
        done.pause += row.pause;
        done.exact |= row.exactness == Exactness::Exact;
        done.at_least |= row.exactness == Exactness::AtLeast;
        done.rows.push((row.pause, row.count));
        // Where the target wrote down how long several took, one of them is taken for as long as the others.
        let pause = if done.exact { Nanos(row.pause.0 / u64::from(row.count.max(1))) } else { row.pause };
        if pause > self.longest.map_or(Nanos(0), |longest| longest.pause) {
            self.longest = Some(Collection { pause, ..*row });
        }
    }

    /// How long all collections took.
    pub fn pause(&self) -> Nanos {
        self.generations.iter().map(|done| done.pause).sum()
    }
}

impl Collector {
    /// Nothing known yet.
    fn new(process: ProcessId, interpreter: i64) -> Collector {
        Collector {
            process,
            interpreter,
            enabled: None,
            tracked: None,
            long_lived: None,
            pending: None,
            generations: Default::default(),
        }
    }

    /// The collectors at a moment, the main interpreter's first.
    pub fn all_at(recording: &Recording, at: At) -> Vec<Collector> {
        let gauges: Vec<Option<(i64, Gauge)>> =
            recording.strings.iter().map(|name| Gauge::of_name(name)).collect();
        let mut collectors: Vec<Collector> = Vec::new();
        let mut since: Vec<At> = Vec::new();
        for counter in recording.counters.iter().filter(|counter| counter.at <= at) {
            let Some((interpreter, gauge)) = gauges.get(counter.name.index()).copied().flatten() else {
                continue;
            };
            let known = collectors
                .iter()
                .position(|it| (it.process, it.interpreter) == (counter.process, interpreter));
            let place = known.unwrap_or_else(|| {
                collectors.push(Collector::new(counter.process, interpreter));
                since.push(At(0));
                collectors.len() - 1
            });
            let (Some(collector), Some(since)) = (collectors.get_mut(place), since.get_mut(place)) else {
                continue;
            };
            if matches!(gauge, Gauge::Collections(_)) {
                *since = counter.at;
            }
            collector.set(gauge, counter.value);
        }
        for (collector, since) in collectors.iter_mut().zip(since) {
            let rows = recording.gc.iter().filter(|row| since < row.stop && row.stop <= at);
            let own = rows
                .filter(|row| (row.process, row.interpreter) == (collector.process, collector.interpreter));
            for row in own {
                let generation = collector.generations.get_mut(usize::from(row.generation));
                if let Some(totals) = generation.and_then(|generation| generation.totals.as_mut()) {
                    totals.add(row);
                }
            }
        }
        collectors.sort_by_key(|collector| (collector.process, collector.interpreter));
        collectors
    }

    fn set(&mut self, gauge: Gauge, value: i64) {
        let count = u64::try_from(value).ok();
        let generation = match gauge {
            Gauge::Count(generation)
            | Gauge::Threshold(generation)
            | Gauge::Collections(generation)
            | Gauge::Collected(generation)
            | Gauge::Uncollectable(generation) => self.generations.get_mut(usize::from(generation)),
            Gauge::Enabled => return self.enabled = Some(value != 0),
            Gauge::Tracked => return self.tracked = count,
            Gauge::LongLived => return self.long_lived = count,
            Gauge::Pending => return self.pending = count,
        };
        let Some(generation) = generation else { return };
        let totals = || count.unwrap_or_default();
        match gauge {
            Gauge::Count(_) => generation.count = Some(value),
            Gauge::Threshold(_) => generation.threshold = Some(value),
            Gauge::Collections(_) => {
                generation.totals = Some(Sums { collections: totals(), ..Sums::default() });
            }
            Gauge::Collected(_) => generation.totals.get_or_insert_default().collected = totals(),
            Gauge::Uncollectable(_) => generation.totals.get_or_insert_default().uncollectable = totals(),
            _ => {}
        }
    }
}

impl Trigger {
    /// The functions in which collections of a span of time were met, the one with the longest time first.
    pub fn of(recording: &Recording, from: At, to: At) -> Vec<Trigger> {
        let mut by_function: FxHashMap<_, Trigger> = FxHashMap::default();
        let rows = recording.gc.iter().filter(|row| from < row.stop && row.stop <= to);
        for (row, stack) in rows.filter_map(|row| Some((row, row.stack?))) {
            let Some(top) = recording.stack(stack) else { continue };
            let Some(frame) = recording.frame(top.frame) else { continue };
            let function = (frame.qualname.unwrap_or(frame.name), frame.file, frame.first_line);
            let trigger = by_function.entry(function).or_insert(Trigger {
                frame: top.frame,
                collections: 0,
                pause: Nanos(0),
            });
            trigger.collections = trigger.collections.saturating_add(1);
            trigger.pause += row.pause;
        }
        let mut triggers: Vec<Trigger> = by_function.into_values().collect();
        triggers
            .sort_by_key(|trigger| (std::cmp::Reverse((trigger.pause, trigger.collections)), trigger.frame));
        triggers
    }
}

/// When a collection is shown to have been: the time that it took, as late as it can have been where that is not known.
pub fn when(row: &Collection) -> (At, At) {
    match row.exactness {
        Exactness::Exact => (row.start.min(row.stop), row.stop),
        Exactness::Bounds | Exactness::AtLeast => (row.stop.back(row.pause), row.stop),
    }
}

/// The thread on which a collection is shown: the main one of its interpreter, else of its process.
pub fn track(recording: &Recording, row: &Collection) -> Option<TrackId> {
    let tracks =
        || (0..).map(TrackId).zip(&recording.tracks).filter(|(_, track)| track.process == row.process);
    let own = tracks().find(|(_, track)| track.interpreter == row.interpreter);
    own.or_else(|| tracks().next()).map(|(id, _)| id)
}

/// The share of a span of time that collections took, of all processes that are told of; between 0 and 1.
pub fn share(works: &[Work], span: Nanos) -> f64 {
    let pause: Nanos = works.iter().map(Work::pause).sum();
    if span == Nanos(0) { 0.0 } else { (pause.0 as f64 / span.0 as f64).min(1.0) }
}
