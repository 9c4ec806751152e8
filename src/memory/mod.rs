//! Bytes at addresses of another process: the one door through which the target is read.

pub mod live;
pub mod moment;
pub mod sheet;
pub mod tape;

pub use live::Live;
pub use moment::Moment;
pub use sheet::Sheet;
pub use tape::{Recorder, Tape};

use std::fmt;
use std::ops::Range;

/// An address in the target. It never becomes a pointer.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(pub u64);

impl Addr {
    /// The null pointer.
    pub const NULL: Addr = Addr(0);

    /// Whether this is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address itself, unless it is the null pointer.
    pub fn non_null(self) -> Option<Addr> {
        (!self.is_null()).then_some(self)
    }

    /// The address `bytes` further on; wraps, for it is the target's word and only ever read through [`Memory`].
    #[must_use]
    pub fn plus(self, bytes: u64) -> Addr {
        Addr(self.0.wrapping_add(bytes))
    }

    /// The address `bytes` before.
    #[must_use]
    pub fn minus(self, bytes: u64) -> Addr {
        Addr(self.0.wrapping_sub(bytes))
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A read that did not arrive whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {len} bytes at {addr}")]
pub struct Fault {
    /// Where the read began.
    pub addr: Addr,
    /// How many bytes it asked for.
    pub len: usize,
}

/// One part of a scattered read.
#[derive(Debug)]
pub struct Part<'a> {
    /// Where to read.
    pub addr: Addr,
    /// Where the bytes go; its length says how many.
    pub buf: &'a mut [u8],
    /// Whether they all arrived.
    pub arrived: bool,
}

/// One piece of a gathering read, which borrows nothing, so that a plan of them can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where to read.
    pub addr: Addr,
    /// How many bytes.
    pub len: usize,
    /// Whether they all arrived.
    pub arrived: bool,
}

impl Piece {
    /// A piece that is yet to be read.
    pub fn new(addr: Addr, len: usize) -> Piece {
        Piece { addr, len, arrived: false }
    }
}

/// Bytes at addresses.
pub trait Memory {
    /// Fills `buf` from `addr` on, or says which read failed; `buf` holds anything then.
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault>;

    /// Reads many parts, each into a place of its own: with one system call where the target allows it. Each says for itself
    /// whether it arrived.
    fn read_many(&self, parts: &mut [Part<'_>]) {
        for part in parts {
            part.arrived = self.read(part.addr, part.buf).is_ok();
        }
    }

    /// Reads many pieces in their order, each into `buf` behind the one before it: with one system call where the target
    /// allows it. Each says for itself whether it arrived; one for which `buf` is too short does not.
    fn gather(&self, pieces: &mut [Piece], buf: &mut [u8]) {
        let mut rest = buf;
        for piece in pieces {
            let (here, behind) = rest.split_at_mut(piece.len.min(rest.len()));
            piece.arrived = here.len() == piece.len && self.read(piece.addr, here).is_ok();
            rest = behind;
        }
    }
}

impl dyn Memory + '_ {
    /// One little-endian word.
    pub fn get<T: Word>(&self, addr: Addr) -> Result<T, Fault> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes[..T::SIZE])?;
        Ok(T::from_bytes(&bytes[..T::SIZE]))
    }

    /// `len` bytes. The caller bounds `len`.
    pub fn bytes(&self, addr: Addr, len: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads some spans, by address and none over another, into their places of `buf`, which begins at `start`, and zeros into all
    /// others; whether all spans arrived. The caller has them within `buf`.
    pub fn spans(&self, start: Addr, buf: &mut [u8], spans: &[Range<u64>]) -> bool {
        let mut parts = Vec::with_capacity(spans.len());
        let (mut rest, mut at) = (buf, start.0);
        for span in spans {
            let (between, behind) = rest.split_at_mut((span.start - at) as usize);
            between.fill(0);
            let (buf, behind) = behind.split_at_mut((span.end - span.start) as usize);
            parts.push(Part { addr: Addr(span.start), buf, arrived: false });
            (rest, at) = (behind, span.end);
        }
        rest.fill(0);
        self.read_many(&mut parts);
        parts.iter().all(|part| part.arrived)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        (**self).read(addr, buf)
    }

    fn read_many(&self, parts: &mut [Part<'_>]) {
        (**self).read_many(parts);
    }

    fn gather(&self, pieces: &mut [Piece], buf: &mut [u8]) {
        (**self).gather(pieces, buf);
    }
}

/// A fixed-size value of the target, which is little-endian on every machine that we read.
pub trait Word: Copy {
    /// Its size in bytes, at most 8.
    const SIZE: usize;
    /// The value in the first [`Word::SIZE`] bytes.
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! words {
    ($($int:ty),*) => {$(
        impl Word for $int {
            const SIZE: usize = size_of::<$int>();
            fn from_bytes(bytes: &[u8]) -> Self {
                let mut word = [0; size_of::<$int>()];
                word.copy_from_slice(&bytes[..size_of::<$int>()]);
                <$int>::from_le_bytes(word)
            }
        }
    )*};
}

words!(u8, i8, u16, i16, u32, i32, u64, i64, f64);

impl Word for Addr {
    const SIZE: usize = 8;
    fn from_bytes(bytes: &[u8]) -> Self {
        Addr(<u64 as Word>::from_bytes(bytes))
    }
}
