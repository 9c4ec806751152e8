//! The command line as a user meets it: help, and what bad input gets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{PARK, pitviper, python, start};

/// Every command, as `help` takes it.
const COMMANDS: &[&str] = &[
    "",
    "attach",
    "run",
    "record",
    "dump",
    "export",
    "info",
    "ps",
    "doctor",
    "layout",
    "layout derive",
    "layout list",
    "layout check",
    "completions",
    "man",
];

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it says text")
}

/// Bad input gets one line that says what happened, a hint where there is one, and the right exit code.
#[track_caller]
fn check(arguments: &[&str], code: i32, message: &str, hint: Option<&str>) {
    let output = pitviper(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(message), "{message:?} is not in {said:?}");
    let hints: Vec<&str> = said.lines().filter(|line| line.starts_with("hint: ")).collect();
    match hint {
        Some(hint) => assert!(hints.iter().any(|line| line.contains(hint)), "{hint:?} is not in {said:?}"),
        None => assert!(hints.is_empty(), "{said:?}"),
    }
    assert!(!said.contains("RUST_BACKTRACE") && !said.contains("panicked"), "{said}");
}

#[test]
fn every_command_says_what_it_does() {
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let output = pitviper(&words);
        assert!(output.status.success(), "{command}: {}", said(&output));
        let name = if command.is_empty() {
            "help".to_owned()
        } else {
            format!("help_{}", command.replace(' ', "_"))
        };
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).expect("text"));
    }
}

#[test]
fn what_is_decided_but_not_built_says_not_yet() {
    for command in ["top", "heap", "gc", "report", "view"] {
        check(&[command, "--pid", "1"], 2, "not yet", None);
    }
    check(&["attach", "--pid", "1", "--native"], 2, "--native: not yet", None);
    check(&["attach", "--pid", "1", "--consistency", "exact"], 2, "--consistency: not yet", None);
    check(&["dump", "--pid", "1", "--locals"], 2, "--locals: not yet", None);
}

#[test]
fn a_process_that_is_not_there_is_said_not_to_be() {
    // The largest pid there can be is 4194304 on 64-bit Linux (include/linux/threads.h).
    for command in ["attach", "dump"] {
        check(&[command, "--pid", "4194305"], 3, "there is no process 4194305", Some("pitviper ps"));
    }
    check(&["attach"], 2, "which process?", Some("pitviper ps"));
    check(&["attach", "--name", "no program here is called so"], 3, "no Python here", Some("pitviper ps"));
    check(&["attach", "--name", "("], 2, "does not compile", None);
}

#[test]
fn a_process_that_is_no_python_is_said_to_be_none() {
    let mut shell = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
    for command in ["attach", "dump"] {
        check(&[command, "--pid", &shell.id().to_string()], 5, "is not Python", Some("pitviper ps"));
    }
    let own = std::process::id().to_string();
    check(&["dump", "--pid", &own], 5, "is not Python", Some("pitviper ps"));
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

#[test]
fn a_process_that_may_not_be_read_says_so_and_points_to_the_doctor() {
    let Some(python) = python("3.11-debian") else { return };
    let target = start(python, PARK);
    let pid = target.pid().to_string();
    let dir = tempfile::tempdir().unwrap();
    let binary = readable_copy(dir.path());
    for command in ["attach", "dump"] {
        let Ok(output) = Command::new("setpriv")
            .args(["--reuid=65534", "--clear-groups", binary.to_str().unwrap(), command, "--pid", &pid])
            .current_dir("/")
            .output()
        else {
            return println!("skipped: there is no setpriv here");
        };
        let said = said(&output);
        if said.contains("setresuid failed") {
            return println!("skipped: not root, so nobody else's rights can be tried");
        }
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(
            said.contains("not permitted") && said.contains(&format!("pitviper doctor --pid {pid}")),
            "{said}"
        );
    }
}

/// The program, where everybody may run it.
fn readable_copy(dir: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let copy = dir.join("pitviper");
    std::fs::copy(env!("CARGO_BIN_EXE_pitviper"), &copy).unwrap();
    for path in [dir, &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_before_anything_is_touched() {
    check(&["attach", "--pid", "1", "--rate", "0"], 2, "more than 0 looks a second", None);
    check(&["attach", "--pid", "1", "--rate", "often"], 2, "`1khz`", None);
    check(&["attach", "--pid", "0"], 2, "want a process id", None);
    check(&["attach", "--pid", "1", "--duration", "1 year"], 2, "`200ms`", None);
    check(&["attach", "--pid", "1", "-o", "x.png"], 2, ".svg", Some("flamegraph"));
    check(&["attach", "--pid", "1", "-f", "png", "-o", "x"], 2, "flamegraph", None);
    check(&["attach", "--pid", "1", "-o", "x.firefox.json"], 2, "not yet", None);
    check(&["attach", "--pid", "1", "-f", "svg", "-o", "a", "-o", "b"], 2, "one --format", Some("-o a.svg"));
}

#[test]
fn a_target_that_ends_before_the_first_sample_leaves_nothing_and_says_so() {
    let Some(python) = python("3.11") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("none.pit");
    let mut target = start(python, PARK);
    // At one look in ten minutes, none happens before we let the target end.
    let attach = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["attach", "--pid", &target.pid().to_string(), "--schedule", "fixed", "-r", "0.0017", "-o"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !file.exists() {
        std::thread::yield_now();
    }
    target.finish();
    let output = attach.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("gone before the first sample"), "{}", said(&output));
    assert!(!file.exists(), "an empty recording was left behind");
}

#[test]
fn a_full_disk_is_said_and_the_rest_is_still_told() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, PARK);
    let pid = target.pid().to_string();
    check(
        &["attach", "--pid", &pid, "-d", "0.3", "-f", "pit", "-o", "/dev/full"],
        1,
        "No space left on device",
        None,
    );
}

#[test]
fn a_recording_that_is_none_or_is_cut_short_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    check(&["info", &path("nothing.pit")], 1, "nothing.pit", None);
    std::fs::write(path("text.pit"), "this is no recording").unwrap();
    check(&["info", &path("text.pit")], 1, "not a recording", Some("pitviper attach"));
    check(&["export", &path("text.pit"), "-f", "folded"], 1, "not a recording", Some("pitviper attach"));

    let Some(python) = python("3.11") else { return };
    let target = start(python, PARK);
    let pid = target.pid().to_string();
    let whole = path("whole.pit");
    assert!(pitviper(&["attach", "-q", "--pid", &pid, "-d", "0.3", "-o", &whole]).status.success());
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(path("cut.pit"), &bytes[..bytes.len() - 5]).unwrap();
    let output = pitviper(&["export", &path("cut.pit"), "-f", "folded"]);
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", said(&output));
    assert!(said(&output).contains("cut short"), "{}", said(&output));
}

#[test]
fn shells_and_packagers_get_their_files() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = pitviper(&["completions", shell]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{shell}");
    }
    let man = pitviper(&["man"]);
    assert!(man.status.success() && String::from_utf8_lossy(&man.stdout).contains(".TH"));
}
