//! Self-checks: whether a layout holds for the process that it is used on, one check for each thing that could be wrong.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Fault, Memory};
use crate::target::{Located, Root, Thread};

use super::Unread;
use super::gil::{Gil, Holder};
use super::object::Objects;
use super::runtime::{Look, Python};
use super::stacks::StackNumber;

/// How often a check is tried while it fails: the target runs on, and what is read of it may be gone the next moment.
const TRIES: usize = 8;
/// A type that is tracked by the collector (`Py_TPFLAGS_HAVE_GC`, Include/object.h).
const HAVE_GC: i64 = 14;
/// The collector's generations that are rings of objects.
const GENERATIONS: u64 = 3;
/// No program sets the collector's thresholds higher than this.
const MAX_THRESHOLD: i32 = 1 << 30;

/// One check and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What cannot be trusted where it failed.
    pub guards: &'static str,
    /// How it went.
    pub verdict: Verdict,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The layout holds.
    Passed,
    /// It does not, because of this.
    Failed(String),
    /// It could not be told, because of this.
    Skipped(String),
}

/// All checks: name, what it guards, how it is made.
const CHECKS: &[(&str, &str, Make)] = &[
    ("the list of interpreters closes", "everything", interpreters),
    ("threads point back to their interpreter", "stacks", threads),
    ("sys.modules is a dict", "thread names", modules),
    ("the type of types is its own type", "objects", types),
    ("every stack reaches its base", "stacks", stacks),
    ("line tables fit their code", "lines", lines),
    ("native thread ids are the process's own", "native ids", natives),
    ("the holder of the GIL is a thread", "the GIL", holder),
    ("the collector's rings close", "garbage collection", rings),
    ("what the rings hold is tracked objects", "garbage collection", tracked),
];

/// How a check is made.
type Make = fn(&mut Subject<'_>) -> Result<(), Doubt>;

/// What is checked.
struct Subject<'a> {
    memory: &'a dyn Memory,
    located: &'a Located,
    tasks: &'a [Thread],
    objects: Objects,
    python: Python,
}

/// Why a check did not pass.
enum Doubt {
    Failed(String),
    Skipped(String),
}

/// Makes all checks of a Python. `tasks` are the kernel's threads of its process, its own first one first.
pub fn run(located: &Located, memory: &dyn Memory, tasks: &[Thread]) -> Vec<Check> {
    let layout = &located.chosen.layout;
    let mut subject = match (Python::open(located), Objects::bind(layout)) {
        (Ok(python), Ok(objects)) => Subject { memory, located, tasks, objects, python },
        (Err(missing), _) | (_, Err(missing)) => {
            let verdict = Verdict::Failed(missing.to_string());
            return vec![Check { name: "the layout has all that is needed", guards: "everything", verdict }];
        }
    };
    CHECKS
        .iter()
        .map(|(name, guards, check)| Check { name, guards, verdict: verdict(*check, &mut subject) })
        .collect()
}

/// Whether nothing failed.
pub fn passed(checks: &[Check]) -> bool {
    !checks.iter().any(|check| matches!(check.verdict, Verdict::Failed(_)))
}

fn verdict(check: Make, subject: &mut Subject<'_>) -> Verdict {
    let mut verdict = Verdict::Passed;
    for _ in 0..TRIES {
        verdict = match check(subject) {
            Ok(()) => return Verdict::Passed,
            Err(Doubt::Skipped(why)) => return Verdict::Skipped(why),
            Err(Doubt::Failed(why)) => Verdict::Failed(why),
        };
    }
    verdict
}

fn interpreters(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    match subject.python.interpreters(subject.memory) {
        (found, None) if !found.is_empty() => Ok(()),
        (found, None) => failed(format!("{} interpreters", found.len())),
        (found, Some(torn)) => failed(format!("it ends after {} of them: {torn:?}", found.len())),
    }
}

fn threads(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let look = subject.look();
    match (look.missing, look.threads.is_empty()) {
        (None, false) => Ok(()),
        (None, true) => failed("there is no thread"),
        (Some(torn), _) => failed(format!("{} threads and then {torn:?}", look.threads.len())),
    }
}

fn modules(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let modules = subject.modules()?;
    let class = subject.objects.type_of(subject.memory, modules)?;
    expect("dict", &subject.objects.type_name(subject.memory, class)?)
}

fn types(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let modules = subject.modules()?;
    let class = subject.objects.type_of(subject.memory, modules)?;
    let metaclass = subject.objects.type_of(subject.memory, class)?;
    if subject.objects.type_of(subject.memory, metaclass)? != metaclass {
        return failed("the type of dict's type is another one");
    }
    expect("type", &subject.objects.type_name(subject.memory, metaclass)?)
}

fn stacks(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let look = subject.look();
    let torn = look.threads.iter().find_map(|thread| thread.quality.torn());
    match (torn, look.threads.iter().filter(|thread| thread.stack != StackNumber::default()).count()) {
        (Some(torn), _) => failed(format!("one does not: {torn:?}")),
        (None, 0) => Err(Doubt::Skipped("no thread runs Python".into())),
        (None, _) => Ok(()),
    }
}

fn lines(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    subject.look();
    let python = &subject.python;
    let frames = python.seen.threads.iter().flat_map(|thread| python.frames(thread));
    let mut codes = frames.filter_map(|frame| subject.python.codes.get(frame.code));
    match codes.find(|code| !code.lines_fit()) {
        Some(code) => failed(format!("that of {} does not", code.name)),
        None => Ok(()),
    }
}

fn natives(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let look = subject.look();
    let unknown = look.threads.iter().filter(|thread| thread.native.is_none()).count();
    match (unknown, look.threads.len()) {
        (0, _) => Ok(()),
        (unknown, all) => failed(format!("{unknown} of {all} threads are not in /proc")),
    }
}

fn holder(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let gil = Gil::bind(subject.layout(), subject.located.root, &subject.located.module.symbols)?;
    let interpreter = subject.main_interpreter()?;
    subject.look();
    match gil.holder(subject.memory, interpreter) {
        Holder::Unknown => Err(Doubt::Skipped("nothing says who holds it".into())),
        Holder::Attached | Holder::State(Addr::NULL) => Ok(()),
        Holder::State(at) if subject.python.seen.threads.iter().any(|thread| thread.state == at) => Ok(()),
        Holder::State(at) => failed(format!("there is no thread at {at}")),
    }
}

fields! {
    /// `_gc_runtime_state` and `gc_generation`, Include/internal/pycore_gc.h.
    struct Generations in "gc" {
        generation0: Option<usize>,
    }
}

fields! {
    /// `gc_generation`, the same file.
    struct Generation in "gc_gen" {
        size: usize,
        threshold: Field<i32>,
    }
}

fields! {
    /// `PyGC_Head`, Include/objimpl.h, later Include/internal/pycore_gc.h.
    struct Head in "gc_head" {
        next: Field<Addr>,
        prev: Field<Addr>,
        size: usize,
    }
}

fields! {
    /// Where the collector's state is, in the runtime or in the interpreter.
    struct RuntimeGc in "runtime" {
        gc: Option<usize>,
    }
}

fields! {
    /// The same.
    struct InterpreterGc in "interp" {
        gc: Option<usize>,
        modules: Field<Addr>,
    }
}

fn rings(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let (memory, layout) = (subject.memory, subject.layout());
    let first = subject.first_generation()?;
    let (generation, head) = (Generation::bind(layout)?, Head::bind(layout)?);
    let (next_mask, prev_mask) =
        (layout.fact::<u64>("gc_head.next_mask")?, layout.fact::<u64>("gc_head.prev_mask")?);
    for number in 0..GENERATIONS {
        let ring = first.plus(number * generation.size as u64);
        let next = Addr(head.next.read(memory, ring)?.0 & next_mask);
        let back = Addr(head.prev.read(memory, next)?.0 & prev_mask);
        // The youngest ring grows at its end with every object that is made: what is read there is gone by the next read.
        let forth = match number {
            0 => ring,
            _ => {
                Addr(head.next.read(memory, Addr(head.prev.read(memory, ring)?.0 & prev_mask))?.0 & next_mask)
            }
        };
        let threshold = generation.threshold.read(memory, ring)?;
        if back != ring || forth != ring {
            return failed(format!("generation {number} at {ring} does not"));
        }
        if !(0..=MAX_THRESHOLD).contains(&threshold) {
            return failed(format!("generation {number} has a threshold of {threshold}"));
        }
    }
    Ok(())
}

fn tracked(subject: &mut Subject<'_>) -> Result<(), Doubt> {
    let (memory, layout, objects) = (subject.memory, subject.layout(), subject.objects);
    let first = subject.first_generation()?;
    let (generation, head) = (Generation::bind(layout)?, Head::bind(layout)?);
    let next_mask = layout.fact::<u64>("gc_head.next_mask")?;
    for number in 0..GENERATIONS {
        let ring = first.plus(number * generation.size as u64);
        let node = Addr(head.next.read(memory, ring)?.0 & next_mask);
        if node == ring {
            continue;
        }
        let class = objects.type_of(memory, node.plus(head.size as u64))?;
        let name = objects.type_name(memory, class)?;
        if !objects.flags(memory, class)?.bit(HAVE_GC) {
            return failed(format!("generation {number} holds a {name:?}, which is not tracked"));
        }
    }
    Ok(())
}

impl Subject<'_> {
    fn layout(&self) -> &Layout {
        &self.located.chosen.layout
    }

    fn look(&mut self) -> &Look {
        self.python.look(self.memory, self.tasks);
        &self.python.seen
    }

    fn main_interpreter(&self) -> Result<Addr, Doubt> {
        let (interpreters, _) = self.python.interpreters(self.memory);
        interpreters.first().copied().ok_or_else(|| Doubt::Failed("there is no interpreter".into()))
    }

    fn modules(&self) -> Result<Addr, Doubt> {
        Ok(InterpreterGc::bind(self.layout())?.modules.read(self.memory, self.main_interpreter()?)?)
    }

    /// The youngest generation's ring: what `generation0` points to, wherever a version keeps that.
    fn first_generation(&self) -> Result<Addr, Doubt> {
        let layout = self.layout();
        if layout.fact::<String>("gc.lists")? != "generations" {
            return Err(Doubt::Skipped("this build keeps no such rings".into()));
        }
        let key = |section: &str, key: &str| Missing::Key {
            layout: layout.name.clone(),
            section: section.into(),
            key: key.into(),
        };
        let state = match (layout.fact::<String>("gc.where")?.as_str(), self.located.root) {
            ("interpreter", _) => {
                let gc = InterpreterGc::bind(layout)?.gc.ok_or_else(|| key("interp", "gc"))?;
                self.main_interpreter()?.plus(gc as u64)
            }
            ("runtime", Root::Runtime(at)) => {
                at.plus(RuntimeGc::bind(layout)?.gc.ok_or_else(|| key("runtime", "gc"))? as u64)
            }
            _ => {
                let symbols = &self.located.module.symbols;
                return match (symbols.get("generations"), symbols.get("_PyGC_generation0")) {
                    (Some(at), _) => Ok(*at),
                    (None, Some(pointer)) => Ok(self.memory.get(*pointer)?),
                    (None, None) => Err(Doubt::Skipped("no symbol says where they are".into())),
                };
            }
        };
        let generation0 = Generations::bind(layout)?.generation0.ok_or_else(|| key("gc", "generation0"))?;
        Ok(self.memory.get(state.plus(generation0 as u64))?)
    }
}

fn expect(expected: &str, found: &str) -> Result<(), Doubt> {
    if found == expected { Ok(()) } else { failed(format!("it is a {found:?}")) }
}

fn failed(why: impl Into<String>) -> Result<(), Doubt> {
    Err(Doubt::Failed(why.into()))
}

impl From<Missing> for Doubt {
    fn from(missing: Missing) -> Doubt {
        Doubt::Failed(missing.to_string())
    }
}

impl From<Fault> for Doubt {
    fn from(fault: Fault) -> Doubt {
        Doubt::Failed(fault.to_string())
    }
}

impl From<Unread> for Doubt {
    fn from(unread: Unread) -> Doubt {
        Doubt::Failed(unread.to_string())
    }
}
