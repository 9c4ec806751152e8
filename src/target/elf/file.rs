//! What of a module is only in its file: sections and the symbols that are not exported.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use object::LittleEndian;
use object::elf::{FileHeader64, SHT_SYMTAB, STT_FILE, STT_TLS, SectionHeader64};
use object::read::elf::{FileHeader, SectionHeader, SectionTable, Sym};
use object::read::{ReadCache, ReadRef};

use super::{Image, Segment, Symbol};
use crate::memory::{Addr, Memory};
use crate::target::maps::Mapping;
use crate::target::process::Process;

type Cache = ReadCache<File>;
type Sections<'a> = SectionTable<'a, FileHeader64<LittleEndian>, &'a Cache>;

const LE: LittleEndian = LittleEndian;
/// How much of a file's beginning is compared with the target's memory: header, program headers, build id.
const COMPARED: u64 = 4096;
/// The largest symbol table, or table of their names, that is read.
const MAX_TABLE: u64 = 256 << 20;

/// The file that a module was loaded from. Only what is asked for is read.
#[derive(Debug)]
pub struct ElfFile {
    cache: Cache,
    /// Where it was opened.
    pub opened: PathBuf,
    bias: u64,
}

impl ElfFile {
    /// Opens the very file that is mapped at `first`, the mapping of its beginning. `None` where it is out of reach.
    ///
    /// The path in `maps` belongs to the target's mount namespace and may mean another file by now, so whatever opens
    /// is compared with what is mapped. A file that is no regular one is not opened: doing so could block or act.
    pub fn open(process: &Process, image: &Image, first: &Mapping) -> Option<ElfFile> {
        places(process, first).into_iter().find_map(|path| {
            let file = open_regular(&path)?;
            same_file(&file, process.memory(), first).then_some(())?;
            Some(ElfFile { cache: ReadCache::new(file), opened: path, bias: image.bias })
        })
    }

    /// Where a section was loaded.
    pub fn section(&self, name: &str) -> Option<Segment> {
        let (_, section) = self.sections()?.section_by_name(LE, name.as_bytes())?;
        let start = section.sh_addr(LE).checked_add(self.bias)?;
        let end = start.checked_add(section.sh_size(LE))?;
        (section.sh_addr(LE) != 0 && start < end).then_some(Segment { start, end, write: true, exec: false })
    }

    /// The symbols of `.symtab` that are asked for, each as a name and the source file that it must come from if several
    /// have the name. The names that link-time optimisation makes (`arenas.lto_priv.0`) count as well.
    pub fn symbols(&self, wanted: &[(&str, &str)]) -> BTreeMap<String, Symbol> {
        self.symbol_table(wanted).unwrap_or_default()
    }

    fn symbol_table(&self, wanted: &[(&str, &str)]) -> Option<BTreeMap<String, Symbol>> {
        let sections = self.sections()?;
        let table = sections.iter().find(|s| s.sh_type(LE) == SHT_SYMTAB)?;
        let names = sections.section(object::SectionIndex(table.sh_link(LE) as usize)).ok()?;
        let names = self.content(names)?;
        let bytes = self.content(table)?;
        let (symbols, _) =
            object::slice_from_bytes::<object::elf::Sym64<LittleEndian>>(bytes, bytes.len() / 24).ok()?;
        let mut found: BTreeMap<&str, Vec<(bool, Symbol)>> = BTreeMap::new();
        let mut source: &[u8] = b"";
        for symbol in symbols {
            let name = until_zero(names, symbol.st_name(LE) as usize);
            if symbol.st_type() == STT_FILE {
                source = name;
                continue;
            }
            if symbol.is_undefined(LE) || symbol.st_type() == STT_TLS || name.is_empty() {
                continue;
            }
            let name = name.split(|b| *b == b'.').next().unwrap_or_default();
            if let Some((wanted, file)) = wanted.iter().find(|(wanted, _)| wanted.as_bytes() == name) {
                let addr = Addr(symbol.st_value(LE).wrapping_add(self.bias));
                let own = source == file.as_bytes();
                found.entry(wanted).or_default().push((own, Symbol { addr, size: symbol.st_size(LE) }));
            }
        }
        Some(found.into_iter().filter_map(|(name, all)| Some((name.to_owned(), only(&all)?))).collect())
    }

    fn sections(&self) -> Option<Sections<'_>> {
        FileHeader64::<LittleEndian>::parse(&self.cache).ok()?.sections(LE, &self.cache).ok()
    }

    fn content(&self, section: &SectionHeader64<LittleEndian>) -> Option<&[u8]> {
        let (offset, size) = section.file_range(LE).filter(|(_, size)| *size <= MAX_TABLE)?;
        (&self.cache).read_bytes_at(offset, size).ok()
    }
}

/// The one symbol that is meant: that of the right source file, or the only one.
fn only(all: &[(bool, Symbol)]) -> Option<Symbol> {
    match all {
        [(_, only)] => Some(*only),
        several => {
            let mut own = several.iter().filter(|(own, _)| *own);
            own.next().filter(|_| own.next().is_none()).map(|(_, symbol)| *symbol)
        }
    }
}

fn until_zero(bytes: &[u8], from: usize) -> &[u8] {
    let rest = bytes.get(from..).unwrap_or_default();
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// Where the file of a mapping may be found, surest first.
fn places(process: &Process, first: &Mapping) -> Vec<PathBuf> {
    let dir = process.dir();
    let mut places = Vec::new();
    if process.exe().is_ok_and(|exe| exe == first.path) {
        places.push(dir.join("exe"));
    }
    let root = dir.join("root");
    let below = |path: &Path| path.strip_prefix("/").ok().map(|relative| root.join(relative));
    if !first.deleted {
        places.extend(below(&first.path));
        // A process that called chroot has its paths shown as we see them, while `root` leads below the new root:
        // what the link says of it is a prefix of theirs.
        if let Ok(prefix) = std::fs::read_link(&root)
            && prefix.as_os_str().as_bytes() != b"/"
            && let Ok(inside) = first.path.strip_prefix(&prefix)
        {
            places.push(root.join(inside));
        }
    }
    places.push(dir.join("map_files").join(format!("{:x}-{:x}", first.start, first.end)));
    places
}

/// Opens a regular file for reading. The first descriptor stands for the file without opening it, so that a device or
/// a pipe that a hostile target put there is never touched.
fn open_regular(path: &Path) -> Option<File> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let handle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    handle.metadata().ok()?.is_file().then_some(())?;
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok()
}

/// Whether this is the file that is mapped. Device and inode prove it; where a file system shows others in `maps` than
/// in `stat` (overlayfs, btrfs), equal beginnings do, for the build id is among them.
fn same_file(file: &File, memory: &dyn Memory, first: &Mapping) -> bool {
    let Ok(stat) = file.metadata() else { return false };
    let device = (nix::sys::stat::major(stat.dev()) as u32, nix::sys::stat::minor(stat.dev()) as u32);
    if device == first.device && stat.ino() == first.inode {
        return true;
    }
    let size = COMPARED.min(first.size()) as usize;
    let mut on_disk = vec![0; size];
    file.read_exact_at(&mut on_disk, first.offset).is_ok()
        && memory.bytes(Addr(first.start), size).is_ok_and(|mapped| mapped == on_disk)
}
