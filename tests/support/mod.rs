//! Pythons to try things on, and programs that run in them until the test is over.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test binary uses its own part, and fails loudly"
)]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

pub mod terminal;
pub mod wheel;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A Python that runs here.
#[derive(Debug, Clone)]
pub struct Python {
    /// `3.13t`, as `scripts/interpreters --help` names them.
    pub name: String,
    /// `3.13.5`, as itself says.
    pub version: String,
    /// How it is started.
    pub command: Vec<String>,
}

/// A process of a test: killed when the test is over.
pub struct Target {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    files: Vec<PathBuf>,
}

/// What a parked program says, and then waits for the end of its input.
pub const PARK: &str = "\nimport sys\nsys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()\n";

/// All Pythons that are found; what is missing is printed with its reason.
pub fn pythons() -> &'static [Python] {
    static FOUND: OnceLock<Vec<Python>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/interpreters");
        let output = Command::new(script).arg("--list").output().expect("scripts/interpreters runs");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        let list = String::from_utf8(output.stdout).expect("it prints text");
        let found: Vec<Python> = list.lines().map(Python::parse).collect();
        assert!(!found.is_empty(), "no Python at all: run scripts/interpreters");
        found
    })
}

/// The Python of this name; its absence is printed.
pub fn python(name: &str) -> Option<&'static Python> {
    let found = pythons().iter().find(|p| p.name == name);
    if found.is_none() {
        eprintln!("skipped: no Python {name} here");
    }
    found
}

/// What takes seconds is tried on these.
pub const SOME: [&str; 6] = ["2.7", "3.8", "3.11", "3.13", "3.13t", "3.15-debian"];

/// The Pythons of [`SOME`]; those that are left out are printed.
pub fn some() -> impl Iterator<Item = &'static Python> {
    let others = pythons().iter().filter(|python| !SOME.contains(&python.name.as_str()));
    let others: Vec<&str> = others.map(|python| python.name.as_str()).collect();
    eprintln!("skipped: {}, for it takes seconds on each", others.join(", "));
    SOME.iter().filter_map(|name| python(name))
}

/// Asks again and again until something is so; gives up when that is out of all proportion.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}: not in 30 seconds");
        // Whoever is waited for needs the processor that asking without a pause would take.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs pitviper and waits for its end.
pub fn pitviper(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pitviper")).args(arguments).output().expect("it runs")
}

impl Python {
    fn parse(line: &str) -> Python {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut field = || fields.next().expect("three fields");
        let (name, version, command) = (field(), field(), field());
        Python { name, version, command: command.split_whitespace().map(str::to_owned).collect() }
    }

    /// The directory that it takes for its root, if it is started in one.
    pub fn root(&self) -> Option<&Path> {
        let at = self.command.iter().position(|word| word.ends_with("chroot"))?;
        self.command.get(at + 1).map(Path::new)
    }

    /// Its executable, as we see it.
    pub fn exe(&self) -> PathBuf {
        let own = Path::new(self.command.last().expect("a command has words"));
        match self.root() {
            Some(root) => root.join(own.strip_prefix("/").expect("it is absolute")),
            None => own.to_owned(),
        }
    }

    /// What it prints when it runs these lines; `None` when they fail.
    pub fn ask(&self, lines: &str) -> Option<String> {
        let mut command = Command::new(&self.command[0]);
        let output = command.args(&self.command[1..]).args(["-c", lines]).output().expect("it runs");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("it prints text"))
    }

    /// `(3, 13)` of `3.13.5`.
    pub fn minor(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|n| n.parse().expect("a number"));
        (numbers.next().expect("a major"), numbers.next().expect("a minor"))
    }

    /// Writes a program where it can read it; its path as it sees it, and as we do.
    pub fn place(&self, program: &str) -> (PathBuf, PathBuf) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let inside = format!("/tmp/pitviper-test-{}-{count}.py", std::process::id());
        let outside = match self.root() {
            Some(root) => root.join(&inside[1..]),
            None => PathBuf::from(&inside),
        };
        std::fs::write(&outside, program).expect("the program is written");
        (inside.into(), outside)
    }
}

/// Copies an executable so that everybody may run it. Another process does it: were it this one, a child that another
/// test starts meanwhile would inherit the open file, and nobody could run what is open for writing.
#[track_caller]
pub fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(from).arg(to).status().expect("it runs");
    assert!(status.success(), "{} cannot be copied", from.display());
}

/// Starts a program and waits until it says `ready`.
pub fn start(python: &Python, program: &str) -> Target {
    let (inside, outside) = python.place(program);
    let mut command = Command::new(&python.command[0]);
    command.args(&python.command[1..]).arg(inside);
    let mut target = Target::spawn(command);
    target.files.push(outside);
    target
}

impl Target {
    /// Starts a command and waits until it says `ready`.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Target {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut target = Target { child, input, output, files: Vec::new() };
        let line = target.line();
        assert_eq!(line, "ready", "{command:?} did not say that it is ready");
        target
    }

    /// The next line that it prints, without its end; empty when it has closed its output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line of text");
        line.trim_end().to_owned()
    }

    /// Writes a line to it, in one piece: a program that ends at the first byte would not be there for a second.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        if let Err(error) = input.write_all(format!("{line}\n").as_bytes()) {
            panic!("it does not read ({error}); how it ended: {:?}", self.child.try_wait());
        }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Closes its input, which ends a parked program, and waits until it has ended and is gone.
    pub fn finish(&mut self) {
        self.input = None;
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// What a script that checks our files says, and the code that it ends with; `None` where it cannot do its work, which is printed.
pub fn able(output: &Output) -> Option<(i32, String)> {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(77) => {
            eprintln!("skipped: {said}");
            None
        }
        code => Some((code.expect("it ends by itself"), said)),
    }
}
