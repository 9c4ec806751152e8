//! What is said at the end of a recording: how good it is, where the time went, and how to open what was written.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::open::Context;
use super::output::Output;
use super::plain;
use super::units;
use crate::format::text;
use crate::model::{At, Nanos, TrackId, TrackKind};
use crate::recording::gc::{Sums, Work, share};
use crate::recording::label;
use crate::recording::tree::Tree;
use crate::recording::{Account, By, Contention, Phases, Recording, Spent, View, ViewOptions};

/// How many functions are named.
const TOP: usize = 10;
/// Who waits for this share of the time does nothing else to speak of.
const IDLE: f64 = 0.999;

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
    threads: Vec<Thread>,
    /// How memory was put down to stacks, where memory is what is looked at.
    attribution: Option<String>,
    /// What the interpreters did with the time of all threads: seconds.
    phases: BTreeMap<&'static str, f64>,
    /// Where threads want the GIL for a good part of their time.
    contention: Option<Gil>,
    gc: Gc,
}

/// What the collectors did.
#[derive(Debug, Serialize)]
struct Gc {
    /// The share of the time in which garbage was collected.
    share: f64,
    collections: u64,
    collected: u64,
    /// Seconds that the longest one took, as far as that is known.
    longest: f64,
}

/// What a thread did with its time: shares of it.
#[derive(Debug, Serialize)]
struct Thread {
    name: String,
    /// Seconds that its samples stand for.
    time: f64,
    /// On a processor, where the kernel measured it.
    cpu: Option<f64>,
    /// Holding the GIL.
    held: f64,
    /// Wanting the GIL.
    wanted: f64,
    /// Waiting for anything else.
    waited: f64,
}

#[derive(Debug, Serialize)]
struct Gil {
    /// How many threads want it.
    threads: usize,
    /// The share of their time for which they do.
    wanted: f64,
    /// Seconds for which one of them was seen to want it in one piece, at most.
    longest: f64,
    /// The function that holds it most, and its file.
    function: Option<String>,
    file: Option<String>,
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
    if context.global.json {
        return json(recording, view, outputs, &mut io::stdout().lock());
    }
    if context.global.quiet {
        return Ok(());
    }
    let summary = summary(recording, view, outputs)?;
    Ok(write(recording, &summary, outputs, &mut io::stderr().lock())?)
}

/// Says how a recording went, to a program.
pub fn json(
    recording: &Recording,
    view: &ViewOptions,
    outputs: &[Output],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, &summary(recording, view, outputs)?)?;
    Ok(writeln!(out)?)
}

fn summary(recording: &Recording, view: &ViewOptions, outputs: &[Output]) -> anyhow::Result<Summary> {
    let by = if view.by == By::Line { By::Function } else { view.by };
    let options = ViewOptions { by, ..view.clone() };
    let view = &View::new(recording, &options)?;
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
    Ok(Summary {
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
        threads: (0..)
            .map(TrackId)
            .zip(&recording.tracks)
            .filter(|(_, track)| track.kind != TrackKind::Memory)
            .map(|(id, _)| thread(recording, id))
            .collect(),
        attribution: text::memory(view),
        phases: Phases::of(recording).named().map(|(name, time)| (name, time.as_secs_f64())).into(),
        contention: Contention::of(recording).map(gil),
        gc: gc(recording, account.duration),
    })
}

fn thread(recording: &Recording, track: TrackId) -> Thread {
    let spent = Spent::of(recording, track);
    Thread {
        name: label::track(recording, track),
        time: spent.time.as_secs_f64(),
        cpu: spent.cpu.map(|cpu| spent.share(cpu)),
        held: spent.share(spent.held),
        wanted: spent.share(spent.wanted),
        waited: spent.share(spent.waited),
    }
}

fn gc(recording: &Recording, duration: Nanos) -> Gc {
    let works = Work::of(recording, At(0), recording.end());
    let generations = || works.iter().flat_map(|work| &work.generations);
    let sum =
        |part: fn(&Sums) -> u64| generations().map(|done| part(&done.sums)).fold(0, u64::saturating_add);
    let longest = works.iter().filter_map(|work| work.longest.as_ref()).map(|row| row.pause).max();
    Gc {
        share: share(&works, duration),
        collections: sum(|sums| sums.collections),
        collected: sum(|sums| sums.collected),
        longest: longest.unwrap_or_default().as_secs_f64(),
    }
}

fn gil(contention: Contention) -> Gil {
    let (function, file) = contention.holder.unzip();
    Gil {
        threads: contention.threads,
        wanted: contention.share,
        longest: contention.longest.as_secs_f64(),
        function,
        file: file.flatten(),
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
        summary.threads.len(),
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
        match summary.paused {
            0.0 => writeln!(out, "pitviper used {cost}, and never paused the target")?,
            paused => writeln!(out, "pitviper used {cost}, and paused the target for {paused:.3} s in all")?,
        }
    }
    if let (true, Some(share)) = (summary.held_back, recording.meta.asked.max_overhead) {
        writeln!(
            out,
            "looks were rarer than asked, to stay within {:.1} % of a core (--max-overhead)",
            share * 100.0
        )?;
    }
    let idle = summary.threads.iter().filter(|thread| thread.waited >= IDLE).count();
    if idle > 0 && !recording.meta.view.idle {
        writeln!(
            out,
            "{idle} of {} threads waited all the time and are left out (--idle)",
            summary.threads.len()
        )?;
    }
    if let Some(phases) = phases(&Phases::of(recording)) {
        writeln!(out, "{phases}")?;
    }
    if let Some(gil) = &summary.contention {
        writeln!(out, "{}", verdict(gil))?;
    }
    if summary.gc.collections > 0 {
        let (share, longest) = (units::share(summary.gc.share), Nanos((summary.gc.longest * 1e9) as u64));
        let longest = if longest > Nanos(0) { format!(", the longest {longest}") } else { String::new() };
        let collections = units::count(summary.gc.collections);
        writeln!(out, "collecting garbage took {share} of the time: {collections} collections{longest}")?;
    }
    if let Some(words) = &summary.attribution {
        writeln!(out, "memory: {words}")?;
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
    for output in outputs.iter().filter(|output| !output.is_stdout()) {
        writeln!(out, "wrote {}: open it with {}", output.path().display(), output.opens_with())?;
    }
    Ok(())
}

/// What the interpreters did with the time in which threads did not wait; nothing where all waited.
fn phases(phases: &Phases) -> Option<String> {
    /// What takes less than this of the time is not named.
    const LEAST: f64 = 0.001;
    let parts = [
        ("running bytecode", phases.bytecode),
        ("importing", phases.importing),
        ("collecting garbage", phases.collecting),
        ("waiting for the GIL", phases.wanting),
        ("running without the GIL", phases.native),
        ("unknown", phases.unknown),
    ];
    let all: f64 = parts.iter().map(|(_, time)| time.as_secs_f64()).sum();
    let named = parts.iter().filter(|(_, time)| time.as_secs_f64() / all >= LEAST);
    let named = named.map(|(name, time)| format!("{name} {}", units::share(time.as_secs_f64() / all)));
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| format!("of the time in which threads did not wait: {}", named.join(", ")))
}

/// Who wants the GIL how much, and who has it.
fn verdict(gil: &Gil) -> String {
    let who = match gil.threads {
        1 => "1 thread wants".to_owned(),
        many => format!("{many} threads want"),
    };
    let longest = Nanos((gil.longest * 1e9) as u64);
    let mut text =
        format!("{who} the GIL {:.0} % of the time, for up to {longest} in one piece", gil.wanted * 100.0);
    if let Some(function) = &gil.function {
        let file = gil.file.as_deref().map(|file| format!(" in {}", plain::line(file))).unwrap_or_default();
        text += &format!("; {}{file} holds it most", plain::line(function));
    }
    text
}
