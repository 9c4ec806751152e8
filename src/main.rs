//! Parses the command line, runs the command, says what went wrong, and ends with the right exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pitviper::cli::main()
}
