//! What one look wants to read, put together and read in one call.

use std::time::Instant;

use crate::layout::Struct;
use crate::memory::{Addr, Memory, Piece, Word};

/// The most bytes that one look reads; what is planned beyond does not arrive.
const MAX_BYTES: usize = 64 << 20;

/// What lies no further behind the piece before it is read with it, if it ends in the same page: pieces cost more than bytes.
const GAP: u64 = 256;
/// The least size of a page.
pub(super) const PAGE: u64 = 4096;

/// Pieces of memory in the order in which they are read. Made once; looks plan and read in the same room.
#[derive(Debug, Default)]
pub struct Plan {
    pieces: Vec<Piece>,
    /// What was planned: in which piece it is, and which of all bytes are its.
    parts: Vec<Part>,
    bytes: Vec<u8>,
    len: usize,
}

/// Something that was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot(usize);

#[derive(Debug, Clone, Copy)]
struct Part {
    piece: usize,
    start: usize,
    len: usize,
}

/// What is read along in the call that a look makes.
pub trait Rider {
    /// Plans it in a look that begins `now`.
    fn ask(&mut self, plan: &mut Plan, now: Instant);

    /// Takes what was read.
    fn hear(&mut self, plan: &Plan);
}

/// Nothing.
impl Rider for () {
    fn ask(&mut self, _: &mut Plan, _: Instant) {}

    fn hear(&mut self, _: &Plan) {}
}

impl Slot {
    /// What was planned `number` things after this one.
    #[must_use]
    pub fn after(self, number: usize) -> Slot {
        Slot(self.0 + number)
    }
}

impl Plan {
    /// Plans nothing.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.parts.clear();
        self.len = 0;
    }

    /// Plans `len` bytes at `addr`, behind all that is planned.
    pub fn add(&mut self, addr: Addr, len: usize) -> Slot {
        let len = if self.len + len + GAP as usize > MAX_BYTES { 0 } else { len };
        let (start, piece) = match self.pieces.last_mut() {
            _ if len == 0 => (self.len, usize::MAX),
            Some(last) if follows(last, addr, len) => {
                let from = (addr.0 - last.addr.0) as usize;
                let start = self.len - last.len + from;
                last.len = last.len.max(from + len);
                self.len = self.len.max(start + len);
                (start, self.pieces.len() - 1)
            }
            _ => {
                self.pieces.push(Piece::new(addr, len));
                self.len += len;
                (self.len - len, self.pieces.len() - 1)
            }
        };
        self.parts.push(Part { piece, start, len });
        Slot(self.parts.len() - 1)
    }

    /// How many pieces are read.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How many bytes are read.
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// Reads all that is planned, in order.
    pub fn read(&mut self, memory: &dyn Memory) {
        if self.bytes.len() < self.len {
            self.bytes.resize(self.len, 0);
        }
        memory.gather(&mut self.pieces, &mut self.bytes[..self.len]);
    }

    /// The bytes of what was planned, if they arrived; nothing where none were asked for.
    pub fn get(&self, slot: Slot) -> Option<&[u8]> {
        let part = self.parts.get(slot.0)?;
        self.pieces.get(part.piece).filter(|piece| piece.arrived)?;
        self.bytes.get(part.start..part.start + part.len)
    }

    /// The word at the start of a piece.
    pub fn word<T: Word>(&self, slot: Slot) -> Option<T> {
        self.get(slot)?.get(..T::SIZE).map(T::from_bytes)
    }

    /// A struct whose first `span` bytes a piece brought.
    pub fn structure(&self, slot: Slot, span: usize) -> Option<Struct<'_>> {
        self.get(slot)?.get(..span).map(Struct::over)
    }
}

/// Whether something lies right behind the start of a piece, in the same page. What begins where the piece begins is read
/// once more, later.
fn follows(piece: &Piece, addr: Addr, len: usize) -> bool {
    let Some(from) = addr.0.checked_sub(piece.addr.0).filter(|from| *from > 0) else { return false };
    let end = (piece.addr.0 % PAGE).saturating_add(from).saturating_add(len as u64);
    from <= piece.len as u64 + GAP && end <= PAGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Tape;

    #[test]
    fn pieces_come_as_they_were_planned_and_one_that_is_not_there_harms_no_other() {
        let mut tape = Tape::default();
        tape.put(Addr(0x100), &7u64.to_le_bytes());
        tape.put(Addr(0x200), b"text");
        let mut plan = Plan::default();
        for _ in 0..2 {
            plan.clear();
            let word = plan.add(Addr(0x100), 8);
            let gone = plan.add(Addr(0x500), 16);
            let text = plan.add(Addr(0x200), 4);
            plan.read(&tape);
            assert_eq!(
                (plan.word::<u64>(word), plan.get(gone), plan.get(text)),
                (Some(7), None, Some(&b"text"[..]))
            );
            assert_eq!((plan.pieces(), plan.word::<u64>(text)), (3, None));
        }
    }

    #[test]
    fn what_lies_behind_a_piece_is_read_with_it_and_what_lies_before_it_is_not() {
        let mut tape = Tape::default();
        tape.put(Addr(0x1000), &(0..=255).collect::<Vec<u8>>());
        let mut plan = Plan::default();
        let [one, behind, nothing, within, before, again] =
            [(0x1010, 8), (0x1020, 8), (0x1030, 0), (0x1014, 2), (0x1008, 8), (0x1008, 8)]
                .map(|(addr, len)| plan.add(Addr(addr), len));
        plan.read(&tape);
        assert_eq!(plan.pieces(), 3);
        let first = |slot| plan.get(slot).map(|bytes| (bytes[0], bytes.len()));
        assert_eq!((first(one), first(behind), first(within)), (Some((16, 8)), Some((32, 8)), Some((20, 2))));
        assert_eq!((first(before), first(again), plan.get(nothing)), (Some((8, 8)), Some((8, 8)), None));
    }
}
