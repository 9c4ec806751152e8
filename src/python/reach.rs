//! What of a target's memory an allocator's books may be read from: pages that were written, and those in swap only when asked for.

use std::ops::Range;

use crate::memory::{Addr, Memory};
use crate::target::pages::{Pages, Presence};

/// What of the target may be read.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    pub(super) memory: &'a dyn Memory,
    pub(super) pages: &'a Pages,
    /// Whether that is what lies in swap, too.
    pub(super) swapped: bool,
}

impl Reach<'_> {
    /// Where there is anything to read of what is where: all else was never written, or stays in swap.
    pub(super) fn spans(self, presence: &Presence) -> Vec<Range<u64>> {
        if self.swapped { presence.written() } else { presence.present.clone() }
    }

    /// Some bytes: zeros where nothing was ever written, for to read that would bring it in. Half of a segment's header is such.
    pub(super) fn bytes(self, at: Addr, len: usize) -> Option<Vec<u8>> {
        let spans = self.spans(&self.pages.presence(at, len as u64));
        let mut bytes = vec![0; len];
        self.memory.spans(at, &mut bytes, &spans).then_some(bytes)
    }
}
