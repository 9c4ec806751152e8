//! Following a chain of frames through what was read of it.

use crate::layout::Struct;
use crate::memory::Addr;
use crate::model::Torn;
use crate::python::called;
use crate::python::frame::{Frames, Kind, MAX_FRAMES};
use crate::python::link::{self, Link, Round};
use crate::python::means::Means;
use crate::python::plan::{PAGE, Plan};

use super::{MAX_LINKS, Watch};

/// How many steps it takes to read frames alone.
const SEEK: u32 = 32;

/// What lies around a frame that was read: callers lie close before those that they call, mostly.
#[derive(Default)]
struct Near {
    at: Addr,
    bytes: Vec<u8>,
}

impl Near {
    /// So many bytes at an address, which `read` brings where they are not here yet; `None` where it does not.
    fn get(
        &mut self,
        at: Addr,
        len: usize,
        mut read: impl FnMut(Addr, &mut [u8]) -> bool,
    ) -> Option<Struct<'_>> {
        let from = self.holds(at, len).or_else(|| {
            // From where its page begins, which is there if it is.
            [at.0 % PAGE, 0].into_iter().find_map(|before| {
                self.at = Addr(at.0 - before);
                self.bytes.resize(before as usize + len, 0);
                if !read(self.at, &mut self.bytes) {
                    self.bytes.clear();
                }
                self.holds(at, len)
            })
        })?;
        self.bytes.get(from..from + len).map(Struct::over)
    }

    /// Where these bytes begin, if they are here.
    fn holds(&self, at: Addr, len: usize) -> Option<usize> {
        let from = at.0.checked_sub(self.at.0)?;
        (from.checked_add(len as u64)? <= self.bytes.len() as u64).then_some(from as usize)
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

impl Watch {
    /// Which frame was the innermost when the second copy was read, by what frames say of themselves: the one at `top`, or one of those
    /// that lie side by side.
    pub(super) fn still(&mut self, top: Addr, plan: &Plan, means: &Means<'_>) -> Option<Addr> {
        let copy = &self.asked.frames[1];
        if self.is_told {
            return Some(top);
        }
        called::innermost(&mut self.frames, copy, plan, (self.stack_end.non_null()?.minus(1), 1), means)
    }

    /// Follows the chain from `top` through the first copy, and marks where the second one agrees. Tells why it does not
    /// reach a base, if it does not; fails with the address of a frame that was not read.
    pub(super) fn follow(
        &mut self,
        plan: &Plan,
        top: Addr,
        means: &mut Means<'_>,
    ) -> Result<Option<Torn>, Addr> {
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
    pub(super) fn agree(&mut self, plan: &Plan, top: Option<Addr>, frames: &Frames) {
        let mut again = std::mem::take(&mut self.again);
        again.clear();
        let mut next = top.unwrap_or_default();
        let mut round = Round::new(next);
        while !next.is_null() && again.len() < MAX_LINKS {
            let Some(place) = self.frames.find(next, frames.span) else { break };
            let copy = &self.asked.frames[1];
            let header = if copy.leaves_out(place) {
                // Once is enough for what stands as it stood, and for nothing else.
                let mut stands = self.chain.iter().rev().take(self.stands);
                stands.find(|link| link.at == next).map(|link| link.header)
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

    /// Takes frames that were not read into those that are, from `at` on until the chain leads to one that was, or ends.
    pub(super) fn seek(&mut self, at: Addr, plan: &Plan, means: &mut Means<'_>) {
        for copy in &self.asked.frames {
            self.frames.lose(plan, copy);
        }
        let (mut next, mut number) = (at, 0);
        let span = means.frames.span;
        let mut near = Near::default();
        while !next.is_null() && number < MAX_LINKS && self.frames.find(next, span).is_none() {
            let read = |at, buf: &mut [u8]| means.step(SEEK).is_some() && means.memory.read(at, buf).is_ok();
            let Some(copy) = near.get(next, span, read) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_lie_side_by_side_are_read_a_page_at_a_time() {
        let mut near = Near::default();
        // What was read: from where, and how much. Nothing lies before 0x2040.
        let mut get = |at: u64| {
            let mut reads = Vec::new();
            let copy = near.get(Addr(at), 16, |from, buf| {
                reads.push((from.0, buf.len()));
                buf.fill(7);
                from.0 >= 0x2040
            });
            (copy.is_some(), reads)
        };
        assert_eq!(get(0x3FF8), (true, vec![(0x3000, 0x1008)]));
        assert_eq!(get(0x3F00), (true, vec![]));
        assert_eq!(get(0x3000), (true, vec![]));
        assert_eq!(get(0x2FF0), (true, vec![(0x2000, 0x1000), (0x2FF0, 16)]));
        assert_eq!(get(0x1000), (false, vec![(0x1000, 16), (0x1000, 16)]));
    }
}
