//! `top`: the live view, and what is printed where there is no terminal for it.

mod live;
mod plain;
mod save;
mod session;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use super::args::{Color, Observe, Target};
use super::attach;
use super::export;
use super::failure::{Exit, Failure};
use super::observe::{self, Signals};
use super::open::Context;
use super::output;
use super::units::Interval;
use crate::model::Nanos;
use crate::recording::{By, ViewOptions};
use crate::target::Child;
use crate::tui::Query;
use crate::tui::query::PRESENT;
use session::Session;

/// How far the history reaches back where nothing else is asked for.
const HISTORY: Interval = Interval(Duration::from_secs(600));
/// The time between pictures where nothing else is asked for.
const REFRESH: Interval = Interval(Duration::from_secs(1));
/// No screen is drawn more often than this.
const LEAST_REFRESH: Duration = Duration::from_millis(100);

/// `top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// Print one table of what there was to see in one second, or in --duration, and end.
    #[arg(long)]
    once: bool,
    /// With --once, a recording instead of a process; `FILE.pit@12s` is a moment in it.
    #[arg(value_name = "FILE.pit", requires = "once", conflicts_with_all = ["pid", "name", "command"])]
    file: Option<PathBuf>,
    /// The time from one picture to the next [default: 1s].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    refresh: Option<Interval>,
    /// How far back the history reaches, which `w` writes [default: 10m].
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    history: Option<Interval>,
    /// Draw without characters beyond ASCII.
    #[arg(long)]
    ascii: bool,
    /// Which process.
    #[command(flatten)]
    target: Target,
    /// How to observe it.
    #[command(flatten)]
    observe: Observe,
    /// How it is looked at.
    #[command(flatten)]
    view: export::ViewArgs,
    /// A program and its arguments instead; on a terminal, what it prints is not shown.
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["pid", "name"])]
    command: Vec<OsString>,
}

/// Shows what a process is doing, for as long as somebody looks.
pub fn top(context: &Context, args: &Top) -> anyhow::Result<Exit> {
    if let Some(option) = args.observe.later.used() {
        return Err(Failure::not_yet(option).into());
    }
    let plan = Plan::new(context, args)?;
    if let Some(file) = &args.file {
        return plain::of_file(context, &plan, file);
    }
    if !args.command.is_empty() {
        return plan.run(context, &args.command);
    }
    let subjects = attach::running(context, context.pids(&args.target)?, args.observe.subprocesses)?;
    plan.show(context, subjects, &Signals::take()?, None)
}

/// What is to be shown, and where.
struct Plan<'a> {
    args: &'a Top,
    options: ViewOptions,
    refresh: Duration,
    history: Nanos,
    /// There is a terminal, and somebody who looks at it.
    live: bool,
    json: bool,
    color: Color,
}

impl<'a> Plan<'a> {
    fn new(context: &Context, args: &'a Top) -> anyhow::Result<Plan<'a>> {
        let mut options = args.view.options()?;
        if args.file.is_none() && options.metric.is_memory() {
            return Err(Failure::new(
                Exit::Usage,
                format!("--metric {} is for recordings", options.metric.name()),
            )
            .hint("`pitviper attach --pid PID --metric bytes -o profile.svg` makes one")
            .into());
        }
        if args.view.by.is_none() {
            options.by = By::Function;
        }
        let json = context.global.json;
        if json && !args.once {
            return Err(Failure::new(Exit::Usage, "--json is for one table, not for a view that goes on")
                .hint("add --once; or `pitviper attach --json`")
                .into());
        }
        let live = !args.once && io::stdout().is_terminal() && io::stdin().is_terminal();
        let refresh = args.refresh.unwrap_or(REFRESH).0.max(LEAST_REFRESH);
        let history = Nanos(args.history.unwrap_or(HISTORY).0.as_nanos() as u64);
        Ok(Plan { args, options, refresh, history, live, json, color: context.global.color })
    }

    /// Starts a program, and shows what it is doing; its exit code becomes ours.
    fn run(&self, context: &Context, command: &[OsString]) -> anyhow::Result<Exit> {
        let signals = Signals::take()?;
        let child = if self.live { Child::start_silent(command) } else { Child::start(command) };
        let mut child = child.map_err(|error| attach::not_started(command, &error))?;
        let shown = self.show_child(context, &mut child, &signals);
        let failed = shown.err().map(|error| super::complain(context.paint(), &error));
        if child.ended()?.is_none() {
            context.say("the program goes on; Ctrl-C ends it");
        }
        match (observe::wait_for(&mut child, &signals)?, failed) {
            (Exit::Child(0), Some(failed)) => Ok(failed),
            (exit, _) => Ok(exit),
        }
    }

    fn show_child(&self, context: &Context, child: &mut Child, signals: &Signals) -> anyhow::Result<()> {
        match attach::started(context, child, signals, self.args.observe.subprocesses)? {
            Some(subjects) => self.show(context, subjects, signals, Some(child)).map(|_| ()),
            None => {
                context.say("the program ended before it was a Python that could be read");
                Ok(())
            }
        }
    }

    fn show(
        &self,
        context: &Context,
        subjects: observe::Subjects,
        signals: &Signals,
        child: Option<&mut Child>,
    ) -> anyhow::Result<Exit> {
        let outputs = output::plan(&self.args.observe.output, self.args.observe.format.as_deref())?;
        outputs.iter().map(output::Output::path).try_for_each(output::probe)?;
        // Nobody else writes on a screen that is ours.
        let hushed = context.hushed();
        let session =
            Session::start(context, if self.live { &hushed } else { context }, subjects, self, outputs)?;
        if self.live {
            live::show(self, session, signals, child)
        } else {
            plain::show(self, session, signals, child)
        }
    }

    /// What the first picture shows.
    fn query(&self) -> Query {
        let refresh = Nanos(self.refresh.as_nanos() as u64);
        let rate = super::run::rate(self.args.observe.rate());
        // Where looks are rare, the present is longer: it has some.
        let looks = Nanos(rate.map_or(0, |rate| (3e9 / rate) as u64));
        let present = PRESENT.max(refresh).max(looks);
        let pressed = Query { options: self.options.clone(), present, ..Query::default() };
        let since = self.options.from_ns.map(crate::model::At);
        Query { since: since.unwrap_or_default(), ..pressed }
    }
}
