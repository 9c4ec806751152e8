//! Equal neighbours of a track become one row before they cross the channel.
//!
//! Design constraints: this is passed once a thread and look, so it allocates nothing: the rows lie in one vector, which
//! comes back through the channel when it has been read.

use crate::model::{At, Event, Nanos, Quality, Sample, StackId};
use crate::python::StackNumber;

/// Rows wait for company at most this long: whoever looks on live sees them that late.
const EVERY: Nanos = Nanos(100_000_000);
/// The place of a row that no other is folded into: there is none.
const ALONE: u32 = u32::MAX;
/// So many rows are sent at once, more or less: it bounds what a batch takes.
pub const MAX_ROWS: usize = 4096;

/// What a sample may have been, and the epoch of its number ([`Stacks::epoch`](crate::python::Stacks::epoch)).
pub type Told = (StackNumber, u64);

/// What the looks since the last batch saw.
#[derive(Debug, Default)]
pub struct Runs {
    rows: Vec<Sample>,
    /// For each track the place of its last row. A place of an earlier batch leads to no row of this track, for a track
    /// that has a row in this batch has a place in it too.
    last: Vec<u32>,
    /// Rows that may be told otherwise yet, and what they may have been.
    open: Vec<(u32, Told)>,
    looks: u64,
    /// When the last batch was taken.
    since: At,
}

impl Runs {
    /// Adds what a look saw of one track; samples of a track come in the order of time.
    pub fn add(&mut self, sample: Sample) {
        let track = sample.track.index();
        if track >= self.last.len() {
            self.last.resize(track + 1, ALONE);
        }
        let Some(place) = self.last.get_mut(track) else { return };
        let row = self.rows.get_mut(*place as usize).filter(|row| row.track == sample.track);
        if row.is_some_and(|row| row.fold(&sample)) {
            return;
        }
        *place = self.rows.len() as u32;
        self.rows.push(sample);
    }

    /// Adds one that may be told otherwise yet. It has no company.
    pub fn add_open(&mut self, sample: Sample, told: Told) {
        self.open.push((self.rows.len() as u32, told));
        if let Some(place) = self.last.get_mut(sample.track.index()) {
            *place = ALONE;
        }
        self.rows.push(sample);
    }

    /// Tells those samples otherwise of which it is known by now what they were: `believed` says so of what they may have been.
    pub fn reconsider(&mut self, mut believed: impl FnMut(Told) -> Option<Option<StackId>>) {
        for (place, told) in self.open.drain(..) {
            if let Some(row) = self.rows.get_mut(place as usize)
                && let Some(stack) = believed(told)
            {
                (row.stack, row.quality) = (stack, Quality::Probable);
            }
        }
    }

    /// Counts a look, when all of its samples are added.
    pub fn look(&mut self) {
        self.looks += 1;
    }

    /// Whether it is time to send what there is.
    pub fn is_due(&self, now: At) -> bool {
        self.rows.len() >= MAX_ROWS || now.since(self.since) >= EVERY
    }

    /// Gives away what there is, and goes on in `spare`, an empty vector.
    pub fn take(&mut self, now: At, spare: Vec<Sample>) -> Event {
        self.since = now;
        self.open.clear();
        let rows = std::mem::replace(&mut self.rows, spare);
        Event::Samples { looks: std::mem::take(&mut self.looks), rows }
    }
}
