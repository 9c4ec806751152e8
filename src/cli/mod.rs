//! The command line: the only room that prints, gives advice, and ends the program.

pub mod args;
pub mod usage;
pub mod units;
pub mod failure;
pub mod hints;
pub mod paint;
pub mod open;
pub mod spool;
pub mod run;
pub mod beside;
pub mod fleet;
pub mod follow;
pub mod observe;
pub mod attach;
pub mod summary;
pub mod dump;
pub mod heap;
pub mod gc;
pub mod top;
pub mod output;
pub mod export;
pub mod report;
pub mod view;
pub mod info;
pub mod ps;
pub mod doctor;
pub mod layout;
pub mod check;
pub mod shell;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use crate::recording::plain;
use args::{Cli, Color, Command, Layout};
pub use failure::{Exit, Failure};
pub use open::Context;
use paint::{Paint, Tone};

/// Parses the command line, runs the command, and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if is_help(&error) => {
            // Printing help to a closed pipe is no failure of ours.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
        Err(error) => {
            let paint = Paint::of(Color::Auto, &io::stderr());
            return ExitCode::from(
                complain(paint, &usage::failure(&error, std::env::args_os()).into()).code(),
            );
        }
    };
    let paint = Paint::of(cli.global.color, &io::stderr());
    let exit = run_command(cli).unwrap_or_else(|error| complain(paint, &error));
    ExitCode::from(exit.code())
}

/// Whether somebody wants help, or has said nothing that could be wrong.
fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Says what went wrong and what mends it; how the program ends for that.
fn complain(paint: Paint, error: &anyhow::Error) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Done;
    }
    let failure = hints::explain(error);
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{} {}", paint.say(Tone::Bad, "pitviper:"), plain::line(&failure.message));
    for line in failure.hint.iter().flat_map(|hint| hint.lines()) {
        let _ = writeln!(err, "{} {}", paint.say(Tone::Advice, "hint:"), plain::line(line));
    }
    failure.exit
}

/// Whether whoever read our output went away, as `head` does: no failure of ours.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

fn run_command(cli: Cli) -> anyhow::Result<Exit> {
    let context = Context::new(cli.global)?;
    match cli.command {
        Command::Attach(args) => attach::attach(&context, args),
        Command::Run(args) => attach::run(&context, args),
        Command::Record(args) => attach::record(&context, args),
        Command::Dump(args) => dump::dump(&context, &args),
        Command::Heap(args) => heap::heap(&context, &args),
        Command::Gc(args) => gc::gc(&context, &args),
        Command::Export(args) => export::export(&context, &args),
        Command::Info(args) => info::info(&context, &args),
        Command::Ps(args) => ps::ps(&context, &args),
        Command::Doctor(args) => doctor::doctor(&context, &args),
        Command::Layout(Layout::Derive(args)) => {
            layout::derive(&args, &context.catalogue).map(|()| Exit::Done)
        }
        Command::Layout(Layout::List) => {
            layout::list(&context.catalogue, context.global.json).map(|()| Exit::Done)
        }
        Command::Layout(Layout::Check(args)) => check::check(&context, &args),
        Command::Completions(args) => shell::completions(&args).map(|()| Exit::Done),
        Command::Man(args) => shell::man(&args).map(|()| Exit::Done),
        Command::Top(args) => top::top(&context, &args),
        Command::Report(args) => report::report(&context, &args),
        Command::View(args) => view::view(&context, &args),
    }
}
