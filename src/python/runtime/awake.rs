//! Which threads a look has to do with: those that it reads, and those that have or had the GIL. All others are as they were.
//!
//! Design constraint: who waits costs a look nothing, however many there are. So nothing here passes over all threads, unless no GIL
//! tells which of them can have run.

use rustc_hash::FxHashMap;

use crate::memory::Addr;
use crate::python::gil::{Holder, Ran};
use crate::python::interpreter::Interpreter;

use super::ThreadLook;

/// Threads, by their places in a list of them.
#[derive(Debug, Default)]
pub(super) struct Awake {
    /// The place of each, by its state.
    places: FxHashMap<Addr, usize>,
    /// Nothing is known of them yet.
    is_new: bool,
    /// Those whose stacks are read again though they may not have run.
    unsure: Vec<usize>,
    /// Those that the last look had to do with; or it had with all.
    last: Vec<usize>,
    was_all: bool,
    /// The same of the last two looks.
    changed: Vec<usize>,
    all_changed: bool,
}

impl Awake {
    /// Begins with another list.
    pub(super) fn list(&mut self, threads: &[ThreadLook]) {
        self.places.clear();
        self.places.extend(threads.iter().enumerate().map(|(place, thread)| (thread.state, place)));
        self.is_new = true;
    }

    /// All of them have to be read.
    pub(super) fn forget(&mut self) {
        self.is_new = true;
    }

    /// Whether the thread with this state is listed.
    pub(super) fn knows(&self, state: Addr) -> bool {
        self.places.contains_key(&state)
    }

    /// Those of which the last look may say something else than the one before, in order; `None` for all of them.
    pub(super) fn changed(&self) -> Option<&[usize]> {
        (!self.all_changed).then_some(&self.changed)
    }

    /// Those that have to be read or are expected to have run since they were read: most often those run that ran before.
    pub(super) fn expect(
        &self,
        threads: &[ThreadLook],
        interpreters: &[Interpreter],
        audits: bool,
        out: &mut Vec<usize>,
    ) {
        out.clear();
        if audits {
            out.extend(0..threads.len());
        } else if self.is_new || ran_any(interpreters) {
            let is_expected = |thread: &ThreadLook| !thread.is_sure() || can_have_run(thread, interpreters);
            out.extend((0..threads.len()).filter(|place| is_expected(&threads[*place])));
        } else {
            out.extend(&self.unsure);
            out.extend(ran(&self.places, interpreters));
            sort(out);
        }
    }

    /// Those that can have run, and are not among those that were `read`.
    pub(super) fn late(
        &self,
        threads: &[ThreadLook],
        interpreters: &[Interpreter],
        read: &[usize],
        out: &mut Vec<usize>,
    ) {
        out.clear();
        if ran_any(interpreters) {
            out.extend((0..threads.len()).filter(|place| can_have_run(&threads[*place], interpreters)));
        } else {
            out.extend(ran(&self.places, interpreters));
            sort(out);
        }
        out.retain(|place| read.binary_search(place).is_err());
    }

    /// Ends a look that `read` some, and says of each whether it holds its GIL and can have run.
    pub(super) fn close(
        &mut self,
        threads: &mut [ThreadLook],
        interpreters: &[Interpreter],
        read: [&[usize]; 2],
    ) {
        let is_all = self.is_new
            || ran_any(interpreters)
            || interpreters.iter().any(|one| !matches!(one.holder, Holder::State(_)));
        std::mem::swap(&mut self.changed, &mut self.last);
        self.last.clear();
        if !is_all {
            let holders = interpreters.iter().filter_map(|one| match one.holder {
                Holder::State(at) => self.places.get(&at).copied(),
                _ => None,
            });
            self.last.extend(holders.chain(ran(&self.places, interpreters)));
            read.iter().for_each(|some| self.last.extend_from_slice(some));
            sort(&mut self.last);
        }
        self.all_changed = is_all || self.was_all;
        self.was_all = is_all;
        self.is_new = false;
        let say = |thread: &mut ThreadLook| {
            let Some(one) = interpreters.get(thread.place) else { return };
            thread.holds_gil = one.holder.is(thread.state, thread.attached);
            thread.may_have_run = one.ran.holds(thread.state);
        };
        if self.all_changed {
            threads.iter_mut().for_each(say);
        } else {
            self.changed.extend_from_slice(&self.last);
            sort(&mut self.changed);
            for place in &self.changed {
                threads.get_mut(*place).into_iter().for_each(say);
            }
        }
        // Whoever had to be read again was.
        self.unsure.clear();
        let is_unsure = |place: &usize| threads.get(*place).is_some_and(|thread| !thread.is_sure());
        if is_all {
            self.unsure.extend((0..threads.len()).filter(is_unsure));
        } else {
            self.unsure.extend(self.last.iter().copied().filter(is_unsure));
        }
    }
}

/// Those that can have run, where a GIL tells of each interpreter which they are.
fn ran(places: &FxHashMap<Addr, usize>, interpreters: &[Interpreter]) -> impl Iterator<Item = usize> {
    let states = interpreters.iter().flat_map(|one| match one.ran {
        Ran::Only(before, last) => [before, last],
        Ran::Any => [Addr::NULL; 2],
    });
    states.filter_map(|state| places.get(&state).copied())
}

/// Whether any thread of some interpreter can have run.
fn ran_any(interpreters: &[Interpreter]) -> bool {
    interpreters.iter().any(|one| one.ran == Ran::Any)
}

fn can_have_run(thread: &ThreadLook, interpreters: &[Interpreter]) -> bool {
    interpreters.get(thread.place).is_none_or(|one| one.ran.holds(thread.state))
}

/// In order, and each once.
fn sort(places: &mut Vec<usize>) {
    places.sort_unstable();
    places.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Quality;

    /// The next of many numbers.
    fn next(seed: &mut u64, below: u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % below
    }

    #[test]
    fn looks_that_pass_over_who_waits_say_what_those_say_that_ask_each() {
        const THREADS: u64 = 6;
        let mut threads: Vec<ThreadLook> = Vec::new();
        for state in 1..=THREADS {
            threads.push(ThreadLook { state: Addr(state), ..ThreadLook::default() });
        }
        let mut interpreters = [Interpreter::new(Addr(0x100), None, None, &[])];
        let (mut awake, mut seed, mut few) = (Awake::default(), 7, 0);
        awake.list(&threads);
        let (mut asked, mut late) = (Vec::new(), Vec::new());
        for turn in 0..5_000 {
            if next(&mut seed, 200) == 0 {
                threads.iter_mut().for_each(|thread| thread.read = false);
                awake.forget();
            }
            awake.expect(&threads, &interpreters, false, &mut asked);
            let expected = |place: &usize| {
                !threads[*place].is_sure() || interpreters[0].ran.holds(threads[*place].state)
            };
            let all = 0..threads.len();
            assert_eq!(asked, all.clone().filter(expected).collect::<Vec<_>>(), "{turn}");
            // Null is nobody, and the last one is not listed yet.
            let mut state = || Addr(next(&mut seed, THREADS + 2));
            let (one, other, holder) = (state(), state(), state());
            let is_quiet = next(&mut seed, 8) != 0;
            interpreters[0].ran = if is_quiet { Ran::Only(one, other) } else { Ran::Any };
            interpreters[0].holder =
                if next(&mut seed, 8) == 0 { Holder::Attached } else { Holder::State(holder) };
            awake.late(&threads, &interpreters, &asked, &mut late);
            let is_late =
                |place: &usize| interpreters[0].ran.holds(threads[*place].state) && !asked.contains(place);
            assert_eq!(late, all.clone().filter(is_late).collect::<Vec<_>>(), "{turn}");
            for place in asked.iter().chain(&late) {
                let is_whole = next(&mut seed, 4) != 0;
                threads[*place].quality = if is_whole { Quality::Whole } else { Quality::Probable };
                threads[*place].read = true;
            }
            let said = |thread: &ThreadLook| (thread.holds_gil, thread.may_have_run);
            let before: Vec<_> = threads.iter().map(said).collect();
            awake.close(&mut threads, &interpreters, [&asked, &late]);
            for (place, thread) in threads.iter().enumerate() {
                let one = &interpreters[0];
                let truly = (one.holder.is(thread.state, thread.attached), one.ran.holds(thread.state));
                assert_eq!(said(thread), truly, "{turn}: {place}");
                let told = awake.changed().is_none_or(|changed| changed.contains(&place));
                assert!(told || said(thread) == before[place], "{turn}: {place}");
            }
            few += usize::from(awake.changed().is_some());
        }
        assert!(few > 1_000, "{few}");
    }
}
