//! `top` where there is no terminal: one table, or one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{pitviper, python, pythons, start};

const BUSY: &str = include_str!("programs/busy.py");

#[test]
fn one_table_says_what_every_python_does() {
    for python in pythons() {
        let target = start(python, BUSY);
        let pid = target.pid().to_string();
        let output = pitviper(&["top", "--once", "-d", "200ms", "--pid", &pid]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}: {}", python.name, String::from_utf8_lossy(&output.stderr));
        let first = text.lines().next().unwrap();
        assert!(first.contains(&format!("(pid {pid})")), "{text}");
        assert!(first.contains(&format!("Python {}", python.version)), "{text}");
        let hottest = text.lines().skip_while(|line| !line.ends_with("function")).nth(1).unwrap();
        assert!(hottest.contains("compute ("), "{}: {text}", python.name);
        assert!(text.lines().any(|line| line.contains(&format!("(tid {pid})"))), "{text}");
    }
}

#[test]
fn one_table_for_programs_is_the_summary_of_a_recording() {
    let Some(python) = python("3.13") else { return };
    let target = start(python, BUSY);
    let dir = tempfile::tempdir().unwrap();
    let pit = dir.path().join("x.pit");
    let pit = pit.to_str().unwrap();
    let pid = target.pid().to_string();
    let output = pitviper(&["top", "--once", "--json", "-q", "-d", "300ms", "-o", pit, "--pid", &pid]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    // The second line is of the recording that was written beside it: nothing of what both saw differs.
    let said: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [shown, recorded] = said.as_slice() else { panic!("{lines}") };
    for key in ["samples", "missed", "partial", "top", "threads", "phases"] {
        assert_eq!(shown[key], recorded[key], "{key}");
    }
    let again = pitviper(&["top", "--once", "--json", pit]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again["top"], &again["threads"]), (&recorded["top"], &recorded["threads"]));
    let table = pitviper(&["top", "--once", &format!("{pit}@250ms")]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().next().unwrap().ends_with(" 0.2 s") && table.contains("compute ("), "{table}");
}

#[test]
fn without_a_terminal_there_is_a_table_after_each_interval_until_the_end() {
    let Some(python) = python("3.13") else { return };
    let mut target = Some(start(python, BUSY));
    let pid = target.as_ref().unwrap().pid().to_string();
    let mut top = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["top", "--refresh", "150ms", "--pid", &pid])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(top.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    while std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0 {
        seen += u32::from(line.contains(&format!("(pid {pid})")));
        if seen == 2 && line.contains("(pid") {
            drop(target.take());
        }
        line.clear();
    }
    assert!(top.wait().unwrap().success());
    assert!(seen >= 2, "{seen} tables");
}

#[test]
fn a_program_that_top_starts_runs_to_its_end_and_its_code_is_ours() {
    let Some(python) = python("3.13") else { return };
    // It goes on until its input ends, which is when the table is there.
    let program = "import sys\nsys.stdin.read()\nraise SystemExit(7)\n";
    let (inside, outside) = python.place(program);
    let mut top = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["top", "--once", "-d", "200ms", "--idle", "--"])
        .args(&python.command)
        .arg(inside)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = top.stdin.take();
    let mut output = BufReader::new(top.stdout.take().unwrap());
    let mut text = String::new();
    // A line without anything in it ends each of its two parts, and the head.
    while text.matches("\n\n").count() < 3 && output.read_line(&mut text).unwrap() > 0 {}
    drop(input);
    output.read_to_string(&mut text).unwrap();
    assert_eq!(top.wait().unwrap().code(), Some(7), "{text}");
    std::fs::remove_file(outside).unwrap();
    assert!(text.contains("<module>") && text.contains("read from pipe in <module>"), "{text}");
}
