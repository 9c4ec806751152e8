//! What packagers ask for: completion scripts and the manual page.

use std::io;

use clap::CommandFactory;

use super::args::{Cli, Completions, Man};
use super::failure::{Exit, Failure};

/// Prints a completion script.
pub fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pitviper", &mut script);
    Ok(io::Write::write_all(&mut io::stdout().lock(), &script)?)
}

/// Prints the manual page of pitviper, or of one of its commands.
pub fn man(args: &Man) -> anyhow::Result<()> {
    let mut command = Cli::command();
    // Gives every command its whole name, and the options of all commands.
    command.build();
    for name in &args.command {
        let Some(found) = command.find_subcommand(name) else {
            let message = format!("there is no command {}", args.command.join(" "));
            return Err(Failure::new(Exit::Usage, message).hint("`pitviper help` lists them").into());
        };
        command = found.clone();
    }
    Ok(clap_mangen::Man::new(command).render(&mut io::stdout().lock())?)
}
