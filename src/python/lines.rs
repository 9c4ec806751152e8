//! Where in its source an instruction was written: the three kinds of line table that code objects have had.

use crate::layout::{Layout, Missing};

/// A place in a source file. Lines count from 1, columns are bytes from 0, as `co_positions()` has them; `None` where the
/// table does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The line.
    pub line: Option<u32>,
    /// The line on which it ends.
    pub end_line: Option<u32>,
    /// The first column.
    pub column: Option<u32>,
    /// The column behind it.
    pub end_column: Option<u32>,
}

/// The kind of a line table, as the facts `lines.kind` and `lines.signed` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineTable {
    /// Pairs of unsigned steps: bytes of code, lines (Objects/lnotab_notes.txt).
    Lnotab,
    /// The same, where a step in lines is signed.
    SignedLnotab,
    /// Ranges of code with the signed step that leads to their line; -128 says that there is none (PEP 626).
    Linetable,
    /// Ranges of code with lines and columns (PEP 657, Objects/locations.md).
    Locations,
}

impl LineTable {
    /// The kind that a layout says its code objects have.
    pub fn bind(layout: &Layout) -> Result<LineTable, Missing> {
        match layout.fact::<String>("lines.kind")?.as_str() {
            "lnotab" if layout.fact("lines.signed")? => Ok(LineTable::SignedLnotab),
            "lnotab" => Ok(LineTable::Lnotab),
            "linetable" => Ok(LineTable::Linetable),
            "locations" => Ok(LineTable::Locations),
            _ => Err(Missing::Fact { layout: layout.name.clone(), fact: "lines.kind".into() }),
        }
    }

    /// The place of the instruction at byte `offset` of the code. An offset below 0 is that of a frame that has not
    /// started: it stands at the function's first line. A table that is cut short or makes no sense says nothing.
    pub fn position(self, table: &[u8], first_line: i32, offset: i64) -> Position {
        let first = i64::from(first_line);
        match self {
            _ if offset < 0 => at_line(Some(first)),
            LineTable::Lnotab => at_line(Some(lnotab(table, first, offset, i64::from))),
            LineTable::SignedLnotab => {
                at_line(Some(lnotab(table, first, offset, |step| i64::from(step.cast_signed()))))
            }
            LineTable::Linetable => at_line(linetable(table, first, offset)),
            LineTable::Locations => locations(table, first, offset).unwrap_or_default(),
        }
    }
}

impl LineTable {
    /// Every line on which an instruction was written, in the order of the code.
    pub fn lines(self, table: &[u8], first_line: i32) -> Vec<u32> {
        let (mut found, mut line) = (Vec::new(), i64::from(first_line));
        match self {
            LineTable::Lnotab | LineTable::SignedLnotab => {
                let signed = self == LineTable::SignedLnotab;
                for pair in table.chunks_exact(2) {
                    // A step in lines that is too long for one pair goes on in others, which take no code.
                    found.extend((pair[0] > 0).then_some(line).and_then(counted));
                    line += if signed { i64::from(pair[1].cast_signed()) } else { i64::from(pair[1]) };
                }
                found.extend(counted(line));
            }
            LineTable::Linetable => {
                for pair in table.chunks_exact(2).filter(|pair| pair[1].cast_signed() != NO_LINE) {
                    line += i64::from(pair[1].cast_signed());
                    found.extend((pair[0] > 0).then_some(line).and_then(counted));
                }
            }
            LineTable::Locations => {
                let mut places = Locations::new(table, line);
                while let Some(place) = places.next() {
                    found.extend(place.line);
                }
            }
        }
        found
    }

    /// Whether a table can be that of `length` bytes of code: an lnotab's last range starts within it, and the ranges of the
    /// others add up to it.
    pub fn fits(self, table: &[u8], length: u64) -> bool {
        let steps = || table.chunks_exact(2).map(|pair| u64::from(pair[0])).sum::<u64>();
        match self {
            LineTable::Lnotab | LineTable::SignedLnotab => steps() < length,
            LineTable::Linetable => steps() == length,
            LineTable::Locations => {
                let mut places = Locations::new(table, 0);
                while places.next().is_some() {}
                places.bytes.rest.is_empty() && u64::try_from(places.end) == Ok(length)
            }
        }
    }
}

fn at_line(line: Option<i64>) -> Position {
    Position { line: line.and_then(counted), ..Position::default() }
}

fn counted(value: i64) -> Option<u32> {
    u32::try_from(value).ok()
}

/// `PyCode_Addr2Line` of Objects/codeobject.c, 2.7 to 3.9.
fn lnotab(table: &[u8], first: i64, offset: i64, lines: impl Fn(u8) -> i64) -> i64 {
    let (mut code, mut line) = (0, first);
    for pair in table.chunks_exact(2) {
        code += i64::from(pair[0]);
        if code > offset {
            break;
        }
        line += lines(pair[1]);
    }
    line
}

/// What a range of 3.10 has for a step when its instructions are on no line.
const NO_LINE: i8 = -128;

/// `_PyCode_CheckLineNumber` of Objects/codeobject.c, 3.10.
fn linetable(table: &[u8], first: i64, offset: i64) -> Option<i64> {
    let (mut end, mut line) = (0, first);
    for pair in table.chunks_exact(2) {
        let step = pair[1].cast_signed();
        end += i64::from(pair[0]);
        if step != NO_LINE {
            line += i64::from(step);
        }
        if end > offset {
            return (step != NO_LINE).then_some(line);
        }
    }
    None
}

/// `_PyCode_CheckLineNumber` and `advance_with_locations` of Objects/codeobject.c, 3.11 and later.
fn locations(table: &[u8], first: i64, offset: i64) -> Option<Position> {
    let mut places = Locations::new(table, first);
    loop {
        let position = places.next()?;
        if places.end > offset {
            return Some(position);
        }
    }
}

/// A walk along a location table.
struct Locations<'a> {
    bytes: Bytes<'a>,
    line: i64,
    /// Where the range ends that was read last, in bytes of code.
    end: i64,
}

impl<'a> Locations<'a> {
    /// The size of a code unit (`_Py_CODEUNIT`), in which the ranges are counted.
    const UNIT: i64 = 2;

    fn new(table: &'a [u8], first: i64) -> Locations<'a> {
        Locations { bytes: Bytes { rest: table }, line: first, end: 0 }
    }

    /// The position of the next range, unless the table ends.
    fn next(&mut self) -> Option<Position> {
        let bytes = &mut self.bytes;
        let head = bytes.next()?;
        let code = (head >> 3) & 15;
        let position = match code {
            15 => Position::default(),
            14 => {
                self.line = self.line.wrapping_add(bytes.signed()?);
                let end_line = self.line.wrapping_add(bytes.varint()?);
                // Columns are stored one higher, so that 0 can say that there is none.
                let (column, end_column) = (bytes.varint()? - 1, bytes.varint()? - 1);
                whole(self.line, end_line, column, end_column)
            }
            13 => {
                self.line = self.line.wrapping_add(bytes.signed()?);
                Position { line: counted(self.line), end_line: counted(self.line), ..Position::default() }
            }
            10..=12 => {
                self.line = self.line.wrapping_add(i64::from(code) - 10);
                whole(self.line, self.line, bytes.next()?.into(), bytes.next()?.into())
            }
            _ => {
                let second = bytes.next()?;
                let column = (code << 3) | (second >> 4);
                whole(self.line, self.line, column.into(), i64::from(column) + i64::from(second & 15))
            }
        };
        self.end += Self::UNIT * i64::from((head & 7) + 1);
        Some(position)
    }
}

fn whole(line: i64, end_line: i64, column: i64, end_column: i64) -> Position {
    Position {
        line: counted(line),
        end_line: counted(end_line),
        column: counted(column),
        end_column: counted(end_column),
    }
}

/// The bytes of a location table and the numbers written in them.
struct Bytes<'a> {
    rest: &'a [u8],
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Six bits a byte, the lowest first; bit 6 says that more follow. What does not fit in a number is no table.
    fn varint(&mut self) -> Option<i64> {
        let mut value = 0;
        for shift in (0..60).step_by(6) {
            let byte = self.next()?;
            value |= i64::from(byte & 63) << shift;
            if byte & 64 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some(if value & 1 == 0 { value >> 1 } else { -(value >> 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LineTable; 4] =
        [LineTable::Lnotab, LineTable::SignedLnotab, LineTable::Linetable, LineTable::Locations];

    #[track_caller]
    fn check(kind: LineTable, table: &[u8], offset: i64, line: Option<u32>) {
        assert_eq!(kind.position(table, 10, offset).line, line);
    }

    #[test]
    fn steps_in_lines_are_signed_from_3_6_on_only() {
        check(LineTable::Lnotab, &[4, 255, 4, 1], 5, Some(265));
        check(LineTable::SignedLnotab, &[4, 255, 4, 1], 5, Some(9));
        check(LineTable::SignedLnotab, &[4, 255, 4, 1], 8, Some(10));
        check(LineTable::SignedLnotab, &[4, 255, 4, 1], 3, Some(10));
    }

    #[test]
    fn a_range_may_have_no_line() {
        check(LineTable::Linetable, &[2, 1, 4, 0x80, 2, 2], 0, Some(11));
        check(LineTable::Linetable, &[2, 1, 4, 0x80, 2, 2], 5, None);
        check(LineTable::Linetable, &[2, 1, 4, 0x80, 2, 2], 6, Some(13));
        check(LineTable::Linetable, &[2, 1, 4, 0x80, 2, 2], 8, None);
        check(LineTable::Locations, &[0xF8, 0xE8, 4], 1, None);
        check(LineTable::Locations, &[0xF8, 0xE8, 4], 2, Some(12));
    }

    #[test]
    fn a_frame_that_has_not_started_stands_at_the_first_line() {
        for kind in ALL {
            check(kind, &[], -1, Some(10));
            check(kind, &[0, 5, 2, 5], -2, Some(10));
        }
    }

    #[test]
    fn the_lines_of_a_table_are_those_of_its_offsets() {
        let tables: [(LineTable, &[u8]); 5] = [
            (LineTable::Lnotab, &[4, 255, 0, 3, 4, 1]),
            (LineTable::SignedLnotab, &[4, 127, 0, 127, 2, 255, 4, 1]),
            (LineTable::Linetable, &[2, 1, 0, 9, 4, 0x80, 2, 2]),
            (LineTable::Locations, &[0xF8, 0xE8, 4, 0xD8, 3]),
            (LineTable::Locations, &[]),
        ];
        for (kind, table) in tables {
            let mut told = kind.lines(table, 10);
            told.dedup();
            let mut each: Vec<u32> =
                (0..20).filter_map(|offset| kind.position(table, 10, offset).line).collect();
            each.dedup();
            assert_eq!(told, each, "{kind:?}");
        }
    }

    #[test]
    fn a_line_before_the_first_line_of_a_file_is_none() {
        check(LineTable::SignedLnotab, &[0, 0x80], 0, None);
        assert_eq!(LineTable::Lnotab.position(&[], -5, 0), Position::default());
    }

    /// Every table of up to three bytes from a few telling ones, and noise of up to 64, at all offsets that matter.
    #[test]
    fn no_table_does_harm() {
        let telling = [0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xE8, 0xF0, 0xF7, 0xF8, 0xFF];
        let mut tables: Vec<Vec<u8>> = vec![Vec::new()];
        for length in 0..3 {
            let shorter: Vec<_> = tables.iter().filter(|table| table.len() == length).cloned().collect();
            tables.extend(
                shorter.iter().flat_map(|table| telling.map(|byte| [table.as_slice(), &[byte]].concat())),
            );
        }
        let mut word = 1_u64;
        for length in 0..64 {
            tables.push(
                std::iter::repeat_with(|| {
                    word =
                        word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (word >> 56) as u8
                })
                .take(length)
                .collect(),
            );
        }
        tables.extend([
            vec![0xFF; 1000],
            vec![0x70; 1000],
            vec![0xF0, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x3F],
        ]);
        for table in tables {
            for kind in ALL {
                for first in [i32::MIN, -1, 0, 1, i32::MAX] {
                    for offset in [i64::MIN, -1, 0, 1, 2, 7, 100, i64::MAX] {
                        kind.position(&table, first, offset);
                    }
                }
                kind.fits(&table, 0);
                kind.lines(&table, 1);
            }
        }
    }
}
