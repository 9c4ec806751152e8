//! Where the memory is that a process has resident: each byte in one row, from the kernel's books down to types of objects.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::memory::{Addr, Memory};
use crate::target::maps::{Mapping, Maps};
use crate::target::pages::{Held, Pages};
use crate::target::smaps::Resident;
use crate::target::{Process, ProcessError};

use super::census::{Counted, Piece};
use super::heap::{ArenaLook, HeapLook, Spent};
use super::outside;
use super::pools::Pool;

/// How far above a thread's `pthread_t` its stack may end: the C library's own record of the thread lies there.
const ABOVE_THREAD: u64 = 4096;
/// glibc keeps the memory of threads other than the main one in heaps of this length, each at a multiple of it, and each begins
/// with the address of its arena, which lies this far at most behind the beginning of a heap (malloc/arena.c: `heap_info`).
const HEAP: u64 = 64 << 20;
const MAX_ARENA: u64 = 256;
/// The most types that a row is divided by; the others have one together.
const MAX_TYPES: usize = 10;

/// Some memory, and what it is made of: the parts of a row add up to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is, in words.
    pub what: String,
    /// Resident bytes.
    pub bytes: u64,
    /// What it is made of; nothing where no more is known.
    pub parts: Vec<Row>,
}

/// Where the memory of a process is.
#[derive(Debug)]
pub struct Ladder {
    /// All that is resident.
    pub resident: Row,
    /// The same, what several processes have divided by how many they are (`Pss`).
    pub proportional: u64,
    /// What lies in swap instead.
    pub swapped: u64,
    /// Resident bytes of objects and of what they keep, by type; most bytes first.
    pub types: Vec<(String, u64)>,
    /// Resident bytes of arenas.
    pub arenas: u64,
    /// Of these, those in free blocks and in pools without a block in use.
    pub free: u64,
}

/// What is known of a process already.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// `pthread_t` of its threads.
    pub threads: &'a [u64],
    /// Its arenas, if they could be read.
    pub look: Option<&'a HeapLook>,
    /// Its objects, if they could be counted.
    pub counted: Option<&'a Counted>,
}

/// Memory by what it serves, in resident bytes.
#[derive(Debug, Default)]
struct Sums {
    programs: u64,
    files: u64,
    kernel: u64,
    shared: u64,
    proportional: u64,
    swapped: u64,
    /// Of arenas, what is resident of each part.
    arenas: Spent,
    pieces: BTreeMap<usize, u64>,
    malloc: u64,
    stacks: u64,
    variables: u64,
    mapped: u64,
}

impl Ladder {
    /// Asks the kernel what is resident, and puts each byte of it into a row.
    pub fn climb(process: &Process, known: Known<'_>) -> Result<Ladder, ProcessError> {
        let resident = process.resident()?;
        let maps = process.maps()?;
        let memory = process.memory();
        let pages = Pages::open(process);
        let variables = outside::variables(memory, &maps);
        let pieces = disjoint(known.counted.map_or(&[], |counted| &counted.pieces));
        let mut sums = Sums::default();
        for mapping in &resident {
            sums.proportional += mapping.proportional;
            sums.swapped += mapping.swapped;
            sums.files(mapping, &maps);
            if mapping.anonymous > 0 {
                sums.anonymous(memory, mapping, &pages, known, &variables, &pieces);
            }
        }
        Ok(sums.ladder(known.counted))
    }
}

impl Sums {
    /// Puts down what files stand behind.
    fn files(&mut self, resident: &Resident, maps: &Maps) {
        let bytes = resident.bytes - resident.anonymous;
        let mapping = &resident.mapping;
        let program =
            || maps.iter().any(|m| m.exec && m.inode == mapping.inode && m.device == mapping.device);
        *match () {
            () if resident.shared() => &mut self.shared,
            () if !mapping.file() => &mut self.kernel,
            () if program() => &mut self.programs,
            () => &mut self.files,
        } += bytes;
    }

    /// Puts down what the process wrote itself.
    fn anonymous(
        &mut self,
        memory: &dyn Memory,
        resident: &Resident,
        pages: &Pages,
        known: Known<'_>,
        variables: &[Range<u64>],
        pieces: &[(Range<u64>, usize)],
    ) {
        let mapping = &resident.mapping;
        let mut left = resident.anonymous;
        if mapping.file() {
            return self.variables += left;
        }
        if mapping.path.as_os_str() == "[stack]" {
            return self.stacks += left;
        }
        let whole = mapping.start..mapping.end;
        let held = pages.held(&whole, left);
        let mut floor = mapping.start;
        let mut stacks = Vec::new();
        let arenas = known.look.map_or(&[][..], |look| &look.arenas);
        let first = arenas.partition_point(|look| look.arena.address.0 + look.arena.size <= whole.start);
        let within: Vec<&ArenaLook> =
            arenas[first..].iter().take_while(|look| look.arena.address.0 < whole.end).collect();
        for thread in known.threads.iter().filter(|thread| whole.contains(*thread)) {
            let below = within.iter().map(|look| look.arena.address.0 + look.arena.size);
            floor = below.filter(|end| end <= thread).fold(floor, u64::max);
            stacks.push(floor..whole.end.min(thread.next_multiple_of(ABOVE_THREAD) + ABOVE_THREAD));
        }
        for look in within {
            let sizes = known.look.map_or((1, 0), |look| (look.pool_size, look.header_size));
            add(&mut self.arenas, look, sizes, &held, &mut left);
        }
        let mut take = |span: &Range<u64>| {
            let span = span.start.max(whole.start)..span.end.min(whole.end);
            let bytes = if span.is_empty() { 0 } else { held.bytes(&span).min(left) };
            left -= bytes;
            bytes
        };
        self.stacks += stacks.iter().map(&mut take).sum::<u64>();
        self.variables += variables.iter().map(&mut take).sum::<u64>();
        let first = pieces.partition_point(|(piece, _)| piece.end <= whole.start);
        for (piece, of) in pieces[first..].iter().take_while(|(piece, _)| piece.start < whole.end) {
            *self.pieces.entry(*of).or_default() += take(piece);
        }
        *if serves_malloc(memory, mapping, &held) { &mut self.malloc } else { &mut self.mapped } += left;
    }

    fn ladder(self, counted: Option<&Counted>) -> Ladder {
        let arenas = &self.arenas;
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        let mut used = Vec::new();
        if let Some(counted) = counted {
            // Who changes while it is read may have more in types than it had in blocks a moment earlier.
            let mut left = arenas.used;
            let mut take = |bytes: u64| {
                let bytes = bytes.min(left);
                left -= bytes;
                bytes
            };
            let mut pooled: BTreeMap<&str, u64> = BTreeMap::new();
            for (class, tally) in &counted.types {
                *pooled.entry(&class.name).or_default() += take(tally.pooled);
            }
            let cached = take(counted.cached.bytes);
            pooled.iter().for_each(|(name, bytes)| *types.entry((*name).to_owned()).or_default() += bytes);
            used = by_type(pooled);
            used.push(leaf("freed objects that wait for their next use", cached));
            used.push(leaf("blocks that no object is known to keep", left));
        }
        let mut outside: BTreeMap<&str, u64> = BTreeMap::new();
        for (of, bytes) in &self.pieces {
            let Some((class, _)) = counted.and_then(|counted| counted.types.get(*of)) else { continue };
            *outside.entry(&class.name).or_default() += bytes;
            *types.entry(class.name.clone()).or_default() += bytes;
        }
        let arenas_row = node(
            "arenas",
            vec![
                Row { what: "blocks in use".into(), bytes: arenas.used, parts: kept(used) },
                leaf("free blocks of pools in use", arenas.free),
                leaf("pools without a block in use", arenas.unused_pools),
                leaf("headers of pools", arenas.headers),
                leaf("behind the last block of pools", arenas.quantization),
                leaf("around pools", arenas.alignment),
                leaf("pools that could not be read", arenas.unread),
            ],
        );
        let anonymous = node(
            "anonymous: written by the process itself",
            vec![
                arenas_row,
                node("objects and buffers outside of arenas", by_type(outside)),
                leaf("the rest of malloc's heaps", self.malloc),
                leaf("stacks of threads", self.stacks),
                leaf("variables of programs and libraries", self.variables),
                leaf("mapped by other means", self.mapped),
            ],
        );
        let files = node(
            "files",
            vec![
                leaf("programs and libraries", self.programs),
                leaf("other files", self.files),
                leaf("pages of the kernel's", self.kernel),
            ],
        );
        let shared = leaf("shared memory", self.shared);
        let mut types: Vec<(String, u64)> = types.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        types.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ladder {
            resident: node("resident", vec![anonymous, files, shared]),
            proportional: self.proportional,
            swapped: self.swapped,
            types,
            arenas: arenas.arenas,
            free: arenas.free + arenas.unused_pools,
        }
    }
}

/// Puts down what of an arena is resident, and takes it from what is left of the mapping's.
fn add(spent: &mut Spent, look: &ArenaLook, (pool_size, header): (u64, u64), held: &Held, left: &mut u64) {
    let take = |part: &mut u64, bytes: u64, of: &mut u64| {
        let bytes = bytes.min(*of);
        *part += bytes;
        *of -= bytes;
    };
    let arena = look.arena.address.0..look.arena.address.0 + look.arena.size;
    let mut all = held.bytes(&arena).min(*left);
    *left -= all;
    spent.arenas += all;
    for (place, places, pool) in look.wholes() {
        let start = look.arena.first.0 + place as u64 * pool_size;
        let mut bytes = held.bytes(&(start..start + places * pool_size)).min(all);
        all -= bytes;
        match pool {
            Pool::Fresh | Pool::Free => spent.unused_pools += bytes,
            Pool::Suspect | Pool::Swapped | Pool::Rest(_) => spent.unread += bytes,
            Pool::Used { size, used, capacity } => {
                let blocks = |count: u16| u64::from(count) * size;
                // What was never handed out may never have been written: free blocks come last.
                take(&mut spent.headers, header, &mut bytes);
                take(&mut spent.used, blocks(used), &mut bytes);
                take(&mut spent.free, blocks(capacity - used), &mut bytes);
                spent.quantization += bytes;
            }
        }
    }
    spent.alignment += all;
}

/// Whether a mapping is one of the C library's for what programs ask it for, piece by piece.
fn serves_malloc(memory: &dyn Memory, mapping: &Mapping, held: &Held) -> bool {
    let thread = || {
        let written =
            mapping.start.is_multiple_of(HEAP) && held.bytes(&(mapping.start..mapping.start + 8)) > 0;
        let arena = written.then(|| memory.get::<u64>(Addr(mapping.start)).ok()).flatten();
        arena.is_some_and(|arena| arena % HEAP <= MAX_ARENA && arena >= HEAP)
    };
    mapping.path.as_os_str() == "[heap]" || thread()
}

/// The pieces by address, each byte in one of them.
fn disjoint(pieces: &[Piece]) -> Vec<(Range<u64>, usize)> {
    let end = |piece: &Piece| piece.start.0.saturating_add(piece.size);
    let mut pieces: Vec<(Range<u64>, usize)> =
        pieces.iter().map(|piece| (piece.start.0..end(piece), piece.of)).collect();
    pieces.sort_by_key(|(piece, of)| (piece.start, piece.end, *of));
    let mut behind = 0;
    pieces.retain_mut(|(piece, _)| {
        piece.start = piece.start.max(behind);
        behind = behind.max(piece.end);
        !piece.is_empty()
    });
    pieces
}

/// A row a type, those with the most bytes.
fn by_type(types: BTreeMap<&str, u64>) -> Vec<Row> {
    let mut rows: Vec<Row> =
        types.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| leaf(name, bytes)).collect();
    rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.what.cmp(&b.what)));
    if rows.len() > MAX_TYPES {
        let others = rows.split_off(MAX_TYPES);
        let what = format!("{} other types", others.len());
        rows.push(leaf(&what, others.iter().map(|row| row.bytes).sum()));
    }
    rows
}

fn leaf(what: &str, bytes: u64) -> Row {
    Row { what: what.to_owned(), bytes, parts: Vec::new() }
}

fn node(what: &str, parts: Vec<Row>) -> Row {
    Row { what: what.to_owned(), bytes: parts.iter().map(|row| row.bytes).sum(), parts: kept(parts) }
}

/// Rows that have something in them.
fn kept(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.bytes > 0);
    rows
}
