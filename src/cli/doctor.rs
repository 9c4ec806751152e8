//! `doctor`: why it would not work, and the command that mends it.

use std::io::{self, Write};

use super::args;
use super::failure::Exit;
use super::open::Context;
use super::paint::{Paint, Tone};
use super::plain;
use crate::target::access::{Check, Existence, Finding, Id, Relation, Verdict, blame, diagnose};
use crate::target::process::user_name;
use crate::target::{Proc, Process, ProcessError};

/// What a check means for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What was found, in one line.
    pub said: String,
    /// Commands, or settings, each of which mends it.
    pub remedies: Vec<String>,
}

/// Prints each check with its verdict, for every process that was named.
pub fn doctor(context: &Context, args: &args::Doctor) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    let paint = Paint::of(context.global.color, &out);
    if args.target.pid.is_empty() && args.target.name.is_none() {
        let good = run(&context.proc, None, paint, &mut out)?;
        return Ok(if good { Exit::Done } else { Exit::Permission });
    }
    let mut exit = Exit::Done;
    for pid in context.pids(&args.target)? {
        if !run(&context.proc, Some(pid), paint, &mut out)? {
            // What is not there is refused by nobody.
            exit = if Process::open(&context.proc, pid).is_ok() { Exit::Permission } else { Exit::Gone };
        }
    }
    Ok(exit)
}

/// Prints each check with its verdict and what mends it; whether the process can be read, or any could.
pub fn run(proc: &Proc, pid: Option<i32>, paint: Paint, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut checks = diagnose(proc, pid);
    let attempt = pid.map(|pid| attempt(proc, pid));
    if let Some(Ok(())) = attempt {
        // What is possible is not forbidden, whatever we thought.
        for check in &mut checks {
            if check.verdict == Verdict::Bad {
                check.verdict = Verdict::Doubtful;
            }
        }
    }
    match (pid, &attempt) {
        (Some(pid), Some(Ok(()))) => writeln!(out, "process {pid} can be read")?,
        (_, Some(Err(error))) => writeln!(out, "{}", plain::line(&error.to_string()))?,
        _ => writeln!(out, "what decides whether pitviper may read a process here")?,
    }
    let again = command_line();
    let mut hints: Vec<String> = Vec::new();
    for check in &checks {
        let advice = advice(check, pid.is_some(), &again);
        let name = check.finding.name();
        writeln!(out, "  {}  {name:14}  {}", word(check.verdict, paint), plain::line(&advice.said))?;
        if matches!(check.verdict, Verdict::Bad | Verdict::Doubtful) {
            for remedy in advice.remedies {
                if !hints.contains(&remedy) {
                    writeln!(out, "           hint: {}", plain::line(&remedy))?;
                    hints.push(remedy);
                }
            }
        }
    }
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    if let (Some(Err(ProcessError::Permission { .. })), false) = (&attempt, bad) {
        writeln!(out, "  {}  {:14}  {}", word(Verdict::Bad, paint), "unknown", super::hints::UNSEEN)?;
        writeln!(
            out,
            "           hint: run pitviper on the host, or as root in the container of the process"
        )?;
    }
    Ok(attempt.map_or(!bad, |attempt| attempt.is_ok()))
}

/// Why the kernel does not let us read a process, in words, and what mends it.
pub fn refusal(proc: &Proc, pid: i32) -> Option<Advice> {
    blame(&diagnose(proc, Some(pid))).map(|check| advice(check, true, &command_line()))
}

/// Reads a byte of the process.
fn attempt(proc: &Proc, pid: i32) -> Result<(), ProcessError> {
    Process::open(proc, pid)?.readable().map(|_| ())
}

/// A verdict, as wide as the widest.
fn word(verdict: Verdict, paint: Paint) -> String {
    let (tone, word) = match verdict {
        Verdict::Good => (Tone::Good, "ok     "),
        Verdict::Doubtful => (Tone::Doubtful, "warning"),
        Verdict::Bad => (Tone::Bad, "FAIL   "),
        Verdict::Unknown => (Tone::Doubtful, "unknown"),
    };
    paint.say(tone, word)
}

/// The command line that is under way, to be pasted behind `sudo`.
fn command_line() -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("pitviper".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// What a check means, of one process or of any, and what mends it; `again` is the command line that is under way.
pub fn advice(check: &Check, one: bool, again: &str) -> Advice {
    let mend = |remedies: &[&str]| remedies.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let (said, remedies) = match &check.finding {
        Finding::Process(Existence::Runs) => ("it runs".to_owned(), Vec::new()),
        Finding::Process(Existence::Missing) => (
            "there is none of this pid, or it is hidden from us".into(),
            mend(&[
                "pitviper ps",
                "in a container, pids are those of its own namespace: docker top, or NSpid in /proc/PID/status on the host",
            ]),
        ),
        Finding::Process(Existence::Zombie) => ("it has exited".into(), mend(&["pitviper ps"])),
        Finding::Process(Existence::ThreadOf(leader)) => {
            (format!("it is a thread of process {leader}"), vec![format!("pitviper doctor --pid {leader}")])
        }
        Finding::User { ours, theirs } => {
            let [real, effective, saved] = theirs;
            let one = real == effective && effective == saved;
            let said = if one && real == ours {
                format!("pitviper and the process both run as {}", who(*ours))
            } else if one {
                format!("pitviper runs as {}, the process as {}", who(*ours), who(*real))
            } else {
                let [real, effective, saved] = [*real, *effective, *saved].map(who);
                format!(
                    "pitviper runs as {}, the process as {real}, effectively {effective}, saved {saved}",
                    who(*ours)
                )
            };
            let mut remedies = vec![format!("sudo {again}")];
            if one && real.user != 0 {
                let name = user_name(real.user).unwrap_or_else(|| format!("#{}", real.user));
                remedies.push(format!("sudo -u '{name}' {again}"));
            }
            remedies.extend(privilege(ours.user == 0));
            if ours.user == 0 {
                remedies.retain(|remedy| !remedy.starts_with("sudo pitviper")); // we are root already
            }
            (said, remedies)
        }
        Finding::Capability { have: true, .. } => ("pitviper has it".into(), Vec::new()),
        Finding::Capability { needed: true, .. } => {
            ("pitviper lacks it, and would need it".into(), privilege(false))
        }
        Finding::Capability { .. } if one => ("pitviper lacks it, and can do without".into(), Vec::new()),
        Finding::Capability { .. } => {
            ("pitviper lacks it: only processes of its own user can be read".into(), privilege(false))
        }
        Finding::UserNamespace(relation) => match relation {
            Relation::Same => ("the process is in the same one".into(), Vec::new()),
            Relation::Below => {
                ("the process is in a user namespace below ours".into(), vec![format!("sudo {again}")])
            }
            Relation::Other => (
                "the process is in another user namespace, where our capabilities do not count".into(),
                mend(&[
                    "run pitviper in the process's own container, or on the host",
                    "nsenter --target PID --user --preserve-credentials pitviper …",
                ]),
            ),
            Relation::Hidden => ("the process's cannot be seen".into(), Vec::new()),
        },
        Finding::Dumpable(Some(true)) => ("the process may be read by its own user".into(), Vec::new()),
        Finding::Dumpable(None) => ("cannot be told for a process of root's".into(), Vec::new()),
        Finding::Dumpable(Some(false)) => (
            "the process is closed even to its own user: it has changed its user, or asked so by prctl"
                .into(),
            vec![format!("sudo {again}")],
        ),
        Finding::MoreCapabilities { beyond: 0 } => {
            ("the process has none that pitviper lacks".into(), Vec::new())
        }
        Finding::MoreCapabilities { beyond } => {
            (format!("the process has some that pitviper lacks: {}", capabilities(*beyond)), privilege(true))
        }
        Finding::Yama { scope, descendant } => yama(*scope, *descendant, again),
        Finding::Seccomp { forbids: true, .. } => (
            "a filter forbids process_vm_readv; pitviper reads /proc/PID/mem instead, more slowly".into(),
            mend(&[
                "docker run --security-opt seccomp=unconfined …",
                "kubernetes: securityContext: {seccompProfile: {type: Unconfined}}",
                "systemd: SystemCallFilter=process_vm_readv",
            ]),
        ),
        Finding::Seccomp { filtered: true, .. } => {
            ("a filter is on pitviper, and allows process_vm_readv".into(), Vec::new())
        }
        Finding::Seccomp { .. } => ("no filter is on pitviper".into(), Vec::new()),
        Finding::Label { ours, theirs } => {
            let name = |label: &Option<String>| label.clone().unwrap_or_else(|| "none".into());
            let said = match (ours, theirs) {
                (None, None) => "no security module labels processes here".into(),
                _ => format!("pitviper has {}, the process {}", name(ours), name(theirs)),
            };
            (
                said,
                mend(&[
                    "AppArmor: a rule `ptrace (read),` in pitviper's profile and `ptrace (readby),` in the process's",
                    "docker run --security-opt apparmor=unconfined …",
                    "SELinux: setsebool deny_ptrace off",
                ]),
            )
        }
        Finding::Tracer(None) => ("none holds the process".into(), Vec::new()),
        Finding::Tracer(Some(tracer)) => {
            (format!("process {tracer} traces the process, and may have stopped it"), Vec::new())
        }
        Finding::HidePid(None) => ("/proc shows all processes".into(), Vec::new()),
        Finding::HidePid(Some(level)) => (
            format!("/proc is mounted with hidepid={level}: processes of other users are hidden"),
            vec![format!("sudo {again}"), "sudo mount -o remount,hidepid=0 /proc".into()],
        ),
    };
    Advice { said, remedies }
}

/// How `CAP_SYS_PTRACE` is had: in containers first, where being root is not enough.
fn privilege(root: bool) -> Vec<String> {
    let container = [
        "docker run --cap-add SYS_PTRACE …, or in compose: cap_add: [SYS_PTRACE]",
        "kubernetes: securityContext: {capabilities: {add: [SYS_PTRACE]}}, or kubectl debug --profile=sysadmin --target=CONTAINER POD",
        "systemd: AmbientCapabilities=CAP_SYS_PTRACE in the unit that starts pitviper",
    ];
    let host = ["sudo setcap cap_sys_ptrace+ep \"$(command -v pitviper)\""];
    let chosen: &[&str] = if root { &container } else { &host };
    let rest: &[&str] = if root { &[] } else { &container };
    chosen.iter().chain(rest).map(|text| (*text).to_owned()).collect()
}

fn yama(scope: Option<u8>, descendant: bool, again: &str) -> (String, Vec<String>) {
    let relax = "sudo sysctl kernel.yama.ptrace_scope=0".to_owned();
    let privileged = format!("sudo {again}");
    match scope {
        None => ("this kernel has no Yama".into(), Vec::new()),
        Some(0) => ("kernel.yama.ptrace_scope is 0: it does not restrict".into(), Vec::new()),
        Some(1) if descendant => {
            ("kernel.yama.ptrace_scope is 1, and the process descends from pitviper".into(), Vec::new())
        }
        Some(1) => (
            "kernel.yama.ptrace_scope is 1: without privilege only processes that pitviper starts can be read".into(),
            vec![privileged, "pitviper run -- CMD".into(), relax],
        ),
        Some(2) => {
            ("kernel.yama.ptrace_scope is 2: it takes CAP_SYS_PTRACE".into(), vec![privileged, relax])
        }
        Some(scope) => (
            format!("kernel.yama.ptrace_scope is {scope}: nobody may read another process until the next boot"),
            vec!["set kernel.yama.ptrace_scope=0 in /etc/sysctl.d/, and boot again".into()],
        ),
    }
}

/// `root (0:0)`.
fn who(id: Id) -> String {
    let Id { user, group } = id;
    user_name(user).map_or_else(|| format!("{user}:{group}"), |name| format!("{name} ({user}:{group})"))
}

/// The capabilities of a mask by their numbers, the commonest by name (include/uapi/linux/capability.h).
fn capabilities(mask: u64) -> String {
    const NAMES: &[(u32, &str)] = &[
        (12, "CAP_NET_ADMIN"),
        (16, "CAP_SYS_MODULE"),
        (19, "CAP_SYS_PTRACE"),
        (21, "CAP_SYS_ADMIN"),
        (23, "CAP_SYS_NICE"),
    ];
    let names = NAMES.iter().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| (*name).to_owned());
    let mut names: Vec<String> = names.collect();
    let rest = mask.count_ones() as usize - names.len();
    if rest > 0 {
        names.push(if rest == 1 { "one other".into() } else { format!("{rest} others") });
    }
    names.join(", ")
}
