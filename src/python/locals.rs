//! Locals of a frame: their names, and where their values are.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory, Word};

use super::Unread;
use super::object::Objects;
use super::text::Text;

/// The most locals of one frame that are read.
const MAX_LOCALS: u64 = 1 << 10;
/// `tp_name` of what holds a variable that inner functions share.
const CELL: &str = "cell";

fields! {
    /// `PyCodeObject` up to 3.10, Include/cpython/code.h: names in three tuples, their values in that order.
    struct Tuples in "code" {
        varnames: Option<Field<Addr>>,
        cellvars: Option<Field<Addr>>,
        freevars: Option<Field<Addr>>,
    }
}

fields! {
    /// `PyCodeObject` from 3.11 on: one tuple of names.
    struct Names in "code" {
        localsplusnames: Option<Field<Addr>>,
    }
}

fields! {
    /// `PyFrameObject`, up to 3.10.
    struct FrameObject in "frame" {
        localsplus: Option<usize>,
    }
}

fields! {
    /// `_PyInterpreterFrame`, 3.11 and later.
    struct InterpreterFrame in "iframe" {
        localsplus: Option<usize>,
    }
}

fields! {
    /// `PyTupleObject`, Include/cpython/tupleobject.h.
    struct TupleFields in "tuple" {
        item: Field<Addr>,
    }
}

fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" {
        ob_size: Field<u64>,
    }
}

fields! {
    /// `PyCellObject`, Include/cpython/cellobject.h.
    struct CellFields in "cell" {
        r#ref: Field<Addr>,
    }
}

/// How the target keeps locals.
#[derive(Debug, Clone)]
pub struct Locals {
    tuples: Tuples,
    names: Names,
    /// Where the values begin in a frame.
    values: u64,
    tuple: TupleFields,
    var: VarFields,
    cell: CellFields,
    objects: Objects,
    text: Text,
    /// Low bits of a value that are none of its address.
    tag_mask: u64,
}

/// A local.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub name: String,
    /// Its value; null where it has none yet or none any more.
    pub value: Addr,
}

impl Locals {
    /// Binds what the layout says of locals.
    pub fn bind(layout: &Layout) -> Result<Locals, Missing> {
        let names = Names::bind(layout)?;
        let values = match names.localsplusnames {
            Some(_) => InterpreterFrame::bind(layout)?.localsplus,
            None => FrameObject::bind(layout)?.localsplus,
        };
        Ok(Locals {
            tuples: Tuples::bind(layout)?,
            names,
            values: values.unwrap_or(0) as u64,
            tuple: TupleFields::bind(layout)?,
            var: VarFields::bind(layout)?,
            cell: CellFields::bind(layout)?,
            objects: Objects::bind(layout)?,
            text: Text::bind(layout)?,
            tag_mask: layout.fact("code.tag_mask")?,
        })
    }

    /// The locals of a frame of the code object at `code` that have a value, in the order in which that names them.
    pub fn of(&self, memory: &dyn Memory, frame: Addr, code: Addr) -> Result<Vec<Local>, Unread> {
        if self.values == 0 {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        let tuples =
            [self.names.localsplusnames, self.tuples.varnames, self.tuples.cellvars, self.tuples.freevars];
        for tuple in tuples.into_iter().flatten() {
            self.add(memory, tuple.read(memory, code)?, &mut names)?;
        }
        let values = memory.bytes(frame.plus(self.values), names.len() * Addr::SIZE)?;
        let values = values.chunks_exact(Addr::SIZE).map(Addr::from_bytes);
        let mut locals: Vec<Local> = Vec::new();
        for (name, value) in names.into_iter().zip(values) {
            let value = self.in_cell(memory, Addr(value.0 & !self.tag_mask));
            // An argument that inner functions share stands twice before 3.11, the first time without a value.
            if !value.is_null() && locals.iter().all(|local| local.name != name) {
                locals.push(Local { name, value });
            }
        }
        Ok(locals)
    }

    /// Adds the names in a tuple.
    fn add(&self, memory: &dyn Memory, tuple: Addr, names: &mut Vec<String>) -> Result<(), Unread> {
        let length = self.var.ob_size.read(memory, tuple)?;
        if length > MAX_LOCALS {
            return Err(Unread::Garbage("a bearable number of locals"));
        }
        for place in 0..length {
            let name: Addr = memory.get(self.tuple.item.of(tuple).plus(place * Addr::SIZE as u64))?;
            names.push(self.text.read(memory, name)?);
        }
        Ok(())
    }

    /// What a cell holds, if the value is one; else the value.
    fn in_cell(&self, memory: &dyn Memory, value: Addr) -> Addr {
        if value.is_null() {
            return value;
        }
        let class = self.objects.type_of(memory, value).ok();
        let name = class.and_then(|class| self.objects.type_name(memory, class).ok());
        if name.as_deref() != Some(CELL) {
            return value;
        }
        self.cell.r#ref.read(memory, value).unwrap_or(Addr::NULL)
    }
}
