//! What is said at the end of a recording: how good it is, where the time went, and how to open what was written.

use std::io::{self, Write};

use serde::Serialize;

use super::open::Context;
use super::output::Output;
use super::plain;
use crate::model::Nanos;
use crate::recording::tree::Tree;
use crate::recording::{Account, By, Recording, View, ViewOptions};

/// How many functions are named.
const TOP: usize = 10;

/// The summary, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Summary {
    samples: u64,
    rate: Rate,
    missed: u64,
    partial: u64,
    retried: u64,
    errors: u64,
    /// The share of a core that we used.
    overhead: Option<f64>,
    /// The most memory that we had resident, in bytes.
    memory: u64,
    /// Looks were rarer than was asked, to stay within the budget.
    held_back: bool,
    /// Seconds for which the target was kept paused.
    paused: f64,
    files: Vec<String>,
    top: Vec<Function>,
}

#[derive(Debug, Serialize)]
struct Rate {
    asked: Option<f64>,
    achieved: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Function {
    function: String,
    file: Option<String>,
    /// Shares of all time.
    own: f64,
    total: f64,
}

/// Says how a recording went: to a person on standard error, to a program on standard output.
pub fn print(
    context: &Context,
    recording: &Recording,
    view: &ViewOptions,
    outputs: &[Output],
) -> anyhow::Result<()> {
    let options = ViewOptions { by: By::Function, ..view.clone() };
    let view = View::new(recording, &options)?;
    let summary = summary(recording, &view, outputs);
    if context.global.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &summary)?;
        return Ok(writeln!(out)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    Ok(write(recording, &summary, outputs, &mut io::stderr().lock())?)
}

fn summary(recording: &Recording, view: &View<'_>, outputs: &[Output]) -> Summary {
    let account = Account::of(recording);
    let tree = Tree::of(view);
    let all = tree.total().max(1) as f64;
    let row = |total: &crate::recording::tree::Total| {
        let row = view.row(total.row)?;
        Some(Function {
            function: row.name.clone(),
            file: row.file.clone(),
            own: total.own as f64 / all,
            total: total.total as f64 / all,
        })
    };
    let achieved = recording.meta.achieved.as_ref();
    Summary {
        samples: account.samples,
        rate: Rate { asked: account.rate_asked, achieved: account.rate_achieved },
        missed: account.missed,
        partial: account.partial,
        retried: account.retried,
        errors: account.errors,
        overhead: achieved.and_then(crate::recording::Achieved::overhead),
        memory: achieved.map_or(0, |achieved| achieved.own_memory_bytes),
        held_back: achieved.is_some_and(|achieved| achieved.held_back),
        paused: achieved.map_or(0.0, |achieved| Nanos(achieved.paused_ns).as_secs_f64()),
        files: outputs.iter().map(|output| output.path().display().to_string()).collect(),
        top: tree.top(view).iter().filter(|total| total.own > 0).take(TOP).filter_map(row).collect(),
    }
}

fn write(
    recording: &Recording,
    summary: &Summary,
    outputs: &[Output],
    out: &mut impl Write,
) -> io::Result<()> {
    let account = Account::of(recording);
    let rate =
        |rate: Option<f64>| rate.map_or_else(|| "as many as can be".to_owned(), |rate| format!("{rate:.1}"));
    writeln!(
        out,
        "{} samples of {} threads in {}",
        account.samples,
        recording.tracks.len(),
        account.duration
    )?;
    writeln!(
        out,
        "{} looks a second ({} asked), {} missed, {} errors, {} partial stacks ({:.2} %)",
        rate(account.rate_achieved),
        rate(account.rate_asked),
        account.missed,
        account.errors,
        account.partial,
        account.partial_share() * 100.0,
    )?;
    if let Some(overhead) = summary.overhead {
        let memory = summary.memory as f64 / (1 << 20) as f64;
        let cost = format!("{:.1} % of a core and {memory:.1} MiB", overhead * 100.0);
        writeln!(out, "pitviper used {cost}, and never paused the target")?;
    }
    if let (true, Some(share)) = (summary.held_back, recording.meta.asked.max_overhead) {
        writeln!(
            out,
            "looks were rarer than asked, to stay within {:.1} % of a core (--max-overhead)",
            share * 100.0
        )?;
    }
    if !summary.top.is_empty() {
        writeln!(out, "\n    own   total  function")?;
        for row in &summary.top {
            let file =
                row.file.as_deref().map(|file| format!(" ({})", plain::line(file))).unwrap_or_default();
            let (own, total) = (row.own * 100.0, row.total * 100.0);
            writeln!(out, "{own:5.1} % {total:5.1} %  {}{file}", plain::line(&row.function))?;
        }
        writeln!(out)?;
    }
    for output in outputs {
        writeln!(out, "wrote {}: open it with {}", output.path().display(), output.opens_with())?;
    }
    Ok(())
}
