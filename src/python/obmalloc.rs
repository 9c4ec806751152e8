//! The allocators of small objects of a process: where each keeps its arenas, and what it counts.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::target::{Located, Process};

use super::arenas::{Arenas, Slots, Table};
use super::search;
use super::store::Store;

/// No allocator has handed out as many blocks: what counts more is garbage.
const MAX_BLOCKS: i64 = 1 << 48;
/// No allocator has asked for as many arenas in its life.
const MAX_ARENAS_EVER: u64 = 1 << 40;

fields! {
    /// `struct _obmalloc_state`, Include/internal/pycore_obmalloc.h (3.12 and later).
    struct StateFields in "obmalloc" {
        arenas: Option<Field<Addr>>,
        maxarenas: Option<Field<u32>>,
        narenas: Option<Field<u64>>,
        ntimes: Option<Field<u64>>,
        highwater: Option<Field<u64>>,
        raw_blocks: Option<Field<i64>>,
        used: Option<Field<Addr>>,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h.
    struct InterpreterFields in "interp" {
        obmalloc: Option<usize>,
    }
}

/// One allocator of small objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocator {
    /// The first interpreter that uses it, by its place in the list of them; several may share one.
    pub interpreter: usize,
    /// Where it keeps its books.
    pub books: Books,
    /// What it counts.
    pub counts: Counts,
}

/// Where an allocator keeps its books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Books {
    /// pymalloc's.
    Table {
        /// Where its arenas are.
        table: Table,
        /// Where its lists of pools with a free block are, by size class, if anything says so.
        lists: Option<Addr>,
    },
    /// mimalloc's: with the threads of the interpreter at this address.
    Threads(Addr),
}

/// What an allocator counts, as far as this build does and a name says where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arenas in use.
    pub arenas: Option<u64>,
    /// Arenas that were ever asked for.
    pub arenas_ever: Option<u64>,
    /// The most arenas that were in use at once.
    pub highwater: Option<u64>,
    /// Blocks that were too large for a pool, and are in use (3.9 and later).
    pub large: Option<u64>,
    /// All blocks in use, small and large (3.6 to 3.8).
    pub all: Option<u64>,
}

/// Why no allocator is found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAllocator {
    /// Nothing names its variables, and none of the program's look like them.
    #[error("nothing says where this build keeps its arenas, and no variable of it points to any")]
    NotFound,
    /// The layout lacks something.
    #[error(transparent)]
    Layout(#[from] Missing),
}

/// Where allocators are.
#[derive(Debug, Clone, Copy)]
enum Where {
    Static,
    /// Within each interpreter, this far.
    Interpreter(u64),
    /// Behind a pointer of each interpreter, this far.
    Pointer(u64),
}

/// Finds the allocators of a process, each once, and reads in `memory` what they count. `interpreters` are all of its
/// interpreters, the main one first; what had to be searched for is not searched for again where it is `known`.
pub(super) fn find(
    memory: &dyn Memory,
    process: &Process,
    located: &Located,
    store: &Store,
    interpreters: &[Addr],
    known: &[Allocator],
) -> Result<Vec<Allocator>, NoAllocator> {
    let layout = &located.chosen.layout;
    let arenas = match store {
        Store::Pymalloc(arenas, _) => arenas,
        Store::Mimalloc(mimalloc) => {
            let all = interpreters.iter().enumerate().map(|(place, at)| Allocator {
                interpreter: place,
                books: Books::Threads(*at),
                counts: mimalloc.counts(memory, *at),
            });
            return Ok(all.collect());
        }
    };
    let fields = StateFields::bind(layout)?;
    let state = |place: usize, at: Addr| -> Result<Option<Allocator>, NoAllocator> {
        let (Some(table), Some(slots)) = (fields.arenas, fields.maxarenas) else {
            return Err(missing(layout, "obmalloc", "arenas").into());
        };
        // One that shares another's has none of its own: its pointer is the same, or its state was never used.
        let shared = table.read(memory, at).is_ok_and(Addr::is_null) && place > 0;
        let table = Table { arenas: table.of(at), slots: Slots::Told(slots.of(at)) };
        let count = |field: Option<Field<u64>>| field.and_then(|field| field.read(memory, at).ok());
        let large = fields.raw_blocks.and_then(|field| field.read(memory, at).ok());
        let counts = Counts {
            arenas: count(fields.narenas).filter(|count| *count <= MAX_ARENAS_EVER),
            arenas_ever: count(fields.ntimes).filter(|count| *count <= MAX_ARENAS_EVER),
            highwater: count(fields.highwater).filter(|count| *count <= MAX_ARENAS_EVER),
            large: blocks(large),
            all: None,
        };
        let lists = fields.used.map(|lists| lists.of(at));
        let books = Books::Table { table, lists };
        Ok((!shared).then_some(Allocator { interpreter: place, books, counts }))
    };
    let mut found: Vec<Allocator> = Vec::new();
    match place(layout)? {
        Where::Static => found.push(statics(memory, process, located, arenas, known.first())?),
        Where::Interpreter(offset) => {
            for (place, interpreter) in interpreters.iter().enumerate() {
                found.extend(state(place, interpreter.plus(offset))?);
            }
        }
        Where::Pointer(offset) => {
            for (place, interpreter) in interpreters.iter().enumerate() {
                let Ok(at) = memory.get::<Addr>(interpreter.plus(offset)) else { continue };
                let allocator = state(place, at)?;
                found.extend(allocator.filter(|new| found.iter().all(|known| known.books != new.books)));
            }
        }
    }
    if found.is_empty() { Err(NoAllocator::NotFound) } else { Ok(found) }
}

/// The one allocator of a build that keeps it in static variables: by their names, else by their looks.
fn statics(
    memory: &dyn Memory,
    process: &Process,
    located: &Located,
    arenas: &Arenas,
    known: Option<&Allocator>,
) -> Result<Allocator, NoAllocator> {
    let symbols = &located.module.symbols;
    let table = match (symbols.get("arenas"), symbols.get("maxarenas")) {
        (Some(arenas), Some(slots)) => Table { arenas: *arenas, slots: Slots::Told(*slots) },
        _ => known
            .and_then(|known| match known.books {
                Books::Table { table, .. } => Some(table),
                Books::Threads(_) => None,
            })
            .or_else(|| search::table(process, located, arenas))
            .ok_or(NoAllocator::NotFound)?,
    };
    let number = |name: &str| {
        let count = symbols.get(name).and_then(|at| memory.get::<u64>(*at).ok());
        count.filter(|count| *count <= MAX_ARENAS_EVER)
    };
    let count = |name: &str| blocks(symbols.get(name).and_then(|at| memory.get::<i64>(*at).ok()));
    let counts = Counts {
        arenas: number("narenas_currently_allocated"),
        arenas_ever: number("ntimes_arena_allocated"),
        highwater: number("narenas_highwater"),
        large: count("raw_allocated_blocks"),
        all: count("_Py_AllocatedBlocks"),
    };
    let books = Books::Table { table, lists: symbols.get("usedpools").copied() };
    Ok(Allocator { interpreter: 0, books, counts })
}

/// A count of blocks, if it can be one; frees of what another allocator gave may bring it below nothing.
fn blocks(count: Option<i64>) -> Option<u64> {
    count.filter(|count| (-MAX_BLOCKS..MAX_BLOCKS).contains(count)).map(|count| count.max(0).cast_unsigned())
}

fn place(layout: &Layout) -> Result<Where, Missing> {
    let offset = || {
        let offset = InterpreterFields::bind(layout)?.obmalloc;
        offset.map(|offset| offset as u64).ok_or_else(|| missing(layout, "interp", "obmalloc"))
    };
    match layout.fact::<String>("obmalloc.where")?.as_str() {
        "static" => Ok(Where::Static),
        "interpreter" => Ok(Where::Interpreter(offset()?)),
        "pointer" => Ok(Where::Pointer(offset()?)),
        _ => Err(Missing::Fact { layout: layout.name.clone(), fact: "obmalloc.where".into() }),
    }
}

fn missing(layout: &Layout, section: &str, key: &str) -> Missing {
    Missing::Key { layout: layout.name.clone(), section: section.into(), key: key.into() }
}
