//! The heap in a recording: how it stood at a moment, and what has changed since another.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::diff::signed;
use crate::cli::failure::{Exit, Failure};
use crate::cli::open::Context;
use crate::cli::{export, plain, units};
use crate::model::heap::{Gauge, SizeClass};
use crate::model::{At, ProcessId};
use crate::recording::Recording;
use crate::recording::growth::{Counted, Growth, Trend};
use crate::recording::heap::{Heap, gauge};

/// What stands in the table of numbers, and how it is written.
const GAUGES: &[(Gauge, &str)] = &[
    (Gauge::Resident, "resident"),
    (Gauge::ArenaBytes, "arenas"),
    (Gauge::PoolBytes, "pools that have a block in use"),
    (Gauge::BlockBytes, "blocks in use"),
    (Gauge::Arenas, "arenas"),
    (Gauge::Blocks, "blocks in use, large ones included"),
];

/// The heap of one process at a moment.
#[derive(Debug)]
pub(super) struct Standing {
    pid: u32,
    command: String,
    at: At,
    heap: Heap,
    gauges: BTreeMap<Gauge, i64>,
    /// The censuses up to then; where there was none yet, the first.
    censuses: Vec<Counted>,
}

/// A standing and what has changed since another, as `--json` prints it.
#[derive(Debug, Serialize)]
struct StandingDump {
    pid: u32,
    command: String,
    at_ns: u64,
    since_ns: u64,
    verdict: String,
    counters: BTreeMap<&'static str, NumberDump>,
    size_classes: Vec<ClassDump>,
    /// How many censuses there are from the one moment to the other, the first and the last included.
    censuses: usize,
    types: Vec<TypeDump>,
}

/// A type at the last census, and what has changed since the first.
#[derive(Debug, Serialize)]
struct TypeDump {
    name: String,
    count: u64,
    bytes: u64,
    more: i64,
    more_bytes: i64,
    /// Objects more each second.
    per_second: f64,
    /// `linear`, `saturating`, `sawtooth` or `none`; null where there are too few censuses.
    trend: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct NumberDump {
    now: i64,
    /// More than before; null where it was not told then.
    more: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ClassDump {
    size: u64,
    pools: u32,
    used: u64,
    free: u64,
    /// Blocks in use more than before.
    more: i64,
}

/// Prints how the heaps of a recording stood, and what had changed since the recording began.
pub(super) fn of_file(context: &Context, word: &Path, top: usize) -> anyhow::Result<Exit> {
    let (file, moment) = export::named(word);
    let recording = export::open(context, &file)?;
    let later = standings(&recording, moment_in(&recording, moment));
    let since = |process| Standing::of(&recording, process, began(&recording, process)?);
    let pairs: Vec<(Standing, Standing)> =
        later.into_iter().filter_map(|(process, later)| Some((since(process)?, later))).collect();
    if pairs.is_empty() {
        return Err(nothing(&file).into());
    }
    print_all(context, &pairs, top)
}

/// The heaps that a word names: those of a recording, at its end or at the moment that stands behind the `@`. `None` where
/// the file is no recording.
pub(super) fn named(context: &Context, word: &Path) -> anyhow::Result<Option<Vec<Standing>>> {
    let (file, moment) = export::named(word);
    if !export::is_recording(&file) {
        return Ok(None);
    }
    let recording = export::open(context, &file)?;
    let standings = standings(&recording, moment_in(&recording, moment));
    if standings.is_empty() {
        return Err(nothing(&file).into());
    }
    Ok(Some(standings.into_iter().map(|(_, standing)| standing).collect()))
}

/// Prints what has changed from some heaps to others, process by process.
pub(super) fn diff(
    context: &Context,
    earlier: Vec<Standing>,
    later: Vec<Standing>,
    top: usize,
) -> anyhow::Result<Exit> {
    if earlier.len() != later.len() {
        context.say("the two moments have not the same processes; they are taken in order");
    }
    let pairs: Vec<(Standing, Standing)> = earlier.into_iter().zip(later).collect();
    print_all(context, &pairs, top)
}

fn moment_in(recording: &Recording, moment: Option<units::Interval>) -> At {
    let end = recording.end();
    moment.map_or(end, |moment| At(u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX)).min(end))
}

/// When something was first told of the heap of a process.
fn began(recording: &Recording, process: ProcessId) -> Option<At> {
    let heaps = recording.heaps.iter().filter(|state| state.process == process).map(|state| state.at);
    let names: Vec<&str> = GAUGES.iter().map(|(gauge, _)| gauge.name()).collect();
    let counters = recording.counters.iter().filter(|told| told.process == process);
    let counters = counters.filter(|told| names.contains(&recording.string(told.name))).map(|told| told.at);
    heaps.min().or_else(|| counters.min())
}

fn standings(recording: &Recording, at: At) -> Vec<(ProcessId, Standing)> {
    let processes = (0..recording.processes.len() as u32).map(ProcessId);
    processes.filter_map(|process| Some((process, Standing::of(recording, process, at)?))).collect()
}

fn nothing(file: &Path) -> Failure {
    Failure::new(Exit::Failed, format!("{} tells nothing of a heap at that moment", file.display()))
        .hint("`pitviper heap --pid PID` looks at one that runs; --heap off leaves it out of recordings")
}

impl Standing {
    /// That of a process; `None` where nothing was told of it up to then.
    fn of(recording: &Recording, process: ProcessId, at: At) -> Option<Standing> {
        let row = recording.process(process)?;
        let told = |of: Gauge| Some((of, gauge(recording, process, of, at)?));
        let gauges: BTreeMap<Gauge, i64> = GAUGES.iter().filter_map(|(gauge, _)| told(*gauge)).collect();
        let heap = Heap::at(recording, process, at);
        let mut censuses = Counted::all(recording, process, at);
        if censuses.is_empty() {
            censuses = Counted::all(recording, process, recording.end());
            censuses.truncate(1);
        }
        if heap.is_none() && gauges.is_empty() && censuses.is_empty() {
            return None;
        }
        let command = recording.string(row.command).to_owned();
        Some(Standing { pid: row.pid, command, at, heap: heap.unwrap_or_default(), gauges, censuses })
    }

    fn gauge(&self, of: Gauge) -> Option<u64> {
        self.gauges.get(&of).and_then(|value| u64::try_from(*value).ok())
    }
}

/// What blocks of a size are in use more than before, those with most bytes first.
fn classes(earlier: &Standing, later: &Standing) -> Vec<(SizeClass, i64)> {
    let gone = |size: &u64| SizeClass { size: *size, pools: 0, used: 0, free: 0 };
    let sizes = earlier.heap.classes.keys().filter(|size| !later.heap.classes.contains_key(size));
    let all = sizes.map(gone).chain(later.heap.classes.values().copied());
    let mut changes: Vec<(SizeClass, i64)> = all
        .map(|class| {
            let before = earlier.heap.classes.get(&class.size).map_or(0, |class| class.used);
            (class, class.used.wrapping_sub(before).cast_signed())
        })
        .collect();
    changes.sort_by_key(|(class, more)| (std::cmp::Reverse(bytes(class, *more).unsigned_abs()), class.size));
    changes
}

/// The censuses from the last one of the earlier moment to the last one of the later.
fn censuses(earlier: &Standing, later: &Standing) -> Vec<Counted> {
    let Some(first) = earlier.censuses.last() else { return later.censuses.clone() };
    let since = later.censuses.iter().filter(|census| census.at > first.at);
    let mut all = vec![first.clone()];
    all.extend(since.cloned());
    all
}

fn bytes(class: &SizeClass, blocks: i64) -> i64 {
    blocks.saturating_mul(i64::try_from(class.size).unwrap_or(i64::MAX))
}

fn verdict(earlier: &Standing, later: &Standing) -> String {
    let mut parts = Vec::new();
    if let Some(resident) = later.gauge(Gauge::Resident) {
        parts.push(format!("{} resident", units::bytes(resident)));
    }
    if let (Some(arenas), Some(count)) = (later.gauge(Gauge::ArenaBytes), later.gauge(Gauge::Arenas)) {
        let full = later.gauge(Gauge::BlockBytes).map_or_else(String::new, |used| {
            format!(", {:.0}% of them in blocks in use", 100.0 * used as f64 / arenas.max(1) as f64)
        });
        parts.push(format!("{} in {} arenas{full}", units::bytes(arenas), units::count(count)));
    }
    let span = later.at.since(earlier.at).as_secs_f64();
    if let Some((class, more)) = classes(earlier, later).first().filter(|(_, more)| *more != 0) {
        let verb = if *more > 0 { "more" } else { "fewer" };
        parts.push(format!(
            "in {span:.1} s most changed in blocks of {} bytes: {} {verb}",
            class.size,
            units::count(more.unsigned_abs())
        ));
    }
    let growth = Growth::of(&censuses(earlier, later));
    let grows = |of: &&Growth| matches!(of.trend, Some(Trend::Linear)) && of.more > 0;
    if let Some(of) = growth.iter().find(grows) {
        let rate = units::count(of.per_second.round().max(0.0) as u64);
        parts.push(format!("{} grows all the time, by {rate} objects a second", plain::line(&of.name)));
    }
    parts.join("; ")
}

fn dump(earlier: &Standing, later: &Standing) -> StandingDump {
    let mut size_classes: Vec<ClassDump> = classes(earlier, later)
        .into_iter()
        .map(|(class, more)| ClassDump {
            size: class.size,
            pools: class.pools,
            used: class.used,
            free: class.free,
            more,
        })
        .collect();
    size_classes.sort_by_key(|class| class.size);
    let number = |gauge: &Gauge, now: i64| NumberDump {
        now,
        more: earlier.gauges.get(gauge).map(|before| now.saturating_sub(*before)),
    };
    let censuses = censuses(earlier, later);
    StandingDump {
        pid: later.pid,
        command: later.command.clone(),
        at_ns: later.at.0,
        since_ns: earlier.at.0,
        verdict: verdict(earlier, later),
        counters: later.gauges.iter().map(|(gauge, now)| (gauge.name(), number(gauge, *now))).collect(),
        size_classes,
        censuses: censuses.len(),
        types: Growth::of(&censuses).into_iter().map(typed).collect(),
    }
}

fn typed(of: Growth) -> TypeDump {
    TypeDump {
        name: of.name,
        count: of.count,
        bytes: of.bytes,
        more: of.more,
        more_bytes: of.more_bytes,
        per_second: of.per_second,
        trend: of.trend.map(Trend::name),
    }
}

fn print_all(context: &Context, pairs: &[(Standing, Standing)], top: usize) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    for (place, (earlier, later)) in pairs.iter().enumerate() {
        if context.global.json {
            serde_json::to_writer(&mut out, &dump(earlier, later))?;
            writeln!(out)?;
            continue;
        }
        if place > 0 {
            writeln!(out)?;
        }
        print(earlier, later, top, &mut out)?;
    }
    Ok(Exit::Done)
}

fn print(earlier: &Standing, later: &Standing, top: usize, out: &mut impl Write) -> io::Result<()> {
    let seconds = |at: At| at.0 as f64 / 1e9;
    writeln!(
        out,
        "Process {}: {}, at {:.1} s and since {:.1} s",
        later.pid,
        plain::line(&later.command),
        seconds(later.at),
        seconds(earlier.at)
    )?;
    writeln!(out, "{}\n", verdict(earlier, later))?;
    for (gauge, what) in GAUGES {
        let Some(now) = later.gauge(*gauge) else { continue };
        let write = if gauge.name().ends_with("_bytes") { units::bytes } else { units::count };
        let more = earlier
            .gauge(*gauge)
            .map_or_else(|| "?".to_owned(), |before| signed(now.wrapping_sub(before).cast_signed(), write));
        writeln!(out, "{:>12} {more:>12}  {what}", write(now))?;
    }
    types(&censuses(earlier, later), top, out)?;
    let changes = classes(earlier, later);
    if changes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n  size     pools    blocks in use            free           more    more bytes")?;
    for (class, more) in changes.iter().take(top) {
        let [pools, used, free] = [u64::from(class.pools), class.used, class.free].map(units::count);
        let (more, bytes) = (signed(*more, units::count), signed(bytes(class, *more), units::bytes));
        writeln!(out, "{:>6} {pools:>9} {used:>16} {free:>15} {more:>14} {bytes:>13}", class.size)?;
    }
    if changes.len() > top {
        writeln!(out, "and {} more sizes; --top shows them", changes.len() - top)?;
    }
    Ok(())
}

/// What became of types from census to census.
fn types(censuses: &[Counted], top: usize, out: &mut impl Write) -> io::Result<()> {
    let (Some(first), Some(last)) = (censuses.first(), censuses.last()) else { return Ok(()) };
    let seconds = |at: At| at.0 as f64 / 1e9;
    writeln!(
        out,
        "\n{} censuses from {:.1} s to {:.1} s",
        units::count(censuses.len() as u64),
        seconds(first.at),
        seconds(last.at)
    )?;
    writeln!(out, "     bytes         more      objects         more   a second  trend       type")?;
    let all = Growth::of(censuses);
    for of in all.iter().take(top) {
        writeln!(
            out,
            "{:>10} {:>12} {:>12} {:>12} {:>10.1}  {:<10}  {}",
            units::bytes(of.bytes),
            signed(of.more_bytes, units::bytes),
            units::count(of.count),
            signed(of.more, units::count),
            of.per_second,
            of.trend.map_or("?", Trend::name),
            plain::line(&of.name)
        )?;
    }
    if all.len() > top {
        writeln!(out, "and {} more types; --top shows them", all.len() - top)?;
    }
    Ok(())
}
