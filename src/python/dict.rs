//! Dictionaries of the target and what they hold, in the three shapes that CPython has given them.

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Word};

use super::Unread;
use super::text::Text;

/// The longest entry that a layout may have, in bytes.
const MAX_ENTRY: usize = 64;

fields! {
    /// `PyDictObject` of Python 2, Include/dictobject.h: an open table of entries.
    struct Open in "dict" {
        mask: Field<u64>,
        table: Field<Addr>,
    }
}

fields! {
    /// `PyDictObject`, Include/cpython/dictobject.h.
    struct Compact in "dict" {
        keys: Field<Addr>,
        /// Not null when the keys are shared with other dictionaries: then the values lie there.
        values: Field<Addr>,
    }
}

fields! {
    /// `PyDictKeysObject`, Objects/dict-common.h, later Include/internal/pycore_dict.h.
    struct Keys in "dictkeys" {
        nentries: Field<u64>,
        indices: usize,
        /// Slots in the table of indices (3.6 to 3.10).
        dk_size: Option<Field<u64>>,
        /// The table of indices takes two to this many bytes (3.11 and later).
        log2_index_bytes: Option<Field<u8>>,
        /// 0 when entries hold a hash too; else all keys are `str` and entries are bare (3.11 and later).
        kind: Option<Field<u8>>,
        uentry_size: Option<usize>,
    }
}

fields! {
    /// `PyDictKeyEntry`, the same files; in Python 2 `PyDictEntry`.
    struct Entry in "dictkeys" {
        entry_size: usize,
        entry_key: Field<Addr>,
        entry_value: Field<Addr>,
    }
}

fields! {
    /// `PyDictValues`, Include/internal/pycore_dict.h; before 3.11 the values are a bare array.
    struct Values in "dictvalues" {
        values: Option<usize>,
    }
}

/// How the target keeps dictionaries.
#[derive(Debug, Clone, Copy)]
pub struct Dicts {
    kind: Kind,
    entry: Entry,
    text: Text,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Open(Open),
    Compact { dict: Compact, keys: Keys, values: usize },
}

/// A key and its value.
pub type Pair = (Addr, Addr);

impl Dicts {
    /// Binds what the layout says of dictionaries.
    pub fn bind(layout: &Layout) -> Result<Dicts, Missing> {
        let kind = match layout.fact::<String>("dict.kind")?.as_str() {
            "py2" => Kind::Open(Open::bind(layout)?),
            "keys36" | "keys311" => Kind::Compact {
                dict: Compact::bind(layout)?,
                keys: Keys::bind(layout)?,
                values: Values::bind(layout)?.values.unwrap_or(0),
            },
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "dict.kind".into() }),
        };
        Ok(Dicts { kind, entry: Entry::bind(layout)?, text: Text::bind(layout)? })
    }

    /// The value under a key that is a string; a dictionary of more than `most` entries is refused.
    pub fn get(&self, memory: &dyn Memory, dict: Addr, key: &str, most: u64) -> Result<Option<Addr>, Unread> {
        Ok(self.find(memory, &self.pairs(memory, dict, most)?, key))
    }

    /// The value under a key that is a string, among pairs that were read before.
    pub fn find(&self, memory: &dyn Memory, pairs: &[Pair], key: &str) -> Option<Addr> {
        pairs.iter().find(|(name, _)| self.text.is(memory, *name, key)).map(|(_, value)| *value)
    }

    /// Everything in a dictionary; one of more than `most` entries is refused.
    pub fn pairs(&self, memory: &dyn Memory, dict: Addr, most: u64) -> Result<Vec<Pair>, Unread> {
        match &self.kind {
            Kind::Open(open) => {
                let slots = open.mask.read(memory, dict)?.wrapping_add(1);
                Ok(self
                    .entry
                    .pairs(memory, open.table.read(memory, dict)?, slots, most)?
                    .filter(whole)
                    .collect())
            }
            Kind::Compact { dict: compact, values, .. } => {
                let array = compact.values.read(memory, dict)?.non_null();
                let array = array.map(|at| at.plus(*values as u64));
                self.table(memory, compact.keys.read(memory, dict)?, array, most)
            }
        }
    }

    /// Everything under a table of keys. The values stand beside the keys, or in an array of their own where many
    /// dictionaries or instances share the keys. A table of more than `most` entries is refused.
    pub fn table(
        &self,
        memory: &dyn Memory,
        keys: Addr,
        array: Option<Addr>,
        most: u64,
    ) -> Result<Vec<Pair>, Unread> {
        let Kind::Compact { keys: fields, .. } = &self.kind else {
            return Err(Unread::Garbage("a table of keys"));
        };
        let indices = match (fields.log2_index_bytes, fields.dk_size) {
            (Some(log2), _) => 1_u64.checked_shl(log2.read(memory, keys)?.into()),
            (None, Some(slots)) => index_bytes(slots.read(memory, keys)?),
            (None, None) => None,
        };
        let table = keys.plus(indices.ok_or(Unread::Garbage("a table of keys"))?).plus(fields.indices as u64);
        let bare = match fields.kind {
            Some(kind) => kind.read(memory, keys)? != 0,
            None => false,
        };
        let entry = match fields.uentry_size {
            Some(size) if bare => {
                Entry { span: 16, entry_size: size, entry_key: Field::at(0), entry_value: Field::at(8) }
            }
            _ => self.entry,
        };
        let entries = fields.nentries.read(memory, keys)?;
        let pairs = entry.pairs(memory, table, entries, most)?;
        let Some(array) = array else { return Ok(pairs.filter(whole).collect()) };
        let values = memory.bytes(array, entries as usize * Addr::SIZE)?;
        let values = values.chunks_exact(Addr::SIZE).map(Addr::from_bytes);
        Ok(pairs.zip(values).map(|((key, _), value)| (key, value)).filter(whole).collect())
    }
}

impl Entry {
    /// The entries of a table, with those that hold nothing.
    fn pairs(
        self,
        memory: &dyn Memory,
        table: Addr,
        entries: u64,
        most: u64,
    ) -> Result<impl Iterator<Item = Pair>, Unread> {
        if entries > most || self.entry_size < self.span || self.entry_size > MAX_ENTRY {
            return Err(Unread::Garbage("a dictionary of a bearable size"));
        }
        let bytes = memory.bytes(table, entries as usize * self.entry_size)?;
        let mut at = 0;
        Ok(std::iter::from_fn(move || {
            let entry = Struct::over(bytes.get(at..at + self.entry_size)?);
            at += self.entry_size;
            Some((entry.get(self.entry_key), entry.get(self.entry_value)))
        }))
    }
}

/// Whether an entry holds something.
fn whole((key, value): &Pair) -> bool {
    !key.is_null() && !value.is_null()
}

/// Bytes of a table of indices: each is as wide as the number of slots needs (`DK_IXSIZE`, Objects/dictobject.c, 3.6 to 3.10).
fn index_bytes(slots: u64) -> Option<u64> {
    let width = match slots {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        _ => 8,
    };
    slots.checked_mul(width)
}
