//! Which layout serves a build, and why.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::build::{Fingerprint, Version};
use super::catalogue::{Catalogue, Entry};
use super::file::Flag;
use super::{Layout, told};

/// `_Py_NoneStruct` is so long where every object has two more words in front, for `Py_TRACE_REFS`.
const TRACED_NONE: u64 = 32;
/// The last minor version in which `Py_TRACE_REFS` changes the objects (3.13 keeps them in a table instead).
const LAST_TRACED: (u8, u8) = (3, 12);
/// Sizes that are the same in too many builds to tell one from another.
const COMMON_SYMBOLS: [&str; 2] = ["PyType_Type", "_Py_NoneStruct"];

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
        let same = self.of(minor);
        if same.is_empty() {
            return self.newest(build).map(|chosen| vec![chosen]);
        }
        let mut flags = flags(build);
        let fits = |flags: &BTreeSet<Flag>| -> Vec<&Entry> {
            let fits = |entry: &&Entry| entry.meta.arch == build.arch && entry.meta.flags == *flags;
            same.iter().filter(fits).collect()
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
            let known: Vec<String> = self.minors().map(|(major, minor)| format!("{major}.{minor}")).collect();
            Refusal::Minor { version, known: known.join(", ") }
        };
        let table = self.tables.iter().max_by_key(|table| table.python).ok_or_else(unknown)?;
        let bytes = build.debug_offsets.as_ref().ok_or_else(unknown)?;
        if (version.major, version.minor) < table.python {
            return Err(unknown());
        }
        let flags = flags(build);
        let fits = |entry: &&Entry| entry.meta.arch == build.arch && entry.meta.flags == flags;
        let entry = self.of(table.python).iter().rfind(fits).ok_or_else(unknown)?;
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
    /// What the target tells of its structs' sizes is not another in all builds that it was made from.
    told_agrees: bool,
    /// It says that it serves the version.
    serves: bool,
    /// No symbol of a build that it was made from has another size.
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
            told_agrees: entry.builds.is_empty(),
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
            let (mut agree, mut telling, mut told_agrees) = (true, false, true);
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
                    told_agrees &= found == *size;
                }
            }
            agree &= told_agrees;
            rank.told_agrees |= told_agrees;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::layout::Arch;

    fn build(version: &str) -> Fingerprint {
        Fingerprint {
            version: version.parse().expect("a version"),
            arch: Arch::X86_64,
            free_threaded: false,
            debug: false,
            build_id: None,
            symbol_sizes: BTreeMap::new(),
            debug_offsets: None,
        }
    }

    fn with(mut build: Fingerprint, sizes: &[(&str, u64)]) -> Fingerprint {
        build.symbol_sizes = sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        build
    }

    #[track_caller]
    fn check(build: &Fingerprint, expected: &str, why: &Why) {
        let catalogue = Catalogue::load(None).expect("our own files are well-formed");
        let chosen = catalogue.choose(build).expect("a layout serves it");
        assert_eq!((chosen.layout.name.as_str(), &chosen.why), (expected, why));
    }

    #[track_caller]
    fn refused(build: &Fingerprint, expected: &str) {
        let catalogue = Catalogue::load(None).expect("our own files are well-formed");
        let refusal = catalogue.choose(build).expect_err("no layout serves it").to_string();
        assert!(refusal.contains(expected), "{refusal:?} lacks {expected:?}");
    }

    #[test]
    fn a_build_id_is_sure_whatever_else_is_said() {
        let mut build = build("3.13.2");
        build.build_id = Some("01bf30f984912a8c43fd4d623013c511c27e73c9".into());
        check(&build, "3.13-debian", &Why::SameBuild);
    }

    #[test]
    fn sizes_tell_builds_apart_that_have_one_version() {
        let sizes = [("PyType_Type", 400), ("generations", 96), ("usedpools", 1024)];
        check(&with(build("3.6.15"), &sizes), "3.6-upstream", &Why::SameSizes);
        let sizes = [("PyType_Type", 400), ("generations", 144), ("usedpools", 512)];
        check(&with(build("3.6.2"), &sizes), "3.6", &Why::SameSizes);
        check(&with(build("3.7.2"), &[("_PyRuntime", 1432)]), "3.7.0", &Why::SameSizes);
        // Too many builds have this size for it to say anything.
        check(&with(build("3.11.9"), &[("PyType_Type", 408)]), "3.11", &Why::SameMinor);
    }

    #[test]
    fn an_unknown_patch_of_a_known_minor_has_the_nearest_layout_that_serves_it() {
        check(&build("2.7.5"), "2.7", &Why::SameMinor);
        check(&build("3.7.3"), "3.7.0", &Why::SameMinor);
        check(&build("3.7.4"), "3.7", &Why::SameMinor);
        check(&build("3.11.3"), "3.11-debian", &Why::SameMinor);
        check(&build("3.13.9"), "3.13", &Why::SameMinor);
        check(&build("3.13.99"), "3.13-debian", &Why::SameMinor);
        check(&build("3.14.0rc2"), "3.14.0", &Why::SameMinor);
        check(&build("3.14.4"), "3.14.0", &Why::SameMinor);
        check(&build("3.14.5"), "3.14", &Why::SameMinor);
    }

    #[test]
    fn a_machine_has_its_own_layouts() {
        let mut build = build("3.14.2");
        build.arch = Arch::Aarch64;
        check(&build, "3.14.0-aarch64", &Why::SameMinor);
        build.version = Version::release(3, 12, 7);
        check(&build, "3.12-aarch64", &Why::SameMinor);
        build.free_threaded = true;
        refused(
            &build,
            "no layout for Python 3.12.7 built as aarch64, free-threaded; there are 3.12, 3.12-aarch64",
        );
    }

    #[test]
    fn a_debug_build_has_its_own_layout_or_that_of_the_plain_one() {
        let mut debug = build("3.13.15");
        debug.debug = true;
        check(&debug, "3.13d", &Why::SameMinor);
        debug.version = Version::release(3, 9, 2);
        check(&debug, "3.9", &Why::SameMinor);
        refused(&with(debug, &[("_Py_NoneStruct", 32)]), "built as x86_64, debug, trace-refs");
        let mut threaded = build("3.13.1");
        threaded.free_threaded = true;
        threaded = with(threaded, &[("_Py_NoneStruct", 32)]);
        check(&threaded, "3.13t", &Why::SameMinor);
    }

    #[test]
    fn the_size_of_the_collectors_state_tells_3_14_0_from_3_14_5_whatever_the_version_says() {
        let catalogue = Catalogue::load(None).expect("our own files are well-formed");
        for (version, gc_size, expected) in [("3.14.5", 240, "3.14.0"), ("3.14.4", 264, "3.14")] {
            let fields = [("gc", "size", gc_size), ("interpreter_state", "gil_runtime_state", 0)];
            let mut build = build(version);
            build.debug_offsets = Some(told::tests::bytes(&catalogue.tables[1], 0x030e_04f0, &fields));
            let chosen = catalogue.choose(&build).expect("a layout serves it");
            assert_eq!(chosen.layout.name, expected);
            assert_eq!(catalogue.candidates(&build).expect("layouts serve it").len(), 2);
        }
    }

    #[test]
    fn an_unknown_minor_is_refused_unless_it_describes_itself() {
        refused(&build("3.5.2"), "no layout for Python 3.5.2; there are 2.7, 3.6, 3.7,");
        refused(&build("3.16.0"), "no layout for Python 3.16.0");
        let mut newer = build("3.16.0");
        newer.debug_offsets = Some(vec![0; 1000]);
        refused(&newer, "no layout for Python 3.16.0, and its debug offsets do not begin with the cookie");

        let catalogue = Catalogue::load(None).expect("our own files are well-formed");
        let table = catalogue.tables.last().expect("there are tables");
        newer.debug_offsets = Some(told::tests::bytes(table, 0x0310_00f0, &[("thread_state", "next", 24)]));
        check(&newer, "3.15", &Why::Newest);
        let chosen = catalogue.choose(&newer).expect("it describes itself");
        assert_eq!(chosen.layout.key("thread", "next"), Some(24));
        assert!(chosen.told.contains(&Told {
            section: "thread".into(),
            key: "next".into(),
            file: Some(8),
            target: 24
        }));
        newer.arch = Arch::Aarch64;
        check(&newer, "3.15-aarch64", &Why::Newest);
        // What is older than all that describe themselves cannot be tried.
        newer.version = Version::release(3, 5, 0);
        refused(&newer, "no layout for Python 3.5.0");
    }

    #[test]
    fn a_layout_stays_as_its_file_says_where_the_target_is_not_to_be_believed() {
        let mut build = build("3.13.0");
        build.debug_offsets = Some(b"xdebugpy".to_vec());
        let catalogue = Catalogue::load(None).expect("our own files are well-formed");
        let chosen = catalogue.choose(&build).expect("a layout serves it");
        assert_eq!(chosen.rejected, Some(told::Rejected::Short { bytes: 8, size: 584 }));
        assert_eq!(Some(&chosen.layout), catalogue.named("3.13").map(|entry| &entry.layout));
    }
}
