//! `heap --pid`: where the memory of a process is, in one sentence first, then each byte of it in a row.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::Reading;
use super::census::{TypeDump, merged, uncounted};
use crate::cli::args::Target;
use crate::cli::failure::Exit;
use crate::cli::open::{Context, Opened};
use crate::cli::{plain, units};
use crate::python::census::{Census, Counted};
use crate::python::heap::HeapLook;
use crate::python::hook::Hook;
use crate::python::ladder::{Known, Ladder, Row};

/// Free space that a few blocks pin is worth a word from this share of the arenas on.
const WORTH_A_WORD: f64 = 0.05;

/// `heap` without a further word.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A recording instead of a process, with what has changed since it began; `FILE.pit@12s` is a moment in it.
    #[arg(value_name = "FILE.pit", conflicts_with_all = ["pid", "name", "swapped"])]
    pub(super) file: Option<PathBuf>,
    /// How many types or size classes are shown; JSON has all of them.
    #[arg(long, default_value_t = 10, value_name = "COUNT")]
    pub(super) top: usize,
    /// Read what lies in swap too, which brings it back into the target's memory.
    #[arg(long)]
    swapped: bool,
    /// Which process.
    #[command(flatten)]
    target: Target,
}

/// What was seen of a process.
pub(super) struct Sight {
    pub(super) ladder: Ladder,
    pub(super) counted: Option<Counted>,
    hooks: Vec<Hook>,
    /// Why its objects were not counted.
    pub(super) unread: Option<String>,
}

/// The overview, as `--json` prints it.
#[derive(Debug, Serialize)]
struct OverviewDump {
    pid: i32,
    python: String,
    verdict: String,
    ladder: RowDump,
    /// What is resident, shared pages divided by how many share them.
    proportional: u64,
    swapped: u64,
    types: Vec<TypeDump>,
    pinned: Option<PinnedDump>,
    /// What changes how the process allocates, in words.
    hooks: Vec<String>,
    /// Why its objects were not counted; null when they were.
    unread: Option<String>,
}

#[derive(Debug, Serialize)]
struct RowDump {
    what: String,
    bytes: u64,
    parts: Vec<RowDump>,
}

/// Arenas that are nearly empty.
#[derive(Debug, Serialize)]
struct PinnedDump {
    arenas: u64,
    blocks: u64,
    free: u64,
}

/// Prints what every process that was named holds.
pub(super) fn overview(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    for (place, pid) in context.pids(&args.target)?.into_iter().enumerate() {
        let mut opened = context.open(pid)?;
        let sight = look(&mut opened, args.swapped)?;
        let python = opened.located.fingerprint.version.to_string();
        if context.global.json {
            serde_json::to_writer(&mut out, &dump(pid, python, &sight))?;
            writeln!(out)?;
            continue;
        }
        if place > 0 {
            writeln!(out)?;
        }
        writeln!(out, "Process {pid}: {}", plain::line(&opened.process.cmdline().join(" ")))?;
        print(args, &sight, &mut out)?;
    }
    Ok(Exit::Done)
}

/// Looks at where the memory of a process is, and counts its objects.
pub(super) fn look(opened: &mut Opened, swapped: bool) -> anyhow::Result<Sight> {
    let (mut unread, mut counted) = (None, None);
    let heap = Reading { swapped, pause: None }.any_heap(opened, None);
    let Opened { process, located, python } = opened;
    match heap {
        Ok(heap) => match Census::open(located)?.take(process.memory(), &process.maps()?, &heap, None) {
            Ok(count) => counted = Some(count),
            Err(error) => unread = Some(uncounted(process.pid(), error).to_string()),
        },
        Err(error) => unread = Some(error.to_string()),
    }
    python.look(process.memory(), &process.threads());
    let threads: Vec<u64> = python.seen.threads.iter().map(|thread| thread.thread).collect();
    let arenas: Option<&HeapLook> = counted.as_ref().map(|counted| &counted.look);
    let known = Known { threads: &threads, look: arenas, counted: counted.as_ref() };
    let ladder = Ladder::climb(process, known)?;
    let hooks = Hook::all(process.memory(), located, &process.maps()?, arenas, counted.as_ref())?;
    Ok(Sight { ladder, counted, hooks, unread })
}

/// What there is to say of a process in one sentence.
fn verdict(sight: &Sight) -> String {
    let Sight { ladder, counted, .. } = sight;
    let all = ladder.resident.bytes;
    let mut verdict = format!("{} resident", units::bytes(all));
    if let Some((first, bytes)) = ladder.types.first() {
        let objects: u64 = ladder.types.iter().map(|(_, bytes)| bytes).sum();
        verdict += &format!(
            "; {} is Python objects, led by {} ({})",
            percent(objects, all),
            plain::line(first),
            units::bytes(*bytes)
        );
    }
    if let Some(counted) = counted.as_ref().filter(|counted| !counted.look.arenas.is_empty()) {
        let pinned = counted.look.pinned();
        let sums = counted.look.sums();
        if pinned.free as f64 > WORTH_A_WORD * ladder.arenas as f64 {
            verdict += &format!(
                "; {} of the arenas' space is free but pinned by {} of the blocks",
                percent(pinned.free, ladder.arenas),
                percent(pinned.blocks, sums.blocks)
            );
        } else {
            verdict += &format!("; {} of the arenas' space is free", percent(ladder.free, ladder.arenas));
        }
    }
    if let Some(unread) = &sight.unread {
        verdict += &format!("; its objects cannot be counted: {unread}");
    }
    verdict
}

fn percent(part: u64, all: u64) -> String {
    let share = 100.0 * part as f64 / all.max(1) as f64;
    format!("{share:.*}%", usize::from(share < 9.95))
}

/// What a hook means for who reads the numbers.
fn words(hook: &Hook) -> String {
    match hook {
        Hook::Debug => {
            "the debugging allocator is on: it puts 24 bytes or more around every block, which count here".into()
        }
        Hook::Tracemalloc(frames) => format!(
            "tracemalloc runs, {frames} frames deep: its own tables are in malloc's heaps, and allocating is slower"
        ),
        Hook::NoPymalloc => {
            "pymalloc is not in use (PYTHONMALLOC, or a build without it): objects lie among all else in malloc's heaps"
                .into()
        }
        Hook::Foreign(file) => format!("objects are allocated by {}, not by Python itself", plain::line(file)),
        Hook::Loaded(name, file) => format!("{name} is loaded ({})", plain::line(file)),
    }
}

fn dump(pid: i32, python: String, sight: &Sight) -> OverviewDump {
    let look = sight.counted.as_ref().map(|counted| &counted.look);
    let pinned = look.map(HeapLook::pinned).map(|pinned| PinnedDump {
        arenas: pinned.arenas,
        blocks: pinned.blocks,
        free: pinned.free,
    });
    OverviewDump {
        pid,
        python,
        verdict: verdict(sight),
        ladder: row(&sight.ladder.resident),
        proportional: sight.ladder.proportional,
        swapped: sight.ladder.swapped,
        types: sight.counted.as_ref().map(merged).unwrap_or_default(),
        pinned,
        hooks: sight.hooks.iter().map(words).collect(),
        unread: sight.unread.clone(),
    }
}

fn row(of: &Row) -> RowDump {
    RowDump { what: of.what.clone(), bytes: of.bytes, parts: of.parts.iter().map(row).collect() }
}

fn print(args: &Args, sight: &Sight, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}\n", verdict(sight))?;
    let ladder = &sight.ladder;
    rung(&ladder.resident, ladder.resident.bytes, 0, out)?;
    writeln!(
        out,
        "{:>10}          with shared pages divided by who shares them",
        units::bytes(ladder.proportional)
    )?;
    if ladder.swapped > 0 {
        writeln!(out, "{:>10}          more in swap", units::bytes(ladder.swapped))?;
    }
    if let Some(counted) = &sight.counted {
        let types = merged(counted);
        writeln!(out, "\n     bytes        count  type")?;
        for of in types.iter().take(args.top) {
            writeln!(
                out,
                "{:>10} {:>12}  {}",
                units::bytes(of.bytes),
                units::count(of.count),
                plain::line(&of.name)
            )?;
        }
        if types.len() > args.top {
            writeln!(out, "and {} more types; `heap census` shows them", types.len() - args.top)?;
        }
    }
    for (place, hook) in sight.hooks.iter().enumerate() {
        writeln!(out, "{}note: {}", if place == 0 { "\n" } else { "" }, words(hook))?;
    }
    Ok(())
}

fn rung(of: &Row, all: u64, depth: usize, out: &mut impl Write) -> io::Result<()> {
    let share = 100.0 * of.bytes as f64 / all.max(1) as f64;
    writeln!(
        out,
        "{:>10}  {share:5.1}%  {:width$}{}",
        units::bytes(of.bytes),
        "",
        plain::line(&of.what),
        width = 2 * depth
    )?;
    of.parts.iter().try_for_each(|part| rung(part, all, depth + 1, out))
}
