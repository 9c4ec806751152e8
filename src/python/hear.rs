//! What a frame is called: the place in a function that it stands at, once the function was heard.

use crate::model::Torn;

use super::code::{Epoch, Known};
use super::extents::{Copy, Extents};
use super::frame::{Frame, Header};
use super::means::Means;
use super::plan::Plan;

/// The place in a function that a frame stands at; `None` where the function has to be heard first, and will be.
pub(super) fn frame(
    header: &Header,
    read: (&Plan, &mut Extents, Option<&Copy>),
    after: Option<Epoch>,
    steady: Option<Epoch>,
    means: &mut Means<'_>,
) -> Result<Option<Frame>, Torn> {
    let (plan, witnesses, copy) = read;
    let known = match means.codes.known(header.code, after) {
        Known::Unsure(id) => {
            match copy.map(|copy| means.codes.hear(header.code, (plan, &mut *witnesses, copy), steady)) {
                Some(Some(true)) => Some(id),
                Some(Some(false)) => {
                    means.learn(header.code)?;
                    None
                }
                Some(None) | None => None,
            }
        }
        Known::Sure(id) => Some(id),
        Known::Not if header.code.is_null() => return Err(Torn::Garbage),
        Known::Not => {
            means.learn(header.code)?;
            None
        }
    };
    let Some(code) = known else {
        means.codes.cover(header.code, witnesses);
        return Ok(None);
    };
    let offset = means.frames.offset(means.memory, header)?;
    let holds = means.codes.get(code).is_some_and(|code| code.holds(offset));
    if holds { Ok(Some(Frame { code, offset })) } else { Err(Torn::Garbage) }
}
