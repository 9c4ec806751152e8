//! Looks at recorded memory: every version's walk, without a Python.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]
//!
//! `PITVIPER_RECORD_TAPES=1 cargo test --test tapes` records `tests/tapes` anew from the Pythons that are found.

mod support;
mod taped;

use pitviper::layout::Catalogue;
use pitviper::memory::{Addr, Memory, Recorder, Tape};
use pitviper::target::locate::locate;
use pitviper::target::{Proc, Process};
use support::{pythons, start};
use taped::{Label, directory, look, pages, tapes};

/// The cases of the parked program that are put on tape: few, for the sake of the repository's size.
const CASES: &str = "ONLY = ['methods', 'generators', 'comprehensions', 'two-byte name', 'four-byte file', 'far back', 'await']";
/// What is read is put on tape in blocks of this size, so that a reader which needs a little more one day still finds it.
const BLOCK: u64 = 256;
/// How often a program is looked at until it rests.
const PATIENCE: usize = 200;

/// Puts the blocks around all that a tape holds on it as well.
fn widen(memory: &dyn Memory, tape: Tape) -> Tape {
    let mut wide = tape.clone();
    for (addr, bytes) in tape.pieces() {
        let start = addr.0 / BLOCK * BLOCK;
        let end = (addr.0 + bytes.len() as u64).next_multiple_of(BLOCK);
        if let Ok(block) = memory.bytes(Addr(start), (end - start) as usize) {
            wide.put(Addr(start), &block);
        }
    }
    // What was read is the truth; around it, the target ran on.
    for (addr, bytes) in tape.pieces() {
        wide.put(addr, bytes);
    }
    wide
}

#[test]
fn a_recorded_look_replays_as_it_was() {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    for python in pythons() {
        let program = include_str!("programs/parked.py").replace("ONLY = None", CASES);
        let mut target = start(python, &program);
        // Whoever answers has started all others; they are parked when nothing of them changes any more.
        let process = Process::open(&Proc::default(), target.pid()).expect("it lives");
        let located = locate(&process, &catalogue).expect("it is found");
        let mut before = String::new();
        let mut rest = None;
        for _ in 0..PATIENCE {
            let recorder = Recorder::new(process.memory());
            let tasks = process.threads();
            let threads = look(&located, &recorder, &tasks);
            let tape = widen(process.memory(), recorder.into_tape());
            target.tell("");
            let after = target.line();
            if before == after {
                rest = Some((Label::new(&located, &tasks, threads), tape));
                break;
            }
            before = after;
        }
        let (label, tape) = rest.expect("the program comes to rest");
        assert!(label.threads.len() >= 6, "{}: {:?}", python.name, label.threads);
        assert_eq!(look(&label.located(&catalogue), &tape, &label.tasks()), label.threads, "{}", python.name);
        if std::env::var_os("PITVIPER_RECORD_TAPES").is_some() {
            let file = |extension| directory().join(format!("{}.{extension}", python.name));
            let packed = zstd::encode_all(tape.to_bytes().as_slice(), 19).expect("it packs");
            std::fs::create_dir_all(directory()).expect("a directory");
            std::fs::write(file("tape"), packed).expect("written");
            let text = serde_json::to_string_pretty(&label).expect("a label");
            std::fs::write(file("json"), text + "\n").expect("written");
        }
    }
}

#[test]
fn every_tape_replays_without_a_python() {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    let tapes = tapes();
    assert!(tapes.len() >= 11, "a tape for every version");
    for (name, label, tape) in tapes {
        // What is read beyond the frames themselves, up to the end of their page, has changed since some were recorded.
        let threads = look(&label.located(&catalogue), &pages(&tape), &label.tasks());
        assert_eq!(threads, label.threads, "{name}");
    }
}

#[test]
fn a_spoilt_tape_harms_nothing() {
    const SPOILS: u64 = 12;
    let catalogue = Catalogue::load(None).expect("the layouts read");
    for (name, label, tape) in tapes() {
        let located = label.located(&catalogue);
        let mut other = 0;
        for seed in 0..SPOILS {
            let mut spoilt = tape.clone();
            let mut at = seed;
            for (addr, bytes) in tape.pieces() {
                // Some byte of every fourth piece: pointers, lengths and kinds among them.
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if at >> 33 & 3 == 0 {
                    spoilt.put(addr.plus((at >> 35) % bytes.len() as u64), &[(at >> 24) as u8]);
                }
            }
            other += usize::from(look(&located, &spoilt, &label.tasks()) != label.threads);
        }
        assert!(other > 0, "{name}: nothing was spoilt");
    }
}
