//! How things look: colours that any terminal has, light or dark, and characters that any font has.

use ratatui::style::{Color, Modifier, Style};

use crate::model::{FileKind, FrameKind};

/// How everything looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// With colours. Without, bold and reversed text say the same.
    pub colour: bool,
    /// With ASCII characters alone.
    pub ascii: bool,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// It is there if one looks for it.
    Quiet,
    /// It heads something.
    Heading,
    /// It is what one is at.
    Selected,
    /// It is what was searched for.
    Found,
    /// It may go wrong.
    Doubtful,
    /// It went wrong.
    Bad,
    /// It became less.
    Less,
    /// It became more.
    More,
    /// A bar.
    Bar,
}

impl Theme {
    /// The style of a tone. None of them sets a background alone, so that text can be read on any.
    pub fn of(self, tone: Tone) -> Style {
        let plain = Style::default();
        let colour = |colour: Color| if self.colour { plain.fg(colour) } else { plain };
        match tone {
            Tone::Plain => plain,
            Tone::Quiet if self.colour => plain.add_modifier(Modifier::DIM),
            Tone::Quiet => plain,
            Tone::Heading => plain.add_modifier(Modifier::BOLD),
            Tone::Selected => plain.add_modifier(Modifier::REVERSED),
            Tone::Found => colour(Color::Magenta).add_modifier(Modifier::BOLD),
            Tone::Doubtful => colour(Color::Yellow).add_modifier(Modifier::BOLD),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Less => colour(Color::Green),
            Tone::More => colour(Color::Red),
            Tone::Bar => colour(Color::Cyan),
        }
    }

    /// The style of code, as text: the program's own stands out.
    pub fn code(self, kind: FrameKind, whose: FileKind) -> Style {
        let plain = Style::default();
        if !self.colour {
            return plain;
        }
        match paint(kind, whose) {
            // The program's own code is what most of the text is.
            Color::Red => plain,
            colour => plain.fg(colour),
        }
    }

    /// The style of code, as a box.
    pub fn block(self, kind: FrameKind, whose: FileKind) -> Style {
        if self.colour { Style::default().fg(Color::Black).bg(paint(kind, whose)) } else { Style::default() }
    }

    /// The style of a box that is selected. Among boxes of all colours, turning ink and paper round would hide it.
    pub fn chosen(self) -> Style {
        let plain = Style::default().add_modifier(Modifier::BOLD);
        if self.colour {
            plain.fg(Color::White).bg(Color::Blue)
        } else {
            plain.add_modifier(Modifier::REVERSED)
        }
    }

    /// One of two characters.
    pub fn pick<T>(self, fine: T, ascii: T) -> T {
        if self.ascii { ascii } else { fine }
    }

    /// A bar of so many cells for a share.
    pub fn bar(self, share: f64, cells: usize) -> String {
        const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        let eighths = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
        let (full, rest) = (eighths / 8, eighths % 8);
        let mut bar = self.pick("█", "#").repeat(full.min(cells));
        if let Some(part) = rest.checked_sub(1).and_then(|at| EIGHTHS.get(at)).filter(|_| full < cells) {
            bar.push(if self.ascii { if rest >= 4 { '=' } else { '-' } } else { *part });
        }
        bar
    }

    /// A line of small columns, each a share of the largest that there can be.
    pub fn trend(self, shares: impl Iterator<Item = f64>) -> String {
        const FINE: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 9] = [' ', '.', '.', ':', ':', '+', '+', '#', '#'];
        let levels = self.pick(FINE, ASCII);
        let level = |share: f64| {
            let level = (share.clamp(0.0, 1.0) * 8.0).round() as usize;
            // What is there at all can be seen.
            let level = if share > 0.0 { level.max(1) } else { level };
            levels.get(level).copied().unwrap_or(' ')
        };
        shares.map(level).collect()
    }

    /// Text with nothing in it that this terminal may not be able to show.
    pub fn text(self, text: &str) -> std::borrow::Cow<'_, str> {
        if !self.ascii || text.is_ascii() {
            return text.into();
        }
        let plain = |c: char| match c {
            'µ' => 'u',
            '·' => '.',
            '…' => '~',
            c if c.is_ascii() => c,
            _ => '?',
        };
        text.chars().map(plain).collect::<String>().into()
    }
}

/// Whose code has which colour, as in flame graphs that are written to files.
fn paint(kind: FrameKind, whose: FileKind) -> Color {
    match (kind, whose) {
        (FrameKind::Mark, _) => Color::Gray,
        (FrameKind::Opcode, _) => Color::Blue,
        (FrameKind::Native | FrameKind::Kernel, _) => Color::Magenta,
        (FrameKind::Python, FileKind::Standard | FileKind::Synthetic) => Color::Yellow,
        (FrameKind::Python, FileKind::Installed) => Color::Cyan,
        (FrameKind::Python, FileKind::Own | FileKind::Unknown) => Color::Red,
    }
}
