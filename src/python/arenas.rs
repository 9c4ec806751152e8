//! The arenas of the allocator of small objects: the table of them, read whole and believed only when it makes sense.

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory};

/// The most slots that a table of arenas has: a tebibyte of the larger arenas.
const MAX_SLOTS: u64 = 1 << 20;
/// The most pools of one arena: those of `--with-pymalloc-hugepages` have 128.
const MAX_POOLS: u32 = 1 << 10;
/// The largest pool: blocks of all its room, 8 bytes each, are counted in 16 bits.
const MAX_POOL: u64 = 1 << 19;
/// How often a table is read again that moved while it was read.
const TRIES: usize = 8;

fields! {
    /// `struct arena_object`, Objects/obmalloc.c, later Include/internal/pycore_obmalloc.h.
    struct ArenaFields in "arena" {
        size: usize,
        address: Field<u64>,
        pool_address: Field<u64>,
        nfreepools: Field<u32>,
        ntotalpools: Field<u32>,
    }
}

/// Where a table of arenas is kept, which may move while we look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The variable that points to it.
    pub arenas: Addr,
    /// The variable that says how many slots it has.
    pub slots: Slots,
}

/// How many slots a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// As this variable says.
    Told(Addr),
    /// As a search found, because nothing names the variable.
    Counted(u32),
}

/// One arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arena {
    /// Its number: the slot of the table that it stands in.
    pub slot: u32,
    /// Where it begins.
    pub address: Addr,
    /// How many bytes it has.
    pub size: u64,
    /// Its first pool: the first whole one.
    pub first: Addr,
    /// Where pools lie that were never used; those before it were.
    pub fresh: Addr,
    /// How many pools it has.
    pub pools: u32,
    /// How many of them nothing uses, used before or not.
    pub free: u32,
}

/// Why there are no arenas to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoArenas {
    /// The table could not be read, or did not stand still for long enough.
    #[error("the table of arenas at {0} could not be read")]
    Unreadable(Addr),
    /// Whenever the segments of an interpreter were listed, some lay over others.
    #[error("the segments of the interpreter at {0} changed whenever they were listed")]
    Overlap(Addr),
    /// What stands there cannot be one.
    #[error("what stands at {0} is no table of arenas")]
    Garbage(Addr),
}

/// How the target keeps arenas.
#[derive(Debug, Clone, Copy)]
pub struct Arenas {
    fields: ArenaFields,
    pool: u64,
}

impl Arenas {
    /// Binds what the layout says of arenas.
    pub fn bind(layout: &Layout) -> Result<Arenas, Missing> {
        let missing = || Missing::Fact { layout: layout.name.clone(), fact: "pool.size".into() };
        let pool: u64 = layout.fact("pool.size")?;
        if !pool.is_power_of_two() || pool > MAX_POOL {
            return Err(missing());
        }
        Ok(Arenas { fields: ArenaFields::bind(layout)?, pool })
    }

    /// Bytes of a slot of the table.
    pub(super) fn slot_size(&self) -> usize {
        self.fields.size
    }

    /// Bytes of a pool.
    pub fn pool_size(&self) -> u64 {
        self.pool
    }

    /// All arenas in use, by address.
    pub fn read(&self, memory: &dyn Memory, table: Table) -> Result<Vec<Arena>, NoArenas> {
        self.copied(memory, table, |bytes| self.parse(bytes))
    }

    /// How many pools are in use: a glance that does not ask of each arena where it lies.
    pub(super) fn pools_in_use(&self, memory: &dyn Memory, table: Table) -> Result<u64, NoArenas> {
        self.copied(memory, table, |bytes| {
            let mut all = 0;
            for bytes in bytes.chunks_exact(self.fields.size) {
                let object = Struct::over(bytes);
                if object.get(self.fields.address) != 0 {
                    let (pools, free) = self.counts(&object)?;
                    all += u64::from(pools - free);
                }
            }
            Some(all)
        })
    }

    /// What a copy of the table is told to say, which is made again until it says something and the table has not moved meanwhile.
    fn copied<T: Default>(
        &self,
        memory: &dyn Memory,
        table: Table,
        told: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, NoArenas> {
        let mut last = NoArenas::Unreadable(table.arenas);
        for _ in 0..TRIES {
            let place = || -> Option<(Addr, u64)> {
                let slots = match table.slots {
                    Slots::Told(at) => u64::from(memory.get::<u32>(at).ok()?),
                    Slots::Counted(slots) => u64::from(slots),
                };
                Some((memory.get(table.arenas).ok()?, slots))
            };
            let Some((at, slots)) = place() else { continue };
            if at.is_null() || slots == 0 {
                return Ok(T::default());
            }
            if slots > MAX_SLOTS {
                last = NoArenas::Garbage(at);
                continue;
            }
            let read = memory.bytes(at, slots as usize * self.fields.size);
            if place() != Some((at, slots)) {
                last = NoArenas::Unreadable(at);
                continue;
            }
            match read {
                Err(_) => last = NoArenas::Unreadable(at),
                Ok(bytes) => match told(&bytes) {
                    Some(told) => return Ok(told),
                    None => last = NoArenas::Garbage(at),
                },
            }
        }
        Err(last)
    }

    /// The arenas of a table that was copied, by address; `None` when one of them cannot be an arena.
    pub(super) fn parse(&self, table: &[u8]) -> Option<Vec<Arena>> {
        let mut arenas = Vec::new();
        for (slot, bytes) in table.chunks_exact(self.fields.size).enumerate() {
            arenas.extend(self.arena(slot as u32, &Struct::over(bytes))?);
        }
        arenas.sort_by_key(|arena| arena.address);
        arenas.windows(2).all(|two| two[0].address.plus(two[0].size) <= two[1].address).then_some(arenas)
    }

    /// How many pools an arena has, and how many of them are free; `None` where it cannot be so many.
    fn counts(&self, object: &Struct<'_>) -> Option<(u32, u32)> {
        let (pools, free) = (object.get(self.fields.ntotalpools), object.get(self.fields.nfreepools));
        ((1..=MAX_POOLS).contains(&pools) && free <= pools).then_some((pools, free))
    }

    /// What stands in one slot: nothing, an arena, or (`None`) neither.
    fn arena(&self, slot: u32, object: &Struct<'_>) -> Option<Option<Arena>> {
        let address = object.get(self.fields.address);
        if address == 0 {
            return Some(None);
        }
        let fresh = object.get(self.fields.pool_address);
        let (pools, free) = self.counts(object)?;
        // One that does not begin where a pool would has one pool less than would fit.
        let size = u64::from(pools.next_power_of_two()) * self.pool;
        let end = address.checked_add(size)?;
        let first = address.checked_next_multiple_of(self.pool)?;
        let sound =
            address.is_multiple_of(8) && fresh.is_multiple_of(self.pool) && (first..=end).contains(&fresh);
        let whole = (end - first) / self.pool;
        (sound && whole == u64::from(pools)).then_some(Some(Arena {
            slot,
            address: Addr(address),
            size,
            first: Addr(first),
            fresh: Addr(fresh),
            pools,
            free,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: u64 = 16 << 10;

    fn arenas() -> Arenas {
        let mut layout = Layout::new("made up");
        for (key, value) in
            [("size", 48), ("address", 0), ("pool_address", 8), ("nfreepools", 16), ("ntotalpools", 20)]
        {
            layout.set("arena", key, value);
        }
        layout.set_fact("pool.size", crate::layout::Fact::Number(POOL as i64));
        Arenas::bind(&layout).unwrap()
    }

    fn slot(address: u64, fresh: u64, free: u32, pools: u32) -> Vec<u8> {
        let mut slot = [address.to_le_bytes(), fresh.to_le_bytes()].concat();
        slot.extend([free.to_le_bytes(), pools.to_le_bytes()].concat());
        slot.resize(48, 0xEE);
        slot
    }

    #[track_caller]
    fn check(slots: &[Vec<u8>], expected: Option<&[(u64, u64, u64)]>) {
        let found = arenas().parse(&slots.concat());
        let found = found.map(|all| all.iter().map(|a| (a.address.0, a.first.0, a.size)).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn arenas_are_found_in_their_slots_and_empty_slots_are_not_looked_into() {
        let at = 64 * POOL;
        let used = slot(at, at + 3 * POOL, 61, 64);
        check(&[used.clone(), slot(0, 7, 99, 1), used], None); // twice the same place
        let aside = slot(400 * POOL + 4096, 401 * POOL, 63, 63);
        check(
            &[aside, slot(0, 7, 99, 1), slot(at, at + 3 * POOL, 61, 64)],
            Some(&[(at, at, 64 * POOL), (400 * POOL + 4096, 401 * POOL, 64 * POOL)]),
        );
        check(&[slot(at, at + POOL, 1, 128)], Some(&[(at, at, 128 * POOL)]));
    }

    #[test]
    fn pools_in_use_are_counted_where_there_is_an_arena() {
        let at = 64 * POOL;
        let count = |slots: &[Vec<u8>]| {
            let table = slots.concat();
            let mut tape = crate::memory::Tape::default();
            let variables = [0x9000_u64.to_le_bytes(), (slots.len() as u64).to_le_bytes()].concat();
            tape.put(Addr(0x1000), &variables);
            tape.put(Addr(0x9000), &table);
            arenas().pools_in_use(&tape, Table { arenas: Addr(0x1000), slots: Slots::Told(Addr(0x1008)) })
        };
        let two = [slot(at, at + 3 * POOL, 61, 64), slot(0, 7, 99, 1), slot(2 * at, 2 * at + POOL, 0, 64)];
        assert_eq!(count(&two), Ok(3 + 64));
        for wrong in [slot(at, at, 65, 64), slot(at, at, 0, u32::MAX), slot(at, at, 0, 0)] {
            assert_eq!(count(&[wrong]), Err(NoArenas::Garbage(Addr(0x9000))));
        }
    }

    #[test]
    fn what_cannot_be_an_arena_spoils_the_table() {
        let at = 64 * POOL;
        for wrong in [
            slot(at, at - POOL, 1, 64),
            slot(at, at + 65 * POOL, 1, 64),
            slot(at, at + 8, 1, 64),
            slot(at, at, 65, 64),
            slot(at, at, 1, 0),
            slot(at + 1, at + POOL, 1, 63),
            slot(at + 4096, at + POOL, 1, 64),
            slot(u64::MAX - 7, at, 1, 64),
            slot(at, at, 1, u32::MAX),
        ] {
            check(&[wrong], None);
        }
    }
}
