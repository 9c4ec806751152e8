//! Types as a census meets them: each read once, checked for what a type must be, and named with its module.

use rustc_hash::FxHashMap;

use crate::layout::field::Room;
use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Fault, Memory};

use super::Unread;
use super::dict::Dicts;
use super::object::{Flags, Objects};
use super::text::Text;

/// The most types of one process that are told apart.
const MAX_CLASSES: usize = 1 << 18;
/// The most places that are remembered as no type.
const MAX_NONE: usize = 1 << 20;
/// The longest chain of types of types, and of bases, that is followed.
const MAX_CHAIN: usize = 64;
/// Bytes of the largest instance, and of the largest item of one.
const MAX_BASIC: u64 = 1 << 24;
/// The most names in the dictionary of a type that are looked through for its module.
const MAX_NAMES: u64 = 1 << 16;
/// Types begin at a multiple of this.
const ALIGN: u64 = 8;

/// `Py_TPFLAGS_HEAPTYPE`, Include/object.h.
const HEAP_TYPE: i64 = 9;
/// `Py_TPFLAGS_READY`.
const READY: i64 = 12;
/// `Py_TPFLAGS_HAVE_GC`.
const HAVE_GC: i64 = 14;
/// `Py_TPFLAGS_TYPE_SUBCLASS`.
const TYPE: i64 = 31;
/// What a subclass of each says of itself in its flags.
const BY_FLAG: &[(i64, Kind)] = &[
    (24, Kind::Int),
    (25, Kind::List),
    (26, Kind::Tuple),
    (27, Kind::Bytes),
    (28, Kind::Str),
    (29, Kind::Dict),
    (TYPE, Kind::Type),
];
/// What only the name of one of its bases says.
const BY_BASE: &[(&str, Kind)] = &[
    ("set", Kind::Set),
    ("frozenset", Kind::Set),
    ("bytearray", Kind::ByteArray),
    ("float", Kind::Number),
    ("int", Kind::Number),
    ("numpy.ndarray", Kind::Array),
    ("mmap.mmap", Kind::Mmap),
    ("code", Kind::Code),
    ("memoryview", Kind::View),
    ("module", Kind::Module),
    ("weakref", Kind::Weak),
    ("weakproxy", Kind::Weak),
    ("weakcallableproxy", Kind::Weak),
    ("weakref.ReferenceType", Kind::Weak),
    ("weakref.ProxyType", Kind::Weak),
    ("weakref.CallableProxyType", Kind::Weak),
];

fields! {
    /// `PyTypeObject`, Include/cpython/object.h.
    struct TypeFields in "type" {
        name: Field<Addr>,
        basicsize: Field<u64>,
        itemsize: Field<u64>,
        flags: Field<u64>,
        base: Field<Addr>,
        dict: Field<Addr>,
    }
}

fields! {
    /// `PyHeapTypeObject`, the same file.
    struct HeapTypeFields in "type" {
        ht_qualname: Option<Field<Addr>>,
        ht_cached_keys: Option<Field<Addr>>,
    }
}

/// A type that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(u32);

impl ClassId {
    /// That of no type.
    pub(super) const NONE: ClassId = ClassId(u32::MAX);

    /// Its place among all that were met.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What kind of object its instances are, for those that keep part of themselves elsewhere or have no fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An `int`; in Python 2 a `long`.
    Int,
    /// A `list`.
    List,
    /// A `tuple`.
    Tuple,
    /// `bytes`; in Python 2 a `str`.
    Bytes,
    /// A `str`; in Python 2 `unicode`.
    Str,
    /// A `dict`.
    Dict,
    /// A `set` or `frozenset`.
    Set,
    /// A `bytearray`.
    ByteArray,
    /// A `float`; in Python 2 an `int` too.
    Number,
    /// An array of numpy's.
    Array,
    /// An `mmap.mmap`.
    Mmap,
    /// A code object.
    Code,
    /// A weak reference, or a proxy.
    Weak,
    /// A `memoryview`.
    View,
    /// A module.
    Module,
    /// A type.
    Type,
    /// A type made by a `class` statement, of nothing but such types and `object`.
    Plain,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether such an object holds characters or digits and nothing else, unless the collector looks after it.
    pub(super) fn is_bare(self) -> bool {
        matches!(self, Kind::Str | Kind::Bytes | Kind::Int | Kind::Number | Kind::ByteArray)
    }
}

/// What is known of a type.
#[derive(Debug, Clone)]
pub struct Class {
    /// Where it is.
    pub address: Addr,
    /// Its qualified name, behind that of its module, except for those of the builtin ones.
    pub name: String,
    /// What its instances are.
    pub kind: Kind,
    /// `tp_basicsize`.
    pub basicsize: u64,
    /// `tp_itemsize`.
    pub itemsize: u64,
    /// Whether the collector looks after its instances.
    pub gc: bool,
    /// Whether more words lie before its instances than the collector's.
    pub pre_header: bool,
    /// Keys that all instances share (`ht_cached_keys`).
    pub shared_keys: Option<Addr>,
}

/// The types that were met.
#[derive(Debug)]
pub struct Classes {
    types: TypeFields,
    heap_types: HeapTypeFields,
    objects: Objects,
    dicts: Dicts,
    text: Text,
    managed: [i64; 2],
    known: FxHashMap<u64, Option<ClassId>>,
    all: Vec<Class>,
}

/// What one read of a type brings.
struct Raw {
    name: Addr,
    basicsize: u64,
    itemsize: u64,
    flags: Flags,
    base: Addr,
    dict: Addr,
}

impl Classes {
    /// Binds what the layout says of types.
    pub fn bind(layout: &Layout) -> Result<Classes, Missing> {
        Ok(Classes {
            types: TypeFields::bind(layout)?,
            heap_types: HeapTypeFields::bind(layout)?,
            objects: Objects::bind(layout)?,
            dicts: Dicts::bind(layout)?,
            text: Text::bind(layout)?,
            managed: [layout.fact("type.managed_dict_bit")?, layout.fact("type.managed_weakref_bit")?],
            known: FxHashMap::default(),
            all: Vec::new(),
        })
    }

    /// Whether there is a type at an address, if that was asked before.
    pub fn known(&self, at: Addr) -> Option<Option<ClassId>> {
        self.known.get(&at.0).copied()
    }

    /// The type at an address, if there is one.
    pub fn id(&mut self, memory: &dyn Memory, at: Addr) -> Option<ClassId> {
        if let Some(known) = self.known(at) {
            return known;
        }
        if !at.0.is_multiple_of(ALIGN) || self.known.len() >= MAX_CLASSES + MAX_NONE {
            return None;
        }
        let id = self.read(memory, at).filter(|_| self.all.len() < MAX_CLASSES).map(|class| {
            self.all.push(class);
            ClassId(self.all.len() as u32 - 1)
        });
        self.known.insert(at.0, id);
        id
    }

    /// The type of an object.
    pub fn type_of(&self, memory: &dyn Memory, object: Addr) -> Result<Addr, Fault> {
        self.objects.type_of(memory, object)
    }

    /// What is known of a type.
    pub fn get(&self, id: ClassId) -> &Class {
        &self.all[id.index()]
    }

    /// All types that were met, by the order in which they were.
    pub fn all(&self) -> &[Class] {
        &self.all
    }

    fn read(&self, memory: &dyn Memory, at: Addr) -> Option<Class> {
        let raw = self.raw(memory, at)?;
        self.is_type(memory, at).then_some(())?;
        let heap = raw.flags.bit(HEAP_TYPE);
        let name = self.name(memory, at, &raw, heap).ok()?;
        let kind = self.kind(memory, &raw, heap);
        let shared_keys = self.heap_types.ht_cached_keys.filter(|_| heap);
        Some(Class {
            address: at,
            name,
            kind,
            basicsize: raw.basicsize,
            itemsize: raw.itemsize,
            gc: raw.flags.bit(HAVE_GC),
            pre_header: self.managed.iter().any(|bit| raw.flags.bit(*bit)),
            shared_keys: shared_keys.and_then(|field| field.read(memory, at).ok()?.non_null()),
        })
    }

    fn raw(&self, memory: &dyn Memory, at: Addr) -> Option<Raw> {
        let mut room = Room::default();
        let fields = Struct::read(memory, at, self.types.span, &mut room).ok()?;
        let raw = Raw {
            name: fields.get(self.types.name),
            basicsize: fields.get(self.types.basicsize),
            itemsize: fields.get(self.types.itemsize),
            flags: Flags::of(fields.get(self.types.flags)),
            base: fields.get(self.types.base),
            dict: fields.get(self.types.dict),
        };
        let sound = (8..=MAX_BASIC).contains(&raw.basicsize) && raw.itemsize <= MAX_BASIC;
        (sound && raw.flags.bit(READY)).then_some(raw)
    }

    /// Whether the types of a type lead to the one that is its own, and is called `type`.
    fn is_type(&self, memory: &dyn Memory, at: Addr) -> bool {
        let mut at = at;
        for _ in 0..MAX_CHAIN {
            let Ok(meta) = self.objects.type_of(memory, at) else { return false };
            if !self.raw(memory, meta).is_some_and(|raw| raw.flags.bit(TYPE)) {
                return false;
            }
            if meta == at {
                return self.objects.type_name(memory, at).is_ok_and(|name| name == "type");
            }
            at = meta;
        }
        false
    }

    /// Module and qualified name. Those made in C have both in `tp_name`; those made in Python, or at run time, have the
    /// module in their dictionary.
    fn name(&self, memory: &dyn Memory, at: Addr, raw: &Raw, heap: bool) -> Result<String, Unread> {
        let full = self.objects.type_name(memory, at)?;
        if full.is_empty() || full.chars().any(char::is_control) {
            return Err(Unread::Garbage("the name of a type"));
        }
        if !heap {
            return Ok(full.strip_prefix("builtins.").unwrap_or(&full).to_owned());
        }
        let (spoken, bare) = full.rsplit_once('.').unwrap_or(("", &full));
        let qualname = self.heap_types.ht_qualname.and_then(|field| field.read(memory, at).ok()?.non_null());
        let qualname = qualname.and_then(|at| self.text.read(memory, at).ok());
        let module = raw.dict.non_null().and_then(|dict| {
            let at = self.dicts.get(memory, dict, "__module__", MAX_NAMES).ok()??;
            self.text.read(memory, at).ok()
        });
        let module = module.unwrap_or_else(|| spoken.to_owned());
        let name = qualname.unwrap_or_else(|| bare.to_owned());
        Ok(match module.as_str() {
            "" | "builtins" | "__builtin__" => name,
            _ => format!("{module}.{name}"),
        })
    }

    fn kind(&self, memory: &dyn Memory, raw: &Raw, heap: bool) -> Kind {
        if let Some((_, kind)) = BY_FLAG.iter().find(|(bit, _)| raw.flags.bit(*bit)) {
            return *kind;
        }
        let (mut plain, mut name, mut base) = (heap, raw.name, raw.base);
        for _ in 0..MAX_CHAIN {
            let mut text = [0; 32];
            let read = memory.read(name, &mut text).is_ok();
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            if let Some((_, kind)) = BY_BASE.iter().find(|(base, _)| read && base.as_bytes() == text) {
                return *kind;
            }
            let Some(next) = base.non_null().and_then(|base| self.raw(memory, base)) else { break };
            plain &= next.flags.bit(HEAP_TYPE) || next.base.is_null();
            (name, base) = (next.name, next.base);
        }
        if plain { Kind::Plain } else { Kind::Other }
    }
}
