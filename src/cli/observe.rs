//! What attach, run and record share: one process sampled into one recording, and its exports.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::args::{Observe, Schedule};
use super::failure::{Exit, Failure};
use super::open::{Context, Opened};
use super::output::{self, Output};
use super::summary;
use super::units::Rate;
use crate::model::Event;
use crate::recording::{self, Achieved, Asked, Meta, Recorder, Recording, ViewOptions};
use crate::sampler::{self, Outcome, Sampler, Stop};
use crate::target::{Child, Process, own};

/// How often signals and the progress bar are looked after.
const BEAT: Duration = Duration::from_millis(100);
/// How long we wait between two looks at a child that we only wait for.
const CHILD_BEAT: Duration = Duration::from_millis(20);

/// Signals that have come in, and have not been answered.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    snapshot: Arc<AtomicBool>,
}

/// A run that is under way.
#[derive(Debug)]
struct Run {
    process: Arc<Process>,
    receiver: Receiver<Vec<Event>>,
    sampler: JoinHandle<Outcome>,
    stop: Stop,
}

/// Where the recording streams to.
#[derive(Debug)]
struct Spool {
    file: File,
    /// Its own name, where one was asked for; without one it has none and vanishes with us.
    name: Option<PathBuf>,
}

impl Signals {
    /// Takes SIGINT, SIGTERM, SIGHUP and SIGUSR1 over.
    pub fn take() -> anyhow::Result<Signals> {
        let signals = Signals::default();
        signal_hook::flag::register(SIGINT, Arc::clone(&signals.interrupt))?;
        for signal in [SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&signals.terminate))?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.snapshot))?;
        Ok(signals)
    }

    /// Whether somebody wants us to end; a child of ours is told likewise.
    pub fn ends(&self, child: Option<&mut Child>) -> bool {
        let interrupted = self.interrupt.swap(false, Ordering::SeqCst);
        let terminated = self.terminate.swap(false, Ordering::SeqCst);
        if let Some(child) = child {
            // A terminal sends its interrupt to the whole group: the child has had it already.
            if interrupted && !io::stdin().is_terminal() {
                let _ = child.pass_on(SIGINT);
            }
            if terminated {
                let _ = child.pass_on(SIGTERM);
            }
        }
        interrupted || terminated
    }
}

/// Samples a process until its end or ours, then writes every output and says how it went.
pub fn observe(
    context: &Context,
    opened: Opened,
    options: &Observe,
    view: &ViewOptions,
    outputs: &[Output],
    signals: &Signals,
    mut child: Option<&mut Child>,
) -> anyhow::Result<Exit> {
    let (pid, version) = (opened.process.pid(), opened.located.fingerprint.version);
    let mut meta = meta(options, view);
    let spool = Spool::open(outputs)?;
    let mut recorder = Recorder::new(&spool.file, &meta).with_context(|| spool.writing())?;
    let bar = progress(context, options);
    context.say(&format!("sampling process {pid}, Python {version}, {}", pace(options)));

    let cpu = own::cpu_time();
    let run = start(opened, options)?;
    let (began, mut looks, mut failure) = (Instant::now(), 0, None);
    loop {
        match run.receiver.recv_timeout(BEAT) {
            Ok(events) => {
                looks += events.iter().filter(|event| matches!(event, Event::Samples(_))).count();
                if let Err(error) = events.iter().try_for_each(|event| recorder.event(event)) {
                    failure = Some(error);
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // The sampler notices the target's end when it looks; looks may be rare.
        if signals.ends(child.as_deref_mut()) || !run.process.alive() {
            run.stop.stop();
        }
        if signals.snapshot.swap(false, Ordering::SeqCst) {
            recorder.flush().with_context(|| spool.writing())?;
            write_all(context, &spool.read()?, view, outputs)?;
        }
        bar.set_position(began.elapsed().as_millis() as u64);
        bar.set_message(format!("{looks} looks"));
    }
    run.stop.stop();
    drop(run.receiver);
    let outcome = run.sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked; this is a bug"))?;
    let gone = outcome.target_gone || !run.process.alive();
    bar.finish_and_clear();
    if outcome.taken == 0 && gone {
        spool.discard();
        return Err(Failure::new(Exit::Gone, format!("process {pid} was gone before the first sample"))
            .hint("to observe a short program from its start: pitviper run -- CMD")
            .into());
    }
    meta.achieved = Some(achieved(&outcome, own::cpu_time().saturating_sub(cpu)));
    if failure.is_none() {
        failure = recorder.finish(&meta).err();
    }
    let written = finish(context, &spool, meta, view, outputs);
    match failure {
        // What could be written was; what kept the rest from it is what matters.
        Some(error) => Err(anyhow::Error::new(error).context(spool.writing())),
        None => written.map(|()| Exit::Done),
    }
}

/// Reads a recording back that has come to its end, writes its exports, and says how it went.
fn finish(
    context: &Context,
    spool: &Spool,
    meta: Meta,
    view: &ViewOptions,
    outputs: &[Output],
) -> anyhow::Result<()> {
    let mut recording = spool.read()?;
    recording.meta = meta;
    let written = write_all(context, &recording, view, outputs);
    summary::print(context, &recording, view, outputs)?;
    written
}

/// Waits for a child that is no longer sampled.
pub fn wait_for(child: &mut Child, signals: &Signals) -> anyhow::Result<Exit> {
    loop {
        if let Some(code) = child.ended()? {
            return Ok(Exit::Child(code));
        }
        signals.ends(Some(child));
        thread::sleep(CHILD_BEAT);
    }
}

fn start(opened: Opened, options: &Observe) -> anyhow::Result<Run> {
    let Opened { process, located, python } = opened;
    let process = Arc::new(process);
    let words = process.cmdline();
    let command = if options.show_cmdline { words.join(" ") } else { program_and_script(&words) };
    let options = sampler::Options {
        rate: rate(options.rate()),
        max_overhead: options.max_overhead(),
        schedule: match options.schedule {
            Schedule::Poisson => sampler::Schedule::Poisson,
            Schedule::Fixed => sampler::Schedule::Fixed,
        },
        duration: options.duration.map(|interval| interval.0),
        command,
        version: located.fingerprint.version.to_string(),
        free_threaded: located.fingerprint.free_threaded,
        debug: located.fingerprint.debug,
    };
    let (outbox, receiver) = sampler::channel();
    let sampler = Sampler::new(Arc::clone(&process), python, options, outbox);
    let stop = Stop::default();
    let sampler = {
        let stop = stop.clone();
        thread::Builder::new().name("sampler".into()).spawn(move || sampler.run(Instant::now(), &stop))?
    };
    Ok(Run { process, receiver, sampler, stop })
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

fn rate(rate: Rate) -> Option<f64> {
    match rate {
        Rate::Hertz(rate) => Some(rate),
        Rate::Max => None,
    }
}

fn pace(options: &Observe) -> String {
    let rate = match options.rate() {
        Rate::Hertz(rate) => format!("{rate} times a second"),
        Rate::Max => "as often as can be".into(),
    };
    match options.duration {
        Some(interval) => format!("{rate} for {:?}", interval.0),
        None => format!("{rate}; Ctrl-C ends it"),
    }
}

fn meta(options: &Observe, view: &ViewOptions) -> Meta {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Meta {
        tool: concat!("pitviper ", env!("CARGO_PKG_VERSION")).into(),
        started_unix_ns: since.as_nanos() as u64,
        asked: Asked {
            rate_hz: rate(options.rate()),
            max_overhead: options.max_overhead(),
            duration_ns: options.duration.map(|interval| interval.0.as_nanos() as u64),
            schedule: match options.schedule {
                Schedule::Poisson => recording::Schedule::Poisson,
                Schedule::Fixed => recording::Schedule::Fixed,
            },
            ..Asked::default()
        },
        achieved: None,
        view: view.clone(),
    }
}

fn achieved(outcome: &Outcome, cpu: Duration) -> Achieved {
    Achieved {
        duration_ns: outcome.duration.0,
        due: outcome.taken + outcome.errors + outcome.missed,
        taken: outcome.taken,
        missed: outcome.missed,
        errors: outcome.errors,
        own_cpu_ns: cpu.as_nanos() as u64,
        own_memory_bytes: own::peak_memory().unwrap_or(0),
        held_back: outcome.held_back,
        paused_ns: 0,
    }
}

impl Spool {
    /// Opens the recording under the name that was asked for, else one that has no name.
    fn open(outputs: &[Output]) -> anyhow::Result<Spool> {
        let Some(name) = outputs.iter().find_map(Output::recording) else {
            let file =
                tempfile::tempfile().context("making room for the recording in the temporary directory")?;
            return Ok(Spool { file, name: None });
        };
        let file = output::create(name).with_context(|| format!("creating {}", name.display()))?;
        Ok(Spool { file, name: Some(name.to_owned()) })
    }

    /// Reads what is written so far.
    fn read(&self) -> anyhow::Result<Recording> {
        let reading = || format!("reading {} back", self.shown());
        match &self.name {
            Some(name) => recording::open(name).with_context(reading),
            None => {
                let mut file = self.file.try_clone().with_context(reading)?;
                // The clone shares our place in the file: it goes back to the end for what is still to be written.
                file.seek(SeekFrom::Start(0)).with_context(reading)?;
                let recording = recording::read(io::BufReader::new(&file)).with_context(reading);
                file.seek(SeekFrom::End(0)).with_context(reading)?;
                recording
            }
        }
    }

    /// Leaves nothing behind.
    fn discard(&self) {
        if let Some(name) = &self.name {
            let _ = std::fs::remove_file(name);
        }
    }

    fn shown(&self) -> String {
        self.name.as_deref().unwrap_or(Path::new("the recording")).display().to_string()
    }

    fn writing(&self) -> String {
        format!("writing {}", self.shown())
    }
}

/// Writes every output but the recording, which is written already. One that fails does not keep the rest from being
/// written; the first failure is what is told.
fn write_all(
    context: &Context,
    recording: &Recording,
    view: &ViewOptions,
    outputs: &[Output],
) -> anyhow::Result<()> {
    let mut first = None;
    for output in outputs.iter().filter(|output| output.recording().is_none()) {
        if let Err(error) = output.write(recording, view) {
            context.tell(&format!("{error:#}"));
            first = first.or(Some(error));
        }
    }
    first.map_or(Ok(()), Err)
}

/// A bar or a spinner where a person looks on, nothing elsewhere.
fn progress(context: &Context, options: &Observe) -> ProgressBar {
    if context.global.quiet || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = match options.duration {
        Some(interval) => ProgressBar::new(interval.0.as_millis() as u64),
        None => ProgressBar::new_spinner(),
    };
    let template = match options.duration {
        Some(_) => "{wide_bar} {elapsed} {msg}",
        None => "{spinner} {elapsed} {msg}",
    };
    ProgressStyle::with_template(template).map_or(bar.clone(), |style| bar.with_style(style))
}
