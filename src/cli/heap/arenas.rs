//! `heap arenas`: what `sys._debugmallocstats()` says, from outside, and a map of every pool.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::census::uncounted;
use super::pins::{self, PinDump};
use super::{Reading, memory, unreadable};
use crate::cli::args::Target;
use crate::cli::failure::Exit;
use crate::cli::open::Context;
use crate::cli::{plain, units};
use crate::python::census::{Census, Counted};
use crate::python::heap::{ArenaLook, HeapLook, Sums};
use crate::python::pools::Pool;

/// The most cells of a row of the map.
const MAX_CELLS: usize = 64;

/// `heap arenas`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many arenas the map shows, the emptiest ones.
    #[arg(long, default_value_t = 32, value_name = "COUNT")]
    top: usize,
    /// Draw the map without characters beyond ASCII.
    #[arg(long)]
    ascii: bool,
    #[command(flatten)]
    reading: Reading,
    /// Which process.
    #[command(flatten)]
    target: Target,
}

/// A process's arenas, as `--json` prints them.
#[derive(Debug, Serialize)]
struct ArenasDump {
    pid: i32,
    arenas: usize,
    pools: u64,
    blocks: u64,
    size_classes: Vec<ClassDump>,
    /// `sys.getallocatedblocks()`; null where this build does not count large blocks.
    allocated_blocks: Option<u64>,
    unused_pools: u64,
    emptied_pools: u64,
    suspect_pools: u64,
    swapped_pools: u64,
    arenas_gone: u32,
    /// For how many seconds the process was held; null when it was not.
    paused: Option<f64>,
    highwater: Option<u64>,
    arenas_ever: Option<u64>,
    bytes: BytesDump,
    map: Vec<ArenaDump>,
}

#[derive(Debug, Serialize)]
struct ClassDump {
    size: u64,
    pools: u32,
    used: u64,
    free: u64,
}

#[derive(Debug, Serialize)]
struct BytesDump {
    arenas: u64,
    used: u64,
    free: u64,
    unused_pools: u64,
    headers: u64,
    quantization: u64,
    alignment: u64,
    unread: u64,
}

#[derive(Debug, Serialize)]
struct ArenaDump {
    address: u64,
    size: u64,
    interpreter: usize,
    pools: Vec<PoolDump>,
    /// What is in it, if it is nearly empty.
    pinned_by: Option<Vec<PinDump>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PoolDump {
    Used { size: u64, used: u16, capacity: u16 },
    Other(&'static str),
}

/// Prints the arenas of every process that was named.
pub(super) fn arenas(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    for (place, pid) in context.pids(&args.target)?.into_iter().enumerate() {
        let opened = context.open(pid)?;
        let still = args.reading.still(context, &opened)?;
        let heap = args.reading.heap(&opened, still.as_ref()).map_err(|error| unreadable(pid, &error))?;
        let look =
            heap.look(memory(&opened, still.as_ref()), |_| ()).map_err(|error| unreadable(pid, &error))?;
        // Only where arenas are nearly empty is it of use to know what lies in them.
        let counted = if look.arenas.iter().any(ArenaLook::nearly_empty) {
            let maps = match &still {
                Some(still) => still.maps.clone(),
                None => opened.process.maps()?,
            };
            let counted = Census::open(&opened.located)?
                .take(memory(&opened, still.as_ref()), &maps, &heap, None)
                .map_err(|error| uncounted(pid, error))?;
            Some(counted)
        } else {
            None
        };
        let counted = counted.as_ref();
        let look = counted.map_or(&look, |counted| &counted.look);
        let paused = still.as_ref().map(|still| still.length);
        if context.global.json {
            serde_json::to_writer(&mut out, &dump(pid, look, counted, paused))?;
            writeln!(out)?;
            continue;
        }
        if place > 0 {
            writeln!(out)?;
        }
        writeln!(out, "Process {pid}: {}", plain::line(&opened.process.cmdline().join(" ")))?;
        print(args, look, &mut out)?;
        if let Some(counted) = counted {
            pins::print(counted, args.top, &mut out)?;
        }
    }
    Ok(Exit::Done)
}

fn dump(pid: i32, look: &HeapLook, counted: Option<&Counted>, paused: Option<Duration>) -> ArenasDump {
    let sums = look.sums();
    let classes = sums.classes.iter().map(|class| ClassDump {
        size: class.size,
        pools: class.pools,
        used: class.used,
        free: class.free,
    });
    let bytes = &sums.bytes;
    ArenasDump {
        pid,
        arenas: look.arenas.len(),
        pools: sums.pools,
        blocks: sums.blocks,
        size_classes: classes.collect(),
        allocated_blocks: look.allocated_blocks(),
        unused_pools: sums.unused_pools,
        emptied_pools: sums.emptied_pools,
        suspect_pools: sums.suspect_pools,
        swapped_pools: sums.swapped_pools,
        arenas_gone: look.gone,
        paused: paused.map(|paused| paused.as_secs_f64()),
        highwater: look.highwater(),
        arenas_ever: look.allocators.iter().map(|allocator| allocator.counts.arenas_ever).sum(),
        bytes: BytesDump {
            arenas: bytes.arenas,
            used: bytes.used,
            free: bytes.free,
            unused_pools: bytes.unused_pools,
            headers: bytes.headers,
            quantization: bytes.quantization,
            alignment: bytes.alignment,
            unread: bytes.unread,
        },
        map: look.arenas.iter().map(|look| arena(look, counted)).collect(),
    }
}

fn arena(look: &ArenaLook, counted: Option<&Counted>) -> ArenaDump {
    let pools = look.pools.iter().map(|pool| match *pool {
        Pool::Used { size, used, capacity } => PoolDump::Used { size, used, capacity },
        Pool::Fresh => PoolDump::Other("fresh"),
        Pool::Free => PoolDump::Other("free"),
        Pool::Suspect => PoolDump::Other("suspect"),
        Pool::Swapped => PoolDump::Other("swapped"),
        Pool::Rest(_) => PoolDump::Other("rest"),
    });
    ArenaDump {
        address: look.arena.address.0,
        size: look.arena.size,
        interpreter: look.interpreter,
        pools: pools.collect(),
        pinned_by: pins::dump(look, counted),
    }
}

fn print(args: &Args, look: &HeapLook, out: &mut impl Write) -> io::Result<()> {
    let sums = look.sums();
    let bytes = &sums.bytes;
    if look.arenas.is_empty() {
        return writeln!(
            out,
            "no arenas: this process keeps its objects outside of pymalloc (PYTHONMALLOC, or a build without it)"
        );
    }
    let highwater = look.highwater().map_or_else(String::new, |most| format!(", {most} at most so far"));
    writeln!(
        out,
        "{} in {} arenas{highwater}",
        units::bytes(bytes.arenas),
        units::count(look.arenas.len() as u64)
    )?;
    if let Some(all) = look.allocated_blocks() {
        writeln!(out, "{} blocks in use, large ones included", units::count(all))?;
    }
    writeln!(out)?;
    for (what, spent) in [
        ("in blocks in use", bytes.used),
        ("in free blocks of pools in use", bytes.free),
        ("in pools without a block in use", bytes.unused_pools),
        ("in headers of pools", bytes.headers),
        ("behind the last block of pools", bytes.quantization),
        ("around pools", bytes.alignment),
        ("in pools that could not be read", bytes.unread),
    ] {
        if spent > 0 {
            let share = 100.0 * spent as f64 / bytes.arenas as f64;
            writeln!(out, "{:>10}  {share:5.1}%  {what}", units::bytes(spent))?;
        }
    }
    doubts(&sums, look.gone, out)?;
    writeln!(out, "\n  size     pools    blocks in use            free   full")?;
    for class in &sums.classes {
        let full = 100.0 * class.used as f64 / (class.used + class.free) as f64;
        let [pools, used, free] = [u64::from(class.pools), class.used, class.free].map(units::count);
        writeln!(out, "{:>6} {pools:>9} {used:>16} {free:>15} {full:>5.0}%", class.size)?;
    }
    map(args, look, out)
}

fn doubts(sums: &Sums, gone: u32, out: &mut impl Write) -> io::Result<()> {
    if sums.suspect_pools > 0 {
        writeln!(out, "{} pools changed whenever they were read; no number counts them", sums.suspect_pools)?;
    }
    if sums.swapped_pools > 0 {
        writeln!(
            out,
            "{} pools lie in swap, and no number counts them; --swapped reads them",
            sums.swapped_pools
        )?;
    }
    if gone > 0 {
        writeln!(out, "{gone} arenas were given back before they could be read")?;
    }
    Ok(())
}

/// A row an arena, a cell a pool.
fn map(args: &Args, look: &HeapLook, out: &mut impl Write) -> io::Result<()> {
    let (shades, fresh, free, unread): (&[char], char, char, char) = match args.ascii {
        true => (&['1', '2', '3', '4', '5', '6', '7', '8', '9', '#'], ' ', '.', '?'),
        false => (&['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'], ' ', '·', '?'),
    };
    let mut rows: Vec<(&ArenaLook, f64)> = look.arenas.iter().map(|arena| (arena, fullness(arena))).collect();
    rows.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    let hidden = rows.len().saturating_sub(args.top);
    rows.truncate(args.top);
    if rows.is_empty() {
        return Ok(());
    }
    let first = if hidden > 0 { format!(", the emptiest {}", rows.len()) } else { String::new() };
    let most = rows.iter().map(|(look, _)| look.pools.len()).max().unwrap_or(0);
    let cell = if most > MAX_CELLS { "a pool, or several of a long arena" } else { "a pool" };
    writeln!(
        out,
        "\nArenas{first}: a cell is {cell}, {} to {} by use, {free} without a block in use, blank never used",
        shades[0],
        shades[shades.len() - 1]
    )?;
    for (look, full) in rows {
        let places: Vec<Pool> = look.each_place().collect();
        let cells: String = places
            .chunks(look.pools.len().div_ceil(MAX_CELLS))
            .map(|pools| match share(pools) {
                Some(share) => shades[((share * shades.len() as f64) as usize).min(shades.len() - 1)],
                None if pools.iter().any(|pool| matches!(pool, Pool::Suspect | Pool::Swapped)) => unread,
                None if pools.contains(&Pool::Free) => free,
                None => fresh,
            })
            .collect();
        writeln!(out, "{:>#14x} {:>4.0}%  {cells}", look.arena.address.0, 100.0 * full)?;
    }
    if hidden > 0 {
        writeln!(out, "and {hidden} more; --top {} shows all", look.arenas.len())?;
    }
    Ok(())
}

/// How full the pools of a cell are that have blocks in use; `None` where none has.
fn share(pools: &[Pool]) -> Option<f64> {
    let full = pools.iter().map(|pool| match *pool {
        Pool::Used { used, capacity, .. } => Some(f64::from(used) / f64::from(capacity.max(1))),
        _ => None,
    });
    let (sum, some) =
        full.fold((0.0, false), |(sum, some), full| (sum + full.unwrap_or(0.0), some || full.is_some()));
    some.then(|| sum / pools.len() as f64)
}

/// The share of an arena's space that is in blocks in use.
fn fullness(look: &ArenaLook) -> f64 {
    look.used() as f64 / look.arena.size as f64
}
