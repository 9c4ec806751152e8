//! `info`: what a recording holds, who made it, and how good it is.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::export;
use super::failure::Exit;
use super::open::Context;
use super::plain;
use crate::model::{Process, TrackId, TrackKind, TroubleKind};
use crate::recording::{Account, Meta, Recording, label};

/// `info`.
#[derive(Debug, Clone, Args)]
pub struct Info {
    /// The recording.
    #[arg(value_name = "FILE.pit")]
    pub file: PathBuf,
}

/// What is told of a recording, as `--json` prints it. Keys are only added.
#[derive(Debug, Serialize)]
struct Told<'r> {
    meta: &'r Meta,
    ended: bool,
    damage: Option<String>,
    unknown_blocks: u64,
    duration_ns: u64,
    samples: u64,
    looks: u64,
    rate: Rate,
    missed: u64,
    errors: u64,
    retried: u64,
    stopped: u64,
    probable: u64,
    partial: u64,
    processes: Vec<ToldProcess<'r>>,
    threads: Vec<Thread>,
    counts: Counts,
    troubles: Vec<ToldTrouble<'r>>,
}

#[derive(Debug, Serialize)]
struct Rate {
    asked: Option<f64>,
    achieved: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ToldProcess<'r> {
    pid: u32,
    command: &'r str,
    python: &'r str,
    free_threaded: bool,
    debug: bool,
}

#[derive(Debug, Serialize)]
struct Thread {
    name: String,
    main: bool,
    interpreter: i64,
    samples: u64,
}

#[derive(Debug, Serialize)]
struct Counts {
    strings: usize,
    files: usize,
    frames: usize,
    stacks: usize,
    rows: usize,
    collections: usize,
    heap_states: usize,
    censuses: usize,
    allocations: usize,
    counters: usize,
    marks: usize,
}

#[derive(Debug, Serialize)]
struct ToldTrouble<'r> {
    kind: &'static str,
    count: u64,
    text: Option<&'r str>,
}

/// Says what a recording holds.
pub fn info(context: &Context, args: &Info) -> anyhow::Result<Exit> {
    let recording = export::open(context, &args.file)?;
    let told = tell(&recording);
    let mut out = io::stdout().lock();
    if context.global.json {
        serde_json::to_writer(&mut out, &told)?;
        writeln!(out)?;
    } else {
        print(&told, &mut out)?;
    }
    Ok(Exit::Done)
}

fn tell(recording: &Recording) -> Told<'_> {
    let account = Account::of(recording);
    let process = |process: &Process| ToldProcess {
        pid: process.pid,
        command: recording.string(process.command),
        python: recording.string(process.python),
        free_threaded: process.free_threaded,
        debug: process.debug,
    };
    let threads = (0..).map(TrackId).zip(&recording.tracks);
    let threads = threads.filter(|(_, track)| track.kind != TrackKind::Memory).map(|(id, track)| Thread {
        name: label::track(recording, id),
        main: track.main,
        interpreter: track.interpreter,
        samples: recording.samples_of(id).iter().map(|sample| u64::from(sample.count)).sum(),
    });
    let mut troubles: BTreeMap<_, u64> = BTreeMap::new();
    for trouble in &recording.troubles {
        let count = troubles.entry((trouble.kind, trouble.text)).or_default();
        *count = count.saturating_add(trouble.count);
    }
    let troubles = troubles.into_iter().map(|((kind, text), count)| ToldTrouble {
        kind: kind_name(kind),
        count,
        text: text.map(|text| recording.string(text)),
    });
    Told {
        meta: &recording.meta,
        ended: recording.ended,
        damage: recording.damage.as_ref().map(ToString::to_string),
        unknown_blocks: recording.unknown_blocks,
        duration_ns: account.duration.0,
        samples: account.samples,
        looks: account.looks,
        rate: Rate { asked: account.rate_asked, achieved: account.rate_achieved },
        missed: account.missed,
        errors: account.errors,
        retried: account.retried,
        stopped: account.stopped,
        probable: account.probable,
        partial: account.partial,
        processes: recording.processes.iter().map(process).collect(),
        threads: threads.collect(),
        counts: Counts {
            strings: recording.strings.len(),
            files: recording.files.len(),
            frames: recording.frames.len(),
            stacks: recording.stacks.len(),
            rows: recording.samples.iter().map(Vec::len).sum(),
            collections: recording.gc.len(),
            heap_states: recording.heaps.len(),
            censuses: recording.censuses.len(),
            allocations: recording.allocations.len(),
            counters: recording.counters.len(),
            marks: recording.marks.len(),
        },
        troubles: troubles.collect(),
    }
}

fn kind_name(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::Missed => "missed",
        TroubleKind::Threads => "threads",
        TroubleKind::Dropped => "dropped",
        TroubleKind::Suspended => "suspended",
        TroubleKind::HeldBack => "held back by the budget",
        TroubleKind::Layout => "layout",
        TroubleKind::Other => "other",
    }
}

fn print(told: &Told<'_>, out: &mut impl Write) -> io::Result<()> {
    let hertz =
        |rate: Option<f64>, none: &str| rate.map_or_else(|| none.to_owned(), |rate| format!("{rate:.1} Hz"));
    let started = jiff::Timestamp::from_nanosecond(i128::from(told.meta.started_unix_ns));
    let started = started
        .map_or_else(|_| "unknown".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    let end = match (&told.damage, told.ended) {
        (Some(damage), _) => format!("damaged: {damage}"),
        (None, true) => "ended as it should".to_owned(),
        (None, false) => {
            "never ended: whoever recorded it was killed, and its last second is lost".to_owned()
        }
    };
    writeln!(out, "made by    {} at {started}", plain::line(&told.meta.tool))?;
    writeln!(out, "state      {}", plain::line(&end))?;
    if told.unknown_blocks > 0 {
        writeln!(
            out,
            "           {} blocks are of kinds that this version does not know",
            told.unknown_blocks
        )?;
    }
    for process in &told.processes {
        let kind = match (process.free_threaded, process.debug) {
            (false, false) => "",
            (true, false) => ", free-threaded",
            (false, true) => ", debug build",
            (true, true) => ", free-threaded debug build",
        };
        let (command, python) = (plain::line(process.command), plain::line(process.python));
        writeln!(out, "process    {} {command} (Python {python}{kind})", process.pid)?;
    }
    writeln!(out, "duration   {:.2} s", told.duration_ns as f64 / 1e9)?;
    let (asked, achieved) = (hertz(told.rate.asked, "max"), hertz(told.rate.achieved, "nothing"));
    writeln!(out, "rate       asked {asked}, achieved {achieved}")?;
    writeln!(
        out,
        "samples    {} in {} looks; {} missed, {} errors",
        told.samples, told.looks, told.missed, told.errors
    )?;
    writeln!(
        out,
        "stacks     {} partial, {} retried, {} stopped, {} probable",
        told.partial, told.retried, told.stopped, told.probable
    )?;
    for thread in &told.threads {
        let sub = if thread.interpreter == 0 {
            String::new()
        } else {
            format!(", interpreter {}", thread.interpreter)
        };
        writeln!(out, "thread     {}{sub}: {} samples", plain::line(&thread.name), thread.samples)?;
    }
    let counts = &told.counts;
    writeln!(
        out,
        "holds      {} stacks, {} frames, {} files, {} rows of samples",
        counts.stacks, counts.frames, counts.files, counts.rows
    )?;
    for (count, what) in [
        (counts.collections, "collections of garbage"),
        (counts.heap_states, "states of the allocator"),
        (counts.censuses, "censuses of objects"),
        (counts.allocations, "stacks that memory is put down to"),
        (counts.counters, "values of counters"),
        (counts.marks, "marks"),
    ] {
        if count > 0 {
            writeln!(out, "           {count} {what}")?;
        }
    }
    for trouble in &told.troubles {
        let text = trouble.text.map_or_else(String::new, |text| format!(": {}", plain::line(text)));
        writeln!(out, "trouble    {} × {}{text}", trouble.count, trouble.kind)?;
    }
    Ok(())
}
