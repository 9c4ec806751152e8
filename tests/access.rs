//! Whether we may read a process, and what is said when we may not: on this machine, and on those that it is not.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test fails loudly, and prints what it skips")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pitviper::cli::doctor;
use pitviper::target::Proc;
use pitviper::target::access::{Check, Existence, Finding, Relation, Verdict, blame, diagnose};
use support::{PARK, Python, Target, install, pythons, start};
use tempfile::TempDir;

/// The pid of the target in a laid-out proc file system.
const PID: i32 = 20;
const SYS_PTRACE: u64 = 1 << 19;

/// A proc file system of our own making: we are process 10, the target is process 20.
struct Machine(TempDir);

/// One process of it.
struct Person {
    pid: i32,
    parent: i32,
    ids: [u32; 3],
    permitted: u64,
    tracer: i32,
    seccomp: u32,
}

impl Person {
    fn new(pid: i32, uid: u32) -> Person {
        Person { pid, parent: 1, ids: [uid; 3], permitted: 0, tracer: 0, seccomp: 0 }
    }

    fn may(self, permitted: u64) -> Person {
        Person { permitted, ..self }
    }

    fn status(&self) -> String {
        let [real, effective, saved] = self.ids;
        let (pid, caps) = (self.pid, self.permitted);
        let ids = format!("{real}\t{effective}\t{saved}\t{effective}");
        format!(
            "Name:\tx\nState:\tS (sleeping)\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t{}\nTracerPid:\t{}\nUid:\t{ids}\nGid:\t{ids}\n\
             NSpid:\t{pid}\nThreads:\t1\nCapPrm:\t{caps:016x}\nCapEff:\t{caps:016x}\nSeccomp:\t{}\n",
            self.parent, self.tracer, self.seccomp
        )
    }
}

impl Machine {
    fn new(us: Person, target: Person) -> Machine {
        let machine = Machine(tempfile::tempdir().expect("a directory"));
        for person in [&us, &target] {
            let dir = machine.0.path().join(person.pid.to_string());
            fs::create_dir_all(dir.join("ns")).expect("it is ours");
            fs::write(dir.join("status"), person.status()).expect("it is ours");
            fs::write(dir.join("uid_map"), "         0          0 4294967295\n").expect("it is ours");
            symlink("user:[4026531837]", dir.join("ns/user")).expect("it is ours");
            // A process's files belong to its effective user, unless it is closed.
            let owner = nix::unistd::Uid::from_raw(person.ids[1]);
            nix::unistd::chown(&dir.join("status"), Some(owner), None).expect("we are root");
        }
        symlink(us.pid.to_string(), machine.0.path().join("self")).expect("it is ours");
        machine.with("self/mounts", "sysfs /sys sysfs rw 0 0\nproc /proc proc rw,nosuid 0 0\n")
    }

    fn with(self, path: &str, content: &str) -> Machine {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is ours");
        let _ = fs::remove_file(&path);
        fs::write(path, content).expect("it is ours");
        self
    }

    fn proc(&self) -> Proc {
        Proc::at(self.0.path())
    }

    fn checks(&self) -> Vec<Check> {
        diagnose(&self.proc(), Some(PID))
    }
}

/// Which check is to blame, and whether the advice holds this text.
#[track_caller]
fn check(machine: &Machine, blamed: Option<&str>, advice: &str) {
    let checks = machine.checks();
    assert_eq!(blame(&checks).map(|check| check.finding.name()), blamed, "{checks:#?}");
    if blamed.is_some() {
        let refusal = doctor::refusal(&machine.proc(), PID).expect("something is to blame");
        let text = format!("{}\n{}", refusal.said, refusal.remedies.join("\n"));
        assert!(text.contains(advice), "{text:?} lacks {advice:?}");
        assert!(!refusal.remedies.is_empty(), "nothing mends {text:?}");
    }
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can be another user");
    }
    root
}

#[test]
fn yama_is_told_apart_by_its_scope() {
    if !root() {
        return;
    }
    let yama = |us: Person, target: Person, scope: &str| {
        Machine::new(us, target).with("sys/kernel/yama/ptrace_scope", &format!("{scope}\n"))
    };
    let us = || Person::new(10, 1000);
    let strong = || Person::new(10, 0).may(SYS_PTRACE);
    let target = || Person::new(PID, 1000);
    let child = || Person { parent: 10, ..target() };
    check(&yama(us(), target(), "0"), None, "");
    check(&yama(us(), target(), "1"), Some("Yama"), "sysctl kernel.yama.ptrace_scope=0");
    check(&yama(us(), target(), "1"), Some("Yama"), "pitviper run -- CMD");
    check(&yama(us(), child(), "1"), None, "");
    check(&yama(strong(), target(), "1"), None, "");
    check(&yama(us(), child(), "2"), Some("Yama"), "CAP_SYS_PTRACE");
    check(&yama(strong(), target(), "2"), None, "");
    check(&yama(strong(), target(), "3"), Some("Yama"), "until the next boot");
    check(&Machine::new(us(), target()), None, "");
}

#[test]
fn users_and_capabilities_are_told_apart() {
    if !root() {
        return;
    }
    let few = 0xff;
    check(&Machine::new(Person::new(10, 1000), Person::new(PID, 1001)), Some("user"), "sudo -u '#1001'");
    check(
        &Machine::new(Person::new(10, 1000), Person::new(PID, 0)),
        Some("user"),
        "setcap cap_sys_ptrace+ep",
    );
    check(&Machine::new(Person::new(10, 0), Person::new(PID, 1001)), Some("user"), "--cap-add SYS_PTRACE");
    check(&Machine::new(Person::new(10, 0).may(SYS_PTRACE), Person::new(PID, 1001)), None, "");
    let more = Machine::new(Person::new(10, 0).may(few), Person::new(PID, 0).may(few | 1 << 21));
    check(&more, Some("capabilities"), "CAP_SYS_ADMIN");
    check(&Machine::new(Person::new(10, 0).may(few), Person::new(PID, 0).may(few)), None, "");
    let changed = Person { ids: [1000, 1001, 1001], ..Person::new(PID, 0) };
    check(&Machine::new(Person::new(10, 1000), changed), Some("user"), "effectively");
}

#[test]
fn a_closed_program_is_told_by_the_owner_of_its_files() {
    if !root() {
        return;
    }
    let machine = Machine::new(Person::new(10, 1000), Person::new(PID, 1000));
    check(&machine, None, "");
    nix::unistd::chown(&machine.0.path().join("20/status"), Some(0.into()), None).expect("we are root");
    check(&machine, Some("dumpable"), "closed even to its own user");
}

#[test]
fn user_namespaces_are_told_apart() {
    if !root() {
        return;
    }
    let machine = |us: Person, target: Person, ours: &str, theirs: &str| {
        let machine = Machine::new(us, target).with("10/uid_map", ours).with("20/uid_map", theirs);
        fs::remove_file(machine.0.path().join("20/ns/user")).expect("it is ours");
        machine
    };
    let (first, other) = ("0 0 4294967295\n", "0 1000 1\n");
    let strong = || Person::new(10, 0).may(u64::MAX);
    check(&machine(strong(), Person::new(PID, 0), other, first), Some("user namespace"), "on the host");
    check(&machine(strong(), Person::new(PID, 0).may(SYS_PTRACE), first, other), None, "");
    // A rootless container is open to the user who made it.
    check(&machine(Person::new(10, 1000), Person::new(PID, 1000).may(SYS_PTRACE), first, other), None, "");
    let hidden = machine(strong(), Person::new(PID, 1001), other, other);
    assert!(hidden.checks().iter().any(|c| c.finding == Finding::UserNamespace(Relation::Same)));
}

#[test]
fn what_does_not_forbid_is_warned_of() {
    if !root() {
        return;
    }
    let found = |machine: &Machine, name: &str| {
        let checks = machine.checks();
        checks.into_iter().find(|check| check.finding.name() == name).expect("it was looked at")
    };
    let same = || Machine::new(Person::new(10, 1000), Person::new(PID, 1000));
    let traced = Machine::new(Person::new(10, 1000), Person { tracer: 77, ..Person::new(PID, 1000) });
    assert_eq!(
        found(&traced, "debugger"),
        Check { verdict: Verdict::Doubtful, finding: Finding::Tracer(Some(77)) }
    );
    let labelled =
        same().with("10/attr/current", "unconfined\n").with("20/attr/current", "docker-default (enforce)\n");
    assert_eq!(found(&labelled, "security label").verdict, Verdict::Doubtful);
    let alike = same()
        .with("10/attr/current", "docker-default (enforce)")
        .with("20/attr/current", "docker-default (enforce)\0");
    assert_eq!(found(&alike, "security label").verdict, Verdict::Good);
    let hidden = "proc /proc proc rw,nosuid,hidepid=invisible 0 0\n";
    assert_eq!(found(&same().with("10/mounts", hidden), "hidepid").verdict, Verdict::Good);
    let others = Machine::new(Person::new(10, 1000), Person::new(PID, 1001)).with("10/mounts", hidden);
    let level = Some("invisible".to_owned());
    assert_eq!(
        found(&others, "hidepid"),
        Check { verdict: Verdict::Doubtful, finding: Finding::HidePid(level) }
    );
    assert_eq!(
        found(&same().with("10/mounts", "proc /proc proc hidepid=0 0 0"), "hidepid").verdict,
        Verdict::Good
    );
}

#[test]
fn a_status_that_makes_no_sense_is_a_process_that_is_not_there() {
    if !root() {
        return;
    }
    for text in ["", "Pid:\t20", "Pid:\tx\nUid:\t\n", "Uid:\t1 2\nGid:\t1\nPid:\t20\n", "\u{fffd}"] {
        let machine = Machine::new(Person::new(10, 1000), Person::new(PID, 1000)).with("20/status", text);
        check(&machine, Some("process"), "pitviper ps");
        let finding = &machine.checks()[0].finding;
        assert_eq!(*finding, Finding::Process(Existence::Missing));
    }
}

/// A copy of the program that everybody may run.
fn program() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let program = dir.path().join("pitviper");
    install(Path::new(env!("CARGO_BIN_EXE_pitviper")), &program);
    (dir, program)
}

/// What `doctor` says of a process when it runs under `privileges`, and whether that is how it is.
#[track_caller]
fn doctor(privileges: &[&str], target: &Target, blamed: Option<&str>) -> String {
    let (_dir, program) = program();
    let run = |words: &[&str]| -> Output {
        let mut command = Command::new(privileges.first().copied().unwrap_or("env"));
        command.args(privileges.iter().skip(1)).arg(&program).args(words);
        command.args(["--pid", &target.pid().to_string()]).output().expect("it runs")
    };
    let said = run(&["doctor"]);
    let text = String::from_utf8(said.stdout).expect("text") + &String::from_utf8_lossy(&said.stderr);
    let code = if blamed.is_some() { 4 } else { 0 };
    assert_eq!(said.status.code(), Some(code), "{privileges:?}: {text}");
    match blamed {
        Some(name) => {
            assert!(text.lines().any(|l| l.contains("FAIL") && l.contains(name)), "{privileges:?}: {text}")
        }
        None => assert!(!text.contains("FAIL"), "{privileges:?}: {text}"),
    }
    let dump = run(&["dump"]);
    let error = String::from_utf8_lossy(&dump.stderr).into_owned();
    assert_eq!(dump.status.code(), Some(code), "{privileges:?}: {error}");
    assert_eq!(error.contains("hint: "), blamed.is_some(), "{error}");
    text
}

fn any_python() -> &'static Python {
    pythons().iter().find(|python| python.name == "3.11-debian").unwrap_or(&pythons()[0])
}

#[test]
fn what_the_kernel_decides_is_what_doctor_says() {
    if !root() {
        return;
    }
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let unprivileged = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let ours = start(any_python(), PARK);
    let theirs = as_nobody("");
    doctor(&[], &ours, None);
    doctor(&[], &theirs, None);
    doctor(&[&["setpriv"], nobody.as_slice()].concat(), &ours, Some("user"));
    doctor(&[&["setpriv"], nobody.as_slice()].concat(), &theirs, None);
    doctor(&unprivileged, &ours, Some("capabilities"));
    doctor(&unprivileged, &theirs, Some("user"));
    doctor(&["unshare", "-Ur"], &ours, Some("user namespace"));
    doctor(&["setpriv", "--no-new-privs"], &ours, None);
    let weak =
        [&["setpriv", "--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"], nobody.as_slice()].concat();
    doctor(&weak, &ours, None);
    let closed = as_nobody("import ctypes\nassert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0\n");
    doctor(&[&["setpriv"], nobody.as_slice()].concat(), &closed, Some("dumpable"));
    doctor(&[], &closed, None);
}

#[test]
fn a_process_that_is_not_there_is_refused_by_nobody() {
    let output = Command::new(env!("CARGO_BIN_EXE_pitviper"))
        .args(["doctor", "--pid", "4194303"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("there is no process 4194303"));
}

fn as_nobody(before: &str) -> Target {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(&any_python().command);
    command.arg("-c").arg(format!("{before}{PARK}"));
    Target::spawn(command)
}

#[test]
fn where_a_filter_forbids_the_call_the_file_is_read() {
    let number = match std::env::consts::ARCH {
        "x86_64" => 310,
        "aarch64" => 270,
        other => return eprintln!("skipped: the number of process_vm_readv on {other} is not known here"),
    };
    // load the number; if it is that of process_vm_readv answer EPERM, else allow (include/uapi/linux/filter.h).
    let filter = format!(
        "import ctypes, os, struct, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n\
         code = b''.join(struct.pack('HBBI', *i) for i in [(0x20, 0, 0, 0), (0x15, 0, 1, {number}), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)])\n\
         text = ctypes.create_string_buffer(code)\nprog = struct.pack('HxxxxxxP', 4, ctypes.addressof(text))\n\
         assert libc.prctl(38, 1, 0, 0, 0) == 0\nassert libc.prctl(22, 2, ctypes.c_char_p(prog), 0, 0) == 0, ctypes.get_errno()\n\
         os.execv(sys.argv[1], sys.argv[1:])"
    );
    let python = any_python();
    let target = start(python, PARK);
    let words: Vec<&str> = python.command.iter().map(String::as_str).chain(["-c", &filter]).collect();
    let said = doctor(&words, &target, None);
    assert!(said.contains("/proc/PID/mem instead"), "{said}");
}

#[test]
fn ps_lists_every_python_and_why_one_cannot_be_read() {
    let targets: Vec<(&Python, Target)> =
        pythons().iter().map(|python| (python, start(python, PARK))).collect();
    let (_dir, program) = program();
    let list = |command: &mut Command| -> Vec<serde_json::Value> {
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    };
    let rows = list(Command::new(&program).args(["ps", "--json"]));
    let row = |rows: &[serde_json::Value], pid: i32| rows.iter().find(|row| row["pid"] == pid).cloned();
    for (python, target) in &targets {
        let row = row(&rows, target.pid()).unwrap_or_else(|| panic!("{} is not listed", python.name));
        assert_eq!(
            (row["version"].as_str(), row["readable"].as_bool()),
            (Some(python.version.as_str()), Some(true))
        );
        assert_eq!(row["free_threaded"], python.name.ends_with('t'));
        assert_eq!(row["debug"], python.name.ends_with('d'));
    }
    assert!(row(&rows, std::process::id() as i32).is_none(), "this test is no Python");
    if !root() {
        return;
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(["ps", "--json"]);
    let rows = list(&mut nobody);
    for (python, target) in &targets {
        let row = row(&rows, target.pid()).unwrap_or_else(|| panic!("{} is not listed", python.name));
        assert_eq!((row["version"].as_str(), row["readable"].as_bool()), (None, Some(false)));
        assert!(row["why"].as_str().is_some_and(|why| why.contains("runs as")), "{row}");
    }
}
