//! What interpreters did with the time of their threads: ran bytecode, imported, collected garbage, waited for the GIL.

use super::imports::{BODY, MACHINERY};
use super::tables::Recording;
use crate::model::{Nanos, Sample, Stack, StackId, State};

/// The time of all threads, taken apart. Each moment counts once, for the first of these that it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Collecting garbage.
    pub collecting: Nanos,
    /// Wanting the GIL.
    pub wanting: Nanos,
    /// Waiting in the kernel, for anything else.
    pub waiting: Nanos,
    /// Importing: finding and loading a module, or running its code for the first time.
    pub importing: Nanos,
    /// Running bytecode, and compiled functions that keep the GIL.
    pub bytecode: Nanos,
    /// Running compiled code without the GIL.
    pub native: Nanos,
    /// Nobody knows.
    pub unknown: Nanos,
}

impl Phases {
    /// Adds up a recording.
    pub fn of(recording: &Recording) -> Phases {
        let importing = importing(recording);
        let is_import = |stack: StackId| importing.get(stack.index()).copied().unwrap_or(false);
        let mut phases = Phases::default();
        for sample in recording.samples.iter().flatten() {
            *phases.slot(sample, sample.stack.is_some_and(is_import)) += sample.weight;
        }
        phases
    }

    /// Each of them under its name, in the order in which they are told.
    pub fn named(&self) -> [(&'static str, Nanos); 7] {
        [
            ("bytecode", self.bytecode),
            ("importing", self.importing),
            ("collecting", self.collecting),
            ("wanting_gil", self.wanting),
            ("native", self.native),
            ("waiting", self.waiting),
            ("unknown", self.unknown),
        ]
    }

    fn slot(&mut self, sample: &Sample, imports: bool) -> &mut Nanos {
        match sample.state {
            _ if sample.flags.in_gc == Some(true) => &mut self.collecting,
            State::WantsGil => &mut self.wanting,
            State::Waiting(_) => &mut self.waiting,
            State::Unknown => &mut self.unknown,
            State::Python | State::Native if imports => &mut self.importing,
            State::Python => &mut self.bytecode,
            State::Native => &mut self.native,
        }
    }
}

/// Of each stack whether a frame of it imports: one of the machinery, or, where that leaves no frames, a module's code that was
/// called by somebody.
fn importing(recording: &Recording) -> Vec<bool> {
    let machinery: Vec<bool> =
        recording.files.iter().map(|file| recording.string(file.path).starts_with(MACHINERY)).collect();
    let visible = machinery.contains(&true);
    let imports = |stack: &Stack| {
        let Some(frame) = recording.frame(stack.frame) else { return false };
        if visible {
            return machinery.get(frame.file.index()).copied().unwrap_or(false);
        }
        stack.parent.is_some() && recording.string(frame.name) == BODY
    };
    let mut found: Vec<bool> = Vec::with_capacity(recording.stacks.len());
    for stack in &recording.stacks {
        let below = stack.parent.and_then(|parent| found.get(parent.index()).copied());
        found.push(below.unwrap_or(false) || imports(stack));
    }
    found
}
