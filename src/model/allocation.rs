//! Memory that is put down to the code that asked for it.

use super::stack::{StackId, TrackId};
use super::units::{At, Nanos};

/// Memory of a process, and the stack that it is put down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// When it was seen.
    pub at: At,
    /// Whose stack it is; what `tracemalloc` says is on a track of its own, for it knows no threads.
    pub track: TrackId,
    /// The stack; `None` where nothing is known of it.
    pub stack: Option<StackId>,
    /// Bytes: how many there are, or how many there are more, which may be fewer.
    pub bytes: i64,
    /// Blocks, likewise.
    pub blocks: i64,
    /// How that is known.
    pub evidence: Evidence,
}

/// How it is known that memory belongs to a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The target's own `tracemalloc` says that this stack allocated what is in use at that moment. All that it says then has the
    /// same moment.
    Traced,
    /// In so much time on a processor memory grew by so much, and the stack stood at both ends of it.
    Burst(Nanos),
    /// In so much time on a processor memory grew by so much, and the stack was another one at its end.
    Moved(Nanos),
}
