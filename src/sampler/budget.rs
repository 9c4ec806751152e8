//! What observing may cost: measured on ourselves, and kept by looking less often.

use std::time::Duration;

/// How often the cost is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// No budget makes looks rarer than this.
const MAX_PERIOD: Duration = Duration::from_secs(1);
/// A period that differs by less is left as it is.
const SLACK: f64 = 0.1;

/// A share of one core, and how much of it was used.
#[derive(Debug, Clone)]
pub struct Budget {
    share: f64,
    /// The time between looks that was asked for.
    asked: Duration,
    /// The time between looks that the budget allows, at least `asked`.
    period: Duration,
    /// When the cost was last looked at: time, CPU time, looks.
    last: (Duration, Duration, u64),
}

impl Budget {
    /// A budget of `share` of one core for looks that are wanted every `asked`; `cpu` is what was used before.
    pub fn new(share: f64, asked: Duration, cpu: Duration) -> Budget {
        Budget { share, asked, period: asked, last: (Duration::ZERO, cpu, 0) }
    }

    /// Looks are wanted so often from now on.
    pub fn ask(&mut self, period: Duration) {
        (self.asked, self.period) = (period, period);
    }

    /// Whether it is time to look at the cost again.
    pub fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.last.0) >= EVERY
    }

    /// Takes the cost so far; answers with the new time between looks where that changes.
    pub fn spend(&mut self, now: Duration, cpu: Duration, looks: u64) -> Option<Duration> {
        let (_, cpu_before, looks_before) = std::mem::replace(&mut self.last, (now, cpu, looks));
        let looks = u32::try_from(looks.saturating_sub(looks_before)).ok().filter(|looks| *looks > 0)?;
        let cost = cpu.saturating_sub(cpu_before) / looks;
        let allowed = cost.div_f64(self.share).clamp(self.asked.min(MAX_PERIOD), MAX_PERIOD.max(self.asked));
        let same = allowed.abs_diff(self.period) <= self.period.mul_f64(SLACK);
        if same && allowed != self.asked || allowed == self.period {
            return None;
        }
        self.period = allowed;
        Some(allowed)
    }

    /// Whether looks are rarer than was asked.
    pub fn holds_back(&self) -> bool {
        self.period > self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Looks for a second of made-up time, at `cost` a look; returns how many looks there were.
    fn second(
        budget: &mut Budget,
        period: &mut Duration,
        clock: &mut (Duration, Duration, u64),
        cost: Duration,
    ) -> u64 {
        let (end, before) = (clock.0 + Duration::from_secs(1), clock.2);
        while clock.0 < end {
            clock.0 += (*period).max(cost);
            clock.1 += cost;
            clock.2 += 1;
            if budget.is_due(clock.0)
                && let Some(new) = budget.spend(clock.0, clock.1, clock.2)
            {
                *period = new;
            }
        }
        clock.2 - before
    }

    #[test]
    fn looks_that_cost_too_much_become_rarer_and_come_back_when_they_cost_less() {
        let mut budget = Budget::new(0.05, MS, Duration::ZERO);
        let (mut period, mut clock) = (MS, (Duration::ZERO, Duration::ZERO, 0));
        second(&mut budget, &mut period, &mut clock, MS / 5);
        let dear = second(&mut budget, &mut period, &mut clock, MS / 5);
        assert!((245..=255).contains(&dear), "{dear} looks of 0.2 ms in 5 % of a second");
        assert!(budget.holds_back());
        second(&mut budget, &mut period, &mut clock, MS / 50);
        let cheap = second(&mut budget, &mut period, &mut clock, MS / 50);
        assert_eq!((cheap, budget.holds_back()), (1000, false));
    }

    #[test]
    fn as_fast_as_can_be_is_held_to_its_budget_too() {
        let mut budget = Budget::new(0.10, Duration::ZERO, Duration::ZERO);
        let (mut period, mut clock) = (Duration::ZERO, (Duration::ZERO, Duration::ZERO, 0));
        second(&mut budget, &mut period, &mut clock, MS / 10);
        let looks = second(&mut budget, &mut period, &mut clock, MS / 10);
        assert!((990..=1010).contains(&looks), "{looks}");
    }

    #[test]
    fn another_rate_is_kept_as_far_as_the_budget_goes() {
        let mut budget = Budget::new(0.05, MS, Duration::ZERO);
        let (mut period, mut clock) = (MS, (Duration::ZERO, Duration::ZERO, 0));
        second(&mut budget, &mut period, &mut clock, MS / 50);
        for (asked, looks) in [(MS * 10, 95..=100), (MS / 10, 2300..=2600)] {
            period = asked;
            budget.ask(asked);
            second(&mut budget, &mut period, &mut clock, MS / 50);
            let taken = second(&mut budget, &mut period, &mut clock, MS / 50);
            assert!(looks.contains(&taken), "{taken} looks, {asked:?} apart");
        }
    }

    #[test]
    fn what_costs_next_to_nothing_is_left_alone() {
        let mut budget = Budget::new(0.05, MS * 10, Duration::ZERO);
        assert_eq!(budget.spend(Duration::from_secs(1), MS, 100), None);
        assert_eq!(budget.spend(Duration::from_secs(2), MS, 100), None, "no look, no cost a look");
    }
}
