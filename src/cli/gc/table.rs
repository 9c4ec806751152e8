//! Collectors as a person reads them: a table of generations, and a summary that ends in a verdict.

use std::io::{self, Write};

use super::moment::{Moment, Seen};
use super::told::frames;
use super::verdict;
use crate::cli::plain;
use crate::cli::units::{count, share};
use crate::model::gc::Exactness;
use crate::model::{At, Frame, Nanos};
use crate::recording::gc::{Done, Trigger};
use crate::recording::{Account, Recording};

/// How many frames are shown of the stack that set the longest collection off.
const FRAMES: usize = 5;
/// How many functions are shown that set collections off.
const TRIGGERS: usize = 5;
/// How many cells a bar has.
const CELLS: u64 = 10;

/// What bars are drawn with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bars {
    full: char,
    empty: char,
}

impl Bars {
    /// With or without characters beyond ASCII.
    pub(super) fn of(ascii: bool) -> Bars {
        if ascii { Bars { full: '#', empty: '.' } } else { Bars { full: '█', empty: '·' } }
    }

    /// How much of a threshold is reached.
    fn draw(self, count: i64, threshold: i64) -> String {
        let (count, threshold) = (u64::try_from(count).unwrap_or(0), u64::try_from(threshold).unwrap_or(0));
        let full = count.saturating_mul(CELLS).checked_div(threshold).unwrap_or(0);
        (0..CELLS).map(|cell| if cell < full { self.full } else { self.empty }).collect()
    }
}

/// Prints what an interval was like.
pub(super) fn print(moment: &Moment, bars: Bars, out: &mut impl Write) -> io::Result<()> {
    let seconds = Nanos(moment.at.0).as_secs_f64();
    writeln!(out, "{seconds:.1} s: collecting {} of the time", share(moment.share()))?;
    for seen in &moment.seen {
        whose(moment, seen, out)?;
        writeln!(
            out,
            "gen        count / threshold              collections        /s     freed/s   longest"
        )?;
        let generations = seen.collector.generations.iter().zip(&seen.work.generations);
        for (number, (generation, done)) in generations.enumerate() {
            let (now, limit) = (generation.count.unwrap_or(0), generation.threshold.unwrap_or(0));
            let second = moment.span.as_secs_f64().max(f64::MIN_POSITIVE);
            let rates = [done.sums.collections, done.sums.collected].map(|sum| sum as f64 / second);
            writeln!(
                out,
                "{number:>3} {now:>12} / {limit:<9}  {} {:>12} {:>9.1} {:>11.1} {:>9}",
                bars.draw(now, limit),
                generation.totals.map_or_else(|| "-".to_owned(), |totals| count(totals.collections)),
                rates[0],
                rates[1],
                pause(done, 1.0),
            )?;
        }
        writeln!(out, "{}", facts(seen))?;
    }
    Ok(())
}

/// Prints the summary.
pub(super) fn sum_up(recording: &Recording, moment: &Moment, out: &mut impl Write) -> io::Result<()> {
    let process = recording.processes.first();
    let python = process.map_or("", |process| recording.string(process.python));
    let command = process.map_or("", |process| recording.string(process.command));
    let throughput = 1.0 - moment.share();
    let pid = moment.seen.first().map_or(0, |seen| seen.pid);
    writeln!(
        out,
        "{} of process {pid} ({}, Python {}): {} of the time not collecting",
        moment.span,
        plain::line(command),
        plain::line(python),
        share(throughput)
    )?;
    for seen in &moment.seen {
        whose(moment, seen, out)?;
        writeln!(
            out,
            "gen  collections        freed  of what it looked at      p50      p95      max   in all"
        )?;
        for (number, done) in seen.work.generations.iter().enumerate() {
            let freed = seen.freed(number).map_or_else(|| "-".to_owned(), share);
            let [p50, p95, max] = [0.5, 0.95, 1.0].map(|share| pause(done, share));
            let more = if done.at_least { "+" } else { "" };
            writeln!(
                out,
                "{number:>3} {:>12} {:>12} {freed:>22} {p50:>8} {p95:>8} {max:>8} {:>8}",
                count(done.sums.collections) + more,
                count(done.sums.collected),
                if done.pause == Nanos(0) { "-".to_owned() } else { done.pause.to_string() },
            )?;
        }
        if let Some(rate) = seen.allocated(moment.span).filter(|rate| *rate > 0.0) {
            let rate = count(rate.round() as u64);
            writeln!(out, "at least {rate} containers a second more are made than go away by themselves")?;
        }
        writeln!(out, "{}", facts(seen))?;
    }
    let timed = moment.seen.iter().flat_map(|seen| &seen.work.generations);
    let unmet = timed.clone().any(|done| done.sums.collections > 0 && !done.exact);
    if let (true, Some(rate)) = (unmet, Account::of(recording).rate_achieved.filter(|rate| *rate > 0.0)) {
        let period = Nanos((1e9 / rate) as u64);
        writeln!(
            out,
            "this Python does not time its collections: - is shorter than a look can tell ({period})"
        )?;
    }
    longest(recording, moment, out)?;
    triggers(recording, moment, out)?;
    writeln!(out)?;
    for line in verdict::of(recording, moment) {
        writeln!(out, "{}", plain::line(&line))?;
    }
    Ok(())
}

/// The interpreter, where there are several.
fn whose(moment: &Moment, seen: &Seen, out: &mut impl Write) -> io::Result<()> {
    if moment.seen.len() > 1 {
        writeln!(out, "\ninterpreter {} of process {}", seen.collector.interpreter, seen.pid)?;
    }
    Ok(())
}

/// A pause; nothing where no look met one.
fn pause(done: &Done, share: f64) -> String {
    done.percentile(share)
        .filter(|pause| *pause > Nanos(0))
        .map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// What else is known of a collector, in one line.
fn facts(seen: &Seen) -> String {
    let collector = &seen.collector;
    let mut facts: Vec<String> = [
        (collector.tracked, "tracked objects"),
        (collector.long_lived, "survived the last full collection"),
        (collector.pending, "wait for the next"),
        (seen.permanent, "permanent"),
    ]
    .into_iter()
    .filter_map(|(number, what)| Some(format!("{} {what}", count(number?))))
    .collect();
    facts.extend((collector.enabled == Some(false)).then(|| "the collector is off".to_owned()));
    facts.extend((seen.collecting == Some(true)).then(|| "collecting right now".to_owned()));
    facts.join(", ")
}

fn longest(recording: &Recording, moment: &Moment, out: &mut impl Write) -> io::Result<()> {
    let Some(row) = moment.longest() else { return Ok(()) };
    let about = if row.exactness == Exactness::Exact { "" } else { "about " };
    let start = Nanos(row.start.0).as_secs_f64();
    write!(out, "\nthe longest took {about}{} in generation {} at {start:.2} s", row.pause, row.generation)?;
    let mut stack = frames(recording, row).peekable();
    if stack.peek().is_none() {
        return writeln!(out, "; no look met it");
    }
    writeln!(out, ", set off by")?;
    for frame in stack.by_ref().take(FRAMES) {
        writeln!(out, "    {}", place(recording, frame))?;
    }
    match stack.count() {
        0 => Ok(()),
        more => writeln!(out, "    and {more} frames below"),
    }
}

fn triggers(recording: &Recording, moment: &Moment, out: &mut impl Write) -> io::Result<()> {
    let triggers = Trigger::of(recording, At(0), moment.at);
    if triggers.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n   in all      met  where collections began")?;
    for trigger in triggers.iter().take(TRIGGERS) {
        let place = recording.frame(trigger.frame).map_or_else(String::new, |frame| place(recording, frame));
        writeln!(out, "{:>9} {:>8}  {place}", trigger.pause.to_string(), count(trigger.collections))?;
    }
    Ok(())
}

/// `name (file:line)`.
pub(super) fn place(recording: &Recording, frame: &Frame) -> String {
    let name = recording.string(frame.qualname.unwrap_or(frame.name));
    let path = recording.file(frame.file).map_or("", |file| recording.string(file.path));
    let file = path.rsplit('/').next().unwrap_or(path);
    let line = frame.line.map_or_else(String::new, |line| format!(":{line}"));
    plain::line(&format!("{name} ({file}{line})")).into_owned()
}
