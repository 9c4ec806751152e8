//! The house's rules that a machine can hold: file headers, who may use whom, crate homes, file length, no debris.

use std::fs;
use std::path::{Path, PathBuf};

/// Which modules a module may use, beside itself. `ARCHITECTURE.md` says why.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("memory", &[]),
    ("layout", &["memory"]),
    ("target", &["memory", "layout"]),
    ("python", &["target", "memory", "layout", "model"]),
    ("native", &["target", "memory", "model"]),
    ("sampler", &["target", "memory", "layout", "python", "native", "model"]),
    ("recording", &["model"]),
    ("format", &["recording", "model"]),
    ("sink", &["recording", "model"]),
    ("tui", &["recording", "model", "sink"]),
];

/// Where a crate may be named: prefixes of paths below `src/`. `model` may name no crate at all.
const CRATE_HOMES: &[(&str, &[&str])] = &[
    ("nix", &["memory/", "target/", "tui/terminal"]),
    ("rustix", &["memory/", "target/"]),
    ("libc", &["memory/", "target/"]),
    ("remoteprocess", &["memory/", "target/", "native/"]),
    ("gimli", &["native/", "target/elf", "layout/derive"]),
    ("object", &["native/", "target/elf", "layout/derive"]),
    ("addr2line", &["native/", "target/elf", "layout/derive"]),
    ("inferno", &["format/flamegraph"]),
    ("ratatui", &["tui/view", "tui/terminal"]),
    ("crossterm", &["tui/terminal"]),
    ("crossbeam_channel", &["sampler/channel", "cli/", "tui/terminal"]),
    ("signal_hook", &["cli/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("anyhow", &["cli/", "main.rs"]),
    ("indicatif", &["cli/"]),
    ("jiff", &["cli/"]),
    ("toml", &["layout/"]),
    ("zstd", &["recording/"]),
];

/// Operating-system crates, which nothing right of `model` may touch (`tui/terminal` apart).
const RIGHT_HALF: &[&str] = &["recording", "format", "sink", "tui"];

/// The longest file that is not a table.
const MAX_LINES: usize = 600;
/// Files that are one long table, each with the reason.
const TABLES: &[(&str, &str)] = &[("layout/derive/keys.rs", "one row a struct member")];

/// What must not be left behind, and what to do instead. Spelled in halves, so that this file does not find itself.
const DEBRIS: &[(&str, &str)] = &[
    (concat!("dbg", "!("), "remove it"),
    (concat!("todo", "!("), "do it, or say `not yet` to the user"),
    (concat!("unimplemented", "!("), "do it, or say `not yet` to the user"),
    (concat!("#[ign", "ore"), "a test runs or is deleted"),
    (concat!("FIX", "ME"), "mend it, or file an issue"),
    (concat!("TO", "DO"), "do it, or file an issue"),
    (concat!("XX", "X"), "say it in a sentence"),
];

/// Everything wrong with one file; `path` is below `src/` or `tests/`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let is_source = !path.starts_with("tests/");
    if !text.starts_with("//! ") {
        found.push("opens without a `//!` sentence that says what it knows".into());
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !TABLES.iter().any(|(table, _)| *table == path) {
        found.push(format!("has {lines} lines; over {MAX_LINES} only a table may have"));
    }
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        for (debris, instead) in DEBRIS {
            if line.contains(debris) {
                found.push(format!("line {number}: `{debris}`: {instead}"));
            }
        }
        let code = line.split("//").next().unwrap_or_default();
        if !is_source || code.trim().is_empty() {
            continue;
        }
        for used in crate_modules(code) {
            let allowed = MAY_USE
                .iter()
                .find(|(name, _)| *name == module)
                .is_none_or(|(_, may)| used == module || may.contains(&used.as_str()) || used == "fields");
            if !allowed {
                found
                    .push(format!("line {number}: `{module}` may not use `{used}` (ARCHITECTURE.md, rooms)"));
            }
        }
        for (name, homes) in CRATE_HOMES {
            if names_crate(code, name) && !homes.iter().any(|home| path.starts_with(home)) {
                found.push(format!("line {number}: the crate `{name}` lives in {}", homes.join(", ")));
            }
        }
        if RIGHT_HALF.contains(&module) && !path.starts_with("tui/terminal") && names_crate(code, "std::os") {
            found.push(format!("line {number}: `{module}` may not know the operating system"));
        }
        if code.contains("super::super::") {
            found.push(format!("line {number}: say `crate::…`, not `super::super::`"));
        }
    }
    found
}

/// The modules that a line names by `crate::`, groups included.
fn crate_modules(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let group: String = group
                    .chars()
                    .take_while(|c| {
                        depth += i32::from(*c == '{') - i32::from(*c == '}');
                        depth >= 0
                    })
                    .collect();
                let mut depth = 0;
                let outer = group.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                });
                found.extend(outer.map(|item| word(item.trim())));
            }
            None => found.push(word(rest)),
        }
    }
    found.retain(|name| !name.is_empty() && name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// Whether a line names a crate: `use name::` or `name::` that is no part of a longer path.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let alone = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '"'));
        alone && after.starts_with("::")
    })
}

fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let (src, tests) = (rust_files(&root.join("src")), rust_files(&root.join("tests")));
    assert!(src.len() > 20 && tests.len() > 2, "the walk over the source finds nothing");
    for (base, files) in [(root.join("src"), src), (root.to_path_buf(), tests)] {
        for file in files {
            let path = file.strip_prefix(&base).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            found.extend(violations(&path, &text).into_iter().map(|what| format!("{path}: {what}")));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_table_that_may_be_long_exists() {
    for (table, _) in TABLES {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(table).exists(), "{table}");
    }
}

#[track_caller]
fn check(path: &str, text: &str, expected: Option<&str>) {
    let found = violations(path, text);
    match expected {
        Some(part) => assert!(found.iter().any(|v| v.contains(part)), "{part:?} is not in {found:?}"),
        None => assert!(found.is_empty(), "{found:?}"),
    }
}

#[test]
fn a_planted_file_without_a_header_is_found() {
    check("python/gil.rs", "use std::fmt;\n", Some("opens without"));
    check("python/gil.rs", "//! Who holds the GIL.\n", None);
}

#[test]
fn a_planted_use_of_a_room_that_is_closed_is_found() {
    check("model/gc.rs", "//! x.\nuse crate::memory::Addr;\n", Some("`model` may not use `memory`"));
    check(
        "recording/file.rs",
        "//! x.\nuse crate::{model::At, target::{maps, elf}};\n",
        Some("may not use `target`"),
    );
    check("format/svg.rs", "//! x.\nfn f() -> crate::python::Look {}\n", Some("may not use `python`"));
    check("python/gil.rs", "//! x.\nuse crate::{memory::{Addr, Memory}, layout::Field};\n", None);
    check("cli/dump.rs", "//! x.\nuse crate::python::Look;\n", None);
}

#[test]
fn a_planted_crate_away_from_home_is_found() {
    check("python/gil.rs", "//! x.\nuse nix::unistd::Pid;\n", Some("`nix` lives in"));
    check("recording/file.rs", "//! x.\nlet x = anyhow::bail!();\n", Some("`anyhow` lives in"));
    check(
        "recording/file.rs",
        "//! x.\nuse std::os::unix::fs::chown;\n",
        Some("may not know the operating system"),
    );
    check("format/flamegraph.rs", "//! x.\nuse inferno::flamegraph;\n", None);
    check("target/elf.rs", "//! x.\nuse object::read::elf;\n", None);
    check("python/object.rs", "//! x.\nuse crate::python::object::Dict;\n", None);
}

#[test]
fn a_planted_long_file_is_found() {
    let long = format!("//! x.\n{}", "//\n".repeat(MAX_LINES));
    check("python/gil.rs", &long, Some("lines; over"));
    check(TABLES[0].0, &long, None);
}

#[test]
fn planted_debris_is_found() {
    for (debris, _) in DEBRIS {
        check("python/gil.rs", &format!("//! x.\n    {debris}\n"), Some(debris));
    }
}
