//! What an object takes: its size as `sys.getsizeof` counts it, and the memory that it keeps elsewhere.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Word};

use super::class::{Class, Kind};
use super::instance::{Instance, Instances, word};

/// No object has a part longer than this.
pub(super) const MAX_PART: u64 = 1 << 44;

fields! {
    /// `PyVarObject`, Include/object.h.
    struct Var in "var" { ob_size: Field<i64> }
}
fields! {
    /// `PyLongObject`, Include/cpython/longintrepr.h.
    struct Long in "long" { digit: Field<u32>, digit_size: Option<usize>, lv_tag: Option<Field<u64>> }
}
fields! {
    /// `PyListObject`, Include/cpython/listobject.h.
    struct List in "list" { item: Field<Addr>, allocated: Field<u64> }
}
fields! {
    /// `PyDictObject`, Include/cpython/dictobject.h; in Python 2 it has the table itself.
    struct Dict in "dict" {
        keys: Option<Field<Addr>>,
        values: Option<Field<Addr>>,
        table: Option<Field<Addr>>,
    }
}
fields! {
    /// `PySetObject`, Include/cpython/setobject.h.
    struct Set in "set" { mask: Field<u64>, table: Field<Addr>, entry_size: usize }
}
fields! {
    /// `PyByteArrayObject`, Include/cpython/bytearrayobject.h.
    struct ByteArray in "bytearray" {
        alloc: Field<u64>,
        bytes: Field<Addr>,
        bytes_object: Option<Field<Addr>>,
    }
}
fields! {
    /// `mmap_object`, Modules/mmapmodule.c.
    struct Mmap in "mmap" { data: Option<Field<Addr>>, length: Option<Field<u64>> }
}
fields! {
    /// `PyUnicodeObject` and what it extends, Include/cpython/unicodeobject.h.
    struct Unicode in "unicode" {
        length: Field<u64>,
        full_size: usize,
        data_any: Field<Addr>,
        state: Option<Field<u32>>,
        ascii_size: Option<usize>,
        compact_size: Option<usize>,
        utf8: Option<Field<Addr>>,
        utf8_length: Option<Field<u64>>,
        kind_bit: Option<usize>,
        kind_bits: Option<usize>,
        compact_bit: Option<usize>,
        ascii_bit: Option<usize>,
        interned_bits: Option<usize>,
    }
}

/// Memory that an object keeps beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// An address in it; it may lie behind a header of its own.
    pub at: Addr,
    /// How many bytes of it are asked for from there on, where the object says so.
    pub len: Option<u64>,
    /// Whether addresses stand in it.
    pub pointers: bool,
}

/// How the target's objects say how large they are.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    instances: Instances,
    var: Var,
    long: Long,
    list: List,
    dict: Dict,
    set: Set,
    byte_array: ByteArray,
    mmap: Mmap,
    unicode: Unicode,
    ascii: Option<Ascii>,
    /// Bytes before an instance where the word for its values lies, and whether its lowest bit marks them.
    values_before: Option<(usize, bool)>,
    /// Whether a dictionary's values are memory of its own.
    own_values: bool,
}

/// How objects that keep nothing elsewhere say what they take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lone {
    /// A type may ask for whatever it likes.
    Unknown,
    /// So many bytes, and so many more for each item.
    Each {
        /// What lies before it included.
        fixed: u64,
        /// 0 where there are none.
        item: u64,
    },
    /// As integers do.
    Digits,
    /// As strings do.
    Text(Ascii),
}

/// What the state of a string is that has its characters in itself, and as UTF-8.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ascii {
    /// Where the state is.
    state: u64,
    /// Which bits of it say that, and what these are.
    mask: u64,
    marks: u64,
    interned: u64,
    /// Its bytes beside the characters.
    size: u64,
}

/// The state of a string, taken apart.
#[derive(Debug, Clone, Copy)]
struct State {
    width: u64,
    compact: bool,
    ascii: bool,
}

impl Unicode {
    /// `None` where strings have no such state.
    fn ascii(&self) -> Option<Ascii> {
        let bit = |at: usize| 1_u64.checked_shl(at as u32);
        let kind_bit = self.kind_bit? as u32;
        let kinds = bit(self.kind_bits?)?.wrapping_sub(1).checked_shl(kind_bit)?;
        let marks = bit(self.compact_bit?)? | bit(self.ascii_bit?)?;
        Some(Ascii {
            state: self.state?.offset(),
            mask: marks | kinds,
            // One byte a character.
            marks: marks | 1_u64.checked_shl(kind_bit)?,
            interned: bit(self.interned_bits.unwrap_or(0))?.wrapping_sub(1),
            // The last character is none.
            size: self.ascii_size? as u64 + 1,
        })
    }
}

impl Extents {
    /// Binds what the layout says of the sizes of objects.
    pub fn bind(layout: &Layout, instances: Instances) -> Result<Extents, Missing> {
        let attributes: String = layout.fact("object.attributes")?;
        let dict = layout.fact::<u64>("object.managed_dict")? as usize;
        // A word of their own before the one for the dictionary, or the same one.
        let values_before = match attributes.as_str() {
            "pre311" => dict.checked_add(Addr::SIZE).map(|before| (before, false)),
            "pre312" => Some((dict, true)),
            _ => None,
        };
        let unicode = Unicode::bind(layout)?;
        Ok(Extents {
            instances,
            var: Var::bind(layout)?,
            long: Long::bind(layout)?,
            list: List::bind(layout)?,
            dict: Dict::bind(layout)?,
            set: Set::bind(layout)?,
            byte_array: ByteArray::bind(layout)?,
            mmap: Mmap::bind(layout)?,
            ascii: unicode.ascii(),
            unicode,
            values_before,
            own_values: attributes != "inline313",
        })
    }

    /// How many bytes an object asks for where it stands, what lies before it included, by its first bytes. `None` where
    /// that is not known: a type may ask for whatever it likes.
    pub fn own_size(&self, class: &Class, object: &[u8]) -> Option<u64> {
        let fixed = class.basicsize;
        let own = match class.kind {
            Kind::Plain | Kind::Tuple | Kind::Bytes | Kind::Number => {
                self.each(fixed, class.itemsize, object)?
            }
            Kind::Int => {
                let digits = match self.long.lv_tag {
                    Some(tag) => (word(object, tag.offset()) >> 3).max(1),
                    None => self.items(object),
                };
                let digit = self.long.digit_size.unwrap_or(4) as u64;
                // A subclass has its own part behind the digits.
                fixed.max(self.long.digit.offset()).checked_add(digits.checked_mul(digit)?)?
            }
            Kind::List | Kind::Set | Kind::ByteArray | Kind::Dict | Kind::Array | Kind::Mmap => fixed,
            Kind::Str => self.text(class, object)?,
            Kind::Code | Kind::Weak | Kind::View | Kind::Module | Kind::Type | Kind::Other => return None,
        };
        let before = self.instances.before(class.gc, class.pre_header) as u64;
        own.checked_add(before).filter(|size| *size < MAX_PART)
    }

    /// What `sys.getsizeof` says of an object that asks for `own` bytes and keeps these buffers, where it is known how it
    /// counts.
    pub fn size_of(&self, class: &Class, own: Option<u64>, buffers: [Option<Buffer>; 2]) -> Option<u64> {
        match class.kind {
            Kind::List | Kind::Set | Kind::Str => {
                buffers.iter().flatten().try_fold(own?, |sum, buffer| sum.checked_add(buffer.len?))
            }
            Kind::ByteArray if self.byte_array.bytes_object.is_none() => {
                buffers.iter().flatten().try_fold(own?, |sum, buffer| sum.checked_add(buffer.len?))
            }
            Kind::Dict | Kind::ByteArray | Kind::Array => None,
            _ => own,
        }
    }

    /// How the instances of a type say what they take, if they keep nothing elsewhere and there is nothing else to say of one.
    pub(super) fn lone(&self, class: &Class) -> Option<Lone> {
        let before = self.instances.before(class.gc, class.pre_header) as u64;
        let lone = match class.kind {
            Kind::Number | Kind::Bytes | Kind::Tuple | Kind::Plain => {
                Lone::Each { fixed: class.basicsize.checked_add(before)?, item: class.itemsize }
            }
            Kind::Int => Lone::Digits,
            Kind::Str => Lone::Text(self.ascii.filter(|_| !class.gc)?),
            Kind::Other => Lone::Unknown,
            _ => return None,
        };
        (!class.pre_header).then_some(lone)
    }

    /// How many items an object has.
    fn items(&self, object: &[u8]) -> u64 {
        word(object, self.var.ob_size.offset()).cast_signed().unsigned_abs()
    }

    /// So many bytes, and so many more for each item; 0 where there are none.
    #[inline]
    fn each(&self, fixed: u64, item: u64, object: &[u8]) -> Option<u64> {
        if item == 0 { Some(fixed) } else { self.items(object).checked_mul(item)?.checked_add(fixed) }
    }

    /// What such an instance takes, if that is known, what lies before it included, and whether it is interned. `None` of a string
    /// that has characters elsewhere, or twice.
    #[inline]
    pub(super) fn lone_size(&self, lone: &Lone, class: &Class, object: &[u8]) -> Option<(Option<u64>, bool)> {
        Some(match *lone {
            Lone::Unknown => (None, false),
            Lone::Digits => (self.own_size(class, object), false),
            Lone::Each { fixed, item } => {
                (self.each(fixed, item, object).filter(|own| *own < MAX_PART), false)
            }
            Lone::Text(ascii) => {
                let state = word(object, ascii.state);
                if state & ascii.mask != ascii.marks {
                    return None;
                }
                let own = word(object, self.unicode.length.offset()).saturating_add(ascii.size);
                (Some(own).filter(|own| *own < MAX_PART), state & ascii.interned != 0)
            }
        })
    }

    /// Whether a string is interned: it is there once, however often it is used.
    pub fn interned(&self, class: &Class, object: &[u8]) -> bool {
        let (Some(state), Some(bits)) = (self.unicode.state, self.unicode.interned_bits) else {
            return false;
        };
        let state = word(object, state.offset()) & ((1 << bits.min(32)) - 1);
        class.kind == Kind::Str && state != 0
    }

    /// The memory that an object keeps elsewhere. `block` is what was allocated for it at `start`, as far as it was read.
    pub fn buffers(&self, class: &Class, found: &Instance, start: Addr, block: &[u8]) -> [Option<Buffer>; 2] {
        let object = block.get(found.at..).unwrap_or_default();
        let at = |field: Field<Addr>| Addr(word(object, field.offset()));
        // A small table, or the values of an instance, may lie in the object itself.
        let own = start..start.plus(block.len() as u64);
        let buffer = move |at: Addr, len: Option<u64>, pointers| {
            let len = len.filter(|len| *len < MAX_PART);
            (!at.is_null() && !own.contains(&at)).then_some(Buffer { at, len, pointers })
        };
        match class.kind {
            Kind::List => {
                let len = word(object, self.list.allocated.offset()).checked_mul(8);
                [buffer(at(self.list.item), len, true), None]
            }
            Kind::Dict => {
                let values = self.dict.values.map_or(Addr::NULL, at);
                let keys = self.dict.keys.or(self.dict.table).filter(|_| values.is_null());
                let values = if self.own_values { buffer(values, None, true) } else { None };
                [keys.and_then(|keys| buffer(at(keys), None, true)), values]
            }
            Kind::Set => [buffer(at(self.set.table), self.table_size(object), true), None],
            Kind::ByteArray if self.byte_array.bytes_object.is_none() => {
                let len = word(object, self.byte_array.alloc.offset());
                [buffer(at(self.byte_array.bytes), Some(len), false), None]
            }
            Kind::Mmap => {
                let mapped = self.mmap.data.zip(self.mmap.length);
                let part = mapped
                    .and_then(|(data, length)| buffer(at(data), Some(word(object, length.offset())), false));
                [part, None]
            }
            Kind::Str => self.text_buffers(object, buffer),
            _ => [self.values(class, found, block).and_then(|at| buffer(at, None, true)), None],
        }
    }

    fn table_size(&self, set: &[u8]) -> Option<u64> {
        let slots = word(set, self.set.mask.offset()).checked_add(1)?;
        slots.checked_mul(self.set.entry_size as u64)
    }

    fn values(&self, class: &Class, found: &Instance, block: &[u8]) -> Option<Addr> {
        let (before, marked) = self.values_before.filter(|_| class.pre_header)?;
        let at = found.at.checked_sub(before)?;
        let values = word(block, at as u64);
        match marked {
            true if values & 1 == 0 => None,
            true => Some(Addr(values + 1)),
            false => Some(Addr(values)),
        }
    }

    fn state(&self, object: &[u8]) -> Option<State> {
        let word = word(object, self.unicode.state?.offset());
        let bit = |at: Option<usize>| at.map(|at| word >> at.min(63) & 1 == 1);
        let width = word >> self.unicode.kind_bit?.min(63) & ((1 << self.unicode.kind_bits?.min(8)) - 1);
        let sound = matches!(width, 1 | 2 | 4);
        let state =
            State { width, compact: bit(self.unicode.compact_bit)?, ascii: bit(self.unicode.ascii_bit)? };
        sound.then_some(state)
    }

    fn text(&self, class: &Class, object: &[u8]) -> Option<u64> {
        let state = self.state(object)?;
        let length = word(object, self.unicode.length.offset());
        let data = length.checked_add(1)?.checked_mul(state.width)?;
        let head = match (state.compact, state.ascii) {
            (true, true) => self.unicode.ascii_size? as u64,
            (true, false) => self.unicode.compact_size? as u64,
            (false, _) => class.basicsize.max(self.unicode.full_size as u64),
        };
        if state.compact { head.checked_add(data) } else { Some(head) }
    }

    /// The copy in UTF-8 that a string made of itself when it was asked for one.
    fn own_utf8(&self, object: &[u8]) -> Option<(Addr, Option<u64>)> {
        let at = Addr(word(object, self.unicode.utf8?.offset())).non_null()?;
        let length = word(object, self.unicode.utf8_length?.offset());
        let data = Addr(word(object, self.unicode.data_any.offset()));
        (self.state(object)?.compact || at != data).then(|| (at, length.checked_add(1)))
    }

    fn text_buffers(
        &self,
        object: &[u8],
        buffer: impl Fn(Addr, Option<u64>, bool) -> Option<Buffer>,
    ) -> [Option<Buffer>; 2] {
        let Some(state) = self.state(object) else {
            // Python 2's characters always lie elsewhere.
            let data = if self.unicode.state.is_none() {
                Addr(word(object, self.unicode.data_any.offset()))
            } else {
                Addr::NULL
            };
            return [buffer(data, None, false), None];
        };
        let utf8 = if state.ascii { None } else { self.own_utf8(object) };
        let data = (!state.compact).then(|| {
            let length = word(object, self.unicode.length.offset());
            let len = length.checked_add(1).and_then(|length| length.checked_mul(state.width));
            (Addr(word(object, self.unicode.data_any.offset())), len)
        });
        let make = |part: Option<(Addr, Option<u64>)>| part.and_then(|(at, len)| buffer(at, len, false));
        [make(data), make(utf8)]
    }
}
