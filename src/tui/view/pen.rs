//! Writes on a screen, and never beyond its edges.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::theme::{Theme, Tone};

/// A part of a screen, and how things look on it.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    /// The part.
    pub(super) area: Rect,
    /// How things look.
    pub(super) theme: Theme,
}

impl<'a> Pen<'a> {
    /// A pen for a part of a screen.
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, theme: Theme) -> Pen<'a> {
        let area = area.intersection(buffer.area);
        Pen { buffer, area, theme }
    }

    /// A pen for so many lines of this part, from line `top` on.
    pub(super) fn lines(&mut self, top: u16, count: u16) -> Pen<'_> {
        let area = Rect { y: self.area.y.saturating_add(top), height: count, ..self.area };
        let area = area.intersection(self.area);
        Pen { buffer: self.buffer, area, theme: self.theme }
    }

    /// Columns of this part.
    pub(super) fn width(&self) -> u16 {
        self.area.width
    }

    /// Lines of this part.
    pub(super) fn height(&self) -> u16 {
        self.area.height
    }

    /// Writes text from a column of a line on, within so many columns; the column behind it.
    pub(super) fn put(&mut self, column: u16, line: u16, text: &str, width: u16, style: Style) -> u16 {
        if column >= self.area.width || line >= self.area.height {
            return column;
        }
        let width = width.min(self.area.width - column);
        let (x, y) = (self.area.x + column, self.area.y + line);
        let text = self.theme.text(text);
        let (end, _) = self.buffer.set_stringn(x, y, text, usize::from(width), style);
        end - self.area.x
    }

    /// Writes text as far as there is room on the line; the column behind it.
    pub(super) fn write(&mut self, column: u16, line: u16, text: &str, tone: Tone) -> u16 {
        self.put(column, line, text, u16::MAX, self.theme.of(tone))
    }

    /// Writes text whose end is more telling than what stands before, cut where there is not room for all of it.
    pub(super) fn fit(&mut self, column: u16, line: u16, text: &str, width: u16, style: Style) -> u16 {
        let end = self.put(column, line, text, width, style);
        let room = width.min(self.area.width.saturating_sub(column));
        if room > 1 && end == column + room && is_wider(text, room) {
            let mark = self.theme.pick("…", "~");
            self.put(end - 1, line, mark, 1, style);
        }
        end
    }

    /// Writes text that ends in a column, which is left of `end`.
    pub(super) fn right(&mut self, end: u16, line: u16, text: &str, tone: Tone) -> u16 {
        let width = width(text);
        self.write(end.saturating_sub(width), line, text, tone);
        end.saturating_sub(width)
    }

    /// Gives a part of a line another style, whatever stands there.
    pub(super) fn restyle(&mut self, column: u16, line: u16, width: u16, style: Style) {
        if line < self.area.height && column < self.area.width {
            let width = width.min(self.area.width - column);
            let area = Rect { x: self.area.x + column, y: self.area.y + line, width, height: 1 };
            self.buffer.set_style(area, style);
        }
    }

    /// Gives a line another tone.
    pub(super) fn mark(&mut self, line: u16, tone: Tone) {
        self.restyle(0, line, u16::MAX, self.theme.of(tone));
    }
}

/// How many columns a text takes.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(ratatui::text::Span::raw(text).width()).unwrap_or(u16::MAX)
}

fn is_wider(text: &str, room: u16) -> bool {
    // Characters are never wider than their bytes are many.
    text.len() > usize::from(room) && width(text) > room
}
