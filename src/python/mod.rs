//! The walks: what an interpreter's own structs say of its threads, their stacks and what they run.
//!
//! Everything here is bound once from a [`Layout`](crate::layout::Layout) and then reads through a
//! [`Memory`](crate::memory::Memory). A walk does not fail: it returns what it read and why it stopped.

pub mod lines;
pub mod object;
pub mod text;
pub mod dict;
pub mod attribute;
pub mod plan;
mod precedent;
pub mod extents;
mod unmoved;
pub mod code;
pub mod frame;
pub mod opcode;
pub mod thread;
pub mod stacks;
pub mod proof;
pub mod ends;
pub mod link;
pub mod mention;
mod called;
mod hear;
mod means;
pub mod watch;
pub mod settle;
pub mod gil;
pub mod collector;
mod ring;
pub mod gc;
pub mod mutex;
pub mod exception;
pub mod number;
pub mod secret;
pub mod value;
pub mod locals;
pub mod name;
pub mod interpreter;
pub mod runtime;
pub mod check;
pub mod arenas;
mod reach;
pub mod pools;
mod mimalloc;
mod store;
mod search;
pub mod obmalloc;
pub mod meter;
pub mod heap;
pub mod class;
mod usual;
pub mod instance;
pub mod extent;
pub mod outside;
pub mod array;
pub mod generation;
pub mod pin;
pub mod special;
pub mod export;
pub mod globals;
pub mod census;
pub mod ladder;
pub mod hook;
pub mod traces;
pub mod functions;

pub use code::{Code, CodeId, Codes};
pub use frame::Frame;
pub use lines::{LineTable, Position};
pub use runtime::{Audit, Look, Python, ThreadLook};
pub use stacks::{StackNumber, Stacks};

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
