//! A module as the loader left it in the target's memory: segments, exported symbols, build id; no file is opened.
//!
//! Design constraints: a file may be deleted, replaced, or out of reach in another namespace, while what the dynamic
//! linker needs lies in memory by necessity. So exported symbols are looked up there, as the dynamic linker does.

use crate::layout::{Arch, Field, Struct};
use crate::memory::{Addr, Memory};
use crate::target::maps::Maps;

/// The most program headers that a module may have (`e_phnum`).
const MAX_SEGMENTS: u64 = 256;
/// The most entries of the dynamic section that are looked at.
const MAX_DYNAMIC: usize = 1024;
/// The most symbols of one hash chain that are looked at.
const MAX_CHAIN: u32 = 4096;
/// The most bytes of notes that are searched for the build id.
const MAX_NOTES: u64 = 4096;
/// The most writable segments that are searched; two are usual.
const MAX_DATA: usize = 8;
/// The longest build id (a SHA-1 has 20 bytes).
const MAX_BUILD_ID: usize = 64;

const HEADER: usize = 64;
const E_MACHINE: Field<u16> = Field::at(18);
const E_PHOFF: Field<u64> = Field::at(32);
const E_PHENTSIZE: Field<u16> = Field::at(54);
const E_PHNUM: Field<u16> = Field::at(56);

const PROGRAM_HEADER: usize = 56;
const P_TYPE: Field<u32> = Field::at(0);
const P_FLAGS: Field<u32> = Field::at(4);
const P_OFFSET: Field<u64> = Field::at(8);
const P_VADDR: Field<u64> = Field::at(16);
const P_MEMSZ: Field<u64> = Field::at(40);

const SYMBOL: usize = 24;
const ST_NAME: Field<u32> = Field::at(0);
const ST_INFO: Field<u8> = Field::at(4);
const ST_SHNDX: Field<u16> = Field::at(6);
const ST_VALUE: Field<u64> = Field::at(8);
const ST_SIZE: Field<u64> = Field::at(16);

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const STT_TLS: u8 = 6;
const NT_GNU_BUILD_ID: u32 = 3;

/// A module in memory.
#[derive(Debug, Clone)]
pub struct Image {
    /// What must be added to an address of the file to have one of the process: 0 unless it can be put anywhere.
    pub bias: u64,
    /// The machine that it is for, if we know it.
    pub arch: Option<Arch>,
    /// What was loaded, at its addresses in the process.
    pub segments: Vec<Segment>,
    /// Its GNU build id in lower-case hex.
    pub build_id: Option<String>,
    tables: Option<Tables>,
}

/// A loaded part of a module; the end of a writable one is zeroed memory behind the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first address in the process.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub exec: bool,
}

/// A symbol of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Its address in the process.
    pub addr: Addr,
    /// Its size in bytes, as the module states it.
    pub size: u64,
}

/// Why there is no image at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotImage {
    /// It is not an ELF header, or nothing is loaded as the header says.
    NotElf,
    /// It is one of 32 bits or of the other byte order.
    Foreign,
}

/// Where the dynamic linker's tables are.
#[derive(Debug, Clone, Copy)]
struct Tables {
    symbols: Addr,
    strings: Addr,
    hash: Hash,
}

/// How symbols are found by name.
#[derive(Debug, Clone, Copy)]
enum Hash {
    /// `DT_GNU_HASH`.
    Gnu { buckets: u32, first: u32, bloom: Addr, bloom_words: u32, bloom_shift: u32 },
    /// `DT_HASH`, of the System V ABI.
    SysV { buckets: u32, table: Addr },
}

impl Image {
    /// The module whose file's first byte is mapped at `base`.
    pub fn read(memory: &dyn Memory, maps: &Maps, base: Addr) -> Result<Image, NotImage> {
        let mut header = [0; HEADER];
        memory.read(base, &mut header).map_err(|_| NotImage::NotElf)?;
        if !header.starts_with(b"\x7fELF") {
            return Err(NotImage::NotElf);
        }
        if header.get(4..6) != Some(&[2, 1]) {
            return Err(NotImage::Foreign);
        }
        let header = Struct::over(&header);
        let parts = program_headers(memory, base, &header).ok_or(NotImage::NotElf)?;
        let headers: Vec<Struct<'_>> = parts.chunks_exact(PROGRAM_HEADER).map(Struct::over).collect();
        let mapped = maps.at(base.0).map_or(0, |m| m.end - base.0);
        let bias = headers
            .iter()
            .find(|h| h.get(P_TYPE) == PT_LOAD && h.get(P_OFFSET) < mapped)
            .map(|h| base.0.wrapping_add(h.get(P_OFFSET)).wrapping_sub(h.get(P_VADDR)))
            .ok_or(NotImage::NotElf)?;
        let segments: Vec<Segment> =
            headers.iter().filter(|h| h.get(P_TYPE) == PT_LOAD).filter_map(|h| segment(h, bias)).collect();
        // A file that was only mapped to be looked at has its header in memory as well, but is not spread out.
        let spread = |s: &Segment| maps.at(s.start).is_some_and(|m| m.exec || !s.exec);
        if segments.is_empty() || !segments.iter().all(spread) {
            return Err(NotImage::NotElf);
        }
        let mut image =
            Image { bias, arch: arch(header.get(E_MACHINE)), segments, build_id: None, tables: None };
        let place = |h: &Struct<'_>| (Addr(h.get(P_VADDR).wrapping_add(bias)), h.get(P_MEMSZ));
        image.build_id =
            headers.iter().filter(|h| h.get(P_TYPE) == PT_NOTE).find_map(|h| build_id(memory, place(h)));
        image.tables =
            headers.iter().find(|h| h.get(P_TYPE) == PT_DYNAMIC).and_then(|h| image.tables(memory, place(h)));
        Ok(image)
    }

    /// An exported symbol that is defined here, by its exact name.
    pub fn symbol(&self, memory: &dyn Memory, name: &str) -> Option<Symbol> {
        let tables = self.tables?;
        match tables.hash {
            Hash::Gnu { .. } => self.gnu(memory, &tables, name),
            Hash::SysV { buckets, table } => {
                let bucket = u64::from(object::elf::hash(name.as_bytes()) % buckets);
                let chains = table.plus(8 + u64::from(buckets) * 4);
                let mut index: u32 = memory.get(table.plus(8 + bucket * 4)).ok()?;
                for _ in 0..MAX_CHAIN {
                    if index == 0 {
                        return None;
                    }
                    if let Some(symbol) = self.named(memory, &tables, index, name) {
                        return Some(symbol);
                    }
                    index = memory.get(chains.plus(u64::from(index) * 4)).ok()?;
                }
                None
            }
        }
    }

    /// What may be written: where variables lie.
    pub fn data(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.write).take(MAX_DATA)
    }

    /// Whether an address lies in what was loaded.
    pub fn holds(&self, addr: Addr) -> bool {
        self.segments.iter().any(|s| (s.start..s.end).contains(&addr.0))
    }

    fn gnu(&self, memory: &dyn Memory, tables: &Tables, name: &str) -> Option<Symbol> {
        let Hash::Gnu { buckets, first, bloom, bloom_words, bloom_shift } = tables.hash else { return None };
        let hash = object::elf::gnu_hash(name.as_bytes());
        let word: u64 = memory.get(bloom.plus(u64::from(hash / 64 % bloom_words) * 8)).ok()?;
        let bits = (1u64 << (hash % 64)) | (1u64 << (hash.wrapping_shr(bloom_shift) % 64));
        if word & bits != bits {
            return None;
        }
        let bucket_table = bloom.plus(u64::from(bloom_words) * 8);
        let start: u32 = memory.get(bucket_table.plus(u64::from(hash % buckets) * 4)).ok()?;
        let from = start.checked_sub(first)?; // an empty bucket is 0, and the first symbol is never hashed
        let chains = bucket_table.plus(u64::from(buckets) * 4);
        for step in 0..MAX_CHAIN {
            let link: u32 = memory.get(chains.plus((u64::from(from) + u64::from(step)) * 4)).ok()?;
            if link | 1 == hash | 1
                && let Some(symbol) = self.named(memory, tables, start.wrapping_add(step), name)
            {
                return Some(symbol);
            }
            if link & 1 == 1 {
                return None;
            }
        }
        None
    }

    /// The symbol of this index, if it is defined here and has this name.
    fn named(&self, memory: &dyn Memory, tables: &Tables, index: u32, name: &str) -> Option<Symbol> {
        let mut bytes = [0; SYMBOL];
        memory.read(tables.symbols.plus(u64::from(index) * SYMBOL as u64), &mut bytes).ok()?;
        let symbol = Struct::over(&bytes);
        let found = memory.bytes(tables.strings.plus(symbol.get(ST_NAME).into()), name.len() + 1).ok()?;
        let same = found.strip_prefix(name.as_bytes()) == Some(&[0]);
        let defined = symbol.get(ST_SHNDX) != 0 && symbol.get(ST_VALUE) != 0;
        (same && defined && symbol.get(ST_INFO) & 0xF != STT_TLS).then(|| Symbol {
            addr: Addr(symbol.get(ST_VALUE).wrapping_add(self.bias)),
            size: symbol.get(ST_SIZE),
        })
    }

    /// Reads `PT_DYNAMIC`. glibc puts addresses of the process into it, musl leaves those of the file: whichever lies
    /// within the module is meant.
    fn tables(&self, memory: &dyn Memory, (at, size): (Addr, u64)) -> Option<Tables> {
        let count = usize::try_from(size / 16).unwrap_or(MAX_DYNAMIC).min(MAX_DYNAMIC);
        let bytes = memory.bytes(at, count * 16).ok()?;
        let entries: Vec<(u64, u64)> = bytes
            .chunks_exact(16)
            .map(|entry| (Struct::over(entry).get(Field::at(0)), Struct::over(entry).get(Field::at(8))))
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let find = |wanted| {
            let (_, value) = entries.iter().find(|(tag, _)| *tag == wanted)?;
            let relocated = Addr(*value);
            Some(if self.holds(relocated) { relocated } else { relocated.plus(self.bias) })
        };
        let hash = find(DT_GNU_HASH)
            .and_then(|table| gnu_hash(memory, table))
            .or_else(|| find(DT_HASH).and_then(|table| sysv_hash(memory, table)))?;
        Some(Tables { symbols: find(DT_SYMTAB)?, strings: find(DT_STRTAB)?, hash })
    }
}

fn program_headers(memory: &dyn Memory, base: Addr, header: &Struct<'_>) -> Option<Vec<u8>> {
    let count = u64::from(header.get(E_PHNUM));
    if header.get(E_PHENTSIZE) as usize != PROGRAM_HEADER || count > MAX_SEGMENTS {
        return None;
    }
    memory.bytes(base.plus(header.get(E_PHOFF)), count as usize * PROGRAM_HEADER).ok()
}

fn segment(header: &Struct<'_>, bias: u64) -> Option<Segment> {
    let start = header.get(P_VADDR).wrapping_add(bias);
    let end = start.checked_add(header.get(P_MEMSZ))?;
    let flags = header.get(P_FLAGS);
    (start < end).then_some(Segment { start, end, write: flags & PF_W != 0, exec: flags & PF_X != 0 })
}

fn arch(machine: u16) -> Option<Arch> {
    match machine {
        62 => Some(Arch::X86_64),
        183 => Some(Arch::Aarch64),
        _ => None,
    }
}

fn gnu_hash(memory: &dyn Memory, table: Addr) -> Option<Hash> {
    let [buckets, first, bloom_words, bloom_shift] =
        [0, 4, 8, 12].map(|at| memory.get::<u32>(table.plus(at)));
    let (buckets, bloom_words) = (buckets.ok()?, bloom_words.ok()?);
    let hash = Hash::Gnu {
        buckets,
        first: first.ok()?,
        bloom: table.plus(16),
        bloom_words,
        bloom_shift: bloom_shift.ok()?,
    };
    (buckets > 0 && bloom_words > 0).then_some(hash)
}

fn sysv_hash(memory: &dyn Memory, table: Addr) -> Option<Hash> {
    let buckets: u32 = memory.get(table).ok()?;
    (buckets > 0).then_some(Hash::SysV { buckets, table })
}

/// Looks through notes (name size, description size, type, name, description, each padded to 4 bytes).
fn build_id(memory: &dyn Memory, (at, size): (Addr, u64)) -> Option<String> {
    let bytes = memory.bytes(at, size.min(MAX_NOTES) as usize).ok()?;
    let mut rest = bytes.as_slice();
    while let Some((header, after)) = rest.split_first_chunk::<12>() {
        let header = Struct::over(header);
        let [name_size, size] = [0, 4].map(|f| header.get(Field::<u32>::at(f)) as usize);
        let name = after.get(..name_size)?;
        let description = after.get(name_size.next_multiple_of(4)..)?;
        if name == b"GNU\0" && header.get(Field::<u32>::at(8)) == NT_GNU_BUILD_ID {
            let id = description.get(..size).filter(|id| id.len() <= MAX_BUILD_ID)?;
            return Some(id.iter().map(|b| format!("{b:02x}")).collect());
        }
        rest = description.get(size.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Live, Tape};
    use crate::target::process::{Proc, Process};

    /// The tables of this very program, whose symbols we know.
    fn own() -> (Live, Maps, Addr) {
        let process = Process::open(&Proc::default(), std::process::id() as i32).unwrap();
        let maps = process.maps().unwrap();
        let libc =
            maps.iter().find(|m| m.offset == 0 && m.path.to_string_lossy().contains("libc.so")).unwrap();
        (Live::open(std::path::Path::new("/proc"), process.pid()), maps.clone(), Addr(libc.start))
    }

    #[test]
    fn an_exported_symbol_is_found_and_another_is_not() {
        let (live, maps, base) = own();
        let image = Image::read(&live, &maps, base).unwrap();
        let malloc = image.symbol(&live, "malloc").unwrap();
        assert!(maps.at(malloc.addr.0).unwrap().exec && malloc.size > 0);
        assert_eq!(image.symbol(&live, "mallo"), None);
        assert_eq!(image.symbol(&live, "malloc_of_a_snake"), None);
        assert_eq!(image.symbol(&live, ""), None);
        assert!(image.build_id.is_some_and(|id| id.len() == 40));
        assert_eq!(Image::read(&live, &maps, base.plus(8)).unwrap_err(), NotImage::NotElf);
    }

    #[test]
    fn damaged_tables_are_refused_or_misread_but_harm_nobody() {
        let (live, maps, base) = own();
        let live: &dyn Memory = &live;
        let whole = live.bytes(base, 64 << 10).unwrap();
        let (mut random, mut refused, mut other) = (1u64, 0, 0);
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (random >> 33) as usize;
                // The headers more often than what follows.
                let at = if at.is_multiple_of(2) { at % 1024 } else { at % bytes.len() };
                bytes[at] = (random >> 20) as u8;
            }
            let mut tape = Tape::default();
            tape.put(base, &bytes);
            match Image::read(&tape, &maps, base) {
                Err(_) => refused += 1,
                Ok(image) if image.symbol(&tape, "malloc").is_none() => other += 1,
                Ok(_) => {}
            }
        }
        assert!(refused > 0 && other > 0, "{refused} refused, {other} without tables: nothing was damaged");
    }
}
