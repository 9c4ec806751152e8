//! What a view of a recording can be written as. Each format is a pure function of the view: equal views, equal bytes.

pub mod chrome;
pub mod firefox;
pub mod flamegraph;
pub mod folded;
pub mod gc_csv;
pub mod heatmap_json;
pub mod imports;
pub mod jsonl;
pub mod pit;
pub mod report;
pub mod speedscope;
pub mod text;

use std::io::{self, Write};

use crate::recording::View;

/// A way to write a view down.
#[derive(Debug)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// How the names of its files end; the first is the usual one.
    pub extensions: &'static [&'static str],
    /// What a person does with the file.
    pub opens_with: &'static str,
    /// Writes the view.
    pub write: fn(&View<'_>, &mut dyn Write) -> io::Result<()>,
}

/// Every format.
pub const FORMATS: &[Format] = &[
    Format {
        name: "pit",
        aliases: &[],
        extensions: &[".pit"],
        opens_with: "pitviper export or pitviper info",
        write: pit::write,
    },
    Format {
        name: "flamegraph",
        aliases: &["svg"],
        extensions: &[".svg"],
        opens_with: "any web browser",
        write: flamegraph::write,
    },
    Format {
        name: "speedscope",
        aliases: &[],
        extensions: &[".speedscope.json", ".json"],
        opens_with: "https://www.speedscope.app",
        write: speedscope::write,
    },
    Format {
        name: "folded",
        aliases: &["raw", "collapsed"],
        extensions: &[".folded", ".txt"],
        opens_with: "inferno-flamegraph, flamegraph.pl or speedscope",
        write: folded::write,
    },
    Format {
        name: "firefox",
        aliases: &["gecko"],
        extensions: &[".firefox.json"],
        opens_with: "https://profiler.firefox.com",
        write: firefox::write,
    },
    Format {
        name: "chrome",
        aliases: &["chrometrace"],
        extensions: &[".trace.json"],
        opens_with: "https://ui.perfetto.dev, chrome://tracing or speedscope",
        write: chrome::write,
    },
    Format {
        name: "jsonl",
        aliases: &[],
        extensions: &[".jsonl"],
        opens_with: "jq, DuckDB or any program that reads JSON lines",
        write: jsonl::write,
    },
    Format {
        name: "gc-csv",
        aliases: &[],
        extensions: &[".csv"],
        opens_with: "any spreadsheet",
        write: gc_csv::write,
    },
    Format {
        name: "imports",
        aliases: &[],
        extensions: &[".imports.txt"],
        opens_with: "any editor",
        write: imports::write,
    },
    Format {
        name: "html",
        aliases: &["report"],
        extensions: &[".html"],
        opens_with: "any web browser",
        write: report::write,
    },
    Format {
        name: "heatmap-json",
        aliases: &[],
        extensions: &[".heatmap.json"],
        opens_with: "any program that reads JSON; docs/heap.md says what is in it",
        write: heatmap_json::write,
    },
];

/// Why there is no format for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is none of this name.
    #[error("there is no format {name:?}; there are {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file's name does not say which.
    #[error("the name {file:?} does not say which format; these do: {}", extensions())]
    UnknownFile {
        /// The file's name.
        file: String,
    },
    /// Recordings are packed as they are.
    #[error("a recording is compressed as it is; leave the .gz of {file:?} away")]
    Packed {
        /// The file's name.
        file: String,
    },
}

/// The format of this name or alias.
pub fn by_name(name: &str) -> Result<&'static Format, FormatError> {
    let found = FORMATS.iter().find(|format| format.name == name || format.aliases.contains(&name));
    found.ok_or_else(|| FormatError::Unknown { name: name.to_owned() })
}

/// The format that a file's name tells by how it ends; a `.gz` behind that is passed over.
pub fn by_file(file: &str) -> Result<&'static Format, FormatError> {
    let plain = file.strip_suffix(".gz").unwrap_or(file);
    let each = FORMATS.iter().flat_map(|format| format.extensions.iter().map(move |end| (*end, format)));
    // The longest ending decides: `.firefox.json` is no `.json`.
    let found = each.filter(|(end, _)| plain.ends_with(end)).max_by_key(|(end, _)| end.len());
    match found {
        Some((_, format)) => packs(format, file),
        None => Err(FormatError::UnknownFile { file: file.to_owned() }),
    }
}

/// The format itself, unless the file's name asks to compress what is compressed.
pub fn packs(format: &'static Format, file: &str) -> Result<&'static Format, FormatError> {
    match format.name {
        "pit" if file.ends_with(".gz") => Err(FormatError::Packed { file: file.to_owned() }),
        _ => Ok(format),
    }
}

/// The names of all formats, for people.
pub fn names() -> String {
    FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

fn extensions() -> String {
    FORMATS.iter().flat_map(|format| format.extensions.iter().copied()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, expected: Result<&str, FormatError>) {
        assert_eq!(by_file(file).map(|format| format.name), expected);
    }

    #[test]
    fn a_file_name_tells_its_format_by_its_longest_ending() {
        check("x.svg", Ok("flamegraph"));
        check("x.svg.gz", Ok("flamegraph"));
        check("a.b/x.speedscope.json", Ok("speedscope"));
        check("x.json", Ok("speedscope"));
        check("x.json.gz", Ok("speedscope"));
        check("x.folded", Ok("folded"));
        check("x.txt", Ok("folded"));
        check("x.pit", Ok("pit"));
        check("x.firefox.json", Ok("firefox"));
        check("x.trace.json.gz", Ok("chrome"));
        check("x.csv", Ok("gc-csv"));
        check("x.html", Ok("html"));
        check("x.heatmap.json.gz", Ok("heatmap-json"));
        check("x.pit.gz", Err(FormatError::Packed { file: "x.pit.gz".to_owned() }));
        check("x.png", Err(FormatError::UnknownFile { file: "x.png".to_owned() }));
        check("svg", Err(FormatError::UnknownFile { file: "svg".to_owned() }));
    }

    #[test]
    fn a_format_is_found_by_its_name_and_its_aliases() {
        for (name, expected) in
            [("svg", "flamegraph"), ("raw", "folded"), ("gecko", "firefox"), ("report", "html")]
        {
            assert_eq!(by_name(name).map(|format| format.name), Ok(expected));
        }
        assert_eq!(by_name("png").map(|_| ()), Err(FormatError::Unknown { name: "png".to_owned() }));
    }

    #[test]
    fn no_two_formats_share_a_name_or_an_ending() {
        let mut names: Vec<_> =
            FORMATS.iter().flat_map(|f| [f.name].into_iter().chain(f.aliases.iter().copied())).collect();
        names.extend(FORMATS.iter().flat_map(|f| f.extensions));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
