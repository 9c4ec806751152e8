//! The report: what a browser shows of it is what the exports say, whatever the names in it are; and the page is what `ui/` makes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use pitviper::format::by_name;
use pitviper::model::allocation::{Allocation, Evidence};
use pitviper::model::heap::{Census, Gauge, TypeCount};
use pitviper::model::{
    At, Counter, Define, Event, FileKind, Flags, Nanos, ProcessId, StackId, State, StringId, TrackId,
};
use pitviper::recording::{Metric, Recording, View, ViewOptions};
use serde_json::{Value, json};
use support::{Python, able, pitviper, python, pythons, start};

const PROGRAM: &str = include_str!("programs/report.py");
const PANELS: [&str; 9] =
    ["overview", "flame", "heatmap", "threads", "gc", "heap", "census", "top", "downloads"];
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Opens reports in a browser, which must show what the cases say.
fn look(dir: &Path, cases: &[Value]) {
    let file = dir.join("cases.json");
    std::fs::write(&file, json!({ "cases": cases }).to_string()).unwrap();
    let output = Command::new(Path::new(ROOT).join("scripts/ui")).arg("look").arg(&file).output().unwrap();
    if let Some((code, said)) = able(&output) {
        assert_eq!((code, said.matches("good ").count()), (0, cases.len()), "{said}");
    }
}

fn done(arguments: &[&str]) -> String {
    let output = pitviper(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_browser_shows_of_a_real_recording_what_the_exports_say() {
    let dir = tempfile::tempdir().unwrap();
    let cases: Vec<Value> = std::thread::scope(|scope| {
        let found = ["3.8", "3.12", "3.15-debian"].into_iter().filter_map(python);
        let recorders: Vec<_> = found.map(|python| scope.spawn(|| recorded(python, dir.path()))).collect();
        recorders.into_iter().map(|recorder| recorder.join().unwrap()).collect()
    });
    look(dir.path(), &cases);
}

/// A report of a real recording, and what the exports of that say.
fn recorded(python: &Python, dir: &Path) -> Value {
    let target = start(python, PROGRAM);
    let (pit, html) = (dir.join(format!("{}.pit", python.name)), dir.join(format!("{}.html", python.name)));
    let (pit, html) = (pit.to_str().unwrap(), html.to_str().unwrap());
    // As a recording's own output, so that `attach -o` is tried too.
    done(&[
        "attach",
        "--pid",
        &target.pid().to_string(),
        "-r",
        "200",
        "-d",
        "2",
        "--census-every",
        "0.4",
        "--source",
        "-o",
        pit,
        "-o",
        html,
    ]);
    drop(target);
    let export = |options: &[&str]| done(&[&["export", pit, "-f", "folded"], options].concat());
    let by = |words: &[&str], option: &str| -> Value {
        words
            .iter()
            .map(|word| ((*word).to_owned(), export(&[option, word]).into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let gc = done(&["gc", pit, "--json"]);
    let gc: Value = serde_json::from_str(gc.lines().last().unwrap()).unwrap();
    let gc = gc["interpreters"][0]["generations"].as_array().unwrap().iter().map(|generation| {
        let done = &generation["done"];
        let time = |key: &str| done[key].as_f64().unwrap_or(0.0);
        json!([
            done["collections"],
            done["collected"],
            done["uncollectable"],
            time("pause"),
            time("p50"),
            time("p95"),
            time("max")
        ])
    });
    let heap: Value = serde_json::from_str(&done(&["heap", pit, "--json"])).unwrap();
    let map: Value = serde_json::from_str(&done(&["export", pit, "-f", "heatmap-json"])).unwrap();
    // On a busy machine a census may not have been due in time; then there is no panel of them.
    let counted = heap["types"].as_array().is_some_and(|types| !types.is_empty());
    let panels = PANELS.iter().filter(|panel| counted || **panel != "census");
    json!({
        "name": python.name, "html": html, "folded": export(&[]), "panels": panels.collect::<Vec<_>>(),
        "by": by(&["function", "file", "module", "distribution"], "--by"),
        "modes": by(&["cpu", "gil", "exception"], "--mode"),
        "idle": export(&["--idle"]), "threads": export(&["--idle", "--threads"]),
        "thread": ["serve", export(&["--only-thread", "serve"])],
        "gc": gc.collect::<Vec<_>>(),
        "heap": heap, "map": map["processes"][0]["addresses"],
        // Which Python it was makes no difference to how the page is walked over.
        "walk": python.name == "3.12", "axe": true, "source": "self.run()",
    })
}

#[test]
fn a_flame_graph_of_memory_is_what_the_exports_say() {
    let Some(python) = python("3.12") else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = start(python, include_str!("programs/sites.py"));
    let (pit, html) = (dir.path().join("x.pit"), dir.path().join("x.html"));
    let (pit, html) = (pit.to_str().unwrap(), html.to_str().unwrap());
    let pid = target.pid().to_string();
    done(&["attach", "--pid", &pid, "-d", "0.5", "--metric", "bytes", "-o", pit, "-o", html]);
    drop(target);
    let by = |metric: &str| done(&["export", pit, "-f", "folded", "--metric", metric]);
    let metrics = json!({ "bytes": by("bytes"), "objects": by("objects"), "time": by("time") });
    assert!(metrics["bytes"].as_str().is_some_and(|text| text.contains("large")), "{metrics}");
    let says = json!(["exactly, by the target's own tracemalloc"]);
    look(dir.path(), &[json!({ "name": "memory", "html": html, "metrics": metrics, "says": says })]);
}

#[test]
fn memory_follows_the_brush_as_far_as_times_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let burst = Evidence::Burst(Nanos(1));
    // A moment in milliseconds, a stack, bytes: the sum of bursts is brought to what all pools grew by.
    let cases = [
        (
            "bursts",
            vec![(5, 0, 1000, burst), (15, 1, 1000, burst)],
            [(3000, 3000), (3000, 0)],
            "as far as bursts tell",
        ),
        (
            "tables",
            vec![(5, 0, 70, Evidence::Traced), (15, 0, 50, Evidence::Traced), (15, 1, 90, Evidence::Traced)],
            [(50, 90), (70, 0)],
            "the last of 2 readings",
        ),
        (
            "table",
            vec![(15, 0, 50, Evidence::Traced), (15, 1, 90, Evidence::Traced)],
            [(50, 90), (50, 90)],
            "the span of time makes no difference",
        ),
    ];
    let cases = cases.map(|(name, rows, told, says)| {
        let mut recording = hostile(&["f", "g"]);
        let at = |ms: u64| At(ms * 1_000_000);
        let (process, text) = (ProcessId(0), StringId(recording.strings.len() as u32));
        let mut add = |event: Event| recording.add(event).unwrap();
        add(Event::Define(Define::String(text, Gauge::BlockBytes.name().into())));
        for (at, value) in [(at(0), 0), (at(20), 6000)] {
            add(Event::Counter(Counter { at, process, name: text, value }));
        }
        let rows = rows.into_iter().map(|(ms, stack, bytes, evidence)| Allocation {
            at: at(ms),
            track: TrackId(0),
            stack: Some(StackId(stack)),
            bytes,
            blocks: 1,
            evidence,
        });
        add(Event::Allocations(rows.collect()));
        let options = ViewOptions { metric: Metric::Bytes, ..ViewOptions::default() };
        let html = dir.path().join(format!("{name}.html"));
        std::fs::write(&html, page(&recording, &options)).unwrap();
        let lines = |(f, g): (u64, u64)| {
            let lines = [(f, format!("f (f:1) {f}\n")), (g, format!("f (f:1);g (g:1) {g}\n"))];
            lines.into_iter().filter(|(weight, _)| *weight > 0).map(|(_, line)| line).collect::<String>()
        };
        assert_eq!(folded(&recording, &options), lines(told[0]), "{name}");
        // Each key takes a twentieth of a tenth of a second from the end: up to 10 ms; then all of it again.
        let brushes = json!([
            { "keys": [], "folded": lines(told[0]) },
            { "keys": vec!["ArrowLeft"; 18], "folded": lines(told[1]) },
            { "keys": ["Escape"], "folded": lines(told[0]) },
        ]);
        json!({ "name": name, "html": html, "brushes": brushes, "says": [says] })
    });
    look(dir.path(), &cases);
}

/// A page that nobody asked for a name.
fn page(recording: &Recording, options: &ViewOptions) -> Vec<u8> {
    let mut page = Vec::new();
    (by_name("html").unwrap().write)(&View::new(recording, options).unwrap(), &mut page).unwrap();
    page
}

fn folded(recording: &Recording, options: &ViewOptions) -> String {
    let mut text = Vec::new();
    (by_name("folded").unwrap().write)(&View::new(recording, options).unwrap(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Names that try to be more than names.
fn hostile(names: &[&str]) -> Recording {
    let mut made = made::Maker::default();
    let process = made.process(1, names[0]);
    let track = made.thread(process, 1, Some(names[0]), true);
    let (mut stack, mut at) = (None, 0);
    for (n, name) in names.iter().enumerate() {
        let file = made.file(name, FileKind::Own);
        let frame = made.python(name, None, file, 1, 1);
        stack = Some(made.stack(stack, frame));
        // Each of many frames seen innermost would be megabytes of folded stacks.
        if names.len() > 100 && n + 1 < names.len() {
            continue;
        }
        let until = at + 10_000_000;
        made.look(vec![made::sample(track, stack, at, until)]);
        at = until;
    }
    made::recording(made::ended(), &made.events)
}

#[test]
fn no_recording_harms_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let script = "</script><script>alert(1)</script>";
    let names = [
        script,
        "<img src=x onerror=alert(2)>",
        "\u{1b}[31mred",
        "\u{202e}gnp.exe",
        "';alert(3);//",
        "<!--",
        "a;b 12",
        "https://example.com/x.js",
        "constructor",
        "__proto__",
        "",
    ];
    let long = "x".repeat(1 << 20);
    let deep: Vec<String> = (0..5_000).map(|n| format!("f{n}")).collect();
    let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
    let mut late = hostile(&["early", "late"]);
    late.samples[0][1].from.0 += 1 << 50;
    late.samples[0][1].until.0 += 1 << 50;
    let mut once = hostile(&["once"]);
    once.samples[0][0].state = State::Python;
    once.samples[0][0].flags = Flags { holds_gil: Some(true), in_gc: Some(true), in_exception: Some(true) };
    let recordings = [
        ("names", hostile(&names), json!([script, "\u{fffd}[31mred", "constructor", "__proto__"])),
        ("long", hostile(&[&long]), json!(["(and 1047576 characters more)"])),
        ("deep", hostile(&deep), json!(["f4999"])),
        ("empty", made::recording(made::ended(), &[]), json!(["0 frames"])),
        ("once", once, json!(["once"])),
        ("late", late, json!(["late"])),
        ("everything", made::recording(made::ended(), &made::everything()), json!([])),
        ("service", made::recording(made::ended(), &made::service(2_000, 100.0, 3, 9)), json!([])),
        ("chance", made::recording(made::ended(), &made::by_chance(3, 4_000)), json!([])),
    ];
    let mut cases = Vec::new();
    for (name, recording, says) in recordings {
        let options = ViewOptions { idle: true, ..ViewOptions::default() };
        let html = dir.path().join(format!("{name}.html"));
        let bytes = page(&recording, &options);
        assert!(
            !String::from_utf8_lossy(&bytes).contains("alert("),
            "{name}: a name stands in the page as it is"
        );
        std::fs::write(&html, bytes).unwrap();
        let mut case =
            json!({ "name": name, "html": html, "says": says, "axe": name == "names" || name == "empty" });
        if name == "chance" {
            case["panels"] = json!(PANELS);
        }
        // A name that was cut is another one in the page; what chance says weighs nothing in places, which one export tells and
        // the other does not.
        if !["long", "empty", "chance"].contains(&name) {
            case["folded"] = folded(&recording, &options).into();
        }
        cases.push(case);
    }
    look(dir.path(), &cases);
}

#[test]
fn a_service_whose_threads_and_whose_heap_are_busy_is_shown() {
    // scripts/ui scale asks for a large one, which it measures itself.
    let large = std::env::var("PITVIPER_PAGE").ok();
    let many = if large.is_some() { 1_000_000 } else { 4_000 };
    let recording = made::recording(made::ended(), &made::busy(many));
    let options = ViewOptions::default();
    if let Some(large) = large {
        std::fs::write(large, page(&recording, &options)).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("busy.html");
    std::fs::write(&html, page(&recording, &options)).unwrap();
    look(dir.path(), &[json!({ "name": "busy", "html": html, "folded": folded(&recording, &options) })]);
}

/// Types by name, with objects and bytes.
type Types<'a> = &'a [(&'a str, u64, u64)];
/// Counters, and what they are.
type Counters<'a> = &'a [(Gauge, i64)];

/// Adds a census, an arena and counters to a recording.
fn count(recording: &mut Recording, types: Types<'_>, counters: Counters<'_>) {
    let (at, process) = (At(0), ProcessId(0));
    let string = |recording: &mut Recording, text: &str| {
        let id = StringId(recording.strings.len() as u32);
        recording.add(Event::Define(Define::String(id, text.into()))).unwrap();
        id
    };
    let types = types.iter().map(|(name, count, bytes)| TypeCount {
        name: string(recording, name),
        count: *count,
        bytes: *bytes,
    });
    let (types, took) = (types.collect(), Nanos(1));
    recording.add(Event::Census(Census { at, took, process, suspect_pools: 0, types })).unwrap();
    recording.add(Event::Heap(made::heap::state(process))).unwrap();
    for (gauge, value) in counters {
        let name = string(recording, gauge.name());
        recording.add(Event::Counter(Counter { at, process, name, value: *value })).unwrap();
    }
}

#[test]
fn a_baseline_shows_what_is_gone_and_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let name = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let recordings: [(_, _, Types<'_>, Counters<'_>); 2] = [
        ("a.pit", ["start", "old"], &[("Gone", 10, 640), ("Stays", 5, 100)], &[(Gauge::BlockBytes, 1000)]),
        (
            "b.pit",
            ["start", "new"],
            &[("Stays", 7, 164), ("New", 3, 48)],
            &[(Gauge::BlockBytes, 3048), (Gauge::Resident, 4096)],
        ),
    ];
    for (file, names, types, counters) in recordings {
        let mut bytes = Vec::new();
        let mut recording = hostile(&names);
        count(&mut recording, types, counters);
        (by_name("pit").unwrap().write)(&View::new(&recording, &ViewOptions::default()).unwrap(), &mut bytes)
            .unwrap();
        std::fs::write(dir.path().join(file), bytes).unwrap();
    }
    let (a, b, out) = (name("a.pit"), name("b.pit"), name("diff.html"));
    done(&["report", &b, "--baseline", &a, "--idle", "-o", &out]);
    let says = ["old (old:1)", "new (new:1)", "−50.0 %", "+50.0 %", "Compared with: "];
    // What is other by most stands first, gone or new.
    let beside = json!({
        "types": [
            ["Gone", "0", "0", "0", "0", "", "−10, gone", "−640 B, gone"],
            ["Stays", "7", "±0", "164 B", "±0 B", "▁ ", "+2", "+64 B"],
            ["New", "3", "±0", "48 B", "±0 B", "▁ ", "+3, new", "+48 B, new"],
        ],
        "counted": [["block bytes", "3.0 KiB", "1000 B", "+2.0 KiB"], ["rss bytes", "4.0 KiB", "?", "?"]],
    });
    look(dir.path(), &[json!({ "name": "diff", "html": out, "says": says, "axe": true, "beside": beside })]);
    let over = pitviper(&["report", &a, "-o", &a]);
    assert_eq!(over.status.code(), Some(2), "{}", String::from_utf8_lossy(&over.stderr));
}

#[test]
fn a_command_line_is_kept_whole_only_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let pit = dir.path().join("x.pit");
    let pit = pit.to_str().unwrap();
    let python = &pythons().last().unwrap().command;
    for (options, kept) in [(&[][..], false), (&["--show-cmdline"][..], true)] {
        let program = ["-c", "import time; time.sleep(1)", "--password=hunter2"];
        let words: Vec<&str> = python.iter().map(String::as_str).chain(program).collect();
        done(&[&["run", "-o", pit, "--quiet"], options, &["--"], &words].concat());
        let said = done(&["export", pit, "-f", "jsonl"]);
        assert_eq!(said.contains("hunter2"), kept, "{options:?}: {said}");
    }
}

#[test]
fn the_browser_test_is_able_to_fail() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("x.html");
    let recording = hostile(&["f"]);
    let shown = String::from_utf8(page(&recording, &ViewOptions::default())).unwrap();
    std::fs::write(&html, shown.replace("<body>", "<body><img src=\"https://example.com/x.png\">")).unwrap();
    let case = json!({ "name": "bad", "html": html, "folded": "g (f:1) 1\n", "panels": ["nothing"], "says": ["never said"] });
    let file = dir.path().join("cases.json");
    std::fs::write(&file, json!({ "cases": [case] }).to_string()).unwrap();
    let output = Command::new(Path::new(ROOT).join("scripts/ui")).arg("look").arg(&file).output().unwrap();
    let Some((code, said)) = able(&output) else { return };
    assert_eq!(code, 1, "{said}");
    for wrong in [
        "panel nothing",
        "folded stacks",
        "it does not say never said",
        "it asks for https://example.com/x.png",
    ] {
        assert!(said.contains(wrong), "{wrong} is not in {said}");
    }
}

#[test]
fn view_serves_the_report_to_who_knows_its_name_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (pit, browser, seen) =
        (dir.path().join("x.pit"), dir.path().join("browser"), dir.path().join("seen"));
    let recording = hostile(&["f"]);
    let mut bytes = Vec::new();
    (by_name("pit").unwrap().write)(&View::new(&recording, &ViewOptions::default()).unwrap(), &mut bytes)
        .unwrap();
    std::fs::write(&pit, bytes).unwrap();
    std::fs::write(&browser, format!("#!/bin/sh\necho \"$1\" > {}.part\nmv {0}.part {0}\n", seen.display()))
        .unwrap();
    Command::new("chmod").args(["+x", browser.to_str().unwrap()]).status().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["view", pit.to_str().unwrap(), "--idle"])
        .env("BROWSER", &browser)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let url = url.trim();
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let get = |path: &str, host: &str| {
        let mut stream = TcpStream::connect(url.split('/').nth(2).unwrap()).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    };
    let answer = get(path, host);
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(answer[body..], page(&recording, &ViewOptions { idle: true, ..ViewOptions::default() }));
    assert!(get("", host).starts_with(b"HTTP/1.1 404"));
    assert!(get(path, "evil.example").starts_with(b"HTTP/1.1 404"));
    support::wait_until("the browser was started", || seen.exists());
    assert_eq!(std::fs::read_to_string(&seen).unwrap().trim(), url);
    server.kill().unwrap();
    server.wait().unwrap();
    let said = pitviper(&["view", pit.to_str().unwrap(), "--firefox"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("https://profiler.firefox.com"));
}

#[test]
fn the_page_is_what_its_sources_make_and_a_planted_change_is_found() {
    let check = |root: &Path| Command::new(root.join("scripts/ui")).arg("check").output().unwrap();
    let Some((code, said)) = able(&check(Path::new(ROOT))) else { return };
    assert_eq!(code, 0, "{said}");
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(ROOT);
    for part in ["ui", "scripts"] {
        // What `node_modules` leads to is found anew.
        let status =
            Command::new("cp").arg("-R").args([from.join(part), dir.path().join(part)]).status().unwrap();
        assert!(status.success());
    }
    let words = dir.path().join("ui/src/words.ts");
    let text = std::fs::read_to_string(&words).unwrap();
    let planted = text.replace("'blocks'", "'pieces'");
    assert_ne!(planted, text, "nothing is planted");
    std::fs::write(&words, planted).unwrap();
    let (code, said) = able(&check(dir.path())).unwrap();
    assert_eq!((code, said.contains("run scripts/ui build")), (1, true), "{said}");
}

#[test]
fn the_parts_of_the_page_that_draw_nothing_pass_their_own_tests() {
    let output = Command::new(Path::new(ROOT).join("scripts/ui")).arg("test").output().unwrap();
    let Some((code, said)) = able(&output) else { return };
    assert_eq!(code, 0, "{said}");
}

#[test]
fn pitviper_is_built_without_running_anything() {
    // The page is committed; a build script is the only thing that could ask for Node.
    assert!(!Path::new(ROOT).join("build.rs").exists());
    let manifest = std::fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    assert!(!manifest.lines().any(|line| line.trim_start().starts_with("build =")));
    assert!(std::fs::metadata(Path::new(ROOT).join("ui/dist/report.html")).unwrap().len() < 64 * 1024);
}
