//! The command line as clap sees it: one struct a command, shared groups flattened in.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::units::{Interval, Rate, Share};
use super::{export, gc, heap, info, layout as layouts, report, top, view};
use crate::sampler::{Depth, HeapOptions};

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
    /// The live view: functions, call tree, flame graph, threads, memory and collector
    Top(Box<top::Top>),
    /// Print every thread's stack, now
    Dump(Dump),
    /// What the process holds: where its memory is, and which objects take it
    Heap(heap::HeapArgs),
    /// The garbage collector, live and summed up
    Gc(gc::Args),
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
    /// Print the manual page, of pitviper or of one of its commands
    Man(Man),
    /// One HTML page from a recording: flame graph, heat map, threads, collector; it needs no network
    Report(report::Report),
    /// Serve a recording's report on this machine and open it
    View(view::Show),
}

/// Which process.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Target")]
pub struct Target {
    /// The process to look at, decimal or 0x hex.
    #[arg(short, long, value_name = "PID", value_delimiter = ',', allow_negative_numbers = true, value_parser = super::units::pid)]
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
    #[arg(short, long, value_name = "RATE", allow_negative_numbers = true)]
    pub rate: Option<Rate>,
    /// Stop after this time: `200ms`, `1.5s`, `2m`; a bare number is seconds.
    #[arg(short, long, value_name = "TIME", allow_negative_numbers = true)]
    pub duration: Option<Interval>,
    /// When the looks happen: at random (nothing of the target's own rhythm shows) or at a fixed beat.
    #[arg(long, value_enum, default_value_t = Schedule::Poisson, value_name = "HOW")]
    pub schedule: Schedule,
    /// What to do about stacks that change while they are read.
    #[arg(long, value_enum, default_value_t = Consistency::Checked, value_name = "HOW")]
    pub consistency: Consistency,
    /// The share of time for which `--consistency exact` may pause the target.
    #[arg(long, default_value = "1%", value_name = "SHARE")]
    pub pause_budget: Share,
    /// How much of a core we may use; over it, looks become rarer [default: 5% without --rate, else any].
    #[arg(long, value_name = "SHARE")]
    pub max_overhead: Option<Share>,
    /// How deep to look into the heap beside the stacks: what one read gives and the arenas ten times a second, the pools
    /// once a second; where that would cost more than the budget leaves, less often.
    #[arg(long, value_enum, default_value_t = HeapDepth::Pools, value_name = "DEPTH")]
    pub heap: HeapDepth,
    /// Count all objects by type every so often, such as `30s`, without stopping the target; over the budget, less often.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub census_every: Option<Interval>,
    /// Follow the children too, and theirs, as they come and go; the processes named need not be Pythons themselves.
    #[arg(short, long)]
    pub subprocesses: bool,
    /// Record which instruction each stack was at, specialised ones by their own names (3.11 and later).
    #[arg(long)]
    pub opcodes: bool,
    /// Keep the whole command line in the recording, not program and script alone.
    #[arg(long)]
    pub show_cmdline: bool,
    /// Keep the lines of source that were met, as they are on disk; the report shows them.
    #[arg(long)]
    pub source: bool,
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
pub const RATE: Rate = Rate::Hertz(100.0);
/// What observing may cost where no rate is asked for.
pub const OVERHEAD: Share = Share(0.05);

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

    /// How the heap is followed, if it is; memory is put down to code where `attribute` says so.
    pub fn heap(&self, attribute: bool) -> Option<HeapOptions> {
        let depth = match self.heap {
            HeapDepth::Off => None,
            HeapDepth::Counters => Some(Depth::Counters),
            HeapDepth::Arenas => Some(Depth::Arenas),
            HeapDepth::Pools => Some(Depth::Pools),
        };
        if depth.is_none() && self.census_every.is_none() && !attribute {
            return None;
        }
        let census_every = self.census_every.map(|interval| interval.0);
        Some(HeapOptions { depth, max_overhead: self.max_overhead(), census_every, attribute })
    }
}

/// How deep the heap is looked into beside the stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeapDepth {
    /// Not at all.
    Off,
    /// Numbers that one read gives: resident memory, arenas, blocks where the build counts them.
    Counters,
    /// The table of arenas too: where each is, and how many of its pools are in use.
    Arenas,
    /// The headers of pools too: blocks in use of each size class, and of each arena.
    Pools,
}

/// When looks happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// At random moments, `--rate` a second on average.
    Poisson,
    /// Every `1/--rate` seconds.
    Fixed,
}

/// What is done about a stack that changes while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Consistency {
    /// Read it again, then keep what is certain; the target is never paused.
    Checked,
    /// Where that leaves a part out, pause the target for one look, within --pause-budget.
    Exact,
    /// Pause the target for every look.
    Stop,
}

/// Options that are decided but have nothing to act on yet; each says so when it is used.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Not yet")]
pub struct Later {
    /// Rotate the recording at this size.
    #[arg(long, hide = true, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Native frames.
    #[arg(short, long, hide = true)]
    pub native: bool,
}

impl Later {
    /// The first option that was used although its time has not come, and what was said to it.
    pub fn used(&self) -> Option<&'static str> {
        first_used(&[(self.max_size.is_some(), "--max-size"), (self.native, "--native")])
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
    /// The children too, and theirs: as many of them as are Pythons.
    #[arg(short, long)]
    pub subprocesses: bool,
    /// Whole file paths instead of their last part.
    #[arg(long)]
    pub full_filenames: bool,
    /// Look so many times, and mark which threads moved.
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: Option<u32>,
    /// The time between looks [default: 1s]; alone, it means two looks.
    #[arg(long, value_name = "TIME")]
    pub every: Option<Interval>,
    /// Show the values of locals, but not of what is called a password or the like; -ll shows more of each.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub locals: u8,
    /// Options whose time has not come.
    #[command(flatten)]
    pub later: DumpLater,
}

/// Options of `dump` whose time has not come.
#[derive(Debug, Clone, Default, Args)]
pub struct DumpLater {
    /// Native frames.
    #[arg(short, long, hide = true)]
    pub native: bool,
}

impl DumpLater {
    /// The first option that was used although its time has not come.
    pub fn used(&self) -> Option<&'static str> {
        first_used(&[(self.native, "--native")])
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

/// `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The command; without one, pitviper itself.
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}
