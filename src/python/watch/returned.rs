//! What is told of a thread whose innermost frame returned before it was read.

use crate::layout::Struct;
use crate::layout::field::Room;
use crate::memory::Addr;
use crate::python::extents::Extents;
use crate::python::code::Epoch;
use crate::python::frame::{Header, Kind};
use crate::python::means::Means;
use crate::python::plan::Plan;
use crate::python::stacks::{StackNumber, Stacks};

use super::{Verdict, Watch};

/// The most frames of the interpreter's own between two of Python's.
const MAX_OWN: usize = 4;
/// So many frames are asked whether they resumed a generator that waits again.
const MAX_CALLERS: usize = 8;

impl Watch {
    /// A stack that did not hold still.
    pub(super) fn changed(seen: StackNumber) -> Verdict {
        Verdict::Changed { seen: Some(seen), sure: true, agreed: StackNumber::default() }
    }

    /// The stack that the function of the frame at `top` had last, if its callers still stand as they stood, and so does it if it has
    /// not returned.
    pub(super) fn precedent(&mut self, top: Addr, plan: &Plan, means: &Means<'_>) -> Option<StackNumber> {
        let (frames, copy, span) = (&*means.frames, &self.asked.frames[0], means.frames.span);
        let read = |extents: &mut Extents, at: Addr| {
            let mut room = Room::default();
            let copy = match extents.find(at, span).and_then(|place| copy.get(plan, place)) {
                Some(bytes) => Struct::over(bytes),
                None => Struct::read(means.memory, at, span, &mut room).ok()?,
            };
            Some((frames.header(copy), frames.is_called(copy)))
        };
        let (header, is_called) = read(&mut self.frames, top)?;
        let code = frames.left(means.memory, header, means.codes).code;
        if is_called && !header.back.is_null() {
            let mut caller = header.back;
            for _ in 0..MAX_OWN {
                match read(&mut self.frames, caller)?.0 {
                    Header { kind: Kind::Own, back, .. } => caller = back,
                    _ => break,
                }
            }
            if self.precedents.caller(code) != Some(caller) {
                return None;
            }
        }
        self.precedents.find(code, (&mut self.frames, copy, plan), frames)
    }

    /// The last stack of the function that was the innermost, where something else has come to lie where its frame was: how large that
    /// was, the end of all frames says, which was read with the word that leads to it. Of several that are as large, it is the one that
    /// their caller called last before; or the one that is there, where nothing of its callers is left in it: the chain is `broken`.
    pub(super) fn replaced(
        &mut self,
        top: Addr,
        broken: bool,
        plan: &Plan,
        means: &mut Means<'_>,
        stacks: &Stacks,
    ) -> Option<StackNumber> {
        let size = self.stack_end.0.checked_sub(top.0)?;
        let mut python = self.chain.iter().filter(|link| link.header.kind == Kind::Python);
        let now = python.next().filter(|link| link.at == top);
        if let Some(own) = now.and_then(|now| means.frame_size(now.header.code)) {
            // What it calls just now lies behind it.
            let next = self.frames.find(top.plus(own), means.frames.span);
            let next = next.and_then(|place| self.asked.frames[0].get(plan, place));
            let next = next.map(|copy| means.frames.header(Struct::over(copy)).code);
            let next = next.and_then(|code| means.frame_size(code));
            if own == size && !broken || next.is_some_and(|next| own + next == size) {
                return None;
            }
        }
        let caller = python.next().and_then(|link| means.place(&link.header));
        let copy = &self.asked.frames[0];
        let found = self.precedents.at(top, size).iter().filter_map(|code| {
            let stack = self.precedents.find(*code, (&mut self.frames, copy, plan), means.frames)?;
            let site = caller.zip(means.codes.last_at(*code)).and_then(|(caller, code)| {
                let site = stacks.site(caller, code)?;
                Some((site <= caller.offset, site))
            });
            Some(((now.is_some_and(|now| now.header.code == *code), site), stack))
        });
        found.max_by_key(|(rank, _)| *rank).map(|(_, stack)| stack)
    }

    /// The stack of the frame of a generator that waits or has ended by now, where frames are objects: then it says no longer who resumed
    /// it. That is the innermost of those that are called after it that can have.
    pub(super) fn resumed(
        &mut self,
        top: Addr,
        plan: &Plan,
        epochs: Option<[Epoch; 2]>,
        means: &mut Means<'_>,
        stacks: &mut Stacks,
    ) -> Option<StackNumber> {
        let place = self.frames.find(top, means.frames.span).filter(|_| means.frames.are_apart())?;
        let header = means.frames.header(Struct::over(self.asked.frames[0].get(plan, place)?));
        let frame = Some(header).filter(|header| header.back.is_null()).and_then(|header| means.place(&header))?;
        let next = plan.word(self.asked.last).filter(|next| *next != top)?;
        if !means.codes.rests(header.code) || self.follow(plan, next, means).ok()?.is_some() {
            return None;
        }
        let end = self.chain.last().map(|link| (link.header.kind, link.header.code))?;
        let mut below = self.name(plan, true, epochs, means, stacks)?.seen;
        for _ in 0..if self.ends.knows(end) { MAX_CALLERS } else { 0 } {
            let (callers, caller) = stacks.split(below)?;
            let call = (caller, frame.code);
            if let Some(mentions) = means.mentions.as_mut().filter(|_| !stacks.is_asked(call)) {
                mentions.tell_call(call, means.memory, means.codes, stacks);
            }
            if stacks.has_site(caller.code, frame.code) {
                return Some(stacks.on(below, frame));
            }
            below = callers;
        }
        None
    }
}
