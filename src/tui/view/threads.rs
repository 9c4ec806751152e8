//! The list of threads: what each is doing and did with the present; and the stack of one of them.

use super::pen::Pen;
use super::{Tone, percent};
use crate::tui::app::App;
use crate::tui::picture::threads::Thread;
use crate::tui::query::ThreadColumn;

/// Columns of a number.
const NUMBER: u16 = 7;
/// From this width on the columns that are not worth most are there too.
const WIDE: u16 = 100;

type Number = (ThreadColumn, fn(&Thread) -> Option<f64>);

const NUMBERS: [Number; 4] = [
    (ThreadColumn::Cpu, |thread| thread.cpu),
    (ThreadColumn::Gil, |thread| Some(thread.gil)),
    (ThreadColumn::Wants, |thread| Some(thread.wants)),
    (ThreadColumn::Waits, |thread| Some(thread.waits)),
];

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    if app.shows_stack() {
        return stack(app, pen);
    }
    let wide = pen.width() >= WIDE;
    let (name, doing) = if wide { (32, 30) } else { (19, 14) };
    let numbers = if wide { NUMBERS.as_slice() } else { NUMBERS.get(..2).unwrap_or_default() };
    let head = |column: u16, by: Option<ThreadColumn>, text: &str, ends: bool, pen: &mut Pen<'_>| {
        let sorts = by == Some(app.query.thread_column);
        let text = if sorts { format!("{text}{}", pen.theme.pick("▾", "*")) } else { text.to_owned() };
        let tone = if sorts { Tone::Heading } else { Tone::Quiet };
        if ends { pen.right(column, 0, &text, tone) } else { pen.write(column, 0, &text, tone) }
    };
    head(0, Some(ThreadColumn::Name), "thread", false, pen);
    head(name, None, "doing", false, pen);
    let shares = name + doing;
    for (place, (by, _)) in (1..).zip(numbers) {
        head(shares + place * NUMBER - 1, Some(*by), by.name(), true, pen);
    }
    let top = shares + numbers.len() as u16 * NUMBER;
    head(top, None, "in", false, pen);
    let cursor = app.cursor();
    let shown = app.picture.threads.iter().enumerate().skip(cursor.top).take(app.height());
    for (line, (place, thread)) in (1..).zip(shown) {
        let plain = pen.theme.of(Tone::Plain);
        pen.fit(0, line, &thread.name, name - 1, found(app, pen, &thread.name));
        let (text, tone) = doing_text(thread);
        pen.fit(name, line, text, doing - 1, pen.theme.of(tone));
        for (place, (_, number)) in (1..).zip(numbers) {
            let text = number(thread).map_or_else(|| "-".to_owned(), percent);
            pen.right(shares + place * NUMBER - 1, line, &text, Tone::Plain);
        }
        let room = pen.width().saturating_sub(top);
        let style = if app.matches(&thread.top) { pen.theme.of(Tone::Found) } else { plain };
        pen.fit(top, line, &thread.top, room, style);
        if place == cursor.line {
            pen.mark(line, Tone::Selected);
        }
    }
}

fn found(app: &App, pen: &Pen<'_>, text: &str) -> ratatui::style::Style {
    pen.theme.of(if app.matches(text) { Tone::Found } else { Tone::Plain })
}

/// What a thread is doing: what it waits for, where it does.
fn doing_text(thread: &Thread) -> (&str, Tone) {
    match thread.state {
        "waits" if !thread.wait.is_empty() => (&thread.wait, Tone::Quiet),
        "waits" => ("waits", Tone::Quiet),
        "wants GIL" => ("wants GIL", Tone::Doubtful),
        state => (state, Tone::Plain),
    }
}

/// The stack of the thread that was chosen, innermost frame first.
fn stack(app: &App, pen: &mut Pen<'_>) {
    let picture = &app.picture;
    let thread = picture.threads.iter().find(|thread| Some(thread.track) == app.query.stack_of);
    let heading = pen.theme.of(Tone::Heading);
    let column = match thread {
        Some(thread) => {
            let column = pen.put(0, 0, &thread.name, u16::MAX, heading);
            let (text, tone) = doing_text(thread);
            pen.write(column + 2, 0, text, tone)
        }
        None => pen.put(0, 0, "this thread has ended", u16::MAX, heading),
    };
    pen.write(column + 2, 0, "innermost first", Tone::Quiet);
    let cursor = app.cursor();
    let shown = picture.stack.iter().enumerate().skip(cursor.top).take(app.height());
    for (line, (place, frame)) in (1..).zip(shown) {
        pen.fit(1, line, frame, pen.width().saturating_sub(1), found(app, pen, frame));
        if place == cursor.line {
            pen.mark(line, Tone::Selected);
        }
    }
}
