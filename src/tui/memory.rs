//! What the live view knows of the target's memory: what was seen last, what was there before, and the lines that it makes.

use std::collections::{HashMap, VecDeque};

use crate::model::{At, Nanos};

/// How many looks are remembered: their classes are drawn side by side, and growth is measured over them.
pub const LOOKS: usize = 120;
/// Growth is measured over this time, or as much of it as there is.
const GROWTH: Nanos = Nanos(60 * Nanos::SECOND.0);
/// The most types, and the most arenas, that have a line.
const MAX_TYPES: usize = 200;
const MAX_ARENAS: usize = 1000;

/// A look at the memory of a process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// When, on the recording's clock.
    pub at: At,
    /// Where its memory is: how far in, what it is, and how many bytes; the first row is all that is resident.
    pub ladder: Vec<(usize, String, u64)>,
    /// Arenas by address.
    pub arenas: Vec<Arena>,
    /// Size classes, the smallest first.
    pub classes: Vec<Class>,
    /// Types of objects, most bytes first.
    pub types: Vec<Type>,
    /// When types and the ladder were looked at; they are not at every look.
    pub counted: Option<At>,
    /// Why something could not be read.
    pub unread: Option<String>,
}

/// An arena.
#[derive(Debug, Clone, PartialEq)]
pub struct Arena {
    /// Its address: a label.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// Its bytes in use.
    pub used: u64,
    /// How full each of its pools is, of 255; `None` where it was never used.
    pub pools: Vec<Option<u8>>,
}

/// A size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Bytes of one block.
    pub size: u64,
    /// Blocks in use.
    pub used: u64,
    /// Blocks free.
    pub free: u64,
}

/// A type of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Its name.
    pub name: String,
    /// How many objects.
    pub count: u64,
    /// What they take.
    pub bytes: u64,
}

/// A line of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// What stands below it.
    Heading(&'static str),
    /// A row of the ladder, by its place.
    Rung(usize),
    /// A type, by its place.
    Type(usize),
    /// A size class, by its place.
    Class(usize),
    /// An arena, by its place.
    Arena(usize),
}

/// What is known of memory.
#[derive(Debug, Clone, Default)]
pub struct Memories {
    /// The last look.
    pub last: Option<Memory>,
    /// Of each of the last looks: when, bytes of arenas, and bytes in use by size class.
    looks: VecDeque<(At, u64, HashMap<u64, u64>)>,
    /// Objects of each type when they were counted first, or when the moment was marked.
    base: HashMap<String, u64>,
}

impl Memory {
    /// Bytes of all arenas.
    pub fn arena_bytes(&self) -> u64 {
        self.arenas.iter().map(|arena| arena.size).sum()
    }

    /// Bytes of them that are in use.
    pub fn used_bytes(&self) -> u64 {
        self.arenas.iter().map(|arena| arena.used).sum()
    }

    /// All that is resident, where that was looked at.
    pub fn resident(&self) -> Option<u64> {
        self.ladder.first().map(|(_, _, bytes)| *bytes)
    }
}

impl Memories {
    /// Takes note of a look.
    pub fn add(&mut self, memory: Memory) {
        let classes = memory.classes.iter().map(|class| (class.size, class.used.saturating_mul(class.size)));
        self.looks.push_back((memory.at, memory.arena_bytes(), classes.collect()));
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let first = self.base.is_empty();
        self.last = Some(memory);
        if first {
            self.mark();
        }
    }

    /// Differences are those to the last look from now on.
    pub fn mark(&mut self) {
        let types = self.last.iter().flat_map(|memory| &memory.types);
        self.base = types.map(|of| (of.name.clone(), of.count)).collect();
    }

    /// How many more objects of a type there are than when it was marked.
    pub fn more(&self, of: &Type) -> i64 {
        let before = self.base.get(&of.name).copied().unwrap_or(0);
        i64::try_from(of.count).unwrap_or(i64::MAX).saturating_sub_unsigned(before)
    }

    /// By how many bytes a second the arenas grow; `None` before there were two looks.
    pub fn growth(&self) -> Option<f64> {
        let (at, bytes, _) = self.looks.back()?;
        let (then, before, _) = self.looks.iter().find(|(then, ..)| at.since(*then) <= GROWTH)?;
        let seconds = at.since(*then).as_secs_f64();
        (seconds > 0.0).then(|| (*bytes as f64 - *before as f64) / seconds)
    }

    /// The bytes in use of a size class in each of the last looks, the latest one last, as shares of the most there were.
    pub fn heat(&self, size: u64) -> Vec<f64> {
        let bytes: Vec<u64> = self.looks.iter().map(|(.., by)| by.get(&size).copied().unwrap_or(0)).collect();
        let most = bytes.iter().copied().max().unwrap_or(0).max(1);
        bytes.iter().map(|bytes| *bytes as f64 / most as f64).collect()
    }

    /// What a line is about, in words.
    pub fn text(&self, line: usize) -> Option<String> {
        let memory = self.last.as_ref()?;
        Some(match self.lines().get(line)? {
            Line::Heading(_) => return None,
            Line::Rung(place) => memory.ladder.get(*place)?.1.clone(),
            Line::Type(place) => memory.types.get(*place)?.name.clone(),
            Line::Class(place) => memory.classes.get(*place)?.size.to_string(),
            Line::Arena(place) => format!("{:#x}", memory.arenas.get(*place)?.address),
        })
    }

    /// The lines of the view.
    pub fn lines(&self) -> Vec<Line> {
        let Some(memory) = &self.last else { return Vec::new() };
        let mut lines = Vec::new();
        let mut section = |heading, count: usize, line: fn(usize) -> Line| {
            if count > 0 {
                lines.push(Line::Heading(heading));
                lines.extend((0..count).map(line));
            }
        };
        section("where it is", memory.ladder.len(), Line::Rung);
        section(
            "objects by type: bytes, count, more since the first count or the mark",
            memory.types.len().min(MAX_TYPES),
            Line::Type,
        );
        section(
            "size classes: block, in use, free, and what was in use, look by look",
            memory.classes.len(),
            Line::Class,
        );
        section("arenas: how full each is, and its pools", memory.arenas.len().min(MAX_ARENAS), Line::Arena);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(second: u64, bytes: u64, count: u64) -> Memory {
        Memory {
            at: At(second * Nanos::SECOND.0),
            arenas: vec![Arena {
                address: 1 << 20,
                size: bytes,
                used: bytes / 2,
                pools: vec![None, Some(9)],
            }],
            classes: vec![Class { size: 16, used: count, free: 1 }],
            types: vec![Type { name: "dict".into(), count, bytes: count * 64 }],
            ..Memory::default()
        }
    }

    #[test]
    fn growth_and_differences_are_those_to_what_was_there_before() {
        let mut memories = Memories::default();
        assert_eq!((memories.growth(), memories.lines().len()), (None, 0));
        for second in 0..300 {
            memories.add(memory(second, 1000 * second, 10 + second));
        }
        assert_eq!(memories.growth(), Some(1000.0));
        let of = memories.last.as_ref().unwrap().types[0].clone();
        assert_eq!(memories.more(&of), 299);
        memories.mark();
        assert_eq!(memories.more(&of), 0);
        assert_eq!((memories.heat(16).len(), memories.heat(16).last()), (LOOKS, Some(&1.0)));
        assert_eq!(memories.heat(32), vec![0.0; LOOKS]);
        assert_eq!(memories.lines().len(), 6);
    }
}
