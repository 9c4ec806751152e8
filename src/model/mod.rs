//! What was seen, as plain data: the words that the left half of the program says to the right half.
//!
//! This module imports nothing. It never learns what a process is, nor what a file format is.

pub mod allocation;
pub mod event;
pub mod gc;
pub mod heap;
pub mod stack;
pub mod units;

pub use event::{
    Counter, Define, Event, Flags, Mark, ProcessEvent, ProcessState, Quality, Sample, State, Torn, Trouble,
    TroubleKind, WaitId,
};
pub use stack::{
    File, FileId, FileKind, Frame, FrameId, FrameKind, Process, ProcessId, Stack, StackId, StringId, Track,
    TrackId, TrackKind, Wait,
};
pub use units::{At, Bytes, Nanos};
