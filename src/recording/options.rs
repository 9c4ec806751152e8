//! How a recording is looked at, as plain data: filters, what is measured, and what counts as one and the same.

use serde::{Deserialize, Serialize};

/// How a recording is looked at. The default shows all of it, weighted by time, with idle threads left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewOptions {
    /// Which time counts.
    pub mode: Mode,
    /// What the samples' weights are.
    pub metric: Metric,
    /// Keep threads that wait.
    pub idle: bool,
    /// Put each thread's name at the root of its stacks.
    pub threads: bool,
    /// Only threads whose name matches this pattern.
    pub only_thread: Option<String>,
    /// Only main threads.
    pub main_thread: bool,
    /// Only stacks in which a frame matches one of these patterns.
    pub include: Vec<String>,
    /// Hide the frames that match one of these patterns.
    pub exclude: Vec<String>,
    /// What counts as one and the same frame.
    pub by: By,
    /// Leave line numbers out.
    pub no_line_numbers: bool,
    /// Show a function that calls itself only once.
    pub collapse_recursion: bool,
    /// Leave collections of garbage out of the stacks.
    pub no_gc: bool,
    /// Show file names as the target has them, instead of their last parts.
    pub full_filenames: bool,
    /// Only what happened from this moment on: nanoseconds since the start.
    pub from_ns: Option<u64>,
    /// Only what happened up to this moment.
    pub to_ns: Option<u64>,
}

/// Which time counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Time as it passes.
    #[default]
    Wall,
    /// Time on a CPU.
    Cpu,
    /// Time holding the GIL.
    Gil,
    /// Time spent in handling exceptions.
    Exception,
}

/// What the weights of samples are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Measured time.
    #[default]
    Time,
    /// How often it was seen.
    Samples,
    /// Bytes that memory grew by, or that are in use where the target traces them.
    Bytes,
    /// Blocks, likewise: an object and each buffer that it keeps.
    Objects,
}

/// What counts as one and the same frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The line of a function that ran.
    #[default]
    Line,
    /// A function.
    Function,
    /// A file.
    File,
    /// A module.
    Module,
    /// An installed distribution.
    Distribution,
}

impl Mode {
    /// Each of them.
    pub const ALL: [Mode; 4] = [Mode::Wall, Mode::Cpu, Mode::Gil, Mode::Exception];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Wall => "wall",
            Mode::Cpu => "cpu",
            Mode::Gil => "gil",
            Mode::Exception => "exception",
        }
    }
}

impl Metric {
    /// Each of them.
    pub const ALL: [Metric; 4] = [Metric::Time, Metric::Samples, Metric::Bytes, Metric::Objects];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Time => "time",
            Metric::Samples => "samples",
            Metric::Bytes => "bytes",
            Metric::Objects => "objects",
        }
    }

    /// Whether it counts memory, and no samples.
    pub fn is_memory(self) -> bool {
        matches!(self, Metric::Bytes | Metric::Objects)
    }
}

impl By {
    /// Each of them.
    pub const ALL: [By; 5] = [By::Line, By::Function, By::File, By::Module, By::Distribution];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            By::Line => "line",
            By::Function => "function",
            By::File => "file",
            By::Module => "module",
            By::Distribution => "distribution",
        }
    }
}
