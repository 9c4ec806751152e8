//! One process that is dumped, once or several times.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::inside::Inside;
use super::{FrameDump, ProcessDump, PythonDump, ThreadDump};
use crate::cli::open::{Context, Opened};
use crate::model::Torn;
use crate::python::{self, Look, Python, ThreadLook};
use crate::sampler::{Met, Standing, States};
use crate::target::{Process, ProcessError};

/// How often a process is looked at whose stacks could not all be read whole, for it runs meanwhile.
const TRIES: usize = 20;
/// The least time over which a share of a core is measured: the kernel counts the time of a running thread in ticks of up to 10 ms.
pub(super) const WINDOW: Duration = Duration::from_millis(100);

/// A process, and what the last look at it saw.
pub(super) struct Watch {
    process: Arc<Process>,
    python: Python,
    states: States,
    version: PythonDump,
    /// Where locals were asked for.
    inside: Option<Inside>,
    last: HashMap<Identity, Last>,
    looked: bool,
}

/// What names a thread: its interpreter and `pthread_t`.
type Identity = (i64, u64);

/// What was last seen of a thread.
struct Last {
    at: Instant,
    ran: Option<Duration>,
    frames: Vec<python::Frame>,
}

/// A thread at one look, and what it was doing right then.
type Seen = (Met, Instant);

impl Watch {
    /// Finds the interpreter of a process. `locals` says how much is shown of the values of locals, 0 that they are not.
    pub(super) fn open(context: &Context, pid: i32, locals: u8) -> anyhow::Result<Watch> {
        let Opened { process, located, python } = context.open(pid)?;
        let process = Arc::new(process);
        let states = States::open(Arc::clone(&process), &located)?;
        let version = PythonDump {
            version: located.fingerprint.version.to_string(),
            free_threaded: located.fingerprint.free_threaded,
            debug: located.fingerprint.debug,
        };
        let inside = (locals > 0).then(|| Inside::open(&located, locals)).transpose()?;
        let mut watch =
            Watch { process, python, states, version, inside, last: HashMap::new(), looked: false };
        let (look, seen) = watch.best();
        watch.remember(&look, &seen);
        Ok(watch)
    }

    /// Looks at all threads.
    pub(super) fn look(&mut self) -> anyhow::Result<ProcessDump> {
        // Processes are opened one after the other and then looked at one after the other: most have waited long enough.
        if let Some(newest) = self.last.values().map(|last| last.at).max() {
            thread::sleep(WINDOW.saturating_sub(newest.elapsed()));
        }
        let (look, seen) = self.best();
        if look.threads.is_empty() && !self.process.alive() {
            return Err(ProcessError::Gone { pid: self.process.pid() }.into());
        }
        let mut threads: Vec<ThreadDump> =
            look.threads.iter().zip(&seen).map(|(thread, seen)| self.thread(thread, seen)).collect();
        self.add_locals(&look, &mut threads);
        mark_equals(&mut threads);
        self.remember(&look, &seen);
        self.looked = true;
        Ok(ProcessDump {
            pid: self.process.pid(),
            python: PythonDump { version: self.version.version.clone(), ..self.version },
            threads,
            missing: look.missing.map(reason),
            command: self.process.cmdline().join(" "),
        })
    }

    /// Adds the values of locals, where they were asked for.
    fn add_locals(&mut self, look: &Look, threads: &mut [ThreadDump]) {
        let Some(inside) = &mut self.inside else { return };
        for (thread, dump) in look.threads.iter().zip(threads) {
            let locals = inside.of(self.process.memory(), &self.python, thread);
            for (frame, locals) in dump.frames.iter_mut().zip(locals) {
                frame.locals = locals;
            }
        }
    }

    /// The best of some looks, and what each of its threads was doing.
    fn best(&mut self) -> (Look, Vec<Seen>) {
        let tasks = self.process.threads();
        let mut best = (Look::default(), Vec::new());
        for _ in 0..TRIES {
            self.python.look(self.process.memory(), &tasks);
            let look = &self.python.seen;
            self.states.begin(&self.python);
            if best.0.threads.is_empty() || flaws(look) < flaws(&best.0) {
                let seen =
                    look.threads.iter().map(|thread| (self.states.of(thread), Instant::now())).collect();
                best = (look.clone(), seen);
            }
            if flaws(&best.0) == 0 {
                break;
            }
        }
        best
    }

    fn remember(&mut self, look: &Look, seen: &[Seen]) {
        self.last = look
            .threads
            .iter()
            .zip(seen)
            .map(|(thread, (met, at))| {
                let frames = self.python.frames(thread).collect();
                ((thread.interpreter, thread.thread), Last { at: *at, ran: met.ran, frames })
            })
            .collect();
    }

    fn thread(&self, thread: &ThreadLook, (met, at): &Seen) -> ThreadDump {
        let last = self.last.get(&(thread.interpreter, thread.thread));
        let frames = self.python.frames(thread).filter_map(|frame| {
            let code = self.python.codes.get(frame.code)?;
            let position = code.position(frame.offset);
            Some(FrameDump {
                name: code.name.clone(),
                qualname: code.qualname.clone(),
                file: code.filename.clone(),
                line: position.line,
                column: position.column,
                end_line: position.end_line,
                end_column: position.end_column,
                locals: None,
            })
        });
        let (state, waits_for) = match &met.standing {
            Standing::Python => ("python", None),
            Standing::Native => ("native", None),
            Standing::WantsGil => ("wants_gil", None),
            Standing::Waiting(what) => ("waiting", what.as_deref().map(str::to_owned)),
            Standing::Unknown => ("unknown", None),
        };
        ThreadDump {
            interpreter: thread.interpreter,
            id: thread.thread,
            native_id: thread.native,
            name: thread.name.as_deref().map(str::to_owned),
            main: thread.main,
            holds_gil: thread.holds_gil,
            state,
            in_exception: met.in_exception,
            waits_for,
            cpu: last.and_then(|last| share(last, met.ran?, *at)),
            moved: last
                .filter(|_| self.looked)
                .map(|last| !self.python.frames(thread).eq(last.frames.iter().copied())),
            same_as: None,
            frames: frames.collect(),
            torn: thread.quality.torn().map(reason),
        }
    }
}

/// The share of one core that a thread used since it was last seen, in thousandths.
fn share(last: &Last, ran: Duration, at: Instant) -> Option<f64> {
    let (used, passed) = (ran.checked_sub(last.ran?)?, at.checked_duration_since(last.at)?);
    let share = used.as_secs_f64() / passed.as_secs_f64();
    // The kernel adds time in ticks, so a share of a short time may come out above the whole.
    share.is_finite().then(|| (share.min(1.0) * 1000.0).round() / 1000.0)
}

/// How much of a look is missing.
fn flaws(look: &Look) -> usize {
    let torn = look.threads.iter().filter(|thread| thread.quality.is_partial()).count();
    torn + usize::from(look.missing.is_some() || look.threads.is_empty())
}

/// Says of each thread whether one before it has its very stack and does the same.
fn mark_equals(threads: &mut [ThreadDump]) {
    let mut firsts = HashMap::new();
    let same: Vec<Option<u64>> = threads
        .iter()
        .map(|thread| {
            let does = (thread.state, &thread.waits_for, thread.holds_gil, thread.in_exception, thread.moved);
            let first =
                *firsts.entry((thread.interpreter, does, &thread.frames, thread.torn)).or_insert(thread.id);
            Some(first).filter(|first| *first != thread.id)
        })
        .collect();
    for (thread, same) in threads.iter_mut().zip(same) {
        thread.same_as = same;
    }
}

/// Why a stack ends before its base, in words.
fn reason(torn: Torn) -> &'static str {
    match torn {
        Torn::Unreadable => "unreadable",
        Torn::Garbage => "garbage",
        Torn::Cycle => "cycle",
        Torn::TooDeep => "too deep",
        Torn::Changed => "changed",
    }
}
