//! What stacks are read by, handed from step to step.

use crate::memory::{Addr, Memory};

use super::Unread;
use super::code::{Code, Codes};
use super::exception::Exceptions;
use super::frame::{Frame, Frames, Header, Kind};
use super::mention::Mentions;
use super::thread::Threads;

/// What everything that is read is read by.
pub struct Means<'a> {
    /// The target.
    pub memory: &'a dyn Memory,
    /// How it keeps thread states.
    pub threads: &'a Threads,
    /// How it keeps frames.
    pub frames: &'a mut Frames,
    /// Its code objects.
    pub codes: &'a mut Codes,
    /// What they name, where that can be told.
    pub mentions: Option<&'a mut Mentions>,
    /// How it keeps exceptions.
    pub exceptions: &'a Exceptions,
    /// How many more steps the look may take.
    pub steps: &'a mut u32,
    /// The target holds still.
    pub still: bool,
}

impl Means<'_> {
    /// Reads the code object at `code`.
    pub(super) fn learn(&mut self, code: Addr) -> Result<(), Unread> {
        self.codes.learn(self.memory, code)?;
        let known = self.codes.last_at(code).and_then(|id| self.codes.get(id));
        if known.is_some_and(Code::is_shim) {
            self.frames.learn_shim(code);
        }
        Ok(())
    }

    /// The place in a function that a frame stands at, which is read where it is not known.
    pub(super) fn place(&mut self, header: &Header) -> Option<Frame> {
        if self.codes.last_at(header.code).is_none() {
            self.learn(header.code).ok()?;
        }
        let code = self.codes.last_at(header.code)?;
        let offset = self.frames.offset(self.memory, header).ok()?;
        self.codes.get(code)?.holds(offset).then_some(Frame { code, offset })
    }

    /// How many bytes a frame of the function at `code` takes, where it is known and frames lie side by side.
    pub(super) fn frame_size(&self, code: Addr) -> Option<u64> {
        self.frames.size(self.codes.get(self.codes.last_at(code)?)?.values?)
    }

    /// What a frame says that may have returned ([`Frames::left`]). One that is an object keeps all that it said, its caller too, until
    /// its function is called again (`co_zombieframe`, Objects/frameobject.c): then it stands where it returned.
    pub(super) fn left(&mut self, header: Header) -> Header {
        if header.kind != Kind::Dead || header.back.is_null() {
            return self.frames.left(self.memory, header, self.codes);
        }
        let returned = self
            .place(&header)
            .zip(self.mentions.as_mut())
            .is_some_and(|(place, mentions)| mentions.returns(self.memory, self.codes, place));
        if returned { Header { kind: Kind::Python, ..header } } else { header }
    }

    /// Takes some steps; `None` where there are none left.
    pub(super) fn step(&mut self, steps: u32) -> Option<()> {
        *self.steps = self.steps.saturating_sub(steps);
        (*self.steps > 0).then_some(())
    }
}
