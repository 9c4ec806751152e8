//! What functions name, held against what the target's own `dis` says of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeSet;

use pitviper::layout::Catalogue;
use pitviper::memory::Addr;
use pitviper::python::Python;
use pitviper::python::frame::Frame;
use pitviper::python::mention::Mentions;
use pitviper::target::locate::{Located, locate};
use pitviper::target::{Proc, Process};
use support::{Target, pythons, start, wait_until};

const MENTIONS: &str = include_str!("programs/mentions.py");

/// Where its code object is, its name, where it loads what and where the string of that name is, where it makes functions and where it
/// returns.
type Function = (u64, String, Vec<(i32, u64)>, Vec<i32>, Vec<i32>);

struct Seen {
    process: Process,
    located: Located,
    python: Python,
}

fn open(target: &Target) -> Seen {
    let process = Process::open(&Proc::default(), target.pid()).unwrap();
    let located = locate(&process, &Catalogue::load(None).unwrap()).unwrap();
    let python = Python::open(&located).unwrap();
    Seen { process, located, python }
}

impl Seen {
    fn mentions(&self) -> Mentions {
        let version = self.located.fingerprint.version;
        Mentions::bind(&self.located.chosen.layout, version).unwrap().expect("its instructions are known")
    }
}

#[test]
fn all_that_functions_load_and_make_is_found_and_nothing_else() {
    for python in pythons() {
        println!("{}", python.name);
        let mut target = start(python, MENTIONS);
        let said = std::iter::from_fn(|| Some(target.line()).filter(|line| line != "done"));
        let functions: Vec<Function> = said.map(|line| serde_json::from_str(&line).unwrap()).collect();
        let seen = open(&target);
        let mentions = seen.mentions();
        let Seen { process, mut python, .. } = seen;
        let mut all = 0;
        for (at, name, loads, makes, returns) in &functions {
            python.codes.learn(process.memory(), Addr(*at)).unwrap();
            let code = python.codes.get(python.codes.last_at(Addr(*at)).unwrap()).unwrap();
            assert_eq!(code.name, *name);
            let row = mentions.read(process.memory(), Addr(*at), code).unwrap();
            let found: Vec<(i32, u64)> = row.loads.iter().map(|(offset, name)| (*offset, name.0)).collect();
            assert_eq!((&found, &row.makes, &row.returns), (loads, makes, returns), "{name}");
            all += found.len();
        }
        println!("{} functions, {all} instructions", functions.len());
        assert!(functions.len() > 100 && all > 1000);
    }
}

#[test]
fn a_call_is_named_where_it_stands_in_the_source_and_nowhere_else() {
    for python in pythons() {
        let mut target = start(python, MENTIONS);
        while target.line() != "rests" {}
        let mut seen = open(&target);
        let mut mentions = seen.mentions();
        let mut stack = Vec::new();
        wait_until("it rests", || {
            seen.python.look(seen.process.memory(), &seen.process.threads());
            stack = seen.python.frames(&seen.python.seen.threads[0]).collect();
            stack.len() == 8
        });
        let codes = &seen.python.codes;
        let name = |frame: &Frame| codes.get(frame.code).unwrap().name.clone();
        let mut named = BTreeSet::new();
        for pair in stack.windows(2) {
            let (callee, caller) = (pair[0], pair[1]);
            let mut names = |caller: Frame| mentions.names(seen.process.memory(), codes, caller, callee.code);
            if names(caller) {
                named.insert(format!("{} {}", name(&caller), name(&callee)));
            }
            // The loop over numbers makes nothing.
            if name(&caller) == "main" {
                assert!(!names(Frame { offset: 0, ..caller }), "{}", python.name);
            }
        }
        let rest =
            ["rest by_another_name", "main <genexpr>", "<genexpr> make", "__init__ rest", "<module> main"];
        let mut expected = BTreeSet::from(rest.map(str::to_owned));
        // Before 3.8 a call stands on the line of its last argument.
        if python.minor() < (3, 8) {
            expected.remove("rest by_another_name");
        }
        // A class has the name of its functions' qualified names, which there are from 3.11 on.
        if python.minor() >= (3, 11) {
            expected.insert("make __init__".to_owned());
        }
        assert_eq!(named, expected, "{}", python.name);
    }
}
