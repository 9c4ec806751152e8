//! `--opcodes`: which instructions ran, held against what the target's own `dis` says of its code.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use pitviper::model::FrameKind;
use pitviper::recording::{self, Recording};
use support::{Python, pitviper, pythons, start};

const OPCODES: &str = include_str!("programs/opcodes.py");

/// Those whose instructions are read as they run.
fn specialising() -> impl Iterator<Item = &'static Python> {
    pythons().iter().filter(|python| python.minor() >= (3, 11))
}

/// How many looks met each function, line and instruction.
fn met(recording: &Recording) -> BTreeMap<(String, u32, String), u32> {
    let mut found = BTreeMap::new();
    for row in recording.samples.iter().flatten() {
        let mut frames = row.stack.into_iter().flat_map(|stack| recording.frames_of(stack));
        let (Some(opcode), Some(frame)) = (frames.next(), frames.next()) else { continue };
        if opcode.kind == FrameKind::Opcode {
            let (name, line) = (recording.string(frame.name).to_owned(), frame.line.unwrap_or(0));
            *found.entry((name, line, recording.string(opcode.name).to_owned())).or_default() += row.count;
        }
    }
    found
}

#[test]
fn instructions_are_those_that_the_target_says_are_there_and_the_slow_one_leads() {
    for python in specialising() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("opcodes.pit");
        let mut target = start(python, OPCODES);
        // What `dis` says of the loop once it is specialised: a line of text for each line of code.
        let mut there: BTreeSet<(u32, String)> = BTreeSet::new();
        let mut slow = (0, String::new());
        loop {
            let said = target.line();
            let words: Vec<&str> = said.split(' ').collect();
            match words.as_slice() {
                [line, name] => drop(there.insert((line.parse().unwrap(), (*name).to_owned()))),
                ["slow", line, name] => slow = (line.parse().unwrap(), (*name).to_owned()),
                _ => break,
            }
        }
        let pid = target.pid().to_string();
        let attach = ["attach", "-q", "--opcodes", "-p", &pid, "-r", "500", "-d", "0.6"];
        let output = pitviper(&[&attach[..], &["-o", file.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}: {}", python.name, String::from_utf8_lossy(&output.stderr));
        let recording = recording::open(&file).unwrap();
        let met = met(&recording);
        let of_loop = || met.iter().filter(|((name, ..), _)| name == "spin");
        let all: u32 = of_loop().map(|(_, count)| count).sum();
        assert!(all > 20, "{}: {met:?}", python.name);
        // An instruction may be despecialised for a moment: one look in twenty is the bound.
        let wrong: u32 = of_loop()
            .filter(|((_, line, name), _)| !there.contains(&(*line, name.clone())))
            .map(|(_, count)| count)
            .sum();
        assert!(wrong * 20 <= all, "{}: {wrong} of {all}: {met:?}, and there is {there:?}", python.name);
        let leads = met.get(&("spin".to_owned(), slow.0, slow.1.clone())).copied().unwrap_or(0);
        assert!(leads * 10 >= all * 9, "{}: {slow:?} has {leads} of {all}: {met:?}", python.name);

        let export = |options: &[&str]| {
            let output = pitviper(&[&["export", file.to_str().unwrap(), "-f", "folded"], options].concat());
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(export(&[]).lines().any(|line| line.contains(&format!(";{} ", slow.1))), "{}", python.name);
        assert!(!export(&["--by", "function"]).contains(&slow.1), "{}", python.name);
    }
}

#[test]
fn a_python_whose_instructions_are_not_read_is_refused_in_words() {
    let Some(python) = support::python("3.10") else { return };
    let target = start(python, support::PARK);
    let output = pitviper(&[
        "attach",
        "--opcodes",
        "-d",
        "0.1",
        "-p",
        &target.pid().to_string(),
        "-f",
        "pit",
        "-o",
        "-",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--opcodes needs Python 3.11 or later"), "{said}");
}
