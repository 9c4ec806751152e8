//! Where each stack of a recording stands in the call tree that a view shows.
//!
//! Design constraints: stacks share their lower parts, and a parent always has the smaller id. So all of them are
//! placed in one pass in the order of their ids, each at the cost of one frame, however deep they are.

use std::collections::HashMap;

use regex::Regex;
use rustc_hash::FxHashMap;

use super::label;
use super::module;
use super::options::{By, ViewOptions};
use super::tables::Recording;
use super::view::{Node, NodeId, Row, RowId};
use crate::model::{FileKind, Frame, FrameKind, Quality, Sample, StackId, Torn};

/// What stands for the part of a stack that is not there.
pub const TORN: &str = "<torn>";
/// What stands for the part of a stack that is deeper than we follow.
pub const TRUNCATED: &str = "<truncated>";
/// What stands for a thread that runs no Python.
pub const NO_FRAME: &str = "<no Python frame>";
/// What stands for a stack all of whose frames are hidden.
pub const HIDDEN: &str = "<hidden>";
/// What stands on top of a stack whose thread collects garbage.
pub const GC: &str = "<GC>";

/// Where a stack stands, and whether one of its frames is one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    node: Option<NodeId>,
    included: bool,
}

/// What is missing from a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Missing {
    Base(&'static str),
    Top(&'static str),
}

/// Rows, nodes made of them, and the node of each stack.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) rows: Vec<Row>,
    pub(super) nodes: Vec<Node>,
    children: FxHashMap<(Option<NodeId>, RowId), NodeId>,
    marks: HashMap<&'static str, RowId>,
    by_stack: Vec<Place>,
    partial: FxHashMap<(Option<StackId>, Missing), Place>,
    empty: Place,
    collapse: Collapse,
    collecting: Collecting,
}

/// What becomes of the mark of those who collect garbage.
#[derive(Debug, Default)]
struct Collecting {
    shown: bool,
    /// It is one of the frames that were asked for.
    included: bool,
    /// The mark on top of each node that needs one.
    above: FxHashMap<NodeId, NodeId>,
}

/// Which neighbours become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collapse {
    None,
    /// A function that calls itself.
    Recursion,
    /// Frames whose row is the same.
    Rows,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy)]
struct Fate {
    row: RowId,
    hidden: bool,
    included: bool,
}

impl Places {
    /// Places every stack of a recording.
    pub(super) fn new(
        recording: &Recording,
        options: &ViewOptions,
        include: &[Regex],
        exclude: &[Regex],
    ) -> Places {
        let collapse = match options.by {
            By::Line | By::Function if options.collapse_recursion => Collapse::Recursion,
            By::Line | By::Function => Collapse::None,
            By::File | By::Module | By::Distribution => Collapse::Rows,
        };
        let everything = include.is_empty();
        let mut places = Places {
            rows: Vec::new(),
            nodes: Vec::new(),
            children: FxHashMap::default(),
            marks: HashMap::new(),
            by_stack: Vec::with_capacity(recording.stacks.len()),
            partial: FxHashMap::default(),
            empty: Place { node: None, included: everything },
            collapse,
            collecting: Collecting {
                shown: !options.no_gc && !exclude.iter().any(|pattern| pattern.is_match(GC)),
                included: include.iter().any(|pattern| pattern.is_match(GC)),
                above: FxHashMap::default(),
            },
        };
        let fates = places.fates(recording, options, include, exclude);
        for stack in &recording.stacks {
            let below = match stack.parent {
                Some(parent) => places.by_stack.get(parent.index()).copied().unwrap_or(places.empty),
                None => places.empty,
            };
            let place = places.above(below, fates.get(stack.frame.index()).copied());
            places.by_stack.push(place);
        }
        places.place_partial(recording, &fates);
        places.place_collecting(recording);
        places
    }

    /// Where a sample stands; `None` where the view leaves it out.
    pub(super) fn of(&self, sample: &Sample) -> Option<NodeId> {
        let node = self.below(sample)?;
        match self.collects(sample) {
            true => self.collecting.above.get(&node).copied(),
            false => Some(node),
        }
    }

    /// Whether a sample gets the mark of those who collect garbage.
    fn collects(&self, sample: &Sample) -> bool {
        self.collecting.shown && sample.flags.in_gc == Some(true)
    }

    /// Where a sample stands without that mark.
    fn below(&self, sample: &Sample) -> Option<NodeId> {
        let place = match missing(sample.quality) {
            Some(missing) => self.partial.get(&(sample.stack, missing)).copied(),
            None => self.whole(sample.stack),
        };
        let asked_for = self.collecting.included && self.collects(sample);
        self.shown(place.filter(|place| place.included || asked_for)?, sample.stack)
    }

    /// Where a stack stands of which nothing is missing; `None` where the view leaves it out.
    pub(super) fn of_whole(&self, stack: Option<StackId>) -> Option<NodeId> {
        self.shown(self.whole(stack).filter(|place| place.included)?, stack)
    }

    fn shown(&self, place: Place, stack: Option<StackId>) -> Option<NodeId> {
        place.node.or_else(|| {
            let mark = if stack.is_some() { HIDDEN } else { NO_FRAME };
            self.marks.get(mark).and_then(|row| self.children.get(&(None, *row))).copied()
        })
    }

    /// Puts the mark on top of each stack that was met collecting garbage.
    fn place_collecting(&mut self, recording: &Recording) {
        for sample in recording.samples.iter().flatten().filter(|sample| sample.flags.in_gc == Some(true)) {
            let below = self.below(sample).filter(|_| self.collects(sample));
            if let Some(below) = below.filter(|below| !self.collecting.above.contains_key(below))
                && let Some(mark) = self.mark(Some(below), GC)
            {
                self.collecting.above.insert(below, mark);
            }
        }
    }

    /// Where a stack stands; `None` where all its frames are hidden.
    pub(super) fn of_stack(&self, stack: StackId) -> Option<NodeId> {
        self.whole(Some(stack))?.node
    }

    fn whole(&self, stack: Option<StackId>) -> Option<Place> {
        stack.map_or(Some(self.empty), |stack| self.by_stack.get(stack.index()).copied())
    }

    /// The row of each frame, and whether a pattern hides it or asks for it.
    fn fates(
        &mut self,
        recording: &Recording,
        options: &ViewOptions,
        include: &[Regex],
        exclude: &[Regex],
    ) -> Vec<Fate> {
        let paths: Vec<&str> = recording.files.iter().map(|file| recording.string(file.path)).collect();
        let short = label::short_files(&paths);
        let packages = module::packages(paths.iter().copied());
        let mut known: HashMap<Row, RowId> = HashMap::new();
        let fates = recording.frames.iter().map(|frame| {
            let name = recording.string(frame.qualname.unwrap_or(frame.name));
            let path = recording.file(frame.file).map_or("", |file| recording.string(file.path));
            let short = short.get(frame.file.index()).map_or("", String::as_str);
            let texts = [format!("{name} ({short})"), format!("{name} ({path})")];
            let matches =
                |patterns: &[Regex]| patterns.iter().any(|re| texts.iter().any(|text| re.is_match(text)));
            let file = if options.full_filenames { path } else { short };
            let whose = recording.file(frame.file).map_or(FileKind::Unknown, |file| file.kind);
            let row = match options.by {
                By::Module => coarse(frame, whose, name, module::name(path, &packages)),
                By::Distribution => {
                    let distribution = recording.file(frame.file).and_then(|file| file.distribution);
                    let distribution = distribution.map(|name| recording.string(name));
                    coarse(frame, whose, name, label::distribution(whose, path, distribution))
                }
                By::Line | By::Function | By::File => row_of(frame, whose, name, file, options),
            };
            let next = RowId(self.rows.len() as u32);
            let row = *known.entry(row).or_insert_with_key(|row| {
                self.rows.push(row.clone());
                next
            });
            // An instruction is finer than a line: who asks for anything coarser does not want it.
            let finer = frame.kind == FrameKind::Opcode && options.by != By::Line;
            Fate { row, hidden: finer || matches(exclude), included: matches(include) }
        });
        let fates = fates.collect();
        for mark in [TORN, TRUNCATED, NO_FRAME, HIDDEN, GC] {
            let row = RowId(self.rows.len() as u32);
            let (kind, whose) = (FrameKind::Mark, FileKind::Synthetic);
            self.rows.push(Row { kind, whose, name: mark.to_owned(), file: None, line: None });
            self.marks.insert(mark, row);
            if matches!(mark, NO_FRAME | HIDDEN) {
                self.child(None, row);
            }
        }
        fates
    }

    /// Places the stacks of partial samples: with a mark where a part is missing.
    fn place_partial(&mut self, recording: &Recording, fates: &[Fate]) {
        for sample in recording.samples.iter().flatten() {
            let Some(missing) = missing(sample.quality) else { continue };
            if self.partial.contains_key(&(sample.stack, missing)) {
                continue;
            }
            match missing {
                Missing::Top(mark) => {
                    let below = self.whole(sample.stack).unwrap_or(self.empty);
                    let place = Place { node: self.mark(below.node, mark), ..below };
                    self.partial.insert((sample.stack, missing), place);
                }
                Missing::Base(mark) => self.place_without_base(recording, fates, sample.stack, mark),
            }
        }
    }

    /// Places a stack, and all that it stands on, above a mark at the root.
    fn place_without_base(
        &mut self,
        recording: &Recording,
        fates: &[Fate],
        stack: Option<StackId>,
        mark: &'static str,
    ) {
        let missing = Missing::Base(mark);
        let mut unplaced = Vec::new();
        let mut next = stack;
        while next.is_some() && !self.partial.contains_key(&(next, missing)) {
            unplaced.push(next);
            next = next.and_then(|id| recording.stack(id)).and_then(|stack| stack.parent);
        }
        let root = Place { node: self.mark(None, mark), ..self.empty };
        let mut below = *self.partial.entry((next, missing)).or_insert(root);
        while let Some(id) = unplaced.pop() {
            let frame = id.and_then(|id| recording.stack(id)).map(|stack| stack.frame.index());
            below = self.above(below, frame.and_then(|frame| fates.get(frame)).copied());
            self.partial.insert((id, missing), below);
        }
    }

    /// The place of a frame called from `below`.
    fn above(&mut self, below: Place, fate: Option<Fate>) -> Place {
        let Some(fate) = fate else { return below };
        let included = below.included || fate.included;
        if fate.hidden {
            return Place { included, ..below };
        }
        let parent = match below.node {
            Some(node) if self.joins(node, fate.row) => {
                self.nodes.get(node.index()).and_then(|node| node.parent)
            }
            node => node,
        };
        Place { node: Some(self.child(parent, fate.row)), included }
    }

    /// Whether a frame takes the place of the one that called it.
    fn joins(&self, caller: NodeId, row: RowId) -> bool {
        let Some(caller) = self.nodes.get(caller.index()) else { return false };
        match self.collapse {
            Collapse::None => false,
            Collapse::Rows => caller.row == row,
            Collapse::Recursion => match (self.rows.get(caller.row.index()), self.rows.get(row.index())) {
                (Some(caller), Some(row)) => (&caller.name, &caller.file) == (&row.name, &row.file),
                _ => false,
            },
        }
    }

    fn mark(&mut self, parent: Option<NodeId>, mark: &'static str) -> Option<NodeId> {
        let row = self.marks.get(mark).copied()?;
        Some(self.child(parent, row))
    }

    fn child(&mut self, parent: Option<NodeId>, row: RowId) -> NodeId {
        *self.children.entry((parent, row)).or_insert_with(|| {
            let id = NodeId(self.nodes.len() as u32);
            self.nodes.push(Node { parent, row });
            id
        })
    }
}

fn missing(quality: Quality) -> Option<Missing> {
    let mark = |torn| if torn == Torn::TooDeep { TRUNCATED } else { TORN };
    match quality {
        Quality::Whole | Quality::Retried | Quality::Stopped | Quality::Probable => None,
        Quality::BaseMissing(torn) => Some(Missing::Base(mark(torn))),
        Quality::TopMissing(torn) => Some(Missing::Top(mark(torn))),
    }
}

/// What a frame is shown as where only what it belongs to is wanted; what is no function is called what it is.
fn coarse(frame: &Frame, whose: FileKind, name: &str, owner: String) -> Row {
    let name = if frame.kind == FrameKind::Python { owner } else { name.to_owned() };
    Row { kind: frame.kind, whose, name, file: None, line: None }
}

/// What a frame is shown as.
fn row_of(frame: &Frame, whose: FileKind, name: &str, file: &str, options: &ViewOptions) -> Row {
    let kind = frame.kind;
    let file = Some(file.to_owned()).filter(|file| !file.is_empty());
    let line = match options.by {
        By::Line => frame.line,
        By::Function => frame.first_line,
        By::File | By::Module | By::Distribution => {
            return Row { kind, whose, name: file.unwrap_or_else(|| "?".to_owned()), file: None, line: None };
        }
    };
    Row { kind, whose, name: name.to_owned(), file, line: line.filter(|_| !options.no_line_numbers) }
}
