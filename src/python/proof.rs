//! Proof that a call happens: its frames are read once more, for nothing but that, so that accidents are rare and do not repeat.

use crate::layout::Struct;
use crate::memory::{Addr, Word};

use super::extents::{Copy, Extents, Way};
use super::frame::{Frame, Frames, Header, Kind};
use super::link::{Link, Round};
use super::plan::{Plan, Slot};
use super::stacks::{StackNumber, Stacks};
use super::watch::{MAX_LINKS, Means};

/// How often the calls of a stack are looked for.
const TRIES: u32 = 3;
/// The most calls that are looked for at once.
const MAX_CALLS: usize = 128;
/// Frames that lie no further apart than this are read as one.
const NEAR: u64 = 4096;
/// How often those are read within one try.
const NEAR_COPIES: usize = 2;
/// The same where the frames lie in a stack of the interpreter's own, where two copies in a row have to agree: what is called there
/// is soon called again.
const STACK_COPIES: usize = 6;
/// The most calls that are read so at once, in such a stack.
const MAX_NEAR: usize = 16;
/// How many copies are read of others, some of the one frame and some of the other.
const FAR_COPIES: usize = 12;

/// A thread whose stack was read just now.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// Its frames, innermost first.
    pub chain: &'a [Link],
    /// The word that says which one is the innermost, or leads to the one that does.
    pub newest: Addr,
    /// That one.
    pub within: Option<Addr>,
}

impl Proof<'_> {
    /// Looks for the calls of its stack that nobody saw happen, and counts those that do.
    pub fn find(&self, stack: StackNumber, plan: &mut Plan, means: &mut Means<'_>, stacks: &mut Stacks) {
        let python = self.chain.iter().filter(|link| link.header.kind == Kind::Python);
        let python: Vec<Addr> = python.map(|link| link.at).collect();
        for _ in 0..TRIES {
            let open = stacks.open_calls(stack, MAX_CALLS);
            // Each is between a frame and the next one.
            if open.last().is_none_or(|last| last + 1 >= python.len()) {
                return;
            }
            let calls = open.iter().map(|place| [python[*place], python[place + 1]]);
            let happens = if means.frames.are_apart() {
                one_by_one(calls, plan, means, stacks)
            } else {
                let near = calls.filter(|[callee, caller]| caller < callee && callee.0 - caller.0 <= NEAR);
                one_by_one(near.take(MAX_NEAR), plan, means, stacks) | self.at_once(plan, means, stacks)
            };
            if !happens {
                return;
            }
        }
    }

    /// Reads all frames twice. One that waits for what it called looks like one that has returned, so those count that both copies
    /// tell of, from the base up, as the frame that the thread says is the innermost leads to them; that one itself only if it stays so.
    fn at_once(&self, plan: &mut Plan, means: &mut Means<'_>, stacks: &mut Stacks) -> bool {
        let span = means.frames.span;
        let mut copies = [Copy::default(), Copy::default()];
        plan.clear();
        // It may be elsewhere by now, and what is called there is called, too.
        let mut extents = Extents::new(means.frames.slack());
        for link in self.chain {
            extents.cover(link.at, span);
        }
        let Proof { newest, within, .. } = self;
        let ask_top =
            |plan: &mut Plan| (plan.add(*newest, Addr::SIZE), within.map(|at| plan.add(at, Addr::SIZE)));
        let before = ask_top(plan);
        let between = extents.plan_twice(plan, 0, Way::Outward, 0, &mut copies, ask_top);
        let after = ask_top(plan);
        plan.read(means.memory);
        let words = [before, between, after]
            .map(|(newest, within)| (plan.word::<Addr>(newest), plan.word::<Addr>(within.unwrap_or(newest))));
        let [(_, first), _, (_, last)] = words;
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let mut follow = |top: Addr, copy: &Copy| {
            let mut chain = Vec::new();
            let (mut next, mut round) = (top, Round::new(top));
            while !next.is_null() && chain.len() < MAX_LINKS {
                means.step(1)?;
                let place = extents.find(next, span)?;
                let header = means.frames.header(Struct::over(copy.get(plan, place)?));
                chain.push((next, header));
                next = header.back;
                if round.closes(next) {
                    break;
                }
            }
            next.is_null().then_some(chain)
        };
        let (Some(began), Some(ended)) = (follow(first, &copies[0]), follow(last, &copies[1])) else {
            return false;
        };
        let stays = words[0] == words[1] && words[0] == words[2];
        let mut caller: Option<Header> = None;
        let mut happens = false;
        for ((at, header), (again_at, again)) in began.iter().rev().zip(ended.iter().rev()) {
            let is_top = *at == first || *at == last;
            if at != again_at || !header.is_as(again) || is_top && !stays {
                break;
            }
            if header.kind == Kind::Python
                && let Some(caller) = caller.replace(*header)
            {
                saw(&caller, header, means, stacks);
                happens = true;
            }
            // What went on in its code is called by the one below, and nothing is known of what it calls.
            if header != again {
                break;
            }
        }
        happens
    }
}

/// Reads calls by their two frames alone: of those that lie anywhere, each says itself that it has returned, and of those side by
/// side, the inner one that it runs.
fn one_by_one(
    calls: impl Iterator<Item = [Addr; 2]>,
    plan: &mut Plan,
    means: &mut Means<'_>,
    stacks: &mut Stacks,
) -> bool {
    let mut happens = false;
    plan.clear();
    let calls: Vec<Asked> =
        calls.map(|[callee, caller]| Asked::new(callee, caller, means.frames, plan)).collect();
    plan.read(means.memory);
    for call in calls {
        if let Some([callee, caller]) = call.hear(plan, means.frames) {
            saw(&caller, &callee, means, stacks);
            happens = true;
        }
    }
    happens
}

/// What was planned of a call: where each copy of its callee and of its caller is.
struct Asked {
    caller: Addr,
    callees: Vec<(Slot, usize)>,
    callers: Vec<(Slot, usize)>,
}

impl Asked {
    /// Plans to read both frames. Those that lie near each other are read as one, faster than anything happens. Others are
    /// read in an order that is left to chance: to go on as that asks for, a program would have to know it.
    fn new(callee: Addr, caller: Addr, frames: &Frames, plan: &mut Plan) -> Asked {
        let span = frames.span;
        let mut asked = Asked { caller, callees: Vec::new(), callers: Vec::new() };
        let (low, high) = (callee.min(caller), callee.max(caller));
        if high.0 - low.0 <= NEAR {
            let len = (high.0 - low.0) as usize + span;
            for _ in 0..if frames.are_apart() { NEAR_COPIES } else { STACK_COPIES } {
                let slot = plan.add(low, len);
                asked.callees.push((slot, (callee.0 - low.0) as usize));
                asked.callers.push((slot, (caller.0 - low.0) as usize));
            }
            return asked;
        }
        for number in 0..FAR_COPIES {
            let is_callee = number == 0 || number == FAR_COPIES - 1 || fastrand::bool();
            let slot = plan.add(if is_callee { callee } else { caller }, span);
            let copies = if is_callee { &mut asked.callees } else { &mut asked.callers };
            copies.push((slot, 0));
        }
        asked
    }

    /// What both frames said, if copies agree that one calls the other: all of them, or two in a row where each holds both.
    fn hear(&self, plan: &Plan, frames: &Frames) -> Option<[Header; 2]> {
        let said = |(slot, from): &(Slot, usize)| {
            let copy = Struct::over(plan.get(*slot)?.get(*from..from + frames.span)?);
            Some((frames.header(copy), frames.is_called(copy)))
        };
        let calls = |callee: &Header, caller: &Header| {
            callee.back == self.caller && callee.kind == Kind::Python && caller.kind == Kind::Python
        };
        if frames.are_apart() {
            let [(callee, _), (caller, _)] = [said(self.callees.first()?)?, said(self.callers.first()?)?];
            let stays =
                self.callees.iter().all(|copy| said(copy).is_some_and(|(copy, _)| copy.is_as(&callee)))
                    && self.callers.iter().all(|copy| said(copy).is_some_and(|(copy, _)| copy == caller));
            return (stays && calls(&callee, &caller)).then_some([callee, caller]);
        }
        let mut before: Option<[Header; 2]> = None;
        for (callee, caller) in self.callees.iter().zip(&self.callers) {
            let [(callee, called), (caller, _)] = [said(callee)?, said(caller)?];
            let now = (called && calls(&callee, &caller)).then_some([callee, caller]);
            if let (Some([callee, caller]), Some([other, same])) = (now, before)
                && callee.is_as(&other)
                && caller == same
            {
                return now;
            }
            before = now;
        }
        None
    }
}

/// Counts a call between two frames, if both have names.
fn saw(caller: &Header, callee: &Header, means: &mut Means<'_>, stacks: &mut Stacks) {
    let ids = means.codes.last_at(caller.code).zip(means.codes.last_at(callee.code));
    if let (Some((code, callee)), Ok(offset)) = (ids, means.frames.offset(means.memory, caller)) {
        stacks.saw_call((Frame { code, offset }, callee));
    }
}
