//! Line tables say of every instruction what the interpreter says that made them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod support;

use pitviper::layout::Catalogue;
use pitviper::python::{LineTable, Position};
use pitviper::target::locate::locate;
use pitviper::target::{Proc, Process};
use support::{pythons, start};

/// Where a range of code starts, and line, end line, column and end column of it.
type Range = (i64, Option<u32>, Option<u32>, Option<u32>, Option<u32>);

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[test]
fn every_instruction_stands_where_its_interpreter_says() {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    for python in pythons() {
        let mut target = start(python, include_str!("programs/lines.py"));
        let process = Process::open(&Proc::default(), target.pid()).expect("it lives");
        let located = locate(&process, &catalogue).expect("it is found");
        let lines = LineTable::bind(&located.chosen.layout).expect("its layout says how lines are kept");
        let (mut codes, mut checked) = (0, 0);
        loop {
            let line = target.line();
            if line == "done" {
                break;
            }
            let (first, table, length, ranges): (i32, String, u64, Vec<Range>) =
                serde_json::from_str(&line).expect("it speaks JSON");
            let table = bytes(&table);
            assert!(lines.fits(&table, length), "{}: {line}", python.name);
            let ends = ranges.iter().skip(1).map(|range| range.0).chain([length as i64]);
            for ((from, line, end_line, column, end_column), end) in ranges.iter().zip(ends) {
                let expected =
                    Position { line: *line, end_line: *end_line, column: *column, end_column: *end_column };
                for offset in [*from, end - 1] {
                    let found = lines.position(&table, first, offset);
                    assert_eq!(found, expected, "{}: offset {offset} of {table:?}", python.name);
                    checked += 1;
                }
            }
            codes += 1;
        }
        println!("{}: {checked} places in {codes} code objects", python.name);
        assert!(codes > 100, "{}: only {codes}", python.name);
    }
}
