//! mimalloc, which free-threaded builds allocate from (PEP 703): the segments of every thread, and those whose threads are gone.
//!
//! A segment is to the heap what an arena of pymalloc's is, and a page what a pool is: of as many slices as its blocks need, each a
//! pool of its own or [`Pool::Rest`]. Unlike pymalloc it says of blocks of any size how large they are, and which kind of object
//! lies in them, so that nothing has to be searched for.
//!
//! A thread's heaps keep lists of their pages (Objects/mimalloc/page-queue.c), pages lie in segments, and each segment begins with
//! the headers of its own pages (Include/internal/mimalloc/mimalloc/types.h). So all segments are found by what their pages' headers
//! link to, each is read once, and one that changes meanwhile does not add up. A thread that ends leaves its segments to its
//! interpreter (Python/pystate.c: `_PyThreadState_ClearMimallocHeaps`). No segment of free-threaded 3.13 hangs on what is the
//! process's alone: its `mi_malloc` serves nobody.

mod page;
mod segment;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rustc_hash::FxHashSet;

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Word};
use crate::target::pages::{Pages, Presence};

use super::arenas::{Arena, NoArenas};
use super::instance::word;
use super::obmalloc::Counts;
use super::pools::{Contents, Copy, Pool, Room};
use super::reach::Reach;
use page::{Keys, Within};
use segment::{Segment, SegmentReader, Span};

/// `MI_SEGMENT_SLICE_SIZE`, Include/internal/mimalloc/mimalloc/types.h.
pub(super) const SLICE: u64 = 64 << 10;
/// The most segments of an interpreter, threads of it, and bytes of a thread's heaps.
const MAX_SEGMENTS: usize = 1 << 20;
const MAX_THREADS: usize = 1 << 16;
const MAX_HEAPS: usize = 1 << 20;
/// The most blocks that wait for the thread that owns their pages.
const MAX_DELAYED: usize = 1 << 16;
/// How often segments are listed again that are fewer than their threads count.
const TRIES: usize = 4;

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h; `mimalloc` is `struct _mimalloc_interp_state`, which is its pool.
    struct InterpreterFields in "interp" { threads_head: Field<Addr>, mimalloc: usize }
}
fields! {
    /// `_PyThreadStateImpl`, Include/internal/pycore_tstate.h, with `struct _mimalloc_thread_state` of pycore_mimalloc.h.
    struct ThreadFields in "thread" {
        next: Field<Addr>,
        mimalloc_heaps: usize,
        mimalloc_heap_count: usize,
        mimalloc_tld: usize,
    }
}
fields! {
    /// `mi_tld_t`, Include/internal/mimalloc/mimalloc/types.h.
    struct TldFields in "mi_tld" { segment_count: Field<u64> }
}
fields! {
    /// `mi_heap_t`.
    struct HeapFields in "mi_heap" {
        size: usize,
        pages: usize,
        queue_count: usize,
        thread_delayed_free: Field<Addr>,
        keys: usize,
    }
}
fields! {
    /// `mi_page_queue_t`.
    struct QueueFields in "mi_queue" { size: usize, first: Field<Addr>, last: Field<Addr> }
}
fields! {
    /// `mi_abandoned_pool_t`.
    struct PoolFields in "mi_pool" { abandoned: Field<Addr>, abandoned_visited: Field<Addr> }
}
/// How the target keeps segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mimalloc {
    interpreter: InterpreterFields,
    thread: ThreadFields,
    tld: TldFields,
    heap: HeapFields,
    queue: QueueFields,
    pool: PoolFields,
    segment: SegmentReader,
}

/// Where pages are found at first.
#[derive(Debug, Default)]
struct Roots {
    /// Pages of threads' lists, and segments that have no thread.
    places: Vec<Addr>,
    /// How many segments the threads say that they have.
    segments: u64,
}

impl Mimalloc {
    /// Binds what the layout says of mimalloc.
    pub(super) fn bind(layout: &Layout) -> Result<Mimalloc, Missing> {
        let absurd = |section: &str, key: &str, value: usize| Missing::Absurd {
            layout: layout.name.clone(),
            section: section.into(),
            key: key.into(),
            value: value as i64,
        };
        let (thread, heap) = (ThreadFields::bind(layout)?, HeapFields::bind(layout)?);
        let (queue, segment) = (QueueFields::bind(layout)?, SegmentReader::bind(layout)?);
        let heaps = thread.mimalloc_heap_count.saturating_mul(heap.size);
        let queues = heap.queue_count.saturating_mul(queue.size).saturating_add(heap.pages);
        if heaps == 0 || heaps > MAX_HEAPS || queues > heap.size || queue.span > queue.size {
            return Err(absurd("mi_heap", "size", heap.size));
        }
        Ok(Mimalloc {
            interpreter: InterpreterFields::bind(layout)?,
            thread,
            tld: TldFields::bind(layout)?,
            heap,
            queue,
            pool: PoolFields::bind(layout)?,
            segment,
        })
    }

    /// What an interpreter's threads count: segments whose threads are gone are in no number. All blocks are in pages, however
    /// large.
    pub(super) fn counts(&self, memory: &dyn Memory, interpreter: Addr) -> Counts {
        let threads = self.threads(memory, interpreter).into_iter();
        let segments = threads.map(|thread| self.segments(memory, thread));
        Counts { arenas: Some(segments.sum()), large: Some(0), ..Counts::default() }
    }

    /// The threads of an interpreter.
    fn threads(&self, memory: &dyn Memory, interpreter: Addr) -> Vec<Addr> {
        let first = self.interpreter.threads_head.read(memory, interpreter).ok().and_then(Addr::non_null);
        let next = |at: &Addr| self.thread.next.read(memory, *at).ok().and_then(Addr::non_null);
        std::iter::successors(first, next).take(MAX_THREADS).collect()
    }

    /// How many segments a thread says that it has.
    fn segments(&self, memory: &dyn Memory, thread: Addr) -> u64 {
        let tld = thread.plus(self.thread.mimalloc_tld as u64);
        self.tld.segment_count.read(memory, tld).unwrap_or(0).min(MAX_SEGMENTS as u64)
    }

    /// All segments of an interpreter, by address, and how many more its threads say that they have.
    pub(super) fn list(&self, reach: Reach<'_>, interpreter: Addr) -> Result<(Vec<Arena>, u32), NoArenas> {
        let mut best: Option<(Vec<Arena>, u32)> = None;
        for _ in 0..TRIES {
            let roots = self.roots(reach, interpreter);
            let mut arenas = self.linked(reach, &roots.places);
            arenas.sort_by_key(|arena| arena.address);
            // One that was given back, and one that is where it was.
            if arenas.windows(2).any(|two| two[0].address.plus(two[0].size) > two[1].address) {
                continue;
            }
            let missing = roots.segments.saturating_sub(arenas.len() as u64).min(u64::from(u32::MAX)) as u32;
            if best.as_ref().is_none_or(|(_, least)| missing < *least) {
                best = Some((arenas, missing));
            }
            if missing == 0 {
                break;
            }
        }
        best.ok_or(NoArenas::Overlap(interpreter))
    }

    /// Where an interpreter's segments hang.
    fn roots(&self, reach: Reach<'_>, interpreter: Addr) -> Roots {
        let (memory, mut roots) = (reach.memory, Roots::default());
        for thread in self.threads(memory, interpreter) {
            let heaps = thread.plus(self.thread.mimalloc_heaps as u64);
            let heaps = reach.bytes(heaps, self.thread.mimalloc_heap_count * self.heap.size);
            for heap in heaps.iter().flat_map(|heaps| heaps.chunks_exact(self.heap.size)) {
                let queues = heap[self.heap.pages..].chunks_exact(self.queue.size);
                for queue in queues.take(self.heap.queue_count).map(Struct::over) {
                    roots.places.extend(queue.get(self.queue.first).non_null());
                    roots.places.extend(queue.get(self.queue.last).non_null());
                }
            }
            roots.segments += self.segments(memory, thread);
        }
        let pool = interpreter.plus(self.interpreter.mimalloc as u64);
        for field in [self.pool.abandoned, self.pool.abandoned_visited] {
            // Its lowest bits count how often it has changed.
            roots
                .places
                .extend(field.read(memory, pool).ok().and_then(|at| self.segment.around(at).non_null()));
        }
        roots
    }

    /// Every segment that some places lead to.
    fn linked(&self, reach: Reach<'_>, places: &[Addr]) -> Vec<Arena> {
        let mut queue: Vec<Addr> = places.iter().map(|at| self.segment.around(*at)).collect();
        let (mut seen, mut arenas) = (FxHashSet::default(), Vec::new());
        while let Some(at) = queue.pop() {
            if seen.len() >= MAX_SEGMENTS || !seen.insert(at) {
                continue;
            }
            let Some(segment) = self.segment.read(reach, at) else { continue };
            let pages = segment.spans.iter().filter_map(|span| span.page);
            let links = pages.flat_map(|page| [page.next, page.prev]).chain([segment.next]);
            queue.extend(links.filter_map(Addr::non_null).map(|at| self.segment.around(at)));
            arenas.push(segment.arena);
        }
        arenas
    }

    /// The blocks that other threads have freed and that their pages do not know of yet, by address: they wait in the heaps that
    /// the pages of a segment belong to (Objects/mimalloc/page.c: `_mi_heap_delayed_free_partial`).
    fn delayed(&self, reach: Reach<'_>, segment: &Segment) -> Vec<u64> {
        let memory = reach.memory;
        let mut heaps: Vec<Addr> =
            segment.spans.iter().filter_map(|span| span.page?.heap.non_null()).collect();
        heaps.sort_unstable();
        heaps.dedup();
        let mut blocks = FxHashSet::default();
        for heap in heaps {
            let keys = match self.segment.page.encodes() {
                true => memory.bytes(heap.plus(self.heap.keys as u64), Keys::SIZE).ok(),
                false => None,
            };
            let keys = keys.map(|bytes| Keys::of(&bytes, heap));
            let mut next = self.heap.thread_delayed_free.read(memory, heap).unwrap_or_default();
            while !next.is_null() && blocks.len() < MAX_DELAYED && blocks.insert(next.0) {
                let link = reach.bytes(next, Addr::SIZE).map_or(0, |bytes| word(&bytes, 0));
                next = Addr(keys.map_or(link, |keys| keys.decode(link)));
            }
        }
        let mut blocks: Vec<u64> = blocks.into_iter().collect();
        blocks.sort_unstable();
        blocks
    }

    /// The segment that an arena is, if it is still as long.
    fn same(&self, reach: Reach<'_>, arena: &Arena) -> Option<Segment> {
        let segment = self.segment.read(reach, arena.address)?;
        let same = (segment.arena.first, segment.arena.pools) == (arena.first, arena.pools);
        same.then_some(segment)
    }

    /// Copies a segment page by page, says what its slices are, and shows each page that has blocks in use to `visit`. `None` when
    /// it is gone. Pages that were never written are not read.
    pub(super) fn read(
        &self,
        reach: Reach<'_>,
        arena: &Arena,
        room: &mut Room,
        mut visit: impl FnMut(&Copy<'_>),
    ) -> Option<Contents> {
        let segment = self.same(reach, arena)?;
        let presence = presence(reach.pages, arena);
        let touched = presence.written();
        let Presence { present, swapped: away } = presence;
        let bytes = away.iter().map(|span| span.end - span.start).sum();
        let delayed = self.delayed(reach, &segment);
        let within = Within {
            present: if reach.swapped { &touched } else { &present },
            away: if reach.swapped { &[] } else { &away },
            delayed: &delayed,
        };
        let mut read = |span: &Span| match span.page {
            Some(head) => self.segment.page.read(reach.memory, span.at, head, within, room, &mut visit),
            None => Pool::Free,
        };
        let mut seen: Vec<Pool> = segment.spans.iter().map(&mut read).collect();
        // Who allocates from a page is busy with it until it has no block left: later that is another one.
        for (span, pool) in segment.spans.iter().zip(&mut seen).filter(|(_, pool)| **pool == Pool::Suspect) {
            *pool = read(span);
        }
        Some(Contents { pools: pools(&segment, &seen, &touched), swapped: bytes })
    }

    /// What the headers of a segment's pages say: a block that another thread has freed counts as used. `None` when it is gone.
    pub(super) fn glance(&self, reach: Reach<'_>, arena: &Arena) -> Option<Vec<Pool>> {
        let segment = self.same(reach, arena)?;
        let touched = presence(reach.pages, arena).written();
        let seen = segment.spans.iter().map(|span| span.page.map_or(Pool::Free, |head| head.pool()));
        Some(pools(&segment, &seen.collect::<Vec<_>>(), &touched))
    }
}

/// What of an arena's pools lies where.
fn presence(pages: &Pages, arena: &Arena) -> Presence {
    pages.all(&(arena.first.0..arena.first.0 + u64::from(arena.pools) * SLICE))
}

/// The slices of a segment as pools: what was `seen` of each of its spans, and the rest of that span. Slices that nothing uses and
/// that have no memory were never used, or given back to the kernel: which of the two, nobody says.
fn pools(segment: &Segment, seen: &[Pool], touched: &[Range<u64>]) -> Vec<Pool> {
    let mut pools = Vec::with_capacity(segment.arena.pools as usize);
    for (span, pool) in segment.spans.iter().zip(seen) {
        match *pool {
            Pool::Free => pools.extend((0..span.at.count as u64).map(|slice| {
                let at = span.at.first.0 + slice * SLICE;
                let behind = touched.partition_point(|span| span.end <= at);
                let written = touched.get(behind).is_some_and(|span| span.start < at + SLICE);
                if written { Pool::Free } else { Pool::Fresh }
            })),
            pool => {
                pools.push(pool);
                pools.extend((1..span.at.count as u32).map(Pool::Rest));
            }
        }
    }
    pools
}
