//! Reads a recording, as far as it is there, and believes nothing that it says.
//!
//! Design constraints: whatever is wrong with a file past its first bytes is data ([`Damage`]) and not an error, for
//! all that stands before it is still true. Lengths are checked before they are allocated, ids before they are kept.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::block::{self, Kind, Next};
use super::rows::{CensusLook, HeapLook, Length, OldArena};
use super::{MAGIC, VERSION, samples, table, varint};
use crate::model::heap::{Arena, Census, HeapState};
use crate::model::{Define, Event, FileId, FrameId, ProcessId, StackId, StringId, Track, TrackId, WaitId};
use crate::recording::known::Refusal;
use crate::recording::tables::Recording;

/// What all blocks of a recording may unpack to, whatever its length.
const MAX_RAW: u64 = 1 << 30;

/// What all blocks so far may unpack to: this for each byte that they take in the file …
const MAX_RATIO: u64 = 256;

/// … and this besides. Blocks of ours shrink to a tenth; those of a bomb to a thousandth and less.
const FREE_RAW: u64 = 64 << 20;

/// Why a file cannot be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be read.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// Its first bytes are not those of a recording.
    #[error("this is not a recording of pitviper's")]
    NotARecording,
    /// It has no bytes beyond its first few: nothing was recorded.
    #[error("the recording ends after {len} bytes, before anything was recorded")]
    Empty {
        /// How many bytes there are.
        len: usize,
    },
    /// It was written by a later version, in a format that this one cannot read.
    #[error("the recording has format {version}, and this version of pitviper reads up to {VERSION}")]
    TooNew {
        /// Its format.
        version: u32,
    },
}

/// What is wrong with a file. All that stood before it was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends in the middle of a block.
    #[error("cut short: the block at byte {at} is not whole")]
    Cut {
        /// Where the block begins.
        at: u64,
    },
    /// A block is not what was written.
    #[error("block {block}, at byte {at}, is corrupt: {why}")]
    Corrupt {
        /// Which block, from 0.
        block: u64,
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// There are bytes behind the end.
    #[error("something follows the end of the recording, at byte {at}")]
    Trailing {
        /// Where it begins.
        at: u64,
    },
    /// The input failed in the middle.
    #[error("cannot read on at byte {at}: {why}")]
    Unreadable {
        /// Where the block begins.
        at: u64,
        /// What the operating system said.
        why: String,
    },
}

/// Why a block's payload is refused.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("its rows cannot be read")]
    Rows,
    #[error("it does not follow the blocks before it")]
    Order,
    #[error("a string in it is not UTF-8")]
    Text,
    #[error("what the recording says of itself cannot be read")]
    Meta,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads the recording at `path`.
pub fn open(path: &Path) -> Result<Recording, OpenError> {
    read(BufReader::new(File::open(path)?))
}

/// Reads a recording from its first byte on.
pub fn read(input: impl Read) -> Result<Recording, OpenError> {
    let mut input = Counted { input, at: 0 };
    head(&mut input)?;
    let mut recording = Recording::default();
    let mut raw = 0;
    for block in 0.. {
        let at = input.at;
        let allowed = input.at.saturating_mul(MAX_RATIO).saturating_add(FREE_RAW).min(MAX_RAW);
        let left = usize::try_from(allowed.saturating_sub(raw)).unwrap_or(usize::MAX);
        let damage = match block::take(&mut input, left) {
            Ok(Next::Nothing) => break,
            Ok(_) if recording.ended => Damage::Trailing { at },
            Ok(Next::Block(kind, version, payload)) => {
                raw += payload.len() as u64;
                match apply(&mut recording, kind, version, &payload) {
                    Ok(()) => continue,
                    Err(bad) => Damage::Corrupt { block, at, why: bad.to_string() },
                }
            }
            Ok(Next::Unknown) => {
                recording.unknown_blocks += 1;
                continue;
            }
            Ok(Next::Cut) => Damage::Cut { at },
            Ok(Next::Corrupt(why)) => Damage::Corrupt { block, at, why: why.to_owned() },
            Err(error) => Damage::Unreadable { at, why: error.to_string() },
        };
        recording.damage = Some(damage);
        break;
    }
    Ok(recording)
}

fn head(input: &mut impl Read) -> Result<(), OpenError> {
    let mut head = Vec::new();
    input.take((MAGIC.len() + size_of_val(&VERSION)) as u64).read_to_end(&mut head)?;
    let Some((magic, version)) = head.split_first_chunk::<8>() else {
        let ours = MAGIC.starts_with(&head);
        return Err(if ours { OpenError::Empty { len: head.len() } } else { OpenError::NotARecording });
    };
    if *magic != MAGIC {
        return Err(OpenError::NotARecording);
    }
    let Ok(version) = <[u8; 4]>::try_from(version) else {
        return Err(OpenError::Empty { len: head.len() });
    };
    match u32::from_le_bytes(version) {
        0 => Err(OpenError::NotARecording),
        1..=VERSION => Ok(()),
        version => Err(OpenError::TooNew { version }),
    }
}

/// Adds what a block holds. Where an event is refused, those before it are kept: their checksum was right. What stands
/// behind the tables is passed over: a later version may say more there.
fn apply(recording: &mut Recording, kind: Kind, version: u8, mut payload: &[u8]) -> Result<(), Bad> {
    let input = &mut payload;
    match kind {
        Kind::End => recording.ended = true,
        Kind::Meta => recording.meta = serde_json::from_slice(input).map_err(|_| Bad::Meta)?,
        Kind::Strings => strings(recording, input)?,
        Kind::Files => numbered(recording, input, |id, row| Define::File(FileId(id), row))?,
        Kind::Frames => numbered(recording, input, |id, row| Define::Frame(FrameId(id), row))?,
        Kind::Stacks => numbered(recording, input, |id, row| Define::Stack(StackId(id), row))?,
        Kind::Waits => numbered(recording, input, |id, row| Define::Wait(WaitId(id), row))?,
        Kind::Processes => {
            numbered(recording, input, |id, row| Define::Process(ProcessId(id), row))?;
        }
        Kind::Tracks => {
            rows(recording, input, |(id, track): (TrackId, Track)| Event::Define(Define::Track(id, track)))?
        }
        Kind::Sources => rows(recording, input, |(file, line, text): (FileId, u32, StringId)| {
            Event::Define(Define::Source(file, line, text))
        })?,
        Kind::ProcessEvents => rows(recording, input, Event::Process)?,
        Kind::Samples => {
            let (looks, rows) = samples::take(input, version).ok_or(Bad::Rows)?;
            recording.add(Event::Samples { looks, rows })?;
        }
        Kind::Gc => rows(recording, input, Event::Gc)?,
        Kind::Heap => heaps(recording, input, version)?,
        Kind::Censuses => censuses(recording, input)?,
        Kind::Allocations => recording.add(Event::Allocations(table::take(input).ok_or(Bad::Rows)?))?,
        Kind::Counters => rows(recording, input, Event::Counter)?,
        Kind::Marks => rows(recording, input, Event::Mark)?,
        Kind::Troubles => rows(recording, input, Event::Trouble)?,
    }
    Ok(())
}

/// Adds rows whose ids are their places: the id of the first stands in front.
fn numbered<const N: usize, R: table::Row<N>>(
    recording: &mut Recording,
    input: &mut &[u8],
    define: impl Fn(u32, R) -> Define,
) -> Result<(), Bad> {
    let first = first_id(input)?;
    for (id, row) in (first..).zip(table::take(input).ok_or(Bad::Rows)?) {
        recording.add(Event::Define(define(id, row)))?;
    }
    Ok(())
}

fn rows<const N: usize, R: table::Row<N>>(
    recording: &mut Recording,
    input: &mut &[u8],
    event: impl Fn(R) -> Event,
) -> Result<(), Bad> {
    for row in table::take(input).ok_or(Bad::Rows)? {
        recording.add(event(row))?;
    }
    Ok(())
}

fn strings(recording: &mut Recording, input: &mut &[u8]) -> Result<(), Bad> {
    let first = first_id(input)?;
    let lengths: Vec<Length> = table::take(input).ok_or(Bad::Rows)?;
    for (id, Length(length)) in (first..).zip(lengths) {
        let (bytes, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| input.split_at_checked(length))
            .ok_or(Bad::Rows)?;
        *input = rest;
        let text = std::str::from_utf8(bytes).map_err(|_| Bad::Text)?;
        recording.add(Event::Define(Define::String(StringId(id), text.into())))?;
    }
    Ok(())
}

fn heaps(recording: &mut Recording, input: &mut &[u8], version: u8) -> Result<(), Bad> {
    let looks: Vec<HeapLook> = table::take(input).ok_or(Bad::Rows)?;
    let arenas: Vec<Arena> = match version {
        1 => table::take(input).ok_or(Bad::Rows)?.into_iter().map(|OldArena(arena)| arena).collect(),
        _ => table::take(input).ok_or(Bad::Rows)?,
    };
    let mut arenas = arenas.into_iter();
    let mut classes = table::take(input).ok_or(Bad::Rows)?.into_iter();
    // Earlier writers told of no pools, and have no table of them.
    let pools = if input.is_empty() { Vec::new() } else { table::take(input).ok_or(Bad::Rows)? };
    let mut pools = pools.into_iter();
    for look in looks {
        let state = HeapState {
            at: look.at,
            process: look.process,
            whole: look.whole,
            arenas: next(&mut arenas, look.arenas)?,
            classes: next(&mut classes, look.classes)?,
            pools: next(&mut pools, look.pools)?,
            pool_size: look.pool_size,
            suspect_pools: look.suspect_pools,
        };
        recording.add(Event::Heap(state))?;
    }
    Ok(())
}

fn censuses(recording: &mut Recording, input: &mut &[u8]) -> Result<(), Bad> {
    let looks: Vec<CensusLook> = table::take(input).ok_or(Bad::Rows)?;
    let mut types = table::take(input).ok_or(Bad::Rows)?.into_iter();
    for CensusLook { at, process, took, suspect_pools, types: count } in looks {
        let types = next(&mut types, count)?;
        recording.add(Event::Census(Census { at, took, process, suspect_pools, types }))?;
    }
    Ok(())
}

fn next<T>(rows: &mut impl ExactSizeIterator<Item = T>, count: u64) -> Result<Vec<T>, Bad> {
    if count > rows.len() as u64 {
        return Err(Bad::Rows);
    }
    Ok(rows.take(count as usize).collect())
}

fn first_id(input: &mut &[u8]) -> Result<u32, Bad> {
    varint::take(input).and_then(|id| u32::try_from(id).ok()).ok_or(Bad::Order)
}

/// An input that knows how far it has been read.
struct Counted<R> {
    input: R,
    at: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buf)?;
        self.at += len as u64;
        Ok(len)
    }
}
