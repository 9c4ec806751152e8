//! The rings in which the collector writes its latest collections down, with their times (3.15 and later).

use crate::layout::{Field, Layout, Missing, Struct, fields};

use super::collector::{GENERATIONS, Record, Totals};

/// The longest ring of records that is read.
const MAX_RECORDS: usize = 64;

fields! {
    /// `struct gc_generation_stats`, or a record of the ring since 3.15.
    pub(super) struct StatsFields in "gc_stats" {
        collections: Field<i64>,
        collected: Field<i64>,
        uncollectable: Field<i64>,
        /// Seconds, over all collections of the generation.
        duration: Option<Field<f64>>,
        ts_start: Option<Field<i64>>,
        ts_stop: Option<Field<i64>>,
        heap_size: Option<Field<i64>>,
        size: usize,
    }
}

fields! {
    /// `struct gc_stats`: a ring of records for each generation.
    struct RingFields in "gc_stats_buf" {
        young_items: usize,
        young_count: usize,
        young_index: usize,
        old: usize,
        old_items: usize,
        old_count: usize,
        old_index: usize,
        size: usize,
    }
}

/// The rings of a `struct gc_stats`: where a ring's records begin, how many there are, and the number of the latest one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring {
    rings: [(usize, usize, usize); GENERATIONS],
    stats: StatsFields,
    /// How long the struct is.
    pub(super) size: usize,
}

/// What the rings of one collector said: they are read at every look, and change with collections alone.
#[derive(Debug, Default)]
pub(super) struct Told {
    bytes: Vec<u8>,
    /// The latest collections, in the order of their generations, and of the ring in each.
    pub(super) records: Vec<Record>,
}

impl Told {
    /// Takes what is said by bytes that were read just now.
    pub(super) fn hear(&mut self, ring: &Ring, bytes: &[u8]) {
        if self.bytes != bytes {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.records.clear();
            ring.records(bytes, &mut self.records);
        }
    }
}

impl Ring {
    /// Binds what the layout says of the rings.
    pub(super) fn bind(layout: &Layout) -> Result<Ring, Missing> {
        let fields = RingFields::bind(layout)?;
        let step = fields.size.saturating_sub(fields.old) / (GENERATIONS - 1);
        let young = (fields.young_items, fields.young_count, fields.young_index);
        let old =
            |number| (fields.old_items + number * step, fields.old_count, fields.old_index + number * step);
        let stats = StatsFields::bind(layout)?;
        Ok(Ring { rings: [young, old(0), old(1)], stats, size: fields.size })
    }

    /// The records of all rings that hold a collection which has ended, the oldest of a ring first.
    ///
    /// The collector turns to the next item, copies the latest one there, and changes the copy: its start first, its stop
    /// last. So while it writes, the item of the index is not the follower of the one before it.
    fn records(&self, bytes: &[u8], records: &mut Vec<Record>) {
        let stats = &self.stats;
        for (generation, (items, count, index)) in self.rings.into_iter().enumerate() {
            let count = count.clamp(1, MAX_RECORDS);
            let item = |item: usize| piece(bytes, items + item % count * stats.size, stats.span);
            let Some(index) = bytes.get(index).map(|index| usize::from(*index) % count) else { break };
            let number = |place| item(place).map(|copy| stats.read(&copy).collections);
            let written = count == 1 || number(index) == number(index + count - 1).map(|before| before + 1);
            for place in (index + 1)..(index + count + usize::from(written)) {
                let Some(copy) = item(place) else { break };
                let count = |field| copy.maybe(field).and_then(|value| u64::try_from(value).ok());
                let totals = stats.read(&copy);
                let (start, stop) = (count(stats.ts_start), count(stats.ts_stop));
                if let (Some(start), Some(stop)) = (start, stop)
                    && 0 < start
                    && start <= stop
                    && totals.collections > 0
                {
                    let (generation, tracked) = (generation as u8, count(stats.heap_size));
                    // A cast to a whole number saturates, and makes zero of what is no number.
                    let took = copy.maybe(stats.duration).map_or(0, |seconds| (seconds * 1e9).round() as u64);
                    records.push(Record { generation, totals, start, stop, took, tracked });
                }
            }
        }
    }
}

impl StatsFields {
    /// The totals in a copy of the struct.
    pub(super) fn read(&self, copy: &Struct<'_>) -> Totals {
        let count = |field| copy.get::<i64>(field).max(0).cast_unsigned();
        Totals {
            collections: count(self.collections),
            collected: count(self.collected),
            uncollectable: count(self.uncollectable),
        }
    }
}

/// `span` bytes of a copy from `at` on, as a struct.
pub(super) fn piece(bytes: &[u8], at: usize, span: usize) -> Option<Struct<'_>> {
    bytes.get(at..at.checked_add(span)?).map(Struct::over)
}
