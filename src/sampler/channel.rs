//! The one way from the sampler to everything else: bounded, and honest about what had no room.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, TryRecvError, TrySendError};

use crate::model::{Event, Sample};

/// How many batches may wait. With [`MAX_ROWS`](super::runs::MAX_ROWS) it bounds what a reader that falls behind costs in memory: 10 MB. At
/// 300,000 samples a second, no two of them equal, it is half a second; at less than ten batches a second, three.
const CAPACITY: usize = 32;
/// How many batches that have been read wait to be used again: one that is filled, one that is read, and some for a
/// reader that falls behind now and then.
const SPARE: usize = 4;
/// Definitions of this many events are held back at most before we wait for room: none is ever dropped.
const MAX_HELD: usize = 1 << 16;

/// The sampler's end.
#[derive(Debug)]
pub struct Outbox {
    sender: Sender<Vec<Event>>,
    read: Receiver<Vec<Event>>,
    held: Vec<Event>,
    spare: Vec<Vec<Sample>>,
    dropped: u64,
}

/// Everybody else's end.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver<Vec<Event>>,
    read: Sender<Vec<Event>>,
}

/// Makes a channel.
pub fn channel() -> (Outbox, Inbox) {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let (give, take) = crossbeam_channel::bounded(SPARE);
    let outbox = Outbox { sender, read: take, held: Vec::new(), spare: Vec::new(), dropped: 0 };
    (outbox, Inbox { receiver, read: give })
}

/// Nobody is listening any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl Outbox {
    /// Sends events and leaves an empty vector in their place. Where there is no room, the samples among them are
    /// dropped and counted, and the rest is held back.
    pub fn send(&mut self, events: &mut Vec<Event>) -> Result<(), Closed> {
        if self.held.is_empty() {
            std::mem::swap(&mut self.held, events);
        } else {
            self.held.append(events);
        }
        if let Ok(mut read) = self.read.try_recv() {
            self.take_samples(&mut read);
            *events = read;
        }
        if self.held.len() > MAX_HELD {
            return self.flush();
        }
        match self.sender.try_send(std::mem::take(&mut self.held)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Closed),
            Err(TrySendError::Full(mut batch)) => {
                self.dropped += self.take_samples(&mut batch);
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

    /// An empty vector for the next rows: one that has been used, where one has come back.
    pub fn spare_rows(&mut self) -> Vec<Sample> {
        self.spare.pop().unwrap_or_default()
    }

    /// How many samples had no room since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Takes the samples out of a batch, keeps their vectors to be used again, and says how many samples there were.
    fn take_samples(&mut self, batch: &mut Vec<Event>) -> u64 {
        let mut samples = 0;
        batch.retain_mut(|event| {
            let Event::Samples { rows, .. } = event else { return true };
            samples += rows.iter().map(|row| u64::from(row.count)).sum::<u64>();
            rows.clear();
            if self.spare.len() < SPARE {
                self.spare.push(std::mem::take(rows));
            }
            false
        });
        samples
    }
}

impl Inbox {
    /// Waits until one of these has something to say or has come to its end, but not for longer than `timeout`.
    pub fn wait<'a>(inboxes: impl Iterator<Item = &'a Inbox>, timeout: Duration) {
        let mut select = Select::new();
        for inbox in inboxes {
            select.recv(&inbox.receiver);
        }
        // Whose turn it is shows when they are asked.
        let _ = select.ready_timeout(timeout);
    }

    /// The next batch of events, in the order in which they were sent, if one comes in time.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Vec<Event>, RecvTimeoutError> {
        // Who has no time waits in a loop first, all the same.
        if timeout.is_zero() {
            return self.receiver.try_recv().map_err(|why| match why {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        self.receiver.recv_timeout(timeout)
    }

    /// Gives a batch back that has been read, so that the sampler need not allocate another.
    pub fn give_back(&self, mut batch: Vec<Event>) {
        batch.retain_mut(|event| {
            let Event::Samples { rows, .. } = event else { return false };
            rows.clear();
            true
        });
        // Where enough of them wait, or nobody wants them any more, it goes.
        let _ = self.read.try_send(batch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{At, Define, Flags, Nanos, Quality, State, StringId, TrackId};

    fn sample() -> Sample {
        Sample {
            from: At(0),
            until: At(1),
            count: 2,
            track: TrackId(0),
            stack: None,
            weight: Nanos(1),
            cpu: None,
            state: State::Unknown,
            flags: Flags::default(),
            quality: Quality::Whole,
        }
    }

    fn samples() -> Event {
        Event::Samples { looks: 2, rows: vec![sample()] }
    }

    #[test]
    fn samples_without_room_are_counted_and_definitions_arrive_all_the_same() {
        let (mut outbox, inbox) = channel();
        let batches = CAPACITY as u32 + 10;
        for n in 0..batches {
            let define = Event::Define(Define::String(StringId(n), "".into()));
            outbox.send(&mut vec![define, samples()]).unwrap();
        }
        assert_eq!(outbox.take_dropped(), 20, "two a batch");
        let mut events: Vec<_> = inbox.receiver.try_iter().flatten().collect();
        outbox.flush().unwrap();
        events.extend(inbox.receiver.try_iter().flatten());
        let ids: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Define(Define::String(id, _)) => Some(id.0),
                _ => None,
            })
            .collect();
        assert_eq!(ids, (0..batches).collect::<Vec<_>>());
    }

    #[test]
    fn a_listener_that_left_is_noticed() {
        let (mut outbox, inbox) = channel();
        drop(inbox);
        assert_eq!(outbox.send(&mut vec![samples()]), Err(Closed));
    }

    #[test]
    fn what_has_been_read_is_filled_again() {
        let (mut outbox, inbox) = channel();
        let (mut events, mut batches, mut rows) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for n in 0..1000 {
            let mut filled = outbox.spare_rows();
            assert!(filled.is_empty() && events.is_empty());
            filled.push(sample());
            rows.insert(filled.as_ptr() as usize);
            events.push(Event::Define(Define::String(StringId(n), "".into())));
            events.push(Event::Samples { looks: 1, rows: filled });
            outbox.send(&mut events).unwrap();
            let batch = inbox.recv_timeout(Duration::ZERO).unwrap();
            batches.insert(batch.as_ptr() as usize);
            assert_eq!(batch.len(), 2);
            inbox.give_back(batch);
        }
        assert!(batches.len() <= 3 && rows.len() <= 3, "{} and {} vectors", batches.len(), rows.len());
    }
}
