//! How the allocator of a process stood at a moment of a recording: states are told as changes, and added up here.

use std::collections::BTreeMap;

use super::tables::Recording;
use crate::model::heap::{Arena, Gauge, HeapState, Pool, SizeClass};
use crate::model::{At, Bytes, ProcessId};

/// The allocator of one process at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heap {
    /// Its arenas, by address.
    pub arenas: BTreeMap<u64, Arena>,
    /// Its size classes, by the bytes of a block.
    pub classes: BTreeMap<u64, SizeClass>,
    /// Its pools that have a block in use, as far as they are told of, by their number.
    pub pools: BTreeMap<u64, Pool>,
    /// Bytes of a pool; 0 where none was told of.
    pub pool_size: u32,
    /// Pools whose headers contradicted themselves.
    pub suspect_pools: u32,
}

/// The bytes of all arenas together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of the arenas.
    pub arenas: u64,
    /// Of their pools that have a block in use.
    pub pooled: u64,
    /// Of blocks in use, as far as pools were looked at.
    pub used: u64,
}

impl Heap {
    /// Takes in what a state says.
    pub fn take(&mut self, state: &HeapState) {
        if state.whole {
            *self = Heap::default();
        }
        for arena in &state.arenas {
            if arena.size == Bytes(0) {
                let gone = self.arenas.remove(&arena.address);
                let pools = gone.map_or(0..0, |gone| gone.pools(self.pool_size));
                let pools: Vec<u64> = self.pools.range(pools).map(|(number, _)| *number).collect();
                for number in pools {
                    self.pools.remove(&number);
                }
                continue;
            }
            let known = self.arenas.entry(arena.address).or_insert(*arena);
            *known = Arena { used: arena.used.or(known.used), ..*arena };
        }
        for class in &state.classes {
            match class.pools {
                0 => self.classes.remove(&class.size),
                _ => self.classes.insert(class.size, *class),
            };
        }
        if state.pool_size > 0 {
            self.pool_size = state.pool_size;
        }
        for pool in &state.pools {
            match pool.size {
                0 => self.pools.remove(&pool.number),
                _ => self.pools.insert(pool.number, *pool),
            };
        }
        self.suspect_pools = state.suspect_pools;
    }

    /// How the allocator of a process stood at a moment; `None` where nothing was told of it up to then.
    pub fn at(recording: &Recording, process: ProcessId, at: At) -> Option<Heap> {
        let states = recording.heaps.iter().filter(|state| state.process == process && state.at <= at);
        let mut heap = None;
        states.for_each(|state| heap.get_or_insert_with(Heap::default).take(state));
        heap
    }

    /// The bytes of all arenas together.
    pub fn sum(&self) -> Sum {
        let sum = |part: fn(&Arena) -> u64| self.arenas.values().map(part).fold(0, u64::saturating_add);
        Sum {
            arenas: sum(|arena| arena.size.0),
            pooled: sum(|arena| arena.pooled.0),
            used: sum(|arena| arena.used.map_or(0, |used| used.0)),
        }
    }
}

/// What a counter of the heap was last told to be, up to a moment.
pub fn gauge(recording: &Recording, process: ProcessId, gauge: Gauge, at: At) -> Option<i64> {
    let told = recording.counters.iter().rev().filter(|told| told.process == process && told.at <= at);
    told.filter(|told| recording.string(told.name) == gauge.name())
        .max_by_key(|told| told.at)
        .map(|told| told.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(address: u64, size: u64, pooled: u64, used: Option<u64>) -> Arena {
        Arena { address, size: Bytes(size), pooled: Bytes(pooled), used: used.map(Bytes) }
    }

    fn class(size: u64, pools: u32, used: u64) -> SizeClass {
        SizeClass { size, pools, used, free: 0 }
    }

    fn state(at: u64, whole: bool, arenas: Vec<Arena>, classes: Vec<SizeClass>) -> HeapState {
        let (process, pools, pool_size) = (ProcessId(0), vec![], 0);
        HeapState { at: At(at), process, whole, arenas, classes, pools, pool_size, suspect_pools: 0 }
    }

    #[test]
    fn changes_add_up_to_the_state_that_was_seen_and_a_whole_one_begins_anew() {
        let mut heap = Heap::default();
        let mut check = |state: HeapState, arenas: &[Arena], classes: &[SizeClass]| {
            heap.take(&state);
            assert_eq!(heap.arenas.values().copied().collect::<Vec<_>>(), arenas);
            assert_eq!(heap.classes.values().copied().collect::<Vec<_>>(), classes);
        };
        let (a, b) = (arena(1 << 20, 64, 32, Some(20)), arena(2 << 20, 64, 16, None));
        check(state(0, true, vec![a, b], vec![class(16, 2, 9)]), &[a, b], &[class(16, 2, 9)]);
        // The table of arenas says nothing of blocks, which are what they were.
        let grown = arena(1 << 20, 64, 48, Some(20));
        check(state(1, false, vec![arena(1 << 20, 64, 48, None)], vec![]), &[grown, b], &[class(16, 2, 9)]);
        let gone = vec![arena(2 << 20, 0, 0, None)];
        check(state(2, false, gone, vec![class(16, 0, 0), class(32, 1, 4)]), &[grown], &[class(32, 1, 4)]);
        check(state(3, true, vec![b], vec![]), &[b], &[]);
        assert_eq!(heap.sum(), Sum { arenas: 64, pooled: 16, used: 0 });
    }

    #[test]
    fn pools_go_with_their_arena_and_where_no_block_of_them_is_in_use() {
        let mut heap = Heap::default();
        let pool = |number, size, used| Pool { number, size, used };
        let mut check = |state: HeapState, pools: Vec<Pool>, left: &[u64]| {
            heap.take(&HeapState { pools, pool_size: 1 << 12, ..state });
            assert_eq!(heap.pools.keys().copied().collect::<Vec<_>>(), left);
        };
        // The second arena begins within a page, and has room for a pool less.
        let arenas = vec![arena(1 << 20, 3 << 12, 0, None), arena((2 << 20) + 8, 3 << 12, 0, None)];
        let pools = vec![pool(256, 16, 9), pool(258, 32, 1), pool(513, 64, 2)];
        check(state(0, true, arenas.clone(), vec![]), pools, &[256, 258, 513]);
        check(state(1, false, vec![], vec![]), vec![pool(256, 0, 0), pool(514, 16, 1)], &[258, 513, 514]);
        check(state(2, false, vec![arena(1 << 20, 0, 0, None)], vec![]), vec![], &[513, 514]);
        assert_eq!((arenas[1].pools(1 << 12), arenas[1].pools(0)), (513..515, 0..0));
    }
}
