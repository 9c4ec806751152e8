//! What cannot be written costs nothing that was recorded: full disks, directories that are missing, devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says what it skips"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pitviper::recording::{self, Recording};
use support::{Target, python, start};

const SHARES: &str = include_str!("programs/shares.py");
/// A disk that fills up in two seconds or three has so many to do it in: looks may be rare on a busy machine.
const LONG: &str = "120";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts `attach` on a target in a directory of its own.
fn attach(target: &Target, dir: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
    command.args(["attach", "--pid", &target.pid().to_string()]).args(options);
    command.current_dir(dir).output().unwrap()
}

/// The recordings that lie in a directory.
fn recordings(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "pit")).collect()
}

fn samples(recording: &Recording) -> u64 {
    recording.samples.iter().flatten().map(|sample| u64::from(sample.count)).sum()
}

#[test]
fn a_recording_without_a_name_is_kept_when_what_was_asked_for_cannot_be_written() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, SHARES);
    for format in ["svg", "folded", "speedscope", "pit"] {
        let dir = tempfile::tempdir().unwrap();
        let output = attach(&target, dir.path(), &["-d", "0.2", "-f", format, "-o", "/dev/full"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("pitviper: writing /dev/full: No space left on device"), "{said}");
        assert!(!said.contains("wrote /dev/full"), "{said}");
        let kept = recordings(dir.path());
        let [kept] = kept.as_slice() else { panic!("{format}: {kept:?}: {said}") };
        let name = kept.file_name().unwrap().to_str().unwrap();
        assert!(
            said.contains(&format!("hint: the recording is in {name}: pitviper export {name}")),
            "{said}"
        );
        let recording = recording::open(kept).unwrap();
        assert!(recording.ended && samples(&recording) > 0, "{format}: {said}");
    }
}

#[test]
fn one_output_that_fails_does_not_keep_the_others_from_being_written() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, SHARES);
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("full.svg")).unwrap();
    let options = ["-d", "0.2", "-o", "full.svg", "-o", "a.pit", "-o", "a.folded"];
    let output = attach(&target, dir.path(), &options);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("writing full.svg: No space left") && text.contains("wrote a.folded"), "{text}");
    assert!(text.contains("hint: the recording is in a.pit"), "{text}");
    assert!(std::fs::read_to_string(dir.path().join("a.folded")).unwrap().contains("much"), "{text}");
    assert_eq!(recordings(dir.path()).len(), 1);

    let mut export = Command::new(env!("CARGO_BIN_EXE_pitviper"));
    export.args(["export", "a.pit", "-o", "full.svg", "-o", "b.folded"]).current_dir(dir.path());
    let output = export.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(
        std::fs::read(dir.path().join("a.folded")).unwrap(),
        std::fs::read(dir.path().join("b.folded")).unwrap()
    );
}

/// Runs a script that finds the program as `$PITVIPER`, the target as `$PID` and an empty disk of so many KiB as `$DISK`;
/// `None` where no disk can be had.
fn with_disk(target: &Target, dir: &Path, size: u32, script: &str) -> Option<Output> {
    let disk = dir.join("disk");
    std::fs::create_dir(&disk).unwrap();
    // What is said of the mount is not what the program says.
    let mount = format!("mount -t tmpfs -o size={size}k none \"$DISK\" 2>/dev/null || exit 77; {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &mount]).current_dir(dir);
    command.env("DISK", &disk).env("PID", target.pid().to_string());
    let output = command.env("PITVIPER", env!("CARGO_BIN_EXE_pitviper")).output().ok()?;
    if output.status.code() == Some(77) || said(&output).starts_with("unshare: ") {
        eprintln!("skipped: no disk of our own can be mounted here");
        return None;
    }
    Some(output)
}

#[test]
fn a_disk_that_fills_up_ends_the_recording_and_what_was_recorded_is_kept_and_shown() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, SHARES);
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "\"$PITVIPER\" attach --pid $PID -r 10khz -d {LONG} -o \"$DISK/a.pit\" -o a.folded; code=$?; cp \"$DISK/a.pit\" .; exit $code"
    );
    let Some(output) = with_disk(&target, dir.path(), 24, &script) else { return };
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a.pit: No space left on device"), "{said}");
    assert!(
        said.contains("hint: what was recorded up to then is in ") && said.contains("a.folded"),
        "{said}"
    );
    let recording = recording::open(&dir.path().join("a.pit")).unwrap();
    assert!(!recording.ended && samples(&recording) > 0, "{said}");
    assert!(std::fs::read_to_string(dir.path().join("a.folded")).unwrap().contains("much"), "{said}");
}

#[test]
fn a_temporary_directory_that_fills_up_costs_no_output() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, SHARES);
    let dir = tempfile::tempdir().unwrap();
    let script = format!("TMPDIR=\"$DISK\" \"$PITVIPER\" attach --pid $PID -r 10khz -d {LONG} -o a.folded");
    let Some(output) = with_disk(&target, dir.path(), 24, &script) else { return };
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("pitviper: writing the recording in ") && said.contains("No space left"), "{said}");
    assert!(said.contains("hint: what was recorded up to then is in a.folded"), "{said}");
    assert!(std::fs::read_to_string(dir.path().join("a.folded")).unwrap().contains("much"), "{said}");
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_recorded_or_started() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, SHARES);
    let dir = tempfile::tempdir().unwrap();
    let check = |options: &[&str], message: &str, hint: &str| {
        let output = attach(&target, dir.path(), options);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{options:?}: {said}");
        assert!(said.contains(message) && said.contains(&format!("hint: {hint}")), "{options:?}: {said}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{options:?}");
    };
    check(&["-o", "none/x.svg"], "cannot write none/x.svg: there is no directory none", "mkdir -p none");
    check(&["-o", "/proc/x.pit"], "cannot write /proc/x.pit: ", "write it elsewhere");
    check(&["-f", "svg", "-o", "/tmp"], "cannot write /tmp: it is a directory", "name a file in it");

    let mark = dir.path().join("started");
    let output = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["run", "-o", "none/x.svg", "--", "touch", mark.to_str().unwrap()])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!mark.exists(), "the program was started");
}

#[test]
fn a_pipe_takes_a_recording_and_a_reader_that_leaves_is_no_failure() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, SHARES);
    let dir = tempfile::tempdir().unwrap();
    let pid = target.pid().to_string();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("PITVIPER", env!("CARGO_BIN_EXE_pitviper")).env("PID", &pid);
        command.current_dir(dir.path()).output().unwrap()
    };
    let output = shell(
        "mkfifo pipe; cat pipe > copy.pit & \"$PITVIPER\" attach --pid $PID -d 0.2 -f pit -o pipe; code=$?; wait; exit $code",
    );
    assert!(output.status.success(), "{}", said(&output));
    let recording = recording::open(&dir.path().join("copy.pit")).unwrap();
    assert!(recording.ended && samples(&recording) > 0);

    let output = shell("{ \"$PITVIPER\" attach -q --pid $PID -d 0.2 -f folded -o -; echo $? >&2; } | true");
    assert_eq!(said(&output).trim(), "0");
}
