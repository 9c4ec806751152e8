//! Attributes of instances, wherever CPython has put them: in a dictionary, in values beside it, or in the object itself.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::Unread;
use super::dict::{Dicts, Pair};
use super::object::Objects;

/// How many bytes before the object 3.11 keeps the values (`_PyObject_ValuesPointer`, Include/internal/pycore_object.h).
const VALUES_BEFORE: u64 = 32;
/// The most attributes that an instance has that is looked at.
const MAX_ATTRIBUTES: u64 = 1 << 10;
/// An instance longer than this is none.
const MAX_INSTANCE: u64 = 1 << 30;

fields! {
    /// `PyTypeObject` and `PyHeapTypeObject`, Include/cpython/object.h.
    struct TypeFields in "type" {
        basicsize: Field<u64>,
        itemsize: Field<u64>,
        dictoffset: Field<i64>,
        ht_cached_keys: Option<Field<Addr>>,
    }
}

fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" {
        ob_size: Field<i64>,
    }
}

fields! {
    /// `PyDictValues`, Include/internal/pycore_dict.h.
    struct ValuesFields in "dictvalues" {
        values: Option<usize>,
        valid: Option<Field<u8>>,
    }
}

/// How the target keeps the attributes of instances.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    managed: Managed,
    /// The bit of `tp_flags` that says that the interpreter manages an instance's attributes; -1 where it never does.
    managed_bit: i64,
    /// How many bytes before the object the word for its dictionary lies.
    dict_before: u64,
    /// The bit that says that instances hold their values; -1 where they never do.
    inline_bit: i64,
    types: TypeFields,
    var: VarFields,
    values: ValuesFields,
    objects: Objects,
    dicts: Dicts,
}

/// Where attributes are that the interpreter manages (`Py_TPFLAGS_MANAGED_DICT`).
#[derive(Debug, Clone, Copy)]
enum Managed {
    /// Nowhere: every dictionary is at `tp_dictoffset`.
    Nowhere,
    /// 3.11: a word for the dictionary and one for the values.
    TwoWords,
    /// 3.12: one word for either; its lowest bit says that it is the values.
    TaggedWord,
    /// 3.13 and later: a word for the dictionary, and the values at the object's end while they are valid.
    Inline,
}

impl Attributes {
    /// Binds what the layout says of instances.
    pub fn bind(layout: &Layout) -> Result<Attributes, Missing> {
        let managed = match layout.fact::<String>("object.attributes")?.as_str() {
            "dictoffset" => Managed::Nowhere,
            "pre311" => Managed::TwoWords,
            "pre312" => Managed::TaggedWord,
            "inline313" => Managed::Inline,
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "object.attributes".into() }),
        };
        Ok(Attributes {
            managed,
            managed_bit: layout.fact("type.managed_dict_bit")?,
            dict_before: layout.fact("object.managed_dict")?,
            inline_bit: layout.fact("type.inline_values_bit")?,
            types: TypeFields::bind(layout)?,
            var: VarFields::bind(layout)?,
            values: ValuesFields::bind(layout)?,
            objects: Objects::bind(layout)?,
            dicts: Dicts::bind(layout)?,
        })
    }

    /// The value of an attribute that the instance itself has: neither its class's nor a slot.
    pub fn get(&self, memory: &dyn Memory, object: Addr, name: &str) -> Result<Option<Addr>, Unread> {
        Ok(self.dicts.find(memory, &self.all(memory, object)?, name))
    }

    /// All attributes that the instance itself has.
    pub fn all(&self, memory: &dyn Memory, object: Addr) -> Result<Vec<Pair>, Unread> {
        let class = self.objects.type_of(memory, object)?;
        let flags = self.objects.flags(memory, class)?;
        let dict_or_nothing = |dict: Addr| match dict.non_null() {
            Some(dict) => self.dicts.pairs(memory, dict, MAX_ATTRIBUTES),
            None => Ok(Vec::new()),
        };
        if !flags.bit(self.managed_bit) {
            return dict_or_nothing(self.by_offset(memory, object, class)?);
        }
        let word: Addr = memory.get(object.minus(self.dict_before))?;
        let values = match self.managed {
            Managed::TwoWords if word.is_null() => {
                memory.get::<Addr>(object.minus(VALUES_BEFORE))?.non_null()
            }
            // The values are stored one byte before themselves, which makes the address odd.
            Managed::TaggedWord if word.0 & 1 == 1 => Some(word.plus(1)),
            Managed::Inline if word.is_null() && flags.bit(self.inline_bit) => {
                let values = object.plus(self.types.basicsize.read(memory, class)?);
                match self.values.valid {
                    Some(valid) if valid.read(memory, values)? == 0 => None,
                    _ => Some(values),
                }
            }
            _ => return dict_or_nothing(word),
        };
        let (Some(values), Some(keys)) = (values, self.types.ht_cached_keys) else { return Ok(Vec::new()) };
        let Some(keys) = keys.read(memory, class)?.non_null() else { return Ok(Vec::new()) };
        let values = values.plus(self.values.values.unwrap_or(0) as u64);
        self.dicts.table(memory, keys, Some(values), MAX_ATTRIBUTES)
    }

    /// The dictionary at `tp_dictoffset`, which counts from the end where it is below 0 (`_PyObject_GetDictPtr`,
    /// Objects/object.c).
    fn by_offset(&self, memory: &dyn Memory, object: Addr, class: Addr) -> Result<Addr, Unread> {
        let offset = self.types.dictoffset.read(memory, class)?;
        if offset == 0 {
            return Ok(Addr::NULL);
        }
        if offset > 0 {
            return Ok(memory.get(object.plus(offset.unsigned_abs()))?);
        }
        let items = self.var.ob_size.read(memory, object)?.unsigned_abs();
        let size = items
            .checked_mul(self.types.itemsize.read(memory, class)?)
            .and_then(|bytes| bytes.checked_add(self.types.basicsize.read(memory, class).ok()?))
            .filter(|size| *size <= MAX_INSTANCE)
            .ok_or(Unread::Garbage("an instance of a bearable size"))?;
        Ok(memory.get(object.plus(size.next_multiple_of(8)).minus(offset.unsigned_abs()))?)
    }
}
