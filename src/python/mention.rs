//! Which functions a function names, line by line: a call that stands in the source needs no other proof.
//!
//! Design constraint: that the innermost frame was called by the one below it, one word of it says. What can be wrong is where in its
//! function the caller was, which was read at another moment. Where the line on which it was names what it is said to call there, there
//! is nothing to be wrong about.

use rustc_hash::FxHashMap;

use super::Unread;
use super::code::{Code, CodeId, Codes};
use super::frame::Frame;
use super::stacks::{Call, StackNumber, Stacks};
use super::text::Text;
use crate::layout::{Field, Layout, Missing, Version, fields, opcodes};
use crate::memory::{Addr, Fault, Memory, Word};

/// The longest code that is looked through, in bytes.
const MAX_CODE: u64 = 1 << 16;
/// The most names of a function that are read.
const MAX_NAMES: u64 = 4096;
/// When more functions than this were looked through, or more of their instructions are kept, all are forgotten.
const MAX_FUNCTIONS: usize = 1 << 14;
const MAX_KEPT: usize = 1 << 18;
/// In Python 2 instructions from this one on have an argument of two bytes (`HAVE_ARGUMENT`, Include/opcode.h).
const HAVE_ARGUMENT: u8 = 90;

fields! {
    /// `PyCodeObject`, Include/cpython/code.h (Include/code.h in Python 2).
    struct CodeFields in "code" {
        name: Field<Addr>,
        names: Field<Addr>,
        firstlineno: Field<i32>,
        /// Before 3.11, an object of its own.
        code: Option<Field<Addr>>,
        code_adaptive: Option<usize>,
    }
}

fields! {
    /// `PyTupleObject`, Include/cpython/tupleobject.h.
    struct Tuple in "tuple" {
        item: usize,
    }
}

fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" {
        ob_size: Field<u64>,
    }
}

/// What an instruction does with its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Other,
    /// It stands where another one was, and nothing here says which.
    Hides,
    /// It loads what has the name of this number, so many bits further up.
    Name(u32),
    /// It makes a function.
    Make,
    /// It returns from its own.
    Return,
    /// It holds the upper part of the next one's.
    Extended,
}

/// What functions name.
#[derive(Debug)]
pub struct Mentions {
    code: CodeFields,
    tuple: Tuple,
    var: VarFields,
    text: Text,
    /// What each instruction does, and how many units behind it are for its own use.
    roles: Box<[(Role, usize); 256]>,
    /// The size of an instruction; 1 where they differ.
    unit: u64,
    rows: FxHashMap<CodeId, Row>,
    /// How many instructions are in them.
    kept: usize,
}

/// What one function names.
#[derive(Debug, Default)]
pub struct Row {
    /// The instructions that load something by its name: where they are, in bytes from the first, and where the name's string is. Each
    /// name is one string wherever it stands: they are interned (Objects/codeobject.c).
    pub loads: Vec<(i32, Addr)>,
    /// Where those are that make functions.
    pub makes: Vec<i32>,
    /// And those that return.
    pub returns: Vec<i32>,
}

impl Mentions {
    /// Binds what the layout says of names; `None` where the version's instructions are not known here.
    pub fn bind(layout: &Layout, version: Version) -> Result<Option<Mentions>, Missing> {
        let Some(opcodes) = opcodes::Opcodes::of(version) else { return Ok(None) };
        let shift = |fact: &str| layout.fact::<u64>(fact).map(|bits| u32::try_from(bits).unwrap_or(u32::MAX));
        let (global, attr) = (shift("code.global_shift")?, shift("code.attr_shift")?);
        let role = |name: &str| match name {
            "EXTENDED_ARG" => Role::Extended,
            "MAKE_FUNCTION" | "MAKE_CLOSURE" => Role::Make,
            "RETURN_VALUE" | "RETURN_CONST" => Role::Return,
            name if name.starts_with("LOAD_GLOBAL") => Role::Name(global),
            name if name.starts_with("LOAD_ATTR") => Role::Name(attr),
            name if name.starts_with("LOAD_METHOD") || name.starts_with("LOAD_NAME") => Role::Name(0),
            // The lower two bits say how it is called and what is loaded (Python/bytecodes.c).
            name if name.starts_with("LOAD_SUPER_ATTR") => Role::Name(2),
            _ => Role::Other,
        };
        let mut roles = Box::new([(Role::Other, 0); 256]);
        for (place, row) in (0..=u8::MAX).zip(roles.iter_mut()) {
            let Some(name) = opcodes.name(place) else { continue };
            *row = opcodes.caches(name).map_or((Role::Hides, 0), |caches| (role(name), caches));
        }
        Ok(Some(Mentions {
            code: CodeFields::bind(layout)?,
            tuple: Tuple::bind(layout)?,
            var: VarFields::bind(layout)?,
            text: Text::bind(layout)?,
            roles,
            unit: layout.fact("code.unit")?,
            rows: FxHashMap::default(),
            kept: 0,
        }))
    }

    /// Tells which calls of a stack stand in the source of their functions, and where else these call the same.
    pub fn tell(&mut self, stack: StackNumber, memory: &dyn Memory, codes: &Codes, stacks: &mut Stacks) {
        stacks.unasked_calls(stack).into_iter().for_each(|call| self.tell_call(call, memory, codes, stacks));
    }

    /// The same of one call.
    pub fn tell_call(&mut self, call: Call, memory: &dyn Memory, codes: &Codes, stacks: &mut Stacks) {
        let (caller, callee) = call;
        let sites = self.sites(memory, codes, caller.code, callee);
        stacks.stands_in_source(call, is_on_line(&sites, codes, caller));
        sites.iter().for_each(|offset| stacks.add_site(Frame { offset: *offset, ..caller }, callee));
    }

    /// Whether a function names another one on the line that it is on.
    pub fn names(&mut self, memory: &dyn Memory, codes: &Codes, caller: Frame, callee: CodeId) -> bool {
        is_on_line(&self.sites(memory, codes, caller.code, callee), codes, caller)
    }

    /// Whether a function returns where a frame of it stands.
    pub fn returns(&mut self, memory: &dyn Memory, codes: &Codes, frame: Frame) -> bool {
        self.row(memory, codes, frame.code).is_some_and(|row| row.returns.contains(&frame.offset))
    }

    /// Where a function names another one, in bytes from its first instruction.
    fn sites(&mut self, memory: &dyn Memory, codes: &Codes, caller: CodeId, id: CodeId) -> Vec<i32> {
        let (Some(code), Some(callee)) = (codes.get(caller), codes.get(id)) else { return Vec::new() };
        self.row(memory, codes, caller);
        let Some(row) = self.rows.get(&caller) else { return Vec::new() };
        // What has no name is made where it is called.
        if callee.name.starts_with('<') {
            let first = Some(callee.first_line.cast_unsigned());
            let is_it = |offset: &&i32| code.position(**offset).line == first;
            let makes = row.makes.iter().filter(|_| callee.filename == code.filename);
            return makes.filter(is_it).copied().collect();
        }
        let class = match (callee.name.as_str(), callee.qualname.as_deref()) {
            // A class is called by its own name.
            ("__init__" | "__new__", Some(qualname)) => Some(qualname.rsplit('.').nth(1).unwrap_or_default()),
            _ => None,
        };
        let name = codes.place(id).and_then(|at| self.code.name.read(memory, at).ok());
        let is_it = |loaded: Addr| match class {
            Some(class) => self.text.is(memory, loaded, class),
            None => Some(loaded) == name,
        };
        row.loads.iter().filter(|(_, name)| is_it(*name)).map(|(offset, _)| *offset).collect()
    }

    /// What a function names; it is read at first sight.
    fn row(&mut self, memory: &dyn Memory, codes: &Codes, id: CodeId) -> Option<&Row> {
        if !self.rows.contains_key(&id) {
            if self.rows.len() >= MAX_FUNCTIONS || self.kept > MAX_KEPT {
                self.rows.clear();
                self.kept = 0;
            }
            let code = codes.place(id).zip(codes.get(id));
            let row = code.and_then(|(at, code)| self.read(memory, at, code).ok()).unwrap_or_default();
            self.kept += row.loads.len() + row.makes.len() + row.returns.len();
            self.rows.insert(id, row);
        }
        self.rows.get(&id)
    }

    /// Reads what the function whose code object is at `at` names; of code that is longer than 64 KiB, in the first of them from 3.11 on,
    /// and nothing before.
    pub fn read(&self, memory: &dyn Memory, at: Addr, code: &Code) -> Result<Row, Unread> {
        let count = code.length.min(MAX_CODE) as usize;
        let bytes = match (self.code.code, self.code.code_adaptive) {
            (Some(code), _) => self.text.bytes(memory, code.read(memory, at)?, count)?,
            (None, Some(place)) => memory.bytes(at.plus(place as u64), count)?,
            (None, None) => Vec::new(),
        };
        let row = self.look_through(&bytes, &self.names_of(memory, at).unwrap_or_default());
        // Another one may lie there by now.
        match self.code.firstlineno.read(memory, at)? == code.first_line {
            true => Ok(row),
            false => Err(Unread::Garbage("the same code object")),
        }
    }

    /// The addresses of its names, side by side.
    fn names_of(&self, memory: &dyn Memory, at: Addr) -> Result<Vec<u8>, Fault> {
        let tuple = self.code.names.read(memory, at)?;
        let number = self.var.ob_size.read(memory, tuple)?.min(MAX_NAMES) as usize;
        memory.bytes(tuple.plus(self.tuple.item as u64), number * Addr::SIZE)
    }

    /// Finds the instructions that load names, make functions and return, as far as they are all there: a debugger may hide some.
    fn look_through(&self, bytes: &[u8], names: &[u8]) -> Row {
        let mut row = Row::default();
        let (mut at, mut upper) = (0, 0u32);
        while let Some(opcode) = bytes.get(at) {
            let byte = |from: usize| u32::from(bytes.get(at + from).copied().unwrap_or(0));
            let (argument, bits, length) = match (self.unit, *opcode) {
                (1, HAVE_ARGUMENT..) => (byte(1) | byte(2) << 8, 16, 3),
                (1, _) => (0, 16, 1),
                _ => (byte(1), 8, 2),
            };
            let argument = upper << bits | argument;
            upper = 0;
            let (role, caches) = self.roles[usize::from(*opcode)];
            match role {
                Role::Hides => break,
                Role::Extended => upper = argument,
                Role::Make => row.makes.push(at as i32),
                Role::Return => row.returns.push(at as i32),
                Role::Name(shift) => {
                    let place = argument.checked_shr(shift).map_or(usize::MAX, |place| place as usize);
                    let name = names.chunks_exact(Addr::SIZE).nth(place);
                    row.loads.extend(name.map(|name| (at as i32, Addr::from_bytes(name))));
                }
                Role::Other => {}
            }
            at += length * (1 + caches);
        }
        row
    }
}

/// Whether one of these places in its function is on the line that a frame is on.
fn is_on_line(sites: &[i32], codes: &Codes, frame: Frame) -> bool {
    let Some(code) = codes.get(frame.code) else { return false };
    let line = code.position(frame.offset).line;
    line.is_some() && sites.iter().any(|offset| code.position(*offset).line == line)
}
