//! Text from the target or from a file, made safe for a terminal: no control character and no bidi trick comes through.

use std::borrow::Cow;

/// The same text with everything that could command a terminal or turn the reading order shown as `·`.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().any(commands) {
        Cow::Owned(text.chars().map(|c| if commands(c) { '·' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_commands_a_terminal_comes_through() {
        assert_eq!(line("кириллица💩"), "кириллица💩");
        assert_eq!(line("\x1b[31mred\n\u{202e}txt"), "·[31mred··txt");
    }
}
