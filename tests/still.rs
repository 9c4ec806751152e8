//! With `--pause`, `heap` reads what was there at one moment, also of a process that changes as fast as it can.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Target, pitviper, python, pythons, start};

const CHURN: &str = include_str!("programs/replaced.py");
const AGES: &str = include_str!("programs/ages.py");
/// As many as the program says; a copy of it takes milliseconds, and a loaded machine adds to that.
const SLOTS: u64 = 20_000;
/// Blocks of 16 bytes, the smallest there are, in the largest pool, or in a page of mimalloc's.
fn most_blocks(python: &str) -> u64 {
    if python.ends_with('t') { 65536 / 16 } else { 16384 / 16 }
}
/// Pools that are caught in a change four times in a row: of the six sizes that the program replaces one at a time, it changes
/// one pool each, and a reader meets that once unless it goes on to the next as fast as the program.
const SUSPECT: u64 = 2 * 6;
const ENOUGH: &str = "20s";
/// How often a program is asked until two answers agree.
const PATIENCE: usize = 10;
/// Objects that the program makes while it counts: the list of all, and what it counts in.
const OWN: u64 = 2;

fn heap(what: &str, target: &Target) -> Value {
    let pid = target.pid().to_string();
    let output = pitviper(&["heap", what, "--json", "--pause", ENOUGH, "--pid", &pid]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("was held for"), "{said}");
    serde_json::from_slice(&output.stdout).expect("one object")
}

fn types(census: &Value) -> BTreeMap<&str, &Value> {
    census["types"].as_array().unwrap().iter().map(|of| (of["name"].as_str().unwrap(), of)).collect()
}

/// How many blocks too large for a pool the program has by its own word, if it has one.
fn large(target: &mut Target) -> Option<u64> {
    target.line().strip_prefix("large ")?.parse().ok()
}

#[test]
fn a_process_that_changes_all_the_time_is_counted_as_it_was_at_one_moment() {
    for python in pythons() {
        let mut target = start(python, CHURN);
        let large = large(&mut target);
        for _ in 0..2 {
            let census = heap("census", &target);
            let types = types(&census);
            // The one thread may be stopped while it takes a block or gives one back: that pool does not add up.
            let suspect = census["suspect_pools"].as_u64().unwrap();
            assert!(suspect <= 1, "{}: {suspect}", python.name);
            assert!(census["paused"].as_f64().unwrap() > 0.0, "{}", python.name);
            for name in ["__main__.Record", "__main__.Node"] {
                let count = types[name]["count"].as_u64().unwrap();
                assert!(
                    (SLOTS - suspect * most_blocks(&python.name)..=SLOTS + 1).contains(&count),
                    "{}: {name}: {count}",
                    python.name
                );
            }
        }
        let arenas = heap("arenas", &target);
        assert!(arenas["suspect_pools"].as_u64().unwrap() <= 1 && arenas["arenas_gone"] == 0, "{arenas}");
        // What it counts itself, at the same moment, is more by the large ones: these it does not touch any more.
        let all = arenas["allocated_blocks"].as_u64();
        if let (Some(large), Some(all)) = (large, all) {
            let suspect = arenas["suspect_pools"].as_u64().unwrap();
            // mimalloc tells no large ones from others: there it is all of them, and a few more that wait for their next use.
            let (small, more) = match python.name.ends_with('t') {
                true => (0, large / 100),
                false => (arenas["blocks"].as_u64().unwrap(), OWN),
            };
            let seen = all - small;
            assert!(
                (large.saturating_sub(OWN)..=large + more + suspect * most_blocks(&python.name))
                    .contains(&seen),
                "{}: {seen}, not {large}",
                python.name
            );
        } else {
            eprintln!("{}: skipped for large blocks, nothing says where they are counted", python.name);
        }
    }
}

#[test]
fn a_process_that_changes_meanwhile_has_no_types_that_it_does_not_have() {
    for name in ["2.7", "3.8", "3.11", "3.13", "3.13t", "3.15-debian"] {
        let Some(python) = python(name) else { continue };
        let target = start(python, CHURN);
        let moment = heap("census", &target);
        let there = types(&moment);
        for _ in 0..5 {
            let output = pitviper(&["heap", "census", "--json", "--pid", &target.pid().to_string()]);
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let census: Value = serde_json::from_slice(&output.stdout).unwrap();
            let pools = census["suspect_pools"].as_u64().unwrap();
            assert!(pools <= SUSPECT, "{name}: {pools} suspect pools");
            for (of, seen) in types(&census) {
                // What moves from one pool to another while it is read is met twice, or not at all; the rest stands still.
                let moves = ["__main__.Record", "__main__.Node", "dict", "float", "str", "int"].contains(&of);
                // A call in progress may need a frame, or a bound method, that was not there at the other moment.
                let there = there.get(of).map_or(0, |of| of["count"].as_u64().unwrap());
                let seen = seen["count"].as_u64().unwrap();
                let off = if moves { there } else { OWN };
                // What lies in a suspect pool is not counted, whatever it is.
                let (least, most) = (there.saturating_sub(off + pools * most_blocks(name)), there + off);
                assert!(
                    (least..=most).contains(&seen),
                    "{name}: {of}: {seen}, {there} at one moment, {pools} suspect pools"
                );
            }
        }
    }
}

/// How many objects of each type the program has in each generation.
fn answer(target: &mut Target) -> BTreeMap<(usize, String), u64> {
    target.tell("count");
    let mut said = BTreeMap::new();
    loop {
        match target.line().split_whitespace().collect::<Vec<_>>().as_slice() {
            ["age", generation, name, count] => {
                said.insert((generation.parse().unwrap(), (*name).to_owned()), count.parse().unwrap());
            }
            ["done"] => return said,
            other => panic!("{other:?}"),
        }
    }
}

/// A census between two answers that are the same.
fn at_rest(target: &mut Target) -> (BTreeMap<(usize, String), u64>, Value) {
    let mut before = answer(target);
    for _ in 0..PATIENCE {
        let census = heap("census", target);
        let after = answer(target);
        if after == before {
            return (after, census);
        }
        before = after;
    }
    panic!("the program does not come to rest: {before:?}");
}

#[test]
fn generations_are_those_of_the_collector() {
    for python in pythons() {
        if python.name.ends_with('t') {
            eprintln!("{}: skipped, its collector has no list of a generation", python.name);
            continue;
        }
        if python.minor() < (3, 8) {
            eprintln!("{}: skipped, its collector has no word on single generations", python.name);
            continue;
        }
        let mut target = start(python, AGES);
        let (said, census) = at_rest(&mut target);
        let types = types(&census);
        // To the program itself, what 3.15 imports lazily is already what it will be.
        let lazy = types.get("lazy_import").map_or(0, |of| of["count"].as_u64().unwrap());
        for generation in 0..3 {
            for (name, of) in &types {
                let seen = of["generations"][generation].as_u64().unwrap();
                let told = said.get(&(generation, (*name).to_owned())).copied().unwrap_or(0);
                let off = seen.abs_diff(told);
                assert!(off <= OWN + lazy, "{}: {generation}: {name}: {seen}, not {told}", python.name);
            }
        }
        for (generation, name, made) in [(0, "Young", 1000), (1, "Middle", 2000), (2, "Old", 3000)] {
            let seen = &types[format!("__main__.{name}").as_str()]["generations"][generation];
            assert_eq!(*seen, made, "{}: {name}", python.name);
        }
    }
}

#[test]
fn a_pause_that_would_be_too_long_is_given_up_and_the_process_goes_on() {
    let Some(python) = python("3.12") else { return };
    let (inside, outside) = python.place(CHURN);
    let mut command = Command::new(&python.command[0]);
    command.args(&python.command[1..]).arg(inside).args(["1000", "256"]);
    let mut target = Target::spawn(command);
    std::fs::remove_file(outside).unwrap();
    assert!(large(&mut target).is_some());
    let pid = target.pid().to_string();
    // 256 MiB: no memory is read at 16 GB/s from another process, but that is what would be tried.
    for (budget, said) in [("1ms", "cannot be copied in the time"), ("18ms", "and it goes on")] {
        let output = pitviper(&["heap", "census", "--pause", budget, "--pid", &pid]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(said) || error.contains("did not stop in time"), "{budget}: {error}");
        assert!(error.contains("hint: "), "{error}");
        kill(Pid::from_raw(target.pid()), Signal::SIGUSR1).unwrap();
        assert_eq!(target.line(), "alive");
    }
}
