//! What packagers ask for: completion scripts and the manual page.

use std::io;

use clap::CommandFactory;

use super::args::{Cli, Completions};

/// Prints a completion script.
pub fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pitviper", &mut script);
    Ok(io::Write::write_all(&mut io::stdout().lock(), &script)?)
}

/// Prints the manual page.
pub fn man() -> anyhow::Result<()> {
    Ok(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout().lock())?)
}
