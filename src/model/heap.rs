//! What the allocator holds, as a series on the recording's clock.

use super::stack::ProcessId;
use super::units::{At, Bytes};

/// One size class of the small-object allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeClass {
    /// Bytes of one block.
    pub size: u32,
    /// Pools that serve this class.
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
    /// Its length.
    pub size: Bytes,
    /// Bytes in used blocks.
    pub used: Bytes,
}

/// One look at the allocator. Parts that were not looked at are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapState {
    /// When.
    pub at: At,
    /// In which process.
    pub process: ProcessId,
    /// Arenas, by address.
    pub arenas: Vec<Arena>,
    /// Size classes, smallest first.
    pub classes: Vec<SizeClass>,
    /// Pools whose headers contradicted themselves while they were read.
    pub suspect_pools: u32,
}
