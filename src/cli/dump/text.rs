//! A dumped process in words: equal stacks once, with the names of all who have them.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{ProcessDump, ThreadDump};
use crate::cli::plain;
use crate::recording::label;

/// So many of the threads that are like another one are named; of more only the number.
const MAX_NAMED: usize = 8;

/// Prints a process.
pub(super) fn print(dump: &ProcessDump, full: bool, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Process {}: {}", dump.pid, plain::line(&dump.command))?;
    let build = match (dump.python.free_threaded, dump.python.debug) {
        (false, false) => "",
        (true, false) => ", free-threaded",
        (false, true) => ", debug build",
        (true, true) => ", free-threaded, debug build",
    };
    writeln!(out, "Python {}{build}", dump.python.version)?;
    if let Some(missing) = dump.missing {
        writeln!(out, "some threads could not be read: {missing}")?;
    }
    let mut files: Vec<&str> =
        dump.threads.iter().flat_map(|t| &t.frames).map(|frame| frame.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let short: HashMap<&str, String> = files.iter().copied().zip(label::short_files(&files)).collect();
    for thread in dump.threads.iter().filter(|thread| thread.same_as.is_none()) {
        writeln!(out, "\nThread {}", head(thread, dump.python.free_threaded))?;
        let like: Vec<&ThreadDump> = dump
            .threads
            .iter()
            .filter(|other| other.same_as == Some(thread.id) && other.interpreter == thread.interpreter)
            .collect();
        if !like.is_empty() {
            writeln!(out, "  and {}", others(&like))?;
        }
        for frame in &thread.frames {
            let name = frame.qualname.as_ref().unwrap_or(&frame.name);
            let whole = frame.file.as_str();
            let file = if full { whole } else { short.get(whole).map_or(whole, String::as_str) };
            let line = frame.line.map(|line| format!(":{line}")).unwrap_or_default();
            writeln!(out, "    {} ({}{line})", plain::line(name), plain::line(file))?;
            for local in frame.locals.iter().flatten() {
                writeln!(out, "        {} = {}", plain::line(&local.name), plain::line(&local.value))?;
            }
        }
        if let Some(torn) = thread.torn {
            writeln!(out, "    … the rest could not be read: {torn}")?;
        } else if thread.frames.is_empty() {
            writeln!(out, "    no Python frame")?;
        }
    }
    Ok(())
}

/// Who a thread is and what it is doing.
fn head(thread: &ThreadDump, free_threaded: bool) -> String {
    let mut words = vec![who(thread)];
    if thread.interpreter != 0 {
        words.push(format!("interpreter {}", thread.interpreter));
    }
    if thread.main {
        words.push("main".to_owned());
    }
    match (thread.state, &thread.waits_for) {
        ("python", _) => words.push("running Python".to_owned()),
        ("native", _) if free_threaded => words.push("running, detached".to_owned()),
        ("native", _) => words.push("running without the GIL".to_owned()),
        ("wants_gil", _) => words.push("waiting for the GIL".to_owned()),
        ("waiting", Some(what)) => words.push(format!("waiting: {}", plain::line(what))),
        ("waiting", None) => words.push("waiting".to_owned()),
        _ => {}
    }
    match (thread.holds_gil, free_threaded) {
        (Some(true), false) => words.push("holds the GIL".to_owned()),
        (Some(true), true) => words.push("attached".to_owned()),
        _ => {}
    }
    if thread.in_exception == Some(true) {
        words.push("handling an exception".to_owned());
    }
    words.extend(thread.cpu.map(percent));
    match thread.moved {
        Some(true) => words.push("moved".to_owned()),
        Some(false) => words.push("has not moved".to_owned()),
        None => {}
    }
    words.join(", ")
}

fn who(thread: &ThreadDump) -> String {
    let id = thread.native_id.map_or_else(|| format!("{:#x}", thread.id), |native| native.to_string());
    match &thread.name {
        Some(name) => format!("{id} \"{}\"", plain::line(name)),
        None => id,
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} % CPU", share * 100.0)
}

/// Who else has a stack, and how much of a core they use together.
fn others(like: &[&ThreadDump]) -> String {
    let named: Vec<String> = like.iter().take(MAX_NAMED).map(|thread| who(thread)).collect();
    let more = match like.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(", … {more} more"),
    };
    let threads = if like.len() == 1 { "thread" } else { "threads" };
    let cpu: f64 = like.iter().filter_map(|thread| thread.cpu).sum();
    let cpu = if cpu >= 0.005 { format!(", with {} in all", percent(cpu)) } else { String::new() };
    format!("{} {threads} like this: {}{more}{cpu}", like.len(), named.join(", "))
}
