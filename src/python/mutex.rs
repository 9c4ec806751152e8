//! Where the GIL's own lock lies: a thread that waits for a word of it wants the GIL.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::layout::Field;
use crate::layout::{Layout, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::target::Root;

/// The longest of the C library's locks and condition variables, in bytes (`pthread_cond_t` of glibc; bits/pthreadtypes.h).
const LOCK: u64 = 48;
/// The parts of a GIL that is made of static variables (Python/ceval_gil.h, up to 3.6).
const PARTS: &[&str] = &["gil_cond", "gil_mutex", "switch_cond", "switch_mutex"];
/// The variable that points to the one lock that Python 2's GIL is (Python/ceval.c).
const LOCK_POINTER: &str = "interpreter_lock";

fields! {
    /// `_PyRuntimeState`, Include/internal/pycore_runtime.h (3.7 to 3.11).
    struct RuntimeFields in "runtime" {
        gil: Option<Field<u64>>,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (3.12 and later).
    struct InterpreterFields in "interp" {
        gil_ptr: Option<Field<Addr>>,
    }
}

fields! {
    /// `struct _gil_runtime_state`, Include/internal/pycore_gil.h.
    struct GilFields in "gil" {
        size: Option<usize>,
    }
}

/// The locks of all GILs of a process.
#[derive(Debug)]
pub struct Mutexes {
    /// What never moves.
    fixed: Vec<Range<u64>>,
    pointer: Option<Addr>,
    of_interpreter: Option<(Field<Addr>, u64)>,
    ranges: Vec<Range<u64>>,
}

impl Mutexes {
    /// Binds what the layout says of the GIL. `symbols` are those of the interpreter's module.
    pub fn bind(layout: &Layout, root: Root, symbols: &BTreeMap<String, Addr>) -> Result<Mutexes, Missing> {
        let size = GilFields::bind(layout)?.size.map(|size| size as u64);
        let mut fixed: Vec<Range<u64>> =
            PARTS.iter().filter_map(|part| symbols.get(*part)).map(|at| span(*at, LOCK)).collect();
        if let (Root::Runtime(at), Some(gil), Some(size)) = (root, RuntimeFields::bind(layout)?.gil, size) {
            fixed.push(span(gil.of(at), size));
        }
        Ok(Mutexes {
            fixed,
            pointer: symbols.get(LOCK_POINTER).copied(),
            of_interpreter: InterpreterFields::bind(layout)?.gil_ptr.zip(size),
            ranges: Vec::new(),
        })
    }

    /// Finds the GILs of these interpreters.
    pub fn refresh(&mut self, memory: &dyn Memory, interpreters: &[Addr]) {
        self.ranges.clear();
        self.ranges.extend(self.fixed.iter().cloned());
        let pointed = self.pointer.and_then(|at| memory.get::<Addr>(at).ok()?.non_null());
        self.ranges.extend(pointed.map(|at| span(at, LOCK)));
        if let Some((pointer, size)) = self.of_interpreter {
            let gils = interpreters.iter().filter_map(|at| pointer.read(memory, *at).ok()?.non_null());
            self.ranges.extend(gils.map(|at| span(at, size)));
        }
    }

    /// Whether a word belongs to a GIL.
    pub fn hold(&self, word: Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(&word.0))
    }
}

fn span(at: Addr, length: u64) -> Range<u64> {
    at.0..at.plus(length).0
}
