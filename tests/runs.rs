//! Looks that are folded on their way: the recording is the same as if each look had come by itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod made;

use pitviper::model::*;
use pitviper::python::StackNumber;
use pitviper::sampler::runs::{MAX_ROWS, Runs};

/// The same events with the samples of many looks in a batch, and how many rows crossed.
fn folded(events: &[Event]) -> (Vec<Event>, usize) {
    let (mut runs, mut out, mut rows, mut now) = (Runs::default(), Vec::new(), 0, At(0));
    let mut send = |runs: &mut Runs, out: &mut Vec<Event>, now| {
        let batch = runs.take(now, Vec::new());
        let Event::Samples { rows: batch_rows, .. } = &batch else { panic!("{batch:?}") };
        rows += batch_rows.len();
        out.push(batch);
    };
    for event in events {
        let Event::Samples { rows, .. } = event else {
            out.push(event.clone());
            continue;
        };
        for sample in rows {
            now = sample.until;
            runs.add(*sample);
        }
        runs.look();
        if runs.is_due(now) {
            send(&mut runs, &mut out, now);
        }
    }
    send(&mut runs, &mut out, now);
    (out, rows)
}

/// CPU times in whole microseconds: a recording rounds them, and a sum of rounded ones is not a rounded sum.
fn in_micros(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        let Event::Samples { rows, .. } = event else { continue };
        rows.iter_mut().for_each(|row| row.cpu = row.cpu.map(|cpu| Nanos(cpu.0 / 1_000 * 1_000)));
    }
    events
}

#[test]
fn a_recording_is_the_same_whether_looks_were_folded_or_not() {
    for (looks, hz, threads) in [(3_000, 100.0, 5), (20_000, 10_000.0, 1), (6_000, 10_000.0, 4)] {
        let events = in_micros(made::service(looks, hz, threads, 3));
        let (batched, rows) = folded(&events);
        let whole = made::recording(made::meta(), &events);
        assert!(made::recording(made::meta(), &batched) == whole, "{threads} threads at {hz} Hz");
        assert_eq!(whole.looks, looks as u64);
        let least: usize = whole.samples.iter().map(Vec::len).sum();
        let batches = batched.iter().filter(|event| matches!(event, Event::Samples { .. })).count();
        println!(
            "{} samples, {rows} rows in {batches} batches, {least} in the recording",
            looks * threads as usize
        );
        assert!(rows <= least + batches * threads as usize, "a batch cuts a run once a track");
    }
}

#[test]
fn a_batch_is_due_when_it_is_old_or_large() {
    let mut runs = Runs::default();
    runs.add(made::sample(TrackId(0), None, 0, 1_000_000));
    runs.look();
    assert!(!runs.is_due(At(99_999_999)));
    assert!(runs.is_due(At(100_000_000)));
    let Event::Samples { looks: 1, rows } = runs.take(At(100_000_000), Vec::new()) else { panic!() };
    assert_eq!(rows, [made::sample(TrackId(0), None, 0, 1_000_000)]);
    for n in 0..MAX_ROWS as u64 {
        assert!(!runs.is_due(At(100_000_001)), "{n} rows");
        runs.add(made::sample(TrackId(0), Some(StackId(n as u32 % 2)), n, n + 1));
    }
    assert!(runs.is_due(At(100_000_001)));
}

#[test]
fn a_row_of_an_earlier_batch_is_never_grown() {
    let mut runs = Runs::default();
    let sample = |track, n: u64| made::sample(TrackId(track), None, n * 10, (n + 1) * 10);
    (0..3).for_each(|track| runs.add(sample(track, 0)));
    runs.take(At(10), Vec::new());
    // Track 2's old place is the third: it is not to be taken for that of track 0's second row.
    runs.add(sample(1, 1));
    runs.add(sample(0, 1));
    runs.add(made::sample(TrackId(0), Some(StackId(7)), 20, 30));
    runs.add(sample(2, 1));
    runs.add(sample(1, 2));
    let Event::Samples { rows, .. } = runs.take(At(30), Vec::new()) else { panic!() };
    let seen: Vec<_> = rows.iter().map(|row| (row.track.0, row.from.0, row.until.0, row.count)).collect();
    assert_eq!(seen, [(1, 10, 30, 2), (0, 10, 20, 1), (0, 20, 30, 1), (2, 10, 20, 1)]);
}

#[test]
fn a_sample_is_told_otherwise_once_it_is_known_what_it_was() {
    let mut runs = Runs::default();
    let sample = |n: u64| made::sample(TrackId(0), Some(StackId(1)), n * 10, (n + 1) * 10);
    let told = |number| (StackNumber(number), 0);
    runs.add(sample(0));
    runs.add_open(sample(1), told(5));
    runs.add_open(sample(2), told(6));
    (3..5).for_each(|n| runs.add(sample(n)));
    runs.reconsider(|(number, _)| (number == StackNumber(6)).then_some(Some(StackId(9))));
    // What was not known then is not asked for again.
    runs.reconsider(|told| panic!("{told:?}"));
    let Event::Samples { rows, .. } = runs.take(At(50), Vec::new()) else { panic!() };
    let seen: Vec<_> = rows.iter().map(|row| (row.stack, row.count, row.quality)).collect();
    let (one, nine) = (Some(StackId(1)), Some(StackId(9)));
    let whole = Quality::Whole;
    assert_eq!(seen, [(one, 1, whole), (one, 1, whole), (nine, 1, Quality::Probable), (one, 2, whole)]);
}

#[test]
fn a_sample_of_an_earlier_batch_is_not_told_otherwise() {
    let mut runs = Runs::default();
    let sample = made::sample(TrackId(0), None, 0, 10);
    runs.add_open(sample, (StackNumber(5), 0));
    runs.take(At(10), Vec::new());
    runs.add(sample);
    runs.reconsider(|told| panic!("{told:?}"));
}
