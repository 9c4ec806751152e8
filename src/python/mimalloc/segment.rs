//! A segment of mimalloc's: a stretch of slices, which begins with the headers of the pages that they make up.

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::Addr;
use crate::python::arenas::Arena;
use crate::python::reach::Reach;

use super::SLICE;
use super::page::{Head, PageReader, Slices};

/// The most slices of a segment: those of a block of 256 GiB.
const MAX_SLICES: u64 = 1 << 22;
/// The longest header of a segment.
const MAX_HEADER: usize = 1 << 20;
/// How often a header is read again that contradicts itself.
const TRIES: usize = 4;

fields! {
    /// `mi_segment_t`.
    struct SegmentFields in "mi_segment" {
        size: usize,
        segment_size: Field<u64>,
        abandoned_next: Field<Addr>,
        used: Field<u64>,
        segment_slices: Field<u64>,
        segment_info_slices: Field<u64>,
        slice_entries: Field<u64>,
        slices: usize,
        /// One more than a segment of the usual length has.
        slice_count: usize,
    }
}

/// How the target keeps segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentReader {
    fields: SegmentFields,
    pub(super) page: PageReader,
}

/// What the header of a segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) arena: Arena,
    /// What it is cut into, the header's own slices left out.
    pub(super) spans: Vec<Span>,
    /// The next one that has no thread, if this one has none.
    pub(super) next: Addr,
}

/// Some slices of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Where they lie, and the header of their page.
    pub(super) at: Slices,
    /// Their page; `None` where they are free.
    pub(super) page: Option<Head>,
}

impl SegmentReader {
    /// Binds what the layout says of segments.
    pub(super) fn bind(layout: &Layout) -> Result<SegmentReader, Missing> {
        let (page, fields) = (PageReader::bind(layout)?, SegmentFields::bind(layout)?);
        let absurd = |key: &str, value: usize| Missing::Absurd {
            layout: layout.name.clone(),
            section: "mi_segment".into(),
            key: key.into(),
            value: value as i64,
        };
        let slices = fields.slice_count.saturating_mul(page.size()).saturating_add(fields.slices);
        if fields.size > MAX_HEADER || slices > fields.size || fields.span > fields.slices {
            return Err(absurd("size", fields.size));
        }
        if !fields.slice_count.wrapping_sub(1).is_power_of_two() {
            return Err(absurd("slice_count", fields.slice_count));
        }
        Ok(SegmentReader { fields, page })
    }

    /// How many slices a segment of the usual length has; all begin at a multiple of their length.
    fn usual(&self) -> u64 {
        self.fields.slice_count as u64 - 1
    }

    /// The segment that an address lies in, unless it is far within one of unusual length: headers of pages never are.
    pub(super) fn around(&self, at: Addr) -> Addr {
        Addr(at.0 & !(self.usual() * SLICE - 1))
    }

    /// What the header of the segment at an address says; it is read again when it contradicts itself.
    pub(super) fn read(&self, reach: Reach<'_>, at: Addr) -> Option<Segment> {
        (0..TRIES).find_map(|_| self.parse(at, &reach.bytes(at, self.fields.size)?))
    }

    /// What the bytes of a header say, if they add up.
    fn parse(&self, at: Addr, bytes: &[u8]) -> Option<Segment> {
        let header = Struct::over(bytes);
        let slices = header.get(self.fields.segment_slices);
        let own = header.get(self.fields.segment_info_slices);
        let entries = header.get(self.fields.slice_entries);
        let sound = slices <= MAX_SLICES
            && (1..slices).contains(&own)
            && entries == slices.min(self.usual())
            && header.get(self.fields.segment_size) == slices * SLICE
            && at.0.checked_add(slices * SLICE).is_some();
        if !sound {
            return None;
        }
        let (mut spans, mut used, mut free, mut next) = (Vec::new(), 0, 0, 0);
        while next < entries {
            let from = self.fields.slices + next as usize * self.page.size();
            let header = bytes.get(from..from + self.page.size())?;
            let count = u64::from(self.page.slice_count(header));
            if count == 0 || next + count > slices {
                return None;
            }
            let place =
                Slices { header: at.plus(from as u64), first: at.plus(next * SLICE), count: count as usize };
            match next {
                0 if count == own => {}
                0 => return None,
                _ => {
                    let page = self.page.head(place, header)?;
                    used += u64::from(page.is_some());
                    free += if page.is_none_or(|page| page.used == 0) { count } else { 0 };
                    spans.push(Span { at: place, page });
                }
            }
            next += count;
        }
        let whole = next == slices;
        let arena = Arena {
            slot: 0,
            address: at,
            size: slices * SLICE,
            first: at.plus(own * SLICE),
            fresh: at.plus(slices * SLICE),
            pools: u32::try_from(slices - own).ok()?,
            free: u32::try_from(free).ok()?,
        };
        let next = header.get(self.fields.abandoned_next);
        (whole && used == header.get(self.fields.used)).then_some(Segment { arena, spans, next })
    }
}
