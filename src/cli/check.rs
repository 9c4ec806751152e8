//! `layout check`: which layout serves a process, why, what the target said of itself, and whether it holds.

use std::io::{self, Write};

use serde::Serialize;

use super::args;
use super::failure::{Exit, Failure};
use super::open::{Context, why};
use super::plain;
use crate::python::check::{self, Verdict};
use crate::target::locate::{asyncio_debug, locate};
use crate::target::{Located, Process};

/// The answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer {
    pid: i32,
    python: String,
    free_threaded: bool,
    debug: bool,
    module: String,
    found_by: String,
    layout: String,
    why: &'static str,
    /// Why no build at hand proves the layout.
    computed: Option<String>,
    /// Why what the target says of itself is not believed.
    rejected: Option<String>,
    /// The target has a table of offsets for asyncio, too.
    asyncio: bool,
    told: Vec<Told>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Told {
    key: String,
    file: Option<i64>,
    target: i64,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    guards: &'static str,
    verdict: &'static str,
    reason: Option<String>,
}

/// Says which layout serves each process that was named, and tries it.
pub fn check(context: &Context, args: &args::Check) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    let mut failed = None;
    for pid in context.pids(&args.target)? {
        let process = Process::open(&context.proc, pid)?;
        let located = locate(&process, &context.catalogue)?;
        let answer = answer(&process, &located);
        if answer.checks.iter().any(|check| check.verdict == "failed") {
            failed = Some(Failure::new(
                Exit::NotReadable,
                format!("layout {} does not hold for process {pid}", answer.layout),
            ));
        }
        if context.global.json {
            serde_json::to_writer(&mut out, &answer)?;
            writeln!(out)?;
        } else {
            print(&answer, &mut out)?;
        }
    }
    match failed {
        Some(failure) => Err(failure
            .hint(
                "make a layout of this build: pitviper layout derive ELF > DIR/NAME.toml, then --layouts DIR",
            )
            .into()),
        None => Ok(Exit::Done),
    }
}

fn answer(process: &Process, located: &Located) -> Answer {
    let chosen = &located.chosen;
    let checks = check::run(located, process.memory(), &process.threads());
    Answer {
        pid: process.pid(),
        python: located.fingerprint.version.to_string(),
        free_threaded: located.fingerprint.free_threaded,
        debug: located.fingerprint.debug,
        module: located.module.path.display().to_string(),
        found_by: located.found_by.clone(),
        layout: chosen.layout.name.clone(),
        why: why(&chosen.why),
        computed: chosen.computed.clone(),
        rejected: chosen.rejected.as_ref().map(ToString::to_string),
        asyncio: asyncio_debug(process).is_some(),
        told: chosen
            .told
            .iter()
            .map(|told| Told {
                key: format!("{}.{}", told.section, told.key),
                file: told.file,
                target: told.target,
            })
            .collect(),
        checks: checks
            .into_iter()
            .map(|check| {
                let (verdict, reason) = match check.verdict {
                    Verdict::Passed => ("passed", None),
                    Verdict::Failed(reason) => ("failed", Some(reason)),
                    Verdict::Skipped(reason) => ("skipped", Some(reason)),
                };
                Check { name: check.name, guards: check.guards, verdict, reason }
            })
            .collect(),
    }
}

fn print(answer: &Answer, out: &mut impl Write) -> io::Result<()> {
    let build = match (answer.free_threaded, answer.debug) {
        (false, false) => "",
        (true, false) => ", free-threaded",
        (false, true) => ", debug build",
        (true, true) => ", free-threaded, debug build",
    };
    writeln!(out, "process {}: Python {}{build}", answer.pid, answer.python)?;
    writeln!(out, "found in {}, by {}", plain::line(&answer.module), answer.found_by)?;
    writeln!(out, "layout {}: {}", answer.layout, answer.why)?;
    if let Some(reason) = &answer.computed {
        writeln!(out, "this layout is computed, no build at hand proves it: {reason}")?;
    }
    if let Some(reason) = &answer.rejected {
        writeln!(out, "what the target says of itself is not believed: {reason}")?;
    }
    for told in &answer.told {
        match told.file {
            Some(file) => writeln!(out, "the target says {} = {}, the file {file}", told.key, told.target)?,
            None => writeln!(out, "the target says {} = {}, the file nothing", told.key, told.target)?,
        }
    }
    if answer.asyncio {
        writeln!(out, "the target describes its asyncio tasks itself (.AsyncioDebug)")?;
    }
    for check in &answer.checks {
        write!(out, "{:>8}  {}", check.verdict, check.name)?;
        match (&check.reason, check.verdict) {
            (Some(reason), "failed") => writeln!(out, ": {reason}; {} cannot be trusted", check.guards)?,
            (Some(reason), _) => writeln!(out, ": {reason}")?,
            (None, _) => writeln!(out)?,
        }
    }
    Ok(())
}
