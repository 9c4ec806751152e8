//! What a process had in its memory at one moment: a copy of all that could change, with the rest read from where it is.

use std::ops::Range;

use super::{Addr, Fault, Memory, Sheet};

/// A copy of parts of a memory. Within a span that it covers, what was not copied reads as zeros.
#[derive(Debug)]
pub struct Moment<M> {
    behind: M,
    /// The spans that it covers, by address.
    covered: Vec<Range<u64>>,
    /// Where copied bytes come from, by address, and where they are in `bytes`.
    pieces: Vec<(Range<u64>, usize)>,
    bytes: Sheet,
}

impl<M: Memory> Moment<M> {
    /// Puts a copy together. `covered` and `pieces` are sorted and do not overlap; each piece lies within a covered span, and
    /// with as many bytes within `bytes` from where it says on.
    pub fn new(
        behind: M,
        covered: Vec<Range<u64>>,
        pieces: Vec<(Range<u64>, usize)>,
        bytes: Sheet,
    ) -> Moment<M> {
        Moment { behind, covered, pieces, bytes }
    }

    /// Copies what there is of a span that is covered.
    fn fill(&self, whole: &Range<u64>, buf: &mut [u8]) {
        buf.fill(0);
        let first = self.pieces.partition_point(|(piece, _)| piece.end <= whole.start);
        for (piece, at) in self.pieces[first..].iter().take_while(|(piece, _)| piece.start < whole.end) {
            let (start, end) = (piece.start.max(whole.start), piece.end.min(whole.end));
            let from = at + (start - piece.start) as usize;
            let to = (start - whole.start) as usize;
            let len = (end - start) as usize;
            if let (Some(to), Some(from)) = (buf.get_mut(to..to + len), self.bytes.get(from..from + len)) {
                to.copy_from_slice(from);
            }
        }
    }
}

impl<M: Memory> Memory for Moment<M> {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { addr, len: buf.len() };
        let whole = addr.0..addr.0.checked_add(buf.len() as u64).ok_or(fault)?;
        let behind = self.covered.partition_point(|span| span.start <= addr.0);
        let span =
            behind.checked_sub(1).map(|last| &self.covered[last]).filter(|span| span.contains(&addr.0));
        match span {
            None => self.behind.read(addr, buf),
            Some(span) if whole.end <= span.end => {
                self.fill(&whole, buf);
                Ok(())
            }
            Some(_) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory in which every byte is 7.
    #[derive(Debug)]
    struct Sevens;

    impl Memory for Sevens {
        fn read(&self, _: Addr, buf: &mut [u8]) -> Result<(), Fault> {
            buf.fill(7);
            Ok(())
        }
    }

    #[test]
    fn what_was_copied_is_read_from_the_copy_and_all_else_from_behind_it() {
        let pieces = vec![(100..104, 0), (106..108, 4)];
        let whole = std::iter::once(100..110).collect();
        let mut bytes = Sheet::of(6, 0);
        bytes.copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        let moment = Moment::new(Sevens, whole, pieces, bytes);
        let read = |at: u64, len: usize| {
            let mut buf = vec![9; len];
            moment.read(Addr(at), &mut buf).map(|()| buf).ok()
        };
        assert_eq!(read(100, 10), Some(vec![1, 2, 3, 4, 0, 0, 5, 6, 0, 0]));
        assert_eq!(read(103, 4), Some(vec![4, 0, 0, 5]));
        assert_eq!(read(104, 2), Some(vec![0, 0]));
        assert_eq!(read(109, 2), None);
        assert_eq!([read(110, 2), read(90, 3)], [Some(vec![7; 2]), Some(vec![7; 3])]);
        assert_eq!(read(u64::MAX, 2), None);
    }
}
