//! Where the interpreter is in a process, and which one it is: the only file that may ask for a Python version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::layout::{Chosen, Fingerprint};
use crate::memory::Addr;

/// An interpreter, found in a process.
#[derive(Debug, Clone)]
pub struct Located {
    /// The mapped file that holds it.
    pub module: Module,
    /// Which build it is.
    pub fingerprint: Fingerprint,
    /// The layout that serves it.
    pub chosen: Chosen,
    /// Where its list of interpreters begins.
    pub root: Root,
    /// How the root was found, in words.
    pub found_by: String,
}

/// The mapped ELF file that holds an interpreter.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its path, as the target sees it.
    pub path: PathBuf,
    /// What must be added to an address of the file to have one of the process.
    pub bias: u64,
    /// The symbols that readers ask for, at their addresses in the process.
    pub symbols: BTreeMap<String, Addr>,
}

/// Where the list of interpreters begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `_PyRuntime` (3.7 and later).
    Runtime(Addr),
    /// The static variable `interp_head` (before 3.7).
    InterpHead(Addr),
}
