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
mod follow;
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
use super::link::Link;
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
    /// No more frames of Python's than that were there, by the same copy of its state.
    depth: Option<usize>,
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
            depth: None,
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
        let still = if means.still { Some(top) } else { last.or_else(|| self.still(top, plan, means)) };
        let mut sure = called::is(&mut self.frames, &self.asked.frames[0], plan, top, means.frames);
        let mut end = self.follow(plan, top, means);
        let mut held = self.holds(still == Some(top));
        if (!held || end.is_err())
            && !sure
            && self.chain.first().is_none_or(|link| means.codes.last_at(link.header.code).is_none())
            && let Some(called) = called::innermost(
                &mut self.frames,
                &self.asked.frames[0],
                plan,
                (top, means.frames.span),
                means,
            )
        {
            (top, sure) = (called, true);
            self.unmoved.forget();
            end = self.follow(plan, top, means);
            held = false;
        }
        // One that lies elsewhere than the state was read behind it, and may be of another moment.
        let is_of_then = means.still || means.frames.top.within(self.newest).is_none();
        let replaced =
            if held && is_of_then { None } else { self.replaced(top, end.is_err(), plan, means, stacks) };
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
        let verdict = replaced.map_or(verdict, Watch::changed);
        (Some(top), self.no_deeper(verdict, means.still, stacks))
    }

    /// Leaves out what was called only after the thread's state was read, or not at all: a frame is made before it is called, and let go
    /// after it has returned. What is left of a whole stack is whole if the target held `still`, for then it is of the same moment.
    fn no_deeper(&self, verdict: Verdict, still: bool, stacks: &Stacks) -> Verdict {
        let Some((depth, told)) = self.depth.zip(verdict.told()) else { return verdict };
        match (stacks.lowest(told, depth), verdict) {
            (Some(part), Verdict::Whole(_)) if still => Verdict::Whole(part),
            (Some(part), _) if part != told => Watch::changed(part),
            _ => verdict,
        }
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
        self.depth = means.frames.depth(copy);
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
}

/// What a chain is called.
struct Named {
    /// All of it, or what is inside of a frame that has no name.
    seen: StackNumber,
    /// What both copies agree on, from the base up.
    agreed: StackNumber,
    torn: Option<Torn>,
}
