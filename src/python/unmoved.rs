//! What of a chain of frames stands as it stood at the look before: that need be neither followed nor named again.
//!
//! Design constraint: the answer is the one that following would give. So whole stretches of memory are compared, from their
//! starts on, in both copies, with what the last look read there; frames in the part that all three share say what they said.
//!
//! A chain of Python's frames ends at some of the interpreter's own, from which its outermost function was called. They are written
//! once, before that function begins, so they rest, which is not to be read, while its frame stands where and as it stood; but one
//! look in so many reads them.
//!
//! Frames side by side far out from the innermost one are read but once while they stand as they stood at the last looks. They could
//! only have changed after all inside of them had returned, and that would have to be called again, as it was before, in the time in which
//! a few pages are copied.

use super::extents::{Copy, Extents, Spared, Start};
use super::frame::Kind;
use super::link::{self, Link};
use super::plan::Plan;

/// Bytes that are compared at once; where they differ, the place is found in smaller and smaller steps.
const STEPS: [usize; 3] = [4096, 512, FINE];
const FINE: usize = 64;
/// After so many looks at which the end of the chain and the frame on it stood, it rests; and one in so many it is read.
const RESTS: u32 = 16;
const READ: u32 = 32;
/// How many bytes of frames have to lie between what is read once and the end of the innermost frame, and how many of these have to
/// stand as well.
const NEAR: usize = 1024;
const MARGIN: usize = 256;
/// The most bytes that are kept from one look to the next.
const MAX_BYTES: usize = 1 << 20;

/// The memory that a chain lay in when it was followed last.
#[derive(Debug, Default)]
pub(super) struct Unmoved {
    /// All stretches, one behind the other; none where there is nothing to compare with.
    bytes: Vec<u8>,
    /// How many bytes of each are the same, from its start on.
    same: Vec<usize>,
    /// Which state of the stretches they are of.
    version: u64,
    /// How many frames of the interpreter's own are at the end of the chain, and in how many stretches.
    ends: usize,
    rest: usize,
    /// At how many looks in a row these stood, and the frame on them.
    stood: u32,
    standing: Standing,
}

/// How much of the stretch in which most stands stood at all of the last looks.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// At all looks of the last period, and since.
    known: Start,
    /// At those of this one, which are so many.
    least: Option<usize>,
    looks: u32,
}

impl Standing {
    fn note(&mut self, now: Start) {
        if now.stretch != self.known.stretch {
            *self = Standing { known: Start { len: 0, ..now }, ..Standing::default() };
        }
        self.known.len = self.known.len.min(now.len);
        let least = self.least.map_or(now.len, |least| least.min(now.len));
        self.least = Some(least);
        self.looks += 1;
        if self.looks >= RESTS {
            *self = Standing { known: Start { len: least, ..now }, ..Standing::default() };
        }
    }
}

impl Unmoved {
    /// What need not be read.
    pub(super) fn spares(&self, extents: &Extents) -> Spared {
        if self.bytes.is_empty() || self.version != extents.version() {
            return Spared::default();
        }
        let rests = self.stood >= RESTS && !self.stood.is_multiple_of(READ);
        Spared { rest: if rests { self.rest } else { 0 }, start: extents.pages(self.standing.known) }
    }

    /// Has nothing to compare with any more.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// Keeps what the first copy says, for the next look.
    pub(super) fn keep(&mut self, plan: &Plan, extents: &Extents, first: &Copy) {
        if self.bytes.is_empty() || self.version != extents.version() {
            self.bytes.clear();
            self.same.clear();
        }
        self.version = extents.version();
        let mut at = 0;
        for (number, stretch) in first.stretches(plan).enumerate() {
            if first.left_out().contains(&number) {
                at += extents.len_of(number);
                if at > self.bytes.len() {
                    return self.forget();
                }
                continue;
            }
            let Some(stretch) = stretch.filter(|stretch| at + stretch.len() <= MAX_BYTES) else {
                return self.forget();
            };
            // Most of it is there already.
            let same = self.same.get(number).map_or(0, |same| (*same).min(stretch.len()));
            match self.bytes.get_mut(at..at + stretch.len()) {
                Some(kept) => kept[same..].copy_from_slice(&stretch[same..]),
                None => self.bytes.extend_from_slice(stretch),
            }
            at += stretch.len();
        }
    }

    /// How many links of the chain that was followed last, from the base on, lie in what both copies have as it was.
    pub(super) fn links(
        &mut self,
        plan: &Plan,
        extents: &Extents,
        copies: &[Copy; 2],
        chain: &[Link],
    ) -> usize {
        self.same.clear();
        let stood = std::mem::take(&mut self.stood);
        let standing = std::mem::take(&mut self.standing);
        if self.bytes.is_empty() || self.version != extents.version() {
            return 0;
        }
        let [one, two] = copies;
        let mut kept = self.bytes.as_slice();
        for (number, first) in one.stretches(plan).enumerate() {
            if one.left_out().contains(&number) {
                let len = extents.len_of(number);
                let Some((_, others)) = kept.split_at_checked(len) else { break };
                self.same.push(len);
                kept = others;
                continue;
            }
            // Behind one that did not arrive, nothing is known of where the others' bytes are.
            let (Some(first), Some((start, second))) = (first, two.behind_start(plan, number)) else { break };
            let Some((before, others)) = kept.split_at_checked(first.len()) else { break };
            self.same.push(common_from(start, [first, before], second));
            kept = others;
        }
        let (mut stands, mut at) = (0, 0);
        while let Some(Link { run, .. }) = chain.get(at) {
            let same = self.same.get(run.place.stretch).is_some_and(|same| run.place.to <= *same);
            // Only the end may rest, whatever else lies near it.
            let read = !one.left_out().contains(&run.place.stretch) || at + self.ends >= chain.len();
            if run.agreed && same && read {
                at += run.links;
            } else {
                at += 1;
                stands = at;
            }
        }
        let stands = chain.len() - stands;
        // What rests is not known to stand by itself.
        if stands <= self.ends && !one.left_out().is_empty() {
            return 0;
        }
        self.ends = chain.iter().rev().take_while(|link| link.header.kind == Kind::Own).count();
        self.rest = link::runs(&chain[chain.len() - self.ends..]).count();
        if stands > self.ends {
            self.stood = stood.saturating_add(1);
        }
        self.standing = standing;
        self.standing.note(self.most(chain));
        stands
    }

    /// How much stands of the stretch in which most does, as far as it is not near the innermost frame there.
    fn most(&self, chain: &[Link]) -> Start {
        let Some((stretch, same)) = self.same.iter().enumerate().max_by_key(|(_, same)| **same) else {
            return Start::default();
        };
        let runs = link::runs(chain).filter(|run| run.place.stretch == stretch);
        let end = runs.map(|run| run.place.to).max().unwrap_or(0);
        Start { stretch, len: (*same).min(end.saturating_sub(NEAR)) }
    }
}

/// How many bytes two copies and the one before them have in common, of which the second begins behind a `start` that the others have.
/// Nothing, where not all of that is, and some more.
fn common_from(start: usize, [first, before]: [&[u8]; 2], second: &[u8]) -> usize {
    let (Some((outer, first)), Some((kept, before))) =
        (first.split_at_checked(start), before.split_at_checked(start))
    else {
        return 0;
    };
    match common([first, second, before]) {
        same if start == 0 => same,
        same if same >= MARGIN && outer == kept => start + same,
        _ => 0,
    }
}

/// How many bytes all three have in common, more or less: no more than there are.
fn common(all: [&[u8]; 3]) -> usize {
    let shared = all.map(<[u8]>::len).into_iter().min().unwrap_or(0);
    let mut from = 0;
    for step in STEPS {
        let differs = (from..shared).step_by(step).find(|at| {
            let [one, two, before] = all.map(|bytes| &bytes[*at..shared.min(at + step)]);
            one != two || two != before
        });
        let Some(at) = differs else { return shared };
        from = at;
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Addr, Tape};
    use crate::python::frame::{Header, Kind};

    fn header(code: Addr, kind: Kind) -> Header {
        Header { kind, code, back: Addr::NULL, instruction: 0, copy: 0, from_c: false }
    }

    #[test]
    fn what_lies_behind_a_stretch_that_did_not_arrive_is_not_compared_with_its_bytes() {
        let look = |memory: &[(u64, &[u8; 8])], extents: &mut Extents| {
            let mut tape = Tape::default();
            memory.iter().for_each(|(at, bytes)| tape.put(Addr(*at), *bytes));
            let (mut plan, mut copies) = (Plan::default(), [Copy::default(), Copy::default()]);
            copies.iter_mut().for_each(|copy| extents.plan(&mut plan, copy));
            plan.read(&tape);
            (plan, copies)
        };
        let mut extents = Extents::new(0);
        [0x10000, 0x30000].into_iter().for_each(|at| extents.cover(Addr(at), 8));
        let header = header(Addr(1), Kind::Python);
        let place = extents.find(Addr(0x30000), 8).unwrap();
        let chain = [Link::new(Addr(0x30000), header, place, true)];
        let (mut unmoved, both) = (Unmoved::default(), [(0x10000, b"abcdefgh"), (0x30000, b"ijklmnop")]);
        let (plan, copies) = look(&both, &mut extents);
        unmoved.keep(&plan, &extents, &copies[0]);
        assert_eq!(unmoved.links(&plan, &extents, &copies, &chain), 1);
        let (plan, copies) = look(&[(0x30000, b"abcdefgh")], &mut extents);
        assert_eq!(unmoved.links(&plan, &extents, &copies, &chain), 0);
    }

    #[test]
    fn the_end_of_a_chain_rests_while_the_frame_on_it_stands() {
        let (end, frame) = (Addr(0x30000), Addr(0x10000));
        let mut extents = Extents::new(0);
        [end, frame].into_iter().for_each(|at| extents.cover(at, 8));
        let chain = [(frame, Kind::Python), (end, Kind::Own)]
            .map(|(at, kind)| Link::new(at, header(at, kind), extents.find(at, 8).unwrap(), true));
        let mut unmoved = Unmoved::default();
        let mut look = |extents: &mut Extents, bytes: &[u8; 8]| {
            let mut tape = Tape::default();
            tape.put(frame, bytes);
            tape.put(end, b"ijklmnop");
            let (mut plan, mut copies) = (Plan::default(), [Copy::default(), Copy::default()]);
            let spared = unmoved.spares(extents);
            extents.plan_twice(&mut plan, 8, None, spared, &mut copies, [&mut |_| (), &mut |_| ()]);
            plan.read(&tape);
            let links = unmoved.links(&plan, extents, &copies, &chain);
            unmoved.keep(&plan, extents, &copies[0]);
            (spared.rest > 0, links)
        };
        assert_eq!(look(&mut extents, b"abcdefgh"), (false, 0));
        let looks: Vec<_> = (0..2 * READ).map(|_| look(&mut extents, b"abcdefgh")).collect();
        assert!(looks.iter().all(|(_, links)| *links == 2));
        let read = |range: std::ops::Range<u32>| {
            looks[range.start as usize..range.end as usize].iter().filter(|(rests, _)| !rests).count()
        };
        assert_eq!((read(0..RESTS), read(RESTS..2 * READ)), (RESTS as usize, 1));
        assert_eq!(look(&mut extents, b"abcdefgh"), (false, 2));
        // Where the frame on it moved, it is not known to stand, and is read.
        assert_eq!(
            [look(&mut extents, b"ABCDEFGH"), look(&mut extents, b"ABCDEFGH")],
            [(true, 0), (false, 2)]
        );
    }

    #[test]
    fn what_stood_for_long_far_from_the_innermost_frame_is_read_once_until_it_changes() {
        // Three pages of frames, the innermost one at their end.
        let (base, len) = (0x10000, 3 * 4096);
        let mut memory = vec![7; len];
        let mut extents = Extents::new(0);
        (0..len).step_by(64).for_each(|at| extents.cover(Addr(base + at as u64), 64));
        let header = header(Addr(1), Kind::Python);
        let mut chain: Vec<_> = (0..len)
            .step_by(64)
            .rev()
            .map(|at| {
                let at = Addr(base + at as u64);
                Link::new(at, header, extents.find(at, 64).unwrap(), true)
            })
            .collect();
        let links = chain.len();
        link::sum_up(&mut chain, links);
        let mut unmoved = Unmoved::default();
        let mut look = |memory: &[u8]| {
            let mut tape = Tape::default();
            tape.put(Addr(base), memory);
            let (mut plan, mut copies) = (Plan::default(), [Copy::default(), Copy::default()]);
            let spared = unmoved.spares(&extents);
            extents.plan_twice(&mut plan, 64, None, spared, &mut copies, [&mut |_| (), &mut |_| ()]);
            plan.read(&tape);
            let stands = unmoved.links(&plan, &extents, &copies, &chain);
            unmoved.keep(&plan, &extents, &copies[0]);
            (spared.start.len, stands)
        };
        let spared: Vec<_> = (0..=RESTS + 1).map(|_| look(&memory)).collect();
        assert!(spared[..=RESTS as usize].iter().all(|(spared, _)| *spared == 0), "{spared:?}");
        // The last page is near the innermost frame.
        assert_eq!(spared[RESTS as usize + 1], (2 * 4096, links));
        // Where it moves, all from there on does, and less is left out.
        memory[len - 1] = 8;
        assert_eq!(look(&memory), (2 * 4096, links - 1));
        memory[5000] = 8;
        assert_eq!(look(&memory), (2 * 4096, 0));
        assert_eq!(look(&memory), (0, links));
    }

    #[test]
    fn of_what_is_read_once_nothing_is_told_where_what_is_behind_it_moved() {
        let bytes = vec![7; 1000];
        let mut moved = bytes.clone();
        assert_eq!(common_from(0, [&bytes, &bytes], &bytes), 1000);
        assert_eq!(common_from(500, [&bytes, &bytes], &bytes[500..]), 1000);
        moved[500 + MARGIN + FINE] = 8;
        assert!(common_from(500, [&bytes, &bytes], &moved[500..]) >= 500 + MARGIN);
        moved[500 + MARGIN - 1] = 8;
        assert_eq!(common_from(500, [&bytes, &bytes], &moved[500..]), 0);
        moved = bytes.clone();
        moved[3] = 8;
        assert_eq!(common_from(500, [&moved, &bytes], &bytes[500..]), 0);
        assert_eq!(common_from(500, [&bytes[..400], &bytes], &bytes), 0);
    }

    #[test]
    fn bytes_are_the_same_up_to_where_any_of_three_differs() {
        let bytes: Vec<u8> = (0..6000).map(|n| (n % 251) as u8).collect();
        assert_eq!(common([&bytes, &bytes, &bytes]), 6000);
        assert_eq!(common([&bytes, &bytes[..700], &bytes]), 700);
        assert_eq!(common([&bytes, &[], &bytes]), 0);
        for place in [0, 63, 64, 511, 512, 4000, 4095, 4096, 5999] {
            for which in 0..3 {
                let mut other = bytes.clone();
                other[place] ^= 1;
                let mut all = [bytes.as_slice(); 3];
                all[which] = &other;
                let same = common(all);
                assert!(same <= place && place < same + FINE, "{place}: {same}");
            }
        }
    }
}
