//! The one way from the sampler to everything else: bounded, and honest about what had no room.

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::model::Event;

/// How many batches may wait. At one batch a look and 1 kHz this is four seconds.
const CAPACITY: usize = 4096;
/// Definitions of this many events are held back at most before we wait for room: none is ever dropped.
const MAX_HELD: usize = 1 << 16;

/// The sampler's end.
#[derive(Debug)]
pub struct Outbox {
    sender: Sender<Vec<Event>>,
    held: Vec<Event>,
    dropped: u64,
}

/// Makes a channel; the receiver yields batches of events in the order in which they were sent.
pub fn channel() -> (Outbox, Receiver<Vec<Event>>) {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    (Outbox { sender, held: Vec::new(), dropped: 0 }, receiver)
}

/// Nobody is listening any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl Outbox {
    /// Sends what one look gave. Where there is no room, its samples are dropped and counted, and the rest is held back.
    pub fn send(&mut self, events: &mut Vec<Event>) -> Result<(), Closed> {
        if self.held.is_empty() {
            std::mem::swap(&mut self.held, events);
        } else {
            self.held.append(events);
        }
        if self.held.len() > MAX_HELD {
            return self.flush();
        }
        match self.sender.try_send(std::mem::take(&mut self.held)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Closed),
            Err(TrySendError::Full(mut batch)) => {
                batch.retain(|event| match event {
                    Event::Samples(samples) => {
                        self.dropped += samples.len() as u64;
                        false
                    }
                    _ => true,
                });
                self.held = batch;
                Ok(())
            }
        }
    }

    /// Sends what is held back, however long that takes.
    pub fn flush(&mut self) -> Result<(), Closed> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.sender.send(std::mem::take(&mut self.held)).map_err(|_| Closed)
    }

    /// How many samples had no room since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{At, Define, Flags, Nanos, Quality, Sample, State, StringId, TrackId};

    fn sample() -> Sample {
        Sample {
            from: At(0),
            until: At(1),
            count: 1,
            track: TrackId(0),
            stack: None,
            weight: Nanos(1),
            cpu: None,
            state: State::Unknown,
            flags: Flags::default(),
            quality: Quality::Whole,
        }
    }

    #[test]
    fn samples_without_room_are_counted_and_definitions_arrive_all_the_same() {
        let (mut outbox, receiver) = channel();
        let looks = CAPACITY as u32 + 100;
        for n in 0..looks {
            let define = Event::Define(Define::String(StringId(n), "".into()));
            outbox.send(&mut vec![define, Event::Samples(vec![sample()])]).unwrap();
        }
        assert_eq!(outbox.take_dropped(), 100);
        let mut events: Vec<_> = receiver.try_iter().flatten().collect();
        outbox.flush().unwrap();
        events.extend(receiver.try_iter().flatten());
        let ids: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Define(Define::String(id, _)) => Some(id.0),
                _ => None,
            })
            .collect();
        assert_eq!(ids, (0..looks).collect::<Vec<_>>());
    }

    #[test]
    fn a_listener_that_left_is_noticed() {
        let (mut outbox, receiver) = channel();
        drop(receiver);
        assert_eq!(outbox.send(&mut vec![Event::Samples(vec![sample()])]), Err(Closed));
    }
}
