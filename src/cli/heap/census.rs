//! `heap census`: every object of a process by its type, and what the allocator spends on it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Reading, memory, unreadable};
use crate::cli::args::Target;
use crate::cli::failure::{Exit, Failure};
use crate::cli::open::Context;
use crate::cli::{plain, units};
use crate::python::array::Array;
use crate::python::census::{Census, Counted, NoCensus};
use crate::python::gc::Collectors;
use crate::python::generation::{ByGeneration, Generations};

/// How many arrays are shown; JSON has all of them.
const MAX_SHOWN_ARRAYS: usize = 10;
/// How many objects are shown whose memory memoryviews show; JSON has all of them.
const MAX_SHOWN_EXPORTERS: usize = 5;
/// How many modules are shown; JSON has all of them.
const MAX_SHOWN_MODULES: usize = 5;

/// `heap census`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many types are shown; JSON has all of them.
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    top: usize,
    /// In which order.
    #[arg(long, value_enum, default_value_t = Sort::Bytes, value_name = "BY")]
    sort: Sort,
    /// Only types whose name matches.
    #[arg(long = "type", value_name = "REGEX")]
    types: Option<Regex>,
    /// Write the census to this file, as JSON, for `heap diff`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Which process.
    #[command(flatten)]
    target: Target,
}

/// What types are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By what they take.
    Bytes,
    /// By how many objects there are.
    Count,
    /// By name.
    Name,
}

/// A census, as `--json` prints it and `-o` keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CensusDump {
    pub(super) pid: i32,
    python: String,
    /// Objects of all types.
    objects: u64,
    /// What the allocator spends on them.
    bytes: u64,
    pub(super) types: Vec<TypeDump>,
    raw: BlocksDump,
    cached: BlocksDump,
    /// Blocks too large for a pool, where this build counts them.
    large_blocks: Option<u64>,
    suspect_pools: u64,
    swapped_pools: u64,
    /// For how many seconds the process was held; null when it was not.
    #[serde(default)]
    paused: Option<f64>,
    /// Whether the interpreter's own allocator has arenas here; without, objects are found by what leads to them.
    arenas: bool,
    /// Arrays of numpy's, those of the most bytes first.
    #[serde(default)]
    arrays: Vec<ArrayDump>,
    /// Objects whose memory memoryviews show, those of which most is shown first.
    #[serde(default)]
    exporters: Vec<ExporterDump>,
    /// Modules, those whose globals take most bytes first.
    #[serde(default)]
    modules: Vec<ModuleDump>,
    /// Weak references, bytecode and the like; absent from what earlier versions kept.
    #[serde(default)]
    special: SpecialDump,
    /// Whether there was more outside of pools than was followed.
    cut: bool,
}

/// A module, and what the objects take that its globals name.
#[derive(Debug, Serialize, Deserialize)]
struct ModuleDump {
    name: String,
    globals: u64,
    bytes: u64,
}

/// What there is beside types.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SpecialDump {
    /// Weak references, those whose object is gone, and those that call something when it goes.
    weak_references: u64,
    dead_references: u64,
    callbacks: u64,
    /// Bytes of the instructions of all code objects.
    code_objects: u64,
    bytecode: u64,
    /// Interned strings, where these can be told (3.6 and later).
    interned: u64,
    interned_bytes: u64,
    /// Memoryviews, and the bytes that they show.
    memoryviews: u64,
    shown_bytes: u64,
    /// Objects in `gc.garbage`, of all interpreters; null where that cannot be read.
    garbage: Option<u64>,
}

/// What there is of a type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TypeDump {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Whether the collector looks after this type.
    gc: bool,
    tracked: u64,
    /// Of the tracked ones, how many are in each generation, and in the permanent one; null without a pause.
    #[serde(default)]
    generations: Option<ByGeneration>,
    immortal: u64,
    interned: u64,
    /// Objects too large for a pool.
    large: u64,
    /// Of the bytes, those that the objects keep elsewhere.
    buffers: u64,
    /// What `sys.getsizeof` says of them all; null for types that count for themselves.
    sizeof: Option<u64>,
}

/// An array of numpy's.
#[derive(Debug, Serialize, Deserialize)]
struct ArrayDump {
    at: u64,
    name: String,
    dtype: String,
    shape: Vec<u64>,
    /// Bytes of all its elements, whosever they are.
    bytes: u64,
    /// Whether their memory is its own, and counted for it.
    owns: bool,
    /// The object whose memory it shows, if it shows one's.
    base: Option<u64>,
}

/// An object whose memory memoryviews show.
#[derive(Debug, Serialize, Deserialize)]
struct ExporterDump {
    at: u64,
    name: String,
    views: u64,
    /// Bytes of the longest view; they are counted for the object.
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct BlocksDump {
    count: u64,
    bytes: u64,
}

/// Counts the objects of every process that was named.
pub(super) fn census(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let pids = context.pids(&args.target)?;
    if args.output.is_some() && pids.len() > 1 {
        return Err(Failure::new(Exit::Usage, "one --output takes one process").into());
    }
    let mut out = io::stdout().lock();
    for (place, pid) in pids.into_iter().enumerate() {
        let opened = context.open(pid)?;
        let still = args.reading.still(context, &opened)?;
        let heap = args.reading.any_heap(&opened, still.as_ref()).map_err(|error| unreadable(pid, &error))?;
        let maps = match &still {
            Some(still) => still.maps.clone(),
            None => opened.process.maps()?,
        };
        let generations = match &still {
            Some(still) => Generations::read(&still.memory, &opened.located)?,
            None => None,
        };
        let mut census = Census::open(&opened.located)?;
        census.modules = true;
        let counted = census
            .take(memory(&opened, still.as_ref()), &maps, &heap, generations.as_ref())
            .map_err(|error| uncounted(pid, error))?;
        let garbage = Collectors::bind(&opened.located)?.all_garbage(memory(&opened, still.as_ref()));
        let paused = still.map(|still| still.length);
        let version = opened.located.fingerprint.version.to_string();
        let dump = dump(pid, version, &counted, garbage, paused);
        if let Some(path) = &args.output {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(
                    |error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())),
                )?;
            serde_json::to_writer(&mut file, &dump)?;
            writeln!(file)?;
            context.say(&format!("census written to {}", path.display()));
        }
        if context.global.json {
            serde_json::to_writer(&mut out, &dump)?;
            writeln!(out)?;
        } else if args.output.is_none() {
            if place > 0 {
                writeln!(out)?;
            }
            writeln!(out, "Process {pid}: {}", plain::line(&opened.process.cmdline().join(" ")))?;
            print(args, &dump, &mut out)?;
        }
    }
    Ok(Exit::Done)
}

/// What the user is told of objects that cannot be counted.
pub(super) fn uncounted(pid: i32, error: NoCensus) -> anyhow::Error {
    match error {
        NoCensus::Heap(error) => unreadable(pid, &error),
        NoCensus::Layout(error) => error.into(),
    }
}

fn dump(
    pid: i32,
    python: String,
    counted: &Counted,
    garbage: Option<u64>,
    paused: Option<Duration>,
) -> CensusDump {
    let special = &counted.special;
    let types: Vec<TypeDump> = merged(counted);
    let sums = counted.look.sums();
    CensusDump {
        pid,
        python,
        objects: types.iter().map(|of| of.count).sum(),
        bytes: types.iter().map(|of| of.bytes).sum(),
        types,
        raw: BlocksDump { count: counted.raw.count, bytes: counted.raw.bytes },
        cached: BlocksDump { count: counted.cached.count, bytes: counted.cached.bytes },
        large_blocks: counted.look.allocators.iter().map(|allocator| allocator.counts.large).sum(),
        suspect_pools: sums.suspect_pools,
        swapped_pools: sums.swapped_pools,
        arrays: counted
            .arrays
            .iter()
            .map(|(array, of)| self::array(array, &counted.types[*of].0.name))
            .collect(),
        exporters: counted
            .exporters
            .iter()
            .map(|(of, class)| ExporterDump {
                at: of.at.0,
                name: counted.types[*class].0.name.clone(),
                views: of.views,
                bytes: of.bytes,
            })
            .collect(),
        paused: paused.map(|paused| paused.as_secs_f64()),
        arenas: !counted.look.arenas.is_empty(),
        modules: counted
            .modules
            .iter()
            .map(|of| ModuleDump { name: of.name.clone(), globals: of.globals, bytes: of.bytes })
            .collect(),
        special: SpecialDump {
            weak_references: special.weak,
            dead_references: special.dead,
            callbacks: special.callbacks,
            code_objects: special.code.count,
            bytecode: special.code.bytes,
            interned: special.interned.count,
            interned_bytes: special.interned.bytes,
            memoryviews: special.views.count,
            shown_bytes: special.views.bytes,
            garbage,
        },
        cut: counted.cut,
    }
}

fn array(array: &Array, name: &str) -> ArrayDump {
    ArrayDump {
        at: array.at.0,
        name: name.to_owned(),
        dtype: array.dtype.clone(),
        shape: array.shape.clone(),
        bytes: array.bytes,
        owns: array.owns,
        base: array.base.map(|base| base.0),
    }
}

/// The types, those of one name as one: a class that is made anew at every call is one to who reads.
pub(super) fn merged(counted: &Counted) -> Vec<TypeDump> {
    let mut by_name: Vec<TypeDump> = counted
        .types
        .iter()
        .map(|(class, tally)| TypeDump {
            name: class.name.clone(),
            count: tally.count,
            bytes: tally.bytes,
            gc: class.gc,
            tracked: tally.tracked,
            generations: counted.aged.then_some(tally.generations),
            immortal: tally.immortal,
            interned: tally.interned,
            large: tally.large,
            buffers: tally.buffers,
            sizeof: tally.sizeof,
        })
        .collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    by_name.dedup_by(|more, kept| {
        let same = more.name == kept.name;
        if same {
            kept.count += more.count;
            kept.bytes += more.bytes;
            kept.gc |= more.gc;
            kept.tracked += more.tracked;
            let both = kept.generations.zip(more.generations);
            kept.generations = both.map(|(a, b)| std::array::from_fn(|number| a[number] + b[number]));
            kept.immortal += more.immortal;
            kept.interned += more.interned;
            kept.large += more.large;
            kept.buffers += more.buffers;
            kept.sizeof = kept.sizeof.zip(more.sizeof).map(|(one, other)| one + other);
        }
        same
    });
    by_name.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    by_name
}

fn print(args: &Args, dump: &CensusDump, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{} in {} objects of {} types",
        units::bytes(dump.bytes),
        units::count(dump.objects),
        units::count(dump.types.len() as u64)
    )?;
    for (what, blocks) in [
        ("in blocks that no object is known to keep", &dump.raw),
        ("in freed objects that wait for their next use", &dump.cached),
    ] {
        if blocks.count > 0 {
            writeln!(
                out,
                "{} more {what}, {} of them",
                units::bytes(blocks.bytes),
                units::count(blocks.count)
            )?;
        }
    }
    if !dump.arenas {
        writeln!(
            out,
            "the interpreter's own allocator is not in use here: objects were found by following what leads to them"
        )?;
    }
    if dump.suspect_pools > 0 {
        writeln!(
            out,
            "{} pools changed whenever they were read; nothing in them is counted",
            dump.suspect_pools
        )?;
    }
    if dump.swapped_pools > 0 {
        writeln!(
            out,
            "{} pools lie in swap; nothing in them is counted, --swapped reads them",
            dump.swapped_pools
        )?;
    }
    if dump.cut {
        writeln!(out, "there are more large objects than are followed")?;
    }
    let mut types: Vec<&TypeDump> = dump
        .types
        .iter()
        .filter(|of| args.types.as_ref().is_none_or(|regex| regex.is_match(&of.name)))
        .collect();
    match args.sort {
        Sort::Bytes => {}
        Sort::Count => types.sort_by_key(|of| std::cmp::Reverse(of.count)),
        Sort::Name => types.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    let hidden = types.len().saturating_sub(args.top);
    types.truncate(args.top);
    writeln!(out, "\n     bytes        count  average  type")?;
    for of in types {
        writeln!(
            out,
            "{:>10} {:>12} {:>8}  {}",
            units::bytes(of.bytes),
            units::count(of.count),
            units::count(of.bytes / of.count.max(1)),
            plain::line(&of.name)
        )?;
    }
    if hidden > 0 {
        writeln!(out, "and {hidden} more types; --top shows them")?;
    }
    arrays(&dump.arrays, out)?;
    exporters(&dump.exporters, out)?;
    modules(&dump.modules, out)?;
    special(&dump.special, out)
}

/// The modules whose globals take most.
fn modules(modules: &[ModuleDump], out: &mut impl Write) -> io::Result<()> {
    if modules.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n     bytes      globals  module")?;
    for of in modules.iter().take(MAX_SHOWN_MODULES) {
        writeln!(
            out,
            "{:>10} {:>12}  {}",
            units::bytes(of.bytes),
            units::count(of.globals),
            plain::line(&of.name)
        )?;
    }
    if modules.len() > MAX_SHOWN_MODULES {
        writeln!(out, "and {} more modules", modules.len() - MAX_SHOWN_MODULES)?;
    }
    Ok(())
}

/// What there is beside types.
fn special(special: &SpecialDump, out: &mut impl Write) -> io::Result<()> {
    let (count, bytes) = (units::count, units::bytes);
    writeln!(
        out,
        "\n{} weak references, {} of them to what is gone, {} with a callback",
        count(special.weak_references),
        count(special.dead_references),
        count(special.callbacks)
    )?;
    writeln!(
        out,
        "{} code objects with {} of bytecode",
        count(special.code_objects),
        bytes(special.bytecode)
    )?;
    if special.interned > 0 {
        writeln!(out, "{} interned strings in {}", count(special.interned), bytes(special.interned_bytes))?;
    }
    if special.memoryviews > 0 {
        writeln!(out, "{} memoryviews of {}", count(special.memoryviews), bytes(special.shown_bytes))?;
    }
    match special.garbage {
        Some(garbage) if garbage > 0 => writeln!(out, "{} objects in gc.garbage", count(garbage)),
        _ => Ok(()),
    }
}

/// The objects of which memoryviews show most.
fn exporters(exporters: &[ExporterDump], out: &mut impl Write) -> io::Result<()> {
    if exporters.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n     bytes        views  shown by memoryviews, of")?;
    for of in exporters.iter().take(MAX_SHOWN_EXPORTERS) {
        let (bytes, views) = (units::bytes(of.bytes), units::count(of.views));
        writeln!(out, "{bytes:>10} {views:>12}  {} at {:#x}", plain::line(&of.name), of.at)?;
    }
    if exporters.len() > MAX_SHOWN_EXPORTERS {
        writeln!(out, "and {} more objects", exporters.len() - MAX_SHOWN_EXPORTERS)?;
    }
    Ok(())
}

/// The largest arrays, with what they are and whose memory they show.
fn arrays(arrays: &[ArrayDump], out: &mut impl Write) -> io::Result<()> {
    if arrays.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n     bytes  elements    shape")?;
    for array in arrays.iter().take(MAX_SHOWN_ARRAYS) {
        let shape: Vec<String> = array.shape.iter().map(u64::to_string).collect();
        let whose = match (array.owns, array.base) {
            (true, _) => String::new(),
            (false, Some(base)) => format!("  a view of {base:#x}"),
            (false, None) => "  memory of others".to_owned(),
        };
        writeln!(
            out,
            "{:>10}  {:<10}  ({})  {} at {:#x}{whose}",
            units::bytes(array.bytes),
            plain::line(&array.dtype),
            shape.join(", "),
            plain::line(&array.name),
            array.at
        )?;
    }
    if arrays.len() > MAX_SHOWN_ARRAYS {
        writeln!(out, "and {} more arrays", arrays.len() - MAX_SHOWN_ARRAYS)?;
    }
    Ok(())
}
