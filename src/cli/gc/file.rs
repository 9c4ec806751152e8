//! The collector in a recording: its tables, where they are asked for, and the summary.

use std::io::{self, Write};
use std::path::Path;

use super::Args;
use super::moment::Moment;
use super::table::{self, Bars};
use super::told;
use crate::cli::export;
use crate::cli::failure::{Exit, Failure};
use crate::cli::open::Context;
use crate::cli::units::Interval;
use crate::model::At;
use crate::recording::Recording;

/// Prints what a recording tells of collectors.
pub(super) fn of_file(context: &Context, args: &Args, file: &Path) -> anyhow::Result<Exit> {
    let (file, moment) = export::named(file);
    let recording = export::open(context, &file)?;
    let nanos = |interval: Interval| u64::try_from(interval.0.as_nanos()).unwrap_or(u64::MAX);
    let asked = [moment, args.duration].into_iter().flatten().map(nanos).min();
    let end = asked.map_or_else(|| recording.end(), |end| At(end).min(recording.end()));
    if Moment::of(&recording, At(0), end).seen.is_empty() {
        return Err(nothing(&file).into());
    }
    let mut out = io::stdout().lock();
    if let Some(interval) = args.interval {
        let step = nanos(interval).max(1);
        let mut from = At(0);
        while from < end {
            let to = At(from.0.saturating_add(step)).min(end);
            let moment = Moment::of(&recording, from, to);
            if context.global.json {
                told::line(&moment, &mut out)?;
            } else {
                table::print(&moment, Bars::of(args.ascii), &mut out)?;
                writeln!(out)?;
            }
            from = to;
        }
    }
    sum_up(context, &recording, &Moment::of(&recording, At(0), end), &mut out)?;
    Ok(Exit::Done)
}

/// Prints the summary of a recording up to a moment.
pub(super) fn sum_up(
    context: &Context,
    recording: &Recording,
    moment: &Moment,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if context.global.json {
        told::summary(recording, moment, out)
    } else {
        Ok(table::sum_up(recording, moment, out)?)
    }
}

fn nothing(file: &Path) -> Failure {
    Failure::new(Exit::Failed, format!("{} tells nothing of a collector", file.display()))
        .hint("`pitviper gc --pid PID` looks at one that runs")
}
