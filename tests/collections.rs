//! What a recording tells of collections is what the target counted, and what its callbacks were told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::{Child, Command, Stdio};

use pitviper::format::by_name;
use pitviper::model::gc::{Collection, Exactness};
use pitviper::model::{At, StackId, TroubleKind};
use pitviper::recording::gc::Work;
use pitviper::recording::{self, Recording, View, ViewOptions};
use serde::Deserialize;
use serde_json::Value;
use support::{Python, SOME, Target, pythons, start, wait_until};

const COLLECTIONS: &str = include_str!("programs/collected.py");
/// From one look to the next, in seconds.
const PERIOD: f64 = 0.002;
/// For how long a target makes garbage, in seconds; on some Pythons more.
const SECONDS: f64 = 1.0;
const MORE_SECONDS: f64 = 8.0;

/// For how long a target makes garbage: `scripts/soak gc` has its own wish.
fn seconds(python: &Python) -> f64 {
    let usual = if SOME.contains(&python.name.as_str()) { MORE_SECONDS } else { SECONDS };
    std::env::var("PITVIPER_SOAK_SECONDS").map_or(usual, |text| text.parse().expect("a number of seconds"))
}

#[derive(Debug, Deserialize)]
struct Stats {
    collections: u64,
    collected: u64,
    uncollectable: u64,
}

/// What the target says; 2.7 has neither.
#[derive(Debug, Deserialize)]
struct Truth {
    before: Option<Vec<Stats>>,
    after: Option<Vec<Stats>>,
    /// Generation, start, stop, collected.
    log: Vec<(u8, f64, f64, u64)>,
}

/// Records a target while it does its work; what it says, what was seen, and what the summary says of collecting.
fn record(target: &mut Target, seconds: f64) -> (Truth, Recording, Value) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gc.pit");
    let recorder = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args([
            "attach",
            "-q",
            "--json",
            "--schedule",
            "fixed",
            "-r",
            "500",
            "--pid",
            &target.pid().to_string(),
        ])
        .args(["-o", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first look is over when it has a block of samples.
    let some = |recording: Recording| recording.samples.iter().flatten().count() > 0;
    wait_until("samples", || recording::open(&file).is_ok_and(some));
    target.tell(&seconds.to_string());
    let truth = serde_json::from_str(&target.line()).expect("it answers in JSON");
    let summary = interrupt(recorder);
    (truth, recording::open(&file).expect("the recording opens"), summary["gc"].clone())
}

/// Ends a recording; its summary.
fn interrupt(recorder: Child) -> Value {
    let status = Command::new("kill").args(["-INT", &recorder.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = recorder.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it sums up in JSON")
}

/// Sums of a generation, as `gc.get_stats()` has them.
fn sums(recording: &Recording, generation: usize) -> [u64; 3] {
    let rows = recording.gc.iter().filter(|row| usize::from(row.generation) == generation);
    rows.fold([0; 3], |[count, collected, uncollectable], row| {
        [count + u64::from(row.count), collected + row.collected, uncollectable + row.uncollectable]
    })
}

/// How many looks were missed about the time of a collection, at most: a batch says it of all its looks, with the last one.
fn missed_about(recording: &Recording, row: &Collection) -> u64 {
    let told = recording.troubles.iter().filter(|it| it.kind == TroubleKind::Missed && it.at >= row.start);
    let later = recording.troubles.iter().filter(|it| it.kind == TroubleKind::Missed && it.at > row.stop);
    let next = later.map(|it| it.at).min().unwrap_or(row.stop);
    told.filter(|it| it.at <= next).map(|it| it.count).sum()
}

/// Whether one distance between two clocks satisfies all: each pair is the least and the greatest one that may be.
#[track_caller]
fn check_clocks(name: &str, distances: impl Iterator<Item = (f64, f64)>) {
    let (least, greatest) = distances
        .fold((f64::MIN, f64::MAX), |(least, greatest), (low, high)| (low.max(least), high.min(greatest)));
    assert!(least <= greatest, "{name}: no clock is at least {least} and at most {greatest} away");
}

/// Whether one distance between two clocks satisfies nineteen of twenty: a target may be put off between what it writes down and
/// what it does then, for as long as others want its core.
#[track_caller]
fn check_most_clocks(name: &str, distances: &[(f64, f64)]) {
    let satisfied = |at: f64| distances.iter().filter(|(low, high)| (*low..=*high).contains(&at)).count();
    let most = distances.iter().map(|(low, _)| satisfied(*low)).max().unwrap_or(0);
    assert!(most * 20 >= distances.len() * 19, "{name}: {most} of {}", distances.len());
}

#[test]
fn sums_times_generations_and_stacks_are_those_of_the_target() {
    for python in pythons() {
        let name = &python.name;
        let mut target = start(python, COLLECTIONS);
        let (truth, recording, summary) = record(&mut target, seconds(python));
        let moment = |at: pitviper::model::At| at.0 as f64 / 1e9;

        if let Some((before, after)) = truth.before.as_ref().zip(truth.after.as_ref()) {
            for (generation, (before, after)) in before.iter().zip(after).enumerate() {
                let done = [
                    after.collections - before.collections,
                    after.collected - before.collected,
                    after.uncollectable - before.uncollectable,
                ];
                assert_eq!(sums(&recording, generation), done, "{name}: generation {generation}");
                let logged = truth.log.iter().filter(|entry| usize::from(entry.0) == generation).count();
                assert_eq!(done[0], logged as u64, "{name}: callbacks of generation {generation}");
            }
        } else {
            // Python 2.7 counts nothing: what the program forced must be there, and more than that is proved.
            assert!(recording.gc.iter().all(|row| row.exactness == Exactness::AtLeast), "{name}");
            assert!(sums(&recording, 2)[0] >= 1 && sums(&recording, 0)[0] > 100, "{name}");
        }

        // What was met while it was under way: the stack is that of who forced it. A machine that is busy elsewhere may
        // keep us from meeting one of the five, or have us meet several as one; a row that holds more than these five is
        // left out. Without counts those that follow each other look like one, and so does one before them that no look tells
        // from them.
        let named = |row: &Collection| {
            let stack = row.stack.expect("it has a stack");
            recording.frames_of(stack).any(|frame| recording.string(frame.name) == "forced")
        };
        let counted = truth.before.is_some();
        let mut left = if counted { 5 } else { 1 };
        let oldest = recording.gc.iter().filter(|row| row.generation == 2).rev();
        let last: Vec<_> = oldest
            .take_while(|row| {
                left -= i64::from(row.count);
                left >= 0
            })
            .collect();
        let met: Vec<_> = last.iter().filter(|row| row.stack.is_some()).collect();
        let missed = recording.meta.achieved.as_ref().expect("it has ended").missed;
        let unmet = last.iter().filter(|row| row.stack.is_none() && missed_about(&recording, row) == 0);
        assert!(!last.is_empty() || missed > 0, "{name}");
        assert!(unmet.count() * 5 <= last.len() * 2, "{name}: {last:#?}");
        let other = |row: &Collection| !counted && missed_about(&recording, row) > 0;
        let names = |row: &Collection| {
            let frames = recording.frames_of(row.stack.unwrap());
            frames.map(|frame| recording.string(frame.name).to_owned()).collect::<Vec<_>>()
        };
        let wrong = met.iter().find(|row| !named(row) && !other(row)).map(|row| (names(row), row));
        assert!(wrong.is_none(), "{name}: {wrong:?} of {last:?}");
        let in_gc = recording.samples.iter().flatten().filter(|sample| sample.flags.in_gc == Some(true));
        assert!(in_gc.count() > 0, "{name}");

        // The mark stands on top of who forced it, and goes when it is not wanted; the time stays.
        let of = |no_gc: bool| {
            let options = ViewOptions { no_gc, threads: false, ..ViewOptions::default() };
            let (mut out, view) = (Vec::new(), View::new(&recording, &options).unwrap());
            (by_name("folded").unwrap().write)(&view, &mut out).unwrap();
            (view.total(), String::from_utf8(out).unwrap())
        };
        let ((marked, shown), (plain, hidden)) = (of(false), of(true));
        assert!(
            shown.lines().any(|line| line.contains("forced (") && line.contains(";<GC> ")),
            "{name}: {shown}"
        );
        assert!(!hidden.contains("<GC>") && hidden.contains("forced ("), "{name}: {hidden}");
        assert_eq!(marked, plain, "{name}");

        let all = [0, 1, 2].map(|generation| sums(&recording, generation)[0]).iter().sum::<u64>();
        assert_eq!(summary["collections"], all, "{name}");
        let share = summary["share"].as_f64().unwrap();
        assert!(share > 0.0 && share < 1.0, "{name}: {summary}");
        let longest = recording.gc.iter().map(|row| row.pause.as_secs_f64()).fold(0.0, f64::max);
        assert!(summary["longest"].as_f64().is_some_and(|it| it > 0.0 && it <= longest), "{name}: {summary}");

        // How long they took all together is what the callbacks saw: in sum no more than that where the target wrote it down,
        // and elsewhere as near as looks at this distance come; the error of n looks that met one is the root of n.
        if truth.after.is_some() {
            let works = Work::of(&recording, At(0), recording.end());
            let took = works.iter().map(|work| work.pause().as_secs_f64()).sum::<f64>();
            let logged = truth.log.iter().map(|(_, start, stop, _)| stop - start).sum::<f64>();
            let exact = works.iter().any(|work| work.generations.iter().any(|done| done.exact));
            let error = if exact { 0.001 } else { 6.0 * (logged * PERIOD).sqrt() + missed as f64 * PERIOD };
            assert!(took <= logged + error, "{name}: {took} of {logged}");
            assert!(exact || took >= logged - error, "{name}: {took} of {logged}");
        }

        // Those that took longer than three periods, one by one: seen with their generation, unless looks were missed, and
        // begun between the look before and one period later. Every look that was missed about then, and said to be, may have
        // been that one, and it takes two in a row to miss such a collection. What one row holds several of is not told apart.
        let (mut unmet, mut long, mut starts, mut near) = (0, 0, Vec::new(), Vec::new());
        for generation in 0..=2 {
            let rows = recording.gc.iter().filter(|row| row.generation == generation);
            let mut logged = truth.log.iter().filter(|entry| entry.0 == generation);
            for row in rows {
                let own: Vec<_> = logged.by_ref().take(row.count as usize).collect();
                let [(_, start, stop, _)] = own.as_slice() else { continue };
                if stop - start <= 3.0 * PERIOD {
                    continue;
                }
                long += 1;
                let (exact, about) = (row.exactness == Exactness::Exact, missed_about(&recording, row));
                if exact || row.pause.0 > 0 {
                    let late = |missed: u64| if exact { 0.001 } else { PERIOD * (2 + missed) as f64 };
                    let from =
                        |early: f64| (start - moment(row.start) - early, start - moment(row.start) + 0.001);
                    starts.push(from(late(missed)));
                    near.push(from(late(about)));
                } else {
                    unmet += 1;
                    assert!(about >= 2, "{name}: a long collection was not met: {row:?}");
                }
            }
        }
        check_clocks(name, starts.iter().copied());
        check_most_clocks(name, &near);
        assert!(
            unmet * 2 <= missed,
            "{name}: {unmet} of {long} long collections were not met, {missed} looks missed"
        );

        // Exact times lie within what the callbacks saw.
        let exact = |row: &&Collection| row.exactness == Exactness::Exact;
        let by_generation =
            [0, 1, 2].map(|g| truth.log.iter().filter(|entry| entry.0 == g).collect::<Vec<_>>());
        let mut place = [0; 3];
        let mut distances = Vec::new();
        for row in &recording.gc {
            let generation = usize::from(row.generation);
            let logged = &by_generation[generation];
            if exact(&row) {
                let (_, from, to, collected) = logged[place[generation]];
                assert_eq!(*collected, row.collected, "{name}: {row:?}");
                distances.push((from - moment(row.start), to - moment(row.stop)));
            }
            place[generation] += row.count as usize;
        }
        check_clocks(name, distances.iter().copied());
        // The ring of the oldest generation holds the last three, and nobody collects any more; where there is time, many more
        // are met before they are overwritten.
        let expected = match (python.minor() >= (3, 15), SOME.contains(&name.as_str())) {
            (true, true) => 50,
            (true, false) => 3,
            (false, _) => 0,
        };
        assert!(distances.len() >= expected, "{name}: only {} exact", distances.len());
        println!(
            "{name}: {} collections in {} rows, {} exact; {long} long ones, {unmet} of them not met; {missed} looks missed",
            [0, 1, 2].map(|generation| sums(&recording, generation)[0]).iter().sum::<u64>(),
            recording.gc.len(),
            distances.len(),
        );
    }
}

#[test]
fn what_runs_on_top_of_a_collection_is_no_part_of_what_set_it_off() {
    // A finalizer that takes longer than ten looks runs within the collection.
    let program = "
import gc, json, sys, time
gc.disable()
class Slow(object):
    def __del__(self):
        end = time.time() + 0.05
        while time.time() < end: pass
def forced():
    gc.collect()
sys.stdout.write('ready\\n'); sys.stdout.flush()
sys.stdin.readline()
for turn in range(6):
    slow = Slow(); slow.itself = slow; del slow
    forced()
print(json.dumps({'before': None, 'after': None, 'log': []}))
sys.stdout.flush(); sys.stdin.read()
";
    for python in pythons().iter().filter(|python| python.minor() >= (3, 15)) {
        let name = &python.name;
        let (_, recording, _) = record(&mut start(python, program), 0.0);
        let names = |stack: StackId| -> Vec<&str> {
            recording.frames_of(stack).map(|frame| recording.string(frame.name)).collect()
        };
        let forced: Vec<_> = recording.gc.iter().filter_map(|row| Some(names(row.stack?))).collect();
        assert!(!forced.is_empty(), "{name}: {:?}", recording.gc);
        assert!(forced.iter().all(|names| names == &["forced", "<module>"]), "{name}: {forced:?}");
        // What ran on top was met too, and says that it is within a collection.
        let met = recording.samples.iter().flatten().filter(|sample| sample.flags.in_gc == Some(true));
        let on_top = met.filter_map(|sample| sample.stack).filter(|stack| names(*stack).contains(&"__del__"));
        assert!(on_top.count() > 0, "{name}");
    }
}
