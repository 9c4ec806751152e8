//! Looks at a process again and again, and sends what it saw down the river.

pub mod channel;
pub mod clock;
pub mod budget;
pub mod dial;
pub mod hold;
pub mod state;
pub mod waiting;
pub mod intern;
pub mod places;
pub mod epoch;
pub mod collections;
pub mod opcodes;
pub mod bursts;
pub mod runs;
pub mod rests;
pub mod tracks;
pub mod occupancy;
pub mod allowance;
mod traced;
pub mod heap;
#[expect(clippy::module_inception, reason = "the type of this name is what the module is about")]
pub mod sampler;

pub use bursts::Bursts;
pub use channel::{Inbox, channel};
pub use clock::{Clock, Schedule, Stop, Tick};
pub use collections::Collections;
pub use dial::Dial;
pub use heap::{Depth, HeapOptions, HeapSampler};
pub use hold::Consistency;
pub use opcodes::{NoOpcodes, Opcodes};
pub use sampler::{Options, Outcome, PROCESS, Sampler};
pub use state::{Met, Standing, States};
