//! The recording's own file format, `.pit`; `docs/recording.md` specifies it.

pub mod block;
pub mod read;
mod rows;
mod samples;
mod table;
mod varint;
pub mod write;

pub use block::{Codec, Kind};
pub use read::{Damage, OpenError, open, read};
pub use write::{Recorder, write};

/// The first bytes of every recording. Like PNG's they do not survive a transfer as text.
pub const MAGIC: [u8; 8] = *b"\x89PIT\r\n\x1a\n";

/// The version of the format that this program writes, and the newest that it reads.
pub const VERSION: u32 = 2;
