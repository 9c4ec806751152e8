//! What times a recording keeps of its samples.
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

fn round(nanos: u64) -> u64 {
    nanos.saturating_add(RESOLUTION.0 / 2) / RESOLUTION.0 * RESOLUTION.0
}
