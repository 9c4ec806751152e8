//! What keeps nearly empty arenas from being given back, for `heap arenas`.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::{plain, units};
use crate::python::census::{Blocks, Counted};
use crate::python::heap::ArenaLook;
use crate::python::pin::{Held, Pinned};

/// How many kinds of block are told apart in a row.
const MAX_KINDS: usize = 4;

/// Blocks of one kind, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(super) struct PinDump {
    /// The type of the objects, or of those that keep the blocks; null where no object is known to.
    name: Option<String>,
    /// Whether they are freed objects that wait for their next use.
    cached: bool,
    count: u64,
    bytes: u64,
}

/// What is in an arena, if it is nearly empty.
pub(super) fn dump(arena: &ArenaLook, counted: Option<&Counted>) -> Option<Vec<PinDump>> {
    let counted = counted?;
    let pinned = counted.pinned.iter().find(|pinned| pinned.arena == arena.arena.address)?;
    let pins = pinned.blocks.iter().map(|(held, blocks)| PinDump {
        name: match held {
            Held::By(of) => counted.types.get(*of).map(|(class, _)| class.name.clone()),
            Held::Cached | Held::Raw => None,
        },
        cached: *held == Held::Cached,
        count: blocks.count,
        bytes: blocks.bytes,
    });
    Some(pins.collect())
}

/// A row for each nearly empty arena, those with the fewest blocks first.
pub(super) fn print(counted: &Counted, top: usize, out: &mut impl Write) -> io::Result<()> {
    let count = |pinned: &Pinned| pinned.blocks.iter().map(|(_, blocks)| blocks.count).sum::<u64>();
    let mut pinned: Vec<&Pinned> = counted.pinned.iter().collect();
    if pinned.is_empty() || top == 0 {
        return Ok(());
    }
    pinned.sort_by_key(|pinned| (count(pinned), pinned.arena));
    writeln!(out, "\nNearly empty arenas, and the blocks for which they cannot be given back:")?;
    for of in pinned.iter().take(top) {
        let named = |(held, blocks): &(Held<usize>, Blocks)| {
            let name = match held {
                Held::By(of) => counted.types.get(*of).map_or("", |(class, _)| &class.name),
                Held::Cached => "freed objects that wait for their next use",
                Held::Raw => "of no known object",
            };
            format!("{} {}", units::count(blocks.count), plain::line(name))
        };
        let mut kinds: Vec<String> = of.blocks.iter().take(MAX_KINDS).map(named).collect();
        let others: u64 = of.blocks.iter().skip(MAX_KINDS).map(|(_, blocks)| blocks.count).sum();
        if others > 0 {
            kinds.push(format!("{} others", units::count(others)));
        }
        writeln!(out, "{:>#14x} {:>8}  {}", of.arena.0, units::count(count(of)), kinds.join(", "))?;
    }
    if pinned.len() > top {
        writeln!(out, "and {} more", pinned.len() - top)?;
    }
    Ok(())
}
