//! `gc` says of a process what its `gc` module says, and of a recording what was put into it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;
mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use pitviper::model::gc::{Collection, Exactness, Gauge};
use pitviper::model::{At, Counter, Event, FileKind, Nanos, ProcessId, StackId};
use pitviper::recording::{Achieved, Recorder};
use serde_json::{Value, json};
use support::{Python, pitviper, pythons, some, start};

const COLLECTOR: &str = include_str!("programs/collector.py");
const COLLECTIONS: &str = include_str!("programs/collected.py");
const MS: u64 = 1_000_000;

fn lines(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The same key of each generation of the only interpreter.
#[track_caller]
fn each(line: &Value, key: &str) -> Vec<Value> {
    let [interpreter] = line["interpreters"].as_array().unwrap().as_slice() else { panic!("{line}") };
    interpreter["generations"].as_array().unwrap().iter().map(|generation| generation[key].clone()).collect()
}

#[test]
fn every_line_of_gc_json_says_what_the_gc_module_says() {
    for python in pythons() {
        let name = &python.name;
        let mut target = start(python, COLLECTOR);
        target.tell("gc.collect(); gc.collect(0); gc.set_threshold(1234, 5, 7); gc.disable()");
        let truth: Value = serde_json::from_str(&target.line()).unwrap();
        let pid = target.pid().to_string();
        let output = pitviper(&["gc", "-q", "--json", "--pid", &pid, "-d", "300ms", "--interval", "100ms"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = lines(&output.stdout);
        assert!(lines.len() >= 2, "{name}: {lines:?}");
        for line in &lines {
            assert_eq!(line["pid"], json!(target.pid()), "{name}");
            assert_eq!(json!(each(line, "count")), truth["count"], "{name}");
            assert_eq!(json!(each(line, "threshold")), truth["threshold"], "{name}");
            let interpreter = &line["interpreters"][0];
            assert_eq!((&interpreter["id"], &interpreter["enabled"]), (&json!(0), &json!(false)), "{name}");
            // No list says what is frozen in a free-threaded build.
            let frozen = if name.ends_with('t') { &Value::Null } else { &truth["frozen"] };
            assert_eq!(&interpreter["permanent"], frozen, "{name}");
            for (key, place) in [("collections", 0), ("collected", 1), ("uncollectable", 2)] {
                let said: Vec<Value> = match truth["stats"].as_array() {
                    Some(stats) => stats.iter().map(|generation| generation[place].clone()).collect(),
                    None => vec![Value::Null; 3],
                };
                assert_eq!(each(line, key), said, "{name}: {key}");
            }
        }
        let (summary, before) = lines.split_last().unwrap();
        assert_eq!(summary["summary"], json!(true), "{name}");
        assert!(before.iter().all(|line| line["summary"].is_null()), "{name}");
        assert_eq!((&summary["throughput"], &summary["longest"]), (&json!(1.0), &Value::Null), "{name}");
        let verdict = summary["verdict"].to_string();
        assert!(
            verdict.contains("no collection ran") && verdict.contains("the collector is off"),
            "{verdict}"
        );
    }
}

/// What `gc` says of a program that collects as soon as it is watched, and what that program says itself.
fn watch(python: &Python) -> (Vec<Value>, Value) {
    let mut target = start(python, COLLECTIONS);
    let mut watcher = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["gc", "-q", "--json", "--rate", "500", "--interval", "50ms"])
        .args(["--pid", &target.pid().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(watcher.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    target.tell("0.5");
    let truth = serde_json::from_str(&target.line()).expect("it answers in JSON");
    let status = Command::new("kill").args(["-INT", &watcher.id().to_string()]).status().unwrap();
    assert!(status.success());
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert!(watcher.wait().unwrap().success());
    (lines(&rest), truth)
}

#[test]
fn the_summary_counts_every_collection_and_names_what_set_off_the_longest() {
    for python in some() {
        let name = &python.name;
        let (lines, truth) = watch(python);
        let (summary, before) = lines.split_last().unwrap();
        let done = each(summary, "done");
        for (generation, done) in done.iter().enumerate().filter(|_| !truth["after"].is_null()) {
            for key in ["collections", "collected", "uncollectable"] {
                let of = |when: &str| truth[when][generation][key].as_u64().unwrap();
                assert_eq!(done[key], json!(of("after") - of("before")), "{name}: {key} of {generation}");
                // What the tables told one after the other adds up to no more than that.
                let told = before.iter().map(|line| each(line, "done")[generation][key].as_u64().unwrap());
                assert!(told.sum::<u64>() <= done[key].as_u64().unwrap(), "{name}: {key} of {generation}");
            }
        }
        // The longest is the longest of its generation and of all, and somebody set it off.
        let longest = &summary["longest"];
        let generation = longest["generation"].as_u64().unwrap() as usize;
        let max = |done: &Value| done["max"].as_f64().unwrap_or(0.0);
        assert_eq!(json!(done.iter().map(max).fold(0.0, f64::max)), longest["pause"], "{name}");
        assert_eq!(done[generation]["max"], longest["pause"], "{name}");
        let mut frames = longest["frames"].as_array().unwrap().iter();
        assert!(
            frames.any(|frame| frame["name"] == "forced" || frame["name"] == "churn"),
            "{name}: {longest}"
        );
        assert_eq!(longest["exact"], json!(python.minor() >= (3, 15)), "{name}");
        let throughput = summary["throughput"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&throughput), "{name}: {throughput}");
        // Without counts, collections that follow each other at once look like one, and the first of them names it.
        let uncounted = truth["after"].is_null();
        let mut triggers = summary["triggers"].as_array().unwrap().iter();
        assert!(triggers.any(|it| it["name"] == "forced" || uncounted), "{name}: {summary}");
    }
}

/// Ten seconds of a collector whose oldest generation stops the program ten times for nothing.
fn in_vain() -> (tempfile::TempDir, String) {
    let mut made = made::Maker::default();
    let process = made.process(1234, "python app.py");
    let main = made.thread(process, 1234, None, true);
    let app = made.file("/srv/shop/app.py", FileKind::Own);
    let module = made.python("<module>", Some("<module>"), app, 90, 1);
    let serve = made.python("serve", Some("Shop.serve"), app, 40, 30);
    let base = made.stack(None, module);
    let serving = made.stack(Some(base), serve);
    let counter = |made: &mut made::Maker, at: u64, gauge: Gauge, value: i64| {
        let name = made.string(&gauge.name(0));
        made.events.push(Event::Counter(Counter { at: At(at), process, name, value }));
    };
    for (generation, before) in (0..).zip([900, 80, 7]) {
        counter(&mut made, 0, Gauge::Count(generation), i64::from(generation) + 3);
        counter(&mut made, 0, Gauge::Threshold(generation), [700, 10, 10][usize::from(generation)]);
        counter(&mut made, 0, Gauge::Collections(generation), before);
        counter(&mut made, 0, Gauge::Collected(generation), 10 * before);
        counter(&mut made, 0, Gauge::Uncollectable(generation), 0);
    }
    counter(&mut made, 0, Gauge::Enabled, 1);
    counter(&mut made, 0, Gauge::LongLived, 100_000);
    made.look(vec![made::sample(main, Some(serving), 0, 10_000 * MS)]);
    for second in 0..10 {
        let at = second * 1000 * MS + 500 * MS;
        let row = |generation: u8, count: u32, pause: u64, collected: u64, stack: Option<StackId>| {
            Event::Gc(Collection {
                process: ProcessId(0),
                interpreter: 0,
                generation,
                start: At(at),
                stop: At(at + (pause + 1) * MS),
                pause: Nanos(pause * MS),
                exactness: Exactness::Bounds,
                count,
                collected,
                uncollectable: 0,
                objects_before: None,
                objects_after: None,
                stack,
            })
        };
        made.events.push(row(0, 10, 1, 6_000, None));
        made.events.push(row(2, 1, 55 + second, 10, Some(serving)));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vain.pit");
    let mut recorder = Recorder::new(std::fs::File::create(&path).unwrap(), &made::meta()).unwrap();
    made.events.iter().for_each(|event| recorder.event(event).unwrap());
    let achieved = Achieved { duration_ns: 10_000 * MS, taken: 10_000, due: 10_000, ..Achieved::default() };
    recorder.finish(&pitviper::recording::Meta { achieved: Some(achieved), ..made::meta() }).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[track_caller]
fn said(arguments: &[&str]) -> String {
    let output = pitviper(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_summary_of_a_hand_made_recording() {
    let (_dir, file) = in_vain();
    insta::assert_snapshot!(said(&["gc", &file]));
}

#[test]
fn tables_of_a_hand_made_recording() {
    let (_dir, file) = in_vain();
    let said = said(&["gc", &file, "--interval", "5s", "--ascii"]);
    let tables = said.split_once("of process").unwrap().0;
    insta::assert_snapshot!(tables);
}

#[test]
fn a_moment_of_a_recording_counts_what_was_before_it() {
    let (_dir, file) = in_vain();
    let of = |arguments: &[&str]| lines(said(arguments).as_bytes()).pop().unwrap();
    let whole = of(&["gc", "--json", &file]);
    assert_eq!(each(&whole, "collections"), [1000, 80, 17]);
    assert_eq!(each(&whole, "collected"), [69_000, 800, 170]);
    let moment = of(&["gc", "--json", &format!("{file}@2.5s")]);
    assert_eq!(each(&moment, "collections"), [920, 80, 9]);
    assert_eq!(moment["at"], json!(2.5));
    let done = &each(&whole, "done")[2];
    assert_eq!((&done["p50"], &done["p95"], &done["max"]), (&json!(0.059), &json!(0.064), &json!(0.064)));
    // Of ten collections in a row that was met, one took the time.
    let young = &each(&whole, "done")[0];
    assert_eq!((&young["p50"], &young["p95"], &young["max"]), (&json!(0.0), &json!(0.001), &json!(0.001)));
}
