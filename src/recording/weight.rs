//! How much a sample counts for: which time each mode means, and where the time on a processor was spent.

use super::options::{Metric, Mode, ViewOptions};
use super::tables::Recording;
use crate::model::{Nanos, Sample, State, TrackId};

/// What the rows of a recording count for in one mode.
///
/// Design constraints: the kernel says how long a thread ran since the last look, and the look says where it stands now. A
/// thread that ran for a moment and then slept is met asleep more often than not, and sleeping is not where it spent that
/// time. So what a thread ran before it was met waiting is kept for the next look that meets it running: the sum over a
/// thread is what the kernel measured, and the shares of its stacks are those in which it was met running.
#[derive(Debug)]
pub(super) struct Weights {
    /// Time on a processor, by track and row; only where the mode asks for it.
    cpu: Option<Vec<Vec<Nanos>>>,
}

impl Weights {
    /// Those of a recording in a mode.
    pub(super) fn new(recording: &Recording, mode: Mode) -> Weights {
        let tracks = || (0..recording.tracks.len() as u32).map(TrackId);
        let cpu = (mode == Mode::Cpu).then(|| tracks().map(|id| cpu(recording.samples_of(id))).collect());
        Weights { cpu }
    }

    /// What a row of a track counts for; `None` where it does not count.
    pub(super) fn of(
        &self,
        track: TrackId,
        row: usize,
        sample: &Sample,
        options: &ViewOptions,
    ) -> Option<u64> {
        let waits = matches!(sample.state, State::Waiting(_));
        let counts = match options.mode {
            Mode::Wall => options.idle || !waits,
            Mode::Exception => sample.flags.in_exception == Some(true) && (options.idle || !waits),
            Mode::Gil => sample.flags.holds_gil == Some(true),
            Mode::Cpu => true,
        };
        if !counts {
            return None;
        }
        let on_cpu = self.cpu.as_ref().map(|tracks| {
            tracks.get(track.index()).and_then(|rows| rows.get(row)).copied().unwrap_or_default()
        });
        match (on_cpu, options.metric) {
            (Some(Nanos(0)), _) => None,
            (_, Metric::Samples) => Some(u64::from(sample.count)),
            (Some(cpu), _) => Some(cpu.0),
            (None, Metric::Time) => Some(sample.weight.0),
            // Memory is put down by other means.
            (None, Metric::Bytes | Metric::Objects) => None,
        }
    }
}

/// The time on a processor that falls to each row of a track.
fn cpu(rows: &[Sample]) -> Vec<Nanos> {
    let mut weights = vec![Nanos(0); rows.len()];
    let (mut kept, mut last) = (Nanos(0), None);
    for (weight, row) in weights.iter_mut().zip(rows) {
        kept += ran(row);
        if runs(row) {
            *weight = std::mem::take(&mut kept);
            last = Some(weight);
        }
    }
    match last {
        Some(last) => *last += kept,
        // Never met running: all that is known is near which stack it was.
        None => weights.iter_mut().zip(rows).for_each(|(weight, row)| *weight = ran(row)),
    }
    weights
}

/// How long a thread ran in the time of a row; where that was not measured, all the time if it was met running.
fn ran(row: &Sample) -> Nanos {
    let met_running = matches!(row.state, State::Python | State::Native);
    row.cpu.unwrap_or(if met_running { row.weight } else { Nanos(0) })
}

/// Whether the time that a thread ran may be said to be spent in the stack of this row.
fn runs(row: &Sample) -> bool {
    match row.state {
        State::Python | State::Native => true,
        State::Unknown => row.cpu.is_some_and(|cpu| cpu > Nanos(0)),
        State::WantsGil | State::Waiting(_) => false,
    }
}
