//! `dump`: every thread's stack now, and what the thread is really doing.

mod watch;
mod inside;
mod text;

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args;
use super::failure::{Exit, Failure};
use super::follow;
use super::open::Context;
use crate::target::{Answer, Family};
use watch::Watch;

/// The time between looks where none is asked for.
const EVERY: Duration = Duration::from_secs(1);

/// A process, as `--json` prints it.
#[derive(Debug, Serialize)]
struct ProcessDump {
    pid: i32,
    python: PythonDump,
    threads: Vec<ThreadDump>,
    /// Why threads are missing, where some are.
    missing: Option<&'static str>,
    #[serde(skip)]
    command: String,
}

#[derive(Debug, Serialize)]
struct PythonDump {
    version: String,
    free_threaded: bool,
    debug: bool,
}

#[derive(Debug, Serialize)]
struct ThreadDump {
    interpreter: i64,
    id: u64,
    native_id: Option<i32>,
    name: Option<String>,
    main: bool,
    holds_gil: Option<bool>,
    state: &'static str,
    /// Whether it is handling an exception.
    in_exception: Option<bool>,
    /// What it waits for, where it waits and the kernel says for what.
    waits_for: Option<String>,
    /// The share of one core that it used since the last look; at the first one over [`watch::WINDOW`].
    cpu: Option<f64>,
    /// Whether its stack is another one than at the last look; at the first look nothing says it.
    moved: Option<bool>,
    /// The id of the first thread with this stack that does the same, if that is another one.
    same_as: Option<u64>,
    /// Innermost first.
    frames: Vec<FrameDump>,
    torn: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
struct FrameDump {
    name: String,
    qualname: Option<String>,
    file: String,
    line: Option<u32>,
    column: Option<u32>,
    end_line: Option<u32>,
    end_column: Option<u32>,
    /// Where they were asked for and could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    locals: Option<Vec<LocalDump>>,
}

#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
struct LocalDump {
    name: String,
    value: String,
}

/// Prints the stacks of every process that was named, as often as was asked for.
pub fn dump(context: &Context, args: &args::Dump) -> anyhow::Result<Exit> {
    if let Some(option) = args.later.used() {
        return Err(Failure::not_yet(option).into());
    }
    let pids = context.pids(&args.target)?;
    let mut failures = Failures { context, alone: pids.len() == 1, first: None };
    let mut watches = Vec::new();
    for pid in &pids {
        watches.extend(failures.or_say(Watch::open(context, *pid, args.locals)));
    }
    if args.subprocesses {
        children(context, &pids, args.locals, &mut watches, &mut failures);
    }
    let mut out = io::stdout().lock();
    let looks = args.repeat.unwrap_or(if args.every.is_some() { 2 } else { 1 });
    for look in 0..looks {
        if look > 0 {
            out.flush()?;
            thread::sleep(args.every.map_or(EVERY, |every| every.0));
        }
        let mut place = 0;
        watches.retain_mut(|watch| {
            let Some(dump) = failures.or_say(watch.look()) else { return false };
            // Whoever reads may have gone away; the next flush says it.
            let written = if context.global.json {
                serde_json::to_writer(&mut out, &dump).map_err(io::Error::from).and_then(|()| writeln!(out))
            } else {
                let gap = if look > 0 || place > 0 { writeln!(out) } else { Ok(()) };
                gap.and_then(|()| text::print(&dump, args.full_filenames, &mut out))
            };
            place += 1;
            failures.or_say(written.map_err(anyhow::Error::from)).is_some()
        });
    }
    match failures.first {
        Some(error) => Err(error),
        None => Ok(Exit::Done),
    }
}

/// Adds whatever Pythons descend from some processes. Where there are any, who was named need not be one.
fn children(
    context: &Context,
    pids: &[i32],
    locals: u8,
    watches: &mut Vec<Watch>,
    failures: &mut Failures<'_>,
) {
    let mut family = Family::new(&context.proc, pids);
    family.poll(Instant::now());
    let named = watches.len();
    for pid in family.pids().filter(|pid| !pids.contains(pid)) {
        match Watch::open(context, pid, locals) {
            Ok(watch) => watches.push(watch),
            Err(error) if follow::answer(&error) == Answer::Closed => {
                context.say(&format!("process {pid} is not shown: {error:#}"));
            }
            Err(_) => {}
        }
    }
    let stranger = |error: &anyhow::Error| follow::answer(error) == Answer::Stranger;
    if watches.len() > named && failures.first.as_ref().is_some_and(stranger) {
        failures.first = None;
    }
}

/// What went wrong with some of the processes, and does not keep the others from being shown.
struct Failures<'a> {
    context: &'a Context,
    alone: bool,
    first: Option<anyhow::Error>,
}

impl Failures<'_> {
    /// The value, or nothing and one more failure. The first one ends the program, so it is said there.
    fn or_say<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if self.first.is_none() => {
                self.first = Some(error);
                None
            }
            Err(error) => {
                if !self.alone {
                    self.context.say(&format!("{error:#}"));
                }
                None
            }
        }
    }
}
