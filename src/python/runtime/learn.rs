//! What is learned between two looks: whether the calls happen that a look told of and nobody saw happen yet.
//!
//! Design constraint: a sample must not wait for that. So it is told as far as it is certain, and told again when more is known
//! (`Runs::reconsider`); to know it soon, threads are read in the time between looks, for nothing but their calls.

use std::collections::VecDeque;
use std::time::Instant;

use crate::memory::{Addr, Memory};
use crate::python::settle::Ask;
use crate::python::stacks::{StackNumber, Stacks};

use super::{MAX_STEPS, Means, Python, Reader};

/// The most stacks that are doubted at once; of more, those are given up whose turn is last.
const MAX_DOUBTS: usize = 64;
/// How often a thread is read for a stack that was told of it.
const ROUNDS: u32 = 100;

/// Stacks that were told, each of a thread, and not believed.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    rows: VecDeque<Doubt>,
}

#[derive(Debug)]
struct Doubt {
    /// The thread's state.
    state: Addr,
    stack: StackNumber,
    rounds: u32,
}

impl Doubts {
    /// Adds one.
    pub(super) fn add(&mut self, state: Addr, stack: StackNumber) {
        match self.rows.iter_mut().find(|doubt| doubt.stack == stack) {
            Some(doubt) => doubt.rounds = ROUNDS,
            None => {
                self.rows.truncate(MAX_DOUBTS - 1);
                self.rows.push_front(Doubt { state, stack, rounds: ROUNDS });
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    /// The thread whose turn it is.
    fn next(&mut self, stacks: &mut Stacks) -> Option<Addr> {
        loop {
            let mut doubt = self.rows.pop_front()?;
            doubt.rounds -= 1;
            let state = doubt.state;
            if doubt.rounds == 0 || stacks.believed(doubt.stack).is_some() {
                continue;
            }
            self.rows.push_back(doubt);
            return Some(state);
        }
    }
}

impl Python {
    /// From now on, calls that nobody saw happen are looked for between looks ([`Python::learn`]), and not at once.
    pub fn learn_between_looks(&mut self) {
        self.learns_later = true;
    }

    /// Looks for calls that looks told of and nobody saw happen: `until` then, but once at least, and within a share of all time.
    pub fn learn(&mut self, memory: &dyn Memory, until: Instant) {
        self.steps = MAX_STEPS;
        while !self.doubts.rows.is_empty()
            && self.stacks.pace.has_time()
            && let Some(state) = self.doubts.next(&mut self.stacks)
        {
            self.learn_of(state, memory, until);
            self.looked = Instant::now();
            if self.looked >= until || self.steps == 0 {
                break;
            }
        }
    }

    /// Reads a thread, and looks for the calls that it tells of.
    fn learn_of(&mut self, state: Addr, memory: &dyn Memory, until: Instant) {
        let Python { solo, watches, seen, interpreters, stacks, .. } = self;
        let threads = watches.iter_mut().zip(&seen.threads);
        let Some((watch, thread)) = threads.into_iter().find(|(watch, _)| watch.state.at == state) else {
            return;
        };
        let Some(one) = interpreters.get(thread.place) else { return };
        let means = Means {
            memory,
            threads: &self.threads,
            frames: &mut self.frames,
            codes: &mut self.codes,
            mentions: self.mentions.as_mut(),
            exceptions: &self.exceptions,
            steps: &mut self.steps,
            still: false,
        };
        let mut reader = Reader { watch, one, plan: solo, means, until: Some(until) };
        let began = Instant::now();
        let (_, verdict) = reader.again(stacks);
        stacks.pace.spend(began);
        if let Some(stack) = verdict.told().filter(|stack| stacks.proven_part(*stack) != *stack) {
            reader.prove(stack, stacks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Frame;
    use crate::python::code::CodeId;

    #[test]
    fn threads_have_their_turns_until_all_is_believed_or_given_up() {
        let mut stacks = Stacks::default();
        let frame = |code| Frame { code: CodeId(code), offset: 0 };
        let base = stacks.on(StackNumber::default(), frame(0));
        let [one, other] = [1, 2].map(|code| stacks.on(base, frame(code)));
        let mut doubts = Doubts::default();
        doubts.add(Addr(1), one);
        doubts.add(Addr(2), other);
        doubts.add(Addr(2), other);
        let turns: Vec<_> = (0..4).map(|_| doubts.next(&mut stacks)).collect();
        assert_eq!(turns, [2, 1, 2, 1].map(|at| Some(Addr(at))));
        stacks.saw_whole(other);
        let mut rest = 0;
        while let Some(state) = doubts.next(&mut stacks) {
            assert_eq!(state, Addr(1));
            rest += 1;
        }
        assert_eq!(rest, ROUNDS - 3);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut doubts = Doubts::default();
        (1..1000).for_each(|number| doubts.add(Addr(7), StackNumber(number)));
        assert_eq!(doubts.rows.len(), MAX_DOUBTS);
        assert_eq!(doubts.rows[0].stack, StackNumber(999));
    }
}
