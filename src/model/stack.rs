//! Strings, files, frames, stacks and tracks: everything that is said once and then named by its id.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The place in its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// A string.
    StringId,
    /// A source file.
    FileId,
    /// A frame: a line of a function.
    FrameId,
    /// A stack: a frame and the stack below it.
    StackId,
    /// A track: a thread of one interpreter (later also a task or a greenlet).
    TrackId,
    /// A process, as often as it was seen to start or to exec.
    ProcessId,
}

/// What kind of thing a frame stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A function of Python code.
    Python,
    /// A function of compiled code; `file` is its module until its source is known.
    Native,
    /// A function of the operating system's kernel.
    Kernel,
    /// A mark of ours, such as `<torn>`: no function of the target.
    Mark,
    /// The instruction that the frame below it was at.
    Opcode,
}

/// One line of one function. Lines count from 1, columns are what `co_positions()` says: bytes from 0. `None` where the
/// target does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What the frame stands for.
    pub kind: FrameKind,
    /// The function's name, as `co_name` has it.
    pub name: StringId,
    /// The name with its class and enclosing functions, where the target knows it (3.11 and later).
    pub qualname: Option<StringId>,
    /// Where the function was written.
    pub file: FileId,
    /// The line that was running.
    pub line: Option<u32>,
    /// The line on which that statement's running part ends.
    pub end_line: Option<u32>,
    /// The first column of that part.
    pub column: Option<u32>,
    /// The column behind that part.
    pub end_column: Option<u32>,
    /// The line on which the function starts.
    pub first_line: Option<u32>,
}

/// Whose code a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// Not looked at, or not to be told.
    Unknown,
    /// The program's own.
    Own,
    /// Python's standard library.
    Standard,
    /// An installed distribution; [`File::distribution`] names it.
    Installed,
    /// No file: `<frozen importlib._bootstrap>`, `<string>`, `<stdin>`.
    Synthetic,
}

/// A source file, as the target names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct File {
    /// `co_filename`, as it stands in the target.
    pub path: StringId,
    /// Whose code it holds.
    pub kind: FileKind,
    /// The installed distribution that it came with.
    pub distribution: Option<StringId>,
}

/// A frame and what called it. A stack is told by its innermost row; the outermost has no parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stack {
    /// The stack that called this frame.
    pub parent: Option<StackId>,
    /// The frame itself.
    pub frame: FrameId,
}

/// What a track follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// A thread, as one interpreter knows it.
    Thread,
    /// An asyncio task.
    Task,
    /// A greenlet.
    Greenlet,
    /// A process's memory, of which it is not known which thread asked for it.
    Memory,
}

/// One line of execution: what samples belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Track {
    /// What it follows.
    pub kind: TrackKind,
    /// The process that it runs in.
    pub process: ProcessId,
    /// The interpreter's id; 0 is the main one.
    pub interpreter: i64,
    /// `threading.get_ident()`: glibc's `pthread_t` as a number.
    pub thread: u64,
    /// The kernel's thread id, seen from our own pid namespace.
    pub native: Option<u32>,
    /// Its name: `threading`'s, else the kernel's.
    pub name: Option<StringId>,
    /// Whether it is the main thread of its process.
    pub main: bool,
}

/// A process that was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id in our own pid namespace.
    pub pid: u32,
    /// The process that started it, where that one is in the recording too.
    pub parent: Option<ProcessId>,
    /// Program and script; the whole command line only where that was asked for.
    pub command: StringId,
    /// The interpreter's version, such as `3.13.0`.
    pub python: StringId,
    /// The interpreter has no GIL.
    pub free_threaded: bool,
    /// The interpreter is a `Py_DEBUG` build.
    pub debug: bool,
}

/// What a waiting thread waits for, in words: `sleep`, `lock`, `tcp 10.0.0.7:5432`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The words.
    pub text: StringId,
}
