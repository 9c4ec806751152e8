//! From causes to advice: what an error means for a user, and the command that mends it.

use super::failure::{Exit, Failure};
use crate::layout::Missing;
use crate::target::locate::LocateError;
use crate::target::{Proc, ProcessError};

/// What is said where the kernel refuses for a reason that it does not show.
pub const UNSEEN: &str =
    "nothing that can be seen from here forbids it; a sandbox may, or a namespace above ours";

/// What the user is told of an error.
pub fn explain(error: &anyhow::Error) -> Failure {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Failure {
                exit: failure.exit,
                message: failure.message.clone(),
                hint: failure.hint.clone(),
            };
        }
        if let Some(error) = cause.downcast_ref::<LocateError>() {
            return locate(error);
        }
        if let Some(error) = cause.downcast_ref::<ProcessError>() {
            return process(error);
        }
        if let Some(error) = cause.downcast_ref::<Missing>() {
            return Failure::new(Exit::NotReadable, error.to_string()).hint(
                "make a layout of this build: pitviper layout derive ELF > DIR/NAME.toml, then --layouts DIR",
            );
        }
    }
    Failure::new(Exit::Failed, format!("{error:#}"))
}

fn process(error: &ProcessError) -> Failure {
    let (exit, hint) = match error {
        ProcessError::NoSuchProcess { .. } => (Exit::Gone, "`pitviper ps` lists the Pythons here".to_owned()),
        ProcessError::IsThread { pid, .. } => (Exit::Gone, format!("name the process: --pid {pid}")),
        ProcessError::Zombie { .. } => (Exit::Gone, "`pitviper ps` lists the Pythons here".to_owned()),
        ProcessError::Gone { .. } => {
            (Exit::Gone, "to observe a short program from its start: pitviper run -- CMD".to_owned())
        }
        ProcessError::Permission { pid, .. } => return permission(*pid, error),
        ProcessError::Io { .. } => return Failure::new(Exit::Failed, error.to_string()),
    };
    Failure::new(exit, error.to_string()).hint(hint)
}

/// Which of the many causes it was, and what mends that one.
fn permission(pid: i32, error: &ProcessError) -> Failure {
    let every = format!("`pitviper doctor --pid {pid}` shows everything that decides");
    match super::doctor::refusal(&Proc::default(), pid) {
        Some(advice) => {
            let hint: Vec<String> = advice.remedies.into_iter().chain([every]).collect();
            Failure::new(Exit::Permission, format!("{error}: {}", advice.said)).hint(hint.join("\n"))
        }
        None => Failure::new(Exit::Permission, format!("{error}: {UNSEEN}")).hint(every),
    }
}

fn locate(error: &LocateError) -> Failure {
    let hint = match error {
        LocateError::Process(error) => return process(error),
        LocateError::NotPython { .. } => {
            "`pitviper ps` lists the Pythons here; a program that starts one is not one itself"
        }
        LocateError::PyPy { .. } => "pitviper reads CPython alone",
        LocateError::Machine { .. } => "pitviper reads 64-bit x86 and ARM",
        LocateError::NotInitialised { .. } => "try again in a moment; `pitviper run -- CMD` waits for it",
        LocateError::NoVersion { .. } | LocateError::NoLayout { .. } | LocateError::NothingHolds { .. } => {
            "make a layout of this build: pitviper layout derive ELF > DIR/NAME.toml, then --layouts DIR"
        }
    };
    Failure::new(Exit::NotReadable, error.to_string()).hint(hint)
}
