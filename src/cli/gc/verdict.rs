//! What the numbers say of a collector, and the advice that they support.

use super::moment::{Moment, Seen};
use super::table::place;
use super::told::frames;
use crate::cli::units::{count, share};
use crate::model::Nanos;
use crate::model::gc::GENERATIONS;
use crate::recording::Recording;
use crate::recording::gc::Done;

/// Less than this share of the time is not worth a change.
const MATTERS: f64 = 0.01;
/// A pause from here on is felt by who waits for an answer.
const FELT: Nanos = Nanos(50_000_000);
/// Who frees less than this share of what it looks at looks in vain.
const VAIN: f64 = 0.01;
/// The same of the youngest generation, most of whose objects ought to go.
const VAIN_YOUNG: f64 = 0.05;
/// So many collections are no accident.
const SEVERAL: u64 = 2;
/// The same of the youngest generation.
const SEVERAL_YOUNG: u64 = 10;

/// What there is to say, the sum of it first.
pub(super) fn of(recording: &Recording, moment: &Moment) -> Vec<String> {
    let mut lines = vec![sum(moment)];
    for seen in &moment.seen {
        let whose = match moment.seen.len() {
            1 => String::new(),
            _ => format!("interpreter {}: ", seen.collector.interpreter),
        };
        lines.extend(advice(seen, moment.span).into_iter().map(|line| format!("{whose}{line}")));
    }
    if let Some(row) = moment.longest().filter(|row| row.pause >= FELT) {
        let place = frames(recording, row).next().map(|frame| format!(" in {}", place(recording, frame)));
        lines.push(format!(
            "one collection stopped the program for {}{}",
            row.pause,
            place.unwrap_or_default()
        ));
    }
    lines
}

fn sum(moment: &Moment) -> String {
    let done = moment.seen.iter().flat_map(|seen| &seen.work.generations);
    let ran = done.map(|done| done.sums.collections).fold(0, u64::saturating_add);
    match (ran, moment.share()) {
        (0, _) => format!("verdict: no collection ran in {}", moment.span),
        (_, spent) if spent < MATTERS => {
            format!("verdict: collecting takes {} of the time; there is little to gain", share(spent))
        }
        (_, spent) => format!("verdict: collecting takes {} of the time", share(spent)),
    }
}

fn advice(seen: &Seen, span: Nanos) -> Vec<String> {
    let mut lines = Vec::new();
    let (collector, works) = (&seen.collector, &seen.work.generations);
    let matters = |done: &Done| {
        let spent = if span == Nanos(0) { 0.0 } else { done.pause.0 as f64 / span.0 as f64 };
        spent >= MATTERS || done.percentile(1.0).is_some_and(|longest| longest >= FELT)
    };
    let ran = works.iter().map(|done| done.sums.collections).fold(0, u64::saturating_add);
    let oldest = GENERATIONS - 1;
    if let (Some(done), Some(freed)) = (works.get(oldest), seen.freed(oldest))
        && done.sums.collections >= SEVERAL
        && freed < VAIN
        && matters(done)
    {
        lines.push(format!(
            "generation {oldest} ran {} times and freed {}: consider gc.freeze() after start-up or a higher threshold",
            count(done.sums.collections),
            share(freed)
        ));
    }
    let threshold = collector.generations.first().and_then(|generation| generation.threshold);
    if let (Some(done), Some(freed), Some(threshold)) = (works.first(), seen.freed(0), threshold)
        && done.sums.collections >= SEVERAL_YOUNG
        && freed < VAIN_YOUNG
        && matters(done)
    {
        lines.push(format!(
            "generation 0 ran {} times and freed about {}: consider gc.set_threshold({})",
            count(done.sums.collections),
            share(freed),
            threshold.saturating_mul(10)
        ));
    }
    let kept = works.iter().map(|done| done.sums.uncollectable).fold(0, u64::saturating_add);
    if kept > 0 {
        lines.push(format!("{} objects could not be freed: gc.garbage holds them", count(kept)));
    }
    match (collector.enabled, ran, threshold) {
        (Some(false), 0, _) => {
            lines.push("the collector is off: cycles stay until gc.collect() is called".to_owned())
        }
        (Some(false), ran, _) => lines.push(format!(
            "the collector is off, and {} collections ran: the program called gc.collect() itself",
            count(ran)
        )),
        (Some(true), _, Some(0)) => lines.push("threshold 0 is 0: nothing is collected by itself".to_owned()),
        _ => {}
    }
    lines
}
