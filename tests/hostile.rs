//! Whatever a target's memory holds, a look ends, within its bounds and without harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use pitviper::layout::catalogue::Entry;
use pitviper::layout::{Arch, Catalogue, Chosen, Fingerprint, Layout, Version, Why};
use pitviper::memory::{Addr, Fault, Memory};
use pitviper::model::Torn;
use pitviper::python::frame::MAX_FRAMES;
use pitviper::python::{Python, check};
use pitviper::target::{Located, Module, Root, Thread};

/// Where the made-up memory is.
const BASE: u64 = 0x7f00_0000_0000;

/// Memory whose every aligned word is made up from its address; `None` cannot be read.
struct Wild<F: Fn(u64) -> Option<u64>>(F);

impl<F: Fn(u64) -> Option<u64>> Memory for Wild<F> {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { addr, len: buf.len() };
        let mut at = addr.0;
        let mut rest = buf;
        while !rest.is_empty() {
            let within = (at & 7) as usize;
            let word = (self.0)(at - within as u64).ok_or(fault)?.to_le_bytes();
            let (piece, behind) = rest.split_at_mut(rest.len().min(8 - within));
            piece.copy_from_slice(&word[within..within + piece.len()]);
            at = at.checked_add(piece.len() as u64).ok_or(fault)?;
            rest = behind;
        }
        Ok(())
    }
}

fn located(entry: &Entry) -> Located {
    let (major, minor) = entry.meta.python;
    let root = match entry.layout.fact::<String>("root.kind").as_deref() {
        Ok("static") => Root::InterpHead(Addr(BASE)),
        _ => Root::Runtime(Addr(BASE)),
    };
    let symbols = ["_PyThreadState_Current", "generations", "_PyGC_generation0"];
    Located {
        module: Module {
            path: PathBuf::from("/python"),
            bias: 0,
            symbols: symbols.iter().map(|name| ((*name).to_owned(), Addr(BASE + 64))).collect(),
        },
        fingerprint: Fingerprint {
            version: Version::release(major, minor, 0),
            arch: Arch::X86_64,
            free_threaded: false,
            debug: false,
            build_id: None,
            symbol_sizes: BTreeMap::new(),
            debug_offsets: None,
        },
        chosen: Chosen {
            layout: entry.layout.clone(),
            why: Why::SameBuild,
            computed: None,
            told: Vec::new(),
            rejected: None,
        },
        root,
        found_by: String::new(),
    }
}

fn tasks() -> Vec<Thread> {
    vec![Thread { tid: 1, ns_tid: 1, comm: "python".into() }]
}

/// Looks twice, and checks, with the layout of every version; those of builds that differ in offsets alone are left out.
fn look_with_all(word: impl Fn(u64) -> Option<u64>) {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    let memory = Wild(word);
    for entry in catalogue.entries().filter(|entry| !entry.layout.name.contains(['-', 'd'])) {
        let located = located(entry);
        let mut python = Python::open(&located).expect("its layout has all");
        for _ in 0..2 {
            python.look(&memory, &tasks());
            for thread in &python.seen.threads {
                for frame in python.frames(thread) {
                    python.codes.get(frame.code).expect("a code of this look").position(frame.offset);
                }
            }
        }
        let checks = check::run(&located, &memory, &tasks());
        assert!(!check::passed(&checks), "{}: {checks:?}", entry.layout.name);
    }
}

fn noise(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[test]
fn a_look_ends_where_nothing_can_be_read() {
    look_with_all(|_| None);
}

#[test]
fn a_look_ends_where_all_words_are_equal() {
    for word in [0, 1, u64::MAX, u64::MAX - 7, i64::MAX as u64, BASE, BASE | 1, 0x0101_0101_0101_0101] {
        look_with_all(|_| Some(word));
    }
}

#[test]
fn a_look_ends_where_every_word_points_to_itself_or_on_and_on() {
    look_with_all(Some);
    look_with_all(|at| Some(at + 64));
    look_with_all(|at| Some(at.wrapping_sub(4096)));
}

#[test]
fn a_look_ends_in_noise() {
    for seed in 0..2 {
        look_with_all(|at| Some(noise(at ^ (seed << 56))));
    }
}

#[test]
fn a_look_ends_where_words_point_anywhere_in_a_small_room() {
    const ROOM: u64 = 1 << 20;
    for seed in 0..6 {
        look_with_all(|at| {
            let word = noise(at ^ (seed << 56));
            let inside = (BASE..BASE + ROOM).contains(&at);
            let small = if word & 3 == 0 { word >> 60 } else { BASE + (word >> 20) % (ROOM / 8) * 8 };
            inside.then_some(small)
        });
    }
}

/// The offset of a key, in a layout that has it.
fn key(layout: &Layout, section: &str, key: &str) -> u64 {
    layout.key(section, key).unwrap_or_else(|| panic!("{} has no {section}.{key}", layout.name)) as u64
}

#[test]
fn threads_without_end_and_frames_without_end_are_cut() {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    for name in ["3.8", "3.13"] {
        let entry = catalogue.named(name).expect("the layout is there");
        let layout = &entry.layout;
        let (head, interp_head) =
            (key(layout, "runtime", "interpreters_head"), key(layout, "interp", "threads_head"));
        let (next, interp) = (key(layout, "thread", "next"), key(layout, "thread", "interp"));
        let top =
            layout.key("thread", "current_frame").or_else(|| layout.key("thread", "frame")).expect("one")
                as u64;
        let objects = layout.fact::<String>("frame.style").expect("a style") == "object";
        let (back, code) = match objects {
            true => (key(layout, "frame", "back"), key(layout, "frame", "code")),
            false => (key(layout, "iframe", "previous"), key(layout, "iframe", "code")),
        };
        const INTERP: u64 = BASE + (1 << 20);
        const THREADS: u64 = BASE + (1 << 32);
        const FRAMES: u64 = BASE + (1 << 40);
        const CODE: u64 = BASE + (2 << 20);
        const STEP: u64 = 1 << 10;
        let memory = Wild(move |at| {
            Some(match at {
                at if at == BASE + head => INTERP,
                at if at == INTERP + interp_head => THREADS,
                // The first thread has frames, and all have a next one.
                at if at == THREADS + top => FRAMES,
                THREADS..FRAMES if at % STEP == next => at - next + STEP,
                THREADS..FRAMES if at % STEP == interp => INTERP,
                FRAMES.. if at % STEP == back => at - back + STEP,
                FRAMES.. if at % STEP == code => CODE,
                FRAMES.. => 1,
                _ => 0,
            })
        });
        let mut python = Python::open(&located(entry)).expect("its layout has all");
        python.look(&memory, &tasks());
        let look = &python.seen;
        assert_eq!(look.missing, Some(Torn::TooDeep), "{name}");
        assert_eq!(look.threads.len(), 1 << 16, "{name}");
        let first =
            look.threads.iter().find(|thread| thread.state == Addr(THREADS)).expect("the first thread");
        // Its frames are no functions.
        assert!(
            first.quality.is_partial() && python.frames(first).count() <= MAX_FRAMES,
            "{name}: {first:?}"
        );
    }
}
