//! The collector: its generations and thresholds, how often it runs and for how long, and its last collections.

use super::pen::Pen;
use super::{Tone, count, percent};
use crate::model::Nanos;
use crate::tui::app::{App, GC_HEAD};
use crate::tui::picture::gc::{Aged, Collecting, Past};

/// Columns of the bar of a generation.
const BAR: usize = 8;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let Some(first) = app.picture.gc.first() else {
        pen.write(1, 1, "nothing is known of a collector here", Tone::Quiet);
        return;
    };
    summary(app, first, pen);
    pen.write(0, 1, "gen  count / threshold            total    /s  freed longest", Tone::Quiet);
    for (line, (place, aged)) in (2..).zip(first.generations.iter().enumerate()) {
        generation(place, aged, line, pen);
    }
    let most = first.seconds.iter().copied().max().unwrap_or(0);
    let shown = usize::from(pen.width()).saturating_sub(24).min(first.seconds.len());
    let seconds = first.seconds.iter().skip(first.seconds.len() - shown);
    let trend = pen.theme.trend(seconds.map(|it| if most == 0 { 0.0 } else { *it as f64 / most as f64 }));
    let column = pen.write(0, 5, &format!("{} a second at most ", count(most)), Tone::Quiet);
    pen.write(column, 5, &trend, Tone::Bar);
    pen.write(0, 6, "    at s gen    pause    freed  set off by", Tone::Quiet);
    let cursor = app.cursor();
    let last = app.picture.gc.iter().flat_map(|gc| &gc.last);
    for (line, (place, past)) in (GC_HEAD..).zip(last.enumerate().skip(cursor.top).take(app.height())) {
        collection(app, past, line, pen);
        if place == cursor.line {
            pen.mark(line, Tone::Selected);
        }
    }
}

fn summary(app: &App, first: &Collecting, pen: &mut Pen<'_>) {
    let state = match first.enabled {
        Some(true) => "on",
        Some(false) => "off",
        None => "on or off",
    };
    let mut text = format!(
        "{}collector {state}, at work {} now, {} in all",
        if first.whose.is_empty() { String::new() } else { format!("{}: ", first.whose) },
        percent(first.share_now),
        percent(first.share),
    );
    if let Some(tracked) = first.tracked {
        text += &format!(", {} objects", count(tracked));
    }
    if app.picture.gc.len() > 1 {
        text += &format!(" (and {} more)", app.picture.gc.len() - 1);
    }
    pen.fit(0, 0, &text, pen.width(), pen.theme.of(Tone::Heading));
}

fn generation(place: usize, aged: &Aged, line: u16, pen: &mut Pen<'_>) {
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (now, limit) = (aged.state.count, aged.state.threshold);
    let share = match (now, limit) {
        (Some(now), Some(limit)) if limit > 0 => now.max(0) as f64 / limit as f64,
        _ => 0.0,
    };
    pen.write(1, line, &place.to_string(), Tone::Plain);
    pen.right(10, line, &number(now), Tone::Plain);
    let column = pen.write(11, line, &format!("/ {}", number(limit)), Tone::Plain).max(22);
    let dots = pen.theme.pick("·", ".").repeat(BAR);
    pen.write(column, line, &dots, Tone::Quiet);
    pen.write(column, line, &pen.theme.bar(share, BAR), Tone::Bar);
    let total = aged.state.totals.map_or(aged.collections, |totals| totals.collections);
    pen.right(39, line, &count(total), Tone::Plain);
    pen.right(45, line, &format!("{:.1}", aged.rate), Tone::Plain);
    pen.right(52, line, &count(aged.freed), Tone::Plain);
    let longest = aged.longest.map_or_else(|| "-".to_owned(), |pause| pause.to_string());
    pen.right(60, line, &longest, Tone::Plain);
}

fn collection(app: &App, past: &Past, line: u16, pen: &mut Pen<'_>) {
    pen.right(8, line, &format!("{:.1}", Nanos(past.at.0).as_secs_f64()), Tone::Plain);
    let times = if past.count > 1 {
        format!("{}x{}", past.generation, past.count)
    } else {
        past.generation.to_string()
    };
    pen.right(12, line, &times, Tone::Plain);
    let pause = if past.pause > Nanos(0) { past.pause.to_string() } else { "short".to_owned() };
    pen.right(21, line, &pause, Tone::Plain);
    pen.right(30, line, &count(past.freed), Tone::Plain);
    let tone = if app.matches(&past.trigger) { Tone::Found } else { Tone::Plain };
    let room = pen.width().saturating_sub(32);
    pen.fit(32, line, &past.trigger, room, pen.theme.of(tone));
}
