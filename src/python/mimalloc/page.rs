//! A page of mimalloc's: blocks of one size, and which of them are in use, read so that a change meanwhile shows.

use std::ops::Range;

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Part, Sheet};

use crate::python::instance::word;
use crate::python::pools::{Copy, Holds, Pool, Room};

use super::SLICE;

/// Blocks up to this size are read whole, for their pages have one slice (`MI_SMALL_OBJ_SIZE_MAX`).
const SMALL: u64 = SLICE / 4;
/// How much is read of a larger block: the header of an object, and what an allocator writes into a free one.
const WINDOW: u64 = 256;
/// A page whose blocks are at least this long does not say it (`MI_HUGE_BLOCK_SIZE`): it has one block, as long as itself.
const HUGE: u64 = 2 << 30;
/// Up to these sizes a page's first block lies so many blocks behind the page's beginning
/// (Objects/mimalloc/segment.c: `_mi_segment_page_start_from_slice`).
const OFFSETS: [(u64, u64); 2] = [(64, 3), (512, 1)];
/// The lowest bits of the list of what other threads have freed say how that is done (`mi_delayed_t`).
const DELAYED: u64 = 3;
/// The longest header of a page.
const MAX_HEADER: usize = 256;
/// How often a page is read again that contradicts itself.
const TRIES: usize = 4;

fields! {
    /// `mi_page_t`, Include/internal/mimalloc/mimalloc/types.h.
    struct PageFields in "mi_page" {
        size: usize,
        slice_count: Field<u32>,
        capacity: Field<u16>,
        reserved: Field<u16>,
        used: Field<u32>,
        block_size: Field<u32>,
        free: Field<Addr>,
        local_free: Field<Addr>,
        thread_free: Field<Addr>,
        heap: Field<Addr>,
        next: Field<Addr>,
        prev: Field<Addr>,
        /// Where a page's first block lies, in versions that say it.
        start: Option<Field<Addr>>,
        /// What links are encoded with, in builds that do it.
        keys: Option<usize>,
        tag_bit: usize,
        tag_bits: usize,
    }
}

/// What lies in the pages of a thread's heaps (Include/internal/pycore_mimalloc.h: `_Py_mimalloc_heap_id`).
const HEAPS: [(&str, Holds); 4] = [
    ("_Py_MIMALLOC_HEAP_MEM", Holds::Raw),
    ("_Py_MIMALLOC_HEAP_OBJECT", Holds::Plain),
    ("_Py_MIMALLOC_HEAP_GC", Holds::Collected),
    ("_Py_MIMALLOC_HEAP_GC_PRE", Holds::PreHeader),
];

/// How the target keeps pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageReader {
    fields: PageFields,
    /// The tags of the heaps, in the order of [`HEAPS`].
    tags: [i64; HEAPS.len()],
}

/// Slices that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slices {
    /// Where the header of their page is.
    pub(super) header: Addr,
    /// Where the first of them begins.
    pub(super) first: Addr,
    /// How many.
    pub(super) count: usize,
}

/// What the header of a page says, checked for what a header can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of a block.
    pub(super) size: u64,
    /// Where the first block lies.
    start: Addr,
    /// Blocks that were handed out at least once, or wait to be.
    capacity: u16,
    /// Blocks that there is room for.
    pub(super) reserved: u16,
    /// Blocks in use, and those that other threads have freed.
    pub(super) used: u16,
    holds: Holds,
    free: Addr,
    local_free: Addr,
    thread_free: Addr,
    keys: Option<Keys>,
    pub(super) heap: Addr,
    pub(super) next: Addr,
    pub(super) prev: Addr,
}

/// What links of free blocks are encoded with (Include/internal/mimalloc/mimalloc/internal.h: `mi_ptr_decode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    keys: [u64; 2],
    /// What stands for the end of a list: the address of who owns it.
    null: Addr,
}

/// What of the target may be read, and what is known of it already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Within<'a> {
    /// What lies in memory, by address.
    pub(super) present: &'a [Range<u64>],
    /// What lies in swap and must stay there.
    pub(super) away: &'a [Range<u64>],
    /// Blocks that wait for their owner to free them, by address.
    pub(super) delayed: &'a [u64],
}

impl Keys {
    /// Bytes of the keys.
    pub(super) const SIZE: usize = 16;

    /// The keys of who is at an address.
    pub(super) fn of(bytes: &[u8], owner: Addr) -> Keys {
        Keys { keys: [word(bytes, 0), word(bytes, 8)], null: owner }
    }

    /// The address that a link stands for.
    pub(super) fn decode(self, link: u64) -> u64 {
        let [shift, key] = self.keys;
        let at = link.wrapping_sub(shift).rotate_right((shift % 64) as u32) ^ key;
        if at == self.null.0 { 0 } else { at }
    }
}

impl PageReader {
    /// Binds what the layout says of pages.
    pub(super) fn bind(layout: &Layout) -> Result<PageReader, Missing> {
        let fields = PageFields::bind(layout)?;
        let absurd = |key: &str, value: usize| Missing::Absurd {
            layout: layout.name.clone(),
            section: "mi_page".into(),
            key: key.into(),
            value: value as i64,
        };
        let keys = fields.keys.map_or(0, |keys| keys.saturating_add(Keys::SIZE));
        if fields.size > MAX_HEADER || fields.span.max(keys) > fields.size {
            return Err(absurd("size", fields.size));
        }
        if fields.tag_bits > 8
            || fields.tag_bit % 8 + fields.tag_bits > 8
            || fields.tag_bit / 8 >= fields.size
        {
            return Err(absurd("tag_bit", fields.tag_bit));
        }
        let mut tags = [0; HEAPS.len()];
        for (tag, (name, _)) in tags.iter_mut().zip(HEAPS) {
            *tag = layout.key("enums", name).ok_or_else(|| Missing::Key {
                layout: layout.name.clone(),
                section: "enums".into(),
                key: name.into(),
            })?;
        }
        Ok(PageReader { fields, tags })
    }

    /// Bytes of a header.
    pub(super) fn size(&self) -> usize {
        self.fields.size
    }

    /// Whether links of free blocks are encoded.
    pub(super) fn encodes(&self) -> bool {
        self.fields.keys.is_some()
    }

    /// How many slices belong to the first of them, by its header.
    pub(super) fn slice_count(&self, header: &[u8]) -> u32 {
        Struct::over(header).get(self.fields.slice_count)
    }

    /// What a header says: `Some(None)` of free slices, and `None` where it is no header.
    pub(super) fn head(&self, at: Slices, header: &[u8]) -> Option<Option<Head>> {
        let (fields, object) = (&self.fields, Struct::over(header));
        let length = at.count as u64 * SLICE;
        let size = match u64::from(object.get(fields.block_size)) {
            0 => return Some(None),
            HUGE.. => length,
            size => size,
        };
        let offset =
            OFFSETS.iter().find(|(most, _)| (8..=*most).contains(&size)).map_or(0, |(_, n)| n * size);
        let start = object.maybe(fields.start).unwrap_or(at.first.plus(offset));
        let (capacity, reserved) = (object.get(fields.capacity), object.get(fields.reserved));
        let used = u16::try_from(object.get(fields.used)).ok()?;
        let tag = header[fields.tag_bit / 8] >> (fields.tag_bit % 8) & ((1_u16 << fields.tag_bits) - 1) as u8;
        let behind = start.0.checked_sub(at.first.0)?.checked_add(u64::from(reserved) * size)?;
        let sound = object.get(fields.slice_count) as usize == at.count
            && size >= 8
            && size.is_multiple_of(8)
            && (size > SMALL || at.count == 1)
            && behind <= length
            && used <= capacity
            && capacity <= reserved;
        let keys = fields.keys.map(|keys| Keys::of(&header[keys..], at.header));
        sound.then_some(Some(Head {
            size,
            start,
            capacity,
            reserved,
            used,
            holds: self.holds(tag)?,
            free: object.get(fields.free),
            local_free: object.get(fields.local_free),
            thread_free: Addr(object.get(fields.thread_free).0 & !DELAYED),
            keys,
            heap: object.get(fields.heap),
            next: object.get(fields.next),
            prev: object.get(fields.prev),
        }))
    }

    fn holds(&self, tag: u8) -> Option<Holds> {
        let place = self.tags.iter().position(|known| *known == i64::from(tag))?;
        Some(HEAPS[place].1)
    }

    /// Reads the blocks of a page and shows them to `visit`; `head` is what its header said a moment ago. What it is then, as if
    /// it were a pool.
    pub(super) fn read(
        &self,
        memory: &dyn Memory,
        at: Slices,
        mut head: Head,
        within: Within<'_>,
        room: &mut Room,
        mut visit: impl FnMut(&Copy<'_>),
    ) -> Pool {
        for _ in 0..TRIES {
            if head.used == 0 {
                return Pool::Free;
            }
            let carved = head.start.0..head.start.0 + u64::from(head.capacity) * head.size;
            if within.away.iter().any(|gone| gone.start < carved.end && carved.start < gone.end) {
                return Pool::Swapped;
            }
            let mut header = [0; MAX_HEADER];
            let header = &mut header[..self.fields.size];
            if !head.copy(memory, at.header, header, within.present, &mut room.bytes) {
                return Pool::Suspect;
            }
            let Some(Some(now)) = self.head(at, header) else { return Pool::Suspect };
            if now == head
                && let Some(used) = head.mark(room, within.delayed)
            {
                let Room { bytes, free } = room;
                visit(&Copy {
                    address: head.start,
                    size: head.size,
                    holds: head.holds,
                    bytes,
                    step: head.step(),
                    free,
                });
                return Pool::Used { size: head.size, used, capacity: head.reserved };
            }
            head = now;
        }
        Pool::Suspect
    }
}

impl Head {
    /// What it is as a pool, by its header alone.
    pub(super) fn pool(&self) -> Pool {
        match self.used {
            0 => Pool::Free,
            used => Pool::Used { size: self.size, used, capacity: self.reserved },
        }
    }

    /// How many bytes of each block are read.
    fn step(&self) -> usize {
        if self.size <= SMALL { self.size as usize } else { WINDOW as usize }
    }

    /// Copies the blocks, as far as they lie in memory, and then the header once more.
    fn copy(
        &self,
        memory: &dyn Memory,
        at: Addr,
        header: &mut [u8],
        present: &[Range<u64>],
        bytes: &mut Sheet,
    ) -> bool {
        let (step, blocks) = (self.step() as u64, u64::from(self.capacity));
        bytes.resize((step * blocks) as usize);
        bytes.fill(0);
        // Each piece that is read, and how far from the one before it the copy of it lies.
        let pieces = if step == self.size {
            vec![(self.start.0, step * blocks)]
        } else {
            (0..blocks).map(|block| (self.start.0 + block * self.size, step)).collect()
        };
        let mut parts = Vec::new();
        let mut rest = &mut **bytes;
        for (start, len) in pieces {
            let (mut piece, behind) = rest.split_at_mut(len as usize);
            rest = behind;
            let (mut from, end) = (start, start + len);
            let first = present.partition_point(|span| span.end <= start);
            for span in present[first..].iter().take_while(|span| span.start < end) {
                let here = span.start.max(start)..span.end.min(end);
                let (_, behind) = piece.split_at_mut((here.start - from) as usize);
                let (buf, behind) = behind.split_at_mut((here.end - here.start) as usize);
                parts.push(Part { addr: Addr(here.start), buf, arrived: false });
                (piece, from) = (behind, here.end);
            }
        }
        parts.push(Part { addr: at, buf: header, arrived: false });
        memory.read_many(&mut parts);
        parts.iter().all(|part| part.arrived)
    }

    /// Marks the blocks of a copy that are free, and says how many are not. Those in use and those that wait in one of the lists
    /// are all blocks there are: a page that was caught in a change does not add up.
    fn mark(&self, room: &mut Room, delayed: &[u64]) -> Option<u16> {
        let Room { bytes, free } = room;
        free.clear();
        free.resize(usize::from(self.capacity), false);
        let mut walk = |first: Addr| -> Option<u16> {
            let (mut next, mut waiting) = (first, 0);
            while !next.is_null() {
                let block = self.block(next.0).filter(|block| !free[*block])?;
                free[block] = true;
                waiting += 1;
                let link = word(bytes, (block * self.step()) as u64);
                next = Addr(self.keys.map_or(link, |keys| keys.decode(link)));
            }
            Some(waiting)
        };
        let (ready, freed, elsewhere) = (walk(self.free)?, walk(self.local_free)?, walk(self.thread_free)?);
        if u32::from(self.used) + u32::from(ready) + u32::from(freed) != u32::from(self.capacity) {
            return None;
        }
        let mut used = self.used.checked_sub(elsewhere)?;
        let end = self.start.0 + u64::from(self.capacity) * self.size;
        let waiting = &delayed[delayed.partition_point(|block| *block < self.start.0)..];
        for block in waiting.iter().take_while(|block| **block < end) {
            let Some(block) = self.block(*block) else { continue };
            if !std::mem::replace(&mut free[block], true) {
                used = used.checked_sub(1)?;
            }
        }
        Some(used)
    }

    /// Which block begins at an address.
    fn block(&self, at: u64) -> Option<usize> {
        let offset = at.checked_sub(self.start.0)?;
        let block = offset / self.size;
        (offset.is_multiple_of(self.size) && block < u64::from(self.capacity)).then_some(block as usize)
    }
}
