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
