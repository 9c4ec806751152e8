//! `--metric bytes` puts memory down to the code that asked for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use support::{Python, Target, pitviper, python, pythons, some, start};

const SITES: &str = include_str!("programs/sites.py");
const PHASES: &str = include_str!("programs/phases.py");
/// The functions of that program, and on which of its lines each stands.
const FUNCTIONS: [(&str, std::ops::RangeInclusive<u32>); 4] =
    [("__init__", 12..=13), ("texts", 17..=18), ("leaves", 22..=23), ("large", 27..=27)];

fn succeed(arguments: &[&str]) -> String {
    let output = pitviper(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn record(target: &Target, seconds: &str, path: &Path) {
    let (pid, path) = (target.pid().to_string(), path.to_str().unwrap());
    succeed(&["attach", "--pid", &pid, "--duration", seconds, "--metric", "bytes", "-o", path]);
}

/// What the innermost frames of folded stacks weigh, by function and line.
fn own(path: &Path, metric: &str) -> BTreeMap<(String, u32), u64> {
    let path = path.to_str().unwrap();
    let folded = succeed(&["export", "-f", "folded", "--metric", metric, path]);
    let mut own = BTreeMap::new();
    for line in folded.lines() {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        let leaf = stack.rsplit(';').next().unwrap();
        let (name, place) = leaf.split_once(" (").unwrap_or((leaf, ""));
        let line = place.trim_end_matches(')').rsplit(':').next().and_then(|line| line.parse().ok());
        let function = name.rsplit('.').next().unwrap().to_owned();
        *own.entry((function, line.unwrap_or(0))).or_default() += weight.parse::<u64>().unwrap();
    }
    own
}

/// What the program's own `tracemalloc` says: bytes and blocks by line, and all bytes.
fn told(target: &mut Target) -> (BTreeMap<u32, [u64; 2]>, u64) {
    target.tell("sites");
    let (mut sites, mut total) = (BTreeMap::new(), 0);
    loop {
        let line = target.line();
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["site", line, bytes, blocks] => {
                sites.insert(line.parse().unwrap(), [bytes.parse().unwrap(), blocks.parse().unwrap()]);
            }
            ["total", bytes] => total = bytes.parse().unwrap(),
            ["done"] => return (sites, total),
            other => panic!("{other:?}"),
        }
    }
}

/// Whether the tables of its `tracemalloc` can be found.
fn is_traced(python: &Python) -> bool {
    if python.minor().0 == 2 {
        eprintln!("{}: skipped, it has no tracemalloc", python.name);
        return false;
    }
    true
}

#[test]
fn where_tracemalloc_runs_each_line_has_what_it_says_itself() {
    let dir = tempfile::tempdir().unwrap();
    for python in pythons().iter().filter(|python| is_traced(python)) {
        let mut target = start(python, SITES);
        let path = dir.path().join(format!("{}.pit", python.name));
        record(&target, "0.2", &path);
        if python.name == "3.11-debian" {
            let info = succeed(&["info", path.to_str().unwrap()]);
            assert!(info.contains("nothing names its tables"), "{info}");
            let output = pitviper(&["export", "-f", "folded", "--metric", "bytes", path.to_str().unwrap()]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && said.contains("nothing in it is put down to memory"),
                "{said}"
            );
            continue;
        }
        let (sites, total) = told(&mut target);
        assert!(sites.len() >= 5, "{}: {sites:?}", python.name);
        let seen = own(&path, "bytes");
        for (line, amounts) in &sites {
            let here: Vec<(&String, u64)> = seen
                .iter()
                .filter(|((_, at), _)| at == line)
                .map(|((name, _), weight)| (name, *weight))
                .collect();
            let (function, _) = FUNCTIONS.iter().find(|(_, lines)| lines.contains(line)).unwrap();
            let [(name, bytes)] = here.as_slice() else { panic!("{}: line {line}: {seen:?}", python.name) };
            // Without a GIL, some of what is freed is given back later.
            let bound = if python.name.ends_with('t') { 1024 } else { 0 };
            let near = bytes.abs_diff(amounts[0]) <= bound;
            assert!(near && *name == function, "{}: line {line}: {amounts:?}: {seen:?}", python.name);
        }
        // Taking a snapshot keeps a little itself.
        let all: u64 = seen.values().sum();
        assert!(all.abs_diff(total) < total / 100, "{}: {all} of {total}", python.name);
    }
}

#[test]
fn every_stack_format_says_whose_word_it_is() {
    let Some(python) = python("3.13") else { return };
    let mut target = start(python, SITES);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sites.pit");
    record(&target, "0.2", &path);
    for format in ["flamegraph", "speedscope"] {
        let text = succeed(&["export", "-f", format, path.to_str().unwrap()]);
        assert!(text.contains("own tracemalloc; temporary objects are not seen"), "{text:.2000}");
        assert!(text.contains("texts") && text.contains("bytes"), "{text:.2000}");
    }
    let lines = succeed(&["export", "-f", "jsonl", path.to_str().unwrap()]);
    assert!(
        lines.lines().any(|line| line.contains(r#""type":"allocation""#) && line.contains("traced")),
        "{lines:.2000}"
    );
    let (sites, _) = told(&mut target);
    let seen = own(&path, "objects");
    for (line, [_, blocks]) in sites {
        let here: u64 = seen.iter().filter(|((_, at), _)| *at == line).map(|(_, weight)| weight).sum();
        assert_eq!(here, blocks, "line {line}: {seen:?}");
    }
}

/// A recording of the phases with so many bursts at least at whose end the stack was the same and that saw memory grow: a busy machine lets it run less. What a
/// process keeps makes the next recording of it dearer, so each is of another one.
fn bursts(python: &Python, least: usize, path: &Path) {
    let file = path.to_str().unwrap();
    for _ in 0..10 {
        let target = start(python, PHASES);
        let pid = target.pid().to_string();
        let options = ["--rate", "200", "--max-overhead", "100%", "--metric", "bytes", "-o", file];
        succeed(&[&["attach", "--pid", &pid, "--duration", "3"], &options[..]].concat());
        // Where there is none at all, that is an error, and no other one will do.
        let output = pitviper(&["export", "-f", "jsonl", file]);
        let said = String::from_utf8_lossy(&output.stderr);
        let is_none = said.contains("nothing in it is put down to memory");
        assert!(output.status.success() || is_none, "{file}: {said}");
        let lines = String::from_utf8_lossy(&output.stdout);
        let bursts = lines.lines().filter(|line| line.contains(r#""evidence":"burst""#));
        // In some processes most of them see nothing, for a pool that is full but for a temporary object comes and goes all the time.
        if bursts.filter(|line| !line.contains(r#""bytes":0,"#)).count() >= least {
            return;
        }
    }
    panic!("not {least} bursts in any of ten recordings");
}

#[test]
fn what_phases_of_a_millisecond_keep_is_put_down_to_them_and_not_to_those_that_keep_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // One that is stripped too: its lists of pools are told by the pools.
    for python in some().chain(python("3.11-debian")) {
        if python.name.ends_with('t') {
            eprintln!("{}: skipped, without a GIL nobody knows whose turn it is", python.name);
            continue;
        }
        let path = dir.path().join(format!("{}.pit", python.name));
        bursts(python, 60, &path);
        let svg = succeed(&["export", "-f", "flamegraph", path.to_str().unwrap()]);
        let says = [
            "net growth of blocks of up to 512 bytes, sampled in",
            "bursts (±",
            "temporary objects are not seen",
        ];
        assert!(says.iter().all(|words| svg.contains(words)), "{}: {svg:.1000}", python.name);
        let mut shares: BTreeMap<String, u64> = BTreeMap::new();
        for ((function, _), bytes) in own(&path, "bytes") {
            *shares.entry(function).or_default() += bytes;
        }
        let all: u64 = shares.values().sum();
        let part = |function: &str| shares.get(function).map_or(0.0, |bytes| *bytes as f64 / all as f64);
        let keep = ["lists", "texts", "items"];
        // Where they belong; and of three that keep 20 to 45 % each, none has all or nothing.
        assert!(keep.iter().map(|of| part(of)).sum::<f64>() >= 0.9, "{}: {shares:?}", python.name);
        assert!(keep.iter().all(|of| (0.08..0.75).contains(&part(of))), "{}: {shares:?}", python.name);
    }
}
