//! What a picture is asked to show: how the history is looked at, through which spans of time, in which order.

use crate::model::{At, Nanos, TrackId};
use crate::recording::{By, Recording, View, ViewOptions};

/// What is shown as the present: the last second, or longer where pictures are rarer.
pub const PRESENT: Nanos = Nanos::SECOND;

/// A column of the list of functions that it can be sorted by, in the order in which they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// What functions spend themselves at present.
    OwnNow,
    /// What they and all that they call spend at present.
    TotalNow,
    /// What they spent themselves since the start.
    Own,
    /// What they and all that they called spent since the start.
    Total,
    /// The difference since the mark; without one, the same as [`Column::Own`].
    Change,
    /// Their names.
    Name,
}

/// A column of the list of threads that it can be sorted by, in the order in which they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThreadColumn {
    /// Their names.
    Name,
    /// The share of the present on a processor.
    Cpu,
    /// The share of the present holding the GIL.
    Gil,
    /// The share of the present wanting the GIL.
    Wants,
    /// The share of the present waiting for anything else.
    Waits,
}

impl Column {
    /// Each of them.
    pub const ALL: [Column; 6] =
        [Column::OwnNow, Column::TotalNow, Column::Own, Column::Total, Column::Change, Column::Name];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Column::OwnNow => "own now",
            Column::TotalNow => "total now",
            Column::Own => "own",
            Column::Total => "total",
            Column::Change => "change",
            Column::Name => "name",
        }
    }
}

impl ThreadColumn {
    /// Each of them.
    pub const ALL: [ThreadColumn; 5] =
        [ThreadColumn::Name, ThreadColumn::Cpu, ThreadColumn::Gil, ThreadColumn::Wants, ThreadColumn::Waits];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            ThreadColumn::Name => "name",
            ThreadColumn::Cpu => "cpu",
            ThreadColumn::Gil => "gil",
            ThreadColumn::Wants => "wants",
            ThreadColumn::Waits => "waits",
        }
    }
}

/// What a picture is asked to show.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// How the history is looked at: mode, filters, what counts as one row.
    pub options: ViewOptions,
    /// Shares are those of the time from here on.
    pub since: At,
    /// The picture is of this moment; `None` is the latest.
    pub at: Option<At>,
    /// The time up to that moment that is shown as the present.
    pub present: Nanos,
    /// The moment that was marked.
    pub mark: Option<At>,
    /// The time since the mark is compared with the time before it.
    pub compares: bool,
    /// How functions are sorted.
    pub column: Column,
    /// How threads are sorted.
    pub thread_column: ThreadColumn,
    /// The other way round.
    pub inverted: bool,
    /// The thread whose stack is shown.
    pub stack_of: Option<TrackId>,
}

impl Default for Query {
    fn default() -> Query {
        Query {
            options: ViewOptions { by: By::Function, ..ViewOptions::default() },
            since: At(0),
            at: None,
            present: PRESENT,
            mark: None,
            compares: false,
            column: Column::OwnNow,
            thread_column: ThreadColumn::Cpu,
            inverted: false,
            stack_of: None,
        }
    }
}

impl Query {
    /// Why the options cannot be looked through, in words; `None` where they can.
    pub fn refusal(options: &ViewOptions) -> Option<String> {
        View::new(&Recording::default(), options).err().map(|error| error.to_string())
    }

    /// The options with which an export of the history shows the same shares.
    pub fn exported(&self) -> ViewOptions {
        ViewOptions {
            from_ns: (self.since > At(0)).then_some(self.since.0),
            to_ns: self.at.map(|at| at.0),
            ..self.options.clone()
        }
    }

    /// The moment of the mark, where the time since it is to be compared with the time before.
    pub fn compared(&self) -> Option<At> {
        self.mark.filter(|_| self.compares)
    }
}
