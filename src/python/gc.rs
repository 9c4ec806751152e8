//! The collector: what each interpreter says of its garbage collection, all of them in one call as a rule.

use std::collections::BTreeMap;

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Fault, Memory, Word};
use crate::target::{Located, Root};

use super::collector::{GENERATIONS, Generation, Record, State, Totals};
use super::plan::{Plan, Slot};
use super::ring::{Ring, StatsFields, Told, piece};

/// The most interpreters of one process whose collectors are read.
const MAX_INTERPRETERS: usize = 256;
/// The most objects of a generation that are counted; it is a chain, and each object costs a call.
const MAX_FROZEN: u64 = 1 << 22;
/// No struct that is read here is longer, whatever a layout says.
const MAX_SPAN: usize = 4096;
/// How often interpreters are listed in one read, when they come and go meanwhile.
const TRIES: usize = 4;
/// A collector is read in so many pieces, of which some may be empty.
const PIECES: usize = 5;

fields! {
    /// `_PyRuntimeState`, Include/internal/pycore_runtime.h (3.7 and later).
    struct RuntimeFields in "runtime" {
        interpreters_head: Field<Addr>,
        /// 3.7 and 3.8.
        gc: Option<Field<Addr>>,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (Include/pystate.h before 3.8).
    struct InterpreterFields in "interp" {
        next: Field<Addr>,
        id: Option<Field<i64>>,
        /// 3.9 and later.
        gc: Option<Field<Addr>>,
    }
}

fields! {
    /// `struct _gc_runtime_state`, Include/internal/pycore_gc.h (pycore_interp_structs.h since 3.14).
    struct StateFields in "gc" {
        generations: usize,
        stats: Field<Addr>,
        collecting: Field<i32>,
        enabled: Option<Field<i32>>,
        generation0: Option<Field<Addr>>,
        permanent: Option<Field<Addr>>,
        garbage: Option<Field<Addr>>,
        long_lived_total: Option<Field<i64>>,
        long_lived_pending: Option<Field<i64>>,
        heap_size: Option<Field<i64>>,
        /// What set the collection off that is under way, since 3.15.
        frame: Option<Field<Addr>>,
        /// 3.14.0 to 3.14.4: which of the two old lists was visited.
        visited_space: Option<Field<i32>>,
    }
}

fields! {
    /// `struct gc_generation`.
    struct GenerationFields in "gc_gen" {
        threshold: Field<i32>,
        count: Field<i32>,
        size: usize,
    }
}

fields! {
    /// `PyVarObject`, Include/object.h: a list's length.
    struct VarFields in "var" {
        ob_size: Field<i64>,
    }
}

fields! {
    /// `PyGC_Head`.
    struct HeadFields in "gc_head" {
        next: Field<Addr>,
    }
}

/// The collectors of a process, bound once.
#[derive(Debug)]
pub struct Collectors {
    root: Root,
    runtime: Option<RuntimeFields>,
    interpreter: InterpreterFields,
    place: Place,
    generation: GenerationFields,
    totals: Option<StatsFields>,
    ring: Option<Ring>,
    head: HeadFields,
    var: VarFields,
    next_mask: u64,
    lists: bool,
    watched: Vec<Watched>,
    /// What the rings of each said last.
    told: Vec<Told>,
    states: Vec<State>,
    /// What is read where nobody else plans.
    plan: Plan,
    /// What was planned last: the word that says which interpreter is the newest, if it was.
    newest: Option<Slot>,
    /// What comes before [`PIECES`] for each collector.
    asked: Slot,
}

/// Where the collector keeps its state.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In variables, of which an unstripped file names all.
    Static {
        generation0: Addr,
        stats: Option<Addr>,
        collecting: Option<Addr>,
        enabled: Option<Addr>,
        garbage: Option<Addr>,
    },
    /// In `_PyRuntime`, at this address.
    Runtime(Addr, StateFields),
    /// In each interpreter, at this offset.
    Interpreter(Field<Addr>, StateFields),
}

/// One collector that is read.
#[derive(Debug, Clone, Copy)]
struct Watched {
    /// The interpreter; before 3.9 the main one.
    interpreter: Addr,
    /// The one behind it in the list.
    next: Addr,
    id: i64,
    /// The struct, or the array of generations.
    state: Addr,
    /// The totals, where they are elsewhere.
    stats: Addr,
}

impl Collectors {
    /// Binds what the layout says of the collector.
    pub fn bind(located: &Located) -> Result<Collectors, Missing> {
        let (layout, root) = (&located.chosen.layout, located.root);
        let runtime = match root {
            Root::Runtime(_) => Some(RuntimeFields::bind(layout)?),
            Root::InterpHead(_) => None,
        };
        let interpreter = InterpreterFields::bind(layout)?;
        let stats: String = layout.fact("gc.stats")?;
        let collectors = Collectors {
            root,
            runtime,
            interpreter,
            place: Place::bind(layout, root, runtime, interpreter, &located.module.symbols)?,
            generation: GenerationFields::bind(layout)?,
            totals: if stats == "none" { None } else { Some(StatsFields::bind(layout)?) },
            ring: if stats == "ring" { Some(Ring::bind(layout)?) } else { None },
            head: HeadFields::bind(layout)?,
            var: VarFields::bind(layout)?,
            next_mask: layout.fact("gc_head.next_mask")?,
            lists: layout.fact::<String>("gc.lists")? != "none",
            watched: Vec::new(),
            told: Vec::new(),
            states: Vec::new(),
            plan: Plan::default(),
            newest: None,
            asked: Slot::default(),
        };
        let fits = collectors.lengths().iter().all(|length| *length <= MAX_SPAN);
        fits.then_some(collectors)
            .ok_or(Missing::Fact { layout: layout.name.clone(), fact: "gc.where".into() })
    }

    /// Reads all collectors, the main interpreter's first. Those that cannot be read are missing.
    pub fn read(&mut self, memory: &dyn Memory) -> &[State] {
        let mut plan = std::mem::take(&mut self.plan);
        for _ in 0..TRIES {
            if self.watched.is_empty() && self.list(memory).is_err() {
                break;
            }
            plan.clear();
            self.ask(&mut plan, true);
            plan.read(memory);
            if self.hear(&plan) {
                break;
            }
        }
        self.plan = plan;
        &self.states
    }

    /// What was read last: all collectors, the main interpreter's first. Those that cannot be read are missing.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// The same, and of each the latest collections as the target wrote them down (3.15 and later).
    pub fn told(&self) -> impl Iterator<Item = (&State, &[Record])> {
        self.states.iter().zip(self.told.iter().rev().map(|told| told.records.as_slice()))
    }

    /// Plans to read all collectors that were there at the last time. Of one interpreter alone, which does not end before the program,
    /// it need not be known each time whether others have come: just where all are `listed`.
    pub fn ask(&mut self, plan: &mut Plan, listed: bool) {
        let lengths = self.lengths();
        let needed = self.has_many() && (listed || self.watched.len() != 1);
        self.newest = needed.then(|| plan.add(self.first(), Addr::SIZE));
        self.asked = plan.add(Addr::NULL, 0);
        for watched in &self.watched {
            for (addr, length) in self.pieces(watched).into_iter().zip(lengths) {
                plan.add(addr, length);
            }
        }
    }

    /// Takes what was read of them; whether they are still all. If not, they have to be read anew.
    pub fn hear(&mut self, plan: &Plan) -> bool {
        let (mut states, mut told) = (std::mem::take(&mut self.states), std::mem::take(&mut self.told));
        states.clear();
        told.resize_with(self.watched.len(), Told::default);
        let same = !self.watched.is_empty() && self.decode(plan, &mut told, &mut states);
        if !same {
            self.watched.clear();
            states.clear();
        }
        states.reverse();
        (self.states, self.told) = (states, told);
        same
    }

    /// How many objects are in the permanent generation of the interpreter with this number: `gc.get_freeze_count()`. Takes
    /// a call for each of them; `None` where there is no such list, or where it cannot be walked.
    pub fn frozen(&self, memory: &dyn Memory, interpreter: i64) -> Option<u64> {
        let watched = self.watched.iter().find(|watched| watched.id == interpreter)?;
        let head = match &self.place {
            Place::Runtime(_, fields) | Place::Interpreter(_, fields) if self.lists => {
                fields.permanent?.of(watched.state)
            }
            _ => return None,
        };
        let mut count = 0;
        self.walk(memory, head, |_| count += 1)?;
        Some(count)
    }

    /// Shows the head of every object in the two younger generations and, under the number `GENERATIONS`, in the permanent one,
    /// of all collectors that were read. `None` where there are no such lists, or one could not be walked.
    pub fn members(&self, memory: &dyn Memory, mut visit: impl FnMut(usize, Addr)) -> Option<()> {
        for watched in self.watched.iter().filter(|_| self.lists) {
            let (first, permanent) = match &self.place {
                Place::Static { .. } => (watched.state, None),
                Place::Runtime(_, fields) | Place::Interpreter(_, fields) => {
                    let first = fields.generation0.and_then(|f| f.read(memory, watched.state).ok());
                    let first = first.unwrap_or(watched.state.plus(fields.generations as u64));
                    (first, fields.permanent.map(|permanent| permanent.of(watched.state)))
                }
            };
            let second = first.plus(self.generation.size as u64);
            let lists = [(0, Some(first)), (1, Some(second)), (GENERATIONS, permanent)];
            for (number, head) in lists.into_iter().filter_map(|(number, head)| Some((number, head?))) {
                self.walk(memory, head, |at| visit(number, at))?;
            }
        }
        (self.lists && !self.watched.is_empty()).then_some(())
    }

    /// Shows each head of a list to its end.
    fn walk(&self, memory: &dyn Memory, head: Addr, mut visit: impl FnMut(Addr)) -> Option<()> {
        let mut at = head;
        for _ in 0..=MAX_FROZEN {
            at = Addr(self.head.next.read(memory, at).ok()?.0 & self.next_mask);
            if at == head {
                return Some(());
            }
            if at.is_null() {
                return None;
            }
            visit(at);
        }
        None
    }

    /// How many objects `gc.garbage` holds, of all interpreters; `None` where it cannot be read.
    pub fn all_garbage(&mut self, memory: &dyn Memory) -> Option<u64> {
        let numbers: Vec<i64> = self.read(memory).iter().map(|state| state.interpreter).collect();
        numbers.into_iter().map(|number| self.garbage(memory, number)).sum()
    }

    /// How many objects `gc.garbage` of the interpreter with this number holds; `None` where it cannot be read.
    pub fn garbage(&self, memory: &dyn Memory, interpreter: i64) -> Option<u64> {
        let watched = self.watched.iter().find(|watched| watched.id == interpreter)?;
        let list = match &self.place {
            Place::Static { garbage, .. } => (*garbage)?,
            Place::Runtime(_, fields) | Place::Interpreter(_, fields) => fields.garbage?.of(watched.state),
        };
        match memory.get(list).ok()? {
            // Made with the first object that is put into it.
            Addr::NULL => Some(0),
            list => self.var.ob_size.read(memory, list).ok()?.try_into().ok(),
        }
    }

    /// Whether each interpreter has its own.
    fn has_many(&self) -> bool {
        matches!(self.place, Place::Interpreter(..))
    }

    /// The word that points at the newest interpreter.
    fn first(&self) -> Addr {
        match (self.root, &self.runtime) {
            (Root::Runtime(at), Some(runtime)) => runtime.interpreters_head.of(at),
            (Root::InterpHead(at) | Root::Runtime(at), _) => at,
        }
    }

    /// Lists the interpreters, the newest first.
    fn list(&mut self, memory: &dyn Memory) -> Result<(), Fault> {
        let mut at: Addr = memory.get(self.first())?;
        while !at.is_null() && self.watched.len() < MAX_INTERPRETERS {
            if self.watched.iter().any(|watched| watched.interpreter == at) {
                break;
            }
            let next = self.interpreter.next.read(memory, at)?;
            let id = self.interpreter.id.map(|id| id.read(memory, at)).transpose()?.unwrap_or(0);
            let (state, stats) = match &self.place {
                Place::Static { generation0, stats, .. } => {
                    (memory.get(*generation0)?, stats.unwrap_or_default())
                }
                Place::Runtime(at, _) => (*at, Addr::NULL),
                Place::Interpreter(gc, fields) => {
                    let state = gc.of(at);
                    (state, if self.ring.is_some() { fields.stats.read(memory, state)? } else { Addr::NULL })
                }
            };
            self.watched.push(Watched { interpreter: at, next, id, state, stats });
            at = next;
        }
        // One collector for all: it is told as the main interpreter's, which is the oldest.
        if !self.has_many() {
            let main = self.watched.pop();
            self.watched = main.into_iter().map(|main| Watched { id: 0, ..main }).collect();
        }
        Ok(())
    }

    /// How long each piece of a collector is: `collecting`, `enabled`, the totals, the interpreter's `next`, the state. The
    /// words of the GIL lie close behind the last one, and are read behind it.
    fn lengths(&self) -> [usize; PIECES] {
        let array = self.totals.map_or(0, |stats| stats.size.saturating_mul(GENERATIONS));
        let generations = self.generation.size.saturating_mul(GENERATIONS);
        match &self.place {
            Place::Static { stats, collecting, enabled, .. } => [
                collecting.map_or(0, |_| i32::SIZE),
                enabled.map_or(0, |_| i32::SIZE),
                stats.map_or(0, |_| array),
                0,
                generations,
            ],
            Place::Runtime(_, fields) | Place::Interpreter(_, fields) => {
                let stats = fields.stats.offset() as usize + if self.ring.is_some() { 8 } else { array };
                let span = fields.span.max(fields.generations + generations).max(stats);
                let next = if self.has_many() { Addr::SIZE } else { 0 };
                [0, 0, self.ring.map_or(0, |ring| ring.size), next, span]
            }
        }
    }

    fn pieces(&self, watched: &Watched) -> [Addr; PIECES] {
        let (collecting, enabled) = match &self.place {
            Place::Static { collecting, enabled, .. } => {
                (collecting.unwrap_or_default(), enabled.unwrap_or_default())
            }
            _ => (Addr::NULL, Addr::NULL),
        };
        [collecting, enabled, watched.stats, self.interpreter.next.of(watched.interpreter), watched.state]
    }

    /// Reads what a plan brought; whether the list of interpreters is still the one that was watched.
    fn decode(&self, plan: &Plan, told: &mut [Told], states: &mut Vec<State>) -> bool {
        let first = || self.watched.first().map(|watched| watched.interpreter);
        let Some(mut follows) = self.newest.map_or_else(first, |newest| plan.word(newest)) else {
            return false;
        };
        let listed = self.has_many();
        for ((number, watched), rings) in self.watched.iter().enumerate().zip(told) {
            let piece = |part: usize| plan.get(self.asked.after(1 + number * PIECES + part));
            let [collecting, enabled, stats, next, state] = std::array::from_fn(piece);
            if listed {
                let stands = next.is_some_and(|next| Addr::from_bytes(next) == watched.next);
                if follows != watched.interpreter || !stands {
                    return false;
                }
                follows = watched.next;
            }
            let Some(state) = state else { return false };
            let stats = stats.unwrap_or_default();
            let flag = |bytes: Option<&[u8]>| {
                bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| i32::from_bytes(bytes) != 0)
            };
            let read = match &self.place {
                Place::Static { .. } => State {
                    collecting: flag(collecting),
                    enabled: flag(enabled),
                    generations: self.generations(state, 0, stats, None),
                    ..State::default()
                },
                Place::Runtime(_, fields) | Place::Interpreter(_, fields) => {
                    let copy = Struct::over(state);
                    if self.ring.is_some() && copy.get(fields.stats) != watched.stats {
                        return false;
                    }
                    self.state(watched.state, state, (stats, rings), fields)
                }
            };
            states.push(State { interpreter: watched.id, ..read });
        }
        follows.is_null() || !listed
    }

    /// Reads a `struct _gc_runtime_state`.
    fn state(&self, at: Addr, bytes: &[u8], (ring, told): (&[u8], &mut Told), fields: &StateFields) -> State {
        let copy = Struct::over(bytes);
        let count = |field: Option<Field<i64>>| copy.maybe(field).and_then(|value| u64::try_from(value).ok());
        // Vendors align the generations differently, and this pointer always knows.
        let first = copy.maybe(fields.generation0).map(|first| first.0.wrapping_sub(at.0) as usize);
        let end = bytes.len().saturating_sub(self.generation.size * GENERATIONS);
        let first = first.filter(|first| *first <= end).unwrap_or(fields.generations);
        let totals = fields.stats.offset() as usize;
        let totals = match &self.ring {
            Some(rings) => {
                told.hear(rings, ring);
                &[][..]
            }
            None => bytes.get(totals..).unwrap_or_default(),
        };
        State {
            interpreter: 0,
            collecting: Some(copy.get(fields.collecting) != 0),
            enabled: copy.maybe(fields.enabled).map(|enabled| enabled != 0),
            generations: {
                let mut generations =
                    self.generations(bytes, first, totals, copy.maybe(fields.visited_space));
                for (number, generation) in generations.iter_mut().enumerate().filter(|_| self.ring.is_some())
                {
                    let mut own =
                        told.records.iter().filter(|record| usize::from(record.generation) == number);
                    generation.totals =
                        Some(own.next_back().map_or(Totals::default(), |record| record.totals));
                }
                generations
            },
            long_lived: count(fields.long_lived_total).zip(count(fields.long_lived_pending)),
            tracked: count(fields.heap_size),
            frame: copy.maybe(fields.frame).filter(|frame| !frame.is_null()),
        }
    }

    /// Reads the generations in `bytes` from `first` on, with their totals in `stats`.
    fn generations(
        &self,
        bytes: &[u8],
        first: usize,
        stats: &[u8],
        visited: Option<i32>,
    ) -> [Generation; GENERATIONS] {
        let fields = &self.generation;
        std::array::from_fn(|number| {
            // The list that was visited last counts as the middle generation, the other one as the oldest.
            let place = match (number, visited) {
                (1 | 2, Some(1)) => GENERATIONS - number,
                _ => number,
            };
            let Some(copy) = piece(bytes, first + place * fields.size, fields.span) else {
                return Generation::default();
            };
            let totals = self
                .totals
                .and_then(|totals| Some(totals.read(&piece(stats, number * totals.size, totals.span)?)));
            Generation {
                count: copy.get(fields.count),
                threshold: self.threshold(bytes, first, number),
                totals,
            }
        })
    }

    fn threshold(&self, bytes: &[u8], first: usize, number: usize) -> i32 {
        let copy = piece(bytes, first + number * self.generation.size, self.generation.span);
        copy.map_or(0, |copy| copy.get(self.generation.threshold))
    }
}

impl Place {
    fn bind(
        layout: &Layout,
        root: Root,
        runtime: Option<RuntimeFields>,
        interpreter: InterpreterFields,
        symbols: &BTreeMap<String, Addr>,
    ) -> Result<Place, Missing> {
        let missing = || Missing::Fact { layout: layout.name.clone(), fact: "gc.where".into() };
        Ok(match (layout.fact::<String>("gc.where")?.as_str(), root) {
            ("static", _) => Place::Static {
                generation0: symbols.get("_PyGC_generation0").copied().ok_or_else(missing)?,
                stats: symbols.get("generation_stats").copied(),
                collecting: symbols.get("collecting").copied(),
                enabled: symbols.get("enabled").copied(),
                garbage: symbols.get("garbage").copied(),
            },
            ("runtime", Root::Runtime(at)) => {
                let gc = runtime.and_then(|runtime| runtime.gc).ok_or_else(missing)?;
                Place::Runtime(gc.of(at), StateFields::bind(layout)?)
            }
            ("interpreter", _) => {
                Place::Interpreter(interpreter.gc.ok_or_else(missing)?, StateFields::bind(layout)?)
            }
            _ => return Err(missing()),
        })
    }
}
