//! The self-checks: the right layout passes them, and a wrong one fails and harms nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod support;

use pitviper::layout::Catalogue;
use pitviper::python::check::{self, Verdict};
use pitviper::target::locate::locate;
use pitviper::target::{Proc, Process};
use support::{PARK, pythons, start};

#[test]
fn the_layout_of_every_python_passes() {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    for python in pythons() {
        let target = start(python, PARK);
        let process = Process::open(&Proc::default(), target.pid()).expect("it lives");
        let located = locate(&process, &catalogue).expect("it is found");
        let checks = check::run(&located, process.memory(), &process.threads());
        assert!(check::passed(&checks), "{}: {checks:#?}", python.name);
        let skipped = checks.iter().filter(|check| matches!(check.verdict, Verdict::Skipped(_))).count();
        // A free-threaded build has no rings of tracked objects; all others are checked for everything.
        let expected = if python.name.ends_with('t') { 2 } else { 0 };
        assert_eq!(skipped, expected, "{}: {checks:#?}", python.name);
    }
}

#[test]
fn the_layout_of_another_version_fails() {
    let catalogue = Catalogue::load(None).expect("the layouts read");
    for python in pythons() {
        let target = start(python, PARK);
        let process = Process::open(&Proc::default(), target.pid()).expect("it lives");
        let right = locate(&process, &catalogue).expect("it is found");
        for entry in catalogue.entries() {
            let (major, minor) = python.minor();
            if (u32::from(entry.meta.python.0), u32::from(entry.meta.python.1)) == (major, minor) {
                continue;
            }
            let mut wrong = right.clone();
            wrong.chosen.layout = entry.layout.clone();
            let checks = check::run(&wrong, process.memory(), &process.threads());
            assert!(!check::passed(&checks), "{} passes as {}", python.name, entry.layout.name);
        }
    }
}
