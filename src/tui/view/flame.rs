//! The flame graph, its root on top: a box for each frame, as wide as what it spends with all that it calls.

use super::pen::Pen;
use super::{Tone, nothing, percent};
use crate::tui::app::App;
use crate::tui::picture::limbs::Limb;
use crate::tui::picture::share;

/// A frame, and where its box begins, in the unit of weights from the left edge.
type Placed = (usize, u64);

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let limbs = &app.picture.limbs;
    let zoomed = app.zoomed();
    let level: Vec<usize> = match zoomed {
        Some(place) => vec![place],
        None => limbs.roots.clone(),
    };
    let total = |place: &usize| limbs.get(*place).map_or(0, |limb| limb.all.total);
    let whole = level.iter().map(total).fold(0, u64::saturating_add);
    if whole == 0 {
        pen.write(1, 1, nothing(app), Tone::Quiet);
        return;
    }
    let lines = pen.height().saturating_sub(1);
    let scale = Scale { whole, columns: pen.width() };
    let mut level = row(app, &level, 0);
    for depth in 0..app.flame.top + usize::from(lines) {
        if let Some(line) = depth.checked_sub(app.flame.top) {
            for (place, start) in &level {
                if let Some(limb) = limbs.get(*place) {
                    block(app, limb, *start, &scale, line as u16, pen);
                }
            }
        }
        // Only what can be seen is followed.
        let seen = level.iter().filter(|(place, start)| scale.columns(*start, total(place)).1 > 0);
        let children = seen.filter_map(|(place, start)| Some(row(app, &limbs.get(*place)?.children, *start)));
        level = children.flatten().collect();
        if level.is_empty() {
            break;
        }
    }
    detail(app, lines, pen);
}

/// Frames side by side.
fn row(app: &App, places: &[usize], start: u64) -> Vec<Placed> {
    let mut next = start;
    let place = |place: &usize| {
        let start = next;
        next = next.saturating_add(app.picture.limbs.get(*place).map_or(0, |limb| limb.all.total));
        (*place, start)
    };
    places.iter().map(place).collect()
}

/// Weights as columns.
struct Scale {
    whole: u64,
    columns: u16,
}

impl Scale {
    /// The first column of a stretch, and how many there are.
    fn columns(&self, start: u64, length: u64) -> (u16, u16) {
        let column = |at: u64| {
            let column = u128::from(at) * u128::from(self.columns) / u128::from(self.whole.max(1));
            u16::try_from(column).unwrap_or(self.columns).min(self.columns)
        };
        let first = column(start);
        (first, column(start.saturating_add(length)) - first)
    }
}

fn block(app: &App, limb: &Limb, start: u64, scale: &Scale, line: u16, pen: &mut Pen<'_>) {
    let (column, columns) = scale.columns(start, limb.all.total);
    let Some(label) = app.picture.labels.get(limb.label).filter(|_| columns > 0) else { return };
    let mut style = pen.theme.block(label.kind, label.whose);
    if app.matches(&label.text) {
        style = style.patch(pen.theme.of(Tone::Found));
    }
    if app.flame.selected == Some(limb.key) {
        style = pen.theme.chosen();
    }
    pen.restyle(column, line, columns, style);
    let edge = pen.theme.pick("▏", "|");
    pen.put(column, line, edge, 1, style);
    if columns > 2 {
        pen.fit(column + 1, line, &label.name, columns - 1, style);
    }
}

/// What the selected frame is, in one line.
fn detail(app: &App, line: u16, pen: &mut Pen<'_>) {
    let picture = &app.picture;
    let Some(limb) = app.selected_limb().and_then(|place| picture.limbs.get(place)) else {
        pen.write(0, line, "arrows select a frame, Enter zooms into it", Tone::Quiet);
        return;
    };
    let shares = format!(
        "{} total, {} own, {} now: ",
        percent(share(limb.all.total, picture.whole.all)),
        percent(share(limb.all.own, picture.whole.all)),
        percent(share(limb.now.total, picture.whole.now)),
    );
    let column = pen.write(0, line, &shares, Tone::Heading);
    let room = pen.width().saturating_sub(column);
    pen.fit(column, line, picture.label(limb.label), room, pen.theme.of(Tone::Plain));
}
