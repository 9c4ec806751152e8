//! Where the interpreter is in a process, and which one it is: the only file that may ask for a Python version.
//!
//! Names of files decide nothing but the order in which modules are looked at. A module holds an interpreter when it
//! says so (an exported symbol, a section, the cookie of `_Py_DebugOffsets`, or the text that `Py_GetVersion` returns)
//! and when a list of interpreters can be walked there that closes: interpreter, thread, and the same interpreter.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::elf::{Image, NotImage, Symbol};
use super::process::{Process, ProcessError};
use super::root::{Flaw, Shape};
use super::sign::{
    Depth, Loaded, Search, Sign, debug_offsets, free_threaded, plausible, u32_at, version_text,
};
use crate::layout::{Arch, Catalogue, Chosen, Fingerprint, Refusal, Version};
use crate::memory::Addr;

/// An interpreter, found in a process.
#[derive(Debug, Clone)]
pub struct Located {
    /// The mapped file that holds it.
    pub module: Module,
    /// Which build it is.
    pub fingerprint: Fingerprint,
    /// The layout that serves it.
    pub chosen: Chosen,
    /// Where its list of interpreters begins.
    pub root: Root,
    /// How the root was found, in words.
    pub found_by: String,
}

/// The mapped ELF file that holds an interpreter.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its path, as the target sees it.
    pub path: PathBuf,
    /// What must be added to an address of the file to have one of the process.
    pub bias: u64,
    /// The symbols that readers ask for (see [`EXPORTED`] and [`STATIC`]), at their addresses in the process, and the
    /// section `.AsyncioDebug` under its name.
    pub symbols: BTreeMap<String, Addr>,
}

/// Where the list of interpreters begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `_PyRuntime` (3.7 and later).
    Runtime(Addr),
    /// The static variable `interp_head` (before 3.7).
    InterpHead(Addr),
}

/// Why no interpreter was found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The process could not be read, or is gone.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Nothing in it is a CPython.
    #[error("process {pid} is not Python: {exe} holds no interpreter, nor does anything that it has loaded")]
    NotPython {
        /// Its pid.
        pid: i32,
        /// What it runs.
        exe: String,
    },
    /// It is a Python of another kind.
    #[error("process {pid} runs PyPy, not CPython ({module})")]
    PyPy {
        /// Its pid.
        pid: i32,
        /// The module that tells.
        module: String,
    },
    /// It was built for a machine that no layout is for.
    #[error("process {pid} runs {module}, which is not built for x86-64 or 64-bit ARM")]
    Machine {
        /// Its pid.
        pid: i32,
        /// The module that tells.
        module: String,
    },
    /// There is a CPython, but it has no interpreter: it is starting, or has finalised.
    #[error(
        "{module} in process {pid} is Python {version}, but has no interpreter: it is starting or ending"
    )]
    NotInitialised {
        /// Its pid.
        pid: i32,
        /// The module that holds it.
        module: String,
        /// Its version.
        version: Version,
    },
    /// No version was found in what is otherwise a CPython.
    #[error("{module} in process {pid} is a CPython of unknown version")]
    NoVersion {
        /// Its pid.
        pid: i32,
        /// The module that holds it.
        module: String,
    },
    /// No layout is for this build.
    #[error("cannot read {module} in process {pid}: {refusal}")]
    NoLayout {
        /// Its pid.
        pid: i32,
        /// The module that holds it.
        module: String,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// Layouts there are, but what is read by them makes no sense.
    #[error("cannot read {module} in process {pid}, Python {version}: with layout {tried} {flaw}")]
    NothingHolds {
        /// Its pid.
        pid: i32,
        /// The module that holds it.
        module: String,
        /// Its version.
        version: Version,
        /// The layouts that were tried.
        tried: String,
        /// What was wrong with the first of them.
        flaw: Box<Flaw>,
    },
}

/// The symbols that CPython exports and that readers ask for; not every version has each.
pub const EXPORTED: &[&str] = &[
    "_PyRuntime",
    "_PyThreadState_Current",
    "_PyGC_generation0",
    "_Py_AllocatedBlocks",
    "_Py_NoneStruct",
    "_Py_tracemalloc_config",
    "PyType_Type",
    "Py_Version",
];

/// The variables that only an unstripped file names, each with the source file of CPython that it stands in.
pub const STATIC: &[(&str, &str)] = &[
    ("_Py_AllocatedBlocks", "obmalloc.c"),
    ("_PyRuntime", "pylifecycle.c"),
    ("arenas", "obmalloc.c"),
    ("collecting", "gcmodule.c"),
    ("enabled", "gcmodule.c"),
    ("garbage", "gcmodule.c"),
    ("generation_stats", "gcmodule.c"),
    ("generations", "gcmodule.c"),
    ("gil_cond", "ceval.c"),
    ("gil_last_holder", "ceval.c"),
    ("gil_locked", "ceval.c"),
    ("gil_mutex", "ceval.c"),
    ("interp_head", "pystate.c"),
    ("interpreter_lock", "ceval.c"),
    ("maxarenas", "obmalloc.c"),
    ("narenas_currently_allocated", "obmalloc.c"),
    ("narenas_highwater", "obmalloc.c"),
    ("ntimes_arena_allocated", "obmalloc.c"),
    ("raw_allocated_blocks", "obmalloc.c"),
    ("switch_cond", "ceval.c"),
    ("switch_mutex", "ceval.c"),
    ("tracemalloc_domains", "_tracemalloc.c"),
    ("tracemalloc_traces", "_tracemalloc.c"),
    ("usedpools", "obmalloc.c"),
];

/// The symbols whose sizes tell builds apart.
const SIZED: &[&str] = &["_PyRuntime", "PyType_Type", "_Py_NoneStruct", "generations", "usedpools"];
/// Symbols that only builds with reference-count checks export: those of `--with-pydebug`.
const DEBUG_ONLY: &[&str] = &["_Py_NegativeRefcount", "_Py_RefTotal"];
/// Symbols that only PyPy exports.
const PYPY: &[&str] = &["pypy_main_startup", "rpython_startup_code", "pypy_setup_home"];

/// The most modules that are looked at.
const MAX_MODULES: usize = 8192;
/// The section that describes asyncio's structs (Modules/_asynciomodule.c, 3.14 and later).
const ASYNCIO: &str = ".AsyncioDebug";
/// The most bytes of variables that are searched, of all modules together.
const MAX_SEARCHED: u64 = 1 << 30;
/// How often a root is looked at again when threads come and go meanwhile.
const TRIES: usize = 3;

/// Finds the interpreter of a process and the layout that serves it.
pub fn locate(process: &Process, catalogue: &Catalogue) -> Result<Located, LocateError> {
    let maps = process.readable()?;
    let search = Search { process, memory: process.memory(), maps: &maps };
    let modules = search.modules();
    let mut first_miss = None;
    let mut searched = 0u64;
    // The cheap signs first; only a process without them is searched for hidden ones.
    for depth in [Depth::Exported, Depth::File, Depth::Data] {
        for module in &modules {
            if depth == Depth::Data {
                searched =
                    module.image.data().fold(searched, |sum, data| sum.saturating_add(data.end - data.start));
                if searched > MAX_SEARCHED {
                    break;
                }
            }
            let Some(sign) = module.sign(&search, depth) else { continue };
            match search.identify(&modules, module, &sign, catalogue) {
                Ok(located) => return Ok(located),
                Err(miss) => first_miss = first_miss.or(Some(miss)),
            }
        }
    }
    if !process.alive() {
        return Err(ProcessError::Gone { pid: process.pid() }.into());
    }
    Err(first_miss.or_else(|| search.pypy(&modules)).unwrap_or_else(|| search.not_python()))
}

/// Where `_AsyncioDebug` is, which appears only when the target imports asyncio (3.14 and later).
pub fn asyncio_debug(process: &Process) -> Option<Addr> {
    let maps = process.readable().ok()?;
    let search = Search { process, memory: process.memory(), maps: &maps };
    search.asyncio_debug(&search.modules(), None)
}

impl<'a> Search<'a> {
    /// The modules of the process: those that are called something with `python`, then the executable, then the others.
    fn modules(&self) -> Vec<Loaded<'a>> {
        let exe = self.process.exe().ok();
        let mut modules: Vec<Loaded<'a>> = self
            .maps
            .iter()
            .filter(|m| m.offset == 0 && m.read && m.file())
            .take(MAX_MODULES)
            .filter_map(|first| {
                let image = Image::read(self.memory, self.maps, Addr(first.start)).ok()?;
                let exe = exe.as_ref() == Some(&first.path);
                Some(Loaded { first, image, exe, file: OnceCell::new() })
            })
            .collect();
        let named = |m: &Loaded<'_>| {
            let name = m.first.path.file_name().unwrap_or_default();
            name.to_string_lossy().to_ascii_lowercase().contains("python")
        };
        modules.sort_by_key(|m| (!named(m), !m.exe));
        modules
    }

    /// Takes one module for the interpreter and sees how far that leads.
    fn identify(
        &self,
        modules: &[Loaded<'_>],
        module: &Loaded<'_>,
        sign: &Sign,
        catalogue: &Catalogue,
    ) -> Result<Located, LocateError> {
        let (pid, name) = (self.process.pid(), module.name());
        let symbols = self.symbols(modules, module, sign);
        let runtime = symbols.get("_PyRuntime").map(|s| s.addr).or(sign.runtime);
        let told = runtime.and_then(|at| debug_offsets(self.memory, at));
        let Some(arch) = module.image.arch else { return Err(LocateError::Machine { pid, module: name }) };
        let Some(version) = self.version(module, &symbols, told.as_deref()) else {
            return Err(LocateError::NoVersion { pid, module: name });
        };
        let sized = SIZED.iter().filter_map(|name| Some(((*name).to_owned(), symbols.get(*name)?.size)));
        let fingerprint = Fingerprint {
            version,
            arch,
            free_threaded: told.as_deref().is_some_and(free_threaded),
            debug: DEBUG_ONLY.iter().any(|name| module.image.symbol(self.memory, name).is_some()),
            build_id: module.image.build_id.clone(),
            symbol_sizes: sized.filter(|(_, size)| *size > 0).collect(),
            debug_offsets: told,
        };
        let candidates = match catalogue.candidates(&fingerprint) {
            Ok(candidates) => candidates,
            Err(refusal) => {
                return Err(LocateError::NoLayout { pid, module: name, refusal: Box::new(refusal) });
            }
        };
        let tried: Vec<String> = candidates.iter().map(|c| c.layout.name.clone()).collect();
        let mut first_flaw = None;
        for chosen in candidates {
            match self.root(module, &symbols, runtime, sign, &chosen) {
                Ok((root, found_by)) => {
                    let mut symbols: BTreeMap<String, Addr> =
                        symbols.iter().map(|(name, symbol)| (name.clone(), symbol.addr)).collect();
                    if fingerprint.debug_offsets.is_some() {
                        let asyncio = self.asyncio_debug(modules, Some(module));
                        symbols.extend(asyncio.map(|at| (ASYNCIO.to_owned(), at)));
                    }
                    if let Root::InterpHead(at) = root {
                        symbols.entry("interp_head".into()).or_insert(at);
                    }
                    let module = Module { path: module.first.path.clone(), bias: module.image.bias, symbols };
                    return Ok(Located { module, fingerprint, chosen, root, found_by });
                }
                Err(flaw) => first_flaw = first_flaw.or(Some(flaw)),
            }
        }
        Err(match first_flaw {
            Some(Flaw::Empty | Flaw::NoThread) | None => {
                LocateError::NotInitialised { pid, module: name, version }
            }
            Some(flaw) => LocateError::NothingHolds {
                pid,
                module: name,
                version,
                tried: tried.join(", "),
                flaw: Box::new(flaw),
            },
        })
    }

    /// The symbols that readers ask for. The unstripped file is only read where it may name what is not exported.
    fn symbols(&self, modules: &[Loaded<'_>], module: &Loaded<'_>, sign: &Sign) -> BTreeMap<String, Symbol> {
        let described = sign.runtime.is_some_and(|at| debug_offsets(self.memory, at).is_some());
        let mut symbols = match module.file(self).filter(|_| !described) {
            Some(file) => file.symbols(STATIC),
            None => BTreeMap::new(),
        };
        // An executable that refers to a library's variable has its own copy of it, which all then use
        // (R_X86_64_COPY). A program that is itself an interpreter has none of another's.
        let host = modules.iter().find(|m| m.exe && !std::ptr::eq(*m, module));
        let host = host.filter(|m| m.image.symbol(self.memory, "PyInterpreterState_Head").is_none());
        for name in EXPORTED {
            let Some(own) = module.image.symbol(self.memory, name) else { continue };
            let copy = host.and_then(|m| m.image.symbol(self.memory, name)).filter(|c| c.size == own.size);
            symbols.insert((*name).to_owned(), copy.unwrap_or(own));
        }
        symbols
    }

    fn version(
        &self,
        module: &Loaded<'_>,
        symbols: &BTreeMap<String, Symbol>,
        told: Option<&[u8]>,
    ) -> Option<Version> {
        let hex = told.map(|bytes| u32_at(bytes, 8)).unwrap_or_else(|| {
            let at = symbols.get("Py_Version")?.addr;
            self.memory.get::<u32>(at).ok()
        });
        hex.map(Version::from_hex)
            .filter(|version| plausible(*version))
            .or_else(|| version_text(self.memory, self.maps, &module.image))
    }

    /// Where the list of interpreters begins, by this layout.
    fn root(
        &self,
        module: &Loaded<'_>,
        symbols: &BTreeMap<String, Symbol>,
        runtime: Option<Addr>,
        sign: &Sign,
        chosen: &Chosen,
    ) -> Result<(Root, String), Flaw> {
        let shape = Shape::bind(&chosen.layout).map_err(Flaw::Layout)?;
        let holds = |root: Root| -> Result<(), Flaw> {
            let mut result = Err(Flaw::Empty);
            for _ in 0..TRIES {
                result = shape.check(self.memory, root);
                if result.is_ok() {
                    break;
                }
            }
            result
        };
        if shape.has_runtime() {
            if let Some(at) = runtime {
                let root = Root::Runtime(at);
                return holds(root).map(|()| (root, sign.found_by.to_owned()));
            }
        } else {
            if let Some(symbol) = symbols.get("interp_head") {
                let root = Root::InterpHead(symbol.addr);
                return holds(root).map(|()| (root, "the file's symbol interp_head".to_owned()));
            }
            if let Some(root) = self.decoded(&module.image).map(Root::InterpHead)
                && holds(root).is_ok()
            {
                return Ok((root, "what the code of PyInterpreterState_Head reads".to_owned()));
            }
        }
        let root = shape.scan(self.memory, self.maps, &module.image)?;
        Ok((root, format!("{}, and a scan of its data for an interpreter", sign.found_by)))
    }

    /// The variable that `PyInterpreterState_Head` returns: `mov rax, [rip+d]; ret`, behind `endbr64` if need be.
    fn decoded(&self, image: &Image) -> Option<Addr> {
        if image.arch != Some(Arch::X86_64) {
            return None;
        }
        let code = image.symbol(self.memory, "PyInterpreterState_Head")?.addr;
        let mut bytes = [0; 12];
        self.memory.read(code, &mut bytes).ok()?;
        let (at, rest) = match bytes.strip_prefix(b"\xf3\x0f\x1e\xfa") {
            Some(rest) => (code.plus(4), rest),
            None => (code, bytes.get(..8)?),
        };
        let displacement = rest.strip_prefix(b"\x48\x8b\x05")?.strip_suffix(b"\xc3")?;
        let displacement = i32::from_le_bytes(displacement.try_into().ok()?);
        Some(at.plus(7).plus(i64::from(displacement).cast_unsigned()))
    }

    fn asyncio_debug(&self, modules: &[Loaded<'_>], interpreter: Option<&Loaded<'_>>) -> Option<Addr> {
        // Built in, or an extension module of this name.
        let likely = |m: &&Loaded<'_>| {
            interpreter.is_some_and(|i| std::ptr::eq(i, *m))
                || m.first.path.file_name().is_some_and(|name| {
                    let name = name.to_string_lossy();
                    name.contains("_asyncio") || (interpreter.is_none() && name.contains("python"))
                })
        };
        let section = modules.iter().filter(likely).find_map(|m| m.file(self)?.section(ASYNCIO));
        section.map(|segment| Addr(segment.start))
    }

    fn pypy(&self, modules: &[Loaded<'_>]) -> Option<LocateError> {
        let tells = |m: &&Loaded<'_>| PYPY.iter().any(|name| m.image.symbol(self.memory, name).is_some());
        let module = modules.iter().find(tells)?.name();
        Some(LocateError::PyPy { pid: self.process.pid(), module })
    }

    fn not_python(&self) -> LocateError {
        let (pid, exe) = (self.process.pid(), self.process.exe().ok());
        let name = exe.as_ref().map_or_else(|| self.process.comm(), |exe| exe.display().to_string());
        let own = self.maps.iter().find(|m| m.offset == 0 && Some(&m.path) == exe.as_ref());
        match own.map(|m| Image::read(self.memory, self.maps, Addr(m.start))) {
            Some(Err(NotImage::Foreign)) => LocateError::Machine { pid, module: name },
            _ => LocateError::NotPython { pid, exe: name },
        }
    }
}
