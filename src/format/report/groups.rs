//! What each frame is called by line, function, file, module and distribution, so that the page can group them itself.
//!
//! Design constraints: the call tree of a view by line is the finest, and the page makes the others of it. What a row is called
//! in those is asked of views that are grouped so, by the stacks that both place.

use std::io;

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::blob::refused;
use super::story;
use crate::model::{FileKind, FrameKind, StackId};
use crate::recording::view::{Row, RowId};
use crate::recording::{By, View, ViewOptions};

/// What something is called: name, file, line.
type Label = (String, Option<String>, Option<u32>);

/// The rows that the page shows, and what they are called in each grouping.
pub(super) struct Groups {
    /// Where each row of the view stands in the page.
    places: Vec<u64>,
    labels: Vec<Label>,
    known: FxHashMap<Label, usize>,
    /// The label of each row in the page, by grouping.
    by: Vec<(By, Vec<usize>)>,
    kinds: Vec<u8>,
    whose: Vec<u8>,
    /// The line of source of each, where it was kept.
    sources: Vec<Option<String>>,
}

impl Groups {
    /// Those of the rows that a view's own nodes show.
    pub(super) fn of(view: &View<'_>, used: &[bool]) -> io::Result<Groups> {
        let mut places = vec![0; view.rows().len()];
        let mut rows: Vec<RowId> = Vec::new();
        for (node, _) in view.nodes().iter().zip(used).filter(|(_, used)| **used) {
            let Some(place) = places.get_mut(node.row.index()).filter(|place| **place == 0) else { continue };
            rows.push(node.row);
            *place = rows.len() as u64;
        }
        let kinds = rows.iter().filter_map(|row| view.row(*row)).map(|row| kind(row.kind)).collect();
        let whose = rows.iter().filter_map(|row| view.row(*row)).map(|row| whose(row.whose)).collect();
        let mut groups = Groups {
            places,
            labels: Vec::new(),
            known: FxHashMap::default(),
            by: Vec::new(),
            kinds,
            whose,
            sources: sources(view, &rows),
        };
        for by in By::ALL {
            if by == By::Line {
                let names = rows.iter().filter_map(|id| view.row(*id)).map(|row| groups.label(row)).collect();
                groups.by.push((by, names));
                continue;
            }
            let options = ViewOptions { by, ..view.options().clone() };
            let other = View::new(view.recording(), &options).map_err(refused)?;
            let mut called: FxHashMap<RowId, &Row> = FxHashMap::default();
            for stack in (0..view.recording().stacks.len() as u32).map(StackId) {
                let row = |of: &View<'_>| {
                    of.node_of(stack).and_then(|node| of.nodes().get(node.index())).map(|node| node.row)
                };
                if let (Some(own), Some(row)) = (row(view), row(&other).and_then(|row| other.row(row))) {
                    called.entry(own).or_insert(row);
                }
            }
            let names = rows.iter().filter_map(|id| called.get(id).copied().or_else(|| view.row(*id)));
            let names = names.map(|row| groups.label(row)).collect();
            groups.by.push((by, names));
        }
        Ok(groups)
    }

    /// Where a row stands in the page.
    pub(super) fn place(&self, row: RowId) -> u64 {
        self.places.get(row.index()).map_or(0, |place| place.saturating_sub(1))
    }

    /// All of it, as the page reads it.
    pub(super) fn json(&self) -> Value {
        let column = |of: fn(&Label) -> Value| -> Vec<Value> { self.labels.iter().map(of).collect() };
        let by: serde_json::Map<String, Value> =
            self.by.iter().map(|(by, labels)| (by.name().to_owned(), json!(labels))).collect();
        json!({
            "names": column(|label| json!(label.0)),
            "files": column(|label| json!(label.1)),
            "lines": column(|label| json!(label.2)),
            "by": by,
            "kinds": self.kinds,
            "whose": self.whose,
            "sources": self.sources,
        })
    }

    fn label(&mut self, row: &Row) -> usize {
        let label = (story::short(&row.name), row.file.as_deref().map(story::short), row.line);
        let next = self.labels.len();
        *self.known.entry(label).or_insert_with_key(|label| {
            self.labels.push(label.clone());
            next
        })
    }
}

/// The lines of source that rows show, where they were kept.
fn sources(view: &View<'_>, rows: &[RowId]) -> Vec<Option<String>> {
    let recording = view.recording();
    let mut known: FxHashMap<RowId, String> = FxHashMap::default();
    for (stack, its) in (0..).map(StackId).zip(&recording.stacks) {
        let frame = recording.frames.get(its.frame.index()).and_then(|frame| Some((frame.file, frame.line?)));
        let text = frame.and_then(|place| recording.sources.get(&place));
        let node = view.node_of(stack).and_then(|node| view.nodes().get(node.index()));
        if let (Some(text), Some(node)) = (text, node) {
            // A frame that is hidden stands for what it hides behind, whose line is another.
            let shown = view.row(node.row).filter(|row| row.line == frame.map(|(_, line)| line));
            known.extend(shown.map(|_| (node.row, story::short(recording.string(*text)))));
        }
    }
    rows.iter().map(|row| known.remove(row)).collect()
}

fn kind(kind: FrameKind) -> u8 {
    match kind {
        FrameKind::Python => 0,
        FrameKind::Native => 1,
        FrameKind::Kernel => 2,
        FrameKind::Mark => 3,
        FrameKind::Opcode => 4,
    }
}

fn whose(whose: FileKind) -> u8 {
    match whose {
        FileKind::Unknown => 0,
        FileKind::Own => 1,
        FileKind::Standard => 2,
        FileKind::Installed => 3,
        FileKind::Synthetic => 4,
    }
}
