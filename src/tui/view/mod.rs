//! Screens: each draws a part of the state, and keeps nothing.

mod flame;
mod footer;
mod functions;
mod gc;
mod header;
mod help;
mod memory;
mod pen;
mod theme;
mod threads;
mod tree;

use ratatui::buffer::Buffer;

use super::app::{App, FOOT, HEAD, SMALLEST, Sight};
use pen::Pen;
pub use theme::{Theme, Tone};

/// Draws the state on a whole screen.
pub fn draw(app: &App, theme: Theme, buffer: &mut Buffer) {
    let area = buffer.area;
    let mut pen = Pen::new(buffer, area, theme);
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return too_small(&mut pen);
    }
    if let Some(line) = app.help {
        return help::draw(line, &mut pen);
    }
    header::draw(app, &mut pen.lines(0, HEAD));
    let body = area.height - HEAD - FOOT;
    let mut middle = pen.lines(HEAD, body);
    match app.sight {
        Sight::Functions => functions::draw(app, &mut middle),
        Sight::Tree => tree::draw(app, &mut middle),
        Sight::Flame => flame::draw(app, &mut middle),
        Sight::Threads => threads::draw(app, &mut middle),
        Sight::Memory => memory::draw(app, &mut middle),
        Sight::Gc => gc::draw(app, &mut middle),
    }
    footer::draw(app, &mut pen.lines(HEAD + body, FOOT));
}

fn too_small(pen: &mut Pen<'_>) {
    let (width, height) = (pen.width(), pen.height());
    pen.write(0, 0, &format!("{width}x{height} is too small"), Tone::Bad);
    pen.write(0, 1, &format!("pitviper top needs {}x{}", SMALLEST.0, SMALLEST.1), Tone::Plain);
    pen.write(0, 2, "q leaves", Tone::Plain);
}

/// What is said where there is nothing to show.
fn nothing(app: &App) -> &'static str {
    match (app.picture.title.is_empty(), app.picture.account.samples) {
        (true, _) => "there is no Python yet",
        (false, 0) => "nothing was seen yet",
        (false, _) => "nothing ran; i shows threads that wait, too",
    }
}

/// A share as a column shows it, six columns wide at most.
fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A count as a column shows it, six columns wide at most.
fn count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_000_000 => format!("{}k", count / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}
