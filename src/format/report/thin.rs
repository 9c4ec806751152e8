//! Fewer rows of samples, where there are more than a page can show: those of one stack that lie near each other become one.

use rustc_hash::FxHashMap;

use crate::model::{Nanos, State};
use crate::recording::view::NodeId;

/// The finest that rows are summed up, if they have to be.
const FINEST: u64 = 1_000_000;
/// The coarsest; no recording is longer than that a thousand times.
const COARSEST: u64 = 1 << 50;

/// What a thread was doing, and what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Doing(State);

/// A sample as the page gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) from: u64,
    pub(super) until: u64,
    /// Its time, in nanoseconds.
    pub(super) weight: u64,
    /// Its time on a processor.
    pub(super) cpu: u64,
    /// Looks.
    pub(super) count: u64,
    pub(super) node: NodeId,
    pub(super) state: Doing,
    /// Whether it held the GIL, collected garbage, handled an exception.
    pub(super) flags: [Option<bool>; 3],
}

/// The rows of each track, and how they were summed up.
#[derive(Debug)]
pub(super) struct Thinned {
    pub(super) tracks: Vec<Vec<Row>>,
    /// Within so much time, when something was is no longer known; `None` where all of it is.
    pub(super) bin: Option<Nanos>,
}

impl From<State> for Doing {
    fn from(state: State) -> Doing {
        Doing(state)
    }
}

impl Doing {
    /// What it is in the page.
    pub(super) fn number(self) -> u32 {
        match self.0 {
            State::Unknown => 0,
            State::Python => 1,
            State::Native => 2,
            State::WantsGil => 3,
            State::Waiting(_) => 4,
        }
    }

    /// What it waits for in the page; 0 is nothing.
    pub(super) fn wait(self) -> u64 {
        match self.0 {
            State::Waiting(wait) => u64::from(wait.0) + 1,
            _ => 0,
        }
    }
}

/// As many rows as there may be: all of them, or sums over spans of time that are as short as they can be.
pub(super) fn rows(tracks: Vec<Vec<Row>>, most: usize) -> Thinned {
    let count = |tracks: &[Vec<Row>]| tracks.iter().map(Vec::len).sum::<usize>();
    let (mut tracks, mut bin) = (tracks, None);
    let mut next = FINEST;
    while count(&tracks) > most && next <= COARSEST {
        tracks = tracks.iter().map(|rows| summed(rows, next)).collect();
        bin = Some(Nanos(next));
        next *= 2;
    }
    Thinned { tracks, bin }
}

/// Rows of a track, summed up over spans of time: within a span they follow each other in the order in which they came first.
/// No weight is lost.
fn summed(rows: &[Row], bin: u64) -> Vec<Row> {
    let mut out: Vec<Row> = Vec::new();
    let mut known = FxHashMap::default();
    let (mut begin, mut span) = (0, None);
    for row in rows {
        if span != Some(row.from / bin) {
            lay_out(out.get_mut(begin..).unwrap_or_default());
            known.clear();
            (begin, span) = (out.len(), Some(row.from / bin));
        }
        let place = *known.entry((row.node, row.state, row.flags)).or_insert(out.len());
        match out.get_mut(place) {
            Some(sum) => {
                sum.until = sum.until.saturating_add(row.until.saturating_sub(row.from));
                sum.weight = sum.weight.saturating_add(row.weight);
                sum.cpu = sum.cpu.saturating_add(row.cpu);
                sum.count = sum.count.saturating_add(row.count);
            }
            None => out.push(*row),
        }
    }
    lay_out(out.get_mut(begin..).unwrap_or_default());
    out
}

/// Moves rows so that each begins where the one before it ends.
fn lay_out(rows: &mut [Row]) {
    let mut at = rows.iter().map(|row| row.from).min().unwrap_or_default();
    for row in rows {
        let length = row.until.saturating_sub(row.from);
        row.from = at;
        row.until = at.saturating_add(length);
        at = row.until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(from: u64, until: u64, node: u32) -> Row {
        Row {
            from,
            until,
            weight: until - from,
            cpu: (until - from) / 2,
            count: 1,
            node: NodeId(node),
            state: State::Python.into(),
            flags: [Some(true), None, None],
        }
    }

    #[test]
    fn few_rows_stay_as_they_are() {
        let rows = vec![vec![row(0, 5, 1), row(5, 9, 2)]];
        let thinned = super::rows(rows.clone(), 2);
        assert_eq!((thinned.tracks, thinned.bin), (rows, None));
    }

    #[test]
    fn many_rows_become_few_and_no_weight_is_lost() {
        let rows: Vec<Row> = (0..10_000_u64).map(|n| row(n * 1_000, (n + 1) * 1_000, n as u32 % 3)).collect();
        let sums = |rows: &[Row]| {
            let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
            (sum(|row| row.weight), sum(|row| row.cpu), sum(|row| row.count))
        };
        let before = sums(&rows);
        let thinned = super::rows(vec![rows], 20);
        let rows = &thinned.tracks[0];
        assert!(
            rows.len() <= 20 && thinned.bin == Some(Nanos(2 * FINEST)),
            "{} in {:?}",
            rows.len(),
            thinned.bin
        );
        assert_eq!(sums(rows), before);
        assert!(rows.windows(2).all(|two| two[0].until <= two[1].from), "rows do not overlap");
    }
}
