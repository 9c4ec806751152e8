//! The command line: the only room that prints, gives advice, and ends the program.

pub mod args;
pub mod units;
pub mod failure;
pub mod hints;
pub mod plain;
pub mod open;
pub mod observe;
pub mod attach;
pub mod summary;
pub mod dump;
pub mod output;
pub mod export;
pub mod info;
pub mod ps;
pub mod doctor;
pub mod layout;
pub mod check;
pub mod shell;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, Layout};
pub use failure::{Exit, Failure};
pub use open::Context;

/// Parses the command line, runs the command, and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing help to a closed pipe is no failure of ours.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    let exit = match run_command(cli) {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Done,
        Err(error) => {
            let failure = hints::explain(&error);
            let mut err = io::stderr().lock();
            let _ = writeln!(err, "pitviper: {}", plain::line(&failure.message));
            if let Some(hint) = failure.hint {
                for line in hint.lines() {
                    let _ = writeln!(err, "hint: {}", plain::line(line));
                }
            }
            failure.exit
        }
    };
    ExitCode::from(exit.code())
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
        Command::Man => shell::man().map(|()| Exit::Done),
        Command::Top(_) => Err(Failure::not_yet("top").into()),
        Command::Heap(_) => Err(Failure::not_yet("heap").into()),
        Command::Gc(_) => Err(Failure::not_yet("gc").into()),
        Command::Report(_) => Err(Failure::not_yet("report").into()),
        Command::View(_) => Err(Failure::not_yet("view").into()),
    }
}
