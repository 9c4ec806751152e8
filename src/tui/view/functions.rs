//! The list of functions: what each spends at present and since the start, a bar, and a trend.

use super::pen::Pen;
use super::{Tone, nothing, percent};
use crate::tui::app::App;
use crate::tui::picture::functions::Function;
use crate::tui::picture::share;
use crate::tui::query::Column;

/// Columns of a number.
const NUMBER: u16 = 8;
/// Columns of the bar, and of the trend, each with a space behind.
const BAR: u16 = 10;
const TREND: u16 = crate::tui::picture::functions::TREND as u16;
/// From these widths on there are bars and trends.
const WITH_BAR: u16 = 80;
const WITH_TREND: u16 = 110;

/// What a column of numbers shows: its heading, what it is sorted by, and its number.
type Number = (&'static str, Column, fn(&App, &Function) -> String);

const USUAL: [Number; 4] = [
    ("now own", Column::OwnNow, |app, it| percent(share(it.now.own, app.picture.whole.now))),
    ("total", Column::TotalNow, |app, it| percent(share(it.now.total, app.picture.whole.now))),
    ("all own", Column::Own, |app, it| percent(share(it.all.own, app.picture.whole.all))),
    ("total", Column::Total, |app, it| percent(share(it.all.total, app.picture.whole.all))),
];
const COMPARED: [Number; 4] = [
    ("before", Column::Own, |app, it| percent(share(it.before.own, app.picture.whole.before))),
    ("since", Column::OwnNow, |app, it| percent(share(it.after.own, app.picture.whole.after))),
    ("change", Column::Change, |app, it| format!("{:+.1}%", 100.0 * it.change(&app.picture.whole))),
    ("total", Column::Total, |app, it| percent(share(it.after.total, app.picture.whole.after))),
];

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let picture = &app.picture;
    let compares = picture.query.compared().is_some();
    let numbers = if compares { COMPARED } else { USUAL };
    for (column, (name, by, _)) in (0..).zip(numbers) {
        let end = (column + 1) * NUMBER - 1;
        if by == app.query.column {
            pen.right(end, 0, &format!("{name}{}", pen.theme.pick("▾", "*")), Tone::Heading);
        } else {
            pen.right(end, 0, name, Tone::Quiet);
        }
    }
    let bar = NUMBER * 4;
    let trend = bar + if pen.width() >= WITH_BAR { BAR + 1 } else { 0 };
    let name = trend + if pen.width() >= WITH_TREND { TREND + 1 } else { 0 };
    if name > trend {
        pen.write(trend, 0, "own, 16 s", Tone::Quiet);
    }
    pen.write(name, 0, picture.query.options.by.name(), Tone::Quiet);
    let (cursor, lines) = (app.cursor(), app.height());
    if picture.functions.is_empty() {
        pen.write(1, 2, nothing(app), Tone::Quiet);
    }
    let shown = picture.functions.iter().enumerate().skip(cursor.top).take(lines);
    for (line, (place, function)) in (1..).zip(shown) {
        for (column, (_, _, text)) in (0..).zip(numbers) {
            pen.right((column + 1) * NUMBER - 1, line, &text(app, function), Tone::Plain);
        }
        if compares {
            let change = function.change(&picture.whole);
            let tone = if change > 0.0005 {
                Tone::More
            } else if change < -0.0005 {
                Tone::Less
            } else {
                Tone::Plain
            };
            pen.restyle(NUMBER * 2, line, NUMBER - 1, pen.theme.of(tone));
        }
        if trend > bar {
            let own = share(function.now.own, picture.whole.now);
            pen.write(bar, line, &pen.theme.bar(own, BAR.into()), Tone::Bar);
        }
        if name > trend {
            let shares = function.trend.iter().map(|share| f64::from(*share));
            pen.write(trend, line, &pen.theme.trend(shares), Tone::Bar);
        }
        if let Some(label) = picture.labels.get(function.label) {
            let style = match app.matches(&label.text) {
                true => pen.theme.of(Tone::Found),
                false => pen.theme.code(label.kind, label.whose),
            };
            let room = pen.width().saturating_sub(name);
            pen.fit(name, line, &label.text, room, style);
        }
        if place == cursor.line {
            pen.mark(line, Tone::Selected);
        }
    }
}
