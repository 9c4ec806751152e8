//! The heap of a running process as the live view shows it: looked at again and again, in a thread of its own.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TrySendError};

use super::Reading;
use super::census::merged;
use super::overview::{self, Sight};
use crate::cli::open::Opened;
use crate::model::At;
use crate::python::heap::HeapLook;
use crate::python::ladder::Row;
use crate::python::pools::Pool;
use crate::tui::memory::{Arena, Class, Memory, Type};

/// The shortest time from one look at the arenas to the next, and from one count of the objects to the next.
const EVERY: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Both become rarer where they would take more than one part in so many of a core.
const PART: u32 = 50;
/// No ladder is deeper.
const MAX_DEPTH: usize = 16;

/// Looks at a process until nobody listens any more or it is gone; `start` is the zero of all times.
pub(in crate::cli) fn watch(opened: Opened, start: Instant) -> io::Result<Receiver<Memory>> {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let look = move || {
        let mut watch = Watch { opened, start, memory: Memory::default() };
        let (mut count_due, mut counted) = (Instant::now(), false);
        while watch.opened.process.alive() {
            let began = Instant::now();
            // Where the memory is at all is told at once; which objects are in it takes longer.
            if counted && began >= count_due {
                watch.count();
                count_due = Instant::now() + COUNT_EVERY.max(began.elapsed() * PART);
            } else {
                watch.glance();
            }
            counted = true;
            if matches!(sender.try_send(watch.memory.clone()), Err(TrySendError::Disconnected(_))) {
                return;
            }
            thread::sleep(EVERY.max(began.elapsed() * PART));
        }
    };
    thread::Builder::new().name("heap".into()).spawn(look)?;
    Ok(receiver)
}

/// What was seen so far.
struct Watch {
    opened: Opened,
    start: Instant,
    memory: Memory,
}

impl Watch {
    fn now(&self) -> At {
        At(self.start.elapsed().as_nanos() as u64)
    }

    /// Looks at the headers of pools.
    fn glance(&mut self) {
        self.memory.at = self.now();
        let reading = Reading { swapped: false, pause: None };
        let look = reading.any_heap(&self.opened, None);
        match look.and_then(|heap| heap.glance(self.opened.process.memory())) {
            Ok(look) => self.arenas(&look),
            Err(error) => self.memory.unread = Some(error.to_string()),
        }
    }

    /// Counts the objects, and climbs the ladder.
    fn count(&mut self) {
        self.memory.at = self.now();
        let Sight { ladder, counted, unread, .. } = match overview::look(&mut self.opened, false) {
            Ok(sight) => sight,
            Err(error) => {
                self.memory.unread = Some(format!("{error:#}"));
                return;
            }
        };
        self.memory.unread = unread;
        self.memory.ladder.clear();
        rungs(&ladder.resident, 0, &mut self.memory.ladder);
        if let Some(counted) = counted {
            let types = merged(&counted).into_iter();
            self.memory.types =
                types.map(|of| Type { name: of.name, count: of.count, bytes: of.bytes }).collect();
            self.memory.counted = Some(self.memory.at);
            self.arenas(&counted.look);
        }
    }

    fn arenas(&mut self, look: &HeapLook) {
        let full = |pool: Pool| match pool {
            Pool::Used { used, capacity, .. } => {
                Some((u32::from(used) * 255 / u32::from(capacity).max(1)).min(255) as u8)
            }
            Pool::Free => Some(0),
            Pool::Fresh | Pool::Suspect | Pool::Swapped | Pool::Rest(_) => None,
        };
        let arenas = look.arenas.iter().map(|look| Arena {
            address: look.arena.address.0,
            size: look.arena.size,
            used: look.used(),
            pools: look.each_place().map(full).collect(),
        });
        self.memory.arenas = arenas.collect();
        let classes = look.sums().classes.into_iter();
        self.memory.classes =
            classes.map(|class| Class { size: class.size, used: class.used, free: class.free }).collect();
    }
}

/// The rows of a ladder one below the other.
fn rungs(row: &Row, depth: usize, out: &mut Vec<(usize, String, u64)>) {
    out.push((depth, row.what.clone(), row.bytes));
    if depth < MAX_DEPTH {
        row.parts.iter().for_each(|part| rungs(part, depth + 1, out));
    }
}
