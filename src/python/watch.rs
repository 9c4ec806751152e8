//! One thread under observation: what to read of it, and what is true of what was read.
//!
//! Design constraint: nobody stops the target. So everything that can change is read twice within one call, the second time
//! in the opposite order, and what both copies agree on was there at one moment between them. Where the frames lie is
//! predicted from the last look; what was not predicted is learned, and read again from the start.
//!
//! A sample stands for the moment at which the word was read that says which frame is the innermost. That comes first: the target
//! has to wait for what we read before it can write there again, so a word that is read after frames finds it where it calls and
//! returns. A frame that returned before it was read still says which function it was of.

mod ask;
mod returned;

use std::time::Instant;

use crate::layout::Struct;
use crate::layout::field::Room;
use crate::memory::{Addr, Memory};
use crate::model::Torn;

use self::ask::Asked;
pub use self::ask::When;
use super::called;
use super::code::{Codes, Epoch};
use super::ends::Ends;
use super::extents::Extents;
use super::frame::{Frame, Frames, Header, Kind, MAX_FRAMES};
use super::hear;
use super::link::{self, Link, Round};
use super::means::Means;
use super::plan::{Plan, Slot};
use super::precedent::Precedents;
use super::proof::Proof;
use super::settle::Heard;
use super::stacks::{StackNumber, Stacks};
use super::thread::State;
use super::unmoved::Unmoved;

/// The most frames of the interpreter's own in a chain: at most one before each of Python's, and one at the base.
pub(super) const MAX_LINKS: usize = 2 * MAX_FRAMES + 1;
/// So many of the newest `_PyCFrame`s are read along.
const MAX_CFRAMES: usize = 3;
/// How many steps it takes to read a frame alone.
const SEEK: u32 = 32;
/// For so many looks after a code object had to be heard, all of the stack's are read along with it.
const HEARING: u32 = 64;

/// A thread, and where its stack has been lately.
#[derive(Debug)]
pub struct Watch {
    /// Its state, as it was when it was last read.
    pub state: State,
    /// It was found to be gone.
    pub gone: bool,
    /// Whether it was handling an exception, where its state alone says so.
    pub in_exception: Option<bool>,
    interpreter: Addr,
    /// The newest `_PyCFrame`s that were met lately, the most usual one first, where there are any: each call from C makes one, and each
    /// for itself leads to the innermost frame while it is the newest.
    cframes: Vec<Addr>,
    /// Counts the looks.
    turn: u32,
    /// What the word of its state said that leads to the innermost frame.
    newest: Addr,
    frames: Extents,
    /// Where those end that lie side by side.
    stack_end: Addr,
    /// The innermost one said itself that it was it, when it was read last.
    is_told: bool,
    witnesses: Extents,
    /// For how many looks the witnesses are still read along.
    hearing: u32,
    ends: Ends,
    precedents: Precedents,
    asked: Asked,
    /// The chain as it was read last, innermost first.
    chain: Vec<Link>,
    /// How many links of it, from the base on, stand as they stood at the look before.
    stands: usize,
    unmoved: Unmoved,
    /// Room for the links that do not.
    fresh: Vec<Link>,
    /// The chain that the second copy tells, where it tells another one.
    again: Vec<(Addr, Header)>,
    /// The last stack that was named, from the base up, and the moment at which its functions were known.
    last: Vec<(Header, StackNumber)>,
    last_epoch: Option<Epoch>,
}

/// What one read brought of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was there, from the innermost frame to the base.
    Whole(StackNumber),
    /// It changed while it was read.
    Changed {
        /// What the copy says that was followed, if it leads to a base.
        seen: Option<StackNumber>,
        /// The innermost frame of it says itself that it was called then.
        sure: bool,
        /// The part from the base up that both copies agree on.
        agreed: StackNumber,
    },
    /// It held still, but ends where no stack of this thread was known to end.
    Ends(StackNumber),
    /// It does not lead to a base; these are the frames up to there.
    Broken(StackNumber, Torn),
    /// Not all of it was where it was expected. Now it will be.
    Missed,
    /// There is no such thread any more.
    Gone,
}

impl Verdict {
    /// The stack that a copy told of, to a base, whatever became of it.
    pub fn told(self) -> Option<StackNumber> {
        match self {
            Verdict::Whole(stack) => Some(stack),
            Verdict::Changed { seen, .. } => seen,
            _ => None,
        }
    }
}

impl Watch {
    /// Nothing is known of it yet.
    pub fn new(state: State, interpreter: Addr, frames: &Frames) -> Watch {
        Watch {
            state,
            gone: false,
            in_exception: None,
            interpreter,
            cframes: Vec::new(),
            turn: 0,
            newest: Addr::NULL,
            frames: Extents::new(frames.slack()),
            stack_end: Addr::NULL,
            is_told: false,
            witnesses: Extents::new(0),
            hearing: 0,
            ends: Ends::default(),
            precedents: Precedents::default(),
            asked: Asked::default(),
            chain: Vec::new(),
            stands: 0,
            unmoved: Unmoved::default(),
            fresh: Vec::new(),
            again: Vec::new(),
            last: Vec::new(),
            last_epoch: None,
        }
    }

    /// Whether it watches the thread with this state of the interpreter at `interpreter`.
    pub fn is(&self, state: &State, interpreter: Addr) -> bool {
        !self.gone && self.interpreter == interpreter && self.state.is(state)
    }

    /// Forgets stacks and functions, whose numbers hold no longer.
    pub fn forget(&mut self) {
        self.last.clear();
        self.last_epoch = None;
        self.precedents.clear();
    }

    /// The Python frames that were read last, innermost first, and their code objects. What each is follows where it still
    /// is what was read.
    pub fn places<'a>(
        &'a self,
        memory: &'a dyn Memory,
        frames: &'a Frames,
        codes: &'a Codes,
    ) -> impl Iterator<Item = (Option<Frame>, Addr, Addr)> + 'a {
        let python = self.chain.iter().filter(|link| link.header.kind == Kind::Python);
        python.map(move |Link { at, header, .. }| {
            let mut room = Room::default();
            let still = Struct::read(memory, *at, frames.span, &mut room).map(|copy| frames.header(copy));
            let known = codes.last_at(header.code).filter(|_| still == Ok(*header));
            let frame = known.zip(frames.offset(memory, header).ok());
            let frame = frame.map(|(code, offset)| Frame { code, offset });
            (frame, *at, header.code)
        })
    }

    /// How many Python frames of the chain that was read last stand from the one at `at` down to the base, it among them.
    pub fn depth(&self, at: Addr) -> Option<usize> {
        self.chain.iter().find(|link| link.at == at).map(|link| link.height)
    }

    /// Looks for the calls of the stack that was read last of which it is not known that they happen, `until` then, but once at least.
    pub fn prove(
        &self,
        stack: StackNumber,
        until: Instant,
        plan: &mut Plan,
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) {
        let top = means.frames.top;
        let newest = top.newest().of(self.state.at);
        let within = top.within(self.newest).map(|at| (at, self.newest));
        let strays = self.precedents.strays();
        Proof { chain: &self.chain, strays, newest, within, until }.find(stack, plan, means, stacks);
    }

    /// Says what is true of what was read, and learns from it. `epochs` are the interpreter's count of code objects before
    /// and after, where it has one. Also tells which frame was the innermost.
    pub fn hear(
        &mut self,
        plan: &Plan,
        epochs: Option<[Epoch; 2]>,
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) -> Heard {
        means.codes.turn();
        self.hearing = self.hearing.saturating_sub(1);
        let (mut top, last) = match self.top(plan, means) {
            Ok(top) => top,
            Err(verdict) => return (None, verdict),
        };
        let copy = &self.asked.frames[1];
        self.is_told =
            !means.frames.are_apart() && called::is(&mut self.frames, copy, plan, top, means.frames);
        let still = last.or_else(|| self.still(top, plan, means));
        let mut sure = called::is(&mut self.frames, &self.asked.frames[0], plan, top, means.frames);
        let mut end = self.follow(plan, top, means);
        let mut held = self.holds(still == Some(top));
        if (!held || end.is_err())
            && !sure
            && self.chain.first().is_none_or(|link| means.codes.last_at(link.header.code).is_none())
            && let Some(called) = called::innermost(&mut self.frames, &self.asked.frames[0], plan, top, means)
        {
            (top, sure) = (called, true);
            self.unmoved.forget();
            end = self.follow(plan, top, means);
            held = false;
        }
        let replaced = if held { None } else { self.replaced(top, end.is_err(), plan, means, stacks) };
        let verdict = match end {
            Ok(torn) => {
                if !held {
                    self.agree(plan, still, means.frames);
                }
                match torn {
                    // Frames that lie apart are compared one by one in any case.
                    None if !means.frames.are_apart() => {
                        self.unmoved.keep(plan, &self.frames, &self.asked.frames[0]);
                    }
                    _ => self.unmoved.forget(),
                }
                let verdict = self.judge(plan, (held, sure, torn), epochs, means, stacks);
                self.weigh(verdict, (top, still), held || sure, (plan, epochs), means, stacks)
            }
            Err(missed) => {
                self.unmoved.forget();
                let told = self.precedent(top, plan, means);
                let told = told.or_else(|| self.resumed((top, still), (plan, epochs), means, stacks));
                self.seek(missed, plan, means);
                if missed == top {
                    self.precedents.stray(top);
                }
                told.map_or(Verdict::Missed, Watch::changed)
            }
        };
        (Some(top), replaced.map_or(verdict, Watch::changed))
    }

    /// Whether both copies agree on all of the chain that was followed, if they agree on where it begins.
    fn holds(&self, begins: bool) -> bool {
        let moved = self.chain.len() - self.stands;
        begins && self.chain.iter().take(moved).all(|link| link.agreed)
    }

    /// The innermost frame, and the one that was it when the second copy had been read, where that was asked for.
    fn top(&mut self, plan: &Plan, means: &Means<'_>) -> Result<(Addr, Option<Addr>), Verdict> {
        let copy = plan.get(self.asked.state).map(Struct::over).ok_or(Verdict::Gone)?;
        let state = means.threads.state(self.state.at, self.interpreter, copy).ok_or(Verdict::Gone)?;
        if !state.is(&self.state) {
            return Err(Verdict::Gone);
        }
        self.state = state;
        self.in_exception = means.exceptions.told(state.at, copy);
        self.stack_end = copy.maybe(means.frames.stack_end).unwrap_or_default();
        let first = copy.get(means.frames.top.newest());
        self.newest = first;
        let last = self.asked.last.and_then(|last| plan.word(last));
        if means.frames.top.within(first).is_none() {
            return Ok((first, last));
        }
        let Some(place) = self.cframes.iter().position(|cframe| *cframe == first) else {
            self.cframes.truncate(MAX_CFRAMES - 1);
            self.cframes.push(first);
            return Err(Verdict::Missed);
        };
        let word = |slots: &[Slot]| slots.get(place).and_then(|within| plan.word(*within));
        let (within, again) = (word(&self.asked.within), word(&self.asked.within_last));
        // What is it often comes first.
        self.cframes.swap(place, place.saturating_sub(1));
        let within = within.ok_or(Verdict::Broken(StackNumber::default(), Torn::Unreadable))?;
        Ok((within, again.filter(|_| last == Some(first))))
    }

    /// Which frame was the innermost when the second copy was read, by what frames say of themselves: the one at `top`, or one of those
    /// that lie side by side.
    fn still(&mut self, top: Addr, plan: &Plan, means: &Means<'_>) -> Option<Addr> {
        let copy = &self.asked.frames[1];
        if self.is_told {
            return Some(top);
        }
        called::innermost(&mut self.frames, copy, plan, self.stack_end.non_null()?.minus(1), means)
    }

    /// Follows the chain from `top` through the first copy, and marks where the second one agrees. Tells why it does not
    /// reach a base, if it does not; fails with the address of a frame that was not read.
    fn follow(&mut self, plan: &Plan, top: Addr, means: &mut Means<'_>) -> Result<Option<Torn>, Addr> {
        let stands = self.unmoved.links(plan, &self.frames, &self.asked.frames, &self.chain);
        let moved = self.chain.len() - stands;
        self.fresh.clear();
        let end = self.follow_to(plan, top, moved, means);
        let joins = if let Ok(End::Joins(place)) = end { place } else { self.chain.len() };
        self.stands = self.chain.len() - joins;
        self.frames.meet(link::runs(&self.chain[joins..]).map(|run| run.place));
        let fresh = self.fresh.len();
        // Most often as many links are new as were there.
        if fresh == joins {
            self.chain[..joins].copy_from_slice(&self.fresh);
        } else {
            self.chain.splice(..joins, self.fresh.drain(..));
        }
        link::sum_up(&mut self.chain, fresh);
        end.map(|end| if let End::Torn(torn) = end { Some(torn) } else { None })
    }

    /// The same, as far as to what stands as it stood: all but the innermost `moved` links.
    fn follow_to(
        &mut self,
        plan: &Plan,
        top: Addr,
        moved: usize,
        means: &mut Means<'_>,
    ) -> Result<End, Addr> {
        let Watch { frames: extents, chain, fresh, asked, .. } = self;
        let (changed, chain) = chain.split_at(moved);
        let (mut next, mut python, mut round) = (top, 0, Round::new(top));
        // All inside of here has returned since.
        let mut left = true;
        while !next.is_null() {
            // A call or a return leads to the innermost link of it; a stack that only became shorter, to any, unless it begins with one
            // that changed.
            let shorter = fresh.is_empty() && changed.first().is_none_or(|link| link.at != next);
            let candidates = if shorter { chain.len() } else { chain.len().min(1) };
            let joins = chain.iter().take(candidates).position(|link| link.at == next);
            if let Some(place) = joins.filter(|_| chain.len() + fresh.len() <= MAX_FRAMES) {
                return Ok(End::Joins(moved + place));
            }
            if python >= MAX_FRAMES || fresh.len() >= MAX_LINKS || means.step(1).is_none() {
                return Ok(End::Torn(Torn::TooDeep));
            }
            let place = extents.find(next, means.frames.span).ok_or(next)?;
            let [one, two] = &asked.frames;
            let first = one.get(plan, place).ok_or(next)?;
            let second = Some(two.get(plan, place)).filter(|copy| copy.is_some() || two.leaves_out(place));
            let second = second.ok_or(next)?;
            let mut header = means.frames.header(Struct::over(first));
            let mut agreed = second == Some(first)
                || second.is_some_and(|second| {
                    let again = means.frames.header(Struct::over(second));
                    if fresh.is_empty() { header.is_as(&again) } else { header == again }
                });
            if left {
                left = header.kind == Kind::Dead;
                agreed &= !left;
                header = means.left(header);
            }
            if header.kind == Kind::Dead {
                return Ok(End::Torn(Torn::Garbage));
            }
            python += usize::from(header.kind == Kind::Python);
            fresh.push(Link::new(next, header, place, agreed));
            next = header.back;
            if round.closes(next) {
                return Ok(End::Torn(Torn::Cycle));
            }
        }
        Ok(End::Base)
    }

    /// Marks the part from the base up that is the same in the chain that was followed and in the one that leads from
    /// `top` through the second copy: all others may not have been called yet, or been let go already.
    fn agree(&mut self, plan: &Plan, top: Option<Addr>, frames: &Frames) {
        let mut again = std::mem::take(&mut self.again);
        again.clear();
        let mut next = top.unwrap_or_default();
        let mut round = Round::new(next);
        while !next.is_null() && again.len() < MAX_LINKS {
            let Some(place) = self.frames.find(next, frames.span) else { break };
            let copy = &self.asked.frames[1];
            let header = if copy.leaves_out(place) {
                self.chain.iter().rev().find(|link| link.at == next).map(|link| link.header)
            } else {
                copy.get(plan, place).map(|copy| frames.header(Struct::over(copy)))
            };
            let Some(header) = header else { break };
            again.push((next, header));
            next = header.back;
            // What is torn may lead back to itself, and often does.
            if round.closes(next) {
                break;
            }
        }
        let mut agreed = next.is_null();
        let mut others = again.iter().rev();
        for link in self.chain.iter_mut().rev() {
            agreed &= others.next() == Some(&(link.at, link.header));
            link.agreed = agreed;
        }
        link::sum_up(&mut self.chain, usize::MAX);
        self.again = again;
    }

    /// What the chain that was followed is worth.
    fn judge(
        &mut self,
        plan: &Plan,
        (held, sure, torn): (bool, bool, Option<Torn>),
        epochs: Option<[Epoch; 2]>,
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) -> Verdict {
        let Named { seen, agreed, torn: unnamed } =
            match self.name(plan, torn.is_none(), epochs, means, stacks) {
                Some(named) => named,
                None => {
                    self.hearing = HEARING;
                    return Verdict::Missed;
                }
            };
        match torn.or(unnamed) {
            // A frame that was let go is in no stack that holds still.
            Some(torn) if held && torn != Torn::Garbage => return Verdict::Broken(seen, torn),
            Some(_) => return Verdict::Changed { seen: None, sure, agreed },
            None => {}
        }
        let mut outer = self.chain.iter().rev();
        let Some(base) = outer.next().map(|link| link.header.kind) else {
            return if held { Verdict::Whole(seen) } else { Verdict::Changed { seen: None, sure, agreed } };
        };
        let python = self.chain.iter().rev().find(|link| link.header.kind == Kind::Python);
        let end = (base, python.map_or(Addr::NULL, |link| link.header.code));
        if means.codes.rests(end.1) {
            return if held {
                Verdict::Ends(seen)
            } else {
                Verdict::Changed { seen: None, sure, agreed: StackNumber::default() }
            };
        }
        // Of one that moved, the base may have held still all the same.
        let still = held || self.chain.last().is_some_and(|link| link.agreed);
        let known = if still { self.ends.count(end) } else { self.ends.knows(end) };
        match (held, known) {
            (true, true) => Verdict::Whole(seen),
            (true, false) => Verdict::Ends(seen),
            (false, true) => Verdict::Changed { seen: Some(seen), sure, agreed },
            (false, false) => Verdict::Changed { seen: None, sure, agreed: StackNumber::default() },
        }
    }

    /// Names the functions of the chain, from the base up; `None` where one has to be heard first.
    fn name(
        &mut self,
        plan: &Plan,
        to_base: bool,
        epochs: Option<[Epoch; 2]>,
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) -> Option<Named> {
        let after = epochs.map(|[_, after]| after);
        let steady = epochs.filter(|[before, after]| before == after).map(|[_, after]| after);
        let Watch { chain, stands, witnesses, asked, last, last_epoch, .. } = self;
        let mut same = after.is_some() && *last_epoch == after && to_base;
        let (mut seen, mut agreed, mut agreeing, mut torn) =
            (StackNumber::default(), StackNumber::default(), to_base, None);
        if !same {
            last.clear();
        }
        // What stands as it stood is called what it was called.
        let mut old = chain.get(chain.len() - *stands).map_or(0, |link| link.height);
        let named = old.checked_sub(1).and_then(|place| last.get(place));
        let skipped = match named {
            Some((_, number)) => {
                (seen, agreed) = (*number, *number);
                *stands
            }
            None => {
                old = 0;
                0
            }
        };
        let mut unheard = false;
        let moved = chain.iter().rev().skip(skipped);
        for link in moved.filter(|link| link.header.kind == Kind::Python || !link.agreed) {
            agreeing &= link.agreed;
            if link.header.kind != Kind::Python {
                continue;
            }
            let known = same.then(|| last.get(old)).flatten().filter(|(header, _)| *header == link.header);
            if let Some((_, number)) = known {
                seen = *number;
                old += 1;
            } else {
                if same {
                    last.truncate(old);
                    same = false;
                }
                let copy = asked.heard.then_some(&asked.witnesses);
                match hear::frame(&link.header, (plan, &mut *witnesses, copy), after, steady, means) {
                    Ok(Some(frame)) => seen = stacks.on(seen, frame),
                    Ok(None) => unheard = true,
                    Err(why) => {
                        torn = Some(why);
                        seen = StackNumber::default();
                        agreeing = false;
                    }
                }
                last.push((link.header, seen));
            }
            if agreeing {
                agreed = seen;
            }
        }
        if unheard || torn.is_some() || !to_base {
            last.clear();
        } else {
            last.truncate(if same { old } else { last.len() });
        }
        *last_epoch = steady;
        (!unheard).then_some(Named { seen, agreed, torn })
    }

    /// Takes frames that were not read into those that are, from `at` on until the chain leads to one that was, or ends.
    fn seek(&mut self, at: Addr, plan: &Plan, means: &mut Means<'_>) {
        for copy in &self.asked.frames {
            self.frames.lose(plan, copy);
        }
        let (mut next, mut number) = (at, 0);
        let span = means.frames.span;
        while !next.is_null() && number < MAX_LINKS && self.frames.find(next, span).is_none() {
            if means.step(SEEK).is_none() {
                return;
            }
            let mut room = Room::default();
            let Ok(copy) = Struct::read(means.memory, next, span, &mut room) else { return };
            let header = means.frames.header(copy);
            // What is left of a frame on a stack leads anywhere.
            let is_frame = match header.kind {
                Kind::Dead => means.left(header).kind == Kind::Python,
                Kind::Own => true,
                Kind::Python => {
                    means.codes.last_at(header.code).is_some() || means.learn(header.code).is_ok()
                }
            };
            if !is_frame {
                return;
            }
            means.frames.learn(means.memory, next);
            self.frames.cover(next, span);
            next = header.back;
            number += 1;
        }
    }
}

/// Where following a chain ended.
#[derive(Debug, Clone, Copy)]
enum End {
    /// At its base.
    Base,
    /// At this link of what stands as it stood.
    Joins(usize),
    /// Before, for this reason.
    Torn(Torn),
}

/// What a chain is called.
struct Named {
    /// All of it, or what is inside of a frame that has no name.
    seen: StackNumber,
    /// What both copies agree on, from the base up.
    agreed: StackNumber,
    torn: Option<Torn>,
}
