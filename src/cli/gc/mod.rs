//! `gc`: what the collector is like, how often it runs, how long it stops the program, and whether its thresholds fit.

mod file;
mod live;
mod moment;
mod table;
mod told;
mod verdict;

use std::path::PathBuf;

use super::args::Target;
use super::failure::Exit;
use super::open::Context;
use super::units::{Interval, Rate};

/// `gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A recording instead of a process; `FILE.pit@12s` is a moment in it.
    #[arg(value_name = "FILE.pit", conflicts_with_all = ["pid", "name", "rate"])]
    file: Option<PathBuf>,
    /// Stop after this time, and sum up: `200ms`, `1.5s`, `2m`; a bare number is seconds.
    #[arg(short, long, value_name = "TIME", allow_negative_numbers = true)]
    duration: Option<Interval>,
    /// The time from one table to the next [default: 1s; of a recording, only the summary].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    interval: Option<Interval>,
    /// Looks a second: what is shorter than the time between two is counted but not timed [default: 1khz].
    #[arg(short, long, value_name = "RATE", allow_negative_numbers = true)]
    rate: Option<Rate>,
    /// Draw bars without characters beyond ASCII.
    #[arg(long)]
    ascii: bool,
    /// Which process.
    #[command(flatten)]
    target: Target,
}

/// Shows the collector of a process or of a recording.
pub fn gc(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    match &args.file {
        Some(file) => file::of_file(context, args, file),
        None => live::of_process(context, args, context.pid(&args.target)?),
    }
}
