//! What every object says of itself: its type, the type's name and flags, and, where it is one, the number it is.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Fault, Memory, Word};

use super::Unread;

/// The longest name of a type that is read, in bytes.
const MAX_TYPE_NAME: usize = 256;
/// How much of a C string is read at once. Pieces end where a multiple of it does, so none reaches into a page beyond the end.
const PIECE: u64 = 64;
/// Bits of a digit of an `int` (`PyLong_SHIFT`, Include/cpython/longintrepr.h; 15 on 32-bit machines only).
pub(super) const DIGIT_BITS: u32 = 30;
/// Digits of the longest `int` that is read: two hold 60 bits, and what we ask for are thread ids and small settings.
const MAX_DIGITS: u64 = 2;

fields! {
    /// `PyObject`, Include/object.h.
    struct ObjectFields in "object" {
        r#type: Field<Addr>,
    }
}

fields! {
    /// `PyTypeObject`, Include/cpython/object.h.
    struct TypeFields in "type" {
        name: Field<Addr>,
        flags: Field<u64>,
    }
}

fields! {
    /// `PyLongObject`, Include/cpython/longintrepr.h. `lv_tag` holds sign and size from 3.12 on, `ob_size` before.
    struct LongFields in "long" {
        ob_size: Field<i64>,
        digit: Field<u32>,
        lv_tag: Option<Field<u64>>,
    }
}

fields! {
    /// `PyIntObject` of Python 2, Include/intobject.h.
    struct IntFields in "int" {
        ival: Option<Field<i64>>,
    }
}

/// A bit of `tp_flags` that is the same in every version (Include/object.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeFlag {
    /// Python 2's `Py_TPFLAGS_INT_SUBCLASS`.
    Int = 23,
    /// `Py_TPFLAGS_LONG_SUBCLASS`: Python 3's `int`.
    Long = 24,
    /// `Py_TPFLAGS_UNICODE_SUBCLASS`.
    Unicode = 28,
    /// `Py_TPFLAGS_DICT_SUBCLASS`.
    Dict = 29,
}

/// How the target keeps objects and their types.
#[derive(Debug, Clone, Copy)]
pub struct Objects {
    object: ObjectFields,
    types: TypeFields,
    long: LongFields,
    int: IntFields,
}

impl Objects {
    /// Binds what the layout says of objects.
    pub fn bind(layout: &Layout) -> Result<Objects, Missing> {
        Ok(Objects {
            object: ObjectFields::bind(layout)?,
            types: TypeFields::bind(layout)?,
            long: LongFields::bind(layout)?,
            int: IntFields::bind(layout)?,
        })
    }

    /// Where an object keeps its type.
    pub fn type_field(&self) -> Field<Addr> {
        self.object.r#type
    }

    /// The type of an object.
    pub fn type_of(&self, memory: &dyn Memory, object: Addr) -> Result<Addr, Fault> {
        self.object.r#type.read(memory, object)
    }

    /// `tp_name` of a type: with its module for those made in C, bare for those made in Python.
    pub fn type_name(&self, memory: &dyn Memory, of: Addr) -> Result<String, Unread> {
        let name = self.types.name.read(memory, of)?;
        let bytes = c_string(memory, name, MAX_TYPE_NAME)?;
        String::from_utf8(bytes).map_err(|_| Unread::Garbage("the name of a type"))
    }

    /// The flags of a type.
    pub fn flags(&self, memory: &dyn Memory, of: Addr) -> Result<Flags, Fault> {
        self.types.flags.read(memory, of).map(Flags)
    }

    /// Whether the object's type has a flag.
    pub fn is(&self, memory: &dyn Memory, object: Addr, flag: TypeFlag) -> Result<bool, Fault> {
        Ok(self.flags(memory, self.type_of(memory, object)?)?.has(flag))
    }

    /// The value of an `int`, or of Python 2's `int` or `long`, of at most 60 bits.
    pub fn int(&self, memory: &dyn Memory, object: Addr) -> Result<i64, Unread> {
        let flags = self.flags(memory, self.type_of(memory, object)?)?;
        match self.int.ival {
            Some(ival) if flags.has(TypeFlag::Int) => return Ok(ival.read(memory, object)?),
            _ if flags.has(TypeFlag::Long) => {}
            _ => return Err(Unread::Garbage("an int")),
        }
        let long = self.long(memory, object)?;
        let Some(digits) = long.digits(memory, MAX_DIGITS)? else {
            return Err(Unread::Garbage("an int of a bearable size"));
        };
        let value = digits.iter().rev().fold(0, |value, digit| value << DIGIT_BITS | i64::from(*digit));
        Ok(if long.negative { -value } else { value })
    }

    /// Sign and length of an `int` (Python 2's `long`).
    pub(super) fn long(&self, memory: &dyn Memory, object: Addr) -> Result<Long, Fault> {
        let (count, negative) = match self.long.lv_tag {
            Some(tag) => {
                let tag = tag.read(memory, object)?;
                (tag >> 3, tag & 3 == 2) // Bits 0 and 1 are the sign: 0 positive, 1 zero, 2 negative.
            }
            None => {
                let size = self.long.ob_size.read(memory, object)?;
                (size.unsigned_abs(), size < 0)
            }
        };
        Ok(Long { at: self.long.digit.of(object), count, negative })
    }
}

/// An `int` of any length, its digits yet unread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Long {
    at: Addr,
    count: u64,
    /// It is below 0.
    pub(super) negative: bool,
}

impl Long {
    /// How many bits its digits have.
    pub(super) fn bits(self) -> u64 {
        self.count.saturating_mul(u64::from(DIGIT_BITS))
    }

    /// Its digits of [`DIGIT_BITS`] bits, the lowest first; `None` where it claims more than `most`.
    pub(super) fn digits(self, memory: &dyn Memory, most: u64) -> Result<Option<Vec<u32>>, Unread> {
        if self.count > most {
            return Ok(None);
        }
        let bytes = memory.bytes(self.at, self.count as usize * u32::SIZE)?;
        let digits: Vec<u32> = bytes.chunks_exact(u32::SIZE).map(u32::from_bytes).collect();
        match digits.iter().any(|digit| digit >> DIGIT_BITS != 0) {
            true => Err(Unread::Garbage("an int")),
            false => Ok(Some(digits)),
        }
    }
}

/// `tp_flags` of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u64);

impl Flags {
    /// The flags in a word that was read.
    pub(super) fn of(word: u64) -> Flags {
        Flags(word)
    }

    /// Whether a flag is set.
    pub fn has(self, flag: TypeFlag) -> bool {
        self.bit(flag as i64)
    }

    /// Whether a bit is set; one that no flag has, such as -1, is not.
    pub fn bit(self, bit: i64) -> bool {
        u32::try_from(bit).ok().and_then(|bit| self.0.checked_shr(bit)).is_some_and(|rest| rest & 1 == 1)
    }
}

/// The bytes of a C string, without its end; at most `limit` of them.
pub(super) fn c_string(memory: &dyn Memory, addr: Addr, limit: usize) -> Result<Vec<u8>, Fault> {
    let mut string = Vec::new();
    let mut at = addr;
    while string.len() < limit {
        let mut piece = [0; PIECE as usize];
        let piece = &mut piece[..(PIECE - at.0 % PIECE) as usize];
        memory.read(at, piece)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            string.extend(&piece[..end]);
            break;
        }
        string.extend(&*piece);
        at = at.plus(piece.len() as u64);
    }
    string.truncate(limit);
    Ok(string)
}
