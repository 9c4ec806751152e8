//! `attach`, `run` and `record`: three ways to name what is observed.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::args::{Attach, Observe, Record, Run};
use super::failure::{Exit, Failure};
use super::observe::{self, Signals};
use super::open::{Context, Opened};
use super::output::{self, Output};
use crate::recording::ViewOptions;
use crate::target::locate::LocateError;
use crate::target::{Child, ProcessError};

/// How long we wait between two looks for a Python in a child, at first and at last.
const FIRST_PATIENCE: Duration = Duration::from_millis(1);
const LAST_PATIENCE: Duration = Duration::from_millis(50);

/// Observes a live process.
pub fn attach(context: &Context, args: Attach) -> anyhow::Result<Exit> {
    let plan = Plan::new(&args.observe, args.view.options()?)?;
    let pid = context.pid(&args.target)?;
    plan.attach(context, pid, ".pit")
}

/// Starts a program and observes it.
pub fn run(context: &Context, args: Run) -> anyhow::Result<Exit> {
    let plan = Plan::new(&args.observe, args.view.options()?)?;
    plan.run(context, &args.command, ".pit")
}

/// py-spy's spelling of both.
pub fn record(context: &Context, args: Record) -> anyhow::Result<Exit> {
    if args.gil {
        return Err(Failure::not_yet("--gil").into());
    }
    let plan = Plan::new(&args.observe, args.view.options()?)?;
    if args.command.is_empty() {
        let pid = context.pid(&args.target)?;
        return plan.attach(context, pid, ".svg");
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
    fn new(observe: &'a Observe, view: ViewOptions) -> anyhow::Result<Plan<'a>> {
        if let Some(option) = observe.later.used() {
            return Err(Failure::not_yet(option).into());
        }
        let outputs = output::plan(&observe.output, observe.format.as_deref())?;
        Ok(Plan { observe, view, outputs })
    }

    fn attach(self, context: &Context, pid: i32, default: &str) -> anyhow::Result<Exit> {
        let opened = context.open(pid)?;
        let signals = Signals::take()?;
        let outputs = self.outputs_or(pid, default)?;
        observe::observe(context, opened, self.observe, &self.view, &outputs, &signals, None)
    }

    fn run(self, context: &Context, command: &[std::ffi::OsString], default: &str) -> anyhow::Result<Exit> {
        let signals = Signals::take()?;
        let mut child = Child::start(command).map_err(|error| {
            let program = command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            Failure::new(Exit::Failed, format!("cannot start {program}: {error}"))
        })?;
        let Some(opened) = wait_for_python(context, &mut child, &signals)? else {
            context.say("the program ended before it was a Python that could be read; there is no recording");
            return observe::wait_for(&mut child, &signals);
        };
        let outputs = self.outputs_or(child.pid(), default)?;
        let observed =
            observe::observe(context, opened, self.observe, &self.view, &outputs, &signals, Some(&mut child));
        let exit = observe::wait_for(&mut child, &signals)?;
        match observed {
            Err(error) if exit == Exit::Child(0) => Err(error),
            Err(error) => {
                context.say(&format!("{error:#}"));
                Ok(exit)
            }
            Ok(_) => Ok(exit),
        }
    }

    /// The outputs that were asked for, or one under a name that tells process and time.
    fn outputs_or(&self, pid: i32, extension: &str) -> anyhow::Result<Vec<Output>> {
        if !self.outputs.is_empty() {
            return Ok(self.outputs.clone());
        }
        let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        output::plan(
            &[PathBuf::from(format!("pitviper-{pid}-{now}{extension}"))],
            self.observe.format.as_deref(),
        )
    }
}

/// Waits until a child has an interpreter that can be read; `None` when it has ended before.
fn wait_for_python(
    context: &Context,
    child: &mut Child,
    signals: &Signals,
) -> anyhow::Result<Option<Opened>> {
    let mut patience = FIRST_PATIENCE;
    loop {
        let error = match context.open(child.pid()) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => error,
        };
        if child.ended()?.is_some() {
            return Ok(None);
        }
        // A child is us before it is its program, a shell may become a Python later, and a Python takes a while to start.
        let may_come = match error.downcast_ref::<LocateError>() {
            Some(LocateError::NotPython { .. } | LocateError::NotInitialised { .. }) => true,
            Some(LocateError::NothingHolds { .. } | LocateError::NoVersion { .. }) => true,
            Some(LocateError::Process(ProcessError::Gone { .. })) => true,
            _ => matches!(
                error.downcast_ref::<ProcessError>(),
                Some(ProcessError::Zombie { .. } | ProcessError::Gone { .. })
            ),
        };
        if !may_come {
            return Err(error);
        }
        signals.ends(Some(child));
        thread::sleep(patience);
        patience = (patience * 2).min(LAST_PATIENCE);
    }
}
