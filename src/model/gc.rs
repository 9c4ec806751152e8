//! Collections of garbage, as events on the recording's clock.

use super::stack::{ProcessId, StackId};
use super::units::At;

/// How exactly a time is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exactness {
    /// The target wrote it down itself.
    Exact,
    /// It lies between two looks.
    Bounds,
}

/// One collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// In which process.
    pub process: ProcessId,
    /// In which interpreter.
    pub interpreter: i64,
    /// The oldest generation that was collected.
    pub generation: u8,
    /// When it began.
    pub start: At,
    /// When it ended.
    pub stop: At,
    /// How exactly both are known.
    pub exactness: Exactness,
    /// How many collections this row stands for: more than one where several fell between two looks.
    pub count: u32,
    /// Objects freed.
    pub collected: u64,
    /// Objects found unreachable that could not be freed.
    pub uncollectable: u64,
    /// Tracked objects before it, where a counter says so.
    pub objects_before: Option<u64>,
    /// Tracked objects after it, where a counter says so.
    pub objects_after: Option<u64>,
    /// The Python stack that set it off.
    pub stack: Option<StackId>,
}
