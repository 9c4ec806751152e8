//! Where the things of one thread have lain lately: stretches of memory that are worth reading as a whole.

use crate::memory::Addr;

use super::plan::{PAGE, Plan, Slot};

/// Stretches that lie no further apart than this are one: pieces cost more than bytes. Less than a page, so that none lies
/// between two things that are there.
const GAP: u64 = 2048;
/// The most stretches that are kept, and the most bytes in them; when there are more, all are forgotten.
const MAX_STRETCHES: usize = 4096;
const MAX_BYTES: u64 = 16 << 20;
/// After so many looks, what was not met in them is let go of.
const PERIOD: u32 = 256;
/// After so many looks, stretches that were met at fewer than so many of them are: a piece that is read in vain at each look, twice,
/// costs more than looking again at the one that needs it. Frames of generators lie anywhere, each time somewhere else.
const WINDOW: u32 = 16;
const HITS: u32 = 2;

/// Stretches in the order of their addresses, none of which touch.
///
/// A chain is read in the order in which its links were met last: those that lie far from each other are read one right behind
/// the other, so that little can happen between them.
#[derive(Debug, Default)]
pub struct Extents {
    stretches: Vec<Stretch>,
    /// The stretches in the order in which they were met, the innermost of a chain first.
    order: Vec<usize>,
    /// Counts what was met.
    met: u32,
    /// How many bytes are read beyond the last thing that was met in a stretch.
    slack: u64,
    looks: u32,
    /// The stretch that was asked for last: most often it is asked for again.
    last: usize,
    /// Counts how often the stretches became others.
    version: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: u64,
    to: u64,
    /// What was met in it in this period; nothing where `high` is 0.
    low: u64,
    high: u64,
    /// When the last thing was met in it.
    met: u32,
    /// At how many looks of this window something was, and at which one last.
    hits: u32,
    look: u32,
}

impl Stretch {
    fn len(&self) -> u64 {
        self.to - self.from
    }

    fn plan(&self, plan: &mut Plan) -> Slot {
        self.plan_from(0, plan)
    }

    /// All but so many bytes at the start.
    fn plan_from(&self, start: usize, plan: &mut Plan) -> Slot {
        plan.add(Addr(self.from).plus(start as u64), (self.len() as usize).saturating_sub(start))
    }
}

/// Where a thing lies: in which stretch, and how far from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the stretch, which holds for one [`Extents::version`].
    pub stretch: usize,
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// All stretches, as they were planned.
#[derive(Debug, Default)]
pub struct Copy {
    /// In the order of their addresses.
    slots: Vec<Slot>,
    /// Those that were not read.
    left_out: Vec<usize>,
    start: Start,
}

/// What need not be read for the second time, or not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spared {
    /// So many stretches at the end of the chain.
    pub rest: usize,
    /// What is left out of the second copy.
    pub start: Start,
}

/// So many bytes at the start of a stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// The number of the stretch.
    pub stretch: usize,
    /// The bytes.
    pub len: usize,
}

impl Start {
    /// How much that is of a stretch.
    fn of(self, stretch: usize) -> usize {
        if stretch == self.stretch { self.len } else { 0 }
    }
}

impl Extents {
    /// None yet. `slack` bytes are read beyond the last thing of each, for things that grow there.
    pub fn new(slack: u64) -> Extents {
        Extents { slack, ..Extents::default() }
    }

    /// Plans to read all of them.
    pub fn plan(&self, plan: &mut Plan, copy: &mut Copy) {
        copy.left_out.clear();
        copy.slots.clear();
        copy.slots.extend(self.stretches.iter().map(|stretch| stretch.plan(plan)));
    }

    /// Plans to read all of them twice, outward along the chain and then back, and between that what the last of two others plans:
    /// whatever that reads lies between the two copies of each link. The stretch that `first` is in comes first of all, then what
    /// the first of the two plans; stretches that the last look did not meet come last.
    ///
    /// The outermost one is read but once, in the middle, where it is one thing of `span` bytes: there is nothing else in it that
    /// could be of another moment, and all others lie around it. Of those that are one thing, the outermost ones that are `spared` are
    /// not read at all.
    pub fn plan_twice(
        &mut self,
        plan: &mut Plan,
        span: usize,
        first: Option<Addr>,
        Spared { rest, start }: Spared,
        [one, two]: &mut [Copy; 2],
        [behind, middle]: [&mut dyn FnMut(&mut Plan); 2],
    ) {
        let Extents { stretches, order, slack, looks, .. } = self;
        if order.len() != stretches.len() {
            order.clear();
            order.extend(0..stretches.len());
        }
        let last = looks.wrapping_sub(1);
        order.sort_by_key(|place| stretches[*place].met);
        let most = span as u64 + *slack;
        let outer = order.iter().skip(1).rev().take(rest.max(1));
        let single = outer.take_while(|place| stretches[**place].len() <= most).count();
        let outermost = order.len() - single;
        let (others, single) = order.split_at_mut(outermost);
        let is_first = |stretch: &Stretch| first.is_some_and(|at| stretch.from <= at.0 && at.0 < stretch.to);
        others.sort_by_key(|place| {
            let stretch = &stretches[*place];
            (!is_first(stretch), stretch.look != last, stretch.met)
        });
        let (others, single) = (&*others, &*single);
        one.slots.resize(stretches.len(), Slot::default());
        two.slots.resize(stretches.len(), Slot::default());
        let (nearest, outer) = others.split_at(others.len().min(1));
        nearest.iter().for_each(|place| one.slots[*place] = stretches[*place].plan(plan));
        behind(plan);
        outer.iter().for_each(|place| one.slots[*place] = stretches[*place].plan(plan));
        let nothing = plan.add(Addr::NULL, 0);
        let shared = if rest == 0 { single.first().map(|place| stretches[*place].plan(plan)) } else { None };
        middle(plan);
        others.iter().rev().for_each(|place| {
            two.slots[*place] = stretches[*place].plan_from(start.of(*place), plan);
        });
        two.start = start;
        for copy in [one, two] {
            single.iter().for_each(|place| copy.slots[*place] = shared.unwrap_or(nothing));
            copy.left_out.clear();
            copy.left_out.extend(single.iter().filter(|_| rest > 0));
        }
    }

    /// Where `len` bytes at `addr` are, if they are in one of them.
    pub fn find(&mut self, addr: Addr, len: usize) -> Option<Place> {
        let end = addr.0.checked_add(len as u64)?;
        let holds = |stretch: &Stretch| stretch.from <= addr.0 && end <= stretch.to;
        if !self.stretches.get(self.last).is_some_and(holds) {
            let after = self.stretches.partition_point(|stretch| stretch.from <= addr.0);
            self.last = after.checked_sub(1)?;
        }
        let stretch = self.stretches.get(self.last).filter(|stretch| holds(stretch))?;
        let from = (addr.0 - stretch.from) as usize;
        let place = Place { stretch: self.last, from, to: from + len };
        self.meet([place]);
        Some(place)
    }

    /// Takes note that things were met one behind the other where they were found before.
    pub fn meet(&mut self, places: impl IntoIterator<Item = Place>) {
        let mut places = places.into_iter().peekable();
        while let Some(mut all) = places.next() {
            while let Some(next) = places.next_if(|next| next.stretch == all.stretch) {
                all = Place { from: all.from.min(next.from), to: all.to.max(next.to), ..all };
            }
            let Some(stretch) = self.stretches.get_mut(all.stretch) else { continue };
            stretch.low = stretch.low.min(stretch.from + all.from as u64);
            stretch.high = stretch.high.max(stretch.from + all.to as u64);
            self.met = self.met.wrapping_add(1);
            stretch.met = self.met;
            if stretch.look != self.looks {
                stretch.look = self.looks;
                stretch.hits = stretch.hits.saturating_add(1);
            }
        }
    }

    /// How much of a stretch lies before the last page that begins at most so many bytes behind its start.
    pub(super) fn pages(&self, Start { stretch, len }: Start) -> Start {
        let from = self.stretches.get(stretch).map_or(0, |stretch| stretch.from);
        let end = (from + len as u64) & !(PAGE - 1);
        Start { stretch, len: end.saturating_sub(from) as usize }
    }

    /// Bytes of a stretch.
    pub(super) fn len_of(&self, stretch: usize) -> usize {
        self.stretches.get(stretch).map_or(0, |stretch| stretch.len() as usize)
    }

    /// Which state of the stretches this is: places hold as long as it is the same.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Takes `len` bytes at `addr` in.
    pub fn cover(&mut self, addr: Addr, len: usize) {
        let Some(end) = addr.0.checked_add(len as u64) else { return };
        self.version += 1;
        let mut new = Stretch {
            from: addr.0,
            to: self.with_slack(end),
            low: addr.0,
            high: end,
            met: self.met,
            hits: 1,
            look: self.looks,
        };
        let near = |one: u64, next: u64| next <= one.saturating_add(GAP);
        let first = self.stretches.partition_point(|stretch| !near(stretch.to, new.from));
        let mut behind = first;
        while let Some(stretch) = self.stretches.get(behind).filter(|stretch| near(new.to, stretch.from)) {
            new.from = new.from.min(stretch.from);
            new.to = new.to.max(stretch.to);
            new.low = new.low.min(stretch.low);
            new.high = new.high.max(stretch.high);
            new.met = new.met.max(stretch.met);
            new.hits = new.hits.max(stretch.hits.saturating_add(u32::from(stretch.look != self.looks)));
            behind += 1;
        }
        self.stretches.splice(first..behind, [new]);
        self.order.clear();
        let bytes: u64 = self.stretches.iter().map(Stretch::len).sum();
        if self.stretches.len() > MAX_STRETCHES || bytes > MAX_BYTES {
            self.stretches.clear();
        }
    }

    /// Lets go of what has not been met for long.
    pub fn tend(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        if !self.looks.is_multiple_of(PERIOD) {
            return;
        }
        self.version += 1;
        let slack = self.slack;
        self.stretches.retain_mut(|stretch| {
            let met = stretch.high > 0;
            if met {
                stretch.from = stretch.low;
                stretch.to = stretch.to.min(with_slack(stretch.high, slack));
                (stretch.low, stretch.high) = (u64::MAX, 0);
            }
            met
        });
    }

    /// Lets go of stretches that are hardly ever met. Called after [`Extents::tend`].
    pub fn prune(&mut self) {
        if !self.looks.is_multiple_of(WINDOW) {
            return;
        }
        let before = self.stretches.len();
        self.stretches.retain_mut(|stretch| std::mem::take(&mut stretch.hits) >= HITS);
        if self.stretches.len() < before {
            self.order.clear();
            self.version += 1;
        }
    }

    /// Lets go of those that could not be read.
    pub fn lose(&mut self, plan: &Plan, copy: &Copy) {
        self.version += 1;
        let mut slots = copy.slots.iter();
        self.stretches.retain(|_| slots.next().is_none_or(|slot| plan.get(*slot).is_some()));
    }

    fn with_slack(&self, end: u64) -> u64 {
        with_slack(end, self.slack)
    }
}

/// The end of a stretch whose last thing ends at `end`: no longer than it must be beyond the end of a page, for the next one may
/// not be there.
fn with_slack(end: u64, slack: u64) -> u64 {
    end.saturating_add(slack).min(end.next_multiple_of(PAGE))
}

impl Copy {
    /// The bytes of a thing, if they arrived.
    pub fn get<'a>(&self, plan: &'a Plan, place: Place) -> Option<&'a [u8]> {
        let (start, bytes) = self.behind_start(plan, place.stretch)?;
        bytes.get(place.from.checked_sub(start)?..place.to - start)
    }

    /// What was read of a stretch, if it arrived, and how many bytes of it come before that.
    pub(super) fn behind_start<'a>(&self, plan: &'a Plan, stretch: usize) -> Option<(usize, &'a [u8])> {
        Some((self.start.of(stretch), plan.get(*self.slots.get(stretch)?)?))
    }

    /// Whether a thing was not read because it was left out.
    pub(super) fn leaves_out(&self, place: Place) -> bool {
        place.from < self.start.of(place.stretch) || self.left_out.contains(&place.stretch)
    }

    /// The bytes of each stretch, if they arrived.
    pub fn stretches<'a>(&self, plan: &'a Plan) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.slots.iter().map(|slot| plan.get(*slot))
    }

    /// The stretches that were not read because they rest.
    pub(super) fn left_out(&self) -> &[usize] {
        &self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Tape;

    #[track_caller]
    fn check(extents: &Extents, expected: &[(u64, u64)]) {
        let stretches: Vec<_> = extents.stretches.iter().map(|stretch| (stretch.from, stretch.to)).collect();
        assert_eq!(stretches, expected);
    }

    #[test]
    fn what_lies_near_becomes_one_and_what_lies_far_does_not() {
        let mut extents = Extents::new(0);
        extents.cover(Addr(0x10000), 64);
        extents.cover(Addr(0x20000), 64);
        check(&extents, &[(0x10000, 0x10040), (0x20000, 0x20040)]);
        extents.cover(Addr(0x10400), 64);
        extents.cover(Addr(0x1FF00), 64);
        check(&extents, &[(0x10000, 0x10440), (0x1FF00, 0x20040)]);
        assert!(extents.find(Addr(0x10100), 64).is_some() && extents.find(Addr(0x10410), 64).is_none());
        assert!(extents.find(Addr(u64::MAX), 64).is_none());
    }

    #[test]
    fn one_that_joins_two_is_one_with_them() {
        let mut extents = Extents::new(0);
        for at in [0x10000, 0x11000, 0x10800] {
            extents.cover(Addr(at), 64);
        }
        check(&extents, &[(0x10000, 0x11040)]);
    }

    #[test]
    fn slack_ends_with_the_page() {
        let mut extents = Extents::new(512);
        extents.cover(Addr(0x10000), 64);
        extents.cover(Addr(0x12F80), 64);
        extents.cover(Addr(0x14FC0), 64);
        check(&extents, &[(0x10000, 0x10240), (0x12F80, 0x13000), (0x14FC0, 0x15000)]);
    }

    #[test]
    fn what_is_not_met_for_long_is_let_go_of() {
        let mut extents = Extents::new(0);
        extents.cover(Addr(0x10000), 64);
        extents.cover(Addr(0x10100), 64);
        extents.cover(Addr(0x20000), 64);
        for _ in 0..2 * PERIOD {
            extents.find(Addr(0x10000), 64);
            extents.tend();
        }
        check(&extents, &[(0x10000, 0x10040)]);
    }

    #[test]
    fn what_is_hardly_ever_met_is_not_read_each_time() {
        let mut extents = Extents::new(0);
        extents.cover(Addr(0x10000), 64);
        for look in 0..4 * WINDOW {
            extents.find(Addr(0x10000), 64);
            // One that lies somewhere else each time, and one that is met now and then.
            extents.cover(Addr(0x100_0000 + u64::from(look) * 0x10000), 64);
            if look.is_multiple_of(WINDOW / HITS - 1) {
                extents.cover(Addr(0x20000), 64);
                extents.find(Addr(0x20000), 64);
            }
            extents.tend();
            extents.prune();
            assert!(extents.stretches.len() <= 3 + WINDOW as usize);
        }
        assert!(extents.find(Addr(0x10000), 64).is_some() && extents.find(Addr(0x20000), 64).is_some());
    }

    #[test]
    fn both_copies_hold_the_same_and_what_is_not_there_is_lost() {
        let mut tape = Tape::default();
        tape.put(Addr(0x10000), b"abcdefgh");
        tape.put(Addr(0x30000), b"ijklmnop");
        tape.put(Addr(0x40000), b"q");
        let mut extents = Extents::new(0);
        for at in [0x10000, 0x20000, 0x30000] {
            extents.cover(Addr(at), 8);
        }
        let (mut plan, mut copies) = (Plan::default(), [Copy::default(), Copy::default()]);
        // The outermost is read once if it is one thing, and not at all if it rests; so may others be.
        let cases =
            [(4, 1, 7), (8, 1, 2 + 1 + 2), (8, 9, 1 + 1 + 1), (4, 0, 3 + 1 + 3), (8, 0, 2 + 1 + 1 + 2)];
        for (span, rest, pieces) in cases {
            plan.clear();
            let mut middle = None;
            let mut add = |plan: &mut Plan| middle = Some(plan.add(Addr(0x40000), 1));
            let spared = Spared { rest, ..Spared::default() };
            extents.plan_twice(&mut plan, span, None, spared, &mut copies, [&mut |_| (), &mut add]);
            let middle = middle.unwrap();
            let left_out = if span == 8 { rest.min(2) } else { 0 };
            assert_eq!((plan.pieces(), copies[0].left_out().len()), (pieces, left_out));
            plan.read(&tape);
            let place = extents.find(Addr(0x30004), 2).unwrap();
            let expected = Some(&b"mn"[..]).filter(|_| !copies[0].left_out().contains(&place.stretch));
            assert_eq!(copies.each_ref().map(|copy| copy.get(&plan, place)), [expected; 2]);
            assert_eq!(plan.get(middle), Some(&b"q"[..]));
        }
        let [one, _] = copies;
        extents.lose(&plan, &one);
        check(&extents, &[(0x10000, 0x10008), (0x30000, 0x30008)]);
    }

    #[test]
    fn no_target_makes_them_grow_without_end() {
        let mut extents = Extents::new(0);
        for number in 0..100_000 {
            extents.cover(Addr(number * 0x10000), 64);
            assert!(extents.stretches.len() <= MAX_STRETCHES);
        }
    }
}
