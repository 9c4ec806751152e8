//! Which frame of a stack is the innermost one that is called, by what one copy of the stack says alone.
//!
//! Design constraint: which frame is the innermost is kept elsewhere, and was read at another moment than the frames. A short
//! call is over in between. But the frames of the interpreter's own lie side by side, one piece of memory is copied in less time
//! than a call takes, and the innermost frame says of itself that it is called ([`Frames::is_called`]).

use crate::layout::Struct;
use crate::memory::{Addr, Word};

use super::extents::{Copy, Extents};
use super::frame::Frames;
use super::means::Means;
use super::plan::Plan;

/// In so many places at most a frame is looked for that is called: in the last 32 KiB of a stack.
const MAX_PLACES: usize = 4096;

/// Whether the frame at `top` is called in a copy.
pub(super) fn is(extents: &mut Extents, copy: &Copy, plan: &Plan, top: Addr, frames: &Frames) -> bool {
    let bytes = extents.find(top, frames.span).and_then(|place| copy.get(plan, place));
    bytes.is_some_and(|bytes| frames.is_called(Struct::over(bytes)))
}

/// The innermost frame that is called in a copy, in the stretch that something at `near` lies in, with all of its `len` bytes. Frames of
/// the interpreter's own lie there in the order of their calls.
pub(super) fn innermost(
    extents: &mut Extents,
    copy: &Copy,
    plan: &Plan,
    (near, len): (Addr, usize),
    means: &Means<'_>,
) -> Option<Addr> {
    let Means { frames, codes, .. } = means;
    let place = extents.find(near, len).filter(|_| !frames.are_apart())?;
    let (start, bytes) = copy.behind_start(plan, place.stretch)?;
    let from = near.0 - place.from as u64 + start as u64;
    let places = bytes.len().checked_sub(frames.span)? / Addr::SIZE;
    (0..=places).rev().take(MAX_PLACES).find_map(|place| {
        let start = place * Addr::SIZE;
        let copy = Struct::over(bytes.get(start..start + frames.span)?);
        let is_one = frames.is_called(copy) && codes.last_at(frames.header(copy).code).is_some();
        is_one.then_some(Addr(from + start as u64))
    })
}
