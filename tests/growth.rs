//! Censuses in a recording say what becomes of each type: what leaks, what fills up, and what only comes and goes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use pitviper::model::{At, ProcessId};
use pitviper::recording::growth::{Counted, Growth};
use pitviper::recording::open;
use serde_json::Value;
use support::{pitviper, python, start};

const GROWTH: &str = include_str!("programs/growth.py");
const LIMIT: u64 = 3000;
const ALWAYS: u64 = 500;
/// What leaks each second.
const RATE: f64 = 1000.0;
/// How far a rate may be off: a census meets an object at some moment of the time that it takes.
const OFF: f64 = 0.15;
/// Objects of a type that change while they are counted: one is made before the one that it replaces goes.
const OWN: u64 = 2;

#[test]
fn a_leak_grows_a_cache_fills_up_and_what_is_replaced_stays() {
    for python in ["2.7", "3.8", "3.13", "3.15"].iter().filter_map(|name| python(name)) {
        let name = &python.name;
        let mut target = start(python, GROWTH);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("growth.pit");
        let (pid, file) = (target.pid().to_string(), path.to_str().unwrap());
        let output = pitviper(&[
            "attach",
            "-q",
            "-p",
            &pid,
            "-d",
            "4",
            "-r",
            "20",
            "--census-every",
            "400ms",
            "-o",
            file,
        ]);
        target.tell("how many?");
        let line = target.line();
        let now: Vec<u64> = line.split(' ').map(|count| count.parse().unwrap()).collect();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = pitviper(&["heap", "--json", file]);
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let of = |class: &str| {
            let types = said["types"].as_array().unwrap();
            types.iter().find(|of| of["name"] == format!("__main__.{class}")).unwrap()
        };
        let trends = ["Leak", "Entry", "Temp"].map(|class| of(class)["trend"].as_str());
        assert_eq!(trends, [Some("linear"), Some("saturating"), Some("none")], "{name}: {said}");
        let rate = of("Leak")["per_second"].as_f64().unwrap();
        assert!((rate / RATE - 1.0).abs() < OFF, "{name}: {rate} a second");
        let counts = ["Leak", "Entry", "Temp"].map(|class| of(class)["count"].as_u64().unwrap());
        assert!(counts[0] > 2000 && counts[0] <= now[0], "{name}: {counts:?}, and later {now:?}");
        assert_eq!((counts[1], now[1]), (LIMIT, LIMIT), "{name}");
        assert!(counts[2].abs_diff(ALWAYS) <= OWN, "{name}: {counts:?}");
        assert!(said["verdict"].as_str().unwrap().contains("__main__.Leak grows"), "{name}: {said}");

        // What grew is where it grew: in the size class of the leak, as many blocks more as there are objects more.
        let recording = open(&path).unwrap();
        let censuses = Counted::all(&recording, ProcessId(0), recording.end());
        assert_eq!(said["censuses"].as_u64(), Some(censuses.len() as u64), "{name}");
        let leak = Growth::of(&censuses).into_iter().find(|of| of.name == "__main__.Leak").unwrap();
        let bytes = leak.bytes / leak.count;
        let (from, to) = (censuses[0].at, censuses[censuses.len() - 1].at);
        let diff = pitviper(&["heap", "diff", "--json", &moment(file, from), &moment(file, to)]);
        let diff: Value = serde_json::from_slice(&diff.stdout).unwrap();
        let classes = diff["size_classes"].as_array().unwrap();
        let class = classes.iter().find(|class| class["size"].as_u64() == Some(bytes)).unwrap();
        // A look at the pools is up to a second old.
        let (blocks, least) = (class["more"].as_i64().unwrap() as f64, leak.more as f64 - RATE * 1.2);
        assert!((least..leak.more as f64 * (1.0 + OFF)).contains(&blocks), "{name}: {blocks} of {leak:?}");
    }
}

fn moment(file: &str, at: At) -> String {
    format!("{file}@{:.6}s", at.0 as f64 / 1e9 + 1e-6)
}
