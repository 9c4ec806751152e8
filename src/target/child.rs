//! A program that we started ourselves: the only process that we pass signals on to.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{exited, pidfd_open};

/// A running child.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    pidfd: Option<OwnedFd>,
}

impl Child {
    /// Starts a program with our own input and output.
    pub fn start(words: &[OsString]) -> io::Result<Child> {
        Child::spawn(words, |command| command)
    }

    /// Starts a program that reads nothing and whose words nobody hears, for our own screen is full.
    pub fn start_silent(words: &[OsString]) -> io::Result<Child> {
        Child::spawn(words, |command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
        })
    }

    fn spawn(words: &[OsString], with: impl FnOnce(&mut Command) -> &mut Command) -> io::Result<Child> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let child = with(Command::new(program).args(arguments)).spawn()?;
        let pidfd = pidfd_open(child.id().cast_signed());
        Ok(Child { child, pidfd })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Its exit code, if it has ended: its own, or 128 and the number of the signal that ended it.
    pub fn ended(&mut self) -> io::Result<Option<u8>> {
        // Waiting for it would also take away the news that a thread of it has stopped, which a pause waits for.
        if self.pidfd.as_ref().is_some_and(|pidfd| !exited(pidfd)) {
            return Ok(None);
        }
        Ok(self.child.try_wait()?.map(code))
    }

    /// Passes a signal on, unless the child has ended.
    pub fn pass_on(&mut self, signal: i32) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(()); // Its pid may be somebody else's by now.
        }
        Signal::try_from(signal)
            .and_then(|signal| kill(Pid::from_raw(self.pid()), signal))
            .map_err(Errno::into)
    }
}

fn code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    u8::try_from(status.code().or(signal).unwrap_or(1)).unwrap_or(u8::MAX)
}
