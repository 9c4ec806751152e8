//! A census: every object of a process, counted by its type, and what the allocator spends on it.

use crate::layout::{Layout, Missing};
use crate::memory::{Addr, Memory};
use crate::target::Located;
use crate::target::maps::Maps;
use crate::target::touched::Touched;

use super::array::{Array, Arrays};
use super::class::{Class, ClassId, Classes, Kind};
use super::export::{Exporter, Exporters, Exports};
use super::extent::{Buffer, Extents};
use super::generation::{ByGeneration, Generations};
use super::globals::{Globals, Module, Scale};
use super::heap::{Heap, HeapLook, NoHeap};
use super::instance::{Instance, Instances, References};
use super::outside::{self, Outside};
use super::pin::{Held, Pinned, Pins};
use super::pools::{Copy, Holds};
use super::special::{Special, Specials};
use super::usual::Usuals;

/// The most buffers outside of pools that objects in pools are found to keep.
const MAX_BUFFERS: usize = 1 << 22;

/// The most arrays that are looked into, and the most code objects that are remembered.
const MAX_ARRAYS: usize = 1 << 16;
const MAX_CODES: usize = 1 << 18;
/// The most modules that are weighed.
const MAX_MODULES: usize = 1 << 14;

/// How the objects of a process are counted.
#[derive(Debug)]
pub struct Census {
    instances: Instances,
    extents: Extents,
    classes: Classes,
    arrays: Arrays,
    specials: Specials,
    exports: Exports,
    globals: Globals,
    /// Whether modules are weighed by their globals, which are read one by one.
    pub modules: bool,
}

/// What a census counted.
#[derive(Debug)]
pub struct Counted {
    /// Types, and what there is of each; most bytes first.
    pub types: Vec<(Class, Tally)>,
    /// Blocks of pools that hold no object, and that no object is known to keep.
    pub raw: Blocks,
    /// Objects that wait on free lists for their next use.
    pub cached: Blocks,
    /// The allocators, as the census found them.
    pub look: HeapLook,
    /// What lies outside of pools and was found, in no order; a piece may be there twice.
    pub pieces: Vec<Piece>,
    /// Arrays of numpy's, and the type of each: its place in [`Counted::types`].
    pub arrays: Vec<(Array, usize)>,
    /// Objects whose memory memoryviews show, and the type of each: its place in [`Counted::types`].
    pub exporters: Vec<(Exporter, usize)>,
    /// Where code objects are.
    pub codes: Vec<Addr>,
    /// Modules by what their globals take, where that was asked for.
    pub modules: Vec<Module>,
    /// Weak references and the like.
    pub special: Special,
    /// Whether it was seen in which generation objects are.
    pub aged: bool,
    /// The nearly empty arenas, and what is in them.
    pub pinned: Vec<Pinned>,
    /// Objects that the debugging allocator has put its marks around.
    pub debugged: u64,
    /// Whether there was more outside of pools than was followed.
    pub cut: bool,
}

/// What there is of a type.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub count: u64,
    /// Bytes that the allocator spends on them, and on what they keep elsewhere.
    pub bytes: u64,
    /// Of these bytes, those that they keep elsewhere: items of a list, the table of a dictionary.
    pub buffers: u64,
    /// Of these bytes, those in pools.
    pub pooled: u64,
    /// Of the objects, those that the collector has in its lists.
    pub tracked: u64,
    /// Of the objects, those that are never freed.
    pub immortal: u64,
    /// Of the objects, those too large for a pool.
    pub large: u64,
    /// Of the objects, those that are interned.
    pub interned: u64,
    /// Of the tracked objects, how many are in each generation; zeros where that was not asked, or could not be seen.
    pub generations: ByGeneration,
    /// What `sys.getsizeof` says of them all, where it is known how it counts.
    pub sizeof: Option<u64>,
}

/// An object or a buffer outside of pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub start: Addr,
    /// Its bytes.
    pub size: u64,
    /// The type of the object, or of the one that keeps the buffer: its place in [`Counted::types`].
    pub of: usize,
}

/// Some blocks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why there is no census.
#[derive(Debug, thiserror::Error)]
pub enum NoCensus {
    /// The heap cannot be read.
    #[error(transparent)]
    Heap(#[from] NoHeap),
    /// The layout lacks something.
    #[error(transparent)]
    Layout(#[from] Missing),
}

/// What is counted during a census.
struct Count<'a> {
    census: &'a mut Census,
    memory: &'a dyn Memory,
    maps: &'a Maps,
    generations: Option<&'a Generations>,
    index: &'a HeapLook,
    tallies: Vec<Tally>,
    raw: Blocks,
    claimed: Blocks,
    cached: Blocks,
    outside: Outside,
    buffers: Vec<(Buffer, ClassId)>,
    pieces: Vec<(Addr, u64, ClassId)>,
    arrays: Vec<(Array, ClassId)>,
    exporters: Exporters,
    codes: Vec<Addr>,
    modules: Vec<Addr>,
    special: Special,
    pins: Pins,
    usuals: Usuals,
    debugged: u64,
    cut: bool,
}

impl Census {
    /// Binds what the layout says of objects.
    pub fn open(located: &Located) -> Result<Census, Missing> {
        let layout: &Layout = &located.chosen.layout;
        let instances = Instances::bind(layout)?;
        Ok(Census {
            instances,
            extents: Extents::bind(layout, instances)?,
            classes: Classes::bind(layout)?,
            arrays: Arrays::bind(layout)?,
            specials: Specials::bind(layout)?,
            exports: Exports::bind(layout)?,
            globals: Globals::bind(layout)?,
            modules: false,
        })
    }

    /// Counts every object of a process: those in pools by going over the pools, those that are too large for one by
    /// following the addresses that stand in all others, and in a process without pools in the variables of its programs.
    /// `memory` is that of the process, or a copy of it, and `maps` its mappings at that time.
    pub fn take(
        &mut self,
        memory: &dyn Memory,
        maps: &Maps,
        heap: &Heap,
        generations: Option<&Generations>,
    ) -> Result<Counted, NoCensus> {
        let index = heap.glance(memory)?;
        let touched = Touched::new(memory, maps, &heap.pages, heap.swapped);
        let mut count = Count {
            census: self,
            memory: &touched,
            maps,
            generations,
            index: &index,
            tallies: Vec::new(),
            raw: Blocks::default(),
            claimed: Blocks::default(),
            cached: Blocks::default(),
            outside: Outside::new(&touched, maps, &index),
            buffers: Vec::new(),
            pieces: Vec::new(),
            arrays: Vec::new(),
            exporters: Exporters::default(),
            codes: Vec::new(),
            modules: Vec::new(),
            special: Special::default(),
            pins: Pins::of(&index),
            usuals: Usuals::new(),
            debugged: 0,
            cut: false,
        };
        let look = heap.look(memory, |pool| count.pool(pool))?;
        if look.arenas.is_empty() {
            count.outside.roots(&touched, &outside::variables(&touched, maps));
        }
        count.large();
        count.shared_keys();
        count.large();
        let modules = count.weigh_modules();
        let Count {
            tallies,
            raw,
            claimed,
            cached,
            outside,
            pieces,
            arrays,
            exporters,
            codes,
            special,
            pins,
            debugged,
            cut,
            ..
        } = count;
        let exporters = exporters.all(&touched, &mut self.classes);
        let all = self.classes.all();
        let mut order: Vec<usize> = (0..tallies.len()).filter(|place| tallies[*place].count > 0).collect();
        order.sort_by(|one, other| {
            let bytes = tallies[*other].bytes.cmp(&tallies[*one].bytes);
            bytes.then_with(|| all[*one].name.cmp(&all[*other].name))
        });
        let mut places = vec![None; tallies.len()];
        order.iter().enumerate().for_each(|(place, class)| places[*class] = Some(place));
        let types = order.iter().map(|class| (all[*class].clone(), tallies[*class])).collect();
        let pieces = pieces
            .into_iter()
            .filter_map(|(start, size, class)| Some(Piece { start, size, of: places[class.index()]? }))
            .collect();
        let mut arrays: Vec<(Array, usize)> =
            arrays.into_iter().filter_map(|(array, class)| Some((array, places[class.index()]?))).collect();
        arrays.sort_by_key(|(array, _)| (std::cmp::Reverse(array.bytes), array.at));
        let exporters = exporters.into_iter();
        let exporters = exporters
            .filter_map(|(of, class)| Some((of, places.get(class.index()).copied().flatten()?)))
            .collect();
        let pinned = pins.all(&index, &places);
        let aged = generations.is_some();
        let raw = Blocks {
            count: raw.count.saturating_sub(claimed.count),
            bytes: raw.bytes.saturating_sub(claimed.bytes),
        };
        Ok(Counted {
            types,
            raw,
            cached,
            look,
            pieces,
            arrays,
            exporters,
            codes,
            modules,
            special,
            aged,
            pinned,
            debugged,
            cut: cut || outside.cut,
        })
    }
}

impl Count<'_> {
    fn pool(&mut self, pool: &Copy<'_>) {
        let pinned = self.pins.at(self.index, pool.address);
        for (at, block) in pool.blocks() {
            let held = match self.usual(pool, at, block) {
                Some(class) => Held::By(class),
                None => self.block(pool, at, block),
            };
            if let Some(arena) = pinned {
                self.pins.add(arena, held, pool.size);
            }
        }
    }

    /// Counts what is in a block, if that is an object that needs but be counted.
    #[inline]
    fn usual(&mut self, pool: &Copy<'_>, at: Addr, block: &[u8]) -> Option<ClassId> {
        let Census { instances, extents, classes, .. } = &*self.census;
        let (usual, found) = self.usuals.find(instances, (block, pool.size, pool.holds))?;
        let class = classes.get(found.class);
        let (own, interned) = extents.lone_size(&usual.lone, class, &block[found.at..])?;
        if usual.leads && pool.holds == Holds::Anything {
            self.outside.follow(block);
        }
        self.add(&found, at, pool.size, own, interned);
        self.tallies[found.class.index()].pooled += pool.size;
        Some(found.class)
    }

    /// Counts what is in a block.
    fn block(&mut self, pool: &Copy<'_>, at: Addr, block: &[u8]) -> Held<ClassId> {
        // Where the allocator says of blocks of any size what lies in them, nothing has to be searched for.
        if pool.holds == Holds::Anything {
            self.outside.follow(block);
        }
        // By reference: a copy of what the layout says takes longer than to find most objects by it.
        let Census { instances, classes, extents, .. } = &mut *self.census;
        match instances.find(self.memory, self.maps, classes, (block, pool.size, pool.holds)) {
            None => {
                self.raw.add(pool.size);
                Held::Raw
            }
            Some(found) if found.references == References::None => {
                self.cached.add(pool.size);
                Held::Cached
            }
            Some(found) => {
                let class = classes.get(found.class);
                if let Some(lone) = extents.lone(class) {
                    self.usuals.learn(found.class, class, lone, instances);
                    // Its objects will not be searched for it.
                    self.outside.follow(&class.address.0.to_le_bytes());
                }
                self.object(&found, at, block, pool.size);
                tally(&mut self.tallies, found.class).pooled += pool.size;
                Held::By(found.class)
            }
        }
    }

    /// Counts an object, of which `block` is what was allocated for it, as far as it was read.
    fn object(&mut self, found: &Instance, at: Addr, block: &[u8], bytes: u64) {
        let census = &*self.census;
        let class = census.classes.get(found.class);
        let object = &block[found.at..];
        let mut buffers = census.extents.buffers(class, found, at, block);
        if class.kind == Kind::Array && self.arrays.len() < MAX_ARRAYS {
            let array = census.arrays.read(self.memory, at.plus(found.at as u64), object);
            // What it has of its own: its elements, and its shape.
            let own = array.as_ref().filter(|array| array.owns);
            let elements =
                own.map(|array| Buffer { at: array.data, len: Some(array.bytes), pointers: array.pointers });
            let shape = array.as_ref().and_then(|array| array.dimensions.non_null());
            buffers = [elements, shape.map(|at| Buffer { at, len: None, pointers: false })];
            self.arrays.extend(array.map(|array| (array, found.class)));
        }
        if class.kind == Kind::Code && self.codes.len() < MAX_CODES {
            self.codes.push(at.plus(found.at as u64));
        }
        if class.kind == Kind::Module && census.modules && self.modules.len() < MAX_MODULES {
            self.modules.push(at.plus(found.at as u64));
        }
        if class.kind == Kind::View {
            let shown = census.exports.add(object, &mut self.exporters);
            shown.into_iter().for_each(|bytes| self.special.views.add(bytes));
        }
        census.specials.count(self.memory, class, object, &mut self.special);
        let sizeof = census.extents.size_of(class, census.extents.own_size(class, object), buffers);
        let interned = census.extents.interned(class, object);
        self.debugged += u64::from(found.at > census.instances.before(class.gc, class.pre_header));
        self.add(found, at, bytes, sizeof, interned);
        for buffer in buffers.into_iter().flatten() {
            self.buffer(buffer, found.class);
        }
    }

    /// Adds an object to what there is of its type.
    #[inline]
    fn add(&mut self, found: &Instance, at: Addr, bytes: u64, sizeof: Option<u64>, interned: bool) {
        if interned {
            self.special.interned.add(bytes);
        }
        let tally = tally(&mut self.tallies, found.class);
        tally.sizeof = match tally.count {
            0 => sizeof,
            _ => tally.sizeof.zip(sizeof).map(|(all, this)| all.saturating_add(this)),
        };
        tally.count += 1;
        tally.bytes += bytes;
        tally.tracked += u64::from(found.tracked);
        if let Some(generations) = self.generations.filter(|_| found.tracked) {
            tally.generations[generations.of(at.plus(found.at as u64))] += 1;
        }
        tally.immortal += u64::from(found.references == References::Immortal);
        tally.interned += u64::from(interned);
    }

    /// Puts down memory that an object keeps elsewhere to its type.
    fn buffer(&mut self, buffer: Buffer, class: ClassId) {
        if let Some(size) = self.index.block_size(buffer.at) {
            let tally = tally(&mut self.tallies, class);
            tally.buffers += size;
            tally.bytes += size;
            tally.pooled += size;
            self.claimed.add(size);
            if let Some(arena) = self.pins.at(self.index, buffer.at) {
                self.pins.claim(arena, class, size);
            }
        } else if !self.outside.holds(buffer.at) {
            // Empty dictionaries share one table, which is a variable of the interpreter's.
        } else if self.buffers.len() < MAX_BUFFERS {
            self.buffers.push((buffer, class));
        } else {
            self.cut = true;
        }
    }

    /// Counts what lies outside of pools: it is found by what leads to it.
    fn large(&mut self) {
        let mut outside = std::mem::take(&mut self.outside);
        loop {
            for (buffer, class) in std::mem::take(&mut self.buffers) {
                let size = outside.buffer(self.memory, &buffer);
                let tally = tally(&mut self.tallies, class);
                tally.buffers += size;
                tally.bytes += size;
                self.piece(buffer.at, size, class);
            }
            let mut found = Vec::new();
            let (instances, classes) = (self.census.instances, &mut self.census.classes);
            let more = outside.resolve(self.memory, self.maps, &instances, classes, |classes, object| {
                found.push((object.instance, object.start, object.bytes.to_vec(), object.chunk));
                let class = classes.get(object.instance.class);
                // What the collector looks after leads to its neighbours in the collector's lists.
                class.gc || !class.kind.is_bare()
            });
            for (instance, start, bytes, chunk) in found {
                let class = self.census.classes.get(instance.class);
                let own = self.census.extents.own_size(class, &bytes[instance.at..]);
                // What a debugging allocator puts before it, and as much behind it.
                let before = self.census.instances.before(class.gc, class.pre_header);
                let around = 2 * (instance.at - before) as u64;
                let least = own.unwrap_or(class.basicsize + before as u64) + around;
                let chunk = chunk.filter(|chunk| match own {
                    Some(_) => chunk.serves(least),
                    None => chunk.size >= least,
                });
                let size = chunk.map_or_else(|| least.min(outside.behind(start.0)), |chunk| chunk.size);
                tally(&mut self.tallies, instance.class).large += 1;
                self.piece(start, size, instance.class);
                self.object(&instance, start, &bytes, size);
            }
            if !more && self.buffers.is_empty() {
                break;
            }
        }
        self.outside = outside;
    }

    fn piece(&mut self, start: Addr, size: u64, class: ClassId) {
        if self.pieces.len() < MAX_BUFFERS {
            self.pieces.push((start, size, class));
        }
    }

    /// Weighs the modules that were met by what their globals name.
    fn weigh_modules(&mut self) -> Vec<Module> {
        let Census { instances, extents, classes, arrays, globals, .. } = &mut *self.census;
        let mut scale = Scale {
            memory: self.memory,
            maps: self.maps,
            instances: *instances,
            extents,
            arrays,
            classes,
            index: self.index,
            outside: &mut self.outside,
        };
        globals.weigh(&self.modules, &mut scale)
    }

    /// Puts the keys that instances share down to their types.
    fn shared_keys(&mut self) {
        let keys: Vec<(Addr, Addr)> = self
            .census
            .classes
            .all()
            .iter()
            .filter_map(|class| Some((class.address, class.shared_keys?)))
            .collect();
        for (class, keys) in keys {
            let Ok(meta) = self.census.classes.type_of(self.memory, class) else { continue };
            let Some(meta) = self.census.classes.id(self.memory, meta) else { continue };
            self.buffer(Buffer { at: keys, len: None, pointers: true }, meta);
        }
    }
}

impl Blocks {
    /// Counts one more.
    pub fn add(&mut self, bytes: u64) {
        self.count = self.count.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

/// What there is of a type.
fn tally(tallies: &mut Vec<Tally>, class: ClassId) -> &mut Tally {
    if tallies.len() <= class.index() {
        tallies.resize(class.index() + 1, Tally::default());
    }
    &mut tallies[class.index()]
}
