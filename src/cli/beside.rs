//! The heap of a process that is sampled: who follows it beside the sampler, and what comes of that.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::model::Event;
use crate::python::Python;
use crate::recording::{Merge, Stream};
use crate::sampler::{self, HeapOptions, HeapSampler, Inbox, Stop};
use crate::target::{Located, Process};

/// How long a last look may take before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is passed what was said.
type Take<'a> = &'a mut dyn FnMut(&Event) -> io::Result<()>;

/// A heap that is followed.
#[derive(Debug)]
pub struct Beside {
    inbox: Inbox,
    stop: Stop,
    stream: Stream,
    thread: JoinHandle<()>,
}

impl Beside {
    /// Follows the heap of a process; what it says becomes a part of the stream that is beside it.
    pub fn start(
        process: Arc<Process>,
        located: Located,
        options: HeapOptions,
        stream: Stream,
    ) -> anyhow::Result<Beside> {
        let python = Python::open(&located)?;
        let (outbox, inbox) = sampler::channel();
        let sampler = HeapSampler::new(process, located, python, options, outbox);
        let stop = Stop::default();
        let thread = {
            let (stop, start) = (stop.clone(), Instant::now());
            thread::Builder::new().name("heap".into()).spawn(move || sampler.run(start, &stop))?
        };
        Ok(Beside { inbox, stop, stream, thread })
    }

    /// Has it end.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Passes on what was said since this was last done; says whether there is more to come.
    pub fn collect(&mut self, merge: &mut Merge, take: Take<'_>) -> io::Result<bool> {
        loop {
            match self.pass_on(Duration::ZERO, merge, take)? {
                Ok(()) => {}
                Err(why) => return Ok(why == RecvTimeoutError::Timeout),
            }
        }
    }

    /// Ends it, and passes on its last words.
    pub fn end(mut self, merge: &mut Merge, take: Take<'_>) -> io::Result<()> {
        self.stop();
        let until = Instant::now() + PATIENCE;
        let last = loop {
            let left = until.saturating_duration_since(Instant::now());
            if let Err(why) = self.pass_on(left, merge, take)? {
                break why;
            }
        };
        match last {
            RecvTimeoutError::Timeout => Ok(()),
            RecvTimeoutError::Disconnected => self
                .thread
                .join()
                .map_err(|_| io::Error::other("the reader of the heap panicked; this is a bug")),
        }
    }

    fn pass_on(
        &mut self,
        timeout: Duration,
        merge: &mut Merge,
        take: Take<'_>,
    ) -> io::Result<Result<(), RecvTimeoutError>> {
        let mut events = match self.inbox.recv_timeout(timeout) {
            Ok(events) => events,
            Err(why) => return Ok(Err(why)),
        };
        merge.adopt(&mut self.stream, &mut events, &mut ());
        events.iter().try_for_each(take)?;
        self.inbox.give_back(events);
        Ok(Ok(()))
    }
}
