//! `layout derive` and `layout list`: making layouts, and saying which there are.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::failure::{Exit, Failure};
use crate::layout::derive::{self, Overlay, Sources};
use crate::layout::file::Meta;
use crate::layout::{Catalogue, Version};

/// `layout derive`.
#[derive(Debug, Clone, Args)]
pub struct Derive {
    /// The executable or libpython that holds the interpreter.
    pub elf: PathBuf,
    /// The file with its DWARF, where that is detached.
    #[arg(long, value_name = "FILE")]
    pub debug: Option<PathBuf>,
    /// An extension module whose structs are wanted too: _asyncio, mmap.
    #[arg(long = "module", visible_alias = "asyncio", value_name = "FILE")]
    pub modules: Vec<PathBuf>,
    /// Write only what differs from this layout.
    #[arg(long, value_name = "NAME")]
    pub inherits: Option<String>,
    /// The first full version that the layout serves.
    #[arg(long, value_name = "VERSION")]
    pub from: Option<Version>,
    /// The last full version that the layout serves.
    #[arg(long, value_name = "VERSION")]
    pub to: Option<Version>,
    /// Who made the build.
    #[arg(long, default_value = "unknown", value_name = "NAME")]
    pub vendor: String,
    /// Its version, where it cannot be told from the file.
    #[arg(long, value_name = "VERSION")]
    pub python: Option<Version>,
    /// Also write the positions of the offset tables that it carries into this directory.
    #[arg(long, value_name = "DIR")]
    pub tables: Option<PathBuf>,
}

/// Prints the layout of a build as the text of a layout file.
pub fn derive(args: &Derive, catalogue: &Catalogue) -> Result<()> {
    let sources = Sources {
        elf: args.elf.clone(),
        debug: args.debug.clone(),
        modules: args.modules.clone(),
        python: args.python,
    };
    let derived = derive::derive(&sources).map_err(|error| {
        let hint = match error {
            derive::Error::Dwarf { .. } => {
                "its DWARF may be in a file of its own: --debug /usr/lib/debug/.build-id/XX/YYYY.debug"
            }
            derive::Error::Version { .. } => "say it: --python 3.13.0",
            _ => "name the executable or the libpython that holds the interpreter",
        };
        Failure::new(Exit::Failed, error.to_string()).hint(hint)
    })?;
    for conflict in &derived.conflicts {
        writeln!(io::stderr(), "warning: parts of the program disagree on {conflict}")?;
    }
    let inherits = match &args.inherits {
        None => None,
        Some(name) => {
            let Some(entry) = catalogue.named(name) else {
                bail!("there is no layout {name} to inherit from")
            };
            Some(&entry.layout)
        }
    };
    let overlay = Overlay { inherits, from: args.from, to: args.to, vendor: &args.vendor };
    io::stdout().lock().write_all(derive::write(&derived, &overlay).as_bytes())?;
    if let Some(directory) = &args.tables {
        for (name, text) in derive::tables(&derived) {
            let path = directory.join(format!("{name}.toml"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// A layout, as `layout list --json` prints it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    serves: String,
    arch: String,
    built: Vec<&'a str>,
    /// The versions that it was made from.
    from: Vec<&'a str>,
    /// Why no build at hand proves it.
    computed: Option<&'a str>,
    added: bool,
}

/// Prints all layouts: name, versions, machine, how it is built, from which builds it was made.
pub fn list(catalogue: &Catalogue, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let listed = catalogue.entries().map(|entry| Listed {
            name: &entry.layout.name,
            serves: serves(&entry.meta),
            arch: entry.meta.arch.to_string(),
            built: entry.meta.flags.iter().map(|flag| flag.word()).collect(),
            from: entry.builds.iter().map(|build| build.version.as_str()).collect(),
            computed: entry.computed.as_deref(),
            added: entry.added,
        });
        serde_json::to_writer(&mut out, &listed.collect::<Vec<_>>())?;
        return Ok(writeln!(out)?);
    }
    writeln!(out, "{:<15} {:<17} {:<8} {:<14} MADE FROM", "LAYOUT", "SERVES", "ARCH", "BUILT")?;
    for entry in catalogue.entries() {
        let built: Vec<&str> = entry.meta.flags.iter().map(|flag| flag.word()).collect();
        let built = if built.is_empty() { "plain".to_owned() } else { built.join(" ") };
        let builds = entry.builds.iter().map(|build| format!("{} ({})", build.version, build.vendor));
        let from = match &entry.computed {
            Some(reason) => format!("computed: {reason}"),
            None => builds.collect::<Vec<_>>().join(", "),
        };
        let added = if entry.added { " [--layouts]" } else { "" };
        let (name, serves) = (&entry.layout.name, serves(&entry.meta));
        let arch = entry.meta.arch.to_string();
        writeln!(out, "{name:<15} {serves:<17} {arch:<8} {built:<14} {from}{added}")?;
    }
    Ok(())
}

fn serves(meta: &Meta) -> String {
    let (major, minor) = meta.python;
    match (meta.from, meta.to) {
        (None, None) => format!("{major}.{minor}"),
        (Some(from), None) => format!("{from} and later"),
        (None, Some(to)) => format!("to {to}"),
        (Some(from), Some(to)) => format!("{from} to {to}"),
    }
}
