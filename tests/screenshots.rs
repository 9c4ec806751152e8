//! The pictures in the README: every view of a made-up shop, drawn as SVG, and the same as they are committed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;
mod shown;

use std::fmt::Write as _;
use std::path::Path;

use pitviper::tui::view::{self, Theme};
use pitviper::tui::{Key, Sight};
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use shown::Shown;

/// Columns and lines, and how large a cell is drawn.
const SIZE: (u16, u16) = (112, 20);
const CELL: (f64, f64) = (8.0, 17.0);
const PAPER: &str = "#1e1e2e";
const INK: &str = "#cdd6f4";

/// A colour of the terminal's.
fn paint(color: Color) -> Option<&'static str> {
    Some(match color {
        Color::Black => "#11111b",
        Color::Red => "#f38ba8",
        Color::Green => "#a6e3a1",
        Color::Yellow => "#f9e2af",
        Color::Blue => "#89b4fa",
        Color::Magenta => "#cba6f7",
        Color::Cyan => "#94e2d5",
        Color::Gray => "#a6adc8",
        Color::White => "#ffffff",
        _ => return None,
    })
}

/// Ink, paper and weight of a cell.
fn look(cell: &Cell) -> (&'static str, Option<&'static str>, bool, bool) {
    let (mut ink, mut paper) = (paint(cell.fg), paint(cell.bg));
    if cell.modifier.contains(Modifier::REVERSED) {
        (ink, paper) = (Some(paper.unwrap_or(PAPER)), Some(ink.unwrap_or(INK)));
    }
    let bold = cell.modifier.contains(Modifier::BOLD);
    (ink.unwrap_or(INK), paper, bold, cell.modifier.contains(Modifier::DIM))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A screen as SVG: a box for each stretch of one paper, a text for each stretch of one ink.
fn svg(buffer: &Buffer) -> String {
    let (width, height) = (f64::from(SIZE.0) * CELL.0, f64::from(SIZE.1) * CELL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{PAPER}\"/>\n<g transform=\"translate(8 8)\">\n",
        width + 16.0,
        height + 16.0
    );
    for (line, cells) in buffer.content.chunks(usize::from(SIZE.0)).enumerate() {
        let y = line as f64 * CELL.1;
        let mut start = 0;
        while start < cells.len() {
            let same = cells[start..].iter().take_while(|cell| look(cell) == look(&cells[start])).count();
            let (ink, paper, bold, dim) = look(&cells[start]);
            let (x, long) = (start as f64 * CELL.0, same as f64 * CELL.0);
            if let Some(paper) = paper {
                writeln!(
                    out,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{long}\" height=\"{}\" fill=\"{paper}\"/>",
                    CELL.1
                )
                .unwrap();
            }
            let text: String = cells[start..start + same].iter().map(Cell::symbol).collect();
            if !text.trim().is_empty() {
                let weight = if bold { " font-weight=\"bold\"" } else { "" };
                let weight = if dim { " opacity=\"0.65\"" } else { weight };
                writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{}\" textLength=\"{long}\" fill=\"{ink}\"{weight} xml:space=\"preserve\">{}</text>",
                    y + 13.0,
                    escape(&text)
                )
                .unwrap();
            }
            start += same;
        }
    }
    out + "</g>\n</svg>\n"
}

#[test]
fn the_pictures_in_the_readme_are_those_that_this_program_draws() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/top");
    let keys: [(Sight, &[Key]); 6] = [
        (Sight::Functions, &[Key::Down]),
        (Sight::Tree, &[Key::Char('2'), Key::Char('x')]),
        (Sight::Flame, &[Key::Char('3'), Key::Right, Key::Left, Key::Down, Key::Down, Key::Down]),
        (Sight::Threads, &[Key::Char('4')]),
        (Sight::Memory, &[Key::Char('5')]),
        (Sight::Gc, &[Key::Char('6')]),
    ];
    let mut wrong = Vec::new();
    for (sight, keys) in keys {
        let mut shown = Shown::of(shown::quiet_shop(), SIZE.0, SIZE.1);
        shown.press(keys);
        assert_eq!(shown.app.sight, sight);
        let mut buffer = Buffer::empty(Rect::new(0, 0, SIZE.0, SIZE.1));
        view::draw(&shown.app, Theme { colour: true, ascii: false }, &mut buffer);
        let file = dir.join(format!("{}.svg", sight.name().to_lowercase()));
        let drawn = svg(&buffer);
        if std::env::var_os("PITVIPER_DRAW").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&file, &drawn).unwrap();
        }
        if std::fs::read_to_string(&file).ok().as_deref() != Some(drawn.as_str()) {
            wrong.push(file);
        }
        assert!(
            include_str!("../README.md").contains(&format!("docs/top/{}.svg", sight.name().to_lowercase()))
        );
    }
    assert!(wrong.is_empty(), "`scripts/screenshots` draws these anew: {wrong:?}");
}
