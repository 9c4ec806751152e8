//! Stacks that were seen, each once, the calls that were seen to happen, and what is to be believed of a stack by them.

use rustc_hash::{FxHashMap, FxHashSet};

use super::code::CodeId;
use super::frame::Frame;
use super::proof::Pace;

/// When there are more stacks than this, all are forgotten.
const MAX_STACKS: usize = 1 << 20;
/// How often a call has to be seen to happen before it is believed.
const PROOFS: u32 = 4;
/// The same where its frames are never read at once.
const PROOFS_APART: u32 = 6;
/// Who looks for a call right after a stack told of it sees it at least once in so many times; for one that never happens, that
/// takes an accident each time.
const LOOKS: u32 = 128;
/// A place in a function that calls another one is one in so many calls between the two at least.
const SITES: u32 = 8;
/// What was looked for so often and never seen is looked for once at a time.
const VAIN: u32 = 256;
/// And one that one piece of memory told so often is one in so many calls of its function at least. A call that never happens is rarer: its
/// function is called from elsewhere all the time.
const OFTEN: u32 = 12;
const CALLERS: u32 = 32;

/// So far down a stack a function is looked for that calls itself.
const MAX_ROUND: usize = 64;
/// The most places in a function that are known to call the same other one.
const MAX_SITES: usize = 64;

/// Names a stack of one process: the frames from the base to one of them. The default is the empty one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StackNumber(pub u32);

/// All stacks that were seen.
///
/// Design constraint: a program that does the same again and again can show the same bytes at two moments and be elsewhere in
/// between. The longer a read takes, the likelier that is, so no read of a whole stack proves its calls: each has to stand in the
/// source (`python/mention.rs`), or is looked for by itself until it was seen often enough for no accident (`python/proof.rs`).
#[derive(Debug, Default)]
pub struct Stacks {
    /// Number 1 first.
    rows: Vec<Row>,
    numbers: FxHashMap<(StackNumber, Frame), StackNumber>,
    /// How often each call was seen to happen.
    calls: FxHashMap<Call, Tally>,
    /// How often each function was seen to call another one, from wherever.
    pairs: FxHashMap<(CodeId, CodeId), u32>,
    /// How often one piece of memory told that each function was called.
    called: FxHashMap<CodeId, u32>,
    /// What was called by which stacks that came out whole.
    whole: FxHashSet<(StackNumber, CodeId)>,
    /// Each sequence of functions, by the one before its last, and the stack of them that came out whole last.
    paths: FxHashMap<(PathNumber, CodeId), PathNumber>,
    latest: Vec<StackNumber>,
    /// Where a function calls another one, as far as that is known: places in it, in order.
    sites: FxHashMap<(CodeId, CodeId), Vec<i32>>,
    /// Where functions return, as far as that was asked.
    returns: FxHashSet<Frame>,
    /// Functions that were on a stack twice.
    recursive: FxHashSet<CodeId>,
    /// Frames are objects: what one says of its caller is true of the moment at which it was called, though that went on since.
    names_callers: bool,
    /// What looking for calls may still take.
    pub(super) pace: Pace,
    epoch: u64,
}

/// Names a sequence of functions. The default is the empty one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct PathNumber(u32);

/// A frame, and what it stands on.
#[derive(Debug, Clone, Copy)]
struct Row {
    callers: StackNumber,
    frame: Frame,
    path: PathNumber,
    /// How many frames it has.
    height: u32,
    /// All calls were seen to happen.
    proven: bool,
}

/// A place in a function, and what it calls.
pub type Call = (Frame, CodeId);

/// How often a call was looked for, and how often it was seen to happen.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    looked: u32,
    seen: u32,
    /// In one piece of memory.
    beside: u32,
    /// Whether it stands in the source, once that was asked.
    stands: Option<bool>,
}

impl Stacks {
    /// None yet. `names_callers` where each frame is an object: it says itself whose caller it has.
    pub fn new(names_callers: bool) -> Stacks {
        Stacks { names_callers, ..Stacks::default() }
    }

    /// Counts how often all stacks were forgotten. Numbers hold as long as it does not change.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether they have become too many.
    pub fn are_many(&self) -> bool {
        self.rows.len().max(self.whole.len()).max(self.calls.len()) > MAX_STACKS
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Stacks { epoch: self.epoch + 1, ..Stacks::new(self.names_callers) };
    }

    /// The stack of a frame on top of another stack.
    pub fn on(&mut self, callers: StackNumber, frame: Frame) -> StackNumber {
        let next = StackNumber(self.rows.len() as u32 + 1);
        let number = *self.numbers.entry((callers, frame)).or_insert(next);
        if number == next {
            if self.frames(callers).take(MAX_ROUND).any(|other| other.code == frame.code) {
                self.recursive.insert(frame.code);
            }
            let path = self.path_on(callers, frame.code);
            let height = self.height(callers) as u32 + 1;
            self.rows.push(Row { callers, frame, path, height, proven: callers == StackNumber::default() });
        }
        number
    }

    /// The functions of a stack, and another one on top.
    fn path_on(&mut self, callers: StackNumber, code: CodeId) -> PathNumber {
        let below = self.row(callers).map_or(PathNumber::default(), |row| row.path);
        let next = PathNumber(self.latest.len() as u32 + 1);
        let path = *self.paths.entry((below, code)).or_insert(next);
        if path == next {
            self.latest.push(StackNumber::default());
        }
        path
    }

    /// What is told of a thread of which one copy told this stack: that one, where it was seen whole before or all its calls were seen
    /// to happen; where just its callers went on in their functions, the last whole stack of the same functions.
    pub fn believed(&mut self, number: StackNumber) -> Option<StackNumber> {
        if self.row(number).is_some_and(|row| row.proven) || self.was_whole(number) {
            return Some(number);
        }
        if self.proven_part(number) == number {
            return Some(number);
        }
        self.moved_back(number).or_else(|| self.whole_of(number))
    }

    /// The stack with each caller where it calls the next one, if it went on since: at the last place before, as far as one is
    /// known. Where frames lie side by side that is so while the innermost one stands where it returned, else another one may have come
    /// to lie there. Nothing of functions that call themselves, for a frame of one may be on its next call already.
    fn moved_back(&mut self, number: StackNumber) -> Option<StackNumber> {
        let (_, innermost) = self.split(number)?;
        if !self.names_callers && !self.returns.contains(&innermost) {
            return None;
        }
        let (mut inner, mut stack) = (Vec::new(), number);
        while let Some(row) = self.row(stack).filter(|row| !row.proven) {
            inner.push(row.frame);
            stack = row.callers;
        }
        while let Some(frame) = inner.pop() {
            if let Some((below, caller)) =
                self.split(stack).filter(|(_, caller)| !self.is_known((*caller, frame.code)))
            {
                if self.recursive.contains(&caller.code) {
                    return None;
                }
                let offset = self.site(caller, frame.code)?;
                stack = self.on(below, Frame { offset, ..caller });
            }
            stack = self.on(stack, frame);
        }
        Some(stack)
    }

    /// Where a function called another one last, by where it is now: at the last place before, else at the last one of all.
    pub fn site(&self, caller: Frame, callee: CodeId) -> Option<i32> {
        let sites = self.sites.get(&(caller.code, callee))?;
        let before = sites.partition_point(|site| *site <= caller.offset).checked_sub(1);
        before.map_or(sites.last(), |before| sites.get(before)).copied()
    }

    /// Takes in where the innermost frame of a stack was called from.
    fn add_site_of(&mut self, number: StackNumber) {
        if let Some((callers, frame)) = self.split(number)
            && let Some((_, caller)) = self.split(callers)
        {
            self.add_site(caller, frame.code);
        }
    }

    /// Takes in that a function calls another one there.
    pub fn add_site(&mut self, caller: Frame, callee: CodeId) {
        let sites = self.sites.entry((caller.code, callee)).or_default();
        if let Err(place) = sites.binary_search(&caller.offset)
            && sites.len() < MAX_SITES
        {
            sites.insert(place, caller.offset);
        }
    }

    /// The last stack of the same functions that came out whole: it may be elsewhere in them.
    pub fn whole_of(&self, number: StackNumber) -> Option<StackNumber> {
        let path = self.row(number)?.path.0 as usize;
        self.latest.get(path.checked_sub(1)?).copied().filter(|whole| *whole != StackNumber::default())
    }

    /// The innermost frame of a stack, and the stack that it stands on; the empty one has none.
    pub fn split(&self, number: StackNumber) -> Option<(StackNumber, Frame)> {
        self.row(number).map(|row| (row.callers, row.frame))
    }

    fn row(&self, number: StackNumber) -> Option<&Row> {
        self.rows.get(index(number)?)
    }

    /// Its frames, innermost first.
    pub fn frames(&self, number: StackNumber) -> impl Iterator<Item = Frame> + '_ {
        let mut next = number;
        std::iter::from_fn(move || {
            let (callers, frame) = self.split(next)?;
            next = callers;
            Some(frame)
        })
    }

    /// How many frames a stack has.
    pub fn height(&self, number: StackNumber) -> usize {
        self.row(number).map_or(0, |row| row.height as usize)
    }

    /// The part of a stack that has so many frames from the base up; `None` where it has fewer.
    pub fn lowest(&self, number: StackNumber, depth: usize) -> Option<StackNumber> {
        let above = self.height(number).checked_sub(depth)?;
        (0..above).try_fold(number, |number, _| Some(self.split(number)?.0))
    }

    /// Counts a call that was seen to happen; `beside` where one piece of memory told it.
    pub fn saw_call(&mut self, call: Call, beside: bool) {
        let tally = self.calls.entry(call).or_default();
        tally.seen = tally.seen.saturating_add(1);
        let pair = self.pairs.entry((call.0.code, call.1)).or_default();
        *pair = pair.saturating_add(1);
        if beside {
            tally.beside = tally.beside.saturating_add(1);
            let called = self.called.entry(call.1).or_default();
            *called = called.saturating_add(1);
        }
    }

    /// The part of a stack, from the base up, whose calls were all seen to happen.
    pub fn proven_part(&mut self, number: StackNumber) -> StackNumber {
        let mut unknown = Vec::new();
        let mut next = number;
        let mut part = loop {
            match self.row(next) {
                Some(row) if !row.proven => {
                    unknown.push(next);
                    next = row.callers;
                }
                _ => break next,
            }
        };
        while let Some(number) = unknown.pop().filter(|number| self.is_called(*number)) {
            if let Some(row) = index(number).and_then(|index| self.rows.get_mut(index)) {
                row.proven = true;
            }
            self.add_site_of(number);
            part = number;
        }
        part
    }

    /// The calls of a stack that are not known to happen: how far from the innermost frame each callee is, and the call.
    fn unknown_calls(&self, number: StackNumber) -> impl Iterator<Item = (usize, Call)> {
        let mut next = number;
        let rows = std::iter::from_fn(move || {
            let row = self.row(next).filter(|row| !row.proven)?;
            next = row.callers;
            Some((row.callers, row.frame.code))
        });
        let calls = rows.map(|(callers, callee)| Some((self.split(callers)?.1, callee)));
        let unknown = calls.enumerate().filter_map(|(place, call)| Some((place, call?)));
        unknown.filter(|(_, call)| !self.is_known(*call))
    }

    /// Those of them of which nobody asked yet whether they stand in the source.
    pub fn unasked_calls(&self, number: StackNumber) -> Vec<Call> {
        self.unknown_calls(number).map(|(_, call)| call).filter(|call| !self.is_asked(*call)).collect()
    }

    /// Takes in that a frame returns there.
    pub fn add_return(&mut self, frame: Frame) {
        self.returns.insert(frame);
    }

    /// Whether somebody asked whether a call stands in the source.
    pub fn is_asked(&self, call: Call) -> bool {
        self.calls.get(&call).is_some_and(|tally| tally.stands.is_some())
    }

    /// Says whether a call stands in the source.
    pub fn stands_in_source(&mut self, call: Call, stands: bool) {
        self.calls.entry(call).or_default().stands = Some(stands);
    }

    /// Which calls of a stack are not known to happen, each where it is met first, counted from the innermost frame. They count as
    /// looked for.
    pub fn open_calls(&mut self, number: StackNumber, most: usize) -> Vec<(usize, Call)> {
        let mut met = FxHashSet::default();
        let open: Vec<_> =
            self.unknown_calls(number).filter(|(_, call)| met.insert(*call)).take(most).collect();
        for (_, call) in &open {
            let looked = &mut self.calls.entry(*call).or_default().looked;
            *looked = looked.saturating_add(1);
        }
        open
    }

    /// Whether a call was not looked for in vain too often.
    pub fn is_hopeful(&self, call: Call) -> bool {
        let tally = self.calls.get(&call).copied().unwrap_or_default();
        tally.seen > 0 || tally.looked < VAIN
    }

    /// Whether the innermost frame of a stack is called by the one below it.
    fn is_called(&self, number: StackNumber) -> bool {
        let Some((callers, frame)) = self.split(number) else { return false };
        self.split(callers).is_none_or(|(_, caller)| self.is_known((caller, frame.code)))
    }

    /// Whether a call was seen to happen often enough.
    fn is_known(&self, call: Call) -> bool {
        let tally = self.calls.get(&call).copied().unwrap_or_default();
        let called = self.called.get(&call.1).copied().unwrap_or_default();
        let is_seen = tally.seen.saturating_mul(LOOKS) >= tally.looked;
        let is_usual = tally.beside >= OFTEN && tally.beside.saturating_mul(CALLERS) >= called;
        let pair = self.pairs.get(&(call.0.code, call.1)).copied().unwrap_or_default();
        let enough = if tally.beside > 0 { PROOFS } else { PROOFS_APART };
        let is_seen = tally.seen >= enough && is_seen && tally.seen.saturating_mul(SITES) >= pair;
        tally.stands == Some(true) || is_seen || is_usual
    }

    /// Remembers a stack that came out whole.
    pub fn saw_whole(&mut self, number: StackNumber) {
        let path = self.row(number).and_then(|row| (row.path.0 as usize).checked_sub(1));
        if let Some(latest) = path.and_then(|path| self.latest.get_mut(path)) {
            *latest = number;
        }
        let mut next = number;
        while let Some((callers, frame)) = self.split(next) {
            // Who was seen so was seen with all below it.
            if !self.whole.insert((callers, frame.code)) {
                break;
            }
            self.add_site_of(next);
            next = callers;
        }
    }

    /// Whether every frame of a stack that was seen torn was seen on the same callers in one that came out whole.
    pub fn was_whole(&self, number: StackNumber) -> bool {
        self.split(number).is_some_and(|(callers, frame)| self.whole.contains(&(callers, frame.code)))
    }
}

/// Where the row of a stack is; the empty one has none.
fn index(number: StackNumber) -> Option<usize> {
    (number.0 as usize).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: u32, offset: i32) -> Frame {
        Frame { code: CodeId(code), offset }
    }

    #[test]
    fn a_stack_has_one_number_and_its_frames_come_innermost_first() {
        let mut stacks = Stacks::default();
        let base = stacks.on(StackNumber::default(), frame(0, 10));
        let (one, other) = (stacks.on(base, frame(1, 2)), stacks.on(base, frame(1, 4)));
        assert_ne!(one, other);
        assert_eq!(stacks.on(base, frame(1, 2)), one);
        assert_eq!(stacks.frames(other).collect::<Vec<_>>(), [frame(1, 4), frame(0, 10)]);
        assert_eq!(stacks.frames(StackNumber::default()).count(), 0);
        let epoch = stacks.epoch();
        stacks.clear();
        assert_eq!((stacks.epoch(), stacks.frames(one).count()), (epoch + 1, 0));
    }

    #[test]
    fn a_stack_is_proven_up_to_the_first_call_that_was_not_seen_often_enough() {
        let mut stacks = Stacks::default();
        let mut number = StackNumber::default();
        let numbers = [0, 1, 2, 3].map(|code| {
            number = stacks.on(number, frame(code, 5));
            number
        });
        assert_eq!(stacks.proven_part(number), numbers[0], "nothing calls the base");
        for _ in 0..PROOFS {
            assert_eq!(stacks.proven_part(number), numbers[0]);
            stacks.saw_call((frame(0, 5), CodeId(1)), true);
            stacks.saw_call((frame(2, 5), CodeId(3)), true);
            stacks.saw_call((frame(1, 6), CodeId(2)), true);
        }
        assert_eq!(stacks.proven_part(number), numbers[1], "1 calls 2 from another place");
        (0..PROOFS).for_each(|_| stacks.saw_call((frame(1, 5), CodeId(2)), true));
        assert_eq!(stacks.proven_part(number), numbers[3]);
        let inner = stacks.on(number, frame(0, 1));
        assert_eq!(stacks.proven_part(inner), number);
    }

    #[test]
    fn a_call_that_is_looked_for_in_vain_is_no_call() {
        let mut stacks = Stacks::default();
        let base = stacks.on(StackNumber::default(), frame(0, 5));
        let [often, hardly] = [1, 2].map(|code| stacks.on(base, frame(code, 5)));
        for round in 0..10_000 {
            assert_eq!(stacks.open_calls(hardly, 8), [(0, (frame(0, 5), CodeId(2)))]);
            if round % 1000 == 0 {
                stacks.saw_call((frame(0, 5), CodeId(2)), false);
            }
            if !stacks.open_calls(often, 8).is_empty() && round % 10 == 0 {
                stacks.saw_call((frame(0, 5), CodeId(1)), false);
            }
            assert_eq!(stacks.proven_part(hardly), base, "{round}");
        }
        assert_eq!(stacks.proven_part(often), often);
    }

    #[test]
    fn what_is_on_top_of_a_whole_stack_may_be_elsewhere_in_its_function_but_not_on_other_callers() {
        let mut stacks = Stacks::default();
        let outer = stacks.on(StackNumber::default(), frame(0, 1));
        let (one, other) = (stacks.on(outer, frame(1, 1)), stacks.on(outer, frame(1, 7)));
        let deep = stacks.on(one, frame(3, 1));
        stacks.saw_whole(deep);
        assert!([outer, one, other, deep].iter().all(|number| stacks.was_whole(*number)));
        let elsewhere = stacks.on(other, frame(3, 1));
        assert!(!stacks.was_whole(elsewhere) && !stacks.was_whole(StackNumber::default()));
        stacks.saw_whole(elsewhere);
        assert!(stacks.was_whole(elsewhere));
    }

    #[test]
    fn a_call_that_stands_in_the_source_needs_no_other_proof() {
        let mut stacks = Stacks::default();
        let base = stacks.on(StackNumber::default(), frame(0, 5));
        let (one, other) = (stacks.on(base, frame(1, 5)), stacks.on(base, frame(2, 5)));
        let inner = stacks.on(one, frame(2, 7));
        assert_eq!(stacks.unasked_calls(inner), [(frame(1, 5), CodeId(2)), (frame(0, 5), CodeId(1))]);
        stacks.stands_in_source((frame(0, 5), CodeId(1)), true);
        stacks.stands_in_source((frame(0, 5), CodeId(2)), false);
        assert_eq!([one, other].map(|number| stacks.proven_part(number)), [one, base]);
        assert_eq!(stacks.unasked_calls(inner), [(frame(1, 5), CodeId(2))], "nobody is asked twice");
        assert!(stacks.unasked_calls(other).is_empty());
        (0..PROOFS_APART).for_each(|_| stacks.saw_call((frame(0, 5), CodeId(2)), false));
        assert_eq!(stacks.proven_part(other), other, "it may be seen to happen all the same");
    }

    #[test]
    fn what_one_piece_of_memory_told_often_is_believed_though_it_was_looked_for_in_vain() {
        let mut stacks = Stacks::default();
        let base = stacks.on(StackNumber::default(), frame(0, 5));
        let [often, accident] = [1, 2].map(|code| stacks.on(base, frame(code, 5)));
        for round in 0..10_000 {
            stacks.open_calls(often, 8);
            stacks.open_calls(accident, 8);
            if round % 500 == 0 {
                stacks.saw_call((frame(0, 5), CodeId(1)), true);
                stacks.saw_call((frame(0, 5), CodeId(2)), true);
                // That one is called by another place all the time.
                (0..100).for_each(|_| stacks.saw_call((frame(3, 7), CodeId(2)), true));
            }
        }
        assert_eq!([often, accident].map(|number| stacks.proven_part(number)), [often, base]);
    }

    #[test]
    fn a_place_that_hardly_ever_calls_what_its_function_calls_elsewhere_does_not_call_it() {
        let mut stacks = Stacks::default();
        let [base, elsewhere] = [5, 9].map(|offset| stacks.on(StackNumber::default(), frame(0, offset)));
        let [rare, usual] = [base, elsewhere].map(|base| stacks.on(base, frame(1, 1)));
        (0..100).for_each(|_| stacks.saw_call((frame(0, 9), CodeId(1)), false));
        (0..4).for_each(|_| stacks.saw_call((frame(0, 5), CodeId(1)), false));
        assert_eq!([rare, usual].map(|number| stacks.proven_part(number)), [base, usual]);
    }

    #[test]
    fn a_stack_that_is_not_proven_is_told_as_the_last_whole_one_of_the_same_functions() {
        let mut stacks = Stacks::default();
        let [base, elsewhere] = [5, 9].map(|offset| stacks.on(StackNumber::default(), frame(0, offset)));
        let [one, other] = [base, elsewhere].map(|base| stacks.on(base, frame(1, 1)));
        assert_eq!((stacks.believed(one), stacks.believed(base)), (None, Some(base)));
        stacks.saw_whole(other);
        assert_eq!((stacks.believed(one), stacks.whole_of(one)), (Some(other), Some(other)));
        let unlike = stacks.on(base, frame(2, 1));
        assert_eq!((stacks.believed(unlike), stacks.whole_of(StackNumber::default())), (None, None));
    }

    #[test]
    fn callers_that_went_on_are_put_back_to_where_they_called() {
        let mut stacks = Stacks::new(true);
        let base = stacks.on(StackNumber::default(), frame(0, 30));
        let inner = stacks.on(base, frame(1, 8));
        assert_eq!(stacks.believed(inner), None, "nobody knows where it calls");
        for (offset, place) in [(10, 10), (20, 20), (40, 20)] {
            stacks.add_site(frame(0, offset), CodeId(1));
            let told = stacks.believed(inner).unwrap();
            assert_eq!(stacks.frames(told).collect::<Vec<_>>(), [frame(1, 8), frame(0, place)]);
        }
        // A loop came round.
        let again = stacks.on(StackNumber::default(), frame(0, 2));
        let again = stacks.on(again, frame(1, 8));
        let told = stacks.believed(again).unwrap();
        assert_eq!(stacks.frames(told).last(), Some(frame(0, 40)));
    }

    #[test]
    fn none_is_put_back_that_may_be_on_its_next_call() {
        let mut stacks = Stacks::new(true);
        let base = stacks.on(StackNumber::default(), frame(0, 5));
        let down = stacks.on(base, frame(1, 30));
        let leaf = stacks.on(down, frame(2, 1));
        stacks.add_site(frame(1, 20), CodeId(2));
        stacks.add_site(frame(0, 5), CodeId(1));
        assert!(stacks.believed(leaf).is_some());
        stacks.on(down, frame(1, 30));
        assert_eq!(stacks.believed(leaf), None, "it calls itself");
    }

    #[test]
    fn where_frames_lie_side_by_side_only_one_that_returns_has_its_callers_put_back() {
        let mut stacks = Stacks::new(false);
        let base = stacks.on(StackNumber::default(), frame(0, 30));
        let inner = stacks.on(base, frame(1, 8));
        stacks.add_site(frame(0, 20), CodeId(1));
        assert_eq!(stacks.believed(inner), None);
        stacks.add_return(frame(1, 8));
        assert!(stacks.believed(inner).is_some());
    }
}
