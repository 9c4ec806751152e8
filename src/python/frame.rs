//! Frames: the chain from the innermost one to the base, as frame objects or as the interpreter's own frames.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::layout::field::Room;
use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Fault, Memory, Word};
use crate::model::Torn;

use super::code::CodeId;
use super::copies::Copies;

/// The longest chain that is followed.
pub const MAX_FRAMES: usize = 20_000;
/// For how many walks a frame that was not met again is read along with the others.
const MEMORY: u64 = 16;
/// The most frames of the interpreter's own in a chain: at most one before each of Python's, and one at the base.
const MAX_LINKS: usize = 2 * MAX_FRAMES + 1;

/// A place in a function: what one line of a stack says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function.
    pub code: CodeId,
    /// The instruction that was running, in bytes from the first; below 0 where the frame has not started.
    pub offset: i32,
}

/// A frame as it was read: its function is an address yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame {
    /// Where it stands.
    pub at: Addr,
    /// Its code object.
    pub code: Addr,
    /// The instruction that was running, in bytes from the first; below 0 where the frame has not started.
    pub offset: i64,
}

fields! {
    /// `_PyCFrame`, Include/cpython/pystate.h (3.11 and 3.12).
    struct CFrame in "cframe" {
        current_frame: Field<Addr>,
    }
}

fields! {
    /// `PyFrameObject`, Include/frameobject.h (up to 3.10).
    struct FrameObject in "frame" {
        back: Field<Addr>,
        code: Field<Addr>,
        lasti: Field<i32>,
    }
}

fields! {
    /// `PyObject`, Include/object.h.
    struct ObjectFields in "object" {
        refcnt: Field<i64>,
    }
}

fields! {
    /// `_PyInterpreterFrame`, Include/internal/pycore_frame.h (3.11 and later).
    struct InterpreterFrame in "iframe" {
        previous: Field<Addr>,
        code: Field<Addr>,
        instr: Field<Addr>,
        owner: Field<u8>,
        /// Which copy of the instructions it runs, on free-threaded builds (3.14 and later).
        tlbc_index: Option<Field<u32>>,
    }
}

fields! {
    /// Where the instructions are in a code object.
    struct CodeFields in "code" {
        code_adaptive: usize,
        /// The copies of the instructions that threads have (`_PyCodeArray`, 3.14 and later, free-threaded builds).
        tlbc: Option<Field<Addr>>,
    }
}

fields! {
    /// `_PyCodeArray`, Include/cpython/code.h.
    struct CodeArray in "code_array" {
        count: Option<Field<u64>>,
        entries: Option<usize>,
    }
}

/// How the target keeps frames, and where those of each thread were.
#[derive(Debug)]
pub struct Frames {
    style: Style,
    last: FxHashMap<Addr, Chain>,
    look: u64,
}

/// How a walk went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// What stopped it short of the base.
    pub torn: Option<Torn>,
    /// All frames were read in one call.
    pub at_once: bool,
    /// It ended at the frame where the thread's last walk ended that was not torn; a torn one ends nowhere.
    pub same_base: bool,
    /// The thread was walked before.
    pub known: bool,
}

/// Where a thread's frames were, the interpreter's own among them.
#[derive(Debug, Default)]
struct Chain {
    /// Those of the last walk.
    links: Vec<Addr>,
    /// Those of recent walks, and which walk each was last part of: where the next walk will find most of its frames.
    likely: Vec<(Addr, u64)>,
    /// The last frame of the last walk that was not torn.
    base: Option<Addr>,
    walks: u64,
    look: u64,
}

#[derive(Debug)]
enum Style {
    Objects(Objects),
    Interpreter(Interpreter),
}

/// Up to 3.10: objects that point to their callers.
#[derive(Debug)]
struct Objects {
    top: Field<Addr>,
    frame: FrameObject,
    object: ObjectFields,
    /// Bytes of one step of `f_lasti`.
    unit: i64,
}

/// From 3.11 on: frames of the interpreter's own, mostly side by side on the thread's data stack.
#[derive(Debug)]
struct Interpreter {
    top: Top,
    frame: InterpreterFrame,
    code: CodeFields,
    copies: CodeArray,
    /// Bits of the code pointer that are none of the address.
    tag_mask: u64,
    /// Owners whose frames stand for the interpreter itself, where it was called from C.
    skip_owners: Vec<u8>,
}

/// Where 3.11 and later keep the innermost frame.
#[derive(Debug, Clone, Copy)]
enum Top {
    /// In the thread's state.
    State(Field<Addr>),
    /// In the thread's newest `_PyCFrame`.
    CFrame(Field<Addr>, CFrame),
}

impl Frames {
    /// Binds what the layout says of frames.
    pub fn bind(layout: &Layout) -> Result<Frames, Missing> {
        let style = match layout.fact::<String>("frame.style")?.as_str() {
            "object" => Style::Objects(Objects::bind(layout)?),
            "interpreter" => Style::Interpreter(Interpreter::bind(layout)?),
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "frame.style".into() }),
        };
        Ok(Frames { style, last: FxHashMap::default(), look: 0 })
    }

    /// Begins a look. Threads that were not walked in the last one are forgotten.
    pub fn begin(&mut self) {
        let last = self.look;
        self.last.retain(|_, chain| chain.look == last);
        self.look += 1;
    }

    /// Puts the frames of the thread whose state is at `thread` into `frames`, innermost first.
    ///
    /// Design constraint: nobody stops the target, and a chain that is followed read by read is another one at its end
    /// than it was at its start. So all frames of the thread's last walk are copied in one call, with the word that says
    /// which one is the innermost, and the chain is followed through the copies; only what is not among them is read alone.
    pub fn walk(&mut self, memory: &dyn Memory, thread: Addr, frames: &mut Vec<RawFrame>) -> Walk {
        frames.clear();
        let known = self.last.contains_key(&thread);
        let last = self.last.entry(thread).or_default();
        last.look = self.look;
        let mut at_once = true;
        let torn = match self.style.top(memory, thread) {
            Ok(top) => {
                let copies =
                    Copies::make(memory, top, last.likely.iter().map(|(at, _)| *at), self.style.span());
                last.links.clear();
                let torn = follow(memory, &self.style, &copies, last, frames, &mut at_once).err();
                last.learn();
                torn
            }
            Err(_) => Some(Torn::Unreadable),
        };
        let before = last.base;
        if torn.is_none() {
            last.base = last.links.last().copied();
        }
        Walk { torn, at_once, same_base: known && before == last.base, known }
    }
}

impl Chain {
    /// Takes the frames of the walk that was made into those that are likely, and lets go of those not met for long.
    fn learn(&mut self) {
        self.walks += 1;
        let links: FxHashSet<Addr> = self.links.iter().copied().collect();
        let recent = self.walks.saturating_sub(MEMORY);
        self.likely.retain(|(at, walk)| !links.contains(at) && *walk >= recent);
        self.likely.truncate(MAX_LINKS);
        let met = self.links.iter().map(|at| (*at, self.walks));
        self.likely.splice(0..0, met);
    }
}

/// Follows a chain from its innermost frame to its base.
fn follow(
    memory: &dyn Memory,
    style: &Style,
    copies: &Copies,
    chain: &mut Chain,
    frames: &mut Vec<RawFrame>,
    at_once: &mut bool,
) -> Result<(), Torn> {
    let mut seen = FxHashSet::default();
    let mut next = copies.top.ok_or(Torn::Unreadable)?;
    while !next.is_null() {
        if frames.len() >= MAX_FRAMES || chain.links.len() >= MAX_LINKS {
            return Err(Torn::TooDeep);
        }
        if !seen.insert(next) {
            return Err(Torn::Cycle);
        }
        chain.links.push(next);
        let mut room = Room::default();
        let copy = match copies.get(next) {
            Some(copy) => copy,
            None => {
                *at_once = false;
                Struct::read(memory, next, style.span(), &mut room).map_err(unreadable)?
            }
        };
        let (frame, back) = style.parse(memory, next, copy)?;
        frames.extend(frame);
        next = back;
    }
    Ok(())
}

impl Style {
    /// Where the word is that says which frame is the thread's innermost; the word is null where it runs no Python.
    fn top(&self, memory: &dyn Memory, thread: Addr) -> Result<Addr, Fault> {
        match self {
            Style::Objects(Objects { top, .. }) => Ok(top.of(thread)),
            Style::Interpreter(Interpreter { top: Top::State(top), .. }) => Ok(top.of(thread)),
            Style::Interpreter(Interpreter { top: Top::CFrame(newest, cframe), .. }) => {
                Ok(cframe.current_frame.of(newest.read(memory, thread)?))
            }
        }
    }

    /// How many bytes of a frame are read.
    fn span(&self) -> usize {
        match self {
            Style::Objects(objects) => objects.frame.span.max(objects.object.span),
            Style::Interpreter(interpreter) => interpreter.frame.span,
        }
    }

    /// The frame at `at`, unless it is one of the interpreter's own, and the one that called it.
    fn parse(
        &self,
        memory: &dyn Memory,
        at: Addr,
        copy: Struct<'_>,
    ) -> Result<(Option<RawFrame>, Addr), Torn> {
        match self {
            Style::Objects(objects) => Ok((Some(objects.parse(at, copy)?), copy.get(objects.frame.back))),
            Style::Interpreter(interpreter) => {
                let previous = copy.get(interpreter.frame.previous);
                if interpreter.skip_owners.contains(&copy.get(interpreter.frame.owner)) {
                    return Ok((None, previous));
                }
                Ok((Some(interpreter.parse(memory, at, copy)?), previous))
            }
        }
    }
}

impl Objects {
    fn bind(layout: &Layout) -> Result<Objects, Missing> {
        fields! {
            /// `PyThreadState`, Include/pystate.h.
            struct ThreadFields in "thread" {
                frame: Field<Addr>,
            }
        }
        Ok(Objects {
            top: ThreadFields::bind(layout)?.frame,
            frame: FrameObject::bind(layout)?,
            object: ObjectFields::bind(layout)?,
            unit: layout.fact("lines.unit")?,
        })
    }

    fn parse(&self, at: Addr, copy: Struct<'_>) -> Result<RawFrame, Torn> {
        // A frame that was let go waits for its next use: it has no caller then, or one that is no caller
        // (`frame_dealloc` and `free_list`, Objects/frameobject.c).
        if copy.get(self.object.refcnt) <= 0 {
            return Err(Torn::Garbage);
        }
        let offset = i64::from(copy.get(self.frame.lasti)).saturating_mul(self.unit);
        Ok(RawFrame { at, code: copy.get(self.frame.code), offset })
    }
}

impl Interpreter {
    fn bind(layout: &Layout) -> Result<Interpreter, Missing> {
        fields! {
            /// `PyThreadState`, Include/cpython/pystate.h.
            struct ThreadFields in "thread" {
                current_frame: Option<Field<Addr>>,
                cframe: Option<Field<Addr>>,
            }
        }
        let thread = ThreadFields::bind(layout)?;
        let top = match (thread.current_frame, thread.cframe) {
            (Some(current_frame), _) => Top::State(current_frame),
            (None, Some(newest)) => Top::CFrame(newest, CFrame::bind(layout)?),
            (None, None) => {
                let (layout, section, key) = (layout.name.clone(), "thread".into(), "current_frame".into());
                return Err(Missing::Key { layout, section, key });
            }
        };
        let owners: Vec<i64> = layout.fact("frame.skip_owners")?;
        Ok(Interpreter {
            top,
            frame: InterpreterFrame::bind(layout)?,
            code: CodeFields::bind(layout)?,
            copies: CodeArray::bind(layout)?,
            tag_mask: layout.fact("code.tag_mask")?,
            skip_owners: owners.iter().filter_map(|owner| u8::try_from(*owner).ok()).collect(),
        })
    }

    fn parse(&self, memory: &dyn Memory, at: Addr, copy: Struct<'_>) -> Result<RawFrame, Torn> {
        let code = Addr(copy.get(self.frame.code).0 & !self.tag_mask);
        let start = match (copy.maybe(self.frame.tlbc_index), self.code.tlbc) {
            // The first copy is the code object's own.
            (Some(index @ 1..), Some(array)) => {
                self.copies.entry(memory, array.read(memory, code).map_err(unreadable)?, index)?
            }
            _ => code.plus(self.code.code_adaptive as u64),
        };
        let offset = copy.get(self.frame.instr).0.wrapping_sub(start.0).cast_signed();
        Ok(RawFrame { at, code, offset })
    }
}

impl CodeArray {
    /// Where copy number `index` of the instructions starts.
    fn entry(&self, memory: &dyn Memory, array: Addr, index: u32) -> Result<Addr, Torn> {
        let (Some(count), Some(entries)) = (self.count, self.entries) else { return Err(Torn::Garbage) };
        if u64::from(index) >= count.read(memory, array).map_err(unreadable)? {
            return Err(Torn::Garbage);
        }
        memory.get(array.plus(entries as u64).plus(Addr::SIZE as u64 * u64::from(index))).map_err(unreadable)
    }
}

fn unreadable(_: Fault) -> Torn {
    Torn::Unreadable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Fact;
    use crate::memory::Tape;

    const THREAD: Addr = Addr(0x1000);
    const CODE: Addr = Addr(0x9000);
    const OTHER: Addr = Addr(0xA000);

    /// Where a made-up interpreter keeps its frames: code at 0, previous at 8, instr at 16, tlbc_index at 24, owner at 28.
    fn layout() -> Layout {
        let mut layout = Layout::new("made up");
        for (section, key, offset) in [
            ("thread", "current_frame", 8),
            ("iframe", "code", 0),
            ("iframe", "previous", 8),
            ("iframe", "instr", 16),
            ("iframe", "owner", 28),
            ("code", "code_adaptive", 0x100),
        ] {
            layout.set(section, key, offset);
        }
        layout.set_fact("frame.style", Fact::Text("interpreter".into()));
        layout.set_fact("frame.skip_owners", Fact::Numbers(vec![3, 4]));
        layout.set_fact("code.tag_mask", Fact::Number(3));
        layout
    }

    /// Puts a frame on tape: code, previous, instr, copy of the instructions, owner.
    fn put(tape: &mut Tape, at: u64, code: u64, previous: u64, instr: u64, copy: u32, owner: u32) {
        let mut frame = Vec::new();
        frame.extend([code, previous, instr].map(u64::to_le_bytes).as_flattened());
        frame.extend(copy.to_le_bytes());
        frame.extend(owner.to_le_bytes());
        tape.put(Addr(at), &frame);
    }

    fn top(tape: &mut Tape, at: u64) {
        tape.put(THREAD.plus(8), &at.to_le_bytes());
    }

    #[track_caller]
    fn check(layout: &Layout, tape: &Tape, expected: &[(u64, i64)], torn: Option<Torn>) {
        let mut frames = Frames::bind(layout).unwrap();
        let mut found = Vec::new();
        for walk in 0..3 {
            frames.begin();
            let how = frames.walk(tape, THREAD, &mut found);
            let found: Vec<_> = found.iter().map(|frame| (frame.code.0, frame.offset)).collect();
            assert_eq!((found.as_slice(), how.torn), (expected, torn));
            assert_eq!((how.known, how.same_base), (walk > 0, walk > 0));
        }
    }

    #[test]
    fn the_interpreters_own_frames_are_left_out_and_tags_taken_off() {
        let mut tape = Tape::default();
        top(&mut tape, 0x2000);
        put(&mut tape, 0x2000, CODE.0 | 1, 0x2100, CODE.0 + 0x100 + 6, 0, 0);
        put(&mut tape, 0x2100, 0, 0x3000, 0, 0, 3);
        // A frame that has not started stands one instruction before the first.
        put(&mut tape, 0x3000, OTHER.0 | 3, 0x3100, OTHER.0 + 0x100 - 2, 0, 1);
        put(&mut tape, 0x3100, 0, 0, 0, 0, 4);
        check(&layout(), &tape, &[(CODE.0, 6), (OTHER.0, -2)], None);
    }

    #[test]
    fn a_thread_that_runs_no_python_has_no_frames() {
        let mut tape = Tape::default();
        top(&mut tape, 0);
        check(&layout(), &tape, &[], None);
        check(&layout(), &Tape::default(), &[], Some(Torn::Unreadable));
    }

    #[test]
    fn what_was_read_before_the_chain_breaks_is_kept() {
        let mut tape = Tape::default();
        top(&mut tape, 0x2000);
        put(&mut tape, 0x2000, CODE.0, 0x2100, CODE.0 + 0x100, 0, 0);
        put(&mut tape, 0x2100, OTHER.0, 0x6000, OTHER.0 + 0x102, 0, 0);
        check(&layout(), &tape, &[(CODE.0, 0), (OTHER.0, 2)], Some(Torn::Unreadable));
        put(&mut tape, 0x2100, OTHER.0, 0x2000, OTHER.0 + 0x102, 0, 0);
        check(&layout(), &tape, &[(CODE.0, 0), (OTHER.0, 2)], Some(Torn::Cycle));
        put(&mut tape, 0x2100, OTHER.0, 0x2100, OTHER.0 + 0x102, 0, 0);
        check(&layout(), &tape, &[(CODE.0, 0), (OTHER.0, 2)], Some(Torn::Cycle));
    }

    #[test]
    fn a_chain_longer_than_any_is_cut() {
        let mut tape = Tape::default();
        top(&mut tape, 0x10_0000);
        let frames = MAX_FRAMES as u64 + 10;
        let mut all = Vec::new();
        for number in 0..frames {
            let mut one = Tape::default();
            put(&mut one, 0, CODE.0, 0x10_0000 + 32 * (number + 1), CODE.0 + 0x100, 0, 0);
            all.extend((&one as &dyn Memory).bytes(Addr(0), 32).unwrap());
        }
        tape.put(Addr(0x10_0000), &all);
        check(&layout(), &tape, &vec![(CODE.0, 0); MAX_FRAMES], Some(Torn::TooDeep));
    }

    #[test]
    fn a_thread_may_run_its_own_copy_of_the_instructions() {
        let mut layout = layout();
        for (section, key, offset) in [
            ("iframe", "tlbc_index", 24),
            ("code", "tlbc", 0x80),
            ("code_array", "count", 0),
            ("code_array", "entries", 8),
        ] {
            layout.set(section, key, offset);
        }
        let mut tape = Tape::default();
        top(&mut tape, 0x2000);
        put(&mut tape, 0x2000, CODE.0, 0x2100, 0x7000 + 8, 2, 0);
        put(&mut tape, 0x2100, CODE.0, 0, CODE.0 + 0x100 + 4, 0, 0);
        tape.put(CODE.plus(0x80), &0x5000_u64.to_le_bytes());
        // Three copies: the code object's own, one that was not made yet, and this thread's.
        tape.put(Addr(0x5000), [3, CODE.0 + 0x100, 0, 0x7000].map(u64::to_le_bytes).as_flattened());
        check(&layout, &tape, &[(CODE.0, 8), (CODE.0, 4)], None);
        put(&mut tape, 0x2000, CODE.0, 0x2100, 0x7000 + 8, 3, 0);
        check(&layout, &tape, &[], Some(Torn::Garbage));
    }

    #[test]
    fn a_frame_object_that_was_let_go_is_no_base() {
        let mut layout = Layout::new("made up");
        for (section, key, offset) in [
            ("thread", "frame", 8),
            ("object", "refcnt", 0),
            ("frame", "back", 8),
            ("frame", "code", 16),
            ("frame", "lasti", 24),
        ] {
            layout.set(section, key, offset);
        }
        layout.set_fact("frame.style", Fact::Text("object".into()));
        layout.set_fact("lines.unit", Fact::Number(2));
        let mut tape = Tape::default();
        top(&mut tape, 0x2000);
        tape.put(Addr(0x2000), [1, 0x2100, CODE.0, 3].map(u64::to_le_bytes).as_flattened());
        tape.put(Addr(0x2100), [1, 0, OTHER.0, u64::MAX].map(u64::to_le_bytes).as_flattened());
        check(&layout, &tape, &[(CODE.0, 6), (OTHER.0, -2)], None);
        tape.put(Addr(0x2100), &0_u64.to_le_bytes());
        check(&layout, &tape, &[(CODE.0, 6)], Some(Torn::Garbage));
    }
}
