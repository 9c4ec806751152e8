//! Which layout serves a build, and why.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::catalogue::{Catalogue, Entry};
use super::file::Flag;
use super::{Layout, told};

/// `_Py_NoneStruct` is so long where every object has two more words in front, for `Py_TRACE_REFS`.
const TRACED_NONE: u64 = 32;
/// The last minor version in which `Py_TRACE_REFS` changes the objects (3.13 keeps them in a table instead).
const LAST_TRACED: (u8, u8) = (3, 12);
/// Sizes that are the same in too many builds to tell one from another.
const COMMON_SYMBOLS: [&str; 2] = ["PyType_Type", "_Py_NoneStruct"];

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

/// The layout that serves a build.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The layout, with what the target told of itself on top.
    pub layout: Layout,
    /// Why it was chosen.
    pub why: Why,
    /// Why no build at hand proves this layout, if it was computed.
    pub computed: Option<String>,
    /// Every offset that the target itself told and that differs from the file.
    pub told: Vec<Told>,
    /// Why what the target says of itself was not believed; the file alone holds then.
    pub rejected: Option<told::Rejected>,
}

/// How a layout was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was made from this very build.
    SameBuild,
    /// All sizes that it names agree.
    SameSizes,
    /// It serves this minor version, and is the nearest.
    SameMinor,
    /// The minor version is unknown: the newest one's table of debug offsets was tried.
    Newest,
}

/// An offset that the target told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In which section.
    pub section: String,
    /// Which key.
    pub key: String,
    /// What the layout file says; `None` where it says nothing.
    pub file: Option<i64>,
    /// What the target says, which holds.
    pub target: i64,
}

/// No layout serves a build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The minor version is unknown, and the target does not describe itself.
    #[error("no layout for Python {version}; there are {known}")]
    Minor {
        /// The version of the target.
        version: Version,
        /// The minor versions that there are layouts for.
        known: String,
    },
    /// The minor version is known, but not on this machine or not built so.
    #[error("no layout for Python {version} built as {wanted}; there are {known}")]
    Build {
        /// The version of the target.
        version: Version,
        /// How it is built: `aarch64, debug`.
        wanted: String,
        /// The layouts of this minor version.
        known: String,
    },
    /// The minor version is unknown, and what the target says of itself is not to be believed.
    #[error("no layout for Python {version}, and {rejected}")]
    Untold {
        /// The version of the target.
        version: Version,
        /// What is wrong with its debug offsets.
        rejected: told::Rejected,
    },
}

impl Catalogue {
    /// The layout that serves a build best.
    pub fn choose(&self, build: &Fingerprint) -> Result<Chosen, Refusal> {
        self.candidates(build).map(|mut candidates| candidates.swap_remove(0))
    }

    /// All layouts that may serve a build, the best first and at least one: where its self-checks fail, the next may do.
    pub fn candidates(&self, build: &Fingerprint) -> Result<Vec<Chosen>, Refusal> {
        let minor = (build.version.major, build.version.minor);
        let same: Vec<&Entry> = self.entries.iter().filter(|entry| entry.meta.python == minor).collect();
        if same.is_empty() {
            return self.newest(build).map(|chosen| vec![chosen]);
        }
        let mut flags = flags(build);
        let fits = |flags: &BTreeSet<Flag>| -> Vec<&Entry> {
            let fits = |entry: &&Entry| entry.meta.arch == build.arch && entry.meta.flags == *flags;
            same.iter().copied().filter(fits).collect()
        };
        let mut fitting = fits(&flags);
        if fitting.is_empty() && flags.remove(&Flag::Debug) {
            // A debug build without a layout of its own: until 3.11 it differs in no offset, later in few.
            fitting = fits(&flags);
        }
        if fitting.is_empty() {
            let known: Vec<&str> = same.iter().map(|entry| entry.layout.name.as_str()).collect();
            return Err(Refusal::Build {
                version: build.version,
                wanted: describe(build),
                known: known.join(", "),
            });
        }
        let table = self.tables.iter().find(|table| table.python == minor);
        let mut ranked: Vec<(Rank, &Entry)> =
            fitting.iter().map(|entry| (Rank::of(entry, build, table), *entry)).collect();
        ranked.sort_by_key(|(rank, _)| Reverse(*rank));
        Ok(ranked.into_iter().map(|(rank, entry)| chosen(entry, rank.why(), build, table)).collect())
    }

    /// A layout of the newest minor version, for one that is newer still and describes itself.
    fn newest(&self, build: &Fingerprint) -> Result<Chosen, Refusal> {
        let version = build.version;
        let unknown = || {
            let known: BTreeSet<(u8, u8)> = self.entries.iter().map(|entry| entry.meta.python).collect();
            let known: Vec<String> = known.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
            Refusal::Minor { version, known: known.join(", ") }
        };
        let table = self.tables.iter().max_by_key(|table| table.python).ok_or_else(unknown)?;
        let bytes = build.debug_offsets.as_ref().ok_or_else(unknown)?;
        if (version.major, version.minor) < table.python {
            return Err(unknown());
        }
        let flags = flags(build);
        let fits = |entry: &&Entry| {
            entry.meta.python == table.python && entry.meta.arch == build.arch && entry.meta.flags == flags
        };
        let entry = self.entries.iter().filter(fits).next_back().ok_or_else(unknown)?;
        let mut layout = entry.layout.clone();
        let told = table
            .apply(&mut layout, bytes, true)
            .map_err(|rejected| Refusal::Untold { version, rejected })?;
        Ok(Chosen { layout, why: Why::Newest, computed: entry.computed.clone(), told, rejected: None })
    }
}

/// How well a layout serves a build, the greatest best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    same_build: bool,
    /// It says that it serves the version.
    serves: bool,
    /// No size that it names is another in the build.
    agrees: bool,
    /// A size that not every build has is the same.
    same_sizes: bool,
    /// The distance to the nearest build that it was made from.
    near: Reverse<u32>,
    /// The user added it.
    added: bool,
    /// A build proves it.
    proved: bool,
}

impl Rank {
    fn of(entry: &Entry, build: &Fingerprint, table: Option<&told::Table>) -> Rank {
        let mut rank = Rank {
            same_build: false,
            serves: entry.meta.from.is_none_or(|from| from <= build.version)
                && entry.meta.to.is_none_or(|to| build.version <= to),
            agrees: entry.builds.is_empty(),
            same_sizes: false,
            near: Reverse(u32::MAX),
            added: entry.added,
            proved: entry.computed.is_none(),
        };
        for known in &entry.builds {
            rank.same_build |= known.build_id.is_some() && known.build_id == build.build_id;
            let mut agree = true;
            let mut telling = false;
            for (symbol, size) in &known.symbols {
                if let Some(found) = build.symbol_sizes.get(symbol) {
                    agree &= found == size;
                    telling |= !COMMON_SYMBOLS.contains(&symbol.as_str());
                }
            }
            for (path, size) in &known.debug_offsets {
                let (group, field) = path.split_once('.').unwrap_or((path, ""));
                let bytes = build.debug_offsets.as_deref().unwrap_or_default();
                if let Some(found) = table.and_then(|table| table.get(bytes, group, field)) {
                    agree &= found == *size;
                }
            }
            rank.agrees |= agree;
            rank.same_sizes |= agree && telling;
            if let Ok(version) = known.version.parse::<Version>() {
                let distance = u32::from(version.micro.abs_diff(build.version.micro));
                rank.near = rank.near.max(Reverse(distance));
            }
        }
        rank
    }

    fn why(self) -> Why {
        if self.same_build {
            Why::SameBuild
        } else if self.serves && self.same_sizes {
            Why::SameSizes
        } else {
            Why::SameMinor
        }
    }
}

fn chosen(entry: &Entry, why: Why, build: &Fingerprint, table: Option<&told::Table>) -> Chosen {
    let mut layout = entry.layout.clone();
    let (mut told, mut rejected) = (Vec::new(), None);
    if let (Some(table), Some(bytes)) = (table, &build.debug_offsets) {
        match table.apply(&mut layout, bytes, false) {
            Ok(differences) => told = differences,
            Err(error) => rejected = Some(error),
        }
    }
    Chosen { layout, why, computed: entry.computed.clone(), told, rejected }
}

/// How a build differs from a plain one.
fn flags(build: &Fingerprint) -> BTreeSet<Flag> {
    let traced = !build.free_threaded
        && (build.version.major, build.version.minor) <= LAST_TRACED
        && build.symbol_sizes.get("_Py_NoneStruct") == Some(&TRACED_NONE);
    let flags =
        [(build.debug, Flag::Debug), (build.free_threaded, Flag::FreeThreaded), (traced, Flag::TraceRefs)];
    flags.into_iter().filter_map(|(on, flag)| on.then_some(flag)).collect()
}

fn describe(build: &Fingerprint) -> String {
    let flags = flags(build).into_iter().map(|flag| format!(", {}", flag.word().replace('_', "-")));
    format!("{}{}", build.arch, flags.collect::<String>())
}
