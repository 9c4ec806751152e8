//! `report`: one HTML page from a recording, beside another one where a baseline is named.

use std::path::{Path, PathBuf};

use clap::Args;

use super::export::{self, ViewArgs};
use super::failure::{Exit, Failure};
use super::open::Context;
use super::output;
use crate::format::report;
use crate::recording::View;

/// `report`.
#[derive(Debug, Clone, Args)]
pub struct Report {
    /// The recording.
    #[arg(value_name = "FILE.pit")]
    pub file: PathBuf,
    /// Show what is different from this recording.
    #[arg(long, value_name = "OTHER.pit")]
    pub baseline: Option<PathBuf>,
    /// Write to this file; `-` is standard output [default: the recording's name with .html].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How to look at it; without any of these, as was asked for when it was recorded.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Writes the report.
pub fn report(context: &Context, args: &Report) -> anyhow::Result<Exit> {
    args.view.options()?;
    let path = args.output.clone().unwrap_or_else(|| name(&args.file));
    let output = output::plan(std::slice::from_ref(&path), Some("html"))?.remove(0);
    output::probe(&path)?;
    for file in [Some(&args.file), args.baseline.as_ref()].into_iter().flatten() {
        if export::same_file(&path, file) {
            let message = format!("{} would be written over itself", file.display());
            return Err(Failure::new(Exit::Usage, message).hint("name another file: -o OTHER.html").into());
        }
    }
    let page = page(context, args)?;
    output.put(&|out| out.write_all(&page))?;
    if !output.is_stdout() {
        context.say(&format!("wrote {} ({})", path.display(), output.opens_with()));
    }
    Ok(Exit::Done)
}

/// The page itself.
pub(super) fn page(context: &Context, args: &Report) -> anyhow::Result<Vec<u8>> {
    let recording = export::open(context, &args.file)?;
    let options = args.view.options_or(&recording)?;
    let baseline = args.baseline.as_ref().map(|file| export::open(context, file)).transpose()?;
    let view = View::new(&recording, &options)?;
    // A span of time of the one recording says nothing of the other.
    let whole = crate::recording::ViewOptions { from_ns: None, to_ns: None, ..options.clone() };
    let beside = baseline.as_ref().map(|baseline| View::new(baseline, &whole)).transpose()?;
    let mut page = Vec::new();
    report::write_beside(&view, beside.as_ref(), &mut page)?;
    Ok(page)
}

/// The report of a recording, in the directory that we are in.
fn name(file: &Path) -> PathBuf {
    let name = file.file_name().map_or_else(|| "profile".into(), PathBuf::from);
    name.with_extension("html")
}
