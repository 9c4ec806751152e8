//! Pools: what an arena of pymalloc's is cut into, each with blocks of one size, and a sum in each that shows whether it was read whole.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Part, Sheet};

use super::arenas::{Arena, Arenas};
use super::reach::Reach;

/// The largest header of a pool.
const MAX_HEADER: usize = 256;
/// Bytes of what an allocator keeps of a size class: its first pool with a free block, and its last.
pub(super) const LIST: u64 = 16;
/// How often a pool is read again that contradicts itself.
const TRIES: usize = 4;

fields! {
    /// `struct pool_header`, Objects/obmalloc.c, later Include/internal/pycore_obmalloc.h.
    struct PoolFields in "pool" {
        header: usize,
        count: Field<u32>,
        freeblock: Field<Addr>,
        arenaindex: Field<u32>,
        szidx: Field<u32>,
        next: Field<Addr>,
        nextoffset: Field<u32>,
        maxnextoffset: Field<u32>,
    }
}

/// What was seen of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// It was never used.
    Fresh,
    /// No block of it is in use.
    Free,
    /// It serves blocks of `size` bytes, `used` of `capacity` are in use.
    Used {
        /// Bytes of a block.
        size: u64,
        /// Blocks in use.
        used: u16,
        /// Blocks that it has room for.
        capacity: u16,
    },
    /// It contradicted itself as often as it was read.
    Suspect,
    /// It lies in swap, and was left there.
    Swapped,
    /// It is part of the one that begins so many places before it.
    Rest(u32),
}

impl Pool {
    /// Bytes of it in blocks in use, as far as that is known.
    pub fn used_bytes(self) -> u64 {
        match self {
            Pool::Used { size, used, .. } => size * u64::from(used),
            _ => 0,
        }
    }
}

/// The pools of an arena: the place of each, how many places it takes, and what it is.
pub fn wholes(pools: &[Pool]) -> impl Iterator<Item = (usize, u64, Pool)> {
    let rest = |pool: &Pool| matches!(pool, Pool::Rest(_));
    let firsts = pools.iter().enumerate().filter(move |(_, pool)| !rest(pool));
    firsts.map(move |(place, pool)| {
        let more = pools[place + 1..].iter().take_while(|pool| rest(pool)).count();
        (place, 1 + more as u64, *pool)
    })
}

/// What lies in the blocks of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nobody says.
    Anything,
    /// No objects.
    Raw,
    /// Objects that the collector does not look after, or none.
    Plain,
    /// Objects that it does look after.
    Collected,
    /// The same, with something in front of them.
    PreHeader,
}

/// A copy of a pool that serves blocks.
#[derive(Debug)]
pub struct Copy<'a> {
    /// Where its first block is in the target.
    pub address: Addr,
    /// Bytes of a block.
    pub size: u64,
    /// What lies in the blocks.
    pub holds: Holds,
    /// The blocks that were handed out at least once, or the beginning of each.
    pub(super) bytes: &'a [u8],
    /// How much of each that is.
    pub(super) step: usize,
    pub(super) free: &'a [bool],
}

/// How the target keeps pools.
#[derive(Debug, Clone, Copy)]
pub struct Pools {
    fields: PoolFields,
    size: usize,
    small: u64,
}

/// What a header says, checked for what a header can say.
#[derive(Debug, Clone, Copy)]
struct Header {
    size: usize,
    used: usize,
    capacity: usize,
    next: usize,
    freeblock: Addr,
}

/// What a pool's header says alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of a block.
    pub(super) size: usize,
    /// Blocks in use.
    pub(super) used: usize,
    /// Blocks that were handed out at least once.
    pub(super) carved: usize,
}

/// What makes of a pool's bytes.
enum Made {
    Free,
    Used(Header),
    Wrong,
}

/// Room for the copy of an arena, used again for the next one.
#[derive(Debug, Default)]
pub struct Room {
    pub(super) bytes: Sheet,
    pub(super) free: Vec<bool>,
}

/// What became of reading an arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its pools, by address.
    pub pools: Vec<Pool>,
    /// Bytes of it that lie in swap.
    pub swapped: u64,
}

impl Pools {
    /// Binds what the layout says of pools.
    pub fn bind(layout: &Layout, arenas: &Arenas) -> Result<Pools, Missing> {
        let fields = PoolFields::bind(layout)?;
        let absurd = |key: &str, value: usize| Missing::Absurd {
            layout: layout.name.clone(),
            section: "pool".into(),
            key: key.into(),
            value: value as i64,
        };
        if fields.header < fields.span || fields.header > MAX_HEADER {
            return Err(absurd("header", fields.header));
        }
        Ok(Pools { fields, size: arenas.pool_size() as usize, small: layout.fact("small.threshold")? })
    }

    /// Bytes of a pool's header.
    pub fn header_size(&self) -> usize {
        self.fields.header
    }

    /// Where a pool has the address of the next one with a free block, in bytes from its beginning.
    pub(super) fn link(&self) -> u64 {
        self.fields.next.offset()
    }

    /// What a header says alone, whosever it is; `None` where it is none of a pool in use, or was.
    pub(super) fn head(&self, bytes: &[u8]) -> Option<Head> {
        let header = Struct::over(bytes);
        let slot = header.get(self.fields.arenaindex);
        let Header { size, used, capacity, next, .. } = self.header(slot, &header)?;
        let carved = ((next - self.fields.header) / size).min(capacity);
        Some(Head { size, used, carved })
    }

    /// Where the lists of pools with a free block lie, two words a size class: the last pool of each leads back to its list. Told by the
    /// pools of one arena, whose headers cost a page each.
    pub(super) fn lists(&self, memory: &dyn Memory, arena: &Arena) -> Option<Addr> {
        let mut told: FxHashMap<Addr, usize> = FxHashMap::default();
        let mut room = vec![0; self.fields.header];
        for at in (arena.first.0..arena.fresh.0).step_by(self.size) {
            if memory.read(Addr(at), &mut room).is_err() {
                continue;
            }
            let header = Struct::over(&room);
            let (class, next) = (header.get(self.fields.szidx), header.get(self.fields.next));
            let partial =
                self.header(arena.slot, &header).is_some_and(|it| (1..it.capacity).contains(&it.used));
            // The list of a class poses as a pool whose link is the list's first word.
            if partial && !next.0.is_multiple_of(self.size as u64) {
                let lists = next.plus(self.fields.next.offset()).minus(u64::from(class) * LIST);
                *told.entry(lists).or_default() += 1;
            }
        }
        told.into_iter().max_by_key(|(_, times)| *times).map(|(lists, _)| lists)
    }

    /// Copies an arena, says what its pools are, and shows each that has blocks in use to `visit`. `None` when the arena is
    /// gone.
    pub(super) fn read(
        &self,
        reach: Reach<'_>,
        arena: &Arena,
        room: &mut Room,
        mut visit: impl FnMut(&Copy<'_>),
    ) -> Option<Contents> {
        let len = (arena.fresh.0 - arena.first.0) as usize;
        room.bytes.resize(len);
        let presence = reach.pages.presence(arena.first, len as u64);
        let spans = reach.spans(&presence);
        if !reach.memory.spans(arena.first, &mut room.bytes, &spans) {
            return None;
        }
        let away = |at: Addr| {
            let pool = at.0..at.0 + self.size as u64;
            !reach.swapped
                && presence.swapped.iter().any(|gone| gone.start < pool.end && pool.start < gone.end)
        };
        let mut pools = Vec::with_capacity(arena.pools as usize);
        let Room { bytes, free } = room;
        for (place, bytes) in bytes.chunks_exact_mut(self.size).enumerate() {
            let at = arena.first.plus((place * self.size) as u64);
            if away(at) {
                pools.push(Pool::Swapped);
                continue;
            }
            let mut made = self.make(at, arena.slot, bytes, free);
            for _ in 1..TRIES {
                if !matches!(made, Made::Wrong) {
                    break;
                }
                let whole = at.0..at.0 + self.size as u64;
                let spans: Vec<Range<u64>> = spans
                    .iter()
                    .map(|span| span.start.max(whole.start)..span.end.min(whole.end))
                    .filter(|span| span.start < span.end)
                    .collect();
                if reach.memory.spans(at, bytes, &spans) {
                    made = self.make(at, arena.slot, bytes, free);
                }
            }
            pools.push(match made {
                Made::Free => Pool::Free,
                Made::Wrong => Pool::Suspect,
                Made::Used(header) => {
                    let Header { size, capacity, next, .. } = header;
                    let carved = self.fields.header..next.min(self.fields.header + capacity * size);
                    visit(&Copy {
                        address: at.plus(carved.start as u64),
                        size: size as u64,
                        holds: Holds::Anything,
                        bytes: &bytes[carved],
                        step: size,
                        free: &free[..capacity],
                    });
                    header.pool()
                }
            });
        }
        pools.resize(arena.pools as usize, Pool::Fresh);
        Some(Contents { pools, swapped: presence.swapped.iter().map(|span| span.end - span.start).sum() })
    }

    /// What the headers of an arena's pools say, which costs a page a pool and no more; nothing is proved by sums. `None`
    /// when the arena is gone.
    pub(super) fn glance(&self, reach: Reach<'_>, arena: &Arena, room: &mut Room) -> Option<Vec<Pool>> {
        let len = arena.fresh.0 - arena.first.0;
        let swapped = if reach.swapped { Vec::new() } else { reach.pages.presence(arena.first, len).swapped };
        let carved = len as usize / self.size;
        room.bytes.resize(carved * self.fields.header);
        let mut parts: Vec<Part<'_>> = room
            .bytes
            .chunks_exact_mut(self.fields.header)
            .zip((arena.first.0..).step_by(self.size))
            .filter(|(_, at)| !swapped.iter().any(|span| span.contains(at)))
            .map(|(buf, at)| Part { addr: Addr(at), buf, arrived: false })
            .collect();
        reach.memory.read_many(&mut parts);
        parts.iter().all(|part| part.arrived).then_some(())?;
        let mut pools = vec![Pool::Swapped; carved];
        for part in &parts {
            let header = Struct::over(part.buf);
            pools[((part.addr.0 - arena.first.0) as usize) / self.size] = match header.get(self.fields.count)
            {
                0 => Pool::Free,
                _ => self.header(arena.slot, &header).map_or(Pool::Suspect, Header::pool),
            };
        }
        pools.resize(arena.pools as usize, Pool::Fresh);
        Some(pools)
    }

    /// What the bytes of a pool say. The blocks that are in use, those that wait for their next use, and those that were
    /// never handed out are all blocks there are: a pool that was caught in a change does not add up.
    fn make(&self, at: Addr, slot: u32, bytes: &[u8], free: &mut Vec<bool>) -> Made {
        let header = Struct::over(&bytes[..self.fields.header]);
        if header.get(self.fields.count) == 0 {
            return Made::Free;
        }
        let Some(header) = self.header(slot, &header) else { return Made::Wrong };
        free.clear();
        free.resize(header.capacity, false);
        let mut waiting = 0;
        let mut next = header.freeblock;
        while !next.is_null() {
            let Some(block) = self.block(at, &header, next).filter(|block| !free[*block]) else {
                return Made::Wrong;
            };
            free[block] = true;
            waiting += 1;
            let from = self.fields.header + block * header.size;
            next = Addr(u64::from_le_bytes(bytes[from..from + 8].try_into().unwrap_or_default()));
        }
        let carved = (header.next - self.fields.header) / header.size;
        let virgin = header.capacity.saturating_sub(carved);
        if header.used + waiting + virgin == header.capacity { Made::Used(header) } else { Made::Wrong }
    }

    fn header(&self, slot: u32, header: &Struct<'_>) -> Option<Header> {
        let get = |field: Field<u32>| header.get(field) as usize;
        let size = self.size.checked_sub(get(self.fields.maxnextoffset))?;
        let (class, next, used) =
            (get(self.fields.szidx), get(self.fields.nextoffset), get(self.fields.count));
        if header.get(self.fields.arenaindex) != slot || size == 0 || size as u64 > self.small {
            return None;
        }
        // A size class is a step of 8 or 16 bytes; which one it is, the build decides.
        let step = size / (class.checked_add(1)?);
        let capacity = (self.size - self.fields.header) / size;
        let sound = matches!(step, 8 | 16)
            && step * (class + 1) == size
            && used <= capacity
            && (self.fields.header..=self.size + size).contains(&next)
            && (next - self.fields.header).is_multiple_of(size);
        sound.then_some(Header { size, used, capacity, next, freeblock: header.get(self.fields.freeblock) })
    }

    /// Which block of a pool an address is, if it is one that was handed out before.
    fn block(&self, at: Addr, header: &Header, block: Addr) -> Option<usize> {
        let offset = usize::try_from(block.0.checked_sub(at.0)?).ok()?.checked_sub(self.fields.header)?;
        let number = offset / header.size;
        let sound = offset.is_multiple_of(header.size) && number < header.capacity;
        (sound && self.fields.header + offset < header.next).then_some(number)
    }
}

impl Header {
    fn pool(self) -> Pool {
        Pool::Used { size: self.size as u64, used: self.used as u16, capacity: self.capacity as u16 }
    }
}

impl<'a> Copy<'a> {
    /// The blocks in use: where each is in the target, and its bytes, or the first of them.
    pub fn blocks(&self) -> impl Iterator<Item = (Addr, &'a [u8])> {
        let (address, size) = (self.address, self.size);
        let blocks = (0_u64..).zip(self.bytes.chunks_exact(self.step).zip(self.free));
        blocks
            .filter(|(_, (_, free))| !**free)
            .map(move |(number, (block, _))| (address.plus(number * size), block))
    }
}
