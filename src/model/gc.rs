//! Collections of garbage, as events on the recording's clock.

use super::stack::{ProcessId, StackId};
use super::units::{At, Nanos};

/// How exactly a time is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exactness {
    /// The target wrote it down itself.
    Exact,
    /// It lies between two looks.
    Bounds,
    /// It lies between two looks, and there may have been more such collections there: the target keeps no count.
    AtLeast,
}

/// One collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// In which process.
    pub process: ProcessId,
    /// In which interpreter.
    pub interpreter: i64,
    /// The oldest generation that was collected.
    pub generation: u8,
    /// When it began: not before, unless [`Exactness::Exact`].
    pub start: At,
    /// When it ended: not after, unless [`Exactness::Exact`].
    pub stop: At,
    /// How long it took, or all of them together. Where the target does not say it: the time that the looks which saw it
    /// under way stand for, so that it is right in the sum and zero where no look met it.
    pub pause: Nanos,
    /// How exactly both are known.
    pub exactness: Exactness,
    /// How many collections this row stands for: more than one where several fell between two looks.
    pub count: u32,
    /// Objects freed.
    pub collected: u64,
    /// Objects found unreachable that could not be freed.
    pub uncollectable: u64,
    /// Tracked objects before it, where a counter says so.
    pub objects_before: Option<u64>,
    /// Tracked objects after it, where a counter says so.
    pub objects_after: Option<u64>,
    /// The Python stack that set it off.
    pub stack: Option<StackId>,
}

/// The collector's generations; `gc.get_threshold()` has as many.
pub const GENERATIONS: usize = 3;

/// A number that a collector has at any moment, and that is told as a counter whenever it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gauge {
    /// What `gc.get_count()` says of a generation.
    Count(u8),
    /// What `gc.get_threshold()` says of a generation.
    Threshold(u8),
    /// Collections of a generation before the recording; told once.
    Collections(u8),
    /// Objects that these freed; told once.
    Collected(u8),
    /// Objects that these could not free; told once.
    Uncollectable(u8),
    /// 1 where collections happen by themselves, else 0: `gc.isenabled()`.
    Enabled,
    /// Objects that the collector looks after.
    Tracked,
    /// Objects that survived the last collection of the oldest generation.
    LongLived,
    /// Objects that wait to be such.
    Pending,
}

impl Gauge {
    /// What stands behind the interpreter in its counter's name.
    fn words(self) -> (&'static str, Option<u8>) {
        match self {
            Gauge::Count(generation) => ("generation", Some(generation)),
            Gauge::Threshold(generation) => ("threshold", Some(generation)),
            Gauge::Collections(generation) => ("collections before", Some(generation)),
            Gauge::Collected(generation) => ("collected before", Some(generation)),
            Gauge::Uncollectable(generation) => ("uncollectable before", Some(generation)),
            Gauge::Enabled => ("enabled", None),
            Gauge::Tracked => ("tracked objects", None),
            Gauge::LongLived => ("long-lived objects", None),
            Gauge::Pending => ("pending objects", None),
        }
    }

    /// Whether it speaks of the time before the recording.
    pub fn is_before(self) -> bool {
        matches!(self, Gauge::Collections(_) | Gauge::Collected(_) | Gauge::Uncollectable(_))
    }

    /// The name of its counter.
    pub fn name(self, interpreter: i64) -> String {
        let whose = match interpreter {
            0 => "gc".to_owned(),
            other => format!("gc of interpreter {other}"),
        };
        match self.words() {
            (what, Some(generation)) => format!("{whose}: {what} {generation}"),
            (what, None) => format!("{whose}: {what}"),
        }
    }

    /// The interpreter and the number that a counter's name tells; `None` where the counter is none of a collector's.
    pub fn of_name(name: &str) -> Option<(i64, Gauge)> {
        let (whose, what) = name.split_once(": ")?;
        let interpreter = match whose.strip_prefix("gc of interpreter ") {
            Some(id) => id.parse().ok()?,
            None => (whose == "gc").then_some(0)?,
        };
        let each: [fn(u8) -> Gauge; 5] =
            [Gauge::Count, Gauge::Threshold, Gauge::Collections, Gauge::Collected, Gauge::Uncollectable];
        let of_generations = each.iter().flat_map(|gauge| (0..GENERATIONS as u8).map(gauge));
        let single = [Gauge::Enabled, Gauge::Tracked, Gauge::LongLived, Gauge::Pending];
        let gauge = of_generations.chain(single).find(|gauge| match gauge.words() {
            (words, Some(generation)) => what.strip_prefix(words) == Some(&format!(" {generation}")),
            (words, None) => what == words,
        });
        Some((interpreter, gauge?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_counter_tells_whose_number_it_is() {
        for interpreter in [0, 7, -1] {
            for gauge in [Gauge::Count(2), Gauge::Threshold(0), Gauge::Collected(1), Gauge::LongLived] {
                assert_eq!(Gauge::of_name(&gauge.name(interpreter)), Some((interpreter, gauge)));
            }
        }
        assert_eq!(Gauge::Count(0).name(0), "gc: generation 0");
        assert_eq!(Gauge::Tracked.name(3), "gc of interpreter 3: tracked objects");
        for other in ["rss_bytes", "gc", "gc: generation 3", "gc: generation", "gc of interpreter x: enabled"]
        {
            assert_eq!(Gauge::of_name(other), None, "{other}");
        }
    }
}
