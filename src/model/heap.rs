//! What the allocator holds, as a series on the recording's clock.

use std::ops::Range;

use super::stack::{ProcessId, StringId};
use super::units::{At, Bytes, Nanos};

/// One size class of the small-object allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeClass {
    /// Bytes of one block.
    pub size: u64,
    /// Pools that serve this class; 0 where none does any more.
    pub pools: u32,
    /// Blocks in use.
    pub used: u64,
    /// Blocks free in those pools.
    pub free: u64,
}

/// One arena: where it lies and how full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arena {
    /// Its address in the target: a label, never to be read again.
    pub address: u64,
    /// Its length; 0 where it was given back.
    pub size: Bytes,
    /// Bytes of its pools that have a block in use.
    pub pooled: Bytes,
    /// Bytes in used blocks; `None` where only the table of arenas was looked at, and it is what it was.
    pub used: Option<Bytes>,
}

impl Arena {
    /// The numbers of the pools that it has room for, each of so many bytes; none where that is 0.
    pub fn pools(&self, pool_size: u32) -> Range<u64> {
        let size = u64::from(pool_size);
        let end = self.address.saturating_add(self.size.0).checked_div(size);
        end.map_or(0..0, |end| self.address.div_ceil(size).min(end)..end)
    }
}

/// One pool: which size class it serves, and how full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Its address, as a number of pools: pools lie at whole multiples of their length.
    pub number: u64,
    /// Bytes of one block; 0 where no block of it is in use, as far as its header could be read. A block that is longer than a pool
    /// counts as one in each pool that it takes, as long as its part of it.
    pub size: u32,
    /// Blocks in use.
    pub used: u16,
}

/// One look at the allocator. Parts that were not looked at are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapState {
    /// When.
    pub at: At,
    /// In which process.
    pub process: ProcessId,
    /// It says all there is. Else it says what has changed since the state of this process before it, and the rest is as it was.
    pub whole: bool,
    /// Arenas, by address.
    pub arenas: Vec<Arena>,
    /// Size classes, smallest first.
    pub classes: Vec<SizeClass>,
    /// Pools, by address within each arena; those that were not named yet have no block in use.
    pub pools: Vec<Pool>,
    /// Bytes of a pool; 0 where no pools are told of.
    pub pool_size: u32,
    /// Pools whose headers contradicted themselves while they were read.
    pub suspect_pools: u32,
}

/// What there is of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeCount {
    /// Its name, with its module.
    pub name: StringId,
    /// Objects.
    pub count: u64,
    /// Bytes that the allocator spends on them and on what they keep elsewhere.
    pub bytes: u64,
}

/// The objects of a process by type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// When it was begun.
    pub at: At,
    /// How long it took: what changed meanwhile was met as it was then, before or after.
    pub took: Nanos,
    /// In which process.
    pub process: ProcessId,
    /// Pools that changed whenever they were read, and whose blocks were not counted.
    pub suspect_pools: u32,
    /// Each type that there is, once.
    pub types: Vec<TypeCount>,
}

/// A number of the heap that is told as a counter whenever it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gauge {
    /// Bytes of the process that lie in memory.
    Resident,
    /// Arenas in use.
    Arenas,
    /// Bytes of them.
    ArenaBytes,
    /// Bytes of pools that have a block in use.
    PoolBytes,
    /// Bytes in blocks in use.
    BlockBytes,
    /// `sys.getallocatedblocks()`.
    Blocks,
}

impl Gauge {
    /// The name of its counter.
    pub fn name(self) -> &'static str {
        match self {
            Gauge::Resident => "rss_bytes",
            Gauge::Arenas => "arenas",
            Gauge::ArenaBytes => "arena_bytes",
            Gauge::PoolBytes => "pool_bytes",
            Gauge::BlockBytes => "block_bytes",
            Gauge::Blocks => "allocated_blocks",
        }
    }
}
