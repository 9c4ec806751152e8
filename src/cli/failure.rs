//! What goes wrong, as a user meets it: one line, a hint that helps, an exit code.

use std::fmt;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; the target's end is an end like any other.
    Done,
    /// It failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The target was gone before the first sample.
    Gone,
    /// We may not look.
    Permission,
    /// Not a Python that we can read.
    NotReadable,
    /// The code of the program that we ran, or 128 and the signal that ended it.
    Child(u8),
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Gone => 3,
            Exit::Permission => 4,
            Exit::NotReadable => 5,
            Exit::Child(code) => code,
        }
    }
}

/// An error that knows how to help.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What happened, in one line, in lower case.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What was asked for is decided, but not built.
    pub fn not_yet(what: &str) -> Failure {
        Failure::new(Exit::Usage, format!("{what}: not yet"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
