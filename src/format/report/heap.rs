//! What the page gets of heaps: how the allocator of each process stood over time, and its objects by type.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::column::{Column, MAX};
use super::story;
use crate::model::{At, ProcessId};
use crate::recording::View;
use crate::recording::growth::{Counted, Trend};
use crate::recording::heatmap::{Band, Heatmap};

/// So many types are in the page: those that took most.
const MAX_TYPES: usize = 1_000;
/// So many censuses are in the page; of more, every so many-th.
const MAX_CENSUSES: usize = 64;

/// The heap of one process.
pub(super) struct Heap {
    process: ProcessId,
    map: Option<Heatmap>,
    censuses: Vec<At>,
    types: Vec<Type>,
    /// How many types there were in all.
    all: usize,
}

/// A type, and its objects and their bytes at each census.
struct Type {
    name: String,
    trend: Option<Trend>,
    counts: Vec<u64>,
    bytes: Vec<u64>,
}

/// The heaps that were looked at in the view's span of time.
pub(super) fn heaps(view: &View<'_>) -> Vec<Heap> {
    let recording = view.recording();
    let (from, to) = view.span();
    let heaps = (0..recording.processes.len() as u32).map(ProcessId).map(|process| {
        let map = Heatmap::of(recording, process, from, to);
        let mut censuses = Counted::all(recording, process, to);
        censuses.retain(|census| census.at >= from);
        let (types, all) = types(&censuses);
        let mut heap =
            Heap { process, map, censuses: censuses.iter().map(|census| census.at).collect(), types, all };
        heap.thin();
        heap
    });
    heaps.filter(|heap| heap.map.is_some() || !heap.censuses.is_empty()).collect()
}

fn types(censuses: &[Counted]) -> (Vec<Type>, usize) {
    let names: std::collections::BTreeSet<&String> =
        censuses.iter().flat_map(|census| census.types.keys()).collect();
    let mut types: Vec<Type> = names
        .iter()
        .map(|name| {
            let seen = censuses.iter().map(|census| census.types.get(*name).copied().unwrap_or_default());
            let (counts, bytes): (Vec<u64>, Vec<u64>) = seen.unzip();
            let series: Vec<(At, u64)> =
                censuses.iter().map(|census| census.at).zip(counts.iter().copied()).collect();
            Type { name: story::short(name), trend: Trend::of(&series), counts, bytes }
        })
        .collect();
    types.sort_by_key(|of| Reverse(of.bytes.iter().max().copied()));
    types.truncate(MAX_TYPES);
    (types, names.len())
}

impl Heap {
    /// Keeps as many censuses as there may be, the first and the last among them.
    fn thin(&mut self) {
        let count = self.censuses.len();
        if count <= MAX_CENSUSES {
            return;
        }
        let kept: Vec<usize> = (0..MAX_CENSUSES).map(|n| n * (count - 1) / (MAX_CENSUSES - 1)).collect();
        let thinned = |of: &[u64]| kept.iter().filter_map(|n| of.get(*n).copied()).collect();
        self.censuses = kept.iter().filter_map(|n| self.censuses.get(*n).copied()).collect();
        for of in &mut self.types {
            of.counts = thinned(&of.counts);
            of.bytes = thinned(&of.bytes);
        }
    }

    /// What it is about; the numbers are in the columns.
    pub(super) fn json(&self) -> Value {
        let map = self.map.as_ref();
        let times = |of: &[At]| of.iter().map(|at| at.0.min(MAX)).collect::<Vec<_>>();
        let arenas = map.map_or(&[][..], |map| &map.bands).iter();
        json!({
            "process": self.process.0,
            "times": map.map(|map| times(&map.times)).unwrap_or_default(),
            "arenas": arenas.map(place).collect::<Vec<_>>(),
            "sizes": map.map_or(&[][..], |map| &map.classes).iter().map(|class| class.size).collect::<Vec<_>>(),
            "censuses": times(&self.censuses),
            "types": self.types.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(),
            "trends": self.types.iter().map(|of| of.trend.map(Trend::name)).collect::<Vec<_>>(),
            "all": self.all,
        })
    }

    /// Writes its matrices, a row after the other and each number beside the one before it: bytes of arenas, of pools in use, and of
    /// blocks in use, where they are known, and the bytes of a block; pools, blocks in use and free blocks of size classes; objects and
    /// bytes of types.
    pub(super) fn write(&self, into: &mut Column) {
        if let Some(map) = &self.map {
            map.bands.iter().for_each(|band| row(into, band.arena_bytes.iter().copied()));
            map.bands.iter().for_each(|band| row(into, band.pool_bytes.iter().copied()));
            for band in &map.bands {
                let mut last = 0;
                for bytes in &band.block_bytes {
                    into.push_some(last, *bytes);
                    last = bytes.unwrap_or(last);
                }
            }
            map.bands.iter().for_each(|band| row(into, band.block_sizes.iter().map(|size| u64::from(*size))));
            map.classes.iter().for_each(|class| row(into, class.pools.iter().map(|pools| u64::from(*pools))));
            map.classes.iter().for_each(|class| row(into, class.used.iter().copied()));
            map.classes.iter().for_each(|class| row(into, class.free.iter().copied()));
        }
        self.types.iter().for_each(|of| row(into, of.counts.iter().copied()));
        self.types.iter().for_each(|of| row(into, of.bytes.iter().copied()));
    }
}

/// Where a row of addresses lies: from, to, how many arenas; of some pools of one the first of them, how many, and where that begins.
fn place(band: &Band) -> Vec<u64> {
    let part = band.part.map(|part| [part.first, part.pools, part.arena.min(MAX)]);
    let place = [band.from.min(MAX), band.to.min(MAX), band.arenas as u64];
    place.into_iter().chain(part.into_iter().flatten()).collect()
}

fn row(into: &mut Column, numbers: impl Iterator<Item = u64>) {
    let mut last = 0;
    for number in numbers {
        into.push_beside(last, number);
        last = number;
    }
}
