//! What is read of a collector is what the `gc` module of that very process says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use pitviper::layout::Catalogue;
use pitviper::python::collector::State;
use pitviper::python::gc::Collectors;
use pitviper::target::locate::locate;
use pitviper::target::{Proc, Process};
use serde::Deserialize;
use support::{Python, Target, pythons, start};

const COLLECTOR: &str = include_str!("programs/collector.py");

/// What `gc` says.
#[derive(Debug, Deserialize, PartialEq)]
struct Truth {
    count: [i32; 3],
    threshold: [i32; 3],
    /// None in 2.7.
    stats: Option<[[u64; 3]; 3]>,
    /// None before 3.7.
    frozen: Option<u64>,
    garbage: u64,
    enabled: bool,
}

/// A process whose collectors are read.
struct Seen {
    target: Target,
    process: Process,
    collectors: Collectors,
    /// No list says what is frozen in a free-threaded build.
    lists: bool,
}

impl Seen {
    fn open(python: &Python, program: &str) -> Seen {
        let target = start(python, program);
        let process = Process::open(&Proc::default(), target.pid()).expect("it lives");
        let located = locate(&process, &Catalogue::load(None).unwrap()).expect("it is found");
        let collectors = Collectors::bind(&located).expect("its layout has all");
        Seen { target, process, collectors, lists: !located.fingerprint.free_threaded }
    }

    fn read(&mut self) -> Vec<State> {
        self.collectors.read(self.process.memory()).to_vec()
    }

    /// Lets the target run a line, and holds what is seen against what it says.
    #[track_caller]
    fn check(&mut self, line: &str) -> Truth {
        self.target.tell(&format!("exec({line:?})"));
        let truth: Truth = serde_json::from_str(&self.target.line()).expect("it answers in JSON");
        let states = self.read();
        let [state] = states.as_slice() else { panic!("{states:?}") };
        self.compare(line, state, &truth);
        truth
    }

    #[track_caller]
    fn compare(&self, line: &str, state: &State, truth: &Truth) {
        let generations = &state.generations;
        assert_eq!(state.collecting, Some(false), "{line}");
        assert_eq!(generations.map(|generation| generation.count), truth.count, "{line}: counts");
        assert_eq!(generations.map(|generation| generation.threshold), truth.threshold, "{line}: thresholds");
        let stats = generations.map(|generation| generation.totals);
        let stats = stats.map(|totals| totals.map(|t| [t.collections, t.collected, t.uncollectable]));
        assert_eq!(stats, truth.stats.map_or([None; 3], |stats| stats.map(Some)), "{line}: stats");
        assert_eq!(state.enabled, Some(truth.enabled), "{line}: enabled");
        let memory = self.process.memory();
        let frozen = truth.frozen.filter(|_| self.lists);
        assert_eq!(self.collectors.frozen(memory, state.interpreter), frozen, "{line}: frozen");
        assert_eq!(
            self.collectors.garbage(memory, state.interpreter),
            Some(truth.garbage),
            "{line}: garbage"
        );
    }
}

#[test]
fn counts_thresholds_totals_and_the_frozen_are_what_gc_says() {
    for python in pythons() {
        let mut seen = Seen::open(python, COLLECTOR);
        println!("{}", python.name);
        let first = seen.check("pass");
        seen.check("gc.collect()");
        seen.check("gc.collect(0); gc.collect(1)");
        let more = seen.check("junk = [[[]] for n in range(20000)]");
        // A program that never makes garbage collects all the same: it was seen to do so by itself.
        if let Some((first, more)) = first.stats.zip(more.stats) {
            assert!(more.iter().map(|s| s[0]).sum::<u64>() > first.iter().map(|s| s[0]).sum::<u64>() + 3);
        }
        let cycles = seen.check("for n in range(300):\n c = []; c.append(c)\ngc.collect()");
        assert!(cycles.stats.is_none_or(|stats| stats.iter().map(|s| s[1]).sum::<u64>() >= 299));
        let off = seen.check("gc.disable()");
        assert!(!off.enabled);
        // No collection sets it back.
        let grown = seen.check("grown = [[] for n in range(5000)]");
        assert!(python.name.ends_with('t') || grown.count[0] >= 4000, "{grown:?}");
        let set = seen.check("gc.set_threshold(1234, 56, 7)");
        assert_eq!(set.threshold[0], 1234);
        if first.frozen.is_some() {
            let frozen = seen.check("gc.freeze()");
            assert!(frozen.frozen > first.frozen, "{frozen:?}");
            assert_eq!(seen.check("gc.unfreeze()").frozen, Some(0));
        }
        let kept = seen
            .check("class Odd(object):\n def __del__(self): pass\n\na = Odd(); a.a = a; del a; gc.collect()");
        // PEP 442 made an end of what cannot be collected.
        assert_eq!(kept.garbage, u64::from(python.minor() < (3, 4)));
        seen.check(
            "gc.set_debug(gc.DEBUG_SAVEALL); x = []; x.append(x); del x; gc.collect(); gc.set_debug(0)",
        );
        seen.check("gc.enable()");
    }
}

#[test]
fn an_interpreter_of_its_own_has_its_own_collector() {
    let run = "try:
 import _interpreters as interpreters
except ImportError:
 import _xxsubinterpreters as \
               interpreters
run = getattr(interpreters, 'exec', None) or interpreters.run_string
\
               run(interpreters.create(), CODE)
";
    for python in pythons().iter().filter(|python| python.minor() >= (3, 9)) {
        println!("{}", python.name);
        let mut seen = Seen::open(python, &format!("CODE = {COLLECTOR:?}\n{run}"));
        seen.target.tell("gc.set_threshold(77, 6, 5); gc.collect(); junk = [[] for n in range(3000)]");
        let truth: Truth = serde_json::from_str(&seen.target.line()).expect("it answers in JSON");
        let states = seen.read();
        let [main, own] = states.as_slice() else { panic!("{states:?}") };
        assert_eq!(main.interpreter, 0);
        assert!(own.interpreter > 0);
        seen.compare("within", own, &truth);
        assert_eq!(truth.threshold[0], 77);
        assert_ne!(main.generations.map(|generation| generation.threshold), truth.threshold);
    }
}
