//! Frames: what one says of itself, as a frame object or as one of the interpreter's own.

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Fault, Memory, Word};
use crate::model::Torn;

use super::code::{CodeId, Codes};
use super::object::Objects;

/// The longest chain that is followed, the interpreter's own frames left out.
pub const MAX_FRAMES: usize = 20_000;
/// How many bytes are read beyond the innermost frame on a thread's data stack: those of the next ones, when they come.
const SLACK: u64 = 512;

/// A place in a function: what one line of a stack says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function.
    pub code: CodeId,
    /// The instruction that was running, in bytes from the first; below 0 where the frame has not started.
    pub offset: i32,
}

/// What is read of a frame. Two equal ones say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What kind of frame it is.
    pub kind: Kind,
    /// Its code object.
    pub code: Addr,
    /// The frame that called it; null at the base.
    pub back: Addr,
    /// Where it is in its code, as the frame says it: an address, or a count of instructions.
    pub instruction: u64,
    /// Which copy of the instructions it runs.
    pub copy: u32,
    /// It was called from C, and says so (3.11).
    pub from_c: bool,
}

/// Whose frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A function's.
    Python,
    /// The interpreter's own, where it was called from C.
    Own,
    /// Nobody's: it was let go, or never was a frame.
    Dead,
}

impl Header {
    /// Whether the other says the same, where it is in its code apart.
    pub fn is_as(&self, other: &Header) -> bool {
        *self == Header { instruction: self.instruction, ..*other }
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
    /// `PyObject`, Include/object.h.
    struct ObjectFields in "object" {
        refcnt: Field<i64>,
        r#type: Field<Addr>,
    }
}

fields! {
    /// `_PyInterpreterFrame`, Include/internal/pycore_frame.h (3.11 and later).
    struct InterpreterFrame in "iframe" {
        previous: Field<Addr>,
        code: Field<Addr>,
        instr: Field<Addr>,
        owner: Field<u8>,
        /// How many values lie in it; below 0 while it runs (up to 3.13).
        stacktop: Option<Field<i32>>,
        /// Which copy of the instructions it runs, on free-threaded builds (3.14 and later).
        tlbc_index: Option<Field<u32>>,
        localsplus: usize,
        /// Whether it was called from C, where no frame of the interpreter's own says so (3.11).
        is_entry: Option<Field<u8>>,
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

/// How the target keeps frames.
#[derive(Debug)]
pub struct Frames {
    style: Style,
    /// Where a thread's state says which frame is its innermost.
    pub top: Top,
    /// And where its frames end that lie side by side, if they do.
    pub stack_end: Option<Field<Addr>>,
    /// And by which two numbers how many calls are under way, which is the difference; in 3.11 those of C count, too.
    recursion: Option<(Field<i32>, Field<i32>)>,
    /// How many bytes of a frame are read.
    pub span: usize,
}

#[derive(Debug)]
enum Style {
    Objects(FrameObjects),
    Interpreter(Interpreter),
}

/// Up to 3.10: objects that point to their callers.
#[derive(Debug)]
struct FrameObjects {
    frame: FrameObject,
    object: ObjectFields,
    /// The type of all of them, once one was met.
    class: Option<Addr>,
    objects: Objects,
    /// Bytes of one step of `f_lasti`.
    unit: i64,
}

/// From 3.11 on: frames of the interpreter's own, mostly side by side on the thread's data stack.
#[derive(Debug)]
struct Interpreter {
    frame: InterpreterFrame,
    code: CodeFields,
    copies: CodeArray,
    /// Bits of the code pointer that are none of the address.
    tag_mask: u64,
    /// Owners whose frames stand for the interpreter itself, where it was called from C.
    skip_owners: Owners,
    /// The code of frames that stand for the interpreter, too, once one was met.
    shim: Option<Addr>,
}

/// A set of owners of frames, which are small numbers.
#[derive(Debug, Clone, Copy)]
struct Owners(u64);

/// Where the address of the innermost frame is kept; it is null where the thread runs no Python.
#[derive(Debug, Clone, Copy)]
pub enum Top {
    /// In the thread's state.
    State(Field<Addr>),
    /// In the newest `_PyCFrame`, which the state points to (3.11 and 3.12).
    CFrame(Field<Addr>, Field<Addr>),
}

impl Top {
    /// The word of a thread's state that leads to it.
    pub fn newest(self) -> Field<Addr> {
        let (Top::State(field) | Top::CFrame(field, _)) = self;
        field
    }

    /// Where the frame's address is, if not in that word: in the `_PyCFrame` at `cframe`.
    pub fn within(self, cframe: Addr) -> Option<Addr> {
        match self {
            Top::State(_) => None,
            Top::CFrame(_, current) => Some(current.of(cframe)),
        }
    }
}

impl Frames {
    /// Binds what the layout says of frames.
    pub fn bind(layout: &Layout) -> Result<Frames, Missing> {
        fields! {
            /// `PyThreadState`, Include/cpython/pystate.h (Include/pystate.h in Python 2).
            struct ThreadFields in "thread" {
                frame: Option<Field<Addr>>,
                current_frame: Option<Field<Addr>>,
                cframe: Option<Field<Addr>>,
                datastack_top: Option<Field<Addr>>,
                recursion_limit: Option<Field<i32>>,
                recursion_remaining: Option<Field<i32>>,
            }
        }
        let (style, span) = match layout.fact::<String>("frame.style")?.as_str() {
            "object" => {
                let objects = FrameObjects::bind(layout)?;
                let span = objects.frame.span.max(objects.object.span);
                (Style::Objects(objects), span)
            }
            "interpreter" => {
                let interpreter = Interpreter::bind(layout)?;
                let span = interpreter.frame.span;
                (Style::Interpreter(interpreter), span)
            }
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "frame.style".into() }),
        };
        let thread = ThreadFields::bind(layout)?;
        let top = match (&style, thread.frame, thread.current_frame, thread.cframe) {
            (Style::Objects(_), Some(top), ..) | (Style::Interpreter(_), _, Some(top), _) => Top::State(top),
            (Style::Interpreter(_), .., Some(newest)) => {
                Top::CFrame(newest, CFrame::bind(layout)?.current_frame)
            }
            _ => {
                let (layout, section, key) = (layout.name.clone(), "thread".into(), "current_frame".into());
                return Err(Missing::Key { layout, section, key });
            }
        };
        let recursion = match top {
            Top::CFrame(..) => thread.recursion_limit.zip(thread.recursion_remaining),
            Top::State(_) => None,
        };
        Ok(Frames { style, top, stack_end: thread.datastack_top, recursion, span })
    }

    /// Whether each lies somewhere else: most of those of the interpreter's own lie side by side.
    pub fn are_apart(&self) -> bool {
        matches!(self.style, Style::Objects(_))
    }

    /// How many calls are under way by what a thread's state says, where the innermost frame is kept elsewhere: no fewer than there are
    /// frames of Python's.
    pub fn depth(&self, state: Struct<'_>) -> Option<usize> {
        let (limit, remaining) = self.recursion?;
        usize::try_from(state.get(limit).checked_sub(state.get(remaining))?).ok()
    }

    /// How many bytes of a thread's state are read of it.
    pub fn state_span(&self) -> usize {
        let end = |field: Field<Addr>| field.offset() as usize + Addr::SIZE;
        let recursion = self.recursion.map(|(one, two)| one.offset().max(two.offset()) as usize + i32::SIZE);
        let ends = [Some(end(self.top.newest())), self.stack_end.map(end), recursion];
        ends.into_iter().flatten().max().unwrap_or_default()
    }

    /// How far beyond a frame the next ones may lie.
    pub fn slack(&self) -> u64 {
        match &self.style {
            Style::Objects(_) => 0,
            Style::Interpreter(_) => SLACK,
        }
    }

    /// What the first [`Frames::span`] bytes of a frame say.
    pub fn header(&self, copy: Struct<'_>) -> Header {
        match &self.style {
            Style::Objects(objects) => objects.header(copy),
            Style::Interpreter(interpreter) => interpreter.header(copy),
        }
    }

    /// Whether a frame says of itself that it is called. One that has returned does not, until another one comes to lie where it
    /// lay. In 3.11 to 3.13 only one that runs does, or that has called into C (`stacktop`, Python/ceval.c); from 3.14 on
    /// those do that wait for what they called, too (`f_executable`, which `clear_thread_frame` clears).
    pub fn is_called(&self, copy: Struct<'_>) -> bool {
        match &self.style {
            Style::Objects(objects) => objects.header(copy).kind == Kind::Python,
            Style::Interpreter(interpreter) => {
                let Header { kind, code, .. } = interpreter.header(copy);
                let runs = copy.maybe(interpreter.frame.stacktop).is_none_or(|values| values < 0);
                kind == Kind::Python && !code.is_null() && runs
            }
        }
    }

    /// What a frame says that may have returned: it may have lost its code object by then, but not where it was in it.
    pub fn left(&self, memory: &dyn Memory, header: Header, codes: &Codes) -> Header {
        if header.kind != Kind::Python || self.are_apart() || codes.last_at(header.code).is_some() {
            return header;
        }
        let known = codes.before(Addr(header.instruction)).and_then(|(place, code)| {
            let found = Header { code: place, ..header };
            self.offset(memory, &found).is_ok_and(|offset| offset >= 0 && code.holds(offset)).then_some(found)
        });
        known.unwrap_or(header)
    }

    /// How many bytes a frame takes that is one of the interpreter's own and has room for so many values.
    pub fn size(&self, values: u32) -> Option<u64> {
        match &self.style {
            Style::Objects(_) => None,
            Style::Interpreter(interpreter) => {
                Some(interpreter.frame.localsplus as u64 + Addr::SIZE as u64 * u64::from(values))
            }
        }
    }

    /// Learns from a frame object what no layout says: the type that they have.
    pub fn learn(&mut self, memory: &dyn Memory, at: Addr) {
        let Style::Objects(known @ FrameObjects { class: None, .. }) = &mut self.style else { return };
        let class = known.object.r#type.read(memory, at).ok();
        let is_frame =
            |class: &Addr| known.objects.type_name(memory, *class).is_ok_and(|name| name == "frame");
        known.class = class.filter(is_frame);
    }

    /// Takes in that the code object at `code` is none of the program's ([`Code::is_shim`](super::code::Code::is_shim)).
    pub fn learn_shim(&mut self, code: Addr) {
        if let Style::Interpreter(interpreter) = &mut self.style {
            interpreter.shim = Some(code);
        }
    }

    /// The instruction that a frame stands at, in bytes from the first; below 0 where it has not started.
    pub fn offset(&self, memory: &dyn Memory, header: &Header) -> Result<i32, Torn> {
        let offset = match &self.style {
            Style::Objects(objects) => header.instruction.cast_signed().saturating_mul(objects.unit),
            Style::Interpreter(interpreter) => interpreter.offset(memory, header)?,
        };
        // There is no code so long.
        offset.try_into().map_err(|_| Torn::Garbage)
    }
}

impl FrameObjects {
    fn bind(layout: &Layout) -> Result<FrameObjects, Missing> {
        Ok(FrameObjects {
            frame: FrameObject::bind(layout)?,
            object: ObjectFields::bind(layout)?,
            class: None,
            objects: Objects::bind(layout)?,
            unit: layout.fact("lines.unit")?,
        })
    }

    fn header(&self, copy: Struct<'_>) -> Header {
        // A frame that was let go waits for its next use: it has no caller then, or one that is no caller
        // (`frame_dealloc` and `free_list`, Objects/frameobject.c).
        let class = copy.get(self.object.r#type);
        let alive = copy.get(self.object.refcnt) > 0 && self.class.is_none_or(|known| known == class);
        Header {
            kind: if alive { Kind::Python } else { Kind::Dead },
            code: copy.get(self.frame.code),
            back: copy.get(self.frame.back),
            instruction: i64::from(copy.get(self.frame.lasti)).cast_unsigned(),
            copy: 0,
            from_c: false,
        }
    }
}

impl Interpreter {
    fn bind(layout: &Layout) -> Result<Interpreter, Missing> {
        let owners: Vec<i64> = layout.fact("frame.skip_owners")?;
        Ok(Interpreter {
            frame: InterpreterFrame::bind(layout)?,
            code: CodeFields::bind(layout)?,
            copies: CodeArray::bind(layout)?,
            tag_mask: layout.fact("code.tag_mask")?,
            shim: None,
            skip_owners: Owners(owners.iter().fold(0, |all, owner| all | 1 << (owner & 63))),
        })
    }

    fn header(&self, copy: Struct<'_>) -> Header {
        let back = copy.get(self.frame.previous);
        let code = Addr(copy.get(self.frame.code).0 & !self.tag_mask);
        if self.skip_owners.holds(copy.get(self.frame.owner)) || self.shim == Some(code) {
            // What else stands in it says nothing.
            return Header {
                kind: Kind::Own,
                code: Addr::NULL,
                back,
                instruction: 0,
                copy: 0,
                from_c: false,
            };
        }
        Header {
            kind: Kind::Python,
            code,
            back,
            instruction: copy.get(self.frame.instr).0,
            copy: copy.maybe(self.frame.tlbc_index).unwrap_or(0),
            from_c: copy.maybe(self.frame.is_entry).is_some_and(|entry| entry != 0),
        }
    }

    fn offset(&self, memory: &dyn Memory, header: &Header) -> Result<i64, Torn> {
        let start = match (header.copy, self.code.tlbc) {
            // The first copy is the code object's own.
            (index @ 1.., Some(array)) => {
                self.copies.entry(memory, array.read(memory, header.code).map_err(unreadable)?, index)?
            }
            _ => header.code.plus(self.code.code_adaptive as u64),
        };
        Ok(header.instruction.wrapping_sub(start.0).cast_signed())
    }
}

impl Owners {
    fn holds(self, owner: u8) -> bool {
        owner < 64 && self.0 >> owner & 1 == 1
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
impl Frames {
    /// A frame of the interpreter's own, as it lies in memory.
    pub(super) fn made(&self, code: Addr, back: Addr) -> Vec<u8> {
        let Style::Interpreter(Interpreter { frame, .. }) = &self.style else { panic!("they are objects") };
        let mut bytes = vec![0; self.span];
        for (field, word) in [(frame.code, code), (frame.previous, back)] {
            let at = field.offset() as usize;
            bytes[at..at + Addr::SIZE].copy_from_slice(&word.0.to_le_bytes());
        }
        bytes
    }
}
