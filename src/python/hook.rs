//! What has its hands in the allocator of a process: what it changes changes what can be said of the heap.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::target::maps::Maps;
use crate::target::{Located, Root};

use super::census::Counted;
use super::heap::HeapLook;

/// The most frames that tracemalloc keeps of a stack (`MAX_NFRAME`, Python/tracemalloc.c).
const MAX_FRAMES: i32 = u16::MAX as i32;
/// Profilers that put themselves between Python and its allocator, by what their libraries are called.
const PROFILERS: &[(&str, &str)] = &[
    ("memray", "/_memray"),
    ("memray", "/_inject.abi3"),
    ("scalene", "/libscalene"),
    ("fil", "/_filpreload"),
    ("heaptrack", "/libheaptrack_"),
    ("jemalloc", "/libjemalloc"),
    ("tcmalloc", "/libtcmalloc"),
];

fields! {
    /// `_PyRuntimeState`, Include/internal/pycore_runtime.h.
    struct RuntimeFields in "runtime" {
        /// 3.12 and later.
        allocators: Option<usize>,
        tracemalloc: Option<usize>,
    }
}

fields! {
    /// `struct _pymem_allocators`, Include/internal/pycore_pymem.h (3.12 and later).
    struct AllocatorsFields in "allocators" {
        obj: Option<usize>,
    }
}

fields! {
    /// `PyMemAllocatorEx`, Include/cpython/pymem.h.
    struct AllocatorFields in "allocator" {
        malloc: Option<Field<Addr>>,
    }
}

fields! {
    /// `struct _PyTraceMalloc_Config`, Include/internal/pycore_tracemalloc.h (3.7 and later).
    struct TraceFields in "tracemalloc" {
        tracing: Option<Field<i32>>,
        max_nframe: Option<Field<i32>>,
    }
}

/// Something that changes how a process allocates, or watches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The debugging allocator puts its marks around every block.
    Debug,
    /// `tracemalloc` runs, and keeps so many frames of each stack.
    Tracemalloc(u32),
    /// Nothing is in pymalloc.
    NoPymalloc,
    /// What allocates objects is no function of the interpreter's: the file that it is from.
    Foreign(String),
    /// A profiler or another allocator is loaded: its name, and the file.
    Loaded(&'static str, String),
}

impl Hook {
    /// Everything that is found of a process.
    pub fn all(
        memory: &dyn Memory,
        located: &Located,
        maps: &Maps,
        look: Option<&HeapLook>,
        counted: Option<&Counted>,
    ) -> Result<Vec<Hook>, Missing> {
        let layout = &located.chosen.layout;
        let mut found = Vec::new();
        if counted.is_some_and(|counted| counted.debugged > 0) {
            found.push(Hook::Debug);
        }
        found.extend(traced_frames(memory, located)?.map(Hook::Tracemalloc));
        if look.is_some_and(|look| look.arenas.is_empty()) {
            found.push(Hook::NoPymalloc);
        }
        found.extend(foreign(memory, located, layout, maps)?.map(Hook::Foreign));
        for (name, library) in PROFILERS {
            let file = maps.iter().find_map(|m| m.path.to_str().filter(|path| path.contains(library)));
            found.extend(file.map(|file| Hook::Loaded(name, file.to_owned())));
        }
        Ok(found)
    }
}

/// How many frames `tracemalloc` keeps, if it runs.
pub(super) fn traced_frames(memory: &dyn Memory, located: &Located) -> Result<Option<u32>, Missing> {
    let fields = TraceFields::bind(&located.chosen.layout)?;
    let state = tracemalloc_state(located)?;
    let read = |field: Option<Field<i32>>| field?.read(memory, state?).ok();
    let frames = read(fields.max_nframe).filter(|frames| (1..=MAX_FRAMES).contains(frames));
    Ok(frames.filter(|_| read(fields.tracing) == Some(1)).map(i32::cast_unsigned))
}

/// Where `tracemalloc` keeps its settings, and from 3.12 on its tables.
pub(super) fn tracemalloc_state(located: &Located) -> Result<Option<Addr>, Missing> {
    let layout = &located.chosen.layout;
    Ok(match layout.fact::<String>("tracemalloc.where")?.as_str() {
        "runtime" => within(located, RuntimeFields::bind(layout)?.tracemalloc),
        "static" => located.module.symbols.get("_Py_tracemalloc_config").copied(),
        _ => None,
    })
}

/// The file of the function that allocates objects, if it is not the interpreter's own.
fn foreign(
    memory: &dyn Memory,
    located: &Located,
    layout: &Layout,
    maps: &Maps,
) -> Result<Option<String>, Missing> {
    let allocators = within(located, RuntimeFields::bind(layout)?.allocators);
    let at = allocators.zip(AllocatorsFields::bind(layout)?.obj).map(|(at, obj)| at.plus(obj as u64));
    let function = AllocatorFields::bind(layout)?.malloc.zip(at).and_then(|(f, at)| f.read(memory, at).ok());
    let mapping = function.and_then(|function| maps.at(function.0)).filter(|mapping| mapping.exec);
    let foreign = mapping.filter(|mapping| mapping.path != located.module.path);
    Ok(foreign.map(|mapping| mapping.path.to_string_lossy().into_owned()))
}

/// The address of a part of `_PyRuntime`.
fn within(located: &Located, offset: Option<usize>) -> Option<Addr> {
    match located.root {
        Root::Runtime(at) => offset.map(|offset| at.plus(offset as u64)),
        Root::InterpHead(_) => None,
    }
}
