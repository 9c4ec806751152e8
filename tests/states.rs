//! What `dump` says that each thread is doing is what the thread was told to do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use serde_json::Value;
use support::{Target, pitviper, pythons};

/// How often a process is looked at until all its threads have come to rest.
const PATIENCE: usize = 20;

fn dump(target: &Target, options: &[&str]) -> Vec<Value> {
    let pid = target.pid().to_string();
    let output = pitviper(&[&["dump", "--json", "--pid", &pid], options].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect("an object on a line")).collect()
}

fn threads(dump: &Value) -> BTreeMap<String, Value> {
    let threads = dump["threads"].as_array().expect("threads").iter();
    threads.map(|thread| (thread["name"].as_str().unwrap().to_owned(), thread.clone())).collect()
}

/// `state`, and behind it what is waited for.
fn doing(thread: &Value) -> String {
    match thread["waits_for"].as_str() {
        Some(what) => format!("{}: {what}", thread["state"].as_str().unwrap()),
        None => thread["state"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn each_kind_of_wait_is_told_and_named() {
    for python in pythons() {
        let mut target = support::start(python, include_str!("programs/waits.py"));
        let expected: BTreeMap<String, String> = serde_json::from_str(&target.line()).unwrap();
        let expected: BTreeMap<String, String> =
            expected.into_iter().map(|(name, what)| (name, format!("waiting: {what}"))).collect();
        let mut seen = BTreeMap::new();
        for _ in 0..PATIENCE {
            seen = threads(&dump(&target, &[])[0]);
            if seen.values().all(|thread| thread["state"] == "waiting" && thread["cpu"] == 0.0) {
                break;
            }
        }
        let told: BTreeMap<String, String> =
            seen.iter().map(|(name, thread)| (name.clone(), doing(thread))).collect();
        assert_eq!(told, expected, "{}", python.name);
        for (name, thread) in &seen {
            // Who waits does not run at all.
            assert_eq!(thread["cpu"], 0.0, "{}: {name}", python.name);
            assert_ne!(thread["holds_gil"], true, "{}: {name}", python.name);
        }
        target.finish();
    }
}

/// Threads that wait at one place, one that waits at another, and main, which moves whenever a line comes in.
const CROWD: &str = "\
import sys, threading
gate = threading.Lock()
gate.acquire()
def worker():
    gate.acquire()
def other():
    gate.acquire()
def start(function, name):
    thread = threading.Thread(target=function, name=name)
    thread.daemon = True
    thread.start()
for n in range(12):
    start(worker, 'worker-%d' % n)
start(other, 'other')
sys.stdout.write('ready\\n'); sys.stdout.flush()
sys.stdin.readline()
sys.stdout.write('moved\\n'); sys.stdout.flush()
sys.stdin.read()
";

#[test]
fn equal_stacks_are_shown_once_with_all_who_have_them() {
    for python in pythons() {
        let target = support::start(python, CROWD);
        let at_rest = (0..PATIENCE).find_map(|_| {
            let dump = dump(&target, &[]).remove(0);
            threads(&dump).values().all(|thread| thread["state"] == "waiting").then_some(dump)
        });
        let seen = threads(&at_rest.expect("all come to rest"));
        let workers: Vec<&Value> =
            seen.iter().filter(|(name, _)| name.starts_with("worker")).map(|(_, thread)| thread).collect();
        let firsts: Vec<&&Value> = workers.iter().filter(|worker| worker["same_as"].is_null()).collect();
        let [first] = firsts[..] else { panic!("{}: {workers:?}", python.name) };
        for worker in workers.iter().filter(|worker| !worker["same_as"].is_null()) {
            assert_eq!(worker["same_as"], first["id"], "{}", python.name);
        }
        assert!(
            seen["other"]["same_as"].is_null() && seen["MainThread"]["same_as"].is_null(),
            "{}",
            python.name
        );
        let output = pitviper(&["dump", "--pid", &target.pid().to_string()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches("    worker (").count(), 1, "{}: {text}", python.name);
        assert!(text.contains("  and 11 threads like this: ") && text.contains(", … 3 more\n"), "{text}");
        assert!(text.contains("\"other\", waiting: lock, 0 % CPU\n"), "{}: {text}", python.name);
    }
}

#[test]
fn looking_twice_marks_the_threads_that_moved() {
    for python in pythons() {
        let mut target = support::start(python, CROWD);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pitviper"));
        let pid = target.pid().to_string();
        command.args(["dump", "--json", "--repeat", "2", "--every", "300ms", "--pid", &pid]);
        let mut looking = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(looking.stdout.take().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let first = threads(&next());
        // The first look is printed before the time between the looks begins.
        target.tell("");
        assert_eq!(target.line(), "moved");
        let second = threads(&next());
        assert!(looking.wait().unwrap().success());
        assert!(first.values().all(|thread| thread["moved"].is_null()), "{}: {first:?}", python.name);
        for (name, thread) in &second {
            assert_eq!(thread["moved"], name == "MainThread", "{}: {name}", python.name);
        }
    }
}

#[test]
fn a_process_that_is_gone_does_not_keep_the_others_from_being_shown() {
    let python = &pythons()[0];
    let target = support::start(python, support::PARK);
    let mut gone = support::start(python, support::PARK);
    gone.finish();
    let output = pitviper(&["dump", "--pid", &format!("{},{}", gone.pid(), target.pid())]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("Process {}: ", target.pid())), "{text}");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_handles_an_exception_is_who_says_so_itself() {
    for python in pythons() {
        let mut target = support::start(python, include_str!("programs/exceptions.py"));
        let truth: BTreeMap<String, bool> = serde_json::from_str(&target.line()).unwrap();
        assert!(truth.values().any(|handles| *handles) && truth.values().any(|handles| !*handles));
        let at_rest = (0..PATIENCE).find_map(|_| {
            let seen = threads(&dump(&target, &[])[0]);
            seen.values().all(|thread| thread["state"] == "waiting").then_some(seen)
        });
        let mut seen = at_rest.expect("all come to rest");
        assert_eq!(seen.remove("MainThread").unwrap()["in_exception"], false, "{}", python.name);
        let told: BTreeMap<String, bool> = seen
            .iter()
            .map(|(name, thread)| (name.clone(), thread["in_exception"].as_bool().unwrap()))
            .collect();
        assert_eq!(told, truth, "{}", python.name);
    }
}
