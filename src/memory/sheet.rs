//! Room for much memory of a target, laid so that the kernel fills it fast.

use std::ops::{Deref, DerefMut};

/// Bytes of a page.
const PAGE: usize = 4096;

/// Bytes that begin where a page does.
///
/// A processor takes a load for one of what it stored shortly before if the twelve lowest bits of both addresses are alike. So a
/// copy to where a page has up to 31 bytes more before it than where it comes from takes several times as long, and large vectors begin
/// 16 bytes into a page, where arenas do not (`scripts/bench heap` has a pause beside a copy to where a page begins).
#[derive(Debug, Default)]
pub struct Sheet {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Sheet {
    /// So many bytes, each of which is `fill`.
    pub fn of(len: usize, fill: u8) -> Sheet {
        let mut sheet = Sheet::default();
        sheet.grow(len, fill);
        sheet
    }

    /// Makes it so many bytes long. What is in them is left over from before, or zeros.
    pub fn resize(&mut self, len: usize) {
        self.grow(len, 0);
    }

    fn grow(&mut self, len: usize, fill: u8) {
        let room = len.saturating_add(PAGE);
        if self.bytes.len() < room {
            self.bytes.resize(room, fill);
            self.from = self.bytes.as_ptr().align_offset(PAGE).min(PAGE);
        }
        self.len = len;
    }
}

impl Deref for Sheet {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
}

impl DerefMut for Sheet {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_a_page_does_however_long_it_becomes() {
        let mut sheet = Sheet::of(3, 7);
        assert_eq!(*sheet, [7; 3]);
        for len in [0, 1, PAGE, 5 << 20, 100] {
            sheet.resize(len);
            assert_eq!((sheet.len(), sheet.as_ptr() as usize % PAGE), (len, 0));
            sheet.fill(9);
        }
    }
}
