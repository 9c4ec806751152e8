//! What a thread's stack is taken to be, when it changes while it is read.

use crate::memory::Addr;
use crate::model::{Quality, Torn};

use super::stacks::{StackNumber, Stacks};
use super::watch::Verdict;

/// After so many of these something else than the innermost frame of the first read is taken, if there is something.
const ANCHORED: u32 = 4;
/// And after so many of these none, where what the first one told may be known later.
const TOLD: u32 = 16;
/// How often a stack is read again because not all of it was where it was expected, or ends where none did.
const MISSES: u32 = 48;

/// What a part of a stack from the base up is.
const PARTIAL: Quality = Quality::TopMissing(Torn::Changed);

/// A stack, and how good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The stack.
    pub stack: StackNumber,
    /// How good it is.
    pub quality: Quality,
    /// What the first read told, where it is not known yet whether that can be.
    pub told: Option<StackNumber>,
}

/// What one read brought: the frame that was the innermost when it began, and what is true of the stack.
pub type Heard = (Option<Addr>, Verdict);

/// What can be asked about a thread whose stack was read.
pub trait Ask {
    /// Reads the stack again.
    fn again(&mut self, stacks: &mut Stacks) -> Heard;

    /// Looks for the calls of a stack that was read just now of which it is not known that they happen.
    fn prove(&mut self, stack: StackNumber, stacks: &mut Stacks);

    /// Calls are looked for later.
    fn learns_later(&self) -> bool;

    /// Whether the target holds still meanwhile.
    fn is_still(&self) -> bool;

    /// How often a stack that changed is read again.
    fn retries(&self) -> u32;

    /// Whether this has cost all that it may.
    fn is_spent(&self) -> bool;
}

/// Takes what the first read brought, or reads again until there is something to take; `None` where there is no such thread.
///
/// A sample stands for the moment of its first read. A stack that was whole then is taken, and so is one that changed, as the
/// first copy told it, where all of it was seen whole before or all calls are known to happen; if just its callers went on in their
/// functions, the last whole stack of the same functions is. Else it is read again. What comes out whole at another moment is what
/// stands still for long: so after a few of these the earliest is taken of those that will do, whole or not. Failing that, what
/// holds still at the base is kept. Nothing is taken whose calls were not seen to happen; what the first read told is named, though, for
/// they may be seen later.
pub fn settle(first: Heard, stacks: &mut Stacks, ask: &mut impl Ask) -> Option<Settled> {
    let mut told = None;
    let settled = take(first, &mut told, stacks, ask)?;
    let Some(told) = told else { return Some(settled) };
    match stacks.believed(told) {
        Some(stack) if stack == settled.stack => Some(settled),
        Some(stack) => Some(Settled::of(stack, Quality::Probable)),
        None => Some(Settled { told: Some(told), ..settled }),
    }
}

/// The same; leaves in `told` what the first read told, if that is not what is taken.
fn take(
    first: Heard,
    told: &mut Option<StackNumber>,
    stacks: &mut Stacks,
    ask: &mut impl Ask,
) -> Option<Settled> {
    let mut heard = first;
    let mut anchor = None;
    let (mut retries, mut misses) = (0, 0);
    let (mut early, mut partial) = (None, Settled::of(StackNumber::default(), PARTIAL));
    loop {
        let (top, verdict) = heard;
        anchor = anchor.or(top);
        match verdict {
            Verdict::Gone => return None,
            Verdict::Whole(stack) => {
                let part = if ask.is_still() { stack } else { proven_part(stack, stacks, ask) };
                if part == stack {
                    stacks.saw_whole(stack);
                    if retries == 0 {
                        return Some(Settled::of(stack, Quality::Whole));
                    }
                    let retried = Settled::of(stack, Quality::Retried);
                    if top == anchor {
                        return Some(retried);
                    }
                    early = early.or(Some(retried));
                } else {
                    let same = stacks.whole_of(stack);
                    early = early.or(same.map(|stack| Settled::of(stack, Quality::Probable)));
                    partial.improve(part);
                    if retries == 0 && early.is_some() {
                        return early;
                    }
                }
                retries += 1;
            }
            Verdict::Changed { seen, sure, agreed } => {
                // While the target holds still, another read says what is there.
                if let Some(stack) = seen.filter(|_| !ask.is_still()) {
                    let known = stacks.was_whole(stack);
                    let believed = stacks.believed(stack).or_else(|| {
                        ask.prove(stack, stacks);
                        stacks.believed(stack)
                    });
                    if let Some(stack) = believed {
                        early = early.or(Some(Settled::of(stack, Quality::Probable)));
                        if known || sure || retries == 0 {
                            return early;
                        }
                    }
                }
                partial.improve(stacks.proven_part(agreed));
                retries += 1;
            }
            Verdict::Ends(stack) => {
                if proven_part(stack, stacks, ask) == stack {
                    partial = Settled::of(stack, Quality::BaseMissing(Torn::Changed));
                }
                misses += 1;
            }
            Verdict::Broken(stack, torn) => {
                partial = Settled::of(stack, Quality::BaseMissing(torn));
                retries += 1;
            }
            Verdict::Missed => misses += 1,
        }
        if retries >= ANCHORED && early.is_some() {
            return early;
        }
        if retries >= TOLD && told.is_some() && ask.learns_later()
            || retries > ask.retries()
            || misses > MISSES
            || ask.is_spent()
        {
            return early.or(Some(partial));
        }
        *told = told.or(verdict.told().filter(|_| top == anchor && !ask.is_still()));
        heard = ask.again(stacks);
    }
}

/// The part of a stack whose calls were seen to happen, after those of which it is not known were looked for.
fn proven_part(stack: StackNumber, stacks: &mut Stacks, ask: &mut impl Ask) -> StackNumber {
    let part = stacks.proven_part(stack);
    if part == stack {
        return part;
    }
    ask.prove(stack, stacks);
    stacks.proven_part(stack)
}

impl Settled {
    fn of(stack: StackNumber, quality: Quality) -> Settled {
        Settled { stack, quality, told: None }
    }

    /// Takes a part of a stack, from the base up, where there was nothing yet.
    fn improve(&mut self, part: StackNumber) {
        if self.stack == StackNumber::default() {
            *self = Settled::of(part, PARTIAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::{CodeId, Frame};

    /// Brings reads one after the other, the last one for ever, and proves calls or does not.
    struct Told<'a> {
        reads: std::slice::Iter<'a, (u64, Verdict)>,
        last: Heard,
        proves: bool,
        later: bool,
        still: bool,
    }

    impl<'a> Told<'a> {
        fn of(reads: &'a [(u64, Verdict)], proves: bool) -> Told<'a> {
            Told { reads: reads.iter(), last: (None, Verdict::Missed), proves, later: false, still: false }
        }
    }

    impl Ask for Told<'_> {
        fn again(&mut self, _: &mut Stacks) -> Heard {
            if let Some((top, verdict)) = self.reads.next() {
                self.last = (Some(Addr(*top)), *verdict);
            }
            self.last
        }

        fn prove(&mut self, stack: StackNumber, stacks: &mut Stacks) {
            let frames: Vec<Frame> = stacks.frames(stack).collect();
            for pair in frames.windows(2).filter(|_| self.proves) {
                (0..8).for_each(|_| stacks.saw_call((pair[1], pair[0].code), false));
            }
        }

        fn learns_later(&self) -> bool {
            self.later
        }

        fn is_still(&self) -> bool {
            self.still
        }

        fn retries(&self) -> u32 {
            24
        }

        fn is_spent(&self) -> bool {
            false
        }
    }

    /// Settles what the reads bring.
    #[track_caller]
    fn check(proves: bool, reads: &[(u64, Verdict)], expected: Option<(StackNumber, Quality)>) {
        let mut stacks = made();
        let mut told = Told::of(reads, proves);
        let first = told.again(&mut stacks);
        let settled = settle(first, &mut stacks, &mut told);
        assert_eq!(settled.map(|settled| (settled.stack, settled.quality)), expected);
    }

    const BASE: StackNumber = StackNumber(1);
    /// A stack that was seen whole before, and one that was not.
    const KNOWN: StackNumber = StackNumber(2);
    const NEW: StackNumber = StackNumber(3);
    const NONE: StackNumber = StackNumber(0);
    const TOP: Quality = Quality::TopMissing(Torn::Changed);

    fn made() -> Stacks {
        let mut stacks = Stacks::default();
        let frame = |code, offset| Frame { code: CodeId(code), offset };
        assert_eq!(stacks.on(NONE, frame(0, 4)), BASE);
        assert_eq!((stacks.on(BASE, frame(1, 0)), stacks.on(BASE, frame(2, 0))), (KNOWN, NEW));
        let base = stacks.on(NONE, frame(0, 6));
        stacks.on(base, frame(1, 8));
        (0..8).for_each(|_| stacks.saw_call((frame(0, 4), CodeId(1)), false));
        stacks.saw_whole(KNOWN);
        stacks
    }

    fn changed(seen: StackNumber, agreed: StackNumber) -> Verdict {
        Verdict::Changed { seen: Some(seen), sure: false, agreed }
    }

    #[test]
    fn a_stack_that_holds_still_is_whole_where_its_calls_are_seen_to_happen() {
        check(false, &[(1, Verdict::Whole(KNOWN))], Some((KNOWN, Quality::Whole)));
        check(true, &[(1, Verdict::Whole(NEW))], Some((NEW, Quality::Whole)));
        check(false, &[(1, Verdict::Whole(NEW))], Some((BASE, TOP)));
        check(true, &[(1, Verdict::Missed), (2, Verdict::Whole(NEW))], Some((NEW, Quality::Whole)));
        check(true, &[(1, Verdict::Missed), (1, Verdict::Gone)], None);
    }

    #[test]
    fn one_that_changed_is_believed_if_it_was_seen_whole_before() {
        check(false, &[(1, changed(KNOWN, NONE))], Some((KNOWN, Quality::Probable)));
        check(false, &[(1, changed(NEW, BASE))], Some((BASE, TOP)));
        // What was told first is nearest to the moment that the sample stands for.
        let reads = [(1, changed(NEW, NONE)), (2, changed(KNOWN, NONE))];
        check(true, &reads, Some((NEW, Quality::Probable)));
        check(false, &reads, Some((KNOWN, Quality::Probable)));
        check(true, &reads[..1], Some((NEW, Quality::Probable)));
    }

    #[test]
    fn one_whose_innermost_frame_says_that_it_is_called_is_taken_at_once() {
        let sure = Verdict::Changed { seen: Some(NEW), sure: true, agreed: NONE };
        let reads = [(1, sure), (1, Verdict::Whole(KNOWN))];
        check(true, &reads, Some((NEW, Quality::Probable)));
        check(false, &reads, Some((KNOWN, Quality::Retried)));
    }

    #[test]
    fn one_that_changed_is_looked_for_again_with_the_same_innermost_frame() {
        let reads = [(1, changed(NEW, NONE)), (2, Verdict::Whole(KNOWN)), (1, Verdict::Whole(NEW))];
        check(false, &reads, Some((KNOWN, Quality::Retried)));
        let reads = [(1, Verdict::Missed), (1, changed(NEW, NONE)), (2, Verdict::Whole(KNOWN))];
        check(true, &reads, Some((NEW, Quality::Probable)));
    }

    #[test]
    fn of_one_that_went_on_in_its_callers_the_last_whole_one_of_the_same_functions_is_taken() {
        // The base calls the known one from elsewhere.
        let elsewhere = |stacks: &mut Stacks| {
            let frame = |code, offset| Frame { code: CodeId(code), offset };
            let base = stacks.on(NONE, frame(0, 6));
            stacks.on(base, frame(1, 8))
        };
        let moved = elsewhere(&mut made());
        check(false, &[(1, changed(moved, NONE))], Some((KNOWN, Quality::Probable)));
        check(false, &[(1, Verdict::Whole(moved))], Some((KNOWN, Quality::Probable)));
    }

    #[test]
    fn what_held_still_of_one_that_never_does_is_kept() {
        check(false, &[(1, changed(NEW, KNOWN))], Some((KNOWN, TOP)));
        check(false, &[(1, changed(NEW, NEW))], Some((BASE, TOP)));
        let broken = Verdict::Broken(NEW, Torn::Cycle);
        check(true, &[(1, broken)], Some((NEW, Quality::BaseMissing(Torn::Cycle))));
        check(true, &[(1, Verdict::Ends(NEW))], Some((NEW, Quality::BaseMissing(Torn::Changed))));
        check(false, &[(1, Verdict::Ends(NEW))], Some((NONE, TOP)));
        check(true, &[(1, Verdict::Missed)], Some((NONE, TOP)));
    }

    #[test]
    fn what_the_first_read_told_is_named_until_it_is_believed() {
        for (first, expected) in [
            (changed(NEW, NONE), Some(NEW)),
            (Verdict::Whole(NEW), Some(NEW)),
            (changed(KNOWN, NONE), None),
            (Verdict::Missed, None),
        ] {
            let reads = [(1, first), (2, Verdict::Whole(KNOWN))];
            let (mut stacks, mut told) = (made(), Told::of(&reads, false));
            let first = told.again(&mut stacks);
            let settled = settle(first, &mut stacks, &mut told).unwrap();
            assert_eq!((settled.stack, settled.told), (KNOWN, expected), "{first:?}");
        }
    }

    #[test]
    fn what_may_be_known_later_is_not_read_again_for_long() {
        let reads = [(1, changed(NEW, BASE))];
        for (later, most) in [(true, TOLD - 1), (false, 24)] {
            let (mut stacks, mut told) = (made(), Told { later, ..Told::of(&reads, false) });
            let first = told.again(&mut stacks);
            let mut count = Counted { told, reads: 0 };
            let settled = settle(first, &mut stacks, &mut count).unwrap();
            assert_eq!((settled.stack, settled.told, count.reads), (BASE, Some(NEW), most));
        }
    }

    #[test]
    fn while_the_target_holds_still_what_is_whole_needs_no_proof() {
        let reads = [(1, Verdict::Whole(NEW))];
        let (mut stacks, mut told) = (made(), Told { still: true, ..Told::of(&reads, false) });
        let first = told.again(&mut stacks);
        let settled = settle(first, &mut stacks, &mut told).unwrap();
        assert_eq!((settled.stack, settled.quality), (NEW, Quality::Whole));
        assert!(stacks.was_whole(NEW));
    }

    #[test]
    fn while_the_target_holds_still_what_is_there_is_told_and_not_what_is_remembered() {
        let remembered = Verdict::Changed { seen: Some(KNOWN), sure: true, agreed: NONE };
        let reads = [(1, remembered), (1, Verdict::Whole(NEW))];
        for (still, expected) in [(false, (KNOWN, Quality::Probable)), (true, (NEW, Quality::Retried))] {
            let (mut stacks, mut told) = (made(), Told { still, ..Told::of(&reads, false) });
            let first = told.again(&mut stacks);
            let settled = settle(first, &mut stacks, &mut told).unwrap();
            assert_eq!((settled.stack, settled.quality, settled.told), (expected.0, expected.1, None));
        }
    }

    /// Counts how often it reads again.
    struct Counted<'a> {
        told: Told<'a>,
        reads: u32,
    }

    impl Ask for Counted<'_> {
        fn again(&mut self, stacks: &mut Stacks) -> Heard {
            self.reads += 1;
            self.told.again(stacks)
        }

        fn prove(&mut self, stack: StackNumber, stacks: &mut Stacks) {
            self.told.prove(stack, stacks);
        }

        fn learns_later(&self) -> bool {
            self.told.later
        }

        fn is_still(&self) -> bool {
            self.told.still
        }

        fn retries(&self) -> u32 {
            self.told.retries()
        }

        fn is_spent(&self) -> bool {
            false
        }
    }
}
