//! What is said of a command line that cannot be parsed: one line and a hint, as of everything else that goes wrong.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::failure::{Exit, Failure};

/// The commands that take a process.
const TAKES_A_PID: &[&str] = &["attach", "record", "top", "dump", "doctor", "layout check"];

/// What clap found in these words, in our own.
pub fn failure(error: &clap::Error, command_line: impl Iterator<Item = OsString>) -> Failure {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let message = words(parts.next().unwrap_or_default().trim_start_matches("error: "));
    let command = command(command_line);
    let tips =
        parts.filter(|part| part.trim().starts_with("tip:")).flat_map(|part| part.split("tip:").skip(1));
    let mut hints: Vec<String> = tips.map(words).collect();
    hints.extend(remedy(error, &command));
    let help = ["pitviper", &command, "--help"].map(str::to_owned);
    let help: Vec<String> = help.into_iter().filter(|word| !word.is_empty()).collect();
    hints.push(format!("`{}` shows what there is", help.join(" ")));
    Failure::new(Exit::Usage, message).hint(hints.join("\n"))
}

/// What was probably meant.
fn remedy(error: &clap::Error, command: &str) -> Option<String> {
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(wrong)) => wrong.as_str(),
        _ => "",
    };
    match error.kind() {
        ErrorKind::UnknownArgument if command == "run" && !wrong.starts_with('-') => {
            Some(format!("the program stands behind two dashes: pitviper run -- {wrong}"))
        }
        ErrorKind::UnknownArgument if super::units::pid(wrong).is_ok() && TAKES_A_PID.contains(&command) => {
            Some(format!("a process is named by --pid: pitviper {command} --pid {wrong}"))
        }
        ErrorKind::MissingRequiredArgument if command == "run" => {
            Some("the program stands behind two dashes: pitviper run -- python3 app.py".into())
        }
        _ => None,
    }
}

/// The command that a command line names, as `help` takes it.
fn command(words: impl Iterator<Item = OsString>) -> String {
    let (mut at, mut path) = (Cli::command(), Vec::new());
    for word in words {
        if let Some(found) = at.find_subcommand(&word).cloned() {
            path.push(found.get_name().to_owned());
            at = found;
        }
        if !at.has_subcommands() {
            break;
        }
    }
    path.join(" ")
}

/// One line of it all.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[track_caller]
    fn check(command_line: &str, message: &str, hints: &[&str]) {
        let error = Cli::try_parse_from(command_line.split(' ')).expect_err("it makes no sense");
        let failure = failure(&error, command_line.split(' ').map(OsString::from));
        assert_eq!(failure.message, message);
        assert_eq!(failure.hint.unwrap_or_default().lines().collect::<Vec<_>>(), hints);
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_one_line_and_a_hint() {
        check(
            "pitviper attach 1234",
            "unexpected argument '1234' found",
            &[
                "a process is named by --pid: pitviper attach --pid 1234",
                "`pitviper attach --help` shows what there is",
            ],
        );
        check(
            "pitviper atach -p 1",
            "unrecognized subcommand 'atach'",
            &["a similar subcommand exists: 'attach'", "`pitviper --help` shows what there is"],
        );
        check(
            "pitviper run app.py",
            "unexpected argument 'app.py' found",
            &[
                "the program stands behind two dashes: pitviper run -- app.py",
                "`pitviper run --help` shows what there is",
            ],
        );
        check(
            "pitviper attach -p 1 --rate 0",
            "invalid value '0' for '--rate <RATE>': want more than 0 looks a second, such as `100`, `1khz` or `max`",
            &["`pitviper attach --help` shows what there is"],
        );
        check(
            "pitviper export",
            "the following required arguments were not provided: <FILE.pit>",
            &["`pitviper export --help` shows what there is"],
        );
    }
}
