//! Threads that were seen before: each is a track, and each track knows when it was last looked at.

use rustc_hash::FxHashMap;

use super::intern::Interner;
use crate::model::{Define, Event, ProcessId, Track, TrackId, TrackKind};
use crate::python::ThreadLook;

/// What makes a thread the same as the one seen before: a `pthread_t` alone is used again for the next thread.
type Identity = (i64, u64, Option<i32>);

/// All tracks of one process.
#[derive(Debug)]
pub struct Tracks {
    process: ProcessId,
    ids: FxHashMap<Identity, TrackId>,
    rows: Vec<(Track, Option<Box<str>>)>,
}

impl Tracks {
    /// No tracks yet.
    pub fn new(process: ProcessId) -> Tracks {
        Tracks { process, ids: FxHashMap::default(), rows: Vec::new() }
    }

    /// The track of a thread; defined when it is new, and again when its name has changed.
    pub fn id(&mut self, thread: &ThreadLook, interner: &mut Interner, out: &mut Vec<Event>) -> TrackId {
        let identity = (thread.interpreter, thread.thread, thread.native);
        let name = thread.name.as_deref();
        let known = self.ids.get(&identity).copied();
        if let Some(id) = known
            && self.rows.get(id.index()).is_some_and(|(_, old)| old.as_deref() == name)
        {
            return id;
        }
        let track = Track {
            kind: TrackKind::Thread,
            process: self.process,
            interpreter: thread.interpreter,
            thread: thread.thread,
            native: thread.native.map(i32::cast_unsigned),
            name: name.map(|name| interner.string(name, out)),
            main: thread.main,
        };
        let id = known.unwrap_or(TrackId(self.rows.len() as u32));
        let row = (track, name.map(Box::from));
        match self.rows.get_mut(id.index()) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
        self.ids.insert(identity, id);
        out.push(Event::Define(Define::Track(id, track)));
        id
    }
}
