//! What a look reads: one call for everything where nothing surprises it, and what it takes where something does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod taped;

use std::cell::{Cell, RefCell};

use pitviper::layout::{Catalogue, Layout};
use pitviper::memory::{Addr, Fault, Memory, Piece, Tape};
use pitviper::model::{Quality, Torn};
use pitviper::python::{Frame, Python};
use pitviper::target::{Located, Root, Thread};
use taped::{ThreadLabel, pages, seen, tapes};

/// Threads are listed anew after a while, so a look that does so is not counted; this many are tried.
const LOOKS: usize = 50;
/// Versions of each style: frames that are objects, and frames of the interpreter's own over a `_PyCFrame` and without.
const STYLES: [&str; 4] = ["3.8", "3.10", "3.11", "3.13"];

/// A tape that counts how it is read, and can be written to as if the program ran.
struct Counted {
    tape: RefCell<Tape>,
    calls: Cell<usize>,
    /// A word that is another one at every second look at it, in all calls that do not read the thread state there too.
    restless: Cell<Option<(Addr, Addr)>>,
}

impl Counted {
    fn new(tape: Tape) -> Counted {
        Counted { tape: RefCell::new(tape), calls: Cell::new(0), restless: Cell::new(None) }
    }

    /// Changes every second copy of the restless word.
    fn disturb(&self, pieces: &[Piece], buf: &mut [u8]) {
        let Some((word, state)) = self.restless.get() else { return };
        let holds = |piece: &Piece, at: Addr| (piece.addr.0..piece.addr.0 + piece.len as u64).contains(&at.0);
        if pieces.iter().any(|piece| holds(piece, state)) {
            return;
        }
        let (mut from, mut copies) = (0, 0);
        for piece in pieces {
            if holds(piece, word) {
                copies += 1;
                buf[from + (word.0 - piece.addr.0) as usize] ^= (copies % 2) * 2;
            }
            from += piece.len;
        }
    }
}

impl Memory for Counted {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        self.calls.set(self.calls.get() + 1);
        self.tape.borrow().read(addr, buf)
    }

    fn gather(&self, pieces: &mut [Piece], buf: &mut [u8]) {
        self.calls.set(self.calls.get() + 1);
        self.tape.borrow().gather(pieces, buf);
        self.disturb(pieces, buf);
    }
}

/// A recorded program under observation.
struct Played {
    name: String,
    memory: Counted,
    located: Located,
    tasks: Vec<Thread>,
    python: Python,
    /// What is to be seen as long as nothing is changed.
    expected: Vec<ThreadLabel>,
}

impl Played {
    fn all() -> Vec<Played> {
        let catalogue = Catalogue::load(None).expect("the layouts read");
        let play = |(name, label, tape): (String, taped::Label, Tape)| {
            let located = label.located(&catalogue);
            let python = Python::open(&located).expect("its layout has all");
            let memory = Counted::new(pages(&tape));
            let mut played =
                Played { name, memory, tasks: label.tasks(), located, python, expected: label.threads };
            played.look();
            played
        };
        tapes().into_iter().map(play).collect()
    }

    fn styles() -> Vec<Played> {
        Played::all().into_iter().filter(|played| STYLES.contains(&played.name.as_str())).collect()
    }

    fn look(&mut self) {
        self.python.look(&self.memory, &self.tasks);
    }

    /// Which of the threads has this name.
    fn place(&self, name: &str) -> usize {
        let place = self.expected.iter().position(|thread| thread.name.as_deref() == Some(name));
        place.expect("there is such a thread")
    }

    /// The fewest calls that a look makes.
    fn calls(&mut self) -> usize {
        let count = |_| {
            self.memory.calls.set(0);
            self.python.look(&self.memory, &self.tasks);
            self.memory.calls.get()
        };
        (0..LOOKS).map(count).min().expect("some")
    }

    fn layout(&self) -> &Layout {
        &self.located.chosen.layout
    }

    fn key(&self, section: &str, key: &str) -> u64 {
        self.layout().key(section, key).unwrap_or_else(|| panic!("{section}.{key}")) as u64
    }

    fn word(&self, at: u64) -> u64 {
        (&self.memory as &dyn Memory).get(Addr(at)).expect("it is on the tape")
    }

    fn put(&self, at: u64, word: u64) {
        self.memory.tape.borrow_mut().put(Addr(at), &word.to_le_bytes());
    }

    fn interpreter(&self) -> u64 {
        self.word(self.python.seen.threads[0].state.0 + self.key("thread", "interp"))
    }

    /// Lets the GIL go from thread to thread, as it does when they run.
    fn run(&self) {
        let (Root::Runtime(Addr(root)) | Root::InterpHead(Addr(root))) = self.located.root;
        let gil = match self.layout().fact::<String>("gil.where").expect("a fact").as_str() {
            "runtime" => root + self.key("runtime", "gil"),
            _ => self.word(self.interpreter() + self.key("interp", "gil_ptr")),
        };
        let switches = gil + self.key("gil", "switch_number");
        self.put(switches, self.word(switches) + 2);
    }

    /// Where the state of the thread of this name is.
    fn state(&self, name: &str) -> u64 {
        let thread = self.python.seen.threads.iter().find(|thread| thread.name.as_deref() == Some(name));
        thread.expect("there is such a thread").state.0
    }

    /// Where a thread says that its frames end that lie side by side, if it does.
    fn stack_end(&self, name: &str) -> Option<u64> {
        self.layout().key("thread", "datastack_top").map(|key| self.state(name) + key as u64)
    }

    /// Has a frame say whether it runs itself, or waits for what it called, where frames say that.
    fn put_runs(&self, frame: u64, runs: bool) {
        let Some(key) = self.layout().key("iframe", "stacktop") else { return };
        let values: i32 = if runs { -1 } else { 0 };
        self.memory.tape.borrow_mut().put(Addr(frame + key as u64), &values.to_le_bytes());
    }

    /// Where the thread of this name says which frame is its innermost.
    fn top(&self, name: &str) -> u64 {
        let state = self.state(name);
        match self.layout().fact::<String>("frame.newest").expect("a fact").as_str() {
            "frame" => state + self.key("thread", "frame"),
            "cframe" => self.word(state + self.key("thread", "cframe")) + self.key("cframe", "current_frame"),
            _ => state + self.key("thread", "current_frame"),
        }
    }

    /// The caller's address in a frame.
    fn back(&self, frame: u64) -> u64 {
        let objects = self.layout().fact::<String>("frame.style").expect("a style") == "object";
        frame + if objects { self.key("frame", "back") } else { self.key("iframe", "previous") }
    }

    #[track_caller]
    fn check(&self, expected: &[ThreadLabel]) {
        for (seen, expected) in seen(&self.python).iter().zip(expected) {
            assert_eq!(seen, expected, "{}", self.name);
        }
        assert_eq!(self.python.seen.threads.len(), expected.len(), "{}", self.name);
        let quality: Vec<_> = self.python.seen.threads.iter().map(|thread| thread.quality).collect();
        assert!(quality.iter().all(|quality| !quality.is_partial()), "{}: {quality:?}", self.name);
    }
}

#[test]
fn what_stands_where_it_stood_takes_one_call_for_all_threads() {
    for mut played in Played::all() {
        assert_eq!(played.calls(), 1, "{}", played.name);
        let expected = std::mem::take(&mut played.expected);
        played.check(&expected);
    }
}

#[test]
fn a_function_that_returns_and_is_called_again_costs_no_more() {
    for mut played in Played::styles() {
        let (top, mut expected) = (played.top("methods"), std::mem::take(&mut played.expected));
        let (frame, end) = (played.word(top), played.stack_end("methods"));
        let (caller, ended) = (played.word(played.back(frame)), end.map(|end| played.word(end)));
        let place = expected.iter().position(|thread| thread.name.as_deref() == Some("methods")).unwrap();
        played.put(top, caller);
        played.put_runs(caller, true);
        end.into_iter().for_each(|end| played.put(end, frame));
        let inner = expected[place].frames.remove(0);
        played.run();
        assert_eq!(played.calls(), 1, "{}", played.name);
        played.check(&expected);
        played.put(top, frame);
        played.put_runs(caller, false);
        end.zip(ended).into_iter().for_each(|(end, ended)| played.put(end, ended));
        expected[place].frames.insert(0, inner);
        played.run();
        assert_eq!(played.calls(), 1, "{}", played.name);
        played.check(&expected);
    }
}

#[test]
fn a_frame_where_none_was_is_found_and_then_expected() {
    for mut played in Played::styles() {
        let (one, other) = (played.top("methods"), played.top("generators"));
        let mut expected = std::mem::take(&mut played.expected);
        let place =
            |name: &str| expected.iter().position(|thread| thread.name.as_deref() == Some(name)).unwrap();
        let (to, from) = (place("methods"), place("generators"));
        // One thread is where only the other one has been.
        played.put(one, played.word(other));
        if let Some((end, other)) = played.stack_end("methods").zip(played.stack_end("generators")) {
            played.put(end, played.word(other));
        }
        expected[to].frames = expected[from].frames.clone();
        played.run();
        played.memory.calls.set(0);
        played.look();
        played.check(&expected);
        assert!(played.memory.calls.get() > 1, "{}", played.name);
        assert_eq!(played.calls(), 1, "{}", played.name);
    }
}

/// A frame that begins within what is read and ends behind it is no reason to tell the one that called it instead.
#[test]
fn a_function_whose_frame_begins_where_what_was_read_ends_is_met() {
    const PAGE: u64 = 4096;
    let side_by_side = |played: &Played| matches!(played.name.as_str(), "3.11" | "3.13");
    for mut played in Played::styles().into_iter().filter(side_by_side) {
        let mut expected = std::mem::take(&mut played.expected);
        let place = expected.iter().position(|thread| thread.name.as_deref() == Some("methods")).unwrap();
        let (top, end) = (played.top("methods"), played.stack_end("methods").expect("it is there"));
        let frame = played.word(top);
        let [previous, code, instr] = ["previous", "code", "instr"].map(|key| played.key("iframe", key));
        let last = (frame + PAGE) & !(PAGE - 1);
        played.memory.tape.borrow_mut().put(Addr(last), &[0; PAGE as usize]);
        // The first one makes what is read reach to the end of its page, over which the second one lies.
        for (number, at) in [last - 512, last - 40].into_iter().enumerate() {
            let caller = played.word(top);
            assert!(at > caller + 64, "{}: no room in this page", played.name);
            // The same function again, which nobody has met there.
            let (from, to) = (played.word(caller + code), (number as u64 + 1) << 40);
            for at in (0..1024).step_by(8) {
                played.put(to + at, (&played.memory as &dyn Memory).get(Addr(from + at)).unwrap_or(0));
            }
            for word in (0..128).step_by(8) {
                played.put(at + word, played.word(caller + word));
            }
            played.put(at + code, to);
            played.put(at + instr, played.word(caller + instr) - from + to);
            played.put(at + previous, caller);
            // It was called from C: so its caller says that it runs, too.
            played.put_runs(at, true);
            played.put(top, at);
            played.put(end, at + 128);
            let inner = expected[place].frames[0].clone();
            expected[place].frames.insert(0, inner);
            played.run();
            played.look();
            played.check(&expected);
        }
    }
}

#[test]
fn threads_that_end_and_begin_are_seen_to() {
    for mut played in Played::styles() {
        let mut expected = std::mem::take(&mut played.expected);
        let next = played.key("thread", "next");
        // The list begins with the newest; they are told oldest first.
        let states: Vec<u64> = played.python.seen.threads.iter().map(|thread| thread.state.0).collect();
        let [.., gone, newest] = states[..] else { panic!("there are many") };
        let interp = played.word(newest + played.key("thread", "interp"));
        let after = played.word(gone + next);
        // All were listed just now: that it has ended is seen where it is read.
        let listings = played.python.listings();
        while played.python.listings() == listings {
            played.look();
        }
        played.put(newest + next, after);
        // Whoever unlinks a state lets go of it.
        played.put(gone + played.key("thread", "interp"), 0);
        let thread = expected.remove(states.len() - 2);
        let lists = played.python.lists();
        played.run();
        played.look();
        played.check(&expected);
        assert_ne!(played.python.lists(), lists, "{}: others have other places now", played.name);
        played.put(gone + played.key("thread", "interp"), interp);
        played.put(newest + next, gone);
        expected.insert(states.len() - 2, thread);
        // Nobody announces a thread: it is met when all are listed anew.
        while played.python.seen.threads.len() < states.len() {
            played.look();
        }
        played.check(&expected);
    }
}

#[test]
fn another_function_at_the_same_address_has_its_own_name() {
    for mut played in Played::styles() {
        let mut expected = std::mem::take(&mut played.expected);
        let objects = played.layout().fact::<String>("frame.style").expect("a style") == "object";
        let section = if objects { "frame" } else { "iframe" };
        let frame = played.word(played.top("methods"));
        let mask = played.layout().fact::<u64>("code.tag_mask").expect("a mask");
        let code = |frame: u64| played.word(frame + played.key(section, "code")) & !mask;
        let (inner, outer) = (code(frame), code(played.word(played.back(frame))));
        let mut keys = vec!["name"];
        keys.extend(played.layout().key("code", "qualname").map(|_| "qualname"));
        for key in keys {
            played.put(inner + played.key("code", key), played.word(outer + played.key("code", key)));
        }
        if let Some(version) = played.layout().key("code", "version") {
            let at = inner + version as u64;
            played.put(at, played.word(at) + 1_000_000);
        }
        if played.layout().fact::<bool>("code.counted").expect("a fact") {
            let count = played.interpreter() + played.key("interp", "func_state_next_version");
            played.put(count, played.word(count) + 1);
        }
        // All threads are parked in the same function.
        let renamed = |thread: &ThreadLabel| {
            let from = thread.frames[0].split(' ').next().expect("a name").to_owned();
            thread
                .frames
                .iter()
                .map(|line| line.replacen(&format!("{from} ("), "NEW (", 1))
                .collect::<Vec<_>>()
        };
        let methods = expected.iter().find(|thread| thread.name.as_deref() == Some("methods")).unwrap();
        let (park, new) = (
            methods.frames[0].split(' ').next().unwrap().to_owned(),
            methods.frames[1].split(' ').next().unwrap().to_owned(),
        );
        for thread in &mut expected {
            if thread.frames[0].starts_with(&format!("{park} (")) {
                thread.frames = renamed(thread);
                thread.frames[0] = thread.frames[0].replacen("NEW", &new, 1);
            }
        }
        played.run();
        played.look();
        played.check(&expected);
        assert_eq!(played.calls(), 1, "{}", played.name);
    }
}

#[test]
fn a_chain_that_comes_round_and_holds_still_is_told_to_have_no_base() {
    for mut played in Played::styles() {
        let place = played.place("methods");
        let frame = played.word(played.top("methods"));
        let caller = played.word(played.back(frame));
        played.put(played.back(caller), frame);
        played.run();
        played.look();
        let quality = played.python.seen.threads[place].quality;
        assert_eq!(quality, Quality::BaseMissing(Torn::Cycle), "{}", played.name);
        let frames = &seen(&played.python)[place].frames;
        assert_eq!(frames[..2], played.expected[place].frames[..2], "{}", played.name);
    }
}

/// In a loop of two microseconds all copies show a frame that has returned, and its caller where it went on: they stand, and that is no call.
#[test]
fn a_frame_that_does_not_say_that_it_is_called_proves_no_call_however_still_it_stands() {
    let says = |played: &Played| played.layout().key("iframe", "stacktop").is_some();
    let mut tried = 0;
    for mut played in Played::styles().into_iter().filter(says) {
        let place = played.place("methods");
        let top = played.word(played.top("methods"));
        let caller = played.word(played.back(top));
        let mask = played.layout().fact::<u64>("code.tag_mask").expect("a mask");
        let code = played.word(caller + played.key("iframe", "code")) & !mask;
        played.put(code + played.key("code", "names"), 0);
        let told = |played: &mut Played, stacktop: u32| {
            let at = top + played.key("iframe", "stacktop");
            played.put(at, played.word(at) >> 32 << 32 | u64::from(stacktop));
            played.python = Python::open(&played.located).expect("its layout has all");
            (0..8).for_each(|_| {
                played.look();
                played.run();
            });
            seen(&played.python)[place].frames.contains(&played.expected[place].frames[0])
        };
        assert!(!told(&mut played, 3), "{}", played.name);
        assert!(told(&mut played, u32::MAX), "{}", played.name);
        tried += 1;
    }
    assert!(tried > 0, "no layout has frames that say so");
}

/// A frame object keeps all that it said when it returns, until its function is called again.
#[test]
fn a_frame_object_that_has_returned_still_says_who_called_it() {
    const RETURN_VALUE: u8 = 83;
    let is_object = |played: &Played| played.layout().key("frame", "lasti").is_some();
    let mut tried = 0;
    for mut played in Played::styles().into_iter().filter(is_object) {
        let place = played.place("methods");
        let innermost = |played: &Played| {
            let mut frames = played.python.frames(&played.python.seen.threads[place]);
            (frames.next().unwrap(), frames.count())
        };
        played.look();
        let (frame, callers) = innermost(&played);
        let top = played.word(played.top("methods"));
        let code = played.word(played.word(top + played.key("frame", "code")) + played.key("code", "code"));
        let bytes = code + played.key("bytes", "sval");
        let memory: &dyn Memory = &played.memory;
        let length = memory.get::<u64>(Addr(code + played.key("var", "ob_size"))).unwrap();
        let found = (0..length).step_by(2).find(|at| memory.get(Addr(bytes + at)) == Ok(RETURN_VALUE));
        let (returns, unit) = (found.unwrap(), played.layout().fact::<u64>("lines.unit").unwrap());
        played.put(top + played.key("object", "refcnt"), 0);
        // Where it stands elsewhere it is not believed, and the last stack of its function is told.
        for place in [returns, returns + 2] {
            let at = top + played.key("frame", "lasti");
            played.put(at, (played.word(at) >> 32 << 32) | (place / unit));
            played.run();
            played.look();
            let expected = (Frame { offset: returns as i32, ..frame }, callers);
            assert_eq!(innermost(&played), expected, "{} {place}", played.name);
        }
        tried += 1;
    }
    assert!(tried > 0, "no layout has frames that are objects");
}

/// Where a frame was the innermost and has been replaced before it was read, the end of all frames says how large it was.
#[test]
fn a_function_is_known_by_the_size_of_its_frame_where_another_one_has_come_to_lie() {
    let is_beside = |played: &Played| played.layout().key("thread", "datastack_top").is_some();
    let mut tried = 0;
    for mut played in Played::styles().into_iter().filter(is_beside) {
        let place = played.place("methods");
        played.look();
        let expected = seen(&played.python)[place].frames.clone();
        let top = played.word(played.top("methods"));
        let state = played.python.seen.threads[place].state.0;
        // Another function as large would not show.
        let code = top + played.key("iframe", "code");
        let caller = played.word(played.word(played.back(top)) + played.key("iframe", "code"));
        let instr = top + played.key("iframe", "instr");
        let own = played.word(code);
        let values = |code: u64| {
            let mask = played.layout().fact::<u64>("code.tag_mask").expect("a mask");
            let read = |key| played.word((code & !mask) + played.key("code", key)) as u32;
            read("stacksize") + read("nlocalsplus")
        };
        assert_ne!(values(own), values(caller), "{}", played.name);
        let [size, other_size] =
            [own, caller].map(|code| played.key("iframe", "localsplus") + 8 * u64::from(values(code)));
        assert_eq!(top + size, played.word(state + played.key("thread", "datastack_top")), "{}", played.name);
        let other = played.word(played.word(played.back(top)) + played.key("iframe", "instr"));
        played.put(code, caller);
        played.put(instr, other);
        // It is not whole: its caller goes on.
        let goes_on = played.word(played.back(top)) + played.key("iframe", "instr");
        played.memory.restless.set(Some((Addr(goes_on), Addr(0))));
        played.run();
        played.look();
        assert_eq!(seen(&played.python)[place].frames, expected, "{}", played.name);
        // The end says nothing else: it is what is there.
        let end = state + played.key("thread", "datastack_top");
        played.put(end, top + other_size);
        played.run();
        played.look();
        assert_ne!(seen(&played.python)[place].frames, expected, "{}", played.name);
        tried += 1;
    }
    assert!(tried > 0, "no layout has frames side by side");
}

/// Where the innermost frame's address lies elsewhere than the thread's state, it is read behind it. The state says how many calls were
/// under way: one that had not begun yet, or had returned and not been let go, is not told.
#[test]
fn a_function_is_innermost_while_the_state_counts_its_call() {
    let is_elsewhere = |played: &Played| {
        played.layout().fact::<String>("frame.newest").is_ok_and(|newest| newest == "cframe")
    };
    let mut tried = 0;
    for mut played in Played::all().into_iter().filter(is_elsewhere) {
        let place = played.place("methods");
        played.look();
        let callee = seen(&played.python)[place].frames.clone();
        let (top, state) = (played.top("methods"), played.state("methods"));
        let (limit, remaining) = (
            state + played.key("thread", "recursion_limit"),
            state + played.key("thread", "recursion_remaining"),
        );
        let calls = |played: &Played, number: usize| {
            let left = played.word(limit) as u32 - number as u32;
            played.memory.tape.borrow_mut().put(Addr(remaining), &left.to_le_bytes());
        };
        let (frame, depth) = (played.word(top), callee.len());
        let caller = played.word(played.back(frame));
        for (innermost, number, expected) in [
            (frame, depth, &callee[..]),
            // It was made, and not called yet.
            (frame, depth - 1, &callee[1..]),
            // It has returned since.
            (caller, depth, &callee[..]),
            // It had returned, and was not let go yet.
            (caller, depth - 1, &callee[1..]),
        ] {
            played.put(top, innermost);
            played.put_runs(frame, innermost == frame);
            played.put_runs(caller, innermost == caller);
            calls(&played, number);
            played.run();
            played.look();
            let said = (innermost == frame, depth - number);
            assert_eq!(seen(&played.python)[place].frames, expected, "{} {said:?}", played.name);
            // While the target is held, all of it is of one moment, and what is there is whole.
            let is_called = innermost == frame && number == depth;
            played.python.look_still(&played.memory, &played.tasks, &mut ());
            let thread = &played.python.seen.threads[place];
            assert!(matches!(thread.quality, Quality::Whole | Quality::Retried), "{} {said:?}", played.name);
            let frames = &seen(&played.python)[place].frames;
            assert_eq!(frames, &callee[usize::from(!is_called)..], "{} {said:?}", played.name);
        }
        tried += 1;
    }
    assert!(tried > 0, "no layout has the innermost frame elsewhere");
}

/// Two copies of a whole stack may agree by accident, again and again; the copies that a call is looked for by do not.
#[test]
fn a_call_that_is_not_there_when_it_is_looked_for_is_not_told() {
    for mut played in Played::styles() {
        let place = played.place("methods");
        let objects = played.layout().fact::<String>("frame.style").expect("a style") == "object";
        let caller = played.word(played.back(played.word(played.top("methods"))));
        let word =
            caller + if objects { played.key("frame", "lasti") } else { played.key("iframe", "instr") };
        // It does not stand in the source either.
        let mask = played.layout().fact::<u64>("code.tag_mask").expect("a mask");
        let section = if objects { "frame" } else { "iframe" };
        let code = played.word(caller + played.key(section, "code")) & !mask;
        played.put(code + played.key("code", "names"), 0);
        let state = played.python.seen.threads[place].state;
        played.python = Python::open(&played.located).expect("its layout has all");
        played.memory.restless.set(Some((Addr(word), state)));
        for _ in 0..3 {
            played.look();
            played.run();
            let quality = played.python.seen.threads[place].quality;
            assert_eq!(quality, Quality::TopMissing(Torn::Changed), "{}", played.name);
            assert_eq!(
                seen(&played.python)[place].frames,
                played.expected[place].frames[1..],
                "{}",
                played.name
            );
        }
        played.memory.restless.set(None);
        // What was looked for in vain so often takes a while to be believed.
        let mut looks = 0;
        while played.python.seen.threads[place].quality.is_partial() && looks < 100 {
            played.run();
            played.look();
            looks += 1;
        }
        let expected = std::mem::take(&mut played.expected);
        played.check(&expected);
    }
}
