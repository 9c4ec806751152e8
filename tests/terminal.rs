//! `top` on a real terminal, which tmux provides: every view, what is written, and a terminal that works again afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::terminal::Terminal;
use support::{pitviper, python, start, wait_until};

const BUSY: &str = include_str!("programs/busy.py");
/// Starts `top` of a busy process; its pid.
#[track_caller]
fn start_top(terminal: &Terminal, pid: i32) -> i32 {
    terminal.start_top(&format!("--refresh 100ms --pid {pid}"), "compute (")
}

/// Sends a signal.
fn signal(name: &str, pid: i32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn every_view_can_be_had_and_what_is_written_is_what_was_shown() {
    for name in ["3.8", "3.12", "3.15-debian"] {
        let (Some(python), Some(terminal)) = (python(name), Terminal::open()) else { continue };
        let target = start(python, BUSY);
        start_top(&terminal, target.pid());
        terminal.see(&["2"], "frame; what it calls");
        terminal.see(&["x"], "compute (");
        terminal.see(&["3"], "arrows select a frame");
        terminal.see(&["Right"], "100.0% total");
        terminal.see(&["Down", "Down", "Enter"], "% total");
        terminal.see(&["4"], "computes (tid");
        terminal.see(&["Enter"], "innermost first");
        terminal.see(&["BSpace"], "waits (tid");
        terminal.see(&["5"], "where it is");
        terminal.see(&["/"], "search:");
        terminal.type_in("dict");
        terminal.see(&["Enter"], "  dict");
        terminal.see(&["6"], "count / threshold");
        terminal.press(&["1", "\\"]);
        terminal.wait_for("keep stacks that match:");
        terminal.type_in("comp.te");
        terminal.see(&["Enter"], "\\comp.te");
        terminal.see(&["m"], "marked");
        terminal.see(&["d"], "before   since");
        terminal.see(&["Space"], "PAUSED");
        terminal.see(&["Space"], "Space pause");
        terminal.see(&["d"], "now own");
        drop(target);
        let shown = terminal.see(&["s", "3"], "ENDED");
        terminal.see(&["w", "p"], "wrote pitviper-");
        terminal.see(&["w", "f"], ".svg: open it");
        terminal.see(&["w", "s"], ".speedscope.json: open it");
        terminal.press(&["q"]);
        terminal.works_again();
        check_written(&terminal, &shown);
    }
}

/// What was written is what exports of the recording say, and what the screen said.
#[track_caller]
fn check_written(terminal: &Terminal, shown: &str) {
    let pit = terminal.file(".pit");
    for (end, format) in [(".svg", "flamegraph"), (".speedscope.json", "speedscope")] {
        let written = std::fs::read(terminal.file(end)).unwrap();
        let exported = pitviper(&["export", &pit, "-f", format]).stdout;
        assert!(written == exported, "{end} is not what the recording says");
    }
    let said = pitviper(&["top", "--once", "--json", &pit]).stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    let functions = said["top"].as_array().unwrap();
    assert!(!functions.is_empty(), "{said}");
    for function in functions {
        let name = format!(" {} (", function["function"].as_str().unwrap());
        let line =
            shown.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{name}: {shown}"));
        let numbers: Vec<&str> = line.split_whitespace().collect();
        let percent = |key: &str| format!("{:.1}%", 100.0 * function[key].as_f64().unwrap());
        assert_eq!(numbers[2..4], [percent("own"), percent("total")], "{line}");
    }
}

#[test]
fn the_terminal_works_again_after_a_signal() {
    let Some(python) = python("3.12") else { return };
    for name in ["-TERM", "-INT", "-HUP"] {
        let Some(terminal) = Terminal::open() else { return };
        let target = start(python, BUSY);
        let top = start_top(&terminal, target.pid());
        signal(name, top);
        terminal.works_again();
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_the_view() {
    let (Some(python), Some(terminal)) = (python("3.12"), Terminal::open()) else { return };
    let target = start(python, BUSY);
    let top = start_top(&terminal, target.pid());
    terminal.tmux(&["kill-server"]);
    wait_until("its end", || !Path::new(&format!("/proc/{top}")).exists());
}

#[test]
fn a_view_that_was_stopped_gives_the_terminal_back_and_comes_again() {
    let (Some(python), Some(terminal)) = (python("3.12"), Terminal::open()) else { return };
    let target = start(python, BUSY);
    let top = start_top(&terminal, target.pid());
    terminal.press(&["C-z"]);
    terminal.works_again();
    terminal.run("fg");
    terminal.wait_for("compute (");
    signal("-TSTP", top);
    terminal.works_again();
    terminal.run("fg");
    terminal.wait_for("compute (");
    terminal.press(&["q"]);
    terminal.works_again();
}

/// The name of the test that panics where it is asked to.
const PLANTED: &str = "a_terminal_that_is_ours_when_we_panic";

#[test]
fn the_terminal_works_again_after_a_panic_which_is_told() {
    let Some(terminal) = Terminal::open() else { return };
    let own = std::env::current_exe().unwrap();
    terminal.run(&format!("PLANTED=1 {} {PLANTED} --exact --nocapture", own.display()));
    let screen = terminal.wait_for("test result: FAILED");
    assert!(screen.contains("planted while the screen was ours"), "{screen}");
    terminal.works_again();
}

#[test]
fn a_terminal_that_is_ours_when_we_panic() {
    use pitviper::tui::terminal::Screen;
    use pitviper::tui::view::Theme;
    use pitviper::tui::{App, Query};
    if std::env::var_os("PLANTED").is_none() {
        return;
    }
    let mut screen = Screen::open().unwrap();
    let app = App::new(Query::default(), None, Duration::from_secs(1));
    screen.draw(&app, Theme { colour: true, ascii: false }).unwrap();
    panic!("planted while the screen was ours");
}
