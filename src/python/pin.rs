//! What keeps nearly empty arenas from being given back: the few blocks in them, by what they hold.

use std::collections::BTreeMap;

use crate::memory::Addr;

use super::census::Blocks;
use super::class::ClassId;
use super::heap::{ArenaLook, HeapLook};

/// No arena has more blocks.
const MAX_BLOCKS: u64 = 1 << 32;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held<Type> {
    /// An object of this type, or what one keeps.
    By(Type),
    /// A freed object that waits for its next use.
    Cached,
    /// Nothing that is known.
    Raw,
}

/// A nearly empty arena.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Where it is.
    pub arena: Addr,
    /// What is in it, most bytes first; types by their place in [`Counted::types`](super::census::Counted::types).
    pub blocks: Vec<(Held<usize>, Blocks)>,
}

/// The nearly empty arenas of a process while its objects are counted.
#[derive(Debug, Default)]
pub struct Pins {
    /// By the place of the arena; absent where it is not nearly empty.
    arenas: Vec<Option<BTreeMap<Held<ClassId>, Blocks>>>,
}

impl Pins {
    /// Those that were nearly empty in a look.
    pub fn of(index: &HeapLook) -> Pins {
        let empty = |look: &ArenaLook| look.nearly_empty().then(BTreeMap::new);
        Pins { arenas: index.arenas.iter().map(empty).collect() }
    }

    /// The arena of a pool or of a block, if it is one of them.
    pub fn at(&self, index: &HeapLook, at: Addr) -> Option<usize> {
        index.arena_at(at).filter(|arena| self.arenas[*arena].is_some())
    }

    /// Counts a block.
    pub fn add(&mut self, arena: usize, held: Held<ClassId>, bytes: u64) {
        if let Some(blocks) = &mut self.arenas[arena] {
            blocks.entry(held).or_default().add(bytes);
        }
    }

    /// Puts a block down to who keeps it, and not to nobody.
    pub fn claim(&mut self, arena: usize, class: ClassId, bytes: u64) {
        self.add(arena, Held::By(class), bytes);
        if let Some(blocks) = &mut self.arenas[arena] {
            // Its turn among the blocks that hold no object may come later.
            let raw = blocks.entry(Held::Raw).or_default();
            raw.count = raw.count.wrapping_sub(1);
            raw.bytes = raw.bytes.wrapping_sub(bytes);
        }
    }

    /// What was counted, with the types at the places that they have in the end.
    pub fn all(self, index: &HeapLook, places: &[Option<usize>]) -> Vec<Pinned> {
        let named = |held: Held<ClassId>| match held {
            Held::By(class) => places.get(class.index()).copied().flatten().map(Held::By),
            Held::Cached => Some(Held::Cached),
            Held::Raw => Some(Held::Raw),
        };
        let arenas = index.arenas.iter().zip(self.arenas);
        arenas
            .filter_map(|(look, blocks)| {
                let named = blocks?.into_iter().filter_map(|(held, blocks)| Some((named(held)?, blocks)));
                // Of a pool that changed meanwhile more may have been claimed than was there.
                let mut blocks: Vec<_> =
                    named.filter(|(_, blocks)| (1..=MAX_BLOCKS).contains(&blocks.count)).collect();
                blocks.sort_by_key(|(held, blocks)| (std::cmp::Reverse(blocks.bytes), *held));
                Some(Pinned { arena: look.arena.address, blocks })
            })
            .collect()
    }
}
