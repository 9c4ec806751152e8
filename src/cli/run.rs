//! One process that is sampled: how it is begun, and how it ends.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::args::{Consistency, OVERHEAD, Observe, RATE, Schedule};
use super::failure::{Exit, Failure};
use super::open::Opened;
use super::units::Rate;
use crate::recording::Achieved;
use crate::sampler::{self, Bursts, Collections, Dial, Inbox, Opcodes, Outcome, Sampler, States, Stop};
use crate::target::{Located, Process, own};

/// A run that is under way.
#[derive(Debug)]
pub struct Run {
    /// Who is looked at.
    pub process: Arc<Process>,
    /// What was seen comes in here.
    pub inbox: Inbox,
    /// Ends it.
    pub stop: Stop,
    /// How often it looks, and what that costs.
    pub dial: Dial,
    sampler: JoinHandle<Outcome>,
}

impl Run {
    /// Begins to look; hands back where the interpreter is, for those who look beside it.
    pub fn start(
        opened: Opened,
        options: sampler::Options,
        opcodes: Option<Opcodes>,
        attribute: bool,
    ) -> anyhow::Result<(Run, Located)> {
        let Opened { process, located, python } = opened;
        let process = Arc::new(process);
        let states = States::open(Arc::clone(&process), &located)?;
        let (outbox, inbox) = sampler::channel();
        let dial = Dial::default();
        // Without them the stacks are still worth having.
        let collections = Collections::open(Arc::clone(&process), &located, sampler::PROCESS).ok();
        let sampler = Sampler::new(Arc::clone(&process), python, states, collections, options, outbox)
            .with_opcodes(opcodes)
            .with_bursts(attribute.then(|| Bursts::new(located.clone())))
            .with_dial(dial.clone());
        let stop = Stop::default();
        let sampler = {
            let stop = stop.clone();
            thread::Builder::new().name("sampler".into()).spawn(move || sampler.run(Instant::now(), &stop))?
        };
        Ok((Run { process, inbox, stop, dial, sampler }, located))
    }

    /// Ends it; what became of it, and whether the target is gone.
    pub fn end(self) -> anyhow::Result<(Outcome, bool)> {
        self.stop.stop();
        drop(self.inbox);
        let outcome =
            self.sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked; this is a bug"))?;
        let gone = outcome.target_gone || !self.process.alive();
        Ok((outcome, gone))
    }
}

/// What is said of a process that ended before we could look.
pub fn gone_too_soon(pid: i32) -> Failure {
    Failure::new(Exit::Gone, format!("process {pid} was gone before the first sample"))
        .hint("to observe a short program from its start: pitviper run -- CMD")
}

/// How a process is sampled where nothing else is asked for.
pub fn defaults(opened: &Opened, show_cmdline: bool) -> sampler::Options {
    let words = opened.process.cmdline();
    let fingerprint = &opened.located.fingerprint;
    sampler::Options {
        rate: rate(RATE),
        max_overhead: Some(OVERHEAD.0),
        schedule: sampler::Schedule::Poisson,
        duration: None,
        consistency: sampler::Consistency::Checked,
        pause_budget: 0.0,
        command: match words.as_slice() {
            // It may be on its way out, or have cleared them.
            [] => opened.process.comm(),
            words if show_cmdline => words.join(" "),
            words => program_and_script(words),
        },
        version: fingerprint.version.to_string(),
        free_threaded: fingerprint.free_threaded,
        debug: fingerprint.debug,
    }
}

/// How a process is sampled where it was said how.
pub fn asked(opened: &Opened, options: &Observe) -> sampler::Options {
    sampler::Options {
        rate: rate(options.rate()),
        max_overhead: options.max_overhead(),
        schedule: match options.schedule {
            Schedule::Poisson => sampler::Schedule::Poisson,
            Schedule::Fixed => sampler::Schedule::Fixed,
        },
        duration: options.duration.map(|interval| interval.0),
        consistency: match options.consistency {
            Consistency::Checked => sampler::Consistency::Checked,
            Consistency::Exact => sampler::Consistency::Exact,
            Consistency::Stop => sampler::Consistency::Stop,
        },
        pause_budget: options.pause_budget.0,
        ..defaults(opened, options.show_cmdline)
    }
}

/// What became of one run, for the recording; `cpu` is what we used meanwhile.
pub fn achieved(outcome: &Outcome, cpu: Duration) -> Achieved {
    Achieved {
        duration_ns: outcome.duration.0,
        due: outcome.taken + outcome.errors + outcome.missed,
        taken: outcome.taken,
        missed: outcome.missed,
        errors: outcome.errors,
        own_cpu_ns: cpu.as_nanos() as u64,
        own_memory_bytes: own::peak_memory().unwrap_or(0),
        held_back: outcome.held_back,
        paused_ns: outcome.paused.0,
        watched_ns: outcome.duration.0,
    }
}

/// Of a command line, what says which program it is and gives nothing else away: the program and its script or module.
fn program_and_script(words: &[String]) -> String {
    let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let Some((program, rest)) = words.split_first() else { return String::new() };
    let mut rest = rest.iter().map(String::as_str);
    let script = loop {
        match rest.next() {
            Some("-c") => break Some("-c".to_owned()),
            Some("-m") => break rest.next().map(|module| format!("-m {module}")),
            Some("-W" | "-X" | "--check-hash-based-pycs") => {
                rest.next();
            }
            Some(option) if option.starts_with('-') => {}
            Some(script) => break Some(last(script)),
            None => break None,
        }
    };
    script.map_or_else(|| last(program), |script| format!("{} {script}", last(program)))
}

/// Looks a second, as the sampler takes it.
pub fn rate(rate: Rate) -> Option<f64> {
    match rate {
        Rate::Hertz(rate) => Some(rate),
        Rate::Max => None,
    }
}
