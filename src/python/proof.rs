//! Proof that a call happens: its frames are read once more, for nothing but that, so that accidents are rare and do not repeat.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use crate::layout::Struct;
use crate::memory::{Addr, Word};

use super::extents::{Copy, Extents, Spared};
use super::frame::{Frame, Frames, Header, Kind};
use super::link::{Link, Round};
use super::means::Means;
use super::plan::{Plan, Slot};
use super::stacks::{Call, StackNumber, Stacks};
use super::watch::MAX_LINKS;

/// How often the calls of a stack are looked for, while there is time for it, and when there is not: so often that those of one
/// that holds still are seen often enough.
const TRIES: u32 = 12;
const LEAST_TRIES: u32 = 6;
/// The most calls that are looked for at once.
const MAX_CALLS: usize = 128;
/// How many pieces one try reads, more or less, and how many bytes at most; in so many pairs of copies at least, and at most.
const PIECES: usize = 96;
const BYTES: usize = 256 << 10;
const PAIRS: std::ops::RangeInclusive<usize> = 1..=12;
/// Frames that lie apart, but no further than this, are read as one, so often. What takes longer to copy may change meanwhile, at each
/// copy: generators take turns in a tenth of a microsecond.
const NEAR: u64 = 512;
const NEAR_COPIES: usize = 4;
/// How many copies are read of others, in an order that is left to chance.
const FAR_COPIES: usize = 12;
/// The most calls that are looked for so at once, and the most links from one to its caller.
const MAX_FAR: usize = 8;
const MAX_LINKS_FAR: usize = 6;
/// Of two chains one has at most so many links more.
const MAX_APART: usize = 64;
/// The share of all time that proofs may take, and the time that may be saved up for them: at first everything is new.
const SHARE: f64 = 0.04;
const SAVED: Duration = Duration::from_millis(100);

/// A thread whose stack was read just now.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    /// Its frames, innermost first.
    pub chain: &'a [Link],
    /// Where others lay lately that were the innermost.
    pub strays: &'a [Addr],
    /// The word that says which one is the innermost, or leads to the one that does.
    pub newest: Addr,
    /// That one, and what leads to it.
    pub within: Option<(Addr, Addr)>,
    /// Until when it is looked for.
    pub until: Instant,
}

/// How much time proofs may still take.
#[derive(Debug)]
pub struct Pace {
    /// In nanoseconds; below 0 where one took longer than it might.
    saved: i64,
    last: Instant,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { saved: nanos(SAVED), last: Instant::now() }
    }
}

impl Pace {
    /// Spends what was begun at `began`; says whether there is more.
    pub fn spend(&mut self, began: Instant) -> bool {
        self.saved = self.saved.saturating_sub(nanos(began.elapsed()));
        self.has_time()
    }

    /// Whether there is some.
    pub fn has_time(&mut self) -> bool {
        let now = Instant::now();
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        self.saved = self.saved.saturating_add(nanos(passed.mul_f64(SHARE))).min(nanos(SAVED));
        self.saved > 0
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// The two copies of a thread's frames that one pair of reads brings, and the words that say which one was the innermost.
#[derive(Default)]
struct Pair {
    copies: [Copy; 2],
    first: Top,
    last: Top,
}

/// Where a word that leads to the innermost frame was planned, and the word within what it points to, if it does not itself.
#[derive(Clone, Copy, Default)]
struct Top {
    newest: Slot,
    within: Option<(Slot, Addr)>,
}

/// A frame, where it lies, and in which stretch.
type Met = (Addr, Header, usize);

impl Proof<'_> {
    /// Looks for the calls of its stack that nobody saw happen, and counts those that do.
    pub fn find(&self, stack: StackNumber, plan: &mut Plan, means: &mut Means<'_>, stacks: &mut Stacks) {
        let python: Vec<usize> =
            (0..self.chain.len()).filter(|place| self.chain[*place].header.kind == Kind::Python).collect();
        let (mut tries, mut most) = (0, 1);
        while tries < most && means.step(1).is_some() {
            let began = Instant::now();
            let open = stacks.open_calls(stack, MAX_CALLS);
            if open.is_empty() {
                return;
            }
            // Each is between a frame and the next one.
            let calls =
                open.iter().map_while(|(place, _)| Some((*python.get(*place)?, *python.get(place + 1)?)));
            let stretch = |place: &usize| self.chain[*place].place.stretch;
            let (side, far): (Vec<_>, Vec<_>) = calls.partition(|(callee, caller)| {
                !means.frames.are_apart() && callee + 1 == *caller && stretch(callee) == stretch(caller)
            });
            let [mut beside, mut apart] = [(); 2].map(|()| FxHashSet::default());
            if let Some((_, last)) = side.last() {
                self.side_by_side(&self.chain[..=*last], plan, means, &mut beside);
            }
            if !far.is_empty() {
                self.far(&far, plan, means, &mut apart);
            }
            for (met, beside) in [(beside, true), (apart, false)] {
                met.into_iter().for_each(|call| stacks.saw_call(call, beside));
            }
            let has_time = stacks.pace.spend(began);
            if tries == 0 && open.iter().any(|(_, call)| stacks.is_hopeful(*call)) {
                most = if has_time { TRIES } else { LEAST_TRIES };
            }
            tries += 1;
            if Instant::now() >= self.until {
                break;
            }
        }
    }

    /// Reads frames that lie side by side again and again, twice each time, and takes all calls that both copies of a time tell
    /// of.
    fn side_by_side(
        &self,
        chain: &[Link],
        plan: &mut Plan,
        means: &mut Means<'_>,
        met: &mut FxHashSet<Call>,
    ) {
        let mut extents = Extents::new(means.frames.slack());
        chain.iter().for_each(|link| extents.cover(link.at, means.frames.span));
        plan.clear();
        let first = self.ask(&mut extents, plan);
        let pairs = (PIECES / plan.pieces().max(1)).min(BYTES / plan.bytes().max(1));
        let pairs = pairs.clamp(*PAIRS.start(), *PAIRS.end());
        let pairs: Vec<Pair> =
            std::iter::once(first).chain((1..pairs).map(|_| self.ask(&mut extents, plan))).collect();
        plan.read(means.memory);
        pairs.iter().for_each(|pair| pair.hear(&mut extents, plan, means, met));
    }

    /// Reads calls whose frames lie anywhere by these alone.
    fn far(
        &self,
        calls: &[(usize, usize)],
        plan: &mut Plan,
        means: &mut Means<'_>,
        met: &mut FxHashSet<Call>,
    ) {
        plan.clear();
        let span = means.frames.span;
        let top = &self.chain[0];
        let ask_top = |plan: &mut Plan| (self.ask_top(plan), plan.add(top.at, span));
        let before = ask_top(plan);
        let mut asked = Vec::new();
        let calls = calls.iter().filter(|(callee, caller)| caller - callee < MAX_LINKS_FAR);
        for (callee, caller) in calls.take(MAX_FAR) {
            let links: Vec<Addr> = self.chain[*callee..=*caller].iter().map(|link| link.at).collect();
            // The frame of a generator is most often another one each time.
            let rests = means.codes.rests(self.chain[*callee].header.code);
            let others = self.strays.iter().filter(|stray| rests && **stray != links[0]);
            for other in others {
                let links = std::iter::once(other).chain(&links[1..]).copied().collect();
                asked.push((Far::new(links, span, plan), false));
            }
            asked.push((Far::new(links, span, plan), true));
        }
        let after = ask_top(plan);
        plan.read(means.memory);
        // What is below a frame that is still the innermost one has not returned.
        let stands = [before, after].iter().all(|(word, frame)| {
            let said = plan.structure(*frame, span).map(|copy| means.frames.header(copy));
            word.word(plan) == Some(top.at) && said.is_some_and(|said| said.is_as(&top.header))
        });
        for (far, is_below) in asked {
            if let Some([callee, caller]) = far.hear(plan, means.frames, stands && is_below) {
                met.extend(call(&caller, &callee, means));
            }
        }
    }

    /// Plans one pair of copies.
    fn ask(&self, extents: &mut Extents, plan: &mut Plan) -> Pair {
        let mut pair = Pair { first: self.ask_top(plan), ..Pair::default() };
        extents.plan_twice(plan, 0, None, Spared::default(), &mut pair.copies, [&mut |_| (), &mut |_| ()]);
        pair.last = self.ask_top(plan);
        pair
    }

    /// Plans the words that say which frame is the innermost.
    fn ask_top(&self, plan: &mut Plan) -> Top {
        Top {
            newest: plan.add(self.newest, Addr::SIZE),
            within: self.within.map(|(at, by)| (plan.add(at, Addr::SIZE), by)),
        }
    }
}

impl Pair {
    /// The calls that both copies tell of, as the innermost frame leads to them.
    fn hear(&self, extents: &mut Extents, plan: &Plan, means: &mut Means<'_>, met: &mut FxHashSet<Call>) {
        let [first, last] = [self.first, self.last].map(|top| top.word(plan));
        let (Some(first), Some(last)) = (first, last) else { return };
        let (one, is_called) = follow(first, &self.copies[0], extents, plan, means);
        let (other, still_called) = follow(last, &self.copies[1], extents, plan, means);
        // What a loop does shows the same again and again: that a frame stands as it stood does not say that it is called.
        if !(is_called && still_called) {
            return;
        }
        let mut rest = other.as_slice();
        for pair in one.windows(2) {
            let [(at, callee, from), (_, caller, to)] = pair else { continue };
            let place = rest.iter().take(MAX_APART).position(|(other, ..)| other == at);
            rest = &rest[place.unwrap_or(0)..];
            let same = place.and_then(|_| rest.get(..2));
            let agreed = same.is_some_and(|same| callee.is_as(&same[0].1) && pair[1] == same[1]);
            let stays = first == last || *at != first && *at != last;
            let python = callee.kind == Kind::Python && caller.kind == Kind::Python;
            if agreed && stays && python && from == to {
                met.extend(call(caller, callee, means));
            }
        }
    }
}

impl Top {
    /// The innermost frame that it told of, if what leads there is still the newest.
    fn word(self, plan: &Plan) -> Option<Addr> {
        let newest = plan.word(self.newest)?;
        match self.within {
            None => Some(newest),
            Some((within, by)) => plan.word(within).filter(|_| newest == by),
        }
    }
}

/// The chain that leads from `top` through a copy, as far as that goes, and whether `top` says itself that it is called.
fn follow(
    top: Addr,
    copy: &Copy,
    extents: &mut Extents,
    plan: &Plan,
    means: &mut Means<'_>,
) -> (Vec<Met>, bool) {
    let (mut chain, mut is_called) = (Vec::new(), false);
    let (mut next, mut round) = (top, Round::new(top));
    while !next.is_null() && chain.len() < MAX_LINKS && means.step(1).is_some() {
        let Some(place) = extents.find(next, means.frames.span) else { break };
        let Some(bytes) = copy.get(plan, place).map(Struct::over) else { break };
        if chain.is_empty() {
            is_called = means.frames.is_called(bytes);
        }
        let header = means.frames.header(bytes);
        chain.push((next, header, place.stretch));
        next = header.back;
        if header.kind == Kind::Dead || round.closes(next) {
            break;
        }
    }
    (chain, is_called)
}

/// What was planned of a call whose frames lie anywhere.
struct Far {
    /// From the callee to its caller.
    links: Vec<Addr>,
    /// Which of them each copy is of, and where it is in what was read.
    copies: Vec<(usize, Slot, usize)>,
}

impl Far {
    /// Plans to read them. Those that lie near each other are read as one, faster than anything happens. Others are read in an
    /// order that is left to chance: to go on as that asks for, a program would have to know it.
    fn new(links: Vec<Addr>, span: usize, plan: &mut Plan) -> Far {
        let mut copies = Vec::new();
        let (low, high) =
            links.iter().fold((Addr(u64::MAX), Addr(0)), |(low, high), at| (low.min(*at), high.max(*at)));
        if high.0 - low.0 <= NEAR {
            for _ in 0..NEAR_COPIES {
                let slot = plan.add(low, (high.0 - low.0) as usize + span);
                copies
                    .extend(links.iter().enumerate().map(|(link, at)| (link, slot, (at.0 - low.0) as usize)));
            }
            return Far { links, copies };
        }
        for number in 0..FAR_COPIES {
            let is_end = number == 0 || number == FAR_COPIES - 1;
            let link = if is_end { 0 } else { fastrand::usize(..links.len()) };
            copies.push((link, plan.add(links[link], span), 0));
        }
        Far { links, copies }
    }

    /// What callee and caller said, if all copies agree that one leads to the other, and the callee has not returned: it `stands` or
    /// says so itself.
    fn hear(&self, plan: &Plan, frames: &Frames, stands: bool) -> Option<[Header; 2]> {
        let said = |(_, slot, from): &(usize, Slot, usize)| {
            let copy = plan.get(*slot)?.get(*from..from + frames.span)?;
            Some((frames.header(Struct::over(copy)), frames.is_called(Struct::over(copy))))
        };
        let mut headers = Vec::new();
        for link in 0..self.links.len() {
            let mut copies = self.copies.iter().filter(|(of, ..)| *of == link).map(said);
            let first = copies.next()??;
            let header = first.0;
            let same = |(copy, is_called): (Header, bool)| {
                if link == 0 { copy.is_as(&header) && (is_called || stands) } else { copy == header }
            };
            if !std::iter::once(Some(first)).chain(copies).all(|copy| copy.is_some_and(same)) {
                return None;
            }
            headers.push(header);
        }
        let leads = headers.iter().zip(&self.links[1..]).all(|(header, next)| header.back == *next);
        let (callee, caller) = (*headers.first()?, *headers.last()?);
        let python = callee.kind == Kind::Python && caller.kind == Kind::Python;
        (leads && python).then_some([callee, caller])
    }
}

/// A call between two frames, if both have names.
fn call(caller: &Header, callee: &Header, means: &mut Means<'_>) -> Option<Call> {
    let (code, callee) = means.codes.last_at(caller.code).zip(means.codes.last_at(callee.code))?;
    let offset = means.frames.offset(means.memory, caller).ok()?;
    Some((Frame { code, offset }, callee))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generators take turns in less time than it takes to copy half a page.
    #[test]
    fn only_frames_that_lie_as_near_as_can_be_copied_at_once_are_read_as_one() {
        for (distance, as_one) in [(256, true), (2048, false)] {
            let far = Far::new(vec![Addr(0x10000), Addr(0x10000 + distance)], 96, &mut Plan::default());
            let slots =
                |of: usize| far.copies.iter().filter(move |(link, ..)| *link == of).map(|copy| copy.1);
            let shared = slots(0).filter(|slot| slots(1).any(|other| other == *slot)).count();
            assert_eq!(shared, if as_one { NEAR_COPIES } else { 0 }, "{distance}");
        }
    }
}
