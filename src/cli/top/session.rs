//! Processes under observation, and the history that they fill.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::Receiver;

use super::Plan;
use crate::cli::failure::Exit;
use crate::cli::fleet::Fleet;
use crate::cli::follow::Follower;
use crate::cli::observe::{self, Signals, Subjects};
use crate::cli::open::Context;
use crate::cli::output::Output;
use crate::cli::spool::Spool;
use crate::cli::{heap, run};
use crate::model::{At, Nanos};
use crate::recording::{Account, Achieved, Meta, Origin, Recorder, Recording, ViewOptions};
use crate::target::{Child, own};
use crate::tui::memory::Memory;
use crate::tui::{History, Vitals};

/// How long the end is waited for at a time.
const BEAT: Duration = Duration::from_millis(50);
/// What happens at present is measured over this time.
const RECENT: Duration = Duration::from_secs(3);

/// Processes under observation.
pub(super) struct Session<'a> {
    context: &'a Context,
    /// The same, while something is shown.
    quiet: &'a Context,
    pids: Vec<i32>,
    fleet: Fleet<'a>,
    follower: Option<Follower<'a>>,
    history: History,
    /// A recording that goes on beside it, where one was asked for.
    beside: Option<Beside>,
    meta: Meta,
    cpu: Duration,
    /// Moments of the last seconds: when, how many looks there had been, and what we had used.
    marks: VecDeque<(Instant, u64, Duration)>,
    /// When the last of them ended, on the recording's clock.
    ended: Option<At>,
    stopped: bool,
    folded: bool,
}

/// A recording that is written while it is shown.
struct Beside {
    spool: Spool,
    recorder: Recorder<File>,
    outputs: Vec<Output>,
}

impl<'a> Session<'a> {
    /// Begins to look.
    pub(super) fn start(
        context: &'a Context,
        quiet: &'a Context,
        subjects: Subjects,
        plan: &Plan<'a>,
        outputs: Vec<Output>,
    ) -> anyhow::Result<Session<'a>> {
        let Subjects { pids, opened, family } = subjects;
        let options = &plan.args.observe;
        let meta = observe::meta(options, &plan.options);
        let beside = Beside::start(outputs, pids.first().copied().unwrap_or_default(), &meta)?;
        let cpu = own::cpu_time();
        let mut fleet = Fleet::new(options, false);
        let mut follower = family.map(|family| Follower::new(quiet, family));
        for opened in opened {
            if let Some(follower) = &mut follower {
                follower.found(&opened.process);
            }
            fleet.add(opened, Duration::ZERO, Origin::Unknown)?;
        }
        let history = History::new(meta.clone(), plan.history);
        Ok(Session {
            context,
            quiet,
            pids,
            fleet,
            follower,
            history,
            beside,
            meta,
            cpu,
            marks: VecDeque::new(),
            ended: None,
            stopped: false,
            folded: false,
        })
    }

    /// The first process that was named.
    pub(super) fn pid(&self) -> i32 {
        self.pids.first().copied().unwrap_or_default()
    }

    /// The time since the start.
    pub(super) fn now(&self) -> At {
        self.ended.unwrap_or_else(|| At(self.fleet.start().elapsed().as_nanos() as u64))
    }

    /// Waits until there is something new, but not for longer than `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        self.fleet.wait(self.follower.as_ref().map_or(timeout, |follower| follower.patience(timeout)));
    }

    /// Takes in what was seen since this was last done.
    pub(super) fn collect(&mut self) -> anyhow::Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let (history, beside) = (&mut self.history, &mut self.beside);
        self.fleet
            .collect(&mut |event| {
                if let Some(beside) = beside {
                    beside.recorder.event(event)?;
                }
                history.add(event.clone()).map_err(io::Error::other)
            })
            .context("taking in what was seen")?;
        self.fleet.stop_ended();
        if let Some(follower) = self.follower.as_mut().filter(|_| !self.stopped) {
            follower.follow(&mut self.fleet);
        }
        let now = self.now();
        let ended = self.history.tidy(now);
        // A file beside it remembers everybody.
        if self.beside.is_none() {
            self.fleet.reuse(ended);
        }
        if self.history.grain().is_some() && !std::mem::replace(&mut self.folded, true) {
            self.fleet.trouble("older samples are folded: within a second or more, their order is not known");
        }
        let over = self.stopped || self.follower.as_ref().is_none_or(Follower::is_over);
        if self.fleet.is_empty() && over {
            self.ended = Some(now);
        }
        Ok(())
    }

    /// Whether there is nobody left to look at.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether a signal or the time says that it is over.
    pub(super) fn is_over(&self, plan: &Plan<'_>, signals: &Signals, child: Option<&mut Child>) -> bool {
        let duration = plan.args.observe.duration.map(|interval| interval.0);
        signals.ends(child) || duration.is_some_and(|duration| self.fleet.start().elapsed() >= duration)
    }

    /// What is remembered.
    pub(super) fn recording(&self) -> &Recording {
        self.history.recording()
    }

    /// What is remembered, as a recording that ends now and is looked at in this way.
    pub(super) fn as_recording<T>(&mut self, view: ViewOptions, write: impl FnOnce(&Recording) -> T) -> T {
        let account = Account::of(self.history.recording());
        let achieved = Achieved {
            duration_ns: self.now().0,
            due: account.looks + account.missed + account.errors,
            taken: account.looks,
            missed: account.missed,
            errors: account.errors,
            own_cpu_ns: own::cpu_time().saturating_sub(self.cpu).as_nanos() as u64,
            own_memory_bytes: own::peak_memory().unwrap_or(0),
            held_back: self.fleet.is_held_back(),
            paused_ns: self.fleet.paused().0,
            watched_ns: 0,
        };
        let meta = self.history.meta_mut();
        (meta.view, meta.achieved) = (view, Some(achieved));
        let written = write(self.history.recording());
        self.history.meta_mut().achieved = None;
        written
    }

    /// Has the memory of the first process looked at from now on.
    pub(super) fn look_at_memory(&self) -> anyhow::Result<Receiver<Memory>> {
        let opened = self.quiet.open(self.pid())?;
        Ok(heap::watch(opened, self.fleet.start())?)
    }

    /// Has everybody looked at so many times a second from now on.
    pub(super) fn set_rate(&mut self, rate: f64) {
        self.fleet.set_rate(rate);
        self.history.meta_mut().asked.rate_hz = Some(rate);
        self.marks.clear();
    }

    /// How well it goes.
    pub(super) fn vitals(&mut self) -> Vitals {
        let mark = (Instant::now(), self.fleet.looks, own::cpu_time());
        self.marks.push_back(mark);
        while self.marks.len() > 2 && self.marks.get(1).is_some_and(|(at, ..)| mark.0 - *at >= RECENT) {
            self.marks.pop_front();
        }
        let (at, looks, cpu) = self.marks.front().copied().unwrap_or(mark);
        let seconds = (mark.0 - at).as_secs_f64();
        let members = self.fleet.members().max(1) as f64;
        let rate = (mark.1 - looks) as f64 / members / seconds;
        Vitals {
            rate_asked: self.history.recording().meta.asked.rate_hz,
            rate: (seconds > 0.0 && !self.has_ended()).then_some(rate),
            overhead: if seconds > 0.0 { (mark.2.saturating_sub(cpu)).as_secs_f64() / seconds } else { 0.0 },
            paused: self.fleet.paused(),
            held_back: self.fleet.is_held_back(),
            history: self.history.span(),
            ended: self.has_ended(),
        }
    }

    /// Has all sampling stopped, and takes in what is left.
    pub(super) fn run_out(&mut self) -> anyhow::Result<()> {
        self.stopped = true;
        self.fleet.stop();
        while !self.has_ended() {
            self.wait(BEAT);
            self.collect()?;
        }
        Ok(())
    }

    /// Whether anybody was looked at yet.
    pub(super) fn has_seen_anything(&self) -> bool {
        self.fleet.looks > 0
    }

    /// Ends everything; writes what was to be recorded beside it.
    pub(super) fn end(mut self, ours: bool) -> anyhow::Result<Exit> {
        self.run_out()?;
        let elapsed = self.now();
        let (met, follows) = (self.fleet.has_met(), self.follower.is_some());
        let mut total = self.fleet.finish()?;
        if follows {
            total.outcome.duration = Nanos(elapsed.0);
        }
        let nothing = total.outcome.taken == 0 && (total.outcome.target_gone || !met);
        let Some(beside) = self.beside else {
            return if nothing {
                observe::nothing(self.context, &self.pids, met, ours)
            } else {
                Ok(Exit::Done)
            };
        };
        if nothing {
            beside.spool.discard();
            return observe::nothing(self.context, &self.pids, met, ours);
        }
        let watched_ns = total.watched.as_nanos() as u64;
        let achieved = run::achieved(&total.outcome, own::cpu_time().saturating_sub(self.cpu));
        let meta = Meta { achieved: Some(Achieved { watched_ns, ..achieved }), ..self.meta };
        let failure = beside.recorder.finish(&meta).err();
        let view = meta.view.clone();
        observe::finish(self.context, &beside.spool, meta, &view, &beside.outputs, failure)
    }
}

impl Beside {
    /// Begins to write, where anything is to be written.
    fn start(outputs: Vec<Output>, pid: i32, meta: &Meta) -> anyhow::Result<Option<Beside>> {
        if outputs.is_empty() {
            return Ok(None);
        }
        let spool = Spool::open(&outputs, pid)?;
        let file = spool.file().try_clone().with_context(|| spool.writing())?;
        let recorder =
            Recorder::new(file, meta).with_context(|| spool.writing()).inspect_err(|_| spool.discard())?;
        Ok(Some(Beside { spool, recorder, outputs }))
    }
}
