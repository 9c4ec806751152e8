//! What is planned to be read of a thread, and in which order.

use crate::memory::{Addr, Word};
use crate::python::exception::Exceptions;
use crate::python::extents::Copy;
use crate::python::frame::Frames;
use crate::python::plan::{PAGE, Plan, Slot};
use crate::python::thread::Threads;

use super::Watch;

/// At one look in so many the `_PyCFrame`s are read first.
const RARELY: u32 = 8;

/// Which read of a thread it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// The first one of a look.
    pub first: bool,
    /// Nothing was read for a while before.
    pub cold: bool,
}

/// What was planned of a thread.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) state: Slot,
    pub(super) frames: [Copy; 2],
    /// Of use only where the witnesses were read along.
    pub(super) witnesses: Copy,
    pub(super) heard: bool,
    /// The words of which one says which frame is the innermost, where the state does not.
    pub(super) within: Vec<Slot>,
    /// The same at the end, where that was asked for.
    pub(super) last: Option<Slot>,
    pub(super) within_last: Vec<Slot>,
}

impl Watch {
    /// Plans what is to be read of it; `first` where it was not read in this look before.
    ///
    /// Which frame is the innermost at the end, one of the interpreter's own says of itself mostly: only where it did not is that read
    /// again behind it. After a while in which nothing was read, what leads the kernel to the frames is not at hand: `cold`.
    pub fn ask(
        &mut self,
        plan: &mut Plan,
        threads: &Threads,
        frames: &Frames,
        exceptions: &Exceptions,
        When { first: is_first, cold }: When,
    ) {
        let Watch {
            state,
            frames: extents,
            witnesses,
            hearing,
            asked,
            cframes,
            turn,
            unmoved,
            stack_end,
            is_told,
            ..
        } = self;
        let span = threads.span().max(frames.state_span()).max(exceptions.span());
        extents.tend();
        if !frames.are_apart() {
            extents.prune();
        }
        asked.heard = *hearing > 0;
        if asked.heard {
            witnesses.tend();
        }
        // While one is the newest, what it says of the innermost frame still holds after a call from C has begun, and no longer after
        // one has ended: so it is read behind the word that says which one is the newest.
        let within = |plan: &mut Plan, cframes: &[Addr], slots: &mut Vec<Slot>| {
            let words = cframes.iter().filter_map(|cframe| frames.top.within(*cframe));
            slots.extend(words.map(|at| plan.add(at, Addr::SIZE)));
        };
        // What stands in one that is not the newest for long is read too late most often, and has to be known too.
        *turn = turn.wrapping_add(1);
        let before = if turn.is_multiple_of(RARELY) { cframes.len() } else { 0 };
        let (before, behind) = cframes.split_at(before);
        let (usual, others) = behind.split_at(behind.len().min(1));
        let first = stack_end.non_null().map(|end| end.minus(1));
        if cold {
            let words = cframes.iter().filter_map(|cframe| frames.top.within(*cframe));
            words.chain(first).for_each(|at| {
                plan.add(aside(at), 1);
            });
        }
        asked.within.clear();
        within(plan, before, &mut asked.within);
        asked.state = plan.add(state.at, span);
        within(plan, usual, &mut asked.within);
        let spared = unmoved.spares(extents);
        let mut behind = |plan: &mut Plan| within(plan, others, &mut asked.within);
        let mut middle = |plan: &mut Plan| {
            if asked.heard {
                witnesses.plan(plan, &mut asked.witnesses);
            }
        };
        let asides: [&mut dyn FnMut(&mut Plan); 2] = [&mut behind, &mut middle];
        extents.plan_twice(plan, frames.span, first, spared, &mut asked.frames, asides);
        asked.within_last.clear();
        asked.last = None;
        if !*is_told || !is_first {
            within(plan, cframes, &mut asked.within_last);
            asked.last = Some(plan.add(frames.top.newest().of(state.at), Addr::SIZE));
        }
    }
}

/// A byte in the same page, where the target is not likely to write.
fn aside(at: Addr) -> Addr {
    let start = at.0 & !(PAGE - 1);
    Addr(if at.0 - start < PAGE / 2 { start + PAGE - 1 } else { start })
}
