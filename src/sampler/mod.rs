//! Looks at a process again and again, and sends what it saw down the river.

pub mod channel;
pub mod clock;
pub mod intern;

pub use clock::{Clock, Schedule, Stop, Tick};
