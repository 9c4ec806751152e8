//! What attach, run and record share: processes sampled into one recording, and its exports.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::args::{Consistency, Observe, Schedule};
use super::failure::{Exit, Failure};
use super::fleet::Fleet;
use super::follow::Follower;
use super::open::{Context, Opened};
use super::output::{self, Output};
use super::run::{achieved, gone_too_soon, rate};
use super::spool::Spool;
use super::summary;
use super::units::Rate;
use crate::model::{Event, Nanos};
use crate::recording::{self, Achieved, Asked, Meta, Origin, Recorder, ViewOptions};
use crate::target::{Child, Family, own};

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

/// What is to be observed.
#[derive(Debug)]
pub struct Subjects {
    /// The processes that were named.
    pub pids: Vec<i32>,
    /// Those whose interpreter was found.
    pub opened: Vec<Opened>,
    /// Where all that descend from them are followed too.
    pub family: Option<Family>,
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

/// Samples processes until their end or ours, then writes every output and says how it went.
pub fn observe(
    context: &Context,
    subjects: Subjects,
    options: &Observe,
    view: &ViewOptions,
    outputs: &[Output],
    signals: &Signals,
    mut child: Option<&mut Child>,
) -> anyhow::Result<Exit> {
    let Subjects { pids, opened, family } = subjects;
    let mut meta = meta(options, view);
    let spool = Spool::open(outputs, pids.first().copied().unwrap_or_default())?;
    let mut recorder = Recorder::new(spool.file(), &meta)
        .with_context(|| spool.writing())
        .inspect_err(|_| spool.discard())?;
    let bar = progress(context, options);
    context.say(&format!("{}, {}", who(&pids, &opened, family.is_some()), pace(options)));

    let cpu = own::cpu_time();
    let mut fleet = Fleet::new(options, view.metric.is_memory());
    let mut follower = family.map(|family| Follower::new(context, family));
    for opened in opened {
        if let Some(follower) = &mut follower {
            follower.found(&opened.process);
        }
        fleet.add(opened, Duration::ZERO, Origin::Unknown)?;
    }
    let (mut stopped, mut failure) = (false, None);
    loop {
        fleet.wait(follower.as_ref().map_or(BEAT, |follower| follower.patience(BEAT)));
        if let Err(error) = fleet.collect(&mut |event| recorder.event(event)) {
            failure = Some(error);
            break;
        }
        let over = options.duration.is_some_and(|interval| fleet.start().elapsed() >= interval.0);
        if signals.ends(child.as_deref_mut()) || over {
            stopped = true;
            fleet.stop();
        }
        fleet.stop_ended();
        if let Some(follower) = follower.as_mut().filter(|_| !stopped) {
            follower.follow(&mut fleet);
        }
        if fleet.is_empty() && (stopped || follower.as_ref().is_none_or(Follower::is_over)) {
            break;
        }
        if signals.snapshot.swap(false, Ordering::SeqCst) {
            if let Err(error) = recorder.flush() {
                failure = Some(error);
                break;
            }
            // What cannot be written now may be later: the recording goes on.
            let written =
                spool.read().and_then(|recording| output::write_all(context, &recording, view, outputs).1);
            written.unwrap_or_else(|error| context.say(&format!("{error:#}")));
        }
        bar.set_position(fleet.start().elapsed().as_millis() as u64);
        bar.set_message(format!("{} looks", fleet.looks));
    }
    if failure.is_none() {
        let mut take = |event: &Event| recorder.event(event);
        failure = fleet.collect(&mut take).and_then(|()| fleet.rest(&mut take)).err();
    }
    let elapsed = fleet.start().elapsed();
    let met = fleet.has_met();
    let mut total = fleet.finish()?;
    if follower.is_some() {
        total.outcome.duration = Nanos(elapsed.as_nanos() as u64);
    }
    bar.finish_and_clear();
    if total.outcome.taken == 0 && (total.outcome.target_gone || !met) {
        spool.discard();
        return nothing(context, &pids, met, child.is_some());
    }
    let watched_ns = total.watched.as_nanos() as u64;
    let achieved = achieved(&total.outcome, own::cpu_time().saturating_sub(cpu));
    meta.achieved = Some(Achieved { watched_ns, ..achieved });
    if failure.is_none() {
        failure = recorder.finish(&meta).err();
    }
    finish(context, &spool, meta, view, outputs, failure)
}

/// Who is sampled, in words.
fn who(pids: &[i32], opened: &[Opened], follow: bool) -> String {
    let processes = match pids {
        [pid] => format!("process {pid}"),
        many => format!("processes {}", many.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")),
    };
    let children = if follow { " and all that it starts" } else { "" };
    match opened {
        [opened] => {
            format!("sampling {processes}{children}, Python {}", opened.located.fingerprint.version)
        }
        _ => format!("sampling {processes}{children}"),
    }
}

/// There is no recording, for there was nothing to record.
pub(super) fn nothing(context: &Context, pids: &[i32], met: bool, ours: bool) -> anyhow::Result<Exit> {
    let pid = pids.first().copied().unwrap_or_default();
    match (met, ours) {
        (true, true) => context.say("the program ended before it was looked at; there is no recording"),
        (false, true) => {
            context.say("the program started no Python that could be read; there is no recording")
        }
        (true, false) => {
            return Err(gone_too_soon(pid).into());
        }
        (false, false) => {
            let message = format!("process {pid} is no Python that could be read, nor did it start one");
            return Err(Failure::new(Exit::NotReadable, message)
                .hint("`pitviper ps` lists the Pythons here")
                .into());
        }
    }
    Ok(Exit::Gone)
}

/// Reads a recording back that has come to its end, writes its exports, and says how it went.
pub(super) fn finish(
    context: &Context,
    spool: &Spool,
    meta: Meta,
    view: &ViewOptions,
    outputs: &[Output],
    failure: Option<io::Error>,
) -> anyhow::Result<Exit> {
    let mut recording = spool.read()?;
    recording.meta = meta;
    let (written, result) = output::write_all(context, &recording, view, outputs);
    summary::print(context, &recording, view, &written)?;
    match (failure, result) {
        // What could be written was; what kept the rest from it is what matters.
        (Some(error), _) => Err(spool.cut_short(&error, &written).into()),
        (None, Err(error)) if super::is_closed_pipe(&error) => Err(error),
        (None, Err(error)) => Err(spool.keep(&error).into()),
        (None, Ok(())) => Ok(Exit::Done),
    }
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

pub(super) fn meta(options: &Observe, view: &ViewOptions) -> Meta {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Meta {
        tool: concat!("pitviper ", env!("CARGO_PKG_VERSION")).into(),
        started_unix_ns: since.as_nanos() as u64,
        asked: Asked {
            rate_hz: rate(options.rate()),
            max_overhead: options.max_overhead(),
            duration_ns: options.duration.map(|interval| interval.0.as_nanos() as u64),
            consistency: match options.consistency {
                Consistency::Checked => recording::Consistency::Checked,
                Consistency::Exact => recording::Consistency::Exact,
                Consistency::Stop => recording::Consistency::Stop,
            },
            schedule: match options.schedule {
                Schedule::Poisson => recording::Schedule::Poisson,
                Schedule::Fixed => recording::Schedule::Fixed,
            },
        },
        achieved: None,
        view: view.clone(),
    }
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
