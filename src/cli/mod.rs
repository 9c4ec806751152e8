//! The command line: arguments, and a file a command.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands speak to people")]

pub mod layout;
