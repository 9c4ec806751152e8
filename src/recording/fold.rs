//! How equal neighbours of a track become one row, and what times a recording keeps.
//!
//! Design constraints: samples pass here on their way into the tables and on their way into a file, and those that
//! come out of a file pass here again. So settling must change nothing that is settled already, and folding a whole
//! track must give the same rows as folding it block by block and then folding the blocks.

use crate::model::{At, Nanos, Sample};

/// The times of samples are kept to whole microseconds: a sampler's own jitter is wider, and the digits below are
/// noise that no compressor can shrink.
pub const RESOLUTION: Nanos = Nanos(1_000);

/// Rounds a sample's times, and keeps it from beginning before the last one of its track ended.
#[must_use]
pub fn settle(sample: Sample, ended: At) -> Sample {
    let from = At(round(sample.from.0)).max(ended);
    let until = At(round(sample.until.0)).max(from);
    // A look's weight is the time since the look before. Rounding both ends keeps the sum of weights exact, where
    // rounding each weight would let it drift.
    let whole = sample.weight == sample.until.since(sample.from);
    let weight = if whole { until.since(from) } else { Nanos(round(sample.weight.0)) };
    Sample { from, until, weight, cpu: sample.cpu.map(|cpu| Nanos(round(cpu.0))), ..sample }
}

/// Adds `next` to `last` if it follows without a gap and says the same; both are settled and of one track.
pub fn fold(last: &mut Sample, next: &Sample) -> bool {
    let same = last.until == next.from
        && last.stack == next.stack
        && last.state == next.state
        && last.flags == next.flags
        && last.quality == next.quality
        && last.cpu.is_some() == next.cpu.is_some();
    let Some(count) = last.count.checked_add(next.count).filter(|_| same) else {
        return false;
    };
    last.until = next.until;
    last.count = count;
    last.weight += next.weight;
    last.cpu = last.cpu.zip(next.cpu).map(|(a, b)| a + b);
    true
}

fn round(nanos: u64) -> u64 {
    nanos.saturating_add(RESOLUTION.0 / 2) / RESOLUTION.0 * RESOLUTION.0
}
