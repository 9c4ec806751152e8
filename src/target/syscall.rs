//! System calls in which a thread may wait, by number, and what each of them waits for.

/// What a call waits for, and where its arguments say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// Time to pass.
    Sleep,
    /// A lock: the word at the first argument.
    Lock,
    /// Descriptors: an array of `struct pollfd` at the first argument, its length the second.
    Poll,
    /// Descriptors: the first argument is one more than the highest, the next three are sets of bits.
    Select,
    /// Descriptors that the one in the first argument watches.
    Epoll,
    /// What the descriptor in the first argument is open on; these words go before its name.
    Descriptor(&'static str),
    /// `fcntl`: the second argument says whether it waits for a lock.
    Control,
    /// `wait4`: the child in the first argument, if it is a pid.
    Child,
    /// `waitid`: the child in the second argument, if the first says that it is a pid.
    ChildBy,
    /// What these words say.
    Other(&'static str),
}

/// One call: its number on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl) and on machines with the generic table, such as
/// aarch64 (include/uapi/asm-generic/unistd.h); [`NONE`] where there is none.
struct Row {
    x86_64: u32,
    generic: u32,
    means: Means,
}

/// No call has this number.
const NONE: u32 = u32::MAX;

const fn row(x86_64: u32, generic: u32, means: Means) -> Row {
    Row { x86_64, generic, means }
}

const READ: Means = Means::Descriptor("read from");
const WRITE: Means = Means::Descriptor("write to");
const SEND: Means = Means::Descriptor("send to");
const RECEIVE: Means = Means::Descriptor("recv from");

#[rustfmt::skip]
const CALLS: &[Row] = &[
    row(0, 63, READ),                                  // read
    row(1, 64, WRITE),                                 // write
    row(2, NONE, Means::Other("open")),                // open
    row(7, NONE, Means::Poll),                         // poll
    row(16, 29, Means::Descriptor("ioctl on")),        // ioctl
    row(17, 67, READ),                                 // pread64
    row(18, 68, WRITE),                                // pwrite64
    row(19, 65, READ),                                 // readv
    row(20, 66, WRITE),                                // writev
    row(23, NONE, Means::Select),                      // select
    row(34, NONE, Means::Other("signal")),             // pause
    row(35, 101, Means::Sleep),                        // nanosleep
    row(40, 71, SEND),                                 // sendfile
    row(42, 203, Means::Descriptor("connect to")),     // connect
    row(43, 202, Means::Descriptor("accept on")),      // accept
    row(44, 206, SEND),                                // sendto
    row(45, 207, RECEIVE),                             // recvfrom
    row(46, 211, SEND),                                // sendmsg
    row(47, 212, RECEIVE),                             // recvmsg
    row(61, 260, Means::Child),                        // wait4
    row(65, 193, Means::Other("semaphore")),           // semop
    row(69, 189, Means::Other("message queue")),       // msgsnd
    row(70, 188, Means::Other("message queue")),       // msgrcv
    row(72, 25, Means::Control),                       // fcntl
    row(73, 32, Means::Descriptor("file lock on")),    // flock
    row(74, 82, Means::Descriptor("sync of")),         // fsync
    row(75, 83, Means::Descriptor("sync of")),         // fdatasync
    row(128, 137, Means::Other("signal")),             // rt_sigtimedwait
    row(130, 133, Means::Other("signal")),             // rt_sigsuspend
    row(202, 98, Means::Lock),                         // futex
    row(208, 4, Means::Other("asynchronous I/O")),     // io_getevents
    row(217, 61, READ),                                // getdents64
    row(219, 128, Means::Other("restarted call")),     // restart_syscall
    row(220, 192, Means::Other("semaphore")),          // semtimedop
    row(230, 115, Means::Sleep),                       // clock_nanosleep
    row(232, NONE, Means::Epoll),                      // epoll_wait
    row(242, 182, Means::Other("message queue")),      // mq_timedsend
    row(243, 183, Means::Other("message queue")),      // mq_timedreceive
    row(247, 95, Means::ChildBy),                      // waitid
    row(257, 56, Means::Other("open")),                // openat
    row(262, 79, Means::Other("stat")),                // newfstatat
    row(270, 72, Means::Select),                       // pselect6
    row(271, 73, Means::Poll),                         // ppoll
    row(275, 76, READ),                                // splice
    row(281, 22, Means::Epoll),                        // epoll_pwait
    row(288, 242, Means::Descriptor("accept on")),     // accept4
    row(295, 69, READ),                                // preadv
    row(296, 70, WRITE),                               // pwritev
    row(299, 243, RECEIVE),                            // recvmmsg
    row(307, 269, SEND),                               // sendmmsg
    row(318, 278, Means::Other("random numbers")),     // getrandom
    row(326, 285, READ),                               // copy_file_range
    row(426, 426, Means::Other("asynchronous I/O")),   // io_uring_enter
    row(441, 441, Means::Epoll),                       // epoll_pwait2
    row(449, 449, Means::Lock),                        // futex_waitv
    row(455, 455, Means::Lock),                        // futex_wait
];

/// What the call of this number waits for on this machine.
pub(super) fn means(number: u32) -> Option<Means> {
    let own = |row: &&Row| if cfg!(target_arch = "x86_64") { row.x86_64 } else { row.generic } == number;
    CALLS.iter().find(own).filter(|_| number != NONE).map(|row| row.means)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the C library's own headers call each number on this machine is what stands behind it here.
    #[test]
    fn numbers_are_those_of_this_machine() {
        #[track_caller]
        fn check(number: i64, expected: Means) {
            assert_eq!(means(u32::try_from(number).unwrap()), Some(expected), "{number}");
        }
        check(libc::SYS_read, READ);
        check(libc::SYS_write, WRITE);
        check(libc::SYS_recvfrom, RECEIVE);
        check(libc::SYS_sendto, SEND);
        check(libc::SYS_sendmmsg, SEND);
        check(libc::SYS_accept, Means::Descriptor("accept on"));
        check(libc::SYS_accept4, Means::Descriptor("accept on"));
        check(libc::SYS_connect, Means::Descriptor("connect to"));
        check(libc::SYS_flock, Means::Descriptor("file lock on"));
        check(libc::SYS_fcntl, Means::Control);
        check(libc::SYS_futex, Means::Lock);
        check(libc::SYS_pselect6, Means::Select);
        check(libc::SYS_ppoll, Means::Poll);
        check(libc::SYS_epoll_pwait, Means::Epoll);
        check(libc::SYS_nanosleep, Means::Sleep);
        check(libc::SYS_clock_nanosleep, Means::Sleep);
        check(libc::SYS_wait4, Means::Child);
        check(libc::SYS_waitid, Means::ChildBy);
        check(libc::SYS_openat, Means::Other("open"));
        check(libc::SYS_mq_timedsend, Means::Other("message queue"));
        check(libc::SYS_semtimedop, Means::Other("semaphore"));
        assert_eq!(means(NONE), None);
    }

    #[test]
    fn no_number_stands_twice() {
        for number in [|row: &Row| row.x86_64, |row: &Row| row.generic] {
            let mut numbers: Vec<u32> = CALLS.iter().map(number).filter(|number| *number != NONE).collect();
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), all);
        }
    }
}
