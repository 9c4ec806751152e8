//! `heap arenas` says what `sys._debugmallocstats()` says, without asking the target.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a skip is printed")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use support::{PARK, Python, Target, pitviper, python, pythons, start};

const BLOCKS: &str = include_str!("programs/blocks.py");
const OWNERS: &str = include_str!("programs/owners.py");
const PINS: &str = include_str!("programs/pins.py");
/// How often a program is asked until two answers agree.
const PATIENCE: usize = 10;
/// How far a number of blocks may be off: between its answer and its next wait the program itself makes and frees a few
/// objects, such as the bytes that it reads.
const OWN: u64 = 4;

/// What a program says of its allocator.
#[derive(Debug, Default, Clone, PartialEq)]
struct Truth {
    /// Pools, blocks in use and free blocks of each size.
    classes: BTreeMap<u64, (u64, u64, u64)>,
    /// The other numbers, by their names.
    numbers: BTreeMap<String, u64>,
    blocks: Option<u64>,
    size: Option<u64>,
}

/// Asks the program and reads what it answers (`_PyObject_DebugMallocStats`, Objects/obmalloc.c).
fn ask(target: &mut Target, question: &str) -> Truth {
    target.tell(question);
    let mut truth = Truth::default();
    loop {
        let line = target.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers: Vec<u64> = words.iter().filter_map(|word| word.replace(',', "").parse().ok()).collect();
        match (words.as_slice(), numbers.as_slice()) {
            (["done"], _) => return truth,
            (["blocks", _], [blocks]) => truth.blocks = Some(*blocks),
            (["size", _], [size]) => truth.size = Some(*size),
            ([_, _, _, _, _], [_, size, pools, used, free]) => {
                truth.classes.insert(*size, (*pools, *used, *free));
            }
            _ => {
                // The debugging allocator counts each call.
                if let Some((name, value)) = line.split_once('=').filter(|_| !line.contains("malloc called"))
                {
                    let value = value.trim().replace(',', "").parse();
                    truth.numbers.extend(value.ok().map(|value| (name.trim().to_owned(), value)));
                }
            }
        }
    }
}

fn arenas(pid: i32) -> Value {
    let output = pitviper(&["heap", "arenas", "--json", "--pid", &pid.to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Pools, blocks in use and free blocks of each size.
fn classes(seen: &Value) -> BTreeMap<u64, (u64, u64, u64)> {
    let classes = seen["size_classes"].as_array().unwrap().iter();
    classes
        .map(|c| (number(&c["size"]), (number(&c["pools"]), number(&c["used"]), number(&c["free"]))))
        .collect()
}

#[track_caller]
fn close(name: &str, what: &str, seen: u64, truth: u64) {
    assert!(seen.abs_diff(truth) <= OWN, "{name}: {what}: {seen}, not {truth}");
}

/// Looks at a program that says the same before and after.
fn look_at_rest(target: &mut Target) -> (Truth, Value) {
    let mut before = ask(target, "stats");
    for _ in 0..PATIENCE {
        let seen = arenas(target.pid());
        let after = ask(target, "stats");
        if after == before {
            return (after, seen);
        }
        before = after;
    }
    panic!("the program does not come to rest: {before:?}");
}

#[track_caller]
fn check(name: &str, target: &mut Target) {
    let (truth, seen) = look_at_rest(target);
    let said = |name: &str| truth.numbers.get(name).copied();
    assert_eq!(seen["suspect_pools"], 0, "{name}");
    assert_eq!(seen["arenas_gone"], 0, "{name}");
    if truth.numbers.contains_key("Medium block threshold") {
        return check_pages(name, &truth, &seen);
    }
    if truth.classes.is_empty() {
        // So does 3.6 under these hooks: it then keeps nothing in pymalloc at all.
        assert_eq!((&seen["arenas"], truth.blocks), (&Value::from(0), Some(0)), "{name}: {seen}");
        return println!("{name}: skipped, it uses no pymalloc");
    }
    assert_eq!(Some(number(&seen["arenas"])), said("# arenas allocated current"), "{name}: {truth:?}");
    let [mut pools, mut blocks] = [0, 0];
    let found = classes(&seen);
    assert!(found.len() > 20, "{name}: {found:?}");
    assert_eq!(found.keys().collect::<Vec<_>>(), truth.classes.keys().collect::<Vec<_>>(), "{name}");
    for (size, (seen, truth)) in found.iter().map(|(size, seen)| (size, (seen, truth.classes[size]))) {
        assert_eq!(seen.0, truth.0, "{name}: pools of {size}");
        close(name, &format!("blocks of {size}"), seen.1, truth.1);
        close(name, &format!("free blocks of {size}"), seen.2, truth.2);
        pools += truth.0;
        blocks += truth.1;
    }
    assert_eq!(number(&seen["pools"]), pools, "{name}");
    close(name, "blocks", number(&seen["blocks"]), blocks);
    // No symbol of a stripped build says where it counts.
    for (mine, theirs) in
        [("highwater", "# arenas highwater mark"), ("arenas_ever", "# arenas allocated total")]
    {
        if let Some(mine) = seen[mine].as_u64() {
            assert_eq!(Some(mine), said(theirs), "{name}");
        }
    }
    match seen["allocated_blocks"].as_u64() {
        Some(all) => close(name, "all blocks", all, truth.blocks.unwrap()),
        None => println!("{name}: nothing says where its large blocks are counted"),
    }
    let bytes = &seen["bytes"];
    for (mine, theirs) in [
        ("used", "# bytes in allocated blocks"),
        ("free", "# bytes in available blocks"),
        ("headers", "# bytes lost to pool headers"),
        ("quantization", "# bytes lost to quantization"),
        ("alignment", "# bytes lost to arena alignment"),
    ] {
        let off = number(&bytes[mine]).abs_diff(said(theirs).unwrap());
        assert!(off <= OWN * 512, "{name}: {mine}: off by {off} from {truth:?}");
    }
    let all = number(&bytes["arenas"]);
    let parts = bytes.as_object().unwrap().iter().filter(|(name, _)| *name != "arenas");
    assert_eq!(parts.map(|(_, part)| number(part)).sum::<u64>(), all, "{name}: {bytes}");
    assert!(number(&bytes["unused_pools"]) > 0 && number(&seen["emptied_pools"]) > 0, "{name}: {bytes}");
    let cells: usize =
        seen["map"].as_array().unwrap().iter().map(|a| a["pools"].as_array().unwrap().len()).sum();
    assert_eq!(cells as u64, pools + number(&seen["unused_pools"]), "{name}");
}

/// Those that say what their allocator counts, and take `PYTHONMALLOC`.
fn telling() -> impl Iterator<Item = &'static Python> {
    pythons().iter().filter(|python| {
        let tells = python.minor().0 > 2;
        if !tells {
            println!("{}: skipped, it has no word on its allocator", python.name);
        }
        tells
    })
}

/// mimalloc says of all heaps together how many blocks are in use, and no more.
#[track_caller]
fn check_pages(name: &str, truth: &Truth, seen: &Value) {
    close(name, "all blocks", number(&seen["allocated_blocks"]), truth.blocks.unwrap());
    let found = classes(seen);
    assert!(found.len() > 20, "{name}: {found:?}");
    assert_eq!(found.values().map(|class| class.1).sum::<u64>(), number(&seen["blocks"]), "{name}");
    let bytes = &seen["bytes"];
    let used: u64 = found.iter().map(|(size, (_, used, _))| size * used).sum();
    let free: u64 = found.iter().map(|(size, (.., free))| size * free).sum();
    assert_eq!((used, free), (number(&bytes["used"]), number(&bytes["free"])), "{name}");
    let parts = bytes.as_object().unwrap().iter().filter(|(name, _)| *name != "arenas");
    assert_eq!(parts.map(|(_, part)| number(part)).sum::<u64>(), number(&bytes["arenas"]), "{name}: {bytes}");
    let arenas = seen["map"].as_array().unwrap();
    assert_eq!(arenas.len() as u64, number(&seen["arenas"]), "{name}");
    for arena in arenas {
        // A segment's own first slice has the headers of its pages.
        let slices = arena["pools"].as_array().unwrap().len() as u64 + 1;
        assert_eq!(slices * (64 << 10), number(&arena["size"]), "{name}");
    }
}

#[test]
fn arenas_pools_and_blocks_are_what_the_target_says_of_itself() {
    for python in telling() {
        check(&python.name, &mut start(python, BLOCKS));
    }
}

#[test]
fn the_debugging_allocator_changes_nothing_of_it() {
    for python in telling() {
        let (inside, outside) = python.place(BLOCKS);
        let mut command = Command::new(&python.command[0]);
        command.args(&python.command[1..]).arg(inside).env("PYTHONMALLOC", "debug");
        check(&format!("{} with debug hooks", python.name), &mut Target::spawn(command));
        std::fs::remove_file(outside).unwrap();
    }
}

#[test]
fn ten_thousand_objects_more_are_ten_thousand_blocks_more() {
    for python in pythons() {
        let mut target = start(python, BLOCKS);
        let before = classes(&arenas(target.pid()));
        let size = ask(&mut target, "more").size.unwrap();
        let after = classes(&arenas(target.pid()));
        let grown: Vec<_> = after
            .iter()
            .map(|(size, class)| (*size, class.1.saturating_sub(before.get(size).map_or(0, |c| c.1))))
            .filter(|(_, more)| *more > 5000)
            .collect();
        let [(block, more)] = grown.as_slice() else { panic!("{}: {grown:?}", python.name) };
        // A debug build puts 24 bytes around what is asked for; some have a serial number too.
        let room = if python.name.ends_with('d') { size + 24 } else { size };
        // A size class of mimalloc's is up to an eighth larger than the one before it.
        let step = if python.name.ends_with('t') { room / 8 } else { 16 };
        assert!((room..room + step).contains(block), "{}: {size} bytes in blocks of {block}", python.name);
        close(&python.name, "more blocks", *more, 10_000);
    }
}

#[test]
fn what_threads_made_is_counted_whether_they_run_or_are_gone_and_whoever_frees_it() {
    for python in pythons() {
        let (name, mut target) = (&python.name, start(python, OWNERS));
        // To count its blocks, mimalloc collects those that other threads have freed: so it is looked at first.
        let seen = arenas(target.pid());
        let census = pitviper(&["heap", "census", "--json", "--pid", &target.pid().to_string()]);
        let census: Value = serde_json::from_slice(&census.stdout).expect("one object");
        for (of, made) in [("Kept", 10_000), ("Freed", 0), ("Gone", 3)] {
            let of = format!("__main__.{of}");
            let row = census["types"].as_array().unwrap().iter().find(|row| row["name"] == of.as_str());
            assert_eq!(row.map_or(0, |row| number(&row["count"])), made, "{name}: {of}");
        }
        assert_eq!((&seen["suspect_pools"], &census["suspect_pools"]), (&0.into(), &0.into()), "{name}");
        target.tell("blocks");
        let line = target.line();
        let blocks = line.strip_prefix("blocks ").and_then(|blocks| blocks.parse().ok()).unwrap();
        match seen["allocated_blocks"].as_u64() {
            Some(all) if blocks > 0 => close(name, "all blocks", all, blocks),
            _ => println!("{name}: skipped for all blocks, nothing says how many they are"),
        }
    }
}

#[test]
fn a_process_without_pymalloc_is_said_to_have_none() {
    for python in telling() {
        if python.name.ends_with('t') {
            println!("{}: skipped, it has no other allocator", python.name);
            continue;
        }
        let (inside, outside) = python.place(PARK);
        let mut command = Command::new(&python.command[0]);
        command.args(&python.command[1..]).arg(inside).env("PYTHONMALLOC", "malloc");
        let target = Target::spawn(command);
        let output = pitviper(&["heap", "arenas", "--pid", &target.pid().to_string()]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let known = said.contains("outside of pymalloc") || said.contains("no variable of it points to any");
        assert!(known, "{}: {said}", python.name);
        std::fs::remove_file(outside).unwrap();
    }
}

#[test]
fn the_map_has_a_row_for_an_arena_and_a_cell_for_a_pool() {
    let Some(python) = python("3.12") else { return };
    let target = start(python, BLOCKS);
    let pid = target.pid().to_string();
    for style in [&["--top", "2"][..], &["--top", "2", "--ascii"]] {
        let output = pitviper(&[&["heap", "arenas", "--pid", &pid], style].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(style.len() == 2 || text.is_ascii(), "{text}");
        let rows: Vec<&str> =
            text.lines().filter(|line| line.trim_start().starts_with("0x") && line.contains('%')).collect();
        assert_eq!(rows.len(), 2, "{text}");
        for row in rows {
            let (_, cells) = row.split_once("%  ").unwrap();
            assert!(cells.chars().count() >= 63, "{row:?}");
        }
    }
}

#[test]
fn nearly_empty_arenas_are_said_to_be_kept_by_what_is_left_in_them() {
    for python in pythons() {
        let mut target = start(python, PINS);
        let mut pins = Vec::new();
        while let Some(("pin", at)) = target.line().split_once(' ') {
            pins.push(at.parse::<u64>().unwrap());
        }
        assert_eq!(pins.len(), 101, "{}", python.name);
        let seen = arenas(target.pid());
        let mut found = 0;
        let map = seen["map"].as_array().unwrap().iter();
        for (arena, blocks) in map.filter_map(|arena| Some((arena, arena["pinned_by"].as_array()?))) {
            let whole = number(&arena["address"])..number(&arena["address"]) + number(&arena["size"]);
            let within = pins.iter().filter(|pin| whole.contains(pin)).count() as u64;
            let said = blocks.iter().find(|block| block["name"] == "__main__.Pin");
            let said = said.map_or(0, |block| number(&block["count"]));
            assert_eq!(said, within, "{}: {blocks:?}", python.name);
            found += said;
        }
        // The first and the last arena of these have other things in them too.
        assert!(found >= 60, "{}: {found} of {}", python.name, pins.len());
        let output = pitviper(&["heap", "arenas", "--ascii", "--pid", &target.pid().to_string()]);
        let text = String::from_utf8(output.stdout).unwrap();
        // In a segment of mimalloc's, which is as long as many arenas, there is much else.
        let named = python.name.ends_with('t') || text.contains(" __main__.Pin");
        assert!(text.contains("Nearly empty arenas") && named, "{}: {text}", python.name);
    }
}
