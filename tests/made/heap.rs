//! States of the allocator that never were.

use pitviper::model::allocation::{Allocation, Evidence};
use pitviper::model::heap::{Arena, Census, HeapState, Pool, SizeClass, TypeCount};
use pitviper::model::{At, Bytes, Event, Nanos, ProcessId, StackId, StringId, TrackId};

use super::{Chance, Maker};

/// The state of `everything`; but for its pools, files of the first version of such states can hold it.
pub fn state(process: ProcessId) -> HeapState {
    let arena =
        |address, used| Arena { address, size: Bytes(1 << 20), pooled: Bytes(used), used: Some(Bytes(used)) };
    HeapState {
        at: At(50_000_000),
        process,
        whole: true,
        arenas: vec![arena(0x7f12_3450_0000, 900_000), arena(0x7f12_3420_0000, 0)],
        classes: vec![SizeClass { size: 16, pools: 3, used: 2000, free: 1000 }],
        pools: [(0, 900), (1, 1000), (3, 100)]
            .map(|(n, used)| Pool { number: 0x1fc4_8d14 + n, size: 16, used })
            .to_vec(),
        pool_size: 1 << 18,
        suspect_pools: 1,
    }
}

/// Arenas that fill up and empty again over some time, told in so many changes, and a census every so often in which some types grow.
pub fn busy(made: &mut Maker, chance: &mut Chance, process: ProcessId, changes: usize, until: u64) {
    const ARENAS: u64 = 400;
    const AT_ONCE: usize = 250;
    let types: Vec<StringId> = (0..300).map(|n| made.string(&format!("app.models.Type{n}"))).collect();
    let mut used = vec![0_u64; ARENAS as usize];
    let states = changes / AT_ONCE;
    for n in 0..states as u64 {
        let at = At(n * until / states as u64);
        let arenas = (0..AT_ONCE).map(|_| {
            let place = chance.below(ARENAS);
            let filled = &mut used[place as usize];
            *filled = (*filled + chance.below(1 << 16)).saturating_sub(chance.below(1 << 15)).min(1 << 20);
            let pooled = (*filled).next_multiple_of(1 << 14);
            let address = 0x7f00_0000_0000 + (place << 22);
            Arena { address, size: Bytes(1 << 20), pooled: Bytes(pooled), used: Some(Bytes(*filled)) }
        });
        let mut arenas: Vec<Arena> = arenas.collect();
        arenas.sort_by_key(|arena| arena.address);
        let classes = (1..=32).map(|n| SizeClass {
            size: 16 * n,
            pools: 40,
            used: chance.below(9_000),
            free: chance.below(900),
        });
        let classes = classes.collect();
        let pools = arenas.iter().map(|arena| Pool {
            number: (arena.address >> 14) + chance.below(64),
            size: 16 * (1 + chance.below(32) as u32),
            used: chance.below(30) as u16,
        });
        made.events.push(Event::Heap(HeapState {
            at,
            process,
            whole: n == 0,
            pools: pools.collect(),
            pool_size: 1 << 14,
            arenas,
            classes,
            suspect_pools: 0,
        }));
        if n % 100 == 0 {
            let types = types.iter().zip(1_u64..).map(|(name, of)| {
                let count = of * 100 + of % 3 * n + chance.below(of);
                TypeCount { name: *name, count, bytes: count * 64 }
            });
            let (took, types) = (Nanos(5_000_000), types.collect());
            made.events.push(Event::Census(Census { at, took, process, suspect_pools: 0, types }));
        }
    }
}

/// Some state or change.
pub fn by_chance(made: &mut Maker, chance: &mut Chance, at: u64) {
    let arenas = (0..chance.below(5))
        .map(|_| Arena {
            address: chance.number(),
            size: Bytes(chance.below(2) << 20),
            pooled: Bytes(chance.below(1 << 20)),
            used: chance.maybe(|chance| Bytes(chance.below(1 << 20))),
        })
        .collect();
    let classes = (0..chance.below(5))
        .map(|n| SizeClass {
            size: 16 * (n + 1),
            pools: chance.number() as u32,
            used: chance.number(),
            free: chance.below(99),
        })
        .collect();
    let pools = (0..chance.below(5))
        .map(|_| Pool { number: chance.number(), size: chance.number() as u32, used: chance.number() as u16 })
        .collect();
    let (process, suspect_pools) = (ProcessId(chance.id(made.processes)), chance.number() as u32);
    let (whole, pool_size) = (chance.below(2) == 0, chance.number() as u32);
    made.events.push(Event::Heap(HeapState {
        at: At(at),
        process,
        whole,
        arenas,
        classes,
        pools,
        pool_size,
        suspect_pools,
    }));
    let rows = (0..1 + chance.below(3))
        .map(|_| Allocation {
            at: At(at),
            track: TrackId(chance.id(made.tracks)),
            stack: chance.maybe(|chance| StackId(chance.id(made.stacks))),
            bytes: chance.number() as i64,
            blocks: chance.number() as i64,
            evidence: chance.pick(&[Evidence::Traced, Evidence::Burst(Nanos(9)), Evidence::Moved(Nanos(7))]),
        })
        .collect();
    made.events.push(Event::Allocations(rows));
    let types = (0..chance.below(5))
        .map(|_| TypeCount {
            name: StringId(chance.id(made.strings)),
            count: chance.number(),
            bytes: chance.number(),
        })
        .collect();
    let took = Nanos(chance.below(1 << 40));
    made.events.push(Event::Census(Census { at: At(at), took, process, suspect_pools, types }));
}
