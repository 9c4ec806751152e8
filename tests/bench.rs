//! What the benchmark says of stacks: planted ones that never were are found, and those that can be are not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench");
    Command::new("python3").arg(script).args(arguments).output().unwrap()
}

fn source(program: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates =
        [root.join("benches/programs"), root.join("tests/programs")].map(|dir| dir.join(program));
    let found: &PathBuf = candidates.iter().find(|path| path.exists()).unwrap();
    std::fs::read_to_string(found).unwrap()
}

/// What the judge says of a file of one stack in one format.
#[track_caller]
fn judged(program: &str, format: &str, content: &[u8]) -> Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let output = bench(&["judge", program, file.path().to_str().unwrap(), "--format", format]);
    let said = serde_json::from_slice(&output.stdout);
    said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// A frame: its function, and text of the line that it is on; the last such line within the function's program.
type Frame = (&'static str, &'static str);

/// Where all stacks of a program start.
const MAIN: Frame = ("<module>", "drive()");

#[track_caller]
fn check(program: &str, frames: &[Frame], expected: &str) {
    let source = source(&format!("{program}.py"));
    let line_of =
        |text: &str| source.lines().enumerate().filter(|(_, line)| line.contains(text)).last().unwrap().0 + 1;
    let frames: Vec<String> = frames
        .iter()
        .map(|(name, at)| match at.split_once(".py:") {
            Some(_) => format!("{name} ({at})"),
            None if at.is_empty() => (*name).to_owned(),
            None => format!("{name} ({program}.py:{})", line_of(at)),
        })
        .collect();
    let said = judged(program, "folded", format!("{} 3\n", frames.join(";")).as_bytes());
    assert_eq!(said[expected], 3, "{said}");
}

#[test]
fn the_benchmark_says_how_it_is_used() {
    for arguments in [
        &["--help"][..],
        &["truth", "--help"],
        &["judge", "--help"],
        &["soak", "--help"],
        &["record", "--help"],
        &["heap", "--help"],
        &["gc", "--help"],
    ] {
        let output = bench(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.starts_with(b"usage: "), "{arguments:?}");
    }
    assert_eq!(bench(&["judge", "no_such_program", "x"]).status.code(), Some(2));
}

#[test]
fn chains_are_neither_mixed_nor_gapped() {
    let (drive_a, drive_b) = (("drive", "        a0()"), ("drive", "        b0()"));
    let (a0, a1, b1) = (("a0", "def a0("), ("a1", "def a1("), ("b1", "def b1("));
    check("call_churn", &[MAIN, drive_a, a0, a1], "whole");
    check("call_churn", &[MAIN, drive_a, a0, b1], "impossible");
    check("call_churn", &[MAIN, drive_a, a1], "impossible");
    check("call_churn", &[MAIN, drive_b, a0], "impossible");
    check("call_churn", &[drive_a, a0], "impossible");
    check("call_churn", &[MAIN, drive_a, a0, ("<torn>", "")], "partial");
    check("call_churn", &[("<torn>", ""), a0, a1], "partial");
    check("call_churn", &[MAIN, drive_b, a0, ("<torn>", "")], "impossible");
}

#[test]
fn a_leaf_stays_under_its_caller_and_in_its_half() {
    let hot_a = ("hot_a", "first = leaf_a()");
    check("flat_alternating", &[MAIN, ("drive", " hot_a()"), hot_a, ("leaf_a", "total += step")], "whole");
    check(
        "flat_alternating",
        &[MAIN, ("drive", " hot_a()"), hot_a, ("leaf_b", "total -= step")],
        "impossible",
    );
    check(
        "flat_alternating",
        &[MAIN, ("drive", " hot_a()"), hot_a, ("leaf_a", "total -= step")],
        "impossible",
    );

    let outer_a = [MAIN, ("drive", " outer_a()"), ("outer_a", "inner_a() +"), ("inner_a", "shared(True)")];
    check("shared_leaf", &[&outer_a[..], &[("shared", "total += step")]].concat(), "whole");
    check("shared_leaf", &[&outer_a[..], &[("shared", "total -= step")]].concat(), "impossible");
}

#[test]
fn a_generator_runs_in_its_consumers_loop_and_nowhere_else() {
    let start = [MAIN, ("drive", " sum_a()")];
    let with = |rest: &[Frame]| [&start[..], rest].concat();
    let under = ("under_a", "yield number * number");
    let (loop_a, in_gen) = (("sum_a", "in gen_a(20)"), ("gen_a", "in under_a(count)"));
    check("gen_alternating", &with(&[loop_a, in_gen, under]), "whole");
    check("gen_alternating", &with(&[loop_a, in_gen, ("under_b", "yield number + number")]), "impossible");
    check("gen_alternating", &with(&[("sum_a", "number * 3 % 7"), in_gen]), "impossible");
}

#[test]
fn a_recursion_has_all_its_frames() {
    let deep = |frames: usize| {
        let mut stack = vec![MAIN, ("drive", "down_a(DEPTH)")];
        stack.extend(std::iter::repeat_n(("down_a", "return down_a(left"), frames - 1));
        stack.extend([("down_a", "return bottom_a()"), ("bottom_a", "total += step")]);
        stack
    };
    check("deep_recursion", &deep(300), "whole");
    check("deep_recursion", &deep(299), "impossible");
    check("deep_recursion", &deep(301), "impossible");
}

#[test]
fn made_code_has_the_name_of_its_file_and_its_own_host() {
    let host = [MAIN, ("drive", "HOSTS[kind](scope"), ("host_3", "def host_3")];
    let with = |name, at| [&host[..], &[(name, at)]].concat();
    check("code_object_reuse", &with("made_3_11", "made_3_11.py:4"), "whole");
    check("code_object_reuse", &with("made_2_10", "made_2_10.py:4"), "impossible");
    check("code_object_reuse", &with("made_3_11", "made_3_19.py:4"), "impossible");
    check("code_object_reuse", &with("made_3_11", "made_3_11.py:40"), "impossible");
}

#[test]
fn frames_of_generated_code_are_known() {
    let start = [MAIN, ("drive", " step_a()"), ("step_a", "wide_a(1)")];
    let with = |name, at| [&start[..], &[("wide_a", "wide.py:4"), (name, at)]].concat();
    check("oversized_chunk", &with("inner_a", "value += step"), "whole");
    check("oversized_chunk", &with("inner_b", "value -= step"), "impossible");
}

#[test]
fn a_realistic_program_may_call_the_library_and_other_threads_are_left_out() {
    let start = [("<module>", "    main()"), ("main", "work(100000)")];
    let with = |rest: &[Frame]| [&start[..], rest].concat();
    let parse = [("work", "parse(line)"), ("parse", "json.loads(line)"), ("decode", "json/decoder.py:5")];
    check("shop", &with(&parse), "whole");
    check("shop", &with(&[("work", "parse(line)"), ("discount", "total += step")]), "impossible");
    check("shop", &[("_bootstrap", "threading.py:9"), ("wait_for_orders", "done.wait()")], "other");
}

#[test]
fn every_tools_own_format_is_read() {
    let collapsed = b"tid:7;shop.py:<module>:101;shop.py:main:92;shop.py:work:-1 5\n";
    assert_eq!(judged("shop", "collapsed", collapsed)["whole"], 5);
    // Strings 10 and 11, a frame of them on line 92, a stack of it, and one whose frame was invalid.
    let mut mojo = b"MOJ\x03".to_vec();
    let stack = b"\x02\x07\x000\0";
    mojo.extend(stack);
    mojo.extend(b"\x0b\x0ashop.py\0\x0b\x0bmain\0\x03\x05\x0a\x0b\x9c\x01\0\0\0\x05\x05\x09\x01");
    mojo.extend(stack);
    mojo.extend(b"\x04\x09\x01");
    let said = judged("shop", "mojo", &mojo);
    assert_eq!((&said["impossible"], &said["errors"]), (&1.into(), &1.into()), "{said}");
    assert_eq!(said["reasons"]["no base"], 1);
}
