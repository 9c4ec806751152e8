//! On whom a function was called last, where its own frame no longer says so: it was let go, or lies where nobody looked.
//!
//! Design constraint: a call that is over before its frame was read must not be left out, or profiles lack what is called often
//! and short. Which function it was, the frame that was let go still says, or what the thread's state said at the time, which also says
//! how large the innermost frame was; its callers stand where they stood.

use rustc_hash::FxHashMap;

use crate::layout::Struct;
use crate::memory::Addr;

use super::extents::{Copy, Extents};
use super::frame::{Frames, Kind};
use super::link::Link;
use super::plan::Plan;
use super::stacks::StackNumber;

/// So many callers of a function have to stand as they stood.
const MAX_CALLERS: usize = 16;
/// Of so many of the innermost frames of a stack is remembered what the thread's state says while they run.
pub(super) const MAX_REMEMBERED: usize = 12;
/// The most functions that are remembered; when there are more, all are forgotten.
const MAX_FUNCTIONS: usize = 4096;
/// And of so many functions that a thread's state tells apart by nothing.
const MAX_ALIKE: usize = 64;
/// Of so many frames that lay where nobody looked, the places are kept.
const MAX_STRAYS: usize = 32;
/// So many of these are worth reading.
const USUAL_STRAYS: usize = 3;

/// The last stack of each function, by its code object.
#[derive(Debug, Default)]
pub(super) struct Precedents {
    rows: FxHashMap<Addr, Row>,
    /// The last one that was kept and its innermost parts, each but once.
    last: Vec<Part>,
    /// Which functions ran when a thread's state said that.
    marks: FxHashMap<Mark, Vec<Addr>>,
    /// Where innermost frames lay that nobody expected there, those that lie there often first.
    strays: Vec<Addr>,
}

/// What a thread's state says at one moment of the function that runs: the word that leads to its frame, and where the frames end that lie
/// side by side, which is how large the last one is.
pub(super) type Mark = (Addr, Addr);

/// A stack, where its innermost frame is, and the word of the thread's state that leads there, if that is known.
pub(super) type Part = (StackNumber, Addr, Option<Addr>);

/// What is remembered of a function.
#[derive(Debug, Default)]
struct Row {
    stack: StackNumber,
    mark: Option<Mark>,
    /// Python's frames below, innermost first: where each is, its code object and its caller.
    callers: Vec<(Addr, Addr, Addr)>,
}

impl Row {
    /// Takes in the last stack, and the chain that told it.
    fn take(&mut self, chain: &[Link], stack: StackNumber) {
        let callers = chain.iter().filter(|link| link.header.kind == Kind::Python).skip(1);
        let caller = callers.clone().next().map(|link| link.at);
        // Most often it is there already.
        if self.stack == stack && self.callers.first().map(|(at, ..)| *at) == caller {
            return;
        }
        self.stack = stack;
        self.callers.clear();
        let callers = callers.take(MAX_CALLERS).map(|link| (link.at, link.header.code, link.header.back));
        self.callers.extend(callers);
    }
}

impl Precedents {
    /// Forgets all stacks.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.marks.clear();
        self.last.clear();
    }

    /// Whether this is the last stack that was kept.
    pub(super) fn has_last(&self, part: &Part) -> bool {
        self.last.first() == Some(part)
    }

    /// Whether this is a part of it.
    pub(super) fn has_part(&self, part: &Part) -> bool {
        self.last.contains(part)
    }

    /// Takes in which stack was kept last: its innermost parts down to one that the stack before it has too.
    pub(super) fn close(&mut self, parts: &[Part], shared: Option<&Part>) {
        let place = shared.and_then(|shared| self.last.iter().position(|part| part == shared));
        self.last.splice(..place.unwrap_or(self.last.len()), parts.iter().copied());
        self.last.truncate(MAX_REMEMBERED);
    }

    /// Keeps a stack that was there, the chain that told it, and what the thread's state says while it runs, where that is known.
    pub(super) fn keep(&mut self, chain: &[Link], mark: Option<Mark>, stack: StackNumber) {
        if let Some(row) = self.row(chain, mark) {
            row.take(chain, stack);
        }
    }

    /// The same of a part of one, where nothing is known of its innermost function.
    pub(super) fn keep_part(&mut self, chain: &[Link], mark: Option<Mark>, stack: StackNumber) {
        if let Some(row) = self.row(chain, mark).filter(|row| row.stack == StackNumber::default()) {
            row.take(chain, stack);
        }
    }

    /// What is remembered of the innermost function of a chain.
    fn row(&mut self, chain: &[Link], mark: Option<Mark>) -> Option<&mut Row> {
        let code = chain.iter().find(|link| link.header.kind == Kind::Python)?.header.code;
        if self.rows.len().max(self.marks.len()) >= MAX_FUNCTIONS {
            self.clear();
        }
        self.mark(code, mark);
        self.rows.get_mut(&code)
    }

    /// Takes in what the thread's state says while a function runs.
    pub(super) fn mark(&mut self, code: Addr, mark: Option<Mark>) {
        let row = self.rows.entry(code).or_default();
        if let Some(mark) = mark.filter(|mark| row.mark != Some(*mark)) {
            row.mark = Some(mark);
            let codes = self.marks.entry(mark).or_default();
            if !codes.contains(&code) && codes.len() < MAX_ALIKE {
                codes.push(code);
            }
        }
    }

    /// The functions that ran when a thread's state said the same.
    pub(super) fn marked(&self, mark: Mark) -> &[Addr] {
        self.marks.get(&mark).map_or(&[], Vec::as_slice)
    }

    /// On whom a function was called last: where each frame was, its code object and its caller.
    pub(super) fn callers(&self, code: Addr) -> &[(Addr, Addr, Addr)] {
        self.rows.get(&code).map_or(&[], |row| &row.callers)
    }

    /// The last stack of a function, where the outermost of its callers and half of all stand in a copy as they stood.
    pub(super) fn find(
        &self,
        code: Addr,
        (extents, copy, plan): (&mut Extents, &Copy, &Plan),
        frames: &Frames,
    ) -> Option<StackNumber> {
        let row = self.rows.get(&code)?;
        let mut stands = |(at, code, back): &(Addr, Addr, Addr)| {
            let bytes = extents.find(*at, frames.span).and_then(|place| copy.get(plan, place));
            bytes.map(|bytes| frames.header(Struct::over(bytes))).is_some_and(|header| {
                header.kind == Kind::Python && header.code == *code && header.back == *back
            })
        };
        let standing = row.callers.iter().filter(|caller| stands(caller)).count();
        let outermost = row.callers.last().is_none_or(stands);
        (outermost && 2 * standing >= row.callers.len()).then_some(row.stack)
    }

    /// Keeps the place of a frame that nobody expected there.
    pub(super) fn stray(&mut self, at: Addr) {
        match self.strays.iter().position(|known| *known == at) {
            // What is met often comes first.
            Some(place) => self.strays.swap(place, place.saturating_sub(1)),
            None => {
                self.strays.truncate(MAX_STRAYS - 1);
                self.strays.push(at);
            }
        }
    }

    /// Where such frames lie often.
    pub(super) fn strays(&self) -> &[Addr] {
        &self.strays[..self.strays.len().min(USUAL_STRAYS)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Catalogue;
    use crate::memory::Tape;
    use crate::python::extents::Place;
    use crate::python::frame::Header;

    #[test]
    fn a_stack_is_believed_while_the_outermost_and_half_of_the_callers_stand() {
        let layout = Catalogue::load(None).unwrap().named("3.13").unwrap().layout.clone();
        let frames = Frames::bind(&layout).unwrap();
        let place = Place { stretch: 0, from: 0, to: 0 };
        let link = |at: u64, code: u64, back: u64| {
            let header = Header {
                kind: Kind::Python,
                code: Addr(code),
                back: Addr(back),
                instruction: 0,
                copy: 0,
                from_c: false,
            };
            Link::new(Addr(at), header, place, true)
        };
        let chain = [
            link(0x13000, 0x90, 0x12000),
            link(0x12000, 0x80, 0x11000),
            link(0x11000, 0x70, 0x10000),
            link(0x10000, 0x60, 0),
        ];
        let mut precedents = Precedents::default();
        precedents.keep(&chain, None, StackNumber(5));
        let found = |standing: &[usize]| {
            let (mut tape, mut extents) = (Tape::default(), Extents::new(0));
            for (number, link) in chain.iter().enumerate().skip(1) {
                let code = if standing.contains(&number) { link.header.code } else { Addr(0x30) };
                tape.put(link.at, &frames.made(code, link.header.back));
                extents.cover(link.at, frames.span);
            }
            let (mut plan, mut copy) = (Plan::default(), Copy::default());
            extents.plan(&mut plan, &mut copy);
            plan.read(&tape);
            precedents.find(Addr(0x90), (&mut extents, &copy, &plan), &frames)
        };
        assert_eq!(found(&[1, 2, 3]), Some(StackNumber(5)));
        assert_eq!(found(&[2, 3]), Some(StackNumber(5)));
        assert_eq!((found(&[3]), found(&[1, 2])), (None, None));
    }

    #[test]
    fn places_that_are_met_often_come_first() {
        let mut precedents = Precedents::default();
        for round in 0..1000 {
            precedents.stray(Addr(0x10000 + round * 64));
            precedents.stray(Addr(0x500));
        }
        assert_eq!(precedents.strays()[0], Addr(0x500));
        assert!(precedents.strays.len() <= MAX_STRAYS);
    }

    #[test]
    fn functions_are_known_by_what_the_state_says_while_they_run() {
        let place = Place { stretch: 0, from: 0, to: 0 };
        let link = |at: u64, code: u64| {
            let back = Addr::NULL;
            let header =
                Header { kind: Kind::Python, code: Addr(code), back, instruction: 0, copy: 0, from_c: false };
            Link::new(Addr(at), header, place, true)
        };
        let mark = |word: u64, end: u64| Some((Addr(word), Addr(end)));
        let mut precedents = Precedents::default();
        let chain = [link(0x12000, 0x90), link(0x11000, 0x80)];
        precedents.keep_part(&chain[1..], mark(1, 0x12000), StackNumber(2));
        precedents.keep(&chain, mark(1, 0x12040), StackNumber(3));
        precedents.keep(&[link(0x12000, 0x70), chain[1]], mark(1, 0x12040), StackNumber(4));
        assert_eq!(precedents.marked((Addr(1), Addr(0x12040))), [Addr(0x90), Addr(0x70)]);
        assert_eq!(precedents.marked((Addr(1), Addr(0x12000))), [Addr(0x80)]);
        assert!(precedents.marked((Addr(2), Addr(0x12000))).is_empty());
        // What is known of a function as the innermost one is not overwritten by a part of another stack.
        precedents.keep(&chain[1..], None, StackNumber(5));
        precedents.keep_part(&chain[1..], None, StackNumber(6));
        assert_eq!(precedents.rows[&Addr(0x80)].stack, StackNumber(5));
        precedents.clear();
        assert!(precedents.marked((Addr(1), Addr(0x12040))).is_empty());
    }

    #[test]
    fn parts_that_two_stacks_share_are_kept_once() {
        let part = |number: u32| (StackNumber(number), Addr(u64::from(number)), None);
        let mut precedents = Precedents::default();
        precedents.close(&[4, 3, 2, 1].map(part), None);
        assert!(precedents.has_last(&part(4)) && precedents.has_part(&part(1)));
        precedents.close(&[6, 5].map(part), Some(&part(2)));
        assert_eq!(precedents.last, [6, 5, 2, 1].map(part));
        precedents.close(&[7].map(part), None);
        assert_eq!(precedents.last, [part(7)]);
        let many: Vec<Part> = (10..10 + MAX_REMEMBERED as u32).map(part).collect();
        precedents.close(&many, Some(&part(7)));
        assert_eq!(precedents.last, many);
    }
}
