//! A recording, looked at: which samples count, for how much, and what their frames are called.

use regex::Regex;
use rustc_hash::FxHashMap;

use super::account::Account;
use super::attribution::{Attribution, Share, Source};
use super::label;
use super::options::ViewOptions;
use super::place::Places;
use super::tables::Recording;
use super::weight::Weights;
use crate::model::{At, FileKind, FrameKind, Nanos, Sample, StackId, TrackId, TrackKind};

/// What a frame is shown as. Frames that are shown alike are one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// What it stands for.
    pub kind: FrameKind,
    /// Whose code it is.
    pub whose: FileKind,
    /// The function's name, with its class where that is known; the file, where files are what is shown.
    pub name: String,
    /// The file.
    pub file: Option<String>,
    /// The line: the one that ran, or the function's first.
    pub line: Option<u32>,
}

/// A [`Row`], as a place in [`View::rows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u32);

/// A frame in the call tree: a row and the node that called it. A parent always has the smaller id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// What called it.
    pub parent: Option<NodeId>,
    /// What it is shown as.
    pub row: RowId,
}

/// A [`Node`], as a place in [`View::nodes`]; a whole stack is told by its innermost one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl RowId {
    /// The place in its table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// The place in its table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Row {
    /// The row in one text: `name (file:line)`, as far as these are known.
    pub fn text(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{} ({file}:{line})", self.name),
            (Some(file), None) => format!("{} ({file})", self.name),
            (None, _) => self.name.clone(),
        }
    }
}

/// A sample as a view shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its place among the recording's samples of its track; memory has none.
    pub row: Option<usize>,
    /// Where its time begins.
    pub from: At,
    /// Where its time ends.
    pub until: At,
    /// Its stack.
    pub node: NodeId,
    /// Its weight, in the unit of the view's metric: nanoseconds, samples, bytes or blocks.
    pub weight: u64,
}

/// A stack of the whole view, and its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed<'v> {
    /// What stands below the stack: its process and thread, where they are asked for.
    pub roots: &'v [String],
    /// The stack.
    pub node: NodeId,
    /// The weight of all its samples.
    pub weight: u64,
}

/// Why a recording cannot be looked at in this way.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A pattern is not a regular expression.
    #[error("the pattern of {option} does not compile{place}: {why}")]
    Pattern {
        /// The option, as on the command line.
        option: &'static str,
        /// Where it is wrong: ` at character 3`, or nothing where that is not to be told.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The span of time ends before it begins.
    #[error("the span of time ends at {to} and begins at {from}")]
    Span {
        /// Its begin, since the recording's start.
        from: Nanos,
        /// Its end.
        to: Nanos,
    },
}

/// A recording through filters, a metric, a grouping and a span of time.
#[derive(Debug)]
pub struct View<'a> {
    recording: &'a Recording,
    options: &'a ViewOptions,
    account: Account,
    places: Places,
    weights: Weights,
    memory: Attribution,
    tracks: Vec<TrackId>,
    /// What stands at the root of each track's stacks, by track.
    roots: Vec<Vec<String>>,
    span: (At, At),
}

impl<'a> View<'a> {
    /// Looks at a recording.
    pub fn new(recording: &'a Recording, options: &'a ViewOptions) -> Result<View<'a>, ViewError> {
        let include = patterns("--include", &options.include)?;
        let exclude = patterns("--exclude", &options.exclude)?;
        let only_thread = patterns("--only-thread", options.only_thread.as_slice())?;
        let from = options.from_ns.map_or(At(0), At);
        let to = options.to_ns.map_or_else(|| recording.end().max(from), At);
        if to < from {
            return Err(ViewError::Span { from: Nanos(from.0), to: Nanos(to.0) });
        }
        let mut tracks = Vec::new();
        let mut roots = Vec::new();
        for (id, track) in (0..).map(TrackId).zip(&recording.tracks) {
            let name = label::track(recording, id);
            let mut root = Vec::new();
            if recording.processes.len() > 1 {
                root.push(label::process(recording, track.process));
            }
            if options.threads {
                root.push(name.clone());
            }
            roots.push(root);
            let shown = options.metric.is_memory() || track.kind != TrackKind::Memory;
            let wanted = shown && only_thread.iter().all(|pattern| pattern.is_match(&name));
            if wanted && (track.main || !options.main_thread) {
                tracks.push(id);
            }
        }
        let places = Places::new(recording, options, &include, &exclude);
        let account = Account::of(recording);
        let weights = Weights::new(recording, options.mode);
        let memory = Attribution::new(recording, options, from, to);
        Ok(View { recording, options, account, places, weights, memory, tracks, roots, span: (from, to) })
    }

    /// The recording itself.
    pub fn recording(&self) -> &'a Recording {
        self.recording
    }

    /// How it is looked at.
    pub fn options(&self) -> &'a ViewOptions {
        self.options
    }

    /// How good the recording is.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How memory was put down to stacks, where memory is what is looked at.
    pub fn source(&self) -> Source {
        self.memory.source
    }

    /// The span of time that is looked at.
    pub fn span(&self) -> (At, At) {
        self.span
    }

    /// The same view of another span of time, which begins no later than it ends. Of a recording that is still growing, a
    /// view is made once and looked at through several spans.
    #[must_use]
    pub fn within(self, from: At, to: At) -> View<'a> {
        View { span: (from.min(to), to), ..self }
    }

    /// What a track is called.
    pub fn track_name(&self, track: TrackId) -> String {
        label::track(self.recording, track)
    }

    /// The tracks that are looked at.
    pub fn tracks(&self) -> &[TrackId] {
        &self.tracks
    }

    /// Everything that frames are shown as, also such as no sample of this view shows.
    pub fn rows(&self) -> &[Row] {
        &self.places.rows
    }

    /// A row.
    pub fn row(&self, row: RowId) -> Option<&Row> {
        self.places.rows.get(row.index())
    }

    /// Every frame of the call tree, also such as no sample of this view shows.
    pub fn nodes(&self) -> &[Node] {
        &self.places.nodes
    }

    /// Where a stack stands, whatever the view leaves out; `None` where all its frames are hidden.
    pub fn node_of(&self, stack: StackId) -> Option<NodeId> {
        self.places.of_stack(stack)
    }

    /// The rows of a stack, innermost first.
    pub fn rows_of(&self, node: NodeId) -> impl Iterator<Item = RowId> {
        let mut next = Some(node);
        std::iter::from_fn(move || {
            let node = self.places.nodes.get(next?.index())?;
            next = node.parent;
            Some(node.row)
        })
    }

    /// The samples of a track, in time; where memory is looked at, what of it is put down to the track.
    pub fn samples(&self, track: TrackId) -> impl Iterator<Item = Seen> {
        let rows = if self.options.metric.is_memory() { &[] } else { self.recording.samples_of(track) };
        let shares = self.memory.of(track).iter().filter_map(|share| self.share(share));
        // Rows of a track do not overlap, so those outside the span stand at its two ends.
        let first = rows.partition_point(|row| {
            row.until < self.span.0 || row.until == self.span.0 && row.from < row.until
        });
        let rows = rows.iter().enumerate().skip(first);
        let rows = rows.take_while(|(_, row)| row.from <= self.span.1).filter_map(move |(place, row)| {
            self.seen(place, row, self.weights.of(track, place, row, self.options)?)
        });
        rows.chain(shares)
    }

    /// How the memory of a track came to be, in time: what each stack has more from a moment on, or less. Of a stack they add up to
    /// what [`samples`](View::samples) say. What `tracemalloc` said counts up to a moment, what bursts say in a span of time.
    pub fn changes(&self, track: TrackId) -> impl Iterator<Item = (At, NodeId, i64)> {
        let changes = self.memory.changes(track).iter();
        changes.filter_map(|change| Some((change.at, self.places.of_whole(change.stack)?, change.by)))
    }

    /// Every stack of the view with the weight of all its samples, in no particular order.
    pub fn stacks(&self) -> impl Iterator<Item = Weighed<'_>> {
        let mut weights: FxHashMap<(&[String], NodeId), u64> = FxHashMap::default();
        for track in &self.tracks {
            let roots = self.roots.get(track.index()).map_or(&[][..], Vec::as_slice);
            for seen in self.samples(*track) {
                let weight = weights.entry((roots, seen.node)).or_default();
                *weight = weight.saturating_add(seen.weight);
            }
        }
        weights.into_iter().map(|((roots, node), weight)| Weighed { roots, node, weight })
    }

    /// The weight of all samples.
    pub fn total(&self) -> u64 {
        let samples = self.tracks.iter().flat_map(|track| self.samples(*track));
        samples.map(|seen| seen.weight).fold(0, u64::saturating_add)
    }

    /// A row that counts for so much, as far as it lies in the span.
    fn seen(&self, row: usize, sample: &Sample, whole: u64) -> Option<Seen> {
        let node = self.places.of(sample)?;
        let (from, until) = (sample.from.max(self.span.0), sample.until.min(self.span.1));
        if until < from || until == from && sample.from < sample.until {
            return None;
        }
        let weight = share(whole, until.since(from), sample.until.since(sample.from));
        Some(Seen { row: Some(row), from, until, node, weight })
    }

    /// Memory that is put down to a stack.
    fn share(&self, share: &Share) -> Option<Seen> {
        let node = self.places.of_whole(share.stack)?;
        let weight = Some(share.weight).filter(|weight| *weight > 0)?;
        Some(Seen { row: None, from: share.at, until: share.at, node, weight })
    }
}

/// The part of a weight that falls to a part of its time.
fn share(weight: u64, part: Nanos, whole: Nanos) -> u64 {
    if part == whole || whole.0 == 0 {
        return weight;
    }
    let rounded = (u128::from(weight) * u128::from(part.0) + u128::from(whole.0 / 2)) / u128::from(whole.0);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

fn patterns(option: &'static str, patterns: &[String]) -> Result<Vec<Regex>, ViewError> {
    let compile = |pattern: &String| {
        Regex::new(pattern).map_err(|error| {
            let (place, why) = where_and_why(&error);
            ViewError::Pattern { option, place, why }
        })
    };
    patterns.iter().map(compile).collect()
}

/// Makes one line of what the regex crate says in several: the pattern, a caret below it, and a reason.
fn where_and_why(error: &regex::Error) -> (String, String) {
    /// The crate indents the pattern and the caret by so much.
    const INDENT: usize = 4;
    let text = error.to_string();
    let caret = text.lines().find(|line| line.trim_start().starts_with('^')).and_then(|line| line.find('^'));
    let place = caret
        .map_or_else(String::new, |column| format!(" at character {}", column.saturating_sub(INDENT) + 1));
    let why = text.lines().last().unwrap_or_default();
    (place, why.strip_prefix("error: ").unwrap_or(why).to_owned())
}
