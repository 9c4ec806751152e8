//! The data of the page: a JSON text for what there is little of, columns of numbers for what there is much of.
//!
//! The blob is the length of the JSON text (four bytes, little endian), that text, and the columns one after the other.
//! `ui/src/blob.ts` reads it; both say the order of the columns in the same words. Threads are looked at in the same moments, so
//! that moments are told once, and rows say from which to which of them they are.

use std::io;

use serde_json::json;

use super::column::{Column, MAX};
use super::groups::Groups;
use super::heap::heaps;
use super::held::{self, Held};
use super::story;
use super::thin::{self, Row, Thinned};
use crate::format::text;
use crate::recording::view::NodeId;
use crate::recording::{By, Metric, Mode, View, ViewError, ViewOptions};

/// More rows than this are summed up before the page gets them.
const MAX_ROWS: usize = 1_000_000;
/// What a row's flags are in the page, by how far they are moved: unknown is 0, no 1, yes 2.
const FLAG_BITS: u32 = 2;

/// The data of a view.
pub(super) fn of(asked: &View<'_>) -> io::Result<Vec<u8>> {
    // Lines are the finest; the page makes the rest of them. Where memory was put down to stacks, its tracks are there too.
    let metric = if asked.recording().allocations.is_empty() { Metric::Time } else { Metric::Bytes };
    let by_line = ViewOptions { by: By::Line, metric, ..asked.options().clone() };
    let (from, to) = asked.span();
    let view = &View::new(asked.recording(), &by_line).map_err(refused)?.within(from, to);
    let Thinned { tracks, bin } = thin::rows(rows(view)?, MAX_ROWS);
    let recording = view.recording();
    let held = [Held::of(view, Metric::Bytes)?, Held::of(view, Metric::Objects)?];
    let traced = held::traced(view);
    let collections = story::collections(view);
    let mut used = vec![false; view.nodes().len()];
    let nodes = tracks.iter().flatten().map(|row| row.node);
    let nodes = nodes.chain(held.iter().flat_map(Held::changes).map(|(_, node, _)| *node));
    let nodes = nodes.chain(collections.iter().filter_map(|it| it.node));
    for node in nodes {
        let mut next = Some(node);
        while let Some(node) = next.filter(|node| used.get(node.index()) == Some(&false)) {
            if let Some(used) = used.get_mut(node.index()) {
                *used = true;
            }
            next = view.nodes().get(node.index()).and_then(|node| node.parent);
        }
    }
    // Only what is shown gets a place: ids in the page are places among those.
    let mut places = vec![0_u64; used.len()];
    let mut count = 0;
    for (place, used) in places.iter_mut().zip(&used) {
        *place = count;
        count += u64::from(*used);
    }
    let place = |node: NodeId| places.get(node.index()).copied().unwrap_or_default();
    let shown = view.nodes().iter().zip(&places).zip(&used).filter(|(_, used)| **used).map(|(it, _)| it);

    let (mut parents, mut labels) = (Column::default(), Column::default());
    let groups = Groups::of(view, &used)?;
    for (node, own) in shown {
        parents.push(node.parent.map_or(0, |parent| own - place(parent)));
        labels.push(groups.place(node.row));
    }
    let changed = held.iter().flat_map(Held::changes).map(|(at, ..)| at.0);
    let all_moments = moments(&tracks, changed);
    let moment = |at: u64| all_moments.partition_point(|other| *other < at.min(MAX)) as u64;
    let mut columns: [Column; 11] = Default::default();
    let [times, gaps, lengths, weights, cpu, counts, stacks, states, waits, heap, memory] = &mut columns;
    let mut last = 0;
    for at in &all_moments {
        times.push(at - last);
        last = *at;
    }
    for rows in &tracks {
        let (mut at, mut stack) = (0, 0);
        for row in rows {
            let length = row.until.saturating_sub(row.from);
            let (from, until) = (moment(row.from), moment(row.until));
            gaps.push_beside(at, from);
            lengths.push_beside(from, until);
            weights.push_beside(length, row.weight);
            cpu.push_some(length, Some(row.cpu).filter(|cpu| *cpu > 0));
            counts.push(row.count);
            stacks.push_beside(stack, place(row.node));
            let state = row.state.number() | flags(row) << 3;
            states.push(u64::from(state));
            waits.push(row.state.wait());
            (at, stack) = (until, place(row.node));
        }
    }
    let heaps = heaps(view);
    heaps.iter().for_each(|of| of.write(heap));
    held.iter().for_each(|held| held.write(memory, moment, place));
    let options = asked.options();
    // Where nothing is known of memory, the page shows what it has.
    let metric = Some(options.metric).filter(|of| metric.is_memory() || !of.is_memory()).unwrap_or_default();
    let threads = view.tracks().iter().zip(&tracks).enumerate().map(|(n, (id, rows))| {
        let process = recording.track(*id).map_or(0, |track| track.process.0);
        json!({
            "name": story::short(&view.track_name(*id)), "process": process, "rows": rows.len(),
            "memory": held.each_ref().map(|of| of.len(n)), "traced": traced.contains(id),
        })
    });
    let head = json!({
        "format": 3,
        "title": story::short(&text::title(view)),
        "facts": story::facts(view, bin),
        "warnings": story::warnings(view, bin),
        "processes": story::processes(view),
        "span": [from.0.min(MAX), to.0.min(MAX)],
        "view": {
            "mode": options.mode.name(), "metric": metric.name(), "by": options.by.name(),
            "idle": options.idle, "threads": options.threads,
        },
        "nodes": count,
        "moments": all_moments.len(),
        "groups": groups.json(),
        "threads": threads.collect::<Vec<_>>(),
        "waits": recording.waits.iter().map(|wait| story::short(recording.string(wait.text))).collect::<Vec<_>>(),
        "gc": collections.iter().map(|row| row.json(row.node.map(place))).collect::<Vec<_>>(),
        "counters": story::counters(view),
        "memory": held::words(view),
        "heaps": heaps.iter().map(|heap| heap.json()).collect::<Vec<_>>(),
    });
    let head = serde_json::to_vec(&head)?;
    let mut blob = u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
    blob.extend(head);
    for column in [parents, labels].iter().chain(&columns) {
        blob.extend(column.bytes());
    }
    Ok(blob)
}

/// Every moment at which a row begins or ends, or something else changes, once.
fn moments(tracks: &[Vec<Row>], changed: impl Iterator<Item = u64>) -> Vec<u64> {
    let rows = tracks.iter().flatten().flat_map(|row| [row.from, row.until]);
    let mut all: Vec<u64> = rows.chain(changed).map(|at| at.min(MAX)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn flags(row: &Row) -> u32 {
    let [gil, gc, exception] = row.flags.map(|flag| match flag {
        None => 0,
        Some(false) => 1,
        Some(true) => 2_u32,
    });
    gil | gc << FLAG_BITS | exception << (2 * FLAG_BITS)
}

/// The rows of each track that the view looks at: what they count for in every mode, those of waiting threads too.
fn rows(view: &View<'_>) -> io::Result<Vec<Vec<Row>>> {
    let (recording, options) = (view.recording(), view.options());
    let with = |mode, metric| ViewOptions { mode, metric, idle: true, ..options.clone() };
    let (wall, samples, cpu) =
        (with(Mode::Wall, Metric::Time), with(Mode::Wall, Metric::Samples), with(Mode::Cpu, Metric::Time));
    let again = |options| {
        View::new(recording, options).map_err(refused).map(|it| it.within(view.span().0, view.span().1))
    };
    let (wall, samples, cpu) = (again(&wall)?, again(&samples)?, again(&cpu)?);
    let mut tracks = Vec::with_capacity(view.tracks().len());
    for track in view.tracks() {
        let mut on_cpu = cpu.samples(*track).peekable();
        let both = wall.samples(*track).zip(samples.samples(*track));
        let rows = both.filter_map(|(seen, counted)| {
            let sample = recording.samples_of(*track).get(seen.row?)?;
            while on_cpu.peek().is_some_and(|other| other.row < seen.row) {
                on_cpu.next();
            }
            let cpu = on_cpu.peek().filter(|other| other.row == seen.row).map_or(0, |other| other.weight);
            Some(Row {
                from: seen.from.0,
                until: seen.until.0,
                weight: seen.weight,
                cpu,
                count: counted.weight,
                node: seen.node,
                state: sample.state.into(),
                flags: [sample.flags.holds_gil, sample.flags.in_gc, sample.flags.in_exception],
            })
        });
        tracks.push(rows.collect());
    }
    Ok(tracks)
}

/// A view that was made once can be made again.
pub(super) fn refused(error: ViewError) -> io::Error {
    io::Error::other(error)
}
