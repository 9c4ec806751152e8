//! Frames: the chain from the innermost one to the base, as frame objects or as the interpreter's own frames.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::layout::field::Room;
use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Fault, Memory, Part, Word};
use crate::model::Torn;

use super::code::CodeId;

/// The longest chain that is followed.
pub const MAX_FRAMES: usize = 20_000;
/// Frames that lie no further apart than this are copied in one piece, with what is between them: pieces cost more than
/// bytes. Less than a page, so that no page lies between them that may not be there.
const GAP: u64 = 2048;
/// The most bytes that are copied in one call.
const MAX_COPIED: usize = 16 << 20;
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
    /// It ended at the frame where the thread's last walk ended.
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
        let base = last.links.last().copied();
        let mut at_once = true;
        let torn = match self.style.top(memory, thread) {
            Ok(top) => {
                let copies = Copies::make(memory, top, &last.likely, self.style.span());
                last.links.clear();
                let torn = follow(memory, &self.style, &copies, last, frames, &mut at_once).err();
                last.learn();
                torn
            }
            Err(_) => Some(Torn::Unreadable),
        };
        Walk { torn, at_once, same_base: known && base == last.links.last().copied(), known }
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

/// Copies of some frames and of the word that says which one is the innermost, made in one call.
struct Copies {
    top: Option<Addr>,
    span: usize,
    bytes: Vec<u8>,
    places: FxHashMap<Addr, usize>,
}

impl Copies {
    fn make(memory: &dyn Memory, top: Addr, frames: &[(Addr, u64)], span: usize) -> Copies {
        let mut frames: Vec<Addr> = frames.iter().map(|(at, _)| *at).collect();
        frames.sort_unstable();
        let length = |piece: &[Addr]| match piece {
            [first, .., last] => (last.0 - first.0) as usize + span,
            _ => span,
        };
        let mut total = 0;
        let near = |one: &Addr, next: &Addr| next.0 - one.0 <= span as u64 + GAP;
        let mut pieces: Vec<&[Addr]> = frames.chunk_by(near).collect();
        pieces.retain(|piece| {
            total += length(piece);
            total <= MAX_COPIED
        });
        let mut word = [0; Addr::SIZE];
        let mut bytes = vec![0; pieces.iter().map(|piece| length(piece)).sum()];
        let mut rest = bytes.as_mut_slice();
        let mut parts = vec![Part { addr: top, buf: &mut word, arrived: false }];
        for piece in &pieces {
            let (buf, behind) = std::mem::take(&mut rest).split_at_mut(length(piece));
            rest = behind;
            parts.extend(piece.first().map(|at| Part { addr: *at, buf, arrived: false }));
        }
        memory.read_many(&mut parts);
        let top = parts.first().filter(|part| part.arrived).map(|part| Addr::from_bytes(part.buf));
        let mut places = FxHashMap::default();
        let mut from = 0;
        for (part, piece) in parts.iter().skip(1).zip(&pieces) {
            if part.arrived {
                places.extend(piece.iter().map(|at| (*at, from + (at.0 - part.addr.0) as usize)));
            }
            from += part.buf.len();
        }
        Copies { top, span, bytes, places }
    }

    fn get(&self, frame: Addr) -> Option<Struct<'_>> {
        let from = *self.places.get(&frame)?;
        self.bytes.get(from..from + self.span).map(Struct::over)
    }
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
            return Err(Torn::Changed);
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
