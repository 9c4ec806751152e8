//! Looks at a process again and again, and sends what it saw down the river.

pub mod channel;
pub mod clock;
pub mod budget;
pub mod intern;
pub mod tracks;
#[expect(clippy::module_inception, reason = "the type of this name is what the module is about")]
pub mod sampler;

pub use channel::channel;
pub use clock::{Clock, Schedule, Stop, Tick};
pub use sampler::{Options, Outcome, Sampler};
