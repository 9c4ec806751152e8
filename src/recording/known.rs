//! Which ids a recording knows so far: the one check that both the tables and the file's writer pass events through.

use crate::model::{
    Counter, Define, Event, FileId, Mark, ProcessEvent, ProcessId, ProcessState, Sample, Stack, StackId,
    State, StringId, TrackId, Trouble, allocation::Allocation, gc::Collection, heap::Census, heap::HeapState,
};

/// The deepest stack that a recording holds. CPython's own limit is far below; a hostile file's is not.
pub const MAX_DEPTH: u32 = 1 << 16;

/// Why an event cannot be part of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An id was used before it was defined.
    #[error("{table} {id} was used before it was defined")]
    Unknown {
        /// Of which table.
        table: &'static str,
        /// Which id.
        id: u32,
    },
    /// Ids count up from 0, and this one does not follow.
    #[error("{table} {id} was defined where {expected} was due")]
    Order {
        /// Of which table.
        table: &'static str,
        /// Which id.
        id: u32,
        /// The id that was due.
        expected: u32,
    },
    /// A stack is deeper than [`MAX_DEPTH`].
    #[error("stack {id} is deeper than {MAX_DEPTH} frames")]
    TooDeep {
        /// Which stack.
        id: u32,
    },
}

/// How many rows of each table have been defined.
#[derive(Debug, Default, PartialEq)]
pub struct Known {
    strings: u32,
    files: u32,
    frames: u32,
    tracks: u32,
    processes: u32,
    waits: u32,
    /// The depth of each stack.
    depths: Vec<u32>,
}

impl Known {
    /// Checks every id in `event` and takes note of those it defines.
    pub fn admit(&mut self, event: &Event) -> Result<(), Refusal> {
        match event {
            Event::Define(define) => self.define(define),
            Event::Process(event) => self.process_event(event),
            Event::Samples { rows, .. } => rows.iter().try_for_each(|sample| self.sample(sample)),
            Event::Gc(collection) => self.collection(collection),
            Event::Heap(HeapState { process, .. }) => self.process(*process),
            Event::Census(Census { process, types, .. }) => {
                self.process(*process)?;
                types.iter().try_for_each(|of| self.string(of.name))
            }
            Event::Allocations(rows) => rows.iter().try_for_each(|row| self.allocation(row)),
            Event::Counter(Counter { process, name, .. }) => {
                self.process(*process)?;
                self.string(*name)
            }
            Event::Mark(Mark { text, .. }) => self.string(*text),
            Event::Trouble(Trouble { text, .. }) => self.optional_string(*text),
        }
    }

    /// Checks every id in `sample`.
    pub fn sample(&self, sample: &Sample) -> Result<(), Refusal> {
        used("track", sample.track.0, self.tracks)?;
        if let Some(stack) = sample.stack {
            self.stack(stack)?;
        }
        match sample.state {
            State::Waiting(wait) => used("wait", wait.0, self.waits),
            _ => Ok(()),
        }
    }

    fn define(&mut self, define: &Define) -> Result<(), Refusal> {
        match define {
            Define::String(id, _) => next("string", id.0, &mut self.strings),
            Define::File(id, file) => {
                self.string(file.path)?;
                self.optional_string(file.distribution)?;
                next("file", id.0, &mut self.files)
            }
            Define::Frame(id, frame) => {
                self.string(frame.name)?;
                self.optional_string(frame.qualname)?;
                self.file(frame.file)?;
                next("frame", id.0, &mut self.frames)
            }
            Define::Stack(id, stack) => self.define_stack(*id, stack),
            Define::Track(id, track) => {
                self.process(track.process)?;
                self.optional_string(track.name)?;
                self.define_track(*id)
            }
            Define::Process(id, process) => {
                self.string(process.command)?;
                self.string(process.python)?;
                if let Some(parent) = process.parent {
                    self.process(parent)?;
                }
                next("process", id.0, &mut self.processes)
            }
            Define::Wait(id, wait) => {
                self.string(wait.text)?;
                next("wait", id.0, &mut self.waits)
            }
            Define::Source(file, _, text) => {
                self.file(*file)?;
                self.string(*text)
            }
        }
    }

    /// A parent is always defined before its children, so a chain of stacks cannot be a ring.
    fn define_stack(&mut self, id: StackId, stack: &Stack) -> Result<(), Refusal> {
        used("frame", stack.frame.0, self.frames)?;
        let below = match stack.parent {
            Some(parent) => {
                self.stack(parent)?;
                self.depths.get(parent.index()).copied().unwrap_or(0)
            }
            None => 0,
        };
        if below >= MAX_DEPTH {
            return Err(Refusal::TooDeep { id: id.0 });
        }
        let mut count = self.depths.len() as u32;
        next("stack", id.0, &mut count)?;
        self.depths.push(below + 1);
        Ok(())
    }

    /// A track may be said again.
    fn define_track(&mut self, id: TrackId) -> Result<(), Refusal> {
        if id.0 < self.tracks { Ok(()) } else { next("track", id.0, &mut self.tracks) }
    }

    fn process_event(&self, event: &ProcessEvent) -> Result<(), Refusal> {
        self.process(event.process)?;
        match event.state {
            ProcessState::Forked(child) => self.process(child),
            _ => Ok(()),
        }
    }

    fn collection(&self, collection: &Collection) -> Result<(), Refusal> {
        self.process(collection.process)?;
        collection.stack.map_or(Ok(()), |stack| self.stack(stack))
    }

    fn allocation(&self, row: &Allocation) -> Result<(), Refusal> {
        used("track", row.track.0, self.tracks)?;
        row.stack.map_or(Ok(()), |stack| self.stack(stack))
    }

    fn string(&self, id: StringId) -> Result<(), Refusal> {
        used("string", id.0, self.strings)
    }

    fn optional_string(&self, id: Option<StringId>) -> Result<(), Refusal> {
        id.map_or(Ok(()), |id| self.string(id))
    }

    fn file(&self, id: FileId) -> Result<(), Refusal> {
        used("file", id.0, self.files)
    }

    fn process(&self, id: ProcessId) -> Result<(), Refusal> {
        used("process", id.0, self.processes)
    }

    fn stack(&self, id: StackId) -> Result<(), Refusal> {
        used("stack", id.0, self.depths.len() as u32)
    }
}

fn used(table: &'static str, id: u32, count: u32) -> Result<(), Refusal> {
    if id < count { Ok(()) } else { Err(Refusal::Unknown { table, id }) }
}

fn next(table: &'static str, id: u32, count: &mut u32) -> Result<(), Refusal> {
    if id != *count {
        return Err(Refusal::Order { table, id, expected: *count });
    }
    *count = count.checked_add(1).ok_or(Refusal::Order { table, id, expected: *count })?;
    Ok(())
}
