//! What can be turned and read while a sampler runs: how often it looks, and what that costs the target.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::Nanos;

/// The dial of a sampler. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Dial {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The time between looks that is wished for, in nanoseconds; zero is no new wish.
    wish: AtomicU64,
    paused: AtomicU64,
    held_back: AtomicBool,
}

impl Dial {
    /// Has the sampler look so many times a second from its next look on.
    pub fn set_rate(&self, rate: f64) {
        let period = Duration::try_from_secs_f64(1.0 / rate).unwrap_or_default();
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        self.shared.wish.store(nanos, Ordering::Relaxed);
    }

    /// For how long the target was held still so far.
    pub fn paused(&self) -> Nanos {
        Nanos(self.shared.paused.load(Ordering::Relaxed))
    }

    /// Whether looks are rarer than is asked at present.
    pub fn is_held_back(&self) -> bool {
        self.shared.held_back.load(Ordering::Relaxed)
    }

    /// The time between looks, where a new one is wished for.
    pub(super) fn turned(&self) -> Option<Duration> {
        // Most often there is none, which is asked for less.
        let wishes = self.shared.wish.load(Ordering::Relaxed) > 0;
        wishes.then(|| Duration::from_nanos(self.shared.wish.swap(0, Ordering::Relaxed)))
    }

    /// Says what it costs the target.
    pub(super) fn tell(&self, paused: Duration, held_back: bool) {
        self.shared.paused.store(paused.as_nanos() as u64, Ordering::Relaxed);
        self.shared.held_back.store(held_back, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_heard_once() {
        let dial = Dial::default();
        assert_eq!(dial.turned(), None);
        dial.clone().set_rate(200.0);
        assert_eq!(dial.turned(), Some(Duration::from_millis(5)));
        assert_eq!(dial.turned(), None);
        dial.tell(Duration::from_micros(3), true);
        assert_eq!((dial.paused(), dial.is_held_back()), (Nanos(3_000), true));
    }
}
