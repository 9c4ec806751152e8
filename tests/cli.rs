//! The command line as a user meets it: help, and what bad input gets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{PARK, pitviper, python, start};

/// Every command, as `help` takes it.
const COMMANDS: &[&str] = &[
    "",
    "attach",
    "run",
    "record",
    "top",
    "dump",
    "export",
    "info",
    "ps",
    "doctor",
    "layout",
    "layout derive",
    "layout list",
    "layout check",
    "heap",
    "heap arenas",
    "heap census",
    "heap diff",
    "gc",
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
    check(&["attach", "--pid", "1", "--native"], 2, "--native: not yet", None);
    check(&["top", "--pid", "1", "--native"], 2, "--native: not yet", None);
    check(&["top", "--pid", "1", "--json"], 2, "one table", Some("--once"));
    check(&["dump", "--pid", "1", "--native"], 2, "--native: not yet", None);
}

#[test]
fn a_process_that_is_not_there_is_said_not_to_be() {
    // The largest pid there can be is 4194304 on 64-bit Linux (include/linux/threads.h).
    for command in ["attach", "top", "dump", "gc"] {
        check(&[command, "--pid", "4194305"], 3, "there is no process 4194305", Some("pitviper ps"));
    }
    check(&["attach"], 2, "which process?", Some("pitviper ps"));
    check(&["attach", "--name", "no program here is called so"], 3, "no Python here", Some("pitviper ps"));
    check(&["attach", "--name", "("], 2, "does not compile", None);
}

#[test]
fn a_process_that_is_no_python_is_said_to_be_none() {
    let mut shell = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
    for command in ["attach", "top", "dump"] {
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
    // By another process: what other tests start meanwhile would inherit the file while it is written, and keep it busy.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_pitviper")).arg(&copy).status().unwrap();
    assert!(copied.success());
    for path in [dir, &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_before_anything_is_touched() {
    let help = Some("`pitviper attach --help`");
    check(&["attach", "--pid", "1", "--rate", "0"], 2, "more than 0 looks a second", help);
    check(&["attach", "--pid", "1", "--rate", "often"], 2, "`1khz`", help);
    check(&["attach", "--pid", "1", "--rate", "1e12"], 2, "10 million looks a second at most", help);
    check(&["attach", "--pid", "0"], 2, "want a process id", help);
    check(&["attach", "--pid", "-5"], 2, "want a process id", help);
    check(&["attach", "--pid", "1", "--duration", "1 year"], 2, "`200ms`", help);
    check(&["attach", "1234"], 2, "unexpected argument '1234'", Some("pitviper attach --pid 1234"));
    check(&["atach", "--pid", "1"], 2, "unrecognized subcommand 'atach'", Some("'attach'"));
    check(&["run", "app.py"], 2, "unexpected argument 'app.py'", Some("pitviper run -- app.py"));
    check(&["attach", "--pid", "1", "-o", "x.png"], 2, ".svg", Some("flamegraph"));
    check(
        &["attach", "--pid", "1", "-f", "png", "-o", "x"],
        2,
        "there are pit, flamegraph",
        Some("-o profile.svg"),
    );
    check(&["attach", "--pid", "1", "-o", "x.pit.gz"], 2, "compressed as it is", Some("-o profile.pit"));
    check(&["attach", "--pid", "1", "-f", "svg", "-o", "a", "-o", "b"], 2, "one --format", Some("-o a.svg"));
    check(&["attach", "--pid", "1", "-o", "a.svg", "-o", "a.svg"], 2, "named twice", Some("of its own"));
    check(
        &["attach", "--pid", "1", "--json", "-f", "svg", "-o", "-"],
        2,
        "standard output",
        Some("instead of -"),
    );
    check(&["run", "--", "no program is called so"], 1, "cannot start", Some("PATH"));
    check(&["run", "--", "./app.py"], 1, "cannot start", Some("pitviper run -- python3 ./app.py"));
}

/// A pipe that is full: who writes to it waits until it is read.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap();
    writer.write_all(&vec![b' '; size as usize]).unwrap();
    (reader, writer)
}

#[test]
fn a_target_that_ends_before_the_first_sample_leaves_nothing_and_says_so() {
    let Some(python) = python("3.11") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("none.pit");
    let mut target = start(python, PARK);
    // It opens its recording, and waits before it looks, because nobody reads what it says.
    let (mut reader, writer) = full_pipe();
    let mut attach = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["attach", "--pid", &target.pid().to_string(), "-o"])
        .arg(&file)
        .stderr(writer)
        .spawn()
        .unwrap();
    while !file.exists() {
        assert!(attach.try_wait().unwrap().is_none(), "it ended before the target did");
        std::thread::yield_now();
    }
    target.finish();
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(attach.wait().unwrap().code(), Some(3), "{said}");
    assert!(said.contains("gone before the first sample") && said.contains("hint: "), "{said}");
    assert!(!file.exists(), "an empty recording was left behind");
}

#[test]
fn a_program_that_is_no_cpython_ends_as_it_would_have_without_us() {
    let dir = tempfile::tempdir().unwrap();
    let source = "#include <stdio.h>\nint pypy_main_startup(void) { return 0; }\n\
                  int main(void) { puts(\"ready\"); fflush(stdout); return getchar() == 'x' ? 7 : 0; }\n";
    std::fs::write(dir.path().join("pypy.c"), source).unwrap();
    let program = dir.path().join("pypy");
    let mut compiler = Command::new("cc");
    compiler.arg("-rdynamic").arg(dir.path().join("pypy.c")).arg("-o").arg(&program);
    assert!(compiler.status().unwrap().success());

    let target = support::Target::spawn(Command::new(&program));
    for command in ["attach", "dump"] {
        check(
            &[command, "--pid", &target.pid().to_string()],
            5,
            "runs PyPy, not CPython",
            Some("CPython alone"),
        );
    }
    for (input, code) in [("x", 7), ("y", 5)] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        run.args(["run", "--"]).arg(&program).current_dir(dir.path());
        let mut run =
            run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It says what is wrong at once, while the program still runs; a failure of ours counts where the program has none.
        let mut first = String::new();
        BufReader::new(run.stderr.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("runs PyPy, not CPython"), "{first}");
        run.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(code), "{first}");
    }
}

#[test]
fn one_process_that_cannot_be_dumped_does_not_hide_the_others() {
    let Some(python) = python("3.11") else { return };
    let target = start(python, PARK);
    let pid = target.pid();
    let output = pitviper(&["dump", "--json", "--pid", &format!("4194305,{pid},{pid}")]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with(&format!("{{\"pid\":{pid},")), "{text}");
}

#[test]
fn a_recording_that_is_none_or_is_cut_short_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    check(&["info", &path("nothing.pit")], 1, "No such file", Some("pitviper attach"));
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
    let output = pitviper(&["export", &path("cut.pit"), "-f", "folded", "--idle"]);
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", said(&output));
    assert!(said(&output).contains("cut short"), "{}", said(&output));
    let mut spoilt = bytes.clone();
    let last = spoilt.len() - 40;
    spoilt[last] ^= 1;
    std::fs::write(path("spoilt.pit"), spoilt).unwrap();
    let output = pitviper(&["export", &path("spoilt.pit"), "-f", "folded", "--idle"]);
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", said(&output));
    assert!(said(&output).contains("is corrupt"), "{}", said(&output));
    let info = pitviper(&["info", &path("spoilt.pit")]);
    assert!(String::from_utf8_lossy(&info.stdout).contains("state      damaged: "), "{}", said(&info));
}

#[test]
fn shells_and_packagers_get_their_files() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = pitviper(&["completions", shell]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{shell}");
    }
    for command in COMMANDS {
        let words: Vec<&str> = ["man"].into_iter().chain(command.split_whitespace()).collect();
        let man = pitviper(&words);
        let title = format!(
            ".TH {} 1 ",
            ["pitviper"].iter().chain(&words[1..]).copied().collect::<Vec<_>>().join("-")
        );
        let text = String::from_utf8(man.stdout).unwrap();
        assert!(man.status.success() && text.contains(&title), "{title:?} is not in {text}");
    }
    check(&["man", "no", "such"], 2, "there is no command no such", Some("pitviper help"));
}

#[test]
fn colour_is_for_terminals_and_for_whoever_asks_for_it() {
    let coloured = |words: &[&str], variable: (&str, &str)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        command.args(["dump", "--pid", "4194305"]).args(words).env(variable.0, variable.1);
        said(&command.output().unwrap()).contains('\x1b')
    };
    assert!(!coloured(&[], ("TERM", "xterm")), "a pipe is no terminal");
    assert!(coloured(&["--color", "always"], ("NO_COLOR", "1")));
    assert!(coloured(&[], ("CLICOLOR_FORCE", "1")));
    assert!(!coloured(&["--color", "never"], ("CLICOLOR_FORCE", "1")));
}
