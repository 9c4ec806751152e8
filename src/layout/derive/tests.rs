//! Tries derive on small programs compiled here, whose structs bear CPython's names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::layout::file::File;

/// A program with one of each thing that DWARF can do to a struct.
const SOURCE: &str = r#"
    #include <stdint.h>
    typedef struct _object { union { int64_t ob_refcnt; uint32_t ob_refcnt_split[2]; }; struct _typeobject *ob_type; } PyObject;
    typedef struct _typeobject { PyObject ob_base; const char *tp_name; } PyTypeObject;
    typedef struct { PyObject ob_base; struct { unsigned short interned : 2; unsigned kind : 3; unsigned : 0; unsigned ascii : 1; } state; } PyASCIIObject;
    typedef volatile struct _is PyInterpreterState;
    struct pool { char pad[3]; struct { void *head; void *main; }; };
    struct _obmalloc_state { struct { void *used[64]; } pools; };
    struct _is { PyInterpreterState *next; struct { char pad[9]; struct { void *head; } threads; }; struct _obmalloc_state obmalloc; };
    typedef const int nothing;
    struct gc_stats { struct { long items[11]; signed char index; } young; struct { long items[3]; signed char index; } old[2]; };
    typedef struct { char cookie[8]; uint64_t version; struct { uint64_t size, next; } thread_state; } _Py_DebugOffsets;
    enum _frameowner { FRAME_OWNED_BY_THREAD = 0, FRAME_OWNED_BY_CSTACK = 3 };
    enum _framestate { FRAME_CREATED = -3, FRAME_CLEARED = 200, UNRELATED = 7 };
    PyASCIIObject a; PyInterpreterState i; _Py_DebugOffsets d; enum _frameowner o; enum _framestate s; struct gc_stats g;
    PyTypeObject PyType_Type; nothing n = 1;
    const unsigned long Py_Version = 0x030d05f0;
    int main(void) { return 0; }
"#;

/// A directory with a compiled program in it.
struct Program {
    directory: tempfile::TempDir,
    elf: PathBuf,
}

impl Program {
    fn compile(source: &str, flags: &[&str]) -> Program {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (c, elf) = (directory.path().join("p.c"), directory.path().join("p"));
        fs::write(&c, source).expect("it can be written to");
        let mut arguments = vec!["-Wl,--build-id", "-rdynamic", "-o", path(&elf)];
        arguments.extend(flags);
        run("cc", &[&arguments[..], &[path(&c)]].concat());
        Program { directory, elf }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sources(&self) -> Sources {
        Sources { elf: self.elf.clone(), debug: None, modules: Vec::new(), python: None }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the path is plain")
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let status =
        Command::new(program).args(arguments).status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments:?}");
}

#[track_caller]
fn check(sources: &Sources) {
    let derived = derive(sources).unwrap_or_else(|error| panic!("{error}"));
    let expected = [
        // A member of an anonymous union, and its size.
        ("object", "refcnt", 0),
        ("object", "refcnt_size", 8),
        ("object", "type", 8),
        ("object", "size", 16),
        // A struct that its typedef names before it is complete.
        ("type", "name", 16),
        // Bit fields count from the struct that they stand in.
        ("unicode", "state", 16),
        ("unicode", "kind_bit", 2),
        ("unicode", "kind_bits", 3),
        ("unicode", "ascii_bit", 32),
        ("unicode", "interned_bits", 2),
        // A member of an anonymous struct.
        ("interp", "threads_head", 24),
        ("interp", "size", 32 + 512),
        ("interp", "obmalloc", 32),
        // Lengths of arrays, and a step into one.
        ("obmalloc", "used_count", 64),
        ("gc_stats_buf", "young_index", 88),
        ("gc_stats_buf", "old", 96),
        ("gc_stats_buf", "old_index", 120),
        ("gc_stats_buf", "old_count", 3),
        ("enums", "FRAME_OWNED_BY_CSTACK", 3),
        ("enums", "FRAME_CREATED", -3),
        ("enums", "FRAME_CLEARED", 200),
    ];
    for (section, key, value) in expected {
        assert_eq!(derived.layout.key(section, key), Some(value), "{section}.{key}");
    }
    assert_eq!(derived.layout.key("enums", "UNRELATED"), None);
    assert_eq!(derived.layout.key("interp", "sysdict"), None);
    assert_eq!(derived.conflicts, Vec::<String>::new());
    assert_eq!(derived.version, Version::release(3, 13, 5));
    assert_eq!(derived.build.symbols.get("PyType_Type"), Some(&24));
    assert_eq!(derived.build.build_id.as_ref().map(String::len), Some(40));
    assert_eq!(derived.layout.fact("block.align"), Ok(16_i64), "64 pointers are 32 size classes of 16 bytes");
    assert_eq!(derived.layout.fact("lines.kind"), Ok("locations".to_owned()));
}

#[test]
fn a_layout_is_what_the_compiler_says() {
    check(&Program::compile(SOURCE, &["-g", "-gdwarf-5"]).sources());
    check(&Program::compile(SOURCE, &["-g", "-gdwarf-4"]).sources());
}

#[test]
fn dwarf_may_be_compressed_or_lie_in_a_file_of_its_own() {
    let program = Program::compile(SOURCE, &["-g", "-gz"]);
    check(&program.sources());

    let (stripped, debug) = (program.beside("stripped"), program.beside("p.debug"));
    run("objcopy", &["--only-keep-debug", "--compress-debug-sections", path(&program.elf), path(&debug)]);
    run("objcopy", &["--strip-all", path(&program.elf), path(&stripped)]);
    check(&Sources { elf: stripped.clone(), debug: Some(debug), modules: Vec::new(), python: None });
    let error = derive(&Sources { elf: stripped, debug: None, modules: Vec::new(), python: None });
    let error = error.expect_err("it has no DWARF").to_string();
    assert!(error.contains("stripped: it has no .debug_info"), "{error}");
}

#[test]
fn a_stripped_module_is_found_by_its_build_id_beside_the_interpreters_dwarf() {
    let task =
        "typedef struct { long a; void *task_coro; } TaskObj; TaskObj task; int main(void) { return 0; }";
    let (program, module) = (Program::compile(SOURCE, &["-g"]), Program::compile(task, &["-g"]));
    let bytes = fs::read(&module.elf).expect("it was compiled");
    let id = hex(object::File::parse(&*bytes)
        .expect("it is ELF")
        .build_id()
        .expect("it is whole")
        .expect("it has one"));
    let directory = program.beside(".build-id").join(&id[..2]);
    fs::create_dir_all(&directory).expect("a directory can be made");
    let (debug, of_module) = (directory.join("x.debug"), directory.join(format!("{}.debug", &id[2..])));
    fs::copy(&program.elf, &debug).expect("it can be copied");
    fs::copy(&module.elf, of_module).expect("it can be copied");
    let stripped = program.beside("module.so");
    run("objcopy", &["--strip-all", path(&module.elf), path(&stripped)]);
    let sources = Sources { debug: Some(debug), modules: vec![stripped], ..program.sources() };
    let derived = derive(&sources).expect("both are readable");
    assert_eq!(derived.layout.key("task", "coro"), Some(8));
}

#[test]
fn parts_of_a_program_that_disagree_are_named() {
    let other = "typedef struct { void *ob_item; int pad; } PyListObject; PyListObject l;";
    let main =
        format!("{SOURCE} typedef struct {{ long pad; void *ob_item; }} PyListObject; PyListObject m;");
    let program = Program::compile(other, &["-g", "-c"]);
    let whole = Program::compile(&main, &["-g", path(&program.elf)]);
    let derived = derive(&whole.sources()).expect("it is readable");
    let expected =
        derived.conflicts.iter().any(|conflict| conflict.starts_with("list.item (PyListObject.ob_item)"));
    assert!(expected, "{:?}", derived.conflicts);
}

#[test]
fn what_is_written_reads_back_as_it_was() {
    let program = Program::compile(SOURCE, &["-g"]);
    let derived = derive(&program.sources()).expect("it is readable");
    let overlay = Overlay { vendor: "test", ..Overlay::default() };
    let file = File::parse("x", &write(&derived, &overlay)).expect("it is a layout file");
    assert!(file.layout.keys().eq(derived.layout.keys()));
    assert!(file.layout.facts().eq(derived.layout.facts()));
    assert_eq!(file.builds, [Build { vendor: "test".into(), ..derived.build.clone() }]);

    let mut parent = derived.layout.clone();
    parent.name = "parent".into();
    parent.set("object", "size", 99);
    parent.set("gone", "key", 1);
    parent.set_fact("lines.kind", Fact::Text("other".into()));
    let version = Some(Version::release(3, 13, 5));
    let text =
        write(&derived, &Overlay { inherits: Some(&parent), from: version, to: version, vendor: "test" });
    let file = File::parse("x", &text).expect("it is a layout file");
    assert_eq!(file.layout.keys().collect::<Vec<_>>(), [("object", "size", 16)]);
    assert_eq!(file.layout.facts().count(), 1);
    assert_eq!((file.meta.from, file.meta.to), (version, version));
    let whole = file.over(parent);
    assert!(whole.keys().eq(derived.layout.keys()) && whole.facts().eq(derived.layout.facts()));
}

#[test]
fn tables_of_offsets_are_written_with_the_positions_of_their_fields() {
    let derived = derive(&Program::compile(SOURCE, &["-g"]).sources()).expect("it is readable");
    let [(name, text)] = &tables(&derived)[..] else { panic!("there is one table") };
    assert_eq!(name, "3.13");
    let table = crate::layout::told::Table::parse(name, text).expect("it is a table");
    let bytes: Vec<u8> = (0..32).collect();
    assert_eq!(table.size, 32);
    assert_eq!(
        table.get(&bytes, "header", "version"),
        Some(u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15]))
    );
    assert_eq!(table.get(&bytes, "thread_state", "next").map(|value| value & 0xFF), Some(24));
    assert_eq!(table.get(&bytes, "thread_state", "prev"), None);
}

#[test]
fn files_that_are_no_cpython_are_refused() {
    let refused = |sources: &Sources, expected: &str| {
        let error = derive(sources).expect_err("this is no CPython").to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    };
    let plain = Program::compile("int main(void) { return 0; }", &["-g"]);
    refused(&plain.sources(), "it is not a CPython");
    let missing = Sources { elf: "/nowhere/python".into(), ..plain.sources() };
    refused(&missing, "cannot read /nowhere/python");
    let text = Sources { elf: plain.beside("p.c"), ..plain.sources() };
    refused(&text, "p.c is not an ELF file");
    let whole = fs::read(&plain.elf).expect("it was compiled");
    for part in [10, 64, 200, whole.len() / 2] {
        let cut = plain.beside("cut");
        fs::write(&cut, &whole[..part]).expect("it can be written to");
        refused(&Sources { elf: cut, ..plain.sources() }, "cut");
    }
    let nameless = Program::compile(&SOURCE.replace("Py_Version", "x"), &["-g"]);
    refused(&nameless.sources(), "its version cannot be told; found none");
    let named = SOURCE
        .replace("const unsigned long Py_Version = 0x030d05f0", "const char *volatile v = \"at/3.13.5\"");
    check(&Program::compile(&named, &["-g"]).sources());
}

#[test]
fn broken_dwarf_is_an_error_or_less_and_never_a_panic() {
    let program = Program::compile(SOURCE, &["-g"]);
    let bytes = fs::read(&program.elf).expect("it was compiled");
    let file = object::File::parse(&*bytes).expect("it is ELF");
    let broken = program.beside("broken");
    for name in [".debug_info", ".debug_abbrev"] {
        let (start, len) =
            file.section_by_name(name).and_then(|section| section.file_range()).expect("it is there");
        for at in (start..start + len).step_by(11) {
            let mut bytes = bytes.clone();
            bytes[at as usize] ^= 0xFF;
            fs::write(&broken, &bytes).expect("it can be written to");
            let _ = derive(&Sources { elf: broken.clone(), ..program.sources() });
        }
    }
}
