//! Sockets of a process: what each is connected to, by the inode that its descriptor names.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// The most that is read of one table of sockets, in bytes: 400,000 connections.
const MAX_TABLE: u64 = 64 << 20;
/// The tables are read again for a socket that is not in them, but at most this often.
const EVERY: Duration = Duration::from_millis(250);
/// `TCP_LISTEN`, include/net/tcp_states.h.
const LISTENS: u32 = 10;

/// The tables below `/proc/PID/net` that speak of Internet sockets (Documentation/networking/proc_net_tcp.rst).
const INTERNET: &[(&str, &str)] = &[("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")];

/// The sockets that a process can see.
#[derive(Debug)]
pub(super) struct Sockets {
    dir: PathBuf,
    names: FxHashMap<u64, String>,
    read_at: Option<Instant>,
}

impl Sockets {
    /// Those in the network of a process with this directory below `/proc`.
    pub(super) fn new(process: &Path) -> Sockets {
        Sockets { dir: process.join("net"), names: FxHashMap::default(), read_at: None }
    }

    /// What the socket with this inode is: `tcp 10.0.0.7:5432` names the other end, or its own where it has none. `None`
    /// where that may be known a little later.
    pub(super) fn name(&mut self, inode: u64) -> Option<&str> {
        if !self.names.contains_key(&inode) && self.read_at.is_none_or(|at| at.elapsed() >= EVERY) {
            self.read();
            self.read_at = Some(Instant::now());
            // Of a kind that stands in none of the tables, which are not to be read for its sake again.
            self.names.entry(inode).or_insert_with(|| "socket".to_owned());
        }
        self.names.get(&inode).map(String::as_str)
    }

    fn read(&mut self) {
        self.names.clear();
        for (table, kind) in INTERNET {
            self.table(table, |line| internet(kind, line));
        }
        self.table("unix", unix);
    }

    fn table(&mut self, name: &str, parse: impl Fn(&str) -> Option<(u64, String)>) {
        let Ok(file) = File::open(self.dir.join(name)) else { return };
        // The first line names the columns.
        let lines = BufReader::new(file.take(MAX_TABLE)).split(b'\n').skip(1);
        self.names
            .extend(lines.map_while(Result::ok).filter_map(|line| parse(&String::from_utf8_lossy(&line))));
    }
}

/// Reads a line of `tcp`, `tcp6`, `udp` or `udp6`.
fn internet(kind: &str, line: &str) -> Option<(u64, String)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (words.next()?, words.next()?);
    let state = u32::from_str_radix(words.next()?, 16).ok()?;
    let inode = words.nth(5)?.parse().ok()?;
    let connected = state != LISTENS && !remote.ends_with(":0000");
    let address = address(if connected { remote } else { local })?;
    Some((inode, format!("{kind} {address}")))
}

/// Reads `0100007F:1538`: an address as words in the order of this machine's bytes, and a port.
fn address(text: &str) -> Option<String> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if address.len() != 8 && address.len() != 32 {
        return None;
    }
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        bytes.extend(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(SocketAddrV4::new(Ipv4Addr::from(four), port).to_string());
    }
    let six = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?);
    Some(match six.to_ipv4_mapped() {
        Some(four) => SocketAddrV4::new(four, port).to_string(),
        None => SocketAddrV6::new(six, port, 0, 0).to_string(),
    })
}

/// Reads a line of `unix`: address, references, protocol, flags, type, state, inode, and the path of one that has a name.
fn unix(line: &str) -> Option<(u64, String)> {
    let mut rest = line;
    for _ in 0..6 {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    let rest = rest.trim_start();
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let name = if path.is_empty() { "unix socket".to_owned() } else { format!("unix {path}") };
    Some((inode.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Option<(u64, String)>, expected: Option<(u64, &str)>) {
        assert_eq!(found, expected.map(|(inode, name)| (inode, name.to_owned())));
    }

    #[test]
    fn the_other_end_of_a_connection_is_named_and_the_own_one_of_a_listener() {
        let rest = "00000000:00000000 00:00000000 00000000     0        0";
        let line = |ends: &str| format!("   0: {ends} {rest} 1473 1 00000000480b62b6 100 0 0 10 0");
        check(internet("tcp", &line("00000000:07E8 00000000:0000 0A")), Some((1473, "tcp 0.0.0.0:2024")));
        check(internet("tcp", &line("0100007F:B902 0700000A:1538 01")), Some((1473, "tcp 10.0.0.7:5432")));
        check(internet("udp", &line("0100007F:B902 00000000:0000 07")), Some((1473, "udp 127.0.0.1:47362")));
        let (one, mapped) = ("00000000000000000000000001000000", "0000000000000000FFFF00000100007F");
        check(internet("tcp", &line(&format!("{one}:1F90 {one}:1538 01"))), Some((1473, "tcp [::1]:5432")));
        check(
            internet("tcp", &line(&format!("{mapped}:1F90 {mapped}:1538 01"))),
            Some((1473, "tcp 127.0.0.1:5432")),
        );
        for garbage in ["", "0:", "0: 1 2 3", &line("0100007F:B902 07:1538 01"), &line("x:1 y:2 01")] {
            check(internet("tcp", garbage), None);
        }
    }

    #[test]
    fn a_unix_socket_has_its_path_with_all_its_spaces() {
        let line = "0000000016d9ab29: 00000003 00000000 00000000 0001 03 20048";
        check(unix(line), Some((20048, "unix socket")));
        check(unix(&format!("{line} /run/my app/s")), Some((20048, "unix /run/my app/s")));
        check(unix(&format!("{line} @abstract")), Some((20048, "unix @abstract")));
        check(
            unix("0000000016d9ab29: 00000003 00000000 00000000 0001 03   348 /run/s"),
            Some((348, "unix /run/s")),
        );
        check(unix("0: 1 2"), None);
        check(unix(""), None);
    }
}
