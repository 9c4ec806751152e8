//! Makes a layout from the DWARF of a CPython.

pub mod dwarf;
pub mod facts;
pub mod keys;
mod text;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};

use super::file::{Build, Flag};
use super::{Arch, Fact, Layout, Version};
use dwarf::{BadDwarf, Sections, Types};
pub use text::{Overlay, tables, write};

/// What a layout is made from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The executable or library that holds the interpreter.
    pub elf: PathBuf,
    /// The file with its DWARF, where that is detached.
    pub debug: Option<PathBuf>,
    /// Extension modules whose structs are wanted too: `_asyncio`, `mmap`. Where one is stripped, the directory
    /// `.build-id` above `debug` is asked for its detached DWARF.
    pub modules: Vec<PathBuf>,
    /// Its version, where it cannot be found in `elf`.
    pub python: Option<Version>,
}

/// All that the DWARF of a build says, and the facts that go with it.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Offsets and facts.
    pub layout: Layout,
    /// Why each fact holds.
    pub reasons: BTreeMap<String, String>,
    /// The version.
    pub version: Version,
    /// The machine.
    pub arch: Arch,
    /// How it differs from a plain build.
    pub flags: BTreeSet<Flag>,
    /// What can be seen of it from outside.
    pub build: Build,
    /// Keys for which parts of the program say different things, in words.
    pub conflicts: Vec<String>,
    /// The tables of offsets that it carries: struct, size, groups of fields with their positions.
    pub tables: Vec<OffsetTable>,
}

/// Where the fields of a table of offsets lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetTable {
    /// The struct's name in C.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Group, and its fields with their positions; fields without a group are in `header`.
    pub groups: Vec<(String, Vec<(String, u64)>)>,
}

/// No layout can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A file is not an ELF file of a kind that we know.
    #[error("{} is not an ELF file that we can read: {reason}", path.display())]
    NotElf {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its DWARF is not there or broken.
    #[error("cannot read the DWARF of {}: {reason}", path.display())]
    Dwarf {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: BadDwarf,
    },
    /// It has DWARF, but not of a CPython.
    #[error("{}: its DWARF has no PyInterpreterState: it is not a CPython", path.display())]
    NotPython {
        /// Which file.
        path: PathBuf,
    },
    /// Its version cannot be found.
    #[error("{}: its version cannot be told; found {found}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The candidates.
        found: String,
    },
    /// The hand-written facts are broken.
    #[error(transparent)]
    Facts(#[from] facts::BadFacts),
}

/// Makes a layout.
pub fn derive(sources: &Sources) -> Result<Derived, Error> {
    let bytes = read(&sources.elf)?;
    let elf = parse(&sources.elf, &bytes)?;
    let debug_path = sources.debug.as_ref().unwrap_or(&sources.elf);
    let debug_bytes = read(debug_path)?;
    let debug = parse(debug_path, &debug_bytes)?;

    let mut found = Findings::default();
    found.read(debug_path, &debug)?;
    if !found.layout.keys().any(|(section, key, _)| (section, key) == ("interp", "next")) {
        return Err(Error::NotPython { path: debug_path.clone() });
    }
    for path in &sources.modules {
        let bytes = read(path)?;
        let module = parse(path, &bytes)?;
        if module.section_by_name(".debug_info").is_some() {
            found.read(path, &module)?;
            continue;
        }
        let detached = detached(&module, debug_path).unwrap_or_else(|| path.clone());
        let bytes = read(&detached)?;
        found.read(&detached, &parse(&detached, &bytes)?)?;
    }

    let symbols = symbol_sizes(&[&elf, &debug]);
    let version = match sources.python {
        Some(version) => version,
        None => version(&sources.elf, &elf)?,
    };
    let arch = match elf.architecture() {
        object::Architecture::X86_64 => Arch::X86_64,
        object::Architecture::Aarch64 => Arch::Aarch64,
        other => return Err(Error::NotElf { path: sources.elf.clone(), reason: format!("{other:?}") }),
    };
    let mut flags = BTreeSet::new();
    let has = |section, key| found.layout.key(section, key).is_some();
    if elf.symbols().chain(elf.dynamic_symbols()).any(|symbol| symbol.name() == Ok(DEBUG_SYMBOL)) {
        flags.insert(Flag::Debug);
    }
    if has("object", "tid") {
        flags.insert(Flag::FreeThreaded);
    }
    if has("object", "trace_next") {
        flags.insert(Flag::TraceRefs);
    }

    let mut derived = Derived {
        reasons: BTreeMap::new(),
        version,
        arch,
        build: Build {
            version: version.to_string(),
            vendor: String::new(),
            build_id: elf.build_id().ok().flatten().map(hex),
            symbols,
            debug_offsets: BTreeMap::new(),
        },
        conflicts: found.conflicts,
        tables: found.tables,
        layout: found.layout,
        flags,
    };
    derived.settle()?;
    Ok(derived)
}

/// Exported where `Py_REF_DEBUG` is on, which `--with-pydebug` brings (Include/object.h, later Include/refcount.h).
const DEBUG_SYMBOL: &str = "_Py_NegativeRefcount";

#[derive(Default)]
struct Findings {
    layout: Layout,
    conflicts: Vec<String>,
    tables: Vec<OffsetTable>,
}

impl Findings {
    /// Adds what the DWARF of one more file says and no file before it.
    fn read(&mut self, path: &Path, file: &object::File<'_>) -> Result<(), Error> {
        self.read_types(file).map_err(|reason| Error::Dwarf { path: path.to_owned(), reason })
    }

    fn read_types(&mut self, file: &object::File<'_>) -> Result<(), BadDwarf> {
        let sections = Sections::load(file)?;
        let types = Types::index(&sections, keys::ENUMERATORS)?;
        for &(section, keys) in keys::KEYS {
            for &(key, paths) in keys {
                if self.layout.key(section, key).is_some() {
                    continue;
                }
                for &path in paths {
                    let Some(found) = types.find(path)? else { continue };
                    self.layout.set(section, key, found.value);
                    if !found.others.is_empty() {
                        self.conflicts.push(format!(
                            "{section}.{key} ({path}): {}, also {:?}",
                            found.value, found.others
                        ));
                    }
                    break;
                }
            }
        }
        for (name, value) in types.enumerators() {
            if self.layout.key("enums", name).is_none() {
                self.layout.set("enums", name, *value);
            }
        }
        for &name in keys::OFFSET_TABLES {
            self.read_table(&types, name)?;
        }
        Ok(())
    }

    fn read_table(&mut self, types: &Types<'_>, name: &str) -> Result<(), BadDwarf> {
        let Some(size) = types.find(&format!("{name}#size"))? else { return Ok(()) };
        if self.tables.iter().any(|table| table.name == name) {
            return Ok(());
        }
        let mut table =
            OffsetTable { name: name.into(), size: size.value.cast_unsigned(), groups: Vec::new() };
        let mut header = Vec::new();
        for group in types.groups(name)? {
            match group.name.as_str() {
                "cookie" => {}
                _ if group.fields.is_empty() => header.push((group.name, group.position)),
                _ => table.groups.push((group.name, group.fields)),
            }
        }
        if !header.is_empty() {
            table.groups.insert(0, ("header".into(), header));
        }
        self.tables.push(table);
        Ok(())
    }
}

impl Derived {
    /// Adds the facts of this version, and what follows from what was measured.
    fn settle(&mut self) -> Result<(), Error> {
        let python = (self.version.major, self.version.minor);
        for fact in facts::resolve(python, self.flags.contains(&Flag::FreeThreaded))? {
            self.layout.set_fact(&fact.name, fact.fact);
            self.reasons.insert(fact.name, fact.why);
        }
        // Vendors change the alignment of blocks. `usedpools` has two pointers a size class, so its length tells.
        let symbol = self.build.symbols.get("usedpools").map(|bytes| bytes.cast_signed() / 8);
        let small = self.layout.fact::<i64>("small.threshold").ok();
        let classes = symbol.or(self.layout.key("obmalloc", "used_count"));
        if let (Some(small), Some(pointers @ 1..)) = (small, classes) {
            self.layout.set_fact("block.align", Fact::Number(small * 2 / pointers));
            self.reasons.insert(
                "block.align".into(),
                format!("measured: usedpools has {pointers} pointers, two a size class"),
            );
        }
        if self.tables.iter().any(|table| table.name == keys::OFFSET_TABLES[0])
            && let Some(size) = self.layout.key("gc", "size")
        {
            self.build.debug_offsets.insert("gc.size".into(), size.cast_unsigned());
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|reason| Error::Unreadable { path: path.to_owned(), reason })
}

fn parse<'f>(path: &Path, bytes: &'f [u8]) -> Result<object::File<'f>, Error> {
    let not = |reason: String| Error::NotElf { path: path.to_owned(), reason };
    let file = object::File::parse(bytes).map_err(|error| not(error.to_string()))?;
    if !file.is_64() || !file.is_little_endian() {
        return Err(not("it is not of 64 bits, little-endian".into()));
    }
    Ok(file)
}

/// Where the DWARF of a stripped module is, if it is in the same `.build-id` as `debug`.
fn detached(module: &object::File<'_>, debug: &Path) -> Option<PathBuf> {
    let id = hex(module.build_id().ok()??);
    let root = debug.ancestors().find(|path| path.ends_with(".build-id"))?;
    Some(root.join(id.get(..2)?).join(format!("{}.debug", id.get(2..)?)))
}

/// The sizes of the symbols that tell builds apart, from the first file that has them.
fn symbol_sizes(files: &[&object::File<'_>]) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for file in files {
        for symbol in file.dynamic_symbols().chain(file.symbols()) {
            let Ok(name) = symbol.name() else { continue };
            // Link-time optimisation gives statics names such as `usedpools.lto_priv.0`.
            let name = name.split('.').next().unwrap_or(name);
            if symbol.size() > 0 && keys::SYMBOLS.contains(&name) {
                sizes.entry(name.to_owned()).or_insert(symbol.size());
            }
        }
    }
    sizes
}

/// Finds the version: `Py_Version` (3.11 and later), else the one string that ends like one.
fn version(path: &Path, elf: &object::File<'_>) -> Result<Version, Error> {
    let symbol = elf.dynamic_symbols().chain(elf.symbols()).find(|symbol| symbol.name() == Ok("Py_Version"));
    if let Some(symbol) = symbol
        && let Some(section) = symbol.section_index().and_then(|index| elf.section_by_index(index).ok())
        && let Ok(Some(bytes)) = section.data_range(symbol.address(), 4)
        && let Ok(bytes) = bytes.try_into()
    {
        return Ok(Version::from_hex(u32::from_le_bytes(bytes)));
    }
    let section = elf.section_by_name(".rodata").and_then(|section| section.data().ok()).unwrap_or_default();
    let mut versions = BTreeSet::new();
    for text in section.split(|byte| *byte == 0) {
        // The linker lets a string begin inside another with the same end, such as `/opt/python-3.9.18`.
        let start =
            text.iter().rposition(|byte| !b"0123456789.abrc+".contains(byte)).map_or(0, |last| last + 1);
        let Some(version) =
            text.get(start..).and_then(|text| std::str::from_utf8(text).ok()?.parse::<Version>().ok())
        else {
            continue;
        };
        if matches!((version.major, version.minor), (2, 7) | (3, 4..)) {
            versions.insert(version);
        }
    }
    let found: Vec<String> = versions.iter().map(Version::to_string).collect();
    match versions.iter().next() {
        Some(version) if versions.len() == 1 => Ok(*version),
        _ => Err(Error::Version {
            path: path.to_owned(),
            found: if found.is_empty() { "none".into() } else { found.join(", ") },
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
