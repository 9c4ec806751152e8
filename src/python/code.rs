//! Code objects: what a function is called and where it was written, kept for as long as it stays true.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory, Recorder};

use super::Unread;
use super::extents::{Copy, Extents};
use super::lines::{LineTable, Position};
use super::object::Objects;
use super::plan::Plan;
use super::text::Text;

/// The longest line table that is read; a function with a longer one has no lines.
const MAX_TABLE: usize = 1 << 20;
/// When more code objects than this are kept, all are forgotten and read anew as they are met.
const MAX_CODES: usize = 1 << 16;
/// Likewise when their line tables have more bytes than this.
const MAX_TABLES: usize = 64 << 20;
/// How much of each thing that a code object points to is read again to know it: its head, its length and how it begins.
const WITNESS: usize = 96;
/// What lies no further apart than this is heard as one.
const NEAR: u64 = 256;
/// `CO_GENERATOR`, `CO_COROUTINE` and `CO_ASYNC_GENERATOR`, Include/cpython/code.h.
const RESTS: i32 = 0x20 | 0x80 | 0x200;
/// The size of an instruction, in which 3.11 and later count the length of the code in it (`_Py_CODEUNIT`).
const CODE_UNIT: u64 = 2;

fields! {
    /// `PyCodeObject`, Include/cpython/code.h (Include/code.h in Python 2).
    struct CodeFields in "code" {
        name: Field<Addr>,
        qualname: Option<Field<Addr>>,
        filename: Field<Addr>,
        firstlineno: Field<i32>,
        flags: Field<i32>,
        linetable: Field<Addr>,
        /// Before 3.11 the instructions are a `bytes` object of their own; then they end the code object.
        code: Option<Field<Addr>>,
        /// From 3.12 on: a number that no two code objects share, or 0 when numbers ran out.
        version: Option<Field<u32>>,
        /// From 3.11 on: how many variables a frame holds.
        nlocalsplus: Option<Field<u32>>,
        stacksize: Field<u32>,
    }
}

fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" {
        ob_size: Field<u64>,
    }
}

/// Names one [`Code`] of one process. Ids count up and are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeId(pub u32);

/// A function, as its code object describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Code {
    /// `co_name`.
    pub name: String,
    /// `co_qualname` (3.11 and later).
    pub qualname: Option<String>,
    /// `co_filename`.
    pub filename: String,
    /// `co_firstlineno`.
    pub first_line: i32,
    /// Bytes of its instructions.
    pub length: u64,
    /// It makes a generator or a coroutine, whose frame rests between calls and has no caller then.
    pub rests: bool,
    /// How many values a frame of it has room for; frames that lie side by side end with them (3.11 and later).
    pub values: Option<u32>,
    kind: LineTable,
    table: Option<Vec<u8>>,
}

/// All code objects that were met, by address and by id.
#[derive(Debug)]
pub struct Codes {
    fields: CodeFields,
    var: VarFields,
    objects: Objects,
    text: Text,
    kind: LineTable,
    /// The type of all code objects, once one was met.
    code_type: Option<Addr>,
    kept: FxHashMap<Addr, Kept>,
    /// Where they are.
    places: BTreeSet<Addr>,
    ids: FxHashMap<Arc<Code>, CodeId>,
    /// The rows of the ids from `first` on, and where each was found last.
    rows: Vec<(Arc<Code>, Addr)>,
    first: u32,
    tables: usize,
    /// Counts what was read at once.
    turn: u64,
}

/// What was read at an address, and what must still stand there for it to be true.
#[derive(Debug)]
struct Kept {
    id: CodeId,
    witness: Witness,
    /// The turn in which the witness was last heard.
    turn: u64,
    /// The moment, in the interpreter's own count, at which it was last heard.
    epoch: Option<Epoch>,
}

/// A moment in an interpreter's own count of the code objects that it has made (`func_state.next_version`, 3.13 and later):
/// while it is the same, none was made, and no address is that of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// The interpreter.
    pub interpreter: Addr,
    /// Its count.
    pub count: u32,
}

/// What is known of a code object at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is this one.
    Sure(CodeId),
    /// It was this one; whether it still is has to be heard.
    Unsure(CodeId),
    /// Nothing.
    Not,
}

/// Pieces of memory that told something, side by side in groups. While they are the same, so is what they told: an address
/// that was freed and used again for another function can give no wrong name.
#[derive(Debug, Default)]
struct Witness(Vec<Group>);

/// Pieces that lie near each other: where the first begins, how long it is to the end of the last, and each one's distance
/// from the start and its bytes.
#[derive(Debug)]
struct Group {
    at: Addr,
    len: usize,
    pieces: Vec<(usize, Box<[u8]>)>,
}

impl Code {
    /// Where the instruction at byte `offset` was written.
    pub fn position(&self, offset: i32) -> Position {
        match &self.table {
            Some(table) => self.kind.position(table, self.first_line, offset.into()),
            None => Position::default(),
        }
    }

    /// Whether its line table is one that code of its length can have; one that was not kept may be.
    pub fn lines_fit(&self) -> bool {
        self.table.as_ref().is_none_or(|table| self.kind.fits(table, self.length))
    }

    /// The lines on which its instructions were written.
    pub fn lines(&self) -> Vec<u32> {
        self.table.as_ref().map_or_else(Vec::new, |table| self.kind.lines(table, self.first_line))
    }

    /// Whether it is the interpreter's own, of the frame that waits for an `__init__` that runs within the one that makes the object:
    /// no traceback shows it (`_Py_InitCleanup`, Python/specialize.c, 3.13 and later).
    pub fn is_shim(&self) -> bool {
        self.name == "__init__" && self.filename == "__init__"
    }

    /// Whether an instruction can stand at byte `offset`; that of a frame which has not started stands before the first.
    pub fn holds(&self, offset: i32) -> bool {
        u64::try_from(offset).map_or(true, |offset| offset < self.length)
    }
}

impl Codes {
    /// Binds what the layout says of code objects.
    pub fn bind(layout: &Layout) -> Result<Codes, Missing> {
        Ok(Codes {
            fields: CodeFields::bind(layout)?,
            var: VarFields::bind(layout)?,
            objects: Objects::bind(layout)?,
            text: Text::bind(layout)?,
            kind: LineTable::bind(layout)?,
            code_type: None,
            kept: FxHashMap::default(),
            places: BTreeSet::new(),
            ids: FxHashMap::default(),
            rows: Vec::new(),
            first: 0,
            tables: 0,
            turn: 0,
        })
    }

    /// Whether they have become too many.
    pub fn are_many(&self) -> bool {
        self.kept.len() > MAX_CODES || self.rows.len() > MAX_CODES || self.tables > MAX_TABLES
    }

    /// Forgets all code objects; ids that were given out before name nothing any more.
    pub fn clear(&mut self) {
        self.first = self.first.saturating_add(self.rows.len() as u32);
        self.kept.clear();
        self.places.clear();
        self.ids.clear();
        self.rows.clear();
        self.tables = 0;
    }

    /// The function that an id names, unless it was forgotten.
    pub fn get(&self, id: CodeId) -> Option<&Code> {
        let row = id.0.checked_sub(self.first)?;
        self.rows.get(row as usize).map(|(code, _)| &**code)
    }

    /// Where a function was last found; equal ones may stand in several places, and any of them will do.
    pub fn place(&self, id: CodeId) -> Option<Addr> {
        let (_, at) = self.rows.get(id.0.checked_sub(self.first)? as usize)?;
        let is_there = |at: &Addr| self.last_at(*at) == Some(id);
        Some(*at).filter(is_there).or_else(|| self.places.iter().copied().find(is_there))
    }

    /// Begins a turn: what is heard from now on was read at once, while one stack held still.
    pub fn turn(&mut self) {
        self.turn += 1;
    }

    /// What is known of the code object at `addr`, at a moment of its interpreter's count where there is one.
    pub fn known(&self, addr: Addr, epoch: Option<Epoch>) -> Known {
        match self.kept.get(&addr) {
            Some(kept) if kept.turn == self.turn || (epoch.is_some() && kept.epoch == epoch) => {
                Known::Sure(kept.id)
            }
            Some(kept) => Known::Unsure(kept.id),
            None => Known::Not,
        }
    }

    /// The function that was last known to be at `addr`.
    pub fn last_at(&self, addr: Addr) -> Option<CodeId> {
        self.kept.get(&addr).map(|kept| kept.id)
    }

    /// The last code object that begins before `addr`, if it is known.
    pub fn before(&self, addr: Addr) -> Option<(Addr, &Code)> {
        let place = *self.places.range(..addr).next_back()?;
        Some((place, self.get(self.last_at(place)?)?))
    }

    /// Whether the function at `addr`, if it is known, rests between calls.
    pub fn rests(&self, addr: Addr) -> bool {
        self.last_at(addr).and_then(|id| self.get(id)).is_some_and(|code| code.rests)
    }

    /// Takes the places that have to be read, so that the code object at `addr` can be heard, into `extents`.
    pub fn cover(&self, addr: Addr, extents: &mut Extents) {
        for group in self.kept.get(&addr).iter().flat_map(|kept| &kept.witness.0) {
            extents.cover(group.at, group.len);
        }
    }

    /// Hears in what was read whether the code object at `addr` is still the one that is known; `None` where not all was
    /// read. If not, it is forgotten. `epoch` is the moment of the interpreter's count at which it was read, where there is
    /// one.
    pub fn hear(
        &mut self,
        addr: Addr,
        read: (&Plan, &mut Extents, &Copy),
        epoch: Option<Epoch>,
    ) -> Option<bool> {
        let (plan, extents, copy) = read;
        let kept = self.kept.get_mut(&addr)?;
        for group in &kept.witness.0 {
            let bytes = copy.get(plan, extents.find(group.at, group.len)?)?;
            if !group.pieces.iter().all(|(from, piece)| bytes.get(*from..from + piece.len()) == Some(piece)) {
                self.kept.remove(&addr);
                self.places.remove(&addr);
                return Some(false);
            }
        }
        kept.turn = self.turn;
        kept.epoch = epoch;
        Some(true)
    }

    /// Reads the code object at `addr`.
    ///
    /// What was read just now may be told by memory that was let go already, for the look that led here is past. It is
    /// true once a later look leads here again and it is heard then: what a frame uses is not let go.
    pub fn learn(&mut self, memory: &dyn Memory, addr: Addr) -> Result<(), Unread> {
        let (code, witness) = self.read(memory, addr)?;
        let id = self.keep(code, addr);
        self.kept.insert(addr, Kept { id, witness, turn: 0, epoch: None });
        self.places.insert(addr);
        Ok(())
    }

    fn keep(&mut self, code: Code, addr: Addr) -> CodeId {
        if let Some(id) = self.ids.get(&code) {
            if let Some((_, at)) = self.rows.get_mut((id.0 - self.first) as usize) {
                *at = addr;
            }
            return *id;
        }
        let id = CodeId(self.first.saturating_add(self.rows.len() as u32));
        self.tables += code.table.as_ref().map_or(0, Vec::len);
        let code = Arc::new(code);
        self.rows.push((Arc::clone(&code), addr));
        self.ids.insert(code, id);
        id
    }

    fn read(&mut self, memory: &dyn Memory, addr: Addr) -> Result<(Code, Witness), Unread> {
        let head = Recorder::new(memory);
        self.check_type(memory, self.objects.type_of(&head, addr)?)?;
        let name = self.fields.name.read(&head, addr)?;
        let qualname = self.fields.qualname.map(|qualname| qualname.read(&head, addr)).transpose()?;
        let filename = self.fields.filename.read(&head, addr)?;
        let first_line = self.fields.firstlineno.read(&head, addr)?;
        let flags = self.fields.flags.read(&head, addr)?;
        let table = self.fields.linetable.read(&head, addr)?;
        let version = self.fields.version.map(|version| version.read(&head, addr)).transpose()?.unwrap_or(0);
        let variables = self.fields.nlocalsplus.map(|variables| variables.read(&head, addr)).transpose()?;
        let depth = self.fields.stacksize.read(&head, addr)?;

        let body = Recorder::new(memory);
        let length = match self.fields.code {
            Some(code) => self.text.bytes_length(&body, code.read(&head, addr)?)?,
            None => self.var.ob_size.read(&head, addr)?.saturating_mul(CODE_UNIT),
        };
        let code = Code {
            name: self.text.read(&body, name)?,
            qualname: qualname.map(|qualname| self.text.read(&body, qualname)).transpose()?,
            filename: self.text.read(&body, filename)?,
            first_line,
            length,
            rests: flags & RESTS != 0,
            values: variables.map(|variables| variables.saturating_add(depth)),
            kind: self.kind,
            table: self.text.bytes(&body, table, MAX_TABLE).ok(),
        };
        let mut witness = Witness::default();
        witness.add(head);
        if version == 0 {
            witness.add(body);
        }
        Ok((code, witness))
    }

    fn check_type(&mut self, memory: &dyn Memory, of: Addr) -> Result<(), Unread> {
        if self.code_type != Some(of) {
            if self.objects.type_name(memory, of)? != "code" {
                return Err(Unread::Garbage("a code object"));
            }
            self.code_type = Some(of);
        }
        Ok(())
    }
}

impl Witness {
    fn add(&mut self, read: Recorder<&dyn Memory>) {
        for (at, bytes) in read.into_tape().pieces() {
            let bytes: Box<[u8]> = bytes[..bytes.len().min(WITNESS)].into();
            match self.0.last_mut() {
                Some(group) if group.at <= at && (at.0 - group.at.0) <= NEAR => {
                    let from = (at.0 - group.at.0) as usize;
                    group.len = group.len.max(from + bytes.len());
                    group.pieces.push((from, bytes));
                }
                _ => self.0.push(Group { at, len: bytes.len(), pieces: vec![(0, bytes)] }),
            }
        }
    }
}
