//! A memory of which only what was ever written is read: a read of the rest would bring in a page of zeros that the target never asked for.

use std::ops::Range;

use super::maps::Maps;
use super::pages::{Pages, append, within};
use crate::memory::{Addr, Fault, Memory, Part};

/// The memory of a process without what is not there: what was never written reads as zeros, and what lies in swap cannot be
/// read unless it may be brought back.
pub struct Touched<'a> {
    behind: &'a dyn Memory,
    pages: &'a Pages,
    /// Whether what lies in swap is read.
    swapped: bool,
    /// Where memory is that the target may write and no file stands behind, by address.
    anonymous: Vec<Range<u64>>,
    /// What of it was there when it was asked first.
    present: Vec<Range<u64>>,
}

impl<'a> Touched<'a> {
    /// Asks which pages of a process are there.
    pub fn new(behind: &'a dyn Memory, maps: &Maps, pages: &'a Pages, swapped: bool) -> Touched<'a> {
        let (mut anonymous, mut present) = (Vec::new(), Vec::new());
        for mapping in maps.iter().filter(|m| m.read && m.write && !m.file() && !m.special()) {
            let whole = mapping.start..mapping.end;
            pages.all(&whole).present.into_iter().for_each(|span| append(&mut present, span));
            append(&mut anonymous, whole);
        }
        Touched { behind, pages, swapped, anonymous, present }
    }

    /// Whether a read needs no question.
    fn plain(&self, whole: &Range<u64>) -> bool {
        let behind = self.present.partition_point(|span| span.start <= whole.start);
        let there = behind.checked_sub(1).is_some_and(|last| whole.end <= self.present[last].end);
        there || within(&self.anonymous, whole).next().is_none()
    }
}

impl Memory for Touched<'_> {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { addr, len: buf.len() };
        let whole = addr.0..addr.0.checked_add(buf.len() as u64).ok_or(fault)?;
        if self.plain(&whole) {
            return self.behind.read(addr, buf);
        }
        let mut there = Vec::new();
        let mut at = whole.start;
        for part in within(&self.anonymous, &whole) {
            append(&mut there, at..part.start);
            let presence = self.pages.all(&part);
            if !presence.swapped.is_empty() && !self.swapped {
                return Err(fault);
            }
            presence.written().into_iter().for_each(|span| append(&mut there, span));
            at = part.end;
        }
        append(&mut there, at..whole.end);
        there.retain(|span| !span.is_empty());
        self.behind.spans(addr, buf, &there).then_some(()).ok_or(fault)
    }

    fn read_many(&self, parts: &mut [Part<'_>]) {
        let whole = |part: &Part<'_>| part.addr.0..part.addr.0.saturating_add(part.buf.len() as u64);
        let (mut plain, others): (Vec<&mut Part<'_>>, Vec<&mut Part<'_>>) =
            parts.iter_mut().partition(|part| self.plain(&whole(part)));
        let mut reads: Vec<Part<'_>> = plain
            .iter_mut()
            .map(|part| Part { addr: part.addr, buf: &mut *part.buf, arrived: false })
            .collect();
        self.behind.read_many(&mut reads);
        let arrived: Vec<bool> = reads.iter().map(|part| part.arrived).collect();
        plain.iter_mut().zip(arrived).for_each(|(part, arrived)| part.arrived = arrived);
        others.into_iter().for_each(|part| part.arrived = self.read(part.addr, part.buf).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::pages::Presence;

    /// Memory in which every byte is 7, but for a page that may not be read.
    struct Sevens;

    impl Memory for Sevens {
        fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
            let whole = addr.0..addr.0 + buf.len() as u64;
            assert!(!(whole.start < 0x3000 && 0x2000 < whole.end), "read what was never written: {addr}");
            buf.fill(7);
            Ok(())
        }
    }

    #[test]
    fn what_was_never_written_reads_as_zeros_and_is_not_read() {
        let maps = Maps::parse(
            b"1000-5000 rw-p 0 00:00 0\n5000-6000 r--p 0 00:00 0\n8000-9000 rw-p 0 fe:01 7 /a\n9000-a000 rw-p 0 00:00 0\n",
        );
        let presence = |swapped| Presence { present: vec![0x1000..0x2000, 0x3000..0x4000], swapped };
        let pages = Pages::known(presence(std::iter::once(0x4000..0x5000).collect()));
        let read = |memory: &Touched<'_>, at: u64, len: usize| {
            let mut buf = vec![9; len];
            memory.read(Addr(at), &mut buf).map(|()| buf).ok()
        };
        let touched = Touched::new(&Sevens, &maps, &pages, false);
        assert_eq!(read(&touched, 0x1ffe, 4), Some(vec![7, 7, 0, 0]));
        assert_eq!(read(&touched, 0x2ffe, 4), Some(vec![0, 0, 7, 7]));
        assert_eq!(read(&touched, 0x2800, 2), Some(vec![0, 0]));
        assert_eq!([read(&touched, 0x4000, 2), read(&touched, 0x3ffe, 4)], [None, None]);
        assert_eq!(read(&touched, 0x8ffe, 4), Some(vec![7, 7, 0, 0]));
        assert_eq!(read(&touched, 0x5ffe, 2), Some(vec![7, 7]));
        let swapping = Touched::new(&Sevens, &maps, &pages, true);
        assert_eq!(read(&swapping, 0x3ffe, 4), Some(vec![7; 4]));
        let mut rooms = [[9; 2]; 3];
        let mut parts: Vec<Part<'_>> = [0x2800, 0x4000, 0x1000]
            .into_iter()
            .zip(&mut rooms)
            .map(|(at, buf)| Part { addr: Addr(at), buf, arrived: false })
            .collect();
        touched.read_many(&mut parts);
        assert_eq!(parts.iter().map(|part| part.arrived).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!([rooms[0], rooms[2]], [[0; 2], [7; 2]]);
    }
}
