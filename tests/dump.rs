//! `dump` says what the target says of itself, whatever its names, its lines and its children are like.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{PARK, Python, Target, pitviper, pythons};

/// How often a program is asked until two answers agree.
const PATIENCE: usize = 50;

/// Starts a program under a name of its own, in a directory that the Python sees.
fn start_as(python: &Python, name: &str, program: &str) -> (Target, String, tempfile::TempDir) {
    let inside = |path: &Path| match python.root() {
        Some(root) => Path::new("/").join(path.strip_prefix(root).unwrap()),
        None => path.to_owned(),
    };
    let base = python.root().map_or_else(std::env::temp_dir, |root| root.join("tmp"));
    let dir = tempfile::tempdir_in(base).unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, program).unwrap();
    let seen = inside(&file);
    let mut command = Command::new(&python.command[0]);
    command.args(&python.command[1..]).arg(&seen).env("LC_ALL", "C.UTF-8");
    (Target::spawn(command), seen.to_str().unwrap().to_owned(), dir)
}

fn dump(pid: i32) -> Value {
    let output = pitviper(&["dump", "--json", "--pid", &pid.to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object on a line")
}

fn threads(dump: &Value) -> &Vec<Value> {
    dump["threads"].as_array().expect("threads")
}

/// Name, file and line of the frames of the main thread, innermost first.
fn main_frames(dump: &Value) -> Vec<(String, String, u64)> {
    let main = threads(dump).iter().find(|t| t["main"] == true);
    frames(main.unwrap_or_else(|| panic!("no main thread: {dump}")))
}

/// Name, file and line of the frames of a thread, innermost first.
fn frames(thread: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let frames = thread["frames"].as_array().unwrap().iter();
    frames.map(|f| (text(&f["name"]), text(&f["file"]), f["line"].as_u64().unwrap_or(0))).collect()
}

#[track_caller]
fn check(python: &Python, name: &str, program: &str, expected: &[(&str, u64)]) {
    let (target, file, _dir) = start_as(python, name, program);
    let dump = dump(target.pid());
    assert_eq!(threads(&dump).len(), 1, "{}: {dump}", python.name);
    // Who never imported `threading` has only the kernel's name of a thread.
    let name = threads(&dump)[0]["name"].as_str().unwrap().to_owned();
    assert!(name == "MainThread" || name.starts_with("python"), "{}: {name}", python.name);
    let expected: Vec<_> =
        expected.iter().map(|(function, line)| ((*function).to_owned(), file.clone(), *line)).collect();
    assert_eq!(main_frames(&dump), expected, "{}", python.name);
}

#[test]
fn the_json_is_what_the_target_says_of_itself_frame_by_frame() {
    for python in pythons() {
        let (mut target, _, _dir) = start_as(python, "parked.py", include_str!("programs/parked.py"));
        let ask = |target: &mut Target| -> Value {
            target.tell("");
            serde_json::from_str(&target.line()).unwrap()
        };
        let mut truth = ask(&mut target);
        let dump = (0..PATIENCE)
            .find_map(|_| {
                let seen = dump(target.pid());
                let after = ask(&mut target);
                let rests = after == truth;
                truth = after;
                rests.then_some(seen)
            })
            .expect("the program comes to rest");
        let said = truth["threads"].as_object().unwrap();
        let names: BTreeSet<&str> = threads(&dump).iter().map(|t| t["name"].as_str().unwrap()).collect();
        assert_eq!(names, said.keys().map(String::as_str).collect(), "{}", python.name);
        for (name, truth) in said {
            let truth: Vec<_> = truth["frames"].as_array().unwrap().iter().collect();
            let seen = threads(&dump).iter().find(|t| t["name"] == name.as_str()).map(frames).unwrap();
            assert_eq!(seen.len(), truth.len(), "{}: {name}", python.name);
            // The one who answers was asked at one place of its function and waits at another.
            let first = usize::from(name == "clerk");
            for (seen, truth) in seen.iter().zip(truth).skip(first) {
                let truth =
                    (truth[0].as_str().unwrap(), truth[2].as_str().unwrap(), truth[3].as_u64().unwrap());
                assert_eq!((seen.0.as_str(), seen.1.as_str(), seen.2), truth, "{}: {name}", python.name);
            }
        }
        assert_eq!(dump["python"]["version"], python.version.as_str(), "{}", python.name);
        assert_eq!(dump["pid"], target.pid());
    }
}

#[test]
fn a_long_wait_is_one_stack_that_does_not_move() {
    let program = "import sys\n\n\ndef longsleep():\n    sys.stdin.read()\n\n\nsys.stdout.write('ready\\n'); sys.stdout.flush()\nlongsleep()\n";
    for python in pythons() {
        check(python, "longsleep.py", program, &[("longsleep", 5), ("<module>", 9)]);
    }
}

#[test]
fn names_of_every_script_and_emoji_in_file_names_come_through() {
    let ready = "import sys\nsys.stdout.write('ready\\n'); sys.stdout.flush()\n";
    for python in pythons() {
        let program = format!("{ready}def function1():\n    sys.stdin.read()\nfunction1()\n");
        check(python, "unicode\u{1f4a9}.py", &program, &[("function1", 4), ("<module>", 5)]);
        if python.minor().0 == 2 {
            println!("{}: skipped for names that are not ASCII, which Python 2 does not have", python.name);
            continue;
        }
        let program = format!("{ready}def кириллица(arg):\n    sys.stdin.read()\nкириллица(0)\n");
        check(python, "cyrillic.py", &program, &[("кириллица", 4), ("<module>", 5)]);
    }
}

#[test]
fn lines_that_go_backwards_are_right() {
    // The call's arguments stand on later lines than what is evaluated last, so the table of lines steps back.
    let program = "import sys\nsys.stdout.write('ready\\n'); sys.stdout.flush()\n\n\ndef f(read, *rest):\n    return [\n        read()\n        for\n        x\n        in [1]\n    ]\n\n\nf(\n    sys.stdin.read,\n    1,\n    2,\n)\n";
    for python in pythons() {
        let (target, _, _dir) = start_as(python, "negative.py", program);
        let dump = dump(target.pid());
        let frames = main_frames(&dump);
        let names: Vec<&str> = frames.iter().map(|frame| frame.0.as_str()).collect();
        // Python 2 and 3.12 on run a list comprehension in its function's own frame.
        let inlined = python.minor().0 == 2 || python.minor() >= (3, 12);
        let expected: &[&str] = if inlined { &["f", "<module>"] } else { &["<listcomp>", "f", "<module>"] };
        assert_eq!(names, expected, "{}", python.name);
        for (name, _, line) in &frames {
            let lines = if name == "<module>" { 14..=18 } else { 6..=11 };
            assert!(lines.contains(line), "{}: {name} at {line}", python.name);
        }
    }
}

#[test]
fn threads_have_the_names_that_the_program_gave_them() {
    let program = "import sys, threading\n\ngate = threading.Event()\nfor n in range(10):\n    t = threading.Thread(target=gate.wait, name='CustomThreadName-%d' % n)\n    t.daemon = True\n    t.start()\n";
    for python in pythons() {
        let (target, _, _dir) = start_as(python, "thread_names.py", &(program.to_owned() + PARK));
        let dump = dump(target.pid());
        let names: BTreeSet<&str> = threads(&dump).iter().map(|t| t["name"].as_str().unwrap()).collect();
        let mut expected: BTreeSet<String> = (0..10).map(|n| format!("CustomThreadName-{n}")).collect();
        expected.insert("MainThread".into());
        assert_eq!(names, expected.iter().map(String::as_str).collect(), "{}", python.name);
        let ids: BTreeSet<_> = threads(&dump).iter().map(|t| t["native_id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), 11, "{}", python.name);
        let main: Vec<_> = threads(&dump).iter().filter(|t| t["main"] == true).collect();
        assert_eq!(main.len(), 1, "{}", python.name);
        assert_eq!(main[0]["native_id"], target.pid(), "{}", python.name);
    }
}

#[test]
fn a_busy_loop_holds_the_gil_and_a_sleeper_does_not() {
    let program = "import sys, threading\n\ndef busy():\n    n = 0\n    while True:\n        n += 1\n\nt = threading.Thread(target=busy, name='busy')\nt.daemon = True\nt.start()\n";
    for python in pythons() {
        let (target, _, _dir) = start_as(python, "busy.py", &(program.to_owned() + PARK));
        let mut held: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..8 {
            let dump = dump(target.pid());
            for thread in threads(&dump).iter().filter(|t| t["holds_gil"] == true) {
                *held.entry(thread["name"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        // The busy thread lets go of the GIL only for moments.
        assert!(held.get("busy").is_some_and(|count| *count >= 5), "{}: {held:?}", python.name);
        assert_eq!(held.get("MainThread"), None, "{}", python.name);
    }
}

#[test]
fn a_zombie_child_harms_nobody() {
    let program = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', ''], stdout=subprocess.PIPE)\nchild.stdout.read()\n";
    for python in pythons() {
        let (target, _, _dir) = start_as(python, "zombie.py", &(program.to_owned() + PARK));
        let dump = dump(target.pid());
        assert_eq!(main_frames(&dump).last().unwrap().0, "<module>", "{}", python.name);
    }
}

#[test]
fn several_processes_are_dumped_one_after_the_other() {
    let pythons: Vec<_> = pythons().iter().take(2).collect();
    let targets: Vec<_> = pythons.iter().map(|python| support::start(python, PARK)).collect();
    let pids: Vec<String> = targets.iter().map(|target| target.pid().to_string()).collect();
    let output = pitviper(&["dump", "--pid", &pids.join(",")]);
    let text = String::from_utf8(output.stdout).unwrap();
    for pid in pids {
        assert_eq!(text.matches(&format!("Process {pid}: ")).count(), 1, "{text}");
    }
}
