//! Recorded memory of parked programs, and what is to be seen in it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, reason = "each test uses its part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pitviper::layout::{Arch, Catalogue, Chosen, Fingerprint, Version, Why};
use pitviper::memory::{Addr, Memory, Tape};
use pitviper::python::Python;
use pitviper::target::{Located, Module, Root, Thread};
use serde::{Deserialize, Serialize};

/// What stands beside a tape: where to start, and what must be found.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct Label {
    pub layout: String,
    /// What the target told of itself: section, key, value.
    pub told: Vec<(String, String, i64)>,
    pub runtime: Option<u64>,
    pub interp_head: Option<u64>,
    pub symbols: BTreeMap<String, u64>,
    /// Ids as we see them and as the target does.
    pub tasks: Vec<(i32, i32)>,
    pub threads: Vec<ThreadLabel>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct ThreadLabel {
    pub name: Option<String>,
    pub thread: u64,
    pub native: Option<i32>,
    pub main: bool,
    pub holds_gil: Option<bool>,
    /// `name (file:line:column)`, innermost first.
    pub frames: Vec<String>,
}

impl Label {
    pub fn new(located: &Located, tasks: &[Thread], threads: Vec<ThreadLabel>) -> Label {
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

    pub fn located(&self, catalogue: &Catalogue) -> Located {
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

    pub fn tasks(&self) -> Vec<Thread> {
        self.tasks
            .iter()
            .map(|(tid, ns_tid)| Thread { tid: *tid, ns_tid: *ns_tid, comm: "".into() })
            .collect()
    }
}

/// All that a first look sees.
pub fn look(located: &Located, memory: &dyn Memory, tasks: &[Thread]) -> Vec<ThreadLabel> {
    let mut python = Python::open(located).expect("its layout has all");
    python.look(memory, tasks);
    seen(&python)
}

/// All that the last look saw.
pub fn seen(python: &Python) -> Vec<ThreadLabel> {
    let threads = python.seen.threads.iter().map(|thread| ThreadLabel {
        name: thread.name.as_deref().map(str::to_owned),
        thread: thread.thread,
        native: thread.native,
        main: thread.main,
        holds_gil: thread.holds_gil,
        frames: python
            .frames(thread)
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

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tapes")
}

/// All tapes of the repository, with their names.
pub fn tapes() -> Vec<(String, Label, Tape)> {
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

/// A tape with whole pages, as a process has: what nobody read when it was recorded is zero.
pub fn pages(tape: &Tape) -> Tape {
    const PAGE: u64 = 4096;
    let mut whole = Tape::default();
    for (addr, bytes) in tape.pieces() {
        let start = addr.0 / PAGE * PAGE;
        let end = (addr.0 + bytes.len() as u64).next_multiple_of(PAGE);
        whole.put(Addr(start), &vec![0; (end - start) as usize]);
    }
    tape.pieces().for_each(|(addr, bytes)| whole.put(addr, bytes));
    whole
}
