//! What the kernel says of one thread, through files that stay open: how long it ran, and in which call it waits.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use super::process::Process;

/// The most that is read of a file of a thread, in bytes; the longest is `stat`, at about 400.
const MAX_FILE: usize = 1024;

/// A thread of a process.
#[derive(Debug)]
pub struct Task {
    dir: PathBuf,
    /// Whether its files stay open from one reading to the next.
    keep: bool,
    times: Option<File>,
    call: Option<File>,
}

/// What a thread does, as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It runs, or would if it had a processor.
    Running,
    /// It waits in a system call.
    Waiting(Call),
    /// It waits, and the kernel does not say in what.
    Blocked,
    /// The kernel does not say anything.
    Unknown,
}

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Which one; numbers differ from machine to machine.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

impl Task {
    /// The thread `tid` of a process. Its files stay open where `keep` says so, which makes readings cheap and takes two
    /// descriptors.
    pub fn new(process: &Process, tid: i32, keep: bool) -> Task {
        let dir = process.proc().of(process.pid()).join("task").join(tid.to_string());
        Task { dir, keep, times: None, call: None }
    }

    /// The time that it has spent on a processor since it started, where the kernel says it: exact for one that waits, and up
    /// to a tick of the kernel's clock (1 to 10 ms) behind for one that runs.
    pub fn cpu(&mut self) -> Option<Duration> {
        let mut room = [0; MAX_FILE];
        let text = read(&mut self.times, &self.dir, "schedstat", self.keep, &mut room)?;
        text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }

    /// What it does now.
    pub fn doing(&mut self) -> Doing {
        let mut room = [0; MAX_FILE];
        if let Some(text) = read(&mut self.call, &self.dir, "syscall", self.keep, &mut room) {
            return parse_call(text);
        }
        // The right to see calls is that to read memory, but a kernel may be built without them.
        read(&mut None, &self.dir, "stat", false, &mut room).map_or(Doing::Unknown, parse_stat)
    }
}

/// Reads a file from its beginning, opening it if need be. Another thread with the same id is another file, so one that stayed
/// open and has become void is opened again.
fn read<'a>(
    kept: &mut Option<File>,
    dir: &std::path::Path,
    name: &str,
    keep: bool,
    room: &'a mut [u8],
) -> Option<&'a str> {
    let mut length = kept.as_ref().and_then(|file| file.read_at(room, 0).ok());
    if length.is_none() {
        *kept = None;
        let file = File::open(dir.join(name)).ok()?;
        length = file.read_at(room, 0).ok();
        *kept = Some(file).filter(|_| keep && length.is_some());
    }
    std::str::from_utf8(room.get(..length?)?).ok()
}

/// Reads `/proc/PID/task/TID/syscall` (fs/proc/base.c): `running`, or a number, six arguments and two registers; the number -1
/// is a thread that waits but in no call, such as for a page of its memory.
fn parse_call(text: &str) -> Doing {
    let mut words = text.split_ascii_whitespace();
    let number = match words.next() {
        Some("running") => return Doing::Running,
        Some("-1") => return Doing::Blocked,
        Some(number) => number.parse().ok(),
        None => None,
    };
    let Some(number) = number else { return Doing::Unknown };
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        let value = words.next().and_then(|word| word.strip_prefix("0x"));
        let Some(value) = value.and_then(|word| u64::from_str_radix(word, 16).ok()) else {
            return Doing::Unknown;
        };
        *argument = value;
    }
    Doing::Waiting(Call { number, arguments })
}

/// Reads the state in `/proc/PID/task/TID/stat` (man 5 proc).
fn parse_stat(text: &str) -> Doing {
    match text.rsplit_once(')').and_then(|(_, after)| after.trim_start().bytes().next()) {
        Some(b'R') => Doing::Running,
        Some(b'S' | b'D' | b'T' | b't' | b'I') => Doing::Blocked,
        _ => Doing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Doing) {
        assert_eq!(parse_call(text), expected, "{text:?}");
    }

    #[test]
    fn a_call_is_read_as_the_kernel_writes_it() {
        check("running\n", Doing::Running);
        check("-1 0x7ffef305cad0 0x7f6ee295b2ec\n", Doing::Blocked);
        let arguments = [0, 0x563e_2362_3a60, 0x2000, 0x1000, 0, 0xffff_ffff];
        check(
            "0 0x0 0x563e23623a60 0x2000 0x1000 0x0 0xffffffff 0x7fffc54b4600 0x7f7bcb3162ec\n",
            Doing::Waiting(Call { number: 0, arguments }),
        );
        for garbage in ["", "\n", "x", "12", "12 0x", "12 0x1 0x2 0x3 0x4 0x5 6", "-2 0x0"] {
            check(garbage, Doing::Unknown);
        }
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_harms_nothing() {
        // No thread has this number, and a directory is no file.
        for dir in ["/proc/self/task/0", "/proc/self/task", "/nowhere"] {
            for keep in [true, false] {
                let mut task = Task { dir: dir.into(), keep, times: None, call: None };
                for _ in 0..2 {
                    assert_eq!((task.cpu(), task.doing()), (None, Doing::Unknown), "{dir}");
                }
            }
        }
    }

    #[test]
    fn a_state_is_read_behind_whatever_name() {
        assert_eq!(parse_stat("7 (a) R (b) S 1 2"), Doing::Blocked);
        assert_eq!(parse_stat("7 (python) R 1 2"), Doing::Running);
        assert_eq!(parse_stat("7 (python) Z 1 2"), Doing::Unknown);
        assert_eq!(parse_stat(""), Doing::Unknown);
    }
}
