//! All layouts that there are: those within the program, and those of a directory that add to them or replace them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::file::{self, BadFile, Build, File, Meta};
use super::{Layout, told};

/// All layouts, each whole: what it inherits is laid under it. To read one minor version takes a tenth of the time that it takes
/// to read all, and most of us never look at another.
#[derive(Debug, Clone)]
pub struct Catalogue {
    minors: BTreeMap<(u8, u8), OnceLock<Vec<Entry>>>,
    pub(super) tables: Vec<told::Table>,
    asyncio_tables: Vec<told::Table>,
}

/// One layout of the catalogue.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which builds it serves.
    pub meta: Meta,
    /// The builds that it was made from or proved against.
    pub builds: Vec<Build>,
    /// Its offsets and facts, and those that it inherits.
    pub layout: Layout,
    /// Why no build at hand proves it: its own reason, or that of a file that it inherits.
    pub computed: Option<String>,
    /// It comes from the directory that the user named.
    pub added: bool,
}

impl Catalogue {
    /// The layouts within the program, and those in `directory`: a file there with the name of one of ours replaces it.
    pub fn load(directory: Option<&Path>) -> Result<Catalogue, BadFile> {
        let mut minors: BTreeMap<(u8, u8), OnceLock<Vec<Entry>>> = BTreeMap::new();
        if let Some(directory) = directory {
            // What is wrong with any of them is to be said at once.
            let mut files = embedded(|_| true)?;
            for (name, text) in read_directory(directory)? {
                files.insert(name.clone(), (File::parse(&name, &text)?, true));
            }
            let mut entries: BTreeMap<(u8, u8), Vec<Entry>> = BTreeMap::new();
            for entry in whole(&files)? {
                entries.entry(entry.meta.python).or_default().push(entry);
            }
            minors.extend(entries.into_iter().map(|(minor, entries)| (minor, OnceLock::from(entries))));
        } else {
            minors.extend(file::EMBEDDED.iter().map(|(name, _)| (minor(name), OnceLock::new())));
        }
        let tables = |texts: &[(&str, &str)]| {
            texts.iter().map(|(name, text)| told::Table::parse(name, text)).collect::<Result<Vec<_>, _>>()
        };
        let (tables, asyncio_tables) = (tables(told::EMBEDDED)?, tables(told::EMBEDDED_ASYNCIO)?);
        Ok(Catalogue { minors, tables, asyncio_tables })
    }

    /// All layouts, by version and name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.minors.keys().flat_map(|minor| self.of(*minor))
    }

    /// The layouts of a minor version, by name.
    pub fn of(&self, python: (u8, u8)) -> &[Entry] {
        // Those within the program are well-formed: a test reads them all.
        let read =
            || embedded(|name| minor(name) == python).and_then(|files| whole(&files)).unwrap_or_default();
        self.minors.get(&python).map_or(&[], |entries| entries.get_or_init(read))
    }

    /// The minor versions that there are layouts for.
    pub fn minors(&self) -> impl Iterator<Item = (u8, u8)> {
        self.minors.keys().copied()
    }

    /// Where the fields of a minor version's `.AsyncioDebug` lie; the newest known for one that is newer still.
    pub fn asyncio_table(&self, python: (u8, u8)) -> Option<&told::Table> {
        self.asyncio_tables.iter().filter(|table| table.python <= python).max_by_key(|table| table.python)
    }

    /// The layout of that name.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.entries().find(|entry| entry.layout.name == name)
    }
}

/// Names and texts of the layout files in a directory.
fn read_directory(directory: &Path) -> Result<Vec<(String, String)>, BadFile> {
    let unreadable = |path: &Path, error: std::io::Error| BadFile::Unreadable {
        file: path.display().to_string(),
        reason: error.to_string(),
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".toml")) else {
            continue;
        };
        if name == "facts" || !path.is_file() {
            continue;
        }
        // Looked at before it is read: the directory is the user's, and a file in it may be anything.
        let bytes = fs::metadata(&path).map_err(|error| unreadable(&path, error))?.len();
        if bytes > file::MAX_BYTES as u64 {
            return Err(BadFile::Long { file: path.display().to_string(), bytes: bytes as usize });
        }
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        files.push((name.to_owned(), text));
    }
    files.sort();
    Ok(files)
}

/// The minor version that a file within the program is for, by its name: none of them inherits from another's.
fn minor(name: &str) -> (u8, u8) {
    let mut numbers = name.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Those of the files within the program whose names are asked for.
fn embedded(is_asked: impl Fn(&str) -> bool) -> Result<BTreeMap<String, (File, bool)>, BadFile> {
    let asked = file::EMBEDDED.iter().filter(|(name, _)| is_asked(name));
    asked.map(|(name, text)| Ok(((*name).to_owned(), (File::parse(name, text)?, false)))).collect()
}

/// All of some files, each laid over all that it inherits.
fn whole(files: &BTreeMap<String, (File, bool)>) -> Result<Vec<Entry>, BadFile> {
    let mut entries = Vec::new();
    for (file, added) in files.values() {
        let (layout, computed) = over(files, file)?;
        let (meta, builds) = (file.meta.clone(), file.builds.clone());
        entries.push(Entry { meta, builds, layout, computed, added: *added });
    }
    Ok(entries)
}

/// A file laid over all that it inherits.
fn over(files: &BTreeMap<String, (File, bool)>, file: &File) -> Result<(Layout, Option<String>), BadFile> {
    let mut path = vec![file];
    while let Some(parent) = path.last().and_then(|file| file.meta.inherits.as_ref()) {
        let orphan = || BadFile::Orphan { file: file.name.clone(), parent: parent.clone() };
        let (parent, _) = files.get(parent).ok_or_else(orphan)?;
        let cycle = path.iter().any(|file| file.name == parent.name);
        path.push(parent);
        if cycle {
            let names: Vec<&str> = path.iter().map(|file| file.name.as_str()).collect();
            return Err(BadFile::Cycle { file: file.name.clone(), path: names.join(", ") });
        }
    }
    let computed = path.iter().find_map(|file| file.meta.computed.clone());
    let layout = path.iter().rev().fold(Layout::default(), |layout, file| file.over(layout));
    Ok((layout, computed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a directory with these files and says what is wrong with it.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &str) {
        let error = load(files).expect_err("these files do not fit together").to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    fn load(files: &[(&str, &str)]) -> Result<Catalogue, BadFile> {
        let directory = tempfile::tempdir().expect("a directory can be made");
        for (name, rest) in files {
            let text = format!("[meta]\nformat = 1\npython = \"3.13\"\narch = \"x86_64\"\n{rest}");
            fs::write(directory.path().join(name), text).expect("it can be written to");
        }
        Catalogue::load(Some(directory.path()))
    }

    #[test]
    fn files_that_do_not_fit_together_are_named() {
        check(&[("a.toml", "inherits = \"b\"")], "file a inherits b, which is not there");
        check(&[("a.toml", "inherits = \"a\"")], "file a inherits itself: a, a");
        let cycle =
            [("a.toml", "inherits = \"b\""), ("b.toml", "inherits = \"c\""), ("c.toml", "inherits = \"b\"")];
        check(&cycle, "inherits itself: a, b, c, b");
        check(&[("a.toml", "[x]\ny = true")], "layout file a: [x] y is boolean");
        let missing = Catalogue::load(Some(Path::new("/nowhere"))).expect_err("there is no such directory");
        assert!(missing.to_string().contains("cannot read layout file /nowhere"), "{missing}");
    }

    #[test]
    fn a_file_of_the_users_adds_to_ours_or_replaces_the_one_of_its_name() {
        let files = [
            ("3.13.toml", "[thread]\nnext = 77\nprev = 7\n[facts]\nlines.kind = \"x\""),
            ("mine.toml", "inherits = \"3.13\"\nwithout = [\"thread.prev\"]\n[thread]\nid = 9"),
            ("notes.txt", "this is no layout"),
        ];
        let catalogue = load(&files).expect("these files are layouts");
        let mine = catalogue.named("mine").expect("it was added");
        assert!(mine.added);
        assert_eq!(mine.layout.key("thread", "next"), Some(77));
        assert_eq!(mine.layout.key("thread", "prev"), None);
        assert_eq!(mine.layout.key("thread", "id"), Some(9));
        assert_eq!(mine.layout.fact::<String>("lines.kind").as_deref(), Ok("x"));
        let debian = catalogue.named("3.13-debian").expect("ours stay");
        assert_eq!(debian.layout.key("thread", "next"), Some(77), "ours inherit from the replaced one too");
    }

    #[test]
    fn our_own_files_are_well_formed_and_found_by_the_minor_version_in_their_names() {
        let all = whole(&embedded(|_| true).expect("each is well-formed")).expect("they fit together");
        let catalogue = Catalogue::load(None).expect("there is no other directory");
        let names = |entry: &Entry| (entry.meta.python, entry.layout.name.clone());
        let mut expected: Vec<_> = all.iter().map(names).collect();
        expected.sort();
        assert_eq!(catalogue.entries().map(names).collect::<Vec<_>>(), expected);
        for minor in catalogue.minors() {
            assert!(catalogue.of(minor).iter().all(|entry| entry.meta.python == minor), "{minor:?}");
        }
    }

    #[test]
    fn what_is_computed_says_so_with_all_that_inherit_it() {
        let catalogue = Catalogue::load(None).expect("there is no other directory");
        for entry in catalogue.entries() {
            let expected = entry.meta.arch == crate::layout::Arch::Aarch64
                || ["3.6-upstream", "3.7.0", "3.13.13", "3.14.0"].contains(&entry.layout.name.as_str());
            assert_eq!(entry.computed.is_some(), expected, "{}", entry.layout.name);
        }
    }

    /// What lies behind `after` in the interpreter is moved by `by`, and so are the interpreter's size and free lists.
    #[track_caller]
    fn moved(name: &str, after: &str, by: i64) {
        let catalogue = Catalogue::load(None).expect("our own files are well-formed");
        let entry = catalogue.named(name).expect("there is such a layout");
        let parent =
            entry.meta.inherits.as_deref().and_then(|name| catalogue.named(name)).expect("it is an overlay");
        let after = parent.layout.key("interp", after).expect("the parent has that field");
        let mut count = 0;
        for (section, key, value) in parent.layout.keys() {
            let counts = ["tuples_kinds", "list_size"].contains(&key);
            if value > after && !counts && ["interp", "freelists"].contains(&section) {
                assert_eq!(entry.layout.key(section, key), Some(value + by), "{name}: {section}.{key}");
                count += 1;
            }
        }
        assert!(count > 10, "{name}: only {count} keys lie behind");
    }

    #[test]
    fn computed_overlays_follow_their_rules() {
        for name in ["3.12-aarch64", "3.13-aarch64", "3.14-aarch64", "3.14.0-aarch64", "3.15-aarch64"] {
            moved(name, "own_gil", 16);
        }
        moved("3.14.0", "gc", -24);
    }
}
