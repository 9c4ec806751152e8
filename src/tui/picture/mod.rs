//! A picture of the history at one moment: every number and word that screens show, taken once for many drawings.
//!
//! Design constraints: all shares come from a [`View`] and its [`Tree`], as in every export, so that what is shown is what a
//! file says. Pictures are taken once a second or so and may cost what reading all samples costs; screens are drawn from
//! them much more often, and read only what fits on them.

pub mod functions;
pub mod gc;
pub mod limbs;
pub mod threads;

use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

use crate::model::{At, FileKind, FrameKind, Nanos};
use crate::recording::{Account, Recording, Tree, View, ViewError, plain};

use super::query::Query;
use functions::Function;
use gc::Collecting;
use limbs::Limbs;
use threads::Thread;

/// Names are cut behind so many characters: no screen is as wide.
const MAX_NAME: usize = 400;

/// What only those know who look at the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// Looks a second that are asked for; `None` is as many as there can be.
    pub rate_asked: Option<f64>,
    /// Looks a second that there are at present.
    pub rate: Option<f64>,
    /// The share of a core that we use at present.
    pub overhead: f64,
    /// For how long the target was held still.
    pub paused: Nanos,
    /// Looks are rarer than asked, to stay within the budget.
    pub held_back: bool,
    /// How far the history reaches back.
    pub history: Nanos,
    /// The target has ended: nothing changes any more.
    pub ended: bool,
}

/// A row as it is shown, without its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// `name (file:line)`.
    pub text: String,
    /// The name alone.
    pub name: String,
    /// What it stands for.
    pub kind: FrameKind,
    /// Whose code it is.
    pub whose: FileKind,
    /// Tells it from all others, also in other pictures.
    pub key: u64,
}

/// A part of some time, in the unit of the view: nanoseconds, or samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Spent in the row itself.
    pub own: u64,
    /// Spent in it and in what it called.
    pub total: u64,
}

/// The time of all rows together, in each of the spans that are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whole {
    /// Since the start, or since it was last reset.
    pub all: u64,
    /// At present.
    pub now: u64,
    /// Before the mark.
    pub before: u64,
    /// Since the mark.
    pub after: u64,
}

/// A picture of the history at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// The moment.
    pub at: At,
    /// What was looked for.
    pub query: Query,
    /// The program, and who it is.
    pub title: String,
    /// Its interpreter.
    pub python: String,
    /// How good what is shown is.
    pub account: Account,
    /// What only those know who look.
    pub vitals: Vitals,
    /// What rows are called: [`Function::label`] and [`limbs::Limb::label`] are places in it.
    pub labels: Vec<Label>,
    /// The time of all rows together.
    pub whole: Whole,
    /// Functions, in the order that was asked for.
    pub functions: Vec<Function>,
    /// The call tree.
    pub limbs: Limbs,
    /// Threads that live, in the order that was asked for.
    pub threads: Vec<Thread>,
    /// What all living threads are called, also those that are left out.
    pub names: Vec<String>,
    /// The stack that was asked for, innermost first.
    pub stack: Vec<String>,
    /// The collectors.
    pub gc: Vec<Collecting>,
}

impl Picture {
    /// Takes a picture.
    pub fn of(recording: &Recording, query: &Query, vitals: &Vitals) -> Result<Picture, ViewError> {
        let at = query.at.unwrap_or_else(|| recording.end());
        let since = query.since.min(at);
        let present = at.back(query.present).max(since);
        let view = View::new(recording, &query.options)?;
        let account = *view.account();
        let mut labels: Vec<Label> = view.rows().iter().map(Label::of).collect();
        let view = view.within(since, at);
        let tree = Tree::of(&view);
        let mut whole = Whole { all: tree.total(), ..Whole::default() };
        let mut functions = functions::all(&view, &tree, at);
        let mut limbs = Limbs::of(&tree, &mut labels);
        let view = view.within(present, at);
        let tree = Tree::of(&view);
        whole.now = tree.total();
        functions::add_now(&mut functions, &view, &tree);
        limbs.add_now(&tree, &labels);
        let (threads, stack) = threads::all(&view, query, present, at);
        let names = threads::names(recording, present, at);
        if let Some(mark) = query.compared() {
            let mark = mark.clamp(since, at);
            let view = view.within(since, mark);
            let before = Tree::of(&view);
            let view = view.within(mark, at);
            let after = Tree::of(&view);
            (whole.before, whole.after) = (before.total(), after.total());
            functions::add_compared(&mut functions, &before.top(&view), &after.top(&view));
        }
        functions::sort(&mut functions, query, &whole, &labels);
        let gc = gc::all(recording, since, present, at);
        let (title, python) = title(recording);
        let vitals = vitals.clone();
        Ok(Picture {
            at,
            query: query.clone(),
            title,
            python,
            account,
            vitals,
            labels,
            whole,
            functions,
            limbs,
            threads,
            names,
            stack,
            gc,
        })
    }

    /// What a row is called.
    pub fn label(&self, label: usize) -> &str {
        self.labels.get(label).map_or("", |label| &label.text)
    }
}

impl Label {
    fn of(row: &crate::recording::view::Row) -> Label {
        let (text, name) = (row.text(), safe(&row.name));
        Label { key: key(&text), text: safe(&text), name, kind: row.kind, whose: row.whose }
    }

    /// What stands below frames: a process, a thread.
    fn root(name: &str) -> Label {
        Label {
            key: key(name),
            text: safe(name),
            name: safe(name),
            kind: FrameKind::Mark,
            whose: FileKind::Unknown,
        }
    }
}

/// The share of a whole.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Text of the target's as it may be shown.
fn safe(text: &str) -> String {
    let end = text.char_indices().nth(MAX_NAME).map_or(text.len(), |(end, _)| end);
    plain::line(text.get(..end).unwrap_or_default()).into_owned()
}

/// Tells a thing from others, in this picture and in all others, by what it is made of.
fn key(of: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Who is looked at, and by what it is run.
fn title(recording: &Recording) -> (String, String) {
    let live = |index: &usize| {
        let gone = |event: &crate::model::ProcessEvent| {
            event.process.index() == *index
                && matches!(event.state, crate::model::ProcessState::Gone | crate::model::ProcessState::Exec)
        };
        !recording.process_events.iter().any(gone)
    };
    let all = recording.processes.len();
    let alive: Vec<usize> = (0..all).filter(live).collect();
    let Some(process) =
        alive.first().or(all.checked_sub(1).as_ref()).and_then(|at| recording.processes.get(*at))
    else {
        return Default::default();
    };
    let others = match alive.len() {
        0 | 1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    let command = safe(recording.string(process.command));
    let build = match (process.free_threaded, process.debug) {
        (true, true) => " free-threaded debug",
        (true, false) => " free-threaded",
        (false, true) => " debug",
        (false, false) => "",
    };
    let python = format!("Python {}{build}", safe(recording.string(process.python)));
    (format!("{command} (pid {}){others}", process.pid), python)
}
