//! Code objects: what a function is called and where it was written, kept for as long as it stays true.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory, Part, Recorder};

use super::Unread;
use super::lines::{LineTable, Position};
use super::object::Objects;
use super::text::Text;

/// The longest line table that is read; a function with a longer one has no lines.
const MAX_TABLE: usize = 1 << 20;
/// When more code objects than this are kept, all are forgotten and read anew as they are met.
const MAX_CODES: usize = 1 << 16;
/// Likewise when their line tables have more bytes than this.
const MAX_TABLES: usize = 64 << 20;
/// The size of an instruction, in which 3.11 and later count the length of the code in it (`_Py_CODEUNIT`).
const CODE_UNIT: u64 = 2;

fields! {
    /// `PyCodeObject`, Include/cpython/code.h (Include/code.h in Python 2).
    struct CodeFields in "code" {
        name: Field<Addr>,
        qualname: Option<Field<Addr>>,
        filename: Field<Addr>,
        firstlineno: Field<i32>,
        linetable: Field<Addr>,
        /// Before 3.11 the instructions are a `bytes` object of their own; then they end the code object.
        code: Option<Field<Addr>>,
        /// From 3.12 on: a number that no two code objects share, or 0 when numbers ran out.
        version: Option<Field<u32>>,
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
    ids: FxHashMap<Arc<Code>, CodeId>,
    /// The rows of the ids from `first` on.
    rows: Vec<Arc<Code>>,
    first: u32,
    tables: usize,
    /// How often codes were confirmed.
    round: u64,
}

/// What was read at an address, and what must still stand there for it to be true.
#[derive(Debug)]
struct Kept {
    id: CodeId,
    witness: Witness,
    /// The round in which the witness was last heard.
    round: u64,
}

/// Pieces of memory that told something. While they are the same, so is what they told: an address that was freed and
/// used again for another function can give no wrong name.
#[derive(Debug, Default)]
struct Witness(Vec<(Addr, Box<[u8]>)>);

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
            ids: FxHashMap::default(),
            rows: Vec::new(),
            first: 0,
            tables: 0,
            round: 0,
        })
    }

    /// Begins a look. Forgets all code objects if they have become many; ids that were given out before then name nothing
    /// any more.
    pub fn begin(&mut self) {
        if self.kept.len() > MAX_CODES || self.rows.len() > MAX_CODES || self.tables > MAX_TABLES {
            self.first = self.first.saturating_add(self.rows.len() as u32);
            self.kept.clear();
            self.ids.clear();
            self.rows.clear();
            self.tables = 0;
        }
    }

    /// The function that an id names, unless it was forgotten.
    pub fn get(&self, id: CodeId) -> Option<&Code> {
        let row = id.0.checked_sub(self.first)?;
        self.rows.get(row as usize).map(|code| &**code)
    }

    /// Confirms what is kept of the code objects that a walk met, in one read. What is not confirmed is forgotten.
    pub fn confirm(&mut self, memory: &dyn Memory, codes: impl Iterator<Item = Addr>) {
        self.round += 1;
        let mut asked: Vec<Addr> = codes.filter(|at| self.kept.contains_key(at)).collect();
        asked.sort_unstable();
        asked.dedup();
        let pieces = || asked.iter().filter_map(|at| self.kept.get(at)).flat_map(|kept| &kept.witness.0);
        let mut room = vec![0; pieces().map(|(_, bytes)| bytes.len()).sum()];
        let mut parts = parts_in(&mut room, pieces());
        memory.read_many(&mut parts);
        let same = parts.iter().zip(pieces()).map(|(part, (_, bytes))| part.arrived && *part.buf == **bytes);
        let mut same = same.collect::<Vec<bool>>().into_iter();
        for at in asked {
            let Some(kept) = self.kept.get_mut(&at) else { continue };
            // All of a witness's pieces are taken from `same`, also behind one that differs.
            if same.by_ref().take(kept.witness.0.len()).fold(true, |all, one| all & one) {
                kept.round = self.round;
            } else {
                self.kept.remove(&at);
            }
        }
    }

    /// The id of the code object at `addr`, and whether it was confirmed in this round: if not, it was read just now.
    ///
    /// What was read just now may be told by memory that was let go already, for the walk that led here is past. It is
    /// true once a later walk leads here again and it is confirmed then: what a frame uses is not let go.
    pub fn id(&mut self, memory: &dyn Memory, addr: Addr) -> Result<(CodeId, bool), Unread> {
        if let Some(kept) = self.kept.get(&addr) {
            return Ok((kept.id, kept.round == self.round));
        }
        let (code, witness) = self.read(memory, addr)?;
        let id = self.keep(code);
        // Round 0 was never: other frames of this walk that lead here are not confirmed either.
        self.kept.insert(addr, Kept { id, witness, round: 0 });
        Ok((id, false))
    }

    fn keep(&mut self, code: Code) -> CodeId {
        if let Some(id) = self.ids.get(&code) {
            return *id;
        }
        let id = CodeId(self.first.saturating_add(self.rows.len() as u32));
        self.tables += code.table.as_ref().map_or(0, Vec::len);
        let code = Arc::new(code);
        self.rows.push(Arc::clone(&code));
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
        let table = self.fields.linetable.read(&head, addr)?;
        let version = self.fields.version.map(|version| version.read(&head, addr)).transpose()?.unwrap_or(0);

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
        self.0.extend(read.into_tape().pieces().map(|(at, bytes)| (at, bytes.into())));
    }
}

/// Reads of the given pieces, one behind the other in `room`, which is as long as all of them.
fn parts_in<'a, 'p>(
    mut room: &'a mut [u8],
    pieces: impl Iterator<Item = &'p (Addr, Box<[u8]>)>,
) -> Vec<Part<'a>> {
    pieces
        .map_while(|(addr, bytes)| {
            let (buf, rest) = std::mem::take(&mut room).split_at_mut_checked(bytes.len())?;
            room = rest;
            Some(Part { addr: *addr, buf, arrived: false })
        })
        .collect()
}
