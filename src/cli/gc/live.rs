//! The collector of a process: a table an interval while it runs, and the summary at the end.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use crossbeam_channel::RecvTimeoutError;

use super::moment::{Moment, Seen};
use super::table::{self, Bars};
use super::{Args, file, told};
use crate::cli::args::OVERHEAD;
use crate::cli::failure::{Exit, Failure};
use crate::cli::observe::Signals;
use crate::cli::open::{Context, Opened};
use crate::cli::run::{self, Run};
use crate::cli::spool::Spool;
use crate::cli::units::Rate;
use crate::model::{At, Event};
use crate::python::collector::State;
use crate::python::gc::Collectors;
use crate::recording::gc::{Collector, Generation, Sums, Work};
use crate::recording::{Asked, Meta, Recorder, Schedule};
use crate::sampler::{self, PROCESS};
use crate::target::{Process, own};

/// Looks a second where none are asked for: fewer miss most collections of the young.
const RATE: Rate = Rate::Hertz(1000.0);
/// From one table to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often signals are looked after.
const BEAT: Duration = Duration::from_millis(50);
/// Counting the permanent generation may take this part of an interval; it is a chain that is followed link by link.
const COUNTING: u32 = 10;

/// The collectors of a process, read for the table.
struct Watch {
    process: Arc<Process>,
    collectors: Collectors,
    permanent: Vec<(i64, Option<u64>)>,
    /// How long the permanent generation took to count.
    counting: Duration,
    seen: Vec<Seen>,
}

/// Shows the collector of a process until its end or ours, then sums up.
pub(super) fn of_process(context: &Context, args: &Args, pid: i32) -> anyhow::Result<Exit> {
    let opened = context.open(pid)?;
    let collectors = Collectors::bind(&opened.located).map_err(|error| {
        Failure::new(Exit::NotReadable, format!("the collector of process {pid}: {error}"))
    })?;
    let options = options(args, &opened);
    let mut meta = meta(&options);
    let signals = Signals::take()?;
    let spool = Spool::open(&[], pid)?;
    let mut recorder = Recorder::new(spool.file(), &meta).with_context(|| spool.writing())?;
    context
        .say(&format!("watching the collector of process {pid}, Python {}; Ctrl-C sums up", options.version));

    let cpu = own::cpu_time();
    let (run, _) = Run::start(opened, options, None, false)?;
    let mut watch = Watch::new(Arc::clone(&run.process), collectors);
    let interval = args.interval.map_or(INTERVAL, |interval| interval.0);
    let (began, mut last, mut works) = (Instant::now(), At(0), Vec::new());
    let mut screen = Screen::new(context, args);
    loop {
        match run.inbox.recv_timeout(BEAT.min(interval)) {
            Ok(events) => {
                for event in &events {
                    recorder.event(event).with_context(|| spool.writing())?;
                    if let Event::Gc(row) = event {
                        Work::add_to(&mut works, row);
                    }
                }
                run.inbox.give_back(events);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if signals.ends(None) || !run.process.alive() {
            run.stop.stop();
        }
        let now = At(began.elapsed().as_nanos() as u64);
        if u128::from(now.since(last).0) >= interval.as_nanos() {
            watch.read(interval);
            let moment =
                Moment { at: now, span: now.since(last), seen: watch.with(std::mem::take(&mut works)) };
            screen.show(&moment)?;
            last = now;
        }
    }
    watch.read(interval);
    let (outcome, gone) = run.end()?;
    if outcome.taken == 0 && gone {
        return Err(run::gone_too_soon(pid).into());
    }
    meta.achieved = Some(run::achieved(&outcome, own::cpu_time().saturating_sub(cpu)));
    recorder.finish(&meta).with_context(|| spool.writing())?;
    let recording = spool.read()?;
    let works = Work::of(&recording, At(0), recording.end());
    let end = recording.end();
    let moment = Moment { at: end, span: end.since(At(0)), seen: watch.with(works) };
    file::sum_up(context, &recording, &moment, &mut io::stdout().lock())?;
    Ok(Exit::Done)
}

fn options(args: &Args, opened: &Opened) -> sampler::Options {
    sampler::Options {
        rate: run::rate(args.rate.unwrap_or(RATE)),
        max_overhead: args.rate.is_none().then_some(OVERHEAD.0),
        duration: args.duration.map(|duration| duration.0),
        ..run::defaults(opened, false)
    }
}

fn meta(options: &sampler::Options) -> Meta {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Meta {
        tool: concat!("pitviper ", env!("CARGO_PKG_VERSION")).into(),
        started_unix_ns: since.as_nanos() as u64,
        asked: Asked {
            rate_hz: options.rate,
            max_overhead: options.max_overhead,
            duration_ns: options.duration.map(|duration| duration.as_nanos() as u64),
            schedule: Schedule::Poisson,
            ..Asked::default()
        },
        ..Meta::default()
    }
}

impl Watch {
    fn new(process: Arc<Process>, collectors: Collectors) -> Watch {
        let mut watch =
            Watch { process, collectors, permanent: Vec::new(), counting: Duration::ZERO, seen: Vec::new() };
        watch.read(Duration::MAX);
        watch
    }

    /// Reads how the collectors stand now; what cannot be read any more stays as it was.
    fn read(&mut self, interval: Duration) {
        let memory = self.process.memory();
        let states = self.collectors.read(memory).to_vec();
        if states.is_empty() {
            return;
        }
        if self.counting.saturating_mul(COUNTING) < interval {
            let began = Instant::now();
            let frozen =
                |state: &State| (state.interpreter, self.collectors.frozen(memory, state.interpreter));
            self.permanent = states.iter().map(frozen).collect();
            self.counting = began.elapsed();
        }
        let pid = self.process.pid().cast_unsigned();
        let seen = states.iter().map(|state| {
            let mut counted = self.permanent.iter().filter(|(id, _)| *id == state.interpreter);
            Seen {
                pid,
                collector: collector(state),
                work: Work::new(PROCESS, state.interpreter),
                collecting: state.collecting,
                permanent: counted.next().and_then(|(_, count)| *count),
            }
        });
        self.seen = seen.collect();
    }

    /// What was read last, with what was done.
    fn with(&self, works: Vec<Work>) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        for work in works {
            if let Some(seen) = seen.iter_mut().find(|seen| seen.work.interpreter == work.interpreter) {
                seen.work = work;
            }
        }
        seen
    }
}

/// A state as a recording would tell it.
fn collector(state: &State) -> Collector {
    let generation = |generation: &crate::python::collector::Generation| Generation {
        count: Some(generation.count.into()),
        threshold: Some(generation.threshold.into()),
        totals: generation.totals.map(|totals| Sums {
            collections: totals.collections,
            collected: totals.collected,
            uncollectable: totals.uncollectable,
        }),
    };
    Collector {
        process: PROCESS,
        interpreter: state.interpreter,
        enabled: state.enabled,
        tracked: state.tracked,
        long_lived: state.long_lived.map(|(all, _)| all),
        pending: state.long_lived.map(|(_, pending)| pending),
        generations: state.generations.each_ref().map(generation),
    }
}

/// Where tables go: one below the other, or on a terminal one over the other.
struct Screen {
    json: bool,
    bars: Bars,
    /// How many lines the last table has, where the next one takes its place.
    lines: Option<usize>,
}

impl Screen {
    fn new(context: &Context, args: &Args) -> Screen {
        let over = io::stdout().is_terminal();
        Screen { json: context.global.json, bars: Bars::of(args.ascii), lines: over.then_some(0) }
    }

    fn show(&mut self, moment: &Moment) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            return told::line(moment, &mut out);
        }
        let mut text = Vec::new();
        table::print(moment, self.bars, &mut text)?;
        writeln!(text)?;
        if let Some(lines) = &mut self.lines {
            // Up to where the last table began, and away with all below.
            let up = if *lines > 0 { format!("\x1b[{lines}A\x1b[J") } else { String::new() };
            write!(out, "{up}")?;
            *lines = text.iter().filter(|byte| **byte == b'\n').count();
        }
        out.write_all(&text)?;
        Ok(out.flush()?)
    }
}
