//! Memory by stack, as the page gets it: what each has more from a moment on, or less, so that a brush can add up its part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::blob::refused;
use super::column::{Column, MAX};
use crate::model::allocation::Evidence;
use crate::model::{At, Nanos, ProcessId, TrackId};
use crate::recording::view::NodeId;
use crate::recording::{Metric, Source, View, ViewOptions};

/// More changes than this are summed up before the page gets them.
const MAX_CHANGES: usize = 200_000;
/// The finest that they are, if they have to be, and the coarsest.
const FINEST: u64 = 100_000_000;
const COARSEST: u64 = 1 << 50;

/// A moment, a stack, and what it has more from then on.
type Change = (At, NodeId, i64);

/// The changes of each track of a view, in time.
pub(super) struct Held(Vec<Vec<Change>>);

impl Held {
    /// In bytes or in blocks.
    pub(super) fn of(view: &View<'_>, metric: Metric) -> io::Result<Held> {
        let options = ViewOptions { metric, ..view.options().clone() };
        let memory = View::new(view.recording(), &options).map_err(refused)?;
        let mut tracks: Vec<Vec<Change>> =
            view.tracks().iter().map(|track| memory.changes(*track).collect()).collect();
        let mut grain = FINEST;
        while tracks.iter().map(Vec::len).sum::<usize>() > MAX_CHANGES && grain <= COARSEST {
            tracks = tracks.iter().map(|changes| summed(changes, grain, view.span().1)).collect();
            grain *= 2;
        }
        Ok(Held(tracks))
    }

    /// How many there are of the track at a place.
    pub(super) fn len(&self, track: usize) -> usize {
        self.0.get(track).map_or(0, Vec::len)
    }

    /// All of them.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.0.iter().flatten()
    }

    /// Writes them, a track after the other: each moment and stack beside the one before it, and what it has more or less.
    pub(super) fn write(
        &self,
        into: &mut Column,
        moment: impl Fn(u64) -> u64,
        place: impl Fn(NodeId) -> u64,
    ) {
        for changes in &self.0 {
            let mut last = (0, 0);
            for (at, node, by) in changes {
                let now = (moment(at.0), place(*node));
                into.push_beside(last.0, now.0);
                into.push_beside(last.1, now.1);
                into.push_beside(by.min(&0).unsigned_abs(), *by.max(&0) as u64);
                last = now;
            }
        }
    }
}

/// Those of one stack within so much time as one, at the end of that.
fn summed(changes: &[Change], grain: u64, end: At) -> Vec<Change> {
    let mut sums: BTreeMap<(At, NodeId), i64> = BTreeMap::new();
    for (at, node, by) in changes {
        let at = At(at.0.div_ceil(grain).saturating_mul(grain)).min(end.max(*at));
        let sum = sums.entry((at, *node)).or_default();
        *sum = sum.saturating_add(*by);
    }
    sums.into_iter().filter(|(_, by)| *by != 0).map(|((at, node), by)| (at, node, by)).collect()
}

/// The tracks whose memory `tracemalloc` tells: what counts of it is what there was up to the end of a span.
pub(super) fn traced(view: &View<'_>) -> BTreeSet<TrackId> {
    let rows = view.recording().allocations.iter();
    rows.filter(|row| row.evidence == Evidence::Traced).map(|row| row.track).collect()
}

/// What bytes and objects mean in a span of time; nothing where there are none.
pub(super) fn words(view: &View<'_>) -> String {
    let rows = view.recording().allocations.iter().filter(|row| row.evidence == Evidence::Traced);
    // A moment of each process, whichever was read most often.
    let mut tables: BTreeMap<Option<ProcessId>, BTreeSet<At>> = BTreeMap::new();
    for row in rows.filter(|row| row.at <= view.span().1) {
        let track = view.recording().track(row.track);
        tables.entry(track.map(|track| track.process)).or_default().insert(row.at);
    }
    let tables = tables.values().map(BTreeSet::len).max().unwrap_or(0);
    match view.source() {
        Source::Nothing => String::new(),
        Source::Sampled(_) => {
            "Bytes and objects are what memory grew by in the span of time, as far as bursts tell.".to_owned()
        }
        Source::Traced(at) if tables < 2 => format!(
            "Bytes and objects are what was in use after {:.1} s, when the target's tracemalloc was read, once: the span of time \
             makes no difference.",
            Nanos(at.0.min(MAX)).as_secs_f64()
        ),
        Source::Traced(_) => format!(
            "Bytes and objects are what was in use at the end of the span of time: the last of {} readings of the target's \
             tracemalloc up to then, or the first where there is none.",
            tables
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_time_lose_nothing_and_end_within_the_recording() {
        let node = NodeId(3);
        let changes = [
            (At(0), node, 5),
            (At(1), node, 7),
            (At(9), node, -7),
            (At(12), node, 2),
            (At(19), NodeId(4), 1),
        ];
        let expected = [(At(0), node, 5), (At(17), node, 2), (At(19), NodeId(4), 1)];
        assert_eq!(summed(&changes, 10, At(17)), expected);
    }
}
