//! The help: every key and what it does.

use super::Tone;
use super::pen::Pen;
use crate::tui::keys::KEYS;

/// Where the sentences begin.
const COLUMN: u16 = 18;

pub(super) fn draw(line: usize, pen: &mut Pen<'_>) {
    pen.write(0, 0, "Keys; any other key closes this page, arrows scroll it", Tone::Heading);
    let room = usize::from(pen.height().saturating_sub(2));
    for (place, binding) in KEYS.iter().skip(line).take(room).enumerate() {
        let at = place as u16 + 2;
        pen.put(1, at, &binding.names(), COLUMN - 2, pen.theme.of(Tone::Heading));
        let width = pen.width().saturating_sub(COLUMN);
        pen.fit(COLUMN, at, &binding.sentence(), width, pen.theme.of(Tone::Plain));
    }
}
