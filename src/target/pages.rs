//! Which pages of a process lie in memory, asked before a read could bring in those that do not: `/proc/PID/pagemap`.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

use super::process::Process;
use crate::memory::Addr;

/// Bit of an entry: the page lies in memory (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
/// Bit of an entry: the page lies in swap.
const SWAPPED: u64 = 1 << 62;
/// Bit of an entry: the page is this process's alone. Pages of zeros, which the kernel lends to who reads what was never written,
/// are not, and it counts them as nobody's memory.
const OWN: u64 = 1 << 56;
/// Bytes of an entry.
const ENTRY: usize = 8;
/// The most pages that are asked for at once: those of the largest arena by far.
const MAX_PAGES: u64 = 1 << 16;
/// The most pages of one mapping that are asked for: 64 GiB of the smallest.
const MAX_HELD: u64 = 1 << 24;

/// The page table of a process, as far as it says what is where.
#[derive(Debug)]
pub struct Pages {
    source: Source,
    size: u64,
}

/// Who says it.
#[derive(Debug)]
enum Source {
    /// The kernel, now.
    File(File),
    /// Nobody may: everything counts as present.
    Nobody,
    /// It was asked before.
    Known(Presence),
}

/// What of a span of addresses may be read without changing the target.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The spans that lie in memory, each as long as can be.
    pub present: Vec<Range<u64>>,
    /// The spans that lie in swap.
    pub swapped: Vec<Range<u64>>,
}

impl Pages {
    /// The page table of a process.
    pub fn open(process: &Process) -> Pages {
        let file = File::open(process.proc().of(process.pid()).join("pagemap"));
        let source = file.map_or(Source::Nobody, Source::File);
        let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
        Pages { source, size: size.filter(|size| size.is_power_of_two()).unwrap_or(4096) }
    }

    /// What was asked before, with spans by address.
    pub fn known(presence: Presence) -> Pages {
        Pages { source: Source::Known(presence), size: 4096 }
    }

    /// What of the `len` bytes from `start` on is where. What is in neither has never been written and reads as zeros.
    pub fn presence(&self, start: Addr, len: u64) -> Presence {
        let whole = start.0..start.0.saturating_add(len);
        if let Source::Known(known) = &self.source {
            return known.within(&whole);
        }
        let mut presence = Presence::default();
        let asked = self.entries(&whole, |span, entry| {
            if entry & PRESENT != 0 {
                append(&mut presence.present, span);
            } else if entry & SWAPPED != 0 {
                append(&mut presence.swapped, span);
            }
        });
        if asked.is_none() {
            presence.present.push(whole);
        }
        presence
    }

    /// Shows what the kernel says of each page of a span that is not too long; `None` where it says nothing.
    fn entries(&self, whole: &Range<u64>, mut show: impl FnMut(Range<u64>, u64)) -> Option<()> {
        let Source::File(file) = &self.source else { return None };
        let (first, last) = (whole.start / self.size, whole.end.div_ceil(self.size));
        let mut entries = vec![0; last.saturating_sub(first).min(MAX_PAGES) as usize * ENTRY];
        file.read_exact_at(&mut entries, first * ENTRY as u64).ok()?;
        for (page, entry) in (first..).zip(entries.as_chunks::<ENTRY>().0) {
            let span = (page * self.size).max(whole.start)..((page + 1) * self.size).min(whole.end);
            show(span, u64::from_le_bytes(*entry));
        }
        Some(())
    }

    /// What of a span of any length is where. One that is too long to be looked through counts as if all of it were in memory.
    pub fn all(&self, whole: &Range<u64>) -> Presence {
        if (whole.end - whole.start) / self.size > MAX_HELD {
            return Presence { present: vec![whole.clone()], swapped: Vec::new() };
        }
        let mut all = Presence::default();
        for part in self.parts(whole) {
            let presence = self.presence(Addr(part.start), part.end - part.start);
            presence.present.into_iter().for_each(|span| append(&mut all.present, span));
            presence.swapped.into_iter().for_each(|span| append(&mut all.swapped, span));
        }
        all
    }

    /// A span in parts that are asked for at once.
    fn parts(&self, whole: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let (step, end) = (MAX_PAGES * self.size, whole.end);
        (whole.start..end).step_by(step as usize).map(move |start| start..end.min(start + step))
    }

    /// What of a mapping lies in memory, to be asked again and again, when the kernel counts so many bytes as `written`. Pages of
    /// zeros are left out, unless it has others that are shared, with a child that was forked: then these cannot be told apart.
    pub fn held(&self, whole: &Range<u64>, written: u64) -> Held {
        let mut own = Vec::new();
        for part in self.parts(whole).take((MAX_HELD / MAX_PAGES) as usize) {
            let show = |span, entry| {
                if entry & PRESENT != 0 && entry & OWN != 0 {
                    append(&mut own, span);
                }
            };
            if self.entries(&part, show).is_none() {
                break;
            }
        }
        let own = Held::new(own);
        if own.bytes(whole) >= written { own } else { Held::new(self.all(whole).present) }
    }
}

impl Presence {
    /// What was ever written, by address: what lies in memory, and what lies in swap.
    pub fn written(&self) -> Vec<Range<u64>> {
        let mut all = [self.present.as_slice(), &self.swapped].concat();
        all.sort_by_key(|span| span.start);
        all
    }

    /// What of it lies within a span.
    fn within(&self, whole: &Range<u64>) -> Presence {
        let cut = |spans: &[Range<u64>]| within(spans, whole).collect();
        Presence { present: cut(&self.present), swapped: cut(&self.swapped) }
    }
}

/// Which spans of some memory lie in memory, to be asked again and again.
#[derive(Debug, Default)]
pub struct Held {
    spans: Vec<Range<u64>>,
    /// The bytes of all spans before each.
    before: Vec<u64>,
}

impl Held {
    fn new(spans: Vec<Range<u64>>) -> Held {
        let mut all = 0;
        let before = spans
            .iter()
            .map(|span| {
                all += span.end - span.start;
                all - (span.end - span.start)
            })
            .collect();
        Held { spans, before }
    }

    /// How many bytes of a span lie in memory.
    pub fn bytes(&self, span: &Range<u64>) -> u64 {
        self.below(span.end).saturating_sub(self.below(span.start))
    }

    fn below(&self, at: u64) -> u64 {
        let behind = self.spans.partition_point(|span| span.start < at);
        let Some(last) = behind.checked_sub(1) else { return 0 };
        let span = &self.spans[last];
        self.before[last] + (at.min(span.end) - span.start)
    }
}

/// What of some spans, by address, lies within another one.
pub(super) fn within(spans: &[Range<u64>], whole: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let first = spans.partition_point(|span| span.end <= whole.start);
    let within = spans[first..].iter().take_while(|span| span.start < whole.end);
    within.map(|span| span.start.max(whole.start)..span.end.min(whole.end))
}

/// Adds a span behind others; where it touches the last one, that grows.
pub(super) fn append(spans: &mut Vec<Range<u64>>, span: Range<u64>) {
    match spans.last_mut() {
        Some(last) if last.end == span.start => last.end = span.end,
        _ => spans.push(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Proc;

    #[test]
    fn what_was_written_is_present_and_what_never_was_is_not() {
        let own = Process::open(&Proc::default(), std::process::id() as i32).unwrap();
        let pages = Pages::open(&own);
        // Longer than the allocator serves from its heap: pages of its own, none of them touched yet.
        let mut room: Vec<u8> = vec![0; 64 << 20];
        let start = Addr((room.as_ptr() as u64).next_multiple_of(pages.size) + pages.size);
        let len = 16 * pages.size;
        assert_eq!(pages.presence(start, len), Presence::default());
        let from = (start.0 - room.as_ptr() as u64 + 3 * pages.size) as usize;
        room[from] = 1;
        room[from + pages.size as usize] = 1;
        let present = start.0 + 3 * pages.size..start.0 + 5 * pages.size;
        assert_eq!(
            pages.presence(start, len),
            Presence { present: vec![present.clone()], swapped: Vec::new() }
        );
        let held = pages.held(&(start.0..start.0 + len), 2 * pages.size);
        let bytes = |from: u64, to: u64| held.bytes(&(start.0 + from..start.0 + to));
        assert_eq!(bytes(0, len), 2 * pages.size);
        assert_eq!(bytes(3 * pages.size + 1, 4 * pages.size + 1), pages.size);
        assert_eq!([bytes(0, 3 * pages.size), bytes(5 * pages.size, len), bytes(7, 7)], [0, 0, 0]);
        // Reading brings in pages of zeros, which the kernel counts as nobody's.
        assert!(room.iter().map(|byte| u64::from(*byte)).sum::<u64>() == 2);
        let whole = start.0..start.0 + len;
        assert_eq!(pages.presence(start, len).present, std::slice::from_ref(&whole));
        let bytes = |written: u64| pages.held(&whole, written).bytes(&whole);
        assert_eq!([bytes(2 * pages.size), bytes(3 * pages.size)], [2 * pages.size, len]);
    }
}
