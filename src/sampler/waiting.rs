//! What threads wait for, as rows of a recording: each thing is said once and then named by its id.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::intern::Interner;
use super::state::Standing;
use crate::model::{Define, Event, State, Wait, WaitId};

/// The most things to wait for that one recording tells apart, for every connection of a server is one.
const MAX_WAITS: usize = 1 << 16;
/// What is said of a wait where the kernel does not say what for.
const UNKNOWN: &str = "unknown";
/// What is said of those that are too many.
const OTHER: &str = "other";

/// Everything that was waited for.
#[derive(Debug, Default)]
pub struct WaitIds {
    ids: FxHashMap<Arc<str>, WaitId>,
}

impl WaitIds {
    /// The state of a thread, after what it waits for was defined.
    pub fn state(&mut self, standing: Standing, interner: &mut Interner, out: &mut Vec<Event>) -> State {
        match standing {
            Standing::Python => State::Python,
            Standing::Native => State::Native,
            Standing::WantsGil => State::WantsGil,
            Standing::Unknown => State::Unknown,
            Standing::Waiting(what) => {
                State::Waiting(self.id(what.unwrap_or_else(|| UNKNOWN.into()), interner, out))
            }
        }
    }

    fn id(&mut self, what: Arc<str>, interner: &mut Interner, out: &mut Vec<Event>) -> WaitId {
        if let Some(id) = self.ids.get(&what) {
            return *id;
        }
        if self.ids.len() >= MAX_WAITS && &*what != OTHER {
            return self.id(OTHER.into(), interner, out);
        }
        let id = WaitId(self.ids.len() as u32);
        let text = interner.string(&what, out);
        out.push(Event::Define(Define::Wait(id, Wait { text })));
        self.ids.insert(what, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once_and_too_many_are_one() {
        let (mut waits, mut interner, mut out) = (WaitIds::default(), Interner::default(), Vec::new());
        let waiting = |what: &str| Standing::Waiting(Some(what.into()));
        let sleep = waits.state(waiting("sleep"), &mut interner, &mut out);
        assert_eq!(sleep, State::Waiting(WaitId(0)));
        assert_eq!(out.len(), 2, "a string and a wait: {out:?}");
        assert_eq!(waits.state(waiting("sleep"), &mut interner, &mut out), sleep);
        assert_eq!(out.len(), 2);
        for peer in 1..MAX_WAITS {
            waits.state(waiting(&peer.to_string()), &mut interner, &mut out);
        }
        let other = waits.state(waiting("one more"), &mut interner, &mut out);
        assert_eq!(waits.state(waiting("and one more"), &mut interner, &mut out), other);
        assert_eq!(waits.state(waiting("sleep"), &mut interner, &mut out), sleep);
    }
}
