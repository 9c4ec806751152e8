//! Memory that was read once and can be read again without the process: how walks are tested.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Addr, Fault, Memory, Part, Piece};

/// Pieces of a process's memory, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tape {
    pieces: BTreeMap<u64, Vec<u8>>,
}

/// What a tape file starts with.
const MAGIC: &[u8; 8] = b"pvtape1\n";
/// The longest piece that a tape file may claim.
const MAX_PIECE: u64 = 1 << 26;

impl Tape {
    /// Puts `bytes` at `addr`, over what lies there already; pieces that touch become one.
    pub fn put(&mut self, addr: Addr, bytes: &[u8]) {
        let (mut start, mut end) = (addr.0, addr.0 + bytes.len() as u64);
        let touched: Vec<u64> = self
            .pieces
            .range(..=end)
            .rev()
            .take_while(|(at, piece)| *at + piece.len() as u64 >= start)
            .map(|(at, _)| *at)
            .collect();
        let touched: Vec<_> =
            touched.into_iter().filter_map(|at| self.pieces.remove(&at).map(|p| (at, p))).collect();
        for (at, piece) in &touched {
            start = start.min(*at);
            end = end.max(at + piece.len() as u64);
        }
        let mut merged = vec![0; (end - start) as usize];
        for (at, piece) in &touched {
            let from = (at - start) as usize;
            merged[from..from + piece.len()].copy_from_slice(piece);
        }
        let from = (addr.0 - start) as usize;
        merged[from..from + bytes.len()].copy_from_slice(bytes);
        self.pieces.insert(start, merged);
    }

    /// All pieces, in order of their addresses.
    pub fn pieces(&self) -> impl Iterator<Item = (Addr, &[u8])> {
        self.pieces.iter().map(|(addr, piece)| (Addr(*addr), piece.as_slice()))
    }

    /// The tape as a file: a magic word, then address, length and bytes of each piece, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (addr, piece) in &self.pieces {
            out.extend(addr.to_le_bytes());
            out.extend((piece.len() as u64).to_le_bytes());
            out.extend(piece);
        }
        out
    }

    /// Reads what [`Tape::to_bytes`] wrote; `None` where it is no tape or is cut short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Tape> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut tape = Tape::default();
        while !rest.is_empty() {
            let (addr, after) = rest.split_first_chunk::<8>()?;
            let (len, after) = after.split_first_chunk::<8>()?;
            let len = u64::from_le_bytes(*len);
            if len > MAX_PIECE || len > after.len() as u64 {
                return None;
            }
            let (piece, after) = after.split_at(len as usize);
            tape.pieces.insert(u64::from_le_bytes(*addr), piece.to_vec());
            rest = after;
        }
        Some(tape)
    }
}

impl Memory for Tape {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { addr, len: buf.len() };
        let (at, piece) = self.pieces.range(..=addr.0).next_back().ok_or(fault)?;
        let from = usize::try_from(addr.0 - at).map_err(|_| fault)?;
        let end = from.checked_add(buf.len()).ok_or(fault)?;
        buf.copy_from_slice(piece.get(from..end).ok_or(fault)?);
        Ok(())
    }
}

/// A memory that keeps on a tape whatever is read through it.
#[derive(Debug)]
pub struct Recorder<M> {
    memory: M,
    tape: RefCell<Tape>,
}

impl<M: Memory> Recorder<M> {
    /// Records what is read from `memory` from now on.
    pub fn new(memory: M) -> Recorder<M> {
        Recorder { memory, tape: RefCell::default() }
    }

    /// What was read so far.
    pub fn into_tape(self) -> Tape {
        self.tape.into_inner()
    }
}

impl<M: Memory> Memory for Recorder<M> {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        self.memory.read(addr, buf)?;
        self.tape.borrow_mut().put(addr, buf);
        Ok(())
    }

    fn read_many(&self, parts: &mut [Part<'_>]) {
        self.memory.read_many(parts);
        for part in parts.iter().filter(|part| part.arrived) {
            self.tape.borrow_mut().put(part.addr, part.buf);
        }
    }

    fn gather(&self, pieces: &mut [Piece], buf: &mut [u8]) {
        self.memory.gather(pieces, buf);
        let mut from = 0;
        for piece in pieces {
            if let (true, Some(bytes)) = (piece.arrived, buf.get(from..from + piece.len)) {
                self.tape.borrow_mut().put(piece.addr, bytes);
            }
            from += piece.len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tape: &Tape, addr: u64, expected: Option<&[u8]>) {
        let mut buf = vec![0; expected.map_or(1, <[u8]>::len)];
        let read = tape.read(Addr(addr), &mut buf).ok().map(|()| buf.as_slice().to_vec());
        assert_eq!(read.as_deref(), expected);
    }

    #[test]
    fn pieces_that_overlap_or_touch_become_one() {
        let mut tape = Tape::default();
        tape.put(Addr(100), b"abcd");
        tape.put(Addr(104), b"efgh");
        tape.put(Addr(102), b"XY");
        tape.put(Addr(200), b"far");
        check(&tape, 100, Some(b"abXYefgh"));
        check(&tape, 99, None);
        check(&tape, 108, None);
        check(&tape, 201, Some(b"ar"));
    }

    #[test]
    fn a_tape_file_reads_back_and_a_cut_one_is_refused() {
        let mut tape = Tape::default();
        tape.put(Addr(7), b"seven");
        tape.put(Addr(4096), b"page");
        let bytes = tape.to_bytes();
        assert_eq!(Tape::from_bytes(&bytes), Some(tape));
        assert_eq!(Tape::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Tape::from_bytes(b"nonsense"), None);
    }
}
