//! Programs that leave nothing as it was, and programs at the far end of what there is.
//!
//! `scripts/soak churn` is the long form of what is held here for a second.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pitviper::layout::Catalogue;
use pitviper::model::{Quality, TroubleKind};
use pitviper::python::Python as Seen;
use pitviper::recording;
use pitviper::target::locate::locate;
use pitviper::target::{Proc, Process};
use support::{Target, python, pythons, start, wait_until};

/// A process under observation.
fn open(target: &Target) -> (Process, Seen) {
    let process = Process::open(&Proc::default(), target.pid()).expect("it lives");
    let located = locate(&process, &Catalogue::load(None).expect("the layouts read")).expect("it is found");
    let seen = Seen::open(&located).expect("its layout has all");
    (process, seen)
}

/// Names and files of a thread's frames, innermost first.
fn frames(seen: &Seen, place: usize) -> Vec<(String, String)> {
    let frames = seen.frames(&seen.seen.threads[place]);
    let codes = frames.map(|frame| seen.codes.get(frame.code).expect("a code of this look"));
    codes.map(|code| (code.name.clone(), code.filename.clone())).collect()
}

/// Says what is wrong with a stack of `programs/churn.py`.
fn wrong(frames: &[(String, String)]) -> Option<&'static str> {
    const OWN: [&str; 12] = [
        "<module>",
        "make",
        "functions",
        "under",
        "over",
        "generators",
        "brief",
        "threads",
        "worlds",
        "<genexpr>",
        "<lambda>",
        "<listcomp>",
    ];
    for (name, file) in frames {
        let file = file.rsplit('/').next().unwrap_or_default();
        if let Some(made) = file.strip_suffix(".py").filter(|file| file.starts_with("made_")) {
            if name != made && name != "<module>" && name != "<genexpr>" {
                return Some("a made function is in its own file");
            }
        } else if name.starts_with("made_") {
            return Some("a made function is in no other file");
        } else if file.starts_with("pitviper-test") && !OWN.contains(&name.as_str()) {
            return Some("this file has no such function");
        }
    }
    let calls = |caller: &str, callee: &str| {
        frames.windows(2).any(|pair| pair[1].0 == caller && pair[0].0.starts_with(callee))
    };
    (calls("generators", "under")
        || calls("brief", "under")
        || calls("over", "made_")
        || calls("threads", "over"))
    .then_some("nobody calls that there")
}

#[test]
fn nothing_that_is_born_and_dies_has_a_wrong_name() {
    let seconds =
        std::env::var("PITVIPER_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    for python in pythons() {
        let target = start(python, include_str!("programs/churn.py"));
        let (process, mut seen) = open(&target);
        let began = Instant::now();
        let (mut looks, mut whole, mut all) = (0, 0, 0);
        while began.elapsed() < Duration::from_secs_f64(seconds) {
            seen.look(process.memory(), &process.threads());
            looks += 1;
            for place in 0..seen.seen.threads.len() {
                let frames = frames(&seen, place);
                let flaw = wrong(&frames);
                let quality = seen.seen.threads[place].quality;
                assert_eq!(flaw, None, "{}: {quality:?} {frames:?}", python.name);
                all += 1;
                whole += usize::from(!quality.is_partial());
            }
        }
        assert!(process.alive(), "{}: the program has ended", python.name);
        println!("{}: {looks} looks, {whole} of {all} stacks whole or probable", python.name);
        if python.minor() < (3, 8) {
            println!("{}: without interpreters that are born: it cannot make one from Python", python.name);
        }
        assert!(looks > 10 && whole * 10 >= all * 9, "{}: {whole} of {all}", python.name);
    }
}

#[test]
fn a_wrong_name_or_call_would_be_noticed() {
    let stack = |frames: &[(&str, &str)]| -> Vec<(String, String)> {
        frames.iter().map(|(name, file)| ((*name).to_owned(), (*file).to_owned())).collect()
    };
    assert_eq!(wrong(&stack(&[("made_7", "made_7.py"), ("functions", "/tmp/pitviper-test-1.py")])), None);
    // The list of threads that `threads` makes is a function of its own before 3.12.
    let comprehension = [("<listcomp>", "/tmp/pitviper-test-1.py"), ("threads", "/tmp/pitviper-test-1.py")];
    assert_eq!(wrong(&stack(&comprehension)), None);
    assert!(wrong(&stack(&[("made_7", "made_8.py")])).is_some());
    assert!(wrong(&stack(&[("made_7", "/tmp/pitviper-test-1.py")])).is_some());
    assert!(wrong(&stack(&[("join", "/tmp/pitviper-test-1.py")])).is_some());
    assert!(wrong(&stack(&[("under", "p.py"), ("generators", "p.py")])).is_some());
}

#[test]
fn ten_thousand_frames_are_read_to_the_last() {
    const DEPTH: usize = 10_000;
    let program = format!(
        "import sys, threading\nsys.setrecursionlimit({0} + 1000)\nthreading.stack_size(256 << 20)\n\
         def down(depth):\n    if depth == 0:\n        sys.stdout.write('ready\\n'); sys.stdout.flush()\n        \
         sys.stdin.readline()\n    else:\n        down(depth - 1)\n\
         thread = threading.Thread(target=down, args=({0} - 1,))\nthread.start()\nthread.join()\n",
        DEPTH
    );
    for python in pythons() {
        let target = start(python, &program);
        let (process, mut seen) = open(&target);
        // It is asleep in `readline` a moment after it said so.
        let found = (0..1000).find_map(|_| {
            seen.look(process.memory(), &process.threads());
            let place = seen.seen.threads.iter().position(|thread| !thread.main)?;
            (seen.seen.threads[place].quality == Quality::Whole).then(|| frames(&seen, place))
        });
        let found = found.unwrap_or_else(|| panic!("{}: not whole", python.name));
        let down = found.iter().filter(|(name, _)| name == "down").count();
        assert_eq!(down, DEPTH, "{}", python.name);
    }
}

#[test]
fn a_thousand_threads_are_seen_in_one_look() {
    const THREADS: usize = 1000;
    let program = format!(
        "import sys, threading\nthreading.stack_size(256 << 10)\ngate = threading.Lock()\ngate.acquire()\n\
         def wait():\n    gate.acquire()\n\
         for number in range({THREADS}):\n    thread = threading.Thread(target=wait)\n    thread.daemon = True\n    \
         thread.start()\n{}",
        support::PARK
    );
    for python in pythons() {
        let target = start(python, &program);
        let (process, mut seen) = open(&target);
        let waits = |seen: &Seen| {
            let places = 0..seen.seen.threads.len();
            places
                .filter(|place| frames(seen, *place).first().is_some_and(|(name, _)| name == "wait"))
                .count()
        };
        let mut best = 0;
        // The last of them come to their lock a moment after the program said that they were started.
        for _ in 0..1000 {
            seen.look(process.memory(), &process.threads());
            best = waits(&seen);
            if best == THREADS {
                break;
            }
        }
        assert_eq!((best, seen.seen.threads.len()), (THREADS, THREADS + 1), "{}", python.name);
    }
}

#[test]
fn a_target_that_is_stopped_is_seen_where_it_stopped() {
    for python in pythons() {
        let target = start(python, include_str!("programs/recursive.py"));
        let pid = nix::unistd::Pid::from_raw(target.pid());
        let (process, mut seen) = open(&target);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        let stopped = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
        wait_until("a stopped process", stopped);
        seen.look(process.memory(), &process.threads());
        let first = frames(&seen, 0);
        assert_eq!(first.last().map(|(name, _)| name.as_str()), Some("<module>"), "{}", python.name);
        for _ in 0..20 {
            seen.look(process.memory(), &process.threads());
            assert_eq!((frames(&seen, 0), seen.seen.threads[0].quality), (first.clone(), Quality::Whole));
        }
        assert!(stopped(), "{}: nobody let it go on", python.name);
    }
}

#[test]
fn a_profiler_that_was_suspended_has_one_gap_and_no_thousand_missed_looks() {
    let Some(python) = python("3.12") else { return };
    let target = start(python, include_str!("programs/recursive.py"));
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("a.pit");
    let mut profiler = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["attach", "-q", "-r", "50", "-d", "4", "--pid", &target.pid().to_string(), "-o"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = nix::unistd::Pid::from_raw(profiler.id() as i32);
    let has_samples = || {
        recording::open(&out).is_ok_and(|recording| recording.samples.iter().any(|track| !track.is_empty()))
    };
    wait_until("the first block", has_samples);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    // The suspension itself, and no waiting for something.
    std::thread::sleep(Duration::from_millis(1500));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(profiler.wait().unwrap().success());
    let recording = recording::open(&out).unwrap();
    let count = |kind| recording.troubles.iter().filter(|t| t.kind == kind).map(|t| t.count).sum::<u64>();
    assert_eq!(count(TroubleKind::Suspended), 1);
    // What a loaded machine lets pass is missed, and counted; the suspension alone would be 75.
    assert!(count(TroubleKind::Missed) < 70, "{}", count(TroubleKind::Missed));
}
