//! Collections of garbage as a table for spreadsheets: a row each, times in nanoseconds since the recording began.

use std::io::{self, Write};

use super::text;
use crate::model::gc::{Collection, Exactness};
use crate::recording::View;

const HEADER: &str = "pid,interpreter,generation,start_ns,stop_ns,pause_ns,exactness,count,collected,uncollectable,\
                      objects_before,objects_after,function,file,line";

/// Writes the collections that ended in the view's span of time.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    writeln!(out, "{HEADER}")?;
    for row in text::collections(view) {
        let recording = view.recording();
        let frame = row.stack.and_then(|stack| recording.frames_of(stack).next());
        let pid = recording.process(row.process).map_or(0, |process| process.pid);
        write!(
            out,
            "{pid},{},{},{},{},{},{},{},{},{},{},{}",
            row.interpreter,
            row.generation,
            row.start.0,
            row.stop.0,
            row.pause.0,
            exactness(row),
            row.count,
            row.collected,
            row.uncollectable,
            number(row.objects_before),
            number(row.objects_after),
        )?;
        match frame {
            Some(frame) => {
                let name = recording.string(frame.qualname.unwrap_or(frame.name));
                let file = recording.file(frame.file).map_or("", |file| recording.string(file.path));
                writeln!(out, ",{},{},{}", cell(name), cell(file), number(frame.line.map(u64::from)))?;
            }
            None => writeln!(out, ",,,")?,
        }
    }
    out.flush()
}

/// How exactly the times are known, in a word.
pub fn exactness(row: &Collection) -> &'static str {
    match row.exactness {
        Exactness::Exact => "exact",
        Exactness::Bounds => "bounds",
        Exactness::AtLeast => "at least",
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// A text as RFC 4180 wants it. What a spreadsheet would take for a formula gets an apostrophe in front.
fn cell(text: &str) -> String {
    let text = text::printable(text);
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{formula}{}\"", text.replace('"', "\"\""))
}
