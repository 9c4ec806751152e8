//! Strings of the target, of every kind that CPython has had: `str` and `unicode` of Python 2, and PEP 393's `str`.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::Unread;
use super::object::{Objects, TypeFlag};

/// The most characters that are read of one string; a longer one is cut there and says how long it was.
pub const MAX_CHARACTERS: usize = 4096;
/// A string that claims to be longer than this is none.
const MAX_CLAIM: u64 = 1 << 40;

fields! {
    /// `PyASCIIObject` and its extensions (PEP 393), Include/cpython/unicodeobject.h.
    struct Flexible in "unicode" {
        length: Field<u64>,
        state: Field<u32>,
        ascii_size: usize,
        compact_size: usize,
        data_any: Field<Addr>,
        kind_bit: usize,
        kind_bits: usize,
        compact_bit: usize,
        ascii_bit: usize,
    }
}

fields! {
    /// `PyUnicodeObject` of Python 2, Include/unicodeobject.h.
    struct Wide in "unicode" {
        length: Field<u64>,
        data_any: Field<Addr>,
    }
}

fields! {
    /// `PyBytesObject`, Include/cpython/bytesobject.h; in Python 2 `PyStringObject`.
    struct ByteString in "bytes" {
        ob_size: Field<u64>,
        sval: usize,
    }
}

/// How the target keeps its strings.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    kind: Kind,
    objects: Objects,
    bytes: ByteString,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `str` is bytes; `unicode` has 2 or 4 bytes a character, as the build was configured.
    Python2 { wide: Wide, width: usize },
    /// 1, 2 or 4 bytes a character, each string as it needs.
    Flexible(Flexible),
}

/// How the bytes of a string stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// Python 2's `str`: UTF-8 where it is that, else latin-1.
    Bytes,
    /// One code point in so many bytes.
    Points(usize),
    /// UTF-16, of Python 2's narrow builds.
    Utf16,
}

/// Where the characters of a string lie.
#[derive(Debug, Clone, Copy)]
struct Characters {
    at: Addr,
    length: u64,
    encoding: Encoding,
}

impl Text {
    /// Binds what the layout says of strings.
    pub fn bind(layout: &Layout) -> Result<Text, Missing> {
        let kind = match layout.fact::<String>("text.kind")?.as_str() {
            "py2" => Kind::Python2 { wide: Wide::bind(layout)?, width: 4 },
            "pep393" => Kind::Flexible(Flexible::bind(layout)?),
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "text.kind".into() }),
        };
        Ok(Text { kind, objects: Objects::bind(layout)?, bytes: ByteString::bind(layout)? })
    }

    /// Takes in what `sys.maxunicode` says of the build: how wide a character of Python 2's `unicode` is.
    pub fn set_maxunicode(&mut self, maxunicode: i64) {
        if let Kind::Python2 { width, .. } = &mut self.kind {
            *width = if maxunicode > 0xFFFF { 4 } else { 2 };
        }
    }

    /// The string at `addr`. What is no character becomes `U+FFFD`. One of more than [`MAX_CHARACTERS`] is cut there and
    /// ends in a mark that says how long it was: `…(len=70000)`.
    pub fn read(&self, memory: &dyn Memory, addr: Addr) -> Result<String, Unread> {
        let characters = self.characters(memory, addr)?;
        let count = characters.length.min(MAX_CHARACTERS as u64) as usize;
        let bytes = memory.bytes(characters.at, count * characters.encoding.width())?;
        let mut text = characters.encoding.decode(&bytes);
        if characters.length > MAX_CHARACTERS as u64 {
            text.push_str(&format!("…(len={})", characters.length));
        }
        Ok(text)
    }

    /// Whether the object at `addr` is the string `expected`, of ASCII characters; something else than a string is not.
    pub fn is(&self, memory: &dyn Memory, addr: Addr, expected: &str) -> bool {
        let length = self.characters(memory, addr).map(|characters| characters.length);
        length == Ok(expected.len() as u64) && self.read(memory, addr).is_ok_and(|text| text == expected)
    }

    /// The `bytes` object (in Python 2 the `str`) at `addr`; one of more than `limit` bytes is refused.
    pub fn bytes(&self, memory: &dyn Memory, addr: Addr, limit: usize) -> Result<Vec<u8>, Unread> {
        let length = self.bytes.ob_size.read(memory, addr)?;
        if length > limit as u64 {
            return Err(Unread::Garbage("bytes of a bearable length"));
        }
        Ok(memory.bytes(addr.plus(self.bytes.sval as u64), length as usize)?)
    }

    /// How many bytes the `bytes` object (in Python 2 the `str`) at `addr` has.
    pub fn bytes_length(&self, memory: &dyn Memory, addr: Addr) -> Result<u64, Unread> {
        Ok(self.bytes.ob_size.read(memory, addr)?)
    }

    fn characters(&self, memory: &dyn Memory, addr: Addr) -> Result<Characters, Unread> {
        let characters = match &self.kind {
            Kind::Flexible(flexible) => flexible.characters(memory, addr)?,
            Kind::Python2 { wide, width } if self.objects.is(memory, addr, TypeFlag::Unicode)? => {
                Characters {
                    at: wide.data_any.read(memory, addr)?,
                    length: wide.length.read(memory, addr)?,
                    encoding: if *width == 2 { Encoding::Utf16 } else { Encoding::Points(4) },
                }
            }
            Kind::Python2 { .. } => Characters {
                at: addr.plus(self.bytes.sval as u64),
                length: self.bytes.ob_size.read(memory, addr)?,
                encoding: Encoding::Bytes,
            },
        };
        if characters.length > MAX_CLAIM {
            return Err(Unread::Garbage("a string of a bearable length"));
        }
        Ok(characters)
    }
}

impl Flexible {
    fn characters(&self, memory: &dyn Memory, addr: Addr) -> Result<Characters, Unread> {
        let state = self.state.read(memory, addr)?;
        let length = self.length.read(memory, addr)?;
        let bit = |at: usize| bits(state, at, 1) == 1;
        let at = match (bit(self.compact_bit), bit(self.ascii_bit)) {
            (true, true) => addr.plus(self.ascii_size as u64),
            (true, false) => addr.plus(self.compact_size as u64),
            (false, _) => self.data_any.read(memory, addr)?,
        };
        // Kind 0 is a string of the old C interface that nobody has looked at yet (up to 3.11): no name ever is.
        match bits(state, self.kind_bit, self.kind_bits) {
            width @ (1 | 2 | 4) => Ok(Characters { at, length, encoding: Encoding::Points(width as usize) }),
            _ => Err(Unread::Garbage("a str")),
        }
    }
}

/// `count` bits of a word of bit fields, from bit `at` on.
fn bits(word: u32, at: usize, count: usize) -> u32 {
    let word = word.checked_shr(at as u32).unwrap_or(0);
    1_u32.checked_shl(count as u32).map_or(word, |end| word & (end - 1))
}

impl Encoding {
    /// Bytes of one character.
    fn width(self) -> usize {
        match self {
            Encoding::Bytes => 1,
            Encoding::Points(width) => width,
            Encoding::Utf16 => 2,
        }
    }

    fn decode(self, bytes: &[u8]) -> String {
        let units = |width| {
            bytes
                .chunks_exact(width)
                .map(|unit: &[u8]| unit.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
        };
        match self {
            // Surrogates are no characters: Python keeps bytes that it could not decode as lone ones.
            Encoding::Points(width) => {
                units(width).map(|n| char::from_u32(n).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            Encoding::Utf16 => char::decode_utf16(units(2).map(|n| n as u16))
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
            Encoding::Bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text.into(),
                // A character that was cut in two at the end is left out.
                Err(e) if e.error_len().is_none() => {
                    String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned()
                }
                Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
            },
        }
    }
}
