//! The lines above every view: who is looked at, how far that can be trusted, and which view it is.

use super::pen::{Pen, width};
use super::{Tone, percent};
use crate::model::Nanos;
use crate::recording::{By, Mode};
use crate::tui::app::{App, Sight};

/// From here on a share of torn stacks is worth a warning, and so is what is missed of the rate.
const WORTH_A_WARNING: f64 = 0.01;
const MUCH_MISSED: f64 = 0.1;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    title(app, pen);
    trust(app, pen);
    sights(app, pen);
}

fn title(app: &App, pen: &mut Pen<'_>) {
    let picture = &app.picture;
    let (state, tone) = match (picture.vitals.ended, app.is_paused()) {
        (true, _) => ("ENDED: the last view".to_owned(), Tone::Bad),
        (false, true) => ("PAUSED: sampling goes on".to_owned(), Tone::Doubtful),
        (false, false) => (seconds(Nanos(picture.at.0)), Tone::Plain),
    };
    let end = pen.width();
    let room = pen.right(end, 0, &state, tone).saturating_sub(2);
    let heading = pen.theme.of(Tone::Heading);
    let python = if picture.python.is_empty() { 0 } else { width(&picture.python) + 2 };
    let column = pen.fit(0, 0, &picture.title, room.saturating_sub(python), heading);
    let plain = pen.theme.of(Tone::Plain);
    if python > 0 && column + 2 < room {
        pen.fit(column + 2, 0, &picture.python, room - column - 2, plain);
    }
}

fn trust(app: &App, pen: &mut Pen<'_>) {
    let (account, vitals) = (&app.picture.account, &app.picture.vitals);
    let warn = |bad: bool| if bad { Tone::Doubtful } else { Tone::Plain };
    let rate = vitals.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
    let asked = vitals.rate_asked.map_or_else(|| "max".to_owned(), |rate| format!("{rate}"));
    let short_of =
        vitals.rate.zip(vitals.rate_asked).is_some_and(|(is, asked)| is < asked * (1.0 - MUCH_MISSED));
    let looks = account.looks.saturating_add(account.errors).max(1) as f64;
    let held = if vitals.held_back { " held back" } else { "" };
    let pause = match vitals.paused {
        Nanos(0) => "paused 0".to_owned(),
        paused => format!("paused {paused}"),
    };
    let mut parts = vec![
        (format!("{rate}/{asked} Hz{held}"), warn(short_of || vitals.held_back)),
        (format!("missed {}", account.missed), warn(account.missed as f64 / looks > WORTH_A_WARNING)),
        (
            format!("torn {}", percent(account.partial_share())),
            warn(account.partial_share() > WORTH_A_WARNING),
        ),
        (
            format!("unread {}", percent(account.errors as f64 / looks)),
            warn(account.errors as f64 / looks > WORTH_A_WARNING),
        ),
        (format!("self {}", percent(vitals.overhead)), Tone::Plain),
        (pause, warn(vitals.paused > Nanos(0))),
    ];
    let needed = |parts: &[(String, Tone)], gap: u16| -> u16 {
        parts.iter().map(|(text, _)| width(text) + gap).sum::<u16>().saturating_sub(gap)
    };
    // Where it is narrow, one column has to do between them, and what there is nothing of is not said.
    let gap = if needed(&parts, 2) <= pen.width() { 2 } else { 1 };
    if needed(&parts, gap) > pen.width() && account.errors == 0 {
        parts.retain(|(text, _)| !text.starts_with("unread"));
    }
    let mut column = 0;
    for (text, tone) in parts {
        column = pen.write(column, 1, &text, tone) + gap;
    }
}

fn sights(app: &App, pen: &mut Pen<'_>) {
    let mut column = 0;
    for sight in Sight::ALL {
        let tone = if sight == app.sight { Tone::Selected } else { Tone::Plain };
        column = pen.write(column, 2, &format!("{} {}", number(sight), sight.name()), tone) + 1;
    }
    let end = pen.width();
    if column + 2 < end {
        let looked = looked(app);
        let room = end - column - 2;
        let start = end.saturating_sub(width(&looked)).max(column + 2);
        pen.fit(start, 2, &looked, room, pen.theme.of(Tone::Doubtful));
    }
}

/// The key that shows a view.
fn number(sight: Sight) -> String {
    use crate::tui::keys::{Command, KEYS};
    let binding = KEYS.iter().find(|binding| binding.command == Command::Show(sight));
    binding.map(|binding| binding.names()).unwrap_or_default()
}

/// How the history is looked at, where that is not as usual.
fn looked(app: &App) -> String {
    let options = &app.query.options;
    let mut parts = Vec::new();
    if !app.search.is_empty() {
        parts.push(format!("/{}", app.search));
    }
    parts.extend(options.include.iter().map(|pattern| format!("\\{pattern}")));
    parts.extend(options.only_thread.as_ref().map(|pattern| format!("thread {pattern}")));
    if options.by != By::Function {
        parts.push(format!("by {}", options.by.name()));
    }
    if options.mode != Mode::Wall {
        parts.push(format!("{} time", options.mode.name()));
    }
    if options.idle {
        parts.push("idle too".into());
    }
    if app.query.since.0 > 0 {
        parts.push(format!("since {}", seconds(Nanos(app.query.since.0))));
    }
    crate::recording::plain::line(&parts.join(", ")).into_owned()
}

/// A time since the start.
fn seconds(time: Nanos) -> String {
    let seconds = time.0 / Nanos::SECOND.0;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", time.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
