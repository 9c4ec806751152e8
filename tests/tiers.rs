//! `attach` and `run` record the heap beside the stacks, as deep as they are asked to, and as the program itself counts it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitviper::model::heap::Gauge;
use pitviper::model::{At, ProcessId};
use pitviper::recording::heap::{Heap, gauge};
use pitviper::recording::{Recording, open};
use serde_json::Value;
use support::{Target, pitviper, python, pythons, start};

const BLOCKS: &str = include_str!("programs/blocks.py");
/// How far a number of blocks may be off: what the program makes and frees to read a line and to answer it.
const OWN: u64 = 4;
/// What "more" makes.
const MORE: u64 = 10_000;
/// How long a recording may take to say what it is waited for to say.
const DEADLINE: Duration = Duration::from_secs(30);
const MAIN: ProcessId = ProcessId(0);

/// Pools, blocks in use and free blocks of each size, as the program says it: nothing from 2.7.
fn ask(target: &mut Target, question: &str) -> (BTreeMap<u64, [u64; 3]>, Option<u64>) {
    target.tell(question);
    let (mut classes, mut size) = (BTreeMap::new(), None);
    loop {
        let line = target.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers: Vec<u64> = words.iter().filter_map(|word| word.replace(',', "").parse().ok()).collect();
        match (words.as_slice(), numbers.as_slice()) {
            (["done"], _) => return (classes, size),
            (["size", _], [bytes]) => size = Some(*bytes),
            ([_, _, _, _, _], [_, size, pools, used, free]) => {
                classes.insert(*size, [*pools, *used, *free]);
            }
            _ => {}
        }
    }
}

/// Records a process for a moment.
fn record(target: &Target, options: &[&str]) -> Recording {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heap.pit");
    let (pid, file) = (target.pid().to_string(), path.to_str().unwrap());
    let arguments = [&["attach", "-q", "-p", &pid, "-d", "0.2", "-r", "20", "-o", file], options].concat();
    let output = pitviper(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    open(&path).unwrap()
}

fn last(recording: &Recording, of: Gauge) -> Option<i64> {
    gauge(recording, MAIN, of, recording.end())
}

#[test]
fn pools_and_blocks_are_recorded_as_the_program_counts_them() {
    for python in pythons() {
        let mut target = start(python, BLOCKS);
        let (truth, _) = ask(&mut target, "stats");
        let recording = record(&target, &[]);
        let name = &python.name;
        assert!(recording.heaps[0].whole && recording.heaps[1..].iter().all(|state| !state.whole), "{name}");
        let heap = Heap::at(&recording, MAIN, recording.end()).unwrap();
        assert_eq!(heap.suspect_pools, 0, "{name}");
        if truth.is_empty() {
            eprintln!("{name}: it has no word on its allocator; held against itself alone");
        } else {
            assert!(heap.classes.keys().eq(truth.keys()), "{name}: {:?}", heap.classes);
        }
        for (size, [pools, used, free]) in truth {
            let class = heap.classes[&size];
            assert_eq!(u64::from(class.pools), pools, "{name}: pools of {size}");
            assert!(class.used.abs_diff(used) <= OWN, "{name}: {} blocks of {size}, not {used}", class.used);
            assert!(class.free.abs_diff(free) <= OWN, "{name}: {} free of {size}, not {free}", class.free);
        }
        // Three ways to count the same.
        let sum = heap.sum();
        let pools = heap.pools.values().map(|pool| u64::from(pool.size) * u64::from(pool.used));
        assert_eq!(sum.used, pools.sum::<u64>(), "{name}");
        let used: u64 = heap.classes.values().map(|class| class.used * class.size).sum();
        assert_eq!(sum.used, used, "{name}");
        let gauges = [Gauge::Arenas, Gauge::ArenaBytes, Gauge::PoolBytes, Gauge::BlockBytes];
        let counted = gauges.map(|of| last(&recording, of));
        let expected = [heap.arenas.len() as u64, sum.arenas, sum.pooled, used];
        assert_eq!(counted, expected.map(|number| Some(number as i64)), "{name}");
        let resident = last(&recording, Gauge::Resident).unwrap();
        assert!(resident as u64 > sum.used, "{name}: {resident} of {sum:?}");
    }
}

#[test]
fn who_asks_for_less_gets_less() {
    let Some(python) = python("3.13") else { return };
    let target = start(python, BLOCKS);
    let told = |depth: &str| {
        let recording = record(&target, &["--heap", depth]);
        let gauges = [Gauge::Resident, Gauge::Arenas, Gauge::ArenaBytes, Gauge::BlockBytes];
        let counted = gauges.map(|of| last(&recording, of).is_some());
        let heap = Heap::at(&recording, MAIN, recording.end());
        let arenas = heap.as_ref().map(|heap| heap.arenas.values().any(|arena| arena.used.is_some()));
        (counted, arenas, heap.is_some_and(|heap| !heap.classes.is_empty()))
    };
    assert_eq!(told("off"), ([false; 4], None, false));
    assert_eq!(told("counters"), ([true, true, false, false], None, false));
    assert_eq!(told("arenas"), ([true, true, true, false], Some(false), false));
    assert_eq!(told("pools"), ([true; 4], Some(true), true));
}

/// Records until it is ended by a signal.
fn attach(target: &Target, path: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
    command.args(["attach", "-q", "-r", "20", "-p", &target.pid().to_string(), "-o"]).arg(path);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Waits until what lies in the file says so; what it says then.
fn until(path: &Path, says: impl Fn(&Recording) -> bool) -> Recording {
    let began = Instant::now();
    loop {
        if let Ok(recording) = open(path)
            && says(&recording)
        {
            return recording;
        }
        assert!(began.elapsed() < DEADLINE, "{} does not say it", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn json(arguments: &[&str]) -> Value {
    let output = pitviper(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

/// A row of a matrix.
fn row(matrix: &Value, place: usize) -> Vec<u64> {
    matrix[place].as_array().unwrap().iter().map(|cell| cell.as_u64().unwrap_or(0)).collect()
}

/// The growth is in the heatmaps: in the row of its size class, and as much of it among the addresses.
fn heatmap(name: &str, path: &Path, recording: &Recording, size: u64) {
    let map = &json(&["export", path.to_str().unwrap(), "-f", "heatmap-json"])["processes"][0];
    let times = map["times_ns"].as_array().unwrap();
    assert_eq!(times.last().unwrap().as_u64(), Some(recording.end().0), "{name}");
    let classes = map["size_classes"]["rows"].as_array().unwrap();
    let place = classes.iter().position(|of| of.as_u64() == Some(size)).unwrap();
    let used = row(&map["size_classes"]["used"], place);
    let more = used[used.len() - 1] - used[0];
    assert!(used.len() == times.len() && more.abs_diff(MORE) <= OWN, "{name}: {used:?}");
    let heap = Heap::at(recording, MAIN, recording.end()).unwrap();
    let end = heap.sum();
    let addresses = &map["addresses"];
    let rows = addresses["rows"].as_array().unwrap();
    let sum = |matrix: &str, column: usize| -> u64 {
        (0..rows.len()).map(|place| row(&addresses[matrix], place)[column]).sum()
    };
    let last = times.len() - 1;
    let sums = ["arena_bytes", "pool_bytes", "block_bytes"].map(|matrix| sum(matrix, last));
    // What the rows of single pools add up to is what their headers said, which were read less often than the table of arenas.
    let in_use = heap.pools.len() as u64 * u64::from(heap.pool_size);
    let pooled = if rows[0]["pools"].is_null() { end.pooled } else { in_use };
    assert_eq!(sums, [end.arenas, pooled, end.used], "{name}");
    let grown = sum("block_bytes", last) - sum("block_bytes", 0);
    assert!(grown >= (MORE - OWN) * size, "{name}: {grown} bytes");
    assert!(rows.windows(2).all(|two| two[0]["to"].as_u64() <= two[1]["from"].as_u64()), "{name}: {rows:?}");
}

/// What `heap` says of a recording, and of two of its moments.
fn told(name: &str, path: &Path, size: u64, first: At) {
    let file = path.to_str().unwrap();
    let more = |said: &Value| {
        let classes = said["size_classes"].as_array().unwrap();
        classes.iter().find(|of| of["size"] == size).unwrap()["more"].as_i64().unwrap()
    };
    let whole = json(&["heap", "--json", file]);
    assert!(more(&whole).unsigned_abs().abs_diff(MORE) <= OWN, "{name}: {whole}");
    assert!(whole["verdict"].as_str().unwrap().contains(&format!("blocks of {size} bytes")), "{whole}");
    let (from, to) = (format!("{file}@{:.6}s", first.0 as f64 / 1e9 + 1e-6), format!("{file}@60m"));
    let diff = json(&["heap", "diff", "--json", &from, &to]);
    assert_eq!((more(&diff), &diff["at_ns"]), (more(&whole), &whole["at_ns"]), "{name}: {diff}");
    let none = json(&["heap", "diff", "--json", &from, &from]);
    assert_eq!((more(&none), &none["counters"]["rss_bytes"]["more"]), (0, &Value::from(0)), "{name}: {none}");
    let text = pitviper(&["heap", file]);
    let text = String::from_utf8(text.stdout).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{size} "))).unwrap();
    assert!(line.contains("+10") || line.contains("+9"), "{text}");
}

#[test]
fn what_a_program_makes_shows_in_its_size_class_and_is_in_the_file_before_whoever_records_is_killed() {
    for name in ["2.7", "3.8", "3.13", "3.13t"] {
        let Some(python) = python(name) else { continue };
        let mut target = start(python, BLOCKS);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("killed.pit");
        let mut child = attach(&target, &path);
        let used = |recording: &Recording, at: At, size: u64| {
            Heap::at(recording, MAIN, at).and_then(|heap| Some(heap.classes.get(&size)?.used)).unwrap_or(0)
        };
        until(&path, |recording| !recording.heaps.is_empty());
        let (_, size) = ask(&mut target, "more");
        // A tuple of 25 with its collector's head, in a block of the next class.
        let unit = match python.minor() {
            _ if name.ends_with('t') => 32,
            minor if minor >= (3, 8) => 16,
            _ => 8,
        };
        let size = size.unwrap().next_multiple_of(unit);
        let grown = |recording: &Recording| {
            let first = recording.heaps.iter().find(|state| !state.classes.is_empty());
            let before = first.map_or(u64::MAX, |state| used(recording, state.at, size));
            used(recording, recording.end(), size) >= before.saturating_add(MORE - OWN)
        };
        let seen = until(&path, grown);
        assert!(!seen.ended && seen.damage.is_none(), "{name}");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
        assert!(!child.wait().unwrap().success());
        let left = open(&path).unwrap();
        assert!(grown(&left) && !left.ended, "{name}: {:?}", left.damage);
        let first = left.heaps.iter().find(|state| !state.classes.is_empty()).unwrap();
        let more = used(&left, left.end(), size) - used(&left, first.at, size);
        assert!(more.abs_diff(MORE) <= OWN, "{name}: {more} more blocks of {size}");
        heatmap(name, &path, &left, size);
        told(name, &path, size, first.at);
    }
}

#[test]
fn the_row_of_an_address_names_the_size_of_the_blocks_there() {
    for python in pythons() {
        let target = &mut start(python, include_str!("programs/pools.py"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pools.pit");
        let (name, pid) = (&python.name, target.pid().to_string());
        assert!(
            pitviper(&["attach", "-q", "-p", &pid, "-d", "0.2", "-o", path.to_str().unwrap()])
                .status
                .success()
        );
        let map = &json(&["export", path.to_str().unwrap(), "-f", "heatmap-json"])["processes"][0];
        let rows = map["addresses"]["rows"].as_array().unwrap();
        assert!(
            rows.len() <= 256 && rows.iter().all(|row| row["pools"]["count"].as_u64() <= Some(8)),
            "{name}: {rows:?}"
        );
        let number = |value: &Value| value.as_u64().unwrap();
        let pool_size = u64::from(open(&path).unwrap().heaps[0].pool_size);
        for _ in 0..3 {
            // The program's own word: the address of an object in the middle of many, and the bytes of its block.
            let said = target.line();
            let told: Vec<u64> = said.split(' ').map(|word| word.parse().unwrap()).collect();
            let [address, size] = told[..] else { panic!("{name}: {said}") };
            let place =
                rows.iter().position(|row| (number(&row["from"])..number(&row["to"])).contains(&address));
            let place = place.unwrap_or_else(|| panic!("{name}: no row has 0x{address:x}: {rows:?}"));
            let last = |matrix: &str| row(&map["addresses"][matrix], place).last().copied();
            if name.ends_with('t') {
                // The steps of mimalloc are longer, and a page's neighbour may serve another size.
                let blocks = last("block_sizes").unwrap();
                assert!((size..=size * 9 / 8).contains(&blocks), "{name}: {blocks}, not {size}");
                assert!(last("block_bytes") <= last("pool_bytes"), "{name}: {}", rows[place]);
                continue;
            }
            assert_eq!(last("block_sizes"), Some(size), "{name}: {}", rows[place]);
            // All of them are in use: next to nothing of such pools is free.
            let length = number(&rows[place]["pools"]["count"]) * pool_size;
            assert_eq!(last("pool_bytes"), Some(length), "{name}: {}", rows[place]);
            assert!(
                last("block_bytes") >= Some(length * 8 / 10) && last("block_bytes") <= Some(length),
                "{name}"
            );
        }
    }
}
