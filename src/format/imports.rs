//! The import-time tree: a line a module, indented below the one that imported it.

use std::io::{self, Write};

use super::text;
use crate::recording::imports::Imports;
use crate::recording::{Metric, View};

/// Writes the tree. No imports are the head alone.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let imports = Imports::of(view.recording(), view.options()).map_err(io::Error::other)?;
    let mut out = io::BufWriter::new(out);
    let (unit, each) = match view.options().metric {
        Metric::Time => (" ms", 1e6),
        Metric::Samples | Metric::Bytes | Metric::Objects => ("", 1.0),
    };
    let (own, total) = (format!("own{unit}"), format!("total{unit}"));
    writeln!(out, "{own:>12} {total:>12}  imported")?;
    for module in imports.walk().filter(|module| module.total > 0) {
        let (own, total) = (module.own as f64 / each, module.total as f64 / each);
        let name = text::printable(&module.name);
        writeln!(out, "{own:12.1} {total:12.1}  {:indent$}{name}", "", indent = 2 * module.depth)?;
    }
    out.flush()
}
