//! Threads that were seen before: each is a track, defined again when more becomes known of it.

use rustc_hash::FxHashMap;

use super::intern::Interner;
use crate::model::{Define, Event, ProcessId, Track, TrackId, TrackKind};
use crate::python::ThreadLook;

/// What names a thread: its interpreter and its `pthread_t`, which may be used again for the next thread.
type Identity = (i64, u64);

/// All tracks of one process.
#[derive(Debug)]
pub struct Tracks {
    process: ProcessId,
    ids: FxHashMap<Identity, TrackId>,
    rows: Vec<Row>,
}

/// What was said of a track.
#[derive(Debug, Clone)]
struct Row {
    native: Option<u32>,
    name: Option<Box<str>>,
}

impl Tracks {
    /// No tracks yet.
    pub fn new(process: ProcessId) -> Tracks {
        Tracks { process, ids: FxHashMap::default(), rows: Vec::new() }
    }

    /// The track of a thread; defined when it is new, and again when its name changes or its native id becomes known.
    /// What a look does not know of a thread takes nothing away from what an earlier one did.
    pub fn id(&mut self, thread: &ThreadLook, interner: &mut Interner, out: &mut Vec<Event>) -> TrackId {
        let identity = (thread.interpreter, thread.thread);
        let native = thread.native.map(i32::cast_unsigned);
        let name = thread.name.as_deref();
        let known = self.ids.get(&identity).and_then(|id| Some((*id, self.rows.get(id.index())?)));
        // Another native id is another thread, which was given the same `pthread_t`.
        let known = known.filter(|(_, row)| native.is_none() || row.native.is_none() || row.native == native);
        let row = match known {
            Some((id, row))
                if (native.is_none() || row.native == native)
                    && (name.is_none() || row.name.as_deref() == name) =>
            {
                return id;
            }
            Some((_, row)) => {
                Row { native: native.or(row.native), name: name.map(Box::from).or_else(|| row.name.clone()) }
            }
            None => Row { native, name: name.map(Box::from) },
        };
        let id = known.map_or(TrackId(self.rows.len() as u32), |(id, _)| id);
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
        self.ids.insert(identity, id);
        match self.rows.get_mut(id.index()) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
        id
    }
}
