//! Attaching to live processes: equal exports, ends of every kind, and what survives them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use pitviper::model::Quality;
use pitviper::recording::{self, Recording};
use support::{Target, pitviper, python, pythons, start, wait_until};

const SHARES: &str = include_str!("programs/shares.py");
const SHOP: &str = include_str!("programs/shop.py");

/// Runs `attach` on a target and returns what it said.
#[track_caller]
fn attach(target: &Target, options: &[&str]) -> String {
    let pid = target.pid().to_string();
    let output = pitviper(&[&["attach", "--pid", &pid], options].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{options:?}: {said}");
    said
}

fn open(path: &Path) -> Recording {
    recording::open(path).expect("the recording opens")
}

#[test]
fn an_output_of_attach_and_an_export_of_its_recording_are_the_same_bytes() {
    let Some(python) = python("3.13") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let target = start(python, SHOP);
    let (pit, svg, json, folded) = (path("a.pit"), path("a.svg"), path("a.json.gz"), path("a.folded"));
    attach(
        &target,
        &["-d", "0.5", "-r", "200", "-o", &pit, "-o", &svg, "-o", &json, "-o", &folded, "--threads"],
    );
    for written in [&svg, &json, &folded] {
        let exported = written.replace("a.", "b.");
        let output = pitviper(&["export", &pit, "--threads", "-o", &exported]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (one, two) = (std::fs::read(written).unwrap(), std::fs::read(&exported).unwrap());
        assert!(!one.is_empty() && one == two, "{written} and {exported} differ");
    }
}

#[test]
fn without_an_output_a_recording_is_left_under_a_name_that_tells_process_and_time() {
    let Some(python) = python("3.11") else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = start(python, SHOP);
    let pid = target.pid().to_string();
    let status = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["attach", "--pid", &pid, "-d", "0.2", "-q"])
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    assert!(name.starts_with(&format!("pitviper-{pid}-20")) && name.ends_with(".pit"), "{name}");
    assert!(!open(&dir.path().join(name)).tracks.is_empty());
}

#[test]
fn the_targets_end_is_an_end_like_any_other() {
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("end.pit");
        let mut target = start(python, SHARES);
        let recording = spawn(&target, &["-r", "500", "-o", file.to_str().unwrap()]);
        wait_for_samples(&file);
        target.finish();
        let output = recording.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", python.name, String::from_utf8_lossy(&output.stderr));
        let recording = open(&file);
        assert!(recording.ended && recording.damage.is_none(), "{}", python.name);
        assert!(recording.samples.iter().flatten().count() > 0, "{}", python.name);
    }
}

#[test]
fn after_kill_9_the_recording_opens_and_has_lost_its_last_block_at_most() {
    let Some(python) = python("3.13") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("killed.pit");
    let target = start(python, SHARES);
    let mut recording = spawn(&target, &["-r", "1khz", "-o", file.to_str().unwrap()]);
    wait_for_samples(&file);
    recording.kill().unwrap();
    recording.wait().unwrap();
    let killed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let recording = open(&file);
    assert!(!recording.ended);
    let last = recording.samples.iter().flatten().map(|sample| sample.until.0).max().unwrap();
    let lost = killed - recording.meta.started_unix_ns - last;
    // A block holds a second at most; the other one is for a machine that was busy meanwhile.
    assert!(lost < 2_000_000_000, "the last {lost} ns are lost");
    let export = pitviper(&["export", file.to_str().unwrap(), "-f", "folded"]);
    assert!(export.status.success() && !export.stdout.is_empty());
}

#[test]
fn an_interrupt_ends_a_run_cleanly_and_usr1_writes_what_there_is_so_far() {
    let Some(python) = python("3.12") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (file, folded) = (dir.path().join("a.pit"), dir.path().join("a.folded"));
    let target = start(python, SHARES);
    let recording =
        spawn(&target, &["-r", "500", "-o", file.to_str().unwrap(), "-o", folded.to_str().unwrap()]);
    wait_for_samples(&file);
    signal(recording.id(), "USR1");
    wait_until("the snapshot", || folded.metadata().is_ok_and(|meta| meta.len() > 0));
    signal(recording.id(), "INT");
    let output = recording.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(open(&file).ended);
}

#[test]
fn the_summary_of_a_program_is_json() {
    let Some(python) = python("3.14-debian") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pit");
    let target = start(python, SHARES);
    let pid = target.pid().to_string();
    // On a busy machine the budget leaves few of a hundred looks a second, and half a second of them may mislead.
    let output = pitviper(&["attach", "--json", "--pid", &pid, "-d", "3", "-o", file.to_str().unwrap()]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for key in
        ["samples", "rate", "missed", "partial", "retried", "errors", "overhead", "paused", "files", "top"]
    {
        assert!(summary.get(key).is_some(), "{key}: {summary}");
    }
    assert_eq!(summary["rate"]["asked"], 100.0);
    assert_eq!(summary["top"][0]["function"], "much");
}

#[test]
fn a_program_is_run_and_its_exit_code_and_output_come_through() {
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.pit");
        let program = "import sys\nd = {}\nfor i in range(10 ** 7):\n    d[i % 1000] = i\n    \
                       if i % 1000 == 0 and i > 10 ** 6: break\nsys.stdout.write('said\\n')\nsys.exit(7)\n";
        let (inside, outside) = python.place(program);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        command.args(["run", "-q", "-r", "1khz", "-o", file.to_str().unwrap(), "--"]);
        let output = command.args(&python.command).arg(inside).output().unwrap();
        std::fs::remove_file(outside).unwrap();
        assert_eq!(
            output.status.code(),
            Some(7),
            "{}: {}",
            python.name,
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "said\n", "{}", python.name);
        let recording = open(&file);
        let whole = recording.samples.iter().flatten().filter(|s| s.quality == Quality::Whole).count();
        assert!(whole > 0, "{}: no whole sample", python.name);
    }
}

#[test]
fn a_program_that_lives_for_a_tenth_of_a_second_is_seen_by_itself() {
    let program = "import time\n\ndef brief():\n    end = time.time() + 0.1\n    while time.time() < end:\n        pass\n\nbrief()\n";
    let dir = tempfile::tempdir().unwrap();
    for python in pythons() {
        let file = dir.path().join("brief.pit");
        // Who has no core meanwhile sees nothing: on a machine that is busy enough that may be us, now and then.
        let seen = (0..5).any(|_| {
            let (inside, outside) = python.place(program);
            let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
            command.args(["run", "-o", file.to_str().unwrap(), "--"]).args(&python.command).arg(inside);
            let output = command.output().unwrap();
            std::fs::remove_file(outside).unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code() == Some(0), file.exists(), "{}: {said}", python.name);
            file.exists()
        });
        assert!(seen && open(&file).samples.iter().flatten().count() > 0, "{}", python.name);
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_long_wait_is_one_stack_in_a_recording_and_holds_no_gil() {
    let program = "import sys\n\n\ndef longsleep():\n    sys.stdin.read()\n\n\nsys.stdout.write('ready\\n'); sys.stdout.flush()\nlongsleep()\n";
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wait.pit");
        let target = start(python, program);
        attach(&target, &["-q", "--idle", "-r", "200", "-d", "0.5", "-o", file.to_str().unwrap()]);
        let recording = open(&file);
        let rows: Vec<_> = recording.samples.iter().flatten().collect();
        let all: u32 = rows.iter().map(|row| row.count).sum();
        // Between `ready` and the wait there is a moment.
        let still = rows.iter().filter(|row| {
            let frames = row.stack.into_iter().flat_map(|stack| recording.frames_of(stack));
            let places = frames.map(|frame| (recording.string(frame.name), frame.line));
            places.eq([("longsleep", Some(5)), ("<module>", Some(9))])
        });
        let still: u32 = still.map(|row| row.count).sum();
        assert!(f64::from(still) >= 0.95 * f64::from(all), "{}: {still} of {all}", python.name);
        let holds: u32 =
            rows.iter().filter(|row| row.flags.holds_gil == Some(true)).map(|row| row.count).sum();
        assert!(f64::from(holds) <= 0.05 * f64::from(all), "{}: {holds} of {all} hold it", python.name);
    }
}

#[test]
fn a_file_is_private() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Some(python) = python("3.11") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (file, svg) = (dir.path().join("a.pit"), dir.path().join("a.svg"));
    let target = start(python, SHARES);
    attach(&target, &["-q", "-d", "0.2", "-o", file.to_str().unwrap(), "-o", svg.to_str().unwrap()]);
    for file in [&file, &svg] {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }

    let ours = svg.metadata().unwrap().uid();
    if ours != 0 {
        return println!("skipped: only root can give files to who called sudo, and we are {ours}");
    }
    let pid = target.pid().to_string();
    let given = dir.path().join("given.svg");
    let status = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["attach", "-q", "--pid", &pid, "-d", "0.2", "-o", given.to_str().unwrap()])
        .envs([("SUDO_UID", "65534"), ("SUDO_GID", "65533")])
        .status()
        .unwrap();
    let meta = given.metadata().unwrap();
    assert_eq!((status.code(), meta.uid(), meta.gid()), (Some(0), 65534, 65533));
}

#[test]
fn record_takes_py_spys_options_and_leaves_a_flamegraph() {
    let Some(python) = python("3.10") else { return };
    let dir = tempfile::tempdir().unwrap();
    let record = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        let output = command.arg("record").args(words).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let target = start(python, SHOP);
    let pid = target.pid().to_string();
    record(&["-p", &pid, "-d", "1", "-r", "200", "-t", "-F", "--nonblocking", "-i", "--full-filenames"]);
    let names = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let svg = names().find(|path| path.extension().is_some_and(|end| end == "svg")).expect("an SVG");
    assert!(std::fs::read_to_string(svg).unwrap().contains("work"));

    let (inside, outside) = python.place(SHOP);
    let program = inside.to_str().unwrap();
    record(&["-o", "ran.txt", "-f", "raw", "-r", "500", python.exe().to_str().unwrap(), program, "20000"]);
    std::fs::remove_file(outside).unwrap();
    let folded = std::fs::read_to_string(dir.path().join("ran.txt")).unwrap();
    assert!(folded.contains("work (") && folded.lines().all(|line| line.contains(' ')), "{folded}");
}

#[test]
fn a_recording_knows_the_names_of_threads() {
    let Some(python) = python("3.8") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pit");
    let target = start(python, SHOP);
    attach(&target, &["-q", "-d", "0.3", "-o", file.to_str().unwrap()]);
    let recording = open(&file);
    let names: Vec<_> = recording.tracks.iter().map(|t| recording.string(t.name.unwrap())).collect();
    assert_eq!(names, ["MainThread", "waiter"]);
    assert_eq!(recording.tracks[0].native, Some(target.pid() as u32));
}

/// Starts `attach` beside the test.
fn spawn(target: &Target, options: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["attach", "--pid", &target.pid().to_string()])
        .args(options)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a recording that is being written has samples in it.
#[track_caller]
fn wait_for_samples(file: &Path) {
    let some = |recording: Recording| recording.samples.iter().flatten().count() > 0;
    wait_until("samples", || recording::open(file).is_ok_and(some));
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
