//! What a target says of its own structs: `_Py_DebugOffsets` and `.AsyncioDebug`, checked and laid over a layout.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Layout, Told, Version, file};

/// The first bytes of `_Py_DebugOffsets` (Include/internal/pycore_debug_offsets.h).
pub const COOKIE: [u8; 8] = *b"xdebugpy";
/// No struct of CPython is longer; an offset beyond is garbage.
const MAX_STRUCT: u64 = 1 << 22;

/// The tables of positions within this program: name, text.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("3.13", include_str!("../../layouts/debug-offsets/3.13.toml")),
    ("3.14", include_str!("../../layouts/debug-offsets/3.14.toml")),
    ("3.15", include_str!("../../layouts/debug-offsets/3.15.toml")),
];

/// The same for `.AsyncioDebug`, the section of `_asyncio`, which since 3.14 says where tasks are.
pub const EMBEDDED_ASYNCIO: &[(&str, &str)] = &[
    ("3.14-asyncio", include_str!("../../layouts/debug-offsets/3.14-asyncio.toml")),
    ("3.15-asyncio", include_str!("../../layouts/debug-offsets/3.15-asyncio.toml")),
];

/// Where each field of a minor version's `_Py_DebugOffsets` lies: fields were inserted in the middle from one to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The minor version.
    pub python: (u8, u8),
    /// How many bytes the table has.
    pub size: usize,
    fields: BTreeMap<(String, String), usize>,
}

/// What a target says of itself is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It does not begin with [`COOKIE`].
    #[error("its debug offsets do not begin with the cookie")]
    Cookie,
    /// It ends before its last field.
    #[error("its debug offsets end after {bytes} bytes of {size}")]
    Short {
        /// How many bytes are there.
        bytes: usize,
        /// How many there should be.
        size: usize,
    },
    /// It is of another version than the table that it was read with.
    #[error("its debug offsets are those of Python {found}")]
    Version {
        /// What it says.
        found: Version,
    },
    /// An offset that does not fit into the struct whose size stands beside it.
    #[error("its debug offsets say {field} = {value}, which does not fit")]
    Absurd {
        /// Which field.
        field: String,
        /// Its value.
        value: u64,
    },
}

/// Field, and the key of a layout that it tells.
type Keys = &'static [(&'static str, &'static str)];

/// Group of fields, section of a layout, and which key each field tells. Fields that no reader needs are left out.
///
/// `gil_runtime_state_locked` and `_holder` count from the interpreter, not from its GIL: see [`GIL`].
const KEYS: &[(&str, &str, Keys)] = &[
    (
        "runtime_state",
        "runtime",
        &[("size", "size"), ("finalizing", "finalizing"), ("interpreters_head", "interpreters_head")],
    ),
    (
        "interpreter_state",
        "interp",
        &[
            ("size", "size"),
            ("id", "id"),
            ("next", "next"),
            ("threads_head", "threads_head"),
            ("threads_main", "threads_main"),
            ("gc", "gc"),
            ("imports_modules", "modules"),
            ("sysdict", "sysdict"),
            ("builtins", "builtins"),
            ("ceval_gil", "gil_ptr"),
            ("gil_runtime_state", "own_gil"),
            ("code_object_generation", "code_object_generation"),
        ],
    ),
    (
        "thread_state",
        "thread",
        &[
            ("size", "size"),
            ("prev", "prev"),
            ("next", "next"),
            ("interp", "interp"),
            ("current_frame", "current_frame"),
            ("base_frame", "base_frame"),
            ("last_profiled_frame", "last_profiled_frame"),
            ("last_profiled_frame_seq", "last_profiled_frame_seq"),
            ("thread_id", "thread_id"),
            ("native_thread_id", "native_thread_id"),
            ("datastack_chunk", "datastack_chunk"),
            ("status", "status"),
            ("holds_gil", "holds_gil"),
            ("gil_requested", "gil_requested"),
            ("current_exception", "current_exception"),
            ("exc_state", "exc_state"),
        ],
    ),
    ("err_stackitem", "exc_item", &[("exc_value", "exc_value")]),
    (
        "interpreter_frame",
        "iframe",
        &[
            ("size", "size"),
            ("previous", "previous"),
            ("executable", "code"),
            ("instr_ptr", "instr"),
            ("localsplus", "localsplus"),
            ("owner", "owner"),
            ("stackpointer", "stackpointer"),
        ],
    ),
    (
        "code_object",
        "code",
        &[
            ("size", "size"),
            ("filename", "filename"),
            ("name", "name"),
            ("qualname", "qualname"),
            ("linetable", "linetable"),
            ("firstlineno", "firstlineno"),
            ("argcount", "argcount"),
            ("localsplusnames", "localsplusnames"),
            ("localspluskinds", "localspluskinds"),
            ("co_code_adaptive", "code_adaptive"),
        ],
    ),
    ("pyobject", "object", &[("size", "size"), ("ob_type", "type")]),
    (
        "type_object",
        "type",
        &[
            ("size", "size"),
            ("tp_name", "name"),
            ("tp_flags", "flags"),
            ("tp_basicsize", "basicsize"),
            ("tp_dictoffset", "dictoffset"),
        ],
    ),
    ("heap_type_object", "type", &[("size", "heap_size"), ("ht_cached_keys", "ht_cached_keys")]),
    ("tuple_object", "tuple", &[("size", "size"), ("ob_item", "item")]),
    ("list_object", "list", &[("size", "size"), ("ob_item", "item")]),
    ("set_object", "set", &[("size", "size"), ("used", "used"), ("table", "table"), ("mask", "mask")]),
    ("dict_object", "dict", &[("size", "size"), ("ma_keys", "keys"), ("ma_values", "values")]),
    ("float_object", "float", &[("ob_fval", "fval")]),
    ("long_object", "long", &[("size", "size"), ("lv_tag", "lv_tag"), ("ob_digit", "digit")]),
    ("bytes_object", "bytes", &[("size", "size"), ("ob_size", "ob_size"), ("ob_sval", "sval")]),
    (
        "unicode_object",
        "unicode",
        &[
            ("size", "full_size"),
            ("state", "state"),
            ("length", "length"),
            ("asciiobject_size", "ascii_size"),
            ("compactunicodeobject_size", "compact_size"),
        ],
    ),
    (
        "gc",
        "gc",
        &[("size", "size"), ("collecting", "collecting"), ("frame", "frame"), ("generation_stats", "stats")],
    ),
    (
        "gen_object",
        "gen",
        &[("size", "size"), ("gi_name", "name"), ("gi_iframe", "iframe"), ("gi_frame_state", "frame_state")],
    ),
    ("llist_node", "llist", &[("next", "next"), ("prev", "prev")]),
];

/// Fields that only a free-threaded build fills in; elsewhere they are 0 and say nothing.
const FREE_THREADED_KEYS: &[(&str, &str, Keys)] = &[
    ("interpreter_state", "interp", &[("tlbc_generation", "tlbc_generation")]),
    ("interpreter_frame", "iframe", &[("tlbc_index", "tlbc_index")]),
    ("code_object", "code", &[("co_tlbc", "tlbc")]),
];

/// Fields of the GIL that count from the interpreter: less `gil_runtime_state` they are those of the GIL.
const GIL: &[(&str, &str)] =
    &[("gil_runtime_state_locked", "locked"), ("gil_runtime_state_holder", "last_holder")];

/// Which key of a layout each field of `.AsyncioDebug` tells. Its thread is the whole `_PyThreadStateImpl`.
const ASYNCIO_KEYS: &[(&str, &str, Keys)] = &[
    (
        "asyncio_task_object",
        "task",
        &[
            ("size", "size"),
            ("task_name", "name"),
            ("task_awaited_by", "awaited_by"),
            ("task_awaited_by_is_set", "awaited_by_is_set"),
            ("task_coro", "coro"),
            ("task_node", "node"),
        ],
    ),
    ("asyncio_interpreter_state", "interp", &[("asyncio_tasks_head", "asyncio_tasks_head")]),
    (
        "asyncio_thread_state",
        "thread",
        &[
            ("size", "impl_size"),
            ("asyncio_running_loop", "asyncio_running_loop"),
            ("asyncio_running_task", "asyncio_running_task"),
            ("asyncio_tasks_head", "asyncio_tasks_head"),
        ],
    ),
];

#[derive(Deserialize)]
struct Raw {
    meta: RawMeta,
    #[serde(flatten)]
    groups: BTreeMap<String, BTreeMap<String, usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMeta {
    format: i64,
    python: String,
    size: usize,
}

impl Table {
    /// Reads the text of a table of positions.
    pub fn parse(name: &str, text: &str) -> Result<Table, file::BadFile> {
        let bad = |reason: &str| file::BadFile::Malformed { file: name.into(), reason: reason.into() };
        let raw: Raw = toml::from_str(text).map_err(|error| bad(error.to_string().trim_end()))?;
        if raw.meta.format != file::FORMAT {
            return Err(bad("[meta] format is not one that this program reads"));
        }
        let python = file::minor(&raw.meta.python).ok_or_else(|| bad("[meta] python is no minor version"))?;
        let mut fields = BTreeMap::new();
        for (group, keys) in raw.groups {
            for (field, position) in keys {
                if position.checked_add(8).is_none_or(|end| end > raw.meta.size) {
                    return Err(bad(&format!("[{group}] {field} lies beyond the end")));
                }
                fields.insert((group.clone(), field), position);
            }
        }
        Ok(Table { python, size: raw.meta.size, fields })
    }

    /// The value of a field, if the table has it and the bytes reach that far.
    pub fn get(&self, bytes: &[u8], group: &str, field: &str) -> Option<u64> {
        let at = *self.fields.get(&(group.to_owned(), field.to_owned()))?;
        let bytes = bytes.get(at..at.checked_add(8)?)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    /// Lays what the target says over `layout`, all of it or nothing; what differs from the layout is returned.
    ///
    /// `bytes` is the target's `_Py_DebugOffsets` from its cookie on. With `other_minor` its version need not be that of
    /// this table: a guess for a version that nobody knows yet.
    pub fn apply(&self, layout: &mut Layout, bytes: &[u8], other_minor: bool) -> Result<Vec<Told>, Rejected> {
        if !bytes.starts_with(&COOKIE) {
            return Err(Rejected::Cookie);
        }
        if bytes.len() < self.size {
            return Err(Rejected::Short { bytes: bytes.len(), size: self.size });
        }
        let hex = self.get(bytes, "header", "version").unwrap_or(0);
        let found = Version::from_hex(u32::try_from(hex).unwrap_or(0));
        if (found.major, found.minor) != self.python && !other_minor {
            return Err(Rejected::Version { found });
        }
        let mut said = Vec::new();
        for &(group, section, keys) in KEYS {
            self.read(bytes, group, section, keys, &mut said)?;
        }
        if self.get(bytes, "header", "free_threaded") == Some(1) {
            for &(group, section, keys) in FREE_THREADED_KEYS {
                self.read(bytes, group, section, keys, &mut said)?;
            }
        }
        if let Some(gil) = self.get(bytes, "interpreter_state", "gil_runtime_state") {
            for &(field, key) in GIL {
                let Some(value) = self.get(bytes, "interpreter_state", field) else { continue };
                let absurd = || Rejected::Absurd { field: format!("interpreter_state.{field}"), value };
                self.fits(bytes, "interpreter_state", value).then_some(()).ok_or_else(absurd)?;
                said.push(("gil", key, value.checked_sub(gil).ok_or_else(absurd)?));
            }
        }
        Ok(lay(layout, &said))
    }

    /// Lays what `.AsyncioDebug` says over `layout`, as [`Table::apply`] does; it has no cookie and no version.
    pub fn apply_asyncio(&self, layout: &mut Layout, bytes: &[u8]) -> Result<Vec<Told>, Rejected> {
        if bytes.len() < self.size {
            return Err(Rejected::Short { bytes: bytes.len(), size: self.size });
        }
        let mut said = Vec::new();
        for &(group, section, keys) in ASYNCIO_KEYS {
            self.read(bytes, group, section, keys, &mut said)?;
        }
        Ok(lay(layout, &said))
    }

    fn read<'k>(
        &self,
        bytes: &[u8],
        group: &str,
        section: &'k str,
        keys: &[(&str, &'k str)],
        said: &mut Vec<(&'k str, &'k str, u64)>,
    ) -> Result<(), Rejected> {
        for &(field, key) in keys {
            let Some(value) = self.get(bytes, group, field) else { continue };
            let fits = if field == "size" {
                (1..=MAX_STRUCT).contains(&value)
            } else {
                self.fits(bytes, group, value)
            };
            if !fits {
                return Err(Rejected::Absurd { field: format!("{group}.{field}"), value });
            }
            said.push((section, key, value));
        }
        Ok(())
    }

    fn fits(&self, bytes: &[u8], group: &str, offset: u64) -> bool {
        offset < self.get(bytes, group, "size").unwrap_or(MAX_STRUCT)
    }
}

/// Puts what was said into the layout; what stood there differently, or not at all, is returned.
fn lay(layout: &mut Layout, said: &[(&str, &str, u64)]) -> Vec<Told> {
    let mut told = Vec::new();
    for &(section, key, value) in said {
        let target = value.cast_signed();
        let file = layout.set(section, key, target);
        if file != Some(target) {
            told.push(Told { section: section.into(), key: key.into(), file, target });
        }
    }
    told
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Debug offsets in which every struct has 4096 bytes and every field lies at 0, but for those named.
    pub(in crate::layout) fn bytes(table: &Table, version: u64, fields: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; table.size];
        bytes[..8].copy_from_slice(&COOKIE);
        let mut put = |group: &str, field: &str, value: u64| {
            let at = table.fields[&(group.to_owned(), field.to_owned())];
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        for (group, field) in table.fields.keys() {
            if field == "size" {
                put(group, field, 4096);
            }
        }
        put("header", "version", version);
        for (group, field, value) in fields {
            put(group, field, *value);
        }
        bytes
    }

    fn table(name: &str) -> Table {
        let text =
            EMBEDDED.iter().chain(EMBEDDED_ASYNCIO).find(|(other, _)| *other == name).expect("there is one");
        Table::parse(name, text.1).expect("it is well-formed")
    }

    /// Applies 3.13's table with these fields to an empty layout.
    #[track_caller]
    fn check(fields: &[(&str, &str, u64)], expected: Result<&[(&str, &str, i64)], &str>) {
        let table = table("3.13");
        let mut layout = Layout::new("test");
        let result = table.apply(&mut layout, &bytes(&table, 0x030d_00f0, fields), false);
        match expected {
            Ok(keys) => {
                result.expect("this can be believed");
                for &(section, key, value) in keys {
                    assert_eq!(layout.key(section, key), Some(value), "{section}.{key}");
                }
            }
            Err(expected) => {
                let error = result.expect_err("this cannot be believed").to_string();
                assert!(error.contains(expected), "{error:?} lacks {expected:?}");
                assert_eq!(layout, Layout::new("test"), "all of it or nothing");
            }
        }
    }

    #[test]
    fn what_a_target_says_of_itself_is_laid_over_the_layout() {
        check(&[("thread_state", "next", 16)], Ok(&[("thread", "next", 16), ("thread", "size", 4096)]));
        check(&[("interpreter_frame", "executable", 24)], Ok(&[("iframe", "code", 24)]));
        check(&[("type_object", "size", 416), ("type_object", "tp_name", 24)], Ok(&[("type", "name", 24)]));
    }

    #[test]
    fn fields_of_the_gil_count_from_the_interpreter() {
        let fields = [
            ("interpreter_state", "gil_runtime_state", 1000),
            ("interpreter_state", "gil_runtime_state_holder", 1008),
            ("interpreter_state", "gil_runtime_state_locked", 1016),
        ];
        let keys = [("interp", "own_gil", 1000), ("gil", "last_holder", 8), ("gil", "locked", 16)];
        check(&fields, Ok(&keys));
        check(&[("interpreter_state", "gil_runtime_state", 1000)], Err("gil_runtime_state_locked = 0"));
    }

    #[test]
    fn fields_that_only_free_threaded_builds_fill_in_are_believed_only_there() {
        let table = table("3.14");
        for (free_threaded, expected) in [(0, None), (1, Some(72))] {
            let fields = [("header", "free_threaded", free_threaded), ("code_object", "co_tlbc", 72)];
            let mut layout = Layout::new("test");
            table
                .apply(&mut layout, &bytes(&table, 0x030e_00f0, &fields), false)
                .expect("this can be believed");
            assert_eq!(layout.key("code", "tlbc"), expected);
        }
    }

    #[test]
    fn hostile_offsets_are_refused_whole() {
        check(&[("thread_state", "next", 4096)], Err("thread_state.next = 4096"));
        check(&[("thread_state", "next", u64::MAX)], Err("thread_state.next"));
        check(&[("thread_state", "size", u64::MAX)], Err("thread_state.size"));
        check(&[("thread_state", "size", 0)], Err("thread_state.size = 0"));
        check(&[("code_object", "name", 1 << 40)], Err("code_object.name"));
        check(
            &[("interpreter_state", "gil_runtime_state_locked", u64::MAX)],
            Err("gil_runtime_state_locked"),
        );
        check(&[("unicode_object", "asciiobject_size", 1 << 33)], Err("asciiobject_size"));
        check(&[("header", "version", 0x030e_00f0)], Err("those of Python 3.14.0"));
        check(&[("header", "version", u64::MAX)], Err("those of Python 0.0.0"));
    }

    #[test]
    fn where_no_size_stands_beside_an_offset_that_of_the_longest_struct_holds() {
        let table = table("3.14");
        let said = bytes(&table, 0x030e_00f0, &[("llist_node", "next", MAX_STRUCT)]);
        let error = Rejected::Absurd { field: "llist_node.next".into(), value: MAX_STRUCT };
        assert_eq!(table.apply(&mut Layout::new("test"), &said, false), Err(error));
    }

    #[test]
    fn bytes_that_are_no_debug_offsets_are_refused() {
        let table = table("3.13");
        let whole = bytes(&table, 0x030d_00f0, &[]);
        let mut layout = Layout::new("test");
        assert_eq!(table.apply(&mut layout, &[], false), Err(Rejected::Cookie));
        assert_eq!(table.apply(&mut layout, &[0; 600], false), Err(Rejected::Cookie));
        for len in [8, 100, 583] {
            let error = Rejected::Short { bytes: len, size: 584 };
            assert_eq!(table.apply(&mut layout, &whole[..len], false), Err(error));
        }
    }

    #[test]
    fn only_what_differs_is_reported() {
        let table = table("3.13");
        let said = bytes(&table, 0x030d_00f0, &[("thread_state", "next", 16)]);
        let mut layout = Layout::new("test");
        table.apply(&mut layout, &said, false).expect("this can be believed");
        assert_eq!(table.apply(&mut layout, &said, false), Ok(Vec::new()));
        layout.set("thread", "next", 8);
        let told = Told { section: "thread".into(), key: "next".into(), file: Some(8), target: 16 };
        assert_eq!(table.apply(&mut layout, &said, false), Ok(vec![told]));
    }

    #[test]
    fn asyncio_says_where_its_tasks_are() {
        let table = table("3.14-asyncio");
        let mut said = vec![0; table.size];
        for (position, value) in [(0, 300_u64), (40, 128), (56, 9000), (64, 8000), (72, 900), (96, 880)] {
            said[position..position + 8].copy_from_slice(&value.to_le_bytes());
        }
        let mut layout = Layout::new("test");
        table.apply_asyncio(&mut layout, &said).expect("this can be believed");
        let keys = [
            ("task", "coro", 128),
            ("interp", "asyncio_tasks_head", 8000),
            ("thread", "asyncio_tasks_head", 880),
        ];
        for (section, key, value) in keys {
            assert_eq!(layout.key(section, key), Some(value), "{section}.{key}");
        }
        assert_eq!(layout.key("thread", "size"), None, "its thread is another struct");
        said[64..72].copy_from_slice(&9000_u64.to_le_bytes());
        assert!(table.apply_asyncio(&mut layout, &said).is_err());
        assert!(table.apply_asyncio(&mut layout, &said[..100]).is_err());
    }

    #[test]
    fn every_field_that_is_told_is_in_a_table() {
        let tables: Vec<Table> = EMBEDDED.iter().map(|(name, _)| table(name)).collect();
        for (group, _, keys) in KEYS.iter().chain(FREE_THREADED_KEYS) {
            for (field, _) in *keys {
                let key = ((*group).to_owned(), (*field).to_owned());
                assert!(tables.iter().any(|table| table.fields.contains_key(&key)), "{group}.{field}");
            }
        }
        let asyncio = table("3.15-asyncio");
        for (group, _, keys) in ASYNCIO_KEYS {
            for (field, _) in *keys {
                assert!(
                    asyncio.fields.contains_key(&((*group).to_owned(), (*field).to_owned())),
                    "{group}.{field}"
                );
            }
        }
    }
}
