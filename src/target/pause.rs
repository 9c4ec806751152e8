//! Holding a whole process still for a moment: only where somebody asked for it, and never by SIGSTOP.
//!
//! Every thread is seized and told to stop before any is waited for: one after the other would let a thread that has stopped
//! wait for those that have not (with 64 busy threads 5 s instead of 400 µs). Nobody stays seized in between, for every signal
//! would stop a seized thread. The kernel lets all of them go when the tracer ends, however it ends.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;
use rustix::process::{WaitOptions, waitpid};

use super::process::Process;

/// How often threads that were born meanwhile are looked for: those that hold still bear none.
const ROUNDS: usize = 16;
/// While a thread takes no longer than this to stop, it is asked for without a rest.
const SPIN: Duration = Duration::from_micros(300);
/// How long we rest between two questions after that.
const REST: Duration = Duration::from_micros(50);
/// For how long we stay after threads that would not stop in time, for they will, and nobody else lets them go.
const CHASE: Duration = Duration::from_millis(100);
/// What marks a stop that we asked for ourselves, not one on a signal's way (`PTRACE_EVENT_STOP`, include/uapi/linux/ptrace.h).
const EVENT_STOP: i32 = 128;

/// Why a process could not be held still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// The kernel does not let us, or somebody else traces it: a debugger, another profiler.
    #[error("not permitted to pause it, or it is traced already")]
    Refused,
    /// It is gone.
    #[error("it is gone")]
    Gone,
    /// Some thread did not stop in time: it waits in the kernel for something that cannot be interrupted.
    #[error("a thread did not stop in time")]
    Deadline,
}

/// Pauses a process again and again, always from the same thread of ours: the kernel knows no other tracer.
#[derive(Debug, Default)]
pub struct Pauser {
    threads: Vec<Held>,
    /// Threads that were told to stop and had not when the others were let go.
    stragglers: Vec<Held>,
}

/// A process that holds still until this is dropped.
#[derive(Debug)]
pub struct Paused<'a> {
    pauser: &'a mut Pauser,
    began: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    tid: i32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Seized and told to stop.
    Told,
    /// It holds still; this signal was on its way to it, or 0.
    Stopped(i32),
    /// It has ended meanwhile.
    Ended,
}

impl Pauser {
    /// Holds all threads of a process still, within `deadline` or not at all.
    pub fn pause(&mut self, process: &Process, deadline: Duration) -> Result<Paused<'_>, PauseError> {
        self.settle();
        let began = Instant::now();
        match self.hold(process, began, deadline) {
            Ok(()) => Ok(Paused { pauser: self, began }),
            Err(error) => {
                self.release();
                Err(error)
            }
        }
    }

    /// Lets threads go that stopped only after the others had gone on.
    pub fn settle(&mut self) {
        self.stragglers.retain_mut(|held| {
            held.ask();
            !held.let_go()
        });
    }

    fn hold(&mut self, process: &Process, began: Instant, deadline: Duration) -> Result<(), PauseError> {
        self.threads.clear();
        for _ in 0..ROUNDS {
            let known = self.threads.len();
            for tid in process.tids() {
                if !self.threads.iter().any(|held| held.tid == tid) {
                    match seize(tid) {
                        Ok(()) => self.threads.push(Held { tid, state: State::Told }),
                        Err(Errno::ESRCH) => {} // it ended on its own
                        Err(_) if self.stragglers.iter().any(|held| held.tid == tid) => {
                            return Err(PauseError::Deadline);
                        }
                        Err(_) => return Err(PauseError::Refused),
                    }
                }
            }
            if self.threads.is_empty() {
                return Err(PauseError::Gone);
            }
            if self.threads.len() == known {
                return Ok(());
            }
            self.wait(began, deadline)?;
        }
        // Those that were not held bore others faster than they were found.
        Err(PauseError::Deadline)
    }

    /// Waits for all that were told to stop.
    fn wait(&mut self, began: Instant, deadline: Duration) -> Result<(), PauseError> {
        for held in &mut self.threads {
            while held.state == State::Told {
                held.ask();
                let waited = began.elapsed();
                match held.state {
                    State::Told if waited >= deadline => return Err(PauseError::Deadline),
                    State::Told if waited >= SPIN => thread::sleep(REST),
                    State::Told => thread::yield_now(),
                    State::Stopped(_) | State::Ended => {}
                }
            }
        }
        Ok(())
    }

    fn release(&mut self) {
        for held in self.threads.drain(..) {
            if !held.let_go() {
                self.stragglers.push(held);
            }
        }
        let began = Instant::now();
        while !self.stragglers.is_empty() && began.elapsed() < CHASE {
            self.settle();
            thread::yield_now();
        }
    }
}

impl Paused<'_> {
    /// For how long it has been held by now.
    pub fn length(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.pauser.release();
    }
}

impl Held {
    /// Looks whether it has stopped, without waiting.
    fn ask(&mut self) {
        let Some(pid) = rustix::process::Pid::from_raw(self.tid) else { return self.state = State::Ended };
        self.state = match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(None) => self.state,
            Ok(Some((_, status))) if status.stopped() => {
                let event = status.as_raw() >> 16;
                let signal = status.stopping_signal().unwrap_or(0);
                State::Stopped(if event == EVENT_STOP { 0 } else { signal })
            }
            Ok(Some(_)) | Err(_) => State::Ended,
        };
    }

    /// Lets it go on; `false` while it cannot be, because it has not stopped yet.
    fn let_go(self) -> bool {
        match self.state {
            State::Told => return false,
            State::Stopped(signal) => detach(self.tid, signal),
            State::Ended => {}
        }
        true
    }
}

/// Makes us the tracer of a thread, which does not stop it, and tells it to stop.
fn seize(tid: i32) -> Result<(), Errno> {
    let tid = Pid::from_raw(tid);
    ptrace::seize(tid, Options::empty())?;
    ptrace::interrupt(tid)
}

/// Lets a thread go on, and hands it the signal that was on its way. One that is gone needs no letting go.
#[expect(
    unsafe_code,
    reason = "nix cannot name real-time signals, and one that was on its way must not be lost"
)]
fn detach(tid: i32, signal: i32) {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_DETACH reads and writes no memory of ours; its address is ignored, its data is the signal's number.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, none, signal as usize as *mut libc::c_void) };
}
