//! `attach`, `run` and `record`: three ways to name what is observed.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::args::{Attach, Observe, Record, Run};
use super::failure::{Exit, Failure};
use super::follow;
use super::observe::{self, Signals, Subjects};
use super::open::{Context, Opened};
use super::output::{self, Output};
use crate::recording::{Mode, ViewOptions};
use crate::target::{Answer, Child, Family, Process};

/// How long we wait between two looks for a Python in a child, at least and at most.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);
const MOST_PATIENCE: Duration = Duration::from_millis(50);
/// In between, a Python is found after this part of the time that it took to start.
const PATIENCE: u32 = 16;

/// Observes a live process.
pub fn attach(context: &Context, args: Attach) -> anyhow::Result<Exit> {
    let plan = Plan::new(context.global.json, &args.observe, args.view.options()?)?;
    let pids = context.pids(&args.target)?;
    plan.attach(context, pids, ".pit")
}

/// Starts a program and observes it.
pub fn run(context: &Context, args: Run) -> anyhow::Result<Exit> {
    let plan = Plan::new(context.global.json, &args.observe, args.view.options()?)?;
    plan.run(context, &args.command, ".pit")
}

/// py-spy's spelling of both.
pub fn record(context: &Context, args: Record) -> anyhow::Result<Exit> {
    let mut view = args.view;
    if args.gil {
        view.mode = Some(Mode::Gil);
    }
    let plan = Plan::new(context.global.json, &args.observe, view.options()?)?;
    if args.command.is_empty() {
        let pids = context.pids(&args.target)?;
        return plan.attach(context, pids, ".svg");
    }
    plan.run(context, &args.command, ".svg")
}

/// What is to be done, checked before anything is touched.
struct Plan<'a> {
    observe: &'a Observe,
    view: ViewOptions,
    outputs: Vec<Output>,
}

impl<'a> Plan<'a> {
    fn new(json: bool, observe: &'a Observe, view: ViewOptions) -> anyhow::Result<Plan<'a>> {
        if let Some(option) = observe.later.used() {
            return Err(Failure::not_yet(option).into());
        }
        let outputs = output::plan(&observe.output, observe.format.as_deref())?;
        if json && outputs.iter().any(Output::is_stdout) {
            return Err(Failure::new(Exit::Usage, "--json and -o - both want standard output")
                .hint("name a file instead of -")
                .into());
        }
        Ok(Plan { observe, view, outputs })
    }

    fn attach(self, context: &Context, pids: Vec<i32>, default: &str) -> anyhow::Result<Exit> {
        let subjects = running(context, pids, self.follows())?;
        self.probe(default)?;
        let signals = Signals::take()?;
        let outputs = self.outputs_or(subjects.pids.first().copied().unwrap_or_default(), default)?;
        observe::observe(context, subjects, self.observe, &self.view, &outputs, &signals, None)
    }

    fn follows(&self) -> bool {
        self.observe.subprocesses
    }

    fn run(self, context: &Context, command: &[std::ffi::OsString], default: &str) -> anyhow::Result<Exit> {
        self.probe(default)?;
        let signals = Signals::take()?;
        let mut child = Child::start(command).map_err(|error| not_started(command, &error))?;
        // Whatever becomes of the observation, the program goes on, and we are here until its end.
        let observed = self.observe_child(context, &mut child, &signals, default);
        let failed = observed.err().map(|error| super::complain(context.paint(), &error));
        match (observe::wait_for(&mut child, &signals)?, failed) {
            (Exit::Child(0), Some(failed)) => Ok(failed),
            (exit, _) => Ok(exit),
        }
    }

    fn observe_child(
        &self,
        context: &Context,
        child: &mut Child,
        signals: &Signals,
        default: &str,
    ) -> anyhow::Result<()> {
        let Some(subjects) = started(context, child, signals, self.follows())? else {
            context.say("the program ended before it was a Python that could be read; there is no recording");
            return Ok(());
        };
        let outputs = self.outputs_or(child.pid(), default)?;
        observe::observe(context, subjects, self.observe, &self.view, &outputs, signals, Some(child))
            .map(|_| ())
    }

    /// Makes sure that what is recorded can be written at the end, while there is nothing to lose.
    fn probe(&self, default: &str) -> anyhow::Result<()> {
        if self.outputs.is_empty() {
            return output::probe(&output::default_name(0, default));
        }
        self.outputs.iter().map(Output::path).try_for_each(output::probe)
    }

    /// The outputs that were asked for, or one under a name that tells process and time.
    fn outputs_or(&self, pid: i32, extension: &str) -> anyhow::Result<Vec<Output>> {
        if !self.outputs.is_empty() {
            return Ok(self.outputs.clone());
        }
        output::plan(&[output::default_name(pid, extension)], self.observe.format.as_deref())
    }
}

/// Processes that are there; `follows` says whether those that they start are wanted too.
pub(super) fn running(context: &Context, pids: Vec<i32>, follows: bool) -> anyhow::Result<Subjects> {
    let may_come = |pid: i32, error: &anyhow::Error| {
        follow::answer(error) != Answer::Closed && Process::open(&context.proc, pid).is_ok()
    };
    let mut opened = Vec::new();
    for pid in &pids {
        match context.open(*pid) {
            Ok(python) => opened.push(python),
            // A shell may start a Python later, or become one.
            Err(error) if follows && may_come(*pid, &error) => {}
            Err(error) => return Err(error),
        }
    }
    let family = follows.then(|| Family::new(&context.proc, &pids));
    Ok(Subjects { pids, opened, family })
}

/// A program that was started, as soon as it is a Python; `None` when it has ended before.
pub(super) fn started(
    context: &Context,
    child: &mut Child,
    signals: &Signals,
    follows: bool,
) -> anyhow::Result<Option<Subjects>> {
    let pids = vec![child.pid()];
    if follows {
        let family = Some(Family::new(&context.proc, &pids));
        return Ok(Some(Subjects { pids, opened: Vec::new(), family }));
    }
    let opened = wait_for_python(context, child, signals)?;
    Ok(opened.map(|opened| Subjects { pids, opened: vec![opened], family: None }))
}

/// Why a program could not be started, and how it can be.
pub(super) fn not_started(command: &[std::ffi::OsString], error: &io::Error) -> Failure {
    let program = command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    let hint = match error.kind() {
        _ if program.ends_with(".py") => {
            format!("name the Python that runs it: pitviper run -- python3 {program}")
        }
        io::ErrorKind::NotFound => "it is no file here, nor is one of that name on PATH".into(),
        _ => "it must be a file that may be executed: pitviper run -- python3 app.py".into(),
    };
    Failure::new(Exit::Failed, format!("cannot start {program}: {error}")).hint(hint)
}

/// Waits until a child has an interpreter that can be read; `None` when it has ended before.
fn wait_for_python(
    context: &Context,
    child: &mut Child,
    signals: &Signals,
) -> anyhow::Result<Option<Opened>> {
    let began = Instant::now();
    loop {
        let error = match context.open(child.pid()) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => error,
        };
        if child.ended()?.is_some() {
            return Ok(None);
        }
        // A child is us before it is its program, a shell may become a Python later, and a Python takes a while to start.
        if follow::answer(&error) == Answer::Closed {
            return Err(error);
        }
        signals.ends(Some(child));
        thread::sleep((began.elapsed() / PATIENCE).clamp(LEAST_PATIENCE, MOST_PATIENCE));
    }
}
