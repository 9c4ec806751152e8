//! The recording's file: what goes in comes out, and nothing that comes out was not put in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;

use std::io::Write;

use pitviper::model::*;
use pitviper::recording::file::block::{Codec, HEADER};
use pitviper::recording::file::{MAGIC, VERSION, write};
use pitviper::recording::heatmap::Heatmap;
use pitviper::recording::{Damage, Meta, OpenError, Recorder, Recording, open, read};

/// The bytes that a recorder leaves of these events.
fn file(events: &[Event], codec: Codec) -> Vec<u8> {
    let mut recorder = Recorder::with_codec(Vec::new(), &made::meta(), codec).unwrap();
    events.iter().for_each(|event| recorder.event(event).unwrap());
    recorder.finish(&made::ended()).unwrap()
}

/// What the same events are in memory.
fn tables(events: &[Event]) -> Recording {
    let mut recording = made::recording(made::ended(), events);
    recording.ended = true;
    recording
}

#[track_caller]
fn check_round_trip(events: &[Event]) {
    let expected = tables(events);
    for codec in [Codec::Stored, Codec::Zstd] {
        let read = read(file(events, codec).as_slice()).unwrap();
        assert_eq!(read.damage, None);
        assert_eq!(read, expected);
    }
}

/// Whether everything in `part` stands in `whole` too, in the same place.
fn is_prefix(part: &Recording, whole: &Recording) -> bool {
    fn head<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
        whole.starts_with(part)
    }
    // The last row of a track may have been folded with what is lost.
    fn rows(part: &[Sample], whole: &[Sample]) -> bool {
        match part.split_last() {
            None => true,
            Some((last, before)) => {
                head(before, whole)
                    && whole.get(before.len()).is_some_and(|row| {
                        (last.from, last.stack, last.track, last.state, last.flags, last.quality)
                            == (row.from, row.stack, row.track, row.state, row.flags, row.quality)
                            && last.until <= row.until
                            && last.count <= row.count
                            && last.weight <= row.weight
                    })
            }
        }
    }
    head(&part.strings, &whole.strings)
        && head(&part.files, &whole.files)
        && head(&part.frames, &whole.frames)
        && head(&part.stacks, &whole.stacks)
        && head(&part.processes, &whole.processes)
        && head(&part.waits, &whole.waits)
        && head(&part.process_events, &whole.process_events)
        && head(&part.gc, &whole.gc)
        && head(&part.heaps, &whole.heaps)
        && head(&part.censuses, &whole.censuses)
        && head(&part.allocations, &whole.allocations)
        && head(&part.counters, &whole.counters)
        && head(&part.marks, &whole.marks)
        && head(&part.troubles, &whole.troubles)
        && part.tracks.len() <= whole.tracks.len()
        && part.samples.iter().zip(&whole.samples).all(|(part, whole)| rows(part, whole))
}

#[test]
fn what_goes_in_comes_out() {
    check_round_trip(&[]);
    check_round_trip(&made::everything());
    for seed in 0..200 {
        check_round_trip(&made::by_chance(seed, 300));
    }
}

#[test]
fn equal_recordings_give_equal_bytes() {
    for seed in 0..20 {
        let events = made::by_chance(seed, 300);
        let first = write(&tables(&events), Vec::new()).unwrap();
        let again = read(first.as_slice()).unwrap();
        assert_eq!(again, tables(&events));
        assert_eq!(write(&again, Vec::new()).unwrap(), first);
        assert_eq!(file(&events, Codec::Zstd), file(&events, Codec::Zstd));
    }
}

#[test]
fn a_file_cut_anywhere_opens_with_all_that_stands_before_the_cut() {
    let events = made::by_chance(7, 150);
    let whole = tables(&events);
    let bytes = file(&events, Codec::Zstd);
    let mut last = 0;
    for len in 0..bytes.len() {
        let cut = match read(&bytes[..len]) {
            Ok(cut) => cut,
            Err(OpenError::Empty { .. }) if len < MAGIC.len() + 4 => continue,
            Err(error) => panic!("cut to {len} bytes: {error}"),
        };
        assert!(is_prefix(&cut, &whole), "cut to {len} bytes it says what is not so");
        assert!(!cut.ended);
        match cut.damage {
            Some(Damage::Cut { at }) => assert!((at as usize) < len),
            None => last = len,
            Some(other) => panic!("cut to {len} bytes: {other}"),
        }
    }
    assert!(last > MAGIC.len() + 4, "some cuts fall between blocks");
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let events = made::by_chance(3, 25);
    let whole = tables(&events);
    for codec in [Codec::Zstd, Codec::Stored] {
        let bytes = file(&events, codec);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[place] ^= 1 << bit;
                let Ok(read) = read(bytes.as_slice()) else { continue };
                assert!(read.damage.is_some(), "bit {bit} of byte {place} went unnoticed");
                assert!(is_prefix(&read, &whole), "bit {bit} of byte {place} made it lie");
            }
        }
    }
}

#[test]
fn a_recorder_that_dies_loses_one_second_at_most() {
    let events = made::service(5_000, 1_000.0, 3, 1);
    let mut bytes = Vec::new();
    {
        let mut recorder = Recorder::new(&mut bytes, &made::meta()).unwrap();
        events.iter().for_each(|event| recorder.event(event).unwrap());
    }
    let left = read(bytes.as_slice()).unwrap();
    let whole = tables(&events);
    assert!(is_prefix(&left, &whole));
    assert_eq!((left.damage.clone(), left.ended), (None, false));
    assert!(left.end() > whole.end().back(Nanos(1_100_000_000)), "{:?} of {:?}", left.end(), whole.end());
}

#[test]
fn a_file_of_each_format_stays_readable_for_ever() {
    for version in 1..=VERSION {
        let path = format!("{}/tests/fixtures/format-{version}.pit", env!("CARGO_MANIFEST_DIR"));
        if version == VERSION && !std::fs::exists(&path).unwrap() {
            // How the fixture of a new format comes to be; those that are there are never written again.
            std::fs::write(&path, file(&made::everything(), Codec::Zstd)).unwrap();
            panic!("there was no {path}; it is written now, and wants to be committed");
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[MAGIC.len()..][..4], version.to_le_bytes());
        let recording = open(path.as_ref()).unwrap();
        assert_eq!((recording.damage.clone(), recording.unknown_blocks), (None, 0));
        let mut expected = tables(&made::everything());
        // What was appended when the files were there already they lack.
        expected.gc.iter_mut().for_each(|collection| collection.pause = Nanos(0));
        expected.heaps.iter_mut().for_each(|state| (state.pools, state.pool_size) = (vec![], 0));
        assert_eq!(recording, expected);
        let end = recording.end();
        let map = Heatmap::of(&recording, ProcessId(0), At(0), end).unwrap();
        let rows = map.bands.iter().map(|band| (band.part, &*band.block_bytes, &*band.block_sizes));
        assert_eq!(
            rows.collect::<Vec<_>>(),
            [(None, &[Some(0)][..], &[0][..]), (None, &[Some(900_000)], &[0])]
        );
    }
}

#[test]
fn a_stranger_reads_a_recording_by_the_specification_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stored.pit");
    let recording = tables(&made::everything());
    std::fs::write(&path, file(&made::everything(), Codec::Stored)).unwrap();
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_pit.py");
    let Ok(output) = std::process::Command::new("python3").arg(reader).arg(&path).output() else {
        println!("skipped: there is no python3 here");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let samples = recording.samples.iter().flatten();
    let expected = serde_json::json!({
        "tool": recording.meta.tool,
        "ended": true,
        "strings": recording.strings.len(),
        "longest": recording.strings.iter().max_by_key(|text| text.chars().count()),
        "files": recording.files.len(),
        "frames": recording.frames.len(),
        "stacks": recording.stacks.len(),
        "tracks": recording.tracks.len(),
        "processes": recording.processes.len(),
        "looks": recording.looks,
        "samples": samples.clone().map(|sample| sample.count).sum::<u32>(),
        "weight_us": samples.clone().map(|sample| sample.weight.0 / 1_000).sum::<u64>(),
        "cpu_us": samples.clone().filter_map(|sample| Some(sample.cpu?.0 / 1_000)).sum::<u64>(),
        "stack_ids": samples.filter_map(|sample| Some(sample.count * sample.stack?.0)).sum::<u32>(),
        "gc": recording.gc.len(),
        "heaps": recording.heaps.len(),
        "arenas": recording.heaps.iter().map(|state| state.arenas.len()).sum::<usize>(),
        "pools": recording.heaps.iter().map(|state| state.pools.len()).sum::<usize>(),
        "counters": recording.counters.len(),
        "marks": recording.marks.len(),
        "troubles": recording.troubles.len(),
    });
    assert_eq!(told, expected);
}

/// A block as a stranger might write it.
fn block(kind: u8, codec: u8, raw_len: u32, stored: &[u8]) -> Vec<u8> {
    block_of(kind, 1, codec, raw_len, stored)
}

fn block_of(kind: u8, version: u8, codec: u8, raw_len: u32, stored: &[u8]) -> Vec<u8> {
    let mut block = vec![kind, version, codec, 0];
    block.extend((stored.len() as u32).to_le_bytes());
    block.extend(raw_len.to_le_bytes());
    let crc = crc32fast::hash(&[&block[..], stored].concat());
    block.extend(crc.to_le_bytes());
    assert_eq!(block.len(), HEADER);
    block.extend(stored);
    block
}

/// Reads a file made of these blocks.
fn read_blocks(blocks: &[Vec<u8>]) -> Recording {
    let head = [&MAGIC[..], &1u32.to_le_bytes()].concat();
    read([head, blocks.concat()].concat().as_slice()).unwrap()
}

#[track_caller]
fn check_refused(payload: &[u8], kind: u8) {
    for version in [1, 2] {
        let block = block_of(kind, version, 0, payload.len() as u32, payload);
        let read = read_blocks(&[block]);
        let corrupt = matches!(read.damage, Some(Damage::Corrupt { block: 0, .. }));
        assert!(corrupt || read.unknown_blocks == 1 && version == 2 && kind != 11, "{:?}", read.damage);
    }
}

const HUGE: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];

#[test]
fn counts_that_cannot_be_are_refused_before_anything_is_allocated() {
    for kind in 2..=17 {
        check_refused(&HUGE, kind);
        check_refused(&[&[0, 1][..], &HUGE].concat(), kind);
        check_refused(&[&[0][..], &HUGE, &HUGE].concat(), kind);
        check_refused(&[&[1][..], &HUGE, &[0; 40]].concat(), kind);
        check_refused(&[], kind);
    }
    check_refused(&[0, 1, 1, 200], 2);
    check_refused(&[0, 1, 1, 1, 0xff], 2);
    check_refused(b"not json", 1);
    check_refused("[".repeat(100_000).as_bytes(), 1);
}

#[test]
fn ids_that_nothing_defines_are_refused() {
    let file_of_string_0 = [0, 3, 1, 0, 0, 0];
    check_refused(&file_of_string_0, 3);
    let stack_of_frame_0 = [0, 2, 1, 0, 0];
    check_refused(&stack_of_frame_0, 5);
    let sample_of_track_0 = [1, 11, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    check_refused(&sample_of_track_0, 11);
    let string_1_first = [1, 1, 1, 0];
    check_refused(&string_1_first, 2);
}

#[test]
fn a_small_file_cannot_unpack_to_a_large_one() {
    let zeros = vec![0; 16 << 20];
    let bomb = block(1, 1, zeros.len() as u32, &zstd::bulk::compress(&zeros, 19).unwrap());
    let spaces = vec![b' '; (16 << 20) - 2];
    let json = [b"{".as_slice(), &spaces, b"}"].concat();
    let meta = block(1, 1, json.len() as u32, &zstd::bulk::compress(&json, 19).unwrap());
    assert!(read_blocks(&[bomb]).damage.is_some());
    let read = read_blocks(&vec![meta; 100]);
    let Some(Damage::Corrupt { block, why, .. }) = read.damage else { panic!("{:?}", read.damage) };
    assert!(block < 8 && why.contains("unpacks to more"), "block {block}: {why}");
    let lie = self::block(1, 1, 5, &zstd::bulk::compress(&json, 1).unwrap());
    assert!(read_blocks(&[lie]).damage.is_some());
}

#[test]
fn blocks_of_a_kind_that_we_do_not_know_are_passed_over() {
    let known = block(2, 0, 5, &[0, 1, 1, 1, b'a']);
    let new_kind = block(200, 0, 3, b"abc");
    let new_codec = block(201, 9, 3, b"abc");
    let new_layout = block_of(2, 2, 0, 5, &[9, 9, 9, 9, 9]);
    let read = read_blocks(&[new_kind, known, new_codec, new_layout]);
    assert_eq!((read.damage.clone(), read.unknown_blocks, read.strings.len()), (None, 3, 1));
}

#[test]
fn a_column_more_is_passed_over_and_a_column_less_is_zero() {
    let wait_with_a_second_column = block(8, 0, 5, &[0, 2, 1, 0, 77]);
    let file_with_its_path_alone = block(3, 0, 4, &[0, 1, 1, 0]);
    let text = block(2, 0, 5, &[0, 1, 1, 1, b'a']);
    let read = read_blocks(&[text, wait_with_a_second_column, file_with_its_path_alone]);
    assert_eq!(read.damage, None);
    assert_eq!(read.waits, [Wait { text: StringId(0) }]);
    assert_eq!(read.files, [File { path: StringId(0), kind: FileKind::Unknown, distribution: None }]);
}

#[test]
fn files_that_are_no_recordings_are_told_apart() {
    assert!(matches!(read(&b"<svg>"[..]), Err(OpenError::NotARecording)));
    assert!(matches!(read(&b"<svg xmlns=\"http://www.w3.org/\">"[..]), Err(OpenError::NotARecording)));
    assert!(matches!(read(&b""[..]), Err(OpenError::Empty { len: 0 })));
    let newer = [&MAGIC[..], &(VERSION + 1).to_le_bytes()].concat();
    assert!(matches!(read(newer.as_slice()), Err(OpenError::TooNew { version }) if version == VERSION + 1));
}

#[test]
fn an_event_that_names_what_was_not_defined_is_refused_and_changes_nothing() {
    let stray = Event::Samples { looks: 1, rows: vec![made::sample(TrackId(4), None, 0, 1)] };
    let mut recorder = Recorder::new(Vec::new(), &Meta::default()).unwrap();
    assert_eq!(recorder.event(&stray).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    let mut recording = Recording::default();
    assert!(recording.add(stray).is_err());
    assert_eq!(recording, Recording::default());
    assert_eq!(read(recorder.finish(&Meta::default()).unwrap().as_slice()).unwrap().looks, 0);
}

#[test]
fn equal_neighbours_of_a_track_fold_and_gaps_stay() {
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let track = made.thread(process, 1, None, true);
    for (from, until) in [(0, 10_000), (10_000, 20_400), (20_400, 30_100), (50_000, 60_000)] {
        made.look(vec![made::sample(track, None, from, until)]);
    }
    let recording = made::recording(made::meta(), &made.events);
    let rows: Vec<_> =
        recording.samples[0].iter().map(|row| (row.from.0, row.until.0, row.count, row.weight.0)).collect();
    assert_eq!(rows, [(0, 30_000, 3, 30_000), (50_000, 60_000, 1, 10_000)]);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_what_could_be_written() {
    struct Disk(Vec<u8>, usize);
    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = self.1 - self.0.len();
            if room == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0.extend(&bytes[..bytes.len().min(room)]);
            Ok(bytes.len().min(room))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let events = made::service(3_000, 1_000.0, 2, 5);
    let mut disk = Disk(Vec::new(), 12_000);
    let mut recorder = Recorder::new(&mut disk, &made::meta()).unwrap();
    let error = events.iter().find_map(|event| recorder.event(event).err()).unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(recorder.flush().is_err() && recorder.finish(&made::ended()).is_err(), "nothing follows the gap");
    let left = read(disk.0.as_slice()).unwrap();
    assert!(matches!(left.damage, Some(Damage::Cut { .. })) && !left.strings.is_empty());
    assert!(is_prefix(&left, &tables(&events)));
}

/// Bytes a sample, stacks, and samples a second of a recorder on a made service.
fn weigh(looks: usize, hz: f64, threads: u32) -> (f64, usize, f64) {
    let events = made::service(looks, hz, threads, 42);
    let samples = looks as f64 * f64::from(threads);
    let started = std::time::Instant::now();
    let mut recorder = Recorder::new(std::io::sink(), &made::meta()).unwrap();
    events.iter().for_each(|event| recorder.event(event).unwrap());
    recorder.flush().unwrap();
    let took = started.elapsed().as_secs_f64();
    let stacks = events.iter().filter(|event| matches!(event, Event::Define(Define::Stack(..)))).count();
    (recorder.written() as f64 / samples, stacks, samples / took)
}

#[test]
fn a_sample_takes_few_bytes() {
    for (looks, threads, most) in [(60_000, 1, 3.2), (15_000, 4, 1.5)] {
        let (bytes, stacks, pace) = weigh(looks, 10_000.0, threads);
        println!(
            "{threads} threads: {bytes:.2} bytes a sample ({stacks} stacks), {pace:.0} samples/s unoptimised"
        );
        assert!(bytes < most, "{bytes:.2} bytes a sample");
    }
}
