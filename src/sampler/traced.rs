//! What the target's own `tracemalloc` says, told as memory of the stacks that it names: now and then, and at the end.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::intern::Interner;
use super::sampler::PROCESS;
use crate::memory::Memory;
use crate::model::allocation::{Allocation, Evidence};
use crate::model::{At, Define, Event, Frame, FrameKind, StackId, Track, TrackId, TrackKind};
use crate::python::Code;
use crate::python::census::Census;
use crate::python::functions::Functions;
use crate::python::heap::Heap;
use crate::python::traces::{NoTraces, TraceLook, Traces};
use crate::target::{Located, Process};

/// How often it is asked, unless that costs too much: a process that ends takes its tables with it.
const EVERY: Duration = Duration::from_secs(5);
/// The track of what `tracemalloc` says.
const TRACK: TrackId = TrackId(0);
/// What stands for a function that is not known.
const UNKNOWN: &str = "<unknown>";

/// A reader of the tables of `tracemalloc`.
#[derive(Debug)]
pub(super) struct Traced {
    traces: Traces,
    /// Functions by file and line; `None` for those that were looked for and not found.
    functions: FxHashMap<(String, u32), Option<Code>>,
    begun: bool,
    due: Option<At>,
}

impl Traced {
    /// One for a process; `None` where its Python has no `tracemalloc`, or the layout does not say enough of it.
    pub(super) fn open(located: &Located) -> Option<Traced> {
        let traces = Traces::bind(located).ok().flatten()?;
        Some(Traced { traces, functions: FxHashMap::default(), begun: false, due: None })
    }

    /// Whether it is time to ask.
    pub(super) fn is_due(&self, at: At) -> bool {
        self.due.is_none_or(|due| at >= due)
    }

    /// Says when it is asked next, after what it has cost: `apart` keeps that within the budget.
    pub(super) fn done(&mut self, at: At, apart: Duration) {
        self.due = Some(At(at.0.saturating_add(apart.max(EVERY).as_nanos() as u64)));
    }

    /// Asks, and tells what it says; how many traces were lost, or why there is nothing.
    pub(super) fn tell(
        &mut self,
        process: &Process,
        located: &Located,
        heap: Option<&Heap>,
        at: At,
        interner: &mut Interner,
        events: &mut Vec<Event>,
    ) -> Result<u64, NoTraces> {
        let memory = process.memory();
        let look = self.traces.read(memory, located)?;
        self.name(memory, process, located, heap, &look);
        if !std::mem::replace(&mut self.begun, true) {
            let name = interner.string("tracemalloc", events);
            let track = Track {
                kind: TrackKind::Memory,
                process: PROCESS,
                interpreter: 0,
                thread: 0,
                native: None,
                name: Some(name),
                main: true,
            };
            events.push(Event::Define(Define::Track(TRACK, track)));
        }
        let rows = look.sites.iter().map(|site| Allocation {
            at,
            track: TRACK,
            stack: self.stack(&look, &site.frames, interner, events),
            bytes: i64::try_from(site.bytes).unwrap_or(i64::MAX),
            blocks: i64::try_from(site.blocks).unwrap_or(i64::MAX),
            evidence: Evidence::Traced,
        });
        let rows = rows.collect();
        events.push(Event::Allocations(rows));
        Ok(look.lost)
    }

    /// Finds the functions at lines that are new.
    fn name(
        &mut self,
        memory: &dyn Memory,
        process: &Process,
        located: &Located,
        heap: Option<&Heap>,
        look: &TraceLook,
    ) {
        let frames = look.sites.iter().flat_map(|site| &site.frames);
        let mut new: Vec<(&str, u32)> =
            frames.filter_map(|(file, line)| Some((look.files.get(*file)?.as_str(), *line))).collect();
        new.sort_unstable();
        new.dedup();
        new.retain(|(file, line)| !self.functions.contains_key(&((*file).to_owned(), *line)));
        if new.is_empty() {
            return;
        }
        let functions = || {
            let maps = process.maps().ok()?;
            let counted = Census::open(located).ok()?.take(memory, &maps, heap?, None).ok()?;
            Functions::new(&located.chosen.layout, counted.codes).ok()
        };
        let found = functions().map(|mut functions| functions.at(memory, new.iter().copied()));
        let mut found = found.unwrap_or_default();
        for (file, line) in new {
            let function = found.remove(&(file, line));
            self.functions.insert((file.to_owned(), line), function);
        }
    }

    /// The id of a traceback's stack.
    fn stack(
        &self,
        look: &TraceLook,
        frames: &[(usize, u32)],
        interner: &mut Interner,
        events: &mut Vec<Event>,
    ) -> Option<StackId> {
        let mut stack = None;
        for (file, line) in frames.iter().rev() {
            let path = look.files.get(*file)?;
            let function = self.functions.get(&(path.clone(), *line)).and_then(Option::as_ref);
            let frame = Frame {
                kind: FrameKind::Python,
                name: interner.string(function.map_or(UNKNOWN, |code| &code.name), events),
                qualname: function
                    .and_then(|code| code.qualname.as_deref())
                    .map(|name| interner.string(name, events)),
                file: interner.file(path, events),
                line: Some(*line).filter(|line| *line > 0),
                end_line: None,
                column: None,
                end_column: None,
                first_line: function.and_then(|code| u32::try_from(code.first_line).ok()),
            };
            let frame = interner.frame(frame, events);
            stack = Some(interner.stack(stack, frame, events));
        }
        stack
    }
}
