//! One process, found by its pid and held so that no other process can take its place.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use super::maps::Maps;
use super::smaps::Resident;
use crate::memory::{Addr, Live};

/// The most that is read of any file below `/proc`, in bytes; `maps` of a process with a million mappings fits.
const MAX_PROC_FILE: u64 = 128 << 20;
/// And what most of them have room in.
const PROC_FILE: usize = 1024;
/// The most of a command line that is kept, in bytes.
const MAX_CMDLINE: u64 = 64 << 10;
/// The most threads that are listed (`kernel.threads-max` is lower on most machines).
const MAX_THREADS: usize = 1 << 16;

/// The bit of a process's flags that says that it still runs the program of whoever made it: `PF_FORKNOEXEC` of Linux's
/// include/linux/sched.h.
const FORKED_NO_EXEC: u64 = 0x40;

/// Where the proc file system is mounted. Tests lay out a false one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    root: PathBuf,
}

/// A process that was found. It keeps meaning that very process when its pid is given to another one.
#[derive(Debug)]
pub struct Process {
    proc: Proc,
    pid: i32,
    /// The thread through which its memory is asked for: the first one, unless that has ended before the others.
    via: i32,
    /// Clock ticks since boot: with the pid it names a process for good.
    start: u64,
    /// Where its stack began when it was found, which every `exec` changes; 0 where we may not know.
    stack: u64,
    /// Absent where the kernel has no such thing (before 5.3) or a seccomp filter forbids it.
    pidfd: Option<OwnedFd>,
    memory: Live,
}

/// An operating-system thread of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its id, as we see it.
    pub tid: i32,
    /// Its id as the target itself sees it: another one in a pid namespace.
    pub ns_tid: i32,
    /// Its name, at most 15 bytes.
    pub comm: Arc<str>,
}

/// What tells a process and its program from all others, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Clock ticks since boot.
    pub(super) start: u64,
    /// Where its stack begins, which every `exec` changes; 0 where we may not know.
    pub(super) stack: u64,
    /// Who made it, or whom it was left to.
    pub(super) parent: i32,
    /// It still runs the program of whoever made it.
    pub(super) forked: bool,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    flags: u64,
    threads: u64,
    start: u64,
    stack: u64,
}

/// Why a process cannot be held or asked.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No process has this pid.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The pid that was asked for.
        pid: i32,
    },
    /// The id is that of a thread.
    #[error("{tid} is a thread of process {pid}, not a process")]
    IsThread {
        /// The id that was asked for.
        tid: i32,
        /// The process that it belongs to.
        pid: i32,
    },
    /// It has exited and waits for its parent.
    #[error("process {pid} has exited and is a zombie until its parent asks for it")]
    Zombie {
        /// The pid that was asked for.
        pid: i32,
    },
    /// It was there, and is no more.
    #[error("process {pid} is gone")]
    Gone {
        /// Its pid.
        pid: i32,
    },
    /// The kernel does not let us; `target::access` finds out why.
    #[error("not permitted to read {what} of process {pid}")]
    Permission {
        /// Its pid.
        pid: i32,
        /// What was to be read.
        what: &'static str,
    },
    /// Anything else.
    #[error("cannot read {what} of process {pid}: {source}")]
    Io {
        /// Its pid.
        pid: i32,
        /// What was to be read.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl Default for Proc {
    fn default() -> Proc {
        Proc::at("/proc")
    }
}

impl Proc {
    /// A proc file system that is mounted, or laid out, at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Proc {
        Proc { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a process.
    pub fn of(&self, pid: i32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    /// The pids of all processes that can be seen, in ascending order.
    pub fn pids(&self) -> Vec<i32> {
        numbers(&self.root, usize::MAX)
    }

    /// What stands at a pid; nothing where nobody runs there.
    pub(super) fn sight(&self, pid: i32) -> Option<Sight> {
        let stat = stat(self, pid).ok().filter(|stat| !stat.dead())?;
        let forked = stat.flags & FORKED_NO_EXEC != 0;
        Some(Sight { start: stat.start, stack: stat.stack, parent: stat.parent, forked })
    }

    /// Whether the kernel lists the children of each thread: it may be built without that.
    pub(super) fn has_children_lists(&self) -> bool {
        let own = std::process::id().to_string();
        self.root.join(&own).join("task").join(&own).join("children").exists()
    }

    /// The children of a process, as its threads' lists have them.
    pub(super) fn children(&self, pid: i32) -> Vec<i32> {
        let tasks = self.of(pid).join("task");
        let tids = numbers(&tasks, MAX_THREADS);
        let lists = tids
            .into_iter()
            .filter_map(|tid| read_at_most(&tasks.join(tid.to_string()).join("children"), MAX_CMDLINE).ok());
        let pids = |list: Vec<u8>| -> Vec<i32> {
            let text = String::from_utf8_lossy(&list).into_owned();
            text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        };
        lists.flat_map(pids).collect()
    }

    /// Every process and who made it.
    pub(super) fn parents(&self) -> Vec<(i32, i32)> {
        let pids = self.pids().into_iter();
        pids.filter_map(|pid| Some((pid, stat(self, pid).ok()?.parent))).collect()
    }

    /// The bytes of a file of a process.
    pub(super) fn read(&self, pid: i32, what: &'static str) -> Result<Vec<u8>, ProcessError> {
        read_at_most(&self.of(pid).join(what), MAX_PROC_FILE)
            .map_err(|source| ProcessError::from_io(pid, what, source))
    }

    /// The text of a file of a process, whatever its bytes.
    pub(super) fn text(&self, pid: i32, what: &'static str) -> Result<String, ProcessError> {
        self.read(pid, what).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The numeric names in a directory, in order. A directory that cannot be read has none.
fn numbers(dir: &Path, most: usize) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<i32> =
        entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).take(most).collect();
    found.sort_unstable();
    found
}

fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // A buffer without room takes a call for every few bytes.
    let mut bytes = Vec::with_capacity(PROC_FILE);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl ProcessError {
    fn from_io(pid: i32, what: &'static str, source: io::Error) -> ProcessError {
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ESRCH) => ProcessError::Gone { pid },
            Some(Errno::EACCES | Errno::EPERM) => ProcessError::Permission { pid, what },
            _ => ProcessError::Io { pid, what, source },
        }
    }
}

impl Process {
    /// Finds and holds a process. Nothing is read of its memory yet: see [`Process::readable`].
    pub fn open(proc: &Proc, pid: i32) -> Result<Process, ProcessError> {
        if pid <= 0 {
            return Err(ProcessError::NoSuchProcess { pid });
        }
        // The pidfd comes first: whatever is read below the pid afterwards belongs to it as long as it is not dead.
        let pidfd = pidfd_open(pid);
        let stat = stat(proc, pid).map_err(|error| match error {
            ProcessError::Gone { pid } => ProcessError::NoSuchProcess { pid },
            other => other,
        })?;
        if stat.dead() {
            return Err(ProcessError::Zombie { pid });
        }
        if let Ok(status) = proc.text(pid, "status")
            && let Some(group) = status_field(&status, "Tgid").and_then(|v| v.parse().ok())
            && group != pid
        {
            return Err(ProcessError::IsThread { tid: pid, pid: group });
        }
        let mut via = pid;
        if stat.state == b'Z' {
            let others = numbers(&proc.of(pid).join("task"), MAX_THREADS);
            via = others.into_iter().find(|tid| *tid != pid).unwrap_or(pid);
        }
        let memory = Live::open(proc.root(), via);
        let process =
            Process { proc: proc.clone(), pid, via, start: stat.start, stack: stat.stack, pidfd, memory };
        if !process.alive() {
            return Err(ProcessError::Gone { pid });
        }
        Ok(process)
    }

    /// Its pid, as we see it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The directory below which its files are asked for.
    pub(super) fn dir(&self) -> PathBuf {
        self.proc.of(self.via)
    }

    /// Where it was found.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// Its memory.
    pub fn memory(&self) -> &Live {
        &self.memory
    }

    /// How long its threads have run on processors, to the nanosecond (`make_process_cpuclock`, include/linux/posix-timers_types.h).
    pub fn cpu_time(&self) -> Option<Duration> {
        clock_gettime(ClockId::from_raw(!self.pid << 3 | 2)).ok().map(Duration::from)
    }

    /// When it started, in clock ticks since boot.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where its stack began when it was found, which every `exec` changes; 0 where we may not know.
    pub(super) fn stack(&self) -> u64 {
        self.stack
    }

    /// Whether it still runs. A zombie does not, nor does a stranger who was given its pid.
    pub fn alive(&self) -> bool {
        if let Some(pidfd) = &self.pidfd
            && exited(pidfd)
        {
            return false;
        }
        self.same()
    }

    /// Whether the pid still means this process, by its start time.
    pub fn same(&self) -> bool {
        stat(&self.proc, self.pid).is_ok_and(|now| now.start == self.start && !now.dead())
    }

    /// Whether it has become another program since it was found: all that was learned of its memory is void then.
    pub fn execed(&self) -> bool {
        // A process on its way out has no stack any more.
        stat(&self.proc, self.pid)
            .is_ok_and(|now| now.start == self.start && now.stack != self.stack && now.stack != 0)
    }

    /// A descriptor that becomes readable when the process ends, where the kernel has such a thing.
    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    /// Its mappings, now.
    pub fn maps(&self) -> Result<Maps, ProcessError> {
        let maps = Maps::parse(&self.proc.read(self.via, "maps")?);
        // A process on its way out has an empty list, which is no error to the kernel.
        if maps.is_empty() && !self.alive() {
            return Err(ProcessError::Gone { pid: self.pid });
        }
        Ok(maps)
    }

    /// What of its mappings lies in memory, now.
    pub fn resident(&self) -> Result<Vec<Resident>, ProcessError> {
        let resident = Resident::parse(&self.proc.read(self.via, "smaps")?);
        if resident.is_empty() && !self.alive() {
            return Err(ProcessError::Gone { pid: self.pid });
        }
        Ok(resident)
    }

    /// Its mappings, after one byte was read of them: whether the kernel lets us.
    pub fn readable(&self) -> Result<Maps, ProcessError> {
        let maps = self.maps()?;
        let Some(first) = maps.iter().find(|m| m.read && !m.special()) else { return Ok(maps) };
        match self.memory.probe(Addr(first.start)) {
            Ok(()) | Err(Errno::EFAULT) => Ok(maps),
            Err(Errno::ESRCH) => Err(ProcessError::Gone { pid: self.pid }),
            Err(_) => Err(ProcessError::Permission { pid: self.pid, what: "the memory" }),
        }
    }

    /// The file that it runs, as the target sees it; ` (deleted)` is not part of it.
    pub fn exe(&self) -> Result<PathBuf, ProcessError> {
        let link = std::fs::read_link(self.dir().join("exe"))
            .map_err(|source| ProcessError::from_io(self.pid, "exe", source))?;
        let bytes = link.into_os_string().into_vec();
        let path = bytes.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(bytes);
        Ok(PathBuf::from(OsString::from_vec(path)))
    }

    /// The words of its command line; none for a thread of the kernel.
    pub fn cmdline(&self) -> Vec<String> {
        cmdline(&self.proc, self.via)
    }

    /// Its name, at most 15 bytes.
    pub fn comm(&self) -> String {
        comm(&self.proc.of(self.pid))
    }

    /// The effective user id that it runs under.
    pub fn uid(&self) -> Option<u32> {
        uid(&self.proc, self.pid)
    }

    /// Its pid as itself sees it: another one in a pid namespace.
    pub fn ns_pid(&self) -> i32 {
        ns_ids(&self.proc.text(self.pid, "status").unwrap_or_default()).last().copied().unwrap_or(self.pid)
    }

    /// The ids of its threads, as we see them, in ascending order.
    pub(super) fn tids(&self) -> Vec<i32> {
        numbers(&self.proc.of(self.pid).join("task"), MAX_THREADS)
    }

    /// Its threads, now; the one that bears its pid first.
    pub fn threads(&self) -> Vec<Thread> {
        let tasks = self.proc.of(self.pid).join("task");
        let status = self.proc.text(self.pid, "status").unwrap_or_default();
        // One namespace is the common case, and saves a file for each thread.
        let nested = ns_ids(&status).len() > 1;
        let mut tids = self.tids();
        tids.sort_by_key(|tid| *tid != self.pid);
        tids.into_iter()
            .map(|tid| {
                let dir = tasks.join(tid.to_string());
                let inner = nested.then(|| read_at_most(&dir.join("status"), MAX_CMDLINE).ok()).flatten();
                let inner = inner.map(|status| ns_ids(&String::from_utf8_lossy(&status)));
                let ns_tid = inner.and_then(|ids| ids.last().copied()).unwrap_or(tid);
                Thread { tid, ns_tid, comm: comm(&dir).into() }
            })
            .collect()
    }
}

impl Stat {
    /// A thread group whose leader has ended lives on while others run.
    fn dead(self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads <= 1)
    }
}

/// A descriptor that means this process whoever bears its pid later, where the kernel has such a thing.
pub(super) fn pidfd_open(pid: i32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Whether the process of a descriptor has ended; does not take its exit status away.
pub(super) fn exited(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

fn stat(proc: &Proc, pid: i32) -> Result<Stat, ProcessError> {
    let bytes = proc.read(pid, "stat")?;
    parse_stat(&bytes).ok_or(ProcessError::Gone { pid })
}

/// Reads `/proc/PID/stat` (man 5 proc). The name in parentheses may itself hold parentheses and spaces.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(bytes);
    let (_, after) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        flags: fields.get(6)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
        stack: fields.get(25).and_then(|field| field.parse().ok()).unwrap_or(0),
    })
}

/// The value of one line of `/proc/PID/status`.
pub(super) fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The ids of a task, from the namespace of the proc file system to its own.
fn ns_ids(status: &str) -> Vec<i32> {
    let ids = status_field(status, "NSpid").unwrap_or_default();
    ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect()
}

fn comm(dir: &Path) -> String {
    let bytes = read_at_most(&dir.join("comm"), MAX_CMDLINE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
}

/// The words of a command line; empty where there is none or it may not be read.
pub(super) fn cmdline(proc: &Proc, pid: i32) -> Vec<String> {
    let mut bytes = read_at_most(&proc.of(pid).join("cmdline"), MAX_CMDLINE).unwrap_or_default();
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The name of a user, where there is one.
pub fn user_name(uid: u32) -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// The effective user id of a process.
pub(super) fn uid(proc: &Proc, pid: i32) -> Option<u32> {
    let status = proc.text(pid, "status").ok()?;
    status_field(&status, "Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(u8, u64, u64)>) {
        let found = parse_stat(line.as_bytes()).map(|s| (s.state, s.threads, s.start));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 33 18 4711 20 21";
        check(&format!("12 (a) Z (b c) {tail}"), Some((b'S', 33, 4711)));
        check("12 (python", None);
        check("12 (python) S 1 2", None);
        check("", None);
    }

    #[test]
    fn a_process_knows_itself() {
        let own = Process::open(&Proc::default(), std::process::id() as i32).unwrap();
        assert!(own.alive() && own.same() && own.pidfd().is_some());
        assert_eq!(own.exe().unwrap(), std::env::current_exe().unwrap());
        assert_eq!(own.cmdline().first().map(String::as_str), std::env::args().next().as_deref());
        let main = own.threads().into_iter().find(|t| t.tid == own.pid()).unwrap();
        assert_eq!(main.ns_tid, own.ns_pid());
        assert!(own.readable().unwrap().iter().any(|m| m.exec));
    }

    #[test]
    fn a_child_that_ended_is_a_zombie_and_then_nobody() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        let held = Process::open(&Proc::default(), pid).unwrap();
        assert!(held.alive());
        drop(child.stdin.take());
        // Reaps nothing, but returns only when the child has ended.
        let wait = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        nix::sys::wait::waitid(nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid)), wait).unwrap();
        assert!(!held.alive());
        assert!(matches!(Process::open(&Proc::default(), pid), Err(ProcessError::Zombie { .. })));
        child.wait().unwrap();
        assert!(matches!(Process::open(&Proc::default(), pid), Err(ProcessError::NoSuchProcess { .. })));
        assert!(matches!(Process::open(&Proc::default(), -1), Err(ProcessError::NoSuchProcess { .. })));
    }

    #[test]
    fn a_process_that_becomes_another_program_is_the_same_and_says_so() {
        use std::io::{BufRead, BufReader, Write};
        use std::process::{Command, Stdio};
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo ready; read line; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let (mut input, mut output) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut answer = |line: &str| {
            assert_eq!(output.read_line(&mut String::new()).unwrap(), line.len());
        };
        answer("ready\n");
        let held = Process::open(&Proc::default(), child.id() as i32).unwrap();
        assert!(!held.execed());
        input.write_all(b"go\n").unwrap();
        input.write_all(b"echo\n").unwrap();
        answer("echo\n");
        assert!(held.execed() && held.alive());
        drop(input);
        child.wait().unwrap();
        assert!(!held.execed());
    }

    #[test]
    fn a_stranger_with_the_same_pid_is_not_taken_for_the_target() {
        let proc = Proc::default();
        let mut own = Process::open(&proc, std::process::id() as i32).unwrap();
        own.start += 1;
        assert!(!own.same() && !own.alive());
    }
}
