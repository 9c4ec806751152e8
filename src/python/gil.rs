//! The GIL: which thread holds it, wherever a version keeps that.

use std::collections::BTreeMap;

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Fault, Memory};
use crate::target::Root;

use super::thread::State;

fields! {
    /// `_PyRuntimeState`, Include/internal/pycore_runtime.h (3.7 to 3.11).
    struct RuntimeFields in "runtime" {
        tstate_current: Field<Addr>,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (3.12 and later).
    struct InterpreterFields in "interp" {
        gil_ptr: Field<Addr>,
    }
}

fields! {
    /// `struct _gil_runtime_state`, Include/internal/pycore_gil.h.
    struct GilFields in "gil" {
        last_holder: Field<Addr>,
        locked: Field<i32>,
        /// Free-threaded builds: 0 where the GIL is off.
        enabled: Option<Field<i32>>,
    }
}

/// How the target says who holds the GIL.
#[derive(Debug, Clone, Copy)]
pub struct Gil {
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// A pointer of the process to the running thread's state, null while the GIL is free.
    Current(Addr),
    /// A struct that the interpreter points to. `last_holder` is stale while it is not locked.
    Interpreter(InterpreterFields, GilFields),
    /// Not to be found.
    Unknown,
}

/// Who holds an interpreter's GIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The thread with this state; null is nobody.
    State(Addr),
    /// There is no GIL: each thread is attached for itself.
    Attached,
    /// It could not be read.
    Unknown,
}

impl Gil {
    /// Binds what the layout says of the GIL. `symbols` are those of the interpreter's module.
    pub fn bind(layout: &Layout, root: Root, symbols: &BTreeMap<String, Addr>) -> Result<Gil, Missing> {
        let place = match (layout.fact::<String>("gil.where")?.as_str(), root) {
            ("static", _) => {
                symbols.get("_PyThreadState_Current").map_or(Place::Unknown, |at| Place::Current(*at))
            }
            ("runtime", Root::Runtime(at)) => {
                Place::Current(RuntimeFields::bind(layout)?.tstate_current.of(at))
            }
            ("interpreter", _) => {
                Place::Interpreter(InterpreterFields::bind(layout)?, GilFields::bind(layout)?)
            }
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "gil.where".into() }),
        };
        Ok(Gil { place })
    }

    /// Who holds the GIL of the interpreter at `interpreter`.
    pub fn holder(&self, memory: &dyn Memory, interpreter: Addr) -> Holder {
        self.read(memory, interpreter).unwrap_or(Holder::Unknown)
    }

    fn read(&self, memory: &dyn Memory, interpreter: Addr) -> Result<Holder, Fault> {
        match &self.place {
            Place::Unknown => Ok(Holder::Unknown),
            Place::Current(at) => memory.get(*at).map(Holder::State),
            Place::Interpreter(fields, gil) => {
                let at = fields.gil_ptr.read(memory, interpreter)?;
                match gil.enabled {
                    Some(enabled) if enabled.read(memory, at)? == 0 => return Ok(Holder::Attached),
                    _ => {}
                }
                // -1 before it was made.
                let locked = gil.locked.read(memory, at)? == 1;
                Ok(Holder::State(if locked { gil.last_holder.read(memory, at)? } else { Addr::NULL }))
            }
        }
    }
}

impl Holder {
    /// Whether that is the thread; `None` where nothing says so.
    pub fn is(self, thread: &State) -> Option<bool> {
        match self {
            Holder::State(at) => Some(at == thread.at),
            Holder::Attached => thread.attached,
            Holder::Unknown => None,
        }
    }
}
