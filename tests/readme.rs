//! Every command that the README shows is run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;

use support::{python, start};

const SHOP: &str = include_str!("programs/shop.py");

/// The commands of the README that begin with `pitviper`, in its code blocks and in its tables.
fn commands() -> Vec<String> {
    let readme = include_str!("../README.md");
    let mut found = Vec::new();
    let mut in_block = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block && line.starts_with("pitviper ") {
            found.push(line.to_owned());
        } else if !in_block && line.starts_with('|') {
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.filter(|text| text.starts_with("pitviper ")).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_command_of_the_readme_works_as_it_stands() {
    let Some(python) = python("3.13") else { return };
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.py"), SHOP).unwrap();
    let python_dir = python.exe().parent().unwrap().to_owned();
    let path = format!("{}:{}", python_dir.display(), std::env::var("PATH").unwrap());
    for shown in commands {
        let target = start(python, SHOP);
        // The pid is the target's, and a test has not half a minute. What runs until Ctrl-C gets one.
        let command = shown
            .replace("pitviper", env!("CARGO_BIN_EXE_pitviper"))
            .replace("1234", &target.pid().to_string())
            .replace("--duration 30s", "--duration 300ms")
            .replace("app.py", "app.py 3000");
        let endless = command.contains("attach") && !command.contains("--duration")
            || command.contains("record")
            || command.contains(" top ") && !command.contains("--once");
        let command = if endless { format!("timeout --signal=INT 1 {command}") } else { command };
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        // `timeout` answers 124 for a command that it had to interrupt, however well that one ended.
        let code = output.status.code();
        let fine = code == Some(0) || endless && code == Some(124);
        assert!(fine, "{shown}: {code:?}: {}", String::from_utf8_lossy(&output.stderr));
        if shown.contains("-o profile.svg") {
            let svg = std::fs::read_to_string(dir.path().join("profile.svg")).expect(&shown);
            assert!(svg.contains("</svg>"), "{shown}");
        }
        if shown == "pitviper attach --pid 1234" {
            let written = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.path());
            let recording =
                written.filter(|path| path.extension().is_some_and(|e| e == "pit")).max().unwrap();
            std::fs::rename(recording, dir.path().join("profile.pit")).unwrap();
        }
        drop(target);
    }
}
