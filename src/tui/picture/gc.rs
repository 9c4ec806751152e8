//! What each collector is like, what it does at present, and what it did last.

use super::safe;
use crate::model::gc::GENERATIONS;
use crate::model::{At, Nanos, StackId};
use crate::recording::gc::{Collector, Generation, Work, share, when};
use crate::recording::{Recording, label};

/// How many seconds of the past are shown.
pub const SECONDS: usize = 60;
/// How many of the last collections are shown.
pub const LAST: usize = 100;

/// A collector.
#[derive(Debug, Clone, PartialEq)]
pub struct Collecting {
    /// Whose it is, where there are several.
    pub whose: String,
    /// Collections happen by themselves; `None` where nobody says.
    pub enabled: Option<bool>,
    /// Objects that it looks after.
    pub tracked: Option<u64>,
    /// The generations, youngest first.
    pub generations: [Aged; GENERATIONS],
    /// The share of the present in which it was at work.
    pub share_now: f64,
    /// The share of all time in which it was at work.
    pub share: f64,
    /// Collections in each of the last seconds, the latest one last.
    pub seconds: Vec<u64>,
    /// Its last collections, the latest one first.
    pub last: Vec<Past>,
}

/// A generation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aged {
    /// How it stands.
    pub state: Generation,
    /// Collections a second at present.
    pub rate: f64,
    /// Collections since the start.
    pub collections: u64,
    /// Objects that these freed.
    pub freed: u64,
    /// The longest pause that was seen since the start, where the time of any is known.
    pub longest: Option<Nanos>,
}

/// A collection that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// When it ended.
    pub at: At,
    /// The oldest generation that was collected.
    pub generation: u8,
    /// How many there were in one.
    pub count: u32,
    /// How long it took; zero where no look met it.
    pub pause: Nanos,
    /// Objects that it freed.
    pub freed: u64,
    /// The function that set it off, where that is known.
    pub trigger: String,
}

/// Every collector that is told of at a moment.
pub(super) fn all(recording: &Recording, since: At, present: At, at: At) -> Vec<Collecting> {
    let works = Work::of(recording, since, at);
    let now = Work::of(recording, present, at);
    let collectors = Collector::all_at(recording, at);
    let several = collectors.len() > 1;
    let one = |collector: &Collector| {
        let own = |works: &[Work]| {
            let whose = (collector.process, collector.interpreter);
            let work = works.iter().find(|work| (work.process, work.interpreter) == whose);
            work.cloned().unwrap_or_else(|| Work::new(whose.0, whose.1))
        };
        let (work, now) = (own(&works), own(&now));
        let seconds = at.since(present).as_secs_f64().max(f64::MIN_POSITIVE);
        let rows = recording.gc.iter().filter(|row| since < row.stop && row.stop <= at);
        let rows: Vec<_> = rows
            .filter(|row| (row.process, row.interpreter) == (collector.process, collector.interpreter))
            .collect();
        let mut generations: [Aged; GENERATIONS] = Default::default();
        for (place, aged) in generations.iter_mut().enumerate() {
            let (Some(state), Some(done), Some(now)) =
                (collector.generations.get(place), work.generations.get(place), now.generations.get(place))
            else {
                continue;
            };
            *aged = Aged {
                state: *state,
                rate: now.sums.collections as f64 / seconds,
                collections: done.sums.collections,
                freed: done.sums.collected,
                longest: done.percentile(1.0).filter(|pause| *pause > Nanos(0)),
            };
        }
        let whose = match several {
            true => format!(
                "{}, interpreter {}",
                label::process(recording, collector.process),
                collector.interpreter
            ),
            false => String::new(),
        };
        let last = rows.iter().rev().take(LAST).map(|row| Past {
            at: when(row).1,
            generation: row.generation,
            count: row.count,
            pause: row.pause,
            freed: row.collected,
            trigger: row.stack.map(|stack| function(recording, stack)).unwrap_or_default(),
        });
        let mut each = vec![0; SECONDS];
        let end = at.0 / Nanos::SECOND.0;
        for row in &rows {
            let ago = end.checked_sub(row.stop.0 / Nanos::SECOND.0 + 1).map(|ago| ago as usize);
            let place = ago.and_then(|ago| SECONDS.checked_sub(ago + 1));
            if let Some(sum) = place.and_then(|place| each.get_mut(place)) {
                *sum += u64::from(row.count);
            }
        }
        Collecting {
            whose: safe(&whose),
            enabled: collector.enabled,
            tracked: collector.tracked,
            generations,
            share_now: share(std::slice::from_ref(&now), at.since(present)),
            share: share(std::slice::from_ref(&work), at.since(since)),
            seconds: each,
            last: last.collect(),
        }
    };
    collectors.iter().map(one).collect()
}

fn function(recording: &Recording, stack: StackId) -> String {
    let Some(frame) = recording.frames_of(stack).next() else { return String::new() };
    let path = recording.file(frame.file).map_or("", |file| recording.string(file.path));
    let file = path.rsplit('/').next().unwrap_or(path);
    safe(&format!("{} ({file})", recording.string(frame.qualname.unwrap_or(frame.name))))
}
