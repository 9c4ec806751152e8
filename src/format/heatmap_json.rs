//! The heap over time as matrices, in one JSON object; `docs/heap.md` says what each part of it is.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::model::heap::Gauge;
use crate::model::{At, ProcessId};
use crate::recording::heatmap::Heatmap;
use crate::recording::{Recording, View};

/// The counters that stand beside the matrices.
const GAUGES: [Gauge; 6] =
    [Gauge::Resident, Gauge::Arenas, Gauge::ArenaBytes, Gauge::PoolBytes, Gauge::BlockBytes, Gauge::Blocks];

#[derive(Serialize)]
struct Document<'r> {
    tool: &'r str,
    started_unix_ns: u64,
    from_ns: u64,
    to_ns: u64,
    processes: Vec<OfProcess<'r>>,
}

#[derive(Serialize)]
struct OfProcess<'r> {
    process: u32,
    pid: u32,
    command: &'r str,
    times_ns: Vec<u64>,
    counters: BTreeMap<&'static str, Vec<Option<i64>>>,
    addresses: Addresses,
    size_classes: Classes,
}

#[derive(Serialize)]
struct Addresses {
    rows: Vec<Row>,
    arena_bytes: Vec<Vec<u64>>,
    pool_bytes: Vec<Vec<u64>>,
    block_bytes: Vec<Vec<Option<u64>>>,
    block_sizes: Vec<Vec<u32>>,
}

#[derive(Serialize)]
struct Row {
    from: u64,
    to: u64,
    arenas: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pools: Option<Pools>,
}

/// Which pools of the arena a row is, where it is not all of them.
#[derive(Serialize)]
struct Pools {
    arena: u64,
    first: u64,
    count: u64,
}

#[derive(Serialize)]
struct Classes {
    rows: Vec<u64>,
    pools: Vec<Vec<u32>>,
    used: Vec<Vec<u64>>,
    free: Vec<Vec<u64>>,
}

/// Writes the view's span of time.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let recording = view.recording();
    let (from, to) = view.span();
    let processes = (0..recording.processes.len() as u32).map(ProcessId);
    let maps = processes.filter_map(|process| Heatmap::of(recording, process, from, to));
    let document = Document {
        tool: &recording.meta.tool,
        started_unix_ns: recording.meta.started_unix_ns,
        from_ns: from.0,
        to_ns: to.0,
        processes: maps.map(|map| of_process(recording, map)).collect(),
    };
    let mut out = io::BufWriter::new(out);
    serde_json::to_writer(&mut out, &document)?;
    writeln!(out)?;
    out.flush()
}

fn of_process(recording: &Recording, map: Heatmap) -> OfProcess<'_> {
    let row = recording.process(map.process);
    let counters = counters(recording, map.process, &map.times);
    let bands = map.bands.into_iter().map(|band| {
        let pools = band.part.map(|of| Pools { arena: of.arena, first: of.first, count: of.pools });
        let row = Row { from: band.from, to: band.to, arenas: band.arenas, pools };
        (row, (band.arena_bytes, (band.pool_bytes, (band.block_bytes, band.block_sizes))))
    });
    let (rows, (arena_bytes, (pool_bytes, (block_bytes, block_sizes)))) = bands.unzip();
    let classes = map.classes.into_iter().map(|class| (class.size, (class.pools, (class.used, class.free))));
    let (sizes, (pools, (used, free))) = classes.unzip();
    OfProcess {
        process: map.process.0,
        pid: row.map_or(0, |row| row.pid),
        command: row.map_or("", |row| recording.string(row.command)),
        times_ns: map.times.iter().map(|at| at.0).collect(),
        counters,
        addresses: Addresses { rows, arena_bytes, pool_bytes, block_bytes, block_sizes },
        size_classes: Classes { rows: sizes, pools, used, free },
    }
}

/// What each counter was at these moments; nothing before it was told.
fn counters(
    recording: &Recording,
    process: ProcessId,
    times: &[At],
) -> BTreeMap<&'static str, Vec<Option<i64>>> {
    let mut all = BTreeMap::new();
    for gauge in GAUGES {
        let told = recording.counters.iter().filter(|told| told.process == process);
        let told = told.filter(|told| recording.string(told.name) == gauge.name());
        let mut told: Vec<(At, i64)> = told.map(|told| (told.at, told.value)).collect();
        told.sort_by_key(|(at, _)| *at);
        let at = |end: &At| told[..told.partition_point(|(at, _)| at <= end)].last().map(|(_, value)| *value);
        all.insert(gauge.name(), times.iter().map(at).collect());
    }
    all
}
