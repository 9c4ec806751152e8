//! Segments made by hand, sound and damaged, in the layout of a real build.

use super::*;
use crate::layout::Catalogue;
use crate::memory::Tape;

const AT: u64 = 0x7000_0000_0000;
const SEGMENT: u64 = 32 << 20;
/// What each block is long, and how many a page of them has.
const SIZE: u64 = 48;
const BLOCKS: u64 = 1000;

/// A segment of which two pages are in use: one of a slice, with small blocks, and one of four with a single one.
struct Made {
    layout: Layout,
    header: Vec<u8>,
    slice: Vec<u8>,
}

fn layout() -> Layout {
    Catalogue::load(None).unwrap().named("3.13t").unwrap().layout.clone()
}

impl Made {
    fn new() -> Made {
        let layout = layout();
        let header = vec![0; layout.key("mi_segment", "size").unwrap() as usize];
        let mut made = Made { layout, header, slice: vec![0xAA; SLICE as usize] };
        for (key, value) in [
            ("segment_size", SEGMENT),
            ("segment_slices", 512),
            ("segment_info_slices", 1),
            ("slice_entries", 512),
            ("used", 2),
        ] {
            made.segment(key, value);
        }
        // Its own slice, a page of one slice, a page of four, and what is free.
        for (first, count) in [(0, 1), (1, 1), (2, 4), (6, 506)] {
            made.page(first, "slice_count", count, 4);
        }
        made.page(0, "block_size", 1, 4);
        made.page(2, "block_size", 4 * SLICE, 4);
        for key in ["capacity", "reserved"] {
            made.page(2, key, 1, 2);
        }
        made.page(2, "used", 1, 4);
        made.page(1, "block_size", SIZE, 4);
        made.page(1, "capacity", BLOCKS, 2);
        made.page(1, "reserved", BLOCKS, 2);
        // Blocks of 3 lists: three are ready, two were freed, one was by another thread, which still counts as used.
        made.page(1, "used", BLOCKS - 5, 4);
        for (list, blocks) in [("free", &[4, 900, 8][..]), ("local_free", &[1, 2]), ("thread_free", &[7])] {
            // The lowest bits of the last say how it is freed.
            let mark = u64::from(list == "thread_free");
            made.page(1, list, block(blocks[0]) | mark, 8);
            for two in blocks.windows(2) {
                made.link(two[0], block(two[1]));
            }
            made.link(*blocks.last().unwrap(), 0);
        }
        let (bit, tag) = (made.layout.key("mi_page", "tag_bit").unwrap(), 2);
        for first in [1, 2] {
            let at = made.place(first, bit as u64 / 8);
            made.header[at] = tag << (bit % 8);
        }
        made
    }

    fn place(&self, slice: u64, offset: u64) -> usize {
        let key = |section, key| self.layout.key(section, key).unwrap() as u64;
        (key("mi_segment", "slices") + slice * key("mi_page", "size") + offset) as usize
    }

    fn segment(&mut self, key: &str, value: u64) {
        let at = self.layout.key("mi_segment", key).unwrap() as usize;
        self.header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn page(&mut self, slice: u64, key: &str, value: u64, len: usize) {
        let at = self.place(slice, self.layout.key("mi_page", key).unwrap() as u64);
        self.header[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn link(&mut self, number: u64, to: u64) {
        let at = (block(number) - AT - SLICE) as usize;
        self.slice[at..at + 8].copy_from_slice(&to.to_le_bytes());
    }

    /// What is read of it: its slices as pools, and where its blocks in use are; nothing where it is not believed.
    fn read(&self) -> Option<(Vec<Pool>, Vec<u64>)> {
        let mut tape = Tape::default();
        tape.put(Addr(AT), &self.header);
        tape.put(Addr(AT + SLICE), &self.slice);
        tape.put(Addr(AT + 2 * SLICE), &[0xBB; 4096]);
        let present = vec![AT..AT + self.header.len() as u64, AT + SLICE..AT + 2 * SLICE + 4096];
        let pages = Pages::known(Presence { present, swapped: Vec::new() });
        let mimalloc = Mimalloc::bind(&self.layout).unwrap();
        let reach = Reach { memory: &tape, pages: &pages, swapped: false };
        let arena = mimalloc.segment.read(reach, Addr(AT))?.arena;
        let mut blocks = Vec::new();
        let contents = mimalloc.read(reach, &arena, &mut Room::default(), |page| {
            blocks.extend(page.blocks().map(|(at, _)| at.0));
        });
        Some((contents?.pools, blocks))
    }
}

/// Where a block of the small page lies; the first is three blocks behind its beginning.
fn block(number: u64) -> u64 {
    AT + SLICE + (3 + number) * SIZE
}

#[test]
fn blocks_in_use_are_those_that_are_in_no_list() {
    let (pools, blocks) = Made::new().read().unwrap();
    let small = Pool::Used { size: SIZE, used: (BLOCKS - 6) as u16, capacity: BLOCKS as u16 };
    let large = Pool::Used { size: 4 * SLICE, used: 1, capacity: 1 };
    assert_eq!(pools[..6], [small, large, Pool::Rest(1), Pool::Rest(2), Pool::Rest(3), Pool::Fresh]);
    assert!(pools.len() == 511 && pools[5..].iter().all(|pool| *pool == Pool::Fresh));
    let free = [4, 900, 8, 1, 2, 7];
    let mut expected: Vec<u64> = (0..BLOCKS).filter(|number| !free.contains(number)).map(block).collect();
    expected.push(AT + 2 * SLICE);
    assert_eq!(blocks, expected);
}

#[track_caller]
fn suspect(damage: impl FnOnce(&mut Made)) {
    let mut made = Made::new();
    damage(&mut made);
    let (pools, blocks) = made.read().unwrap();
    assert_eq!((pools[0], blocks), (Pool::Suspect, vec![AT + 2 * SLICE]));
}

#[test]
fn a_page_that_contradicts_itself_shows_no_block() {
    suspect(|made| made.page(1, "used", BLOCKS - 4, 4));
    suspect(|made| made.link(8, block(4))); // in a circle
    suspect(|made| made.link(8, block(1))); // in two lists
    suspect(|made| made.link(8, block(3) + 8)); // within a block
    suspect(|made| made.link(8, block(BLOCKS))); // behind the last
    suspect(|made| made.link(8, AT - 8));
    suspect(|made| made.link(8, u64::MAX));
    suspect(|made| made.page(1, "thread_free", 8, 8));
}

#[track_caller]
fn refused(damage: impl FnOnce(&mut Made)) {
    let mut made = Made::new();
    damage(&mut made);
    assert!(made.read().is_none());
}

#[test]
fn a_header_that_does_not_add_up_is_none_of_a_segment() {
    refused(|made| made.segment("used", 3));
    refused(|made| made.segment("segment_size", SEGMENT + 8));
    refused(|made| made.segment("segment_slices", u64::MAX));
    refused(|made| made.segment("segment_info_slices", 512));
    refused(|made| made.segment("slice_entries", 511));
    refused(|made| made.page(1, "slice_count", 0, 4));
    refused(|made| made.page(6, "slice_count", 507, 4));
    refused(|made| made.page(1, "capacity", BLOCKS + 1, 2));
    refused(|made| made.page(1, "reserved", 0xFFFF, 2));
    refused(|made| made.page(1, "used", 0x1_0000, 4));
    refused(|made| made.page(1, "block_size", 44, 4));
    refused(|made| made.page(2, "block_size", SLICE / 4, 4)); // small, and in four slices
    refused(|made| {
        // Longer than its pages are.
        made.segment("segment_size", 2 * SEGMENT);
        made.segment("segment_slices", 1024);
    });
    refused(|made| made.header.fill(0xFF));
    refused(|made| made.header.fill(0));
}

#[test]
fn links_are_decoded_as_they_are_encoded() {
    let keys = [0x0123_4567_89AB_CDEF_u64, 0xFEDC_BA98_7654_3210];
    let bytes = [keys[0].to_le_bytes(), keys[1].to_le_bytes()].concat();
    let owner = 0x7000_0000_1000;
    let encode = |at: u64| (at ^ keys[1]).rotate_left((keys[0] % 64) as u32).wrapping_add(keys[0]);
    let decode = |link| Keys::of(&bytes, Addr(owner)).decode(link);
    assert_eq!((decode(encode(0xABCD_EF00)), decode(encode(owner))), (0xABCD_EF00, 0));
}
