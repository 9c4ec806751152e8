//! What the walks call stacks and places in functions, and what the recording calls them.

use rustc_hash::FxHashMap;

use super::intern::Interner;
use crate::model::{Event, FrameId, FrameKind, StackId};
use crate::python::{self, Python, StackNumber};

/// The ids of stacks and places that were named already.
#[derive(Debug, Default)]
pub struct Places {
    frames: FxHashMap<python::Frame, FrameId>,
    /// By the stacks' numbers, from 1 on.
    stacks: Vec<Option<StackId>>,
    /// The epoch of those numbers.
    epoch: u64,
    /// Room for the part of a stack that is new.
    new: Vec<(StackNumber, python::Frame)>,
}

impl Places {
    /// The id of a stack; the empty one has none. What is new in it is defined, from the base up.
    pub fn stack(
        &mut self,
        number: StackNumber,
        python: &Python,
        interner: &mut Interner,
        events: &mut Vec<Event>,
    ) -> Option<StackId> {
        if self.epoch != python.stacks.epoch() {
            self.epoch = python.stacks.epoch();
            self.frames.clear();
            self.stacks.clear();
        }
        let (mut next, mut id) = (number, None);
        self.new.clear();
        while let Some((callers, frame)) = python.stacks.split(next) {
            id = self.stacks.get(index(next)).copied().flatten();
            if id.is_some() {
                break;
            }
            self.new.push((next, frame));
            next = callers;
        }
        while let Some((number, frame)) = self.new.pop() {
            let frame = self.frame(frame, python, interner, events);
            id = Some(interner.stack(id, frame, events));
            if self.stacks.len() <= index(number) {
                self.stacks.resize(index(number) + 1, None);
            }
            self.stacks[index(number)] = id;
        }
        id
    }

    /// The id of a place in a function.
    fn frame(
        &mut self,
        place: python::Frame,
        python: &Python,
        interner: &mut Interner,
        events: &mut Vec<Event>,
    ) -> FrameId {
        if let Some(id) = self.frames.get(&place) {
            return *id;
        }
        let frame = match python.codes.get(place.code) {
            Some(code) => {
                let position = code.position(place.offset);
                crate::model::Frame {
                    kind: FrameKind::Python,
                    name: interner.string(&code.name, events),
                    qualname: code.qualname.as_deref().map(|name| interner.string(name, events)),
                    file: interner.file(&code.filename, events),
                    line: position.line,
                    end_line: position.end_line,
                    column: position.column,
                    end_column: position.end_column,
                    first_line: u32::try_from(code.first_line).ok(),
                }
            }
            // A look names only functions that it knows; this is the answer that cannot mislead if one does not.
            None => crate::model::Frame {
                kind: FrameKind::Mark,
                name: interner.string("<unknown>", events),
                qualname: None,
                file: interner.file("", events),
                line: None,
                end_line: None,
                column: None,
                end_column: None,
                first_line: None,
            },
        };
        let id = interner.frame(frame, events);
        self.frames.insert(place, id);
        id
    }
}

fn index(number: StackNumber) -> usize {
    (number.0 as usize).saturating_sub(1)
}
