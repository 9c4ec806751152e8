//! `heap`: what a process holds.

mod overview;
mod arenas;
mod pins;
mod census;
mod diff;
mod recorded;
mod watch;

pub(super) use watch::watch;

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::open::{Context, Opened};
use super::units::{self, Interval};
use crate::memory::Memory;
use crate::python::heap::{Heap, NoHeap};
use crate::python::obmalloc::NoAllocator;
use crate::target::still::{NoStill, Still};

/// `heap`: without a further word, the overview.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HeapArgs {
    #[command(subcommand)]
    of: Option<Of>,
    #[command(flatten)]
    overview: overview::Args,
}

/// What is asked of the heap.
#[derive(Debug, Subcommand)]
enum Of {
    /// The arenas, pools and size classes of the allocator of small objects, and how full each is
    Arenas(arenas::Args),
    /// Every object by its type, and what the allocator spends on it
    Census(census::Args),
    /// What there is more and less of in one census, or at one moment of a recording, than in an earlier one
    Diff(diff::Args),
}

/// How the memory of a process is read.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Reading {
    /// Read what lies in swap too, which brings it back into the target's memory.
    #[arg(long)]
    swapped: bool,
    /// Hold the target still, for this long at most, and read a copy of that moment [default: never].
    #[arg(long, value_name = "TIME")]
    pause: Option<Interval>,
}

/// Runs what was asked for.
pub fn heap(context: &Context, heap: &HeapArgs) -> anyhow::Result<Exit> {
    match &heap.of {
        None => match &heap.overview.file {
            Some(file) => recorded::of_file(context, file, heap.overview.top),
            None => overview::overview(context, &heap.overview),
        },
        Some(Of::Arenas(args)) => arenas::arenas(context, args),
        Some(Of::Census(args)) => census::census(context, args),
        Some(Of::Diff(args)) => diff::diff(context, args),
    }
}

impl Reading {
    /// Copies the process at one moment, if that was asked for, and says what it cost.
    fn still<'a>(&self, context: &Context, opened: &'a Opened) -> anyhow::Result<Option<Still<'a>>> {
        let Some(Interval(budget)) = self.pause else { return Ok(None) };
        let process = &opened.process;
        let still = Still::take(process, budget).map_err(|error| given_up(process.pid(), &error))?;
        context.say(&format!(
            "process {} was held for {:.1} ms, in which {} were copied",
            process.pid(),
            1e3 * still.length.as_secs_f64(),
            units::bytes(still.copied)
        ));
        Ok(Some(still))
    }

    /// The heap of a process, or of the copy of it.
    fn heap(&self, opened: &Opened, still: Option<&Still<'_>>) -> Result<Heap, NoHeap> {
        let Opened { process, located, python } = opened;
        let mut heap = Heap::open(memory(opened, still), process, located, python)?;
        self.read_as_asked(&mut heap, still);
        Ok(heap)
    }

    /// The same where it does not matter whether there is pymalloc. A stripped build that never made an arena has nothing that
    /// shows where they would be.
    fn any_heap(&self, opened: &Opened, still: Option<&Still<'_>>) -> Result<Heap, NoHeap> {
        match self.heap(opened, still) {
            Err(NoHeap::Allocator(NoAllocator::NotFound)) => {
                let mut heap =
                    Heap::without_allocator(&opened.process, &opened.located).map_err(NoAllocator::Layout)?;
                self.read_as_asked(&mut heap, still);
                Ok(heap)
            }
            found => found,
        }
    }

    fn read_as_asked(&self, heap: &mut Heap, still: Option<&Still<'_>>) {
        heap.swapped = self.swapped && still.is_none();
        if let Some(still) = still {
            heap.pages = still.pages();
        }
    }
}

/// The memory of a process, or the copy of it.
fn memory<'a>(opened: &'a Opened, still: Option<&'a Still<'_>>) -> &'a dyn Memory {
    still.map_or(opened.process.memory(), |still| &still.memory)
}

/// What the user is told of a pause that came to nothing.
fn given_up(pid: i32, error: &NoStill) -> anyhow::Error {
    Failure::new(Exit::Failed, format!("process {pid}: {error}"))
        .hint("without --pause it is read while it runs, and pools that change meanwhile are counted")
        .into()
}

/// What the user is told of a heap that cannot be read.
fn unreadable(pid: i32, error: &NoHeap) -> anyhow::Error {
    Failure::new(Exit::NotReadable, format!("the heap of process {pid}: {error}")).into()
}
