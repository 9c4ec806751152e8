//! Modules, and what the objects take that their globals name.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::target::maps::Maps;

use super::array::Arrays;
use super::class::{Classes, Kind};
use super::dict::Dicts;
use super::extent::{Buffer, Extents};
use super::heap::HeapLook;
use super::instance::{Instance, Instances};
use super::outside::Outside;
use super::text::Text;

/// The most globals of a module that are looked at, and of all together.
const MAX_GLOBALS: u64 = 1 << 16;
const MAX_ALL: usize = 1 << 20;
/// How much of an object is read: what it keeps is told by its first bytes.
const HEAD: usize = 192;
/// The name of a module, among its globals.
const NAME: &str = "__name__";

fields! {
    /// `PyModuleObject`, Include/internal/pycore_moduleobject.h (Objects/moduleobject.c).
    struct ModuleFields in "module" { dict: Field<Addr> }
}

/// A module, and what its globals name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// What it calls itself.
    pub name: String,
    /// How many globals it has.
    pub globals: u64,
    /// What the allocator spends on the objects that these name, and on what each keeps elsewhere; not on what they lead to.
    pub bytes: u64,
}

/// How modules keep their globals.
#[derive(Debug)]
pub(super) struct Globals {
    module: ModuleFields,
    dicts: Dicts,
    text: Text,
}

/// What says how large an object is.
pub(super) struct Scale<'a> {
    pub(super) memory: &'a dyn Memory,
    pub(super) maps: &'a Maps,
    pub(super) instances: Instances,
    pub(super) extents: &'a Extents,
    pub(super) arrays: &'a Arrays,
    pub(super) classes: &'a mut Classes,
    pub(super) index: &'a HeapLook,
    pub(super) outside: &'a mut Outside,
}

impl Globals {
    /// Binds what the layout says of modules.
    pub(super) fn bind(layout: &Layout) -> Result<Globals, Missing> {
        let (dicts, text) = (Dicts::bind(layout)?, Text::bind(layout)?);
        Ok(Globals { module: ModuleFields::bind(layout)?, dicts, text })
    }

    /// Weighs what modules name; most bytes first.
    pub(super) fn weigh(&self, modules: &[Addr], scale: &mut Scale<'_>) -> Vec<Module> {
        let (mut all, mut weighed) = (MAX_ALL, Vec::new());
        for module in modules {
            let dict = self.module.dict.read(scale.memory, *module);
            let pairs = dict.ok().and_then(|dict| self.dicts.pairs(scale.memory, dict, MAX_GLOBALS).ok());
            let Some(pairs) = pairs.filter(|pairs| pairs.len() <= all) else { continue };
            all -= pairs.len();
            let name = self.dicts.find(scale.memory, &pairs, NAME);
            let name = name.and_then(|at| self.text.read(scale.memory, at).ok()).unwrap_or_default();
            let bytes = pairs.iter().map(|(_, value)| scale.weigh(*value)).fold(0, u64::saturating_add);
            weighed.push(Module { name, globals: pairs.len() as u64, bytes });
        }
        weighed.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        weighed
    }
}

impl Scale<'_> {
    /// What is spent on an object; nothing where it is no object, or one that nobody allocated.
    fn weigh(&mut self, object: Addr) -> u64 {
        let mut head = [0; HEAD];
        // Behind the last object of an arena, or of the heap, there may be nothing to read.
        let len =
            [HEAD, HEAD / 4].into_iter().find(|len| self.memory.read(object, &mut head[..*len]).is_ok());
        let Some(bytes) = len.map(|len| &head[..len]) else { return 0 };
        let Some((class, references)) = self.instances.header(self.memory, self.maps, self.classes, bytes)
        else {
            return 0;
        };
        let of = self.classes.get(class);
        let before = self.instances.before(of.gc, of.pre_header);
        let start = object.minus(before as u64);
        let mut buffers = match of.kind {
            Kind::Array => [None, None],
            _ => {
                let Ok(block) = self.memory.bytes(start, before + bytes.len()) else { return 0 };
                let instance = Instance { class, at: before, references, tracked: false };
                self.extents.buffers(of, &instance, start, &block)
            }
        };
        if of.kind == Kind::Array {
            let array = self.arrays.read(self.memory, object, bytes).filter(|array| array.owns);
            buffers[0] =
                array.map(|array| Buffer { at: array.data, len: Some(array.bytes), pointers: false });
        }
        let least = self.extents.own_size(of, bytes).unwrap_or(of.basicsize.saturating_add(before as u64));
        let own = Buffer { at: start, len: Some(least), pointers: false };
        buffers
            .into_iter()
            .flatten()
            .chain([own])
            .map(|buffer| self.spent(buffer))
            .fold(0, u64::saturating_add)
    }

    /// What is spent on a piece of memory.
    fn spent(&mut self, buffer: Buffer) -> u64 {
        match self.index.block_size(buffer.at) {
            Some(size) => size,
            None if self.outside.holds(buffer.at) => {
                self.outside.buffer(self.memory, &Buffer { pointers: false, ..buffer })
            }
            None => 0,
        }
    }
}
