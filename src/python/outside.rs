//! Objects and buffers that are too large for a pool: found through the addresses that stand in what is known already.

use std::ops::Range;

use rustc_hash::FxHashSet;

use crate::memory::{Addr, Memory, Part};
use crate::target::elf::Image;
use crate::target::maps::Maps;

use super::class::Classes;
use super::extent::Buffer;
use super::heap::HeapLook;
use super::instance::{Instance, Instances, References, word};

/// The most places that are followed; a process with more is told to have more.
const MAX_PLACES: usize = 1 << 22;
/// How much is read before and behind a place, to see what lies there.
const BEFORE: u64 = 64;
const BEHIND: u64 = 192;
/// How many places are looked at with one call.
const BATCH: usize = 512;
/// How much of a buffer is read at once.
const PIECE: u64 = 1 << 20;
/// The longest piece of memory that is searched for addresses although nothing says that it holds any.
const MAX_UNKNOWN: u64 = 1 << 20;
/// Address bits below this say nothing about where something lies: they mark it, or are those of a mebibyte.
const MARKS: u64 = 7;
const MEBI: u32 = 20;
/// Words of the sieve: it stays in the processor's first cache.
const SIEVE: usize = 1024;
/// glibc keeps the size of a piece before it, with marks in the lowest bits (malloc/malloc.c: `struct malloc_chunk`).
const CHUNK_MARKS: u64 = 7;
/// The smallest piece that glibc gives, its head included, and what all are multiples of.
const MIN_CHUNK: u64 = 32;
const CHUNK_ALIGN: u64 = 16;
/// The mark of a piece that is a mapping of its own.
const MAPPED: u64 = 2;
/// What such a mapping begins at, and is as long as, a multiple of: at least this.
const PAGE: u64 = 4096;
/// How much more than what was asked for a piece may have: its head, and a rest too small to keep.
const SLACK: u64 = 48;
/// The same where it is a mapping of its own.
const MAPPED_SLACK: u64 = 8192;
/// The mark in a piece's head that says that the piece before it is in use.
const IN_USE: u64 = 1;
/// How much of the variables of programs and libraries is searched.
const MAX_ROOTS: u64 = 256 << 20;
/// How often the memory outside of pools may be read over, by searches of what is known and of what is guessed alike: pieces may
/// seem to overlap.
const MAX_SCANS: u64 = 4;
/// What the debugging allocator puts before a block.
const DEBUG_ROOM: u64 = 16;

/// The memory outside of pools in which allocations lie, and what is known to lie there.
#[derive(Debug, Default)]
pub struct Outside {
    /// Where anonymous memory is that the target may write, arenas left out: by address.
    spans: Vec<Range<u64>>,
    /// The mebibytes that these touch.
    touched: FxHashSet<u64>,
    /// The same as bits, several mebibytes to one: most addresses are those of arenas, and are told by this alone.
    sieve: Vec<u64>,
    seen: FxHashSet<u64>,
    queue: Vec<u64>,
    objects: FxHashSet<u64>,
    /// How many bytes were searched for addresses: what objects keep, and what only seems to be in use.
    scanned: u64,
    guessed: u64,
    /// How many may be, of each.
    most: u64,
    /// Whether there were more places than are followed.
    pub cut: bool,
}

/// A piece of memory that glibc gave, by its own books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes, those of its head included.
    pub size: u64,
    /// Whether it is a mapping of its own.
    mapped: bool,
}

/// What was read around a place.
struct Window<'a> {
    start: u64,
    bytes: &'a [u8],
}

/// An object that lies outside of pools.
#[derive(Debug)]
pub struct Found<'a> {
    /// What it is.
    pub instance: Instance,
    /// Where what was allocated for it begins.
    pub start: Addr,
    /// That memory, as far as it was read.
    pub bytes: &'a [u8],
    /// What the allocator's own books seem to say of it.
    pub chunk: Option<Chunk>,
}

/// What is at a place.
enum There<'a> {
    /// An object that was not met before.
    New(Found<'a>),
    /// One that was.
    Known,
    /// None.
    Nothing,
}

impl Outside {
    /// Where allocations lie outside of the arenas that were looked at, and of the variables of programs and libraries.
    pub fn new(memory: &dyn Memory, maps: &Maps, look: &HeapLook) -> Outside {
        let arenas = look.arenas.iter().map(|look| &look.arena);
        let mut taken: Vec<Range<u64>> = arenas.map(|a| a.address.0..a.address.0 + a.size).collect();
        taken.extend(variables(memory, maps));
        taken.sort_by_key(|span| span.start);
        let mut outside = Outside { sieve: vec![0; SIEVE], ..Outside::default() };
        for mapping in maps.iter().filter(|m| m.read && m.write && !m.file() && !m.special()) {
            let mut from = mapping.start;
            let behind = taken.partition_point(|span| span.end <= mapping.start);
            for span in taken[behind..].iter().take_while(|span| span.start < mapping.end) {
                outside.add(from..span.start);
                from = from.max(span.end);
            }
            outside.add(from..mapping.end);
        }
        let all: u64 = outside.spans.iter().map(|span| span.end - span.start).sum();
        outside.most = all.saturating_mul(MAX_SCANS);
        outside
    }

    fn add(&mut self, span: Range<u64>) {
        if span.is_empty() {
            return;
        }
        // One bit a mebibyte is cheap even for the largest mapping that there can be.
        for mebi in (span.start >> MEBI..=(span.end - 1) >> MEBI).take(MAX_PLACES) {
            self.touched.insert(mebi);
            self.sieve[sieve(mebi)] |= 1 << (mebi % 64);
        }
        self.spans.push(span);
    }

    /// The span that holds an address.
    fn span(&self, at: u64) -> Option<&Range<u64>> {
        if !self.touched.contains(&(at >> MEBI)) {
            return None;
        }
        let behind = self.spans.partition_point(|span| span.start <= at);
        self.spans.get(behind.checked_sub(1)?).filter(|span| span.contains(&at))
    }

    /// Whether an address lies outside of pools and in memory that the target allocates from.
    pub fn holds(&self, at: Addr) -> bool {
        self.span(at.0).is_some()
    }

    /// How many bytes there are from an address on: nothing that begins there is longer.
    pub fn behind(&self, at: u64) -> u64 {
        self.span(at).map_or(0, |span| span.end - at)
    }

    /// Remembers every address in some memory that leads outside of pools.
    pub fn follow(&mut self, bytes: &[u8]) {
        for word in bytes.as_chunks::<8>().0 {
            let at = u64::from_le_bytes(*word) & !MARKS;
            let mebi = at >> MEBI;
            let may = mebi != 0 && self.sieve[sieve(mebi)] >> (mebi % 64) & 1 == 1;
            if may && self.span(at).is_some() {
                self.push(at);
            }
        }
    }

    /// Remembers every address in the variables of programs and libraries: all that is alive hangs on them.
    pub fn roots(&mut self, memory: &dyn Memory, variables: &[Range<u64>]) {
        let mut rest = MAX_ROOTS;
        let mut room = Vec::new();
        for span in variables {
            for start in (span.start..span.end).step_by(PIECE as usize) {
                room.resize(PIECE.min(span.end - start).min(rest) as usize, 0);
                if memory.read(Addr(start), &mut room).is_ok() {
                    self.follow(&room);
                    // Debian aligns the heads of the collector's lists to half a word.
                    self.follow(room.get(4..).unwrap_or_default());
                }
                rest -= room.len() as u64;
            }
        }
        self.cut |= rest == 0;
    }

    fn push(&mut self, at: u64) {
        if self.seen.len() >= MAX_PLACES {
            self.cut = true;
        } else if self.seen.insert(at) {
            self.queue.push(at);
        }
    }

    /// Looks at some of the places that were remembered, and remembers those that what lies there leads to. `visit` is shown
    /// each object once, and says whether addresses stand in it. `false` when there is no place left.
    pub fn resolve(
        &mut self,
        memory: &dyn Memory,
        maps: &Maps,
        instances: &Instances,
        classes: &mut Classes,
        mut visit: impl FnMut(&Classes, &Found<'_>) -> bool,
    ) -> bool {
        let mut room = vec![0; BATCH * (BEFORE + BEHIND) as usize];
        let batch = self.queue.split_off(self.queue.len().saturating_sub(BATCH));
        let windows: Vec<Range<u64>> = batch
            .iter()
            .map(|at| match self.span(*at) {
                Some(span) => at.saturating_sub(BEFORE).max(span.start)..(at + BEHIND).min(span.end),
                None => *at..*at,
            })
            .collect();
        let mut parts: Vec<Part<'_>> = windows
            .iter()
            .zip(room.chunks_exact_mut((BEFORE + BEHIND) as usize))
            .map(|(window, room)| Part {
                addr: Addr(window.start),
                buf: &mut room[..(window.end - window.start) as usize],
                arrived: false,
            })
            .collect();
        memory.read_many(&mut parts);
        for (at, part) in batch.iter().zip(&parts).filter(|(_, part)| part.arrived) {
            let window = Window { start: part.addr.0, bytes: part.buf };
            match self.object(memory, maps, instances, classes, *at, &window) {
                There::New(found) => {
                    if visit(classes, &found) {
                        self.scan(memory, found.start, found.chunk.map_or(BEHIND, |chunk| chunk.size));
                    }
                }
                There::Known => {}
                There::Nothing => self.unknown(memory, *at, &window),
            }
        }
        !self.queue.is_empty()
    }

    /// The object at a place, or the one whose collector's head is there. No head is looked for where an object is: a tuple
    /// with a type in it looks like one.
    fn object<'a>(
        &mut self,
        memory: &dyn Memory,
        maps: &Maps,
        instances: &Instances,
        classes: &mut Classes,
        at: u64,
        window: &Window<'a>,
    ) -> There<'a> {
        for (place, head) in [(at, false), (at + instances.before(true, false) as u64, true)] {
            let header = window.from(place).and_then(|bytes| instances.header(memory, maps, classes, bytes));
            let Some((class, references)) = header else { continue };
            let of = classes.get(class);
            if references == References::None || head && !of.gc {
                continue;
            }
            let mut before = instances.before(of.gc, of.pre_header);
            let mut start = place - before as u64;
            let debug = window.from(start.wrapping_sub(DEBUG_ROOM)).map_or(0, Instances::debug_head);
            before += debug;
            start -= debug as u64;
            let Some(bytes) = window.from(start) else { continue };
            if !self.objects.insert(place) {
                return There::Known;
            }
            let tracked = of.gc && instances.tracked(bytes, before);
            let instance = Instance { class, at: before, references, tracked };
            return There::New(Found {
                instance,
                start: Addr(start),
                bytes,
                chunk: self.chunk(start, window),
            });
        }
        There::Nothing
    }

    /// What glibc's books say of what begins at an address, if they can be believed.
    fn chunk(&self, start: u64, window: &Window<'_>) -> Option<Chunk> {
        self.believe(start, word(window.from(start.checked_sub(8)?)?, 0))
    }

    fn believe(&self, start: u64, head: u64) -> Option<Chunk> {
        let size = head & !CHUNK_MARKS;
        let span = self.span(start)?;
        let first = start.checked_sub(CHUNK_ALIGN).filter(|first| *first >= span.start)?;
        let sound =
            size >= MIN_CHUNK && size.is_multiple_of(CHUNK_ALIGN) && start.is_multiple_of(CHUNK_ALIGN);
        let mapped = head & MAPPED != 0;
        let whole = !mapped || (first.is_multiple_of(PAGE) && size.is_multiple_of(PAGE));
        (sound && whole && first.checked_add(size)? <= span.end).then_some(Chunk { size, mapped })
    }

    /// Follows what stands in a piece of memory that is no object, if the allocator's books say that it is one.
    fn unknown(&mut self, memory: &dyn Memory, at: u64, window: &Window<'_>) {
        let Some(Chunk { size, .. }) = self.chunk(at, window).filter(|chunk| chunk.size <= MAX_UNKNOWN)
        else {
            return;
        };
        // The next piece's head says that this one is in use.
        let next = memory.get::<u64>(Addr(at - CHUNK_ALIGN + size + 8));
        if next.is_ok_and(|next| next & IN_USE != 0) && self.guessed < self.most {
            self.guessed += size;
            self.read(memory, Addr(at), size - CHUNK_ALIGN);
        }
    }

    /// Follows the addresses in what an object keeps outside of pools, as far as there is time for it.
    fn scan(&mut self, memory: &dyn Memory, start: Addr, len: u64) {
        if self.scanned < self.most {
            self.scanned += self.read(memory, start, len);
        }
    }

    /// Follows the addresses in some memory outside of pools, and says how many bytes that were.
    fn read(&mut self, memory: &dyn Memory, start: Addr, len: u64) -> u64 {
        let Some(span) = self.span(start.0) else { return 0 };
        let end = span.end.min(start.0.saturating_add(len));
        let mut at = start.0;
        let mut room = Vec::new();
        while at < end {
            room.resize(PIECE.min(end - at) as usize, 0);
            if memory.read(Addr(at), &mut room).is_ok() {
                self.follow(&room);
            }
            at += room.len() as u64;
        }
        end.saturating_sub(start.0)
    }

    /// Follows the addresses in a buffer outside of pools, and says how many bytes the allocator spends on it.
    pub fn buffer(&mut self, memory: &dyn Memory, buffer: &Buffer) -> u64 {
        let at = buffer.at.0;
        let head = at.checked_sub(8).and_then(|at| memory.get::<u64>(Addr(at)).ok()).unwrap_or(0);
        // Where the debugging allocator is at work, its own head lies between.
        let chunk = self.believe(at, head).or_else(|| {
            let start = at.checked_sub(DEBUG_ROOM)?;
            self.believe(start, memory.get::<u64>(Addr(start.checked_sub(8)?)).ok()?)
        });
        let sound = chunk.filter(|chunk| buffer.len.is_none_or(|len| chunk.serves(len)));
        let size =
            sound.map(|chunk| chunk.size).or(buffer.len.map(|len| len.min(self.behind(at)))).unwrap_or(0);
        if buffer.pointers {
            self.scan(memory, buffer.at, size);
        }
        size
    }
}

/// Which word of the sieve has the bit of a mebibyte.
fn sieve(mebi: u64) -> usize {
    (mebi / 64) as usize % SIEVE
}

/// Where the variables of programs and libraries lie; those that begin without a value in anonymous memory.
pub(super) fn variables(memory: &dyn Memory, maps: &Maps) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for first in maps.iter().filter(|m| m.offset == 0 && m.read && m.file()) {
        let image = Image::read(memory, maps, Addr(first.start)).ok();
        found.extend(image.iter().flat_map(|image| image.data().map(|data| data.start..data.end)));
    }
    found
}

impl Chunk {
    /// Whether it is what the allocator would give to who asks for so many bytes.
    pub fn serves(self, asked: u64) -> bool {
        let slack = if self.mapped { MAPPED_SLACK } else { SLACK };
        (asked..=asked.saturating_add(slack)).contains(&self.size)
    }
}

impl<'a> Window<'a> {
    /// What was read from an address on; `None` where it was not.
    fn from(&self, at: u64) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(at.checked_sub(self.start)?).ok()?..)
    }
}
