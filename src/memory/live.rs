//! The memory of a running process: `process_vm_readv`, or `/proc/PID/mem` where seccomp forbids the call.

use std::cell::RefCell;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::{Addr, Fault, Memory, Part, Piece};

/// The most pieces that one system call takes (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const IOV_MAX: usize = 1024;

/// A running process, read from outside and never written to.
#[derive(Debug)]
pub struct Live {
    pid: Pid,
    /// `/proc/PID/mem`, read-only; absent where it may not be opened.
    mem: Option<File>,
    /// Set for good once the kernel refuses `process_vm_readv` and the file answers.
    refused: AtomicBool,
    /// Set for good once there is no memory any more.
    gone: AtomicBool,
}

impl Live {
    /// The memory of `pid`; `proc` is where the proc file system is mounted. Opens, but reads nothing yet.
    pub fn open(proc: &Path, pid: i32) -> Live {
        let mem = File::open(proc.join(pid.to_string()).join("mem")).ok();
        Live { pid: Pid::from_raw(pid), mem, refused: AtomicBool::new(false), gone: AtomicBool::new(false) }
    }

    /// Whether a read has found that the process has ended. That none has found it yet proves nothing.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Reads one byte at `addr` and says what the kernel answers; `EPERM` here is about permission, not about the address.
    pub fn probe(&self, addr: Addr) -> Result<(), Errno> {
        let mut byte = [0];
        match self.vm_read(addr, &mut byte) {
            Ok(1) => Ok(()),
            Ok(_) => Err(Errno::EFAULT),
            Err(errno) if refuses(errno) => self.instead(addr, &mut byte, errno).map_err(|_| errno),
            Err(errno) => Err(errno),
        }
    }

    fn vm_read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, Errno> {
        let remote = [RemoteIoVec { base: addr.0 as usize, len: buf.len() }];
        process_vm_readv(self.pid, &mut [IoSliceMut::new(buf)], &remote)
    }

    fn file_read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { addr, len: buf.len() };
        let file = self.mem.as_ref().ok_or(fault)?;
        file.read_exact_at(buf, addr.0).map_err(|_| fault)
    }

    /// Asks the file where the call was refused, and remembers which of the two is of use.
    fn instead(&self, addr: Addr, buf: &mut [u8], errno: Errno) -> Result<(), Fault> {
        let read = self.file_read(addr, buf);
        if read.is_ok() {
            self.refused.store(true, Ordering::Relaxed);
        } else if errno == Errno::ESRCH {
            self.gone.store(true, Ordering::Relaxed);
        }
        read
    }

    /// How many bytes arrived of what `remote` names, one thing behind the other. The kernel stops at the first that it cannot
    /// read whole.
    fn vm_read_many(&self, local: &mut [IoSliceMut<'_>], remote: &[RemoteIoVec]) -> Result<usize, Errno> {
        match process_vm_readv(self.pid, local, remote) {
            Err(errno) if refuses(errno) => Err(errno),
            read => Ok(read.unwrap_or(0)),
        }
    }

    /// Reads one batch and marks what arrived; behind what is not there the call is made again.
    fn read_batch(&self, parts: &mut [Part<'_>]) -> Result<(), Errno> {
        let mut parts = parts;
        while !parts.is_empty() {
            let remote: Vec<_> = parts.iter().map(|part| remote(part.addr, part.buf.len())).collect();
            let mut local: Vec<_> = parts.iter_mut().map(|part| IoSliceMut::new(part.buf)).collect();
            let arrived = self.vm_read_many(&mut local, &remote)?;
            let marks = parts.iter_mut().map(|part| (part.buf.len(), &mut part.arrived));
            let done = mark(marks, arrived);
            parts = &mut parts[done..];
        }
        Ok(())
    }

    /// The same of pieces that go into one place, and without room of its own.
    fn gather_batch(&self, pieces: &mut [Piece], buf: &mut [u8]) -> Result<(), Errno> {
        let (mut pieces, mut buf) = (pieces, buf);
        while !pieces.is_empty() {
            let arrived = VECTOR.with_borrow_mut(|vector| {
                vector.clear();
                vector.extend(pieces.iter().map(|piece| remote(piece.addr, piece.len)));
                self.vm_read_many(&mut [IoSliceMut::new(buf)], vector)
            })?;
            let done = mark(pieces.iter_mut().map(|piece| (piece.len, &mut piece.arrived)), arrived);
            let taken: usize = pieces[..done].iter().map(|piece| piece.len).sum();
            (pieces, buf) = (&mut pieces[done..], &mut buf[taken..]);
        }
        Ok(())
    }
}

fn remote(addr: Addr, len: usize) -> RemoteIoVec {
    RemoteIoVec { base: addr.0 as usize, len }
}

/// Marks those of the lengths that arrived when so many bytes did; how many that settles, the first that did not among them.
fn mark<'a>(lengths: impl Iterator<Item = (usize, &'a mut bool)>, arrived: usize) -> usize {
    let (mut left, mut done) = (arrived, 0);
    for (len, whole) in lengths {
        done += 1;
        *whole = len <= left;
        if !*whole {
            break;
        }
        left -= len;
    }
    done
}

thread_local! {
    /// Room for what a gathering read tells the kernel, so that looks allocate none.
    static VECTOR: RefCell<Vec<RemoteIoVec>> = const { RefCell::new(Vec::new()) };
}

/// Whether a filter on ourselves forbids the call: it does when we may not even read our own memory by it.
pub fn forbidden() -> bool {
    let (word, mut buf) = ([0u8; 1], [0u8; 1]);
    let remote = [RemoteIoVec { base: word.as_ptr() as usize, len: word.len() }];
    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut buf)], &remote).is_err_and(refuses)
}

/// Whether this answer is about the call itself and not about an address. `ESRCH` is what a process says whose first
/// thread has ended; while others run, the file still has their memory.
fn refuses(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::ENOSYS | Errno::ESRCH)
}

impl Memory for Live {
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { addr, len: buf.len() };
        if self.gone() {
            return Err(fault);
        }
        if self.refused.load(Ordering::Relaxed) {
            return self.file_read(addr, buf);
        }
        match self.vm_read(addr, buf) {
            Ok(arrived) if arrived == buf.len() => Ok(()),
            Err(errno) if refuses(errno) => self.instead(addr, buf, errno),
            _ => Err(fault),
        }
    }

    fn read_many(&self, parts: &mut [Part<'_>]) {
        for part in parts.iter_mut() {
            part.arrived = false;
        }
        for batch in parts.chunks_mut(IOV_MAX) {
            if self.refused.load(Ordering::Relaxed) || self.read_batch(batch).is_err() {
                for part in batch.iter_mut().take_while(|_| !self.gone()) {
                    part.arrived = self.read(part.addr, part.buf).is_ok();
                }
            }
        }
    }

    fn gather(&self, pieces: &mut [Piece], buf: &mut [u8]) {
        for piece in pieces.iter_mut() {
            piece.arrived = false;
        }
        let mut rest = buf;
        for batch in pieces.chunks_mut(IOV_MAX) {
            let len = batch.iter().map(|piece| piece.len).fold(0, usize::saturating_add);
            let Some((mut here, behind)) = std::mem::take(&mut rest).split_at_mut_checked(len) else {
                return;
            };
            rest = behind;
            if self.refused.load(Ordering::Relaxed) || self.gather_batch(batch, here).is_err() {
                for piece in batch.iter_mut().take_while(|_| !self.gone()) {
                    let (buf, behind) = here.split_at_mut(piece.len);
                    piece.arrived = self.read(piece.addr, buf).is_ok();
                    here = behind;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Live {
        Live::open(Path::new("/proc"), std::process::id() as i32)
    }

    #[test]
    fn reads_what_is_there_and_says_what_is_not() {
        let text = *b"a snake in the grass";
        let here = Addr(text.as_ptr() as u64);
        let mut buf = [0; 20];
        assert_eq!(own().read(here, &mut buf), Ok(()));
        assert_eq!(buf, text);
        assert_eq!(own().read(Addr(8), &mut buf), Err(Fault { addr: Addr(8), len: 20 }));
    }

    #[test]
    fn a_scattered_read_goes_on_behind_a_piece_that_is_not_there() {
        let (one, two) = (*b"one", *b"two");
        let (mut a, mut b, mut c) = ([0; 3], [0; 3], [0; 3]);
        let mut parts = [
            Part { addr: Addr(one.as_ptr() as u64), buf: &mut a, arrived: false },
            Part { addr: Addr(8), buf: &mut b, arrived: true },
            Part { addr: Addr(two.as_ptr() as u64), buf: &mut c, arrived: false },
        ];
        own().read_many(&mut parts);
        assert_eq!(parts.each_ref().map(|p| p.arrived), [true, false, true]);
        assert_eq!((&a, &c), (b"one", b"two"));
    }

    #[test]
    fn a_gathering_read_goes_on_behind_a_piece_that_is_not_there() {
        let (one, two) = (*b"one", *b"two");
        let mut buf = [0; 9];
        let at = |text: &[u8; 3]| Piece::new(Addr(text.as_ptr() as u64), 3);
        let mut pieces = [at(&one), Piece::new(Addr(8), 3), at(&two)];
        own().gather(&mut pieces, &mut buf);
        assert_eq!(pieces.map(|piece| piece.arrived), [true, false, true]);
        assert_eq!((&buf[..3], &buf[6..]), (b"one".as_slice(), b"two".as_slice()));
    }

    #[test]
    fn a_process_that_has_ended_is_gone_and_not_merely_unreadable() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let live = Live::open(Path::new("/proc"), child.id() as i32);
        assert_eq!((live.probe(Addr(8)), live.gone()), (Err(Errno::EFAULT), false));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(live.read(Addr(8), &mut [0]).is_err() && live.gone());
        let mut pieces = [Piece { arrived: true, ..Piece::new(Addr(8), 1) }];
        live.gather(&mut pieces, &mut [0]);
        assert!(!pieces[0].arrived);
    }

    #[test]
    fn the_file_answers_where_the_call_is_refused() {
        let live = own();
        live.refused.store(true, Ordering::Relaxed);
        let text = *b"fallback";
        let mut buf = [0; 8];
        assert_eq!(live.read(Addr(text.as_ptr() as u64), &mut buf), Ok(()));
        assert_eq!(buf, text);
    }
}
