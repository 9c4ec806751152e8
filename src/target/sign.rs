//! What makes a module look like an interpreter: a symbol, a section, the cookie of `_Py_DebugOffsets`, its version.

use std::cell::OnceCell;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::elf::{ElfFile, Image};
use super::maps::{Mapping, Maps};
use super::process::Process;
use super::root;
use crate::layout::Version;
use crate::memory::{Addr, Memory};

/// What `_Py_DebugOffsets` begins with (Include/internal/pycore_debug_offsets.h).
const COOKIE: &[u8; 8] = b"xdebugpy";
/// How much is read from the cookie on: more than any `_Py_DebugOffsets` has (888 bytes in 3.15).
const DEBUG_OFFSETS: usize = 2048;

/// What is at hand during one search.
pub(super) struct Search<'a> {
    pub(super) process: &'a Process,
    pub(super) memory: &'a dyn Memory,
    pub(super) maps: &'a Maps,
}

/// A module of the target.
pub(super) struct Loaded<'a> {
    pub(super) first: &'a Mapping,
    pub(super) image: Image,
    pub(super) exe: bool,
    pub(super) file: OnceCell<Option<ElfFile>>,
}

/// How deep a module is searched for a sign, cheapest first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Its exported symbols.
    Exported,
    /// The sections and symbols of its file.
    File,
    /// The bytes of its variables.
    Data,
}

/// What makes a module look like an interpreter.
pub(super) struct Sign {
    pub(super) found_by: &'static str,
    pub(super) runtime: Option<Addr>,
}

impl Loaded<'_> {
    pub(super) fn file(&self, search: &Search<'_>) -> Option<&ElfFile> {
        self.file.get_or_init(|| ElfFile::open(search.process, &self.image, self.first)).as_ref()
    }

    pub(super) fn name(&self) -> String {
        self.first.path.display().to_string()
    }

    pub(super) fn sign(&self, search: &Search<'_>, depth: Depth) -> Option<Sign> {
        match depth {
            Depth::Exported => self.exported(search),
            Depth::File => self.in_file(search),
            Depth::Data => self.in_data(search),
        }
    }

    fn exported(&self, search: &Search<'_>) -> Option<Sign> {
        if let Some(runtime) = self.image.symbol(search.memory, "_PyRuntime") {
            return Some(Sign { found_by: "the exported symbol _PyRuntime", runtime: Some(runtime.addr) });
        }
        self.image.symbol(search.memory, "PyInterpreterState_Head")?;
        Some(Sign { found_by: "the exported symbol PyInterpreterState_Head", runtime: None })
    }

    fn in_file(&self, search: &Search<'_>) -> Option<Sign> {
        let file = self.file(search)?;
        if let Some(section) = file.section(".PyRuntime") {
            return Some(Sign { found_by: "the section .PyRuntime", runtime: Some(Addr(section.start)) });
        }
        let symbols = file.symbols(&[("_PyRuntime", "pylifecycle.c"), ("interp_head", "pystate.c")]);
        let runtime = symbols.get("_PyRuntime").map(|s| s.addr);
        (!symbols.is_empty()).then_some(Sign { found_by: "the file's own symbols", runtime })
    }

    fn in_data(&self, search: &Search<'_>) -> Option<Sign> {
        static COOKIE_AT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("(?-u)xdebugpy").ok());
        let memory = search.memory;
        for segment in self.image.data() {
            for (base, bytes) in root::chunks(memory, search.maps, segment) {
                let cookies = COOKIE_AT.iter().flat_map(|regex| regex.find_iter(&bytes));
                let mut places = cookies.map(|found| base.plus(found.start() as u64));
                if let Some(runtime) = places.find(|at| at.0 % 8 == 0 && debug_offsets(memory, *at).is_some())
                {
                    return Some(Sign { found_by: "the cookie of _Py_DebugOffsets", runtime: Some(runtime) });
                }
            }
        }
        version_text(memory, search.maps, &self.image)?;
        Some(Sign { found_by: "the text of its version", runtime: None })
    }
}

/// What a runtime says of itself, from its cookie on.
pub(super) fn debug_offsets(memory: &dyn Memory, runtime: Addr) -> Option<Vec<u8>> {
    let bytes = memory.bytes(runtime, DEBUG_OFFSETS).ok()?;
    let version = Version::from_hex(u32_at(&bytes, 8)?);
    (bytes.starts_with(COOKIE) && plausible(version)).then_some(bytes)
}

/// `free_threaded` follows the version.
pub(super) fn free_threaded(told: &[u8]) -> bool {
    u32_at(told, 16) == Some(1)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(super) fn plausible(version: Version) -> bool {
    matches!(version.major, 2..=4) && version.minor < 100 && matches!(version.level, 0xA..=0xC | 0xF)
}

/// The version in the buffer that `Py_GetVersion` fills at start: `3.9.2 (main, Feb 28 2021, 17:03:44) \n[GCC …]`
/// (Python/getversion.c).
pub(super) fn version_text(memory: &dyn Memory, maps: &Maps, image: &Image) -> Option<Version> {
    static TEXT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?-u)\b([234])\.(\d{1,2})\.(\d{1,3})(?:(a|b|rc)(\d{1,2}))?\+? \([^()\x00]{1,80}\) \n?\[")
            .ok()
    });
    let regex = TEXT.as_ref()?;
    image.data().flat_map(|segment| root::chunks(memory, maps, segment)).find_map(|(_, bytes)| {
        let parts = regex.captures(&bytes)?;
        let text = |at: usize| parts.get(at).and_then(|part| std::str::from_utf8(part.as_bytes()).ok());
        let number = |at: usize| text(at).and_then(|digits| digits.parse().ok());
        let mut version = Version::release(number(1)?, number(2)?, number(3)?);
        if let Some(level) = text(4) {
            version.level = match level {
                "a" => 0xA,
                "b" => 0xB,
                _ => 0xC,
            };
            version.serial = number(5)?;
        }
        Some(version)
    })
}
