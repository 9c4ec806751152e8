//! What a collector said of itself in one look, as plain data.

use crate::memory::Addr;
pub use crate::model::gc::GENERATIONS;

/// What an interpreter's collector said of itself in one look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct State {
    /// The interpreter's number; the main one's is 0. Before 3.9 one collector serves all interpreters.
    pub interpreter: i64,
    /// A collection was under way; `None` where nothing says so.
    pub collecting: Option<bool>,
    /// Collections happen by themselves: `gc.isenabled()`.
    pub enabled: Option<bool>,
    /// The generations, youngest first.
    pub generations: [Generation; GENERATIONS],
    /// Objects that survived a collection of the oldest generation, and those that wait for one.
    pub long_lived: Option<(u64, u64)>,
    /// Tracked objects, where the collector counts them (3.14 and later).
    pub tracked: Option<u64>,
    /// Where the frame is that set the collection off that is under way (3.15 and later).
    pub frame: Option<Addr>,
}

/// One generation: what `gc.get_count()`, `gc.get_threshold()` and `gc.get_stats()` say of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation {
    /// Objects since the last collection, or collections of the next younger generation.
    pub count: i32,
    /// A collection is due above this count; 0 is never.
    pub threshold: i32,
    /// All collections so far, where the target counts them (3.4 and later).
    pub totals: Option<Totals>,
}

/// What collections of one generation have done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many there were.
    pub collections: u64,
    /// Objects that they freed.
    pub collected: u64,
    /// Objects that they found unreachable and could not free.
    pub uncollectable: u64,
}

/// A collection as the target wrote it down: totals up to it, and times of its monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// The generation that was collected.
    pub generation: u8,
    /// Totals of the generation once it was over.
    pub totals: Totals,
    /// When it began, in nanoseconds.
    pub start: u64,
    /// When it ended.
    pub stop: u64,
    /// How long the generation's collections took up to it, all together, in nanoseconds.
    pub took: u64,
    /// Tracked objects after it.
    pub tracked: Option<u64>,
}
