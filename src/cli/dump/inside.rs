//! What is inside the frames of a thread: the values of its locals.

use super::LocalDump;
use crate::layout::Missing;
use crate::memory::Memory;
use crate::python::locals::Locals;
use crate::python::secret::{MASK, is_secret};
use crate::python::value::Values;
use crate::python::{Python, ThreadLook};
use crate::target::Located;

/// So many characters of a value are shown for each time that locals were asked for.
const CHARACTERS: usize = 128;
/// The most of it, however often.
const MAX_CHARACTERS: usize = 4096;

/// How to look inside frames.
pub(super) struct Inside {
    locals: Locals,
    values: Values,
    limit: usize,
}

impl Inside {
    /// Binds what the layout says of values, which are shown as long as `times` says.
    pub(super) fn open(located: &Located, times: u8) -> Result<Inside, Missing> {
        let layout = &located.chosen.layout;
        Ok(Inside {
            locals: Locals::bind(layout)?,
            values: Values::bind(layout)?,
            limit: (CHARACTERS * usize::from(times)).min(MAX_CHARACTERS),
        })
    }

    /// The locals of each of a thread's frames, where it still is where a look saw it; none of one that went on meanwhile.
    pub(super) fn of(
        &mut self,
        memory: &dyn Memory,
        python: &Python,
        thread: &ThreadLook,
    ) -> Vec<Option<Vec<LocalDump>>> {
        if let Some(interpreter) = python.interpreters(memory).0.first() {
            self.values.learn(memory, *interpreter);
        }
        let places = python.places(memory, thread).into_iter();
        places
            .map(|place| {
                let (frame, code) = place?;
                let locals = self.locals.of(memory, frame, code).ok()?;
                let words = locals.into_iter().map(|local| LocalDump {
                    value: if is_secret(&local.name) {
                        MASK.to_owned()
                    } else {
                        self.values.words(memory, local.value, self.limit)
                    },
                    name: local.name,
                });
                Some(words.collect())
            })
            .collect()
    }
}
