//! The walks: what an interpreter's own structs say of its threads, their stacks and what they run.
//!
//! Everything here is bound once from a [`Layout`](crate::layout::Layout) and then reads through a
//! [`Memory`](crate::memory::Memory). A walk does not fail: it returns what it read and why it stopped.

pub mod lines;
pub mod object;
pub mod text;
pub mod dict;
pub mod attribute;
pub mod code;
pub mod copies;
pub mod frame;
pub mod thread;
pub mod gil;
pub mod name;
pub mod runtime;
pub mod check;

pub use code::{Code, CodeId, Codes};
pub use frame::Frame;
pub use lines::{LineTable, Position};
pub use runtime::{Look, Python, ThreadLook};

use crate::memory::Fault;
use crate::model::Torn;

/// Why a value of the target could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Its memory could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What stands there cannot be such a value.
    #[error("what was read cannot be {0}")]
    Garbage(&'static str),
}

impl From<Unread> for Torn {
    fn from(unread: Unread) -> Torn {
        match unread {
            Unread::Fault(_) => Torn::Unreadable,
            Unread::Garbage(_) => Torn::Garbage,
        }
    }
}
