//! The floor under a sampler: the same segments of the same process, read again and again by bare system calls.
//!
//! `floor PID SECONDS RATE < SEGMENTS`: a line `ADDRESS LENGTH` a segment, hexadecimal and decimal; RATE 0 is as fast
//! as can be, otherwise a sleep comes before each round. No segments make a bare wake-up. Prints one line of JSON.
#![allow(missing_docs, reason = "it is a program")]
#![allow(clippy::print_stdout, reason = "what it prints is its result")]

use std::io::{self, BufRead, IoSliceMut};
use std::time::{Duration, Instant};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The most segments that one system call takes.
const IOV_MAX: usize = 1024;
/// All segments together; more is a mistake.
const MAX_BYTES: usize = 64 << 20;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pid, seconds, rate] = arguments.as_slice() else {
        return Err("usage: floor PID SECONDS RATE < SEGMENTS".into());
    };
    let (pid, rate) = (Pid::from_raw(pid.parse()?), rate.parse::<f64>()?);
    let duration = Duration::from_secs_f64(seconds.parse()?);
    let segments = io::stdin().lock().lines().map(|line| segment(&line?)).collect::<Result<Vec<_>, _>>()?;
    let bytes = segments.iter().map(|segment| segment.len).sum::<usize>();
    if bytes > MAX_BYTES {
        return Err(format!("{bytes} bytes a round are more than {MAX_BYTES}").into());
    }

    let mut buffer = vec![0; bytes];
    let (mut rounds, mut short) = (0_u64, 0_u64);
    let mut random = fastrand::Rng::new();
    let (cpu, start) = (cpu()?, Instant::now());
    while start.elapsed() < duration {
        if rate > 0.0 {
            let gap = -(1.0 - random.f64()).ln() / rate;
            std::thread::sleep(Duration::from_secs_f64(gap));
        }
        let mut rest = buffer.as_mut_slice();
        for batch in segments.chunks(IOV_MAX) {
            let wanted = batch.iter().map(|segment| segment.len).sum();
            let (into, after) = rest.split_at_mut(wanted);
            let read = process_vm_readv(pid, &mut [IoSliceMut::new(into)], batch)?;
            short += u64::from(read < wanted);
            rest = after;
        }
        rounds += 1;
    }
    let (cpu, wall) = (self::cpu()? - cpu, start.elapsed());
    println!(
        r#"{{"rounds": {rounds}, "short": {short}, "cpu_ns": {}, "wall_ns": {}, "segments": {}, "bytes": {bytes}}}"#,
        cpu.as_nanos(),
        wall.as_nanos(),
        segments.len()
    );
    Ok(())
}

fn segment(line: &str) -> Result<RemoteIoVec, Failure> {
    let (base, len) = line.trim().split_once(' ').ok_or("a segment is ADDRESS LENGTH")?;
    Ok(RemoteIoVec { base: usize::from_str_radix(base.trim_start_matches("0x"), 16)?, len: len.parse()? })
}

/// The CPU time of this thread, which is all of the process.
fn cpu() -> Result<Duration, Failure> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}
