//! Which object lies in a block: where in it the object begins, its type, and what its header says of it.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory, Word};
use crate::target::maps::Maps;

use super::class::{ClassId, Classes, Kind};
use super::pools::Holds;
use super::usual::Usual;

/// What the debugging allocator puts before what was asked for: the size, and which of its three interfaces it was asked by
/// (Objects/obmalloc.c: `_PyMem_DebugRawAlloc`).
const DEBUG_HEAD: usize = 16;
/// How that begins behind the size.
const DEBUG_DOMAINS: &[u8] = b"rmo";
/// How it goes on: `PYMEM_FORBIDDENBYTE`, and what it was before 3.8.
const DEBUG_FILL: [u8; 2] = [0xFD, 0xFB];
/// What waits on a free list begins at a multiple of this.
const ALIGN: u64 = 8;
/// Nothing is mapped below (`vm.mmap_min_addr`).
const LOWEST_ADDRESS: u64 = 1 << 16;
/// `_PyGC_REFS_UNTRACKED`, Include/objimpl.h (before 3.8).
const UNTRACKED: i64 = -2;
/// `_PyGC_BITS_TRACKED`, Include/internal/pycore_gc.h.
const TRACKED: u8 = 1;
/// `_Py_REF_SHARED_SHIFT`, Include/cpython/object.h: what lies below are flags.
const SHARED_SHIFT: u32 = 2;
/// The longest collector's head and what lies before it, in bytes.
const MAX_BEFORE: usize = 64;

fields! {
    /// `PyObject`, Include/object.h.
    struct ObjectFields in "object" {
        refcnt: Option<Field<u64>>,
        /// Of free-threaded builds: what the thread counts that made it, what all others do, and the collector's marks.
        ref_local: Option<Field<u32>>,
        ref_shared: Option<Field<i64>>,
        gc_bits: Option<Field<u8>>,
        r#type: Field<u64>,
        size: usize,
    }
}

fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" {
        ob_size: Field<i64>,
    }
}

fields! {
    /// `PyGC_Head`, Include/objimpl.h, later Include/internal/pycore_gc.h.
    struct HeadFields in "gc_head" {
        size: usize,
        next: Field<u64>,
        refs: Option<Field<i64>>,
    }
}

fields! {
    /// `PyASCIIObject`, Include/cpython/unicodeobject.h; Python 2 has none.
    struct UnicodeFields in "unicode" {
        ascii_size: Option<usize>,
    }
}

/// What a count of references says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Somebody holds it.
    Some,
    /// It is never freed (PEP 683).
    Immortal,
    /// Nobody does: it waits on a free list for its next use.
    None,
}

/// An object in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Its type.
    pub class: ClassId,
    /// How many bytes of the block lie before it.
    pub at: usize,
    /// Whether somebody holds it.
    pub references: References,
    /// Whether the collector has it in one of its lists.
    pub tracked: bool,
}

/// How a build counts references (the fact `object.refcnt_kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    Plain(Field<u64>),
    Immortal(Field<u64>),
    Low32(Field<u64>),
    Biased(Field<u32>, Field<i64>),
}

/// What says that the collector looks after an object.
#[derive(Debug, Clone, Copy)]
enum Tracking {
    /// A head in front of it links it to others.
    Head(HeadFields),
    /// A bit of its own header (Python/gc_free_threading.c).
    Bit(Field<u8>),
}

/// How the target's objects lie in their blocks.
#[derive(Debug, Clone, Copy)]
pub struct Instances {
    object: ObjectFields,
    var: VarFields,
    tracking: Tracking,
    /// Bytes of the head in front of what the collector looks after.
    head: usize,
    ascii_size: Option<u64>,
    pre_header: usize,
    counting: Counting,
    refs_shift: u64,
}

impl Instances {
    /// Binds what the layout says of objects in memory.
    pub fn bind(layout: &Layout) -> Result<Instances, Missing> {
        let fact = |fact: &str| Missing::Fact { layout: layout.name.clone(), fact: fact.into() };
        let key = |key: &str| Missing::Key {
            layout: layout.name.clone(),
            section: "object".into(),
            key: key.into(),
        };
        let object = ObjectFields::bind(layout)?;
        let count = object.refcnt.ok_or_else(|| key("refcnt"));
        let counting = match layout.fact::<String>("object.refcnt_kind")?.as_str() {
            "plain" => Counting::Plain(count?),
            "immortal" => Counting::Immortal(count?),
            "low32" => Counting::Low32(count?),
            "biased" => Counting::Biased(
                object.ref_local.ok_or_else(|| key("ref_local"))?,
                object.ref_shared.ok_or_else(|| key("ref_shared"))?,
            ),
            _ => return Err(fact("object.refcnt_kind")),
        };
        let (tracking, head) = match layout.fact::<String>("gc.lists")?.as_str() {
            "none" => (Tracking::Bit(object.gc_bits.ok_or_else(|| key("gc_bits"))?), 0),
            _ => {
                let head = HeadFields::bind(layout)?;
                (Tracking::Head(head), head.size.max(head.span))
            }
        };
        let pre_header = layout.fact::<u64>("object.pre_header")? as usize * Addr::SIZE;
        if head + pre_header > MAX_BEFORE {
            return Err(Missing::Absurd {
                layout: layout.name.clone(),
                section: "gc_head".into(),
                key: "size".into(),
                value: head as i64,
            });
        }
        Ok(Instances {
            object,
            var: VarFields::bind(layout)?,
            tracking,
            head,
            ascii_size: UnicodeFields::bind(layout)?.ascii_size.map(|size| size as u64),
            pre_header,
            counting,
            refs_shift: layout.fact("gc_head.refs_shift")?,
        })
    }

    /// How many bytes lie between the beginning of what was allocated for an object and the object itself.
    pub fn before(&self, gc: bool, pre_header: bool) -> usize {
        if gc { self.head + if pre_header { self.pre_header } else { 0 } } else { 0 }
    }

    /// How many bytes of a block the debugging allocator has put before what it serves.
    pub fn debug_head(block: &[u8]) -> usize {
        match block.get(8..DEBUG_HEAD) {
            Some([domain, fill @ ..])
                if DEBUG_DOMAINS.contains(domain)
                    && DEBUG_FILL.iter().any(|byte| fill.iter().all(|other| other == byte)) =>
            {
                DEBUG_HEAD
            }
            _ => 0,
        }
    }

    /// The object that fills a block of `size` bytes, if one does: of these bytes, `block` is the first. A raw block is none, for
    /// there is no type where an object has its own.
    pub fn find(
        &self,
        memory: &dyn Memory,
        maps: &Maps,
        classes: &mut Classes,
        (block, size, holds): (&[u8], u64, Holds),
    ) -> Option<Instance> {
        let debug = Self::debug_head(block);
        let heads: &[(bool, bool)] = match holds {
            Holds::Anything if self.pre_header > 0 => &[(false, false), (true, false), (true, true)],
            Holds::Anything => &[(false, false), (true, false)],
            Holds::Raw => &[],
            Holds::Plain => &[(false, false)],
            Holds::Collected => &[(true, false)],
            Holds::PreHeader => &[(true, true)],
        };
        for (gc, pre_header) in heads.iter().copied() {
            let at = debug + self.before(gc, pre_header);
            let Some(object) = block.get(at..).filter(|rest| rest.len() >= self.object.size) else { break };
            let Some((class, references)) = self.header(memory, maps, classes, object) else { continue };
            let of = classes.get(class);
            let room = size.saturating_sub(at as u64);
            if of.gc == gc
                && (gc && of.pre_header) == pre_header
                && self.fits(of.kind, of.basicsize, object, room)
            {
                let tracked = gc && self.tracked(block, at);
                return Some(Instance { class, at, references, tracked });
            }
        }
        None
    }

    /// The type that the header of an object names, if what stands there can be one.
    pub fn header(
        &self,
        memory: &dyn Memory,
        maps: &Maps,
        classes: &mut Classes,
        object: &[u8],
    ) -> Option<(ClassId, References)> {
        let class = word(object, self.object.r#type.offset());
        let references = self.references(object)?;
        let known = classes.known(Addr(class));
        if known.is_none() && !maps.at(class).is_some_and(|m| m.read) {
            return None;
        }
        let class = known.unwrap_or_else(|| classes.id(memory, Addr(class)))?;
        // An array of addresses of a program that is not relocatable looks like small numbers.
        let count = self.object.refcnt.map_or(0, |count| word(object, count.offset()));
        let address = references == References::Some && count >= LOWEST_ADDRESS && maps.at(count).is_some();
        (!address).then_some((class, references))
    }

    /// The word where an object that begins like this has its type.
    #[inline]
    pub(super) fn type_word(&self, object: &[u8]) -> u64 {
        word(object, self.object.r#type.offset())
    }

    /// Whether it is plain that a block does not begin with an object, but with what links one to others.
    #[inline]
    pub(super) fn is_linked(&self, block: &[u8]) -> bool {
        (self.type_word(block) == 0 || self.references(block).is_none()) && Self::debug_head(block) == 0
    }

    /// The object of a type in a block of `size` bytes, where it is plain that it is one that somebody holds.
    #[inline]
    pub(super) fn plain(&self, of: &Usual, block: &[u8], size: u64) -> Option<Instance> {
        let object = block.get(of.at..)?;
        let references = self.references(object)?;
        let plain = match references {
            References::Some => {
                self.object.refcnt.is_none_or(|count| word(object, count.offset()) < LOWEST_ADDRESS)
            }
            References::Immortal => true,
            References::None => false,
        };
        if !plain || !self.fits(of.kind, of.basicsize, object, size.saturating_sub(of.at as u64)) {
            return None;
        }
        let tracked = of.gc && self.tracked(block, of.at);
        Some(Instance { class: of.class, at: of.at, references, tracked })
    }

    #[inline]
    fn references(&self, object: &[u8]) -> Option<References> {
        let count = match self.counting {
            Counting::Biased(local, shared) => return Some(biased(object, local, shared)),
            Counting::Plain(count) | Counting::Immortal(count) | Counting::Low32(count) => {
                word(object, count.offset())
            }
        };
        let low = count as u32;
        let high = count >> 32;
        let immortal = !matches!(self.counting, Counting::Plain(_)) && low >= 1 << 31;
        match self.counting {
            _ if count == 0 => Some(References::None),
            // 16 bits of flags above 16 that are 0. Otherwise it is the address of the next one on a free list.
            Counting::Low32(_) if high & 0xFFFF != 0 => {
                count.is_multiple_of(ALIGN).then_some(References::None)
            }
            Counting::Plain(_) | Counting::Immortal(_) if high != 0 => None,
            _ if immortal => Some(References::Immortal),
            _ => Some(References::Some),
        }
    }

    /// Whether there is room for an object of this type in `room` bytes.
    #[inline]
    fn fits(&self, kind: Kind, basicsize: u64, object: &[u8], room: u64) -> bool {
        let least = match (kind, self.ascii_size) {
            (Kind::Str, Some(ascii)) => ascii.min(basicsize),
            _ => basicsize,
        };
        let items = match kind {
            Kind::Tuple => {
                let items = word(object, self.var.ob_size.offset());
                items.saturating_mul(Addr::SIZE as u64)
            }
            _ => 0,
        };
        least.saturating_add(items) <= room
    }

    /// Whether the collector looks after the object at an offset.
    #[inline]
    pub(super) fn tracked(&self, block: &[u8], at: usize) -> bool {
        let head = match self.tracking {
            Tracking::Head(head) => head,
            Tracking::Bit(bits) => {
                let bits = block.get(at + bits.offset() as usize);
                return bits.is_some_and(|bits| bits & TRACKED != 0);
            }
        };
        let Some(bytes) = at.checked_sub(self.head).and_then(|from| block.get(from..at)) else {
            return false;
        };
        match head.refs {
            Some(refs) => word(bytes, refs.offset()).cast_signed() >> self.refs_shift != UNTRACKED,
            None => word(bytes, head.next.offset()) != 0,
        }
    }
}

/// What the two counts of an object say together (Include/cpython/object.h: `_Py_IMMORTAL_REFCNT_LOCAL`, `_Py_REF_SHARED_SHIFT`).
fn biased(object: &[u8], local: Field<u32>, shared: Field<i64>) -> References {
    let local = word(object, local.offset()) as u32;
    let shared = word(object, shared.offset()).cast_signed() >> SHARED_SHIFT;
    match i64::from(local) + shared {
        _ if local == u32::MAX => References::Immortal,
        1.. => References::Some,
        _ => References::None,
    }
}

/// The word at an offset of a block, or 0 behind its end.
#[inline]
pub(super) fn word(bytes: &[u8], offset: u64) -> u64 {
    let at = offset as usize;
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}
