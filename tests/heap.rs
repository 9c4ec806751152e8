//! `heap` puts every resident byte of a process into one row, as the kernel counts them, and says what is hooked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use pitviper::target::maps::Maps;
use serde_json::Value;
use support::{Python, Target, pitviper, python, pythons, start, wait_until};

const ROOMS: &str = include_str!("programs/rooms.py");
const MIB: u64 = 1 << 20;

fn heap(target: &Target) -> Value {
    let output = pitviper(&["heap", "--json", "--pid", &target.pid().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

/// Starts a program with something in its environment.
fn start_with(python: &Python, program: &str, name: &str, value: &str) -> Target {
    let (inside, outside) = python.place(program);
    let mut command = Command::new(&python.command[0]);
    command.args(&python.command[1..]).arg(inside).env(name, value);
    let target = Target::spawn(command);
    std::fs::remove_file(outside).unwrap();
    target
}

/// What the kernel says of a process, in bytes.
fn status(target: &Target, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

/// The bytes of a row, each of which adds up to the one that it is a part of.
#[track_caller]
fn sound(row: &Value) -> u64 {
    let bytes = row["bytes"].as_u64().unwrap_or_else(|| panic!("a row below nothing: {row}"));
    let parts = row["parts"].as_array().unwrap();
    if !parts.is_empty() {
        assert_eq!(parts.iter().map(sound).sum::<u64>(), bytes, "{row}");
    }
    bytes
}

/// The row with this name, as deep as it may be.
fn find<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    if row["what"].as_str().unwrap().starts_with(name) {
        return Some(row);
    }
    row["parts"].as_array().unwrap().iter().find_map(|part| find(part, name))
}

fn bytes(row: &Value, name: &str) -> u64 {
    find(row, name).map_or(0, |row| row["bytes"].as_u64().unwrap())
}

#[test]
fn every_resident_byte_has_a_row_and_the_rows_are_what_the_kernel_counts() {
    for python in pythons() {
        let target = start(python, ROOMS);
        let seen = heap(&target);
        let ladder = &seen["ladder"];
        let (name, all) = (&python.name, sound(ladder));
        for (row, field) in [
            ("resident", "VmRSS"),
            ("anonymous", "RssAnon"),
            ("files", "RssFile"),
            ("shared memory", "RssShmem"),
        ] {
            let off = bytes(ladder, row).abs_diff(status(&target, field));
            assert!(off <= all / 100, "{name}: {row} is off by {off} of {all}: {ladder}");
        }
        // What the program made itself; others map and write a little too.
        for (row, made) in [
            ("shared memory", 8 * MIB),
            ("other files", 6 * MIB),
            ("variables", 64 << 10),
            ("stacks", 16 << 10),
            ("programs", MIB),
        ] {
            assert!(bytes(ladder, row) >= made, "{name}: {row}: {ladder}");
        }
        // 1000 strings of bytes, of 10,000 bytes each, lie outside of arenas, unless these have blocks of every size.
        let outside = find(ladder, "objects and buffers outside of arenas").unwrap();
        let large = if name.ends_with('t') { find(ladder, "blocks in use").unwrap() } else { outside };
        let large = bytes(large, if python.minor().0 == 2 { "str" } else { "bytes" });
        assert!((10 * 1_000_000..11 * MIB).contains(&large), "{name}: {large}: {ladder}");
        // Of 24 MiB that it has mapped, 12 were written.
        let mapped = bytes(outside, "mmap.mmap");
        assert!((12 * MIB..=12 * MIB + 8192).contains(&mapped), "{name}: {mapped}: {ladder}");
        assert!(bytes(ladder, "mapped by other means") < 2 * MIB, "{name}: {ladder}");
        let entries = bytes(find(ladder, "blocks in use").unwrap(), "__main__.Entry");
        assert!(entries >= 50_000 * 48, "{name}: {ladder}");
        // 20,000 strings of 46 to 94 bytes were freed among as many that were not.
        assert!(bytes(ladder, "free blocks") >= 20_000 * 46, "{name}: {ladder}");
        let types = seen["types"].as_array().unwrap();
        let entry = types.iter().find(|of| of["name"] == "__main__.Entry").unwrap();
        assert_eq!(entry["count"], 50_000, "{name}");
        let verdict = seen["verdict"].as_str().unwrap();
        assert!(verdict.contains("resident; ") && verdict.contains("is Python objects, led by"), "{verdict}");
        // A debug build has the debugging allocator on, and no other has anything.
        let hooks = usize::from(name.ends_with('d'));
        assert_eq!(seen["hooks"].as_array().map(Vec::len), Some(hooks), "{name}: {seen}");
    }
}

/// The pages of a process that lie in memory, of the kind that reading alone brings in: no file stands behind them. What lies
/// right behind a file are variables of the interpreter's, which are read by their names, written or not.
fn present(target: &Target) -> Vec<u64> {
    let maps = std::fs::read(format!("/proc/{}/maps", target.pid())).unwrap();
    let pages = File::open(format!("/proc/{}/pagemap", target.pid())).unwrap();
    let mut present = Vec::new();
    let mut behind = 0;
    for mapping in Maps::parse(&maps).iter().filter(|m| m.write && !m.special()) {
        let variables = std::mem::replace(&mut behind, if mapping.file() { mapping.end } else { 0 });
        if mapping.file() || mapping.start == variables {
            continue;
        }
        let first = mapping.start / 4096;
        let mut entries = vec![0; (mapping.size() / 4096 * 8) as usize];
        pages.read_exact_at(&mut entries, first * 8).unwrap();
        let there = (first..).zip(entries.as_chunks::<8>().0);
        present.extend(there.filter(|(_, entry)| entry[7] >> 7 == 1).map(|(page, _)| page));
    }
    present
}

/// Whether all threads of a process sleep in a system call: it writes to no page meanwhile.
fn waits(target: &Target) -> bool {
    let mut tasks = std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
    tasks.all(|task| {
        let call = std::fs::read_to_string(task.unwrap().path().join("syscall"));
        call.is_ok_and(|call| call.starts_with(|first: char| first.is_ascii_digit()))
    })
}

#[test]
fn looking_at_a_heap_brings_in_no_page_that_was_never_written() {
    for python in pythons() {
        let target = start(python, ROOMS);
        // Twice: a thread that waits for another one to let go of the GIL does not wait for good, but the other one runs.
        wait_until("all threads wait", || (0..2).all(|_| waits(&target)));
        let before = present(&target);
        heap(&target);
        let more: Vec<u64> =
            present(&target).into_iter().filter(|page| before.binary_search(page).is_err()).collect();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
        assert_eq!(more, [] as [u64; 0], "{}: pages of 4096 bytes of\n{maps}", python.name);
    }
}

#[test]
fn what_is_hooked_into_the_allocator_is_said() {
    for python in pythons() {
        if python.minor().0 == 2 {
            eprintln!("{}: skipped, it has neither PYTHONMALLOC nor tracemalloc", python.name);
            continue;
        }
        let hooks = |target: &Target| heap(target)["hooks"].to_string();
        let debug = start_with(python, ROOMS, "PYTHONMALLOC", "debug");
        let said = hooks(&debug);
        assert!(said.contains("debugging allocator"), "{}: {said}", python.name);
        if python.minor() < (3, 8) {
            eprintln!("{}: skipped for tracemalloc, it does not export whether that runs", python.name);
        } else {
            let own = if python.name.ends_with('t') { "mimalloc" } else { "pymalloc" };
            let mut tracing = start_with(python, ROOMS, "PYTHONMALLOC", own);
            assert!(!hooks(&tracing).contains("tracemalloc"), "{}", python.name);
            tracing.tell("trace");
            assert_eq!(tracing.line(), "done");
            let said = hooks(&tracing);
            assert!(said.contains("tracemalloc runs, 5 frames deep"), "{}: {said}", python.name);
        }
    }
}

#[test]
fn the_ladder_is_printed_for_people_too() {
    let Some(python) = python("3.12") else { return };
    let target = start(python, ROOMS);
    let output = pitviper(&["heap", "--top", "3", "--pid", &target.pid().to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    for row in [
        "resident; ",
        "  100.0%  resident\n",
        "blocks in use\n",
        "__main__.Entry\n",
        "more types; `heap census`",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
}
