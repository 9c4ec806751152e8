//! How much memory a process has, and how much of it lies in swap, as the kernel counts it, through a file that stays open.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::unistd::{SysconfVar, sysconf};

use super::process::Process;

/// The longest that `statm` can be: seven numbers.
const MAX_FILE: usize = 256;

/// What the kernel counts of a process.
#[derive(Debug)]
pub struct Usage {
    statm: Option<File>,
    status: PathBuf,
    page: u64,
}

impl Usage {
    /// Of this process; what cannot be opened says nothing.
    pub fn open(process: &Process) -> Usage {
        let dir = process.proc().of(process.pid());
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
        Usage {
            statm: File::open(dir.join("statm")).ok(),
            status: dir.join("status"),
            page: page.unwrap_or(4096),
        }
    }

    /// Bytes that lie in memory.
    pub fn resident(&self) -> Option<u64> {
        let mut room = [0; MAX_FILE];
        let len = self.statm.as_ref()?.read_at(&mut room, 0).ok()?;
        let text = std::str::from_utf8(room.get(..len)?).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(self.page)
    }

    /// Bytes that lie in swap.
    pub fn swapped(&self) -> Option<u64> {
        let status = fs::read_to_string(&self.status).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::target::Proc;

    #[test]
    fn it_is_what_the_kernel_says_at_length() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        // Once it has answered it waits, and takes no more memory.
        input.write_all(b"x").unwrap();
        output.read_exact(&mut [0]).unwrap();
        let process = Process::open(&Proc::default(), child.id() as i32).unwrap();
        let usage = Usage::open(&process);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let said = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
        };
        assert_eq!((usage.resident(), usage.swapped()), (Some(said("VmRSS:")), Some(said("VmSwap:"))));
        drop(input);
        child.wait().unwrap();
    }
}
