//! Every way a Python can be hidden in a process, and that it is found nevertheless.

mod support;

use pitviper::layout::Catalogue;
use pitviper::memory::Addr;
use pitviper::target::locate::{LocateError, locate};
use pitviper::target::{Located, Proc, Process, Root};
use support::{PARK, Python, Target, pythons, start};

fn catalogue() -> Catalogue {
    Catalogue::load(None).expect("the embedded layouts are good")
}

/// Locates a Python and follows its list of interpreters with the layout that was chosen.
#[track_caller]
fn check(pid: i32, version: &str) -> Located {
    let process = Process::open(&Proc::default(), pid).expect("it runs");
    let located = locate(&process, &catalogue()).unwrap_or_else(|error| panic!("{version}: {error}"));
    assert_eq!(located.fingerprint.version.to_string(), version);
    assert!(!interpreters(&process, &located).is_empty());
    located
}

/// The interpreters of a process, each with a thread that belongs to it.
#[track_caller]
fn interpreters(process: &Process, located: &Located) -> Vec<Addr> {
    let memory: &dyn pitviper::memory::Memory = process.memory();
    let key = |section, key| located.chosen.layout.key(section, key).expect("the layout has it") as u64;
    let head = match located.root {
        Root::Runtime(at) => at.plus(key("runtime", "interpreters_head")),
        Root::InterpHead(at) => at,
    };
    let mut found = Vec::new();
    let mut interp: Addr = memory.get(head).expect("the root is there");
    while !interp.is_null() {
        let thread: Addr = memory.get(interp.plus(key("interp", "threads_head"))).expect("it has a thread");
        assert_eq!(memory.get(thread.plus(key("thread", "interp"))), Ok(interp));
        found.push(interp);
        interp = memory.get(interp.plus(key("interp", "next"))).expect("the list goes on");
    }
    found
}

#[test]
fn every_python_is_found_as_it_is_installed() {
    for python in pythons() {
        let target = start(python, PARK);
        let located = check(target.pid(), &python.version);
        let flags = (located.fingerprint.debug, located.fingerprint.free_threaded);
        assert_eq!(flags, (python.name.ends_with('d'), python.name.ends_with('t')), "{}", python.name);
        println!("{}: {} by {} in {:?}", python.name, located.chosen.layout.name, located.found_by, located.chosen.why);
        println!("    {:?}", located.module);
    }
}
