//! A look at what the allocators of small objects of a process hold: every arena, every pool, summed up by size class.

use std::collections::BTreeMap;

use crate::layout::{Layout, Missing};
use crate::memory::{Addr, Memory};
use crate::model::heap::SizeClass;
use crate::target::pages::Pages;
use crate::target::{Located, Process};

use super::arenas::{Arena, NoArenas};
use super::meter::{MAX_CLASSES, Meter};
use super::obmalloc::{self, Allocator, Books, Counts, NoAllocator};
use super::pools::{Contents, Copy, Pool, Room, wholes};
use super::reach::Reach;
use super::runtime::Python;
use super::store::Store;

/// An arena is nearly empty when less than this part of it is in use: one in so many.
const NEARLY_EMPTY: u64 = 4;

/// How the small objects of a process are read.
#[derive(Debug)]
pub struct Heap {
    store: Store,
    /// Which pages may be read.
    pub pages: Pages,
    allocators: Vec<Allocator>,
    /// Whether pages are read that lie in swap, which brings them back into the target's memory.
    pub swapped: bool,
}

/// What a look saw.
#[derive(Debug, Default)]
pub struct HeapLook {
    /// Every arena, by address.
    pub arenas: Vec<ArenaLook>,
    /// Arenas that were gone before they could be read.
    pub gone: u32,
    /// What the allocators count.
    pub allocators: Vec<Allocator>,
    /// Bytes of a pool.
    pub pool_size: u64,
    /// Bytes of a pool's header.
    pub header_size: u64,
}

/// What a look saw of an arena.
#[derive(Debug)]
pub struct ArenaLook {
    /// The arena.
    pub arena: Arena,
    /// The first interpreter that allocates from it, by its place among all.
    pub interpreter: usize,
    /// Its pools, by address.
    pub pools: Vec<Pool>,
    /// Bytes of it that lie in swap.
    pub swapped: u64,
}

/// Why the heap cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoHeap {
    /// No allocator was found.
    #[error(transparent)]
    Allocator(#[from] NoAllocator),
    /// Its arenas could not be read.
    #[error(transparent)]
    Arenas(#[from] NoArenas),
}

/// A look summed up, each number as `sys._debugmallocstats()` counts it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sums {
    /// The size classes that have a pool, smallest first.
    pub classes: Vec<SizeClass>,
    /// Pools that have a block in use.
    pub pools: u64,
    /// Pools that have none, used before or never.
    pub unused_pools: u64,
    /// Of the unused ones: those that were used before, whose memory the target still has.
    pub emptied_pools: u64,
    /// Pools that contradicted themselves as often as they were read; they are in no other number.
    pub suspect_pools: u64,
    /// Pools that lie in swap; they are in no other number.
    pub swapped_pools: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Where the bytes of the arenas are.
    pub bytes: Spent,
}

/// Where the bytes of the arenas are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// All of them.
    pub arenas: u64,
    /// In blocks that are in use.
    pub used: u64,
    /// In blocks that are free, of pools that have some in use.
    pub free: u64,
    /// In pools that have no block in use.
    pub unused_pools: u64,
    /// In headers of pools.
    pub headers: u64,
    /// Behind the last block of pools, where no other one fits.
    pub quantization: u64,
    /// Around the pools of arenas that do not begin where a pool would.
    pub alignment: u64,
    /// In pools that could not be read.
    pub unread: u64,
}

/// Arenas that are nearly empty, and cannot be given back for the few blocks in them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pinned {
    /// How many of the arenas are.
    pub arenas: u64,
    /// Blocks in use in them.
    pub blocks: u64,
    /// Bytes of them that were used before and are free.
    pub free: u64,
}

impl Heap {
    /// Finds the allocators of a process, as they are in `memory`: its own, or a copy of it.
    pub fn open(
        memory: &dyn Memory,
        process: &Process,
        located: &Located,
        python: &Python,
    ) -> Result<Heap, NoHeap> {
        let mut heap = Heap::without_allocator(process, located).map_err(NoAllocator::Layout)?;
        let (interpreters, _) = python.interpreters(memory);
        heap.allocators = obmalloc::find(memory, process, located, &heap.store, &interpreters, &[])?;
        Ok(heap)
    }

    /// Reads anew what the allocators count, and finds those of interpreters that are new.
    pub fn refresh(
        &mut self,
        memory: &dyn Memory,
        process: &Process,
        located: &Located,
        python: &Python,
    ) -> Result<(), NoHeap> {
        let (interpreters, _) = python.interpreters(memory);
        let known = &self.allocators;
        self.allocators = obmalloc::find(memory, process, located, &self.store, &interpreters, known)?;
        Ok(())
    }

    /// What the allocators count, all together.
    pub fn counts(&self) -> Counts {
        let sum = |of: fn(&Counts) -> Option<u64>| self.allocators.iter().map(|one| of(&one.counts)).sum();
        Counts {
            arenas: sum(|counts| counts.arenas),
            arenas_ever: sum(|counts| counts.arenas_ever),
            highwater: sum(|counts| counts.highwater),
            large: sum(|counts| counts.large),
            all: sum(|counts| counts.all),
        }
    }

    /// Bytes of a pool.
    pub fn pool_size(&self) -> u64 {
        self.store.pool_size()
    }

    /// What shows how much is handed out: by the allocator of the main interpreter, where it is pymalloc.
    pub fn meter(&self, memory: &dyn Memory, layout: &Layout) -> Option<Meter> {
        let Store::Pymalloc(arenas, pools) = &self.store else { return None };
        let Books::Table { table, lists } = self.allocators.first()?.books else { return None };
        let (align, small) =
            (layout.fact::<u64>("block.align").ok()?, layout.fact::<u64>("small.threshold").ok()?);
        let classes = small
            .checked_div(align)
            .map(|classes| classes as usize)
            .filter(|classes| (1..=MAX_CLASSES).contains(classes))?;
        let tell = || {
            let all = arenas.read(memory, table).ok()?;
            all.iter().find_map(|arena| pools.lists(memory, arena))
        };
        Some(Meter { heads: lists.or_else(tell)?, classes, table, arenas: *arenas, pools: *pools })
    }

    /// All arenas, as the tables say it.
    pub fn tables(&self, memory: &dyn Memory) -> Result<Vec<Arena>, NoHeap> {
        let mut all = Vec::new();
        for allocator in &self.allocators {
            all.append(&mut self.store.list(self.reach(memory), allocator)?.0);
        }
        Ok(all)
    }

    /// What the headers of one arena's pools say, as at a glance; `None` when it is gone. Where nothing of the process lies in
    /// swap, it is not asked of pymalloc's page by page whether it does.
    pub fn headers(
        &self,
        memory: &dyn Memory,
        arena: &Arena,
        some_swapped: bool,
        room: &mut Room,
    ) -> Option<Vec<Pool>> {
        let reach = self.reach(memory);
        self.store.glance(Reach { swapped: self.swapped || !some_swapped, ..reach }, arena, room)
    }

    /// The heap of a process that keeps nothing in the allocator of its build.
    pub fn without_allocator(process: &Process, located: &Located) -> Result<Heap, Missing> {
        let store = Store::bind(&located.chosen.layout)?;
        Ok(Heap { store, pages: Pages::open(process), allocators: Vec::new(), swapped: false })
    }

    /// Looks at every pool, arena by arena: no more than one is held in memory. `visit` is shown each pool that has blocks
    /// in use.
    pub fn look(&self, memory: &dyn Memory, mut visit: impl FnMut(&Copy<'_>)) -> Result<HeapLook, NoHeap> {
        self.each(memory, |reach, arena, room| self.store.read(reach, arena, room, &mut visit))
    }

    /// Looks at the headers of all pools and at nothing else, which is faster and proves nothing.
    pub fn glance(&self, memory: &dyn Memory) -> Result<HeapLook, NoHeap> {
        self.each(memory, |reach, arena, room| {
            let pools = self.store.glance(reach, arena, room)?;
            Some(Contents { pools, swapped: 0 })
        })
    }

    /// What of a memory may be read.
    fn reach<'a>(&'a self, memory: &'a dyn Memory) -> Reach<'a> {
        Reach { memory, pages: &self.pages, swapped: self.swapped }
    }

    fn each(
        &self,
        memory: &dyn Memory,
        mut read: impl FnMut(Reach<'_>, &Arena, &mut Room) -> Option<Contents>,
    ) -> Result<HeapLook, NoHeap> {
        let mut look = HeapLook {
            allocators: self.allocators.clone(),
            pool_size: self.store.pool_size(),
            header_size: self.store.header_size(),
            ..HeapLook::default()
        };
        let (reach, mut room) = (self.reach(memory), Room::default());
        for allocator in &self.allocators {
            let (arenas, missing) = self.store.list(reach, allocator)?;
            look.gone = look.gone.saturating_add(missing);
            for arena in arenas {
                let Some(contents) = read(reach, &arena, &mut room) else {
                    look.gone += 1;
                    continue;
                };
                let (pools, swapped) = (contents.pools, contents.swapped);
                look.arenas.push(ArenaLook { arena, interpreter: allocator.interpreter, pools, swapped });
            }
        }
        look.arenas.sort_by_key(|look| look.arena.address);
        Ok(look)
    }
}

impl ArenaLook {
    /// Bytes of it in blocks in use.
    pub fn used(&self) -> u64 {
        self.pools.iter().map(|pool| pool.used_bytes()).sum()
    }

    /// What is at each place: the pool that begins there, or the one that goes on.
    pub fn each_place(&self) -> impl Iterator<Item = Pool> {
        self.wholes().flat_map(|(_, places, pool)| std::iter::repeat_n(pool, places as usize))
    }

    /// Its pools: the place of each, how many places it takes, and what it is.
    pub fn wholes(&self) -> impl Iterator<Item = (usize, u64, Pool)> {
        wholes(&self.pools)
    }

    /// Whether few blocks keep much of its space: less than a quarter is in use, and most of it was before.
    pub fn nearly_empty(&self) -> bool {
        let fresh = self.pools.iter().filter(|pool| **pool == Pool::Fresh).count();
        let used = self.used();
        used > 0 && used < self.arena.size / NEARLY_EMPTY && fresh < self.pools.len() / 2
    }
}

impl HeapLook {
    /// The numbers of all arenas together.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        let mut classes: BTreeMap<u64, SizeClass> = BTreeMap::new();
        for look in &self.arenas {
            sums.bytes.arenas += look.arena.size;
            sums.bytes.alignment += look.arena.size - u64::from(look.arena.pools) * self.pool_size;
            for (_, places, pool) in look.wholes() {
                match pool {
                    Pool::Fresh => sums.unused_pools += 1,
                    Pool::Free => {
                        sums.unused_pools += 1;
                        sums.emptied_pools += 1;
                    }
                    Pool::Suspect => {
                        sums.suspect_pools += 1;
                        sums.bytes.unread += places * self.pool_size;
                    }
                    Pool::Swapped => {
                        sums.swapped_pools += 1;
                        sums.bytes.unread += places * self.pool_size;
                    }
                    Pool::Rest(_) => {}
                    Pool::Used { size, used, capacity } => {
                        let class =
                            classes.entry(size).or_insert(SizeClass { size, pools: 0, used: 0, free: 0 });
                        class.pools += 1;
                        class.used += u64::from(used);
                        class.free += u64::from(capacity - used);
                        sums.bytes.quantization +=
                            places * self.pool_size - self.header_size - u64::from(capacity) * size;
                    }
                }
            }
        }
        sums.classes = classes.into_values().collect();
        for class in &sums.classes {
            sums.pools += u64::from(class.pools);
            sums.blocks += class.used;
            sums.bytes.used += class.used * class.size;
            sums.bytes.free += class.free * class.size;
        }
        sums.bytes.headers = sums.pools * self.header_size;
        sums.bytes.unused_pools = sums.unused_pools * self.pool_size;
        sums
    }

    /// What the nearly empty arenas are together.
    pub fn pinned(&self) -> Pinned {
        let mut pinned = Pinned::default();
        for arena in self.arenas.iter().filter(|arena| arena.nearly_empty()) {
            pinned.arenas += 1;
            for pool in &arena.pools {
                match *pool {
                    Pool::Used { size, used, capacity } => {
                        pinned.blocks += u64::from(used);
                        pinned.free += u64::from(capacity - used) * size;
                    }
                    Pool::Free => pinned.free += self.pool_size,
                    Pool::Fresh | Pool::Suspect | Pool::Swapped | Pool::Rest(_) => {}
                }
            }
        }
        pinned
    }

    /// `sys.getallocatedblocks()`: every block in use, small or large, where this build counts the large ones.
    pub fn allocated_blocks(&self) -> Option<u64> {
        let all: Option<u64> = self.allocators.iter().map(|allocator| allocator.counts.all).sum();
        let large = || self.allocators.iter().map(|allocator| allocator.counts.large).sum::<Option<u64>>();
        all.or_else(|| Some(self.sums().blocks + large()?))
    }

    /// The most arenas that were in use at once.
    pub fn highwater(&self) -> Option<u64> {
        self.allocators.iter().map(|allocator| allocator.counts.highwater).sum()
    }

    /// Which arena an address lies in, by its place among all.
    pub fn arena_at(&self, at: Addr) -> Option<usize> {
        let behind = self.arenas.partition_point(|look| look.arena.address <= at);
        let arena = &self.arenas.get(behind.checked_sub(1)?)?.arena;
        (at.0 - arena.address.0 < arena.size).then_some(behind - 1)
    }

    /// How large the block is that an address lies in; `None` outside of pools in use.
    pub fn block_size(&self, at: Addr) -> Option<u64> {
        let look = &self.arenas[self.arena_at(at)?];
        let place = usize::try_from(at.0.checked_sub(look.arena.first.0)? / self.pool_size).ok()?;
        let first = match look.pools.get(place)? {
            Pool::Rest(before) => place.checked_sub(*before as usize)?,
            _ => place,
        };
        match look.pools.get(first)? {
            Pool::Used { size, .. } => Some(*size),
            _ => None,
        }
    }
}
