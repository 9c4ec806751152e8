//! What the target's own `tracemalloc` knows: which traceback allocated what is in use, from its hash tables.

use rustc_hash::FxHashMap;

use crate::layout::{Field, Layout, Missing, Struct, fields};
use crate::memory::{Addr, Memory, Part, Word};
use crate::target::Located;

use super::hook;
use super::instance::word;
use super::object::c_string;
use super::text::Text;

/// The most buckets of a table, and the most traces that are read.
const MAX_BUCKETS: u64 = 1 << 24;
const MAX_TRACES: usize = 1 << 24;
/// The most frames of a traceback (`MAX_NFRAME`, Python/tracemalloc.c), and of all together.
const MAX_FRAMES: u64 = u16::MAX as u64;
const MAX_ALL_FRAMES: usize = 1 << 22;
/// The longest name of a file, where it is no object.
const MAX_NAME: usize = 4096;
/// The longest chain of a bucket that is followed: the tables grow before theirs get long.
const MAX_CHAIN: usize = 1 << 10;
/// The most domains that have a table of their own.
const MAX_DOMAINS: usize = 1 << 10;
/// How many places are read with one call.
const BATCH: usize = 1024;
/// How often it is tried again when a table moves while it is read.
const TRIES: usize = 5;
/// Where an entry has the hash of its key: behind the address of the next one (Include/internal/pycore_hashtable.h).
const HASH: u64 = 8;
/// Bytes of a key or a value that is a pointer or a number of 64 bits.
const WORD: u64 = 8;

fields! {
    /// `struct _PyTraceMalloc_Config` and `_tracemalloc_runtime_state`, Include/internal/pycore_tracemalloc.h (3.12 and later), and
    /// the structs of its tables: Modules/_tracemalloc.c and hashtable.h, later Python/tracemalloc.c and pycore_hashtable.h.
    struct TraceFields in "tracemalloc" {
        traces: Option<usize>,
        domains: Option<usize>,
        trace_size: usize,
        trace_traceback: usize,
        tb_nframe: usize,
        tb_nframe_size: usize,
        tb_frames: usize,
        frame_size: usize,
        frame_filename: Field<Addr>,
        frame_lineno: Field<u32>,
        ht_nbuckets: Field<u64>,
        ht_nentries: Field<u64>,
        ht_buckets: Field<Addr>,
        /// Where entries hold key and value themselves.
        ht_key_size: Option<Field<u64>>,
        hte_size: usize,
        hte_value: Option<usize>,
    }
}

/// How the tables of `tracemalloc` are read.
#[derive(Debug)]
pub struct Traces {
    fields: TraceFields,
    text: Text,
    /// A file's name is a C string.
    bare_names: bool,
    /// Where the pointer to the table of traces is, and that to the table of other domains' tables.
    tables: Option<(Addr, Option<Addr>)>,
}

/// What `tracemalloc` knows.
#[derive(Debug, Default)]
pub struct TraceLook {
    /// The files that tracebacks name.
    pub files: Vec<String>,
    /// The tracebacks, and what is in use of what each allocated.
    pub sites: Vec<Site>,
    /// Traces that the tables count and that were not met, for they changed meanwhile.
    pub lost: u64,
}

/// A traceback, and what is in use of what was allocated there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Places in [`TraceLook::files`] and lines, innermost first.
    pub frames: Vec<(usize, u32)>,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
}

/// Why there is nothing to be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTraces {
    /// It is not running.
    #[error("tracemalloc does not run")]
    Idle,
    /// Nothing says where its tables are.
    #[error(
        "tracemalloc runs, but nothing names its tables: this build is stripped, and keeps them in static variables"
    )]
    Hidden,
    /// Its tables contradict themselves whenever they are read.
    #[error("the tables of tracemalloc changed whenever they were read")]
    Changing,
}

/// Of each traceback, by its address, what is in use: bytes and blocks.
type Sums = FxHashMap<Addr, (u64, u64)>;

/// A hash table's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Table {
    entries: u64,
    buckets: u64,
    first: Addr,
    key: u64,
}

impl Traces {
    /// Binds what the layout says of `tracemalloc`; `None` where this Python has none.
    pub fn bind(located: &Located) -> Result<Option<Traces>, Missing> {
        let layout: &Layout = &located.chosen.layout;
        let wherever = layout.fact::<String>("tracemalloc.where")?;
        if wherever == "none" {
            return Ok(None);
        }
        let fields = TraceFields::bind(layout)?;
        let symbol = |name: &str| located.module.symbols.get(name).copied();
        let state = hook::tracemalloc_state(located)?;
        let tables = match wherever.as_str() {
            "runtime" => {
                let at = |offset: Option<usize>| Some(state?.plus(offset? as u64));
                at(fields.traces).map(|traces| (traces, at(fields.domains)))
            }
            _ => symbol("tracemalloc_traces").map(|traces| (traces, symbol("tracemalloc_domains"))),
        };
        // A frame must hold what is read of it; `chunks_exact` wants one that is there at all.
        let holds = fields.frame_filename.offset() + 8 <= fields.frame_size as u64
            && fields.frame_lineno.offset() + 4 <= fields.frame_size as u64;
        if !holds {
            return Err(Missing::Absurd {
                layout: layout.name.clone(),
                section: "tracemalloc".into(),
                key: "frame_size".into(),
                value: fields.frame_size as i64,
            });
        }
        let bare_names = layout.fact::<String>("tracemalloc.filename")? == "cstr";
        Ok(Some(Traces { fields, text: Text::bind(layout)?, bare_names, tables }))
    }

    /// Reads all traces.
    pub fn read(&self, memory: &dyn Memory, located: &Located) -> Result<TraceLook, NoTraces> {
        let runs = hook::traced_frames(memory, located).ok().flatten().is_some();
        let Some((traces, domains)) = self.tables else {
            return Err(if runs { NoTraces::Hidden } else { NoTraces::Idle });
        };
        for _ in 0..TRIES {
            let Ok(traces) = memory.get::<Addr>(traces) else { break };
            let mut all = vec![traces];
            if let Some(domains) = domains.and_then(|at| memory.get::<Addr>(at).ok()).and_then(Addr::non_null)
            {
                let tables = self.fields.values(memory, domains, WORD, MAX_DOMAINS);
                all.extend(tables.iter().flat_map(|(values, _)| addresses(values)));
            }
            if traces.is_null() {
                return Err(NoTraces::Idle);
            }
            let read: Option<Vec<(Sums, u64)>> =
                all.into_iter().map(|table| self.sums(memory, table)).collect();
            let Some(read) = read else { continue };
            let mut sums = Sums::default();
            let mut look = TraceLook::default();
            for (table, lost) in read {
                look.lost += lost;
                for (traceback, (bytes, blocks)) in table {
                    let sum = sums.entry(traceback).or_default();
                    *sum = (sum.0.saturating_add(bytes), sum.1 + blocks);
                }
            }
            if !runs && sums.is_empty() {
                return Err(NoTraces::Idle);
            }
            self.tracebacks(memory, sums, &mut look);
            return Ok(look);
        }
        Err(NoTraces::Changing)
    }

    /// What a table of traces has of each traceback: bytes and blocks; and how many of its traces were not met.
    fn sums(&self, memory: &dyn Memory, table: Addr) -> Option<(Sums, u64)> {
        let fields = &self.fields;
        let len = (fields.trace_size.max(fields.trace_traceback) + u64::SIZE) as u64;
        let inline = fields.ht_key_size.is_some();
        let (mut traces, mut lost) =
            fields.values(memory, table, if inline { len } else { WORD }, MAX_TRACES)?;
        if !inline {
            let places: Vec<Addr> = addresses(&traces).collect();
            traces.clear();
            scattered(memory, &places, len as usize, |_, trace| traces.extend(trace));
            lost += (places.len() - traces.len() / len as usize) as u64;
        }
        let mut sums = Sums::default();
        for trace in traces.chunks_exact(len as usize) {
            let sum = sums.entry(Addr(word(trace, fields.trace_traceback as u64))).or_default();
            *sum = (sum.0.saturating_add(word(trace, fields.trace_size as u64)), sum.1 + 1);
        }
        Some((sums, lost))
    }

    /// Reads the frames of tracebacks.
    fn tracebacks(&self, memory: &dyn Memory, sums: Sums, look: &mut TraceLook) {
        let fields = &self.fields;
        let mut names: FxHashMap<Addr, usize> = FxHashMap::default();
        let mut known: FxHashMap<String, usize> = FxHashMap::default();
        let mut rest = MAX_ALL_FRAMES;
        let mut sums: Vec<(Addr, (u64, u64))> = sums.into_iter().collect();
        sums.sort_unstable();
        for (at, (bytes, blocks)) in sums {
            let counted = at.plus(fields.tb_nframe as u64);
            let count = match fields.tb_nframe_size {
                2 => memory.get::<u16>(counted).map(u64::from),
                _ => memory.get::<u32>(counted).map(u64::from),
            };
            let count = count.ok().filter(|count| (1..=MAX_FRAMES).contains(count)).unwrap_or(0) as usize;
            let count = count.min(rest);
            rest -= count;
            let frames = memory.bytes(at.plus(fields.tb_frames as u64), count * fields.frame_size);
            let frames = frames.unwrap_or_default();
            let frames = frames.chunks_exact(fields.frame_size).map(|frame| {
                let frame = Struct::over(frame);
                let name = frame.get(fields.frame_filename);
                let file = *names.entry(name).or_insert_with(|| {
                    let name = self.name(memory, name);
                    *known.entry(name).or_insert_with_key(|name| {
                        look.files.push(name.clone());
                        look.files.len() - 1
                    })
                });
                (file, frame.get(fields.frame_lineno))
            });
            let frames = frames.collect();
            look.sites.push(Site { frames, bytes, blocks });
        }
    }

    fn name(&self, memory: &dyn Memory, at: Addr) -> String {
        let name = match self.bare_names {
            true => {
                c_string(memory, at, MAX_NAME).ok().map(|name| String::from_utf8_lossy(&name).into_owned())
            }
            false => self.text.read(memory, at).ok(),
        };
        name.unwrap_or_else(|| "<unknown>".to_owned())
    }
}

impl TraceFields {
    /// The first `len` bytes of the value of each entry of a table, one behind the other, and how many entries it counts and does not
    /// have. `None` where it is no table, or was made anew meanwhile.
    fn values(&self, memory: &dyn Memory, at: Addr, len: u64, most: usize) -> Option<(Vec<u8>, u64)> {
        let table = self.table(memory, at)?;
        let heads = memory.bytes(table.first, (table.buckets * WORD) as usize).ok()?;
        let value = self.hte_value.map_or(self.hte_size as u64 + table.key, |value| value as u64);
        let mut chains: Vec<(u64, Addr)> = (0..)
            .zip(heads.as_chunks::<8>().0)
            .map(|(bucket, head)| (bucket, Addr(u64::from_le_bytes(*head))))
            .filter(|(_, head)| !head.is_null())
            .collect();
        let mut values: Vec<u8> = Vec::new();
        let mut count = 0;
        for _ in 0..MAX_CHAIN {
            if chains.is_empty() || count >= most {
                break;
            }
            let places: Vec<Addr> = chains.iter().map(|(_, entry)| *entry).collect();
            let mut next = Vec::new();
            scattered(memory, &places, (value + len) as usize, |place, entry| {
                let bucket = chains[place].0;
                // What lies in another bucket than it belongs to is an entry no more.
                if word(entry, HASH) & (table.buckets - 1) == bucket {
                    values.extend(&entry[value as usize..]);
                    count += 1;
                    next.extend(Addr(word(entry, 0)).non_null().map(|entry| (bucket, entry)));
                }
            });
            chains = next;
        }
        let after = self.table(memory, at)?;
        let same = (table.buckets, table.first) == (after.buckets, after.first);
        same.then_some((values, after.entries.saturating_sub(count as u64)))
    }

    fn table(&self, memory: &dyn Memory, at: Addr) -> Option<Table> {
        let key = self.ht_key_size.map_or(Ok(0), |field| field.read(memory, at)).ok()?;
        let table = Table {
            entries: self.ht_nentries.read(memory, at).ok()?,
            buckets: self.ht_nbuckets.read(memory, at).ok()?,
            first: self.ht_buckets.read(memory, at).ok()?,
            key,
        };
        let sound = table.buckets.is_power_of_two() && table.buckets <= MAX_BUCKETS && key <= 2 * WORD;
        sound.then_some(table)
    }
}

/// The addresses in some memory that is full of them.
fn addresses(bytes: &[u8]) -> impl Iterator<Item = Addr> {
    bytes.as_chunks::<8>().0.iter().map(|word| Addr(u64::from_le_bytes(*word)))
}

/// Reads as many bytes at each place, and shows those that arrive.
fn scattered(memory: &dyn Memory, places: &[Addr], len: usize, mut show: impl FnMut(usize, &[u8])) {
    let mut room = vec![0; BATCH * len];
    for (batch, places) in places.chunks(BATCH).enumerate() {
        let rooms = room.chunks_exact_mut(len.max(1));
        let mut parts: Vec<Part<'_>> =
            places.iter().zip(rooms).map(|(at, buf)| Part { addr: *at, buf, arrived: false }).collect();
        memory.read_many(&mut parts);
        for (place, part) in parts.iter().enumerate().filter(|(_, part)| part.arrived) {
            show(batch * BATCH + place, part.buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Fault;

    /// Memory from an address on.
    struct Words(u64, Vec<u64>);

    impl Memory for Words {
        fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<(), Fault> {
            let fault = Fault { addr, len: buf.len() };
            let bytes: Vec<u8> = self.1.iter().flat_map(|word| word.to_le_bytes()).collect();
            let from = usize::try_from(addr.0.checked_sub(self.0).ok_or(fault)?).map_err(|_| fault)?;
            let part = bytes.get(from..).and_then(|rest| rest.get(..buf.len())).ok_or(fault)?;
            buf.copy_from_slice(part);
            Ok(())
        }
    }

    #[track_caller]
    fn check(words: &[u64], expected: Option<(usize, u64)>) {
        let mut layout = Layout::new("made up");
        let frames = [("trace_size", 0), ("trace_traceback", 8), ("tb_nframe", 8), ("tb_nframe_size", 2)];
        let frame = [("tb_frames", 12), ("frame_size", 12), ("frame_filename", 0), ("frame_lineno", 8)];
        let table =
            [("ht_nentries", 0), ("ht_nbuckets", 8), ("ht_buckets", 16), ("hte_size", 32), ("hte_value", 24)];
        for (key, value) in frames.into_iter().chain(frame).chain(table) {
            layout.set("tracemalloc", key, value);
        }
        let fields = TraceFields::bind(&layout).unwrap();
        let memory = Words(0x1000, words.to_vec());
        let values = fields.values(&memory, Addr(0x1000), WORD, 1 << 20);
        assert_eq!(values.map(|(values, lost)| (values.len() / 8, lost)), expected);
    }

    #[test]
    fn a_table_that_is_none_is_told_and_a_chain_without_end_has_one() {
        // Entries, buckets, where these are; two buckets; an entry: the next one, its hash, key and value.
        let entry = |next: u64, hash: u64| [next, hash, 7, 0xBEEF];
        let table = |first: u64, one: [u64; 4]| [&[1, 2, 0x1018, first, 0][..], &one].concat();
        check(&table(0x1028, entry(0, 4)), Some((1, 0)));
        check(&table(0x1028, entry(0, 5)), Some((0, 1)));
        check(&table(0xDEAD, entry(0, 4)), Some((0, 1)));
        check(&table(0x1028, entry(0x1028, 4)), Some((MAX_CHAIN, 0)));
        check(&[1, 3, 0x1018, 0, 0, 0], None);
        check(&[1, 1 << 40, 0x1018, 0], None);
        check(&[1, 2, 0xDEAD, 0], None);
    }
}
