//! The heap over time as matrices: addresses by time, with the arenas put side by side, and size classes by time.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::heap::Heap;
use super::tables::Recording;
use crate::model::heap::{Arena, HeapState};
use crate::model::{At, Nanos, ProcessId};

/// The most columns.
const COLUMNS: u64 = 240;
/// The shortest time that a column stands for: states are not told more often.
const SHORTEST: Nanos = Nanos(100_000_000);
/// The most rows of addresses. Rows are as fine as that allows: pools, some pools of an arena, arenas, some arenas.
const ROWS: u64 = 256;

/// The heap of one process over time. Every row has a cell for each column, which says how it was at the end of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heatmap {
    /// Of which process.
    pub process: ProcessId,
    /// The moments at which the columns end.
    pub times: Vec<At>,
    /// Arenas, or the pools in them, by address, with nothing between them.
    pub bands: Vec<Band>,
    /// Size classes, smallest first.
    pub classes: Vec<Class>,
}

/// Some arenas that lie next to each other, or some pools of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// Where the first of them begins.
    pub from: u64,
    /// Where the last of them ends.
    pub to: u64,
    /// How many arenas there are, whether or not they are there at the same time.
    pub arenas: usize,
    /// Which pools of the arena these are; `None` where rows are of whole arenas.
    pub part: Option<Part>,
    /// Bytes of what is there.
    pub arena_bytes: Vec<u64>,
    /// Bytes of pools that have a block in use: of arenas as their table says, of single pools as their headers do.
    pub pool_bytes: Vec<u64>,
    /// Bytes in blocks in use; `None` before headers of pools were read of all that are there.
    pub block_bytes: Vec<Option<u64>>,
    /// Bytes of a block in most of the pools that have one in use; 0 where there are none, or none were told of.
    pub block_sizes: Vec<u32>,
}

/// Some pools of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where the arena begins.
    pub arena: u64,
    /// The first of the pools, counted from the arena's first.
    pub first: u64,
    /// How many there are.
    pub pools: u64,
}

/// A size class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Bytes of a block.
    pub size: u64,
    /// Pools.
    pub pools: Vec<u32>,
    /// Blocks in use.
    pub used: Vec<u64>,
    /// Blocks free in those pools.
    pub free: Vec<u64>,
}

impl Heatmap {
    /// That of a process in a span of time; `None` where nothing was told of its allocator up to the end of it.
    pub fn of(recording: &Recording, process: ProcessId, from: At, to: At) -> Option<Heatmap> {
        let states: Vec<&HeapState> =
            recording.heaps.iter().filter(|state| state.process == process).collect();
        let first = states.iter().map(|state| state.at).min().filter(|first| *first <= to)?;
        let times = columns(from.max(first), to);
        let (mut arenas, mut sizes, mut pool_size) = (BTreeMap::new(), BTreeMap::new(), 0);
        replay(&states, &times, |_, heap, _| {
            arenas.extend(heap.arenas.iter().map(|(address, arena)| (*address, *arena)));
            sizes.extend(heap.classes.keys().map(|size| (*size, ())));
            pool_size = heap.pool_size;
        });
        let mut bands = bands(&arenas.into_values().collect::<Vec<_>>(), pool_size, times.len());
        let mut classes: Vec<Class> = sizes.into_keys().map(|size| Class::new(size, times.len())).collect();
        replay(&states, &times, |column, heap, is_new| {
            if is_new {
                bands.iter_mut().for_each(|band| band.fill(column, heap));
                classes.iter_mut().for_each(|class| class.fill(column, heap));
            } else {
                bands.iter_mut().for_each(|band| band.repeat(column));
                classes.iter_mut().for_each(|class| class.repeat(column));
            }
        });
        Some(Heatmap { process, times, bands, classes })
    }
}

/// The ends of columns of equal length, the last of them at the end of the span.
fn columns(from: At, to: At) -> Vec<At> {
    let span = to.since(from).0;
    let count = (span / SHORTEST.0).clamp(1, COLUMNS);
    (1..=count)
        .map(|column| At(to.0 - (u128::from(span) * u128::from(count - column) / u128::from(count)) as u64))
        .collect()
}

/// Shows how the heap was at each of these moments, and whether anything was told since the one before.
fn replay(states: &[&HeapState], times: &[At], mut show: impl FnMut(usize, &Heap, bool)) {
    let mut states = states.iter().peekable();
    let mut heap = Heap::default();
    for (column, end) in times.iter().enumerate() {
        let mut is_new = column == 0;
        while let Some(state) = states.next_if(|state| state.at <= *end) {
            heap.take(state);
            is_new = true;
        }
        show(column, &heap, is_new);
    }
}

/// The rows of these arenas, each as fine as the others: of as few pools as there is room for, or else of as few arenas.
fn bands(arenas: &[Arena], pool_size: u32, columns: usize) -> Vec<Band> {
    let pools = |arena: &Arena| {
        let numbers = arena.pools(pool_size);
        numbers.end - numbers.start
    };
    let most = arenas.iter().map(pools).max().unwrap_or(0);
    let rows =
        |each| arenas.iter().map(|arena| pools(arena).div_ceil(each).max(1)).fold(0, u64::saturating_add);
    let mut each = 1_u64;
    while each < most && rows(each) > ROWS {
        each = each.saturating_mul(2);
    }
    if each < most {
        return arenas.iter().flat_map(|arena| parts(arena, each, pool_size, columns)).collect();
    }
    let each = arenas.len().div_ceil(ROWS as usize).max(1);
    arenas.chunks(each).map(|arenas| Band::new(arenas, columns)).collect()
}

/// The rows of an arena, each of so many pools; the first and the last of them have what of the arena is no pool.
fn parts(arena: &Arena, each: u64, pool_size: u32, columns: usize) -> Vec<Band> {
    let (whole, numbers) = (Band::new(std::slice::from_ref(arena), columns), arena.pools(pool_size));
    let count = numbers.end - numbers.start;
    let address = |first: u64| (numbers.start + first) * u64::from(pool_size);
    let part = |first: u64| {
        let pools = each.min(count - first);
        Band {
            from: if first == 0 { whole.from } else { address(first) },
            to: if first + pools == count { whole.to } else { address(first + pools) },
            part: Some(Part { arena: arena.address, first, pools }),
            ..whole.clone()
        }
    };
    (0..count.max(1)).step_by(each as usize).map(part).collect()
}

impl Band {
    fn new(arenas: &[Arena], columns: usize) -> Band {
        Band {
            from: arenas.first().map_or(0, |arena| arena.address),
            to: arenas.last().map_or(0, |arena| arena.address.saturating_add(arena.size.0)),
            arenas: arenas.len(),
            part: None,
            arena_bytes: vec![0; columns],
            pool_bytes: vec![0; columns],
            block_bytes: vec![Some(0); columns],
            block_sizes: vec![0; columns],
        }
    }

    /// A column like the one before it.
    fn repeat(&mut self, column: usize) {
        self.arena_bytes[column] = self.arena_bytes[column - 1];
        self.pool_bytes[column] = self.pool_bytes[column - 1];
        self.block_bytes[column] = self.block_bytes[column - 1];
        self.block_sizes[column] = self.block_sizes[column - 1];
    }

    fn fill(&mut self, column: usize, heap: &Heap) {
        let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut in_use, mut in_blocks) = (0_u64, 0_u64);
        let size = u64::from(heap.pool_size.max(1));
        for pool in heap.pools.range(self.from.div_ceil(size)..self.to.div_ceil(size)).map(|(_, pool)| pool) {
            *sizes.entry(pool.size).or_default() += 1;
            add(&mut in_use, size);
            add(&mut in_blocks, u64::from(pool.size) * u64::from(pool.used));
        }
        // Of as many pools of two classes, the smaller one leads.
        let leads = sizes.into_iter().max_by_key(|(size, pools)| (*pools, Reverse(*size)));
        self.block_sizes[column] = leads.map_or(0, |(size, _)| size);
        if let Some(part) = self.part {
            let Some(arena) = heap.arenas.get(&part.arena) else { return };
            let length = self.to - self.from;
            self.arena_bytes[column] = length;
            (self.pool_bytes[column], self.block_bytes[column]) = match arena.used {
                Some(_) => (in_use, Some(in_blocks)),
                // It is not known which of its pools have a block in use: these may all be.
                None => (arena.pooled.0.min(length), None),
            };
            return;
        }
        for arena in heap.arenas.range(self.from..self.to).map(|(_, arena)| arena) {
            add(&mut self.arena_bytes[column], arena.size.0);
            add(&mut self.pool_bytes[column], arena.pooled.0);
            let used = &mut self.block_bytes[column];
            *used = used.zip(arena.used).map(|(sum, used)| sum.saturating_add(used.0));
        }
    }
}

impl Class {
    /// A column like the one before it.
    fn repeat(&mut self, column: usize) {
        self.pools[column] = self.pools[column - 1];
        self.used[column] = self.used[column - 1];
        self.free[column] = self.free[column - 1];
    }

    fn new(size: u64, columns: usize) -> Class {
        Class { size, pools: vec![0; columns], used: vec![0; columns], free: vec![0; columns] }
    }

    fn fill(&mut self, column: usize, heap: &Heap) {
        if let Some(class) = heap.classes.get(&self.size) {
            (self.pools[column], self.used[column], self.free[column]) =
                (class.pools, class.used, class.free);
        }
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::heap::{Arena, Pool, SizeClass};
    use crate::model::{Bytes, Define, Event, Process, StringId};
    use crate::recording::Meta;

    const SECOND: u64 = 1_000_000_000;

    fn arena(place: u64, used: Option<u64>) -> Arena {
        Arena { address: place << 20, size: Bytes(1 << 20), pooled: Bytes(1 << 19), used: used.map(Bytes) }
    }

    fn recording(states: Vec<(u64, Vec<Arena>, Vec<SizeClass>)>) -> Recording {
        let mut recording = Recording::new(Meta::default());
        let mut add = |event| recording.add(event).unwrap();
        add(Event::Define(Define::String(StringId(0), "app.py".into())));
        let name = StringId(0);
        let row =
            Process { pid: 7, parent: None, command: name, python: name, free_threaded: false, debug: false };
        add(Event::Define(Define::Process(ProcessId(0), row)));
        for (at, arenas, classes) in states {
            let whole = at == 0;
            let (at, process) = (At(at), ProcessId(0));
            let (pools, pool_size) = (vec![], 0);
            add(Event::Heap(HeapState {
                at,
                process,
                whole,
                arenas,
                classes,
                pools,
                pool_size,
                suspect_pools: 0,
            }));
        }
        recording
    }

    #[test]
    fn a_cell_says_how_it_was_at_the_end_of_its_column() {
        let class = |used| SizeClass { size: 32, pools: 1, used, free: 10 - used };
        let recording = recording(vec![
            (0, vec![arena(1, None), arena(9, Some(5))], vec![class(1)]),
            (SECOND / 10, vec![arena(1, Some(7))], vec![]),
            (SECOND / 5, vec![Arena { size: Bytes(0), ..arena(9, None) }], vec![class(4)]),
        ]);
        let map = Heatmap::of(&recording, ProcessId(0), At(0), At(3 * SECOND / 10)).unwrap();
        assert_eq!(map.times, [At(SECOND / 10), At(SECOND / 5), At(3 * SECOND / 10)]);
        let rows: Vec<_> =
            map.bands.iter().map(|band| (band.from >> 20, &*band.arena_bytes, &*band.block_bytes)).collect();
        let (mib, there) = (1 << 20, [Some(7); 3]);
        assert_eq!(
            rows,
            [(1, &[mib; 3][..], &there[..]), (9, &[mib, 0, 0][..], &[Some(5), Some(0), Some(0)][..])]
        );
        assert_eq!(
            map.classes,
            [Class { size: 32, pools: vec![1; 3], used: vec![1, 4, 4], free: vec![9, 6, 6] }]
        );
        assert_eq!(Heatmap::of(&recording, ProcessId(1), At(0), At(SECOND)), None);
        let before = Heatmap::of(&recording, ProcessId(0), At(0), At(0)).unwrap();
        assert_eq!((before.times, &*before.bands[0].block_bytes), (vec![At(0)], &[None][..]));
    }

    #[test]
    fn many_arenas_share_rows_and_long_times_share_columns() {
        let arenas = (1..=1000).map(|place| arena(2 * place, Some(1))).collect();
        let map = Heatmap::of(&recording(vec![(0, arenas, vec![])]), ProcessId(0), At(0), At(3600 * SECOND))
            .unwrap();
        assert_eq!((map.times.len(), map.bands.len()), (COLUMNS as usize, 250));
        let sum: u64 = map.bands.iter().filter_map(|band| band.block_bytes[COLUMNS as usize - 1]).sum();
        assert_eq!((sum, map.bands.iter().map(|band| band.arenas).sum::<usize>()), (1000, 1000));
    }

    /// Arenas of 16 pools each, and pools of the first of them.
    fn with_pools(arenas: u64, pools: &[(u64, u32, u16)]) -> Heatmap {
        let arenas = (1..=arenas).map(|place| arena(place, Some(1)));
        let mut recording = recording(vec![(0, arenas.collect(), vec![])]);
        let pool =
            |(place, size, used): &(u64, u32, u16)| Pool { number: 16 + place, size: *size, used: *used };
        (recording.heaps[0].pools, recording.heaps[0].pool_size) =
            (pools.iter().map(pool).collect(), 1 << 16);
        Heatmap::of(&recording, ProcessId(0), At(0), At(0)).unwrap()
    }

    #[test]
    fn rows_are_as_fine_as_there_is_room_for() {
        let part = |arenas: u64| {
            let map = with_pools(arenas, &[]);
            let bytes: u64 = map.bands.iter().map(|band| band.arena_bytes[0]).sum();
            assert_eq!(bytes, arenas << 20);
            assert!(map.bands.windows(2).all(|two| two[0].to == two[1].from), "{:?}", map.bands);
            (map.bands.len(), map.bands[1].part.map(|part| (part.arena >> 20, part.first, part.pools)))
        };
        assert_eq!(part(1), (16, Some((1, 1, 1))));
        assert_eq!(part(16), (256, Some((1, 1, 1))));
        assert_eq!(part(17), (136, Some((1, 2, 2))));
        assert_eq!(part(128), (256, Some((1, 8, 8))));
        assert_eq!(part(129), (129, None));
        assert_eq!(part(257), (129, None));
    }

    #[test]
    fn a_row_says_which_size_most_of_its_pools_serve() {
        let pools = [(0, 64, 1023), (1, 32, 7), (8, 16, 2), (9, 16, 1), (10, 512, 127), (15, 48, 1)];
        let cells = |arenas| {
            let map = with_pools(arenas, &pools);
            let cell =
                |band: &Band| (band.block_sizes[0], band.pool_bytes[0] >> 16, band.block_bytes[0].unwrap());
            map.bands.iter().map(cell).collect::<Vec<_>>()
        };
        let single = cells(1);
        assert_eq!(single[..2], [(64, 1, 64 * 1023), (32, 1, 7 * 32)]);
        assert_eq!((single[2], single[15]), ((0, 0, 0), (48, 1, 48)));
        // Eight pools a row, of two classes of which none leads, and of three of which one does.
        assert_eq!(cells(128)[..2], [(32, 2, 64 * 1023 + 7 * 32), (16, 4, 3 * 16 + 512 * 127 + 48)]);
        // Whole arenas are what their table says, with the class that leads there.
        assert_eq!(cells(129)[..2], [(16, 8, 1), (0, 8, 1)]);
    }

    #[test]
    fn pools_that_were_not_looked_at_yet_are_none_of_any_size() {
        let mut recording = recording(vec![(0, vec![arena(1, None)], vec![])]);
        recording.heaps[0].pool_size = 1 << 18;
        let map = Heatmap::of(&recording, ProcessId(0), At(0), At(0)).unwrap();
        let cell = |band: &Band| (band.block_sizes[0], band.pool_bytes[0], band.block_bytes[0]);
        assert_eq!(map.bands.iter().map(cell).collect::<Vec<_>>(), [(0, 1 << 18, None); 4]);
    }
}
