//! What a census says beside types: weak references, bytecode, interned strings, and how much memoryviews show.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::census::Blocks;
use super::class::{Class, Kind};
use super::instance::word;
use super::object::Objects;

/// The most weak references that are asked what they refer to before one is met that refers to nothing.
const MAX_ASKED: u64 = 1 << 16;
/// The type of what a weak reference refers to when its object is gone.
const NOTHING: &str = "NoneType";
/// The size of an instruction, in which 3.11 and later count the length of the code in it (`_Py_CODEUNIT`).
const CODE_UNIT: u64 = 2;
/// No code is longer.
const MAX_LENGTH: u64 = 1 << 44;

fields! {
    /// `PyWeakReference`, Include/internal/pycore_weakref.h (Include/weakrefobject.h).
    struct WeakFields in "weakref" { object: Field<Addr>, callback: Field<Addr> }
}
fields! {
    /// `PyCodeObject`, Include/cpython/code.h; before 3.11 the instructions are a `bytes` object of their own.
    struct CodeFields in "code" { code: Option<Field<Addr>> }
}
fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" { ob_size: Field<u64> }
}

/// How objects say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specials {
    objects: Objects,
    weak: WeakFields,
    code: CodeFields,
    var: VarFields,
}

/// What there is of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// Weak references, proxies too.
    pub weak: u64,
    /// Of these, those whose object is gone.
    pub dead: u64,
    /// Of these, those that call something when it goes.
    pub callbacks: u64,
    /// Code objects, and the bytes of their instructions.
    pub code: Blocks,
    /// Interned strings, and their bytes.
    pub interned: Blocks,
    /// Memoryviews that were not released, and the bytes that they show.
    pub views: Blocks,
    /// Where the object is that there is instead of one that is gone.
    nothing: Option<Addr>,
    asked: u64,
}

impl Specials {
    /// Binds what the layout says of these objects.
    pub(super) fn bind(layout: &Layout) -> Result<Specials, Missing> {
        Ok(Specials {
            objects: Objects::bind(layout)?,
            weak: WeakFields::bind(layout)?,
            code: CodeFields::bind(layout)?,
            var: VarFields::bind(layout)?,
        })
    }

    /// Counts an object, by its first bytes, if it is one of these.
    pub(super) fn count(&self, memory: &dyn Memory, class: &Class, object: &[u8], special: &mut Special) {
        let at = |field: Field<Addr>| Addr(word(object, field.offset()));
        match class.kind {
            Kind::Weak => {
                special.weak += 1;
                special.callbacks += u64::from(!at(self.weak.callback).is_null());
                let object = at(self.weak.object);
                if special.nothing.is_none() && special.asked < MAX_ASKED {
                    special.asked += 1;
                    let of = self.objects.type_of(memory, object).ok();
                    let name = of.and_then(|of| self.objects.type_name(memory, of).ok());
                    special.nothing = name.filter(|name| name == NOTHING).map(|_| object);
                }
                special.dead += u64::from(special.nothing == Some(object));
            }
            Kind::Code => {
                let length = match self.code.code {
                    Some(code) => self.var.ob_size.read(memory, at(code)).unwrap_or(0),
                    None => word(object, self.var.ob_size.offset()).saturating_mul(CODE_UNIT),
                };
                special.code.add(if length < MAX_LENGTH { length } else { 0 });
            }
            _ => {}
        }
    }
}
