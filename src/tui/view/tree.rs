//! The call tree: what each frame spends with all that it calls, and what it calls where it is open.

use super::pen::Pen;
use super::{Tone, nothing, percent};
use crate::tui::app::App;
use crate::tui::picture::share;

/// Columns of a number.
const NUMBER: u16 = 8;
/// Frames deeper than this are no further to the right.
const MAX_INDENT: usize = 40;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let picture = &app.picture;
    for (column, name) in (1..).zip(["now", "all", "own"]) {
        pen.right(column * NUMBER - 1, 0, name, Tone::Quiet);
    }
    let frame = NUMBER * 3;
    pen.write(frame, 0, "frame; what it calls below it", Tone::Quiet);
    if app.branches.lines.is_empty() {
        pen.write(1, 2, nothing(app), Tone::Quiet);
    }
    let indent = if pen.width() < 100 { 1 } else { 2 };
    let cursor = app.cursor();
    let shown = app.branches.lines.iter().enumerate().skip(cursor.top).take(app.height());
    for (line, (place, limb)) in (1..).zip(shown) {
        let Some(limb) = picture.limbs.get(*limb) else { continue };
        let (now, all) = (picture.whole.now, picture.whole.all);
        let shares = [share(limb.now.total, now), share(limb.all.total, all), share(limb.all.own, all)];
        for (column, share) in (1..).zip(shares) {
            pen.right(column * NUMBER - 1, line, &percent(share), Tone::Plain);
        }
        let sign = match (limb.children.is_empty(), app.branches.is_open(limb.key)) {
            (true, _) => pen.theme.pick("·", " "),
            (false, true) => pen.theme.pick("▾", "-"),
            (false, false) => pen.theme.pick("▸", "+"),
        };
        let column = frame + (limb.depth.min(MAX_INDENT) * indent) as u16;
        let column = pen.write(column, line, sign, Tone::Plain) + 1;
        if let Some(label) = picture.labels.get(limb.label) {
            let style = match app.matches(&label.text) {
                true => pen.theme.of(Tone::Found),
                false => pen.theme.code(label.kind, label.whose),
            };
            let room = pen.width().saturating_sub(column);
            pen.fit(column, line, &label.text, room, style);
        }
        if place == cursor.line {
            pen.mark(line, Tone::Selected);
        }
    }
}
