//! pitviper looks at a running CPython from outside and says what it was doing.
//!
//! The modules in reading order, along the river from the target's bytes to the files that are left behind;
//! `ARCHITECTURE.md` draws it.

pub mod memory;
pub mod layout;
pub mod target;
pub mod python;
pub mod model;
pub mod sampler;
pub mod recording;
pub mod format;
pub mod tui;
pub mod cli;
