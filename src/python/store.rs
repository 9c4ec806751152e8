//! What keeps small objects, whichever allocator it is: arenas, cut into pools of blocks of one size.

use crate::layout::{Layout, Missing};

use super::arenas::{Arena, Arenas, NoArenas};
use super::mimalloc::{Mimalloc, SLICE};
use super::obmalloc::{Allocator, Books};
use super::pools::{Contents, Copy, Pool, Pools, Room};
use super::reach::Reach;

/// An allocator's way to keep its books.
#[derive(Debug)]
pub(super) enum Store {
    /// CPython's own.
    Pymalloc(Arenas, Pools),
    /// That of free-threaded builds: its segments are arenas, the slices of its pages pools.
    Mimalloc(Box<Mimalloc>),
}

impl Store {
    /// Binds what the layout says of the allocator that the build has.
    pub(super) fn bind(layout: &Layout) -> Result<Store, Missing> {
        if layout.fact::<String>("obmalloc.kind")? == "mimalloc" {
            return Ok(Store::Mimalloc(Box::new(Mimalloc::bind(layout)?)));
        }
        let arenas = Arenas::bind(layout)?;
        Ok(Store::Pymalloc(arenas, Pools::bind(layout, &arenas)?))
    }

    /// Bytes of a pool.
    pub(super) fn pool_size(&self) -> u64 {
        match self {
            Store::Pymalloc(arenas, _) => arenas.pool_size(),
            Store::Mimalloc(_) => SLICE,
        }
    }

    /// Bytes of a pool's header.
    pub(super) fn header_size(&self) -> u64 {
        match self {
            Store::Pymalloc(_, pools) => pools.header_size() as u64,
            // It lies with those of the other pages, in front of all of them.
            Store::Mimalloc(_) => 0,
        }
    }

    /// The arenas of an allocator, by address, and how many more it should have.
    pub(super) fn list(&self, reach: Reach<'_>, of: &Allocator) -> Result<(Vec<Arena>, u32), NoArenas> {
        match (self, of.books) {
            (Store::Pymalloc(arenas, _), Books::Table { table, .. }) => {
                Ok((arenas.read(reach.memory, table)?, 0))
            }
            (Store::Mimalloc(mimalloc), Books::Threads(interpreter)) => mimalloc.list(reach, interpreter),
            _ => Ok((Vec::new(), 0)),
        }
    }

    /// Copies an arena, says what its pools are, and shows each that has blocks in use to `visit`. `None` when the arena is
    /// gone.
    pub(super) fn read(
        &self,
        reach: Reach<'_>,
        arena: &Arena,
        room: &mut Room,
        visit: impl FnMut(&Copy<'_>),
    ) -> Option<Contents> {
        match self {
            Store::Pymalloc(_, pools) => pools.read(reach, arena, room, visit),
            Store::Mimalloc(mimalloc) => mimalloc.read(reach, arena, room, visit),
        }
    }

    /// What the headers of an arena's pools say, which costs a page a pool and no more; nothing is proved by sums. `None`
    /// when the arena is gone.
    pub(super) fn glance(&self, reach: Reach<'_>, arena: &Arena, room: &mut Room) -> Option<Vec<Pool>> {
        match self {
            Store::Pymalloc(_, pools) => pools.glance(reach, arena, room),
            Store::Mimalloc(mimalloc) => mimalloc.glance(reach, arena),
        }
    }
}
