//! When to look: deadlines that are kept or counted as missed, and never caught up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::model::{At, Nanos};

/// A pause of ours longer than this, and than [`GAP_PERIODS`] looks, is a gap: we were stopped, not slow.
const GAP: Duration = Duration::from_secs(1);
/// See [`GAP`].
const GAP_PERIODS: u32 = 10;
/// The first look is not waited for any longer: a program that is over before its turn came would leave nothing.
const FIRST: Duration = Duration::from_millis(1);

/// When looks happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// At random moments, so that nothing of the target's own rhythm shows.
    Poisson,
    /// At a fixed beat.
    Fixed,
}

/// A moment to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The moment.
    pub at: At,
    /// How many looks were due since the last one and did not happen.
    pub missed: u64,
    /// We ourselves stood still before this look; what the target did then is unknown.
    pub gap: Option<Nanos>,
}

/// Ends a [`Clock`]'s waiting from another thread. Clones are one and the same stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    waiter: OnceLock<Thread>,
}

impl Stop {
    /// Ends the wait that is under way, and all later ones.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(waiter) = self.shared.waiter.get() {
            waiter.unpark();
        }
    }

    /// Whether [`Stop::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Makes this thread the one that is woken.
    fn wake_this_thread(&self) {
        self.shared.waiter.get_or_init(thread::current);
    }
}

/// Deadlines.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    schedule: Schedule,
    /// The mean time between looks; zero is as fast as can be.
    period: Duration,
    /// The deadline that was last waited for, since `start`.
    deadline: Duration,
    /// When there are no more looks, since `start`.
    end: Option<Duration>,
    /// How long a look takes, from its deadline to its end, smoothed.
    cost: Duration,
    /// Time that we are late by, less than one period; whole periods of it are missed looks.
    debt: Duration,
    /// No look has been planned yet.
    fresh: bool,
    /// The next look is planned: how many were missed before it, and for how long we stood still.
    planned: Option<(u64, Option<Nanos>)>,
    random: fastrand::Rng,
}

impl Clock {
    /// A clock that starts at `start`, ticks `rate` times a second or as fast as it is asked, and ends after `duration`.
    pub fn new(start: Instant, rate: Option<f64>, schedule: Schedule, duration: Option<Duration>) -> Clock {
        let period = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        Clock {
            start,
            schedule,
            period,
            deadline: Duration::ZERO,
            end: duration,
            cost: Duration::ZERO,
            debt: Duration::ZERO,
            fresh: true,
            planned: None,
            random: fastrand::Rng::new(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> At {
        At(self.start.elapsed().as_nanos() as u64)
    }

    /// The mean time between looks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Changes the mean time between looks from the next one on.
    pub fn set_period(&mut self, period: Duration) {
        self.period = period;
        self.cost = self.cost.min(period);
        self.debt = Duration::ZERO;
    }

    /// When the next look will be. A look ends with this: what is done until then is not part of it.
    pub fn due(&mut self) -> Instant {
        if self.planned.is_none() {
            self.planned = Some(self.plan(self.start.elapsed()));
        }
        self.start + self.deadline
    }

    /// Waits for the next moment to look; `None` once the time is over or `stop` says so.
    pub fn wait(&mut self, stop: &Stop) -> Option<Tick> {
        stop.wake_this_thread();
        self.due();
        let (missed, gap) = self.planned.take().unwrap_or_default();
        loop {
            if stop.is_stopped() {
                return None;
            }
            let now = self.start.elapsed();
            if self.end.is_some_and(|end| now >= end) {
                return None;
            }
            let wake = self.end.map_or(self.deadline, |end| end.min(self.deadline));
            let Some(left) = wake.checked_sub(now).filter(|left| !left.is_zero()) else {
                return Some(Tick { at: At(now.as_nanos() as u64), missed, gap });
            };
            thread::park_timeout(left);
        }
    }

    /// Sets the next deadline, `now` being the end of the last look; says how many were missed meanwhile.
    fn plan(&mut self, now: Duration) -> (u64, Option<Nanos>) {
        if self.period.is_zero() {
            self.deadline = now;
            return (0, None);
        }
        let busy = now.saturating_sub(self.deadline);
        if busy > GAP && busy > self.period * GAP_PERIODS {
            self.deadline = now;
            self.debt = Duration::ZERO;
            return (0, Some(Nanos(busy.as_nanos() as u64)));
        }
        self.debt += busy.saturating_sub(self.period);
        let missed = self.debt.as_nanos() / self.period.as_nanos();
        self.debt = Duration::from_nanos((self.debt.as_nanos() % self.period.as_nanos()) as u64);
        if std::mem::take(&mut self.fresh) {
            self.deadline = now + FIRST.min(self.period);
            return (missed as u64, None);
        }
        match self.schedule {
            Schedule::Fixed => {
                self.deadline += self.period;
                if self.deadline < now {
                    self.deadline = now;
                }
            }
            // Exponential gaps have no memory, so a gap may start where the look ended; its mean is shortened by what a
            // look costs, that the rate comes out as asked.
            Schedule::Poisson => {
                self.cost = (self.cost * 15 + busy.min(self.period)) / 16;
                let mean = self.period.saturating_sub(self.cost);
                let gap = mean.mul_f64(-(1.0 - self.random.f64()).ln());
                self.deadline = now + gap;
            }
        }
        (missed as u64, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn clock(schedule: Schedule) -> Clock {
        Clock::new(Instant::now(), Some(1000.0), schedule, None)
    }

    /// Runs `looks` looks that each take `cost`, in made-up time; returns the time they took and the looks missed.
    fn run(clock: &mut Clock, looks: u32, cost: Duration) -> (Duration, u64) {
        let (mut now, mut missed) = (Duration::ZERO, 0);
        for _ in 0..looks {
            missed += clock.plan(now).0;
            now = now.max(clock.deadline) + cost;
        }
        (now, missed)
    }

    #[test]
    fn a_rate_comes_out_as_asked_although_looks_take_time() {
        for schedule in [Schedule::Fixed, Schedule::Poisson] {
            let (time, missed) = run(&mut clock(schedule), 20_000, MS / 4);
            let off = time.as_secs_f64() / 20.0;
            assert!((0.96..1.04).contains(&off), "{schedule:?}: {off}");
            assert_eq!(missed, 0, "{schedule:?}");
        }
    }

    #[test]
    fn looks_that_cannot_be_kept_are_missed_and_not_caught_up() {
        for schedule in [Schedule::Fixed, Schedule::Poisson] {
            let (time, missed) = run(&mut clock(schedule), 100, MS * 5);
            assert!(time >= MS * 500, "{schedule:?}: {time:?}");
            assert!((390..=400).contains(&missed), "{schedule:?}: {missed}");
        }
    }

    #[test]
    fn standing_still_is_one_gap_and_not_a_thousand_missed_looks() {
        let mut clock = clock(Schedule::Fixed);
        assert_eq!(clock.plan(Duration::ZERO), (0, None));
        assert_eq!(clock.plan(Duration::from_secs(60)), (0, Some(Nanos(59_999_000_000))));
        assert_eq!(clock.plan(Duration::from_secs(60) + MS / 2), (0, None));
        assert_eq!(clock.deadline, Duration::from_secs(60) + MS);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = Stop::default();
        stop.stop();
        assert_eq!(Clock::new(Instant::now(), Some(0.001), Schedule::Fixed, None).wait(&stop), None);
    }

    #[test]
    fn what_is_done_before_the_next_look_is_due_is_no_part_of_a_look() {
        let mut clock = clock(Schedule::Poisson);
        let next = clock.due();
        assert_eq!((next, clock.cost), (clock.due(), Duration::ZERO), "it is planned once");
        let tick = clock.wait(&Stop::default()).unwrap();
        assert!(clock.start + Duration::from_nanos(tick.at.0) >= next);
        assert!(clock.due() > next);
    }

    #[test]
    fn the_time_is_wall_time_however_rare_the_looks() {
        let end = Some(MS * 20);
        let mut clock = Clock::new(Instant::now(), Some(0.001), Schedule::Fixed, end);
        clock.fresh = false;
        assert_eq!(clock.wait(&Stop::default()), None);
        assert!(clock.now() >= At(20_000_000));
    }

    #[test]
    fn the_first_look_is_taken_at_once_however_rare_the_looks() {
        for schedule in [Schedule::Fixed, Schedule::Poisson] {
            let mut clock = Clock::new(Instant::now(), Some(0.001), schedule, None);
            assert_eq!(clock.plan(Duration::ZERO), (0, None));
            assert_eq!(clock.deadline, FIRST, "{schedule:?}");
            clock.plan(FIRST);
            assert!(clock.deadline > FIRST, "{schedule:?}");
        }
    }
}
