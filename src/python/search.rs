//! The search for the table of arenas in a build whose static variables nothing names: by what such a table looks like.

use crate::memory::{Addr, Memory, Part};
use crate::target::elf::Image;
use crate::target::maps::Maps;
use crate::target::pages::Pages;
use crate::target::touched::Touched;
use crate::target::{Located, Process, variables};

use super::arenas::{Arena, Arenas, Slots, Table};
use super::instance::word;

/// The slots that a table has at first (`INITIAL_ARENA_OBJECTS`, Objects/obmalloc.c); it doubles when they are used up.
const FIRST_SLOTS: u32 = 16;
/// The most slots that a table is found with.
const MAX_SLOTS: u32 = 1 << 20;
/// How near to the pointer to the table the variable with its number of slots lies, in bytes.
const NEAR: usize = 64;
/// How many candidates are read with one call.
const BATCH: usize = 256;

/// The table of arenas among the variables of the interpreter's module: the one that holds most.
pub(super) fn table(process: &Process, located: &Located, arenas: &Arenas) -> Option<Table> {
    let maps = process.maps().ok()?;
    let pages = Pages::open(process);
    let memory: &dyn Memory = &Touched::new(process.memory(), &maps, &pages, false);
    let first = maps.iter().filter(|m| m.offset == 0 && m.read && m.path == located.module.path);
    let image = first
        .filter_map(|m| Image::read(memory, &maps, Addr(m.start)).ok())
        .find(|image| image.bias == located.module.bias)?;
    let mut best: Option<(usize, Table)> = None;
    for segment in image.data() {
        for (base, bytes) in variables(memory, &maps, segment) {
            let words: Vec<usize> = (0..bytes.len() / 8)
                .map(|word| word * 8)
                .filter(|at| promising(&maps, word(&bytes, *at as u64)))
                .collect();
            for batch in words.chunks(BATCH) {
                for at in tables(memory, arenas, &bytes, batch) {
                    let Some((held, slots)) = extent(memory, arenas, base, &bytes, at) else { continue };
                    if best.is_none_or(|(most, _)| held > most) {
                        best = Some((held, Table { arenas: base.plus(at as u64), slots }));
                    }
                }
            }
        }
    }
    best.map(|(_, table)| table)
}

/// Whether a word may point to a table: `malloc` gave it, aligned.
fn promising(maps: &Maps, word: u64) -> bool {
    word.is_multiple_of(16) && maps.at(word).is_some_and(|m| m.read && m.write && !m.file())
}

/// Those of the words whose target begins as a table of arenas does.
fn tables(memory: &dyn Memory, arenas: &Arenas, bytes: &[u8], words: &[usize]) -> Vec<usize> {
    let len = FIRST_SLOTS as usize * arenas.slot_size();
    let mut room = vec![0; words.len() * len];
    let mut parts: Vec<Part<'_>> = words
        .iter()
        .zip(room.chunks_exact_mut(len))
        .map(|(at, buf)| Part { addr: Addr(word(bytes, *at as u64)), buf, arrived: false })
        .collect();
    memory.read_many(&mut parts);
    let begins = |part: &Part<'_>| {
        let found = part.arrived.then(|| arenas.parse(part.buf)).flatten();
        found.is_some_and(|found| !found.is_empty() && found.iter().all(|arena| holds(memory, arena)))
    };
    words.iter().zip(&parts).filter(|(_, part)| begins(part)).map(|(at, _)| *at).collect()
}

/// Whether memory is where an arena should be.
fn holds(memory: &dyn Memory, arena: &Arena) -> bool {
    memory.read(arena.first, &mut [0; 8]).is_ok()
}

/// How many arenas a table has, and how many slots: the largest number nearby that could be theirs.
fn extent(
    memory: &dyn Memory,
    arenas: &Arenas,
    base: Addr,
    bytes: &[u8],
    at: usize,
) -> Option<(usize, Slots)> {
    let table = Addr(word(bytes, at as u64));
    let held = |slots: u32| {
        let table = memory.bytes(table, slots as usize * arenas.slot_size()).ok()?;
        arenas.parse(&table).map(|found| found.len())
    };
    let mut best: Option<(usize, u32, usize)> = None;
    for near in (at.saturating_sub(NEAR)..(at + NEAR).min(bytes.len())).step_by(4) {
        let Some(slots) = bytes.get(near..near + 4).and_then(|word| word.try_into().ok()) else { break };
        let slots = u32::from_le_bytes(slots);
        if slots.is_power_of_two() && (FIRST_SLOTS..=MAX_SLOTS).contains(&slots) {
            best = best.max(held(slots).map(|held| (held, slots, near)));
        }
    }
    match best {
        Some((held, _, near)) => Some((held, Slots::Told(base.plus(near as u64)))),
        None => Some((held(FIRST_SLOTS)?, Slots::Counted(FIRST_SLOTS))),
    }
}
