//! Looking at a recording: filters, names, spans of time and sums.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;

use pitviper::model::*;
use pitviper::recording::tree::Tree;
use pitviper::recording::{By, Contention, Metric, Mode, Recording, Spent, View, ViewOptions};

/// The folded stacks of a view, in whole milliseconds or samples.
fn folded(recording: &Recording, options: &ViewOptions) -> Vec<String> {
    let view = View::new(recording, options).unwrap();
    let per = if options.metric == Metric::Time { 1_000_000 } else { 1 };
    let mut lines: Vec<String> = view
        .stacks()
        .map(|stack| {
            let mut frames: Vec<String> =
                view.rows_of(stack.node).filter_map(|row| view.row(row)).map(|row| row.text()).collect();
            frames.extend(stack.roots.iter().rev().cloned());
            frames.reverse();
            format!("{} {}", frames.join(" > "), stack.weight / per)
        })
        .collect();
    lines.sort();
    lines
}

#[track_caller]
fn check(options: ViewOptions, expected: &[&str]) {
    let recording = made::recording(made::ended(), &made::by_hand());
    assert_eq!(folded(&recording, &options), expected);
}

const MAIN: &str = "MainThread (tid 1234)";

fn main_thread() -> ViewOptions {
    ViewOptions { main_thread: true, ..ViewOptions::default() }
}

#[test]
fn all_threads_are_shown_by_line_with_marks_where_a_part_is_missing() {
    check(
        ViewOptions::default(),
        &[
            "<module> (app.py:90) 10",
            "<module> (app.py:90) > Shop.serve (app.py:40) 40",
            "<module> (app.py:90) > Shop.serve (app.py:40) > JSONDecoder.decode (json/decoder.py:338) 50",
            "<torn> > naïve;счёт 12 (feed & seed.py:7) 10",
            "naïve;счёт 12 (feed & seed.py:7) 50",
            "naïve;счёт 12 (feed & seed.py:7) > run.<locals>.<lambda> (feed & seed.py:8) 10",
            "naïve;счёт 12 (feed & seed.py:7) > run.<locals>.<lambda> (feed & seed.py:8) > <torn> 10",
        ],
    );
}

#[test]
fn threads_are_chosen_by_name_and_shown_as_roots() {
    let serve = "<module> (app.py:90) > Shop.serve (app.py:40)";
    let decode = format!("{serve} > JSONDecoder.decode (json/decoder.py:338)");
    check(main_thread(), &["<module> (app.py:90) 10", &format!("{serve} 40"), &format!("{decode} 50")]);
    let by_name =
        ViewOptions { only_thread: Some("tid 1234".into()), threads: true, ..ViewOptions::default() };
    check(
        by_name,
        &[
            &format!("{MAIN} > <module> (app.py:90) 10"),
            &format!("{MAIN} > {serve} 40"),
            &format!("{MAIN} > {decode} 50"),
        ],
    );
    check(ViewOptions { only_thread: Some("nobody".into()), ..ViewOptions::default() }, &[]);
}

#[test]
fn frames_are_grouped_by_function_or_file_and_lose_their_lines() {
    check(
        ViewOptions { by: By::Function, ..main_thread() },
        &[
            "<module> (app.py:1) 10",
            "<module> (app.py:1) > Shop.serve (app.py:30) 40",
            "<module> (app.py:1) > Shop.serve (app.py:30) > JSONDecoder.decode (json/decoder.py:330) 50",
        ],
    );
    check(ViewOptions { by: By::File, ..main_thread() }, &["app.py 50", "app.py > json/decoder.py 50"]);
    check(
        ViewOptions { no_line_numbers: true, full_filenames: true, ..main_thread() },
        &[
            "<module> (/srv/shop/app.py) 10",
            "<module> (/srv/shop/app.py) > Shop.serve (/srv/shop/app.py) 40",
            "<module> (/srv/shop/app.py) > Shop.serve (/srv/shop/app.py) > \
         JSONDecoder.decode (/usr/lib/python3.13/json/decoder.py) 50",
        ],
    );
}

#[test]
fn patterns_keep_stacks_and_hide_frames() {
    let include = |pattern: &str| ViewOptions { include: vec![pattern.into()], ..main_thread() };
    let decode =
        "<module> (app.py:90) > Shop.serve (app.py:40) > JSONDecoder.decode (json/decoder.py:338) 50";
    check(include("decode"), &[decode]);
    check(include(r"^JSONDecoder\.decode \(/usr/lib"), &[decode]);
    check(include("nothing"), &[]);
    let exclude = |pattern: &str| ViewOptions { exclude: vec![pattern.into()], ..main_thread() };
    check(exclude("app.py"), &["<hidden> 50", "JSONDecoder.decode (json/decoder.py:338) 50"]);
    check(
        exclude("serve"),
        &["<module> (app.py:90) 50", "<module> (app.py:90) > JSONDecoder.decode (json/decoder.py:338) 50"],
    );
    let both = ViewOptions { include: vec!["serve".into()], exclude: vec!["serve".into()], ..main_thread() };
    check(
        both,
        &["<module> (app.py:90) 40", "<module> (app.py:90) > JSONDecoder.decode (json/decoder.py:338) 50"],
    );
}

#[test]
fn a_span_of_time_takes_the_parts_of_samples_that_lie_in_it() {
    let serve = "<module> (app.py:90) > Shop.serve (app.py:40)";
    let span = |from: u64, to: u64| ViewOptions {
        from_ns: Some(from * 1_000_000),
        to_ns: Some(to * 1_000_000),
        ..main_thread()
    };
    check(span(5, 15), &[&format!("{serve} 10")]);
    check(
        span(15, 25),
        &[&format!("{serve} 5"), &format!("{serve} > JSONDecoder.decode (json/decoder.py:338) 5")],
    );
    check(span(60, 70), &["<module> (app.py:90) 10"]);
    check(span(200, 300), &[]);
    let samples = ViewOptions { metric: Metric::Samples, ..span(0, 20) };
    check(samples, &[&format!("{serve} 2")]);
}

#[test]
fn what_is_for_later_and_what_makes_no_sense_is_said() {
    #[track_caller]
    fn check(options: ViewOptions, expected: &str) {
        assert_eq!(View::new(&Recording::default(), &options).unwrap_err().to_string(), expected);
    }
    let default = ViewOptions::default;
    check(
        ViewOptions { from_ns: Some(2_000_000_000), to_ns: Some(1_000_000_000), ..default() },
        "the span of time ends at 1.00 s and begins at 2.00 s",
    );
    let bad = |pattern: &str| ViewOptions { exclude: vec!["fine".into(), pattern.into()], ..default() };
    check(bad("ab("), "the pattern of --exclude does not compile at character 3: unclosed group");
    check(
        bad("größe[z-a]"),
        "the pattern of --exclude does not compile at character 7: \
        invalid character class range, the start must be <= the end",
    );
    check(
        bad("a{99999}{99999}"),
        "the pattern of --exclude does not compile: Compiled regex exceeds size limit of 10485760 bytes.",
    );
}

#[test]
fn whoever_collects_garbage_has_a_mark_on_top_unless_it_is_left_out() {
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let track = made.thread(process, 1, None, true);
    let file = made.file("/srv/app.py", FileKind::Own);
    let (serve, forced) = (made.python("serve", None, file, 4, 1), made.python("forced", None, file, 9, 8));
    let serving = made.stack(None, serve);
    let forcing = made.stack(Some(serving), forced);
    let (mut at, flags) = (0, Flags { in_gc: Some(true), ..Flags::default() });
    let torn = Quality::TopMissing(Torn::Changed);
    for (stack, flags, quality, took) in [
        (Some(serving), Flags::default(), Quality::Whole, 1),
        (Some(forcing), flags, Quality::Whole, 2),
        (Some(serving), flags, torn, 4),
        (None, flags, Quality::Whole, 8),
        (Some(forcing), Flags { in_gc: Some(false), ..flags }, Quality::Whole, 16),
    ] {
        let sample = made::sample(track, stack, at, at + took * 1_000_000);
        made.look(vec![Sample { flags, quality, ..sample }]);
        at = sample.until.0;
    }
    let recording = made::recording(made::meta(), &made.events);
    let of = |options: ViewOptions| folded(&recording, &options);
    let [serve, forced] = ["serve (app.py:4)", "serve (app.py:4) > forced (app.py:9)"];
    let marked = [
        "<no Python frame> > <GC> 8".to_owned(),
        format!("{serve} 1"),
        format!("{serve} > <torn> > <GC> 4"),
        format!("{forced} 16"),
        format!("{forced} > <GC> 2"),
    ];
    let plain = [
        "<no Python frame> 8".to_owned(),
        format!("{serve} 1"),
        format!("{serve} > <torn> 4"),
        format!("{forced} 18"),
    ];
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let default = ViewOptions::default;
    assert_eq!(of(default()), sorted(marked.to_vec()));
    assert_eq!(of(ViewOptions { no_gc: true, ..default() }), sorted(plain.to_vec()));
    assert_eq!(of(ViewOptions { exclude: vec!["<GC>".into()], ..default() }), sorted(plain.to_vec()));
    let with = |pattern: &str| of(ViewOptions { include: vec![pattern.into()], ..default() });
    let only = marked.iter().filter(|line| line.contains("<GC>")).cloned().collect();
    assert_eq!(with("GC"), sorted(only));
    assert_eq!(with("forced"), sorted(vec![format!("{forced} 16"), format!("{forced} > <GC> 2")]));
    let by_file = of(ViewOptions { by: By::File, ..default() });
    assert!(by_file.contains(&"app.py > <GC> 2".to_owned()), "{by_file:?}");
}

#[test]
fn waiting_threads_are_left_out_unless_asked_for() {
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let track = made.thread(process, 1, None, true);
    let text = made.string("sleep");
    made.events.push(Event::Define(Define::Wait(WaitId(0), Wait { text })));
    let waiting = Sample { state: State::Waiting(WaitId(0)), ..made::sample(track, None, 0, 5_000_000) };
    made.look(vec![waiting]);
    made.look(vec![made::sample(track, None, 5_000_000, 7_000_000)]);
    let recording = made::recording(made::meta(), &made.events);
    assert_eq!(folded(&recording, &ViewOptions::default()), ["<no Python frame> 2"]);
    let idle = ViewOptions { idle: true, ..ViewOptions::default() };
    assert_eq!(folded(&recording, &idle), ["<no Python frame> 7"]);
}

/// A thread that computes for a while and sleeps for a while, as looks every 10 ms meet it; each look stands for 10 ms.
fn of_looks(looks: &[(State, Option<u64>, Flags)]) -> Recording {
    const MS: u64 = 1_000_000;
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let track = made.thread(process, 1, None, true);
    let file = made.file("a.py", FileKind::Own);
    let text = made.string("sleep");
    made.events.push(Event::Define(Define::Wait(WaitId(0), Wait { text })));
    let frames = ["compute", "native", "want", "wait"].map(|name| made.python(name, None, file, 1, 1));
    let stacks = frames.map(|frame| made.stack(None, frame));
    for (n, (state, cpu, flags)) in (0..).zip(looks) {
        let stack = match state {
            State::Python => stacks[0],
            State::Native | State::Unknown => stacks[1],
            State::WantsGil => stacks[2],
            State::Waiting(_) => stacks[3],
        };
        let sample = made::sample(track, Some(stack), n * 10 * MS, (n + 1) * 10 * MS);
        let cpu = cpu.map(|ms| Nanos(ms * MS));
        made.look(vec![Sample { state: *state, cpu, flags: *flags, ..sample }]);
    }
    made::recording(made::meta(), &made.events)
}

const WAIT: State = State::Waiting(WaitId(0));

fn flags(holds_gil: Option<bool>, in_exception: Option<bool>) -> Flags {
    Flags { holds_gil, in_exception, ..Flags::default() }
}

#[track_caller]
fn check_mode(looks: &[(State, Option<u64>, Flags)], options: ViewOptions, expected: &[&str]) {
    let options = ViewOptions { no_line_numbers: true, ..options };
    assert_eq!(folded(&of_looks(looks), &options), expected);
}

#[test]
fn time_on_a_processor_goes_to_the_stacks_that_were_met_running() {
    let none = Flags::default();
    let cpu = || ViewOptions { mode: Mode::Cpu, ..ViewOptions::default() };
    let looks = [
        (State::Python, Some(10), none),
        (WAIT, Some(3), none),
        (WAIT, Some(4), none),
        (State::Native, Some(1), none),
        (State::WantsGil, Some(1), none),
        (WAIT, Some(1), none),
    ];
    check_mode(&looks, cpu(), &["compute (a.py) 10", "native (a.py) 10"]);
    let samples = ViewOptions { metric: Metric::Samples, ..cpu() };
    check_mode(&looks, samples, &["compute (a.py) 1", "native (a.py) 1"]);
    // Never met running: what is known is near which stack it ran.
    check_mode(&[(WAIT, Some(2), none), (WAIT, Some(0), none)], cpu(), &["wait (a.py) 2"]);
    // Not measured: who was met running ran.
    check_mode(&[(State::Python, None, none), (WAIT, None, none)], cpu(), &["compute (a.py) 10"]);
    check_mode(&[(State::Unknown, None, none)], cpu(), &[]);
    check_mode(&[(State::Unknown, Some(5), none)], cpu(), &["native (a.py) 5"]);
}

#[test]
fn time_with_the_gil_and_in_exceptions_is_what_is_known_to_be() {
    let looks = [
        (State::Python, None, flags(Some(true), Some(false))),
        (State::Native, None, flags(Some(false), Some(true))),
        (State::WantsGil, None, flags(Some(false), None)),
        (WAIT, None, flags(Some(true), Some(true))),
        (State::Unknown, None, flags(None, None)),
    ];
    let mode = |mode, idle| ViewOptions { mode, idle, ..ViewOptions::default() };
    check_mode(&looks, mode(Mode::Wall, false), &["compute (a.py) 10", "native (a.py) 20", "want (a.py) 10"]);
    // Who waits and keeps the GIL from all others counts.
    check_mode(&looks, mode(Mode::Gil, false), &["compute (a.py) 10", "wait (a.py) 10"]);
    check_mode(&looks, mode(Mode::Exception, false), &["native (a.py) 10"]);
    check_mode(&looks, mode(Mode::Exception, true), &["native (a.py) 10", "wait (a.py) 10"]);
}

#[test]
fn a_span_takes_its_part_of_the_time_on_a_processor() {
    let looks = [(State::Python, Some(8), Flags::default()), (State::Native, Some(4), Flags::default())];
    let options = ViewOptions {
        mode: Mode::Cpu,
        from_ns: Some(5_000_000),
        to_ns: Some(20_000_000),
        ..ViewOptions::default()
    };
    check_mode(&looks, options, &["compute (a.py) 4", "native (a.py) 4"]);
}

#[test]
fn threads_that_want_the_gil_and_the_one_that_has_it_are_summed_up() {
    let held = (State::Python, Some(10), flags(Some(true), None));
    let wants = (State::WantsGil, Some(0), flags(Some(false), None));
    let recording = of_looks(&[held, wants, wants, held, wants, (WAIT, Some(0), flags(Some(false), None))]);
    let spent = Spent::of(&recording, TrackId(0));
    let ms = |ms: u64| Nanos(ms * 1_000_000);
    assert_eq!((spent.time, spent.cpu, spent.held), (ms(60), Some(ms(20)), ms(20)));
    assert_eq!((spent.wanted, spent.waited, spent.longest), (ms(30), ms(10), ms(20)));
    let contention = Contention::of(&recording).unwrap();
    assert_eq!((contention.threads, contention.share, contention.longest), (1, 0.5, ms(20)));
    assert_eq!(contention.holder, Some(("compute".to_owned(), Some("a.py".to_owned()))));
    assert_eq!(Contention::of(&of_looks(&[held, held])), None);
}

#[test]
fn several_processes_stand_at_the_roots() {
    let mut made = made::Maker::default();
    let file = made.file("a.py", FileKind::Own);
    let frame = made.python("f", None, file, 1, 1);
    let stack = made.stack(None, frame);
    for pid in [10, 20] {
        let process = made.process(pid, "python a.py");
        let track = made.thread(process, pid, Some("x"), true);
        made.look(vec![made::sample(track, Some(stack), 0, u64::from(pid) * 1_000_000)]);
    }
    let recording = made::recording(made::meta(), &made.events);
    let expected = ["process 10: python a.py > f (a.py:1) 10", "process 20: python a.py > f (a.py:1) 20"];
    assert_eq!(folded(&recording, &ViewOptions::default()), expected);
}

/// A recording of one thread: each stack of functions, outermost first, for a millisecond.
fn of_stacks(stacks: &[&[&str]]) -> Recording {
    let mut made = made::Maker::default();
    let process = made.process(1, "python");
    let track = made.thread(process, 1, None, true);
    let file = made.file("a.py", FileKind::Own);
    let mut frames = std::collections::HashMap::new();
    for (n, names) in (0..).zip(stacks) {
        let mut stack = None;
        for name in *names {
            let frame = *frames.entry(*name).or_insert_with(|| made.python(name, None, file, 1, 1));
            stack = Some(made.stack(stack, frame));
        }
        made.look(vec![made::sample(track, stack, n * 1_000_000, (n + 1) * 1_000_000)]);
    }
    made::recording(made::meta(), &made.events)
}

#[test]
fn a_function_that_calls_itself_counts_once_in_its_total() {
    let recording =
        of_stacks(&[&["main", "fact", "fact", "fact"], &["main", "fact", "mul", "fact"], &["main"]]);
    let options = ViewOptions::default();
    let view = View::new(&recording, &options).unwrap();
    let top: Vec<_> = Tree::of(&view)
        .top(&view)
        .iter()
        .map(|total| {
            (view.row(total.row).unwrap().name.clone(), total.own / 1_000_000, total.total / 1_000_000)
        })
        .collect();
    let expected =
        [("fact", 2, 2), ("main", 1, 3), ("mul", 0, 1)].map(|(name, own, all)| (name.to_owned(), own, all));
    assert_eq!(top, expected);
}

#[test]
fn recursion_collapses_where_it_is_asked_for() {
    let recording = of_stacks(&[&["main", "fact", "fact", "fact"], &["main", "fact", "mul", "fact"]]);
    let options = ViewOptions { collapse_recursion: true, no_line_numbers: true, ..ViewOptions::default() };
    let expected = ["main (a.py) > fact (a.py) 1", "main (a.py) > fact (a.py) > mul (a.py) > fact (a.py) 1"];
    assert_eq!(folded(&recording, &options), expected);
}

#[test]
fn a_stack_ten_thousand_frames_deep_is_no_deeper_for_us() {
    let deep = vec!["down"; 10_000];
    let recording = of_stacks(&[&deep, &deep]);
    let options = ViewOptions::default();
    let view = View::new(&recording, &options).unwrap();
    let tree = Tree::of(&view);
    assert_eq!(tree.branches().len(), 10_000);
    assert_eq!(tree.top(&view)[0].total, 2_000_000);
    for format in pitviper::format::FORMATS {
        (format.write)(&view, &mut Vec::new()).unwrap();
    }
}
