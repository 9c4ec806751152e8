//! Equal neighbours of a track become one row before they cross the channel.
//!
//! Design constraints: this is passed once a thread and look, so it allocates nothing: the rows lie in one vector, which
//! comes back through the channel when it has been read.

use crate::model::{At, Event, Nanos, Sample};

/// Rows wait for company at most this long: whoever looks on live sees them that late.
const EVERY: Nanos = Nanos(100_000_000);
/// So many rows are sent at once, more or less: it bounds what a batch takes.
pub const MAX_ROWS: usize = 4096;

/// What the looks since the last batch saw.
#[derive(Debug, Default)]
pub struct Runs {
    rows: Vec<Sample>,
    /// For each track the place of its last row. A place of an earlier batch leads to no row of this track, for a track
    /// that has a row in this batch has a place in it too.
    last: Vec<u32>,
    looks: u64,
    /// When the last batch was taken.
    since: At,
}

impl Runs {
    /// Adds what a look saw of one track; samples of a track come in the order of time.
    pub fn add(&mut self, sample: Sample) {
        let track = sample.track.index();
        if track >= self.last.len() {
            self.last.resize(track + 1, 0);
        }
        let Some(place) = self.last.get_mut(track) else { return };
        let row = self.rows.get_mut(*place as usize).filter(|row| row.track == sample.track);
        if row.is_some_and(|row| row.fold(&sample)) {
            return;
        }
        *place = self.rows.len() as u32;
        self.rows.push(sample);
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
        let rows = std::mem::replace(&mut self.rows, spare);
        Event::Samples { looks: std::mem::take(&mut self.looks), rows }
    }
}
