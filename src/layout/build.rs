//! What can be seen of a build of CPython from outside: its version, its machine, how it was built.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A full version of CPython, as `PY_VERSION_HEX` packs it (Include/patchlevel.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// `3` of `3.13.1`.
    pub major: u8,
    /// `13` of `3.13.1`.
    pub minor: u8,
    /// `1` of `3.13.1`.
    pub micro: u8,
    /// `0xA` alpha, `0xB` beta, `0xC` release candidate, `0xF` final.
    pub level: u8,
    /// The number behind `a`, `b` or `rc`.
    pub serial: u8,
}

impl Version {
    /// A final release.
    pub const fn release(major: u8, minor: u8, micro: u8) -> Version {
        Version { major, minor, micro, level: 0xF, serial: 0 }
    }

    /// Unpacks `PY_VERSION_HEX`.
    pub const fn from_hex(hex: u32) -> Version {
        let [major, minor, micro, last] = hex.to_be_bytes();
        Version { major, minor, micro, level: last >> 4, serial: last & 0xF }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        match self.level {
            0xA => write!(f, "a{}", self.serial),
            0xB => write!(f, "b{}", self.serial),
            0xC => write!(f, "rc{}", self.serial),
            _ => Ok(()),
        }
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    /// Reads `3.13.1` and `3.15.0rc1`, as `Display` writes them; a `+` at the end (built between releases) is left out.
    fn from_str(text: &str) -> Result<Version, NoVersion> {
        let read = || {
            let mut parts = text.strip_suffix('+').unwrap_or(text).splitn(3, '.');
            let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let last = parts.next()?;
            let digits = last.find(|c: char| !c.is_ascii_digit()).unwrap_or(last.len());
            let (micro, rest) = last.split_at(digits);
            let split = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let (level, serial) = rest.split_at(split);
            let level = match level {
                "" => 0xF,
                "a" => 0xA,
                "b" => 0xB,
                "rc" => 0xC,
                _ => return None,
            };
            let serial = if level == 0xF { 0 } else { serial.parse().ok()? };
            Some(Version { major, minor, micro: micro.parse().ok()?, level, serial })
        };
        read().ok_or_else(|| NoVersion(text.into()))
    }
}

/// A text that is no full version of Python.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of Python such as 3.13.1 or 3.15.0rc1")]
pub struct NoVersion(String);

/// A machine architecture that layouts know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl FromStr for Arch {
    type Err = ();

    fn from_str(text: &str) -> Result<Arch, ()> {
        match text {
            "x86_64" => Ok(Arch::X86_64),
            "aarch64" => Ok(Arch::Aarch64),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        })
    }
}

/// Everything about a build that tells which layout serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its full version.
    pub version: Version,
    /// The machine that it was built for.
    pub arch: Arch,
    /// Built with `--disable-gil`.
    pub free_threaded: bool,
    /// Built with `--with-pydebug`.
    pub debug: bool,
    /// The GNU build id of the module that holds the interpreter, in lower-case hex.
    pub build_id: Option<String>,
    /// Sizes of the symbols that vary with the build: `_PyRuntime`, `PyType_Type`, `_Py_NoneStruct`, and where the file
    /// still has its own symbols `generations` and `usedpools`, which tell a patched 3.6 from another.
    pub symbol_sizes: BTreeMap<String, u64>,
    /// The bytes of the target's own `_Py_DebugOffsets`, from its cookie on, where it has one (3.13 and later).
    pub debug_offsets: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_reads_as_it_is_written() {
        for text in ["2.7.18", "3.15.0rc1", "3.16.0a7", "3.14.0b2"] {
            assert_eq!(text.parse::<Version>().map(|version| version.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("3.15.0rc1+".parse::<Version>(), "3.15.0rc1".parse());
        for text in ["", "3", "3.1", "3.1.", "3.1.2x", "3.1.2rc", "3.1.999", "x.1.2", "3.1.2.4"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
