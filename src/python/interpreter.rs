//! One interpreter of a process: its GIL and its count of code objects, as looks read them.

use crate::memory::Addr;

use super::code::Epoch;
use super::gil::{Asked, Heard, Holder, Ran, Trail, Words};
use super::plan::{Plan, Slot};

/// Bytes of the count of code objects.
const COUNT: usize = 4;

/// An interpreter under observation.
#[derive(Debug)]
pub struct Interpreter {
    /// Where it is.
    pub at: Addr,
    /// Who holds its GIL.
    pub holder: Holder,
    /// Which threads can have run between the last two looks.
    pub ran: Ran,
    /// Its count of code objects before and after what was read last.
    pub epochs: Option<[Epoch; 2]>,
    words: Option<Words>,
    asked: Asked,
    /// The same behind everything else, for an audit.
    asked_again: Asked,
    /// Its GIL when the last look began.
    since: Option<Trail>,
    /// Where its count of code objects is.
    count: Option<Addr>,
    counts: [Option<Slot>; 2],
    /// What that was last.
    counted: Option<u32>,
}

impl Interpreter {
    /// The interpreter at `at`, whose GIL is read by `words` and whose count of code objects stands at `count`. What was
    /// learned of it before is kept, where it is one of `before` and has the GIL that it had.
    pub fn new(at: Addr, words: Option<Words>, count: Option<Addr>, before: &[Interpreter]) -> Interpreter {
        let is_it = |one: &&Interpreter| {
            one.at == at && one.words.zip(words).is_some_and(|(one, other)| one.is(&other))
        };
        let old = before.iter().find(is_it);
        Interpreter {
            at,
            holder: Holder::Unknown,
            ran: old.map_or(Ran::Any, |old| old.ran),
            epochs: old.and_then(|old| old.epochs),
            words,
            asked: Asked::default(),
            asked_again: Asked::default(),
            since: old.and_then(|old| old.since),
            count,
            counts: [None; 2],
            counted: old.and_then(|old| old.counted),
        }
    }

    /// Whether its GIL tells which threads have run.
    pub fn tells_who_ran(&self) -> bool {
        self.since.is_some()
    }

    /// Plans the GIL, with which a look begins. Where many threads may have taken it since the last one, `exactly`.
    pub fn ask_gil(&mut self, plan: &mut Plan, exactly: bool) {
        self.asked = self.words.map(|words| words.ask(plan, exactly)).unwrap_or_default();
    }

    /// Takes what was read of the GIL.
    pub fn hear_gil(&mut self, plan: &Plan) {
        let heard = self.words.map_or(Heard::NOTHING, |words| words.hear(plan, self.asked, self.since));
        self.holder = heard.holder;
        self.ran = self.since.zip(heard.trail).map_or(Ran::Any, |(since, now)| since.until(now));
        self.since = heard.trail;
    }

    /// Leaves the GIL unread: its only thread says itself whether it has it.
    pub fn pass_gil(&mut self) {
        (self.holder, self.ran) = (Holder::Attached, Ran::Any);
    }

    /// Plans what is read before the threads.
    pub fn ask_before(&mut self, plan: &mut Plan) {
        // As long as no code object is made, the count that was read last is that before this read.
        let steady = self.epochs.is_some_and(|[before, after]| before == after);
        self.counts[0] = self.count.filter(|_| !steady).map(|count| plan.add(count, COUNT));
    }

    /// Plans what is read after the threads; for an audit, the GIL once more.
    pub fn ask_after(&mut self, plan: &mut Plan, audits: bool) {
        self.counts[1] = self.count.map(|count| plan.add(count, COUNT));
        self.asked_again =
            self.words.filter(|_| audits).map(|words| words.ask(plan, false)).unwrap_or_default();
    }

    /// Takes what was read before and after the threads.
    pub fn hear(&mut self, plan: &Plan) {
        let [before, after] = self.counts;
        let before = before.map_or(self.counted, |slot| plan.word(slot));
        self.counted = after.and_then(|slot| plan.word(slot));
        self.epochs = self.moments([before, self.counted]);
    }

    /// Plans its count of code objects, around what is read of one thread alone.
    pub fn ask_count(&self, plan: &mut Plan) -> Option<Slot> {
        self.count.map(|count| plan.add(count, COUNT))
    }

    /// The moments that these say.
    pub fn hear_counts(&self, plan: &Plan, counts: [Option<Slot>; 2]) -> Option<[Epoch; 2]> {
        self.moments(counts.map(|slot| slot.and_then(|slot| plan.word(slot))))
    }

    /// Whether the thread with this state can have run while a plan was read that asked for the GIL again.
    pub fn runs(&self, plan: &Plan, state: Addr) -> bool {
        let again = self.words.and_then(|words| words.hear(plan, self.asked_again, self.since).trail);
        self.since.zip(again).is_none_or(|(began, ended)| began.until(ended).holds(state))
    }

    fn moments(&self, counts: [Option<u32>; 2]) -> Option<[Epoch; 2]> {
        let [before, after] = counts;
        Some([before?, after?].map(|count| Epoch { interpreter: self.at, count }))
    }
}
