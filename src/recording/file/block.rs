//! A block: the unit that a recording file is written, checked, compressed and lost in.

use std::io::{self, Read, Write};

use super::samples;

/// The length of a block's header.
pub const HEADER: usize = 16;

/// The largest payload, before and after compression. A file that claims more is corrupt.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// How hard zstd tries. Columns of small numbers hold few repetitions to be found: what shrinks them is how often each
/// number comes, which the first level counts as well. Its own default, 3, takes 3 % less and ten times as long.
const LEVEL: i32 = 1;

/// Payloads shorter than this are not worth compressing.
const TOO_SHORT: usize = 64;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Nothing: the recording was ended on purpose, and nothing follows.
    End = 0,
    /// What the recording says of itself.
    Meta = 1,
    /// Strings.
    Strings = 2,
    /// Files.
    Files = 3,
    /// Frames.
    Frames = 4,
    /// Stacks.
    Stacks = 5,
    /// Tracks.
    Tracks = 6,
    /// Processes.
    Processes = 7,
    /// What threads wait for.
    Waits = 8,
    /// Source lines.
    Sources = 9,
    /// What became of processes.
    ProcessEvents = 10,
    /// Samples.
    Samples = 11,
    /// Collections of garbage.
    Gc = 12,
    /// States of the allocator.
    Heap = 13,
    /// Numbers that change.
    Counters = 14,
    /// Marked moments.
    Marks = 15,
    /// What did not work.
    Troubles = 16,
    /// Objects by type.
    Censuses = 17,
    /// Memory that was put down to stacks.
    Allocations = 18,
}

impl Kind {
    /// Every kind, in the order in which one flush writes them: what is defined stands before what names it.
    pub const ALL: [Kind; 19] = [
        Kind::Meta,
        Kind::Strings,
        Kind::Files,
        Kind::Frames,
        Kind::Stacks,
        Kind::Waits,
        Kind::Processes,
        Kind::Tracks,
        Kind::Sources,
        Kind::ProcessEvents,
        Kind::Samples,
        Kind::Gc,
        Kind::Heap,
        Kind::Censuses,
        Kind::Allocations,
        Kind::Counters,
        Kind::Marks,
        Kind::Troubles,
        Kind::End,
    ];

    /// The newest layout of this kind of block: the one that we write. We read those before it too.
    pub(super) fn version(self) -> u8 {
        match self {
            Kind::Samples => samples::VERSION,
            Kind::Heap => 2,
            _ => 1,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// How a payload lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Stored = 0,
    /// As one zstd frame.
    Zstd = 1,
}

/// What came out of the file.
#[derive(Debug)]
pub(super) enum Next {
    /// A block that we know, the version of its layout, and its payload.
    Block(Kind, u8, Vec<u8>),
    /// A whole block of a kind or layout that we do not know.
    Unknown,
    /// The file ended behind the last block.
    Nothing,
    /// The file ended within this block.
    Cut,
    /// This block is not what was written.
    Corrupt(&'static str),
}

/// Writes one block in one call, so that a writer that is killed leaves whole blocks behind.
pub(super) fn put(out: &mut impl Write, kind: Kind, codec: Codec, payload: &[u8]) -> io::Result<usize> {
    if payload.len() > MAX_PAYLOAD {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a block of {} bytes is too large", payload.len()),
        ));
    }
    let packed = match codec {
        Codec::Zstd if payload.len() >= TOO_SHORT => Some(zstd::bulk::compress(payload, LEVEL)?),
        _ => None,
    };
    let (codec, stored) = match &packed {
        Some(packed) if packed.len() < payload.len() => (Codec::Zstd, packed.as_slice()),
        _ => (Codec::Stored, payload),
    };
    let mut block = Vec::with_capacity(HEADER + stored.len());
    block.extend([kind as u8, kind.version(), codec as u8, 0]);
    block.extend((stored.len() as u32).to_le_bytes());
    block.extend((payload.len() as u32).to_le_bytes());
    block.extend(checksum(&block, stored).to_le_bytes());
    block.extend(stored);
    out.write_all(&block)?;
    Ok(block.len())
}

/// Reads one block. An error is one of the input's own; whatever is wrong with its bytes is a [`Next`].
pub(super) fn take(input: &mut impl Read, raw_left: usize) -> io::Result<Next> {
    let mut header = [0; HEADER];
    match fill(input, &mut header)? {
        0 => return Ok(Next::Nothing),
        HEADER => {}
        _ => return Ok(Next::Cut),
    }
    let [kind, version, codec, _, a, b, c, d, e, f, g, h, i, j, k, l] = header;
    let stored_len = u32::from_le_bytes([a, b, c, d]) as usize;
    let raw_len = u32::from_le_bytes([e, f, g, h]) as usize;
    if stored_len > MAX_PAYLOAD || raw_len > MAX_PAYLOAD {
        return Ok(Next::Corrupt("its length cannot be"));
    }
    // Grows as bytes arrive: a length that is a lie costs nothing.
    let mut stored = Vec::new();
    input.by_ref().take(stored_len as u64).read_to_end(&mut stored)?;
    if stored.len() < stored_len {
        return Ok(Next::Cut);
    }
    let fixed = header.first_chunk::<12>().map_or(&[][..], |fixed| fixed);
    if checksum(fixed, &stored) != u32::from_le_bytes([i, j, k, l]) {
        return Ok(Next::Corrupt("its checksum does not match"));
    }
    let Some(kind) = Kind::from_code(kind).filter(|kind| (1..=kind.version()).contains(&version)) else {
        return Ok(Next::Unknown);
    };
    if raw_len > raw_left {
        return Ok(Next::Corrupt("it unpacks to more than a recording of this size can hold"));
    }
    Ok(match unpack(codec, stored, raw_len) {
        Some(payload) => Next::Block(kind, version, payload),
        None => Next::Corrupt("it does not unpack"),
    })
}

fn unpack(codec: u8, stored: Vec<u8>, raw_len: usize) -> Option<Vec<u8>> {
    let payload = match codec {
        0 => stored,
        1 => zstd::bulk::decompress(&stored, raw_len).ok()?,
        _ => return None,
    };
    (payload.len() == raw_len).then_some(payload)
}

fn checksum(header: &[u8], stored: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(stored);
    crc.finalize()
}

/// Reads as much of `buf` as there is.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buf.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
