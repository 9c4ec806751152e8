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
    Python2 { wide: Wide, width: Option<usize> },
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
            "py2" => Kind::Python2 { wide: Wide::bind(layout)?, width: None },
            "pep393" => Kind::Flexible(Flexible::bind(layout)?),
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "text.kind".into() }),
        };
        Ok(Text { kind, objects: Objects::bind(layout)?, bytes: ByteString::bind(layout)? })
    }

    /// Whether the strings of this build can only be read when it is known what `sys.maxunicode` says.
    pub fn wants_maxunicode(&self) -> bool {
        matches!(self.kind, Kind::Python2 { width: None, .. })
    }

    /// Takes in what `sys.maxunicode` says of the build: how wide a character of Python 2's `unicode` is.
    pub fn set_maxunicode(&mut self, maxunicode: i64) {
        if let Kind::Python2 { width, .. } = &mut self.kind {
            *width = Some(if maxunicode > 0xFFFF { 4 } else { 2 });
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
                    encoding: if *width == Some(2) { Encoding::Utf16 } else { Encoding::Points(4) },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Catalogue;
    use crate::memory::Tape;

    const AT: Addr = Addr(0x7000_0000);
    const ELSEWHERE: Addr = Addr(0x7100_0000);
    const TYPE: Addr = Addr(0x7200_0000);

    fn layout(name: &str) -> Layout {
        Catalogue::load(None).unwrap().named(name).unwrap().layout.clone()
    }

    fn put(tape: &mut Tape, layout: &Layout, section: &str, key: &str, base: Addr, bytes: &[u8]) {
        tape.put(base.plus(layout.key(section, key).unwrap() as u64), bytes);
    }

    /// A PEP 393 string of so many characters, whose data begins with these bytes.
    fn flexible(layout: &Layout, length: u64, width: u32, ascii: bool, compact: bool, data: &[u8]) -> Tape {
        let mut tape = Tape::default();
        let bit = |key| layout.key("unicode", key).unwrap();
        let state = width << bit("kind_bit")
            | u32::from(compact) << bit("compact_bit")
            | u32::from(ascii) << bit("ascii_bit");
        put(&mut tape, layout, "unicode", "length", AT, &length.to_le_bytes());
        put(&mut tape, layout, "unicode", "state", AT, &state.to_le_bytes());
        match (compact, ascii) {
            (true, true) => put(&mut tape, layout, "unicode", "ascii_size", AT, data),
            (true, false) => put(&mut tape, layout, "unicode", "compact_size", AT, data),
            (false, _) => {
                put(&mut tape, layout, "unicode", "data_any", AT, &ELSEWHERE.0.to_le_bytes());
                tape.put(ELSEWHERE, data);
            }
        }
        tape
    }

    /// An object of Python 2 whose type has a flag.
    fn python2(layout: &Layout, flag: TypeFlag) -> Tape {
        let mut tape = Tape::default();
        put(&mut tape, layout, "object", "type", AT, &TYPE.0.to_le_bytes());
        put(&mut tape, layout, "type", "flags", TYPE, &(1_u64 << flag as u32).to_le_bytes());
        tape
    }

    fn byte_string(data: &[u8]) -> Tape {
        let layout = layout("2.7");
        // Bit 27 says `str`; any flag but that of `unicode` will do.
        let mut tape = python2(&layout, TypeFlag::Long);
        put(&mut tape, &layout, "bytes", "ob_size", AT, &(data.len() as u64).to_le_bytes());
        put(&mut tape, &layout, "bytes", "sval", AT, data);
        tape
    }

    fn wide(length: u64, data: &[u8]) -> Tape {
        let layout = layout("2.7");
        let mut tape = python2(&layout, TypeFlag::Unicode);
        put(&mut tape, &layout, "unicode", "length", AT, &length.to_le_bytes());
        put(&mut tape, &layout, "unicode", "data_any", AT, &ELSEWHERE.0.to_le_bytes());
        tape.put(ELSEWHERE, data);
        tape
    }

    #[track_caller]
    fn check(name: &str, tape: Tape, expected: Result<&str, &str>) {
        let text = Text::bind(&layout(name)).unwrap();
        check_as(text, tape, expected);
    }

    #[track_caller]
    fn check_as(text: Text, tape: Tape, expected: Result<&str, &str>) {
        let read = text.read(&tape, AT).map_err(|unread| unread.to_string());
        assert_eq!(read.as_deref().map_err(String::as_str), expected);
    }

    fn units<const N: usize>(units: &[u32]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes().into_iter().take(N)).collect()
    }

    #[test]
    fn strings_of_every_width_are_read_in_every_layout() {
        for name in ["3.6", "3.11", "3.12", "3.13t", "3.15"] {
            let layout = layout(name);
            check(name, flexible(&layout, 5, 1, true, true, b"snake"), Ok("snake"));
            check(name, flexible(&layout, 5, 1, false, true, b"na\xefve"), Ok("naïve"));
            check(
                name,
                flexible(&layout, 3, 2, false, true, &units::<2>(&[0x43F, 0x438, 0x20AC])),
                Ok("пи€"),
            );
            check(name, flexible(&layout, 2, 4, false, true, &units::<4>(&[0x1F4A9, 0x2_0000])), Ok("💩𠀀"));
            check(name, flexible(&layout, 0, 1, true, true, b""), Ok(""));
        }
    }

    #[test]
    fn a_string_of_the_old_kind_has_its_characters_elsewhere() {
        let layout = layout("3.8");
        check("3.8", flexible(&layout, 3, 1, true, false, b"old"), Ok("old"));
        check("3.8", flexible(&layout, 2, 2, false, false, &units::<2>(&[0x43F, 0x438])), Ok("пи"));
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        let layout = layout("3.13");
        check(
            "3.13",
            flexible(&layout, 3, 2, false, true, &units::<2>(&[0x61, 0xDCFF, 0x62])),
            Ok("a\u{FFFD}b"),
        );
        // Two surrogates side by side are two lone ones: PEP 393 has no pairs.
        check(
            "3.13",
            flexible(&layout, 2, 2, false, true, &units::<2>(&[0xD83D, 0xDCA9])),
            Ok("\u{FFFD}\u{FFFD}"),
        );
        check("3.13", flexible(&layout, 1, 4, false, true, &units::<4>(&[0x0011_0000])), Ok("\u{FFFD}"));
    }

    #[test]
    fn a_long_string_is_cut_and_says_so() {
        let layout = layout("3.13");
        let data = vec![b'x'; 5000];
        let cut = format!("{}…(len=5000)", "x".repeat(MAX_CHARACTERS));
        check("3.13", flexible(&layout, 5000, 1, true, true, &data), Ok(&cut));
        let whole = "x".repeat(MAX_CHARACTERS);
        check("3.13", flexible(&layout, MAX_CHARACTERS as u64, 1, true, true, &data), Ok(&whole));
    }

    #[test]
    fn what_cannot_be_a_string_is_none() {
        let layout = layout("3.13");
        for kind in [0, 3, 5, 6, 7] {
            check("3.13", flexible(&layout, 1, kind, true, true, b"x"), Err("what was read cannot be a str"));
        }
        let absurd = Err("what was read cannot be a string of a bearable length");
        check("3.13", flexible(&layout, u64::MAX, 1, true, true, b"x"), absurd);
        check("3.13", flexible(&layout, 1 << 41, 4, false, true, b"x"), absurd);
        let text = Text::bind(&layout).unwrap();
        assert!(text.read(&Tape::default(), AT).is_err());
    }

    #[test]
    fn python_2_has_bytes_that_may_be_utf_8() {
        check("2.7", byte_string(b"snake"), Ok("snake"));
        check("2.7", byte_string("файл".as_bytes()), Ok("файл"));
        check("2.7", byte_string(b"na\xefve"), Ok("naïve"));
        // A character that the cut at the end took apart.
        check("2.7", byte_string(b"\xd1\x84\xd0"), Ok("ф"));
    }

    #[test]
    fn python_2_has_unicode_of_two_widths() {
        let text = |maxunicode| {
            let mut text = Text::bind(&layout("2.7")).unwrap();
            assert!(text.wants_maxunicode());
            text.set_maxunicode(maxunicode);
            assert!(!text.wants_maxunicode());
            text
        };
        check_as(text(0x10_FFFF), wide(2, &units::<4>(&[0x1F4A9, 0x62])), Ok("💩b"));
        check_as(text(0xFFFF), wide(4, &units::<2>(&[0xD83D, 0xDCA9, 0xDCFF, 0x62])), Ok("💩\u{FFFD}b"));
    }
}
