//! Memory: where it is, which objects take it, and how full the allocator's arenas are.

use super::pen::Pen;
use super::{Tone, count, percent};
use crate::model::Nanos;
use crate::recording::plain;
use crate::tui::app::{App, MEMORY_HEAD};
use crate::tui::memory::{Arena, Line, Memory};

/// Columns before the part of a line that takes what room there is.
const NUMBERS: u16 = 34;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let Some(memory) = &app.memories.last else {
        pen.write(1, 1, "memory is being looked at", Tone::Quiet);
        return;
    };
    summary(app, memory, pen);
    let cursor = app.cursor();
    let lines = app.memories.lines();
    let shown = lines.iter().enumerate().skip(cursor.top).take(app.height());
    for (line, (place, what)) in (MEMORY_HEAD..).zip(shown) {
        draw_line(app, memory, *what, line, pen);
        if place == cursor.line {
            pen.mark(line, Tone::Selected);
        }
    }
}

fn summary(app: &App, memory: &Memory, pen: &mut Pen<'_>) {
    let (all, used) = (memory.arena_bytes(), memory.used_bytes());
    let mut text = match memory.resident() {
        Some(resident) => format!("{} resident, ", bytes(resident)),
        None => String::new(),
    };
    text += &format!("{} in {} arenas", bytes(all), count(memory.arenas.len() as u64));
    if all > 0 {
        text += &format!(", {} of it in use", percent(used as f64 / all as f64));
    }
    if let Some(growth) = app.memories.growth() {
        let sign = if growth < 0.0 { "-" } else { "+" };
        text += &format!(", {sign}{}/s", bytes(growth.abs() as u64));
    }
    pen.fit(0, 0, &text, pen.width(), pen.theme.of(Tone::Heading));
    let (text, tone) = match (&memory.unread, memory.counted) {
        (Some(why), _) => (plain::line(why).into_owned(), Tone::Doubtful),
        (None, Some(at)) => {
            let age = app.picture.at.since(at);
            (format!("objects counted {:.0} s ago", Nanos(age.0).as_secs_f64()), Tone::Quiet)
        }
        (None, None) => ("objects are being counted".into(), Tone::Quiet),
    };
    pen.fit(0, 1, &text, pen.width(), pen.theme.of(tone));
}

fn draw_line(app: &App, memory: &Memory, what: Line, line: u16, pen: &mut Pen<'_>) {
    let room = pen.width().saturating_sub(NUMBERS);
    match what {
        Line::Heading(text) => {
            pen.write(0, line, text, Tone::Heading);
        }
        Line::Rung(place) => {
            let Some((depth, what, part)) = memory.ladder.get(place) else { return };
            let whole = memory.resident().unwrap_or(0).max(1);
            pen.right(11, line, &bytes(*part), Tone::Plain);
            pen.right(19, line, &percent(*part as f64 / whole as f64), Tone::Plain);
            let column = 21 + 2 * (*depth).min(10) as u16;
            let room = pen.width().saturating_sub(column);
            pen.fit(column, line, &plain::line(what), room, pen.theme.of(Tone::Plain));
        }
        Line::Type(place) => {
            let Some(of) = memory.types.get(place) else { return };
            let more = app.memories.more(of);
            let tone = match more {
                1.. => Tone::More,
                ..=-1 => Tone::Less,
                0 => Tone::Quiet,
            };
            pen.right(11, line, &bytes(of.bytes), Tone::Plain);
            pen.right(21, line, &count(of.count), Tone::Plain);
            let sign = if more < 0 { "-" } else { "+" };
            pen.right(32, line, &format!("{sign}{}", count(more.unsigned_abs())), tone);
            let style = pen.theme.of(if app.matches(&of.name) { Tone::Found } else { Tone::Plain });
            pen.fit(NUMBERS, line, &plain::line(&of.name), room, style);
        }
        Line::Class(place) => {
            let Some(class) = memory.classes.get(place) else { return };
            pen.right(6, line, &class.size.to_string(), Tone::Plain);
            pen.right(17, line, &bytes(class.used.saturating_mul(class.size)), Tone::Plain);
            pen.right(28, line, &bytes(class.free.saturating_mul(class.size)), Tone::Plain);
            let heat = app.memories.heat(class.size);
            let skip = heat.len().saturating_sub(room.into());
            pen.write(NUMBERS, line, &pen.theme.trend(heat.into_iter().skip(skip)), Tone::Bar);
        }
        Line::Arena(place) => {
            let Some(arena) = memory.arenas.get(place) else { return };
            pen.right(17, line, &format!("{:#x}", arena.address), Tone::Quiet);
            pen.right(26, line, &percent(arena.used as f64 / arena.size.max(1) as f64), Tone::Plain);
            pen.write(NUMBERS, line, &map(arena, room.into(), pen), Tone::Bar);
        }
    }
}

/// The pools of an arena side by side, several in one column where there is not room for all.
fn map(arena: &Arena, room: usize, pen: &Pen<'_>) -> String {
    let group = arena.pools.len().div_ceil(room.max(1)).max(1);
    let full = |pools: &[Option<u8>]| {
        let sum: u64 = pools.iter().flatten().map(|full| u64::from(*full)).sum();
        sum as f64 / (255.0 * pools.len() as f64)
    };
    pen.theme.trend(arena.pools.chunks(group).map(full))
}

/// Bytes for a column, eight columns wide at most.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1024.0, unit + 1);
    }
    let digits = usize::from(unit > 0 && amount < 99.95);
    format!("{amount:.digits$} {}", UNITS.get(unit).copied().unwrap_or_default())
}
