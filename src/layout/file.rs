//! What a layout file is: TOML with the offsets and facts of one build, and which builds it serves.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::{Table, Value};

use super::{Arch, Fact, Layout, Version};

/// The format that this program reads and writes.
pub const FORMAT: i64 = 1;
/// No layout file is longer; what is longer is something else.
pub const MAX_BYTES: usize = 1 << 20;

/// The layout files within this program: name and text. A test holds that no file on disk is left out.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("2.7", include_str!("../../layouts/2.7.toml")),
    ("2.7-aarch64", include_str!("../../layouts/2.7-aarch64.toml")),
    ("3.6", include_str!("../../layouts/3.6.toml")),
    ("3.6-aarch64", include_str!("../../layouts/3.6-aarch64.toml")),
    ("3.6-upstream", include_str!("../../layouts/3.6-upstream.toml")),
    ("3.7", include_str!("../../layouts/3.7.toml")),
    ("3.7-aarch64", include_str!("../../layouts/3.7-aarch64.toml")),
    ("3.7.0", include_str!("../../layouts/3.7.0.toml")),
    ("3.8", include_str!("../../layouts/3.8.toml")),
    ("3.8-aarch64", include_str!("../../layouts/3.8-aarch64.toml")),
    ("3.9", include_str!("../../layouts/3.9.toml")),
    ("3.9-aarch64", include_str!("../../layouts/3.9-aarch64.toml")),
    ("3.10", include_str!("../../layouts/3.10.toml")),
    ("3.10-aarch64", include_str!("../../layouts/3.10-aarch64.toml")),
    ("3.11", include_str!("../../layouts/3.11.toml")),
    ("3.11-aarch64", include_str!("../../layouts/3.11-aarch64.toml")),
    ("3.11-debian", include_str!("../../layouts/3.11-debian.toml")),
    ("3.11d", include_str!("../../layouts/3.11d.toml")),
    ("3.12", include_str!("../../layouts/3.12.toml")),
    ("3.12-aarch64", include_str!("../../layouts/3.12-aarch64.toml")),
    ("3.13", include_str!("../../layouts/3.13.toml")),
    ("3.13-aarch64", include_str!("../../layouts/3.13-aarch64.toml")),
    ("3.13-debian", include_str!("../../layouts/3.13-debian.toml")),
    ("3.13.13", include_str!("../../layouts/3.13.13.toml")),
    ("3.13d", include_str!("../../layouts/3.13d.toml")),
    ("3.13t", include_str!("../../layouts/3.13t.toml")),
    ("3.14", include_str!("../../layouts/3.14.toml")),
    ("3.14-aarch64", include_str!("../../layouts/3.14-aarch64.toml")),
    ("3.14.0", include_str!("../../layouts/3.14.0.toml")),
    ("3.14.0-aarch64", include_str!("../../layouts/3.14.0-aarch64.toml")),
    ("3.14d", include_str!("../../layouts/3.14d.toml")),
    ("3.15", include_str!("../../layouts/3.15.toml")),
    ("3.15-aarch64", include_str!("../../layouts/3.15-aarch64.toml")),
    ("3.15d", include_str!("../../layouts/3.15d.toml")),
];

/// A layout file as it stands: an overlay holds only what differs from the file that it inherits from.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Its name, without `.toml`.
    pub name: String,
    /// Which builds it serves.
    pub meta: Meta,
    /// The builds that it was made from or proved against.
    pub builds: Vec<Build>,
    /// Its own offsets and facts.
    pub layout: Layout,
}

/// Which builds a layout serves, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The minor version: `(3, 13)`.
    pub python: (u8, u8),
    /// The machine.
    pub arch: Arch,
    /// How the build differs from a plain one.
    pub flags: BTreeSet<Flag>,
    /// The first full version that it serves; `None` for the first of its minor.
    pub from: Option<Version>,
    /// The last full version that it serves; `None` for the last of its minor.
    pub to: Option<Version>,
    /// The file that this one is an overlay of.
    pub inherits: Option<String>,
    /// Keys of the inherited file that these builds lack: section and key.
    pub without: Vec<(String, String)>,
    /// Why no build at hand proves it, if none does.
    pub computed: Option<String>,
}

/// A way to build CPython that changes its structs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// `--with-pydebug`.
    Debug,
    /// `--disable-gil`.
    FreeThreaded,
    /// `--with-trace-refs`, which until 3.12 put two more words before every object.
    TraceRefs,
}

impl Flag {
    /// Its name in a layout file.
    pub fn word(self) -> &'static str {
        match self {
            Flag::Debug => "debug",
            Flag::FreeThreaded => "free_threaded",
            Flag::TraceRefs => "trace_refs",
        }
    }
}

/// One build of CPython, by what can be seen of it from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Its full version.
    pub version: String,
    /// Who built it: `pyenv`, `debian`, `upstream`.
    pub vendor: String,
    /// Its GNU build id, in lower-case hex.
    #[serde(default)]
    pub build_id: Option<String>,
    /// Sizes of its symbols.
    #[serde(default)]
    pub symbols: BTreeMap<String, u64>,
    /// What its own `_Py_DebugOffsets` says, where that tells it from others: `gc.size`.
    #[serde(default)]
    pub debug_offsets: BTreeMap<String, u64>,
}

/// A file that is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("cannot read layout file {file}: {reason}")]
    Unreadable {
        /// Which file.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// It is longer than [`MAX_BYTES`].
    #[error("layout file {file} has {bytes} bytes, more than any layout")]
    Long {
        /// Which file.
        file: String,
        /// How long it is.
        bytes: usize,
    },
    /// It is not TOML, or a table of it is not as it should be.
    #[error("layout file {file}: {reason}")]
    Malformed {
        /// Which file.
        file: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// It inherits from a file that is not there.
    #[error("layout file {file} inherits {parent}, which is not there")]
    Orphan {
        /// Which file.
        file: String,
        /// What it asks for.
        parent: String,
    },
    /// It inherits from itself, over others or not.
    #[error("layout file {file} inherits itself: {path}")]
    Cycle {
        /// Which file.
        file: String,
        /// The way round.
        path: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMeta {
    format: i64,
    python: String,
    arch: String,
    #[serde(default)]
    flags: BTreeSet<Flag>,
    #[serde(default)]
    serves: Span,
    inherits: Option<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    computed: bool,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: Option<String>,
    to: Option<String>,
}

impl File {
    /// Reads the text of the file called `name`.
    pub fn parse(name: &str, text: &str) -> Result<File, BadFile> {
        if text.len() > MAX_BYTES {
            return Err(BadFile::Long { file: name.into(), bytes: text.len() });
        }
        let bad = |reason: String| BadFile::Malformed { file: name.into(), reason };
        let mut table: Table =
            text.parse().map_err(|error: toml::de::Error| bad(error.to_string().trim_end().to_owned()))?;
        let meta = table.remove("meta").ok_or_else(|| bad("it has no [meta]".into()))?;
        let meta: RawMeta = meta.try_into().map_err(|error| bad(format!("[meta] {}", line(&error))))?;
        let meta = meta.check().map_err(|reason| bad(format!("[meta] {reason}")))?;
        let builds: Vec<Build> = match table.remove("build") {
            Some(builds) => builds.try_into().map_err(|error| bad(format!("[[build]] {}", line(&error))))?,
            None => Vec::new(),
        };
        for build in &builds {
            let version: Version =
                build.version.parse().map_err(|error| bad(format!("[[build]] {error}")))?;
            if (version.major, version.minor) != meta.python {
                return Err(bad(format!("[[build]] {version} is not of the minor version in [meta]")));
            }
        }
        let mut layout = Layout::new(name);
        if let Some(facts) = table.remove("facts") {
            read_facts(&mut layout, facts).map_err(bad)?;
        }
        for (section, keys) in table {
            read_section(&mut layout, &section, keys).map_err(bad)?;
        }
        Ok(File { name: name.into(), meta, builds, layout })
    }

    /// Lays this file over the one that it inherits from.
    pub fn over(&self, mut layout: Layout) -> Layout {
        layout.name.clone_from(&self.name);
        for (section, key) in &self.meta.without {
            layout.remove(section, key);
        }
        layout.lay(&self.layout);
        layout
    }
}

impl RawMeta {
    fn check(self) -> Result<Meta, String> {
        if self.format != FORMAT {
            return Err(format!("format is {}, and this program reads {FORMAT}", self.format));
        }
        let python =
            minor(&self.python).ok_or_else(|| format!("python = {:?} is no minor version", self.python))?;
        let version = |text: Option<String>| match text {
            Some(text) => text.parse::<Version>().map(Some).map_err(|error| error.to_string()),
            None => Ok(None),
        };
        let mut without = Vec::new();
        for path in self.without {
            let (section, key) =
                path.split_once('.').ok_or_else(|| format!("without: {path:?} is no section.key"))?;
            without.push((section.to_owned(), key.to_owned()));
        }
        let computed = match (self.computed, self.reason) {
            (true, Some(reason)) => Some(reason),
            (true, None) => return Err("computed needs a reason".into()),
            (false, Some(_)) => return Err("a reason needs computed = true".into()),
            (false, None) => None,
        };
        Ok(Meta {
            python,
            arch: self.arch.parse().map_err(|()| format!("arch = {:?} is not known", self.arch))?,
            flags: self.flags,
            from: version(self.serves.from)?,
            to: version(self.serves.to)?,
            inherits: self.inherits,
            without,
            computed,
        })
    }
}

/// `3.13` as two numbers.
pub fn minor(text: &str) -> Option<(u8, u8)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn line(error: &toml::de::Error) -> String {
    error.message().to_owned()
}

fn read_section(layout: &mut Layout, section: &str, keys: Value) -> Result<(), String> {
    let Value::Table(keys) = keys else {
        return Err(format!("{section} is {}, and should be a section of numbers", keys.type_str()));
    };
    for (key, value) in keys {
        let Value::Integer(number) = value else {
            return Err(format!("[{section}] {key} is {}, and should be a whole number", value.type_str()));
        };
        layout.set(section, &key, number);
    }
    Ok(())
}

/// Facts have names of two parts, which TOML reads as a table in a table.
fn read_facts(layout: &mut Layout, facts: Value) -> Result<(), String> {
    let Value::Table(facts) = facts else {
        return Err(format!("facts is {}, and should be a section", facts.type_str()));
    };
    for (subject, facts) in facts {
        let Value::Table(facts) = facts else {
            return Err(format!("[facts] {subject} should have a name of two parts, such as lines.kind"));
        };
        for (name, value) in facts {
            let name = format!("{subject}.{name}");
            let fact = read_fact(&value).ok_or_else(|| {
                format!("[facts] {name} should be a word, a whole number, several, or true or false")
            })?;
            layout.set_fact(&name, fact);
        }
    }
    Ok(())
}

/// A fact as TOML has it.
pub(in crate::layout) fn read_fact(value: &Value) -> Option<Fact> {
    Some(match value {
        Value::String(text) => Fact::Text(text.clone()),
        Value::Integer(number) => Fact::Number(*number),
        Value::Boolean(truth) => Fact::Truth(*truth),
        Value::Array(numbers) => Fact::Numbers(numbers.iter().map(Value::as_integer).collect::<Option<_>>()?),
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = "[meta]\nformat = 1\npython = \"3.13\"\narch = \"x86_64\"\n";

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = File::parse("3.13", text).expect_err("this text is no layout").to_string();
        assert!(error.contains("3.13") && error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn a_file_that_is_no_layout_says_which_file_and_what_is_wrong() {
        check("", "it has no [meta]");
        check("x", "line 1");
        check("[meta]\nformat = 1\n[meta]", "line 3");
        check("[meta]\nformat = 1\narch = \"x86_64\"", "python");
        check(&META.replace("format = 1", "format = 2"), "format is 2");
        check(&META.replace("3.13", "3"), "no minor version");
        check(&META.replace("3.13", "3.999"), "no minor version");
        check(&META.replace("x86_64", "vax"), "\"vax\" is not known");
        check(&format!("{META}colour = 1"), "colour");
        check(&format!("{META}flags = [\"fast\"]"), "fast");
        check(&format!("{META}serves = {{ from = \"3\" }}"), "\"3\"");
        check(&format!("{META}computed = true"), "computed needs a reason");
        check(&format!("{META}reason = \"x\""), "needs computed");
        check(&format!("{META}without = [\"x\"]"), "no section.key");
        check(&format!("thread = 8\n{META}"), "should be a section of numbers");
        check(&format!("{META}[thread]\nnext = \"8\""), "[thread] next is string");
        check(&format!("{META}[thread]\nnext = 8.5"), "[thread] next is float");
        check(&format!("{META}[thread]\nnext = 99999999999999999999"), "line 6");
        check(&format!("{META}[thread.more]\nnext = 8"), "[thread] more is table");
        check(&format!("{META}[facts]\nlines = 1"), "two parts");
        check(&format!("{META}[facts]\na.b = 1.5"), "a.b should be");
        check(&format!("{META}[facts]\na.b.c = 1"), "a.b should be");
        check(&format!("{META}[[build]]\nversion = \"3.12.1\"\nvendor = \"x\""), "not of the minor version");
        check(&format!("{META}[[build]]\nvendor = \"x\""), "version");
        check(&format!("{META}#{}", "x".repeat(MAX_BYTES)), "bytes, more than any layout");
        check(&format!("{META}x = {}1{}", "[".repeat(10_000), "]".repeat(10_000)), "recursion");
    }

    #[test]
    fn a_file_gives_back_what_it_says() {
        let text = "[meta]\nformat = 1\npython = \"3.14\"\narch = \"aarch64\"\nflags = [\"debug\"]\n\
            serves = { from = \"3.14.0rc1\", to = \"3.14.4\" }\n[thread]\nnext = 8\n[enums]\nA = -3\n\
            [facts]\nlines.kind = \"locations\"\nframe.skip_owners = [3, 4]\nlines.signed = true\ngc_head.next_mask = -4\n";
        let file = File::parse("3.14.0", text).expect("this text is a layout");
        assert_eq!(file.meta.from.map(|version| version.to_string()).as_deref(), Some("3.14.0rc1"));
        assert_eq!(file.meta.flags, BTreeSet::from([Flag::Debug]));
        assert_eq!(file.layout.key("thread", "next"), Some(8));
        assert_eq!(file.layout.key("enums", "A"), Some(-3));
        assert_eq!(file.layout.fact::<u64>("gc_head.next_mask"), Ok(!3));
        assert_eq!(file.layout.fact::<Vec<i64>>("frame.skip_owners"), Ok(vec![3, 4]));
        assert_eq!(file.layout.fact::<bool>("lines.signed"), Ok(true));
    }

    #[test]
    fn every_layout_file_on_disk_is_within_the_program() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/layouts");
        let mut on_disk: Vec<String> = std::fs::read_dir(directory)
            .expect("layouts/ is there")
            .filter_map(|entry| entry.expect("layouts/ can be listed").file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .filter(|name| name != "facts")
            .collect();
        let mut embedded: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        on_disk.sort();
        embedded.sort();
        assert_eq!(embedded, on_disk);
        for (name, text) in EMBEDDED {
            File::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
