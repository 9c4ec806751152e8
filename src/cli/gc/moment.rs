//! Collectors at a moment, and what they did in the time up to it: what a table, a line of JSON and the summary are made of.

use crate::model::gc::Collection;
use crate::model::{At, Nanos, ProcessId};
use crate::recording::Recording;
use crate::recording::gc::{Collector, Work, share};

/// All collectors at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    /// The moment.
    pub(super) at: At,
    /// The time up to it in which the work was done.
    pub(super) span: Nanos,
    /// The collectors, those of a process together and its main interpreter's first.
    pub(super) seen: Vec<Seen>,
}

/// One collector at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) collector: Collector,
    /// What it did in the time up to the moment.
    pub(super) work: Work,
    /// A collection is under way; `None` where nobody says so.
    pub(super) collecting: Option<bool>,
    /// Objects in the permanent generation, where they were counted.
    pub(super) permanent: Option<u64>,
}

impl Moment {
    /// What a recording tells of a moment and the time from `from` up to it.
    pub(super) fn of(recording: &Recording, from: At, at: At) -> Moment {
        let mut works = Work::of(recording, from, at);
        let pid = |process: ProcessId| recording.process(process).map_or(0, |process| process.pid);
        let collectors = Collector::all_at(recording, at);
        let seen = collectors.into_iter().map(|collector| {
            let whose = (collector.process, collector.interpreter);
            let work = works.iter().position(|work| (work.process, work.interpreter) == whose);
            Seen {
                pid: pid(collector.process),
                work: work.map_or_else(|| Work::new(whose.0, whose.1), |place| works.swap_remove(place)),
                collector,
                collecting: None,
                permanent: None,
            }
        });
        Moment { at, span: at.since(from), seen: seen.collect() }
    }

    /// The collection that took longest.
    pub(super) fn longest(&self) -> Option<&Collection> {
        let all = self.seen.iter().filter_map(|seen| seen.work.longest.as_ref());
        all.max_by_key(|row| row.pause)
    }

    /// The share of the time up to the moment in which garbage was collected.
    pub(super) fn share(&self) -> f64 {
        self.seen.iter().map(|seen| seen.share(self.span)).fold(0.0, f64::max)
    }
}

impl Seen {
    /// The share of a span in which this collector was at work.
    pub(super) fn share(&self, span: Nanos) -> f64 {
        share(std::slice::from_ref(&self.work), span)
    }

    /// The share of what the collections of a generation looked at that they freed, as far as that is known: the oldest
    /// generation leaves its survivors counted, and the youngest is collected once its threshold is passed.
    pub(super) fn freed(&self, generation: usize) -> Option<f64> {
        let sums = self.work.generations.get(generation)?.sums;
        if sums.collections == 0 {
            return None;
        }
        let left = match generation {
            // Some of what is freed was never counted: what is left is nothing then.
            0 => {
                let threshold = u64::try_from(self.collector.generations.first()?.threshold?).ok()?;
                sums.collections.saturating_mul(threshold).saturating_sub(sums.collected)
            }
            1 => return None,
            _ => sums.collections.saturating_mul(self.collector.long_lived.filter(|left| *left > 0)?),
        };
        let all = left.saturating_add(sums.collected);
        (all > 0).then(|| sums.collected as f64 / all as f64)
    }

    /// How many containers more were made than went away without the collector, a second: at least so many, for each
    /// automatic collection of the two younger generations comes after as many as the threshold of the youngest.
    pub(super) fn allocated(&self, span: Nanos) -> Option<f64> {
        let threshold = self.collector.generations.first()?.threshold.filter(|threshold| *threshold > 0)?;
        let young = self.work.generations.iter().take(2).map(|done| done.sums.collections);
        let collections = young.fold(0, u64::saturating_add);
        let known = self.collector.enabled != Some(false) && span > Nanos(0);
        known.then(|| collections as f64 * threshold as f64 / span.as_secs_f64())
    }
}
