//! How full arenas and size classes were when they were last read, and what of it has changed since it was last told.
//!
//! Design constraints: a header of a pool costs a page to read, and large heaps have more pools than a second has time for. So
//! arenas are read one by one, those that were not read for longest first, and among them those whose row in the table has changed; and the
//! sums are kept up as they are, not added up anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Bytes, heap};
use crate::python::arenas::Arena;
use crate::python::pools::{Pool, wholes};

/// Of an arena of more pools than this, none is told; a block of a recording holds twice as many.
pub const MAX_POOLS: usize = 1 << 19;

/// The arenas of a process.
#[derive(Debug, Default)]
pub struct Occupancy {
    /// The tables as they were last.
    table: Vec<Arena>,
    arenas: BTreeMap<u64, Known>,
    classes: BTreeMap<u64, heap::SizeClass>,
    suspect_pools: u32,
    /// The classes as they were last told.
    told: BTreeMap<u64, heap::SizeClass>,
    /// Arenas of which there is something to tell.
    news: BTreeSet<u64>,
    /// How many pools are other than they were told.
    untold: usize,
    /// A number that grows with each reading.
    turn: u64,
}

/// What is known of an arena.
#[derive(Debug)]
struct Known {
    arena: Arena,
    /// What its headers said; empty until they are read.
    pools: Vec<Pool>,
    used: Option<u64>,
    /// Those that are other than they were told, by number: the size of their blocks, and how many are in use.
    untold: BTreeMap<u64, (u32, u16)>,
    /// When its headers were read, as a turn; 0 where they never were.
    read: u64,
    /// The table says something else of it since.
    changed: bool,
}

impl Occupancy {
    /// Takes in what the tables of arenas say.
    pub fn table(&mut self, arenas: &[Arena]) {
        if self.table == arenas {
            return;
        }
        self.table = arenas.to_vec();
        let now: BTreeSet<u64> = arenas.iter().map(|arena| arena.address.0).collect();
        let gone: Vec<u64> = self.arenas.keys().copied().filter(|known| !now.contains(known)).collect();
        for address in gone {
            if let Some(known) = self.arenas.remove(&address) {
                self.count(&known.pools, false);
                self.untold -= known.untold.len();
                self.news.insert(address);
            }
        }
        for arena in arenas {
            match self.arenas.get_mut(&arena.address.0) {
                Some(known) if known.arena == *arena => {}
                Some(known) => {
                    known.arena = *arena;
                    known.changed = true;
                    self.news.insert(arena.address.0);
                }
                None => {
                    let untold = BTreeMap::new();
                    let known = Known {
                        arena: *arena,
                        pools: Vec::new(),
                        used: None,
                        untold,
                        read: 0,
                        changed: true,
                    };
                    self.arenas.insert(arena.address.0, known);
                    self.news.insert(arena.address.0);
                }
            }
        }
    }

    /// The arenas whose headers are worth reading, the most urgent first.
    pub fn queue(&self) -> Vec<Arena> {
        // One that has changed goes before those that were read a round earlier, but not before those that wait for longer yet.
        let round = self.arenas.len() as u64;
        let since = |known: &Known| known.read.saturating_sub(if known.changed { round } else { 0 });
        let mut queue: Vec<(u64, Arena)> =
            self.arenas.values().map(|known| (since(known), known.arena)).collect();
        queue.sort_by_key(|(read, arena)| (*read, arena.address));
        queue.into_iter().map(|(_, arena)| arena).collect()
    }

    /// Takes in what the headers of an arena say, whose pools are of `pool_size` bytes.
    pub fn pools(&mut self, arena: &Arena, pools: Vec<Pool>, pool_size: u64) {
        self.turn += 1;
        let turn = self.turn;
        let Some(known) = self.arenas.get_mut(&arena.address.0) else { return };
        (known.read, known.changed) = (turn, false);
        if known.pools == pools && known.used.is_some() {
            return;
        }
        let used = pools.iter().map(|pool| pool.used_bytes()).sum();
        if known.used.replace(used) != Some(used) {
            self.news.insert(arena.address.0);
        }
        let before = std::mem::take(&mut known.pools);
        let first = arena.first.0 / pool_size.max(1);
        if pools.len().max(before.len()) <= MAX_POOLS {
            // An arena that was never read has told of no pool, and one may have become shorter.
            let (mut is, mut were) = (serves(&pools, pool_size), serves(&before, pool_size));
            let most = is.len().max(were.len());
            is.resize(most, (0, 0));
            were.resize(most, (0, 0));
            let both = (first..).zip(is.into_iter().zip(were));
            let told = known.untold.len();
            known
                .untold
                .extend(both.filter(|(_, (is, was))| is != was).map(|(number, (is, _))| (number, is)));
            self.untold += known.untold.len() - told;
        }
        self.count(&before, false);
        self.count(&pools, true);
        if let Some(known) = self.arenas.get_mut(&arena.address.0) {
            known.pools = pools;
        }
    }

    /// The pools that have changed since this was last asked.
    pub fn take_pools(&mut self) -> Vec<heap::Pool> {
        self.untold = 0;
        let pools = self.arenas.values_mut().flat_map(|known| std::mem::take(&mut known.untold));
        pools.map(|(number, (size, used))| heap::Pool { number, size, used }).collect()
    }

    /// What else has changed since this was last asked: arenas and classes, those that are gone with nothing left of them.
    pub fn take_news(&mut self, pool_size: u64) -> (Vec<heap::Arena>, Vec<heap::SizeClass>) {
        let arenas =
            std::mem::take(&mut self.news).into_iter().map(|address| match self.arenas.get(&address) {
                Some(known) => heap::Arena {
                    address,
                    size: Bytes(known.arena.size),
                    pooled: Bytes(known.pooled(pool_size)),
                    used: known.used.map(Bytes),
                },
                None => heap::Arena { address, size: Bytes(0), pooled: Bytes(0), used: None },
            });
        let arenas = arenas.collect();
        let nothing = |size: &u64| heap::SizeClass { size: *size, pools: 0, used: 0, free: 0 };
        let gone = self.told.keys().filter(|size| !self.classes.contains_key(size)).map(nothing);
        let changed = self.classes.iter().filter(|(size, class)| self.told.get(size) != Some(class));
        let mut classes: Vec<heap::SizeClass> = changed.map(|(_, class)| *class).chain(gone).collect();
        classes.sort_by_key(|class| class.size);
        if !classes.is_empty() {
            self.told = self.classes.clone();
        }
        (arenas, classes)
    }

    /// How many pools there are to tell of.
    pub fn untold(&self) -> usize {
        self.untold
    }

    /// Arenas, their bytes, and the bytes of their pools that have a block in use.
    pub fn sizes(&self, pool_size: u64) -> (u64, u64, u64) {
        let (mut bytes, mut pooled) = (0, 0);
        for known in self.arenas.values() {
            bytes += known.arena.size;
            pooled += known.pooled(pool_size);
        }
        (self.arenas.len() as u64, bytes, pooled)
    }

    /// Blocks in use and their bytes; `None` while there are arenas whose headers were never read.
    pub fn blocks(&self) -> Option<(u64, u64)> {
        let all_read = self.arenas.values().all(|known| known.used.is_some());
        let classes = self.classes.values();
        let sum =
            |sum: (u64, u64), class: &heap::SizeClass| (sum.0 + class.used, sum.1 + class.used * class.size);
        all_read.then(|| classes.fold((0, 0), sum))
    }

    /// Pools that contradict themselves.
    pub fn suspect_pools(&self) -> u32 {
        self.suspect_pools
    }

    /// Adds pools to the classes, or takes them away again.
    fn count(&mut self, pools: &[Pool], add: bool) {
        for pool in pools {
            match *pool {
                Pool::Used { size, used, capacity } => {
                    let (used, free) = (u64::from(used), u64::from(capacity - used));
                    let new = heap::SizeClass { size, pools: 0, used: 0, free: 0 };
                    let class = self.classes.entry(size).or_insert(new);
                    if add {
                        (class.pools, class.used, class.free) =
                            (class.pools + 1, class.used + used, class.free + free);
                    } else {
                        (class.pools, class.used, class.free) =
                            (class.pools - 1, class.used - used, class.free - free);
                    }
                    if class.pools == 0 {
                        self.classes.remove(&size);
                    }
                }
                Pool::Suspect if add => self.suspect_pools += 1,
                Pool::Suspect => self.suspect_pools -= 1,
                Pool::Fresh | Pool::Free | Pool::Swapped | Pool::Rest(_) => {}
            }
        }
    }
}

impl Known {
    fn pooled(&self, pool_size: u64) -> u64 {
        u64::from(self.arena.pools - self.arena.free) * pool_size
    }
}

/// The size of each pool's blocks, and how many of them are in use. A pool that takes several places has a part of its blocks at each
/// of them, or where these are longer than a place, of the one block that it is taken to have there.
fn serves(pools: &[Pool], pool_size: u64) -> Vec<(u32, u16)> {
    let mut all = Vec::with_capacity(pools.len());
    for (_, places, pool) in wholes(pools) {
        let part = |of: u64, place: u64| of * (place + 1) / places - of * place / places;
        all.extend((0..places).map(|place| match pool {
            Pool::Used { size, used, .. } if size <= pool_size => {
                (size as u32, part(u64::from(used), place) as u16)
            }
            Pool::Used { size, used, .. } => (part(size * u64::from(used), place) as u32, 1),
            _ => (0, 0),
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Addr;

    const POOL: u64 = 16 << 10;

    fn arena(place: u64, free: u32) -> Arena {
        let at = Addr((place + 1) << 20);
        Arena { slot: place as u32, address: at, size: 1 << 20, first: at, fresh: at, pools: 64, free }
    }

    fn pool(size: u64, used: u16) -> Pool {
        Pool::Used { size, used, capacity: 100 }
    }

    fn class(size: u64, pools: u32, used: u64) -> heap::SizeClass {
        heap::SizeClass { size, pools, used, free: u64::from(pools) * 100 - used }
    }

    fn told(arena: &Arena, used: Option<u64>) -> heap::Arena {
        let pooled = Bytes(u64::from(64 - arena.free) * POOL);
        heap::Arena { address: arena.address.0, size: Bytes(1 << 20), pooled, used: used.map(Bytes) }
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut seen = Occupancy::default();
        let (a, b) = (arena(0, 62), arena(1, 63));
        seen.table(&[a, b]);
        assert_eq!(seen.take_news(POOL), (vec![told(&a, None), told(&b, None)], vec![]));
        assert_eq!((seen.blocks(), seen.sizes(POOL)), (None, (2, 2 << 20, 3 * POOL)));
        seen.pools(&a, vec![pool(16, 50), pool(32, 1)], POOL);
        seen.pools(&b, vec![pool(16, 7), Pool::Suspect], POOL);
        assert_eq!((seen.blocks(), seen.suspect_pools()), (Some((58, 57 * 16 + 32)), 1));
        let classes = vec![class(16, 2, 57), class(32, 1, 1)];
        let is = |arena: &Arena, place, size, used| heap::Pool {
            number: arena.first.0 / POOL + place,
            size,
            used,
        };
        let pools = vec![is(&a, 0, 16, 50), is(&a, 1, 32, 1), is(&b, 0, 16, 7)];
        assert_eq!(seen.take_news(POOL), (vec![told(&a, Some(832)), told(&b, Some(112))], classes));
        assert_eq!((seen.untold(), seen.take_pools(), seen.untold()), (3, pools, 0));
        seen.table(&[a, b]);
        seen.pools(&a, vec![pool(16, 50), pool(32, 1)], POOL);
        assert_eq!((seen.take_news(POOL), seen.take_pools()), ((vec![], vec![]), vec![]));
        // As many bytes as before, in other pools.
        seen.pools(&a, vec![pool(16, 50), Pool::Free, pool(32, 1)], POOL);
        let pools = vec![is(&a, 1, 0, 0), is(&a, 2, 32, 1)];
        assert_eq!((seen.take_news(POOL), seen.take_pools()), ((vec![], vec![]), pools));
        // One that becomes shorter has nothing in use behind its end; one that is gone has nothing to tell.
        seen.pools(&a, vec![pool(16, 50)], POOL);
        assert_eq!((seen.untold(), seen.take_pools()), (1, vec![is(&a, 2, 0, 0)]));
        seen.pools(&a, vec![pool(16, 50), Pool::Free, pool(32, 1)], POOL);
        seen.table(&[b]);
        let gone = heap::Arena { address: a.address.0, size: Bytes(0), pooled: Bytes(0), used: None };
        let classes = vec![class(16, 1, 7), heap::SizeClass { free: 0, ..class(32, 0, 0) }];
        assert_eq!((seen.take_news(POOL), seen.untold()), ((vec![gone], classes), 0));
        assert_eq!(seen.take_pools(), []);
    }

    #[test]
    fn of_an_arena_that_is_longer_than_any_no_pool_is_told() {
        let mut seen = Occupancy::default();
        let long = arena(0, 0);
        seen.table(&[long]);
        seen.pools(&long, vec![pool(16, 1); MAX_POOLS + 1], POOL);
        assert_eq!(
            (seen.untold(), seen.blocks()),
            (0, Some((MAX_POOLS as u64 + 1, 16 * (MAX_POOLS as u64 + 1))))
        );
    }

    #[test]
    fn pools_of_several_places_have_a_part_of_their_blocks_at_each() {
        let long = Pool::Used { size: 10, used: 8, capacity: 9 };
        let one = Pool::Used { size: 200, used: 1, capacity: 1 };
        let pools = [long, Pool::Rest(1), Pool::Rest(2), Pool::Free, one, Pool::Rest(1), Pool::Rest(2)];
        let served = serves(&pools, 80);
        assert_eq!(served, [(10, 2), (10, 3), (10, 3), (0, 0), (66, 1), (67, 1), (67, 1)]);
    }

    #[test]
    fn those_are_read_first_that_have_changed_and_then_those_that_were_not_read_for_longest() {
        let mut seen = Occupancy::default();
        let all = [arena(0, 9), arena(1, 9), arena(2, 9)];
        seen.table(&all);
        for place in [1, 0, 2] {
            seen.pools(&all[place], vec![pool(16, 1)], POOL);
        }
        let changed = arena(2, 8);
        seen.table(&[all[0], all[1], changed]);
        assert_eq!(seen.queue(), [changed, all[1], all[0]]);
    }
}
