//! Whether a place is where the list of interpreters begins, and the search for one where nothing names it.

use std::collections::BTreeSet;

use super::elf::{Image, Segment};
use super::locate::Root;
use super::maps::Maps;
use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Fault, Memory, Piece, Word};

/// The most interpreters that are followed in their list.
const MAX_INTERPRETERS: usize = 4096;
/// How much of a segment is read at once.
const CHUNK: usize = 1 << 20;
/// How much two chunks overlap, so that no text is cut: more than any that is looked for.
const OVERLAP: usize = 256;
/// The most bytes of one segment that are searched.
const MAX_SEGMENT: u64 = 256 << 20;
/// How many candidates are looked at with one call.
const BATCH: usize = 512;

fields! {
    /// `PyInterpreterState`.
    struct Interp in "interp" { next: Field<Addr>, threads_head: Field<Addr>, modules: Field<Addr> }
}
fields! {
    /// `PyThreadState`.
    struct Thread in "thread" { interp: Field<Addr> }
}
fields! {
    /// `_PyRuntimeState`, which only 3.7 and later have.
    struct Runtime in "runtime" {
        interpreters_head: Option<Field<Addr>>,
        interpreters_main: Option<Field<Addr>>,
    }
}
fields! {
    /// `PyObject`; the key is called `type`.
    struct Type in "type" { name: Field<Addr> }
}

/// What a layout says about the list of interpreters.
pub(super) struct Shape {
    interp: Interp,
    thread: Thread,
    runtime: Runtime,
    type_: Type,
    object_type: u64,
}

/// What is wrong with a list of interpreters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The layout lacks what it takes to follow the list.
    #[error("nothing can be followed: {0}")]
    Layout(Missing),
    /// The list is empty.
    #[error("the list of interpreters is empty")]
    Empty,
    /// It leads into nowhere.
    #[error("the list of interpreters leads to memory that is not there: {0}")]
    Fault(#[from] Fault),
    /// It does not close.
    #[error("the thread {thread} of interpreter {interp} belongs to another one")]
    Stranger {
        /// The interpreter.
        interp: Addr,
        /// Its first thread.
        thread: Addr,
    },
    /// No interpreter in the list has a thread.
    #[error("no interpreter in the list has a thread")]
    NoThread,
    /// The list does not end.
    #[error("the list of interpreters does not end")]
    Endless,
    /// The modules of an interpreter are no dictionary.
    #[error("the modules of interpreter {interp} are no dictionary")]
    NoModules {
        /// The interpreter.
        interp: Addr,
    },
    /// No word in the module's data is an interpreter.
    #[error("nothing in its data is an interpreter")]
    NotFound,
}

impl Shape {
    pub(super) fn bind(layout: &Layout) -> Result<Shape, Missing> {
        let object_type = layout.key("object", "type").and_then(|at| u64::try_from(at).ok());
        Ok(Shape {
            interp: Interp::bind(layout)?,
            thread: Thread::bind(layout)?,
            runtime: Runtime::bind(layout)?,
            type_: Type::bind(layout)?,
            object_type: object_type.ok_or_else(|| Missing::Key {
                layout: layout.name.clone(),
                section: "object".into(),
                key: "type".into(),
            })?,
        })
    }

    /// Whether the list hangs on `_PyRuntime`.
    pub(super) fn has_runtime(&self) -> bool {
        self.runtime.interpreters_head.is_some()
    }

    /// Follows the list: interpreter, first thread, and back to the interpreter.
    pub(super) fn check(&self, memory: &dyn Memory, root: Root) -> Result<(), Flaw> {
        let head = memory.get(self.head(root)).map_err(Flaw::Fault)?;
        self.list(memory, head).map(|_| ())
    }

    /// Finds the root among the variables of a module. What points to an interpreter need not be the list's head: the
    /// one from which most interpreters are reached is.
    pub(super) fn scan(&self, memory: &dyn Memory, maps: &Maps, image: &Image) -> Result<Root, Flaw> {
        let mut best: Option<(usize, Root)> = None;
        let mut known = BTreeSet::new();
        let mut refused = BTreeSet::new();
        for segment in image.data() {
            for (base, bytes) in chunks(memory, maps, segment) {
                let words: Vec<(Addr, Addr)> = bytes
                    .chunks_exact(8)
                    .enumerate()
                    .map(|(i, word)| (base.plus(i as u64 * 8), word))
                    .filter_map(|(at, word)| Some((at, Addr(u64::from_le_bytes(word.try_into().ok()?)))))
                    .filter(|(_, p)| p.0 % 8 == 0 && maps.at(p.0).is_some_and(|m| m.read && m.write))
                    .collect();
                for (at, interp) in self.promising(memory, &words, &mut known, &mut refused) {
                    let root = self.root_at(at);
                    let Ok(list) = self.list(memory, interp) else { continue };
                    if self.fits(memory, root, &list) && best.is_none_or(|(most, _)| list.len() > most) {
                        best = Some((list.len(), root));
                    }
                }
            }
        }
        best.map(|(_, root)| root).ok_or(Flaw::NotFound)
    }

    /// Those words whose target has a thread that belongs to it.
    fn promising(
        &self,
        memory: &dyn Memory,
        words: &[(Addr, Addr)],
        known: &mut BTreeSet<Addr>,
        refused: &mut BTreeSet<Addr>,
    ) -> Vec<(Addr, Addr)> {
        let fresh: BTreeSet<Addr> =
            words.iter().map(|(_, p)| *p).filter(|p| !known.contains(p) && !refused.contains(p)).collect();
        let fresh: Vec<Addr> = fresh.into_iter().collect();
        for batch in fresh.chunks(BATCH) {
            let threads = addresses(memory, batch.iter().map(|p| self.interp.threads_head.of(*p)));
            let pairs: Vec<(Addr, Addr)> =
                batch.iter().zip(threads).filter_map(|(p, t)| Some((*p, t?.non_null()?))).collect();
            let owners = addresses(memory, pairs.iter().map(|(_, t)| self.thread.interp.of(*t)));
            let closing = pairs.iter().zip(owners).filter(|((p, _), owner)| *owner == Some(*p));
            known.extend(closing.map(|((p, _), _)| *p));
            refused.extend(batch.iter().filter(|p| !known.contains(p)));
        }
        words.iter().filter(|(_, p)| known.contains(p)).copied().collect()
    }

    fn head(&self, root: Root) -> Addr {
        match (root, self.runtime.interpreters_head) {
            (Root::Runtime(at), Some(head)) => head.of(at),
            (Root::Runtime(at) | Root::InterpHead(at), _) => at,
        }
    }

    fn root_at(&self, head: Addr) -> Root {
        match self.runtime.interpreters_head {
            Some(field) => Root::Runtime(head.minus(field.offset())),
            None => Root::InterpHead(head),
        }
    }

    /// Whether the rest of a runtime agrees, and the interpreters look like ones.
    fn fits(&self, memory: &dyn Memory, root: Root, list: &[Addr]) -> bool {
        let main = match (root, self.runtime.interpreters_main) {
            (Root::Runtime(at), Some(main)) => main.read(memory, at).is_ok_and(|main| list.contains(&main)),
            _ => true,
        };
        main && list.iter().all(|interp| self.modules(memory, *interp).is_ok())
    }

    fn list(&self, memory: &dyn Memory, head: Addr) -> Result<Vec<Addr>, Flaw> {
        let mut list = Vec::new();
        let mut threads = 0;
        let mut next = head.non_null();
        while let Some(interp) = next {
            if list.len() >= MAX_INTERPRETERS {
                return Err(Flaw::Endless);
            }
            list.push(interp);
            // One that is just being made has no thread yet.
            if let Some(thread) = self.interp.threads_head.read(memory, interp)?.non_null() {
                if self.thread.interp.read(memory, thread)? != interp {
                    return Err(Flaw::Stranger { interp, thread });
                }
                threads += 1;
            }
            next = self.interp.next.read(memory, interp)?.non_null();
        }
        match (list.is_empty(), threads) {
            (true, _) => Err(Flaw::Empty),
            (false, 0) => Err(Flaw::NoThread),
            _ => Ok(list),
        }
    }

    fn modules(&self, memory: &dyn Memory, interp: Addr) -> Result<(), Flaw> {
        let modules = self.interp.modules.read(memory, interp)?;
        let class: Addr = memory.get(modules.plus(self.object_type))?;
        let name = self.type_.name.read(memory, class)?;
        let mut text = [0; 5];
        memory.read(name, &mut text)?;
        if &text == b"dict\0" { Ok(()) } else { Err(Flaw::NoModules { interp }) }
    }
}

/// Many addresses at once; `None` where one cannot be read.
fn addresses(memory: &dyn Memory, places: impl Iterator<Item = Addr>) -> Vec<Option<Addr>> {
    let mut pieces: Vec<Piece> = places.map(|addr| Piece::new(addr, Addr::SIZE)).collect();
    let mut words = vec![0; pieces.len() * Addr::SIZE];
    memory.gather(&mut pieces, &mut words);
    let words = words.chunks_exact(Addr::SIZE).map(Addr::from_bytes);
    pieces.iter().zip(words).map(|(piece, word)| piece.arrived.then_some(word)).collect()
}

/// The bytes of a segment, piece by piece, each a little longer than the step to the next. What is not mapped or cannot
/// be read is left out.
pub(crate) fn chunks(
    memory: &dyn Memory,
    maps: &Maps,
    segment: &Segment,
) -> impl Iterator<Item = (Addr, Vec<u8>)> {
    let (from, to) = (segment.start, segment.end.min(segment.start.saturating_add(MAX_SEGMENT)));
    // Variables with and without initial values lie in mappings of their own, side by side, and text across both.
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for mapping in maps.iter().filter(|m| m.read && m.start < to && from < m.end) {
        let (start, end) = (mapping.start.max(from), mapping.end.min(to));
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => runs.push((start, end)),
        }
    }
    let pieces = |(start, end): (u64, u64)| {
        (start..end)
            .step_by(CHUNK)
            .map(move |at| (Addr(at), (end - at).min((CHUNK + OVERLAP) as u64) as usize))
    };
    runs.into_iter().flat_map(pieces).filter_map(|(at, size)| Some((at, memory.bytes(at, size).ok()?)))
}
