//! All layouts that there are: those within the program, and those of a directory that add to them or replace them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::file::{self, BadFile, Build, File, Meta};
use super::{Layout, told};

/// All layouts, each whole: what it inherits is laid under it.
#[derive(Debug, Clone)]
pub struct Catalogue {
    pub(super) entries: Vec<Entry>,
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
        let mut files = BTreeMap::new();
        for (name, text) in file::EMBEDDED {
            files.insert((*name).to_owned(), (File::parse(name, text)?, false));
        }
        for (name, text) in directory.map(read_directory).transpose()?.unwrap_or_default() {
            let file = File::parse(&name, &text)?;
            files.insert(name, (file, true));
        }
        let tables = |texts: &[(&str, &str)]| {
            texts.iter().map(|(name, text)| told::Table::parse(name, text)).collect::<Result<Vec<_>, _>>()
        };
        let mut entries = Vec::new();
        for (file, added) in files.values() {
            let (layout, computed) = whole(&files, file)?;
            let (meta, builds) = (file.meta.clone(), file.builds.clone());
            entries.push(Entry { meta, builds, layout, computed, added: *added });
        }
        entries.sort_by(|a, b| (a.meta.python, &a.layout.name).cmp(&(b.meta.python, &b.layout.name)));
        let (tables, asyncio_tables) = (tables(told::EMBEDDED)?, tables(told::EMBEDDED_ASYNCIO)?);
        Ok(Catalogue { entries, tables, asyncio_tables })
    }

    /// All layouts, by version and name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the fields of a minor version's `.AsyncioDebug` lie; the newest known for one that is newer still.
    pub fn asyncio_table(&self, python: (u8, u8)) -> Option<&told::Table> {
        self.asyncio_tables.iter().filter(|table| table.python <= python).max_by_key(|table| table.python)
    }

    /// The layout of that name.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.layout.name == name)
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

/// A file laid over all that it inherits.
fn whole(files: &BTreeMap<String, (File, bool)>, file: &File) -> Result<(Layout, Option<String>), BadFile> {
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
    let layout = path.iter().rev().fold(Layout::default(), |layout, file| file.over(&layout));
    Ok((layout, computed))
}
