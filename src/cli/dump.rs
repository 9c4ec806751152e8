//! `dump`: every thread's stack, now.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;

use super::args;
use super::failure::Exit;
use super::open::{Context, Opened};
use super::plain;
use crate::model::Torn;
use crate::python::{Look, ThreadLook};
use crate::recording::label;

/// How often a process is looked at whose stacks could not all be read whole, for it runs meanwhile.
const TRIES: usize = 20;

/// A process, as `--json` prints it.
#[derive(Debug, Serialize)]
struct ProcessDump {
    pid: i32,
    python: PythonDump,
    threads: Vec<ThreadDump>,
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
    /// Innermost first.
    frames: Vec<FrameDump>,
    torn: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct FrameDump {
    name: String,
    qualname: Option<String>,
    file: String,
    line: Option<u32>,
    column: Option<u32>,
    end_line: Option<u32>,
    end_column: Option<u32>,
}

/// Prints the stacks of every process that was named.
pub fn dump(context: &Context, args: &args::Dump) -> anyhow::Result<Exit> {
    if let Some(option) = args.later.used() {
        return Err(super::Failure::not_yet(option).into());
    }
    let mut out = io::stdout().lock();
    for (place, pid) in context.pids(&args.target)?.into_iter().enumerate() {
        let dump = look(context, pid)?;
        if context.global.json {
            serde_json::to_writer(&mut out, &dump)?;
            writeln!(out)?;
        } else {
            if place > 0 {
                writeln!(out)?;
            }
            print(&dump, args.full_filenames, &mut out)?;
        }
    }
    Ok(Exit::Done)
}

fn look(context: &Context, pid: i32) -> anyhow::Result<ProcessDump> {
    let Opened { process, located, mut python } = context.open(pid)?;
    let tasks = process.threads();
    let (mut look, mut best) = (Look::default(), Look::default());
    for _ in 0..TRIES {
        python.look(process.memory(), &tasks, &mut look);
        if best.threads.is_empty() || flaws(&look) < flaws(&best) {
            std::mem::swap(&mut look, &mut best);
        }
        if flaws(&best) == 0 {
            break;
        }
    }
    let look = best;
    if look.threads.is_empty() && !process.alive() {
        return Err(crate::target::ProcessError::Gone { pid }.into());
    }
    let threads = look.threads.iter().map(|thread| {
        let frames = look.frames(thread).iter().filter_map(|frame| {
            let code = python.codes.get(frame.code)?;
            let position = code.position(frame.offset);
            Some(FrameDump {
                name: code.name.clone(),
                qualname: code.qualname.clone(),
                file: code.filename.clone(),
                line: position.line,
                column: position.column,
                end_line: position.end_line,
                end_column: position.end_column,
            })
        });
        thread_dump(thread, frames.collect())
    });
    Ok(ProcessDump {
        pid,
        python: PythonDump {
            version: located.fingerprint.version.to_string(),
            free_threaded: located.fingerprint.free_threaded,
            debug: located.fingerprint.debug,
        },
        threads: threads.collect(),
        command: process.cmdline().join(" "),
    })
}

/// How much of a look is missing.
fn flaws(look: &Look) -> usize {
    let torn = look.threads.iter().filter(|thread| thread.torn.is_some()).count();
    torn + usize::from(look.missing.is_some() || look.threads.is_empty())
}

fn thread_dump(thread: &ThreadLook, frames: Vec<FrameDump>) -> ThreadDump {
    ThreadDump {
        interpreter: thread.interpreter,
        id: thread.thread,
        native_id: thread.native,
        name: thread.name.as_deref().map(str::to_owned),
        main: thread.main,
        holds_gil: thread.holds_gil,
        state: "unknown",
        frames,
        torn: thread.torn.map(reason),
    }
}

fn print(dump: &ProcessDump, full: bool, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Process {}: {}", dump.pid, plain::line(&dump.command))?;
    let build = match (dump.python.free_threaded, dump.python.debug) {
        (false, false) => "",
        (true, false) => ", free-threaded",
        (false, true) => ", debug build",
        (true, true) => ", free-threaded, debug build",
    };
    writeln!(out, "Python {}{build}", dump.python.version)?;
    let mut files: Vec<&str> =
        dump.threads.iter().flat_map(|t| &t.frames).map(|frame| frame.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let short: HashMap<&str, String> = files.iter().copied().zip(label::short_files(&files)).collect();
    for thread in &dump.threads {
        let id = thread.native_id.map_or_else(|| format!("{:#x}", thread.id), |native| native.to_string());
        write!(out, "\nThread {id}")?;
        if let Some(name) = &thread.name {
            write!(out, " \"{}\"", plain::line(name))?;
        }
        if thread.interpreter != 0 {
            write!(out, ", interpreter {}", thread.interpreter)?;
        }
        if thread.main {
            write!(out, ", main")?;
        }
        match (thread.holds_gil, dump.python.free_threaded) {
            (Some(true), false) => write!(out, ", holds the GIL")?,
            (Some(true), true) => write!(out, ", attached")?,
            _ => {}
        }
        writeln!(out)?;
        for frame in &thread.frames {
            let name = frame.qualname.as_ref().unwrap_or(&frame.name);
            let whole = frame.file.as_str();
            let file = if full { whole } else { short.get(whole).map_or(whole, String::as_str) };
            let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
            writeln!(out, "    {} ({}{line})", plain::line(name), plain::line(file))?;
        }
        if let Some(torn) = thread.torn {
            writeln!(out, "    … the rest could not be read: {torn}")?;
        } else if thread.frames.is_empty() {
            writeln!(out, "    no Python frame")?;
        }
    }
    Ok(())
}

/// Why a stack ends before its base, in words.
fn reason(torn: Torn) -> &'static str {
    match torn {
        Torn::Unreadable => "unreadable",
        Torn::Garbage => "garbage",
        Torn::Cycle => "cycle",
        Torn::TooDeep => "too deep",
        Torn::Changed => "changed",
    }
}
