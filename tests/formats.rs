//! Formats: what they say of a hand-made recording, and that those who read them accept whatever we write.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;

use std::collections::BTreeSet;
use std::process::Command;

use pitviper::format::{FORMATS, by_name};
use pitviper::model::Event;
use pitviper::recording::file::Codec;
use pitviper::recording::{By, Metric, Recorder, Recording, View, ViewOptions, read};
use quick_xml::events::Event as Xml;

fn written(format: &str, recording: &Recording, options: &ViewOptions) -> Vec<u8> {
    let mut out = Vec::new();
    let view = View::new(recording, options).unwrap();
    (by_name(format).unwrap().write)(&view, &mut out).unwrap();
    out
}

fn text(format: &str, recording: &Recording, options: &ViewOptions) -> String {
    String::from_utf8(written(format, recording, options)).unwrap()
}

fn by_hand() -> Recording {
    made::recording(made::ended(), &made::by_hand())
}

/// Recordings that are awkward in one way or another, by name.
fn awkward() -> Vec<(String, Recording)> {
    let of = |name: &str, events: &[Event]| (name.to_owned(), made::recording(made::ended(), events));
    let mut recordings = vec![
        of("by-hand", &made::by_hand()),
        of("everything", &made::everything()),
        of("empty", &[]),
        of("service", &made::service(5_000, 1_000.0, 3, 9)),
    ];
    recordings.extend((0..30).map(|seed| of(&format!("chance-{seed}"), &made::by_chance(seed, 400))));
    recordings
}

fn views() -> Vec<ViewOptions> {
    let default = ViewOptions::default;
    vec![
        default(),
        ViewOptions { metric: Metric::Samples, idle: true, threads: true, ..default() },
        ViewOptions { by: By::File, full_filenames: true, idle: true, ..default() },
        ViewOptions {
            by: By::Function,
            collapse_recursion: true,
            no_line_numbers: true,
            idle: true,
            ..default()
        },
        ViewOptions { from_ns: Some(15_000_000), to_ns: Some(85_000_000), ..default() },
    ]
}

#[test]
fn folded_stacks_of_a_hand_made_recording() {
    insta::assert_snapshot!(text("folded", &by_hand(), &ViewOptions::default()));
}

#[test]
fn a_speedscope_profile_of_a_hand_made_recording() {
    insta::assert_snapshot!(text("speedscope", &by_hand(), &ViewOptions::default()));
}

#[test]
fn equal_recordings_give_equal_bytes_in_every_format() {
    for (name, recording) in awkward() {
        let copy = read(written("pit", &recording, &ViewOptions::default()).as_slice()).unwrap();
        for format in FORMATS {
            for options in views() {
                let once = written(format.name, &recording, &options);
                assert_eq!(once, written(format.name, &copy, &options), "{name} as {}", format.name);
            }
        }
    }
}

/// A stored file whose blocks are changed here and there, with checksums that are right again.
fn forged(file: &[u8], chance: &mut made::Chance) -> Vec<u8> {
    let mut file = file.to_vec();
    let mut blocks = Vec::new();
    let mut at = 12;
    while at < file.len() {
        let len = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        blocks.push((at, at + 16 + len));
        at += 16 + len;
    }
    for _ in 0..1 + chance.below(4) {
        let (begin, end) = chance.pick(&blocks);
        if end > begin + 16 {
            let place = begin + 16 + chance.below((end - begin - 16) as u64) as usize;
            let any = chance.number() as u8;
            file[place] = chance.pick(&[0, 1, 0x7f, 0x80, 0xff, any]);
        }
        let crc = crc32fast::hash(&[&file[begin..begin + 12], &file[begin + 16..end]].concat());
        file[begin + 12..begin + 16].copy_from_slice(&crc.to_le_bytes());
    }
    file
}

#[test]
fn a_forged_recording_is_refused_or_written_and_never_makes_us_panic() {
    let mut chance = made::Chance(11);
    let (mut damaged, mut whole) = (0, 0);
    for events in [made::everything(), made::by_chance(5, 200), made::service(50, 100.0, 2, 3)] {
        let mut recorder = Recorder::with_codec(Vec::new(), &made::meta(), Codec::Stored).unwrap();
        events.iter().for_each(|event| recorder.event(event).unwrap());
        let file = recorder.finish(&made::ended()).unwrap();
        for _ in 0..400 {
            let Ok(recording) = read(forged(&file, &mut chance).as_slice()) else { continue };
            *(if recording.damage.is_some() { &mut damaged } else { &mut whole }) += 1;
            let options = chance.pick(&views().iter().collect::<Vec<_>>()).clone();
            let Ok(view) = View::new(&recording, &options) else { continue };
            for format in FORMATS {
                // A format may refuse what it cannot show.
                let _ = (format.write)(&view, &mut std::io::sink());
            }
        }
    }
    assert!(damaged > 100 && whole > 100, "{damaged} damaged, {whole} whole");
}

/// The frames of an SVG by their hover texts; panics unless it is well-formed XML.
fn svg_frames(svg: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(svg);
    reader.config_mut().check_end_names = true;
    let (mut frames, mut title) = (Vec::new(), None);
    loop {
        match reader.read_event().unwrap() {
            Xml::Eof => break,
            Xml::Start(tag) => {
                tag.attributes().for_each(|attribute| drop(attribute.unwrap()));
                title = (tag.name().as_ref() == b"title").then(String::new);
            }
            Xml::Text(part) => {
                if let Some(title) = &mut title {
                    title.push_str(&part.decode().unwrap());
                }
            }
            Xml::GeneralRef(name) => {
                let c = match name.decode().unwrap().as_ref() {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "quot" => '"',
                    "apos" => '\'',
                    other => panic!("&{other}; is no entity of XML"),
                };
                title.iter_mut().for_each(|title| title.push(c));
            }
            Xml::End(_) => frames.extend(title.take()),
            _ => {}
        }
    }
    assert!(svg.chars().all(|c| c == '\n' || !c.is_control()), "a control character");
    frames
}

#[test]
fn a_flame_graph_is_xml_and_holds_every_function() {
    for (name, recording) in awkward() {
        for options in views() {
            let svg = text("flamegraph", &recording, &options);
            let frames = svg_frames(&svg);
            let folded = text("folded", &recording, &options);
            let expected: BTreeSet<&str> =
                folded.lines().flat_map(|line| line.rsplit_once(' ').unwrap().0.split(';')).collect();
            for function in &expected {
                let shown = frames.iter().any(|frame| frame.starts_with(&format!("{function} (")));
                assert!(shown, "{name} lacks {function}");
            }
            assert_eq!(svg.contains("no samples"), folded.is_empty());
            assert!(svg.contains("achieved 100 Hz; missed 1, partial"), "{name} does not say how good it is");
        }
    }
}

#[test]
fn a_function_seen_once_in_a_long_time_is_in_the_flame_graph() {
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let track = made.thread(process, 1, None, true);
    let file = made.file("a.py", pitviper::model::FileKind::Own);
    let mut at = 0;
    for name in ["hours", "once"] {
        let frame = made.python(name, None, file, 1, 1);
        let stack = made.stack(None, frame);
        let until = at + if name == "once" { 1_000 } else { 36_000_000_000_000 };
        made.look(vec![made::sample(track, Some(stack), at, until)]);
        at = until;
    }
    let recording = made::recording(made::ended(), &made.events);
    assert!(text("flamegraph", &recording, &ViewOptions::default()).contains("once (a.py:1)"));
}

#[test]
fn folded_stacks_load_in_inferno_and_none_is_taken_for_a_difference() {
    for (name, recording) in awkward() {
        for options in views() {
            let folded = text("folded", &recording, &options);
            if folded.is_empty() {
                continue;
            }
            let mut svg = Vec::new();
            let mut inferno = inferno::flamegraph::Options::default();
            inferno::flamegraph::from_lines(&mut inferno, folded.lines(), &mut svg).unwrap();
            let svg = String::from_utf8(svg).unwrap();
            assert!(!svg.contains("%; "), "{name} is read as a difference");
            let total: u64 =
                folded.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
            assert!(
                svg.contains(&format!("total_samples=\"{total}\"")),
                "{name}: inferno passed over some lines"
            );
        }
    }
}

#[test]
fn a_speedscope_profile_holds_together() {
    for (name, recording) in awkward() {
        for options in views() {
            let json: serde_json::Value =
                serde_json::from_slice(&written("speedscope", &recording, &options)).unwrap();
            let frames = json["shared"]["frames"].as_array().unwrap();
            let nulls = |value: &serde_json::Value| {
                value.as_object().unwrap().values().any(serde_json::Value::is_null)
            };
            assert!(!frames.iter().any(nulls) && !nulls(&json), "{name} has a key without a value");
            let profiles = json["profiles"].as_array().unwrap();
            assert!(json["activeProfileIndex"].as_u64().unwrap() < profiles.len() as u64);
            for profile in profiles {
                let samples = profile["samples"].as_array().unwrap();
                let weights: Vec<u64> = profile["weights"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|weight| weight.as_u64().unwrap())
                    .collect();
                assert_eq!(samples.len(), weights.len(), "{name}");
                let (start, end) =
                    (profile["startValue"].as_u64().unwrap(), profile["endValue"].as_u64().unwrap());
                if options.metric == Metric::Time {
                    assert_eq!(profile["endValue"], profiles[0]["endValue"], "{name}");
                }
                if !samples.is_empty() {
                    assert_eq!(weights.iter().sum::<u64>(), end - start, "{name}: {}", profile["name"]);
                }
                let shown = samples.iter().flat_map(|stack| stack.as_array().unwrap());
                let known =
                    |frame: &serde_json::Value| frame.as_u64().is_some_and(|n| n < frames.len() as u64);
                assert!(shown.clone().all(known), "{name} names a frame that is not there");
            }
        }
    }
}

#[test]
fn speedscope_profiles_load_in_the_real_app() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/validate-speedscope");
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, recording) in awkward().into_iter().take(8) {
        for (n, options) in views().iter().enumerate().take(2) {
            let file = dir.path().join(format!("{name}-{n}.speedscope.json"));
            std::fs::write(&file, written("speedscope", &recording, options)).unwrap();
            files.push(file);
        }
    }
    let output = Command::new(script).args(&files).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(77) => println!("skipped: {said}"),
        code => assert_eq!(code, Some(0), "{said}"),
    }
}

#[test]
fn the_real_app_is_able_to_refuse_a_profile() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/validate-speedscope");
    let dir = tempfile::tempdir().unwrap();
    let good = text("speedscope", &by_hand(), &ViewOptions::default());
    let one_weight_too_few = good.replacen("\"weights\":[20000,", "\"weights\":[", 1);
    let no_such_frame = good.replacen("[0,1]", "[0,99]", 1);
    let null_line = good.replacen("\"line\":90", "\"line\":null", 1);
    let mut files = Vec::new();
    for (name, bad) in [("weights", one_weight_too_few), ("frames", no_such_frame), ("null", null_line)] {
        assert_ne!(bad, good, "{name}: the hand-made profile has changed");
        let file = dir.path().join(format!("{name}.json"));
        std::fs::write(&file, bad).unwrap();
        files.push(file);
    }
    let output = Command::new(script).args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(77) => println!("skipped: {}", String::from_utf8_lossy(&output.stderr)),
        code => assert_eq!((code, said.matches("BAD ").count()), (Some(1), 3), "{said}"),
    }
}
