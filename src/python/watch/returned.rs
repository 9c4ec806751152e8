//! What is told of a thread whose innermost frame returned before it was read.

use std::cmp::Reverse;

use crate::layout::Struct;
use crate::layout::field::Room;
use crate::memory::Addr;
use crate::python::code::Epoch;
use crate::python::extents::Place;
use crate::python::frame::{Frame, Header, Kind};
use crate::python::link::Link;
use crate::python::means::Means;
use crate::python::plan::Plan;
use crate::python::precedent::MAX_REMEMBERED;
use crate::python::stacks::{Call, StackNumber, Stacks};

use super::{Verdict, Watch};

/// The most frames of the interpreter's own between two of Python's.
const MAX_OWN: usize = 4;
/// A frame of more bytes than this takes longer to be made than to be read.
const LARGE: u64 = 4096;
/// So many frames are asked whether they resumed a generator that waits again.
const MAX_CALLERS: usize = 8;

impl Watch {
    /// A stack that did not hold still.
    pub(super) fn changed(seen: StackNumber) -> Verdict {
        Verdict::Changed { seen: Some(seen), sure: true, agreed: StackNumber::default() }
    }

    /// What is told of a chain that was followed to its end: what it says, if that is believed or is `sure` to have been there; else what
    /// its innermost frame had for a stack. `still` is the innermost frame that the second copy begins with.
    pub(super) fn weigh(
        &mut self,
        verdict: Verdict,
        (top, still): (Addr, Option<Addr>),
        sure: bool,
        read: (&Plan, Option<[Epoch; 2]>),
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) -> Verdict {
        let Some(told) = verdict.told() else {
            if !matches!(verdict, Verdict::Changed { .. }) {
                return verdict;
            }
            let found = self.resumed((top, still), read, means, stacks);
            return found.or_else(|| self.precedent(top, read.0, means)).map_or(verdict, Watch::changed);
        };
        // Only of one that is not known to be possible it matters.
        if !matches!(verdict, Verdict::Whole(_))
            && stacks.proven_part(told) != told
            && let Some((_, frame)) = stacks.split(told)
            && let Some(mentions) = means.mentions.as_mut()
        {
            mentions.tell(told, means.memory, means.codes, stacks);
            if mentions.returns(means.memory, means.codes, frame) {
                stacks.add_return(frame);
            }
        }
        match stacks.believed(told) {
            Some(stack) => {
                self.remember(stack, means, stacks);
                verdict
            }
            None if sure => verdict,
            None => self.precedent(top, read.0, means).map_or(verdict, Watch::changed),
        }
    }

    /// The stack that the function of the frame at `top` had last, if its callers still stand as they stood, and so does it if it has
    /// not returned.
    pub(super) fn precedent(&mut self, top: Addr, plan: &Plan, means: &Means<'_>) -> Option<StackNumber> {
        let (header, is_called) = self.said(top, plan, means)?;
        let code = means.frames.left(means.memory, header, means.codes).code;
        if is_called && !header.back.is_null() {
            let mut caller = header.back;
            for _ in 0..MAX_OWN {
                match self.said(caller, plan, means)?.0 {
                    Header { kind: Kind::Own, back, .. } => caller = back,
                    _ => break,
                }
            }
            if self.precedents.callers(code).first().map(|(at, ..)| *at) != Some(caller) {
                return None;
            }
        }
        let read = (&mut self.frames, &self.asked.frames[0], plan);
        let stack = self.precedents.find(code, read, means.frames)?;
        if means.codes.rests(code) {
            let callers = self.precedents.callers(code).iter().map(|(at, code, _)| (*at, *code));
            let mark = side_by_side(callers, means).map(|end| (self.newest, end));
            self.precedents.mark(code, mark);
        }
        Some(stack)
    }

    /// The last stack of the function that was the innermost, where something else has come to lie where its frame was: the thread's state
    /// says where the frames ended then. Of several that fit, it is the one that their caller called last before; or the one that is there,
    /// where nothing of its callers is left in it: the chain is `broken`.
    pub(super) fn replaced(
        &mut self,
        top: Addr,
        broken: bool,
        plan: &Plan,
        means: &Means<'_>,
        stacks: &Stacks,
    ) -> Option<StackNumber> {
        let now = self.chain.first().filter(|link| link.at == top).map(|link| link.header.code);
        if !broken
            && let Some(end) = now.and_then(|_| side_by_side(places(&self.chain), means))
            && (end == self.stack_end
                || end.0.abs_diff(self.stack_end.0) > LARGE
                || self.calls_just_now(end, plan, means))
        {
            return None;
        }
        let mut best = None;
        for code in self.precedents.marked((self.newest, self.stack_end)) {
            let read = (&mut self.frames, &self.asked.frames[0], plan);
            let Some(stack) = self.precedents.find(*code, read, means.frames) else { continue };
            // Who called another one since is on the stack still.
            let depth = self.chain.iter().position(|link| link.header.code == *code);
            let rank = (now == Some(*code), depth.map(Reverse), self.called_last(stack, means, stacks));
            best = best.max(Some((rank, stack.0)));
        }
        best.map(|(_, stack)| StackNumber(stack))
    }

    /// Where the innermost function of a stack was called last, and whether that is before where its caller is by now.
    fn called_last(&self, stack: StackNumber, means: &Means<'_>, stacks: &Stacks) -> Option<(bool, i32)> {
        let (callers, frame) = stacks.split(stack)?;
        let caller = stacks.split(callers)?.1;
        let is_it = |link: &&Link| means.codes.last_at(link.header.code) == Some(caller.code);
        let link = self.chain.iter().find(is_it)?;
        let offset = means.frames.offset(means.memory, &link.header).ok()?;
        let site = stacks.site(Frame { offset, ..caller }, frame.code)?;
        Some((site <= offset, site))
    }

    /// Remembers a stack that is believed, and with it what the thread's state says while each of its innermost functions runs.
    pub(super) fn remember(&mut self, stack: StackNumber, means: &Means<'_>, stacks: &Stacks) {
        let is_within = means.frames.top.within(self.newest).is_some();
        let mut newest = Some(self.newest);
        let mut part = stack;
        let mut parts = [(stack, Addr::NULL, None); MAX_REMEMBERED];
        let (mut kept, mut shared) = (0, None);
        for (place, link) in self.chain.iter().enumerate().take(MAX_REMEMBERED) {
            if link.header.kind != Kind::Python {
                newest = None;
                continue;
            }
            let word = if is_within { newest } else { Some(link.at) };
            let it = (part, link.at, word);
            // What is around it was kept with it.
            let is_kept = match kept {
                0 => self.precedents.has_last(&it),
                _ => self.precedents.has_part(&it),
            };
            if is_kept {
                shared = Some(it);
                break;
            }
            let chain = &self.chain[place..];
            let mark = word.zip(side_by_side(places(chain), means));
            match kept {
                0 => self.precedents.keep(chain, mark, part),
                _ => self.precedents.keep_part(chain, mark, part),
            }
            parts[kept] = it;
            kept += 1;
            let Some((callers, _)) = stacks.split(part) else { break };
            part = callers;
            newest = newest.filter(|_| !link.header.from_c);
        }
        if kept > 0 {
            self.precedents.close(&parts[..kept], shared.as_ref());
        }
    }

    /// Whether the frames end where they do because the innermost one, which ends at `end`, calls another one just now: that is there
    /// before it is the innermost, and the end is read right behind the word that says which one is.
    fn calls_just_now(&mut self, end: Addr, plan: &Plan, means: &Means<'_>) -> bool {
        let next = self.frames.find(end, means.frames.span);
        let next = next.and_then(|place| self.asked.frames[0].get(plan, place));
        let next = next.map(|copy| means.frames.header(Struct::over(copy)).code);
        let size = next.and_then(|code| means.frame_size(code));
        means.frames.top.within(self.newest).is_none()
            && size.is_some_and(|size| end.plus(size) == self.stack_end)
    }

    /// The stack of the frame of a generator that waits or has ended by now, or lies where nobody looked: who resumed it is the innermost
    /// of those that are called after it that can have. `still` is the innermost frame then.
    pub(super) fn resumed(
        &mut self,
        (top, still): (Addr, Option<Addr>),
        (plan, epochs): (&Plan, Option<[Epoch; 2]>),
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) -> Option<StackNumber> {
        let header = self.said(top, plan, means)?.0;
        let frame = means.place(&header).filter(|_| means.codes.rests(header.code))?;
        let mut reaches = |next: &Addr| {
            self.unmoved.forget();
            *next != top && self.follow(plan, *next, means) == Ok(None)
        };
        header.back.non_null().into_iter().chain(still).find(|next| reaches(next))?;
        let base = self.chain.last().map(|link| (link.header.kind, link.header.code))?;
        let is_base = self.ends.knows(base) && !means.codes.rests(base.1);
        let named = self.name(plan, true, epochs, means, stacks).filter(|named| named.torn.is_none());
        let mut below = named?.seen;
        for _ in 0..if is_base { MAX_CALLERS } else { 0 } {
            let (callers, caller) = stacks.split(below)?;
            let mut ask = |call: Call, stacks: &mut Stacks| {
                if let Some(mentions) = means.mentions.as_mut().filter(|_| !stacks.is_asked(call)) {
                    mentions.tell_call(call, means.memory, means.codes, stacks);
                }
            };
            ask((caller, frame.code), stacks);
            if let Some(offset) = stacks.site(caller, frame.code) {
                let caller = Frame { offset, ..caller };
                ask((caller, frame.code), stacks);
                let below = stacks.on(callers, caller);
                let stack = stacks.on(below, frame);
                let mark = side_by_side(places(&self.chain), means).map(|end| (self.newest, end));
                let nowhere = Place { stretch: usize::MAX, from: 0, to: 0 };
                let link = Link::new(top, header, nowhere, false);
                let mut chain = std::mem::take(&mut self.fresh);
                chain.clear();
                chain.push(link);
                chain.extend_from_slice(&self.chain);
                self.precedents.keep(&chain, mark, stack);
                self.fresh = chain;
                return Some(stack);
            }
            below = callers;
        }
        None
    }

    /// What the frame at `at` says, as the first copy has it, or as it is now where there is none; and whether it is called.
    fn said(&mut self, at: Addr, plan: &Plan, means: &Means<'_>) -> Option<(Header, bool)> {
        let (frames, span, mut room) = (&*means.frames, means.frames.span, Room::default());
        let copy = match self.frames.find(at, span).and_then(|place| self.asked.frames[0].get(plan, place)) {
            Some(bytes) => Struct::over(bytes),
            None => Struct::read(means.memory, at, span, &mut room).ok()?,
        };
        Some((frames.header(copy), frames.is_called(copy)))
    }
}

/// Python's frames of a chain, innermost first: where each is, and its code object.
fn places(chain: &[Link]) -> impl Iterator<Item = (Addr, Addr)> {
    let python = chain.iter().filter(|link| link.header.kind == Kind::Python);
    python.map(|link| (link.at, link.header.code))
}

/// Where the frames end that lie side by side while the innermost one of these runs: those of generators lie elsewhere.
fn side_by_side(mut frames: impl Iterator<Item = (Addr, Addr)>, means: &Means<'_>) -> Option<Addr> {
    let (at, code) = frames.find(|(_, code)| !means.codes.rests(*code))?;
    Some(at.plus(means.frame_size(code)?))
}
