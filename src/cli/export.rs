//! `export`: any format from a recording; and the options by which every command looks at one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::failure::{Exit, Failure};
use super::open::Context;
use super::output::{self, Output};
use super::units::Interval;
use crate::recording::file::MAGIC;
use crate::recording::{self, By, Metric, Mode, OpenError, Recording, View, ViewError, ViewOptions};

/// How to look at a recording.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Views of the recording")]
pub struct ViewArgs {
    /// Which time counts [default: wall]
    #[arg(long, value_name = "MODE", value_parser = one_of(&Mode::ALL, Mode::name))]
    pub mode: Option<Mode>,
    /// What weights are [default: time]
    #[arg(long, value_name = "METRIC", value_parser = one_of(&Metric::ALL, Metric::name))]
    pub metric: Option<Metric>,
    /// Keep threads that wait.
    #[arg(short, long)]
    pub idle: bool,
    /// Put threads at the root of their stacks.
    #[arg(short, long)]
    pub threads: bool,
    /// Only threads whose `name (tid N)` matches.
    #[arg(long, value_name = "REGEX")]
    pub only_thread: Option<String>,
    /// Only main threads.
    #[arg(long)]
    pub main_thread: bool,
    /// Keep stacks with a frame whose `name (file)` matches. Repeatable.
    #[arg(long, value_name = "REGEX")]
    pub include: Vec<String>,
    /// Hide frames whose `name (file)` matches. Repeatable.
    #[arg(long, value_name = "REGEX")]
    pub exclude: Vec<String>,
    /// What counts as one frame [default: line]
    #[arg(long, value_name = "WHAT", value_parser = one_of(&By::ALL, By::name))]
    pub by: Option<By>,
    /// The same as --by function.
    #[arg(short = 'F', long, conflicts_with = "by")]
    pub function: bool,
    /// Leave line numbers out.
    #[arg(long)]
    pub nolineno: bool,
    /// Show a function that calls itself once.
    #[arg(long)]
    pub collapse_recursion: bool,
    /// Leave collections of garbage out of the stacks.
    #[arg(long)]
    pub no_gc: bool,
    /// Show whole file paths instead of their last parts.
    #[arg(long)]
    pub full_filenames: bool,
    /// Only what happened from this moment on, counted from the start: `1.5s`.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Interval>,
    /// Only what happened up to this moment.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Interval>,
}

/// `export`.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// The recording.
    #[arg(value_name = "FILE.pit")]
    pub file: PathBuf,
    /// The format, where no name says it.
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Write to this file; the name says the format. Repeatable; `-`, or none, is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// How to look at it; without any of these, as was asked for when it was recorded.
    #[command(flatten)]
    pub view: ViewArgs,
}

impl ViewArgs {
    /// The options as the recording takes them, checked: patterns compile, and nothing of it is for later versions.
    pub fn options(&self) -> anyhow::Result<ViewOptions> {
        let nanos = |time: &Interval| u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX);
        let options = ViewOptions {
            mode: self.mode.unwrap_or_default(),
            metric: self.metric.unwrap_or_default(),
            idle: self.idle,
            threads: self.threads,
            only_thread: self.only_thread.clone(),
            main_thread: self.main_thread,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            by: if self.function { By::Function } else { self.by.unwrap_or_default() },
            no_line_numbers: self.nolineno,
            collapse_recursion: self.collapse_recursion,
            no_gc: self.no_gc,
            full_filenames: self.full_filenames,
            from_ns: self.from.as_ref().map(nanos),
            to_ns: self.to.as_ref().map(nanos),
        };
        View::new(&Recording::default(), &options).map_err(view_failure)?;
        Ok(options)
    }

    /// The options, or where none were given those that the recording was made with.
    pub fn options_or(&self, recording: &Recording) -> anyhow::Result<ViewOptions> {
        if *self == ViewArgs::default() { Ok(recording.meta.view.clone()) } else { self.options() }
    }
}

/// Writes a recording in other formats.
pub fn export(context: &Context, args: &Export) -> anyhow::Result<Exit> {
    let outputs = match (args.output.as_slice(), &args.format) {
        ([], None) => {
            return Err(Failure::new(Exit::Usage, "nothing says which format to write")
                .hint(format!("add -o profile.svg, or -f with one of {}", crate::format::names()))
                .into());
        }
        ([], format) => output::plan(&[PathBuf::from("-")], format.as_deref())?,
        (paths, format) => output::plan(paths, format.as_deref())?,
    };
    // A wrong option is told before a large file is read.
    args.view.options()?;
    outputs.iter().map(Output::path).try_for_each(output::probe)?;
    let recording = open(context, &args.file)?;
    let options = args.view.options_or(&recording)?;
    if options.metric.is_memory() && recording.allocations.is_empty() {
        let message = format!("{}: nothing in it is put down to memory", args.file.display());
        let hint = "`pitviper attach --pid PID --metric bytes -o profile.pit` records it";
        return Err(Failure::new(Exit::Failed, message).hint(hint).into());
    }
    if outputs.iter().any(|output| same_file(output.path(), &args.file)) {
        let message = format!("{} would be written over itself", args.file.display());
        return Err(Failure::new(Exit::Usage, message).hint("name another file: -o OTHER").into());
    }
    let (_, result) = output::write_all(context, &recording, &options, &outputs);
    result.map(|()| Exit::Done)
}

/// Reads a recording as far as it is whole, and says so where it is not.
pub fn open(context: &Context, path: &Path) -> anyhow::Result<Recording> {
    let recording = recording::open(path).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        match error {
            OpenError::Io(_) | OpenError::Empty { .. } | OpenError::NotARecording => {
                Failure::new(Exit::Failed, message)
                    .hint("`pitviper attach --pid PID -o profile.pit` makes one")
            }
            OpenError::TooNew { .. } => Failure::new(Exit::Failed, message).hint("a newer pitviper reads it"),
        }
    })?;
    if let Some(damage) = &recording.damage {
        context.say(&format!("warning: {}: {damage}; what stands before that is used", path.display()));
    }
    Ok(recording)
}

/// The file and the moment that a word names: `FILE.pit@12s`. A file that is called so goes first.
pub fn named(word: &Path) -> (PathBuf, Option<Interval>) {
    let text = word.to_string_lossy();
    let split = text.rsplit_once('@').and_then(|(file, moment)| Some((file, moment.parse().ok()?)));
    match split.filter(|_| !word.exists()) {
        Some((file, moment)) => (file.into(), Some(moment)),
        None => (word.to_owned(), None),
    }
}

/// Whether a file begins as recordings do.
pub fn is_recording(path: &Path) -> bool {
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut first));
    read.is_ok() && first == MAGIC
}

/// Whether two names are of one file that is there.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

fn view_failure(error: ViewError) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

/// An option that takes one of a few words.
fn one_of<T>(all: &'static [T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Default + Send + Sync,
{
    let words = all.iter().map(|value| name(*value));
    PossibleValuesParser::new(words)
        .map(move |word| all.iter().copied().find(|value| name(*value) == word).unwrap_or_default())
}
