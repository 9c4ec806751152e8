//! Whether the recording keeps up: made samples through the channel into a file at a given pace.
//!
//! `record RATE SECONDS FILE`: a thread folds and sends RATE samples a second, and another writes them to FILE, as
//! `attach` does. Prints one line of JSON; times of the writer are CPU times, which other load does not blur.
#![allow(missing_docs, reason = "it is a program")]
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

#[path = "../tests/made/mod.rs"]
mod made;

use std::fs::File;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use pitviper::model::{At, Event};
use pitviper::recording::{Recorder, open};
use pitviper::sampler::channel::{Inbox, Outbox, channel};
use pitviper::sampler::runs::Runs;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long the reader waits for a batch.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rate, seconds, path] = arguments.as_slice() else {
        return Err("usage: record RATE SECONDS FILE".into());
    };
    let (rate, seconds) = (rate.parse::<f64>()?, seconds.parse::<f64>()?);
    let events = made::service((rate * seconds) as usize, rate, 1, 42);
    let samples = samples_in(&events);

    let (outbox, inbox) = channel();
    let file = File::create(path)?;
    let started = Instant::now();
    let writer = std::thread::spawn(move || write(&inbox, file));
    let dropped = send(outbox, &events);
    let took = started.elapsed().as_secs_f64();
    let (bytes, cpu) = writer.join().map_err(|_| "the writer panicked")??;
    let read = open(path.as_ref())?;
    let rows: usize = read.samples.iter().map(Vec::len).sum();
    let kept: u64 = read.samples.iter().flatten().map(|row| u64::from(row.count)).sum();
    if kept + dropped != samples {
        return Err(format!("{samples} samples were sent, {kept} arrived and {dropped} were dropped").into());
    }
    println!(
        r#"{{"samples": {samples}, "rows": {rows}, "dropped": {dropped}, "rate": {:.0}, "bytes": {bytes}, "writer_cpu_ns": {}}}"#,
        samples as f64 / took,
        cpu.as_nanos()
    );
    Ok(())
}

/// Sends the events at the times that they bear; says how many samples had no room.
fn send(mut outbox: Outbox, events: &[Event]) -> u64 {
    let (mut runs, mut batch, mut now) = (Runs::default(), Vec::new(), At(0));
    let started = Instant::now();
    for event in events {
        let Event::Samples { rows, .. } = event else {
            batch.push(event.clone());
            continue;
        };
        for sample in rows {
            now = sample.until;
            runs.add(*sample);
        }
        runs.look();
        if runs.is_due(now) {
            std::thread::sleep(Duration::from_nanos(now.0).saturating_sub(started.elapsed()));
            batch.push(runs.take(now, outbox.spare_rows()));
            if outbox.send(&mut batch).is_err() {
                break;
            }
        }
    }
    batch.push(runs.take(now, Vec::new()));
    // A writer that gave up says so itself.
    let _ = outbox.send(&mut batch).and_then(|()| outbox.flush());
    outbox.take_dropped()
}

/// Writes what arrives until nothing more does; says how many bytes that took, and how much CPU time.
fn write(inbox: &Inbox, file: File) -> Result<(u64, Duration), Failure> {
    let mut recorder = Recorder::new(file, &made::meta())?;
    while let Ok(batch) = inbox.recv_timeout(PATIENCE) {
        batch.iter().try_for_each(|event| recorder.event(event))?;
        inbox.give_back(batch);
    }
    recorder.flush()?;
    let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok((recorder.written(), cpu.into()))
}

fn samples_in(events: &[Event]) -> u64 {
    let rows = events.iter().map(|event| match event {
        Event::Samples { rows, .. } => rows.len() as u64,
        _ => 0,
    });
    rows.sum()
}
