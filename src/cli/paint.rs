//! Colour for those who want it: a terminal has it unless told otherwise, a file only when told to.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;

use super::args::Color;

/// Whether what is written to a stream is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went wrong.
    Bad,
    /// It may go wrong.
    Doubtful,
    /// It is well.
    Good,
    /// What to do.
    Advice,
}

impl Paint {
    /// What was asked for by option, then by the environment, then by there being a person who looks on.
    pub fn of(asked: Color, stream: &impl IsTerminal) -> Paint {
        Paint::decide(asked, |name| env::var_os(name), stream.is_terminal())
    }

    fn decide(asked: Color, variable: impl Fn(&str) -> Option<OsString>, terminal: bool) -> Paint {
        let is_set = |name| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
        Paint(match asked {
            Color::Always => true,
            Color::Never => false,
            // https://no-color.org: any value but the empty one.
            Color::Auto if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) => false,
            Color::Auto => {
                is_set("CLICOLOR_FORCE") || terminal && variable("TERM").is_none_or(|term| term != "dumb")
            }
        })
    }

    /// Whether there is colour.
    pub fn is_on(self) -> bool {
        self.0
    }

    /// The words in the colour of their tone.
    pub fn say(self, tone: Tone, words: &str) -> String {
        let code = match tone {
            Tone::Bad => 31,
            Tone::Doubtful => 33,
            Tone::Good => 32,
            Tone::Advice => 36,
        };
        if self.0 { format!("\x1b[1;{code}m{words}\x1b[0m") } else { words.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(asked: Color, variables: &[(&str, &str)], terminal: bool, coloured: bool) {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        assert_eq!(Paint::decide(asked, variable, terminal), Paint(coloured));
    }

    #[test]
    fn the_option_goes_before_the_environment_and_that_before_the_terminal() {
        check(Color::Auto, &[], true, true);
        check(Color::Auto, &[], false, false);
        check(Color::Auto, &[("NO_COLOR", "1")], true, false);
        check(Color::Auto, &[("NO_COLOR", "")], true, true);
        check(Color::Auto, &[("CLICOLOR_FORCE", "1")], false, true);
        check(Color::Auto, &[("CLICOLOR_FORCE", "0")], false, false);
        check(Color::Auto, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false);
        check(Color::Auto, &[("TERM", "dumb")], true, false);
        check(Color::Always, &[("NO_COLOR", "1")], false, true);
        check(Color::Never, &[("CLICOLOR_FORCE", "1")], true, false);
    }

    #[test]
    fn words_without_colour_stay_as_they_are() {
        assert_eq!(Paint(false).say(Tone::Bad, "FAIL"), "FAIL");
        assert_eq!(Paint(true).say(Tone::Bad, "FAIL"), "\x1b[1;31mFAIL\x1b[0m");
    }
}
