//! What is mapped in a process and from which files: `/proc/PID/maps`, whatever a target makes it say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The most mappings that are kept (`vm.max_map_count` is 65,530 unless raised).
const MAX_MAPPINGS: usize = 1 << 20;

/// All mappings of a process, by ascending address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps(Vec<Mapping>);

/// One line of `/proc/PID/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// May be read by the target.
    pub read: bool,
    /// May be written by the target.
    pub write: bool,
    /// May be executed by the target.
    pub exec: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file's device: major and minor number.
    pub device: (u32, u32),
    /// The file's inode, 0 without a file.
    pub inode: u64,
    /// The file as the kernel names it, or a name such as `[heap]`; empty without one.
    pub path: PathBuf,
    /// The kernel marks the file as deleted.
    pub deleted: bool,
}

impl Maps {
    /// Reads the lines that make sense and leaves out those that do not.
    pub fn parse(bytes: &[u8]) -> Maps {
        let mut maps: Vec<Mapping> =
            bytes.split(|b| *b == b'\n').filter_map(Mapping::parse).take(MAX_MAPPINGS).collect();
        maps.sort_by_key(|m| m.start);
        Maps(maps)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other, by ascending address.
    pub fn iter(&self) -> std::slice::Iter<'_, Mapping> {
        self.0.iter()
    }

    /// The mapping that holds an address.
    pub fn at(&self, addr: u64) -> Option<&Mapping> {
        let behind = self.0.partition_point(|m| m.start <= addr);
        self.0.get(behind.checked_sub(1)?).filter(|m| addr < m.end)
    }
}

impl Mapping {
    pub(super) fn parse(line: &[u8]) -> Option<Mapping> {
        let mut rest = line;
        let mut field = || {
            let from = rest.iter().position(|b| *b != b' ')?;
            let trimmed = rest.get(from..)?;
            let to = trimmed.iter().position(|b| *b == b' ').unwrap_or(trimmed.len());
            let (field, after) = trimmed.split_at(to);
            rest = after;
            std::str::from_utf8(field).ok()
        };
        let (start, end) = field()?.split_once('-')?;
        let perms = field()?.as_bytes();
        let offset = field()?;
        let (major, minor) = field()?.split_once(':')?;
        let inode = field()?;
        let (start, end) = (hex(start)?, hex(end)?);
        let path = rest.trim_ascii_start();
        let kept = path.strip_suffix(b" (deleted)");
        (start < end).then_some(Mapping {
            start,
            end,
            read: perms.first() == Some(&b'r'),
            write: perms.get(1) == Some(&b'w'),
            exec: perms.get(2) == Some(&b'x'),
            offset: hex(offset)?,
            device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
            inode: inode.parse().ok()?,
            path: PathBuf::from(OsStr::from_bytes(&unescaped(kept.unwrap_or(path)))),
            deleted: kept.is_some(),
        })
    }

    /// Whether a file stands behind it.
    pub fn file(&self) -> bool {
        self.inode != 0
    }

    /// Whether it is one of the kernel's own (`[vvar]`, `[vsyscall]`), which not even root reads by address.
    pub fn special(&self) -> bool {
        let path = self.path.as_os_str().as_bytes();
        path.starts_with(b"[v")
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The kernel writes a line feed in a path as `\012` (`seq_file_path`, fs/proc/task_mmu.c).
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(u64, u64, &str, bool)>) {
        let maps = Maps::parse(line.as_bytes());
        let found = maps.iter().next().map(|m| (m.start, m.end, m.path.to_str().unwrap(), m.deleted));
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_keep_their_spaces_and_line_feeds_and_lose_the_mark_of_deletion() {
        check(
            "1000-2000 r-xp 0 fe:01 7     /usr/bin/python3",
            Some((0x1000, 0x2000, "/usr/bin/python3", false)),
        );
        check("1000-2000 r-xp 0 fe:01 7 /a b (deleted)", Some((0x1000, 0x2000, "/a b", true)));
        check("1000-2000 r-xp 0 fe:01 7 /a\\012b", Some((0x1000, 0x2000, "/a\nb", false)));
        check("1000-2000 rw-p 0 00:00 0", Some((0x1000, 0x2000, "", false)));
        check("1000-2000 rw-p 0 00:00 0    [heap]", Some((0x1000, 0x2000, "[heap]", false)));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_left_out() {
        for line in
            ["", "-", "1000", "1000-2000", "2000-1000 r--p 0 0:0 0 /x", "zz-yy r--p 0 0:0 0", "1-2 r 0 0 0"]
        {
            check(line, None);
        }
        check("1000-20000000000000000 r--p 0 0:0 0 /x", None);
    }

    #[test]
    fn an_address_is_found_in_its_mapping_and_not_beside_it() {
        let maps = Maps::parse(b"1000-2000 r--p 0 0:0 1 /a\n3000-4000 rw-p 1000 0:0 1 /a\n");
        let found = [0xfff, 0x1000, 0x1fff, 0x2000, 0x3000, 0x4000].map(|a| maps.at(a).map(|m| m.start));
        assert_eq!(found, [None, Some(0x1000), Some(0x1000), None, Some(0x3000), None]);
    }
}
