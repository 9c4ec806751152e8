//! `heap census` counts what the target's collector counts, and what it does not look after.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use support::{Python, Target, pitviper, python, pythons, start};

const OBJECTS: &str = include_str!("programs/objects.py");
const SPECIAL: &str = include_str!("programs/special.py");
const MODULES: &str = include_str!("programs/modules.py");
/// Objects of a type that live only while the program counts, or only while it waits: the dictionary's items, the bytes read.
const OWN: u64 = 2;

/// No list says which of malloc's pieces are in use: what was freed keeps its looks until the piece is handed out again. Where
/// there is one at all, there is one of a type.
const FREED: u64 = 2;

/// What a program says of its objects.
#[derive(Debug, Default)]
struct Truth {
    tracked: BTreeMap<String, u64>,
    sizes: BTreeMap<String, u64>,
}

fn ask(target: &mut Target, question: &str) -> Truth {
    target.tell(question);
    let mut truth = Truth::default();
    loop {
        let line = target.line();
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["tracked", name, count] => truth.tracked.insert((*name).to_owned(), count.parse().unwrap()),
            ["size", name, bytes] => truth.sizes.insert((*name).to_owned(), bytes.parse().unwrap()),
            ["done"] => return truth,
            other => panic!("{other:?}"),
        };
    }
}

/// What a census says of each type, by its name.
fn census(target: &Target) -> (BTreeMap<String, Value>, Value) {
    let output = pitviper(&["heap", "census", "--json", "--pid", &target.pid().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let census: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let types = census["types"].as_array().unwrap().iter();
    (types.map(|of| (of["name"].as_str().unwrap().to_owned(), of.clone())).collect(), census)
}

fn number(types: &BTreeMap<String, Value>, name: &str, key: &str) -> u64 {
    types.get(name).and_then(|of| of[key].as_u64()).unwrap_or(0)
}

#[test]
fn objects_are_those_of_the_collector_type_by_type_and_as_large_as_getsizeof_says() {
    for python in pythons() {
        let mut target = start(python, OBJECTS);
        ask(&mut target, "once");
        let (types, census) = census(&target);
        let truth = ask(&mut target, "again");
        assert_eq!(census["suspect_pools"], 0, "{}", python.name);
        assert!(truth.tracked.len() > 30, "{}: {truth:?}", python.name);
        let seen = types.iter().filter(|(_, of)| of["tracked"] != 0).map(|(name, _)| name);
        for name in truth.tracked.keys().chain(seen) {
            let (seen, truth) =
                (number(&types, name, "tracked"), truth.tracked.get(name).copied().unwrap_or(0));
            assert!(seen.abs_diff(truth) <= OWN, "{}: {name}: {seen}, not {truth}", python.name);
        }
        // 10,000 that are held, and 2,500 that hold themselves and wait for the collector.
        assert_eq!(number(&types, "__main__.Record", "count"), 12_500, "{}", python.name);
        let inner = if python.minor().0 == 2 { "__main__.Inner" } else { "__main__.Outer.Inner" };
        assert_eq!(number(&types, inner, "count"), 390, "{}", python.name);
        sizes(python, &truth, &types);
    }
}

fn sizes(python: &Python, truth: &Truth, types: &BTreeMap<String, Value>) {
    for (name, size) in &truth.sizes {
        let (count, bytes) = (number(types, name, "count"), number(types, name, "bytes"));
        assert!(count >= 300, "{}: {name}: {count}", python.name);
        assert_eq!(number(types, name, "sizeof"), *size, "{}: {name}", python.name);
        // A block is a multiple of 16 bytes; a debug build puts up to 32 around it, and malloc its own head.
        let parts =
            if matches!(name.as_str(), "__main__.List" | "__main__.Set" | "__main__.Frozen") { 2 } else { 1 };
        let room = count * parts * if python.name.ends_with('d') { 56 } else { 24 };
        // A size class of mimalloc's is up to a quarter larger than the one before it.
        let room = room + if python.name.ends_with('t') { *size / 8 } else { 0 };
        assert!((*size..=size + room).contains(&bytes), "{}: {name}: {bytes}, {size}", python.name);
    }
}

#[test]
fn objects_that_the_collector_does_not_look_after_are_counted_too() {
    const MADE: u64 = 20_000;
    for python in pythons() {
        let mut target = start(python, OBJECTS);
        ask(&mut target, "once");
        let (before, _) = census(&target);
        ask(&mut target, "more");
        let (after, _) = census(&target);
        let more = |name: &str| number(&after, name, "count") - number(&before, name, "count");
        let seen: Vec<u64> = match python.minor().0 {
            // Its bytes are its str, and its ints fit a machine word.
            2 => vec![more("float"), more("int"), more("str") / 2],
            _ => vec![more("float"), more("int"), more("str"), more("bytes")],
        };
        for count in seen.iter() {
            assert!(count.abs_diff(MADE) <= MADE / 1000, "{}: {seen:?}", python.name);
        }
    }
}

#[test]
fn what_is_no_type_is_counted_as_the_program_made_it() {
    const KEYS: [&str; 9] = [
        "weak_references",
        "dead_references",
        "callbacks",
        "code_objects",
        "bytecode",
        "interned",
        "memoryviews",
        "shown_bytes",
        "garbage",
    ];
    for python in pythons() {
        let mut target = start(python, SPECIAL);
        let (_, before) = census(&target);
        target.tell("more");
        let line = target.line();
        let made: Vec<i64> = line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
        let (_, after) = census(&target);
        assert_eq!(made.len(), KEYS.len(), "{line}");
        for (key, made) in KEYS.into_iter().zip(made) {
            let value = |census: &Value| census["special"][key].as_i64();
            let more = value(&after).zip(value(&before)).map(|(after, before)| after - before);
            match (key, more) {
                // It does not say which of its strings are interned.
                ("interned", Some(0)) if python.minor().0 == 2 => {}
                // Static variables that nothing names.
                ("garbage", None) => assert_eq!(python.name, "3.6", "{}", python.name),
                _ => assert!(
                    more.is_some_and(|more| more.abs_diff(made) <= 2),
                    "{}: {key}: {more:?}, not {made}",
                    python.name
                ),
            }
        }
        // Each time 50 views of 10 bytes of one object, and where there can be one, another one of a whole mapping.
        let exporters = after["exporters"].as_array().unwrap();
        let shown = |name: &str, views: u64, bytes: u64| {
            let same = |of: &&Value| of["name"] == name && of["views"] == views && of["bytes"] == bytes;
            exporters.iter().filter(same).count()
        };
        let mapped = if python.minor().0 == 3 { 2 } else { 0 };
        assert_eq!(
            (shown("bytearray", 50, 10), shown("mmap.mmap", 1, 8192)),
            (2, mapped),
            "{}: {exporters:?}",
            python.name
        );
        if python.minor().0 == 3 {
            let bytes = after["special"]["interned_bytes"].as_u64().unwrap();
            assert!(bytes >= 48 * after["special"]["interned"].as_u64().unwrap(), "{}: {bytes}", python.name);
        }
    }
}

#[test]
fn modules_have_what_their_globals_name() {
    for python in pythons() {
        let mut target = start(python, MODULES);
        let (_, census) = census(&target);
        target.tell("size");
        let line = target.line();
        let size: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        let modules = census["modules"].as_array().unwrap();
        let bytes = |name: &str| {
            let of = modules.iter().find(|of| of["name"] == name);
            of.and_then(|of| of["bytes"].as_u64())
                .unwrap_or_else(|| panic!("{}: {name}: {modules:?}", python.name))
        };
        // Beside what getsizeof says: heads, whole pages, and names.
        let large = bytes("large");
        // mimalloc's steps become longer with the blocks.
        let room = if python.name.ends_with('t') { size / 4 } else { 20_000 };
        assert!((size..size + room).contains(&large), "{}: {large}, not {size}", python.name);
        assert!(bytes("empty") < 1000, "{}: {}", python.name, bytes("empty"));
        assert_eq!(modules[0]["name"], "large", "{}: {modules:?}", python.name);
    }
}

#[test]
fn without_pymalloc_objects_are_found_by_what_leads_to_them() {
    for python in pythons() {
        if python.minor().0 == 2 {
            eprintln!("{}: skipped, it has no PYTHONMALLOC", python.name);
            continue;
        }
        if python.name.ends_with('t') {
            eprintln!("{}: skipped, it has no other allocator", python.name);
            continue;
        }
        let (inside, outside) = python.place(OBJECTS);
        let mut command = Command::new(&python.command[0]);
        command.args(&python.command[1..]).arg(inside).env("PYTHONMALLOC", "malloc");
        let mut target = Target::spawn(command);
        std::fs::remove_file(outside).unwrap();
        let truth = ask(&mut target, "again");
        let (types, census) = census(&target);
        assert_eq!(census["arenas"], false, "{}", python.name);
        for (name, truth) in &truth.tracked {
            let seen = number(&types, name, "tracked");
            let sound = truth.saturating_sub(OWN)..=truth + FREED;
            assert!(sound.contains(&seen), "{}: {name}: {seen}, not {truth}", python.name);
        }
    }
}

#[test]
fn a_diff_says_what_there_is_more_of_and_what_is_wrong_with_its_files() {
    const MADE: u64 = 20_000;
    let Some(python) = python("3.12") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut target = start(python, OBJECTS);
    let pid = target.pid().to_string();
    let take = |name: &str| {
        let output = pitviper(&["heap", "census", "--pid", &pid, "-o", &file(name)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    take("a.json");
    ask(&mut target, "more");
    take("b.json");
    let output = pitviper(&["heap", "diff", "--json", &file("a.json"), &file("b.json")]);
    let diff: Value = serde_json::from_slice(&output.stdout).unwrap();
    let types = diff["types"].as_array().unwrap();
    let float = types.iter().find(|of| of["name"] == "float").unwrap();
    let more = float["more"].as_u64().unwrap();
    assert!(more.abs_diff(MADE) <= MADE / 1000, "{float}");
    assert!(float["more_bytes"].as_u64().unwrap() >= 24 * more, "{float}");
    let sum: i64 = types.iter().map(|of| of["more_bytes"].as_i64().unwrap()).sum();
    assert_eq!(diff["bytes"], sum);
    // Backwards it is the same with the other sign, and a census has not changed since itself.
    let text = |names: [&str; 2]| {
        let output = pitviper(&["heap", "diff", &file(names[0]), &file(names[1]), "--type", "^float$"]);
        String::from_utf8(output.stdout).unwrap()
    };
    let row = |text: &str| text.lines().find(|line| line.ends_with("  float")).unwrap().trim().to_owned();
    let (there, back) = (row(&text(["a.json", "b.json"])), row(&text(["b.json", "a.json"])));
    assert!(there.starts_with('+') && back.starts_with('-'), "{there} {back}");
    assert!(text(["a.json", "a.json"]).contains("no type has more or fewer objects"));
    std::fs::write(file("c.json"), "{}").unwrap();
    for wrong in ["c.json", "none.json"] {
        let output = pitviper(&["heap", "diff", &file("a.json"), &file(wrong)]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains(wrong));
    }
}
