//! A Python process, found and held: everything that the operating system and the target's ELF files say of it.

pub mod process;
pub mod maps;
pub mod smaps;
pub mod elf;
pub mod access;
mod root;
mod sign;
pub mod locate;
pub mod child;
pub mod family;
pub mod distribution;
pub mod source;
pub mod own;
pub mod pause;
pub mod pages;
pub mod touched;
pub mod usage;
pub mod still;
pub mod task;
mod syscall;
mod socket;
mod descriptor;
pub mod wait;

pub use child::Child;
pub use distribution::Distributions;
pub use family::{Answer, Family};
pub use locate::{Located, Module, Root};
pub use pause::{PauseError, Paused, Pauser};
pub use process::{Proc, Process, ProcessError, Thread};
pub(crate) use root::chunks as variables;
pub use source::Sources;
pub use task::{Call, Doing, Task};
pub use wait::{Waited, Waits};
