//! Descriptors of a process: what each is open on.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::socket::Sockets;

/// The most that is read of what a descriptor says of itself, in bytes.
const MAX_INFO: u64 = 16 << 10;

/// The descriptors of a process.
#[derive(Debug)]
pub(super) struct Descriptors {
    dir: PathBuf,
    /// What the process takes for the root of all files, as we see it.
    root: PathBuf,
    sockets: Sockets,
}

impl Descriptors {
    /// Those of a process with this directory below `/proc`.
    pub(super) fn new(process: &Path) -> Descriptors {
        let root = std::fs::read_link(process.join("root")).unwrap_or_else(|_| "/".into());
        Descriptors { dir: process.to_owned(), root, sockets: Sockets::new(process) }
    }

    /// What a descriptor is open on: `tcp 10.0.0.7:5432`, `pipe`, `unix socket`, the path of a file; and whether that is all
    /// that will ever be known of it.
    pub(super) fn name(&mut self, descriptor: i32) -> (String, bool) {
        let Ok(link) = std::fs::read_link(self.dir.join("fd").join(descriptor.to_string())) else {
            return (format!("descriptor {descriptor}"), true);
        };
        // Paths are what the process itself calls them.
        let link = match link.strip_prefix(&self.root) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => link,
        };
        let text = String::from_utf8_lossy(link.as_os_str().as_bytes());
        match kind(&text) {
            Kind::Socket(inode) => match self.sockets.name(inode) {
                Some(name) => (name.to_owned(), true),
                None => ("socket".to_owned(), false),
            },
            Kind::Named(name) => (name.to_owned(), true),
        }
    }

    /// The one descriptor that this one watches (`epoll`), if it is one.
    pub(super) fn only_watched(&self, descriptor: i32) -> Option<i32> {
        let file = File::open(self.dir.join("fdinfo").join(descriptor.to_string())).ok()?;
        let mut text = String::new();
        file.take(MAX_INFO).read_to_string(&mut text).ok()?;
        let mut watched = text.lines().filter_map(|line| line.strip_prefix("tfd:"));
        let only = watched.next().filter(|_| watched.next().is_none())?;
        only.split_ascii_whitespace().next()?.parse().ok()
    }
}

/// What a link below `/proc/PID/fd` says.
#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    Socket(u64),
    Named(&'a str),
}

/// Links are paths, or `socket:[12]`, `pipe:[12]`, `anon_inode:[eventpoll]`, `anon_inode:inotify`.
fn kind(link: &str) -> Kind<'_> {
    let inside = |prefix: &str| link.strip_prefix(prefix).map(|rest| rest.trim_matches(['[', ']']));
    if let Some(inode) = inside("socket:").and_then(|inode| inode.parse().ok()) {
        return Kind::Socket(inode);
    }
    if inside("pipe:").is_some() {
        return Kind::Named("pipe");
    }
    Kind::Named(inside("anon_inode:").unwrap_or(link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_what_kind_of_thing_it_is() {
        assert_eq!(kind("socket:[28038]"), Kind::Socket(28038));
        assert_eq!(kind("pipe:[28029]"), Kind::Named("pipe"));
        assert_eq!(kind("anon_inode:[eventpoll]"), Kind::Named("eventpoll"));
        assert_eq!(kind("anon_inode:inotify"), Kind::Named("inotify"));
        assert_eq!(kind("/srv/a [b]/socket:[3]"), Kind::Named("/srv/a [b]/socket:[3]"));
        assert_eq!(kind("socket:[x]"), Kind::Named("socket:[x]"));
    }
}
