//! What a recording says of itself: who made it, what was asked for, and what became of that.

use serde::{Deserialize, Serialize};

use super::options::ViewOptions;

/// What a recording says of itself. It is written when a recording starts, and again when it ends.
///
/// In the file it is a JSON object; keys are only ever added, and a reader passes over those that it does not know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// The program that wrote it and its version, such as `pitviper 0.1.0`.
    pub tool: String,
    /// The wall-clock time of the recording's zero: nanoseconds since 1970 began, UTC.
    pub started_unix_ns: u64,
    /// What was asked for.
    pub asked: Asked,
    /// What became of it; `None` until the recording has ended.
    pub achieved: Option<Achieved>,
    /// The view that was asked for along with the recording. It changed nothing of what was recorded.
    pub view: ViewOptions,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Looks a second; `None` is as many as there can be.
    pub rate_hz: Option<f64>,
    /// How long to record; `None` is until the end.
    pub duration_ns: Option<u64>,
    /// How the looks are spread over time.
    pub schedule: Schedule,
    /// What is done about a stack that changes while it is read.
    pub consistency: Consistency,
    /// The share of one core that the recording program may use; `None` is any.
    pub max_overhead: Option<f64>,
}

/// How looks are spread over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// At random, so that nothing periodic in the target can keep step with them.
    #[default]
    Poisson,
    /// At equal distances.
    Fixed,
    /// In a way that this version does not know.
    #[serde(other)]
    Other,
}

/// What is done about a stack that changes while it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// It is read again, then kept as far as it is certain. The target is never paused.
    #[default]
    Checked,
    /// Where reading again did not help, the target is paused for one read.
    Exact,
    /// The target is paused for every read.
    Stop,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// What became of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Achieved {
    /// From the first deadline to the end.
    pub duration_ns: u64,
    /// Looks that were due.
    pub due: u64,
    /// Looks that were taken.
    pub taken: u64,
    /// Looks that were due and were not taken.
    pub missed: u64,
    /// Looks that failed altogether.
    pub errors: u64,
    /// CPU time that the recording program itself used.
    pub own_cpu_ns: u64,
    /// The most memory that the recording program itself had resident, in bytes; zero where nobody said.
    pub own_memory_bytes: u64,
    /// Looks became rarer than was asked, to stay within `max_overhead`.
    pub held_back: bool,
    /// For how long the target was kept paused.
    pub paused_ns: u64,
    /// For how long processes were sampled, all of them together; zero where nobody said, which means one, all the time.
    pub watched_ns: u64,
}

impl Achieved {
    /// Looks a second at a process, for as long as there was one to look at.
    pub fn rate_hz(&self) -> Option<f64> {
        let watched = if self.watched_ns > 0 { self.watched_ns } else { self.duration_ns };
        (watched > 0).then(|| self.taken as f64 * 1e9 / watched as f64)
    }

    /// The share of one core that the recording program used.
    pub fn overhead(&self) -> Option<f64> {
        (self.duration_ns > 0).then(|| self.own_cpu_ns as f64 / self.duration_ns as f64)
    }
}
