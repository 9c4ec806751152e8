//! `--opcodes`: what the innermost frame of a sample was executing stands on its stack, as a frame of its own kind.

use rustc_hash::FxHashMap;

use super::intern::Interner;
use crate::layout::{Missing, Version, opcodes};
use crate::memory::Memory;
use crate::model::{Event, Frame, FrameId, FrameKind, Quality, Sample};
use crate::python::opcode::Instruction;
use crate::python::{Python, StackNumber};
use crate::target::Located;

/// Why the instructions of a process cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NoOpcodes {
    /// They are elsewhere: up to 3.10 nothing specialises them.
    #[error("--opcodes needs Python 3.11 or later, and this is {0}")]
    TooOld(Version),
    /// Nobody has said what they are called.
    #[error("the opcodes of Python {0} have no names here")]
    Nameless(Version),
}

/// The instructions of one process.
#[derive(Debug)]
pub struct Opcodes {
    names: opcodes::Opcodes,
    instruction: Instruction,
    frames: FxHashMap<u8, FrameId>,
}

impl Opcodes {
    /// Binds the instructions of a process.
    pub fn open(located: &Located) -> Result<Opcodes, NoOpcodes> {
        let version = located.fingerprint.version;
        let instruction =
            Instruction::bind(&located.chosen.layout).map_err(|_: Missing| NoOpcodes::TooOld(version))?;
        let names = opcodes::Opcodes::of(version).ok_or(NoOpcodes::Nameless(version))?;
        Ok(Opcodes { names, instruction, frames: FxHashMap::default() })
    }

    /// Puts the instruction that the innermost frame of a stack is at on top of a sample's stack, where it is to be told.
    pub fn mark(
        &mut self,
        stack: StackNumber,
        memory: &dyn Memory,
        python: &Python,
        sample: &mut Sample,
        interner: &mut Interner,
        out: &mut Vec<Event>,
    ) {
        let innermost = python.stacks.split(stack).map(|(_, frame)| frame);
        let Some(frame) = innermost.filter(|_| !matches!(sample.quality, Quality::TopMissing(_))) else {
            return;
        };
        let opcode = self.instruction.at(memory, &python.codes, frame);
        let (Some(below), Some(opcode)) = (sample.stack, opcode) else { return };
        let frame = match self.frames.get(&opcode) {
            Some(frame) => *frame,
            None => self.define(opcode, interner, out),
        };
        sample.stack = Some(interner.stack(Some(below), frame, out));
    }

    fn define(&mut self, opcode: u8, interner: &mut Interner, out: &mut Vec<Event>) -> FrameId {
        let name = self.names.name(opcode).map_or_else(|| format!("opcode {opcode}"), str::to_owned);
        let frame = Frame {
            kind: FrameKind::Opcode,
            name: interner.string(&name, out),
            qualname: None,
            file: interner.file("", out),
            line: None,
            end_line: None,
            column: None,
            end_column: None,
            first_line: None,
        };
        let id = interner.frame(frame, out);
        self.frames.insert(opcode, id);
        id
    }
}
