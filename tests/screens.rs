//! Every view as it looks on small, usual and large screens, with all characters and with ASCII alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;
mod shown;

use pitviper::tui::view::Theme;
use pitviper::tui::{Event, Key, Sight};
use shown::Shown;

const SIZES: [(u16, u16); 3] = [(60, 12), (80, 24), (200, 60)];
const THEMES: [(&str, Theme); 2] =
    [("plain", Theme { colour: true, ascii: false }), ("ascii", Theme { colour: false, ascii: true })];

/// Brings a view into a state that shows what it can.
fn visit(shown: &mut Shown, sight: Sight) {
    let place = Sight::ALL.iter().position(|it| *it == sight).unwrap();
    shown.press(&vec![Key::Tab; place]);
    assert_eq!(shown.app.sight, sight);
    match sight {
        Sight::Functions => shown.press(&[Key::Down]),
        Sight::Tree => shown.press(&[Key::Down, Key::Char('x')]),
        Sight::Flame => shown.press(&[Key::Right, Key::Down, Key::Down]),
        Sight::Threads | Sight::Memory | Sight::Gc => {}
    }
}

#[test]
fn every_view_looks_as_it_did() {
    for sight in Sight::ALL {
        for (style, theme) in THEMES {
            let mut screens = String::new();
            for (width, height) in SIZES {
                let mut shown = Shown::new(width, height);
                visit(&mut shown, sight);
                screens += &format!("{width}x{height}\n{}\n", shown.screen(theme));
            }
            insta::assert_snapshot!(format!("{}_{style}", sight.name().to_lowercase()), screens);
        }
    }
}

#[test]
fn what_can_be_open_above_a_view_looks_as_it_did() {
    let steps: [(&str, &[Key]); 7] = [
        ("the stack of a thread", &[Key::Char('4'), Key::Enter]),
        ("the columns to sort by", &[Key::Char('s'), Key::Down]),
        ("the formats to write", &[Key::Char('w')]),
        ("a text that is searched for", &[Key::Char('/'), Key::Char('d'), Key::Char('e'), Key::Char('q')]),
        ("what is said of a pattern that does not compile", &[Key::Char('\\'), Key::Char('('), Key::Enter]),
        ("a display that is held", &[Key::Char(' ')]),
        ("the help", &[Key::Char('?')]),
    ];
    let mut screens = String::new();
    for (what, keys) in steps {
        let mut shown = Shown::new(80, 16);
        shown.press(keys);
        screens += &format!("{what}\n{}\n", shown.screen(THEMES[0].1));
    }
    insta::assert_snapshot!("above", screens);
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    for (width, height) in [(59, 12), (60, 11), (1, 1), (20, 3)] {
        let shown = Shown::new(width, height);
        let screen = shown.screen(THEMES[0].1);
        let said: String = "is too small".chars().take(3).collect();
        assert!(width < 10 || screen.contains(&said), "{screen}");
    }
}

#[test]
fn no_screen_shows_what_commands_a_terminal() {
    for sight in Sight::ALL {
        let mut shown = Shown::new(200, 60);
        visit(&mut shown, sight);
        let screen = shown.screen(THEMES[0].1);
        let bad = |c: &char| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c);
        assert_eq!(screen.chars().find(bad), None, "{sight:?}");
        assert!(shown.screen(THEMES[1].1).is_ascii(), "{sight:?}: {}", shown.screen(THEMES[1].1));
    }
}

#[test]
fn the_largest_screens_are_used_in_full() {
    let mut shown = Shown::new(300, 100);
    for sight in Sight::ALL {
        visit(&mut shown, sight);
        assert_eq!(shown.screen(THEMES[0].1).lines().count(), 100);
        shown = Shown::new(300, 100);
    }
}

#[test]
fn nothing_is_drawn_in_colour_where_none_is_wanted() {
    use pitviper::tui::view;
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Color;
    for sight in Sight::ALL {
        let mut shown = Shown::new(120, 40);
        visit(&mut shown, sight);
        for (colour, expected) in [(true, true), (false, false)] {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 120, 40));
            view::draw(&shown.app, Theme { colour, ascii: false }, &mut buffer);
            let plain = |color: Color| matches!(color, Color::Reset);
            let coloured = buffer.content.iter().any(|cell| !plain(cell.fg) || !plain(cell.bg));
            assert_eq!(coloured, expected, "{sight:?}");
            // Only the sixteen colours that every terminal has, and never a background alone.
            for cell in &buffer.content {
                assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)));
                assert!(plain(cell.bg) || !plain(cell.fg));
            }
        }
    }
}

#[test]
fn a_view_of_nothing_says_why() {
    let theme = THEMES[0].1;
    let empty = Shown::of(pitviper::recording::Recording::default(), 80, 24);
    assert!(empty.screen(theme).contains("there is no Python yet"));
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char('\\')]);
    "no such function".chars().for_each(|c| shown.press(&[Key::Char(c)]));
    shown.press(&[Key::Enter]);
    for sight in ['1', '2', '3'] {
        shown.press(&[Key::Char(sight)]);
        assert!(shown.screen(theme).contains("nothing ran"), "{}", shown.screen(theme));
    }
}

#[test]
fn a_frozen_view_says_that_the_target_has_ended() {
    let mut shown = Shown::new(80, 24);
    let mut picture = shown.app.picture.clone();
    picture.vitals.ended = true;
    shown.app.update(Event::Picture(Box::new(picture)));
    assert!(shown.screen(THEMES[0].1).contains("ENDED"));
}
