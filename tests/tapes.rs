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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pitviper::layout::{Arch, Catalogue, Chosen, Fingerprint, Version, Why};
use pitviper::memory::{Addr, Memory, Recorder, Tape};
use pitviper::python::{Look, Python};
use pitviper::target::locate::locate;
use pitviper::target::{Located, Module, Proc, Process, Root, Thread};
use serde::{Deserialize, Serialize};
use support::{pythons, start};

/// The cases of the parked program that are put on tape: few, for the sake of the repository's size.
const CASES: &str = "ONLY = ['methods', 'generators', 'comprehensions', 'two-byte name', 'four-byte file', 'far back', 'await']";
/// What is read is put on tape in blocks of this size, so that a reader which needs a little more one day still finds it.
const BLOCK: u64 = 256;
/// How often a program is looked at until it rests.
const PATIENCE: usize = 200;

/// What stands beside a tape: where to start, and what must be found.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Label {
    layout: String,
    /// What the target told of itself: section, key, value.
    told: Vec<(String, String, i64)>,
    runtime: Option<u64>,
    interp_head: Option<u64>,
    symbols: BTreeMap<String, u64>,
    /// Ids as we see them and as the target does.
    tasks: Vec<(i32, i32)>,
    threads: Vec<ThreadLabel>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct ThreadLabel {
    name: Option<String>,
    thread: u64,
    native: Option<i32>,
    main: bool,
    holds_gil: Option<bool>,
    /// `name (file:line:column)`, innermost first.
    frames: Vec<String>,
}

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

impl Label {
    fn new(located: &Located, tasks: &[Thread], threads: Vec<ThreadLabel>) -> Label {
        let told = located.chosen.told.iter();
        let symbols = located.module.symbols.iter();
        let (runtime, interp_head) = match located.root {
            Root::Runtime(at) => (Some(at.0), None),
            Root::InterpHead(at) => (None, Some(at.0)),
        };
        Label {
            layout: located.chosen.layout.name.clone(),
            told: told.map(|told| (told.section.clone(), told.key.clone(), told.target)).collect(),
            runtime,
            interp_head,
            symbols: symbols.map(|(name, at)| (name.clone(), at.0)).collect(),
            tasks: tasks.iter().map(|task| (task.tid, task.ns_tid)).collect(),
            threads,
        }
    }

    fn located(&self, catalogue: &Catalogue) -> Located {
        let entry =
            catalogue.named(&self.layout).unwrap_or_else(|| panic!("there is no layout {}", self.layout));
        let mut layout = entry.layout.clone();
        for (section, key, value) in &self.told {
            layout.set(section, key, *value);
        }
        let root = match (self.runtime, self.interp_head) {
            (Some(at), _) => Root::Runtime(Addr(at)),
            (None, at) => Root::InterpHead(Addr(at.expect("a root"))),
        };
        let symbols = self.symbols.iter().map(|(name, at)| (name.clone(), Addr(*at))).collect();
        Located {
            module: Module { path: PathBuf::new(), bias: 0, symbols },
            fingerprint: Fingerprint {
                version: Version::release(entry.meta.python.0, entry.meta.python.1, 0),
                arch: Arch::X86_64,
                free_threaded: false,
                debug: false,
                build_id: None,
                symbol_sizes: BTreeMap::new(),
                debug_offsets: None,
            },
            chosen: Chosen { layout, why: Why::SameBuild, computed: None, told: Vec::new(), rejected: None },
            root,
            found_by: String::new(),
        }
    }

    fn tasks(&self) -> Vec<Thread> {
        self.tasks
            .iter()
            .map(|(tid, ns_tid)| Thread { tid: *tid, ns_tid: *ns_tid, comm: "".into() })
            .collect()
    }
}

/// All that a first look sees.
fn look(located: &Located, memory: &dyn Memory, tasks: &[Thread]) -> Vec<ThreadLabel> {
    let mut python = Python::open(located).expect("its layout has all");
    let mut look = Look::default();
    python.look(memory, tasks, &mut look);
    let threads = look.threads.iter().map(|thread| ThreadLabel {
        name: thread.name.as_deref().map(str::to_owned),
        thread: thread.thread,
        native: thread.native,
        main: thread.main,
        holds_gil: thread.holds_gil,
        frames: look
            .frames(thread)
            .iter()
            .map(|frame| {
                let code = python.codes.get(frame.code).expect("a code of this look");
                let at = code.position(frame.offset);
                let name = code.qualname.as_ref().unwrap_or(&code.name);
                let line = at.line.map_or("-".into(), |line| line.to_string());
                let column = at.column.map_or("-".into(), |column| column.to_string());
                format!("{name} ({}:{line}:{column})", code.filename)
            })
            .collect(),
    });
    threads.collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tapes")
}

/// All tapes of the repository, with their names.
fn tapes() -> Vec<(String, Label, Tape)> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(directory())
        .expect("there are tapes")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    let read = |path: PathBuf| {
        let label = std::fs::read_to_string(&path).expect("a label");
        let tape = std::fs::read(path.with_extension("tape")).expect("a tape");
        let tape = zstd::decode_all(tape.as_slice()).expect("it unpacks");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&label).expect("a label"), Tape::from_bytes(&tape).expect("a tape"))
    };
    names.into_iter().map(read).collect()
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
        assert_eq!(look(&label.located(&catalogue), &tape, &label.tasks()), label.threads, "{name}");
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
