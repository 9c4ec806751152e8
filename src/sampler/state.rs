//! What each thread of a process was really doing, and how long it ran since it was last asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::layout::Missing;
use crate::python::exception::Exceptions;
use crate::python::mutex::Mutexes;
use crate::python::{Python, ThreadLook};
use crate::target::{Doing, Located, Process, Task, Waited, Waits};

/// The files of so many threads stay open; those of more are opened for each reading, so that our own descriptors suffice.
const MAX_KEPT: usize = 192;
/// A thread is asked at most this often: the kernel counts its time in ticks that are far longer.
const ASK_EVERY: Duration = Duration::from_micros(200);
/// One that ran and holds the GIL as it did then is asked this often.
const HOLDER_EVERY: Duration = Duration::from_millis(4);
/// One that waits, and has run no Python since it was asked, is asked this often, and more rarely the longer it has waited: so large a
/// part of that time later. It may have begun to run something else.
const WAITING_EVERY: Duration = Duration::from_millis(10);
const WAITING_SHARE: u32 = 8;
/// But this often in any case; and so is one that wants the GIL: until it has it, and so may have run Python, it does nothing else.
const WAITING_RARELY: Duration = Duration::from_millis(500);
/// The GILs of a process are looked for again this often, for it may make interpreters.
const GILS_EVERY: Duration = Duration::from_secs(1);
/// After so many rounds, threads that were not asked since the last time are forgotten.
const ROUNDS: u64 = 256;

/// The threads of one process.
#[derive(Debug)]
pub struct States {
    process: Arc<Process>,
    mutexes: Mutexes,
    mutexes_at: Option<Instant>,
    exceptions: Exceptions,
    waits: Waits,
    threads: FxHashMap<i32, Known>,
    round: u64,
    /// When this round began.
    now: Instant,
    /// When threads were forgotten last.
    tidied: Instant,
}

/// What a thread was doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It ran, and held its interpreter's GIL.
    Python,
    /// It ran, and did not hold the GIL.
    Native,
    /// It waited for the GIL.
    WantsGil,
    /// It waited for something else, in words where the kernel says what.
    Waiting(Option<Arc<str>>),
    /// Nobody says it.
    #[default]
    Unknown,
}

impl Standing {
    /// How long one that has waited for so long is left alone before it is asked again.
    fn rests(&self, waited: Duration) -> Duration {
        if *self == Standing::WantsGil {
            return WAITING_RARELY;
        }
        (waited / WAITING_SHARE).clamp(WAITING_EVERY, WAITING_RARELY)
    }
}

/// A thread, as it was met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Met {
    /// What it was doing.
    pub standing: Standing,
    /// How long it ran since it was met before; `None` at the first time, and where the kernel does not say it.
    pub cpu: Option<Duration>,
    /// How long it ran in all, where the kernel says it.
    pub ran: Option<Duration>,
    /// Whether it was handling an exception.
    pub in_exception: Option<bool>,
    /// Unless it runs Python, all of this stays as it is until then, and no time is added.
    pub rests: Option<Instant>,
}

/// What was last said of a thread.
#[derive(Debug)]
struct Known {
    task: Task,
    ran: Option<Duration>,
    doing: Doing,
    /// What it was doing right before the target was held, where it was asked for then, and in which round that was.
    foreseen: Option<(u64, Doing)>,
    /// What that means, and whether it does as long as the thread does not run.
    standing: Option<(Standing, bool)>,
    in_exception: Option<bool>,
    /// When it was asked last, and when it was asked first of all times since which it has not run.
    asked: Option<Instant>,
    since: Option<Instant>,
    /// It ran then, and held the GIL.
    held: bool,
}

impl Known {
    /// For how long it has not run.
    fn waited(&self) -> Duration {
        self.asked.zip(self.since).map_or(Duration::ZERO, |(asked, since)| asked - since)
    }
}

impl States {
    /// Those of a process whose interpreter was found.
    pub fn open(process: Arc<Process>, located: &Located) -> Result<States, Missing> {
        let layout = &located.chosen.layout;
        let mutexes = Mutexes::bind(layout, located.root, &located.module.symbols)?;
        Ok(States {
            mutexes,
            mutexes_at: None,
            exceptions: Exceptions::bind(layout, &located.module.symbols)?,
            waits: Waits::new(&process),
            threads: FxHashMap::default(),
            round: 0,
            now: Instant::now(),
            tidied: Instant::now(),
            process,
        })
    }

    /// Begins a round of asking each thread once of the last look.
    pub fn begin(&mut self, python: &Python) {
        self.round += 1;
        self.now = python.looked();
        if self.mutexes_at.is_none_or(|at| self.now.saturating_duration_since(at) >= GILS_EVERY) {
            let memory = self.process.memory();
            self.mutexes.refresh(memory, &python.interpreters(memory).0);
            self.mutexes_at = Some(self.now);
        }
        if self.round.is_multiple_of(ROUNDS) {
            // Who rests is asked rarely.
            let lately = self.tidied.checked_sub(2 * WAITING_RARELY).unwrap_or(self.tidied);
            self.threads.retain(|_, known| known.asked.is_some_and(|at| at >= lately));
            self.tidied = self.now;
        }
    }

    /// Asks what the threads of the last look are doing, right before the target is held: that wakes those that wait.
    pub fn foresee(&mut self, python: &Python) {
        for tid in python.seen.threads.iter().filter_map(|thread| thread.native) {
            if let Some(known) = self.threads.get_mut(&tid) {
                known.foreseen = Some((self.round, known.task.doing()));
            }
        }
    }

    /// When this round began.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Asks for a thread that a look met just now.
    pub fn of(&mut self, thread: &ThreadLook) -> Met {
        let Some(tid) = thread.native else { return Met::default() };
        let (keep, process) = (self.threads.len() < MAX_KEPT, &self.process);
        let known = self.threads.entry(tid).or_insert_with(|| Known {
            task: Task::new(process, tid, keep),
            ran: None,
            doing: Doing::Unknown,
            foreseen: None,
            standing: None,
            in_exception: None,
            asked: None,
            since: None,
            held: false,
        });
        // That holds for the round that follows, and who has the GIL by now waits no longer.
        let foreseen = known.foreseen.take();
        let foreseen =
            foreseen.filter(|(round, _)| round + 1 == self.round && thread.holds_gil != Some(true));
        let waits = matches!(known.doing, Doing::Waiting(_));
        let every = match waits {
            true if thread.holds_gil == Some(true) => Duration::ZERO,
            true if !thread.may_have_run => {
                known.standing.as_ref().map_or(WAITING_EVERY, |(standing, _)| standing.rests(known.waited()))
            }
            false if known.held && thread.holds_gil == Some(true) => HOLDER_EVERY,
            _ => ASK_EVERY,
        };
        let is_due = known.asked.is_none_or(|at| self.now.saturating_duration_since(at) >= every);
        let ran = if is_due { known.task.cpu() } else { known.ran };
        let cpu = ran.zip(known.ran).map(|(now, before)| now.saturating_sub(before));
        // Who did not run at all still waits where it waited.
        if is_due && !(cpu == Some(Duration::ZERO) && waits) {
            known.doing = foreseen.map_or_else(|| known.task.doing(), |(_, doing)| doing);
            (known.standing, known.since) = (None, Some(self.now));
            known.in_exception =
                thread.in_exception.or_else(|| self.exceptions.handled(self.process.memory(), thread.state));
        }
        if is_due {
            (known.ran, known.asked) = (ran, Some(self.now));
            known.held = known.doing == Doing::Running && thread.holds_gil == Some(true);
        }
        let in_exception = known.in_exception;
        let runs = known.doing == Doing::Running;
        let waits = matches!(known.doing, Doing::Waiting(_)) && thread.holds_gil == Some(false);
        let waited = known.waited();
        let rests = |standing: &Standing| known.asked.filter(|_| waits).map(|at| at + standing.rests(waited));
        if let Some((standing, settled)) = &known.standing
            && (*settled || !is_due && !runs)
        {
            return Met { rests: rests(standing), standing: standing.clone(), cpu, ran, in_exception };
        }
        let (standing, settled) = match known.doing {
            Doing::Running => match thread.holds_gil {
                Some(true) => (Standing::Python, false),
                Some(false) => (Standing::Native, false),
                None => (Standing::Unknown, false),
            },
            Doing::Waiting(call) => match self.waits.of(self.process.memory(), &call) {
                Waited::Lock(word) if self.mutexes.hold(word) => (Standing::WantsGil, true),
                Waited::Lock(_) => (Standing::Waiting(Some("lock".into())), true),
                Waited::Other { text, settled } => (Standing::Waiting(Some(text)), settled),
            },
            Doing::Blocked => (Standing::Waiting(None), false),
            Doing::Unknown => (Standing::Unknown, false),
        };
        let rests = rests(&standing);
        known.standing = Some((standing.clone(), settled));
        Met { standing, cpu, ran, in_exception, rests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_for_long_is_asked_rarely() {
        let waiting = Standing::Waiting(None);
        for (standing, waited, rests) in [
            (&waiting, 0, 10),
            (&waiting, 80, 10),
            (&waiting, 1_000, 125),
            (&waiting, 100_000, 500),
            (&Standing::WantsGil, 0, 500),
        ] {
            assert_eq!(standing.rests(Duration::from_millis(waited)), Duration::from_millis(rests));
        }
    }
}
