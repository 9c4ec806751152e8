//! The last line: what is entered, what can be chosen, what was said, or else the keys that are valid now.

use super::Tone;
use super::pen::{Pen, width};
use crate::recording::plain;
use crate::tui::app::App;
use crate::tui::keys::KEYS;
use crate::tui::menu::Menu;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let room = pen.width();
    match (&app.input, &app.menu, &app.message) {
        // What is wrong with what was entered stands behind it.
        (Some(input), _, message) => {
            let column = pen.write(0, 0, input.purpose.prompt(), Tone::Heading);
            let text = tail(&input.text, room.saturating_sub(column + 1));
            let column = pen.write(column, 0, &plain::line(text), Tone::Plain);
            pen.restyle(column, 0, 1, pen.theme.of(Tone::Selected));
            if let Some(message) = message {
                pen.write(column + 2, 0, &plain::line(message), Tone::Bad);
            }
        }
        (None, Some(menu), _) => choices(menu, pen),
        (None, None, Some(message)) => {
            pen.fit(0, 0, &plain::line(message), room, pen.theme.of(Tone::Doubtful));
        }
        (None, None, None) => keys(app, pen),
    }
}

fn choices(menu: &Menu, pen: &mut Pen<'_>) {
    let mut column = pen.write(0, 0, menu.title, Tone::Heading) + 2;
    let texts: Vec<String> = menu.items.iter().map(|(key, name, _)| format!("{key} {name}")).collect();
    let needed = |from: usize| -> u16 {
        let shown = texts.get(from..=menu.line).unwrap_or_default();
        shown.iter().map(|text| width(text) + 2).sum()
    };
    // The selected one is on the screen, whatever has to make room for it.
    let from = (0..=menu.line).find(|from| column + needed(*from) <= pen.width()).unwrap_or(menu.line);
    for (place, text) in texts.iter().enumerate().skip(from) {
        let tone = if place == menu.line { Tone::Selected } else { Tone::Plain };
        column = pen.write(column, 0, text, tone) + 2;
    }
}

fn keys(app: &App, pen: &mut Pen<'_>) {
    let mut column = 0;
    for binding in KEYS.iter().filter(|binding| !binding.short.is_empty() && binding.is_in(app.sight)) {
        let key = binding.keys.first().map(|key| key.name()).unwrap_or_default();
        if column + width(&key) + 1 + width(binding.short) > pen.width() {
            break;
        }
        column = pen.write(column, 0, &key, Tone::Heading) + 1;
        column = pen.write(column, 0, binding.short, Tone::Quiet) + 2;
    }
}

/// The end of a text, as much as there is room for.
fn tail(text: &str, room: u16) -> &str {
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let mut tails = starts.filter_map(|at| text.get(at..));
    tails.find(|tail| width(tail) <= room).unwrap_or_default()
}
