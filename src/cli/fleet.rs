//! The processes of one recording: each has a sampler of its own, and what all of them say becomes one stream.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::args::Observe;
use super::beside::Beside;
use super::open::Opened;
use super::run::{self, Run};
use crate::model::{At, Event, Nanos, ProcessEvent, ProcessState, TrackId};
use crate::recording::merge::Ask;
use crate::recording::{Merge, Origin, Stream, Subject};
use crate::sampler::{self, Inbox, Opcodes, Outcome};
use crate::target::{Distributions, Family, Sources};

/// The most processes that are sampled at the same time: each takes a thread of ours.
const MAX_PROCESSES: usize = 512;

/// All processes under observation.
#[derive(Debug)]
pub struct Fleet<'a> {
    options: &'a Observe,
    /// Whether memory is put down to code.
    attribute: bool,
    start: Instant,
    merge: Merge,
    members: Vec<Member>,
    /// Those whose process is not sampled any more, and who are on their last look: nobody waits for them meanwhile.
    ending: Vec<Beside>,
    /// What is to be told before the next batch.
    unsaid: Vec<Event>,
    /// The pids of all that were ever sampled.
    sampled: HashSet<i32>,
    /// What became of those that have ended.
    outcome: Outcome,
    watched: Duration,
    /// Looks a second, where that was changed meanwhile.
    rate: Option<f64>,
    /// What went wrong with us, not with them.
    failure: Option<anyhow::Error>,
    /// Looks so far.
    pub looks: u64,
}

/// A process under observation.
#[derive(Debug)]
struct Member {
    run: Run,
    stream: Stream,
    files: Files,
    began: Duration,
    /// Who follows its heap, where that was asked for.
    heap: Option<Beside>,
}

/// What can be asked about a process's files.
#[derive(Debug)]
struct Files {
    distributions: Distributions,
    /// Where lines of source were asked for.
    sources: Option<Sources>,
}

impl Ask for Files {
    fn distribution(&mut self, path: &str) -> Option<String> {
        self.distributions.name(path)
    }

    fn line(&mut self, path: &str, line: u32) -> Option<String> {
        self.sources.as_mut()?.line(path, line)
    }
}

/// What became of all processes together.
#[derive(Debug)]
pub struct Total {
    /// The sums of what became of each; the target is gone when all of them are.
    pub outcome: Outcome,
    /// For how long they were sampled, all of them together.
    pub watched: Duration,
}

impl<'a> Fleet<'a> {
    /// Nobody yet; the recording's zero is now.
    pub fn new(options: &'a Observe, attribute: bool) -> Fleet<'a> {
        Fleet {
            options,
            attribute,
            start: Instant::now(),
            merge: Merge::default(),
            members: Vec::new(),
            ending: Vec::new(),
            unsaid: Vec::new(),
            sampled: HashSet::new(),
            outcome: Outcome { target_gone: true, ..Outcome::default() },
            watched: Duration::ZERO,
            rate: None,
            failure: None,
            looks: 0,
        }
    }

    /// When the recording began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Whether nobody is sampled at the moment.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether anybody was ever sampled.
    pub fn has_met(&self) -> bool {
        !self.sampled.is_empty()
    }

    /// Whether so many are sampled that there is no room for another one.
    pub fn is_full(&self) -> bool {
        self.members.len() >= MAX_PROCESSES
    }

    /// Samples a process from now on; `since` is how long the recording runs already.
    pub fn add(&mut self, opened: Opened, since: Duration, origin: Origin) -> anyhow::Result<()> {
        // Samples lie on whole microseconds, also when they are moved.
        let since = Duration::from_micros(since.as_micros() as u64);
        let options = run::asked(&opened, self.options);
        let options = sampler::Options {
            duration: options.duration.map(|interval| interval.saturating_sub(since)),
            ..options
        };
        let pid = opened.process.pid();
        let subject = Subject {
            pid: pid.cast_unsigned(),
            origin,
            command: &options.command.clone(),
            python: &options.version.clone(),
            free_threaded: options.free_threaded,
            debug: options.debug,
        };
        let opcodes = match self.options.opcodes.then(|| Opcodes::open(&opened.located)).transpose() {
            Err(error) if since > Duration::ZERO => {
                self.trouble(&format!("process {pid}: {error}"));
                None
            }
            opcodes => opcodes?,
        };
        let (run, located) = Run::start(opened, options, opcodes, self.attribute)?;
        if let Some(rate) = self.rate {
            run.dial.set_rate(rate);
        }
        self.sampled.insert(pid);
        let stream = self.merge.stream(Nanos(since.as_nanos() as u64), &subject, &mut self.unsaid);
        let sources = self.options.source.then(|| Sources::of(&run.process));
        let files = Files { distributions: Distributions::of(&run.process), sources };
        let beside =
            |options| Beside::start(Arc::clone(&run.process), located, options, self.merge.beside(&stream));
        let heap = self.options.heap(self.attribute).map(beside).transpose()?;
        self.members.push(Member { run, stream, files, began: since, heap });
        Ok(())
    }

    /// Where a process of a family comes from, as the recording can say it.
    pub fn origin(&self, family: &Family, pid: i32, execed: bool) -> Origin {
        let mut maker = family.parent(pid);
        while let Some(pid) = maker.filter(|pid| !self.sampled.contains(pid)) {
            maker = family.parent(pid);
        }
        let maker = maker.map(i32::cast_unsigned);
        match (execed && self.sampled.contains(&pid), maker) {
            (true, maker) => Origin::Exec(maker),
            (false, Some(maker)) => Origin::Child(maker),
            (false, None) => Origin::Unknown,
        }
    }

    /// Waits until somebody has something to say, but not for longer than `timeout`.
    pub fn wait(&self, timeout: Duration) {
        Inbox::wait(self.members.iter().map(|member| &member.run.inbox), timeout);
    }

    /// Passes on what was said since this was last done, and takes leave of those that have ended.
    pub fn collect(&mut self, take: &mut dyn FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        self.unsaid.drain(..).try_for_each(|event| take(&event))?;
        let mut place = 0;
        while let Some(heap) = self.ending.get_mut(place) {
            match heap.collect(&mut self.merge, take)? {
                true => place += 1,
                false => self.ending.swap_remove(place).end(&mut self.merge, take)?,
            }
        }
        place = 0;
        while let Some(member) = self.members.get_mut(place) {
            if let Some(heap) = &mut member.heap {
                heap.collect(&mut self.merge, take)?;
            }
            match member.run.inbox.recv_timeout(Duration::ZERO) {
                Ok(mut events) => {
                    self.looks += events.iter().map(looks_in).sum::<u64>();
                    // Whether it has ended or become another program shows when its sampler is done.
                    events.retain(|event| !is_end(event));
                    let Member { stream, files, .. } = member;
                    self.merge.adopt(stream, &mut events, files);
                    events.iter().try_for_each(&mut *take)?;
                    member.run.inbox.give_back(events);
                }
                Err(RecvTimeoutError::Timeout) => place += 1,
                Err(RecvTimeoutError::Disconnected) => {
                    let mut member = self.members.remove(place);
                    if let Some(heap) = member.heap.take() {
                        heap.stop();
                        self.ending.push(heap);
                    }
                    if let Some(end) = self.leave(member) {
                        take(&end)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes on the last words of those who follow heaps, however long they take for them.
    pub fn rest(&mut self, take: &mut dyn FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        self.ending.drain(..).try_for_each(|heap| heap.end(&mut self.merge, take))
    }

    /// How many are sampled at the moment.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Has everybody looked at so many times a second from now on.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = Some(rate);
        self.members.iter().for_each(|member| member.run.dial.set_rate(rate));
    }

    /// For how long processes were held still so far, all of them together.
    pub fn paused(&self) -> Nanos {
        self.outcome.paused + self.members.iter().map(|member| member.run.dial.paused()).sum()
    }

    /// Whether somebody is looked at more rarely than is asked at present.
    pub fn is_held_back(&self) -> bool {
        self.members.iter().any(|member| member.run.dial.is_held_back())
    }

    /// Has the sampling of a process stopped that is another program by now.
    pub fn stop_one(&self, pid: i32) {
        self.members
            .iter()
            .filter(|member| member.run.process.pid() == pid)
            .for_each(|member| member.run.stop.stop());
    }

    /// Has the sampling stopped of those that have ended; a sampler notices that when it looks, and looks may be rare.
    pub fn stop_ended(&self) {
        self.members
            .iter()
            .filter(|member| !member.run.process.alive())
            .for_each(|member| member.run.stop.stop());
    }

    /// Has all sampling stopped.
    pub fn stop(&self) {
        for member in &self.members {
            member.run.stop.stop();
            member.heap.iter().for_each(Beside::stop);
        }
    }

    /// Gives tracks that nobody remembers to threads that are yet to come.
    pub fn reuse(&mut self, tracks: Vec<TrackId>) {
        self.merge.reuse(tracks);
    }

    /// Says of something that it did not work.
    pub fn trouble(&mut self, text: &str) {
        let at = At(self.start.elapsed().as_nanos() as u64);
        self.merge.trouble(at, text, &mut self.unsaid);
    }

    /// Ends everything, and says what became of it.
    pub fn finish(mut self) -> anyhow::Result<Total> {
        self.stop();
        for member in std::mem::take(&mut self.members) {
            self.leave(member);
        }
        self.failure.map_or(Ok(Total { outcome: self.outcome, watched: self.watched }), Err)
    }

    /// Adds up what became of a process, and says what is to be told of its end.
    fn leave(&mut self, member: Member) -> Option<Event> {
        let execed = member.run.process.execed();
        let (outcome, gone) = member.run.end().unwrap_or_else(|error| {
            self.failure.get_or_insert(error);
            (Outcome::default(), true)
        });
        let gone = gone || execed;
        let whole = &mut self.outcome;
        let end = Nanos(outcome.duration.0.saturating_add(member.began.as_nanos() as u64));
        whole.duration = Nanos(whole.duration.0.max(end.0));
        whole.taken += outcome.taken;
        whole.missed += outcome.missed;
        whole.errors += outcome.errors;
        whole.dropped += outcome.dropped;
        whole.held_back |= outcome.held_back;
        whole.paused += outcome.paused;
        whole.target_gone &= gone;
        self.watched += Duration::from_nanos(outcome.duration.0);
        let process = member.stream.process();
        let state = if execed { ProcessState::Exec } else { ProcessState::Gone };
        gone.then_some(Event::Process(ProcessEvent { at: At(end.0), process, state }))
    }
}

fn looks_in(event: &Event) -> u64 {
    match event {
        Event::Samples { looks, .. } => *looks,
        _ => 0,
    }
}

fn is_end(event: &Event) -> bool {
    matches!(event, Event::Process(ProcessEvent { state: ProcessState::Gone, .. }))
}
