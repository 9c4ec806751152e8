//! Whether a thread is handling an exception: what `sys.exc_info()` would tell it.

use std::collections::BTreeMap;

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Word};

use super::Unread;
use super::object::Objects;

/// The deepest nesting of generators and coroutines that is followed.
const MAX_NESTED: usize = 1 << 10;
/// `tp_name` of the type of `None`.
const NONE_TYPE: &str = "NoneType";

fields! {
    /// `PyThreadState`, Include/cpython/pystate.h (Include/pystate.h in Python 2).
    struct StateFields in "thread" {
        /// The innermost of the exceptions that are handled (3.7 and later).
        exc_info: Option<Field<Addr>>,
        /// The thread's own item, the outermost of them.
        exc_state: Option<usize>,
        /// The exception that is handled (before 3.7).
        exc_value: Option<Field<Addr>>,
    }
}

fields! {
    /// `_PyErr_StackItem`, Include/cpython/pystate.h: one for the thread and one for each generator that it runs.
    struct ItemFields in "exc_item" {
        exc_value: Option<Field<Addr>>,
        previous: Option<Field<Addr>>,
    }
}

/// How the target keeps exceptions that are handled.
#[derive(Debug, Clone, Copy)]
pub struct Exceptions {
    place: Place,
    none: Option<Addr>,
    objects: Objects,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// In the thread's state.
    State(Field<Addr>),
    /// In a chain of items, the thread's own the last of them.
    Items { first: Field<Addr>, own: Option<Own>, value: Field<Addr>, previous: Field<Addr> },
    /// Not to be found.
    Unknown,
}

/// The item in a thread's state: where it is, and where its value is.
#[derive(Debug, Clone, Copy)]
struct Own {
    offset: u64,
    value: Field<Addr>,
}

impl Exceptions {
    /// Binds what the layout says of exceptions. `symbols` are those of the interpreter's module.
    pub fn bind(layout: &Layout, symbols: &BTreeMap<String, Addr>) -> Result<Exceptions, Missing> {
        let (state, item) = (StateFields::bind(layout)?, ItemFields::bind(layout)?);
        let place = match (state.exc_info, item.exc_value, item.previous, state.exc_value) {
            (Some(first), Some(value), Some(previous), _) => {
                let own = state.exc_state.map(|own| Own {
                    offset: own as u64,
                    value: Field::at(own as u32 + value.offset() as u32),
                });
                Place::Items { first, own, value, previous }
            }
            (_, _, _, Some(value)) => Place::State(value),
            _ => Place::Unknown,
        };
        Ok(Exceptions {
            place,
            none: symbols.get("_Py_NoneStruct").copied(),
            objects: Objects::bind(layout)?,
        })
    }

    /// How many bytes of a thread's state [`Exceptions::told`] takes.
    pub fn span(&self) -> usize {
        match self.place {
            Place::Unknown => 0,
            Place::State(value) => value.offset() as usize + Addr::SIZE,
            Place::Items { first, own, .. } => {
                (first.offset().max(own.map_or(0, |own| own.value.offset()))) as usize + Addr::SIZE
            }
        }
    }

    /// The same of a thread whose state at `at` was copied; `None` where that does not say it all.
    pub fn told(&self, at: Addr, state: Struct<'_>) -> Option<bool> {
        let value = match self.place {
            Place::State(value) => state.get(value),
            // It runs no generator: its own item is all that there is.
            Place::Items { first, own: Some(own), .. } if state.get(first) == at.plus(own.offset) => {
                state.get(own.value)
            }
            Place::Items { .. } | Place::Unknown => return None,
        };
        match value.is_null() || Some(value) == self.none {
            true => Some(false),
            false => self.none.map(|_| true),
        }
    }

    /// Whether the thread with its state at `state` is handling an exception; `None` where that cannot be read.
    pub fn handled(&self, memory: &dyn Memory, state: Addr) -> Option<bool> {
        self.read(memory, state).ok()?
    }

    /// The innermost item that is not empty counts (`_PyErr_GetTopmostException`, Python/errors.c).
    fn read(&self, memory: &dyn Memory, state: Addr) -> Result<Option<bool>, Unread> {
        let (first, value, previous) = match self.place {
            Place::Unknown => return Ok(None),
            Place::State(value) => return self.is_one(memory, value.read(memory, state)?).map(Some),
            Place::Items { first, value, previous, .. } => (first, value, previous),
        };
        let mut item = first.read(memory, state)?;
        for _ in 0..MAX_NESTED {
            if self.is_one(memory, value.read(memory, item)?)? {
                return Ok(Some(true));
            }
            item = previous.read(memory, item)?;
            if item.is_null() {
                return Ok(Some(false));
            }
        }
        Ok(None)
    }

    /// Whether this is an exception, and neither nothing nor `None`.
    fn is_one(&self, memory: &dyn Memory, value: Addr) -> Result<bool, Unread> {
        if value.is_null() || Some(value) == self.none {
            return Ok(false);
        }
        if self.none.is_some() {
            return Ok(true);
        }
        let class = self.objects.type_of(memory, value)?;
        Ok(self.objects.type_name(memory, class)? != NONE_TYPE)
    }
}
