//! What the page says in words and small numbers: processes, how good the recording is, collections, counters.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::format::{gc_csv, text};
use crate::model::gc::Collection;
use crate::model::{Counter, Nanos, ProcessId, StringId};
use crate::recording::gc::when;
use crate::recording::view::NodeId;
use crate::recording::{Mode, Schedule, View};

/// Longer texts are cut: nobody reads more, and a hostile name may be of any length.
const MAX_CHARS: usize = 1_000;
/// A counter has so many values in the page; more are thinned out.
const MAX_VALUES: usize = 4_096;
/// So many counters are in the page.
const MAX_COUNTERS: usize = 256;
/// So many collections are in the page: the first ones.
const MAX_COLLECTIONS: usize = 100_000;
/// So many processes are told of one by one.
const MAX_PROCESSES: usize = 1_000;
/// So many troubles are told of in their own words.
const MAX_TROUBLES: usize = 50;

/// A collection, and where in the call tree it was set off.
pub(super) struct Told<'v> {
    row: &'v Collection,
    pub(super) node: Option<NodeId>,
}

impl Told<'_> {
    pub(super) fn json(&self, node: Option<u64>) -> Value {
        let (row, (from, until)) = (self.row, when(self.row));
        json!([
            row.process.0,
            row.interpreter,
            row.generation,
            from.0,
            until.0,
            row.pause.0,
            gc_csv::exactness(row),
            row.count,
            row.collected,
            row.uncollectable,
            row.objects_before,
            row.objects_after,
            node,
        ])
    }
}

/// A text that may stand in the page.
pub(super) fn short(text: &str) -> String {
    let text = text::printable(text);
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => {
            let rest = text.chars().count() - MAX_CHARS;
            format!("{}… (and {rest} characters more)", text.get(..end).unwrap_or_default())
        }
        None => text,
    }
}

/// What was asked, and what became of it: names and values.
pub(super) fn facts(view: &View<'_>, bin: Option<Nanos>) -> Vec<[String; 2]> {
    let (recording, account, options) = (view.recording(), view.account(), view.options());
    let mut facts: Vec<[String; 2]> = Vec::new();
    let mut fact = |name: &str, value: String| facts.push([name.to_owned(), value]);
    fact("Recorded by", short(&recording.meta.tool));
    fact("Duration", account.duration.to_string());
    let rate = account
        .rate_asked
        .map_or("as often as possible".to_owned(), |rate| format!("{} Hz", text::number(rate)));
    let how = match recording.meta.asked.schedule {
        Schedule::Poisson => ", at random moments",
        Schedule::Fixed => ", at a fixed beat",
        Schedule::Other => "",
    };
    fact("Rate asked", format!("{rate}{how}"));
    if let Some(rate) = account.rate_achieved {
        fact("Rate achieved", format!("{} Hz", text::number(rate)));
    }
    fact("Samples", account.samples.to_string());
    fact("Looks missed", account.missed.to_string());
    fact("Looks failed", account.errors.to_string());
    fact("Partial stacks", format!("{} ({:.2} %)", account.partial, account.partial_share() * 100.0));
    fact("Read at a second try", account.retried.to_string());
    fact("Probable", account.probable.to_string());
    if let Some(achieved) = &recording.meta.achieved {
        if let Some(overhead) = achieved.overhead() {
            fact("Recording cost", format!("{:.2} % of a core", overhead * 100.0));
        }
        fact("Target paused for", Nanos(achieved.paused_ns).to_string());
    }
    if let Some(memory) = text::memory(view) {
        fact("Bytes and objects", memory);
    }
    if options.mode != Mode::Wall {
        fact("Mode asked for", options.mode.name().to_owned());
    }
    for (name, patterns) in [("Only stacks with", &options.include), ("Hidden frames", &options.exclude)] {
        if !patterns.is_empty() {
            fact(name, short(&patterns.join(", ")));
        }
    }
    if let Some(bin) = bin {
        fact("Summed up", format!("samples within {bin}"));
    }
    facts
}

/// What somebody should know before believing the page.
pub(super) fn warnings(view: &View<'_>, bin: Option<Nanos>) -> Vec<String> {
    let recording = view.recording();
    let mut warnings = Vec::new();
    if let Some(damage) = &recording.damage {
        warnings.push(format!("The file is damaged: {damage}. What stands before that is shown."));
    }
    if !recording.ended {
        warnings.push(
            "The recording was not ended by whoever made it; what it holds up to there is shown.".to_owned(),
        );
    }
    if view.account().partial_share() > 0.05 {
        warnings.push(
            "More than one stack in twenty lacks a part: <torn> and <truncated> stand for it.".to_owned(),
        );
    }
    if recording.meta.achieved.as_ref().is_some_and(|achieved| achieved.held_back) {
        warnings
            .push("Looks became rarer than was asked, to stay within what observing may cost.".to_owned());
    }
    if let Some(bin) = bin {
        warnings.push(format!(
            "There are more samples than a page can show; those of one stack within {bin} are one. Sums are exact, moments are \
             not."
        ));
    }
    if recording.gc.len() > MAX_COLLECTIONS {
        warnings.push(format!(
            "Only the first {MAX_COLLECTIONS} of {} rows of collections are shown.",
            recording.gc.len()
        ));
    }
    let mut troubles: BTreeMap<String, u64> = BTreeMap::new();
    for trouble in &recording.troubles {
        if let Some(text) = trouble.text {
            let count = troubles.entry(short(recording.string(text))).or_default();
            *count = count.saturating_add(trouble.count);
        }
    }
    let times = |count: u64| if count > 1 { format!(" ({count} times)") } else { String::new() };
    warnings.extend(
        troubles.into_iter().take(MAX_TROUBLES).map(|(text, count)| format!("{text}{}", times(count))),
    );
    warnings
}

/// The processes.
pub(super) fn processes(view: &View<'_>) -> Vec<Value> {
    let recording = view.recording();
    let processes = (0..).map(ProcessId).zip(&recording.processes).take(MAX_PROCESSES);
    let processes = processes.map(|(id, process)| {
        json!({
            "name": short(&crate::recording::label::process(recording, id)),
            "pid": process.pid, "command": short(recording.string(process.command)),
            "python": short(recording.string(process.python)),
            "build": match (process.free_threaded, process.debug) {
                (false, false) => "",
                (true, false) => "free-threaded",
                (false, true) => "debug",
                (true, true) => "free-threaded, debug",
            },
        })
    });
    processes.collect()
}

/// The collections of the view's span of time.
pub(super) fn collections<'v>(view: &'v View<'_>) -> Vec<Told<'v>> {
    let rows = text::collections(view).into_iter().take(MAX_COLLECTIONS);
    rows.map(|row| Told { row, node: row.stack.and_then(|stack| view.node_of(stack)) }).collect()
}

/// The numbers that changed, each as times and values.
pub(super) fn counters(view: &View<'_>) -> Vec<Value> {
    let (from, to) = view.span();
    let mut counters: BTreeMap<(ProcessId, StringId), Vec<&Counter>> = BTreeMap::new();
    for counter in view.recording().counters.iter().filter(|counter| from <= counter.at && counter.at <= to) {
        counters.entry((counter.process, counter.name)).or_default().push(counter);
    }
    let counters = counters.into_iter().take(MAX_COUNTERS).map(|((process, name), mut values)| {
        values.sort_by_key(|value| value.at);
        let step = values.len().div_ceil(MAX_VALUES).max(1);
        // The last value is the one that stands.
        let last = values.last().filter(|_| values.len() % step != 1 && step > 1).copied();
        let kept: Vec<&Counter> = values.into_iter().step_by(step).chain(last).collect();
        json!({
            "process": process.0,
            "name": short(view.recording().string(name)),
            "at": kept.iter().map(|value| value.at.0).collect::<Vec<_>>(),
            "value": kept.iter().map(|value| value.value).collect::<Vec<_>>(),
        })
    });
    counters.collect()
}
