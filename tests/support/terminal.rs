//! A terminal with a shell in it, which tmux provides.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Whatever is waited for is there by then; no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal with a shell in it.
pub struct Terminal {
    dir: TempDir,
}

impl Terminal {
    /// One of 110 columns and 30 lines; `None` where there is no tmux, which is printed.
    pub fn open() -> Option<Terminal> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: no tmux here");
            return None;
        }
        let terminal = Terminal { dir: tempfile::tempdir().unwrap() };
        let size = ["-x", "110", "-y", "30"];
        let shell = "env PS1='ready> ' LC_ALL=C sh";
        let made = terminal.tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[shell]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        terminal.wait_for("ready>");
        Some(terminal)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn tmux(&self, words: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.path().join("socket")).args(["-u"]).args(words);
        command.current_dir(self.path()).output().unwrap()
    }

    /// Presses keys, as tmux calls them.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "--"], keys].concat());
    }

    /// Types text as it is.
    pub fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Runs a command of the shell's.
    pub fn run(&self, command: &str) {
        self.type_in(command);
        self.press(&["Enter"]);
    }

    pub fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// The screen, once it shows something.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "{what:?} does not come:\n{screen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Presses keys and waits for what they bring.
    #[track_caller]
    pub fn see(&self, keys: &[&str], text: &str) -> String {
        self.press(keys);
        self.wait_for(text)
    }

    /// Makes sure that the shell is there again, and that what is typed is seen and read line by line.
    #[track_caller]
    pub fn works_again(&self) {
        // What is typed before would be keys of a view that is on its way out.
        self.wait_until("the prompt", |screen| screen.trim_end().ends_with("ready>"));
        self.run("clear; stty -a; echo a''live");
        let screen = self.wait_for("\nalive");
        assert!(screen.contains(" icanon") && screen.contains(" echo "), "{screen}");
    }

    /// Starts `top` with these arguments, and waits until it shows something; its pid.
    #[track_caller]
    pub fn start_top(&self, arguments: &str, text: &str) -> i32 {
        let bin = env!("CARGO_BIN_EXE_pitviper");
        self.run(&format!("sh -c 'echo $$ > pid; exec {bin} top {arguments}'"));
        self.wait_for(text);
        std::fs::read_to_string(self.path().join("pid")).unwrap().trim().parse().unwrap()
    }

    /// The only file here whose name ends so.
    #[track_caller]
    pub fn file(&self, end: &str) -> String {
        let files = std::fs::read_dir(self.path()).unwrap().map(|file| file.unwrap().path());
        let found: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
        let [file] = found.as_slice() else { panic!("{end}: {found:?}") };
        file.to_str().unwrap().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
