//! Names of threads: what Python's `threading` calls them.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::Unread;
use super::attribute::Attributes;
use super::dict::Dicts;
use super::object::Objects;
use super::text::Text;
use super::thread::State;

/// After how many lists of the threads, of which there are ten to a hundred a second, a name that is known is read again:
/// programs rename their threads.
const REFRESH: u64 = 16;
/// The same where nothing tells a thread from the one that comes to the same address after it (2.7 and 3.6).
const REFRESH_UNTOLD: u64 = 1;
/// The longest pause, in lists, before a thread without a name is looked up again.
const MAX_PAUSE: u64 = 32;

/// The most modules, names in a module or threads that are searched.
const MAX_ENTRIES: u64 = 1 << 18;

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (Include/pystate.h before 3.8).
    struct InterpreterFields in "interp" {
        modules: Field<Addr>,
        sysdict: Field<Addr>,
    }
}

fields! {
    /// `PyModuleObject`, Objects/moduleobject.c.
    struct ModuleFields in "module" {
        dict: Field<Addr>,
    }
}

/// The names that `threading` keeps, as far as they were asked for.
#[derive(Debug)]
pub struct Names {
    interpreter: InterpreterFields,
    module: ModuleFields,
    /// The attribute of a `threading.Thread` that holds its name.
    attribute: String,
    objects: Objects,
    text: Text,
    dicts: Dicts,
    attributes: Attributes,
    known: FxHashMap<Key, Known>,
    look: u64,
}

/// Tells a thread from one that comes to the same address, or gets the same `pthread_t`, after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    at: Addr,
    id: Option<u64>,
    thread: u64,
    native: Option<u64>,
}

#[derive(Debug)]
struct Known {
    name: Option<Arc<str>>,
    /// Another name that was read last.
    other: Option<String>,
    /// The list in which it was last seen.
    seen: u64,
    /// The list in which it is to be read again.
    due: u64,
    /// How long it then waits, while it has no name.
    pause: u64,
}

impl Names {
    /// Binds what the layout says of `threading`'s table.
    pub fn bind(layout: &Layout) -> Result<Names, Missing> {
        Ok(Names {
            interpreter: InterpreterFields::bind(layout)?,
            module: ModuleFields::bind(layout)?,
            attribute: layout.fact("thread.name_attribute")?,
            objects: Objects::bind(layout)?,
            text: Text::bind(layout)?,
            dicts: Dicts::bind(layout)?,
            attributes: Attributes::bind(layout)?,
            known: FxHashMap::default(),
            look: 0,
        })
    }

    /// Begins a list. Threads that were not seen in the last one are forgotten.
    pub fn begin(&mut self) {
        let last = self.look;
        self.known.retain(|_, known| known.seen == last);
        self.look += 1;
    }

    /// Reads what is due of the names of an interpreter's threads: all at once, when one of them is new.
    pub fn refresh(&mut self, memory: &dyn Memory, interpreter: Addr, states: &[State]) {
        let look = self.look;
        let mut due = false;
        for state in states {
            let known = self.known.entry(key(state)).or_insert(Known {
                name: None,
                other: None,
                seen: 0,
                due: look,
                pause: 1,
            });
            known.seen = look;
            due |= known.due <= look;
        }
        if !due {
            return;
        }
        let names = self.read(memory, interpreter, states).unwrap_or_default();
        for state in states {
            let Some(known) = self.known.get_mut(&key(state)) else { continue };
            if let Some(name) = names.get(&state.thread) {
                let told = state.id.or(state.native).is_some();
                let same = known.name.as_deref() == Some(name);
                // Since the threads were listed it may have ended, and the next one have got its `pthread_t`: who is still
                // there, and called that again, was renamed.
                if told && !same && known.name.is_some() && known.other.as_deref() != Some(name) {
                    known.other = Some(name.clone());
                    known.due = look + 1;
                    continue;
                }
                if !same {
                    known.name = Some(name.as_str().into());
                }
                known.other = None;
                known.due = look + if told { REFRESH } else { REFRESH_UNTOLD };
            } else if known.due <= look {
                known.due = look + known.pause;
                known.pause = (2 * known.pause).min(MAX_PAUSE);
            }
        }
    }

    /// The name of a thread, if it has one.
    pub fn get(&self, state: &State) -> Option<Arc<str>> {
        self.known.get(&key(state))?.name.clone()
    }

    /// What `sys.modules['threading']._active` calls those threads, as far as it can be read, by `threading.get_ident()`.
    fn read(
        &mut self,
        memory: &dyn Memory,
        interpreter: Addr,
        states: &[State],
    ) -> Result<FxHashMap<u64, String>, Unread> {
        if self.text.wants_maxunicode() {
            // Names that are bytes can be read without.
            if let Ok(Some(most)) = self.maxunicode(memory, interpreter) {
                self.text.set_maxunicode(most);
            }
        }
        let wanted: FxHashSet<u64> = states.iter().map(|state| state.thread).collect();
        let mut names = FxHashMap::default();
        let modules = self.interpreter.modules.read(memory, interpreter)?;
        let Some(threading) = self.dicts.get(memory, modules, "threading", MAX_ENTRIES)? else {
            return Ok(names);
        };
        let globals = self.module.dict.read(memory, threading)?;
        let Some(active) = self.dicts.get(memory, globals, "_active", MAX_ENTRIES)? else { return Ok(names) };
        for (ident, thread) in self.dicts.pairs(memory, active, MAX_ENTRIES)? {
            let Ok(ident) = self.objects.int(memory, ident).map(i64::cast_unsigned) else { continue };
            if wanted.contains(&ident) && !names.contains_key(&ident) {
                let name = self.attributes.get(memory, thread, &self.attribute).ok().flatten();
                names.extend(name.and_then(|name| Some((ident, self.text.read(memory, name).ok()?))));
            }
        }
        Ok(names)
    }

    /// `sys.maxunicode`.
    fn maxunicode(&self, memory: &dyn Memory, interpreter: Addr) -> Result<Option<i64>, Unread> {
        let sys = self.interpreter.sysdict.read(memory, interpreter)?;
        let most = self.dicts.get(memory, sys, "maxunicode", MAX_ENTRIES)?;
        most.map(|most| self.objects.int(memory, most)).transpose()
    }
}

fn key(state: &State) -> Key {
    Key { at: state.at, id: state.id, thread: state.thread, native: state.native }
}
