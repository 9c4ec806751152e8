//! `ps`: the Pythons here, and which of them can be read.

use std::io::{self, Write};

use serde::Serialize;

use super::args;
use super::doctor;
use super::failure::Exit;
use super::open::Context;
use super::plain;
use crate::layout::Catalogue;
use crate::target::locate::{LocateError, locate};
use crate::target::process::user_name;
use crate::target::{Proc, Process, ProcessError};

/// A Python, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    pid: i32,
    /// `null` where it could not be found out.
    version: Option<String>,
    free_threaded: Option<bool>,
    debug: Option<bool>,
    uid: Option<u32>,
    user: Option<String>,
    command: String,
    readable: bool,
    /// Why not.
    why: Option<String>,
}

/// Prints a line for each Python that runs here.
pub fn ps(context: &Context, _args: &args::Ps) -> anyhow::Result<Exit> {
    run(&context.proc, &context.catalogue, context.global.json, &mut io::stdout().lock())?;
    Ok(Exit::Done)
}

/// Prints a line for each Python below `proc`; as JSON an object a line.
pub fn run(proc: &Proc, catalogue: &Catalogue, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let own = std::process::id();
    let rows = proc.pids().into_iter().filter(|pid| u32::try_from(*pid) != Ok(own));
    let rows = rows.filter_map(|pid| row(proc, catalogue, pid));
    if json {
        for row in rows {
            serde_json::to_writer(&mut *out, &row)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    let rows: Vec<Row> = rows.collect();
    let user =
        |row: &Row| row.user.clone().or(row.uid.map(|uid| uid.to_string())).unwrap_or_else(|| "?".into());
    let width = rows.iter().map(|row| user(row).len()).max().unwrap_or(0).max("USER".len());
    writeln!(out, "{:>7}  {:10}  {:14}  {:width$}  COMMAND", "PID", "VERSION", "BUILD", "USER")?;
    for row in &rows {
        let version = row.version.as_deref().unwrap_or("?");
        let user = user(row);
        let command = plain::line(&row.command);
        writeln!(out, "{:>7}  {version:10}  {:14}  {user:width$}  {command}", row.pid, build(row))?;
        if let Some(why) = &row.why {
            writeln!(out, "{:>7}  cannot be read: {}", "", plain::line(why))?;
        }
    }
    Ok(())
}

fn build(row: &Row) -> &'static str {
    match (row.free_threaded, row.debug) {
        (Some(true), Some(true)) => "free-threaded, debug",
        (Some(true), _) => "free-threaded",
        (_, Some(true)) => "debug",
        (Some(false), Some(false)) => "release",
        _ => "?",
    }
}

/// `None` for what is no Python.
fn row(proc: &Proc, catalogue: &Catalogue, pid: i32) -> Option<Row> {
    let process = Process::open(proc, pid).ok()?;
    let (fingerprint, why) = match locate(&process, catalogue) {
        Ok(located) => (Some(located.fingerprint), None),
        Err(error @ LocateError::Process(ProcessError::Permission { .. })) => {
            // Whether it is Python cannot be found out, but its name is for everybody to see.
            calls_itself_python(&process).then_some(())?;
            let why = doctor::refusal(proc, pid).map_or_else(|| error.to_string(), |advice| advice.said);
            (None, Some(why))
        }
        Err(LocateError::NotPython { .. } | LocateError::Process(_)) => return None,
        // A 32-bit program may be anything.
        Err(LocateError::Machine { .. }) if !calls_itself_python(&process) => return None,
        Err(error) => (None, Some(error.to_string())),
    };
    let uid = process.uid();
    Some(Row {
        pid,
        version: fingerprint.as_ref().map(|f| f.version.to_string()),
        free_threaded: fingerprint.as_ref().map(|f| f.free_threaded),
        debug: fingerprint.as_ref().map(|f| f.debug),
        uid,
        user: uid.and_then(user_name),
        command: process.cmdline().join(" "),
        readable: why.is_none(),
        why,
    })
}

fn calls_itself_python(process: &Process) -> bool {
    let command = process.cmdline();
    let name = command.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    name.starts_with("python") || process.comm().starts_with("python")
}
