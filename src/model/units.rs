//! Quantities that carry their unit in their type.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A span of time in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// A moment of a recording: nanoseconds of the monotonic clock since the recording started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub u64);

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Nanos {
    /// One second.
    pub const SECOND: Nanos = Nanos(1_000_000_000);

    /// The span in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The span in whole microseconds, rounded to the nearest.
    pub fn as_micros_rounded(self) -> u64 {
        self.0.saturating_add(500) / 1_000
    }

    /// The longer span less the shorter one, or none.
    pub fn saturating_sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

impl At {
    /// The time from `earlier` to this moment, or none where `earlier` is the later one.
    pub fn since(self, earlier: At) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` before this one, but not before the start.
    pub fn back(self, span: Nanos) -> At {
        At(self.0.saturating_sub(span.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

impl Add<Nanos> for At {
    type Output = At;
    fn add(self, span: Nanos) -> At {
        At(self.0.saturating_add(span.0))
    }
}

impl Sub for At {
    type Output = Nanos;
    fn sub(self, earlier: At) -> Nanos {
        self.since(earlier)
    }
}

impl std::iter::Sum for Nanos {
    fn sum<I: Iterator<Item = Nanos>>(spans: I) -> Nanos {
        spans.fold(Nanos(0), Nanos::add)
    }
}

impl fmt::Display for Nanos {
    /// Three significant digits and the unit that fits: `1.25 s`, `417 ms`, `38 µs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1_000_000_000 => write!(f, "{:.2} s", n as f64 / 1e9),
            n if n >= 1_000_000 => write!(f, "{:.0} ms", n as f64 / 1e6),
            n if n >= 1_000 => write!(f, "{:.0} µs", n as f64 / 1e3),
            n => write!(f, "{n} ns"),
        }
    }
}
