//! The instruction that a frame is at, as it stands in the code object now: specialised, where the interpreter did that.
//!
//! On free-threaded builds from 3.14 on threads specialise copies of their own; what is read is the one that all began with.

use rustc_hash::FxHashMap;

use super::code::{CodeId, Codes};
use super::frame::Frame;
use crate::layout::{Layout, Missing, fields};
use crate::memory::{Addr, Memory};

fields! {
    /// Where the instructions are in a code object: `co_code_adaptive`, Include/cpython/code.h (3.11 and later).
    struct Instructions in "code" {
        code_adaptive: usize,
    }
}

/// When the places of more functions than this are kept, all are forgotten and found anew.
const MAX_PLACES: usize = 1 << 16;

/// Reads instructions.
#[derive(Debug)]
pub struct Instruction {
    instructions: Instructions,
    /// Where code objects were last found.
    places: FxHashMap<CodeId, Addr>,
}

impl Instruction {
    /// Binds where instructions are, or says that the layout does not know them.
    pub fn bind(layout: &Layout) -> Result<Instruction, Missing> {
        Ok(Instruction { instructions: Instructions::bind(layout)?, places: FxHashMap::default() })
    }

    /// The number of the instruction that a frame is at; `None` where it has not started, or its code is not there any more.
    pub fn at(&mut self, memory: &dyn Memory, codes: &Codes, frame: Frame) -> Option<u8> {
        let offset = u64::try_from(frame.offset).ok()?;
        let known = self.places.get(&frame.code).copied();
        let code = match known.filter(|code| codes.last_at(*code) == Some(frame.code)) {
            Some(code) => code,
            None => {
                if self.places.len() >= MAX_PLACES {
                    self.places.clear();
                }
                let code = codes.place(frame.code)?;
                self.places.insert(frame.code, code);
                code
            }
        };
        let mut opcode = [0];
        let at = code.plus(self.instructions.code_adaptive as u64).plus(offset);
        memory.read(at, &mut opcode).ok()?;
        Some(opcode[0])
    }
}
