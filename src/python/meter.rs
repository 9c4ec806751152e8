//! How much an allocator of small objects hands out from one glance to the next, told by the pools that it allocates from.
//!
//! Design constraints: a glance must be short, for a thread runs on meanwhile. So only the first pool of each size class is looked
//! at, and how many pools are in use. What is freed in other pools, and what fills holes in a pool that comes first in between, is
//! not seen: shares are told by this, and how much there is in all by the headers of all pools.

use super::arenas::{Arenas, Table};
use super::instance::word;
use super::pools::{Head, LIST, Pools};
use crate::memory::{Addr, Memory, Part};

/// The most size classes: 512 bytes in steps of 8.
pub(super) const MAX_CLASSES: usize = 64;
/// So many blocks of a pool that has just come into use may have been given back already: those of temporary objects.
const TEMPORARY: usize = 8;
/// How often a glance is taken again when another pool came first meanwhile.
const TRIES: usize = 4;

/// Where an allocator keeps what a glance looks at.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Its lists of pools, two words a size class: the first and the last that have a free block.
    pub(super) heads: Addr,
    pub(super) classes: usize,
    pub(super) table: Table,
    pub(super) arenas: Arenas,
    pub(super) pools: Pools,
}

/// What a glance saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// The first pool of each size class, where there is one.
    firsts: Vec<Option<(Addr, Head)>>,
    /// What became of those that were first at the glance before.
    former: Vec<Option<Head>>,
    /// Pools that have a block in use.
    in_use: i64,
    /// A bit for each size class of which another pool came first whenever it was read: one that is full but for a temporary object.
    restless: u64,
}

/// What was handed out, less what came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grown {
    /// Bytes of blocks.
    pub bytes: i64,
    /// Blocks.
    pub blocks: i64,
}

impl Meter {
    /// Glances at the allocator; `before` is the last glance. `None` where what was read makes no sense.
    pub fn glance(&self, memory: &dyn Memory, before: &Glance) -> Option<Glance> {
        let lists = || memory.bytes(self.heads, self.classes * LIST as usize).ok();
        let mut told = lists()?;
        for number in 1.. {
            let glance = self.read(memory, &told, before)?;
            let after = lists()?;
            if after == told {
                return Some(glance);
            }
            if number == TRIES {
                let differs = |class: &usize| self.first(&told, *class) != self.first(&after, *class);
                let restless = (0..self.classes).filter(differs).fold(0, |all, class| all | bit(class));
                return Some(Glance { restless, ..glance });
            }
            told = after;
        }
        None
    }

    fn read(&self, memory: &dyn Memory, lists: &[u8], before: &Glance) -> Option<Glance> {
        let former = before.firsts.iter().map(|first| first.map_or(Addr::NULL, |(at, _)| at));
        let places: Vec<Addr> =
            (0..self.classes).map(|class| self.first(lists, class)).chain(former).collect();
        let mut room = vec![0; places.len() * self.pools.header_size()];
        let mut parts: Vec<Part<'_>> = places
            .iter()
            .zip(room.chunks_exact_mut(self.pools.header_size()))
            .filter(|(at, _)| !at.is_null())
            .map(|(at, buf)| Part { addr: *at, buf, arrived: false })
            .collect();
        memory.read_many(&mut parts);
        let mut read = parts.iter();
        let mut heads = places.iter().map(|at| {
            let part = if at.is_null() { None } else { read.next() };
            part.filter(|part| part.arrived).and_then(|part| self.pools.head(part.buf))
        });
        let firsts: Vec<Option<Head>> = heads.by_ref().take(self.classes).collect();
        let former = heads.collect();
        let firsts = places.iter().zip(firsts).map(|(at, head)| Some((*at, head?))).collect();
        let in_use = self.arenas.pools_in_use(memory, self.table).ok()? as i64;
        Some(Glance { firsts, former, in_use, restless: 0 })
    }

    /// The first pool of a size class; the list of a class without one leads back to itself.
    fn first(&self, lists: &[u8], class: usize) -> Addr {
        let at = word(lists, class as u64 * LIST);
        let own = self.heads.0.wrapping_add(class as u64 * LIST).wrapping_sub(self.pools.link());
        if at == own || !at.is_multiple_of(self.arenas.pool_size()) { Addr::NULL } else { Addr(at) }
    }

    /// What was handed out between two glances, of which `after` followed `before`; of size classes that were restless at one of them,
    /// nothing.
    pub fn grown(&self, before: &Glance, after: &Glance) -> Grown {
        let mut grown = Grown::default();
        let mut add = |blocks: i64, size: usize| {
            grown.blocks += blocks;
            grown.bytes += blocks * size as i64;
        };
        let rests = |class: &usize| (before.restless | after.restless) & bit(*class) == 0;
        let changed = |class: usize| {
            let at = |glance: &Glance| glance.firsts.get(class).copied().flatten().map(|(at, _)| at);
            at(after).filter(|now| at(before) != Some(*now) && rests(&class))
        };
        let moves = (0..self.classes).filter(|class| changed(*class).is_some()).count() as i64;
        let mut more = after.in_use - before.in_use;
        // Where as many pools came into use as are first now, these are they.
        let all_new = more >= moves;
        for class in (0..self.classes).filter(rests) {
            if let Some((_, was)) = before.firsts.get(class).copied().flatten() {
                let is = after.former.get(class).copied().flatten().filter(|is| is.size == was.size);
                // One that serves another size was empty in between.
                add(is.map_or(0, |is| is.used as i64) - was.used as i64, was.size);
                more += i64::from(is.is_none_or(|is| is.used == 0));
            }
        }
        for class in (0..self.classes).filter(|class| changed(*class).is_some()) {
            let Some((_, first)) = after.firsts.get(class).copied().flatten() else { continue };
            if more > 0 && (all_new || first.carved <= first.used + TEMPORARY) {
                add(first.used as i64, first.size);
                more -= 1;
            }
        }
        // Pools that came into use and are full already, or went out of it from being full. A single one may be a pool that comes and
        // goes with each temporary object, for the next one to be full: that it was in use is then read at another moment than which
        // pool came first. It counts where a pool that came first before has become full.
        let payload = (self.arenas.pool_size() as usize - self.pools.header_size()) as i64;
        let filled = |class: usize| {
            let is = after.former.get(class).copied().flatten();
            is.is_some_and(|is| (is.used + 1) * is.size > payload as usize)
        };
        if more.abs() == 1 && !(0..self.classes).any(|class| changed(class).is_some() && filled(class)) {
            more = 0;
        }
        let size = if grown.blocks == 0 { 0 } else { grown.bytes / grown.blocks };
        grown.bytes += more * payload;
        grown.blocks += more * payload / size.clamp(16, 512);
        grown
    }
}

/// The bit of a size class; there are 64 of them at most.
fn bit(class: usize) -> u64 {
    1u64.checked_shl(class as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Fact, Layout};

    fn meter() -> Meter {
        let mut layout = Layout::new("made up");
        for (key, value) in
            [("size", 48), ("address", 0), ("pool_address", 8), ("nfreepools", 16), ("ntotalpools", 20)]
        {
            layout.set("arena", key, value);
        }
        let pool = [("count", 0), ("freeblock", 8), ("next", 16), ("arenaindex", 32), ("szidx", 36)];
        for (key, value) in
            pool.into_iter().chain([("nextoffset", 40), ("maxnextoffset", 44), ("header", 48)])
        {
            layout.set("pool", key, value);
        }
        layout.set_fact("pool.size", Fact::Number(4096));
        layout.set_fact("small.threshold", Fact::Number(512));
        let arenas = Arenas::bind(&layout).unwrap();
        let pools = Pools::bind(&layout, &arenas).unwrap();
        let table = Table { arenas: Addr(8), slots: crate::python::arenas::Slots::Counted(16) };
        Meter { heads: Addr(0x5000), classes: 2, table, arenas, pools }
    }

    fn pool(at: u64, size: usize, used: usize, carved: usize) -> Option<(Addr, Head)> {
        Some((Addr(at), Head { size, used, carved }))
    }

    #[track_caller]
    fn check(before: Glance, after: Glance, bytes: i64, blocks: i64) {
        assert_eq!(meter().grown(&before, &after), Grown { bytes, blocks });
    }

    #[test]
    fn what_is_handed_out_is_told_by_the_first_pools_and_by_how_many_there_are() {
        let glance = |firsts: [Option<(Addr, Head)>; 2], former: &[Option<Head>], in_use| Glance {
            firsts: firsts.into(),
            former: former.to_vec(),
            in_use,
            restless: 0,
        };
        let head = |size, used| Some(Head { size, used, carved: used });
        let began = || glance([pool(0x1000, 16, 10, 10), None], &[], 5);
        check(began(), glance([pool(0x1000, 16, 14, 14), None], &[head(16, 14), None], 5), 64, 4);
        // It is full, and the next one was taken; so was one for a class that had none.
        let next = [pool(0x2000, 16, 3, 3), pool(0x3000, 32, 2, 2)];
        check(began(), glance(next, &[head(16, 253), None], 7), 16 * 246 + 64, 248);
        // Another one is full already as well.
        check(began(), glance(next, &[head(16, 253), None], 8), 16 * 246 + 64 + 4048, 248 + 253);
        // All of it came back, and the pool went back to its arena.
        check(began(), glance([None, None], &[head(16, 0), None], 4), -160, -10);
        // A pool was in use for a temporary object when the first ones were read, and was not when those in use were counted; or
        // the other way around, at the first glance or at the second one.
        let full = |in_use| glance([None, None], &[None, None], in_use);
        check(glance([pool(0x4000, 16, 1, 1), None], &[], 5), full(5), -16, -1);
        check(full(5), full(6), 0, 0);
        check(full(6), full(5), 0, 0);
        // Of a class whose first pool comes and goes nothing is told, and of the others as before.
        let beside = || glance([pool(0x1000, 16, 10, 10), pool(0x3000, 32, 2, 2)], &[], 5);
        let after = || glance([pool(0x2000, 16, 3, 3), pool(0x3000, 32, 4, 4)], &[None, head(32, 4)], 5);
        check(Glance { restless: 1, ..beside() }, after(), 64, 2);
        check(beside(), Glance { restless: 1, ..after() }, 64, 2);
        // A pool with holes comes first: what it had before is nobody's.
        check(began(), glance([pool(0x2000, 16, 9, 99), None], &[head(16, 253), None], 5), 16 * 243, 243);
    }
}
