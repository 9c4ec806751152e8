//! What threads did with their time, summed up: how much of it on a processor, holding the GIL, wanting it, waiting.

use super::options::{By, Mode, ViewOptions};
use super::tables::Recording;
use super::tree::Tree;
use super::view::View;
use crate::model::{At, Nanos, Sample, State, TrackId};

/// Who wants the GIL for less than this share of its time does not count as one who wants it.
const WANTS: f64 = 0.05;

/// What one thread did with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// Whose it is.
    pub track: TrackId,
    /// The time that its samples stand for.
    pub time: Nanos,
    /// Of that, on a processor, as the kernel measured it; `None` where it did not.
    pub cpu: Option<Nanos>,
    /// Holding the GIL, or attached on a free-threaded build.
    pub held: Nanos,
    /// Wanting the GIL.
    pub wanted: Nanos,
    /// Waiting for anything else.
    pub waited: Nanos,
    /// The longest time in one piece in which it was seen to want the GIL.
    pub longest: Nanos,
}

/// How the threads of a recording got on with each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Contention {
    /// How many threads want the GIL for a good part of their time.
    pub threads: usize,
    /// The share of their time for which they want it.
    pub share: f64,
    /// The longest that one of them was seen to want it in one piece.
    pub longest: Nanos,
    /// The function that holds the GIL most, and its file.
    pub holder: Option<(String, Option<String>)>,
}

impl Spent {
    /// What a thread did, over the whole recording.
    pub fn of(recording: &Recording, track: TrackId) -> Spent {
        Spent::by(recording.samples_of(track), track)
    }

    /// What a thread did in a span of time. A row that lies in it in part counts in proportion.
    pub fn within(recording: &Recording, track: TrackId, from: At, to: At) -> Spent {
        let rows = recording.samples_of(track);
        let first = rows.partition_point(|row| row.until <= from);
        let rows = rows.iter().skip(first).take_while(|row| row.from < to);
        let clipped: Vec<Sample> = rows.map(|row| clip(row, from, to)).collect();
        Spent::by(&clipped, track)
    }

    fn by(rows: &[Sample], track: TrackId) -> Spent {
        let sum = |counts: &dyn Fn(&Sample) -> bool| {
            rows.iter().filter(|row| counts(row)).map(|row| row.weight).sum::<Nanos>()
        };
        let (mut longest, mut run) = (Nanos(0), Nanos(0));
        for row in rows {
            run = if row.state == State::WantsGil { run + row.weight } else { Nanos(0) };
            longest = longest.max(run);
        }
        Spent {
            track,
            time: sum(&|_| true),
            // A thread's first look has nothing to compare with.
            cpu: rows
                .iter()
                .any(|row| row.cpu.is_some())
                .then(|| rows.iter().filter_map(|row| row.cpu).sum()),
            held: sum(&|row| row.flags.holds_gil == Some(true)),
            wanted: sum(&|row| row.state == State::WantsGil),
            waited: sum(&|row| matches!(row.state, State::Waiting(_))),
            longest,
        }
    }

    /// The part of its time, between 0 and 1.
    pub fn share(&self, part: Nanos) -> f64 {
        if self.time == Nanos(0) { 0.0 } else { part.0 as f64 / self.time.0 as f64 }
    }
}

impl Contention {
    /// How the threads of a recording got on; `None` where nobody wanted the GIL for long.
    pub fn of(recording: &Recording) -> Option<Contention> {
        let tracks = (0..recording.tracks.len() as u32).map(TrackId);
        let all = tracks.map(|track| Spent::of(recording, track));
        let wanting: Vec<Spent> = all.filter(|spent| spent.share(spent.wanted) >= WANTS).collect();
        let sum = |part: fn(&Spent) -> Nanos| wanting.iter().map(part).sum::<Nanos>().0 as f64;
        let longest = wanting.iter().map(|spent| spent.longest).max()?;
        Some(Contention {
            threads: wanting.len(),
            share: sum(|spent| spent.wanted) / sum(|spent| spent.time),
            longest,
            holder: holder(recording),
        })
    }
}

/// The part of a row that lies in a span of time which it touches.
fn clip(row: &Sample, from: At, to: At) -> Sample {
    let part = row.until.min(to).since(row.from.max(from)).0;
    let whole = row.until.since(row.from).0.max(1);
    let scale = |time: Nanos| Nanos((u128::from(time.0) * u128::from(part) / u128::from(whole)) as u64);
    Sample { weight: scale(row.weight), cpu: row.cpu.map(scale), ..*row }
}

fn holder(recording: &Recording) -> Option<(String, Option<String>)> {
    let options = ViewOptions { mode: Mode::Gil, by: By::Function, no_gc: true, ..ViewOptions::default() };
    let view = View::new(recording, &options).ok()?;
    let tree = Tree::of(&view);
    let row = view.row(tree.top(&view).first().filter(|total| total.own > 0)?.row)?;
    Some((row.name.clone(), row.file.clone()))
}
