//! `--subprocesses`: children of every kind, such as come later, become others, vanish or may not be read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pitviper::model::{ProcessId, ProcessState};
use pitviper::recording::{self, Recording};
use support::{PARK, Python, Target, install, pitviper, python, pythons, some, start, wait_until};

const FAMILY: &str = include_str!("programs/family.py");

fn open(path: &Path) -> Recording {
    recording::open(path).expect("the recording opens")
}

#[track_caller]
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {said}", output.status);
    said
}

/// The names of the functions that samples of each process show.
fn functions(recording: &Recording) -> BTreeMap<u32, BTreeSet<String>> {
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (track, rows) in recording.tracks.iter().zip(&recording.samples) {
        let names = found.entry(track.process.0).or_default();
        for stack in rows.iter().filter_map(|row| row.stack) {
            names.extend(recording.frames_of(stack).map(|frame| recording.string(frame.name).to_owned()));
        }
    }
    found
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The four Pythons of the family: itself, and those that it said.
fn family(target: &mut Target) -> Vec<u32> {
    let line = target.line();
    let pids: Vec<u32> = line.split(' ').map(|pid| pid.parse().expect(&line)).collect();
    assert_eq!((pids.len(), pids[0]), (4, target.pid() as u32));
    pids
}

#[test]
fn every_python_of_a_family_is_in_one_recording_and_nobody_else_is() {
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("family.pit");
        let mut target = start(python, FAMILY);
        let pids = family(&mut target);
        let pid = target.pid().to_string();
        let attach = Command::new(env!("CARGO_BIN_EXE_pitviper"))
            .args(["attach", "-s", "-p", &pid, "-o", file.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let met = |recording: Recording| {
            recording.samples.len() == 4 && recording.samples.iter().all(|rows| !rows.is_empty())
        };
        wait_until("all of them", || recording::open(&file).is_ok_and(met));
        signal(attach.id(), "INT");
        let said = said(&attach.wait_with_output().unwrap());
        assert!(!said.contains("not sampled"), "{}: {said}", python.name);
        let recording = open(&file);
        let achieved = recording.meta.achieved.clone().unwrap();
        assert_eq!(achieved.errors, 0, "{}", python.name);
        let found: BTreeMap<u32, Option<ProcessId>> =
            recording.processes.iter().map(|process| (process.pid, process.parent)).collect();
        let expected: BTreeMap<u32, Option<ProcessId>> =
            pids.iter().map(|pid| (*pid, (*pid != pids[0]).then_some(ProcessId(0)))).collect();
        assert_eq!(found, expected, "{}", python.name);
        assert_eq!(recording.processes.len(), 4, "{}", python.name);
        let functions = functions(&recording);
        for (pid, name) in pids.iter().zip(["<module>", "burn", "rest", "spawned"]) {
            let id = recording.processes.iter().position(|process| process.pid == *pid).unwrap() as u32;
            assert!(functions[&id].contains(name), "{}: {name} not in {:?}", python.name, functions[&id]);
            let forked = ProcessState::Forked(ProcessId(id));
            let forks = recording.process_events.iter().filter(|event| event.state == forked).count();
            assert_eq!(forks, usize::from(id != 0), "{}: {name}", python.name);
        }
    }
}

#[test]
fn dump_shows_every_python_of_a_family_once() {
    for python in pythons() {
        let mut target = start(python, FAMILY);
        let pids = family(&mut target);
        let output = pitviper(&["dump", "-s", "-p", &target.pid().to_string()]);
        said(&output);
        let shown = String::from_utf8(output.stdout).unwrap();
        let heads: BTreeSet<u32> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("Process ")?.split(':').next()?.parse().ok())
            .collect();
        assert_eq!(heads, pids.iter().copied().collect(), "{}: {shown}", python.name);
        assert_eq!(shown.matches("\nPython ").count(), 4, "{}: {shown}", python.name);
        for name in ["burn", "rest", "spawned"] {
            assert_eq!(
                shown.matches(&format!("    {name} (")).count(),
                1,
                "{}: {name}: {shown}",
                python.name
            );
        }
    }
}

/// A shell that says `ready`, waits for a line, runs `program` in a Python, and ends with 3.
fn shell(python: &Python, program: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo ready; read go; \"$@\"; exit 3", "sh"]).args(&python.command).arg(program);
    shell
}

/// Runs a function until it is told, by a signal, that it was seen; gives up when there can be nobody left to tell it.
const UNTIL_SEEN: &str = "\
import signal, time\n\nend = time.time() + 60\nseen = []\nsignal.signal(signal.SIGUSR1, lambda *_: seen.append(1))\n\n\
def until_seen():\n    while not seen and time.time() < end:\n        pass\n\nuntil_seen()\n";

/// Waits until a recording that is being written shows a function, and tells its process so.
#[track_caller]
fn see(file: &Path, function: &str) {
    let process = || {
        let recording = recording::open(file).ok()?;
        let mut seen = functions(&recording).into_iter().filter(|(_, names)| names.contains(function));
        seen.next().map(|(process, _)| recording.processes[process as usize].pid)
    };
    wait_until(function, || process().is_some());
    signal(process().unwrap(), "USR1");
}

#[test]
fn a_python_that_a_shell_starts_later_is_followed_from_its_start() {
    for python in some() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("later.pit");
        let (inside, outside) = python.place(UNTIL_SEEN);
        let mut target = Target::spawn(shell(python, &inside));
        let attach = Command::new(env!("CARGO_BIN_EXE_pitviper"))
            .args(["attach", "-s", "-p", &target.pid().to_string(), "-o", file.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until("a recording", || file.metadata().is_ok_and(|meta| meta.len() > 0));
        target.tell("go");
        see(&file, "until_seen");
        said(&attach.wait_with_output().unwrap());
        std::fs::remove_file(outside).unwrap();
        let recording = open(&file);
        assert!(
            recording.ended && recording.processes.len() == 1,
            "{}: {:?}",
            python.name,
            recording.processes
        );
        assert_eq!(recording.processes[0].parent, None, "{}", python.name);
        assert!(functions(&recording)[&0].contains("until_seen"), "{}", python.name);
    }
}

#[test]
fn what_a_program_that_is_run_starts_is_followed_and_its_exit_code_comes_through() {
    for python in some() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.pit");
        let (inside, outside) = python.place(UNTIL_SEEN);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        command.args(["run", "-s", "-q", "-o", file.to_str().unwrap(), "--", "sh", "-c"]);
        command.arg("\"$@\"; exit 3").arg("sh").args(&python.command).arg(inside);
        let run = command.stderr(Stdio::piped()).spawn().unwrap();
        see(&file, "until_seen");
        let output = run.wait_with_output().unwrap();
        std::fs::remove_file(outside).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{}: {said}", python.name);
        assert!(functions(&open(&file))[&0].contains("until_seen"), "{}: {said}", python.name);
    }
}

#[test]
fn a_python_that_becomes_another_one_is_two_processes_of_one_pid() {
    let second = UNTIL_SEEN.replace("until_seen", "second");
    let program = format!(
        "import os, sys\n{}os.execv(sys.executable, [sys.executable, '-c', {second:?}])\n",
        UNTIL_SEEN.replace("until_seen", "first")
    );
    for python in some() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("exec.pit");
        let (inside, outside) = python.place(&program);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        command.args(["run", "-s", "-o", file.to_str().unwrap(), "--"]).args(&python.command).arg(inside);
        let run = command.stderr(Stdio::piped()).spawn().unwrap();
        ["first", "second"].into_iter().for_each(|function| see(&file, function));
        said(&run.wait_with_output().unwrap());
        std::fs::remove_file(outside).unwrap();
        let recording = open(&file);
        let pids: BTreeSet<u32> = recording.processes.iter().map(|process| process.pid).collect();
        assert_eq!((recording.processes.len(), pids.len()), (2, 1), "{}", python.name);
        let functions = functions(&recording);
        assert!(functions[&0].contains("first") && !functions[&0].contains("second"), "{}", python.name);
        assert!(functions[&1].contains("second") && !functions[&1].contains("first"), "{}", python.name);
        let mut ends: Vec<_> =
            recording.process_events.iter().map(|event| (event.process.0, event.state)).collect();
        ends.retain(|(_, state)| *state != ProcessState::Came);
        assert_eq!(ends, [(0, ProcessState::Exec), (1, ProcessState::Gone)], "{}", python.name);
    }
}

#[test]
fn who_becomes_another_program_unseen_is_not_taken_for_the_first() {
    let second =
        UNTIL_SEEN.replace("\n\nuntil_seen()", "\n\nimport os\nos.write(1, b'there\\n')\nuntil_seen()");
    let program = format!(
        "import os, sys\n\ndef first():\n    sys.stdin.readline()\n\nos.write(1, b'ready\\n')\nfirst()\n\
         os.execv(sys.executable, [sys.executable, '-c', {second:?}])\n"
    );
    for python in some() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("unseen.pit");
        let mut target = start(python, &program);
        let attach = Command::new(env!("CARGO_BIN_EXE_pitviper"))
            .args(["attach", "-s", "-p", &target.pid().to_string(), "-o", file.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let is_first = |names: &BTreeSet<String>| names.contains("first");
        wait_until("first", || recording::open(&file).is_ok_and(|it| functions(&it).values().any(is_first)));
        // Nobody looks while the next one starts.
        signal(attach.id(), "STOP");
        target.tell("go");
        assert_eq!(target.line(), "there");
        signal(attach.id(), "CONT");
        see(&file, "until_seen");
        said(&attach.wait_with_output().unwrap());
        let functions = functions(&open(&file));
        let names = |process: u32| {
            (functions[&process].contains("first"), functions[&process].contains("until_seen"))
        };
        assert_eq!(
            (functions.len(), names(0), names(1)),
            (2, (true, false), (false, true)),
            "{}",
            python.name
        );
    }
}

#[test]
fn a_storm_of_short_children_leaves_no_error() {
    // Some live until the storm is over.
    let program = "import os, time\n\ndef child():\n    end = time.time() + 0.03\n    while time.time() < end:\n        pass\n    os._exit(0)\n\n\
                   def stays():\n    os.close(living)\n    os.read(alive, 1)\n    os._exit(0)\n\n\
                   alive, living = os.pipe()\nstaying = []\n\
                   for turn in range(200):\n    pid = os.fork()\n    if pid == 0:\n        if turn in (10, 50, 90, 130): stays()\n        child()\n    \
                   if turn in (10, 50, 90, 130): staying.append(pid)\n    else: os.waitpid(pid, 0)\n\
                   os.close(living)\nfor pid in staying: os.waitpid(pid, 0)\n";
    some().for_each(|python| storm(python, program));
}

#[track_caller]
fn storm(python: &Python, program: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("storm.pit");
    let (inside, outside) = python.place(program);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
    command.args(["run", "-s", "-o", file.to_str().unwrap(), "--"]).args(&python.command).arg(inside);
    let said = said(&command.output().unwrap());
    std::fs::remove_file(outside).unwrap();
    assert!(!said.contains("not sampled"), "{}: {said}", python.name);
    let recording = open(&file);
    let achieved = recording.meta.achieved.clone().unwrap();
    assert!(recording.ended && achieved.errors == 0, "{}: {achieved:?}", python.name);
    let children = &recording.processes[1..];
    // How many of the others are met depends on how busy the machine is: each lives for a thirtieth of a second.
    assert!((4..=200).contains(&children.len()), "{}: {} children", python.name, children.len());
    let stayed = functions(&recording).into_values().filter(|names| names.contains("stays")).count();
    assert_eq!(stayed, 4, "{}", python.name);
    assert!(children.iter().all(|child| child.parent == Some(ProcessId(0))));
    let ends = recording.process_events.iter().filter(|event| event.state == ProcessState::Gone).count();
    assert_eq!(ends, recording.processes.len());
}

#[test]
fn a_child_that_may_not_be_read_is_said_and_harms_nobody() {
    // Only root can become somebody who may not, and only the system's own Python can be run by him: the others are
    // where only root may look.
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: we are not root");
    }
    let Some(python) = python("3.11-debian") else { return };
    let program = "import ctypes, os, sys\npipe, end = os.pipe()\nif os.fork() == 0:\n    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0\n    \
                   os.write(end, b'.')\n    sys.stdin.read()\n    os._exit(0)\nos.read(pipe, 1)\n\
                   sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()\n";
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let dir = tempfile::tempdir().unwrap();
    nix::unistd::chown(dir.path(), Some(nix::unistd::Uid::from_raw(65534)), None).unwrap();
    let (ours, file) = (dir.path().join("pitviper"), dir.path().join("closed.pit"));
    install(Path::new(env!("CARGO_BIN_EXE_pitviper")), &ours);
    let mut command = Command::new("setpriv");
    command.args(nobody).args(&python.command).args(["-c", program]);
    let target = Target::spawn(command);
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(ours).args(["attach", "-s", "-d", "0.3", "-p", &target.pid().to_string()]);
    let said = said(&command.arg("-o").arg(&file).output().unwrap());
    assert_eq!(said.matches("is not sampled: not permitted to read").count(), 1, "{said}");
    let recording = open(&file);
    assert_eq!((recording.processes.len(), recording.meta.achieved.clone().unwrap().errors), (1, 0));
    let texts = recording.troubles.iter().filter_map(|trouble| trouble.text);
    assert!(texts.map(|text| recording.string(text)).any(|text| text.contains("is not sampled")));
}

#[test]
fn several_processes_that_were_named_are_one_recording() {
    some().for_each(two);
}

#[track_caller]
fn two(python: &Python) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("two.pit");
    let (one, two) = (start(python, PARK), start(python, PARK));
    let pids = format!("{},{}", one.pid(), two.pid());
    said(&pitviper(&["attach", "-d", "0.2", "-p", &pids, "-o", file.to_str().unwrap()]));
    let recording = open(&file);
    let found: Vec<_> = recording.processes.iter().map(|process| process.pid as i32).collect();
    assert_eq!(found, [one.pid(), two.pid()], "{}", python.name);
    assert!(recording.samples.iter().all(|rows| !rows.is_empty()), "{}", python.name);
}

#[test]
fn a_family_without_any_python_is_said_to_be_none() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo ready; cat; exit 0"]);
    let target = Target::spawn(command);
    let output =
        pitviper(&["attach", "-s", "-d", "0.2", "-p", &target.pid().to_string(), "-f", "folded", "-o", "-"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("nor did it start one"), "{said}");
}
