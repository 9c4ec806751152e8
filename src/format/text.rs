//! Words that several formats share: what is measured, how good it is, and names that may stand in a file.

use crate::model::Nanos;
use crate::model::gc::Collection;
use crate::recording::{Metric, Sampled, Source, View};

/// A name without characters that XML and terminals refuse: control characters, and those that turn text around.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

fn is_printable(c: char) -> bool {
    let turns_text =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns_text && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

/// The unit of a view's weights where they are written as whole numbers.
pub fn unit(view: &View<'_>) -> &'static str {
    match view.options().metric {
        Metric::Time => "µs",
        Metric::Samples => "samples",
        Metric::Bytes => "bytes",
        Metric::Objects => "objects",
    }
}

/// A weight as a whole number of [`unit()`]s. What was seen is worth one at the least, or it could not be shown.
pub fn whole(view: &View<'_>, weight: u64) -> u64 {
    match view.options().metric {
        Metric::Time => (weight.saturating_add(500) / 1_000).max(1),
        Metric::Samples | Metric::Bytes | Metric::Objects => weight.max(1),
    }
}

/// What was recorded, in one line.
pub fn title(view: &View<'_>) -> String {
    let recording = view.recording();
    match recording.processes.as_slice() {
        [] => "pitviper".to_owned(),
        [process] => format!("{} (pid {})", printable(recording.string(process.command)), process.pid),
        [first, ..] => {
            let others = recording.processes.len() - 1;
            format!("{} (pid {}) and {others} more", printable(recording.string(first.command)), first.pid)
        }
    }
}

/// What is shown and how good it is, in one line.
pub fn facts(view: &View<'_>) -> String {
    let (options, account) = (view.options(), view.account());
    let rate = match account.rate_asked {
        Some(rate) => format!("asked {} Hz", number(rate)),
        None => "asked the most".to_owned(),
    };
    let achieved =
        account.rate_achieved.map_or_else(String::new, |rate| format!(", achieved {} Hz", number(rate)));
    let memory = memory(view).map_or_else(String::new, |words| format!(" ({words})"));
    format!(
        "mode {}, metric {}{memory}; {} samples in {}; {rate}{achieved}; missed {}, partial {:.2} %",
        options.mode.name(),
        options.metric.name(),
        account.samples,
        account.duration,
        account.missed,
        account.partial_share() * 100.0,
    )
}

/// How memory was put down to stacks, where memory is what is shown.
pub fn memory(view: &View<'_>) -> Option<String> {
    if !view.options().metric.is_memory() {
        return None;
    }
    let words = match view.source() {
        Source::Nothing => return Some("nothing is put down to stacks".to_owned()),
        Source::Sampled(Sampled { kept, bursts, error, known }) => {
            let error = if error < 10.0 {
                format!("±{:.0} %", 100.0 * error)
            } else {
                "no more than a guess".to_owned()
            };
            let known = known.map_or("", |_| ", brought to what all pools grew by");
            format!(
                "net growth of blocks of up to 512 bytes, sampled in {kept} of {bursts} bursts ({error}){known}"
            )
        }
        Source::Traced(at) => {
            format!(
                "in use after {:.1} s, exactly, by the target's own tracemalloc",
                Nanos(at.0).as_secs_f64()
            )
        }
    };
    Some(format!("{words}; temporary objects are not seen"))
}

/// A number with one digit behind the point, if that is not zero.
pub fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The collections that ended in the view's span of time, in the order in which they ended.
pub fn collections<'v>(view: &'v View<'_>) -> Vec<&'v Collection> {
    let (from, to) = view.span();
    let rows = view.recording().gc.iter();
    let mut rows: Vec<_> = rows.filter(|row| from <= row.stop && row.stop <= to).collect();
    rows.sort_by_key(|row| (row.stop, row.start, row.generation));
    rows
}
