//! A flame graph as SVG, drawn by inferno.

use std::io::{self, Write};

use inferno::flamegraph::color::{Color, MultiPalette, PaletteMap};
use inferno::flamegraph::{Options, Palette, TextTruncateDirection, from_lines};

use super::{folded, text};
use crate::model::{FileKind, FrameKind};
use crate::recording::View;
use crate::recording::view::Row;

/// Writes the view.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    if view.total() == u64::MAX {
        // Sums stop there; inferno's would run over.
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the weights of this recording are too large to draw",
        ));
    }
    let mut lines = Vec::new();
    folded::write(view, &mut lines)?;
    let lines = String::from_utf8_lossy(&lines);
    if lines.is_empty() {
        return no_samples(view, out);
    }
    let mut colours = colours(view);
    let mut options = Options::default();
    options.title = text::title(view);
    options.subtitle = Some(text::facts(view));
    options.count_name = text::unit(view).to_owned();
    options.colors = Palette::Multi(MultiPalette::Python);
    options.palette_map = Some(&mut colours);
    options.deterministic = true;
    // A frame too narrow for its text keeps its function's name and loses its line.
    options.text_truncate_direction = TextTruncateDirection::Right;
    // inferno leaves out what is narrower than this, and with it whole functions.
    options.min_width = 0.0;
    from_lines(&mut options, lines.lines(), out)
}

/// inferno tells libraries by their paths, of which we show the last parts only; so we tell it.
fn colours(view: &View<'_>) -> PaletteMap {
    let mut colours = PaletteMap::default();
    for row in view.rows() {
        let name = folded::frame(&row.text());
        let colour = colour(row, &name);
        colours.insert(name, colour);
    }
    colours
}

/// The program's own code is red, the standard library yellow, what was installed aqua, compiled code orange.
fn colour(row: &Row, name: &str) -> Color {
    let shade = (crc32fast::hash(name.as_bytes()) % 56) as u8;
    let (r, g, b) = match (row.kind, row.whose) {
        (FrameKind::Opcode, _) => (110 + shade, 120 + shade / 2, 205),
        (FrameKind::Mark, _) => (160 + shade / 2, 160 + shade / 2, 160 + shade / 2),
        (FrameKind::Native | FrameKind::Kernel, _) => (200 + shade, 110 + shade, 20),
        (FrameKind::Python, FileKind::Standard | FileKind::Synthetic) => (180 + shade, 180 + shade, 50),
        (FrameKind::Python, FileKind::Installed) => (50 + shade, 165 + shade, 165 + shade),
        (FrameKind::Python, FileKind::Own | FileKind::Unknown) => (200 + shade, 60 + shade, 50 + shade),
    };
    Color { r, g, b }
}

/// inferno makes an error of a profile without samples; to us it is an answer.
fn no_samples(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (title, facts) = (escape(&text::title(view)), escape(&text::facts(view)));
    writeln!(
        out,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"120\" viewBox=\"0 0 1200 120\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f8f8f8\"/>\n\
         <g font-family=\"monospace\" font-size=\"12\" text-anchor=\"middle\">\n\
         <text x=\"600\" y=\"24\" font-size=\"17\" id=\"title\">{title}</text>\n\
         <text x=\"600\" y=\"48\" id=\"subtitle\">{facts}</text>\n\
         <text x=\"600\" y=\"84\">no samples</text>\n\
         </g>\n</svg>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
