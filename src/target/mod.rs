//! A Python process, found and held: everything that the operating system and the target's ELF files say of it.

pub mod process;
pub mod maps;
pub mod elf;
pub mod access;
mod root;
mod sign;
pub mod locate;
pub mod child;
pub mod own;
pub mod pause;

pub use child::Child;
pub use locate::{Located, Module, Root};
pub use pause::{PauseError, Paused, Pauser};
pub use process::{Proc, Process, ProcessError, Thread};
