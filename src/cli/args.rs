//! The command line as clap sees it: one struct a command, shared groups flattened in.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::units::{Interval, Rate, Share};
use super::{export, info, layout as layouts};

/// Look at a running CPython from outside, and see where its time goes.
#[derive(Debug, Parser)]
#[command(name = "pitviper", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start with:  pitviper attach --pid PID -o profile.svg")]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say which layout was chosen and why, and what was tried.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colour: NO_COLOR and CLICOLOR_FORCE are respected.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Add layouts, or override those with the same name.
    #[arg(long, global = true, value_name = "DIR")]
    pub layouts: Option<PathBuf>,
    /// Print results as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe a live process; leave a recording and exports of it
    Attach(Attach),
    /// Start a program and observe it; its exit code becomes ours
    Run(Run),
    /// py-spy's spelling of attach and run; without -o it writes an SVG
    Record(Record),
    /// Print every thread's stack, now
    Dump(Dump),
    /// Write any format from a recording
    Export(export::Export),
    /// Say what a recording holds, who made it, and how good it is
    Info(info::Info),
    /// List the Pythons here: pid, version, build, user, command, readable or why not
    Ps(Ps),
    /// Say why it would not work, and the command that mends it
    Doctor(Doctor),
    /// The per-version layouts of CPython's structs
    #[command(subcommand)]
    Layout(Layout),
    /// Print a completion script
    Completions(Completions),
    /// Print the manual page
    Man,
    /// The live view (not yet)
    Top(NotYet),
    /// What the process holds (not yet)
    Heap(NotYet),
    /// The garbage collector, live and summed up (not yet)
    Gc(NotYet),
    /// One HTML page from a recording (not yet)
    Report(NotYet),
    /// Serve a recording's report and open it (not yet)
    View(NotYet),
}

/// Which process.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Target")]
pub struct Target {
    /// The process to look at, decimal or 0x hex.
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = super::units::pid)]
    pub pid: Vec<i32>,
    /// Running Pythons whose command line matches.
    #[arg(long, value_name = "REGEX", conflicts_with = "pid")]
    pub name: Option<String>,
}

/// How to observe.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Observing")]
pub struct Observe {
    /// Looks a second: `100`, `1khz`, `max` [default: 100].
    #[arg(short, long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Stop after this time: `200ms`, `1.5s`, `2m`; a bare number is seconds.
    #[arg(short, long, value_name = "TIME")]
    pub duration: Option<Interval>,
    /// When the looks happen: at random (nothing of the target's own rhythm shows) or at a fixed beat.
    #[arg(long, value_enum, default_value_t = Schedule::Poisson, value_name = "HOW")]
    pub schedule: Schedule,
    /// How much of a core we may use; over it, looks become rarer [default: 5% without --rate, else any].
    #[arg(long, value_name = "SHARE")]
    pub max_overhead: Option<Share>,
    /// Keep the whole command line in the recording, not program and script alone.
    #[arg(long)]
    pub show_cmdline: bool,
    /// Write to this file; the name says the format. Repeatable; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// The format, where the one FILE's name does not say it.
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Accepted for py-spy's users: pitviper never stops the target unless asked to.
    #[arg(long, hide = true)]
    pub nonblocking: bool,
    /// Options whose time has not come.
    #[command(flatten)]
    pub later: Later,
}

/// Looks a second where none are asked for.
const RATE: Rate = Rate::Hertz(100.0);
/// What observing may cost where no rate is asked for.
const OVERHEAD: Share = Share(0.05);

impl Observe {
    /// Looks a second.
    pub fn rate(&self) -> Rate {
        self.rate.unwrap_or(RATE)
    }

    /// The share of one core that we may use; `None` is any. Who asks for a rate gets it, at any cost.
    pub fn max_overhead(&self) -> Option<f64> {
        let default = self.rate.is_none().then_some(OVERHEAD);
        self.max_overhead.or(default).map(|share| share.0)
    }
}

/// When looks happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// At random moments, `--rate` a second on average.
    Poisson,
    /// Every `1/--rate` seconds.
    Fixed,
}

/// Options that are decided but have nothing to act on yet; each says so when it is used.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Not yet")]
pub struct Later {
    /// What to do about stacks that change while they are read.
    #[arg(long, hide = true, value_name = "HOW")]
    pub consistency: Option<String>,
    /// How much of the time the target may be stopped.
    #[arg(long, hide = true, value_name = "SHARE")]
    pub pause_budget: Option<String>,
    /// What to record of the heap.
    #[arg(long, hide = true, value_name = "TIER")]
    pub heap: Option<String>,
    /// Take a census of the heap every so often.
    #[arg(long, hide = true, value_name = "TIME")]
    pub census_every: Option<String>,
    /// Rotate the recording at this size.
    #[arg(long, hide = true, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Record opcodes.
    #[arg(long, hide = true)]
    pub opcodes: bool,
    /// Keep the source lines seen.
    #[arg(long, hide = true)]
    pub source: bool,
    /// Native frames.
    #[arg(short, long, hide = true)]
    pub native: bool,
    /// Follow children.
    #[arg(short, long, hide = true)]
    pub subprocesses: bool,
}

impl Later {
    /// The first option that was used although its time has not come, and what was said to it.
    pub fn used(&self) -> Option<&'static str> {
        let consistency = self.consistency.as_deref().is_some_and(|how| how != "checked");
        let heap = self.heap.as_deref().is_some_and(|tier| tier != "off");
        first_used(&[
            (consistency, "--consistency"),
            (self.pause_budget.is_some(), "--pause-budget"),
            (heap, "--heap"),
            (self.census_every.is_some(), "--census-every"),
            (self.max_size.is_some(), "--max-size"),
            (self.opcodes, "--opcodes"),
            (self.source, "--source"),
            (self.native, "--native"),
            (self.subprocesses, "--subprocesses"),
        ])
    }
}

fn first_used(options: &[(bool, &'static str)]) -> Option<&'static str> {
    options.iter().find_map(|(used, name)| used.then_some(*name))
}

/// `attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Which process.
    #[command(flatten)]
    pub target: Target,
    /// How to observe it.
    #[command(flatten)]
    pub observe: Observe,
    /// How exports see the recording.
    #[command(flatten)]
    pub view: export::ViewArgs,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// How to observe it.
    #[command(flatten)]
    pub observe: Observe,
    /// How exports see the recording.
    #[command(flatten)]
    pub view: export::ViewArgs,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// `record`.
#[derive(Debug, Args)]
pub struct Record {
    /// Only time holding the GIL: the same as --mode gil.
    #[arg(short, long, hide = true)]
    pub gil: bool,
    /// Which process.
    #[command(flatten)]
    pub target: Target,
    /// How to observe it.
    #[command(flatten)]
    pub observe: Observe,
    /// How exports see the recording.
    #[command(flatten)]
    pub view: export::ViewArgs,
    /// The program and its arguments, where no process is named.
    #[arg(trailing_var_arg = true, conflicts_with_all = ["pid", "name"], value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// `dump`.
#[derive(Debug, Args)]
pub struct Dump {
    /// Which processes.
    #[command(flatten)]
    pub target: Target,
    /// Whole file paths instead of their last part.
    #[arg(long)]
    pub full_filenames: bool,
    /// Options whose time has not come.
    #[command(flatten)]
    pub later: DumpLater,
}

/// Options of `dump` whose time has not come.
#[derive(Debug, Clone, Default, Args)]
pub struct DumpLater {
    /// Values of locals.
    #[arg(long, hide = true)]
    pub locals: bool,
    /// Look several times.
    #[arg(long, hide = true, value_name = "TIMES")]
    pub repeat: Option<String>,
    /// The time between looks.
    #[arg(long, hide = true, value_name = "TIME")]
    pub every: Option<String>,
    /// Follow children.
    #[arg(short, long, hide = true)]
    pub subprocesses: bool,
    /// Native frames.
    #[arg(short, long, hide = true)]
    pub native: bool,
}

impl DumpLater {
    /// The first option that was used although its time has not come.
    pub fn used(&self) -> Option<&'static str> {
        first_used(&[
            (self.locals, "--locals"),
            (self.repeat.is_some(), "--repeat"),
            (self.every.is_some(), "--every"),
            (self.subprocesses, "--subprocesses"),
            (self.native, "--native"),
        ])
    }
}

/// `ps`.
#[derive(Debug, Args)]
pub struct Ps {}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Which process; without one, this machine and our own rights.
    #[command(flatten)]
    pub target: Target,
}

/// `layout`.
#[derive(Debug, Subcommand)]
pub enum Layout {
    /// Make a layout from a build's DWARF
    Derive(layouts::Derive),
    /// List the layouts
    List,
    /// Say which layout serves a process, why, and what its self-checks say
    Check(Check),
}

/// `layout check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Which process.
    #[command(flatten)]
    pub target: Target,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell.
    pub shell: clap_complete::Shell,
}

/// A command whose time has not come: takes anything.
#[derive(Debug, Args)]
pub struct NotYet {
    /// Whatever was said.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<std::ffi::OsString>,
}
