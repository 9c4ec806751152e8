//! Exports that tell of more than stacks: what they say of a hand-made recording, and what those who read them see in it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;
mod support;

use std::collections::BTreeMap;
use std::process::Command;

use pitviper::format::by_name;
use pitviper::recording::{Metric, Recording, View, ViewOptions};
use serde_json::{Value, json};
use support::able;

fn text(format: &str, recording: &Recording, options: &ViewOptions) -> String {
    let mut out = Vec::new();
    let view = View::new(recording, options).unwrap();
    (by_name(format).unwrap().write)(&view, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Waiting threads too.
fn all() -> ViewOptions {
    ViewOptions { idle: true, ..ViewOptions::default() }
}

fn everything() -> Recording {
    made::recording(made::ended(), &made::everything())
}

fn awkward() -> Vec<(String, Recording)> {
    let mut recordings = vec![
        ("everything".to_owned(), everything()),
        ("empty".to_owned(), made::recording(made::ended(), &[])),
        ("service".to_owned(), made::recording(made::ended(), &made::service(3_000, 1_000.0, 3, 9))),
    ];
    let by_chance = |seed| made::recording(made::ended(), &made::by_chance(seed, 400));
    recordings.extend((0..20).map(|seed| (format!("chance-{seed}"), by_chance(seed))));
    recordings
}

#[test]
fn collections_of_a_hand_made_recording_as_a_table() {
    insta::assert_snapshot!(text("gc-csv", &everything(), &all()));
}

#[test]
fn the_heap_of_a_hand_made_recording_as_matrices() {
    insta::assert_snapshot!(text("heatmap-json", &everything(), &all()));
}

#[test]
fn everything_of_a_hand_made_recording_a_record_a_line() {
    insta::assert_snapshot!(text("jsonl", &everything(), &all()));
}

#[test]
fn trace_events_of_a_hand_made_recording() {
    insta::assert_snapshot!(text("chrome", &everything(), &all()));
}

#[test]
fn a_formula_in_a_name_stays_a_text_in_a_spreadsheet() {
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let file = made.file("=cmd|'/c calc'!A1", pitviper::model::FileKind::Own);
    let frame = made.python("a\"b", None, file, 1, 1);
    let stack = made.stack(None, frame);
    let rows = made::everything().into_iter().filter_map(|event| match event {
        pitviper::model::Event::Gc(row) => Some(row),
        _ => None,
    });
    let rows: Vec<_> =
        rows.map(|row| pitviper::model::gc::Collection { process, stack: Some(stack), ..row }).collect();
    made.events.extend(rows.into_iter().map(pitviper::model::Event::Gc));
    let csv = text("gc-csv", &made::recording(made::ended(), &made.events), &all());
    assert!(csv.ends_with(",\"a\"\"b\",\"'=cmd|'/c calc'!A1\",1\n"), "{csv}");
}

#[test]
fn every_line_of_jsonl_is_json_and_weights_and_collections_are_the_recordings_own() {
    for (name, recording) in awkward() {
        let lines = text("jsonl", &recording, &all());
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let of = |what: &'static str| lines.iter().filter(move |line| line["type"] == what);
        let weight = of("sample").map(|line| line["weight"].as_u64().unwrap()).fold(0, u64::saturating_add);
        assert_eq!(weight, View::new(&recording, &all()).unwrap().total(), "{name}");
        assert_eq!(of("gc").count(), recording.gc.len(), "{name}");
        assert_eq!(of("counter").count(), recording.counters.len(), "{name}");
        let mut known = std::collections::HashSet::new();
        for line in &lines {
            match line["type"].as_str().unwrap() {
                "stack" => assert!(known.insert(line["id"].as_u64()), "{name}: said twice: {line}"),
                "sample" => assert!(known.contains(&line["stack"].as_u64()), "{name}: not said yet: {line}"),
                _ => {}
            }
        }
    }
}

#[test]
fn calls_in_a_trace_lie_within_those_that_made_them_and_take_all_the_time() {
    for (name, recording) in awkward() {
        for options in [all(), ViewOptions { metric: Metric::Samples, ..all() }] {
            let trace: Value =
                serde_json::from_str(&text("chrome", &recording, &options)).expect("it is JSON");
            let mut open: BTreeMap<(u64, i64), Vec<(f64, f64)>> = BTreeMap::new();
            for event in trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X") {
                let number = |key: &str| event[key].as_f64().unwrap();
                let thread = (event["pid"].as_u64().unwrap(), event["tid"].as_f64().unwrap() as i64);
                let (from, until) = (number("ts"), number("ts") + number("dur"));
                assert!(number("dur") > 0.0, "{name}: {event}");
                // Microseconds with a fraction are rounded where they are large.
                let slack = until * 1e-9 + 0.002;
                let stack = open.entry(thread).or_default();
                // Tracks of one thread id may be any number in a recording by chance.
                if name.starts_with("chance") {
                    continue;
                }
                stack.retain(|(_, end)| *end > from + slack);
                assert!(
                    stack.iter().all(|(begin, end)| *begin <= from + slack && until <= end + slack),
                    "{name}: {event}"
                );
                stack.push((from, until));
            }
        }
    }
}

/// Whatever Firefox's profiler reads by index is there.
#[test]
fn a_firefox_profile_holds_together() {
    for (name, recording) in awkward() {
        for options in [all(), ViewOptions { metric: Metric::Samples, no_gc: true, ..all() }] {
            let profile: Value =
                serde_json::from_str(&text("firefox", &recording, &options)).expect("it is JSON");
            let shared = &profile["shared"];
            let strings = shared["stringArray"].as_array().unwrap().len() as u64;
            let below = |column: &Value, limit: u64| {
                column
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|id| !id.is_null())
                    .all(|id| id.as_u64().unwrap() < limit)
            };
            let length = |table: &Value| {
                let length = table["length"].as_u64().unwrap();
                let columns = table.as_object().unwrap().values().filter_map(Value::as_array);
                columns.for_each(|column| assert_eq!(column.len() as u64, length, "{name}"));
                length
            };
            let [stacks, frames, functions, files] =
                ["stackTable", "frameTable", "funcTable", "sources"].map(|table| length(&shared[table]));
            for (table, column, limit) in [
                ("stackTable", "prefix", stacks),
                ("stackTable", "frame", frames),
                ("frameTable", "func", functions),
                ("frameTable", "category", profile["meta"]["categories"].as_array().unwrap().len() as u64),
                ("funcTable", "name", strings),
                ("funcTable", "source", files),
                ("sources", "filename", strings),
            ] {
                assert!(below(&shared[table][column], limit), "{name}: {table}.{column}");
            }
            let threads = profile["threads"].as_array().unwrap();
            let mut markers = 0;
            for thread in threads {
                let samples = &thread["samples"];
                assert!(length(samples) > 0 && below(&samples["stack"], stacks), "{name}");
                let times: Vec<f64> =
                    samples["time"].as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
                assert!(times.is_sorted(), "{name}: {times:?}");
                markers += length(&thread["markers"]);
                assert!(below(&thread["markers"]["name"], strings), "{name}");
            }
            if View::new(&recording, &options).unwrap().total() > 0 {
                assert_eq!(markers, (recording.gc.len() + recording.marks.len()) as u64, "{name}");
            }
            for counter in profile["counters"].as_array().unwrap() {
                assert!(length(&counter["samples"]) > 0, "{name}");
                assert!(counter["mainThreadIndex"].as_u64().unwrap() < threads.len() as u64, "{name}");
            }
        }
    }
}

/// Runs a validator over files; what it said, or nothing where this machine has not what it takes.
fn validated(script: &str, files: &[(String, String)]) -> Option<(i32, String)> {
    let dir = tempfile::tempdir().unwrap();
    let paths = files.iter().map(|(name, text)| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    });
    let script = format!("{}/scripts/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(script).args(paths).output().unwrap();
    able(&output)
}

#[test]
fn firefox_profiles_load_in_the_real_profiler_which_sees_markers_counters_and_functions() {
    let good = text("firefox", &everything(), &all());
    let bad = good.replacen("\"stackTable\":", "\"stacks\":", 1);
    let files = [("good.firefox.json".to_owned(), good), ("bad.firefox.json".to_owned(), bad)];
    let Some((code, said)) = validated("validate-firefox", &files) else { return };
    assert_eq!((code, said.matches("BAD ").count()), (1, 1), "{said}");
    let line = said.lines().find(|line| line.starts_with("good ")).expect(&said);
    let seen: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|it| it[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(seen["info"]["threadCount"], json!(3), "{seen}");
    let markers = seen["markers"]["flatMarkers"].as_array().unwrap();
    let gc = markers.iter().find(|marker| marker["name"] == "<GC>").expect("it has a collection");
    assert_eq!((&gc["data"]["generation"], &gc["data"]["collected"]), (&json!(2), &json!(4000)), "{gc}");
    assert_eq!(gc["hasStack"], json!(true), "{gc}");
    assert!((gc["duration"].as_f64().unwrap() - 4.000_001).abs() < 1e-6, "{gc}");
    assert!(markers.iter().any(|marker| marker["name"] == "mark"), "{seen}");
    let counters = names(&seen["counters"]["counters"], "name");
    assert_eq!(counters, ["rss_bytes"]);
    let functions = names(&seen["functions"]["functions"], "name");
    assert!(functions.contains(&"JSONDecoder.decode".to_owned()), "{functions:?}");
    let decode =
        &seen["functions"]["functions"][functions.iter().position(|it| it.contains("decode")).unwrap()];
    assert_eq!(decode["selfSamples"].as_f64(), Some(50.0), "{decode}");
}

#[test]
fn trace_events_load_in_speedscope() {
    let files: Vec<(String, String)> = awkward()
        .into_iter()
        .filter(|(name, _)| ["everything", "service"].contains(&name.as_str()))
        .map(|(name, recording)| (format!("{name}.trace.json"), text("chrome", &recording, &all())))
        .collect();
    let Some((code, said)) = validated("validate-speedscope", &files) else { return };
    assert_eq!((code, said.matches("good ").count()), (0, files.len()), "{said}");
}
