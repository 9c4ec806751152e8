//! How much of each mapping of a process lies in memory, and what it is made of: `/proc/PID/smaps`.

use super::maps::Mapping;

/// The most mappings that are kept (`vm.max_map_count` is 65,530 unless raised).
const MAX_MAPPINGS: usize = 1 << 20;
/// The most kibibytes that a mapping can have: what makes more is garbage.
const MAX_KIB: u64 = 1 << 44;
/// Where memory that processes share has its file, if it has one (Documentation/filesystems/tmpfs.rst).
const SHARED: &[&[u8]] = &[b"/dev/shm/", b"/memfd:", b"/SYSV", b"/dev/zero"];

/// What of a mapping lies in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// The mapping.
    pub mapping: Mapping,
    /// Bytes that lie in memory.
    pub bytes: u64,
    /// The same, those that several processes have divided by how many they are.
    pub proportional: u64,
    /// Of these bytes, those that no file stands behind: what the process wrote itself.
    pub anonymous: u64,
    /// Bytes that lie in swap.
    pub swapped: u64,
}

impl Resident {
    /// Reads the mappings that make sense and leaves out those that do not.
    pub fn parse(smaps: &[u8]) -> Vec<Resident> {
        let mut found: Vec<Resident> = Vec::new();
        for line in smaps.split(|byte| *byte == b'\n') {
            if let Some((field, bytes)) = amount(line) {
                let Some(last) = found.last_mut() else { continue };
                match field {
                    b"Rss" => last.bytes = bytes,
                    b"Pss" => last.proportional = bytes,
                    b"Anonymous" => last.anonymous = bytes.min(last.bytes),
                    b"Swap" => last.swapped = bytes,
                    _ => {}
                }
            } else if let Some(mapping) = Mapping::parse(line).filter(|_| found.len() < MAX_MAPPINGS) {
                found.push(Resident { mapping, bytes: 0, proportional: 0, anonymous: 0, swapped: 0 });
            }
        }
        found
    }

    /// Whether what stands behind it is memory that processes can share, not a file on a disk.
    pub fn shared(&self) -> bool {
        let path = std::os::unix::ffi::OsStrExt::as_bytes(self.mapping.path.as_os_str());
        self.mapping.file() && SHARED.iter().any(|prefix| path.starts_with(prefix))
    }
}

/// A line such as `Rss:    12 kB`, in bytes.
fn amount(line: &[u8]) -> Option<(&[u8], u64)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (field, rest) = line.split_at(colon);
    let number = rest.get(1..)?.trim_ascii().strip_suffix(b" kB")?;
    let kib: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    (kib < MAX_KIB).then_some((field, kib << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mapping_has_the_lines_below_it() {
        let text = b"Rss: 4 kB\n\
            1000-9000 r-xp 0 fe:01 7 /a: 5 kB\nSize: 32 kB\nRss:     16 kB\nPss:      4 kB\nPss_Dirty: 99 kB\n\
            Anonymous: 8 kB\nSwap: 4 kB\nVmFlags: rd ex\n\
            9000-a000 rw-s 0 00:01 8 /dev/zero (deleted)\nRss: 4 kB\nAnonymous: 99 kB\nPss: 999999999999999999 kB\n";
        let found = Resident::parse(text);
        let numbers: Vec<_> =
            found.iter().map(|r| (r.bytes, r.proportional, r.anonymous, r.swapped, r.shared())).collect();
        let kib = |kib: u64| kib << 10;
        assert_eq!(numbers, [(kib(16), kib(4), kib(8), kib(4), false), (kib(4), 0, kib(4), 0, true)]);
        assert_eq!(found[0].mapping.path.to_str(), Some("/a: 5 kB"));
    }
}
