//! Threads that were seen before: each is a track, defined again when more becomes known of it.

use rustc_hash::FxHashMap;

use super::intern::Interner;
use crate::model::{At, Define, Event, Nanos, ProcessId, Track, TrackId, TrackKind};
use crate::python::ThreadLook;

/// A thread that no look met for so long has ended. If it had not, it would be told as another one.
const GONE: Nanos = Nanos(10 * Nanos::SECOND.0);

/// What names a thread: its interpreter and its `pthread_t`, which may be used again for the next thread, and the number that
/// is its own for ever, where there is one.
type Identity = (i64, u64, Option<u64>);

/// The tracks of one process whose threads live.
#[derive(Debug)]
pub struct Tracks {
    process: ProcessId,
    rows: FxHashMap<Identity, Row>,
    /// How many there were.
    count: u32,
    /// The time of this look, and of the one at which those that have ended were let go.
    now: At,
    tidied: At,
}

/// What was said of a track, and when its thread was last met.
#[derive(Debug, Clone)]
struct Row {
    id: TrackId,
    native: Option<u32>,
    name: Option<Box<str>>,
    met: At,
}

impl Tracks {
    /// No tracks yet.
    pub fn new(process: ProcessId) -> Tracks {
        Tracks { process, rows: FxHashMap::default(), count: 0, now: At(0), tidied: At(0) }
    }

    /// Begins a look, and lets go of threads that have ended.
    pub fn look(&mut self, now: At) {
        self.now = now;
        if now.since(self.tidied) >= GONE {
            self.tidied = now;
            self.rows.retain(|_, row| now.since(row.met) < GONE);
        }
    }

    /// The track of a thread; defined when it is new, and again when its name changes or its native id becomes known.
    /// What a look does not know of a thread takes nothing away from what an earlier one did.
    pub fn id(&mut self, thread: &ThreadLook, interner: &mut Interner, out: &mut Vec<Event>) -> TrackId {
        let identity = (thread.interpreter, thread.thread, thread.number);
        let native = thread.native.map(i32::cast_unsigned);
        let name = thread.name.as_deref();
        // Another native id is another thread, which was given the same `pthread_t`.
        let known = self.rows.get_mut(&identity).filter(|row| match (native, row.native) {
            (Some(now), Some(before)) => now == before,
            // So is, where neither that nor a number tells, another name. A name of the kernel's is never without a native id.
            _ => {
                thread.number.is_some()
                    || name.zip(row.name.as_deref()).is_none_or(|(now, before)| now == before)
            }
        });
        let row = match known {
            Some(row)
                if (native.is_none() || row.native == native)
                    && (name.is_none() || row.name.as_deref() == name) =>
            {
                row.met = self.now;
                return row.id;
            }
            Some(row) => Row {
                id: row.id,
                native: native.or(row.native),
                name: name.map(Box::from).or_else(|| row.name.take()),
                met: self.now,
            },
            None => {
                self.count += 1;
                Row { id: TrackId(self.count - 1), native, name: name.map(Box::from), met: self.now }
            }
        };
        let id = row.id;
        let track = Track {
            kind: TrackKind::Thread,
            process: self.process,
            interpreter: thread.interpreter,
            thread: thread.thread,
            native: row.native,
            name: row.name.as_deref().map(|name| interner.string(name, out)),
            main: thread.main,
        };
        out.push(Event::Define(Define::Track(id, track)));
        self.rows.insert(identity, row);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_met_for_long_is_let_go_and_another_one_afterwards() {
        let (mut tracks, mut interner) = (Tracks::new(ProcessId(0)), Interner::default());
        let mut meet = |second: u64, numbers: &[u64]| {
            tracks.look(At(second * Nanos::SECOND.0));
            let mut thread = ThreadLook::default();
            let ids = numbers.iter().map(|number| {
                thread.thread = *number;
                tracks.id(&thread, &mut interner, &mut Vec::new()).0
            });
            (ids.collect::<Vec<u32>>(), tracks.rows.len())
        };
        assert_eq!(meet(0, &[7, 8]), (vec![0, 1], 2));
        // Missing in a few looks is not the end.
        assert_eq!(meet(5, &[7]), (vec![0], 2));
        assert_eq!(meet(9, &[8, 7]), (vec![1, 0], 2));
        for second in 10..=20 {
            meet(second, &[7]);
        }
        assert_eq!(meet(21, &[7, 8]), (vec![0, 2], 2));
    }
}
