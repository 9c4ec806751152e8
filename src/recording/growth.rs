//! What becomes of a type from census to census: how many objects there were each time, and what that looks like.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::Recording;
use crate::model::heap::Census;
use crate::model::{At, ProcessId};

/// Fewer censuses than this show nothing.
const FEWEST: usize = 4;
/// A change of fewer objects than this is nobody's leak.
const FEW: f64 = 32.0;
/// A change of less than this part of the largest number is none.
const FLAT: f64 = 0.02;
/// What grows goes up for at least this part of all that it moves.
const STEADY: f64 = 0.9;
/// What saturates grows in its last third at less than this part of its rate before.
const LATE: f64 = 0.25;
/// What falls by this part of its range within one step, falls.
const FALL: f64 = 0.3;

/// What a series of counts looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trend {
    /// It grows at the same rate all the time, or at a growing one.
    Linear,
    /// It grew, and hardly does any more.
    Saturating,
    /// It grows, falls, and grows again.
    Sawtooth,
    /// It stays, or goes up and down without an order, or shrinks.
    None,
}

/// A census by name: objects and bytes of each type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// When.
    pub at: At,
    /// Objects and bytes by the name of their type.
    pub types: BTreeMap<String, (u64, u64)>,
}

/// A type from the first to the last of some censuses.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// Its name.
    pub name: String,
    /// Objects at the last census.
    pub count: u64,
    /// Bytes at the last census.
    pub bytes: u64,
    /// Objects more than at the first census, or fewer.
    pub more: i64,
    /// Bytes more than at the first census, or fewer.
    pub more_bytes: i64,
    /// Objects more each second, on average.
    pub per_second: f64,
    /// What it looks like; `None` where there are too few censuses to say it.
    pub trend: Option<Trend>,
}

impl Trend {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Trend::Linear => "linear",
            Trend::Saturating => "saturating",
            Trend::Sawtooth => "sawtooth",
            Trend::None => "none",
        }
    }

    /// Of a series, in the order of time.
    pub fn of(series: &[(At, u64)]) -> Option<Trend> {
        if series.len() < FEWEST {
            return None;
        }
        let counts: Vec<f64> = series.iter().map(|(_, count)| *count as f64).collect();
        let most = counts.iter().copied().fold(0.0, f64::max);
        let range = most - counts.iter().copied().fold(f64::INFINITY, f64::min);
        if range < FEW.max(FLAT * most) {
            return Some(Trend::None);
        }
        let steps: Vec<f64> = counts.windows(2).map(|two| two[1] - two[0]).collect();
        let up: f64 = steps.iter().filter(|step| **step > 0.0).sum();
        let all: f64 = steps.iter().map(|step| step.abs()).sum();
        if up >= STEADY * all {
            return Some(if saturates(series) { Trend::Saturating } else { Trend::Linear });
        }
        Some(if is_sawtooth(&steps, range) { Trend::Sawtooth } else { Trend::None })
    }
}

/// Whether a series that grows has come to its end.
fn saturates(series: &[(At, u64)]) -> bool {
    let from = series.len() - series.len() / 3 - 1;
    let (first, late, last) = (series[0], series[from], series[series.len() - 1]);
    rate(late, last) < LATE * rate(first, late)
}

/// Whether it rises for more than a step between falls, each of which is a good part of its range; one fall shows nothing.
fn is_sawtooth(steps: &[f64], range: f64) -> bool {
    let falls = steps.iter().filter(|step| -**step >= FALL * range).count();
    let rises = steps.iter().filter(|step| **step > 0.0).count();
    let turns = steps.windows(2).filter(|two| (two[0] > 0.0) != (two[1] > 0.0)).count();
    falls >= 2 && rises >= 2 * falls && turns <= 2 * falls + 1
}

fn rate(from: (At, u64), to: (At, u64)) -> f64 {
    let seconds = to.0.since(from.0).as_secs_f64();
    if seconds > 0.0 { (to.1 as f64 - from.1 as f64) / seconds } else { 0.0 }
}

impl Counted {
    /// The censuses of a process up to a moment, in the order of time.
    pub fn all(recording: &Recording, process: ProcessId, to: At) -> Vec<Counted> {
        let censuses =
            recording.censuses.iter().filter(|census| census.process == process && census.at <= to);
        let named = |census: &Census| {
            let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            for of in &census.types {
                let (count, bytes) = types.entry(recording.string(of.name).to_owned()).or_default();
                (*count, *bytes) = (count.saturating_add(of.count), bytes.saturating_add(of.bytes));
            }
            Counted { at: census.at, types }
        };
        let mut all: Vec<Counted> = censuses.map(named).collect();
        all.sort_by_key(|census| census.at);
        all
    }
}

impl Growth {
    /// What became of every type from census to census, those with most bytes more first.
    pub fn of(censuses: &[Counted]) -> Vec<Growth> {
        let (Some(first), Some(last)) = (censuses.first(), censuses.last()) else { return Vec::new() };
        let names: BTreeSet<&String> = censuses.iter().flat_map(|census| census.types.keys()).collect();
        let growth = |name: &String| {
            let there = |census: &Counted| census.types.get(name).copied().unwrap_or_default();
            let counts: Vec<(At, u64)> = censuses.iter().map(|census| (census.at, there(census).0)).collect();
            let ((count, bytes), (count_before, bytes_before)) = (there(last), there(first));
            Growth {
                name: name.clone(),
                count,
                bytes,
                more: count.wrapping_sub(count_before).cast_signed(),
                more_bytes: bytes.wrapping_sub(bytes_before).cast_signed(),
                per_second: rate((first.at, count_before), (last.at, count)),
                trend: Trend::of(&counts),
            }
        };
        let mut all: Vec<Growth> = names.into_iter().map(growth).collect();
        all.sort_by(|a, b| b.more_bytes.cmp(&a.more_bytes).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(counts: &[u64], expected: Option<Trend>) {
        let series: Vec<(At, u64)> =
            (0..).zip(counts).map(|(second, count)| (At(second * 1_000_000_000), *count)).collect();
        assert_eq!(Trend::of(&series), expected, "{counts:?}");
    }

    #[test]
    fn what_grows_on_is_told_from_what_has_come_to_its_end() {
        check(&[0, 1000, 2000, 3000], Some(Trend::Linear));
        check(&[50_000, 51_003, 51_990, 53_021, 53_950, 55_000], Some(Trend::Linear));
        check(&[0, 10, 100, 1000, 10_000], Some(Trend::Linear));
        check(&[0, 1000, 2000, 3000, 3000, 3000], Some(Trend::Saturating));
        check(&[0, 1000, 1700, 2100, 2300, 2400, 2450, 2460, 2465], Some(Trend::Saturating));
        // Noise on top of it changes nothing.
        check(&[0, 990, 2010, 1990, 3020, 4000, 5000], Some(Trend::Linear));
    }

    #[test]
    fn what_comes_back_is_no_growth() {
        let tooth = [0, 300, 600, 900];
        check(&[tooth, tooth, tooth].concat(), Some(Trend::Sawtooth));
        check(&[100, 900, 30, 950, 20, 870, 110, 40, 940], Some(Trend::None));
        check(&[5000, 5010, 4990, 5003, 5020], Some(Trend::None));
        check(&[3, 0, 7, 31, 2], Some(Trend::None));
        check(&[9000, 7000, 5000, 2000], Some(Trend::None));
        check(&[0, 900, 1800, 0, 0, 0], Some(Trend::None));
    }

    #[test]
    fn a_type_that_comes_and_goes_was_and_is_none() {
        let census = |second: u64, types: &[(&str, u64, u64)]| Counted {
            at: At(second * 1_000_000_000),
            types: types.iter().map(|(name, count, bytes)| ((*name).to_owned(), (*count, *bytes))).collect(),
        };
        let all = Growth::of(&[census(1, &[("dict", 5, 500)]), census(3, &[("app.Leak", 8, 384)])]);
        let seen: Vec<_> = all.iter().map(|of| (&*of.name, of.count, of.more, of.more_bytes)).collect();
        assert_eq!(seen, [("app.Leak", 8, 8, 384), ("dict", 0, -5, -500)]);
        assert!((all[0].per_second - 4.0).abs() < 1e-9 && all[0].trend.is_none());
    }

    #[test]
    fn few_censuses_show_nothing() {
        check(&[], None);
        check(&[0, 1000, 2000], None);
    }
}
