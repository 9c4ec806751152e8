//! What a waiting thread waits for, in words: `sleep`, `lock`, `recv from tcp 10.0.0.7:5432`.

use std::sync::Arc;

use super::descriptor::Descriptors;
use super::process::Process;
use super::syscall::{Means, means};
use super::task::Call;
use crate::memory::{Addr, Memory};

/// `fcntl` commands that wait for a lock: `F_SETLKW`, `F_OFD_SETLKW` (include/uapi/asm-generic/fcntl.h).
const LOCKING: [u64; 2] = [7, 38];
/// Bytes of a `struct pollfd`: a descriptor and two sets of events.
const POLLFD: usize = 8;
/// The largest set of descriptors that `select` takes (`FD_SETSIZE`).
const MAX_SET: u64 = 1024;
/// `P_PID` of `waitid`.
const BY_PID: u64 = 1;

/// Words for what the threads of one process wait for.
#[derive(Debug)]
pub struct Waits {
    descriptors: Descriptors,
}

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// A lock: the word at this address.
    Lock(Addr),
    /// Anything else.
    Other {
        /// In words.
        text: Arc<str>,
        /// Whether no more will be known if it is asked for again.
        settled: bool,
    },
}

impl Waits {
    /// Those of a process.
    pub fn new(process: &Process) -> Waits {
        Waits { descriptors: Descriptors::new(&process.dir()) }
    }

    /// What a call waits for. What cannot be read is left out of the words.
    pub fn of(&mut self, memory: &dyn Memory, call: &Call) -> Waited {
        let [first, second, ..] = call.arguments;
        let plain = |text: &str| (text.to_owned(), true);
        let (text, settled) = match means(call.number) {
            Some(Means::Lock) => return Waited::Lock(Addr(first)),
            Some(Means::Sleep) => plain("sleep"),
            Some(Means::Poll) if second == 0 => plain("sleep"),
            Some(Means::Poll) => self.on("poll", only_polled(memory, Addr(first), second)),
            Some(Means::Select) if first as i32 == 0 => plain("sleep"),
            Some(Means::Select) => self.on("select", only_selected(memory, call)),
            Some(Means::Epoll) => self.on("epoll", self.descriptors.only_watched(first as i32)),
            Some(Means::Descriptor(words)) => self.with(words, first as i32),
            Some(Means::Control) if LOCKING.contains(&second) => self.with("file lock on", first as i32),
            Some(Means::Control) => self.with("fcntl on", first as i32),
            Some(Means::Child) => (child(first as i32), true),
            Some(Means::ChildBy) => (child(if first == BY_PID { second as i32 } else { 0 }), true),
            Some(Means::Other(words)) => plain(words),
            None => (format!("system call {}", call.number), true),
        };
        Waited::Other { text: text.into(), settled }
    }

    /// Words, and what a descriptor is open on.
    fn with(&mut self, words: &str, descriptor: i32) -> (String, bool) {
        let (name, settled) = self.descriptors.name(descriptor);
        (format!("{words} {name}"), settled)
    }

    /// Words, and what the one descriptor is open on if there is only one.
    fn on(&mut self, words: &str, only: Option<i32>) -> (String, bool) {
        match only {
            Some(descriptor) => self.with(&format!("{words} on"), descriptor),
            None => (words.to_owned(), true),
        }
    }
}

fn child(pid: i32) -> String {
    if pid > 0 { format!("child {pid}") } else { "child".to_owned() }
}

/// The descriptor in an array of one `struct pollfd`.
fn only_polled(memory: &dyn Memory, at: Addr, length: u64) -> Option<i32> {
    if length != 1 {
        return None;
    }
    let bytes = memory.bytes(at, POLLFD).ok()?;
    Some(i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// The descriptor in the sets of `select`, if there is only one. The kernel leaves them as they are while it waits.
fn only_selected(memory: &dyn Memory, call: &Call) -> Option<i32> {
    let [bits, sets @ .., _, _] = call.arguments;
    let bits = bits.min(MAX_SET);
    let mut only = None;
    for set in sets.into_iter().filter(|set| *set != 0) {
        let bytes = memory.bytes(Addr(set), bits.div_ceil(8) as usize).ok()?;
        for bit in
            (0..bits as usize).filter(|bit| bytes.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1))
        {
            if only.replace(bit as i32).is_some_and(|other| other != bit as i32) {
                return None;
            }
        }
    }
    only
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Proc;

    /// Ourselves, and a call that stands in our own memory.
    fn check(number: i64, arguments: [u64; 6], expected: &str) {
        let process = Process::open(&Proc::default(), std::process::id() as i32).unwrap();
        let call = Call { number: u32::try_from(number).unwrap(), arguments };
        let waited = Waits::new(&process).of(process.memory(), &call);
        assert_eq!(waited, Waited::Other { text: expected.into(), settled: true }, "{number} {arguments:x?}");
    }

    #[test]
    fn arguments_that_mean_nothing_are_left_out() {
        let wild = u64::MAX - 1;
        check(libc::SYS_read, [wild, 0, 0, 0, 0, 0], "read from descriptor -2");
        check(libc::SYS_ppoll, [wild, 1, 0, 0, 0, 0], "poll");
        check(libc::SYS_ppoll, [wild, wild, 0, 0, 0, 0], "poll");
        check(libc::SYS_pselect6, [wild, wild, wild, wild, 0, 0], "select");
        check(libc::SYS_pselect6, [4, 0, 0, 0, 0, 0], "select");
        check(libc::SYS_epoll_pwait, [wild, 0, 0, 0, 0, 0], "epoll");
        check(libc::SYS_wait4, [wild, 0, 0, 0, 0, 0], "child");
        check(libc::SYS_waitid, [BY_PID, 77, 0, 0, 0, 0], "child 77");
        check(libc::SYS_getpid, [0; 6], &format!("system call {}", libc::SYS_getpid));
    }

    #[test]
    fn a_set_or_an_array_of_one_descriptor_names_it() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let polled = [descriptor, 1];
        check(libc::SYS_ppoll, [polled.as_ptr() as u64, 1, 0, 0, 0, 0], "poll on pipe");
        let mut set = [0_u8; 128];
        set[descriptor as usize / 8] = 1 << (descriptor % 8);
        let at = set.as_ptr() as u64;
        check(libc::SYS_pselect6, [descriptor as u64 + 1, at, 0, at, 0, 0], "select on pipe");
        let mut two = set;
        two[0] |= 1;
        check(libc::SYS_pselect6, [descriptor as u64 + 1, two.as_ptr() as u64, 0, 0, 0, 0], "select");
    }
}
