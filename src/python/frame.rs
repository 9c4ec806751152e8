//! Frames: the chain from the innermost one to the base, as frame objects or as the interpreter's own frames.

use rustc_hash::FxHashSet;

use crate::layout::field::Room;
use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Fault, Memory};
use crate::model::Torn;

use super::code::CodeId;

/// The longest chain that is followed.
pub const MAX_FRAMES: usize = 20_000;
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
    /// Where a thread keeps its innermost frame: `PyThreadState`, Include/cpython/pystate.h.
    struct ThreadFields in "thread" {
        frame: Option<Field<Addr>>,
        current_frame: Option<Field<Addr>>,
        cframe: Option<Field<Addr>>,
    }
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
    struct CodeArray in "tlbc" {
        size: Option<Field<u64>>,
        entries: Option<usize>,
    }
}

/// How the target keeps frames.
#[derive(Debug)]
pub struct Frames {
    style: Style,
    seen: FxHashSet<Addr>,
}

#[derive(Debug)]
enum Style {
    Objects {
        top: Field<Addr>,
        frame: FrameObject,
        unit: i64,
    },
    Interpreter {
        top: Top,
        frame: InterpreterFrame,
        code: CodeFields,
        copies: CodeArray,
        tag_mask: u64,
        skip_owners: Vec<u8>,
    },
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
        let thread = ThreadFields::bind(layout)?;
        let missing = |key: &str| Missing::Key {
            layout: layout.name.clone(),
            section: "thread".into(),
            key: key.into(),
        };
        let style = match layout.fact::<String>("frame.style")?.as_str() {
            "object" => Style::Objects {
                top: thread.frame.ok_or_else(|| missing("frame"))?,
                frame: FrameObject::bind(layout)?,
                unit: layout.fact("lines.unit")?,
            },
            "interpreter" => Style::Interpreter {
                top: match (thread.current_frame, thread.cframe) {
                    (Some(current_frame), _) => Top::State(current_frame),
                    (None, Some(cframe)) => Top::CFrame(cframe, CFrame::bind(layout)?),
                    (None, None) => return Err(missing("current_frame")),
                },
                frame: InterpreterFrame::bind(layout)?,
                code: CodeFields::bind(layout)?,
                copies: CodeArray::bind(layout)?,
                tag_mask: layout.fact("code.tag_mask")?,
                skip_owners: layout
                    .fact::<Vec<i64>>("frame.skip_owners")?
                    .iter()
                    .map(|owner| *owner as u8)
                    .collect(),
            },
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "frame.style".into() }),
        };
        Ok(Frames { style, seen: FxHashSet::default() })
    }

    /// Puts the frames of the thread whose state is at `thread` into `frames`, innermost first, and says what stopped it
    /// short of the base.
    pub fn walk(&mut self, memory: &dyn Memory, thread: Addr, frames: &mut Vec<RawFrame>) -> Option<Torn> {
        frames.clear();
        self.seen.clear();
        self.follow(memory, thread, frames).err()
    }

    /// Where the innermost frame of a thread is; null where it runs no Python.
    pub fn top(&self, memory: &dyn Memory, thread: Addr) -> Result<Addr, Fault> {
        match &self.style {
            Style::Objects { top, .. } | Style::Interpreter { top: Top::State(top), .. } => {
                top.read(memory, thread)
            }
            Style::Interpreter { top: Top::CFrame(top, cframe), .. } => {
                cframe.current_frame.read(memory, top.read(memory, thread)?)
            }
        }
    }

    fn follow(&mut self, memory: &dyn Memory, thread: Addr, frames: &mut Vec<RawFrame>) -> Result<(), Torn> {
        let mut next = self.top(memory, thread).map_err(unreadable)?;
        for _ in 0..MAX_LINKS {
            if next.is_null() {
                return Ok(());
            }
            if frames.len() >= MAX_FRAMES {
                return Err(Torn::TooDeep);
            }
            if !self.seen.insert(next) {
                return Err(Torn::Cycle);
            }
            let (frame, back) = self.style.read(memory, next)?;
            frames.extend(frame);
            next = back;
        }
        Err(Torn::TooDeep)
    }
}

impl Style {
    /// The frame at `at`, unless it is one of the interpreter's own, and the one that called it.
    fn read(&self, memory: &dyn Memory, at: Addr) -> Result<(Option<RawFrame>, Addr), Torn> {
        let mut room = Room::default();
        match self {
            Style::Objects { frame, unit, .. } => {
                let object = Struct::read(memory, at, frame.span, &mut room).map_err(unreadable)?;
                let offset = i64::from(object.get(frame.lasti)) * unit;
                Ok((Some(RawFrame { at, code: object.get(frame.code), offset }), object.get(frame.back)))
            }
            Style::Interpreter { frame, code, copies, tag_mask, skip_owners, .. } => {
                let inner = Struct::read(memory, at, frame.span, &mut room).map_err(unreadable)?;
                let previous = inner.get(frame.previous);
                if skip_owners.contains(&inner.get(frame.owner)) {
                    return Ok((None, previous));
                }
                let object = Addr(inner.get(frame.code).0 & !tag_mask);
                let own = object.plus(code.code_adaptive as u64);
                let start = match (inner.maybe(frame.tlbc_index), code.tlbc) {
                    (Some(index), Some(array)) if index > 0 => {
                        copies.entry(memory, array.read(memory, object).map_err(unreadable)?, index)?
                    }
                    _ => own,
                };
                let offset = inner.get(frame.instr).0.wrapping_sub(start.0).cast_signed();
                Ok((Some(RawFrame { at, code: object, offset }), previous))
            }
        }
    }
}

impl CodeArray {
    /// Where copy number `index` of the instructions starts.
    fn entry(&self, memory: &dyn Memory, array: Addr, index: u32) -> Result<Addr, Torn> {
        let (Some(size), Some(entries)) = (self.size, self.entries) else { return Err(Torn::Garbage) };
        if u64::from(index) >= size.read(memory, array).map_err(unreadable)? {
            return Err(Torn::Garbage);
        }
        memory.get(array.plus(entries as u64).plus(8 * u64::from(index))).map_err(unreadable)
    }
}

fn unreadable(_: Fault) -> Torn {
    Torn::Unreadable
}
