//! Frames copied in one call: a moment of a stack, as nearly as it can be had of a target that runs on.

use rustc_hash::FxHashMap;

use crate::layout::Struct;
use crate::memory::{Addr, Memory, Part, Word};

/// Frames that lie no further apart than this are copied in one piece, with what is between them: pieces cost more than
/// bytes. Less than a page, so that no page lies between them that may not be there.
const GAP: u64 = 2048;
/// The most bytes that are copied in one call.
const MAX_COPIED: usize = 16 << 20;

/// Copies of some frames, and of the word that says which one is the innermost.
#[derive(Debug)]
pub struct Copies {
    /// The word; `None` where it could not be read.
    pub top: Option<Addr>,
    span: usize,
    bytes: Vec<u8>,
    places: FxHashMap<Addr, usize>,
}

impl Copies {
    /// Copies the word at `top` and `span` bytes of each frame, as far as they can be read.
    pub fn make(memory: &dyn Memory, top: Addr, frames: impl Iterator<Item = Addr>, span: usize) -> Copies {
        let mut frames: Vec<Addr> = frames.collect();
        frames.sort_unstable();
        let length = |piece: &[Addr]| match piece {
            [first, .., last] => (last.0 - first.0) as usize + span,
            _ => span,
        };
        let mut total = 0;
        let near = |one: &Addr, next: &Addr| next.0 - one.0 <= span as u64 + GAP;
        let mut pieces: Vec<&[Addr]> = frames.chunk_by(near).collect();
        pieces.retain(|piece| {
            total += length(piece);
            total <= MAX_COPIED
        });
        let mut word = [0; Addr::SIZE];
        let mut bytes = vec![0; pieces.iter().map(|piece| length(piece)).sum()];
        let mut rest = bytes.as_mut_slice();
        let mut parts = vec![Part { addr: top, buf: &mut word, arrived: false }];
        for piece in &pieces {
            let (buf, behind) = std::mem::take(&mut rest).split_at_mut(length(piece));
            rest = behind;
            parts.extend(piece.first().map(|at| Part { addr: *at, buf, arrived: false }));
        }
        memory.read_many(&mut parts);
        let top = parts.first().filter(|part| part.arrived).map(|part| Addr::from_bytes(part.buf));
        let mut places = FxHashMap::default();
        let mut from = 0;
        for (part, piece) in parts.iter().skip(1).zip(&pieces) {
            if part.arrived {
                places.extend(piece.iter().map(|at| (*at, from + (at.0 - part.addr.0) as usize)));
            }
            from += part.buf.len();
        }
        Copies { top, span, bytes, places }
    }

    /// The copy of a frame, if there is one.
    pub fn get(&self, frame: Addr) -> Option<Struct<'_>> {
        let from = *self.places.get(&frame)?;
        self.bytes.get(from..from + self.span).map(Struct::over)
    }
}
