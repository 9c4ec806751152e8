//! A pause holds every thread still, lets all of them go, and takes nothing away from the target.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::thread;
use std::time::Duration;

use pitviper::target::{PauseError, Pauser, Proc, Process};
use support::{PARK, Target, python, pythons, start};

const DEADLINE: Duration = Duration::from_secs(5);

/// Four threads that compute and one that waits.
const BUSY: &str = "import sys, threading\n\ndef busy():\n    n = 0\n    while True:\n        n += 1\n\nfor _ in range(4):\n    t = threading.Thread(target=busy)\n    t.daemon = True\n    t.start()\n";

/// The kernel's letter for the state of each thread.
fn states(target: &Target) -> Vec<char> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    stats.map(|stat| stat.rsplit(')').next().unwrap().trim().chars().next().unwrap()).collect()
}

fn process(target: &Target) -> Process {
    Process::open(&Proc::default(), target.pid()).unwrap()
}

#[test]
fn all_threads_hold_still_and_all_go_on() {
    for python in pythons() {
        let mut target = start(python, &(BUSY.to_owned() + PARK));
        let (process, mut pauser) = (process(&target), Pauser::default());
        for _ in 0..20 {
            let paused = pauser.pause(&process, DEADLINE).expect("it can be paused");
            let held = states(&target);
            assert!(held.len() == 5 && held.iter().all(|state| *state == 't'), "{}: {held:?}", python.name);
            assert!(paused.length() < DEADLINE);
            drop(paused);
            let going = states(&target);
            assert!(!going.contains(&'t') && !going.contains(&'T'), "{}: {going:?}", python.name);
        }
        target.finish(); // which it can only if it runs
    }
}

#[test]
fn no_signal_is_lost_on_the_way_through_a_pause() {
    // Real-time signals queue: as many arrive as were sent.
    const SIGNALS: usize = 200;
    // Python's own handlers run once for several of them, but each writes a byte to the wake-up descriptor.
    let program = "import os, select, signal, sys\nsignal.signal(signal.SIGRTMIN + 3, lambda *args: None)\n\
                   r, w = os.pipe()\nos.set_blocking(w, False)\nsignal.set_wakeup_fd(w)\n\
                   sys.stdout.write('ready\\n'); sys.stdout.flush()\ncount = 0\n\
                   while True:\n    found = select.select([r, 0], [], [])[0]\n    \
                   if r in found: count += len(os.read(r, 4096))\n    elif found: break\n\
                   sys.stdout.write('%d\\n' % count); sys.stdout.flush()\n";
    for name in ["3.8", "3.13", "3.15-debian"] {
        let Some(python) = python(name) else { continue };
        let mut target = start(python, program);
        let (process, pid) = (process(&target), target.pid().to_string());
        let sender = thread::spawn(move || {
            for _ in 0..SIGNALS {
                assert!(Command::new("kill").args(["-RTMIN+3", &pid]).status().unwrap().success());
            }
        });
        let mut pauser = Pauser::default();
        while !sender.is_finished() {
            match pauser.pause(&process, DEADLINE) {
                Ok(paused) => drop(paused),
                Err(error) => assert_eq!(error, PauseError::Gone, "{name}"),
            }
        }
        sender.join().unwrap();
        target.tell("how many?");
        assert_eq!(target.line(), SIGNALS.to_string(), "{name}");
    }
}

#[test]
fn a_target_goes_on_when_whoever_paused_it_is_no_more() {
    let Some(python) = python("3.12") else { return };
    let mut target = start(python, &(BUSY.to_owned() + PARK));
    let process = process(&target);
    thread::spawn(move || {
        let mut pauser = Pauser::default();
        std::mem::forget(pauser.pause(&process, DEADLINE).expect("it can be paused"));
    })
    .join()
    .unwrap();
    assert!(!states(&target).contains(&'t'), "{:?}", states(&target));
    target.finish();
}

#[test]
fn a_target_that_is_traced_already_or_gone_is_left_alone() {
    let Some(python) = python("3.12") else { return };
    let mut target = start(python, PARK);
    let process = process(&target);
    let mut first = Pauser::default();
    let paused = first.pause(&process, DEADLINE).expect("it can be paused");
    let second = thread::scope(|scope| {
        scope.spawn(|| Pauser::default().pause(&process, DEADLINE).map(|_| ())).join().unwrap()
    });
    assert_eq!(second, Err(PauseError::Refused));
    drop(paused);
    target.finish();
    assert_eq!(first.pause(&process, DEADLINE).map(|_| ()), Err(PauseError::Gone));
}
