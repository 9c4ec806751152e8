//! A derived layout as the text of a layout file.

use std::fmt::Write as _;

use super::{Derived, OffsetTable};
use crate::layout::{Layout, Version};

const HEADER: &str =
    "# Made by `pitviper layout derive`; do not edit: layouts/README.md says how it is made again.\n";
/// How long a line of a layout file is, unless one value is longer.
const WIDTH: usize = 120;

/// How the file stands to others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overlay<'l> {
    /// The layout that it is to inherit from: only what differs is written.
    pub inherits: Option<&'l Layout>,
    /// The first full version that it is to serve.
    pub from: Option<Version>,
    /// The last full version that it is to serve.
    pub to: Option<Version>,
    /// Who made the build.
    pub vendor: &'l str,
}

/// The text of the layout file.
pub fn write(derived: &Derived, overlay: &Overlay<'_>) -> String {
    let mut out = String::from(HEADER);
    let Derived { version, arch, build, .. } = derived;
    let flags: Vec<String> = derived.flags.iter().map(|flag| format!("\"{}\"", flag.word())).collect();
    line(&mut out, format_args!("\n[meta]\nformat = {}", crate::layout::file::FORMAT));
    line(&mut out, format_args!("python = \"{}.{}\"", version.major, version.minor));
    line(&mut out, format_args!("arch = \"{arch}\"\nflags = [{}]", flags.join(", ")));
    let serves: Vec<String> = [("from", overlay.from), ("to", overlay.to)]
        .into_iter()
        .filter_map(|(name, version)| Some(format!("{name} = \"{}\"", version?)))
        .collect();
    if !serves.is_empty() {
        line(&mut out, format_args!("serves = {{ {} }}", serves.join(", ")));
    }
    let mut without = Vec::new();
    if let Some(parent) = overlay.inherits {
        line(&mut out, format_args!("inherits = \"{}\"", parent.name));
        without.extend(
            parent
                .keys()
                .filter(|(section, key, _)| derived.layout.key(section, key).is_none())
                .map(|(section, key, _)| format!("\"{section}.{key}\"")),
        );
        if !without.is_empty() {
            line(&mut out, format_args!("without = [{}]", without.join(", ")));
        }
    }
    line(&mut out, format_args!("\n[[build]]\nversion = \"{version}\"\nvendor = \"{}\"", overlay.vendor));
    if let Some(id) = &build.build_id {
        line(&mut out, format_args!("build_id = \"{id}\""));
    }
    if !build.symbols.is_empty() {
        let symbols: Vec<String> =
            build.symbols.iter().map(|(name, size)| format!("{name} = {size}")).collect();
        line(&mut out, format_args!("symbols = {{ {} }}", symbols.join(", ")));
    }
    if !build.debug_offsets.is_empty() {
        let sizes: Vec<String> =
            build.debug_offsets.iter().map(|(name, size)| format!("\"{name}\" = {size}")).collect();
        line(&mut out, format_args!("debug_offsets = {{ {} }}", sizes.join(", ")));
    }
    let mut open = "";
    for (section, key, value) in derived.layout.keys() {
        if overlay.inherits.and_then(|parent| parent.key(section, key)) == Some(value) {
            continue;
        }
        if section != open {
            line(&mut out, format_args!("\n[{section}]"));
            open = section;
        }
        line(&mut out, format_args!("{key} = {value}"));
    }
    write_facts(&mut out, derived, overlay);
    out
}

fn write_facts(out: &mut String, derived: &Derived, overlay: &Overlay<'_>) {
    let mut open = false;
    for (name, fact) in derived.layout.facts() {
        let inherited = overlay.inherits.and_then(|parent| parent.facts().find(|(other, _)| *other == name));
        if inherited.is_some_and(|(_, other)| other == fact) {
            continue;
        }
        if !open {
            line(out, format_args!("\n[facts]"));
            open = true;
        }
        let why = derived.reasons.get(name).map_or("", String::as_str);
        for text in wrap(why) {
            line(out, format_args!("# {text}"));
        }
        line(out, format_args!("{name} = {fact}"));
    }
}

/// The text of the files of positions for the tables of offsets that a build carries, with the names of the files.
pub fn tables(derived: &Derived) -> Vec<(String, String)> {
    let minor = format!("{}.{}", derived.version.major, derived.version.minor);
    let file = |table: &OffsetTable| match table.name.as_str() {
        "_Py_DebugOffsets" => minor.clone(),
        _ => format!("{minor}-asyncio"),
    };
    derived.tables.iter().map(|table| (file(table), write_table(table, &minor))).collect()
}

fn write_table(table: &OffsetTable, minor: &str) -> String {
    let mut out = format!(
        "{HEADER}\n[meta]\nformat = {}\npython = \"{minor}\"\nsize = {}\n",
        crate::layout::file::FORMAT,
        table.size
    );
    for (group, fields) in &table.groups {
        line(&mut out, format_args!("\n[{group}]"));
        for (field, position) in fields {
            line(&mut out, format_args!("{field} = {position}"));
        }
    }
    out
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{line}");
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.len() + word.len() + 3 <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
