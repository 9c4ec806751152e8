//! When the target is held still for a look: never, where a look came out torn, or always; and for how long in all.

use std::time::Duration;

use crate::target::{Paused, Pauser, Process};

/// The longest that we wait for a process to hold still.
const DEADLINE: Duration = Duration::from_millis(10);
/// How long the pause that a budget saves up for may be: what was not used long ago is not owed.
const MAX_SAVED: Duration = Duration::from_millis(50);
/// What a pause is taken to cost before one was measured.
const FIRST_COST: Duration = Duration::from_micros(500);

/// What is done about stacks that change while they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// They are read again, then kept as far as they are certain. The target is never held.
    #[default]
    Checked,
    /// Where that left a part out, the target is held for one look.
    Exact,
    /// The target is held for every look.
    Stop,
}

/// Holds the target within a budget.
#[derive(Debug)]
pub struct Hold {
    consistency: Consistency,
    /// The share of time for which the target may be held; [`Consistency::Stop`] asks for none.
    budget: f64,
    pauser: Pauser,
    /// Time that may be spent on pauses, saved up since the last one.
    saved: Duration,
    /// What a pause costs, smoothed.
    cost: Duration,
    last: Duration,
    /// For how long the target was held in all.
    spent: Duration,
    refused: u64,
}

impl Hold {
    /// Nothing is spent yet.
    pub fn new(consistency: Consistency, budget: f64) -> Hold {
        Hold {
            consistency,
            budget,
            pauser: Pauser::default(),
            saved: Duration::ZERO,
            cost: FIRST_COST,
            last: Duration::ZERO,
            spent: Duration::ZERO,
            refused: 0,
        }
    }

    /// For how long the target was held so far.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// How often the target could not be held.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether a look at `now` is to be taken while the target holds still, from its beginning on.
    pub fn holds_always(&self) -> bool {
        self.consistency == Consistency::Stop
    }

    /// Whether a look at `now` that came out torn is to be taken again while the target holds still.
    pub fn holds_torn(&mut self, now: Duration) -> bool {
        if self.consistency != Consistency::Exact {
            return false;
        }
        let earned = now.saturating_sub(std::mem::replace(&mut self.last, now)).mul_f64(self.budget);
        self.saved = (self.saved + earned).min(MAX_SAVED.max(self.cost));
        self.saved >= self.cost
    }

    /// Runs `look` while the target holds still; says whether it did hold.
    pub fn hold(&mut self, process: &Process, look: impl FnOnce()) -> bool {
        let Ok(paused) = self.pauser.pause(process, DEADLINE) else {
            self.refused += 1;
            return false;
        };
        look();
        let length = release(paused);
        self.spent += length;
        self.saved = self.saved.saturating_sub(length);
        self.cost = (self.cost * 7 + length) / 8;
        true
    }

    /// Lets threads go that were late to stop; costs nothing where there are none.
    pub fn settle(&mut self) {
        self.pauser.settle();
    }
}

/// Lets the target go on; says for how long it was held.
fn release(paused: Paused<'_>) -> Duration {
    let began = std::time::Instant::now();
    let length = paused.length();
    drop(paused);
    length + began.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_budget_is_saved_up_and_never_overdrawn() {
        let mut hold = Hold::new(Consistency::Exact, 0.01);
        assert!(!hold.holds_torn(MS * 10), "0.1 ms is saved, a pause is taken to cost 0.5");
        assert!(hold.holds_torn(MS * 60));
        hold.saved = Duration::ZERO;
        let mut held = 0;
        for now in 61..10_061 {
            if hold.holds_torn(MS * now) {
                hold.saved -= hold.cost;
                held += 1;
            }
        }
        assert_eq!(held, 200, "of 0.5 ms each, in 1 % of 10 s");
    }

    #[test]
    fn only_who_asked_for_it_is_held() {
        for (consistency, always, torn) in [
            (Consistency::Checked, false, false),
            (Consistency::Exact, false, true),
            (Consistency::Stop, true, false),
        ] {
            let mut hold = Hold::new(consistency, 1.0);
            assert_eq!((hold.holds_always(), hold.holds_torn(MS * 100)), (always, torn), "{consistency:?}");
        }
    }
}
