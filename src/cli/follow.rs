//! `--subprocesses`: whatever the processes that were named start is sampled too, as soon as it is a Python.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::open::Context;
use crate::target::locate::LocateError;
use crate::target::{Answer, Family, Process, ProcessError, own};

/// Everybody is asked for anew after this time.
const EVERY: Duration = Duration::from_millis(10);
/// Less often where asking takes long: it shall cost no more than one part in so many of a core.
const PART: u32 = 20;
/// But no less often than this.
const AT_LEAST_EVERY: Duration = Duration::from_millis(500);
/// So many processes that cannot be sampled are named; of more only the recording tells.
const MAX_NAMED: usize = 8;

/// Finds the children of processes.
#[derive(Debug)]
pub struct Follower<'a> {
    context: &'a Context,
    family: Family,
    due: Instant,
    refused: usize,
}

impl<'a> Follower<'a> {
    /// Follows a family.
    pub fn new(context: &'a Context, family: Family) -> Follower<'a> {
        Follower { context, family, due: Instant::now(), refused: 0 }
    }

    /// Takes note of a process that is sampled already.
    pub fn found(&mut self, process: &Process) {
        self.family.found(process);
    }

    /// How long until somebody is to be asked for, but no longer than `most`.
    pub fn patience(&self, most: Duration) -> Duration {
        self.due.saturating_duration_since(Instant::now()).min(most)
    }

    /// Whether everybody has ended, but for those that are sampled.
    pub fn is_over(&self) -> bool {
        self.family.is_over()
    }

    /// Finds out who is new, and has those sampled that are Pythons. What goes wrong with one of them harms no other.
    pub fn follow(&mut self, fleet: &mut Fleet<'_>) {
        let began = Instant::now();
        if began < self.due {
            return;
        }
        let spent = own::thread_time();
        let candidates = self.family.poll(began);
        let spent = own::thread_time().saturating_sub(spent);
        self.due = began + (spent * PART).clamp(EVERY, AT_LEAST_EVERY);
        for candidate in candidates {
            let pid = candidate.pid;
            if candidate.execed {
                fleet.stop_one(pid);
            }
            if fleet.is_full() {
                self.family.answer(pid, Answer::Closed, Instant::now());
                self.refuse(fleet, &format!("process {pid} is not sampled: too many are already"));
                continue;
            }
            let Err(error) = self.look(fleet, pid, candidate.execed) else { continue };
            let answer = answer(&error);
            self.family.answer(pid, answer, Instant::now());
            if answer == Answer::Closed {
                self.refuse(fleet, &format!("process {pid} is not sampled: {error:#}"));
            }
        }
        if std::mem::take(&mut self.family.crowded) {
            self.refuse(fleet, "there are more processes than can be followed");
        }
    }

    /// Looks whether a process is a Python, and samples it if it is.
    fn look(&mut self, fleet: &mut Fleet<'_>, pid: i32, execed: bool) -> anyhow::Result<()> {
        let opened = self.context.open(pid)?;
        self.family.found(&opened.process);
        let version = opened.located.fingerprint.version;
        let origin = fleet.origin(&self.family, pid, execed);
        fleet.add(opened, fleet.start().elapsed(), origin)?;
        self.context.tell(&format!("process {pid}: Python {version}, sampled from now on"));
        Ok(())
    }

    fn refuse(&mut self, fleet: &mut Fleet<'_>, text: &str) {
        self.refused += 1;
        if self.refused > MAX_NAMED {
            self.context.tell(text);
        } else {
            self.context.say(text);
        }
        fleet.trouble(text);
    }
}

/// What an attempt to look at a process says of it.
pub fn answer(error: &anyhow::Error) -> Answer {
    let process = |error: &ProcessError| match error {
        // Whoever is on the way to another program is nobody for a moment; who has gone is no member any more.
        ProcessError::Zombie { .. } | ProcessError::Gone { .. } | ProcessError::NoSuchProcess { .. } => {
            Answer::Starting
        }
        _ => Answer::Closed,
    };
    match error.downcast_ref::<LocateError>() {
        Some(LocateError::NotInitialised { .. }) => Answer::Starting,
        Some(LocateError::NotPython { .. }) => Answer::Stranger,
        // An interpreter on its way up makes no sense yet.
        Some(LocateError::NothingHolds { .. } | LocateError::NoVersion { .. }) => Answer::Stranger,
        Some(LocateError::Process(error)) => process(error),
        Some(_) => Answer::Closed,
        None => error.downcast_ref::<ProcessError>().map_or(Answer::Closed, process),
    }
}
