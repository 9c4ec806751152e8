//! Samples as they lie in a block: the row that is written most often, and so the one that is coded closest.
//!
//! Design constraints: each block is coded by itself, so that a reader may pass over any. A number that the rows before
//! or the other columns foretell becomes a small one, of one byte, and zstd makes a few bits of that.

use super::rows::{Codes, code, decode, id};
use super::table::{self, difference, from_difference, from_long_option, from_option, option};
use super::varint;
use crate::model::{At, Flags, Nanos, Quality, Sample, StackId, State, Torn, TrackId, WaitId};

/// The layout that is written.
pub(super) const VERSION: u8 = 2;
/// The first one: the stack's own id and the CPU time itself.
const PLAIN: u8 = 1;

/// Nanoseconds in the unit in which the times of samples lie in the file.
const MICRO: u64 = 1_000;

/// How many of the latest stacks are named by their place. With as many, a place takes one byte, and so does a stack
/// whose id follows on the last new one's.
const KEPT: u64 = 96;

const QUALITIES: Codes<Quality> = &[
    Quality::Whole,
    Quality::Retried,
    Quality::Probable,
    Quality::BaseMissing(Torn::Unreadable),
    Quality::BaseMissing(Torn::Garbage),
    Quality::BaseMissing(Torn::Cycle),
    Quality::BaseMissing(Torn::TooDeep),
    Quality::BaseMissing(Torn::Changed),
    Quality::TopMissing(Torn::Unreadable),
    Quality::TopMissing(Torn::Garbage),
    Quality::TopMissing(Torn::Cycle),
    Quality::TopMissing(Torn::TooDeep),
    Quality::TopMissing(Torn::Changed),
    Quality::Stopped,
];

/// States that wait for nothing; [`WAITING`] stands behind them.
const STATES: Codes<State> = &[State::Unknown, State::Python, State::Native, State::WantsGil];
const WAITING: u64 = 4;

/// CPU times that are not told by their difference to the weight.
const CPU_UNKNOWN: u64 = 0;
const CPU_NONE: u64 = 1;
const CPU_OTHER: u64 = 2;

/// Appends samples, whose tracks stand together.
pub(super) fn put(out: &mut Vec<u8>, looks: u64, samples: &[Sample]) {
    varint::put(out, looks);
    let (mut before, mut latest) = (None, Latest::default());
    let cells = samples.iter().map(|sample| {
        let stack = latest.code(option(sample.stack.map(|id| id.0)));
        cells(sample, before.replace(sample), stack)
    });
    table::put_cells(out, samples.len(), cells);
}

/// Takes samples off the front, and the number of looks that they come from.
pub(super) fn take(input: &mut &[u8], version: u8) -> Option<(u64, Vec<Sample>)> {
    let looks = varint::take(input)?;
    let cells = table::take_cells(input)?;
    let mut latest = (version != PLAIN).then(Latest::default);
    let mut samples: Vec<Sample> = Vec::with_capacity(cells.len());
    for cells in cells {
        samples.push(from_cells(cells, samples.last(), latest.as_mut())?);
    }
    Some((looks, samples))
}

fn cells(sample: &Sample, before: Option<&Sample>, stack: u64) -> [u64; 11] {
    let (from, until) = (sample.from.0 / MICRO, sample.until.0 / MICRO);
    let (span, weight) = (until.wrapping_sub(from), sample.weight.0 / MICRO);
    let (state, wait) = match sample.state {
        State::Waiting(wait) => (WAITING, option(Some(wait.0))),
        state => (code(STATES, state), 0),
    };
    [
        difference(u64::from(sample.track.0), before.map_or(0, |row| u64::from(row.track.0))),
        difference(from, before.map_or(0, |row| row.until.0 / MICRO)),
        span,
        u64::from(sample.count),
        stack,
        difference(weight, span),
        match sample.cpu.map(|cpu| cpu.0 / MICRO) {
            None => CPU_UNKNOWN,
            Some(0) => CPU_NONE,
            Some(cpu) => CPU_OTHER + difference(weight, cpu),
        },
        state,
        wait,
        flags(sample.flags),
        code(QUALITIES, sample.quality),
    ]
}

/// The sample with these cells; `None` where there can be none. Without the latest stacks, the layout is the plain one.
fn from_cells(cells: [u64; 11], before: Option<&Sample>, latest: Option<&mut Latest>) -> Option<Sample> {
    let [track, from, span, count, stack, weight, cpu, state, wait, flags, quality] = cells;
    let track = from_difference(track, before.map_or(0, |row| u64::from(row.track.0)));
    let from = from_difference(from, before.map_or(0, |row| row.until.0 / MICRO));
    let weight = from_difference(weight, span);
    let (stack, cpu) = match latest {
        None => (stack, from_long_option(cpu)),
        Some(latest) => {
            let cpu = match cpu {
                CPU_UNKNOWN => None,
                CPU_NONE => Some(0),
                other => Some(weight.wrapping_sub(varint::unzigzag(other - CPU_OTHER) as u64)),
            };
            (latest.stack(stack)?, cpu)
        }
    };
    let cpu = match cpu {
        Some(cpu) => Some(Nanos(cpu.checked_mul(MICRO)?)),
        None => None,
    };
    let wait = from_option(wait)?.map(WaitId);
    Some(Sample {
        from: At(from.checked_mul(MICRO)?),
        until: At(from.checked_add(span)?.checked_mul(MICRO)?),
        count: id(count)?,
        track: TrackId(id(track)?),
        stack: from_option(stack)?.map(StackId),
        weight: Nanos(weight.checked_mul(MICRO)?),
        cpu,
        state: match (state, wait) {
            (WAITING, Some(wait)) => State::Waiting(wait),
            (state, _) => decode(STATES, state).unwrap_or(State::Unknown),
        },
        flags: from_flags(flags),
        quality: decode(QUALITIES, quality)?,
    })
}

/// The latest stacks of a block, the last one first: a stack that comes again is named by its place among them.
#[derive(Debug, Default)]
struct Latest {
    stacks: Vec<u64>,
    /// The last stack that had no place.
    new: u64,
}

impl Latest {
    /// The number for a stack, which then is the last one.
    fn code(&mut self, stack: u64) -> u64 {
        if let Some(place) = self.stacks.iter().position(|known| *known == stack) {
            self.recall(place);
            return place as u64;
        }
        let code = KEPT + difference(stack, self.new);
        self.admit(stack);
        code
    }

    /// The stack for a number, which then is the last one; `None` where nothing has that place.
    fn stack(&mut self, code: u64) -> Option<u64> {
        match code.checked_sub(KEPT) {
            None => self.recall(code as usize),
            Some(difference) => {
                self.admit(from_difference(difference, self.new));
                Some(self.new)
            }
        }
    }

    /// Moves the stack at a place to the front.
    fn recall(&mut self, place: usize) -> Option<u64> {
        let upto = self.stacks.get_mut(..=place)?;
        upto.rotate_right(1);
        upto.first().copied()
    }

    fn admit(&mut self, stack: u64) {
        self.new = stack;
        self.stacks.truncate(KEPT as usize - 1);
        self.stacks.insert(0, stack);
    }
}

/// Two bits a flag: 0 unknown, 1 no, 2 yes.
fn flags(flags: Flags) -> u64 {
    let bits = |flag: Option<bool>| flag.map_or(0, |set| 1 + u64::from(set));
    bits(flags.holds_gil) | bits(flags.in_gc) << 2 | bits(flags.in_exception) << 4
}

fn from_flags(cell: u64) -> Flags {
    let flag = |place: u32| match cell >> place & 3 {
        1 => Some(false),
        2 => Some(true),
        _ => None,
    };
    Flags { holds_gil: flag(0), in_gc: flag(2), in_exception: flag(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_that_come_again_are_named_by_their_place() {
        let mut latest = Latest::default();
        let codes = [0, 501, 502, 501, 501, 0, 502].map(|stack| latest.code(stack));
        assert_eq!(codes, [KEPT, KEPT + 1002, KEPT + 2, 1, 0, 2, 2]);
    }

    #[test]
    fn any_stacks_come_back_as_they_went() {
        let (mut write, mut read, mut number) = (Latest::default(), Latest::default(), 1u64);
        for n in 0..50_000u64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Now few of them and now many, so that places are taken, lost and taken again.
            let stack = (number >> 33) % (2 + n % 3 * 100);
            let code = write.code(stack);
            assert_eq!(read.stack(code), Some(stack));
            assert!(write.stacks.len() <= KEPT as usize && write.stacks == read.stacks);
        }
    }

    #[test]
    fn a_place_that_nothing_has_is_refused() {
        let mut latest = Latest::default();
        assert_eq!(latest.stack(0), None);
        latest.code(7);
        assert_eq!(latest.stack(0), Some(7));
        assert_eq!(latest.stack(1), None);
    }
}
