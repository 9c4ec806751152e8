//! What following the heap may cost: what the budget leaves once the stacks have been read, and never much.

use std::time::Duration;

/// The most that headers of pools may take of a core; with all else that is read of a heap, it stays below 4 %.
const MOST: f64 = 0.03;
/// The least, so that a heap that is read slowly is still read.
pub(super) const LEAST: f64 = 0.005;
/// The part of a budget that is handed out: what else we cost is never known to the end.
const PART: f64 = 0.8;
/// How often the cost of everything else is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A share of one core, and what of it is left.
#[derive(Debug, Clone)]
pub struct Allowance {
    limit: Option<f64>,
    share: f64,
    /// When the cost was last looked at: time, and CPU time of the others.
    last: (Duration, Duration),
    /// The CPU time of this thread until which it may go on.
    until: Duration,
    begun: bool,
}

impl Allowance {
    /// Of the `limit` for all of us, if there is any.
    pub fn new(limit: Option<f64>) -> Allowance {
        let share = limit.map_or(MOST, |limit| (limit * PART).clamp(LEAST, MOST));
        let none = Duration::ZERO;
        Allowance { limit, share, last: (none, none), until: none, begun: false }
    }

    /// Begins a look at `now`, when the others of us have used `others`, and this thread `own`.
    pub fn begin(&mut self, now: Duration, others: Duration, own: Duration) {
        let (last, before) = self.last;
        let wall = now.saturating_sub(last);
        self.until = own + EVERY.mul_f64(self.share);
        if !std::mem::replace(&mut self.begun, true) {
            self.last = (now, others);
        } else if wall >= EVERY {
            self.last = (now, others);
            let others = others.saturating_sub(before).div_duration_f64(wall);
            if let Some(limit) = self.limit {
                self.share = (limit * PART - others).clamp(LEAST, MOST);
            }
        }
    }

    /// Lets this look have the most that there ever is: none comes after it.
    pub fn raise(&mut self) {
        self.until += EVERY.mul_f64(MOST - self.share);
    }

    /// Whether this look has had what it may use; `own` is the CPU time of this thread.
    pub fn is_spent(&self, own: Duration) -> bool {
        own >= self.until
    }

    /// The share of a core that there is.
    pub fn share(&self) -> f64 {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_stacks_take_of_the_budget_is_not_there_for_the_heap() {
        let mut left = Allowance::new(Some(0.05));
        left.begin(MS, MS * 500, MS);
        assert!(
            !left.is_spent(MS * 30) && left.is_spent(MS * 31),
            "not 0.8 of 5 % of a second, but the most"
        );
        // In the next second everything else takes 3 %.
        left.begin(MS * 1001, MS * 530, MS * 21);
        left.begin(MS * 1101, MS * 530, MS * 21);
        assert!(!left.is_spent(MS * 30) && left.is_spent(MS * 32), "{left:?}");
        // … and more than there is.
        left.begin(MS * 2001, MS * 930, MS * 21);
        left.begin(MS * 2101, MS * 930, MS * 21);
        assert!(!left.is_spent(MS * 25) && left.is_spent(MS * 27), "{left:?}");
        left.raise();
        assert!(!left.is_spent(MS * 50) && left.is_spent(MS * 52), "{left:?}");
    }

    #[test]
    fn without_a_budget_there_is_the_most_and_no_more() {
        let mut left = Allowance::new(None);
        left.begin(MS, MS, MS);
        left.begin(MS * 2001, MS * 3000, MS);
        assert!((left.share() - MOST).abs() < 1e-9 && left.is_spent(MS * 31));
    }
}
