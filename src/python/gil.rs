//! The GIL: which thread holds it, and which threads can have held it since the last look.

use std::collections::BTreeMap;

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Fault, Memory};
use crate::target::Root;

use super::plan::{Plan, Slot};

fields! {
    /// `_PyRuntimeState`, Include/internal/pycore_runtime.h (3.7 to 3.11).
    struct RuntimeFields in "runtime" {
        tstate_current: Field<Addr>,
        gil: usize,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (3.12 and later).
    struct InterpreterFields in "interp" {
        gil_ptr: Field<Addr>,
    }
}

fields! {
    /// `struct _gil_runtime_state`, Include/internal/pycore_gil.h (3.7 and later).
    struct GilFields in "gil" {
        last_holder: Field<Addr>,
        locked: Field<i32>,
        /// Counts how often another thread than the last one took it.
        switch_number: Field<u64>,
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
    /// A pointer of the process to the running thread's state, null while the GIL is free, and nothing else.
    Pointer(Addr),
    /// Such a pointer, and a struct of the runtime.
    Runtime(Addr, Addr, GilFields),
    /// A struct that the interpreter points to.
    Interpreter(InterpreterFields, GilFields),
    /// Not to be found.
    Unknown,
}

/// Who holds an interpreter's GIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The thread with this state; null is nobody.
    State(Addr),
    /// Each thread says for itself whether it is attached: there is no GIL, or it was not read.
    Attached,
    /// It could not be read.
    Unknown,
}

/// Where what is read of one GIL stands. Interpreters with equal ones share it.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    pointer: Option<Addr>,
    gil: Option<(Addr, GilFields)>,
}

/// What was planned of one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    switches: Option<Slot>,
    pointer: Option<Slot>,
    gil: Option<Slot>,
}

/// What one said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Who holds it.
    pub holder: Holder,
    /// Who took it last, and how often it was taken by another thread than before; nothing where no such count is kept.
    pub trail: Option<Trail>,
}

/// A moment in the life of a GIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trail {
    /// The thread that took it last; no other one can run Python before it is taken again.
    pub last: Addr,
    /// How often another thread than the last one had taken it before that was read: it counts no switch to a holder that was
    /// not seen.
    pub before: u64,
    /// And after it was read: none is missed.
    pub after: u64,
}

/// Which threads can have run Python between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// At most these two, which may be one.
    Only(Addr, Addr),
    /// Any.
    Any,
}

impl Gil {
    /// Binds what the layout says of the GIL. `symbols` are those of the interpreter's module.
    pub fn bind(layout: &Layout, root: Root, symbols: &BTreeMap<String, Addr>) -> Result<Gil, Missing> {
        let place = match (layout.fact::<String>("gil.where")?.as_str(), root) {
            ("static", _) => {
                symbols.get("_PyThreadState_Current").map_or(Place::Unknown, |at| Place::Pointer(*at))
            }
            ("runtime", Root::Runtime(at)) => {
                let runtime = RuntimeFields::bind(layout)?;
                let gil = at.plus(runtime.gil as u64);
                Place::Runtime(runtime.tstate_current.of(at), gil, GilFields::bind(layout)?)
            }
            ("interpreter", _) => {
                Place::Interpreter(InterpreterFields::bind(layout)?, GilFields::bind(layout)?)
            }
            _ => return Err(Missing::Fact { layout: layout.name.clone(), fact: "gil.where".into() }),
        };
        Ok(Gil { place })
    }

    /// Where what is read of the GIL of the interpreter at `interpreter` stands.
    pub fn words(&self, memory: &dyn Memory, interpreter: Addr) -> Result<Words, Fault> {
        Ok(match &self.place {
            Place::Unknown => Words { pointer: None, gil: None },
            Place::Pointer(at) => Words { pointer: Some(*at), gil: None },
            Place::Runtime(at, gil, fields) => Words { pointer: Some(*at), gil: Some((*gil, *fields)) },
            Place::Interpreter(interp, fields) => {
                Words { pointer: None, gil: Some((interp.gil_ptr.read(memory, interpreter)?, *fields)) }
            }
        })
    }

    /// Who holds the GIL of the interpreter at `interpreter`.
    pub fn holder(&self, memory: &dyn Memory, interpreter: Addr) -> Holder {
        let Ok(words) = self.words(memory, interpreter) else { return Holder::Unknown };
        let mut plan = Plan::default();
        let asked = words.ask(&mut plan, false);
        plan.read(memory);
        words.hear(&plan, asked, None).holder
    }
}

impl Heard {
    /// What cannot be read says nothing.
    pub const NOTHING: Heard = Heard { holder: Holder::Unknown, trail: None };
}

impl Words {
    /// Whether these are the words of the same GIL.
    pub fn is(&self, other: &Words) -> bool {
        (self.pointer, self.gil.map(|(at, _)| at)) == (other.pointer, other.gil.map(|(at, _)| at))
    }

    /// Plans to read them; `exactly` where what ran since the last look is to be told as closely as can be.
    pub fn ask(&self, plan: &mut Plan, exactly: bool) -> Asked {
        Asked {
            switches: self.gil.filter(|_| exactly).map(|(at, gil)| plan.add(gil.switch_number.of(at), 8)),
            pointer: self.pointer.map(|at| plan.add(at, 8)),
            // Bytes come in the order of their addresses: the holder, then the count.
            gil: self.gil.map(|(at, gil)| plan.add(at, gil.span)),
        }
    }

    /// What the words said, after they had said `last`: the count never goes back, so that from then is no larger than that before this
    /// read.
    pub fn hear(&self, plan: &Plan, asked: Asked, last: Option<Trail>) -> Heard {
        let gil = self.gil.and_then(|(_, fields)| Some((fields, plan.structure(asked.gil?, fields.span)?)));
        let off = gil.is_some_and(|(fields, gil)| gil.maybe(fields.enabled) == Some(0));
        let holder = match (asked.pointer, gil) {
            _ if off => Some(Holder::Attached),
            (Some(pointer), _) => plan.word(pointer).map(Holder::State),
            // -1 before it was made. `last_holder` is stale while it is not locked.
            (None, Some((fields, gil))) => Some(Holder::State(match gil.get(fields.locked) {
                1 => gil.get(fields.last_holder),
                _ => Addr::NULL,
            })),
            (None, None) => None,
        };
        let trail = || {
            let (fields, gil) = gil?;
            let before = match asked.switches {
                Some(slot) => plan.word(slot)?,
                None => last.map_or(0, |last| last.after),
            };
            let after = gil.get(fields.switch_number);
            Some(Trail { last: gil.get(fields.last_holder), before, after })
        };
        Heard { holder: holder.unwrap_or(Holder::Unknown), trail: if off { None } else { trail() } }
    }
}

impl Trail {
    /// Which threads can have run Python from this moment to a later one.
    pub fn until(self, later: Trail) -> Ran {
        match later.after.wrapping_sub(self.before) {
            0 | 1 => Ran::Only(self.last, later.last),
            _ => Ran::Any,
        }
    }
}

impl Ran {
    /// Whether the thread with this state can have run.
    pub fn holds(self, state: Addr) -> bool {
        match self {
            Ran::Only(one, other) => state == one || state == other,
            Ran::Any => true,
        }
    }
}

impl Holder {
    /// Whether that is the thread with this state, which says itself whether it is `attached`; `None` where nothing says so.
    pub fn is(self, state: Addr, attached: Option<bool>) -> Option<bool> {
        match self {
            Holder::State(at) => Some(at == state),
            Holder::Attached => attached,
            Holder::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_have_run_is_told_by_the_count_of_switches() {
        let trail = |last, count| Trail { last: Addr(last), before: count, after: count };
        assert_eq!(trail(1, 7).until(trail(1, 7)), Ran::Only(Addr(1), Addr(1)));
        assert_eq!(trail(1, 7).until(trail(2, 8)), Ran::Only(Addr(1), Addr(2)));
        assert_eq!(trail(1, 7).until(trail(1, 9)), Ran::Any);
        assert_eq!(trail(1, 7).until(trail(1, 6)), Ran::Any, "a count that jumped back proves nothing");
        assert!(Ran::Any.holds(Addr(5)) && !Ran::Only(Addr(1), Addr(2)).holds(Addr(5)));
    }
}
